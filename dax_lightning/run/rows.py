"""``rows.csv``: a row a case, on the disk before the next case begins."""

import csv
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

COLUMNS = (
    "task",
    "case",
    "explainer",
    "black_box",
    "loss",
    "segmenter",
    "seed",
    "q",
    "target",
    "target_name",
    "score",
    "queries",
    "asked",
    "metric_queries",
    "seconds",
    "seconds_black_box",
    "peak_mb",
    "status",
    "error",
)


class Rows:
    """A CSV file that grows a row at a time; each is on the disk before the next case begins.

    Rows of an earlier run stay, but for failed ones and one that was cut off: those cases are to be tried again. A file with
    other columns (another choice of metrics), or with damaged bytes, is set aside under another name.

    Args:
        path: the file.
        columns: its columns.

    Attributes:
        done: (case, explainer) of all rows that didn't fail.
        tasks: of the rows that an earlier run left.
        failed: how many rows of this run did.
        last: the newest row.
    """

    def __init__(self, path: Path, columns: list[str]):
        self.path, self.columns = path, columns
        self.done: set[tuple[str, str]] = set()
        self.tasks: set[str] = set()
        self.failed = 0
        self.last: Mapping[str, Any] = {}
        if path.exists() and path.stat().st_size:
            self._resume()
        else:
            self._write(columns)

    def add(self, row: Mapping[str, Any]) -> None:
        """Write one row; columns that it lacks stay empty."""
        self._write([row.get(column, "") for column in self.columns])
        self.last = row
        if row["status"] == "failed":
            self.failed += 1
        else:
            self.done.add((row["case"], row["explainer"]))

    def table(self) -> pd.DataFrame:
        """All rows so far."""
        return pd.read_csv(self.path, dtype={"case": str})

    def forget(self, made: Collection[tuple[str, str]]) -> None:
        """Take out the rows of some (case, explainer), which are to be made again."""
        if self.done.isdisjoint(made):
            return
        self.done -= set(made)
        with self.path.open(newline="", encoding="utf-8") as file:
            kept = [row for row in csv.DictReader(file) if (row["case"], row["explainer"]) in self.done]
        self._rewrite(kept)

    def _resume(self) -> None:
        try:
            columns, rows = whole_rows(self.path)
        except (ValueError, csv.Error):  # damaged bytes
            columns, rows = [], []
        if columns != self.columns:
            self._set_aside()
            return
        kept = [row for row in rows if row["status"] in ("ok", "unfaithful")]
        self.done, self.tasks = {(row["case"], row["explainer"]) for row in kept}, {row["task"] for row in kept}
        self._rewrite(kept)

    def _rewrite(self, kept: list[dict[str, str]]) -> None:
        whole = self.path.with_suffix(".new")
        with whole.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([self.columns, *(row.values() for row in kept)])
        whole.replace(self.path)  # at once, so that a full disk loses nothing

    def _set_aside(self) -> None:
        number = 1
        while (aside := self.path.with_name(f"{self.path.stem}_{number}{self.path.suffix}")).exists():
            number += 1
        self.path.rename(aside)
        self._write(self.columns)

    def _write(self, values: list[Any]) -> None:
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow(values)


def whole_rows(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """The columns and rows of ``rows.csv``, every cell as text; a last row that was cut off is none.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "rows.csv").write_text("case,status\\na,ok\\nb,o")
        ...     whole_rows(Path(folder, "rows.csv"))
        (['case', 'status'], [{'case': 'a', 'status': 'ok'}])
    """
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader([line for line in file if line.endswith("\n")])
    rows = [row for row in reader if None not in row and None not in row.values()]
    return list(reader.fieldnames or ()), rows
