"""A table in Markdown from the rows of finished runs: means with 95 % intervals, and paired differences.

Run: python -m benchmarks.table FOLDER [FOLDER ...], folders that hold a rows.csv; those of one black box are read as one run.
Cases that some method has no row for yet are left out.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from dax_lightning.report.comparison import AGAINST
from dax_lightning.report.page import number, signed
from dax_lightning.report.paired import paired_differences
from dax_lightning.report.parts import parts_of
from dax_lightning.report.tables import metric_columns, read_rows, records, summarise, typed

COLUMNS = {
    "iou": "IoU at mean + 1 std",
    "iou_mean": "IoU at mean",
    "iou_best": "IoU at best k",
    "iou_wrong_label": "IoU, wrong label",
    "pointing": "pointing game",
    "relevance_rank": "rank accuracy",
    "deletion": "deletion",
    "insertion": "insertion",
}


def main(folders: list[str]) -> None:
    rows = _complete(read(folders))
    for part in parts_of(rows.assign(setting="", loss="", segmenter="", q=float("nan"))):
        metrics = [metric for metric in COLUMNS if metric in metric_columns(part.rows)]
        groups = summarise(part.rows, ["explainer"], metrics).sort_values(by=metrics[0], ascending=False)
        paired = {line["explainer"]: line for line in records(paired_differences(part.rows, metrics[0], AGAINST))}
        lines = records(groups)
        failed, unfaithful = (sum(line[key] for line in lines) for key in ("failed", "unfaithful"))
        cases, seeds = max(line["cases"] for line in lines), ", ".join(f"{seed:g}" for seed in sorted(set(part.rows["seed"])))
        print(f"\n**{part.box}**: {cases} cases, seed {seeds}, {failed} failed rows, {unfaithful} unfaithful\n")
        head = [
            "method",
            COLUMNS[metrics[0]],
            f"minus {AGAINST}, paired",
            *(COLUMNS[metric] for metric in metrics[1:]),
            "queries",
        ]
        print("| " + " | ".join(head) + " |\n" + "| --- " * len(head) + "|")
        for line in lines:
            name = str(line["explainer"])
            first, *others = (interval(number, *(line[f"{metric}{end}"] for end in ("", "_low", "_high"))) for metric in metrics)
            found = paired.get(name)
            difference = interval(signed, found["difference"], found["low"], found["high"]) if found else "–"
            print("| " + " | ".join([name, first, difference, *others, f"{line['queries']:.0f}"]) + " |")


def read(folders: list[str]) -> pd.DataFrame:
    """Rows of several folders as one run."""
    return once(every_row(folders))


def every_row(folders: list[str]) -> pd.DataFrame:
    """Rows of several folders, a case's as often as they have it."""
    return typed(pd.concat([read_rows(Path(folder)) for folder in folders], ignore_index=True))


def once(rows: pd.DataFrame) -> pd.DataFrame:
    """The first row of each case, method, black box and seed."""
    return rows.drop_duplicates(["task", "case", "explainer", "black_box", "seed"])


def _complete(rows: pd.DataFrame) -> pd.DataFrame:
    methods = rows.groupby("black_box")["explainer"].transform("nunique")
    done = rows.groupby(["black_box", "task", "case"])["explainer"].transform("nunique")
    return rows.loc[done == methods].reset_index(drop=True)


def interval(show: Callable[[float], str], mean: float, low: float, high: float) -> str:
    return f"{show(mean)} [{show(low)}, {show(high)}]"


if __name__ == "__main__":
    main(sys.argv[1:])
