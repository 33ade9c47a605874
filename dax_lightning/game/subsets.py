"""Which segments a copy keeps, and how close the copy is to the input."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dax_lightning.errors import InputError, check_number
from dax_lightning.game.fill import Fill, check_fill

Weight = Literal["lime", "uniform"]
_DRAWN = 64  # copies at a time: whole pairs, and little memory for random numbers

ONE_SEGMENT = (
    "the input is one single segment, nothing can be removed: choose a finer segmenter, such as Grid() (segmenter=grid on the "
    "command line)"
)


@dataclass(frozen=True)
class Perturber:
    """Random subsets of segments stay, the others are filled (equations 4 and 5 of the DAX paper).

    Of a stack of partitions (:class:`~dax_lightning.segment.mosaic.Mosaic`) each copy draws one, and loses segments of this one.

    Args:
        fill: what replaces a removed segment: ``zeros`` (the paper's text), ``segment_mean`` (LIME's default),
            ``image_mean`` (of a spectrogram, its mean spectrum), ``blur``, or ``noise_floor``: what a spectrogram's bands have in
            their quietest tenth of the time.
        kept_share: chance that a segment stays, in (0, 1); in pairs, half of them stay on average whatever it is.
        kept_share_max: where given, each copy draws its own chance between ``kept_share`` and this one.
        pairs: every second copy keeps what the one before it lost, of the same partition; the second copy of all is drawn alone.
        weight: ``lime``: LIME's kernel, see :func:`closeness`; ``uniform``: 1 for every copy.
        blur_sigma: standard deviation of the Gaussian blur, as a share of the shorter side.

    Example:
        >>> one_partition = torch.zeros(16, dtype=torch.long)
        >>> kept = Perturber().draw(10, one_partition, torch.Generator().manual_seed(0))
        >>> kept.shape, bool(kept[0].all())
        (torch.Size([10, 16]), True)
    """

    fill: Fill = "segment_mean"
    kept_share: float = 0.5
    kept_share_max: float | None = None
    pairs: bool = False
    weight: Weight = "lime"
    blur_sigma: float = 0.05

    def __post_init__(self) -> None:
        check_fill("perturber.fill", self.fill)
        if self.weight not in get_args(Weight):
            raise InputError(f"perturber.weight={self.weight}: choose one of {', '.join(get_args(Weight))}")
        if not 0 < self.kept_share < 1:
            raise InputError(f"perturber.kept_share={self.kept_share}: it is a chance between 0 and 1, both left out; try 0.5")
        if self.kept_share_max is not None and not self.kept_share <= self.kept_share_max <= 1:
            raise InputError(f"perturber.kept_share_max={self.kept_share_max}: wanted between kept_share={self.kept_share} and 1")
        check_number("perturber.blur_sigma", self.blur_sigma, above=0)

    def draw(self, n: int, level: Int[Tensor, " j"], generator: torch.Generator) -> Bool[Tensor, "n j"]:
        """The segments that ``n`` copies keep; the first copy is the input itself.

        Args:
            n: copies.
            level: each segment's partition, see :func:`level_of`.
            generator: the only source of randomness.

        Raises:
            InputError: fewer than two segments, or fewer than one copy.
        """
        if len(level) < 2:
            raise InputError(ONE_SEGMENT)
        if n < 1:
            raise InputError(f"q={n} copies asked for; wanted 1 or more")
        kept = torch.cat([self.subsets(min(_DRAWN, n - start), level, generator) for start in range(0, n, _DRAWN)])
        kept[0] = level == 0
        return kept

    def closeness(self, kept: Bool[Tensor, "n j"], level: Int[Tensor, " j"]) -> Float[Tensor, " n"]:
        """Weight of each copy in the loss, by this perturber's ``weight``; ``level`` as from :func:`level_of`."""
        return closeness(kept, level) if self.weight == "lime" else torch.ones(len(kept))

    def subsets(self, n: int, level: Int[Tensor, " j"], generator: torch.Generator) -> Bool[Tensor, "n j"]:
        """The segments that ``n`` random copies keep, with no copy made; ``level`` as from :func:`level_of`."""
        j, levels = len(level), int(level.max()) + 1
        drawn = (n + 1) // 2 if self.pairs else n
        draws = torch.rand(drawn, j + 1 + (levels > 1), generator=generator)  # column j: the copy's own chance
        high = self.kept_share if self.kept_share_max is None else self.kept_share_max
        chance = self.kept_share + (high - self.kept_share) * draws[:, j : j + 1]
        own = (draws[:, -1:] * levels).long() == level if levels > 1 else torch.ones(len(draws), j, dtype=torch.bool)
        kept = (draws[:, :j] < chance) & own
        return torch.stack([kept, own & ~kept], 1).flatten(0, 1)[:n] if self.pairs else kept


# what DAX-Mosaic and its rivals make of several partitions
MIXED = Perturber(fill="image_mean", kept_share=0.3, kept_share_max=0.7, pairs=True, weight="uniform")


def level_of(segments: Int[Tensor, "*levels"], x: Float[Tensor, "c *space"]) -> Int[Tensor, " j"]:
    """For each segment, the partition that it belongs to.

    Args:
        segments: a partition of ``*space`` (all zeros then); or a stack ``(p, *space)`` of partitions that share no id, those of
            one partition after those of the one before.
        x: the input that they part.

    Example:
        >>> level_of(torch.tensor([[0, 0, 1], [2, 3, 4]]), torch.zeros(1, 3)).tolist()
        [0, 0, 1, 1, 1]
    """
    last = segments.flatten(1).amax(1) if segments.ndim == x.ndim else segments.max().view(1)
    sizes = torch.diff(last + 1, prepend=torch.zeros(1, dtype=torch.long))
    return torch.arange(len(sizes)).repeat_interleave(sizes)


def closeness(kept: Bool[Tensor, "n j"], level: Int[Tensor, " j"]) -> Float[Tensor, " n"]:
    """LIME's kernel: ``sqrt(exp(-d² / 0.25²))``, d the cosine distance of a kept row to all ones; in (0, 1].

    For a row with a share s of its partition's segments kept, the cosine is sqrt(s), so d = 1 - sqrt(s).

    Args:
        kept: which segments each copy kept, of one partition a copy.
        level: each segment's partition, see :func:`level_of`.

    Example:
        >>> one = torch.zeros(2, dtype=torch.long)
        >>> [round(w, 3) for w in closeness(torch.tensor([[True, True], [True, False]]), one).tolist()]
        [1.0, 0.503]
    """
    mine = F.one_hot(level).float()
    distance = 1 - (kept.float() @ mine / mine.sum(0)).amax(1).sqrt()
    return torch.exp(-(distance**2) / 0.25**2).sqrt()
