"""Several segmentations of one input, and what is made of maps with their help.

A single partition ties the map to its edges, and a place to one group of neighbours. Where each copy loses segments of another
partition, what they have in common is told apart from what they don't: the object from one segment on it.
"""

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dax_lightning.errors import InputError, SingleSegment
from dax_lightning.segment import ColourClusters, Felzenszwalb, Quickshift, Segmenter, Slic

OTHERS: tuple[Segmenter, ...] = (
    Quickshift(kernel_size=3, max_dist=40, ratio=0.5),
    Slic(n_segments=16, sigma=1),
    Slic(n_segments=36, sigma=1),
    Slic(n_segments=80, sigma=1),
    Felzenszwalb(scale=300, sigma=0.8, min_size=400),
)
OUTLINES: tuple[Segmenter, ...] = (
    *(Felzenszwalb(scale=scale, sigma=sigma, min_size=scale) for scale in (100, 300, 1000) for sigma in (0.5, 1.2, 2.0)),
    *(ColourClusters(n_clusters=count) for count in (4, 6, 8, 12, 16, 24, 32, 48)),
)

GRADED = 0.1  # what the map itself is of one that is cut


@dataclass(frozen=True)
class Mosaic:
    """A stack of partitions of one input, from fine to coarse and by different rules.

    Args:
        segmenter: the first partition; ``None``: quick shift with LIME's settings.
        others: the further ones; ``None``: finer quick shift, SLIC with 16, 36 and 80 segments, and felzenszwalb's
            graph segmentation. One of these that finds a single segment, as may be in a small or plain input, is left out.
        outlines: partitions of which no copy is made, but within whose segments maps are averaged too
            (:meth:`outlined`); ``None``: felzenszwalb's, for scales of 100, 300 and 1000, and smoothed by 0.5, 1.2 and 2 pixels,
            and 4, 6, 8, 12, 16, 24, 32 and 48 clusters of colours, so that what looks alike has like values, also where it
            doesn't touch (of grey pictures and spectrograms a cluster is a brightness or loudness). No segment of felzenszwalb's
            is smaller than as many pixels as its scale, so in small inputs few of them find more than one segment. As above, the
            others are left out.

    Example:
        >>> from dax_lightning.segment import Grid
        >>> Mosaic(Grid(1, 2), [Grid(2, 1)])(torch.zeros(3, 2, 2)).tolist()
        [[[0, 1], [0, 1]], [[2, 2], [3, 3]]]
    """

    segmenter: Segmenter | None = None
    others: Sequence[Segmenter] | None = None
    outlines: Sequence[Segmenter] | None = None

    @property
    def first(self) -> Segmenter:
        """What makes the first partition."""
        return self.segmenter or Quickshift()

    def prepare(self) -> None:
        """See :class:`Segmenter`."""
        for segmenter in (self.first, *self._others, *self._outlines):
            segmenter.prepare()

    def __call__(self, x: Float[Tensor, "c *space"], first: Int[Tensor, "*space"] | None = None) -> Int[Tensor, "p *space"]:
        """The partitions; ids go on from one to the next, so that no two share one.

        Args:
            x: the input, values in [0, 1].
            first: a partition in place of the first segmenter's, ids 0 to j - 1.

        Raises:
            InputError: the first segmenter refuses the input.
        """
        return stacked([self.first(x) if first is None else first, *_found(self._others, x)])

    def outlined(self, x: Float[Tensor, "c *space"], levels: Int[Tensor, "p *space"]) -> Int[Tensor, "more *space"]:
        """The partitions, and after them the outlines: what maps are averaged within. No query is spent on outlines.

        Args:
            x: the input, values in [0, 1].
            levels: its partitions, ids from 0 on.

        Raises:
            InputError: a segmenter of the outlines refuses the input.

        Example:
            >>> from dax_lightning.segment import Grid
            >>> x = torch.tensor([[[0.0, 0.0, 1.0, 1.0]]])
            >>> mosaic = Mosaic(Grid(1, 4), [], [Felzenszwalb(scale=0.1, sigma=0, min_size=1)])
            >>> mosaic.outlined(x, mosaic(x)).tolist()
            [[[0, 1, 2, 3]], [[4, 4, 5, 5]]]
        """
        found = _found(self._outlines, x)
        return torch.cat([levels, stacked(found) + levels.max() + 1]) if found else levels

    @property
    def _others(self) -> Sequence[Segmenter]:
        return OTHERS if self.others is None else self.others

    @property
    def _outlines(self) -> Sequence[Segmenter]:
        return OUTLINES if self.outlines is None else self.outlines


