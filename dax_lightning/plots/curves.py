"""What changes along the way: loss terms and masks an epoch; and maps beside each other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from dax_lightning.errors import InputError
from dax_lightning.plots.canvas import FONT, GREY, MAP, SERIES, axes_at, dress, printable, show, stretch, style

FRAMES = 10  # a film strip's most
SPLITS = {"train": ("training", "-", SERIES[0]), "val": ("validation", "--", SERIES[1]), "": ("", "-", SERIES[2])}


def draw_curves(history: Sequence[Mapping[str, float | int | None]]) -> Figure:
    """Draw every loss term, training and validation together, and the student's fidelity against the epoch.

    Args:
        history: a row an epoch with ``epoch`` and the terms as ``train_mse`` and ``val_mse``; a name without its split, such as
            ``fidelity``, is one line.

    Raises:
        InputError: there is no ``epoch`` or no number to draw.

    Example:
        >>> made = draw_curves([{"epoch": 0, "train_mse": 0.4, "val_mse": 0.5}, {"epoch": 1, "train_mse": 0.2, "val_mse": 0.3}])
        >>> [axes.get_title(loc="left") for axes in made.axes]
        ['mse']
    """
    table, terms = _terms(history)
    columns = min(len(terms), 4)
    rows = -(-len(terms) // columns)
    figure = Figure(figsize=(2.9 * columns + 0.3, 2.1 * rows + 0.1))
    for n, (term, lines) in enumerate(terms.items()):
        axes = axes_at(figure, 0.65 + 2.9 * (n % columns), 0.35 + 2.1 * (n // columns), 2.15, 1.25)
        _term(axes, table, lines)
        dress(axes, term, "epoch")
        if "fidelity" in term:
            axes.axhline(0, color=GREY, linewidth=0.7, linestyle=":")  # no better than the mean score
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


def _term(axes: Axes, table: pd.DataFrame, lines: Mapping[str, str]) -> None:
    for split, column in lines.items():
        name, dash, colour = SPLITS[split]
        axes.plot(table.index, table[column], dash, color=colour, marker="o", markersize=2.6, linewidth=1.3, label=name)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    if len(lines) > 1:
        axes.legend(frameon=False, prop={"family": FONT, "size": 7}, labelcolor=GREY, handlelength=1.8)


def _terms(history: Sequence[Mapping[str, float | int | None]]) -> tuple[pd.DataFrame, dict[str, dict[str, str]]]:
    """Give one row an epoch, and for each term its columns by split; fidelity comes last."""
    table = pd.DataFrame(list(history)).apply(pd.to_numeric, errors="coerce")
    if "epoch" not in table:
        raise InputError(f"the history has columns {list(table.columns)} but no epoch: give one row an epoch with its number")
    table = table.set_index("epoch")
    terms: dict[str, dict[str, str]] = {}
    for column in (str(c) for c in table.columns if bool(np.isfinite(np.asarray(table[c], float)).any())):
        split, _, term = column.partition("_") if column.startswith(("train_", "val_")) else ("", "", column)
        terms.setdefault(term, {})[split] = column
    if not terms:
        raise InputError("the history has no number to draw: give at least one loss term an epoch")
    return table, dict(sorted(terms.items(), key=lambda item: "fidelity" in item[0]))
