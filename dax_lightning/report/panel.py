"""One explanation as one picture: input, map, overlay, and what is left when only the salient region is kept."""

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from dax_lightning.errors import InputError
from dax_lightning.report.canvas import GREY, MAP, RED, RULE, axes_at, is_flat, printable, save, show, stretch, style
from dax_lightning.report.curves import strip
from dax_lightning.types import Explanation

WIDTH, MARGIN, GAP, BAR = 13.4, 0.25, 0.22, 0.75  # inches; BAR is the colour bar with its numbers
SIDE = (WIDTH - 2 * MARGIN - 3 * GAP - BAR) / 4
_NOTHING = 0.005  # share of the area under which a salient region shows nothing
LINE = 0.21  # inches a line of the banner


def draw_panel(
    x: Float[Tensor, "c *space"],
    explanation: Explanation,
    path: Path,
    *,
    target_name: str,
    title: str,
    truth: Bool[Tensor, "*space"] | None = None,
    masks: Sequence[Tensor | np.ndarray] | None = None,
) -> Path:
    """Write a PNG with four pictures of one explanation: input, map with its real values, overlay, salient region.

    The salient region is where the map exceeds its mean + 1 standard deviation. Only the overlay is scaled, for display.
    The explanation's warnings stand in a red banner above everything.

    Args:
        x: the input, values in [0, 1] (others are scaled for display); 1 channel is grey, 3 are colour, else their mean is shown.
        explanation: what is drawn; a map that isn't finite somewhere is grey there.
        path: the PNG to write; its folder is made.
        target_name: the class explained, in words.
        title: what comes first, such as the case and the explainer.
        truth: where the target really is; drawn as an outline.
        masks: the mask after each epoch, values in [0, 1]; drawn as a film strip below.

    Raises:
        InputError: the input is neither (c, time) nor (c, height, width), or the shapes of input, map and truth differ.

    Example:
        >>> import tempfile, torch
        >>> made = Explanation(torch.eye(8), target=0, score=0.9, queries=10, seconds=0.1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     draw_panel(torch.rand(3, 8, 8), made, Path(folder, "a.png"), target_name="cat", title="a · dax").name
        'a.png'
    """
    _check(x, explanation, truth)
    picture, saliency = photograph(x), np.atleast_2d(_array(explanation.saliency).astype(float))
    high = SIDE * min(max(saliency.shape[0] / saliency.shape[1], 0.35), 1.6)
    banner = [
        line
        for text in explanation.warnings
        for line in textwrap.wrap("Warning: " + printable(text, 600), 135, break_on_hyphens=False)
    ]
    top = 0.15 + (LINE * len(banner) + 0.3 if banner else 0)
    film = strip(masks, WIDTH - 2 * MARGIN) if masks is not None and len(masks) else None
    figure = Figure(figsize=(WIDTH, top + 0.65 + high + 0.52 + (film.height if film else 0)))
    _banner(figure, banner)
    _heading(figure, top, printable(title), facts(explanation, target_name))
    _columns(figure, top + 0.65, high, picture, saliency, None if truth is None else np.atleast_2d(_array(truth)))
    if film:
        film.draw(figure, MARGIN, top + 0.65 + high + 0.45)
    return save(figure, path)


def facts(explanation: Explanation, target_name: str) -> str:
    """Say in one line what was explained and what it cost.

    Example:
        >>> import torch
        >>> facts(Explanation(torch.eye(2), 0, score=0.912, queries=1000, seconds=2.0, notes={"fidelity": 0.7}), "cat")
        'cat 0.912  ·  1,000 queries  ·  2.0 s  ·  student’s fidelity R² 0.70'
    """
    parts = [
        f"{printable(target_name, 50)} {explanation.score:.3f}",
        f"{explanation.queries:,} queries",
        f"{explanation.seconds:.1f} s",
    ]
    fidelity = explanation.notes.get("fidelity")
    if isinstance(fidelity, int | float):
        parts.append(f"student’s fidelity R² {fidelity:.2f}" if math.isfinite(fidelity) else "student’s fidelity not measured")
    return "  ·  ".join(parts)


def photograph(x: Float[Tensor, "c *space"]) -> Float[np.ndarray, "h w 3"]:
    """Make an input fit to be shown: height, width, three channels, values in [0, 1].

    Example:
        >>> import torch
        >>> photograph(torch.rand(1, 4, 5)).shape, photograph(torch.rand(2, 9)).shape
        ((4, 5, 3), (1, 9, 3))
    """
    values = _array(x).astype(float)
    values = values if len(values) == 3 else values.mean(0, keepdims=True).repeat(3, 0)
    inside = np.nanmin(values) >= 0 and np.nanmax(values) <= 1
    return np.moveaxis(values if inside else stretch(values), 0, -1).reshape(*_rows_columns(values.shape[1:]), 3)


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


