"""Spectrograms: mel bands over time."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from dax_lightning.errors import InputError
from dax_lightning.inputs.arrays import SUFFIXES, read_array
from dax_lightning.inputs.base import Input, check_length, check_range
from dax_lightning.inputs.sound import SOUNDS, LogMel, exactly, read_sound
from dax_lightning.types import Sound

_COLOURS = (  # dark violet over red to light yellow, each step lighter than the one before
    (0, 0, 4), (28, 16, 68), (79, 18, 123), (129, 37, 129), (181, 54, 122), (229, 80, 100), (251, 135, 97), (254, 194, 135),
    (252, 253, 191),
)  # fmt: skip


@dataclass(frozen=True)
class SpectrogramInput(Input):
    """Energy of each mel band over time, (1, mel, time).

    Args:
        mels: number of mel bands; ``None``: any.
        frames: number of time steps; ``None``: any.
        low: smallest value, in the model's own unit (often decibel).
        high: largest value.
        front: how recordings become spectrograms; ``None``: only arrays are read.
        seconds: most of a recording that is read; ``None``: 30. With ``frames``, recordings are cut, or followed by silence.

    Raises:
        InputError: a length below 1, no range, or a front end of another number of bands.

    Example:
        >>> SpectrogramInput(64, low=-80, high=0).show(torch.zeros(1, 64, 100)).size
        (100, 64)
    """

    kind: ClassVar[str] = "spectrogram"
    mels: int | None
    frames: int | None = None
    low: int | float = 0.0
    high: int | float = 1.0
    front: LogMel | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.front is not None and self.front.bands != self.mels:
            raise InputError(f"a front end of {self.front.bands} bands for a spectrogram of {self.mels}: give the same number")
        check_length("mels", self.mels)
        check_length("frames", self.frames)
        check_range(self.low, self.high)

    @property
    def shape(self) -> tuple[int | None, ...]:
        """(1, mel, time)."""
        return (1, self.mels, self.frames)

    @property
    def suffixes(self) -> tuple[str, ...]:
        """See :class:`Input`."""
        return SUFFIXES if self.front is None else (*SOUNDS, *SUFFIXES)

    @property
    def step(self) -> float | None:
        """See :class:`Input`."""
        return None if self.front is None else self.front.step

    @property
    def hertz(self) -> tuple[float, ...]:
        """See :class:`Input`."""
        return () if self.front is None else tuple(self.front.centres.tolist())

    def record(self, path: Path) -> Sound | None:
        """See :class:`Input`; arrays are no recordings."""
        if self.front is None or path.suffix.lower() in SUFFIXES:
            return None
        seconds = self.seconds if self.frames is None else (self.frames - 1) * self.front.step
        return self.fitted(read_sound(path, self.front.rate, seconds=seconds))

    def fitted(self, sound: Sound) -> Sound:
        """See :class:`Input`."""
        return sound if self.frames is None else exactly(sound, (self.frames - 1) * self._front().hop)

    def of_sound(self, sound: Sound) -> Float[Tensor, "1 mel time"]:
        """See :class:`Input`."""
        return self._front()(sound.wave.mean(0))

    def split(self, sound: Sound, mask: Float[Tensor, "mel time"]) -> tuple[Sound, Sound]:
        """See :class:`Input`: the mask is laid on the complex spectrum, and the recording's own phase is kept."""
        kept, removed = self._front().split(sound.wave.mean(0), mask)
        return Sound(kept[None], sound.rate), Sound(removed[None], sound.rate)

    def _front(self) -> LogMel:
        if self.front is None:
            raise InputError("this spectrogram has no front end: give log_mel_input(LogMel(...))")
        return self.front

    def read(self, path: Path) -> Float[Tensor, "1 mel time"]:
        """A recording, or a ``.npy`` file of (mel, time) or (1, mel, time)."""
        sound = self.record(path)
        x = self._tensor(read_array(path)) if sound is None else self.of_sound(sound)
        self.check(x)
        return x

    def neutral(self, x: Float[Tensor, "c *space"]) -> Float[Tensor, "c *space"]:
        """Silence: the smallest value everywhere."""
        return torch.full_like(x, self.low)

    def show(self, x: Float[Tensor, "1 mel time"]) -> Image.Image:
        """A heat map of one pixel a value: time to the right, the lowest band at the bottom, light is loud."""
        share = ((x[0].detach().cpu() - self.low) / (self.high - self.low)).clamp(0, 1).flip(0).numpy()
        steps = np.linspace(0, 1, len(_COLOURS))
        colours = [np.interp(share, steps, [colour[channel] for colour in _COLOURS]) for channel in range(3)]
        return Image.fromarray(np.stack(colours, -1).round().astype(np.uint8))


def log_mel_input(
    front: LogMel = LogMel(),  # noqa: B008 -- frozen
    frames: int | None = None,
    seconds: float | None = None,
) -> SpectrogramInput:
    """The input of a model of log-mel spectrograms: bands and range are the front end's.

    Args:
        front: how recordings become spectrograms.
        frames: see :class:`SpectrogramInput`.
        seconds: see :class:`SpectrogramInput`.

    Example:
        >>> log_mel_input(LogMel(bands=40)).shape
        (1, 40, None)
    """
    return SpectrogramInput(front.bands, frames, front.floor, front.top, front, seconds)
