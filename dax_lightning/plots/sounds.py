"""An explanation of a recording: wave, spectrogram, map over it, and the map over time."""

from dataclasses import dataclass
from typing import cast

import numpy as np
from jaxtyping import Bool, Float
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import Tensor

from dax_lightning.plots.canvas import GREY, INK, MAP, NAMED, RED, RULE, axes_at, is_flat, stretch, style
from dax_lightning.plots.kinds import FOR, reach
from dax_lightning.plots.maps import array, displayed, salient
from dax_lightning.types import Explanation

_GROUND = "gray_r"  # of spectrograms: dark is loud, so that the map's colours stand out
_TICKS = (50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000)  # Hz
_CHART, _SPECTRUM, _BETWEEN, _LEFT, _BAR = 0.9, 2.1, 0.42, 0.75, 1.0  # inches


@dataclass(frozen=True)
class Recording:
    """Charts below each other, on one axis of seconds: wave, spectrogram, map over it, map over time with the truth.

    A frame of a spectrogram is drawn around its middle, from half a step before it to half a step after.

    Args:
        explanation: of a sound whose ``step`` is known.
        truth: where the target really is, drawn as a band.
    """

    explanation: Explanation
    truth: Tensor | None

    @property
    def height(self) -> float:
        """Inches."""
        spectra = 2 if self.explanation.saliency.ndim == 2 else 0
        return 0.25 + spectra * (_SPECTRUM + _BETWEEN) + 2 * (_CHART + _BETWEEN) + 0.2

    def draw(self, figure: Figure, top: float | int) -> None:
        """Draw all charts, the first at ``top`` inches."""
        made, step = self.explanation, cast(float, self.explanation.step)
        saliency, x = array(made.saliency).astype(float), array(cast(Tensor, made.x)).astype(float)
        end = saliency.shape[-1] * step if made.sound is None else made.sound.seconds
        wide = figure.get_figwidth() - _LEFT - _BAR
        top += 0.25
        axes = axes_at(figure, _LEFT, top, wide, _CHART)
        _wave(axes, made, x, end)
        _titled(axes, "Wave")
        top += _CHART + _BETWEEN
        if saliency.ndim == 2:
            for title, laid in (("Spectrogram, in dB", None), ("Map over it, scaled for display only", saliency)):
                axes = axes_at(figure, _LEFT, top, wide, _SPECTRUM)
                spectrum(axes, x[0], step, made.hertz, laid)
                axes.set_xlim(0, end)
                _band(axes, self.truth, step)
                _titled(axes, title + ("" if laid is None or self.truth is None else " (red line: truth)"))
                if laid is None:
                    _scale(figure, axes_at(figure, _LEFT + wide + 0.12, top, 0.12, _SPECTRUM), x[0])
                top += _SPECTRUM + _BETWEEN
        axes = axes_at(figure, _LEFT, top, wide, _CHART)
        named = self.explanation.region
        over_time(axes, saliency, step, *(None if each is None else array(each) for each in (self.truth, named)))
        axes.set_xlim(0, end)
        axes.set_xlabel("seconds", labelpad=1, **style(8.5, GREY))


def spectrum(
    axes: Axes, x: Float[np.ndarray, "mel time"], step: float, hertz: tuple[float, ...], saliency: np.ndarray | None = None
) -> None:
    """Draw a spectrogram of one frame every ``step`` seconds, with a map over it if given: seconds to the right, Hz upwards.

    Example:
        >>> spectrum(Figure().subplots(), np.zeros((4, 9)), 0.1, (100.0, 200.0, 400.0, 800.0))
    """
    picture = colormaps[_GROUND](stretch(x))[..., :3]
    if saliency is not None:
        share = displayed(saliency)
        strength = (0.05 + 0.6 * share)[..., None]
        picture = (1 - strength) * picture + strength * colormaps[MAP](share)[..., :3]
    axes.imshow(picture, aspect="auto", origin="lower", extent=(*_span(x.shape[1], step), 0, len(x)), interpolation="nearest")
    if hertz:
        middles = np.asarray(hertz)
        at = {f: float(np.interp(f, middles, np.arange(len(middles)) + 0.5)) for f in _TICKS if middles[0] <= f <= middles[-1]}
        shown: list[int] = []
        for f in at:
            if not shown or at[f] - at[shown[-1]] > len(middles) / 12:  # labels that would touch are left out
                shown.append(f)
        axes.set_yticks([at[f] for f in shown], [_hertz(f) for f in shown])
    else:
        axes.set_yticks([])
    _quiet(axes)
    axes.set_ylabel("Hz" if hertz else "band", **style(8.5, GREY))


