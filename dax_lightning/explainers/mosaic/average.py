"""Averages of a map within segments, which give it the edges that several partitions agree on."""

import torch
from jaxtyping import Float, Int
from torch import Tensor


def averaged(saliency: Float[Tensor, "*space"], partitions: Int[Tensor, "p *space"], times: int = 1) -> Float[Tensor, "*space"]:
    """Each place gets the mean of its segment, then the mean over the partitions, so many times.

    Example:
        >>> averaged(torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([[[0, 0, 1]], [[2, 2, 2]]])).tolist()
        [[0.75, 0.75, 1.5]]
    """
    ids, count = partitions.flatten(1), int(partitions.max()) + 1
    area = ids.flatten().bincount(minlength=count).clamp_min(1)
    for _ in range(times):
        sums = torch.zeros(count).index_add(0, ids.flatten(), saliency.flatten().repeat(len(ids)))
        saliency = (sums / area)[partitions].mean(0)
    return saliency
