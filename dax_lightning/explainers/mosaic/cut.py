"""Where a graded map becomes a region."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dax_lightning.errors import InputError
from dax_lightning.explainers.mosaic.copies import Copies, centred, deviation, groups, shares_of_group
from dax_lightning.explainers.mosaic.ridge import bounded

GRADED = 0.1  # what the map itself is of one that is cut


def cut_out(
    saliency: Float[Tensor, "*space"],
    copies: Copies,
    largest: float = 0.45,
    complement: float = 0.5,
    separation: float = 0.0,
    softness: float = 0.02,
    graded: float = GRADED,
) -> Float[Tensor, "*space"]:
    """A mask of the map: near 1 above a threshold, near 0 below, with the map's order kept everywhere.

    The threshold maximises ``r²(inside) - complement · r²(outside) + separation · otsu``. Inside and outside are the shares that
    a copy keeps of the region and of the rest. r is their correlation with the answers among the copies of one partition, 0 where
    it is negative. ``otsu`` is the share of the map's variance between the two parts. No query is spent.

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
    mask = torch.sigmoid((saliency - edge) / (softness * deviation(saliency)))
    return (1 - graded) * mask + graded * scaled


_BAND = 0.03  # of R², around ``uncut``, where maps are cut in part


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

    def region(self, saliency: Float[Tensor, "*space"], copies: Copies, r2: float) -> Bool[Tensor, "*space"]:
        """What the map names where it is cut, whether or not it will be; with ``largest=0``, by the default ``largest``.

        A flat map names nothing. See :meth:`__call__` for the arguments.
        """
        largest = self.largest or Cut.largest
        return cut_out(saliency, copies, largest, self._complement(r2), self.separation) > 0.5

    def __call__(
        self, saliency: Float[Tensor, "*space"], copies: Copies, r2: float
    ) -> tuple[Float[Tensor, "*space"], dict[str, float]]:
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
    return inside * (1 - inside) * gap**2 / deviation(ranked) ** 2


def _shares_kept(
    order: Int[Tensor, " places"], sizes: Int[Tensor, " s"], kept: Bool[Tensor, "n j"], levels: Int[Tensor, "p *space"]
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
    weight, group = copies.weight.double(), groups(copies.kept, copies.levels)
    share = shares_of_group(group, weight)
    shares, answers = (centred(each.double(), group, share) for each in (shares, copies.values[:, None]))
    size = ((weight @ shares**2) * (weight @ answers**2)).sqrt()
    return ((weight * answers[:, 0]) @ shares / size.clamp_min(1e-12)).clamp_min(0)
