"""Every place for itself: the words of a text, the features of a table row."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dax_lightning.segment.base import Segmenter


@dataclass(frozen=True)
class Tokens(Segmenter):
    """Each token of a text, or each feature of a table row, is a segment.

    Example:
        >>> Tokens()(torch.tensor([[0.1, 0.7, 0.2]])).tolist()
        [0, 1, 2]
    """

    axes: ClassVar[int | None] = 1

    def _segment(self, x: Float[Tensor, "c places"]) -> Int[Tensor, "places"]:
        return torch.arange(x.shape[1])
