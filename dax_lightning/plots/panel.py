"""One explanation as one picture: input, map, overlay, and what is left when only the region is kept."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

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
from dax_lightning.plots.canvas import GREY, MAP, NAMED, RED, RULE, SIGNED, axes_at, is_flat, printable, save, show, style
from dax_lightning.plots.curves import strip
from dax_lightning.plots.kinds import FOR, check, draw, draw_wave, kind_of, reach, size_of, upright
from dax_lightning.plots.maps import array, is_signed, overlay, photograph, region
from dax_lightning.plots.sounds import Recording
from dax_lightning.types import Explanation

WIDTH, MARGIN, GAP, BAR = 13.4, 0.25, 0.22, 0.75  # inches; BAR is the colour bar with its numbers
SIDE = (WIDTH - 2 * MARGIN - 3 * GAP - BAR) / 4
WAVE = 1.25  # inches a chart of a wave
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
    """Write a PNG of one explanation with its facts, whatever its kind of input.

    With space, there are four pictures: input, map with its real values, overlay, region. The region is the method's own, else
    where the map exceeds its mean + 1 standard deviation. Only the overlay is scaled, for display. Without space, there are words
    on a coloured ground, or a bar for each feature. Warnings stand in a red banner above everything.

    Args:
        x: the input. Of images, 1 channel is grey, 3 are colour, else their mean is shown; values outside [0, 1] are scaled.
        explanation: what is drawn; a map that isn't finite somewhere is grey there. Its labels are the words or features.
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
    check(x, explanation)
    explanation = replace(explanation, x=x)
    if truth is not None and truth.shape != x.shape[1:]:
        raise InputError(
            f"the truth has shape {tuple(truth.shape)} and the input {tuple(x.shape[1:])}: give both at the same size"
        )
    banner = [
        line
        for text in explanation.warnings
        for line in textwrap.wrap("Warning: " + printable(text, 600), 135, break_on_hyphens=False)
    ]
    top = 0.15 + (LINE * len(banner) + 0.3 if banner else 0) + 0.65
    body = _body(explanation, truth)
    film = strip(masks, WIDTH - 2 * MARGIN) if masks is not None and len(masks) else None
    figure = Figure(figsize=(WIDTH, top + body.height + (film.height - 0.07 if film else 0)))
    _banner(figure, banner)
    _heading(figure, top - 0.65, printable(title), facts(explanation, target_name))
    body.draw(figure, top)
    if film:
        film.draw(figure, MARGIN, top + body.height - 0.07)
    return save(figure, path)


def _body(explanation: Explanation, truth: Tensor | None) -> "_Alone | _Columns | _Waves | Recording":
    kind = kind_of(explanation)
    if kind in ("wave", "spectrogram") and explanation.step is not None:
        return Recording(explanation, truth)
    return {"text": _Alone, "table": _Alone, "wave": _Waves}.get(kind, _Columns)(explanation, truth)


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


@dataclass(frozen=True)
class _Columns:
    """Four pictures beside each other."""

    explanation: Explanation
    truth: Tensor | None

    @property
    def height(self) -> float:
        return self._high + 0.52

    @property
    def _high(self) -> float:
        high, wide = self.explanation.saliency.shape
        return SIDE * min(max(high / wide, 0.35), 1.6)

    def draw(self, figure: Figure, top: float | int) -> None:
        kind, high = kind_of(self.explanation), self._high
        picture, saliency = _shown(self.explanation), upright(array(self.explanation.saliency).astype(float), kind)
        truth = None if self.truth is None else upright(array(self.truth), kind)
        named = None if self.explanation.region is None else upright(array(self.explanation.region), kind)
        where, told = region(saliency, named)
        known = truth is not None and truth.any()
        lefts = [MARGIN + n * (SIDE + GAP) + (BAR if n > 1 else 0) for n in range(4)]
        places = [axes_at(figure, left, top, SIDE, high) for left in lefts]
        show(places[0], picture)
        _map(figure, places[1], axes_at(figure, lefts[1] + SIDE + 0.08, top, 0.12, high), saliency)
        show(places[2], overlay(picture, saliency))
        show(places[3], picture * np.where(where, 1, 0.18)[..., None])
        captions = [
            "Input, as the model sees it" + (" (outline: truth)" if known else ""),
            _units(saliency),
        ]
        outlined = named is not None and bool(named.any())
        if named is not None and outlined:
            _outline(places[2], named, NAMED)
        captions += ["Overlay, map scaled for display only" + ("\n(yellow outline: the region)" if outlined else ""), told]
        for axes, caption in zip(places, captions, strict=True):
            axes.annotate(
                caption, (0, 0), (0, -5), "axes fraction", "offset points", va="top", linespacing=1.3, **style(9.2, GREY)
            )
            if truth is not None and known:
                _outline(axes, truth)