def _found(segmenters: Sequence[Segmenter], x: Float[Tensor, "c *space"]) -> list[Int[Tensor, "*space"]]:
    """The partitions of more than one segment."""
    found = []
    for segmenter in segmenters:
        with suppress(SingleSegment):
            found.append(segmenter(x))
    return found


def stacked(partitions: Sequence[Int[Tensor, "*space"]]) -> Int[Tensor, "p *space"]:
    """Partitions with ids 0 to j - 1 each, as one stack whose ids go on.

    Example:
        >>> stacked([torch.tensor([0, 1]), torch.tensor([0, 0])]).tolist()
        [[0, 1], [2, 2]]
    """
    sizes = torch.tensor([int(one.max()) + 1 for one in partitions])
    starts = sizes.cumsum(0) - sizes
    return torch.stack([one + start for one, start in zip(partitions, starts, strict=True)])


@dataclass(frozen=True)
class Copies:
    """Copies of one input that were made of several partitions, and what was answered to them.

    Example:
        >>> kept, levels = torch.tensor([[True, False, False], [False, False, True]]), torch.tensor([[[0, 1]], [[2, 2]]])
        >>> copies = Copies(kept, torch.tensor([0.7, 0.9]), levels, torch.ones(2))
        >>> copies.kept[:, copies.levels].any(1).tolist()  # of the first copy the left place is kept, of the second both
        [[[True, False]], [[True, True]]]
    """

    kept: Bool[Tensor, "n j"]
    """Which segments each copy kept, of one partition a copy."""
    values: Float[Tensor, " n"]
    """The answers, any scale."""
    levels: Int[Tensor, "p h w"]
    """The partitions; no two share an id."""
    weight: Float[Tensor, " n"]
    """Of each copy, 0 or more."""


def kept_minus_removed(copies: Copies) -> Float[Tensor, "h w"]:
    """For each place, the mean answer of copies that keep it minus that of copies that don't: RISE's map and its complement's.

    Positive where a place speaks for the target, on average over what else is there. Exact at every place: a copy's mask is a sum
    over its segments, so sums over copies are made a segment at a time.

    Example:
        >>> kept = torch.tensor([[True, True], [True, False], [False, True], [False, False]])
        >>> values, levels = torch.tensor([3.0, 2.0, 1.0, 0.0]), torch.tensor([[[0, 1]]])
        >>> kept_minus_removed(Copies(kept, values, levels, torch.ones(4))).tolist()
        [[2.0, 1.0]]
    """
    rows, weight = copies.kept.double(), copies.weight.double()
    centred = weight * (copies.values - (weight * copies.values).sum() / weight.sum())
    total = (centred @ rows)[copies.levels].sum(0)  # over what is removed, it is its negative
    shown = (weight @ rows)[copies.levels].sum(0)
    return (total / shown.clamp_min(1e-9) + total / (weight.sum() - shown).clamp_min(1e-9)).float()


@dataclass(frozen=True)
class Additive:
    """What each place adds to the answer, as far as places add up."""

    saliency: Float[Tensor, "h w"]
    """What each place adds, any scale."""
    r2: float
    """How much better the sum foretells the answer of a copy left out than the mean of its partition's other copies does, in
    parts of that mean's squared error: 1 where places add up and enough was asked, 0 or less where they tell nothing."""


