"""The last copies: they keep what a map names and lose parts of the rest, which tells what the rest adds to it."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dax_lightning.errors import InputError
from dax_lightning.explainers.mosaic.copies import Copies, averaged_within, standardised
from dax_lightning.explainers.mosaic.ridge import additive, bounded
from dax_lightning.game.base import Game, TargetSpace, in_space, removed_of
from dax_lightning.game.fill import Fill, check_fill
from dax_lightning.game.subsets import Perturber

_ENOUGH = 30  # last copies: of fewer, the regression tells little, and its R² is noise
_FULL = 20  # last answers that vary less than a 20th as much as the first count in proportion
_SAME = 0.1  # of the input's standard deviation: a fill that is nearer to it takes nothing away


@dataclass(frozen=True)
class Probe:
    """A share of the copies, asked last. A ridge regression on them moves the map outside of the region that it names.

    It moves by ``weight · R``, in standard deviations of the map, less near the region's edge, and by ``2 (1 - p)`` where the
    probability p is over 1/2.

    Args:
        share: of the ``q`` copies, in [0, 0.5]; under 30 copies none are.
        fill: of these copies. The perturber's fill, where this one changes next to nothing.
        weight: 0 or more.

    Raises:
        InputError: the share is out of range, or no such fill.

    Example:
        >>> Probe(share=0.1).first(q=1000), Probe(share=0.1).first(q=100)
        (900, 100)
    """

    share: float = 0.1
    fill: Fill = "blur"
    weight: float = 0.7

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 0.5:
            raise InputError(f"explainer.adaptive={self.share}: wanted a share of the q copies in [0, 0.5]")
        check_fill("explainer.adaptive_fill", self.fill)

    def first(self, q: int) -> int:
        """How many of ``q`` copies are asked before."""
        last = round(self.share * q)
        return q - last if last >= _ENOUGH else q

    def __call__(
        self,
        game: Game,
        perturber: Perturber,
        target: int,
        space: TargetSpace,
        count: int,
        saliency: Float[Tensor, "*space"],
        region: Bool[Tensor, "*space"],
        outlined: Int[Tensor, "p *space"],
        own: Copies,
        score: float,
        generator: torch.Generator,
        progress: bool = True,
    ) -> tuple[Float[Tensor, "*space"], float]:
        """By how much the map moves at each place, and the regression's R².

        Args:
            game: that of the first copies.
            perturber: draws the segments that each copy keeps.
            target: class id.
            space: the scale of the answers.
            count: how many copies are asked, 1 or more.
            saliency: the map so far, in its standard deviations.
            region: what it names; nothing there moves.
            outlined: the partitions that maps are averaged within.
            own: the first copies and the target's answers to them.
            score: the target's probability.
            generator: the only source of randomness.
            progress: show a progress bar where a person watches.
        """
        rest = ~region
        removed = torch.where(rest, self._removed(game, perturber, rest), game.x)
        kept = perturber.subsets(count, game.level, generator)
        said = Game(game.black_box, game.x, game.segments, removed, perturber.batch_size)(kept, progress)[:, target]
        values = in_space(said, space)
        adds = additive(Copies(kept, values, game.segments, perturber.closeness(kept, game.level)), rest)
        averaged = averaged_within(_standardised_in(adds.saliency, rest), outlined)  # the others are 0: its mean
        counts = min(1.0, _FULL * (values.std() / own.values.std()).item())
        told = counts * math.sqrt(bounded(adds.r2)) * _standardised_in(averaged, rest)
        edge = saliency[region].min() if region.any() else saliency.max()
        return self.weight * min(1.0, 2 * (1 - score)) * (edge - saliency).clamp(0, 1) * told, adds.r2

    def _removed(self, game: Game, perturber: Perturber, rest: Bool[Tensor, "*space"]) -> Float[Tensor, "c *space"]:
        """As in the other copies, where ``fill`` would leave the rest nearly as it is."""
        fill = removed_of(game.black_box.input, game.x, game.segments, self.fill, perturber.blur_sigma)
        seen = game.x[:, rest]
        if (fill[:, rest] - seen).square().mean() <= _SAME**2 * seen.var(correction=0):
            return game.removed
        return fill


def _standardised_in(saliency: Float[Tensor, "*space"], places: Bool[Tensor, "*space"]) -> Float[Tensor, "*space"]:
    """Mean 0 and standard deviation 1 among these places, 0 elsewhere."""
    found = torch.zeros_like(saliency)
    if places.any():
        found[places] = standardised(saliency[places][None])[0]
    return found
