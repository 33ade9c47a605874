"""A Markdown table from the rows of finished runs: means with 95 % intervals, and paired differences.

Run: python -m benchmarks.table FOLDER [FOLDER ...]. Folders hold a rows.csv; those of one black box are read as one run.
Cases without a row of every method are left out.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pandas as pd

from dax_lightning.report.comparison import AGAINST
from dax_lightning.report.page import number, signed
from dax_lightning.report.parts import parts_of
from dax_lightning.stats.paired import paired_differences
from dax_lightning.stats.tables import metric_columns, read_rows, records, summarise, typed

COLUMNS = {
    "iou_region": "IoU of the region",
    "iou": "IoU at mean + 1 std",
    "iou_mean": "IoU at mean",
    "iou_best": "IoU at best k",
    "iou_wrong_label": "IoU, wrong label",
    "pointing": "pointing game",
    "relevance_rank": "rank accuracy",
    "deletion": "deletion",
    "insertion": "insertion",
    "iou_time": "IoU over time, mean + 1 std",
    "iou_time_mean": "at mean",
    "iou_time_best": "at best k",
    "iou_audible": "audible part, mean + 1 std",
    "pointing_time": "pointing in time",
    "deletion_time": "deletion in time",
    "insertion_time": "insertion in time",
    "own_power_mass": "map on own power",
    "own_power_share": "own power in the top tenth",
}


def main(folders: list[str]) -> None:
    for title, lines in tables(read(folders)):
        print(f"\n**{title}**\n")
        print("\n".join(lines))


def tables(rows: pd.DataFrame, metrics: Sequence[str] = tuple(COLUMNS)) -> Iterator[tuple[str, list[str]]]:
    """For each black box what the table is about, and its lines in Markdown: means with intervals, best first."""
    rows = complete(rows)
    for part in parts_of(rows.assign(setting="", loss="", segmenter="", q=float("nan"))):
        known = [metric for metric in metrics if metric in metric_columns(part.rows)]
        groups = summarise(part.rows, ["explainer"], known).sort_values(by=known[0], ascending=False)
        paired = {line["explainer"]: line for line in records(paired_differences(part.rows, known[0], AGAINST))}
        lines = records(groups)
        failed, unfaithful = (sum(line[key] for line in lines) for key in ("failed", "unfaithful"))
        cases, seeds = max(line["cases"] for line in lines), ", ".join(f"{seed:g}" for seed in sorted(set(part.rows["seed"])))
        title = f"{part.box}: {cases} cases, seed {seeds}, {failed} failed rows, {unfaithful} unfaithful"
        head = ["method", COLUMNS[known[0]], f"minus {AGAINST}, paired", *(COLUMNS[metric] for metric in known[1:]), "queries"]
        body = []
        for line in lines:
            name = str(line["explainer"])
            first, *others = (interval(number, *(line[f"{metric}{end}"] for end in ("", "_low", "_high"))) for metric in known)
            found = paired.get(name)
            difference = interval(signed, found["difference"], found["low"], found["high"]) if found else "–"
            body.append([name, first, difference, *others, f"{line['queries']:.0f}"])
        yield title, markdown(head, body)


def markdown(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table in Markdown."""
    rule = "| --- " * len(head) + "|"
    return ["| " + " | ".join(head) + " |", rule, *("| " + " | ".join(cells) + " |" for cells in body)]


def read(folders: list[str]) -> pd.DataFrame:
    """Rows of several folders as one run."""
    return once(every_row(folders))


def every_row(folders: list[str]) -> pd.DataFrame:
    """Rows of several folders, duplicates included. The region of a method that names none is its map over mean + 1 std."""
    rows = typed(pd.concat([read_rows(Path(folder)) for folder in folders], ignore_index=True))
    if "iou_region" in rows and "iou" in rows:
        named = rows["explainer"].eq("dax") | rows["explainer"].str.contains("mosaic")
        rows["iou_region"] = rows["iou_region"].fillna(rows["iou"].mask(named))
    return rows


def once(rows: pd.DataFrame) -> pd.DataFrame:
    """The first row of each case, method, black box and seed."""
    return rows.drop_duplicates(["task", "case", "explainer", "black_box", "seed"])


def complete(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of those cases that every method of their black box has."""
    methods = rows.groupby("black_box")["explainer"].transform("nunique")
    done = rows.groupby(["black_box", "task", "case"])["explainer"].transform("nunique")
    return rows.loc[done == methods].reset_index(drop=True)


def interval(show: Callable[[float], str], mean: float, low: float, high: float) -> str:
    return f"{show(mean)} [{show(low)}, {show(high)}]"


if __name__ == "__main__":
    main(sys.argv[1:])
