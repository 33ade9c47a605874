"""The only place where a model is called."""

from dax_lightning.black_box.base import BlackBox, Model
from dax_lightning.black_box.exported import exported_model
from dax_lightning.black_box.function import FunctionModel, from_function
from dax_lightning.black_box.huggingface import huggingface_model
from dax_lightning.black_box.named import from_model
from dax_lightning.black_box.onnx import onnx_model
from dax_lightning.black_box.sklearn import sklearn_model
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
    "exported_model",
    "from_factory",
    "from_function",
    "from_model",
    "from_torch",
    "huggingface_model",
    "lite0",
    "onnx_model",
    "sklearn_model",
    "timm_model",
    "torchvision_model",
]
