"""A black box that is any Python function from a batch to scores."""

import importlib
import operator
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from numbers import Integral
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float
from torch import Tensor, nn

from dax_lightning.black_box.answers import Outputs
from dax_lightning.black_box.base import BlackBox, class_names
from dax_lightning.black_box.content import fingerprint_of, modules_in
from dax_lightning.errors import InputError, ModelError, remedy
from dax_lightning.inputs.base import Input
from dax_lightning.inputs.image import ImageInput

Rows = Literal["torch", "numpy", "numpy_channels_last"]


class FunctionModel:
    """Any Python function that maps a batch of rows to scores, as a :class:`~dax_lightning.black_box.base.Model`.

    The function gets rows of its own, which it may change. Torch modules that it reaches (it is one, or holds one in its closure,
    its globals or its object) are in evaluation mode around each call; afterwards their flags are as before.

    Args:
        function: the function.
        rows: what it is given: ``torch`` (n, c, H, W), ``numpy`` (n, c, H, W) or ``numpy_channels_last`` (n, H, W, c).
        classes: class names in order; ``None`` when unknown.
        fingerprint: identifies the function; ``None``: taken from its code and the values that it reaches.

    Raises:
        InputError: unknown ``rows``.

    Example:
        >>> import torch
        >>> FunctionModel(lambda rows: rows.mean((2, 3))).scores(torch.ones(2, 3, 4, 4)).shape
        torch.Size([2, 3])
    """

    def __init__(
        self,
        function: Callable[..., Any],
        rows: Rows = "torch",
        classes: tuple[str, ...] | None = None,
        fingerprint: str | None = None,
    ):
        if rows not in get_args(Rows):
            raise InputError(f"rows={rows}: choose one of {', '.join(get_args(Rows))}")
        self.function, self.rows, self.classes = function, rows, classes
        self.fingerprint = fingerprint_of(function) if fingerprint is None else fingerprint

    def scores(self, rows: Float[Tensor, "n c *space"]) -> Any:
        """What the function answers.

        Raises:
            ModelError: it raised an error.
        """
        given: Any = rows if self.rows == "torch" else rows.numpy()
        if self.rows == "numpy_channels_last":
            given = np.ascontiguousarray(rows.movedim(1, -1).numpy())
        try:
            with _evaluating(modules_in(self.function)):
                return self.function(given)
        except Exception as error:
            name = getattr(self.function, "__name__", type(self.function).__name__)
            told = f"{self.rows} rows of shape {tuple(given.shape)}"
            raise ModelError(
                f"the function {name} failed on {told}: {type(error).__name__}: {' '.join(str(error).split())}"
            ) from error


def from_function(
    function: str | Callable[..., Any],
    size: int | tuple[int, int] | list[int] | Input = (224, 224),
    channels: int = 3,
    rows: Rows = "torch",
    classes: str | list[str] | tuple[str, ...] | None = None,
    outputs: Outputs = "probabilities",
    multi_label: bool = False,
    batch_size: int = 32,
    fingerprint: str | None = None,
    input: Input | None = None,
) -> BlackBox:
    """A black box that is any Python function from a batch of rows in [0, 1] to scores.

    Args:
        function: the function, or its path, ``package.module:function``; the working folder is on the import path.
        size: (H, W) that the function wants, in pixels; or an ``Input``, such as ``ImageInput((224, 224), crop="squash")``.
        channels: 3 for RGB, 1 for greyscale; an ``Input`` has its own.
        rows: what it is given: ``torch`` (n, c, H, W), ``numpy`` (n, c, H, W) or ``numpy_channels_last`` (n, H, W, c).
        classes: class names, or a text file with one a line. A single column of scores has one name, or two: the first of these
            is what speaks against it.
        outputs: what it returns: ``probabilities`` or ``logits``. A single column, (n, 1) or (n,), is two classes.
        multi_label: each class is its own yes or no: sigmoids, no softmax, and rows needn't sum to 1.
        batch_size: rows a call.
        fingerprint: identifies the function in what is saved; ``None``: made from its code and the values that it reaches.
        input: another kind of input than photographs: ``kind=wave`` on the command line. The same as an ``Input`` for ``size``.

    Raises:
        InputError: the path leads to no function, or a setting is out of range.

    Example:
        >>> import torch
        >>> def bright(rows):
        ...     share = rows.mean((1, 2, 3))
        ...     return torch.stack([share, 1 - share], 1)
        >>> box = from_function(bright, size=(4, 4), classes=["bright", "dark"])
        >>> [round(p, 1) for p in box(torch.full((1, 3, 4, 4), 0.75))[0].tolist()]
        [0.8, 0.2]
    """
    found = imported(function, "black_box.function") if isinstance(function, str) else function
    model = FunctionModel(found, rows, class_names(classes), fingerprint)
    return BlackBox(model, image_input(size if input is None else input, channels), outputs, multi_label, batch_size)


def image_input(size: int | tuple[int, int] | list[int] | Input, channels: int = 3) -> Input:
    """The input that a size stands for: photographs of that many pixels.

    Example:
        >>> image_input(32).shape
        (3, 32, 32)
    """
    if isinstance(size, Input):
        return size
    sides = tuple(size) if isinstance(size, Sequence) and not isinstance(size, str) else (size, size)
    if len(sides) != 2 or not all(isinstance(side, Integral) and not isinstance(side, bool) for side in sides):
        raise InputError(f"size={size!r}: wanted pixels, a whole number or [height,width], such as {remedy('size=[224,224]')}")
    return ImageInput((int(sides[0]), int(sides[1])), channels)


def imported(path: str, key: str) -> Callable[..., Any]:
    """The function at ``package.module:function`` or ``package.module.function``.

    Args:
        path: dotted path; the working folder is on the import path.
        key: the setting that it is from, for the error.

    Raises:
        InputError: nothing is there, or no function.

    Example:
        >>> imported("math:sqrt", "black_box.function")(9)
        3.0
    """
    module, _, name = path.partition(":") if ":" in path else path.rpartition(".")
    try:
        with _working_folder():
            found = operator.attrgetter(name)(importlib.import_module(module))
    except Exception as error:  # whatever the user's module raises
        cause = " ".join(f"{error}".split()) or type(error).__name__
        raise InputError(
            f"{key}={path} can't be imported ({cause}): wanted package.module:function, on PYTHONPATH or in the working folder"
        ) from error
    if not callable(found):
        raise InputError(f"{key}={path} is a {type(found).__name__}, wanted a function")
    return found


@contextmanager
def _working_folder() -> Iterator[None]:
    """The working folder is searched first now, and last from now on, for what the user's code imports later."""
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        yield
    finally:
        sys.path.remove(here)
        if here not in sys.path:
            sys.path.append(here)


@contextmanager
def _evaluating(modules: list[nn.Module]) -> Iterator[None]:
    flags = [(part, part.training) for module in modules for part in module.modules()]
    for module in modules if any(flag for _, flag in flags) else ():
        module.eval()
    try:
        yield
    finally:
        for part, flag in flags:
            part.training = flag
