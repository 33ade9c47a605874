"""The only place where a model is called."""

from dax_lightning.black_box.base import BlackBox
from dax_lightning.black_box.function import CallableBlackBox
from dax_lightning.black_box.torch_module import TorchBlackBox, lite0, timm_model, torchvision_model
from dax_lightning.black_box.view import View

__all__ = ["BlackBox", "CallableBlackBox", "TorchBlackBox", "View", "lite0", "timm_model", "torchvision_model"]
