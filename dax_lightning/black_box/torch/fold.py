"""Batch norms folded into the convolutions before them: the same function in fewer passes over memory."""

import copy
from itertools import pairwise
from typing import Any, cast

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from dax_lightning.black_box.answers import table_of

_CLOSE = 1e-3  # largest change of a logit that rounding may make


def folded(module: nn.Module, shape: tuple[int | None, ...]) -> nn.Module:
    """The module with each batch norm folded into the convolution defined right before it.

    Modules don't tell in which order they run their parts, so the result is compared with the module itself on noise; where
    it differs by more than rounding, the module comes back as it was.

    Args:
        module: a network in evaluation mode; it is left alone.
        shape: (c, *space) of one of its rows; where an axis is ``None``, nothing is folded.

    Example:
        >>> plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
        >>> [type(part).__name__ for part in folded(plain, (3, 8, 8))][:2]
        ['Conv2d', 'Identity']
    """
    if None in shape or not any(isinstance(part, nn.BatchNorm2d) for part in module.modules()):
        return module
    changed = copy.deepcopy(module)
    found = sum(_fold_children(parent) for parent in list(changed.modules()))
    return changed if found and _same(module, changed, shape) else module


def _fold_children(parent: nn.Module) -> int:
    found = 0
    children = list(parent.named_children())
    for (name, conv), (after, norm) in pairwise(children):
        fits = isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d) and conv.out_channels == norm.num_features
        if fits and norm.track_running_stats:
            setattr(parent, name, fuse_conv_bn_eval(cast(nn.Conv2d, conv), cast(nn.BatchNorm2d, norm)))
            setattr(parent, after, getattr(norm, "act", nn.Identity()))  # timm's batch norms hold an activation
            found += 1
    return found


@torch.no_grad()
def _same(one: nn.Module, other: nn.Module, shape: tuple[Any, ...]) -> bool:
    noise = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    noise = noise.to(next(one.parameters()))
    try:
        return torch.allclose(table_of(one(noise), 2), table_of(other(noise), 2), atol=_CLOSE)
    except Exception:  # whatever a user's module raises: its first real rows will tell
        return False
