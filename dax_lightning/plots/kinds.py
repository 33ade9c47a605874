"""One explanation in one pair of axes, whatever its input is: a picture, a spectrogram, a wave, words or features."""

from collections.abc import Callable

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from torch import Tensor

from dax_lightning.errors import InputError
from dax_lightning.plots.canvas import FONT, GREY, INK, MAP, RULE, SERIES, dress, printable, show, stretch, style
from dax_lightning.plots.maps import array, overlay, photograph
from dax_lightning.types import Explanation

FOR, AGAINST = SERIES[0], SERIES[1]  # what speaks for the target, and what against it
BARS = 20  # most features shown
_MONO, _ADVANCE = "DejaVu Sans Mono", 0.602  # comes with matplotlib; width of a letter over the type size


def draw(axes: Axes, explanation: Explanation) -> Axes:
    """Draw an explanation with its input, or its map alone where there is no input.

    Args:
        axes: where to draw.
        explanation: its ``kind`` says how. Without a kind, its labels make it a table row, else its shape decides.

    Raises:
        InputError: input and map differ in shape, or there are not as many labels as places.

    Example:
        >>> import torch
        >>> made = Explanation(torch.eye(4), 0, 0.9, 10, 0.1, x=torch.rand(3, 4, 4))
        >>> draw(Figure().subplots(), made).get_images()[0].get_array().shape
        (4, 4, 3)
    """
    check(explanation.x, explanation)
    _DRAWN.get(kind_of(explanation), _picture)(axes, explanation)
    return axes


def drawing(explanation: Explanation) -> Figure:
    """Draw an explanation in a figure of its own, of a size that suits it; pyplot does not know it.

    Example:
        >>> import torch
        >>> len(drawing(Explanation(torch.eye(4), 0, 0.9, 10, 0.1)).axes)
        1
    """
    figure = Figure(figsize=size_of(explanation))
    draw(_only_axes(figure, explanation), explanation)
    return figure


def new_axes(explanation: Explanation) -> Axes:
    """Axes of a size that suits the explanation, in a new pyplot figure: notebooks and ``plt.show()`` show it.

    Example:
        >>> import torch
        >>> len(new_axes(Explanation(torch.eye(4), 0, 0.9, 10, 0.1)).get_images())
        0
    """
    return _only_axes(plt.figure(figsize=size_of(explanation)), explanation)


def check(x: Float[Tensor, "c *space"] | None, explanation: Explanation) -> None:
    """Raise an InputError unless input, map and labels fit each other and can be drawn.

    Example:
        >>> import torch
        >>> check(torch.rand(3, 4, 4), Explanation(torch.eye(4), 0, 0.9, 10, 0.1))
    """
    space, labels = tuple(explanation.saliency.shape), explanation.labels
    if x is not None and (x.ndim not in (2, 3) or not x.numel()):
        raise InputError(f"an input of shape {tuple(x.shape)} can't be drawn: give (channels, time) or (channels, height, width)")
    if x is not None and tuple(x.shape[1:]) != space:
        raise InputError(f"the map has shape {space} and the input {tuple(x.shape[1:])}: give both at the same size")
    if labels and space != (len(labels),):
        raise InputError(f"{len(labels)} labels for a map of shape {space}: give one label a place")


def kind_of(explanation: Explanation) -> str:
    """Tell the kind of input an explanation is of.

    Example:
        >>> import torch
        >>> kind_of(Explanation(torch.ones(4), 0, 0.9, 10, 0.1)), kind_of(Explanation(torch.eye(4), 0, 0.9, 10, 0.1))
        ('wave', 'image')
    """
    if explanation.kind:
        return explanation.kind
    if explanation.labels:
        return "table"
    return "wave" if explanation.saliency.ndim == 1 else "image"


def upright(values: np.ndarray, kind: str) -> np.ndarray:
    """Turn a spectrogram's lowest band to the bottom; others stay.

    Example:
        >>> upright(np.array([[0], [1]]), "spectrogram").tolist(), upright(np.array([[0], [1]]), "image").tolist()
        ([[1], [0]], [[0], [1]])
    """
    return values[::-1] if kind == "spectrogram" else values


