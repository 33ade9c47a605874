"""Is the event type found that tells positive from negative? A line a carrier, from rows of experiment=carriers.

*Found*: at least half of the map's highest time lies in events of the carrier. *Wholly inside*: all of it does. *Best of all
types*: of the event types in the recording, the carrier has the highest IoU at mean + 1 std. Shares have 95 % Wilson intervals,
means bootstrap intervals. Rows that the run flagged as unfaithful count with the others.

Run: python -m benchmarks.carriers FOLDER [FOLDER ...]. Each folder's name ends in its carrier, and holds a rows.csv.
"""

import sys
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from benchmarks.common import interval
from benchmarks.table import every_row, markdown
from dax_lightning.tasks.textgrids import EVENT_TYPES


def main(folders: Sequence[str]) -> None:
    print("\n".join(table(folders)))


def table(folders: Sequence[str]) -> list[str]:
    """The lines of the table."""
    head = ["carrier", "found", "wholly inside", "best of all types", "IoU at mean + 1 std", "IoU at best k", "n", "unfaithful"]
    return markdown(head, [line(folder.rsplit("_", 1)[-1], every_row([folder])) for folder in folders])


def methods(folder: str) -> list[str]:
    """A line a method, the best first by its IoU with the carrier; and IoU with each event type, as in the paper's table VIII."""
    carrier, rows = folder.rsplit("_", 1)[-1], every_row([folder])
    types = [f"iou_time_{kind}" for kind in EVENT_TYPES if f"iou_time_{kind}" in rows]
    by_method = {str(name): part for name, part in rows.groupby("explainer")}
    ordered = sorted(by_method, key=lambda name: by_method[name][f"iou_time_{carrier}"].to_numpy(float).mean(), reverse=True)
    body = []
    for name in ordered:
        _, found, _, best, *_ = line(carrier, by_method[name])
        body.append([name, found, best, *(_mean(by_method[name][one].dropna().tolist()) for one in types)])
    return markdown(["method", "found", "best of all types", *(one.rsplit("_", 1)[-1] for one in types)], body)


def _mean(values: list[float]) -> str:
    return interval(values) if len(values) > 1 else ", ".join(f"{value:.3f} (one recording)" for value in values)


def line(carrier: str, rows: pd.DataFrame) -> list[str]:
    """The cells of one carrier."""
    done = rows.loc[rows["status"] != "failed"]
    values = done[[f"iou_time_{kind}" for kind in EVENT_TYPES if f"iou_time_{kind}" in done]].to_numpy(float)
    own = done[f"iou_time_{carrier}"].to_numpy(float)
    inside = done["pointing_time"].to_numpy(float)
    counted = inside >= 0.5, inside == 1, (own > 0) & (own == np.nanmax(values, axis=1))
    means = [interval(done[metric].tolist()) for metric in ("iou_time", "iou_time_best")]
    return [
        carrier,
        *(share(int(one.sum()), len(own)) for one in counted),
        *means,
        str(len(own)),
        str(list(done["status"]).count("unfaithful")),
    ]


def share(count: int, of: int) -> str:
    """How many of all, in %, with its Wilson interval.

    Example:
        >>> share(38, 40)
        '38 of 40: 95 % [83, 99]'
    """
    ends = binomtest(count, of).proportion_ci(method="wilson")
    return f"{count} of {of}: {100 * count / of:.0f} % [{100 * ends.low:.0f}, {100 * ends.high:.0f}]"


if __name__ == "__main__":
    main(sys.argv[1:])
