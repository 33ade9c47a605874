"""One call from a model and an input to its explanation."""

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image
from torch import Tensor, nn

from dax_lightning.black_box import BlackBox, from_function, from_torch
from dax_lightning.errors import InputError
from dax_lightning.explainers.base import Explainer
from dax_lightning.inputs.base import Input
from dax_lightning.types import Explanation

_HERE = Path(__file__).resolve().parent
_METHODS = next((c for c in (_HERE / "conf", _HERE.parent / "conf") if c.is_dir()), _HERE / "conf") / "explainer"


def explain(
    model: BlackBox | nn.Module | Callable[..., Any],
    image: str | Path | Image.Image | np.ndarray | Tensor,
    target: Any = None,
    method: str | Explainer = "dax",
    q: int = 1000,
    size: int | tuple[int, int] | Input | None = None,
    seed: int = 0,
) -> Explanation:
    """The explanation of one prediction.

    Args:
        model: a black box; or a torch module that returns logits, or a function that returns probabilities, of rows in [0, 1].
            For mean, std, class names and single logits make it a black box first, by ``from_torch`` or ``from_function``.
        image: a file, a PIL image, a NumPy array or a tensor, as :meth:`~dax_lightning.inputs.image.ImageInput.prepare` takes it.
        target: class id or name; ``None``: the model's top class, which costs one more query.
        method: a file's name in ``conf/explainer``, such as ``dax``, ``lime`` or ``rise``; or an explainer.
        q: perturbed copies, for methods that ask some.
        size: side of the model's input in pixels, or (H, W), or an ``Input``; only for a module or a function.
        seed: of all randomness.

    Raises:
        InputError: an unknown method or target, no size for a module or function, or an image that can't be used.

    Example:
        >>> from dax_lightning.testing import QuarterBox
        >>> made = explain(QuarterBox(), np.zeros((40, 60, 3), np.uint8), target="top left", method="rise", q=100)
        >>> made.saliency.shape, made.queries
        (torch.Size([32, 32]), 100)
    """
    if isinstance(method, Explainer):
        return method.explain(image, target)
    box = _black_box(model, size)
    make = _method(method)
    known = inspect.signature(make).parameters
    return make(box, **{name: value for name, value in (("q", q), ("seed", seed)) if name in known}).explain(image, target)


def _black_box(model: Any, size: Any) -> BlackBox:
    if isinstance(model, BlackBox):
        if size is not None:
            raise InputError(f"size={size} is for a module or a function, the black box has its own: leave it out")
        return model
    if size is None:
        raise InputError("the model's input size is not known: give size=, such as size=224, or a black box by from_torch(...)")
    return from_torch(model, size) if isinstance(model, nn.Module) else from_function(model, size)


def _method(name: str) -> Any:
    file = _METHODS / f"{name}.yaml"
    if not file.is_file():
        raise InputError(
            f"method={name} is not known: choose one of {', '.join(sorted(f.stem for f in _METHODS.glob('*.yaml')))}"
        )
    module, _, kind = yaml.safe_load(file.read_text(encoding="utf-8"))["_target_"].rpartition(".")
    return getattr(importlib.import_module(module), kind)
