"""The numbers of a page as tables for scripts: ``means.csv`` and ``differences.csv``."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from dax_lightning.report.comparison import Differences
from dax_lightning.report.parts import Part
from dax_lightning.stats.tables import records, summarise

_PLACE = ("task", "black_box", "setting")
MEANS = (*_PLACE, "explainer", "metric", "n", "mean", "low", "high")
DIFFERENCES = (*_PLACE, "explainer", "minus", "metric", "n", "difference", "low", "high", "p", "p_holm")


def write_means(parts: Sequence[Part], metrics: Sequence[str], file: Path) -> None:
    """Write the mean of each metric by each explainer, with its 95 % interval over ``n`` cases.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_means([], [], Path(folder, "means.csv"))
        ...     Path(folder, "means.csv").read_text()
        'task,black_box,setting,explainer,metric,n,mean,low,high\\n'
    """
    lines = [
        (
            *_place(part),
            group["explainer"],
            metric,
            group[f"{metric}_n"],
            *(group[f"{metric}{end}"] for end in ("", "_low", "_high")),
        )
        for part in parts
        for group in records(summarise(part.rows, ["explainer"], metrics))
        for metric in metrics
        if group[f"{metric}_n"]
    ]
    _write(lines, MEANS, file)


def write_differences(differences: Sequence[Differences], file: Path) -> None:
    """Write the paired differences that a page shows; no file where methods are not compared.

    Holm's correction is over the methods that were compared with the same one by the same metric.

    Example:
        >>> write_differences([], Path("differences.csv")), Path("differences.csv").exists()
        (None, False)
    """
    lines = {
        (*_place(found.part), name, found.references[metric], metric, *(cell[key] for key in DIFFERENCES[6:])): None
        for found in differences
        for name, cells in found.lines.items()
        for metric, cell in cells.items()
        if cell["n"]
    }  # a method that is both LIME and the best is subtracted once
    if lines:
        _write(list(lines), DIFFERENCES, file)
    else:
        file.unlink(missing_ok=True)


def _place(part: Part) -> tuple[str, str, str]:
    first = part.rows.iloc[0]
    return str(first["task"]), str(first["black_box"]), part.setting


def _write(lines: Sequence[tuple], columns: Sequence[str], file: Path) -> None:
    pd.DataFrame(lines, columns=pd.Index(columns)).to_csv(file, index=False, lineterminator="\n")
