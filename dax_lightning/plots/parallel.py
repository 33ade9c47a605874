"""Parallel coordinates: every setting of a sweep is a line through its values and through what was measured."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dax_lightning.plots.canvas import GREY, INK, MAP, RED, RULE, axes_at, printable, style

WIDE, HIGH = 1.25, 2.6  # inches between two axes, and of an axis
NAMED = 12  # most names beside an axis
GAP = 0.055  # of an axis, between two numbers that both can be read


@dataclass(frozen=True)
class Coordinate:
    """One axis: its name, and a value a line.

    Args:
        name: of the setting or metric.
        values: text or numbers; NaN or empty: the line has a gap there.
        up: of a metric, whether more is better; ``None``: a setting.
    """

    name: str
    values: Sequence[str | float | int]
    up: bool | None = None

    def typed(self) -> "Coordinate":
        """The same with numbers where all values are some.

        Example:
            >>> Coordinate("q", ["500", "1e3"]).typed().values
            [500.0, 1000.0]
        """
        try:
            return replace(self, values=[float(value) if value != "" else math.nan for value in self.values])
        except ValueError:
            return replace(self, values=[str(value) for value in self.values])


def draw_parallel(coordinates: Sequence[Coordinate], by: int) -> Figure:
    """Draw a line a setting; the better it is, the brighter, and the best is red. On the axis of a metric, up is better.

    Args:
        coordinates: from left to right, each with as many values as the others.
        by: which of them colours the lines; it has a direction.

    Example:
        >>> lines = [Coordinate("q", [100, 200, 300]), Coordinate("iou", [0.2, 0.5, 0.4], up=True)]
        >>> len(draw_parallel(lines, by=1).axes)
        1
    """
    left, right = 0.75, 1.05
    span = WIDE * (len(coordinates) - 1)
    figure = Figure(figsize=(left + span + right, HIGH + 0.8))
    axes = axes_at(figure, left, 0.5, span, HIGH)
    axes.set(xlim=(0, len(coordinates) - 1), ylim=(-0.03, 1.03))
    axes.set_axis_off()
    places = [_axis(axes, n, one.typed()) for n, one in enumerate(coordinates)]
    worth = places[by]
    order = np.argsort(np.nan_to_num(worth, nan=-1.0), kind="stable")  # the best on top
    for rank, line in enumerate(order):
        best, known = rank == len(order) - 1, bool(np.isfinite(worth[line]))
        colour = RED if best and known else colormaps[MAP](0.95 * worth[line]) if known else RULE
        y = [place[line] for place in places]
        axes.plot(range(len(y)), y, "-", color=colour, linewidth=2.2 if best else 1.2, alpha=1 if best else 0.8, clip_on=False)
        axes.plot(range(len(y)), y, "o", color=colour, markersize=3.6 if best else 2.6, clip_on=False)
    return figure


def _axis(axes: Axes, n: int, one: Coordinate) -> np.ndarray:
    """Draw one axis with its words; give the height of each line on it."""
    axes.plot([n, n], [0, 1], color=GREY, linewidth=0.9, zorder=0, clip_on=False)
    axes.text(n, 1.13, printable(one.name, 19), ha="center", **style(8.4, INK, weight="bold"))
    if one.up is not None:
        axes.text(n, 1.065, "higher is better" if one.up else "lower is better", ha="center", **style(6.4, GREY))
    heights, told = _numbers(one) if all(isinstance(value, float) for value in one.values) else _names(one)
    for height, text in told:
        axes.plot([n - 0.02, n], [height, height], color=GREY, linewidth=0.9, zorder=0)
        place = {"x": n + 0.05, "y": height, "s": printable(text, 19), "ha": "left", "va": "center"}
        box = {"facecolor": "white", "alpha": 0.75, "pad": 0.6, "linewidth": 0}
        axes.text(**place, zorder=9, bbox=box, **style(6.6, INK))
    return heights


def _numbers(one: Coordinate) -> tuple[np.ndarray, list[tuple[float, str]]]:
    values = np.asarray(one.values, float)
    known = values[np.isfinite(values)]
    if not known.size:
        return values, []
    logarithmic = one.up is None and 0 < 9 * known.min() < known.max()
    low, high = known.min(), known.max()
    scale = np.log if logarithmic else np.asarray
    with np.errstate(invalid="ignore", divide="ignore"):
        heights = (
            (scale(values) - scale(low)) / (scale(high) - scale(low))
            if high > low
            else np.where(np.isfinite(values), 0.5, values)
        )
    heights = 1 - heights if one.up is False else heights
    few = sorted(set(known.tolist()))
    if len(few) <= 5 and one.up is None:
        shown = few
    else:
        shown = np.exp(np.linspace(np.log(low), np.log(high), 4)).tolist() if logarithmic else np.linspace(low, high, 4).tolist()
    at = {value: float(np.interp(scale(value), [scale(low), scale(high)], [0, 1])) if high > low else 0.5 for value in shown}
    told: list[tuple[float, str]] = []
    for value, y in at.items():
        if not told or abs(y - told[-1][0]) > GAP:
            told.append((y, f"{value:.3g}"))
    return heights, [(1 - y if one.up is False else y, text) for y, text in told]


def _names(one: Coordinate) -> tuple[np.ndarray, list[tuple[float, str]]]:
    names = [name for name in dict.fromkeys(map(str, one.values)) if name]
    place = {name: 0.5 if len(names) == 1 else n / (len(names) - 1) for n, name in enumerate(reversed(names))}
    heights = np.array([place.get(str(value), math.nan) for value in one.values])
    return heights, [(place[name], name) for name in names] if len(names) <= NAMED else []
