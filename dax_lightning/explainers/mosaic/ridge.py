"""The student: one ridge regression on the copies of all partitions."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

_PENALTIES = torch.logspace(-5, 1, 25, dtype=torch.float64)  # tried, from weak to strong, over the strongest direction's variance
_NOTHING = 1e-5  # a direction with a smaller part of the strongest one's deviation is rounding


@dataclass(frozen=True)
class Imitation:
    """What a student learned of the answers.

    Args:
        saliency: its mean over a region, times the region's share of the input, is what keeping the region adds to the answer.
        r2: leave-one-out R² relative to the partition's mean. 1: effects add up; 0 or less: no better than the mean; ``None``:
            it wasn't measured.
    """

    saliency: Float[Tensor, "*space"]
    r2: float | None


class Ridge:
    """Imitates the answer to a copy by a sum over the places that the copy keeps.

    A copy is told by the share that it keeps of each segment of all partitions. So it informs every segment that overlaps with
    what it kept, and the map is finer than any partition. The partition that a copy was made of has an intercept without a
    penalty. The penalty on all others minimises the leave-one-out error (Allen's PRESS). One decomposition serves all answers.

    Args:
        kept: the segments that each copy kept, of one partition a copy.
        levels: the partitions; no two share an id.
        weight: of each copy, 0 or more.
        places: which could be removed; ``None``: all. Of the others, which all copies kept, nothing is known, and 0 is told.

    Example:
        >>> levels = torch.tensor([[[0, 0, 1, 1]], [[2, 3, 3, 4]]])  # no segment is the second place alone
        >>> rows = ["10000", "01000", "00101", "00110", "00001", "00010"] * 5  # the segments that each copy keeps
        >>> kept = torch.tensor([[segment == "1" for segment in row] for row in rows])
        >>> seen = kept[:, levels].any(1)  # (30, 1, 4): the places
        >>> found = Ridge(kept, levels, torch.ones(30)).fit(seen[:, 0, 1].float())
        >>> found.saliency.argmax().item(), round(found.r2, 3)
        (1, 1.0)
    """

    def __init__(
        self,
        kept: Bool[Tensor, "n j"],
        levels: Int[Tensor, "p *space"],
        weight: Float[Tensor, " n"],
        places: Bool[Tensor, "*space"] | None = None,
    ):
        self._levels = levels
        self._places = torch.ones(levels.shape[1:], dtype=torch.bool) if places is None else places
        ids, count = levels[:, self._places], kept.shape[1]
        pairs = (ids[:, None] * count + ids).flatten().bincount(minlength=count * count)
        overlap = pairs.view(count, count).double()  # places that two segments share
        self._area = overlap.diagonal().clamp_min(1)
        self._group = partition_of(kept, levels)
        self._share = weight.double() / torch.zeros_like(weight).double().index_add(0, self._group, weight.double())[self._group]
        self._root = weight.double().sqrt()
        rows = self._centred(kept.double() @ overlap / self._area)
        left, strength, right = torch.linalg.svd(rows, full_matrices=False)
        told = strength > _NOTHING * strength[0]
        self._variance, self._left, self._directions = strength[told] ** 2, left[:, told], right[told].T / strength[told]

    def fit(self, values: Float[Tensor, " n"]) -> Imitation:
        """What each place adds to these answers; nothing where they, or the copies, are all the same.

        Args:
            values: the answer to each copy; what they are on average for each partition doesn't count.
        """
        answers = self._centred(values.double()[:, None])[:, 0]
        if not len(self._variance) or not answers @ answers > 1e-14 * (self._root * values).square().sum():
            return Imitation(torch.zeros(self._places.shape), 0.0)
        seen = self._left.T @ answers
        shrunk = self._variance / (self._variance + _PENALTIES[:, None] * self._variance[0])
        alone = self._share > 1 - 1e-9  # nothing predicts the only copy of a partition
        left_out = (1 - self._share - shrunk @ (self._left**2).T).clamp_min(1e-9)
        wrong = (answers - shrunk * seen @ self._left.T) / left_out
        loss, best = wrong[:, ~alone].square().sum(1).min(0)
        mean = (answers / (1 - self._share))[~alone].square().sum()
        adds = self._directions @ (shrunk[best] * seen) / self._area * self._places.numel()
        return Imitation(adds[self._levels].sum(0).float() * self._places, (1 - loss / mean).item())

    def _centred(self, rows: Float[Tensor, "n k"]) -> Float[Tensor, "n k"]:
        """The rows less their partition's weighted mean, times the root of their weight."""
        means = torch.zeros_like(rows).index_add(0, self._group, self._share[:, None] * rows)
        return self._root[:, None] * (rows - means[self._group])


def partition_of(kept: Bool[Tensor, "n j"], levels: Int[Tensor, "p *space"]) -> Int[Tensor, " n"]:
    """The partition whose segments each copy kept; those that kept nothing are a group of their own, the last.

    Example:
        >>> kept = torch.tensor([[True, False, False], [False, False, True], [False, False, False]])
        >>> partition_of(kept, torch.tensor([[[0, 1]], [[2, 2]]])).tolist()
        [0, 1, 2]
    """
    first = kept.int().argmax(1)
    return torch.where(kept.any(1), torch.searchsorted(levels.flatten(1).amax(1), first), len(levels))
