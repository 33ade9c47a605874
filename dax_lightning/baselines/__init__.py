"""Other ways to explain, behind the same door as DAX."""

from dax_lightning.baselines.random import Random

__all__ = ["Random"]
