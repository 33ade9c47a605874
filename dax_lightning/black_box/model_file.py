"""What networks in files share: the batch that one takes, and a model around what runs it."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dax_lightning.black_box.answers import Outputs, table_of
from dax_lightning.black_box.torch.module import Numbers, check_normalisation
from dax_lightning.errors import InputError, ModelError, cause_of, remedy
from dax_lightning.inputs.base import Input
from dax_lightning.inputs.image import Crop, ImageInput
from dax_lightning.inputs.table import TableInput

_LONG = 300  # characters of a foreign error
_USUAL = (1, 3, 4)  # channels of most pictures


@dataclass(frozen=True)
class Layout:
    """The batch that a network takes.

    Args:
        shape: of one row, in the network's order; ``None`` on an axis: any length.
        batch: rows of every call, where the file fixes them; ``None``: any number.
        dtype: NumPy's name of the type.
        channels_last: of images, (H, W, c) in place of (c, H, W); ``None``: the channels are the axis of 1, 3 or 4, the one
            that is no side of a square, or the shorter end.

    Example:
        >>> [Layout(shape).channels_last_is() for shape in ((64, 48, 3), (3, 64, 48), (12, 8, 8), (None, None, 12), (28, 28, 1))]
        [True, False, False, True, True]
    """

    shape: tuple[int | None, ...]
    batch: int | None = None
    dtype: str = "float32"
    channels_last: bool | None = None

    def channels_last_is(self) -> bool:
        """Whether the channels of an image come last."""
        if self.channels_last is not None or len(self.shape) != 3:
            return bool(self.channels_last)
        first, middle, last = self.shape
        if (first in _USUAL) != (last in _USUAL):
            return last in _USUAL
        if (first == middle) != (middle == last):  # a square picture
            return first == middle
        return last is not None and (first is None or last < first)

    def images(self) -> tuple[int | None, int | None, int | None]:
        """(c, H, W) of one row."""
        one, two, three = self.shape
        return (three, one, two) if self.channels_last_is() else (one, two, three)

    def batches(self, rows: Float[Tensor, "n ..."]) -> Iterable[tuple[np.ndarray, int]]:
        """The network's batches, and how many rows of each are meant: a fixed batch is filled up with copies of its last row.

        Example:
            >>> [(batch.shape, meant) for batch, meant in Layout((3, 2, 2), batch=4).batches(torch.zeros(5, 3, 2, 2))]
            [((4, 3, 2, 2), 4), ((4, 3, 2, 2), 1)]
        """
        values = rows.movedim(1, -1) if rows.ndim == 4 and self.channels_last_is() else rows
        if len(self.shape) + 1 < values.ndim:
            values = values.flatten(1) if len(self.shape) == 1 else values.squeeze(1)
        array = values.detach().cpu().numpy()
        kind = np.dtype(self.dtype)
        array = np.ascontiguousarray(np.rint(array).astype(kind) if kind.kind in "iu" else array.astype(kind, copy=False))
        for start in range(0, len(array), self.batch or max(1, len(array))):
            part = array[start : start + (self.batch or len(array))]
            missing = 0 if self.batch is None else self.batch - len(part)
            yield (np.concatenate([part, np.repeat(part[-1:], missing, 0)]) if missing else part), len(part)


@dataclass(frozen=True)
class View:
    """What the user says of the input; ``None``: what the file says.

    Args:
        size: (H, W) in pixels, or one side.
        channels: 3 for RGB, 1 for greyscale, or any number of bands.
        low: smallest value of a row.
        high: largest value of a row.
        crop: ``center`` or ``squash``.
        mean: subtracted from rows, one value a channel or one for all.
        std: divided by; it goes with ``mean``.
        input: another kind of input than photographs.

    Raises:
        InputError: the size is no whole number of pixels.
    """

    size: int | tuple[int, int] | list[int] | None = None
    channels: int | None = None
    low: int | float | None = None
    high: int | float | None = None
    crop: Crop = "center"
    mean: Numbers = None
    std: Numbers = None
    input: Input | None = None

    def on(self, layout: Layout, name: str) -> Input:
        """The input of a network in a file of this name.

        Raises:
            InputError: what the user said and what the file says differ, or neither says it.
        """
        made = self.input if self.input is not None else self._made(layout, name)
        check_normalisation(self.mean, self.std, made)
        return made

    def normalised(self, rows: Float[Tensor, "n c *space"]) -> Float[Tensor, "n c *space"]:
        """Rows less the mean, over the standard deviation."""
        if self.mean is None and self.std is None:
            return rows
        mean, std = (
            torch.tensor(default if values is None else values, dtype=torch.float32).view(-1, *[1] * (rows.ndim - 2))
            for values, default in ((self.mean, 0.0), (self.std, 1.0))
        )
        if any(len(values) not in (1, rows.shape[1]) for values in (mean, std)):
            raise InputError(f"mean={self.mean}, std={self.std} for {rows.shape[1]} channels: wanted one value, or one each")
        return (rows - mean) / std

    def image(self, channels: int, size: tuple[int, int], dtype: str = "float32") -> ImageInput:
        """Pictures of this size; a network of bytes gets values of 0 to 255 where no range was declared."""
        low = 0.0 if self.low is None else self.low
        top = 255.0 if dtype == "uint8" else 1.0
        high = top if self.high is None else self.high
        return ImageInput(size, channels, crop=self.crop, low=low, high=high)

    def sides(self) -> tuple[int | None, int | None]:
        """(H, W) that the user gave."""
        if self.size is None:
            return None, None
        sides = [self.size] * 2 if isinstance(self.size, int) else list(self.size)
        if len(sides) != 2 or not all(isinstance(side, int) and not isinstance(side, bool) for side in sides):
            wanted = "wanted pixels, a whole number or [height,width]"
            raise InputError(f"size={self.size!r}: {wanted}, such as {remedy('size=[224,224]')}")
        return sides[0], sides[1]

    def _made(self, layout: Layout, name: str) -> Input:
        if len(layout.shape) == 3:
            channels, *sides = layout.images()
            found = [
                _agreed(setting, said, own, name)
                for setting, said, own in zip(
                    ("channels", "height", "width"), (self.channels, *self.sides()), (channels, *sides), strict=True
                )
            ]
            if None in found[1:]:
                raise InputError(f"{name} takes images of any size: say which, such as {remedy('size=[224,224]')}")
            height, width = found[1] or 0, found[2] or 0
            return self.image(3 if found[0] is None else found[0], (height, width), layout.dtype)
        if len(layout.shape) == 1:
            return self._flat(layout, name)
        shape = f"({', '.join('any' if side is None else str(side) for side in layout.shape)})"
        raise InputError(
            f"{name} takes rows of shape {shape}, which are no images: say what they are, kind=wave or kind=spectrogram "
            "(in Python input=...)"
        )

    def _flat(self, layout: Layout, name: str) -> Input:
        values, (height, width) = layout.shape[0], self.sides()
        if height is None or width is None:
            if values is None:
                raise InputError(f"{name} takes rows of any length: of pixels, say {remedy('size=[28,28]')}")
            return TableInput(tuple(f"x{feature}" for feature in range(values)))
        channels = self.channels or (1 if values is None else max(1, values // (height * width)))
        if values is not None and channels * height * width != values:
            raise InputError(
                f"size={[height, width]} of {channels} channels are {channels * height * width} values, {name} takes "
                f"{values}: set {remedy('size=')} or {remedy('channels=')}"
            )
        return self.image(channels, (height, width), layout.dtype)


class FileModel:
    """A network in a file as a :class:`~dax_lightning.black_box.base.Model`.

    Args:
        run: what maps one batch, as an array, to scores; it can be pickled.
        layout: the batch that it takes.
        view: mean and standard deviation.
        name: of the file, for errors.
        fingerprint: of the file's bytes.
        classes: names in the order of the scores; ``None`` when unknown.
        remarks: what was read from the file and not declared.
        device: where it runs.

    Example:
        >>> FileModel(lambda batch: batch, Layout((2,)), View(mean=0.5, std=1.0), "x", "").scores(torch.ones(1, 1, 2)).tolist()
        [[0.5, 0.5]]
    """

    def __init__(
        self,
        run: Callable[[np.ndarray], Any],
        layout: Layout,
        view: View,
        name: str,
        fingerprint: str,
        classes: tuple[str, ...] | None = None,
        remarks: tuple[str, ...] = (),
        device: torch.device | None = None,
    ):
        self.run, self.layout, self.view, self.name = run, layout, view, name
        self.fingerprint, self.classes, self.remarks = fingerprint, classes, remarks
        self.device = torch.device("cpu") if device is None else device

    def scores(self, rows: Float[Tensor, "n c *space"]) -> Float[Tensor, "n k"]:
        """The network's answers to rows in the input's range.

        Raises:
            ModelError: it failed.
        """
        tables = []
        for batch, meant in self.layout.batches(self.view.normalised(rows)):
            try:
                answer = self.run(batch)
            except InputError:
                raise
            except Exception as error:  # whatever another library raises
                told = f"{self.name} failed on {batch.dtype} rows of shape {batch.shape}: {cause_of(error, _LONG)}"
                raise ModelError(f"{told}: set {remedy('size=')} or {remedy('channels=')}") from error
            tables.append(table_of(answer, len(batch))[:meant])
        return torch.cat(tables)


def existing(file: str | Path, wanted: str) -> Path:
    """The file, or an error that says which file was wanted.

    Raises:
        InputError: it does not exist, or is a folder.

    Example:
        >>> existing("none.onnx", "an .onnx file")
        Traceback (most recent call last):
            ...
        dax_lightning.errors.InputError: model file none.onnx does not exist: give the path of an .onnx file
    """
    path = Path(file).expanduser()
    if not path.is_file():
        what = f"is a folder, wanted {wanted}" if path.is_dir() else f"does not exist: give the path of {wanted}"
        raise InputError(f"model file {path} {what}")
    return path


def file_fingerprint(*files: Path) -> str:
    """First 16 hex digits of the SHA-256 of the files' bytes.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "x").write_bytes(b"")
        ...     file_fingerprint(Path(folder, "x"))
        'e3b0c44298fc1c14'
    """
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as content:
            while block := content.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()[:16]


def declared(
    outputs: Outputs | None, multi_label: bool, last: str | None, columns: int | None, name: str
) -> tuple[Outputs, bool, tuple[str, ...]]:
    """What the scores are, and a line where the network's last step tells it and the user didn't.

    Args:
        outputs: what the user declared; ``None``: the last step decides.
        multi_label: as the user declared.
        last: the last step, such as ``Softmax``; ``None``: unknown.
        columns: scores a row; ``None``: unknown.
        name: of the file.

    Example:
        >>> declared(None, False, "Sigmoid", 5, "net.onnx")[:2], declared("logits", False, "Sigmoid", 5, "net.onnx")
        (('sigmoid', True), ('logits', False, ()))
    """
    if outputs is not None:
        return outputs, multi_label, ()
    if last not in ("Softmax", "Sigmoid"):
        return "logits", multi_label, ()
    single = columns == 1
    found: Outputs = "sigmoid" if last == "Sigmoid" and not single else "probabilities"
    told = f"{name} ends in {last}: its scores are read as {found}; black_box.outputs= says otherwise"
    return found, multi_label or found == "sigmoid", (told,)


def _agreed(setting: str, said: int | None, own: int | None, name: str) -> int | None:
    if said is not None and own is not None and said != own:
        raise InputError(f"{setting} {said} was given, and {name} takes {own}: leave it out")
    return own if said is None else said
