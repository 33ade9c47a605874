"""Distillation aided explainability (DAX): explain one prediction of a model that can only be queried.

Example:
    Which pixels of a photograph made the prediction? Five lines; ``MosaicDax(black_box)`` alone asks 1000 rows.

    >>> from dax_lightning import MosaicDax, Photo, lite0
    >>> black_box = lite0()
    >>> case = Photo(black_box)[0]
    >>> made = MosaicDax(black_box, q=60, min_steps=20).explain(case.x, case.target)
    >>> black_box.class_name(made.target), made.saliency.shape, made.queries
    ('tiger cat', torch.Size([224, 224]), 60)
"""

from dax_lightning.baselines import Random
from dax_lightning.black_box import BlackBox, CallableBlackBox, TorchBlackBox, View, lite0, timm_model, torchvision_model
from dax_lightning.dax import CounterfactualLoss, Dax, MosaicDax, SparseLoss, Training
from dax_lightning.errors import BudgetExceeded, InputError, ModelError
from dax_lightning.explainer import Explainer
from dax_lightning.metrics import IoU, Metric, Pointing, TopShare
from dax_lightning.mosaic import Mosaic
from dax_lightning.perturb import Perturber
from dax_lightning.report import draw_panel
from dax_lightning.sam import Sam
from dax_lightning.segment import ColourClusters, Felzenszwalb, FromFile, Grid, Quickshift, Segmenter, Slic
from dax_lightning.tasks import Files, Photo, Shapes, Task, Voc, read_image
from dax_lightning.types import Case, Explanation

__all__ = [
    "BlackBox",
    "BudgetExceeded",
    "CallableBlackBox",
    "Case",
    "ColourClusters",
    "CounterfactualLoss",
    "Dax",
    "Explainer",
    "Explanation",
    "Felzenszwalb",
    "Files",
    "FromFile",
    "Grid",
    "InputError",
    "IoU",
    "Metric",
    "ModelError",
    "Mosaic",
    "MosaicDax",
    "Perturber",
    "Photo",
    "Pointing",
    "Quickshift",
    "Random",
    "Sam",
    "Segmenter",
    "Shapes",
    "Slic",
    "SparseLoss",
    "Task",
    "TopShare",
    "TorchBlackBox",
    "Training",
    "View",
    "Voc",
    "draw_panel",
    "lite0",
    "read_image",
    "timm_model",
    "torchvision_model",
]
