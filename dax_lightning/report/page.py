"""One run as one web page: tables, curves and pictures, with nothing to fetch from anywhere."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from dax_lightning.report.comparison import Picture, compare, cost_charts, cost_pictures
from dax_lightning.report.gallery import gallery, warnings_by_text, with_notes
from dax_lightning.report.known import Known, read_known
from dax_lightning.report.numbers import write_differences, write_means
from dax_lightning.report.paper import asked_table, paper_table, read_yaml
from dax_lightning.report.parts import WRONG, Part, compares, parts_of
from dax_lightning.report.sweep import read_best, settings_picture
from dax_lightning.stats.tables import PLACE, SETTING, metric_columns, read_rows, records, summarise, typed

SHOWN_VERSIONS = ("dax-lightning", "python", "torch", "pytorch-lightning")
_HASHES = {  # the first 16 digits are shown
    "File SHA-256": "file_sha256",
    "Mask SHA-256": "mask_sha256",
    "SHA-256 of the input as the model saw it": "input_sha256",
}
PLOTTED = 4  # metrics drawn against cost; the tables hold all


def write_report(folder: Path) -> Path:
    """Write ``report.html`` into the folder of a run from its ``rows.csv`` and ``explanations/``; gives the page's path.

    Its numbers go into ``means.csv`` and ``differences.csv`` beside it.

    Raises:
        InputError: the folder has no readable ``rows.csv``.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "rows.csv").write_text("task,case,explainer,status,error\\nvoc,cat,dax,failed,out of memory\\n")
        ...     "out of memory" in write_report(Path(folder)).read_text(encoding="utf-8")
        True
    """
    rows = typed(read_rows(folder)).assign(job="")
    facts = {"Overrides": " ".join(overrides(folder)) or "none"} if Path(folder, ".hydra").is_dir() else {}
    table = Table("Results", summarise_by(rows, SETTING), list(SETTING))
    return render(folder, rows, [table], table, facts=facts)


@dataclass(frozen=True)
class Table:
    """A summary to print: its heading, its numbers, and which of its columns name the group.

    ``best`` holds, for each metric with a direction, the lines that are best.
    """

    title: str
    groups: pd.DataFrame
    keys: list[str]
    best: dict[str, list[Any]] = field(default_factory=dict)


def overrides(folder: Path) -> list[str]:
    """Read what was given on the command line from ``.hydra/overrides.yaml``; empty if there is none.

    Example:
        >>> overrides(Path("no such folder"))
        []
    """
    file = Path(folder, ".hydra", "overrides.yaml")
    items = read_yaml(file) if file.is_file() else None
    return [str(item) for item in items if not isinstance(item, list | dict)] if isinstance(items, list) else []


def summarise_by(rows: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Summarise rows by columns, task and black box before them if there are several, all metrics included.

    Example:
        >>> rows = typed(pd.DataFrame({"task": ["voc", "esc10"], "case": "a", "explainer": "dax", "status": "ok"}))
        >>> list(summarise_by(rows, ["explainer"])["task"])
        ['voc', 'esc10']
    """
    return summarise(rows, [*(key for key in PLACE if len(set(rows[key])) > 1), *by], metric_columns(rows))