def size_of(explanation: Explanation) -> tuple[float, float]:
    """Width and height in inches that suit one drawing.

    Example:
        >>> import torch
        >>> size_of(Explanation(torch.eye(4), 0, 0.9, 10, 0.1))
        (3.6, 3.6)
    """
    kind, space = kind_of(explanation), explanation.saliency.shape
    if kind == "table":
        return 5.2, 0.75 + 0.24 * min(len(_labels(explanation)), BARS + 1)
    if kind == "text":
        letters = sum(len(word) + 2 for word in _labels(explanation))
        return 6.0, min(0.75 + 0.26 * (1 + letters // 55), 12.0)
    if kind == "wave":
        return 6.0, 1.8
    high, wide = space[0], space[1]
    return (3.6, 3.6 * min(max(high / wide, 0.35), 1.6))


def _only_axes(figure: Figure, explanation: Explanation) -> Axes:
    if kind_of(explanation) == "text":  # words are placed by the size of their axes, which no layout may change afterwards
        return figure.add_axes((0.02, 0.3 / figure.get_figheight(), 0.96, 1 - 0.6 / figure.get_figheight()))
    figure.set_layout_engine("constrained")
    return figure.subplots()


def _picture(axes: Axes, explanation: Explanation) -> None:
    kind, saliency = kind_of(explanation), array(explanation.saliency).astype(float)
    if explanation.x is None:
        show(axes, upright(stretch(saliency), kind), cmap=MAP, vmin=0, vmax=1)
    else:
        show(axes, upright(overlay(photograph(explanation.x), saliency), kind))


def _wave(axes: Axes, explanation: Explanation) -> None:
    wave = None if explanation.x is None else array(explanation.x).astype(float).mean(0)
    draw_wave(axes, wave, array(explanation.saliency).astype(float))


def draw_wave(axes: Axes, wave: Float[np.ndarray, " time"] | None, saliency: Float[np.ndarray, " time"]) -> None:
    """Draw a line over a ground that is the stronger, the more salient the place.

    Example:
        >>> draw_wave(Figure().subplots(), np.sin(np.arange(9.0)), np.arange(9.0))
    """
    low, high = (0.0, 1.0) if wave is None else reach(wave)
    ground = np.ones((1, len(saliency), 4))
    ground[0, :, :3], ground[0, :, 3] = to_rgba(FOR)[:3], 0.75 * stretch(saliency)
    axes.imshow(ground, aspect="auto", extent=(0, len(saliency), low, high), interpolation="nearest")
    if wave is not None:
        axes.plot(np.arange(len(wave)) + 0.5, wave, color=INK, linewidth=0.6)
    axes.set(xlim=(0, len(saliency)), ylim=(low, high))
    dress(axes, "", "")


def reach(values: Float[np.ndarray, " n"]) -> tuple[float, float]:
    """From the lowest to the highest value, and a little more.

    Example:
        >>> reach(np.array([0.0, 1.0])), reach(np.array([2.0, 2.0]))
        ((-0.05, 1.05), (1.5, 2.5))
    """
    finite = values[np.isfinite(values)] if np.isfinite(values).any() else np.zeros(1)
    room = 0.05 * np.ptp(finite) or 0.5
    return float(finite.min() - room), float(finite.max() + room)


def _words(axes: Axes, explanation: Explanation) -> None:
    words, values = _labels(explanation), _values(explanation)
    size, lines = _lines(axes, words)
    wide, high = _inches(axes)
    step, letter, most = size * 1.85 / 72 / high, size * _ADVANCE / 72 / wide, np.abs(values).max() or 1
    place = 0
    for n, line in enumerate(lines):
        left = 0.0
        for word in line:
            share, colour = abs(values[place]) / most, FOR if values[place] > 0 else AGAINST
            ground = {"facecolor": to_rgba(colour, 0.62 * share), "edgecolor": "none", "pad": 0.22 * size}
            axes.text(left + letter, 1 - (n + 0.6) * step, word, bbox=ground, va="center", **{**style(size), "family": _MONO})
            left, place = left + (len(word) + 2) * letter, place + 1
    axes.set(xlim=(0, 1), ylim=(0, 1), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.set_xlabel(_key(words, values), **style(8.5, GREY))


def _lines(axes: Axes, words: list[str]) -> tuple[float, list[list[str]]]:
    """Choose the largest type in which all words have room, and the words of each line."""
    wide, high = _inches(axes)
    size, lines = 11.0, [[""]]
    while size >= 5:
        room, used, lines = wide * 72 / (_ADVANCE * size), 0, [[]]
        for word in words:
            if lines[-1] and used + len(word) + 2 > room:
                lines, used = [*lines, []], 0
            lines[-1].append(word)
            used += len(word) + 2
        if (len(lines) + 0.3) * size * 1.85 / 72 <= high:
            break
        size -= 0.5
    return size, lines


def _inches(axes: Axes) -> tuple[float, float]:
    figure = axes.get_figure(root=True)
    dpi = figure.dpi if figure is not None else 100
    return axes.bbox.width / dpi, axes.bbox.height / dpi


def _bars(axes: Axes, explanation: Explanation) -> None:
    names, values = _labels(explanation), _values(explanation)
    if explanation.x is not None:
        names = [f"{name} = {value:.5g}" for name, value in zip(names, array(explanation.x).mean(0), strict=True)]
    order = np.argsort(-np.abs(values), kind="stable")[:BARS]
    axes.barh(range(len(order)), values[order], color=[FOR if values[n] > 0 else AGAINST for n in order], height=0.62)
    axes.axvline(0, color=GREY, linewidth=0.8)
    left_out = len(values) - len(order)
    dress(axes, "", _key([], values) + (f"; {left_out} weaker left out" if left_out else ""))
    axes.set(yticks=range(len(order)), ylim=(len(order) - 0.5, -0.5))
    axes.set_yticklabels([printable(names[n], 34) for n in order], fontfamily=FONT, color=INK, fontsize=8.5, parse_math=False)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.grid(axis="x", color=RULE, linewidth=0.6)
    axes.spines["left"].set_visible(False)


def _key(words: list[str], values: np.ndarray) -> str:
    told = "blue: for it, orange: against" if (values < 0).any() else "blue: for it"
    if words and len(values):
        first = int(np.abs(values).argmax())
        told += f"; strongest: {printable(words[first], 20)} {values[first]:+.3g}"
    return told


def _labels(explanation: Explanation) -> list[str]:
    names = explanation.labels or [str(n) for n in range(explanation.saliency.numel())]
    return [printable(name, 40) or "␣" for name in names]


def _values(explanation: Explanation) -> Float[np.ndarray, " j"]:
    return np.nan_to_num(array(explanation.saliency).astype(float).ravel(), posinf=0, neginf=0)


_DRAWN: dict[str, Callable[[Axes, Explanation], None]] = {"wave": _wave, "text": _words, "table": _bars}
