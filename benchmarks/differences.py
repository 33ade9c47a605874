"""A Markdown table from the rows of finished runs: one method minus each other, paired on the cases that both have.

Run: python -m benchmarks.differences METHOD METRIC [METRIC ...] FOLDER [FOLDER ...]; METRIC as in rows.csv. Folders hold
a rows.csv; those of one black box are read as one run. Means are over the paired cases, intervals are 95 % bootstrap.
"""

import sys
from pathlib import Path

import pandas as pd

from benchmarks.table import COLUMNS, interval, read
from dax_lightning.report.page import number, signed
from dax_lightning.report.parts import parts_of
from dax_lightning.stats.paired import paired_differences
from dax_lightning.stats.tables import by_case, records


def main(method: str, *others: str) -> None:
    metrics, folders = [name for name in others if name in COLUMNS], [name for name in others if name not in COLUMNS]
    for name in folders:
        if not Path(name, "rows.csv").is_file():
            raise SystemExit(f"error: {name} is no folder with a rows.csv, and none of the metrics {', '.join(COLUMNS)}")
    rows = read(folders)
    for part in parts_of(rows.assign(setting="", loss="", segmenter="", q=float("nan"))):
        print(f"\n**{part.box}**, seed {', '.join(f'{seed:g}' for seed in sorted(set(part.rows['seed'])))}\n")
        head = ["method", *(text for name in metrics for text in (COLUMNS[name], f"{method}", f"{method} minus it", "cases"))]
        print("| " + " | ".join(head) + " |\n" + "| --- " * len(head) + "|")
        cells: dict[str, list[str]] = {}
        for place, name in enumerate(metrics):
            for rival, found in against(part.rows, name, method).items():
                cells.setdefault(rival, ["–"] * 4 * len(metrics))[4 * place : 4 * place + 4] = found
        for rival, found in cells.items():
            print("| " + " | ".join([rival, *found]) + " |")


def leads(rows: pd.DataFrame, metric: str, method: str) -> pd.DataFrame:
    """:func:`~dax_lightning.stats.paired.paired_differences`, with the sign reversed: the method minus each other."""
    table = paired_differences(rows, metric, method)
    return table.assign(difference=0.0 - table["difference"], low=0.0 - table["high"], high=0.0 - table["low"])


def against(rows: pd.DataFrame, metric: str, method: str) -> dict[str, list[str]]:
    """Each other method → its mean, the method's, the paired difference with its interval, and the number of cases."""
    values = by_case(rows, metric)
    lines = {}
    for line in records(leads(rows, metric, method)):
        both = values[[line["explainer"], method]].dropna()
        if len(both):
            theirs, ours = (number(float(mean)) for mean in both.mean())
            lines[line["explainer"]] = [
                theirs,
                ours,
                interval(signed, *(line[key] for key in ("difference", "low", "high"))),
                f"{line['n']:.0f}",
            ]
    return dict(sorted(lines.items(), key=lambda item: item[1][0], reverse=True))


if __name__ == "__main__":
    main(*sys.argv[1:])
