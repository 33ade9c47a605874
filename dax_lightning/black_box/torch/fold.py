"""Batch norms and SAME padding folded into convolutions: the same function in fewer passes over memory."""

import copy
import sys
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from dax_lightning.black_box.answers import table_of

_CLOSE = 1e-3  # largest change of a logit that rounding may make


def folded(module: nn.Module, shape: tuple[int | None, ...]) -> nn.Module:
    """The module with each batch norm folded into the convolution defined right before it, and without passes that only pad.

    timm's ``Conv2dSame`` pads as TensorFlow does, in a pass of its own. Where one more row is needed on one side than on the
    other, a row of zeros in the kernel does the same with equal padding.

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
    if None in shape or not (_padded(module) or any(isinstance(part, nn.BatchNorm2d) for part in module.modules())):
        return module
    changed = copy.deepcopy(module)
    noise = torch.randn(2, *cast(tuple[int, ...], shape), generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    noise = noise.to(next(module.parameters()))
    try:
        with torch.no_grad():
            found = sum(_fold_children(parent) for parent in list(changed.modules())) + _fold_padding(changed, noise)
            same = torch.allclose(table_of(module(noise), 2), table_of(changed(noise), 2), atol=_CLOSE)
    except Exception:  # whatever a user's module raises: its first real rows will tell
        return module
    return changed if found and same else module


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


def _fold_padding(module: nn.Module, noise: Tensor) -> int:
    """Replace each ``Conv2dSame`` that sees inputs of one size; ``noise`` shows which."""
    seen: dict[nn.Module, set[tuple[int, ...]]] = {}
    hooks = [
        part.register_forward_pre_hook(lambda own, given: seen.setdefault(own, set()).add(tuple(given[0].shape[-2:])))
        for part in _padded(module)
    ]
    module(noise)
    for hook in hooks:
        hook.remove()
    once = {part: next(iter(sizes)) for part, sizes in seen.items() if len(sizes) == 1}
    made = {part: plain for part, size in once.items() if (plain := _padding_itself(cast(nn.Conv2d, part), size)) is not None}
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if child in made:
                setattr(parent, name, made[child])
    return len(made)


def _padded(module: nn.Module) -> list[nn.Module]:
    """timm's convolutions with SAME padding; none where timm was never imported, which takes seconds."""
    if "timm.layers" not in sys.modules:
        return []
    from timm.layers.conv2d_same import Conv2dSame

    return [part for part in module.modules() if isinstance(part, Conv2dSame)]


def _padding_itself(conv: nn.Conv2d, size: tuple[int, ...]) -> nn.Conv2d | None:
    """A convolution that pads equally on both sides, the kernel longer by a row of zeros where it must be.

    ``None`` where such a row would lie a dilation away.
    """
    from timm.layers.padding import get_same_padding

    sides = zip(size, conv.kernel_size, conv.stride, conv.dilation, strict=True)
    totals = [int(get_same_padding(length, kernel, stride, dilation)) for length, kernel, stride, dilation in sides]
    longer = [total % 2 for total in totals]
    if any(more and dilation > 1 for more, dilation in zip(longer, conv.dilation, strict=True)):
        return None
    plain = nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        (conv.kernel_size[0] + longer[0], conv.kernel_size[1] + longer[1]),
        cast(tuple[int, int], conv.stride),
        (-(-totals[0] // 2), -(-totals[1] // 2)),
        cast(tuple[int, int], conv.dilation),
        conv.groups,
        conv.bias is not None,
        device=conv.weight.device,
        dtype=conv.weight.dtype,
    )
    plain.weight.copy_(F.pad(conv.weight, (longer[1], 0, longer[0], 0)))
    if conv.bias is not None and plain.bias is not None:
        plain.bias.copy_(conv.bias)
    return plain.eval()
