"""Student first (the paper's Table V): a student is distilled from the black box, then another method explains the student."""

from dax_lightning.distilled.explainers import StudentLime, StudentRise

__all__ = ["StudentLime", "StudentRise"]
