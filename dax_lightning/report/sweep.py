"""What a page shows of a sweep alone: its settings against its metrics, and what a search found."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from dax_lightning.plots.canvas import as_uri
from dax_lightning.plots.parallel import Coordinate, draw_parallel
from dax_lightning.report.comparison import Picture
from dax_lightning.report.known import Known
from dax_lightning.stats.tables import SETTING, records

LEAST, MOST = 3, 300  # settings: fewer are read from the table, more can't be followed
METRICS = 4  # axes of metrics; the table holds all


def settings_picture(groups: pd.DataFrame, metrics: Sequence[str], known: Known, first: str = "") -> Picture | None:
    """Draw a sweep's settings as parallel coordinates; ``None`` where there are too few or too many, or nothing varies.

    Args:
        groups: a line a setting, as :func:`dax_lightning.stats.tables.summarise` gives, with ``overrides`` such as ``lam3=0.5``.
        metrics: measured columns, of which those with a direction are drawn.
        known: the directions.
        first: the metric that colours the lines, if it is one of them.

    Example:
        >>> numbers = {"iou": [0.1, 0.3, 0.2], "seconds": [1.0, 2.0, 3.0]}
        >>> groups = pd.DataFrame({"overrides": ["lam3=1", "lam3=2", "lam3=3"], **numbers})
        >>> settings_picture(groups, ["iou"], Known({"iou": True})).name
        'lam3 against iou, seconds'
    """
    lines = records(groups)
    settings = _settings(lines)
    shown = sorted(known.main(list(metrics)), key=lambda metric: metric != first)[:METRICS]
    shown = [metric for metric in shown if any(math.isfinite(line[metric]) for line in lines)]
    if not LEAST <= len(lines) <= MOST or not settings or not shown:
        return None
    measured = [Coordinate(metric, [line[metric] for line in lines], known.up(metric)) for metric in shown]
    measured.append(Coordinate("seconds", [line["seconds"] for line in lines], up=False))
    figure = draw_parallel([*settings, *measured], by=len(settings))
    name = f"{', '.join(one.name for one in settings)} against {', '.join(one.name for one in measured)}"
    return Picture(name, as_uri(figure), round(96 * figure.get_figwidth()))


def search_facts(folder: Path) -> dict[str, str]:
    """What ``best.json`` says of a search; empty where the sweep was none.

    Example:
        >>> search_facts(Path("no such folder"))
        {}
    """
    found = read_best(folder)
    if not found:
        return {}
    of = f"of {found.get('with_a_value')} jobs with a value"
    if "job" not in found:
        return {"Search": f"no job has a value of {found.get('metric')}"}
    best = f"{found.get('metric')} {found.get('value'):.4g} {of}: job {found['job']}, {' '.join(found.get('overrides', []))}"
    return {"Search": f"best {best}. It was chosen on these same cases, so it looks a little better than it is."}


def read_best(folder: Path) -> dict[str, Any]:
    """Read ``best.json`` of a search; empty where there is none, or it can't be read.

    Example:
        >>> read_best(Path("no such folder"))
        {}
    """
    try:
        found = json.loads(Path(folder, "best.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _settings(lines: Sequence[dict[str, Any]]) -> list[Coordinate]:
    """An axis for each setting that varies."""
    given = [_read(str(line.get("overrides", ""))) for line in lines]
    columns = {key: [line.get(key, "") for line in lines] for key in ("task", "black_box", *SETTING)}
    columns |= {key: [one.get(key, "") for one in given] for key in dict.fromkeys(key for one in given for key in one)}
    whole = {key: ["" if value != value else value for value in values] for key, values in columns.items()}  # NaN: none
    return [Coordinate(key, values) for key, values in whole.items() if len(set(map(str, values))) > 1]


def _read(overrides: str) -> dict[str, str]:
    split = (item.partition("=") for item in overrides.split() if "=" in item)
    return {key: value for key, _, value in split}
