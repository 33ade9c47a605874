"""Drawn objects at known places: is the saliency on the object? 40 cases; DAX-Mosaic, V1, V2, V3 and random maps.

V3 uses the true segments plus clutter instead of SAM's. V1, V2 and the mosaic use the task's segmenter, SLIC.
Run: python -m benchmarks.shapes [n=40] [seed=0]
"""

import sys

import numpy as np

from benchmarks.common import interval, make_explainer, make_task
from dax_lightning.metrics.localisation import iou, pointing

SETTINGS = {
    "DAX-Mosaic": [],
    "DAX-V1": ["loss=v1"],
    "DAX-V2": ["loss=v2"],
    "DAX-V3": ["loss=v3", "segmenter=case"],
    "random": ["explainer=random"],
}


def main(n: int = 40, seed: int = 0) -> None:
    task = make_task("task=shapes", f"task.n={n}")
    print(f"shapes: {n} drawings, seed {seed}, mean [95 % bootstrap interval over drawings]\n")
    print("| method | more on than off | IoU at mean + 1 std | IoU / random's | pointing | fidelity | queries | seconds |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    rows = {name: [measure(task, i, overrides, seed) for i in range(n)] for name, overrides in SETTINGS.items()}
    floor = np.mean([row["iou"] for row in rows["random"]])
    for name, measured in rows.items():
        column = {key: [row[key] for row in measured] for key in measured[0]}
        cells = [
            interval(column["on"]),
            interval(column["iou"]),
            f"{np.mean(column['iou']) / floor:.1f}",
            interval(column["pointing"]),
        ]
        fidelity = "–" if name == "random" else f"{np.mean(column['fidelity']):.2f}"
        cost = [fidelity, f"{np.mean(column['queries']):.0f}", f"{np.mean(column['seconds']):.1f}"]
        print(f"| {name} | {' | '.join(cells + cost)} |", flush=True)


def measure(task, index: int, overrides: list[str], seed: int) -> dict[str, float]:
    case = task[index]
    explainer = make_explainer(task.black_box, "task=shapes", f"seed={seed}", *overrides)
    made = explainer.explain_case(case)
    fidelity = made.notes.get("fidelity")
    return {
        "on": float(made.saliency[case.truth].mean() > made.saliency[~case.truth].mean()),
        "iou": iou(made.saliency, case.truth),
        "pointing": pointing(made.saliency, case.truth),
        "fidelity": float("nan") if fidelity is None else fidelity,
        "queries": made.queries,
        "seconds": made.seconds,
    }


if __name__ == "__main__":
    main(**{key: int(value) for key, value in (argument.split("=") for argument in sys.argv[1:])})
