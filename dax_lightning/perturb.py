"""Perturbed copies: which segments stay, what fills the rest, how close each copy is to the input."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dax_lightning.errors import InputError
from dax_lightning.types import Perturbations

Fill = Literal["zeros", "segment_mean", "image_mean", "blur"]
Weight = Literal["lime", "uniform"]


@dataclass(frozen=True)
class Perturber:
    """Random subsets of segments stay, the others are filled (equations 4 and 5 of the DAX paper).

    Of a stack of partitions (:class:`~dax_lightning.mosaic.Mosaic`) each copy draws one, and loses segments of this one.

    Args:
        fill: what replaces a removed segment: ``zeros`` (the paper's text), ``segment_mean`` (LIME's default),
            ``image_mean`` or ``blur``.
        kept_share: chance that a segment stays, in (0, 1).
        kept_share_max: where given, each copy draws its own chance between ``kept_share`` and this one.
        weight: ``lime``: LIME's kernel, see :func:`closeness`; ``uniform``: 1 for every copy.
        blur_sigma: standard deviation of the Gaussian blur, as a share of the shorter side.
        batch_size: copies in memory at once.

    Example:
        >>> x, segments = torch.rand(3, 4, 4), torch.arange(16).view(4, 4)
        >>> batches = list(Perturber(batch_size=4)(x, segments, n=10, generator=torch.Generator().manual_seed(0)))
        >>> [len(b.inputs) for b in batches], torch.equal(batches[0].inputs[0], x)
        ([4, 4, 2], True)
    """

    fill: Fill = "segment_mean"
    kept_share: float = 0.5
    kept_share_max: float | None = None
    weight: Weight = "lime"
    blur_sigma: float = 0.05
    batch_size: int = 32

    def __post_init__(self) -> None:
        check_fill("perturber.fill", self.fill)
        if self.weight not in get_args(Weight):
            raise InputError(f"perturber.weight={self.weight}: choose one of {', '.join(get_args(Weight))}")
        if not 0 < self.kept_share < 1:
            raise InputError(f"perturber.kept_share={self.kept_share}: it is a chance between 0 and 1, both left out; try 0.5")
        if self.kept_share_max is not None and not self.kept_share <= self.kept_share_max <= 1:
            raise InputError(f"perturber.kept_share_max={self.kept_share_max}: wanted between kept_share={self.kept_share} and 1")
        if not self.blur_sigma > 0:
            raise InputError(f"perturber.blur_sigma={self.blur_sigma}: it must be positive; try 0.05")
        if self.batch_size < 1:
            raise InputError(f"perturber.batch_size={self.batch_size}: it must be at least 1")

    def __call__(
        self, x: Float[Tensor, "c *space"], segments: Int[Tensor, "*levels"], n: int, generator: torch.Generator
    ) -> Iterator[Perturbations]:
        """Batches of ``n`` copies in all; row 0 of the first is ``x`` itself. Memory does not grow with ``n``.

        Args:
            x: the input, values in [0, 1].
            segments: a partition of ``*space``, ids 0 to j - 1, each present; or a stack (p, *space) of them, see
                :func:`level_of`.
            n: copies, ``x`` included.
            generator: the only source of randomness; one per copy order, so batch size changes nothing.

        Raises:
            InputError: fewer than two segments, or fewer than one copy.
        """
        level = level_of(segments, x)
        if len(level) < 2:
            raise InputError(
                "the input is one single segment, nothing can be removed: choose a finer segmenter, such as segmenter=grid"
            )
        if n < 1:
            raise InputError(f"q={n} copies asked for; wanted 1 or more")
        fill = filled(x, segments, self.fill, self.blur_sigma)
        for start in range(0, n, self.batch_size):
            kept = self.subsets(min(self.batch_size, n - start), level, generator)
            if start == 0:
                kept[0] = level == 0
            yield Perturbations(painted(x, fill, segments, kept), kept, self.closeness(kept, level))

    def closeness(self, kept: Bool[Tensor, "n j"], level: Int[Tensor, " j"]) -> Float[Tensor, " n"]:
        """Weight of each copy in the loss, by this perturber's ``weight``; ``level`` as from :func:`level_of`."""
        return closeness(kept, level) if self.weight == "lime" else torch.ones(len(kept))

    def subsets(self, n: int, level: Int[Tensor, " j"], generator: torch.Generator) -> Bool[Tensor, "n j"]:
        """The segments that ``n`` random copies keep, with no copy made; ``level`` as from :func:`level_of`."""
        j, levels = len(level), int(level.max()) + 1
        draws = torch.rand(n, j + 1 + (levels > 1), generator=generator)  # column j: the copy's own chance
        high = self.kept_share if self.kept_share_max is None else self.kept_share_max
        chance = self.kept_share + (high - self.kept_share) * draws[:, j : j + 1]
        own = (draws[:, -1:] * levels).long() == level if levels > 1 else torch.ones(1, j, dtype=torch.bool)
        return (draws[:, :j] < chance) & own


