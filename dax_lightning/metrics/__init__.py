"""Measures of a map, each a pure function and a small class around it."""

from dax_lightning.metrics.base import Curve, Measured, Metric
from dax_lightning.metrics.complexity import Sparseness
from dax_lightning.metrics.detection import Detected
from dax_lightning.metrics.faithfulness import Deletion, DeletionPaper, Insertion
from dax_lightning.metrics.localisation import (
    IoU,
    IoUBest,
    IoURegion,
    IoUWrongLabel,
    Pointing,
    RelevanceMass,
    RelevanceRank,
    TopShare,
)
from dax_lightning.metrics.sanity import Randomisation
from dax_lightning.metrics.sensitivity import StabilityNoise, StabilitySeeds
from dax_lightning.metrics.time import LayerMass, LayerShare, OverTime

__all__ = [
    "Curve",
    "Deletion",
    "DeletionPaper",
    "Detected",
    "Insertion",
    "IoU",
    "IoUBest",
    "IoURegion",
    "IoUWrongLabel",
    "LayerMass",
    "LayerShare",
    "Measured",
    "Metric",
    "OverTime",
    "Pointing",
    "Randomisation",
    "RelevanceMass",
    "RelevanceRank",
    "Sparseness",
    "StabilityNoise",
    "StabilitySeeds",
    "TopShare",
]
