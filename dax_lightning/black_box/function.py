"""A black box that is any Python function from a batch to scores."""

import hashlib
import importlib
import inspect
from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float
from torch import Tensor

from dax_lightning.black_box.base import BlackBox, Outputs, class_names
from dax_lightning.black_box.view import Crop, View
from dax_lightning.errors import InputError, ModelError

Rows = Literal["torch", "numpy", "numpy_channels_last"]


class CallableBlackBox(BlackBox):
    """Any Python function that maps a batch of rows in [0, 1] to (n, k) scores.

    Args:
        function: dotted path (``package.module.function``), or the function itself.
        size: (H, W) the function wants.
        channels: 3 for RGB, 1 for greyscale.
        rows: what it is given: ``torch`` (n, c, H, W), ``numpy`` (n, c, H, W) or ``numpy_channels_last`` (n, H, W, c).
        classes: class names, or a text file with one a line.
        outputs: ``probabilities`` or ``logits``.
        crop_pct: side of the crop over side of the resized photograph.
        crop: ``center`` or ``squash``.
        interpolation: nearest, bilinear, bicubic or lanczos.
        batch_size: rows a call.

    Raises:
        InputError: the path leads to no callable.

    Example:
        >>> import torch
        >>> def bright(rows):
        ...     share = rows.mean((1, 2, 3))
        ...     return torch.stack([share, 1 - share], 1)
        >>> box = CallableBlackBox(bright, size=(4, 4), classes=["bright", "dark"])
        >>> [round(p, 1) for p in box(torch.full((1, 3, 4, 4), 0.75))[0].tolist()]
        [0.8, 0.2]
    """

    def __init__(
        self,
        function: str | Callable[..., Any],
        size: tuple[int, int] | list[int] = (224, 224),
        channels: int = 3,
        rows: Rows = "torch",
        classes: str | list[str] | None = None,
        outputs: Outputs = "probabilities",
        crop_pct: float = 1.0,
        crop: Crop = "center",
        interpolation: str = "bicubic",
        batch_size: int = 32,
    ):
        if rows not in get_args(Rows):
            raise InputError(f"black_box.rows={rows}: choose one of {', '.join(get_args(Rows))}")
        if len(size) != 2:
            raise InputError(f"black_box.size={list(size)}: wanted two numbers, [height,width]")
        view = View((int(size[0]), int(size[1])), channels, crop_pct, crop, interpolation)
        super().__init__(view, class_names(classes), outputs, batch_size)
        self.rows = rows
        self.function = _imported(function) if isinstance(function, str) else function
        self.fingerprint = _fingerprint(self.function)

    def _scores(self, x: Float[Tensor, "n c h w"]) -> Any:
        rows = x if self.rows == "torch" else x.numpy()
        if self.rows == "numpy_channels_last":
            rows = np.ascontiguousarray(x.permute(0, 2, 3, 1).numpy())
        try:
            return self.function(rows)
        except Exception as error:
            name = getattr(self.function, "__name__", type(self.function).__name__)
            given = f"{self.rows} rows of shape {tuple(rows.shape)}"
            raise ModelError(
                f"the function {name} failed on {given}: {type(error).__name__}: {' '.join(str(error).split())}"
            ) from error


def _imported(path: str) -> Callable[..., Any]:
    module, _, name = path.replace(":", ".").rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(
            f"black_box.function={path} can't be imported ({error}): wanted package.module.function, on PYTHONPATH"
        ) from error
    if not callable(found):
        raise InputError(f"black_box.function={path} is a {type(found).__name__}, wanted a function from a batch to scores")
    return found


def _fingerprint(function: Callable[..., Any]) -> str:
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):
        source = repr(type(function))
    return hashlib.sha256(source.encode()).hexdigest()[:16]
