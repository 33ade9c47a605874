"""The region that a map names."""

import torch
from jaxtyping import Bool, Float
from skimage import measure
from torch import Tensor

_OF_TYPICAL = 0.75  # of the typical place's value; 0.7 to 0.8 did as well on photographs
_CRUMB = 0.1  # of the largest piece: what is smaller is left out, since a region is one thing or few
_GAP = 0.01  # of the input: what is smaller is filled; gaps of 5 % must stay, as measured


def region_of(saliency: Float[Tensor, "*space"], has_space: bool = True) -> Bool[Tensor, "*space"]:
    """The places that speak for the target at least three quarters as much as a typical place of those that do.

    What is typical is the mean of the positive values, weighted by themselves. So weak places beside an object hardly count, and
    the region grows with the object. Pieces under a tenth of the largest are left out. Gaps under a hundredth of the input are
    filled. Where no place is positive, none is named.

    Args:
        saliency: positive where a place speaks for the target, any scale.
        has_space: places have neighbours; without, there are no pieces and no gaps.

    Example:
        >>> region_of(torch.tensor([[-1.0, 0.1, 0.9, 0.0, 1.0, 1.0, 0.2, -0.1]])).int().tolist()
        [[0, 0, 1, 0, 1, 1, 0, 0]]
    """
    speaks = saliency.double().clamp_min(0)
    if not speaks.any():
        return torch.zeros(saliency.shape, dtype=torch.bool)
    named = speaks >= _OF_TYPICAL * (speaks**2).sum() / speaks.sum()
    if not has_space:
        return named
    pieces, sizes = _pieces(named)
    named = named & (sizes >= _CRUMB * sizes[1:].max())[pieces]
    gaps, sizes = _pieces(~named)
    return named | ((sizes < _GAP * named.numel())[gaps] & ~named)


def _pieces(mask: Bool[Tensor, "*space"]) -> tuple[Tensor, Tensor]:
    """The number of each place's connected piece, 0 outside of the mask; and the places of each."""
    labels = torch.from_numpy(measure.label(mask.numpy(), connectivity=1)).long()
    return labels, labels.flatten().bincount(minlength=2)
