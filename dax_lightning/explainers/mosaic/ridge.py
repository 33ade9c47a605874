"""One ridge regression over the copies of all partitions."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dax_lightning.explainers.mosaic.copies import Copies, centred, groups, shares_of_group


@dataclass(frozen=True)
class Additive:
    """What each place adds to the answer, as far as places add up."""

    saliency: Float[Tensor, "*space"]
    """What each place adds, any scale."""
    r2: float
    """Leave-one-out R² relative to the partition's mean. 1: effects are additive; 0 or less: no better than the mean."""


def additive(copies: Copies, places: Bool[Tensor, "*space"] | None = None) -> Additive:
    """A single ridge regression on the copies of all partitions: the answer as a sum over the places that a copy keeps.

    What a place adds is the sum of a coefficient for each segment that it lies in. Each copy informs all of them, by its overlap
    with their areas. So the map is finer than any of the partitions. A segment's prior variance is proportional to its area.
    Each partition has an intercept without a penalty. The penalty minimises the leave-one-out error (Allen's PRESS).

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
    group = groups(copies.kept, levels)
    root, share = weight.double().sqrt(), shares_of_group(group, weight)
    rows = root[:, None] * centred(copies.kept.double() @ overlap * scale, group, share)
    answers = root * centred(copies.values.double()[:, None], group, share)[:, 0]
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


_SURE = 0.99  # a higher R² counts as this


def bounded(r2: float) -> float:
    """An R² as it counts for how far places add up: in [0, 0.99].

    Example:
        >>> bounded(-0.2), bounded(0.5), bounded(1.0)
        (0.0, 0.5, 0.99)
    """
    return min(max(r2, 0.0), _SURE)
