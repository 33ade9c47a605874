"""Curves of single explanations, such as deletion's, become one mean curve a method."""

from typing import Any

import numpy as np
from jaxtyping import Float

from dax_lightning.plots.charts import Chart, Line
from dax_lightning.stats.intervals import bootstrap_means, ends

POINTS = 51  # of a mean curve, where its cases have different x


def mean_charts(rows: list[dict[str, Any]], title: str) -> list[Chart]:
    """Average the ``curves`` of rows over cases: a chart a metric, a line an explainer, with pointwise 95 % bootstrap bands.

    Where cases have different x, curves are read between their points at 51 places, and a shorter one keeps its last value:
    nothing more is removed then. Seeds of one case are averaged first. What can't be read as a curve is left out.

    Example:
        >>> curve = {"x": [0, 1], "y": [0.9, 0.1], "x_name": "share removed", "y_name": "probability"}
        >>> (made,) = mean_charts([{"case": "a", "explainer": "dax", "curves": {"deletion": curve}}], "vit")
        >>> made.title, made.x_name, made.lines[0].y.tolist()
        ('deletion, vit', 'share removed', [0.9, 0.1])
    """
    found: dict[str, dict[str, dict[str, list[Any]]]] = {}  # metric → explainer → case → curves
    for row in rows:
        for metric, curve in _readable(row["curves"]).items():
            found.setdefault(metric, {}).setdefault(row["explainer"], {}).setdefault(row["case"], []).append(curve)
    return [_chart(metric, methods, title) for metric, methods in found.items()]


def _chart(metric: str, methods: dict[str, dict[str, list[Any]]], title: str) -> Chart:
    curves = [curve for cases in methods.values() for found in cases.values() for curve in found]
    x, first = _grid([curve["x"] for curve in curves]), curves[0]
    lines = [_line(name, cases, x) for name, cases in methods.items()]
    return Chart(", ".join(text for text in (metric, title) if text), str(first["x_name"]), str(first["y_name"]), lines)


def _grid(found: list[np.ndarray]) -> Float[np.ndarray, " m"]:
    first = found[0]
    if all(len(x) == len(first) and np.allclose(x, first) for x in found):
        return first
    return np.linspace(min(x[0] for x in found), max(x[-1] for x in found), POINTS)


def _line(name: str, cases: dict[str, list[Any]], x: Float[np.ndarray, " m"]) -> Line:
    values = np.array([np.mean([np.interp(x, curve["x"], curve["y"]) for curve in found], axis=0) for found in cases.values()])
    low, high = ends(bootstrap_means(values))
    return Line(name, x, values.mean(0), low, high)


def _readable(curves: Any) -> dict[str, dict[str, Any]]:
    """Keep the curves whose x rise and whose points are all finite, as arrays."""
    kept = {}
    for metric, curve in curves.items() if isinstance(curves, dict) else ():
        try:
            x, y = (np.asarray(curve[axis], float) for axis in "xy")
            names = {"x_name": curve["x_name"], "y_name": curve["y_name"]}
        except (KeyError, TypeError, ValueError):
            continue
        if len(x) > 1 and x.shape == y.shape and x.ndim == 1 and np.isfinite([*x, *y]).all() and (np.diff(x) >= 0).all():
            kept[metric] = {"x": x, "y": y, **names}
    return kept
