"""Charts that compare methods: lines against a cost or along a curve, and differences with their intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from dax_lightning.plots.canvas import GREY, INK, MARKERS, RULE, SERIES, axes_at, dress, printable, style

TOGETHER = 7  # more lines than this, in one pair of axes, can't be followed: each then has its own, the others grey behind it
LABEL = 0.165  # inches a name in the legend
DASHES = ("-", (0, (4, 1.5)), (0, (1, 1.2)))
REFERENCE = "lime"  # drawn dark behind each method where every method has its own axes


@dataclass(frozen=True)
class Line:
    """One method in a chart: its mean and its 95 % interval along ``x``; NaN where there is none."""

    name: str
    x: Float[np.ndarray, " n"]
    y: Float[np.ndarray, " n"]
    low: Float[np.ndarray, " n"]
    high: Float[np.ndarray, " n"]


@dataclass(frozen=True)
class Chart:
    """Lines over the same two quantities, and their names."""

    title: str
    x_name: str
    y_name: str
    lines: list[Line]

    @property
    def apart(self) -> bool:
        """Whether there are too many lines for one pair of axes; single points are not.

        Example:
            >>> Chart("", "", "", [Line("dax", *[np.arange(3.0)] * 4)] * 20).apart
            True
        """
        return len(self.lines) > TOGETHER and max(len(line.x) for line in self.lines) > 1

    @property
    def single(self) -> bool:
        """Whether there are many lines, and each is a single point.

        Example:
            >>> Chart("", "", "", [Line("dax", *[np.ones(1)] * 4)] * 20).single
            True
        """
        return len(self.lines) > TOGETHER and max(len(line.x) for line in self.lines) == 1

    @property
    def logarithmic(self) -> bool:
        """Whether the x are all above 0 and range over a factor of more than 20.

        Example:
            >>> Chart("", "", "", [Line("dax", *[np.array([1.0, 99.0])] * 4)]).logarithmic
            True
        """
        x = np.concatenate([line.x for line in self.lines])
        return bool(0 < 20 * x.min() < x.max())


def draw_chart(*charts: Chart) -> Figure:
    """Draw lines with a legend and bands of their intervals; many lines each in axes of their own.

    Many single points become a row each, with the value and, in axes beside it, its costs.

    Args:
        charts: one, or one a cost where each line is a single point.

    Example:
        >>> line = Line("dax", np.arange(3.0), np.ones(3), np.zeros(3), np.full(3, 2.0))
        >>> len(draw_chart(Chart("iou", "queries", "iou", [line])).axes), len(draw_chart(Chart("", "", "", [line] * 12)).axes)
        (1, 12)
    """
    if all(chart.single for chart in charts):
        return _rows(charts)
    return _apart(charts[0]) if charts[0].apart else _together(charts[0])


def draw_forest(tables: Sequence[tuple[str, bool, pd.DataFrame]], names: Sequence[str]) -> Figure:
    """Draw differences as dots with their 95 % intervals, a line a method; filled where Holm's p is below 0.05.

    Args:
        tables: for each metric its title, whether higher is better, and
            what :func:`dax_lightning.stats.paired.paired_differences` gives.
        names: the methods from top to bottom.

    Example:
        >>> table = pd.DataFrame([{"explainer": "dax", "difference": 0.1, "low": 0.0, "high": 0.2, "p_holm": 0.01}])
        >>> len(draw_forest([("iou minus lime’s", True, table)], ["dax"]).axes)
        1
    """
    left, wide, row = 1.45, 1.95, 0.19
    figure = Figure(figsize=(left + len(tables) * (wide + 0.2), 0.8 + row * len(names)))
    for n, (title, up, table) in enumerate(tables):
        axes = axes_at(figure, left + n * (wide + 0.2), 0.3, wide, row * len(names))
        _differences(axes, table, names)
        _dress_forest(axes, title, up, list(names) if n == 0 else [], len(names))
    return figure


def look(k: int) -> dict[str, Any]:
    """Colour, dash and marker of the k-th line: 8 colours told apart by the colour-blind, then the same dashed, then dotted.

    Example:
        >>> look(0)["color"] == look(8)["color"], look(0)["linestyle"] == look(8)["linestyle"]
        (True, False)
    """
    repeat = k // len(SERIES)
    return {
        "color": SERIES[k % len(SERIES)],
        "linestyle": DASHES[repeat % len(DASHES)],
        "marker": MARKERS[(k + repeat) % len(MARKERS)],
    }


def _together(chart: Chart) -> Figure:
    high = max(2.2, LABEL * len(chart.lines))
    figure = Figure(figsize=(5.6, high + 0.85))
    axes = axes_at(figure, 0.62, 0.35, 3.35, high)
    for k, line in enumerate(chart.lines):
        _line(axes, line, look(k))
    dress(axes, chart.title, chart.x_name)
    _scale(axes, chart)
    _label(axes, chart.lines, LABEL / high)
    return figure


def _line(axes: Axes, line: Line, drawn: dict[str, Any], size: float | int = 4.5) -> None:
    dense = len(line.x) > 12  # a curve, not some settings
    axes.plot(line.x, line.y, linewidth=1.5, markersize=0 if dense else size, **drawn)
    if len(line.x) > 1:
        axes.fill_between(line.x, line.low, line.high, color=drawn["color"], alpha=0.13, linewidth=0)
    elif np.isfinite(line.low).all():
        axes.vlines(line.x, line.low, line.high, color=drawn["color"], linewidth=1)


def _label(axes: Axes, lines: Sequence[Line], gap: float) -> None:
    """Write a legend to the right, the names from the highest end to the lowest."""
    order = sorted(range(len(lines)), key=lambda k: -np.nan_to_num(lines[k].y[-1], nan=-np.inf))
    for n, k in enumerate(order):
        place = 1 - (n + 0.5) * gap
        axes.plot([1.05], [place], transform=axes.transAxes, clip_on=False, markersize=4.5, **look(k))
        axes.text(1.08, place, printable(lines[k].name, 24), transform=axes.transAxes, va="center", **style(7.8, INK))


def _rows(charts: Sequence[Chart]) -> Figure:
    """Draw a line a method, best value first: the value with its interval, and beside it each cost."""
    lines = sorted(charts[0].lines, key=lambda line: -np.nan_to_num(line.y[-1], nan=-np.inf))
    left, wide, gap, row = 1.75, 2.6, 0.25, 0.19
    high = row * len(lines)
    figure = Figure(figsize=(left + (1 + len(charts)) * wide * 0.8 + len(charts) * gap, 0.85 + high))
    value, *costs = (axes_at(figure, left + n * (0.8 * wide + gap), 0.33, 0.8 * wide, high) for n in range(1 + len(charts)))
    for place, line in enumerate(lines):
        value.plot([line.low[-1], line.high[-1]], [place, place], color=SERIES[0], linewidth=1.3)
        value.plot(line.y[-1], place, "o", color=SERIES[0], markersize=5)
    dress(value, charts[0].title, charts[0].y_name)
    for axes, chart in zip(costs, charts, strict=True):
        by_name = {line.name: line for line in chart.lines}
        for place, line in enumerate(lines):
            if line.name in by_name:
                axes.plot(by_name[line.name].x[-1], place, "D", color=GREY, markersize=4)
        dress(axes, chart.x_name, f"{chart.x_name} an explanation")
        _scale(axes, chart)
    for n, axes in enumerate((value, *costs)):
        axes.set(ylim=(len(lines) - 0.5, -0.5), yticks=range(len(lines)))
        axes.set_yticklabels([printable(line.name, 24) for line in lines] if n == 0 else [""] * len(lines))
        axes.tick_params(axis="y", length=0, labelcolor=INK)
    return figure


def _apart(chart: Chart) -> Figure:
    columns, wide, high = 6, 1.55, 1.0
    rows = -(-len(chart.lines) // columns)
    figure = Figure(figsize=(0.6 + columns * (wide + 0.17), 0.75 + rows * (high + 0.32) + 0.2))
    _heading(figure, chart)
    for n, line in enumerate(chart.lines):
        row, column = divmod(n, columns)
        axes = axes_at(figure, 0.5 + column * (wide + 0.17), 0.75 + row * (high + 0.32), wide, high)
        _among_others(axes, chart, line)
        axes.set_ylim(*_reach(chart.lines))
        axes.tick_params(labelleft=column == 0, labelbottom=n + columns >= len(chart.lines), pad=2)
    return figure


def _reach(lines: Sequence[Line]) -> tuple[float, float]:
    """From the lowest to the highest value of any line or band, and a little more."""
    values = np.concatenate([part for line in lines for part in (line.y, line.low, line.high)])
    low, high = np.nanmin(values), np.nanmax(values)
    room = 0.06 * (high - low) or 0.5
    return float(low - room), float(high + room)


def _heading(figure: Figure, chart: Chart) -> None:
    wide, high = figure.get_size_inches()
    told = f"{chart.y_name} against {chart.x_name}; grey: the other methods"
    told += f", dashed: {REFERENCE}" if any(line.name == REFERENCE for line in chart.lines) else ""
    figure.text(0.5 / wide, 1 - 0.18 / high, printable(chart.title, 60), va="center", **style(10, weight="bold"))
    figure.text(0.5 / wide, 1 - 0.4 / high, printable(told), va="center", **style(8, GREY))


def _among_others(axes: Axes, chart: Chart, line: Line) -> None:
    axes.add_collection(LineCollection([np.column_stack([o.x, o.y]) for o in chart.lines], colors=RULE, linewidths=0.7))
    for other in (other for other in chart.lines if other.name == REFERENCE):
        axes.plot(other.x, other.y, "--", color=GREY, linewidth=1)
    _line(axes, line, look(0), size=3)
    dress(axes, line.name, "")
    axes.title.set(fontsize=8)
    axes.tick_params(labelsize=6.8)
    _scale(axes, chart)


def _scale(axes: Axes, chart: Chart) -> None:
    if chart.logarithmic:
        axes.set_xscale("log")
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def _differences(axes: Axes, table: pd.DataFrame, names: Sequence[str]) -> None:
    axes.axvline(0, color=GREY, linewidth=0.8)
    for name in set(names) - set(table["explainer"]):
        axes.plot(0, names.index(name), "D", color=GREY, markersize=4, markerfacecolor="white")  # what is subtracted
    for line in table.to_dict("records"):
        place = names.index(line["explainer"])
        sure = bool(line["p_holm"] < 0.05)
        axes.plot([line["low"], line["high"]], [place, place], color=SERIES[0], linewidth=1.3)
        axes.plot(line["difference"], place, "o", color=SERIES[0], markersize=5, markerfacecolor=SERIES[0] if sure else "white")


def _dress_forest(axes: Axes, title: str, up: bool, names: Sequence[str], rows: int) -> None:
    dress(axes, "", "better →" if up else "← better")
    axes.set_title(printable(title, 34), loc="left", pad=6, **style(8.2, weight="bold"))
    axes.set(ylim=(rows - 0.5, -0.5), yticks=range(rows))
    axes.set_yticklabels([printable(name, 22) for name in names] or [""] * rows)
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    axes.tick_params(axis="x", labelsize=7)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.spines["left"].set_visible(False)
