"""Greedy deletion of segments, the plain ancestor of SMDL-Attribution (Chen et al., ICLR 2024) and LiMA."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dax_lightning.errors import InputError
from dax_lightning.explainers.base import Found
from dax_lightning.explainers.segments import SegmentExplainer
from dax_lightning.game.base import game_of


class Greedy(SegmentExplainer):
    """From all segments, remove again and again the one whose removal lowers the target's score the most.

    What was removed earlier has the higher saliency, see :meth:`Deletion.values`. A step asks a row for each segment left; the
    method ends where the next step would take it over ``q`` rows. With ``j`` segments all are removed after
    ``1 + j (j + 1) / 2`` rows. Nothing is random.

    Args:
        black_box: what is explained.
        segmenter: parts the input.
        perturber: only its fill is used, and its batch size.
        q: most rows asked, the input included; at least one more than there are segments.
        seed: changes nothing.

    Example:
        >>> from dax_lightning.black_box import from_function
        >>> from dax_lightning.game.subsets import Perturber
        >>> from dax_lightning.segment.grid import Grid
        >>> box = from_function(lambda rows: rows[:, :2, :4].mean((2, 3)), size=(8, 8), multi_label=True)
        >>> x = torch.ones(3, 8, 8)
        >>> x[:, :, 4:] = 0.5
        >>> made = Greedy(box, Grid(2, 2), Perturber(fill="zeros")).explain(x, target=0)
        >>> made.saliency[::4, ::4].tolist(), made.queries  # 0.75 goes with the top left segment and then the top right one
        ([[0.75, 0.25], [0.0, 0.0]], 11)
    """

    name: ClassVar[str] = "greedy"
    deterministic: ClassVar[bool] = True

    def _explain(
        self,
        x: Float[Tensor, "c *space"],
        target: int,
        generator: torch.Generator,
        segments: Int[Tensor, "*space"] | None,
    ) -> Found:
        segments = self._parts(x, segments)
        game = game_of(self.black_box, x, segments, self.perturber)
        deletion = delete_greedily(lambda kept: game(kept, only=target)[:, 0], game.players, self.q)
        notes = {"segments": len(deletion.single), "removed": deletion.order, "scores": deletion.scores}
        return Found(deletion.values()[segments], deletion.scores[0], segments, notes)


@dataclass(frozen=True)
class Deletion:
    """What a greedy deletion did.

    Args:
        order: the segments that were removed, the first first.
        scores: the score before any removal, and after each.
        single: what removing each segment took from the score when it was last tried; negative where the score rose.
    """

    order: list[int]
    scores: list[float]
    single: Float[Tensor, " j"]

    def values(self) -> Float[Tensor, " j"]:
        """A value for each segment, in units of the score: the earlier it was removed, the higher (or the same).

        A removed segment has what its removal and later ones took from the score, minus what removals up to it gave back.
        Positive: it carries the score; negative: it holds it down. A segment that was never removed has its last trial's value.

        Example:
            >>> Deletion([0, 1], [1.0, 0.25, 0.0], torch.tensor([0.75, 0.25, 0.0])).values().tolist()
            [1.0, 0.25, 0.0]
        """
        drops = [before - after for before, after in zip(self.scores[:-1], self.scores[1:], strict=True)]
        rises = list(accumulate((min(drop, 0.0) for drop in drops), initial=0.0))
        later = list(accumulate((max(drop, 0.0) for drop in reversed(drops)), initial=0.0))[::-1]
        values = self.single + rises[-1]
        for place, segment in enumerate(self.order):
            values[segment] = later[place] + rises[place + 1]
        return values


def delete_greedily(scores: Callable[[Bool[Tensor, "n j"]], Float[Tensor, " n"]], segments: int, rows: int) -> Deletion:
    """Remove segments one by one, each time the one that leaves the lowest score.

    Args:
        scores: of rows of kept segments.
        segments: how many there are.
        rows: most rows asked; a step that does not fit whole is not begun.

    Raises:
        InputError: the rows don't suffice to try each segment once.

    Example:
        >>> worth = torch.tensor([1.0, 3.0, 2.0])
        >>> delete_greedily(lambda kept: kept.float() @ worth, segments=3, rows=100).order
        [1, 2, 0]
    """
    if rows < 1 + segments:
        raise InputError(f"q={rows} rows for {segments} segments: wanted at least {1 + segments}; try q={10 * segments}")
    kept = torch.ones(1, segments, dtype=torch.bool)
    order, found, single = [], [scores(kept).item()], torch.zeros(segments)
    rows -= 1
    while kept.any() and rows >= kept.sum():
        left = kept[0].nonzero()[:, 0]
        after = scores(kept.repeat(len(left), 1).scatter(1, left[:, None], False))
        rows -= len(left)
        single[left] = found[-1] - after
        kept[0, left[after.argmin()]] = False
        order.append(int(left[after.argmin()]))
        found.append(after.min().item())
    return Deletion(order, found, single)
