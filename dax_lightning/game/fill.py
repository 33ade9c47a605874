"""What replaces a removed segment."""

import math
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dax_lightning.errors import InputError

Fill = Literal["zeros", "segment_mean", "image_mean", "blur", "noise_floor"]

_QUIET = 0.1  # the quantile over time that is the noise floor
_LONG = 1000  # weights of a blur above which it is done by Fourier transforms: those of waves


def check_fill(setting: str, fill: str) -> None:
    """Raise an InputError, in which ``setting`` is named, unless ``fill`` is a :data:`Fill`."""
    if fill not in get_args(Fill):
        raise InputError(f"{setting}={fill}: choose one of {', '.join(get_args(Fill))}")


def painted(
    x: Float[Tensor, "c *space"], fill: Float[Tensor, "c *space"], segments: Int[Tensor, "*levels"], kept: Bool[Tensor, "n j"]
) -> Float[Tensor, "n c *space"]:
    """``x`` where a segment is kept, ``fill`` elsewhere (equation 5). Of a stack, a copy keeps segments of one partition, or all.

    Example:
        >>> painted(torch.ones(1, 2), torch.zeros(1, 2), torch.tensor([0, 1]), torch.tensor([[True, False]])).tolist()
        [[[1.0, 0.0]]]
    """
    if segments.ndim == x.ndim:  # a stack is as long as x has axes, but for the channels
        own = torch.searchsorted(segments.flatten(1).amax(1), kept.int().argmax(1))  # the partition of the first that it keeps
        shown = kept.gather(1, segments[own].flatten(1)).view(len(kept), *x.shape[1:])
    else:
        shown = kept[:, segments]
    return torch.where(shown.unsqueeze(1), x, fill)


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
    if fill == "noise_floor":
        return x.quantile(_QUIET, dim=-1, keepdim=True).expand_as(x).contiguous()
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
        weights = (kernel / kernel.sum()).view(1, 1, -1)
        if len(kernel) > _LONG:
            from scipy.signal import oaconvolve  # not at the top: photographs needn't wait a second for it

            made = torch.from_numpy(oaconvolve(flat.numpy(), weights.numpy(), mode="valid", axes=-1))
        else:
            made = F.conv1d(flat, weights)
        x = made.view(rows.shape).transpose(axis, -1)
    return x.contiguous()
