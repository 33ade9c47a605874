"""A forest plot of one method minus each other, with 95 % intervals, paired on the cases that both have.

Run: python -m benchmarks.forest PICTURE.png METHOD METRIC [METRIC ...] FOLDER [FOLDER ...]; METRIC as in rows.csv, and
named in benchmarks.table. Folders hold the rows.csv of one black box and are read as one run. Of several rows of a case and
method, the first that has the metric counts. Methods without one of the metrics are left out. A dot is filled where Holm's p
is below 0.05, corrected over all methods that have the metric.
"""

import sys
from pathlib import Path

from benchmarks.differences import leads
from benchmarks.table import COLUMNS, every_row, once
from dax_lightning.plots.canvas import save
from dax_lightning.plots.charts import draw_forest

LOWER_IS_BETTER = ("iou_wrong_label", "deletion")


def main(picture: str, method: str, *others: str) -> None:
    metrics, folders = ([name for name in others if (name in COLUMNS) == known] for known in (True, False))
    if not metrics or not folders:
        sys.exit(f"error: wanted metrics, of {', '.join(COLUMNS)}, and folders that hold a rows.csv")
    rows = every_row(folders)
    boxes = sorted(set(rows["black_box"]))
    if len(boxes) > 1:
        sys.exit(f"error: wanted folders of one black box, these are of {', '.join(boxes)}: draw each by itself")
    if absent := [metric for metric in metrics if metric not in rows]:
        sys.exit(f"error: wanted folders that have {', '.join(absent)}: no rows.csv of these does")
    tables = {}
    for metric in metrics:
        measured = once(rows.dropna(subset=[metric]))
        tables[metric] = leads(measured, metric, method).dropna(subset=["difference"]).set_index("explainer")
    first, *more = tables.values()
    names = [
        name for name in first.sort_values("difference", ascending=False).index if all(name in table.index for table in more)
    ]
    drawn = [
        (f"{COLUMNS[metric]}, {method} − it", metric not in LOWER_IS_BETTER, table.loc[names].reset_index())
        for metric, table in tables.items()
    ]
    print(save(draw_forest(drawn, names), Path(picture)))


if __name__ == "__main__":
    main(*sys.argv[1:])
