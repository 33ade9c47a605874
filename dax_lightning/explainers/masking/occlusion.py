"""Occlusion: a window slides over the input; what the score loses is the map (Zeiler and Fergus, ECCV 2014)."""

import math
from collections.abc import Iterator
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dax_lightning.black_box.base import BlackBox
from dax_lightning.errors import InputError, whole
from dax_lightning.explainers.base import Found
from dax_lightning.explainers.masking.base import ImageFill, MaskExplainer, mean_by_place
from dax_lightning.game.base import TargetSpace

Pair = tuple[int, int]
_CELLS = 7  # windows that fit side by side by default: a cell of RISE, HSIC and Sobol


class Occlusion(MaskExplainer):
    """For each place, the mean loss of score over all windows that cover it; negative where the place speaks against the target.

    Captum's occlusion takes its window and stride, and with them its number of rows, from the user; here they follow from ``q``.
    Windows start at the top left corner and step until the far edges are covered, where they may be cut off, as in Captum.
    ``fill=image_mean`` is nearest to the paper's grey square.

    Args:
        black_box: what is explained.
        q: most rows asked, the input itself included.
        window: side of the square window in places; ``None``: a seventh of each of the input's sides.
        stride: places from one window to the next, at most ``window``; ``None``: the smallest with which all fit in ``q``.
        fill: what the window shows: ``zeros`` (as in Captum), ``image_mean`` or ``blur``.
        targets: the scale of the score: ``probability`` (the paper) or ``log_odds``.
        seed: changes nothing.

    Example:
        >>> from dax_lightning.black_box import from_function
        >>> box = from_function(lambda rows: rows[:, :2, 0, 0], multi_label=True, size=(4, 4))
        >>> Occlusion(box, window=2, stride=2).explain(torch.full((3, 4, 4), 0.5), target=0).saliency[:3, :3].tolist()
        [[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]
    """

    name: ClassVar[str] = "occlusion"
    deterministic: ClassVar[bool] = True

    def __init__(
        self,
        black_box: BlackBox,
        q: int = 1000,
        window: int | None = None,
        stride: int | None = None,
        fill: ImageFill = "zeros",
        targets: TargetSpace = "probability",
        seed: int = 0,
    ):
        super().__init__(black_box, q, fill, targets, seed)
        window = None if window is None else whole("explainer.window", window)
        stride = None if stride is None else whole("explainer.stride", stride)
        if (window is not None and window < 1) or (stride is not None and stride < 1):
            raise InputError(f"explainer.window={window}, explainer.stride={stride}: wanted at least 1 each, or null")
        self.window, self.stride = window, stride

    def rows_needed(self, x: Float[Tensor, "c *space"]) -> int:
        """See :class:`Explainer`.

        Raises:
            InputError: the window is larger than the input, the stride than the window, or ``q`` smaller than both need.
        """
        rows, columns = self._starts(x)
        return 1 + len(rows) * len(columns)

    def _explain(
        self, x: Float[Tensor, "c h w"], target: int, generator: torch.Generator, segments: Int[Tensor, "h w"] | None
    ) -> Found:
        probability = self._score(x, target)
        score = self._scaled(probability)
        losses = ((1 - shown, score - self._scaled(answer)) for shown, answer in self._answers(x, self._shown(x), target))
        notes = {
            "window": list(self._window(x)),
            "stride": list(self._strides(x)),
            "windows": [len(starts) for starts in self._starts(x)],
        }
        return Found(mean_by_place(losses).float(), probability.item(), notes=notes)

    def _shown(self, x: Float[Tensor, "c h w"]) -> Iterator[Float[Tensor, "_ h w"]]:
        """Batches of masks, 0 inside the window."""
        starts = torch.cartesian_prod(*(torch.tensor(s) for s in self._starts(x)))
        for batch in starts.split(self.black_box.batch_size):
            rows, columns = (_inside(batch[:, i], self._window(x)[i], x.shape[1 + i]) for i in (0, 1))
            yield 1 - (rows[:, :, None] & columns[:, None, :]).float()

    def _window(self, x: Tensor) -> Pair:
        height, width = x.shape[1:]
        if self.window is None:
            return -(-height // _CELLS), -(-width // _CELLS)  # rounded up
        if self.window > min(height, width):
            raise InputError(
                f"explainer.window={self.window} for an input of {height} x {width}: wanted no more than either side"
            )
        return self.window, self.window

    def _strides(self, x: Tensor) -> Pair:
        """From one window to the next, down and right; the same share of the window where it is not given."""
        window = self._window(x)
        if self.stride is not None and self.stride > min(window):
            raise InputError(f"explainer.stride={self.stride} would leave gaps between windows of {min(window)}: lower it")
        choices = _shares(window) if self.stride is None else [(self.stride, self.stride)]
        needed = [1 + math.prod(len(starts) for starts in _starts(x, window, strides)) for strides in choices]
        for strides, rows in zip(choices, needed, strict=True):
            if rows <= self.q:
                return strides
        raise InputError(f"q={self.q} rows for so small a window and stride: wanted q={needed[-1]} or more, or larger ones")

    def _starts(self, x: Tensor) -> tuple[range, range]:
        return _starts(x, self._window(x), self._strides(x))


def _shares(window: Pair) -> list[Pair]:
    """Strides from the smallest to the window itself."""
    longer = max(window)
    return [(-(-window[0] * i // longer), -(-window[1] * i // longer)) for i in range(1, longer + 1)]


def _starts(x: Tensor, window: Pair, strides: Pair) -> tuple[range, range]:
    height, width = (
        range(0, side - size + stride, stride) for side, size, stride in zip(x.shape[1:], window, strides, strict=True)
    )
    return height, width


def _inside(start: Tensor, window: int, side: int) -> Tensor:
    place = torch.arange(side)
    return (place >= start[:, None]) & (place < start[:, None] + window)