def additive(copies: Copies, places: Bool[Tensor, "h w"] | None = None) -> Additive:
    """A single ridge regression on the copies of all partitions: the answer as a sum over the places that a copy keeps.

    What a place adds is the sum of a coefficient for each segment that it lies in, and each copy, whatever its partition, informs
    all of them: with its overlap with their areas. So it is finer than any of the partitions, and what one of a segment's places
    adds isn't spread over the others, as it is in means. The effect of a whole segment has a prior variance in proportion to its
    area.
    Each partition has an intercept without a penalty. The penalty is the one with the least error for copies left out, one at a
    time, which is exact for a linear model: the error of the whole fit over one minus the copy's leverage (Allen's PRESS).

    Args:
        copies: what their answers are on average for each partition doesn't count.
        places: which could be removed; ``None``: all. Of the others, which all copies kept, nothing is known, and 0 is told.

    Example:
        >>> levels = torch.tensor([[[0, 0, 1, 1]], [[2, 3, 3, 4]]])  # no segment is the second place alone
        >>> rows = ["10000", "01000", "00101", "00110", "00001", "00010"] * 5  # the segments that each copy keeps
        >>> kept = torch.tensor([[segment == "1" for segment in row] for row in rows])
        >>> seen = kept[:, levels].any(1)  # (30, 1, 4): the places
        >>> found = additive(Copies(kept, seen[:, 0, 1].float(), levels, torch.ones(30)))
        >>> int(found.saliency.argmax()), round(found.r2, 3)
        (1, 1.0)
    """
    levels, weight = copies.levels, copies.weight
    places = torch.ones(levels.shape[1:], dtype=torch.bool) if places is None else places
    ids, count = levels[:, places], copies.kept.shape[1]
    pairs = (ids[:, None] * count + ids).flatten().bincount(minlength=count * count)
    overlap = pairs.view(count, count).double() / places.numel()
    scale = overlap.diagonal().clamp_min(1e-12).rsqrt()
    group = _groups(copies.kept, levels)
    root, share = weight.double().sqrt(), _shares(group, weight)
    rows = root[:, None] * _centred(copies.kept.double() @ overlap * scale, group, share)
    answers = root * _centred(copies.values.double()[:, None], group, share)[:, 0]
    left, strength, right = torch.linalg.svd(rows, full_matrices=False)
    if not answers @ answers > 1e-14 * (root * copies.values).square().sum() or not strength[0] > 0:
        return Additive(torch.zeros(levels.shape[1:]), 0.0)
    seen, penalties = left.T @ answers, _PENALTIES[:, None] * strength[0] ** 2
    shrunk = strength**2 / (strength**2 + penalties)
    alone = share > 1 - 1e-9  # nothing foretells the only copy of a partition
    wrong = (answers - shrunk * seen @ left.T) / (1 - share - shrunk @ (left**2).T).clamp_min(1e-9)
    loss, best = wrong[:, ~alone].square().sum(1).min(0)
    mean = (answers / (1 - share))[~alone].square().sum()
    coefficients = right.T @ (shrunk[best] * seen / strength.clamp_min(1e-300)) * scale
    return Additive(coefficients[levels].sum(0).float() * places, (1 - loss / mean).item())


_PENALTIES = torch.logspace(-5, 1, 25, dtype=torch.float64)  # in parts of the strongest direction's variance


def _groups(kept: Bool[Tensor, "n j"], levels: Int[Tensor, "p h w"]) -> Int[Tensor, " n"]:
    """Copies that kept segments of the same partition are of one group; so are those that kept nothing."""
    shown = torch.stack([kept[:, one.unique()].any(1) for one in levels], 1)
    return shown.unique(dim=0, return_inverse=True)[1]


