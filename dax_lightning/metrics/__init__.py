"""Measures of a map, each a pure function and a small class around it."""

from dax_lightning.metrics.base import Metric
from dax_lightning.metrics.localisation import IoU, Pointing, TopShare

__all__ = ["IoU", "Metric", "Pointing", "TopShare"]
