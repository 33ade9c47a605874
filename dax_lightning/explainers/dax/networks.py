"""Mask networks and student networks; both see the copies at a small resolution, values in [-1, 1]."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dax_lightning.errors import InputError


class MaskNetwork(nn.Module):
    """Two convolutions, then a sigmoid (figure 4 of the paper), and, where ``place`` is given, a map that knows the place.

    A convolution sees only its surroundings: it can single out a texture but not a position. The ``place`` map is one
    learned value a cell, the same for every copy, added before the sigmoid.

    Nothing but a penalty keeps a sigmoid from opening everywhere. ``centred`` takes the mean over all cells off before the
    sigmoid, so that opening one place closes others: a mask has to choose.

    Args:
        channels: of the copies.
        hidden: channels between the convolutions.
        kernel: side of both kernels, odd; edges are replicated, since zeros around a copy would draw a frame.
        place: side of the place map; 0 leaves it out, as in the paper's text.
        centred: take the mean off before the sigmoid; false as in the paper's text.

    Example:
        >>> mask = MaskNetwork(channels=3)(torch.zeros(2, 3, 28, 28))
        >>> mask.shape, bool((mask > 0).all() and (mask < 1).all())
        (torch.Size([2, 1, 28, 28]), True)
    """

    def __init__(self, channels: int, hidden: int = 8, kernel: int = 3, place: int = 14, centred: bool = True):
        super().__init__()
        _positive("mask_network", hidden=hidden, kernel=kernel)
        if kernel % 2 == 0 or place < 0:
            raise InputError(f"mask_network.kernel={kernel}, place={place}: the kernel must be odd, place 0 or more")
        self.net = nn.Sequential(
            nn.Conv2d(channels, hidden, kernel, padding=kernel // 2, padding_mode="replicate"),
            nn.ReLU(),
            nn.Conv2d(hidden, 1, kernel, padding=kernel // 2, padding_mode="replicate"),
        )
        self.centred = centred
        self.place = nn.Parameter(torch.zeros(1, 1, place, place)) if place else None

    def forward(self, copies: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 1 h w"]:
        """One mask in (0, 1) for each copy."""
        logits = self.net(copies)
        if self.place is not None:
            logits = logits + F.interpolate(self.place, size=copies.shape[-2:], mode="bilinear", align_corners=False)
        if self.centred:
            logits = logits - logits.mean((2, 3), keepdim=True)
        return logits.sigmoid()


class MlpStudent(nn.Module):
    """Pool to a grid, one hidden layer, one score (the research code's student, smaller).

    Args:
        channels: of the masked copies.
        size: (height, width) of the masked copies.
        grid: side of the grid they are pooled to; of a single row, its square is the row's length.
        hidden: units of the hidden layer.
        dropout: share of hidden units left out in training.

    Example:
        >>> MlpStudent(channels=4, size=(28, 28))(torch.zeros(2, 4, 28, 28)).shape
        torch.Size([2])
    """

    def __init__(self, channels: int, size: tuple[int, int], grid: int = 14, hidden: int = 64, dropout: float = 0.1):
        super().__init__()
        _positive("student", grid=grid, hidden=hidden)
        sides = (1, min(grid**2, size[1])) if size[0] == 1 else (min(grid, *size),) * 2
        self.net = nn.Sequential(
            nn.AdaptiveAvgPool2d(sides),
            nn.Flatten(),
            nn.Linear(channels * math.prod(sides), hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, 1),
        )

    def forward(self, masked: Float[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
        """One score for each masked copy, before any sigmoid."""
        return self.net(masked)[:, 0]


class CnnStudent(nn.Module):
    """Convolutions and max-pooling, then a fully connected layer (the paper's text).

    Args:
        channels: of the masked copies.
        size: (height, width) of the masked copies; at least 4 x 4.
        widths: output channels of the convolutions (3 x 3, each followed by a ReLU and a max-pool of 2).
        hidden: units of the fully connected layer.

    Example:
        >>> CnnStudent(channels=3, size=(28, 28))(torch.zeros(2, 3, 28, 28)).shape
        torch.Size([2])
    """

    def __init__(self, channels: int, size: tuple[int, int], widths: tuple[int, ...] | list[int] = (32, 8), hidden: int = 128):
        super().__init__()
        _positive("student", hidden=hidden, **{f"widths[{i}]": w for i, w in enumerate(widths)})
        layers: list[nn.Module] = []
        for width in widths:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
            channels = width
        height, breadth = (side // 2 ** len(widths) for side in size)
        if min(height, breadth) < 1:
            raise InputError(f"student.widths={list(widths)}: {len(widths)} poolings leave nothing of {size[0]}x{size[1]} cells")
        self.net = nn.Sequential(
            *layers, nn.Flatten(), nn.Linear(channels * height * breadth, hidden), nn.ReLU(), nn.Linear(hidden, 1)
        )

    def forward(self, masked: Float[Tensor, "n c h w"]) -> Float[Tensor, " n"]:
        """One score for each masked copy, before any sigmoid."""
        return self.net(masked)[:, 0]


def _positive(where: str, **values: int) -> None:
    for name, value in values.items():
        if value < 1:
            raise InputError(f"{where}.{name}={value}: it must be at least 1")
