"""Rows of a run become a table: groups, means, and how far the means can be trusted."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from dax_lightning.errors import InputError
from dax_lightning.stats.intervals import bootstrap_interval

TEXT = ("job", "overrides", "setting", "task", "case", "explainer", "black_box", "loss", "segmenter")
TEXT += ("target_name", "status", "error")
NUMBERS = ("seed", "q", "target", "score", "queries", "asked", "metric_queries", "seconds", "seconds_black_box", "peak_mb")
NEEDED = ("task", "case", "explainer", "status")
PLACE = ("task", "black_box")
SETTING = ("explainer", "loss", "segmenter", "q")


def read_rows(folder: Path) -> pd.DataFrame:
    """Read ``rows.csv`` of a run, every cell as the text it is: a case may well be called 007 or NA.

    Raises:
        InputError: the file is missing, empty or no such table.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "rows.csv").write_text("task,case,explainer,status,iou\\nphoto,007,dax,ok,0.5\\n")
        ...     read_rows(Path(folder)).to_dict("records")
        [{'task': 'photo', 'case': '007', 'explainer': 'dax', 'status': 'ok', 'iou': '0.5'}]
    """
    file = Path(folder, "rows.csv")
    if not file.is_file():
        raise InputError(f"no rows.csv in {folder}: give the folder of a finished run, such as outputs/<date>/<time>")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", pd.errors.ParserWarning)  # of cells beyond the header, which name nothing
            rows = pd.read_csv(file, dtype=str, keep_default_na=False, encoding_errors="replace", index_col=False).fillna("")
    except (pd.errors.EmptyDataError, pd.errors.ParserError) as error:
        raise InputError(f"{file} is no table ({error}): mend or remove it and run again") from error
    if missing := [name for name in NEEDED if name not in rows]:
        raise InputError(f"{file} has no column {', '.join(missing)}: a run's rows.csv needs {', '.join(NEEDED)}")
    return rows


def typed(rows: pd.DataFrame) -> pd.DataFrame:
    """Turn text into numbers where numbers belong; what is none, or isn't finite, becomes NaN. Absent columns are filled in.

    Example:
        >>> typed(pd.DataFrame({"case": ["007"], "q": ["20"], "iou": ["inf"]}))[["case", "q", "iou", "loss"]].to_dict("records")
        [{'case': '007', 'q': 20.0, 'iou': nan, 'loss': ''}]
    """
    names = list(dict.fromkeys([*TEXT, *NUMBERS, *rows.columns]))
    full = rows.reindex(columns=pd.Index(names), fill_value="")
    for name in (n for n in names if n not in TEXT):
        numbers = np.asarray(pd.to_numeric(full[name], errors="coerce"), float)
        full[name] = np.where(np.isfinite(numbers), numbers, np.nan)
    return full


def metric_columns(rows: pd.DataFrame) -> list[str]:
    """List the columns of :func:`typed` rows that hold a metric with at least one value, in their order.

    Example:
        >>> metric_columns(typed(pd.DataFrame({"case": ["a"], "iou": ["0.5"], "pointing": [""]})))
        ['iou']
    """
    return [
        str(c)
        for c in rows.columns
        if c not in (*TEXT, *NUMBERS) and rows[c].dtype == float and bool(np.isfinite(np.asarray(rows[c])).any())
    ]


def summarise(rows: pd.DataFrame, by: Sequence[str], metrics: Sequence[str]) -> pd.DataFrame:
    """Summarise :func:`typed` rows, one line a group in the order of appearance.

    Means are over all explained cases, the unfaithful among them: leaving those out would flatter a method. Rows of one
    case (several seeds) are averaged first, so the interval is over cases.

    Returns:
        the columns of ``by``; counts ``rows``, ``cases``, ``failed``, ``unfaithful``; means ``queries``, ``seconds``; for each
        metric ``m`` its mean ``m``, interval ``m_low``, ``m_high`` and number of cases ``m_n``. What can't be known is NaN.

    Example:
        >>> rows = typed(pd.DataFrame({"case": ["a", "b"], "explainer": "dax", "status": ["ok", "failed"], "iou": ["0.5", ""]}))
        >>> summarise(rows, ["explainer"], ["iou"])[["cases", "failed", "iou", "iou_n"]].to_dict("records")
        [{'cases': 2, 'failed': 1, 'iou': 0.5, 'iou_n': 1}]
    """
    groups = rows.groupby(list(by), dropna=False, sort=False)
    return pd.DataFrame([{**dict(zip(by, cast(tuple, key), strict=True)), **_line(group, metrics)} for key, group in groups])


def by_case(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Give a metric's value of every case (lines) by every explainer (columns); rows of one case are averaged first.

    Example:
        >>> rows = typed(pd.DataFrame({"case": ["a", "a"], "explainer": "dax", "status": "ok", "iou": ["0.5", "0.7"]}))
        >>> by_case(rows, "iou")["dax"].tolist()
        [0.6]
    """
    done = rows.loc[rows["status"] != "failed"]
    table = done.groupby(["task", "case", "explainer"], sort=False)[metric].mean().unstack("explainer")
    return table.reindex(columns=list(dict.fromkeys(rows["explainer"])))


def records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Give rows as dictionaries.

    Example:
        >>> records(pd.DataFrame({"case": ["a"]}))
        [{'case': 'a'}]
    """
    return [{str(name): value for name, value in row.items()} for row in rows.to_dict("records")]


def _line(group: pd.DataFrame, metrics: Sequence[str]) -> dict[str, Any]:
    status = np.asarray(group["status"], object)
    done = group.loc[status != "failed"]
    line = {"rows": len(group), "cases": len(group.drop_duplicates(["task", "case"])), "failed": len(group) - len(done)}
    line |= {
        "unfaithful": int((status == "unfaithful").sum()),
        "queries": done["queries"].mean(),
        "seconds": done["seconds"].mean(),
    }
    for metric in metrics:
        by_case = np.asarray(done.groupby(["task", "case"])[metric].mean(), float)
        values = by_case[np.isfinite(by_case)]
        low, high = bootstrap_interval(values)
        mean = values.mean() if len(values) else float("nan")
        line |= {metric: mean, f"{metric}_low": low, f"{metric}_high": high, f"{metric}_n": len(values)}
    return line
