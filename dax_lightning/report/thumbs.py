"""Pictures that compare methods: the same cases by all of them, and each one's best, median and worst case."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from dax_lightning.plots.canvas import pack
from dax_lightning.plots.maps import overlay
from dax_lightning.report.gallery import find_input, map_of

CASES, SIDE = 8, 112  # columns of the grid; pixels of a thumbnail (about 3 kB)
LARGE = 208  # pixels of a thumbnail where there is one case alone (about 8 kB)

Row = dict[str, Any]


@dataclass(frozen=True)
class Thumb:
    """An overlay and the metric's value below it; the picture is ``None`` where files are missing."""

    picture: str | None
    value: float


@dataclass(frozen=True)
class Grid:
    """The same cases (columns) by every method (lines), each line's thumbs in the order of the cases."""

    title: str
    metric: str
    cases: list[str]
    inputs: list[str]
    lines: dict[str, list[Thumb]]


@dataclass(frozen=True)
class Extreme:
    """One of a method's best, median and worst cases; without a picture where the grid shows it already."""

    rank: str
    case: str
    value: float
    picture: str | None


def grid(folder: Path, rows: list[Row], metric: str, title: str, *, up: bool) -> Grid | None:
    """Draw a few cases, from those all methods do well on to those they do badly on; ``None`` where no inputs were saved.

    Args:
        folder: where the jobs' folders are.
        rows: rows of one black box and setting.
        metric: column that orders the cases and stands below each thumbnail; an empty one is no order.
        title: of the grid.
        up: whether higher is better: the best method comes first.

    Example:
        >>> grid(Path("no such folder"), [{"job": "", "case": "a", "explainer": "dax", "status": "ok"}], "", "", up=True) is None
        True
    """
    done = {(row["explainer"], row["case"]): row for row in rows if row["status"] != "failed"}
    cases = _spread_cases(list(done.values()), metric)
    side = LARGE if len(cases) == 1 else SIDE
    shown = {case: image for case in cases if (image := _input(folder, list(done.values()), case, side))}
    methods = best_first([row for row in rows if row["status"] != "failed"], metric, up=up)
    lines = {name: [_thumb(folder, done.get((name, case)), image, metric) for case, image in shown.items()] for name in methods}
    inputs = [pack(image, quality=80) for image in shown.values()]
    return Grid(title, metric, list(shown), inputs, lines) if shown else None


def best_first(rows: list[Row], metric: str, *, up: bool) -> list[str]:
    """Order the methods by their mean of a metric; those without a value come last, in their order.

    Example:
        >>> best_first([{"explainer": "lime", "iou": 0.1}, {"explainer": "dax", "iou": 0.9}], "iou", up=True)
        ['dax', 'lime']
    """
    values: dict[str, list[float]] = {}
    for row in rows:
        values.setdefault(row["explainer"], []).append(row.get(metric, math.nan))
    known = {name: [v for v in found if math.isfinite(v)] for name, found in values.items()}
    means = {name: np.mean(found) * (-1 if up else 1) if found else math.inf for name, found in known.items()}
    return sorted(means, key=lambda name: means[name])


def extremes(folder: Path, rows: list[Row], metric: str, seen: list[str], *, up: bool) -> dict[str, list[Extreme]]:
    """Show each method's best, median and worst case by a metric; methods without a value are left out.

    Cases that are ``seen`` already get no picture.

    Example:
        >>> rows = [{"job": "", "case": c, "explainer": "dax", "status": "ok", "iou": v} for c, v in (("a", 0.1), ("b", 0.9))]
        >>> [(e.rank, e.case) for e in extremes(Path("no such folder"), rows, "iou", [], up=True)["dax"]]
        [('best', 'b'), ('worst', 'a')]
    """
    methods: dict[str, dict[str, Row]] = {}
    for row in rows:
        if row["status"] != "failed" and math.isfinite(row[metric]):
            methods.setdefault(row["explainer"], {}).setdefault(row["case"], row)
    ordered = {name: methods[name] for name in best_first(rows, metric, up=up) if name in methods}
    return {name: _extremes(folder, list(cases.values()), metric, seen, up=up) for name, cases in ordered.items()}


def _extremes(folder: Path, rows: list[Row], metric: str, seen: list[str], *, up: bool) -> list[Extreme]:
    ordered = sorted(rows, key=lambda row: row[metric], reverse=up)
    last = len(ordered) - 1
    places = {0: "best", **({last // 2: "median"} if last > 1 else {}), **({last: "worst"} if last else {})}
    found = []
    for n, rank in places.items():
        row = ordered[n]
        image = None if row["case"] in seen else _input(folder, [row], row["case"], SIDE)
        picture = _thumb(folder, row, image, metric).picture if image else None
        found.append(Extreme(rank, row["case"], row[metric], picture))
    return found


def _spread_cases(rows: list[Row], metric: str) -> list[str]:
    """Choose cases evenly from the highest mean of the metric to the lowest."""
    values: dict[str, list[float]] = {}
    for row in rows:
        values.setdefault(row["case"], []).append(row.get(metric, math.nan))
    means = {case: np.mean([v for v in found if math.isfinite(v)] or [-math.inf]) for case, found in values.items()}
    ordered = sorted(means, key=lambda case: means[case], reverse=True)
    return [ordered[n] for n in np.unique(np.linspace(0, len(ordered) - 1, min(CASES, len(ordered))).round().astype(int))]


def _input(folder: Path, rows: list[Row], case: str, side: int) -> Image.Image | None:
    file = next((file for row in rows if row["case"] == case and (file := find_input(folder, row))), None)
    try:
        with Image.open(file or "", formats=["PNG"]) as image:
            return image.convert("RGB").resize(_size(image.size, side))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):  # damaged bytes
        return None


def _thumb(folder: Path, row: Row | None, image: Image.Image, metric: str) -> Thumb:
    saliency = map_of(folder, row) if row else None
    picture = None if saliency is None else pack(_laid_over(image, np.atleast_2d(saliency)), quality=80)
    return Thumb(picture, row.get(metric, math.nan) if row else math.nan)


def _laid_over(image: Image.Image, saliency: np.ndarray) -> Image.Image:
    small = Image.fromarray(saliency.astype(np.float32)).resize(image.size, Image.Resampling.BOX)
    return Image.fromarray((overlay(np.asarray(image) / 255, np.asarray(small, float)) * 255).round().astype(np.uint8))


def _size(size: tuple[int, int], side: int) -> tuple[int, int]:
    wide, high = size
    return side, min(max(round(side * high / wide), side // 3), 2 * side)
