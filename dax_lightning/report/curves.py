"""What changes along the way: loss terms and masks an epoch, maps beside each other, quality against cost."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from dax_lightning.errors import InputError
from dax_lightning.report.canvas import (
    FONT,
    GREY,
    INK,
    MAP,
    MARKERS,
    RULE,
    SERIES,
    axes_at,
    printable,
    save,
    show,
    stretch,
    style,
)

FRAMES = 10  # a film strip's most
SPLITS = {"train": ("-", SERIES[0]), "val": ("--", SERIES[1]), "": ("-", SERIES[2])}


def draw_curves(history: pd.DataFrame | Sequence[Mapping[str, float | int | None]], path: Path | None = None) -> Figure:
    """Draw every loss term, training and validation together, and the student's fidelity against the epoch.

    Args:
        history: a row an epoch (or several with gaps, as Lightning logs them) with ``epoch`` and the terms as
            ``train/mse``, ``val_mse`` or ``mse/train``; a name without its split, such as ``fidelity``, is one line.
        path: a PNG to write as well.

    Raises:
        InputError: there is no ``epoch`` or no number to draw.

    Example:
        >>> made = draw_curves([{"epoch": 0, "train/mse": 0.4, "val/mse": 0.5}, {"epoch": 1, "train/mse": 0.2, "val/mse": 0.3}])
        >>> [axes.get_title(loc="left") for axes in made.axes]
        ['mse']
    """
    table, terms = _terms(pd.DataFrame(history))
    columns = min(len(terms), 4)
    rows = -(-len(terms) // columns)
    figure = Figure(figsize=(2.9 * columns + 0.3, 2.1 * rows + 0.1))
    for n, (term, lines) in enumerate(terms.items()):
        axes = axes_at(figure, 0.65 + 2.9 * (n % columns), 0.35 + 2.1 * (n // columns), 2.15, 1.25)
        for split, column in lines.items():
            dash, colour = SPLITS[split]
            axes.plot(
                table.index, table[column], dash, color=colour, marker="o", markersize=2.6, linewidth=1.3, label=_SPLIT[split]
            )
        _dress(axes, term, "epoch")
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        if "fidelity" in term:
            axes.axhline(0, color=GREY, linewidth=0.7, linestyle=":")  # no better than the mean score
        if len(lines) > 1:
            axes.legend(frameon=False, prop={"family": FONT, "size": 7}, labelcolor=GREY, handlelength=1.8)
    if path is not None:
        save(figure, path)
    return figure


_SPLIT = {"train": "training", "val": "validation", "": ""}


def draw_masks(masks: Sequence[Tensor | np.ndarray], path: Path | None = None) -> Figure:
    """Draw the mask after each epoch, (H, W) or (time,) each and values in [0, 1], as a film strip of at most ten.

    Raises:
        InputError: there is no mask.

    Example:
        >>> len(draw_masks([np.zeros((4, 4)), np.eye(4)]).axes)
        2
    """
    film = strip(masks, 12.9)
    figure = Figure(figsize=(13.4, film.height + 0.1))
    film.draw(figure, 0.25, 0.1)
    if path is not None:
        save(figure, path)
    return figure


@dataclass(frozen=True)
class Strip:
    """A row of tiles, and how high it is drawn in inches."""

    tiles: list[np.ndarray]
    labels: list[str]
    side: float
    height: float

    def draw(self, figure: Figure, left: float | int, top: float | int) -> None:
        """Draw the tiles from (left, top), inches from the figure's top left corner.

        Example:
            >>> strip([np.eye(2)], 4).draw(Figure(figsize=(4, 2)), 0, 0)
        """
        for n, (tile, label) in enumerate(zip(self.tiles, self.labels, strict=True)):
            axes = axes_at(figure, left + n * (self.side + 0.1), top + 0.2, self.side, self.height - 0.3)
            show(axes, tile, cmap=MAP, vmin=0, vmax=1)
            axes.set_title(label, pad=3, loc="left", **style(7.8, GREY))


def strip(masks: Sequence[Tensor | np.ndarray], width: float | int) -> Strip:
    """Choose at most ten masks, the first and the last among them, and their size in a row ``width`` inches wide.

    Raises:
        InputError: there is no mask, or one is neither (height, width) nor (time,).

    Example:
        >>> strip([np.eye(2)] * 30, 10).labels[::9]
        ['mask, epoch 0', '29']
    """
    if not len(masks) or any(np.ndim(mask) not in (1, 2) for mask in masks):
        shapes = sorted({tuple(mask.shape) for mask in masks})
        raise InputError(f"masks of shapes {shapes} can't be drawn: give one (height, width) or (time,) an epoch, at least one")
    epochs = np.unique(np.linspace(0, len(masks) - 1, min(len(masks), FRAMES)).round().astype(int))
    tiles = [np.atleast_2d(m.detach().cpu().numpy() if isinstance(m, Tensor) else m) for m in (masks[e] for e in epochs)]
    side = min((width + 0.1) / max(len(tiles), 8) - 0.1, 1.6)
    ratio = min(max(tiles[0].shape[0] / tiles[0].shape[1], 0.3), 1.6)
    return Strip(tiles, [f"mask, epoch {e}" if e == 0 else str(e) for e in epochs], side, side * ratio + 0.3)


def draw_maps(maps: Sequence[tuple[str, np.ndarray]]) -> Figure:
    """Draw several maps (H, W) of one case beside each other, each scaled by itself, under its name.

    Example:
        >>> len(draw_maps([("dax", np.eye(3)), ("lime", np.ones((3, 3)))]).axes)
        2
    """
    columns, side = 5, 2.4
    first = np.atleast_2d(maps[0][1])
    high = side * min(max(first.shape[0] / first.shape[1], 0.35), 1.6)
    figure = Figure(figsize=(min(len(maps), columns) * (side + 0.2), -(-len(maps) // columns) * (high + 0.35)))
    for n, (name, values) in enumerate(maps):
        axes = axes_at(figure, 0.1 + n % columns * (side + 0.2), 0.28 + n // columns * (high + 0.35), side, high)
        show(axes, stretch(np.atleast_2d(values).astype(float)), cmap=MAP, vmin=0, vmax=1)
        axes.set_title(printable(name, 38), pad=4, loc="left", **style(8.5))
    return figure


def draw_quality(groups: pd.DataFrame, series: str, metrics: Sequence[str]) -> Figure:
    """Draw each metric against queries and seconds (where they differ): a point a group, its 95 % interval, a line a series.

    Args:
        groups: what :func:`dax_lightning.report.tables.summarise` gives.
        series: the column that names the line a group belongs to.
        metrics: what is drawn, in this order.

    Example:
        >>> groups = pd.DataFrame({"s": ["a", "b"], "queries": [9, 99], "seconds": [1, 2], "iou": [0.1, 0.3]})
        >>> len(draw_quality(groups.assign(iou_low=0.0, iou_high=0.5), "s", ["iou"]).axes)
        2
    """
    names = list(dict.fromkeys(groups[series]))
    cells = [(m, cost) for m in metrics for cost in ("queries", "seconds") if len(set(groups[cost])) > 1]
    rows = -(-len(cells) // 2)
    figure = Figure(figsize=(9.6, 2.55 * rows + 0.22 * -(-len(names) // 3) + 0.15))
    for n, (metric, cost) in enumerate(cells):
        axes = axes_at(figure, 0.75 + 4.8 * (n % 2), 0.35 + 2.55 * (n // 2), 3.9, 1.65)
        for k, name in enumerate(names):
            _line(axes, groups.loc[np.asarray(groups[series]) == name], cost, metric, name, k)
        _dress(axes, metric, cost)
        values = np.asarray(groups[cost], float)
        if 0 < 20 * values.min() < values.max():
            axes.set_xscale("log")
    handles, labels = figure.axes[0].get_legend_handles_labels() if cells else ([], [])
    made = figure.legend(
        handles, labels, loc="lower left", ncols=3, frameon=False, prop={"family": FONT, "size": 8}, labelcolor=INK
    )
    for text in made.get_texts():
        text.set_parse_math(False)
    return figure


def _line(axes: Axes, rows: pd.DataFrame, cost: str, metric: str, name: str, k: int) -> None:
    rows = rows.sort_values(by=cost)
    mean = np.asarray(rows[metric], float)
    reach = np.abs(
        np.stack([mean - rows[f"{metric}_low"], rows[f"{metric}_high"] - mean])
    )  # NaN where one case tells no interval
    look = {"color": SERIES[k % len(SERIES)], "marker": MARKERS[(k // len(SERIES) + k) % len(MARKERS)], "markersize": 5}
    axes.errorbar(rows[cost], mean, reach, linewidth=1.2, elinewidth=0.9, capsize=2, label=printable(name, 45), **look)


def _dress(axes: Axes, title: str, below: str) -> None:
    axes.set_title(printable(title, 40), loc="left", pad=6, **style(9.2, weight="bold"))
    axes.set_xlabel(below, **style(8, GREY))
    axes.tick_params(labelsize=7.5, labelcolor=GREY, color=RULE, labelfontfamily=FONT)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(RULE)
    axes.grid(axis="y", color="#eceff1", linewidth=0.8)
    axes.set_axisbelow(True)


def _terms(history: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, dict[str, str]]]:
    """Give one row an epoch, and for each term its columns by split; fidelity comes last."""
    if "epoch" not in history:
        raise InputError(f"the history has columns {list(history.columns)} but no epoch: give one row an epoch with its number")
    table = pd.DataFrame(history.apply(pd.to_numeric, errors="coerce").groupby("epoch").mean())
    terms: dict[str, dict[str, str]] = {}
    for column in (str(c) for c in table.columns if c != "step" and bool(np.isfinite(np.asarray(table[c], float)).any())):
        found = re.fullmatch(r"(?P<split>train|val)[/_](?P<term>.+)|(?P<term2>.+)[/_](?P<split2>train|val)", column)
        term, split = (found["term"] or found["term2"], found["split"] or found["split2"]) if found else (column, "")
        terms.setdefault(term, {})[split] = column
    if not terms:
        raise InputError("the history has no number to draw: give at least one loss term an epoch")
    return table, dict(sorted(terms.items(), key=lambda item: "fidelity" in item[0]))
