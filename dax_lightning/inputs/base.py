"""What every kind of input has: a shape, a range, a way to be read from a file and a way to be shown."""

import math
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from dax_lightning.errors import InputError
from dax_lightning.types import Sound


class Input(ABC):
    """One kind of input, as the model takes it. The only place that knows pixels from mel bands.

    ``c`` channels and ``*space``: (H, W), (mel, time) or (time,). A text or a table row is (1, j): j places without neighbours.

    Attributes:
        low: smallest value.
        high: largest value.
        kind: ``image``, ``spectrogram``, ``wave``, ``text`` or ``table``.
        suffixes: endings of the files that :meth:`read` takes, in small letters.
        has_space: places have neighbours, so that an input can be blurred, pooled or cut along its axes.
    """

    low: int | float = 0.0
    high: int | float = 1.0
    kind: ClassVar[str]
    has_space: ClassVar[bool] = True

    @property
    @abstractmethod
    def shape(self) -> tuple[int | None, ...]:
        """``(c, *space)`` of one input; ``None`` on an axis: any length."""

    @property
    @abstractmethod
    def suffixes(self) -> tuple[str, ...]:
        """See above."""

    @abstractmethod
    def read(self, path: Path) -> Float[Tensor, "c *space"]:
        """The input in a file.

        Raises:
            InputError: the file is missing or damaged.
        """

    @property
    def step(self) -> float | None:
        """Seconds from one place to the next along the last axis; ``None`` where it is no time, or the rate is not known."""
        return None

    @property
    def hertz(self) -> tuple[float, ...]:
        """The middle frequency of each band, of spectrograms whose front end is known."""
        return ()

    def record(self, path: Path) -> Sound | None:
        """The recording in a file, as long and at the rate that the model wants; ``None``: the file is none.

        Raises:
            InputError: the file is missing or damaged.
        """
        return None

    def heard(self, x: Float[Tensor, "c *space"]) -> Sound | None:
        """The recording that an input is; ``None`` where it can't be heard, as a spectrogram alone can't."""
        return None

    def fitted(self, sound: Sound) -> Sound:
        """The recording as long, and of as many channels, as the model wants: cut or followed by silence."""
        return sound

    def of_sound(self, sound: Sound) -> Float[Tensor, "c *space"]:
        """The input that a recording is, see :meth:`fitted`; only for kinds that have one."""
        raise InputError(f"a {self.kind} is not made from a recording")

    def split(self, sound: Sound, mask: Float[Tensor, "*space"]) -> tuple[Sound, Sound]:
        """What a mask keeps of a recording, and what it removes; only for kinds that have one."""
        raise InputError(f"a {self.kind} is not made from a recording")

    @abstractmethod
    def show(self, x: Float[Tensor, "c *space"]) -> Image.Image:
        """A picture of an input, for reports."""

    def neutral(self, x: Float[Tensor, "c *space"]) -> Float[Tensor, "c *space"]:
        """An input that says nothing: zeros; silence; of a text the mask token, of a table row what is typical."""
        return torch.zeros_like(x)

    def unit(self, x: Float[Tensor, "c *space"]) -> Float[Tensor, "c *space"]:
        """The input with [low, high] scaled to [0, 1], as segmenters and networks want it."""
        return x if (self.low, self.high) == (0.0, 1.0) else (x - self.low) / (self.high - self.low)

    def prepare(self, source: object) -> Float[Tensor, "c *space"]:
        """The input in a file, an array or a tensor, checked.

        Args:
            source: a path; or the values themselves, with or without the axis of one channel.

        Raises:
            InputError: another type, or not an input of this kind.
        """
        if isinstance(source, str | Path):
            x = self.read(Path(source))
        elif isinstance(source, Tensor | np.ndarray):
            x = self._tensor(source)
        else:
            raise InputError(f"input of type {type(source).__name__}, wanted a path, a NumPy array or a tensor")
        self.check(x)
        return x

    def places(self, x: Float[Tensor, "c *space"]) -> tuple[str, ...]:
        """What stands at each place of an input without space: a text's words, a table row's features. Else nothing."""
        return ()

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether an input of this shape is one of these."""
        return len(shape) == len(self.shape) and all(
            wanted in (None, came) for wanted, came in zip(self.shape, shape, strict=True)
        )

    def check(self, x: Float[Tensor, "c *space"]) -> None:
        """Raise an InputError unless ``x`` has this shape, is finite and lies in [low, high]."""
        if not self.fits(tuple(x.shape)):
            raise InputError(
                f"input of shape {tuple(x.shape)}, wanted {self._wanted()} (one input, no batch axis): "
                "make it with black_box.input"
            )
        if x.numel() == 0:
            raise InputError(f"the input of shape {tuple(x.shape)} is empty: give one with at least one value")
        if not torch.isfinite(x).all():
            raise InputError("the input holds NaN or infinite values: replace them before explaining")
        if ((x < self.low) | (x > self.high)).any():
            came = f"{x.min().item():.3g} to {x.max().item():.3g}"
            wanted = f"[{self.low:g}, {self.high:g}]"
            raise InputError(f"input values from {came}, wanted {wanted}: mean and std belong to the black box")

    def _tensor(self, values: Tensor | np.ndarray) -> Float[Tensor, "c *space"]:
        """Real numbers as a float tensor; the axis of one channel is added where it is missing."""
        if isinstance(values, np.ndarray) and values.dtype.kind not in "biuf":
            raise InputError(f"input of {values.dtype} values, wanted real numbers")
        if isinstance(values, Tensor) and values.is_complex():
            raise InputError("input of complex values, wanted real numbers")
        if values.ndim == 0:
            raise InputError(f"input of a single number, wanted {self._wanted()}")
        with np.errstate(over="ignore"):  # what is beyond float32 becomes infinite, and is refused as such
            x = values.detach().cpu() if isinstance(values, Tensor) else torch.from_numpy(values.astype(np.float32))
        x = x.to(torch.float32)
        return x[None] if self.shape[0] == 1 and x.ndim == len(self.shape) - 1 else x

    def _wanted(self) -> str:
        """The shape, ``any`` where a length is free."""
        return "(" + ", ".join("any" if length is None else str(length) for length in self.shape) + ")"


def check_length(setting: str, length: int | None) -> None:
    """Raise an InputError unless it is 1 or more, or ``None`` for any."""
    if length is not None and length < 1:
        raise InputError(f"{setting}={length}: it must be at least 1, or null for any length")


def check_range(low: int | float, high: int | float) -> None:
    """Raise an InputError unless both are finite and ``low`` is below ``high``."""
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise InputError(f"low={low:g}, high={high:g}: wanted two finite numbers, the lower first")
