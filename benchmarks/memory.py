"""Peak memory of an explanation over the loaded model: many queries against few, many explanations against one.

Run: python -m benchmarks.memory. Each number is a process of its own: a small network of 224 pixels and 1000 classes.
"""

import resource
import subprocess
import sys

import torch
from torch import nn

from benchmarks.common import make_explainer, make_task
from dax_lightning.black_box import from_torch

METHODS = {"dax": ("explainer=dax",), "lime": ("explainer=lime",), "rise": ("explainer=rise",), "dax_v1": ("loss=v1",)}
FEW, MANY, TIMES = 500, 8000, 20


def main() -> None:
    print("| method | q = 500, MiB | q = 8000, MiB | ratio | 20 explanations of q = 500, MiB | ratio |")
    print("| --- | --- | --- | --- | --- | --- |")
    for method in METHODS:
        few, many, times = measured(method, FEW, 1), measured(method, MANY, 1), measured(method, FEW, TIMES)
        print(f"| `{method}` | {few:.0f} | {many:.0f} | {many / few:.2f} | {times:.0f} | {times / few:.2f} |", flush=True)


def measured(method: str, q: int, times: int) -> float:
    """Peak in MiB over the memory before the first explanation."""
    made = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", method, str(q), str(times)], capture_output=True, text=True, check=True
    )
    return float(made.stdout.split()[-1])


def child(method: str, q: int, times: int) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 16, 16, 16), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 14 * 14, 1000))
    box = from_torch(network, size=224)
    x = make_task("black_box.crop=squash")[0].x
    explainer = make_explainer(box, *METHODS[method], f"q={q}")
    box(x[None])
    before = peak()
    for place in range(times):
        explainer.explain(x.roll(place, -1), place)
    print(peak() - before)


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    child(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])) if len(sys.argv) > 1 else main()
