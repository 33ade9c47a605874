"""Copies made of several partitions, and the maps that their answers give."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


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
    levels: Int[Tensor, "p *space"]
    """The partitions; no two share an id."""
    weight: Float[Tensor, " n"]
    """Of each copy, 0 or more."""


def kept_minus_removed(copies: Copies) -> Float[Tensor, "*space"]:
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


def groups(kept: Bool[Tensor, "n j"], levels: Int[Tensor, "p *space"]) -> Int[Tensor, " n"]:
    """Copies that kept segments of the same partition are of one group; so are those that kept nothing."""
    shown = torch.stack([kept[:, one.unique()].any(1) for one in levels], 1)
    return shown.unique(dim=0, return_inverse=True)[1]


def shares_of_group(group: Int[Tensor, " n"], weight: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Each copy's share of its group's weight."""
    weight = weight.double()
    return weight / weight.new_zeros(len(group)).index_add(0, group, weight).clamp_min(1e-12)[group]


def centred(rows: Float[Tensor, "n k"], group: Int[Tensor, " n"], share: Float[Tensor, " n"]) -> Float[Tensor, "n k"]:
    """The rows less their group's weighted mean."""
    return rows - torch.zeros_like(rows).index_add(0, group, share[:, None] * rows)[group]


def averaged_within(saliency: Float[Tensor, "*space"], levels: Int[Tensor, "p *space"]) -> Float[Tensor, "*space"]:
    """Each place gets the mean of its segment, then the mean over the partitions: the map follows edges that several agree on.

    Example:
        >>> averaged_within(torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([[[0, 0, 1]], [[2, 2, 2]]])).tolist()
        [[0.75, 0.75, 1.5]]
    """
    ids, flat = levels.flatten(1), saliency.flatten()
    count = int(levels.max()) + 1
    sums = torch.zeros(count).index_add(0, ids.flatten(), flat.repeat(len(ids)))
    return (sums / ids.flatten().bincount(minlength=count).clamp_min(1))[levels].mean(0)


def standardised(saliency: Float[Tensor, "*space"]) -> Float[Tensor, "*space"]:
    """Mean 0, standard deviation 1; a flat map stays flat.

    Example:
        >>> standardised(torch.tensor([[1.0, 3.0]])).tolist(), standardised(torch.ones(1, 2)).tolist()
        ([[-1.0, 1.0]], [[0.0, 0.0]])
    """
    return (saliency - saliency.mean()) / deviation(saliency)


def deviation(saliency: Tensor) -> float:
    """The standard deviation of a map, never 0."""
    return max(saliency.double().std(correction=0).item(), 1e-9)
