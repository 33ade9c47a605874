"""One call from a model and an input to its explanation."""

import difflib
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
from dax_lightning.errors import InputError, whole
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
    q: int | None = None,
    size: int | tuple[int, int] | Input | None = None,
    seed: int | None = None,
) -> Explanation:
    """The explanation of one prediction.

    Args:
        model: a black box; or a torch module that returns logits, or a function that returns probabilities, of rows in [0, 1].
            For mean, std, class names and single logits make it a black box first, by ``from_torch`` or ``from_function``.
        image: a file, a PIL image, a NumPy array or a tensor, as :meth:`~dax_lightning.inputs.image.ImageInput.prepare` takes it.
        target: class id or name; ``None``: the model's top class, which costs one more query.
        method: a file's name in ``conf/explainer``, such as ``dax``, ``lime`` or ``rise``; or an explainer of this ``model``,
            which has its own ``q``, ``size`` and ``seed``.
        q: perturbed copies, for methods that ask some; ``None``: 1000.
        size: side of the model's input in pixels, or (H, W), or an ``Input``; only for a module or a function.
        seed: of all randomness; ``None``: 0.

    Raises:
        InputError: that is no model, an unknown method or target, no size for a module or function, an image that can't be used,
            or an explainer of another model, or with ``q``, ``size`` or ``seed`` beside it.

    Example:
        >>> from dax_lightning.testing import QuarterBox
        >>> made = explain(QuarterBox(), np.zeros((40, 60, 3), np.uint8), target="top left", method="rise", q=100)
        >>> made.saliency.shape, made.queries
        (torch.Size([32, 32]), 100)
    """
    if isinstance(method, Explainer):
        return _explained(_fitting(method, model, {"q": q, "size": size, "seed": seed}), image, target)
    make = _method(method)
    wanted = {"q": 1000 if q is None else q, "seed": 0 if seed is None else seed}
    for name, value in wanted.items():
        whole(name, value)
    box = _black_box(model, size)
    known = inspect.signature(make).parameters
    return _explained(make(box, **{name: value for name, value in wanted.items() if name in known}), image, target)


def _explained(explainer: Explainer, image: Any, target: Any) -> Explanation:
    """A tensor may be of any size and of bytes here, as arrays may."""
    return explainer.explain(explainer.black_box.input.prepare(image) if isinstance(image, Tensor) else image, target)


def _fitting(explainer: Explainer, model: Any, given: dict[str, Any]) -> Explainer:
    beside = [f"{name}={value}" for name, value in given.items() if value is not None]
    if beside:
        raise InputError(f"{', '.join(beside)} beside an explainer, which has its own: give it where {explainer.name} is made")
    if model is not explainer.black_box:
        raise InputError(
            "the explainer was made for another black box than model: give model=method.black_box, or "
            "method=method.again(black_box=model)"
        )
    return explainer


def _black_box(model: Any, size: Any) -> BlackBox:
    if isinstance(model, BlackBox):
        if size is not None:
            raise InputError(f"size={size} is for a module or a function, the black box has its own: leave it out")
        return model
    if isinstance(model, type) or not callable(model):
        came = f"the class {model.__name__}" if isinstance(model, type) else f"a {type(model).__name__}"
        raise InputError(f"model is {came}, wanted a black box, a torch module or a function: explain(model, image, ...)")
    if size is None:
        raise InputError("the model's input size is not known: give size=, such as size=224, or a black box by from_torch(...)")
    return from_torch(model, size) if isinstance(model, nn.Module) else from_function(model, size)


def _method(name: Any) -> Any:
    if isinstance(name, list | tuple | set):
        raise InputError(f"method={name!r}: one method at a time; call explain for each")
    if not isinstance(name, str):
        raise InputError(f"method={name!r}: wanted a name such as 'lime', or an explainer such as Rise(model)")
    file, names = _METHODS / f"{name}.yaml", sorted(file.stem for file in _METHODS.glob("*.yaml"))
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(names)}"
        raise InputError(f"method={name} is not known: {hint}")
    module, _, kind = yaml.safe_load(file.read_text(encoding="utf-8"))["_target_"].rpartition(".")
    return getattr(importlib.import_module(module), kind)