def render(
    folder: Path,
    rows: pd.DataFrame,
    tables: list[Table],
    chart: Table,
    *,
    facts: dict[str, str],
    missing: dict[str, str] | None = None,
) -> Path:
    """Fill the page's template and write it as ``folder/report.html``, with ``means.csv`` and ``differences.csv``.

    Args:
        folder: where the page goes; a row's files lie in its subfolder ``job`` (the folder itself if that is empty).
        rows: what :func:`dax_lightning.stats.tables.typed` gives.
        tables: the summaries to print.
        chart: the summary to draw against cost.
        facts: what to say about the run besides what the rows tell.
        missing: jobs that left no rows, and why.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     render(Path(folder), typed(pd.DataFrame()), [], Table("", pd.DataFrame(), []), facts={"Sweep": "none"}).name
        'report.html'
    """
    jobs = [Path(folder, job) for job in dict.fromkeys(rows["job"])]
    known, parts, metrics = read_known(jobs), parts_of(rows), metric_columns(rows)
    found, compared = with_notes(folder, records(rows)), compares(parts)
    words = {
        "rows": found,
        "metrics": metrics,
        "known": known,
        "facts": _facts(rows) | facts | made_of(found),
        "missing": missing or {},
    }
    several = len(set(rows["job"])) > 1
    marked = [_marked(table, known, metrics) for table in tables] if several else tables
    words |= {"tables": [_part_table(part, metrics, known) for part in parts] if compared else marked}
    first = str(read_best(folder).get("metric", ""))
    words |= {"settings": settings_picture(chart.groups, metrics, known, first) if several else None}
    words |= {"quality": cost_pictures(parts, _plotted(metrics, known)) if compared else _quality(chart, metrics)}
    comparison = compare(folder, parts, found, known)
    write_means(parts, metrics, Path(folder, "means.csv"))
    write_differences(comparison.differences, Path(folder, "differences.csv"))
    words |= {"comparison": comparison, "paper": paper_table(asked_table(jobs), parts)}
    words |= {"warnings": warnings_by_text(found), "gallery": gallery(folder, found, maps=not comparison.grids)}
    words |= {"count": Counter(row["status"] for row in found), "failed": [row for row in found if row["status"] == "failed"]}
    words |= {"title": ", ".join(_listed(rows["task"])) or "no rows", "place": Path(folder).resolve().name}
    path = Path(folder, "report.html")
    path.write_text(_template().render(words), encoding="utf-8", errors="xmlcharrefreplace")
    return path


def _template() -> Template:
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"number": number, "signed": signed}
    return made.get_template("page.html.j2")


def number(value: object, digits: int = 3) -> str:
    """Print a number for a table: NaN as a dash, huge ones short, text as it is (a dash if empty).

    Example:
        >>> number(0.12345), number(1000.0, 0), number(float("nan")), number(-2.5e9), number("v2"), number("")
        ('0.123', '1,000', '–', '-2.5e+09', 'v2', '–')
    """
    if not isinstance(value, int | float | np.number):
        return str(value) or "–"
    if not math.isfinite(value):
        return "–"
    return f"{value:.3g}" if abs(value) >= 1e7 else f"{value:,.{digits}f}"


def signed(value: float) -> str:
    """Print a difference with its sign.

    Example:
        >>> signed(0.0312), signed(-0.2), signed(float("nan"))
        ('+0.031', '−0.200', '–')
    """
    return f"{value:+.3f}".replace("-", "−") if math.isfinite(value) else "–"


def _marked(table: Table, known: Known, metrics: list[str]) -> Table:
    """The table with its best lines; none where lines are of several tasks or models, or of answers that are wrong."""
    apart = any(key in table.groups for key in PLACE) or any(WRONG in str(table.groups.get(k)) for k in ("overrides", "label"))
    return table if apart or table.groups.empty else replace(table, best={m: known.best(table.groups, m) for m in metrics})


def _part_table(part: Part, metrics: list[str], known: Known) -> Table:
    """One line a method; the best of each metric is known where its direction is."""
    varying = [key for key in SETTING if key == "explainer" or len(set(part.rows[key].astype(str))) > 1]
    groups = _sorted(summarise(part.rows, varying, metrics), known, metrics)
    title = f"Results: {part.title}" if part.title else "Results"
    return Table(title, groups, varying, part.best(known, groups, metrics))


def _sorted(groups: pd.DataFrame, known: Known, metrics: list[str]) -> pd.DataFrame:
    """The best comes first by the first metric with a direction; lines without it come last."""
    main = next(iter(known.main(metrics)), None)
    if main is None or groups.empty:
        return groups
    return groups.sort_values(by=main, ascending=not known.up(main), kind="stable", ignore_index=True)


