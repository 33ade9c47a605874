"""Drawings of one object each, of which everything is known."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dax_lightning.errors import InputError

SHAPES = ("disc", "square", "triangle", "cross", "ring")
TEXTURES = ("stripes", "checkerboard", "spots")
Array = np.ndarray


@dataclass(frozen=True)
class Scene:
    """A drawing and everything that is known about it.

    Args:
        x: the picture, values in [0, 1] in steps of 1/255.
        truth: the object.
        label: index into ``SHAPES``.
        segments: a partition, ids 0 to j - 1: the object's 2 to 4 parts, clutter, and patches of background.
    """

    x: Float[Tensor, "3 h w"]
    truth: Bool[Tensor, "h w"]
    label: int
    segments: Int[Tensor, "h w"]


def shape_scene(seed: int, index: int, size: int = 64) -> Scene:
    """Draw scene ``index``: one object, whose class is ``index % 5``, over clutter, over a patchwork of textures.

    Only the object's outline depends on its class; place, size, angle, colours, textures and clutter are drawn alike.

    Args:
        seed: 0 to 2^32 - 1; the same seed and index, the same scene.
        index: 0 or more.
        size: pixels a side, at least 32.

    Raises:
        InputError: a size under 32, a seed out of range.

    Example:
        >>> scene = shape_scene(seed=0, index=7)
        >>> scene.x.shape, SHAPES[scene.label], bool(scene.truth.any())
        (torch.Size([3, 64, 64]), 'triangle', True)
    """
    check_drawing(seed, size)
    return draw(np.random.default_rng([seed, index]), index % len(SHAPES), size)


def check_drawing(seed: int, size: int) -> None:
    """Refuse, by ``InputError``, what :func:`shape_scene` can't draw."""
    if size < 32 or not 0 <= seed < 2**32:
        raise InputError(f"size={size}, seed={seed}: shapes need 32 or more pixels a side, and a seed from 0 to 2^32 - 1")


def draw(rng: np.random.Generator, label: int, size: int, ground: str | None = None) -> Scene:
    """A scene with an object of class ``label``, everything else from ``rng``.

    Args:
        rng: two of the same seed draw the same but for ``label`` and ``ground``.
        label: index into ``SHAPES``.
        size: pixels a side.
        ground: one of ``TEXTURES`` that is laid over the whole background beneath the clutter; ``None``: no such texture.
    """
    grid = np.indices((size, size), dtype=np.float32) / np.float32(size)  # (2, H, W), y before x
    backdrop, patches = _backdrop(rng, grid, ground)
    truth, parts = _object(rng, grid, SHAPES[label])
    picture = np.where(truth[..., None], _painted(rng, grid), backdrop) + rng.normal(0, 0.02, (size, size, 3))
    levels = (picture.clip(0, 1) * 255).round().astype(np.float32)
    segments = torch.from_numpy(np.where(truth, 100 + parts, patches)).unique(return_inverse=True)[1]
    return Scene(torch.from_numpy(levels / 255).permute(2, 0, 1).contiguous(), torch.from_numpy(truth), label, segments)


def _backdrop(rng: np.random.Generator, grid: Array, ground: str | None) -> tuple[Array, Array]:
    """Greyish patches with wavy borders, each of its own shade and texture, and coloured clutter: (H, W, 3), ids (H, W)."""
    points = rng.uniform(0, 1, (rng.integers(18, 27), 2, 1, 1)).astype(np.float32)
    waves = 0.03 * np.sin(rng.uniform(9, 18, (2, 1, 1)) * grid[::-1] + rng.uniform(0, 6, (2, 1, 1)))
    near = grid + waves.astype(np.float32)
    patches = ((near[0] - points[:, 0]) ** 2 + (near[1] - points[:, 1]) ** 2).argmin(0)
    shades = rng.uniform(0.35, 0.65) + rng.normal(0, 0.06, (len(points), 1)) + rng.normal(0, 0.02, (len(points), 3))
    strengths = rng.choice([-0.06, 0.06], (len(points), 2, 1))
    textures = np.stack([_texture(rng, grid), _texture(rng, grid)], -1)[..., None]
    picture = shades[patches] + (strengths[patches] * textures).sum(-2)
    if ground is not None:
        picture += 0.2 * _texture(rng, grid, ground)[..., None]
    for number in range(rng.integers(4, 8)):
        piece = _clutter(rng, grid)
        picture[piece] = _painted(rng, grid)[piece]
        patches[piece] = len(points) + number
    return picture, patches


def _clutter(rng: np.random.Generator, grid: Array) -> Array:
    """A rod, or a blob with a wavy rim: none of ``SHAPES``, and smaller."""
    y, x = _turned(rng, grid - rng.uniform(0, 1, (2, 1, 1)))
    if rng.random() < 0.5:
        return (abs(y) < rng.uniform(0.015, 0.03)) & (abs(x) < rng.uniform(0.1, 0.2))
    return np.hypot(y, x) < rng.uniform(0.04, 0.07) * (1 + 0.4 * np.sin(rng.integers(2, 6) * np.arctan2(y, x)))


def _object(rng: np.random.Generator, grid: Array, shape: str) -> tuple[Array, Array]:
    """Where the object is, and its 2 to 4 parts: sectors around its middle."""
    radius = rng.uniform(0.2, 0.27)
    y, x = _turned(rng, grid - rng.uniform(1.1 * radius, 1 - 1.1 * radius, (2, 1, 1))) / radius
    count = rng.integers(2, 5)
    return _inside(shape, y, x), np.floor((np.arctan2(y, x) / (2 * np.pi) + 0.5) * count).clip(0, count - 1).astype(int)


def _inside(shape: str, y: Array, x: Array) -> Array:
    """Where a shape of about unit radius is."""
    far, near = np.maximum(abs(y), abs(x)), np.minimum(abs(y), abs(x))
    if shape == "disc":
        return np.hypot(y, x) < 0.95
    if shape == "ring":
        return (np.hypot(y, x) < 1) & (np.hypot(y, x) > 0.55)
    if shape == "square":
        return far < 0.85
    if shape == "cross":
        return (near < 0.28) & (far < 1.1)
    return np.maximum(y, abs(x) * math.sqrt(0.75) - y / 2) < 0.6  # equilateral


def _painted(rng: np.random.Generator, grid: Array) -> Array:
    """A strong texture of a colour and its complement: their mean is grey, so what is averaged or blurred away is gone."""
    colour = rng.permutation([rng.uniform(0.35, 0.45), rng.uniform(-0.45, -0.35), rng.uniform(-0.4, 0.4)])
    return 0.5 + colour * _texture(rng, grid)[..., None]


def _texture(rng: np.random.Generator, grid: Array, kind: str | None = None) -> Array:
    """Stripes, a checkerboard, or spots (``rng`` chooses, if not told), in [-1, 1]."""
    across, along = np.sin(_turned(rng, grid) * rng.uniform(45, 65) + rng.uniform(0, 6, (2, 1, 1)))
    drawn = rng.integers(3)
    return (across, np.sign(across * along), across * along)[drawn if kind is None else TEXTURES.index(kind)]


def _turned(rng: np.random.Generator, grid: Array) -> Array:
    angle = rng.uniform(-0.35, 0.35) + rng.integers(4) * np.pi / 2
    y, x = grid
    return np.stack([np.cos(angle) * y - np.sin(angle) * x, np.sin(angle) * y + np.cos(angle) * x])
