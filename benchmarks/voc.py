"""VOC photographs: is the map right, how faithful is the student, and what does DAX cost over the bare queries?

The seconds are a ratio to bare forwards of as many rows, measured in turn in the same run, anew for every fourth photograph.
``voc_dev.txt`` and ``voc_report.txt`` beside this file part the photographs that two models get right: tune on one, report on the
other, both in random order.
Run: python -m benchmarks.voc ROOT IDS [n=20] [seed=0] [q=1000] [explainer and other overrides ...]
"""

import sys
from typing import Any

import numpy as np

from benchmarks.common import bare_seconds, interval, make_explainer, make_task
from dax_lightning.metrics.localisation import iou, pointing

SETTINGS = {"DAX-V1": ["loss=v1"], "DAX-V2": ["loss=v2"], "random": ["explainer=random"]}

BARE_EVERY = 4  # photographs; the bare forwards are as dear as a method


def main(root: str, ids: str, n: int = 20, seed: int = 0, q: int = 1000, more: tuple[str, ...] = ()) -> None:
    task = make_task("task=voc", f"task.root={root}", f"task.ids={ids}", f"limit={n}", *more)
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in SETTINGS}
    bare = float("nan")
    for index, case in enumerate(task):
        if index % BARE_EVERY == 0:
            bare = bare_seconds(task.black_box, case, q)
        for name, overrides in SETTINGS.items():
            made = make_explainer(task.black_box, f"q={q}", f"seed={seed}", *overrides, *more).explain(case.x, case.target)
            rows[name].append(measures(case, made) | {"ratio": made.seconds / bare, "bare": bare})
            print(f"{index + 1}/{len(task)} {case.key} {name} {rows[name][-1]}", file=sys.stderr, flush=True)
    print(f"voc: {len(task)} photographs, seed {seed}, q {q}, mean [95 % bootstrap interval over photographs]\n")
    print(
        "| method | IoU at mean + 1 std | + 0 std | best k | pointing | fidelity (least) | unfaithful | queries | s | s / bare |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, measured in rows.items():
        column = {key: [row[key] for row in measured] for key in measured[0]}
        quality = [interval(column[key]) for key in ("iou", "iou_0", "iou_best", "pointing")]
        fidelity = f"{np.nanmean(column['fidelity']):.2f} ({np.nanmin(column['fidelity']):.2f})" if name != "random" else "–"
        cost = [f"{sum(column['unfaithful']):.0f}", f"{np.mean(column['queries']):.0f}", f"{np.mean(column['seconds']):.1f}"]
        print(f"| {name} | {' | '.join([*quality, fidelity, *cost])} | {np.median(column['ratio']):.2f} |")
    print(f"\nbare forwards of {q} rows: {np.mean([row['bare'] for row in rows['DAX-V1']]):.1f} s")


def measures(case: Any, made: Any) -> dict[str, float]:
    fidelity = made.notes.get("fidelity")
    best = max(iou(made.saliency, case.truth, case.ignore, float(k)) for k in np.arange(-1.5, 3, 0.1))
    return {
        "iou": iou(made.saliency, case.truth, case.ignore),
        "iou_0": iou(made.saliency, case.truth, case.ignore, 0.0),
        "iou_best": best,
        "pointing": pointing(made.saliency, case.truth, case.ignore),
        "fidelity": float("nan") if fidelity is None else fidelity,
        "unfaithful": float(bool(made.notes.get("unfaithful"))),
        "queries": made.queries,
        "seconds": made.seconds,
    }


if __name__ == "__main__":
    numbers = {a.partition("=")[0]: int(a.partition("=")[2]) for a in sys.argv[3:] if a.partition("=")[0] in ("n", "seed", "q")}
    others = tuple(a for a in sys.argv[3:] if a.partition("=")[0] not in ("n", "seed", "q"))
    main(sys.argv[1], sys.argv[2], **numbers, more=others)
