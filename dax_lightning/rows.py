"""``rows.csv``: a row a case, on the disk before the next case begins."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from dax_lightning.errors import InputError

COLUMNS = (
    "task",
    "case",
    "explainer",
    "loss",
    "segmenter",
    "seed",
    "q",
    "target",
    "target_name",
    "score",
    "queries",
    "seconds",
    "seconds_black_box",
    "peak_mb",
    "status",
    "error",
)


class Rows:
    """A CSV file that grows a row at a time; each is on the disk before the next case begins.

    Rows of an earlier run stay, but for failed ones and one that was cut off: those cases are to be tried again.

    Args:
        path: the file.
        columns: its columns.

    Attributes:
        done: (case, explainer) of all rows that didn't fail.
        failed: how many rows of this run did.
        last: the newest row.

    Raises:
        InputError: the file is there with other columns.
    """

    def __init__(self, path: Path, columns: list[str]):
        self.path, self.columns = path, columns
        self.done: set[tuple[str, str]] = set()
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

    def _resume(self) -> None:
        with self.path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if reader.fieldnames != self.columns:
                raise InputError(f"{self.path} holds rows with other columns: give another folder as hydra.run.dir")
            kept = [row for row in reader if row["status"] in ("ok", "unfaithful") and None not in row.values()]
        self.done = {(row["case"], row["explainer"]) for row in kept}
        whole = self.path.with_suffix(".new")
        with whole.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([self.columns, *(row.values() for row in kept)])
        whole.replace(self.path)  # at once, so that a full disk loses nothing

    def _write(self, values: list[Any]) -> None:
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerow(values)