def check_fill(setting: str, fill: str) -> None:
    """Raise an InputError, in which ``setting`` is named, unless ``fill`` is a :data:`Fill`."""
    if fill not in get_args(Fill):
        raise InputError(f"{setting}={fill}: choose one of {', '.join(get_args(Fill))}")


# what DAX-Mosaic and its rivals make of several partitions
MIXED = Perturber(fill="image_mean", kept_share=0.3, kept_share_max=0.7, weight="uniform")


def level_of(segments: Int[Tensor, "*levels"], x: Float[Tensor, "c *space"]) -> Int[Tensor, " j"]:
    """For each segment, the partition that it belongs to.

    Args:
        segments: a partition of ``*space`` (all zeros then); or a stack (p, *space) of partitions that share no id, those of
            one partition after those of the one before.
        x: the input that they part.

    Example:
        >>> level_of(torch.tensor([[0, 0, 1], [2, 3, 4]]), torch.zeros(1, 3)).tolist()
        [0, 0, 1, 1, 1]
    """
    last = segments.flatten(1).amax(1) if segments.ndim == x.ndim else segments.max().view(1)
    sizes = torch.diff(last + 1, prepend=torch.zeros(1, dtype=torch.long))
    return torch.arange(len(sizes)).repeat_interleave(sizes)


def painted(
    x: Float[Tensor, "c *space"], fill: Float[Tensor, "c *space"], segments: Int[Tensor, "*levels"], kept: Bool[Tensor, "n j"]
) -> Float[Tensor, "n c *space"]:
    """``x`` where a segment is kept, ``fill`` elsewhere (equation 5).

    Example:
        >>> painted(torch.ones(1, 2), torch.zeros(1, 2), torch.tensor([0, 1]), torch.tensor([[True, False]])).tolist()
        [[[1.0, 0.0]]]
    """
    shown = kept[:, segments]  # (n, *space), or (n, p, *space): a copy keeps segments of one partition alone
    return torch.where((shown.any(1) if segments.ndim == x.ndim else shown).unsqueeze(1), x, fill)


def filled(
    x: Float[Tensor, "c *space"], segments: Int[Tensor, "*levels"], fill: Fill, blur_sigma: float = 0.05
) -> Float[Tensor, "c *space"]:
    """What ``x`` looks like with every segment removed; of a stack of partitions, ``segment_mean`` is the mean over them.

    Example:
        >>> filled(torch.tensor([[0.0, 1.0, 0.5]]), torch.tensor([0, 0, 1]), "segment_mean").tolist()
        [[0.5, 0.5, 0.5]]
    """
    if fill == "zeros":
        return torch.zeros_like(x)
    if fill == "image_mean":
        return x.flatten(1).mean(1).view(-1, *[1] * (x.ndim - 1)).expand_as(x).contiguous()
    if fill == "segment_mean":
        return torch.stack([segment_mean(x, one) for one in (segments if segments.ndim == x.ndim else segments[None])]).mean(0)
    return blurred(x, blur_sigma)


def segment_mean(x: Float[Tensor, "c *space"], segments: Int[Tensor, "*space"]) -> Float[Tensor, "c *space"]:
    """Each place gets the mean of its segment, channel by channel."""
    ids, count = segments.flatten(), int(segments.max()) + 1
    sums = torch.zeros(len(x), count).index_add(1, ids, x.flatten(1))
    return (sums / ids.bincount(minlength=count).clamp_min(1))[:, segments]


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


def blurred(x: Float[Tensor, "c *space"], share: float) -> Float[Tensor, "c *space"]:
    """Separable Gaussian blur over all space dimensions, edges reflected, so that no dark rim appears.

    Args:
        x: what is blurred.
        share: standard deviation as a share of the shorter side, positive.

    Example:
        >>> blurred(torch.tensor([[0.0, 0.0, 1.0, 0.0, 0.0]]), 0.1)[0, 2].item() < 1
        True
    """
    sigma = share * min(x.shape[1:])
    for axis in range(1, x.ndim):
        radius = min(math.ceil(3 * sigma), x.shape[axis] - 1)
        offsets = torch.arange(-radius, radius + 1, dtype=x.dtype)
        kernel = torch.exp(-(offsets**2) / (2 * sigma**2))
        rows = x.transpose(axis, -1)
        flat = F.pad(rows.reshape(-1, 1, rows.shape[-1]), (radius, radius), mode="reflect" if radius else "constant")
        x = F.conv1d(flat, (kernel / kernel.sum()).view(1, 1, -1)).view(rows.shape).transpose(axis, -1)
    return x.contiguous()
