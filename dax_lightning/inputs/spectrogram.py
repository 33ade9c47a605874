"""Spectrograms: mel bands over time."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from dax_lightning.inputs.arrays import SUFFIXES, read_array
from dax_lightning.inputs.base import Input, check_length, check_range

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

    Raises:
        InputError: a length below 1, or no range.

    Example:
        >>> SpectrogramInput(64, low=-80, high=0).show(torch.zeros(1, 64, 100)).size
        (100, 64)
    """

    kind: ClassVar[str] = "spectrogram"
    mels: int | None
    frames: int | None = None
    low: int | float = 0.0
    high: int | float = 1.0

    def __post_init__(self) -> None:
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
        return SUFFIXES

    def read(self, path: Path) -> Float[Tensor, "1 mel time"]:
        """A ``.npy`` file of (mel, time) or (1, mel, time)."""
        x = self._tensor(read_array(path))
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
