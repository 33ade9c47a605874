"""Sound as a wave: pressure over time."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw
from torch import Tensor

from dax_lightning.errors import InputError
from dax_lightning.inputs.arrays import SUFFIXES, read_array
from dax_lightning.inputs.base import Input, check_length, check_range
from dax_lightning.inputs.sound import SOUNDS, exactly, read_sound, split_wave
from dax_lightning.types import Sound

_WIDTH, _HEIGHT = 1024, 256  # pixels of a picture


@dataclass(frozen=True)
class WaveInput(Input):
    """Sound as the model hears it, (c, time).

    Args:
        rate: samples a second.
        samples: number of samples; ``None``: any, and of a recording at most 30 seconds.
        channels: 1, or 2 for a stereo model.
        low: smallest value.
        high: largest value.

    Raises:
        InputError: a rate or a length below 1, or no range.

    Example:
        >>> import torch
        >>> WaveInput(16000).show(torch.zeros(1, 500)).size
        (500, 256)
    """

    kind: ClassVar[str] = "wave"
    rate: int
    samples: int | None = None
    low: int | float = -1.0
    high: int | float = 1.0
    channels: int = 1

    def __post_init__(self) -> None:
        if self.channels < 1:
            raise InputError(f"channels={self.channels}: it must be at least 1")
        if self.rate < 1:
            raise InputError(f"rate={self.rate}: it must be at least 1 sample a second")
        check_length("samples", self.samples)
        check_range(self.low, self.high)

    @property
    def shape(self) -> tuple[int | None, ...]:
        """(c, time)."""
        return (self.channels, self.samples)

    @property
    def suffixes(self) -> tuple[str, ...]:
        """See :class:`Input`."""
        return (*SOUNDS, *SUFFIXES)

    @property
    def step(self) -> float | None:
        """See :class:`Input`."""
        return 1 / self.rate

    def record(self, path: Path) -> Sound | None:
        """See :class:`Input`; arrays are no recordings."""
        if path.suffix.lower() in SUFFIXES:
            return None
        seconds = None if self.samples is None else self.samples / self.rate
        return self.fitted(read_sound(path, self.rate, self.channels, seconds))

    def fitted(self, sound: Sound) -> Sound:
        """See :class:`Input`; one channel alone becomes several."""
        wave = sound.wave.expand(self.channels, -1) if len(sound.wave) == 1 else sound.wave
        return Sound(wave, sound.rate) if self.samples is None else exactly(Sound(wave, sound.rate), self.samples)

    def heard(self, x: Float[Tensor, "c time"]) -> Sound | None:
        """See :class:`Input`."""
        return Sound(x, self.rate)

    def of_sound(self, sound: Sound) -> Float[Tensor, "c time"]:
        """See :class:`Input`."""
        return sound.wave

    def split(self, sound: Sound, mask: Float[Tensor, " time"]) -> tuple[Sound, Sound]:
        """See :class:`Input`: the wave times the mask, and the rest."""
        kept, removed = split_wave(sound.wave, mask, sound.rate)
        return Sound(kept, sound.rate), Sound(removed, sound.rate)

    def read(self, path: Path) -> Float[Tensor, "c time"]:
        """A recording, or a ``.npy`` file of (time,) or (c, time); 16-bit integers are divided by 32768."""
        sound = self.record(path)
        if sound is not None:
            return self.of_sound(sound)
        array = read_array(path)
        x = self._tensor(array / np.float32(32768) if array.dtype == np.int16 else array)
        self.check(x)
        return x

    def show(self, x: Float[Tensor, "c time"]) -> Image.Image:
        """A line from left to right; where a pixel holds many samples, from the lowest to the highest of them."""
        wave = x[0].detach().cpu().clamp(self.low, self.high).numpy()
        heights = np.round((self.high - wave) / (self.high - self.low) * (_HEIGHT - 1)).astype(int)
        width = min(_WIDTH, len(heights))
        pieces = np.split(heights, np.linspace(0, len(heights), width + 1)[1:-1].astype(int))
        picture = Image.new("RGB", (width, _HEIGHT), "white")
        draw = ImageDraw.Draw(picture)
        before = int(pieces[0][0])
        for column, piece in enumerate(pieces):  # from the sample before, so that the line is in one piece
            draw.line([(column, int(min(before, piece.min()))), (column, int(max(before, piece.max())))], fill=(31, 81, 140))
            before = int(piece[-1])
        return picture
