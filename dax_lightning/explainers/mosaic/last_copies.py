"""The last copies: they keep the region and lose parts of the rest, blurred, which tells what speaks against the target."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dax_lightning.explainers.mosaic.average import averaged
from dax_lightning.explainers.mosaic.ridge import Ridge
from dax_lightning.game.base import Game, TargetSpace, in_space, removed_of
from dax_lightning.game.subsets import Perturber

ENOUGH = 30  # last copies: of fewer, the regression tells little
_SAME = 0.1  # of the input's standard deviation: a blur that is nearer to it takes nothing away


def against(
    game: Game,
    perturber: Perturber,
    target: int,
    count: int,
    region: Bool[Tensor, "*space"],
    outlined: Int[Tensor, "p *space"],
    space: TargetSpace,
    generator: torch.Generator,
) -> Float[Tensor, "*space"]:
    """How much the places beside the region speak against the target while the region is seen; 0 or less, 0 in the region.

    In the first copies the object loses parts too. In these it stays, and one ridge regression tells what the rest adds.

    Args:
        game: that of the first copies.
        perturber: draws the segments that each copy keeps.
        target: class id.
        count: how many copies are asked; of 0, nothing is known.
        region: what the map names so far; all copies keep it.
        outlined: the partitions that maps are averaged within.
        space: the scale of the answers.
        generator: the only source of randomness.

    Example:
        >>> from dax_lightning.black_box import from_function
        >>> def told(rows):  # of class 1: light in the first quarter speaks for the target, in the last against it
        ...     return (0.4 + 0.5 * rows[:, 0, 0, 0] - 0.3 * rows[:, 0, 0, 3])[:, None]
        >>> box = from_function(told, size=(1, 4), multi_label=True)
        >>> x, region = torch.tensor([1.0, 0.0, 0.0, 1.0]).expand(3, 1, 4), torch.tensor([[True, False, False, False]])
        >>> levels = torch.tensor([[[0, 1, 2, 3]]])
        >>> game, drawn = Game(box, x, levels, torch.zeros_like(x)), torch.Generator().manual_seed(0)
        >>> found = against(game, Perturber(), 1, 50, region, levels, "probability", drawn)
        >>> found.argmin().item(), found[0, 0].item()
        (3, 0.0)
    """
    rest = ~region
    if not (count and rest.any()):
        return torch.zeros(region.shape)
    kept = perturber.subsets(count, game.level, generator)
    seen = torch.where(rest, _blurred(game, perturber, rest), game.x)
    blurred = Game(game.black_box, game.x, game.segments, seen)
    answers = blurred(kept, enough=lambda _: False, only=target)[:, 0]  # all, unless time is over
    if len(answers) < count:
        game.black_box.stop(f"max_seconds is over after {len(answers)} of {count} last copies, which are not used")
        return torch.zeros(region.shape)
    adds = Ridge(kept, game.segments, perturber.closeness(kept, game.level), rest).fit(in_space(answers, space))
    return averaged(adds.saliency, outlined).clamp_max(0) * rest


def _blurred(game: Game, perturber: Perturber, rest: Bool[Tensor, "*space"]) -> Float[Tensor, "c *space"]:
    """The input, blurred; or as removed in the first copies, where a blur would leave the rest nearly as it is."""
    blurred = removed_of(game.black_box.input, game.x, game.segments, "blur", perturber.blur_sigma)
    seen = game.x[:, rest]
    if (blurred[:, rest] - seen).square().mean() <= _SAME**2 * seen.var(correction=0).clamp_min(1e-6):
        return game.removed
    return blurred
