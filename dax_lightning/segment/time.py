"""Pieces of time."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dax_lightning.errors import InputError
from dax_lightning.segment.base import Segmenter, check_count


@dataclass(frozen=True)
class Time(Segmenter):
    """Equal pieces along the last axis: of a wave (time,), or of a spectrogram (mel, time).

    Args:
        pieces: how many, at least 2 and at most the input's length.

    Raises:
        InputError: a setting is out of range, or (at the call) the input is too short for it.

    Example:
        >>> Time(pieces=2)(torch.zeros(1, 4)).tolist()
        [0, 0, 1, 1]
    """

    pieces: int = 16
    axes: ClassVar[int | None] = None

    def __post_init__(self) -> None:
        check_count("pieces", self.pieces, least=2)

    def _segment(self, x: Float[Tensor, "c *space"]) -> Int[Tensor, "*space"]:
        length = x.shape[-1]
        if length < self.pieces:
            raise InputError(f"{self.pieces} pieces of time for an input of length {length}: try segmenter.pieces={length}")
        return (torch.arange(length) * self.pieces // length).expand(x.shape[1:])
