"""Inputs and maps as arrays that can be shown: photographs, overlays, salient regions."""

import math

import numpy as np
from jaxtyping import Bool, Float
from matplotlib import colormaps
from torch import Tensor

from dax_lightning.plots.canvas import MAP, SIGNED, is_flat, stretch

_NOTHING = 0.005  # share of the area under which a salient region shows nothing


def photograph(x: Float[Tensor, "c *space"]) -> Float[np.ndarray, "h w 3"]:
    """Make an input fit to be shown: height, width, three channels, values in [0, 1].

    Example:
        >>> import torch
        >>> photograph(torch.rand(1, 4, 5)).shape, photograph(torch.rand(2, 9)).shape
        ((4, 5, 3), (1, 9, 3))
    """
    values = array(x).astype(float)
    values = values if len(values) == 3 else values.mean(0, keepdims=True).repeat(3, 0)
    inside = np.nanmin(values) >= 0 and np.nanmax(values) <= 1
    return np.moveaxis(values if inside else stretch(values), 0, -1).reshape(*_rows_columns(values.shape[1:]), 3)


def overlay(picture: Float[np.ndarray, "h w 3"], saliency: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w 3"]:
    """Lay a map over a greyed photograph, the more salient the stronger; of a map with both signs, what is positive.

    Example:
        >>> overlay(np.ones((2, 2, 3)), np.eye(2)).shape
        (2, 2, 3)
    """
    grey = picture.mean(-1, keepdims=True)
    share = displayed(saliency)
    strength = (0.1 + 0.55 * share)[..., None]
    return (1 - strength) * grey + strength * colormaps[MAP](share)[..., :3]


def coloured(saliency: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w 3"]:
    """Colour a map alone; of a map with both signs, zero is white.

    Example:
        >>> coloured(np.array([[-1.0, 0.0, 1.0]]))[0, 1].round(1).tolist()
        [1.0, 1.0, 1.0]
    """
    if not is_signed(saliency):
        return colormaps[MAP](stretch(saliency))[..., :3]
    most = np.nanmax(np.abs(saliency))
    return colormaps[SIGNED](0.5 + 0.5 * np.nan_to_num(saliency) / most)[..., :3]


def salient(saliency: Float[np.ndarray, "h w"], k: float | int = 1) -> tuple[Bool[np.ndarray, "h w"], float]:
    """Find where a map exceeds its mean + k standard deviations, and that threshold; a flat map has no such place.

    Example:
        >>> where, threshold = salient(np.array([[0.0, 0.0, 0.0, 1.0]]))
        >>> where.tolist(), round(threshold, 3)
        ([[False, False, False, True]], 0.683)
    """
    finite = saliency[np.isfinite(saliency)]
    threshold = float(finite.mean() + k * finite.std()) if finite.size else math.nan
    return np.zeros(saliency.shape, bool) if is_flat(saliency) else saliency > threshold, threshold


def region(
    saliency: Float[np.ndarray, "h w"], named: Bool[np.ndarray, "h w"] | None = None
) -> tuple[Bool[np.ndarray, "h w"], str]:
    """Find the region that the panel keeps, and what is said of it: what the method names, if it does.

    Else it is where the map exceeds its mean + 1 std. In a nearly binary map over half of the picture, nothing does. Then it is
    what exceeds the mean.

    Example:
        >>> region(np.array([[1.0, 1.0, 1.0, 0.0]]))[1]
        'Salient region: above its mean (mean + 1 std is above all)\\n= 0.75, 75% of the area'
    """
    if is_flat(saliency):
        return np.zeros(saliency.shape, bool), "Flat map: nothing stands out"
    if named is not None:
        return named, f"Region that the method names\n= {named.mean():.0%} of the area"
    (where, threshold), above = salient(saliency), "mean + 1 std"
    if where.mean() < _NOTHING:
        (where, threshold), above = salient(saliency, 0), "its mean (mean + 1 std is above all)"
    return where, f"Salient region: above {above}\n= {threshold:.3g}, {where.mean():.0%} of the area"


def displayed(saliency: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Scale a map to [0, 1] for display; of a map with both signs, what is positive.

    Example:
        >>> displayed(np.array([[-1.0, 0.0, 2.0]])).tolist()
        [[0.0, 0.0, 1.0]]
    """
    return stretch(np.maximum(saliency, 0) if is_signed(saliency) else saliency)


def is_signed(saliency: Float[np.ndarray, "h w"]) -> bool:
    """Tell whether a map has both signs: then zero is neutral.

    Example:
        >>> is_signed(np.array([[-1.0, 2.0]])), is_signed(np.array([[0.5, 2.0]]))
        (True, False)
    """
    return bool(np.nanmin(saliency, initial=np.inf) < 0 < np.nanmax(saliency, initial=-np.inf))


def array(values: Tensor | np.ndarray) -> np.ndarray:
    """Give a tensor's values as an array.

    Example:
        >>> array(np.ones(2)).tolist()
        [1.0, 1.0]
    """
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def _rows_columns(space: tuple[int, ...]) -> tuple[int, int]:
    return (space[0], space[1]) if len(space) == 2 else (1, space[0])
