"""Everything a page shows of methods that explained the same cases: tables, differences, curves and pictures."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dax_lightning.plots.canvas import as_uri
from dax_lightning.plots.charts import Chart, Line, draw_chart, draw_forest
from dax_lightning.plots.means import mean_charts
from dax_lightning.report.known import ENOUGH, Known
from dax_lightning.report.parts import Part, first_of_each_box, right_and_wrong
from dax_lightning.report.thumbs import Extreme, Grid, extremes, grid
from dax_lightning.stats.paired import drops, paired_differences
from dax_lightning.stats.tables import metric_columns, records, summarise

PAIRED = 6  # most metrics whose differences are shown
FORESTS = 4  # most parts whose differences are drawn; those of the others are in the tables alone
OVERVIEWS = 3  # most metrics shown by method and setting
SERIES_MOST = 30  # most lines against cost; the tables hold all
AGAINST = "lime"


@dataclass(frozen=True)
class Picture:
    """A drawing as a ``data:`` address, and its words for those who can't see it."""

    name: str
    uri: str
    width: int  # CSS pixels at which its letters have the size of the page's


@dataclass(frozen=True)
class Differences:
    """Differences of methods from one reference a metric.

    Args:
        title: what is subtracted.
        part: which rows.
        references: metric → the method that is subtracted.
        lines: method → metric → the line of :func:`dax_lightning.stats.paired.paired_differences`; none for the reference.
        forest: the same as a picture, if it was drawn.
    """

    title: str
    part: Part
    references: dict[str, str]
    lines: dict[str, dict[str, dict[str, Any]]]
    forest: Picture | None


@dataclass(frozen=True)
class Overview:
    """One metric of every method (lines) in every setting (columns) of one black box.

    Where cases that it gets right and wrong were told apart, a column more has the drop from these to those.
    """

    title: str
    settings: list[str]
    lines: dict[str, list[dict[str, Any]]]


@dataclass(frozen=True)
class Comparison:
    """What a page shows of a comparison, in the order of its fields."""

    overviews: list[Overview]
    differences: list[Differences]
    curves: list[Picture]
    grids: list[Grid]
    extremes: list[tuple[str, str, dict[str, list[Extreme]]]]


def compare(folder: Path, parts: list[Part], notes: list[dict[str, Any]], known: Known) -> Comparison:
    """Gather what a page shows besides its tables of means and its charts against cost.

    Args:
        folder: holds the jobs' folders.
        parts: of the rows.
        notes: the rows as dictionaries with their ``curves``, in the order of the rows' index.
        known: directions of the metrics.

    Example:
        >>> compare(Path("."), [], [], Known()).differences
        []
    """
    metrics = known.main(list(dict.fromkeys(metric for part in parts for metric in metric_columns(part.rows))))
    compared = [part for part in parts if len(part.methods) > 1]
    pairs = [found for n, part in enumerate(compared) for found in differences(part, metrics[:PAIRED], known, drawn=n < FORESTS)]
    curves = [_picture(chart) for part in first_of_each_box(parts) for chart in mean_charts(_notes(part, notes), part.title)]
    shown = [(part, _notes(part, notes)) for part in first_of_each_box(compared)]
    first = next(iter(metrics), "")
    up = known.up(first)
    grids = {part.title: grid(folder, rows, first, part.title, up=up) for part, rows in shown}
    seen = {title: made.cases if made else [] for title, made in grids.items()}
    cases = [(p.title, first, extremes(folder, rows, first, seen[p.title], up=up)) for p, rows in shown if first in p.rows]
    cases = [(title, m, found) for title, m, found in cases if any(e.picture for es in found.values() for e in es)]
    drawn = [made for made in grids.values() if made]
    return Comparison(overviews(parts, metrics[:OVERVIEWS]) if compared else [], pairs, curves, drawn, cases)


def differences(part: Part, metrics: list[str], known: Known, *, drawn: bool) -> list[Differences]:
    """Compare methods with LIME, if it is there, and with the best method without gradients, where directions are known.

    Example:
        >>> from dax_lightning.stats.tables import typed
        >>> rows = pd.DataFrame({"case": list("abab"), "explainer": ["dax", "dax", "lime", "lime"], "iou": [0.5, 0.7, 0.4, 0.2]})
        >>> (made,) = differences(Part("vit", "", typed(rows)), ["iou"], Known(), drawn=False)
        >>> made.title, round(made.lines["dax"]["iou"]["difference"], 2)
        ('minus lime', 0.3)
    """
    measured = [metric for metric in metrics if metric in metric_columns(part.rows)]
    lime = dict.fromkeys(measured, AGAINST) if AGAINST in part.methods else {}
    free = part.rows.loc[~part.rows["explainer"].isin(list(known.needs_gradients))]
    groups = summarise(free, ["explainer"], measured) if len(free) else pd.DataFrame()
    best = {m: str(groups["explainer"][found[0]]) for m, found in part.best(known, groups, measured).items() if found}
    told = "minus the best without gradients" if known.needs_gradients else "minus the best"
    wanted = ((f"minus {AGAINST}", lime), (told, best))
    return [_differences(part, title, references, known, drawn) for title, references in wanted if references]


def overviews(parts: list[Part], metrics: list[str]) -> list[Overview]:
    """Set methods against settings, for each metric and each black box that has several settings.

    Example:
        >>> overviews([Part("vit", "", pd.DataFrame({"explainer": ["dax"]}))], ["iou"])
        []
    """
    return [_overview(box, found, metric) for box, found in _boxes(parts).items() if len(found) > 1 for metric in metrics]