@dataclass(frozen=True)
class _Waves:
    """Three charts below each other: the wave over its map, the map with its real values, the salient region."""

    explanation: Explanation
    truth: Tensor | None

    height = 3 * (WAVE + 0.48) + 0.25

    def draw(self, figure: Figure, top: float | int) -> None:
        wave = array(cast(Tensor, self.explanation.x)).astype(float).mean(0)
        saliency = array(self.explanation.saliency).astype(float)
        where, told = region(saliency[None], None if self.explanation.region is None else array(self.explanation.region)[None])
        wide = WIDTH - 2 * MARGIN - 0.45
        first, second, third = (axes_at(figure, MARGIN + 0.45, top + 0.25 + n * (WAVE + 0.48), wide, WAVE) for n in range(3))
        draw_wave(first, wave, saliency)
        draw_wave(second, None, np.zeros_like(saliency))
        second.plot(np.arange(len(saliency)) + 0.5, saliency, color=FOR, linewidth=1)
        second.set(ylim=reach(saliency))
        draw_wave(third, np.where(where[0], wave, np.nan), np.zeros_like(saliency))
        third.plot(np.arange(len(wave)) + 0.5, wave, color=RULE, linewidth=0.6, zorder=0)
        third.set(ylim=reach(wave))
        titles = ["Input over its map, scaled for display only", "Map, in the method’s own units", told.replace("\n", " ")]
        if is_flat(saliency):
            titles[1] = "Map: flat, the same everywhere"
        if self.truth is not None and self.truth.any():
            titles[0] += " (red line: truth)"
            first.fill_between(np.arange(len(wave)), 0, 0.04, array(self.truth), transform=first.get_xaxis_transform(), color=RED)
        for axes, text in zip((first, second, third), titles, strict=True):
            axes.set_title(text, loc="left", pad=4, **style(9.2, GREY))


@dataclass(frozen=True)
class _Alone:
    """One drawing: words on their ground, or a bar for each feature."""

    explanation: Explanation
    truth: Tensor | None

    @property
    def height(self) -> float:
        high = size_of(self.explanation)[1]
        return (0.5 * high if kind_of(self.explanation) == "text" else high) + 0.8

    def draw(self, figure: Figure, top: float | int) -> None:
        left = MARGIN if kind_of(self.explanation) == "text" else 2.9
        draw(axes_at(figure, left, top, WIDTH - MARGIN - left, self.height - 0.65), self.explanation)


def _shown(explanation: Explanation) -> Float[np.ndarray, "h w 3"]:
    return upright(photograph(cast(Tensor, explanation.x)), kind_of(explanation))


def _map(figure: Figure, axes: Axes, bar: Axes, saliency: np.ndarray) -> None:
    finite = saliency[np.isfinite(saliency)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    signed, most = is_signed(saliency) and not is_flat(saliency), max(-low, high)
    scale = (
        Normalize(-most, most) if signed else Normalize(low, high) if not is_flat(saliency) else Normalize(low - 0.5, low + 0.5)
    )
    colours = colormaps[SIGNED if signed else MAP].with_extremes(bad="#9e9e9e")
    show(axes, np.ma.masked_invalid(saliency), cmap=colours, norm=scale)
    drawn = figure.colorbar(
        ScalarMappable(scale, colours), cax=bar, ticks=[low] if is_flat(saliency) else MaxNLocator(5, min_n_ticks=3)
    )
    drawn.outline.set(edgecolor=RULE, linewidth=0.6)  # pyright: ignore[reportCallIssue]
    bar.tick_params(labelsize=8.5, labelcolor=GREY, color=RULE, length=2.5, pad=2, labelfontfamily="DejaVu Sans")


def _units(saliency: np.ndarray) -> str:
    if is_flat(saliency):
        return "Map: flat, the same everywhere"
    return "Map, in the method’s own units" + ("\n(red: for the target, blue: against it)" if is_signed(saliency) else "")


def _outline(axes: Axes, truth: np.ndarray, colour: str = "white") -> None:
    padded = np.pad(truth.astype(float), 1)  # so that an outline closes at the picture's edge
    lines = axes.contour(
        np.arange(-1, truth.shape[1] + 1), np.arange(-1, truth.shape[0] + 1), padded, levels=[0.5], colors=colour, linewidths=1.4
    )
    lines.set_path_effects([withStroke(linewidth=2.8, foreground="black")])
    axes.set(xlim=(-0.5, truth.shape[1] - 0.5), ylim=(truth.shape[0] - 0.5, -0.5))