def made_of(rows: list[dict[str, Any]]) -> dict[str, str]:
    """When and with what a run was made, as far as its explanations' files tell.

    Example:
        >>> made_of([{"case": "cat", "black_box": "vit", "made": {"saved": "2030-01-02T03:04:05+00:00", "black_box": "ab12"}}])
        {'Date': '2030-01-02 03:04 UTC', 'Model fingerprint': 'vit ab12'}
    """
    said = [(row, row["made"]) for row in rows if row["made"]]
    dates = sorted({str(made["saved"])[:16].replace("T", " ") + " UTC" for _, made in said if "saved" in made})
    versions = [f"{name} {v}" for _, made in said for name, v in made.get("versions", {}).items() if name in SHOWN_VERSIONS]
    boxes = [f"{row['black_box']} {made['black_box']}".strip() for row, made in said if "black_box" in made]
    hashes = {
        label: ", ".join(_listed(f"{row['case']} {made[key][:16]}" for row, made in said if key in made))
        for label, key in _HASHES.items()
    }
    facts = {"Date": " to ".join(dict.fromkeys([*dates[:1], *dates[-1:]]))}
    facts |= {"Versions": ", ".join(_listed(versions)), "Model fingerprint": ", ".join(_listed(boxes))}
    facts |= hashes
    return {label: text for label, text in facts.items() if text}


def _plotted(metrics: list[str], known: Known) -> list[str]:
    """The metrics that are drawn against cost: those with a direction, if any is known, IoU first."""
    return (known.main(metrics) if known.higher_is_better else sorted(metrics, key=lambda metric: metric != "iou"))[:PLOTTED]


def _facts(rows: pd.DataFrame) -> dict[str, str]:
    names = {
        "Task": "task",
        "Black box": "black_box",
        "Explainer": "explainer",
        "Loss": "loss",
        "Segmenter": "segmenter",
        "Copies (q)": "q",
        "Seed": "seed",
    }
    found = {label: ", ".join(_listed(rows[column])) for label, column in names.items()}
    found |= {"Cases": f"{len(rows.drop_duplicates(['task', 'case'])):,}", "Rows": f"{len(rows):,}"}
    found |= {"Time": f"{rows['seconds'].sum():,.1f} s, {rows['seconds_black_box'].sum():,.1f} s of it in the black box"}
    own = float(np.nansum(np.asarray(rows["metric_queries"], float)))
    asked = f"{number(rows['queries'].sum(), 0)}, as if each method ran alone"
    found |= {"Queries": asked + (f", and {number(own, 0)} by the metrics" if own else "")}
    paid, needed = (np.asarray(rows.get(column, ()), float) for column in ("asked", "queries"))
    if np.isfinite(paid).any():
        paid, needed = float(np.nansum(paid)), float(np.nansum(needed))
        found |= {"Asked": f"{number(paid, 0)} rows; {number(needed - paid, 0)} were known from the bank, the store or the task"}
    return {label: text for label, text in found.items() if text}


def _listed(column: Iterable[Any], most: int = 8) -> list[str]:
    texts = list(dict.fromkeys(f"{v:g}" if isinstance(v, float) else str(v) for v in column if v == v and v != ""))  # v != v: NaN
    return texts if len(texts) <= most else [*texts[:most], f"{len(texts) - most} more"]


def _quality(table: Table, metrics: list[str]) -> list[Picture]:
    """Draw the metrics of at least two groups against cost; groups that differ in ``q`` alone share a line."""
    groups = [group for group in records(table.groups) if math.isfinite(group["queries"] + group["seconds"])]
    varying = [k for k in table.keys if k != "q" and len({group[k] for group in groups}) > 1] or ["explainer"]
    for group in groups:
        group["_series"] = " · ".join(str(group[k]) for k in varying if group[k] != "")
    first = sorted(metrics, key=lambda metric: metric != "iou")[:PLOTTED]
    return cost_charts(pd.DataFrame(groups), "_series", first) if len(groups) > 1 else []
