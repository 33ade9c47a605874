"""A linear classifier on a frozen backbone's features, and the file that holds it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor

from dax_lightning.black_box.base import BlackBox
from dax_lightning.black_box.torch.engine import Engine
from dax_lightning.black_box.torch.module import TorchModel
from dax_lightning.black_box.torch.named import lite0, timm_model
from dax_lightning.black_box.torch.stored import store, stored
from dax_lightning.errors import InputError, cause_of
from dax_lightning.inputs.image import Crop

Backbone = Literal["lite0", "vit_tiny"]
_KIND = "linear_head"


@dataclass(frozen=True)
class LinearHead:
    """A linear classifier on the features of one backbone.

    Args:
        weight: of each class.
        bias: of each class.
        classes: names in the order of the rows of ``weight``.
        backbone: lite0 or vit_tiny.
        fingerprint: of the backbone that it was trained on.
        trained_on: keys of the photographs that it was trained on.

    Example:
        >>> import tempfile
        >>> head = LinearHead(torch.ones(2, 3), torch.zeros(2), ("background", "cat"), "lite0", "0123456789abcdef")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     head.save(Path(folder, "head.safetensors"))
        ...     LinearHead.load(Path(folder, "head.safetensors")).classes
        ('background', 'cat')
    """

    weight: Float[Tensor, "k d"]
    bias: Float[Tensor, " k"]
    classes: tuple[str, ...]
    backbone: Backbone
    fingerprint: str
    trained_on: tuple[str, ...] = ()

    def save(self, file: str | Path) -> None:
        """Write a .safetensors file, and the folders above it; the same head, the same bytes.

        Raises:
            InputError: it can't be written.
        """
        facts = {name: getattr(self, name) for name in ("classes", "backbone", "fingerprint", "trained_on")}
        store(file, _KIND, facts, {"weight": self.weight, "bias": self.bias}, "head")

    @classmethod
    def load(cls, file: str | Path) -> "LinearHead":
        """Read back what :meth:`save` wrote.

        Raises:
            InputError: no such file, or another kind of file.
        """
        path = Path(file).expanduser()
        if not path.is_file():
            raise InputError(f"black_box.head={file} does not exist: scripts/train_voc_head.py makes such a file")
        try:
            facts, tensors = stored(path, _KIND)
            head = cls(
                weight=tensors["weight"],
                bias=tensors["bias"],
                classes=tuple(facts["classes"]),
                backbone=facts["backbone"],
                fingerprint=facts["fingerprint"],
                trained_on=tuple(facts["trained_on"]),
            )
        except (SafetensorError, KeyError, ValueError, TypeError, OSError) as error:
            cause = cause_of(error, most=200)
            raise InputError(
                f"black_box.head={file} is no head ({cause}): wanted a .safetensors file that scripts/train_voc_head.py wrote"
            ) from error
        return head


def voc_head(
    head: str,
    backbone: Backbone = "lite0",
    weights: str | None = None,
    batch_size: int = 32,
    device: str = "auto",
    crop: Crop = "center",
    engine: Engine = "torch",
) -> BlackBox:
    """A frozen ImageNet backbone whose classifier is a head over VOC's classes and background.

    The backbone's last linear layer is replaced, all else stays, so that layers are found as in the backbone itself.

    Args:
        head: a file that ``scripts/train_voc_head.py`` wrote.
        backbone: lite0 or vit_tiny, the one that the head was trained on.
        weights: the backbone's local file, for vit_tiny; lite0 brings its own.
        batch_size: rows a call.
        device: cpu, cuda or auto.
        crop: ``center`` or ``squash``.
        engine: see :func:`runner`.

    Raises:
        InputError: no such file, a head of another backbone or of other weights, or weights for lite0.
    """
    found = LinearHead.load(head)
    box = backbone_box(backbone, weights, batch_size, device, crop)
    if (found.backbone, found.fingerprint) != (backbone, box.fingerprint):
        raise InputError(
            f"black_box.head={head} was trained on {found.backbone} with weights {found.fingerprint}, not on {backbone} with "
            f"{box.fingerprint}: give its own black_box.backbone and black_box.weights, or train a head on these"
        )
    made = with_head(box, found, engine)
    made.trained_on = frozenset(found.trained_on)
    return made


def with_head(box: BlackBox, head: LinearHead, engine: Engine = "torch") -> BlackBox:
    """The same backbone, with this head in place of its classifier; the box itself is used up.

    Raises:
        InputError: the head wants another number of features.
    """
    module: Any = box.module
    count, features = head.weight.shape
    if features != module.num_features:
        raise InputError(f"the head wants {features} features, {head.backbone} has {module.num_features}: train a head on it")
    module.reset_classifier(count)
    module.get_classifier().load_state_dict({"weight": head.weight, "bias": head.bias})
    old: Any = box.model
    mean, std = (values.flatten().tolist() for values in (old.mean, old.std))
    model = TorchModel(module, box.input.shape, mean, std, head.classes, str(box.device), engine)
    return BlackBox(model, box.input, "logits", batch_size=box.batch_size)


def backbone_box(
    backbone: Backbone, weights: str | None = None, batch_size: int = 32, device: str = "auto", crop: Crop = "center"
) -> BlackBox:
    """The backbone with its own ImageNet classifier; the arguments are those of :func:`voc_head`."""
    if backbone not in get_args(Backbone):
        raise InputError(f"black_box.backbone={backbone}: choose one of {', '.join(get_args(Backbone))}")
    if backbone == "vit_tiny":
        return timm_model("vit_tiny_patch16_224", weights, batch_size=batch_size, device=device, crop=crop)
    if weights is not None:
        raise InputError(f"black_box.weights={weights} goes with black_box.backbone=vit_tiny; lite0 brings its own: leave it out")
    return lite0(batch_size, device, crop)


@torch.no_grad()
def features(box: BlackBox, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d"]:
    """What the backbone hands its last linear layer, on the CPU; no row is counted, this is for training a head.

    Args:
        box: a timm model as a black box.
        x: values in [0, 1].
    """
    module: Any = box.module
    model: Any = box.model
    rows = x.to(box.device).contiguous(memory_format=torch.channels_last)
    seen = [
        module.forward_head(module.forward_features(model.normalised(few)), pre_logits=True) for few in rows.split(box.batch_size)
    ]
    return torch.cat(seen).float().cpu()
