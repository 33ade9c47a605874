"""The only place where a model is called."""

from dax_lightning.black_box.base import BlackBox, Model
from dax_lightning.black_box.function import FunctionModel, from_function
from dax_lightning.black_box.store import Store
from dax_lightning.black_box.torch.module import TorchModel, from_factory, from_torch
from dax_lightning.black_box.torch.named import lite0, timm_model, torchvision_model
from dax_lightning.inputs.image import ImageInput

__all__ = [
    "BlackBox",
    "FunctionModel",
    "ImageInput",
    "Model",
    "Store",
    "TorchModel",
    "from_factory",
    "from_function",
    "from_torch",
    "lite0",
    "timm_model",
    "torchvision_model",
]
