"""What the Shapley methods share: segments are the players, the black box's answer is the payoff."""

from abc import abstractmethod
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from dax_lightning.black_box.base import BlackBox
from dax_lightning.errors import InputError
from dax_lightning.explainers.base import Found
from dax_lightning.explainers.segments import SegmentExplainer
from dax_lightning.game.base import Game, TargetSpace, check_space, game_of, in_space
from dax_lightning.game.subsets import ONE_SEGMENT, Perturber
from dax_lightning.segment.base import Segmenter


class Payoff:
    """What a set of kept segments is worth, for libraries that want numbers of numpy arrays.

    The full set (the input itself) and the empty one are asked at once, 2 rows, and never again; every other row of a call is
    asked.

    Args:
        game: what is asked.
        target: class id.
        targets: the scale of the answers.

    Attributes:
        players: how many segments there are.
        score: the target's probability on the input, in [0, 1].
        full: the answer to the input, on the scale of ``targets``.
        empty: the answer with every segment filled, on the same scale.

    Example:
        >>> from dax_lightning.testing import QuarterBox
        >>> x, halves = torch.ones(3, 32, 32), (torch.arange(32) // 16).expand(32, 32)
        >>> payoff = Payoff(game_of(QuarterBox(), x, halves, Perturber(fill="zeros")), target=0)
        >>> payoff(np.array([[0, 0], [1, 0], [0, 1], [1, 1]])).round(2).tolist()
        [0.02, 0.98, 0.0, 0.5]
    """

    def __init__(self, game: Game, target: int, targets: TargetSpace = "probability"):
        self._game, self._target, self.players = game, target, game.players
        self._space: TargetSpace = targets
        ends = self._ask(torch.tensor([[True], [False]]).expand(2, self.players))
        self.score = ends[0].item()
        self.full, self.empty = in_space(ends, targets).tolist()

    def __call__(self, coalitions: np.ndarray) -> np.ndarray:
        """The answers to ``(n, j)`` rows, or to one row of j, of zeros (filled) and ones (kept), as n float64 numbers."""
        kept = torch.from_numpy(np.atleast_2d(coalitions).astype(bool))
        size = kept.sum(1)
        values = torch.where(size == 0, self.empty, self.full).double()
        between = (size > 0) & (size < self.players)
        if between.any():
            values[between] = in_space(self._ask(kept[between]), self._space).double()
        return values.numpy()

    def _ask(self, kept: Tensor) -> Tensor:
        return self._game(kept, only=self._target)[:, 0]


def check_rows(q: int, segments: Int[Tensor, "*space"]) -> None:
    """Refuse a partition into so many segments that ``q`` rows can't tell them apart.

    A set of segments and its complement, which are asked in pairs, together say no more than the input did; so each segment
    takes two rows, unless all sets are asked.

    Raises:
        InputError: one single segment, or too many.

    Example:
        >>> check_rows(100, torch.arange(60))
        Traceback (most recent call last):
        ...
        dax_lightning.errors.InputError: q=100 rows for 60 segments: wanted at least 122; raise q or choose a coarser segmenter
    """
    count = int(segments.max()) + 1
    if count < 2:
        raise InputError(ONE_SEGMENT)
    wanted = min(2 * count + 2, 2**count)
    if q < wanted:
        raise InputError(f"q={q} rows for {count} segments: wanted at least {wanted}; raise q or choose a coarser segmenter")


class SegmentShapley(SegmentExplainer):
    """Shapley values of segments; a subclass writes :meth:`_values`, how they are estimated from ``q`` rows.

    Args:
        black_box: what is explained.
        segmenter: parts the input; its segments are the players.
        perturber: fills the removed segments; only its fill is used.
        q: rows, those of the input and of the empty set included.
        targets: the scale of the answers that are shared out: ``probability`` or ``log_odds``.
        seed: of the sets that are drawn.
    """

    fewest: ClassVar[int] = 4

    def __init__(
        self,
        black_box: BlackBox,
        segmenter: Segmenter | None = None,
        perturber: Perturber | None = None,
        q: int = 1000,
        targets: TargetSpace = "probability",
        seed: int = 0,
    ):
        super().__init__(black_box, segmenter, perturber, q, seed)
        check_space(targets)
        self.targets: TargetSpace = targets

    def _explain(
        self, x: Float[Tensor, "c *space"], target: int, generator: torch.Generator, segments: Int[Tensor, "*space"] | None
    ) -> Found:
        segments = self._parts(x, segments)
        check_rows(self.q, segments)
        payoff = Payoff(game_of(self.black_box, x, segments, self.perturber), target, self.targets)
        values = torch.from_numpy(self._values(payoff, generator)).float()
        return Found(values[segments], payoff.score, segments, {"base_value": payoff.empty, "segments": payoff.players})

    @abstractmethod
    def _values(self, payoff: Payoff, generator: torch.Generator) -> np.ndarray:
        """A value for each segment, from at most ``q`` rows, the two that the game has asked included."""
