"""What a command takes beside its explanation: imports, options, picture, report and exit.

Run: python -m benchmarks.start, with nothing else at work. Each round is `python train.py black_box.crop=squash q=250`.
"""

import csv
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.common import ROOT

ROUNDS = 5
COMMAND = ("train.py", "black_box.crop=squash", "q=250")


def main() -> None:
    found = [measured() for _ in range(1 + ROUNDS)][1:]  # the first one reads files that the others find in memory
    print("| the whole command, s | its explanation, s | the rest, s |")
    print("| --- | --- | --- |")
    print("| " + " | ".join(f"{statistics.median(column):.1f}" for column in zip(*found, strict=True)) + " |")


def measured() -> tuple[float, float, float]:
    """Seconds of one command, of the explanation in it, and the difference."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        subprocess.run([sys.executable, *COMMAND, f"hydra.run.dir={folder}"], cwd=ROOT, check=True, capture_output=True)
        whole = time.perf_counter() - start
        with Path(folder, "rows.csv").open(encoding="utf-8", newline="") as rows:
            explanation = float(next(csv.DictReader(rows))["seconds"])
    return whole, explanation, whole - explanation


if __name__ == "__main__":
    main()