def cost_pictures(parts: list[Part], metrics: list[str]) -> list[Picture]:
    """Draw every method's metrics against cost, charts a black box; settings that differ in ``q`` alone are one line.

    A point that stands for fewer cases than the others is left out: its mean would be that of other cases.

    Example:
        >>> cost_pictures([], ["iou"])
        []
    """
    found = []
    for box, members in _boxes(parts).items():
        rest = [" ".join(text for text in part.setting.split() if not text.startswith("q=")) for part in members]
        named = [other if len(set(rest)) > 1 else "" for other in rest]
        rows = pd.concat([_named(part, other) for part, other in zip(members, named, strict=True)])
        if len(set(rows["_series"])) <= SERIES_MOST:
            groups = summarise(rows, ["_series", "_setting"], metrics)
            for metric in metrics:  # cases that a method failed on at this cost would bend its line
                groups.loc[groups[f"{metric}_n"] < ENOUGH * groups[f"{metric}_n"].max(), metric] = np.nan
            found += cost_charts(groups, "_series", metrics, box)
    return found


def cost_charts(groups: pd.DataFrame, series: str, metrics: list[str], title: str = "") -> list[Picture]:
    """Draw metrics against queries and against seconds, where these differ: a point a group, a line a series.

    Args:
        groups: what :func:`dax_lightning.stats.tables.summarise` gives.
        series: the column that names the line a group belongs to.
        metrics: what is drawn, in this order; one without two values is left out.
        title: what to add to the metric's name.

    Example:
        >>> groups = pd.DataFrame({"s": ["a", "b"], "queries": [9, 99], "seconds": [1, 1], "iou": [0.1, 0.3]})
        >>> [made.name for made in cost_charts(groups.assign(iou_low=0.0, iou_high=0.5), "s", ["iou"])]
        ['iou against queries']
    """
    pictures = []
    for metric in metrics:
        points = [(groups.dropna(subset=[metric, cost]), cost) for cost in ("queries", "seconds")]
        charts = [_cost_chart(p, series, metric, cost, title) for p, cost in points if len(set(p[cost])) > 1]
        if charts and all(chart.single for chart in charts):
            pictures.append(_drawn(f"{charts[0].title} against {' and '.join(c.x_name for c in charts)}", draw_chart(*charts)))
        else:
            pictures += [_picture(chart) for chart in charts]
    return pictures


def _cost_chart(groups: pd.DataFrame, series: str, metric: str, cost: str, title: str) -> Chart:
    lines = []
    for name, points in groups.sort_values(by=cost).groupby(series, sort=False):
        x, y, low, high = (np.asarray(points[key], float) for key in (cost, metric, f"{metric}_low", f"{metric}_high"))
        lines.append(Line(str(name), x, y, low, high))
    order = {name: n for n, name in enumerate(dict.fromkeys(groups[series]))}
    return Chart(_titled(metric, title), cost, metric, sorted(lines, key=lambda line: order[line.name]))


def _named(part: Part, other: str) -> pd.DataFrame:
    series = [" · ".join(text for text in (name, other) if text) for name in part.rows["explainer"]]
    return part.rows.assign(_series=series, _setting=part.setting)


def _boxes(parts: list[Part]) -> dict[str, list[Part]]:
    boxes: dict[str, list[Part]] = {}
    for part in parts:
        boxes.setdefault(part.box, []).append(part)
    return boxes


def _notes(part: Part, notes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [notes[n] for n in part.rows.index]


def _titled(metric: str, title: str) -> str:
    return ", ".join(text for text in (metric, title) if text)


def _picture(chart: Chart) -> Picture:
    return _drawn(f"{chart.title} against {chart.x_name}", draw_chart(chart))


def _differences(part: Part, title: str, references: dict[str, str], known: Known, drawn: bool) -> Differences:
    tables = {metric: paired_differences(part.rows, metric, name) for metric, name in references.items()}
    lines: dict[str, dict[str, dict[str, Any]]] = {name: {} for name in part.methods}
    for metric, table in tables.items():
        for line in records(table):
            lines[line["explainer"]][metric] = line
    forest = _forest(tables, references, known, part.methods) if drawn else None
    return Differences(title, part, references, lines, forest)


def _forest(tables: dict[str, pd.DataFrame], references: dict[str, str], known: Known, methods: list[str]) -> Picture:
    columns = [(f"{metric} − {references[metric]}", known.up(metric), table) for metric, table in tables.items()]
    return _drawn("differences", draw_forest(columns, methods))


def _drawn(name: str, figure: Figure) -> Picture:
    return Picture(name, as_uri(figure), round(96 * figure.get_figwidth()))  # 96 CSS pixels an inch


def _overview(box: str, parts: list[Part], metric: str) -> Overview:
    lines: dict[str, list[dict[str, Any]]] = {name: [{} for _ in parts] for part in parts for name in part.methods}
    for n, part in enumerate(parts):
        for group in records(summarise(part.rows, ["explainer"], [metric])):
            lines[group["explainer"]][n] = {key: group[f"{metric}{key}"] for key in ("", "_low", "_high")}
    settings = [part.setting for part in parts]
    for right, wrong in right_and_wrong(parts):
        settings.append(f"{right.setting} minus {wrong.setting}")
        found = {line["explainer"]: line for line in records(drops(right.rows, wrong.rows, metric))}
        for name, cells in lines.items():
            cells.append({key: found[name][f"drop{key}"] for key in ("", "_low", "_high")} if name in found else {})
    return Overview(_titled(metric, box), settings, lines)
