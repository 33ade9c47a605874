"""Distillation aided explainability (DAX): explain one prediction of a model that can only be queried.

Example:
    Which pixels of a photograph made the prediction? Five lines; ``MosaicDax(black_box)`` alone asks 1000 rows.

    >>> from dax_lightning import MosaicDax, Photo, lite0
    >>> black_box = lite0()
    >>> case = Photo(black_box)[0]
    >>> made = MosaicDax(black_box, q=60).explain(case.x, case.target)
    >>> black_box.class_name(made.target), made.saliency.shape, made.queries
    ('tiger cat', torch.Size([224, 224]), 60)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dax_lightning.api import explain
    from dax_lightning.black_box import (
        BlackBox,
        ImageInput,
        from_function,
        from_model,
        from_torch,
        lite0,
        timm_model,
        torchvision_model,
    )
    from dax_lightning.errors import BudgetExceeded, InputError, ModelError
    from dax_lightning.explainers.base import Explainer
    from dax_lightning.explainers.dax import CounterfactualLoss, Dax, SparseLoss, Training
    from dax_lightning.explainers.mosaic import MosaicDax
    from dax_lightning.explainers.random import Random
    from dax_lightning.game.subsets import Perturber
    from dax_lightning.metrics import IoU, Metric, Pointing, TopShare
    from dax_lightning.plots.panel import draw_panel
    from dax_lightning.segment.base import Segmenter
    from dax_lightning.segment.file import FromFile
    from dax_lightning.segment.grid import Grid
    from dax_lightning.segment.image import ColourClusters, Felzenszwalb, Quickshift, Slic
    from dax_lightning.segment.mosaic import Mosaic
    from dax_lightning.segment.sam import Sam
    from dax_lightning.tasks import Files, Photo, Shapes, Task, Voc, read_image
    from dax_lightning.types import Case, Explanation

__version__ = "0.1.0"
_ROOMS = {  # module → what of it is for users; it is imported when it is first used, so that the command answers at once
    "dax_lightning.api": ("explain",),
    "dax_lightning.black_box": (
        "BlackBox",
        "ImageInput",
        "from_function",
        "from_model",
        "from_torch",
        "lite0",
        "timm_model",
        "torchvision_model",
    ),
    "dax_lightning.errors": ("BudgetExceeded", "InputError", "ModelError"),
    "dax_lightning.explainers.base": ("Explainer",),
    "dax_lightning.explainers.dax": ("CounterfactualLoss", "Dax", "SparseLoss", "Training"),
    "dax_lightning.explainers.mosaic": ("MosaicDax",),
    "dax_lightning.explainers.random": ("Random",),
    "dax_lightning.game.subsets": ("Perturber",),
    "dax_lightning.metrics": ("IoU", "Metric", "Pointing", "TopShare"),
    "dax_lightning.plots.panel": ("draw_panel",),
    "dax_lightning.segment.base": ("Segmenter",),
    "dax_lightning.segment.file": ("FromFile",),
    "dax_lightning.segment.grid": ("Grid",),
    "dax_lightning.segment.image": ("ColourClusters", "Felzenszwalb", "Quickshift", "Slic"),
    "dax_lightning.segment.mosaic": ("Mosaic",),
    "dax_lightning.segment.sam": ("Sam",),
    "dax_lightning.tasks": ("Files", "Photo", "Shapes", "Task", "Voc", "read_image"),
    "dax_lightning.types": ("Case", "Explanation"),
}
_HOME = {name: module for module, names in _ROOMS.items() for name in names}

__all__ = [
    "BlackBox",
    "BudgetExceeded",
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
    "ImageInput",
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
    "Training",
    "Voc",
    "draw_panel",
    "explain",
    "from_function",
    "from_model",
    "from_torch",
    "lite0",
    "read_image",
    "timm_model",
    "torchvision_model",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
