"""The paper's own numbers, to stand beside measured ones and to be told from them."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from dax_lightning.report.parts import Part, right_and_wrong
from dax_lightning.stats.tables import by_case


@dataclass(frozen=True)
class PaperTable:
    """A table of the paper, and what was measured here beside it.

    Args:
        title: the paper's table in words.
        source: the paper.
        boxes: the black boxes of the paper.
        columns: names of the paper's columns.
        ours: names of the measured columns; empty where no row of the table has a method of ours.
        rows: for each line its method, the printed numbers, and the measured means in the paper's unit (NaN where there is none).
    """

    title: str
    source: str
    boxes: str
    columns: list[str]
    ours: list[str]
    rows: list[tuple[str, list[str], list[float]]]


def paper_table(number: int | None, parts: list[Part]) -> PaperTable | None:
    """Give a table of the paper with our means beside it; ``None`` for none and for one that isn't typed in.

    Ours are set beside it where each black box has one setting, or, for images classified wrong, that and its right ones.

    Example:
        >>> made = paper_table(6, [])
        >>> made.rows[2], paper_table(1, [])
        (('third configuration (the default)', ['36.9', '34.1'], []), None)
    """
    typed = _typed()
    if number not in typed["tables"]:
        return None
    table = typed["tables"][number]
    pairs = right_and_wrong(parts) if table.get("wrong") else []
    single = len({part.box for part in parts}) == len(parts)
    shown = [wrong for _, wrong in pairs] or (parts if single else [])
    ours = [_Column(part, metric, factor) for part in shown for metric, factor in table["ours"].items() if metric in part.rows]
    ours += [_Column(w, m, f, r) for r, w in pairs for m, f in table["ours"].items() if m in w.rows and m in r.rows]
    names = [column.name for column in ours]
    rows = [(r["method"], r["values"], [column.value(r.get("name")) for column in ours]) for r in table["rows"]]
    return PaperTable(table["title"], typed["source"], typed["boxes"], table["columns"], names, rows)


@dataclass(frozen=True)
class _Column:
    """Means of a metric in the paper's unit; with ``right``, how far they are below the means there."""

    part: Part
    metric: str
    factor: int
    right: Part | None = None

    @property
    def name(self) -> str:
        unit, box = "%" if self.factor == 100 else "", self.part.box
        return " ".join(text for text in (f"drop of {self.metric}" if self.right else self.metric, unit, box) if text)

    def value(self, method: str | None) -> float:
        mean = _mean(self.part, method, self.metric)
        return self.factor * (mean if self.right is None else _mean(self.right, method, self.metric) - mean)


def asked_table(folders: Iterable[Path]) -> int | None:
    """Read ``paper_table`` from the first run's ``.hydra/config.yaml`` that names one.

    Example:
        >>> asked_table([Path("no such folder")]) is None
        True
    """
    for file in (Path(folder, ".hydra", "config.yaml") for folder in folders):
        config = read_yaml(file) if file.is_file() else None
        if isinstance(config, dict) and isinstance(number := config.get("paper_table"), int):
            return number
    return None


def read_yaml(file: Path) -> Any:
    """What a YAML file of a run says; ``None`` where it can't be read."""
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8", errors="replace"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError):
        return None


@cache
def _typed() -> dict[str, Any]:
    return yaml.safe_load(files("dax_lightning.report").joinpath("paper.yaml").read_text(encoding="utf-8"))


def _mean(part: Part, name: str | None, metric: str) -> float:
    values = by_case(part.rows, metric)
    return float(np.nanmean(values[name])) if name in values and bool(values[name].notna().any()) else float("nan")