def region(saliency: Float[np.ndarray, "h w"]) -> tuple[Bool[np.ndarray, "h w"], str]:
    """Find the region that the panel keeps, and what is said of it.

    A nearly binary map over half of the picture has its mean + 1 std above all of it; then what exceeds the mean is kept.

    Example:
        >>> region(np.array([[1.0, 1.0, 1.0, 0.0]]))[1]
        'Salient region: above its mean (mean + 1 std is above all)\\n= 0.75, 75% of the area'
    """
    if is_flat(saliency):
        return np.zeros(saliency.shape, bool), "Flat map: nothing stands out"
    (where, threshold), named = salient(saliency), "mean + 1 std"
    if where.mean() < _NOTHING:
        (where, threshold), named = salient(saliency, 0), "its mean (mean + 1 std is above all)"
    return where, f"Salient region: above {named}\n= {threshold:.3g}, {where.mean():.0%} of the area"


def _check(x: Tensor, explanation: Explanation, truth: Tensor | None) -> None:
    space = tuple(x.shape[1:])
    if len(space) not in (1, 2) or not x.numel():
        raise InputError(f"an input of shape {tuple(x.shape)} can't be drawn: give (channels, time) or (channels, height, width)")
    for name, values in (("map", explanation.saliency), ("truth", truth)):
        if values is not None and tuple(values.shape) != space:
            raise InputError(f"the {name} has shape {tuple(values.shape)} and the input {space}: give both at the same size")


def _array(values: Tensor | np.ndarray) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def _rows_columns(space: tuple[int, ...]) -> tuple[int, int]:
    return (space[0], space[1]) if len(space) == 2 else (1, space[0])


def _banner(figure: Figure, lines: list[str]) -> None:
    if not lines:
        return
    axes = axes_at(figure, MARGIN, 0.15, WIDTH - 2 * MARGIN, LINE * len(lines) + 0.16)
    axes.set(xticks=[], yticks=[], facecolor=RED)
    axes.spines[:].set_visible(False)
    axes.text(0.01, 0.5, "\n".join(lines), va="center", linespacing=1.35, **style(10.5, "white", weight="bold"))


def _heading(figure: Figure, top: float, title: str, line: str) -> None:
    axes = axes_at(figure, MARGIN, top, WIDTH - 2 * MARGIN, 0.6)
    axes.set_axis_off()
    axes.text(0, 0.9, title, va="top", **style(13, weight="bold"))
    axes.text(0, 0.42, line, va="top", **style(10.5, GREY))


def _columns(
    figure: Figure, top: float, high: float, picture: np.ndarray, saliency: np.ndarray, truth: np.ndarray | None
) -> None:
    where, told = region(saliency)
    known = truth is not None and truth.any()
    lefts = [MARGIN + n * (SIDE + GAP) + (BAR if n > 1 else 0) for n in range(4)]
    places = [axes_at(figure, left, top, SIDE, high) for left in lefts]
    show(places[0], picture)
    _map(figure, places[1], axes_at(figure, lefts[1] + SIDE + 0.08, top, 0.12, high), saliency)
    show(places[2], overlay(picture, saliency))
    show(places[3], picture * np.where(where, 1, 0.18)[..., None])
    captions = [
        "Input (outline: truth)" if known else "Input",
        "Map: flat, the same everywhere" if is_flat(saliency) else "Map, in the method’s own units",
    ]
    captions += ["Overlay, map scaled for display only", told]
    for axes, caption in zip(places, captions, strict=True):
        axes.annotate(caption, (0, 0), (0, -5), "axes fraction", "offset points", va="top", linespacing=1.3, **style(9.2, GREY))
        if truth is not None and known:
            _outline(axes, truth)


def _map(figure: Figure, axes: Axes, bar: Axes, saliency: np.ndarray) -> None:
    finite = saliency[np.isfinite(saliency)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    scale = Normalize(low, high) if not is_flat(saliency) else Normalize(low - 0.5, low + 0.5)
    colours = colormaps[MAP].with_extremes(bad="#9e9e9e")
    show(axes, np.ma.masked_invalid(saliency), cmap=colours, norm=scale)
    drawn = figure.colorbar(
        ScalarMappable(scale, colours), cax=bar, ticks=[low] if is_flat(saliency) else MaxNLocator(5, min_n_ticks=3)
    )
    drawn.outline.set(edgecolor=RULE, linewidth=0.6)  # pyright: ignore[reportCallIssue]
    bar.tick_params(labelsize=8.5, labelcolor=GREY, color=RULE, length=2.5, pad=2, labelfontfamily="DejaVu Sans")


def overlay(picture: Float[np.ndarray, "h w 3"], saliency: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "h w 3"]:
    """Lay a map over a greyed photograph, the more salient the stronger.

    Example:
        >>> overlay(np.ones((2, 2, 3)), np.eye(2)).shape
        (2, 2, 3)
    """
    grey = picture.mean(-1, keepdims=True)
    share = stretch(saliency)
    strength = (0.1 + 0.55 * share)[..., None]
    return (1 - strength) * grey + strength * colormaps[MAP](share)[..., :3]


def _outline(axes: Axes, truth: np.ndarray) -> None:
    padded = np.pad(truth.astype(float), 1)  # so that an outline closes at the picture's edge
    lines = axes.contour(
        np.arange(-1, truth.shape[1] + 1), np.arange(-1, truth.shape[0] + 1), padded, levels=[0.5], colors="white", linewidths=1.4
    )
    lines.set_path_effects([withStroke(linewidth=2.8, foreground="black")])
    axes.set(xlim=(-0.5, truth.shape[1] - 0.5), ylim=(truth.shape[0] - 0.5, -0.5))