def over_time(
    axes: Axes,
    saliency: np.ndarray,
    step: float,
    truth: Bool[np.ndarray, "*space"] | None,
    named: Bool[np.ndarray, "*space"] | None = None,
) -> None:
    """Draw the map summed over frequency as a curve, and the truth as a band; a place is ``step`` s.

    Where the method names a region, it is a bar below the curve; else the threshold mean + 1 std is a line.

    Example:
        >>> over_time(Figure().subplots(), np.eye(4), 0.1, np.array([True, False, False, False]))
    """
    curve = saliency.sum(0) if saliency.ndim == 2 else saliency
    at = np.arange(len(curve)) * step
    threshold = salient(curve[None])[1]
    low, high = reach(curve)
    if truth is not None and truth.any():
        here = truth.reshape(-1, truth.shape[-1]).any(0)
        axes.broken_barh(_runs(np.atleast_1d(here), step), (low, high - low), color=RED, alpha=0.13, linewidth=0)
    axes.plot(at, curve, color=FOR, linewidth=1.1)
    told = "Map over time" + (", summed over frequency" if saliency.ndim == 2 else "")
    if is_flat(curve):
        told += ": flat, the same everywhere"
    elif named is not None:
        here = named.reshape(-1, named.shape[-1]).any(0)
        axes.broken_barh(
            _runs(np.atleast_1d(here), step), (0, 0.06), transform=axes.get_xaxis_transform(), color=NAMED, linewidth=0
        )
        told += " (yellow bar: region" + ("; band: truth)" if truth is not None and truth.any() else ")")
    else:
        axes.axhline(threshold, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)))
        told += " (dashed: mean + 1 std" + ("; band: truth)" if truth is not None and truth.any() else ")")
    axes.set(xlim=_span(len(curve), step), ylim=(low, high))
    _quiet(axes)
    _titled(axes, told)


def _wave(axes: Axes, made: Explanation, x: np.ndarray, end: float) -> None:
    wave = x.mean(0) if made.sound is None else array(made.sound.wave).mean(0)
    if wave.ndim == 1:
        edges = np.linspace(0, len(wave), min(1400, len(wave)) + 1).astype(int)
        pieces = np.split(wave, edges[1:-1])
        at = (edges[1:] + edges[:-1]) / 2 / len(wave) * end
        axes.fill_between(at, [piece.min() for piece in pieces], [piece.max() for piece in pieces], color=INK, linewidth=0.4)
        most = float(np.abs(wave).max()) or 1.0
        axes.set(xlim=(0, end), ylim=(-1.05 * most, 1.05 * most))
    _quiet(axes)


def _span(frames: int, step: float) -> tuple[float, float]:
    return -step / 2, (frames - 0.5) * step


def _band(axes: Axes, truth: Tensor | None, step: float) -> None:
    if truth is None or not truth.any():
        return
    here = array(truth).reshape(-1, truth.shape[-1]).any(0)
    axes.broken_barh(_runs(np.atleast_1d(here), step), (0, 0.025), transform=axes.get_xaxis_transform(), color=RED, linewidth=0)


def _runs(here: Bool[np.ndarray, " time"], step: float) -> list[tuple[float, float]]:
    """Where runs of true places begin, and how long they are, in seconds."""
    begin, end = np.flatnonzero(np.diff(here.astype(int), prepend=0, append=0)).reshape(-1, 2).T
    return [((first - 0.5) * step, (last - first) * step) for first, last in zip(begin, end, strict=True)]


def _scale(figure: Figure, axes: Axes, x: np.ndarray) -> None:
    low, high = np.percentile(x, (1, 99))
    drawn = figure.colorbar(ScalarMappable(Normalize(low, max(high, low + 1e-6)), colormaps[_GROUND]), cax=axes)
    drawn.outline.set(edgecolor=RULE, linewidth=0.6)  # pyright: ignore[reportCallIssue]
    axes.tick_params(labelsize=8.5, labelcolor=GREY, color=RULE, length=2.5, pad=2, labelfontfamily="DejaVu Sans")


def _quiet(axes: Axes) -> None:
    axes.tick_params(labelsize=8.5, labelcolor=GREY, color=RULE, length=2.5, pad=2, labelfontfamily="DejaVu Sans")
    for spine in axes.spines.values():
        spine.set(color=RULE, linewidth=0.6)


def _titled(axes: Axes, text: str) -> None:
    axes.set_title(text, loc="left", pad=4, **style(9.2, GREY))


def _hertz(frequency: int) -> str:
    return f"{frequency // 1000}k" if frequency >= 1000 else str(frequency)
