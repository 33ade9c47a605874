"""Equal rectangles."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dax_lightning.errors import InputError, check_count
from dax_lightning.segment.base import Segmenter


@dataclass(frozen=True)
class Grid(Segmenter):
    """Equal rectangles, whatever the input shows.

    Args:
        rows: segments from top to bottom, at least 1 and at most the input's height.
        columns: segments from left to right, at least 1 and at most the input's width.

    Raises:
        InputError: a setting is out of range, the grid has one cell, or (at the call) the input has too few pixels for it.

    Example:
        >>> Grid(rows=2, columns=2)(torch.zeros(1, 2, 5))
        tensor([[0, 0, 0, 1, 1],
                [2, 2, 2, 3, 3]])
    """

    rows: int = 8
    columns: int = 8

    def __post_init__(self) -> None:
        check_count("segmenter.rows", self.rows, least=1)
        check_count("segmenter.columns", self.columns, least=1)
        if self.rows * self.columns == 1:
            raise InputError(
                "a grid of 1 x 1 is a single segment; at least 2 are needed: try rows=8, columns=8 "
                "(segmenter.rows=8 segmenter.columns=8 on the command line)"
            )

    def _segment(self, x: Float[Tensor, "c h w"]) -> Int[Tensor, "h w"]:
        h, w = x.shape[1:]
        if h < self.rows or w < self.columns:
            rows, columns = min(h, self.rows), min(w, self.columns)
            raise InputError(
                f"a grid of {self.rows} x {self.columns} does not fit an input of {h} x {w} pixels: try rows={rows}, "
                f"columns={columns} (segmenter.rows={rows} segmenter.columns={columns} on the command line)"
            )
        row, column = torch.arange(h) * self.rows // h, torch.arange(w) * self.columns // w
        return row[:, None] * self.columns + column