def _shares(group: Int[Tensor, " n"], weight: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Each copy's share of its group's weight."""
    weight = weight.double()
    return weight / weight.new_zeros(len(group)).index_add(0, group, weight).clamp_min(1e-12)[group]


def _centred(rows: Float[Tensor, "n k"], group: Int[Tensor, " n"], share: Float[Tensor, " n"]) -> Float[Tensor, "n k"]:
    """The rows less their group's weighted mean."""
    return rows - torch.zeros_like(rows).index_add(0, group, share[:, None] * rows)[group]


def averaged_within(saliency: Float[Tensor, "h w"], levels: Int[Tensor, "p h w"]) -> Float[Tensor, "h w"]:
    """Each place gets the mean of its segment, then the mean over the partitions: the map follows edges that several agree on.

    Example:
        >>> averaged_within(torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([[[0, 0, 1]], [[2, 2, 2]]])).tolist()
        [[0.75, 0.75, 1.5]]
    """
    ids, flat = levels.flatten(1), saliency.flatten()
    count = int(levels.max()) + 1
    sums = torch.zeros(count).index_add(0, ids.flatten(), flat.repeat(len(ids)))
    return (sums / ids.flatten().bincount(minlength=count).clamp_min(1))[levels].mean(0)


def standardised(saliency: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]:
    """Mean 0, standard deviation 1; a flat map stays flat.

    Example:
        >>> standardised(torch.tensor([[1.0, 3.0]])).tolist(), standardised(torch.ones(1, 2)).tolist()
        ([[-1.0, 1.0]], [[0.0, 0.0]])
    """
    return (saliency - saliency.mean()) / _deviation(saliency)


def cut_out(
    saliency: Float[Tensor, "h w"],
    copies: Copies,
    largest: float = 0.45,
    complement: float = 0.5,
    separation: float = 0.0,
    softness: float = 0.02,
    graded: float = GRADED,
) -> Float[Tensor, "h w"]:
    """A mask of the map: near 1 above a threshold, near 0 below, with the map's order kept everywhere.

    The threshold is where the mask explains the answers best and its complement worst, which is what the counterfactual loss
    asks of a mask: the highest of ``r²(share kept inside) - complement · r²(share kept outside)``, where r is the correlation
    with the answers among the copies of each partition, no less than 0; plus ``separation`` times the share of the map's variance
    that lies between the two parts, which is Otsu's criterion. No query is spent. At most the share ``largest`` of all places
    lies above it: a mask that names most of the picture says little.

    Args:
        saliency: any scale.
        copies: whose answers the mask explains.
        largest: most of the places that may be named, in (0, 0.5].
        complement: how much it counts that the rest must not explain; 0 or more. More of it makes masks larger.
        separation: how much it counts that the map tells the two parts apart; 0 or more.
        softness: how far around the threshold the mask is neither 0 nor 1, in standard deviations of the map; above 0.
        graded: what the map itself, scaled to [0, 1], contributes, in [0, 1], so that places within the mask are told apart; 1:
            the map alone, not cut at all.

    Returns:
        Values in [0, 1]; zeros for a flat map. Places of one value are named together: where those of the highest are more than
        ``largest``, these.

    Raises:
        InputError: ``largest`` is out of range, or the map is of another size than the partitions.

    Example:
        >>> kept = torch.tensor([[True, True, True], [True, False, False], [False, True, True], [False, True, False]])
        >>> values, levels = torch.tensor([2.0, 2.1, 0.0, 0.1]), torch.tensor([[[0, 0, 1, 1, 2, 2]]])
        >>> saliency = torch.tensor([[0.9, 0.9, 0.5, 0.4, 0.1, 0.0]])
        >>> (cut_out(saliency, Copies(kept, values, levels, torch.ones(4))) > 0.5)[0].tolist()
        [True, True, False, False, False, False]
    """
    if not 0 < largest <= 0.5:
        raise InputError(f"largest={largest}: wanted a share over 0, and no more than 0.5")
    if saliency.shape != copies.levels.shape[1:]:
        sizes = f"a map of {tuple(saliency.shape)} places, partitions of {tuple(copies.levels.shape[1:])}"
        raise InputError(f"{sizes}: wanted the same height and width")
    low, high = saliency.min(), saliency.max()
    if not high > low:
        return torch.zeros_like(saliency)
    scaled = (saliency - low) / (high - low)
    if graded == 1:
        return scaled
    ranked = saliency.flatten().sort(descending=True)
    sizes = _sizes(ranked.values, largest)
    shares = torch.cat(_shares_kept(ranked.indices, sizes, copies.kept, copies.levels), 1)
    inside, outside = _correlation(shares, copies).chunk(2)
    explained = inside**2 - complement * outside**2
    size = int(sizes[(explained + separation * _between(ranked.values, sizes)).argmax()])
    edge = ranked.values[size - 1 : size + 1].mean()  # between the last place that is named and the first that isn't
    mask = torch.sigmoid((saliency - edge) / (softness * _deviation(saliency)))
    return (1 - graded) * mask + graded * scaled


_SURE = 0.99  # a higher R² counts as this
_BAND = 0.03  # of R², around ``uncut``, where maps are cut in part


def bounded(r2: float) -> float:
    """An R² as it counts for how far places add up: in [0, 0.99].

    Example:
        >>> bounded(-0.2), bounded(0.5), bounded(1.0)
        (0.0, 0.5, 0.99)
    """
    return min(max(r2, 0.0), _SURE)


@dataclass(frozen=True)
class Cut:
    """:func:`cut_out` as far as places don't add up: where they do, a map tells the object's edge better than the cut does.

    The complement counts ``complement · (1 - R²)``. A tenth of a cut map is the map itself, scaled to [0, 1], and from an R² of
    0.03 below ``uncut`` to 0.03 above it this share grows to all. An R² under 0 counts as 0, one over 0.99 as that.

    Args:
        complement: how much it counts that the rest must not explain; 0 or more.
        separation: how much it counts that the map tells what is named from the rest; 0 or more.
        uncut: the R² around which maps are left graded; 0 or more. 1.02 or more cuts all maps, over 0.96 none is left whole.
        largest: most of the places that a map which is cut may name, in [0, 0.5]; 0 leaves all maps as they are.

    Example:
        >>> kept = torch.tensor([[True, True, True], [True, False, False], [False, True, True], [False, True, False]])
        >>> values, levels = torch.tensor([2.0, 2.1, 0.0, 0.1]), torch.tensor([[[0, 0, 1, 1, 2, 2]]])
        >>> saliency = torch.tensor([[0.9, 0.9, 0.5, 0.4, 0.1, 0.0]])
        >>> [Cut()(saliency, Copies(kept, values, levels, torch.ones(4)), r2)[1] for r2 in (0.5, 0.9)]
        [{'named': 0.3333333432674408}, {}]
    """

    complement: float = 4.0
    separation: float = 0.3
    uncut: float = 0.85
    largest: float = 0.45

    def region(self, saliency: Float[Tensor, "h w"], copies: Copies, r2: float) -> Bool[Tensor, "h w"]:
        """What the map names where it is cut, whether or not it will be; with ``largest=0``, by the default ``largest``.

        A flat map names nothing. See :meth:`__call__` for the arguments.
        """
        largest = self.largest or Cut.largest
        return cut_out(saliency, copies, largest, self._complement(r2), self.separation) > 0.5

    def __call__(
        self, saliency: Float[Tensor, "h w"], copies: Copies, r2: float
    ) -> tuple[Float[Tensor, "h w"], dict[str, float]]:
        """The map, cut, and, where it is more cut than graded, ``named``: the share of the places over one half.

        Args:
            saliency: any scale.
            copies: see :func:`cut_out`.
            r2: how far places add up, see :class:`Additive`.
        """
        if not self.largest:
            return saliency, {}
        share = bounded(r2)
        graded = GRADED + (1 - GRADED) * min(max((share - self.uncut + _BAND) / (2 * _BAND), 0.0), 1.0)
        cut = cut_out(saliency, copies, self.largest, self._complement(r2), self.separation, graded=graded)
        return cut, {"named": (cut > 0.5).float().mean().item()} if graded < 0.5 else {}

    def _complement(self, r2: float) -> float:
        return self.complement * (1 - bounded(r2))


_SMALLEST = 0.01  # of the largest area that may be named
_TRIED = 48  # areas, each a tenth larger than the one before


def _sizes(ranked: Float[Tensor, " places"], largest: float) -> Int[Tensor, " s"]:
    """The areas to try. Equal values fall together, so each ends a run of them; the first run alone may be over ``largest``."""
    ends = (ranked[1:] < ranked[:-1]).nonzero()[:, 0] + 1
    wanted = (torch.logspace(math.log10(_SMALLEST), 0, _TRIED) * largest * len(ranked)).floor()
    return ends[(torch.searchsorted(ends, wanted, right=True) - 1).clamp_min(0)].unique()


def _between(ranked: Float[Tensor, " places"], sizes: Int[Tensor, " s"]) -> Float[Tensor, " s"]:
    """How much of the variance lies between the first so many values and the others, in [0, 1] (Otsu 1979)."""
    sums, count = ranked.double().cumsum(0), len(ranked)
    inside, above = sizes / count, sums[sizes - 1]
    gap = above / sizes - (sums[-1] - above) / (count - sizes)
    return inside * (1 - inside) * gap**2 / _deviation(ranked) ** 2


def _shares_kept(
    order: Int[Tensor, " places"], sizes: Int[Tensor, " s"], kept: Bool[Tensor, "n j"], levels: Int[Tensor, "p h w"]
) -> tuple[Float[Tensor, "n s"], Float[Tensor, "n s"]]:
    """Of the first so many places of ``order``, and of the others, the share that each copy kept."""
    segments, steps = kept.shape[1], len(sizes) + 1
    step = torch.empty_like(order)  # the first of the sizes that a place is counted in
    step[order] = torch.bucketize(torch.arange(len(order)), sizes, right=True)
    counts = (levels.flatten(1) * steps + step).flatten().bincount(minlength=segments * steps)
    area = counts.view(segments, steps).double().cumsum(1)
    inside, outside = area[:, :-1], area[:, -1:] - area[:, :-1]
    rows = kept.double()
    return rows @ inside / sizes, rows @ outside / (len(order) - sizes)


def _correlation(shares: Float[Tensor, "n s"], copies: Copies) -> Float[Tensor, " s"]:
    """Of each column with the answers, weighted, within the groups; 0 where it is negative or either is constant."""
    weight, group = copies.weight.double(), _groups(copies.kept, copies.levels)
    share = _shares(group, weight)
    shares, answers = (_centred(each.double(), group, share) for each in (shares, copies.values[:, None]))
    size = ((weight @ shares**2) * (weight @ answers**2)).sqrt()
    return ((weight * answers[:, 0]) @ shares / size.clamp_min(1e-12)).clamp_min(0)


def _deviation(saliency: Tensor) -> float:
    return max(saliency.double().std(correction=0).item(), 1e-9)
