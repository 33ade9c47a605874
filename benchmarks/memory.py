"""Peak memory of explanations: many queries against few, many explanations against one, one after the other and side by side.

Run: python -m benchmarks.memory. Each number is a process of its own: a small network of 224 pixels and 1000 classes.
"""

import resource
import subprocess
import sys

import torch
from torch import nn

from benchmarks.common import make_explainer, make_task
from dax_lightning.black_box import from_torch

METHODS = {"dax": ("explainer=dax",), "lime": ("explainer=lime",), "rise": ("explainer=rise",)}
FEW, MANY, TIMES, TOGETHER = 500, 8000, 20, 16


def main() -> None:
    print(
        "| method | MiB over the model: q = 500 | q = 8000 | ratio | 20 of q = 500 | ratio | 4 by explain_many | 16 "
        "| ratio | whole process: q = 8000 over 500 |"
    )
    print(f"|{' --- |' * 10}")
    for method in METHODS:
        (before, few), (_, many), (_, times) = (measured(method, *asked) for asked in ((FEW, 1), (MANY, 1), (FEW, TIMES)))
        (_, some), (_, sixteen) = (measured(method, FEW, count, "together") for count in (4, TOGETHER))
        grown = (before + many) / (before + few)
        print(
            f"| `{method}` | {few:.0f} | {many:.0f} | {many / few:.2f} | {times:.0f} | {times / few:.2f} "
            f"| {some:.0f} | {sixteen:.0f} | {sixteen / some:.2f} | {grown:.2f} |",
            flush=True,
        )


def measured(method: str, q: int, times: int, how: str = "in turn") -> tuple[float, float]:
    """Peak in MiB before the first explanation, and how much higher it is after the last."""
    made = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", method, str(q), str(times), how],
        capture_output=True,
        text=True,
        check=True,
    )
    before, more = map(float, made.stdout.split()[-2:])
    return before, more


def child(method: str, q: int, times: int, how: str) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 16, 16, 16), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 14 * 14, 1000))
    box = from_torch(network, size=224)
    x = make_task("black_box.crop=squash")[0].x
    explainer = make_explainer(box, *METHODS[method], f"q={q}")
    box(x[None])
    before = peak()
    inputs = [x.roll(place, -1) for place in range(times)]
    if how == "together":
        explainer.explain_many(inputs, list(range(times)))
    else:
        for place, each in enumerate(inputs):
            explainer.explain(each, place)
    print(before, peak() - before)


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    child(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]) if len(sys.argv) > 1 else main()
