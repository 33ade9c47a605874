"""What many cases cost on many machines: parts measured here, a model of the whole, and a simulation of the queue.

Run: python -m benchmarks.scaling [--gpu-rows 1000] [--measure]. Without ``--measure`` it takes the numbers of docs/scaling.md.
What a GPU does isn't measured: ``--gpu-rows`` is rows a second of ViT-B/16. ``scripts/gpu_check.sh`` measures it on a GPU.
"""

import argparse
import heapq
import math
import os
import resource
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.common import ROOT

FEW, SOME = 128, 6  # rows and cases that are measured


@dataclass(frozen=True)
class Parts:
    """What a case is made of, in seconds.

    Attributes:
        start: of a worker, until its first case: imports and the model's weights.
        case: of one thread for a case, whatever q is: reading, segments, map, picture, files.
        copies: of one thread for each row: to paint the copy.
        row: of the model for each row, on its GPU.
        merge: to merge one row's row and files.
        report: for one row of the report.
        megabytes: that a case leaves on the disk.
    """

    start: float = 11.0
    case: float = 1.5
    copies: float = 0.00015
    row: float = 0.001
    merge: float = 0.001
    report: float = 0.0003
    megabytes: float = 0.83


@dataclass(frozen=True)
class Cluster:
    """Who works, and what goes wrong.

    Attributes:
        gpus: number of them.
        share: workers on each GPU; each has one thread of a CPU.
        slow: share of the workers that are slower than the others.
        factor: how much slower.
        killed: kills of each worker in an hour, of a Poisson process.
        shards: that the cases are parted into, for each worker.
    """

    gpus: int
    share: int = 4
    slow: float = 0.05
    factor: float = 2.0
    killed: float = 0.02
    shards: int = 4


def ideal(parts: Parts, cluster: Cluster, cases: int, q: int) -> tuple[float, str]:
    """Hours where nothing goes wrong, and what the GPU or its workers wait for.

    Example:
        >>> hours, waits = ideal(Parts(start=0, case=1, copies=0, row=0.001), Cluster(1, share=1), 3600, 1000)
        >>> hours, waits
        (2.0, 'the CPU')
    """
    busy = parts.row * q
    alone = parts.case + parts.copies * q
    each = max(busy, (busy + alone) / cluster.share)  # of a GPU: its workers take turns in the model
    hours = (parts.start + cases / cluster.gpus * each) / 3600
    return hours, "the model" if busy >= (busy + alone) / cluster.share else "the CPU"


def simulate(parts: Parts, cluster: Cluster, cases: int, q: int, seed: int = 0) -> tuple[float, int]:
    """Hours until the last case, with slow workers and kills; the number of kills, each of which costs the case in work.

    A queue gives each free worker the next shard. A killed worker loses its case, starts again, and goes on in its shard.

    Args:
        parts: seconds of each part.
        cluster: who works.
        cases: how many.
        q: rows of a case.
        seed: of slow workers and kills.

    Example:
        >>> calm = Cluster(2, share=1, slow=0, killed=0, shards=1)
        >>> simulate(Parts(start=0, case=0, copies=0, row=0.001), calm, 7200, 1000)
        (1.0, 0)
    """
    generator = np.random.default_rng(seed)
    workers = cluster.gpus * cluster.share
    busy, alone = parts.row * q, parts.case + parts.copies * q
    each = cluster.share * max(busy, (busy + alone) / cluster.share)  # of one worker among those of its GPU
    speed = np.where(generator.random(workers) < cluster.slow, cluster.factor, 1.0)
    jobs = max(1, min(cases, workers * cluster.shards))
    left = [cases // jobs + (number < cases % jobs) for number in range(jobs)][::-1]
    free = [(parts.start, worker) for worker in range(workers)]  # a worker starts once and keeps its model
    heapq.heapify(free)
    end, kills = 0.0, 0
    while left:
        now, worker = heapq.heappop(free)
        todo, seconds = left.pop(), each * speed[worker]
        while todo:
            fails = generator.exponential(3600 / cluster.killed) if cluster.killed else math.inf
            if fails >= todo * seconds:
                now, todo = now + todo * seconds, 0
            else:
                todo, now, kills = todo - int(fails // seconds), now + fails + parts.start, kills + 1
        end = max(end, now)
        heapq.heappush(free, (now, worker))
    return round(float(end) / 3600, 9), kills


def measured(folder: Path) -> Parts:
    """The parts of one thread of this machine, in seconds of its processor, so that other work here doesn't count.

    Copies, merging, the report and the GPU's row are those of :class:`Parts`: docs/cost.md has the first, ``benchmarks.cluster``
    measures the next two.
    """
    shapes = ["task=shapes", "black_box=lite0", "device=cpu", "black_box.batch_size=32"]
    one, some, more = (
        _seconds(folder / f"{cases}_{q}", [*shapes, f"limit={cases}", f"q={q}"])
        for cases, q in ((1, FEW), (SOME, FEW), (SOME, 2 * FEW))
    )
    row = (more - some) / (SOME * FEW)  # its copy included
    case = (some - one) / (SOME - 1) - FEW * row
    kept = sum(file.stat().st_size for file in (folder / f"{SOME}_{FEW}" / "explanations").rglob("*") if file.is_file())
    print(f"EfficientNet-Lite0 on one thread: {row:.4f} s a row")
    return replace(Parts(), start=one - case - FEW * row, case=case, megabytes=kept / SOME / 1e6)


def _seconds(folder: Path, settings: list[str]) -> float:
    """Of the processor, of a run in a process of its own."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, str(ROOT / "train.py"), *settings, f"hydra.run.dir={folder}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def table(parts: Parts, plans: list[tuple[int, int, int]]) -> list[str]:
    """Lines of a Markdown table: cases, q and GPUs of each plan, and what it costs.

    Example:
        >>> table(Parts(), [(50_000, 1000, 1)])[-1][:24]
        '| 50,000 | 1000 | 1 | 13'
    """
    lines = ["| cases | q | GPUs | hours, all well | hours, simulated | GPU hours | cases begun twice | what waits for what |"]
    lines.append("| --- " * 8 + "|")
    for cases, q, gpus in plans:
        cluster = Cluster(gpus)
        hours, waits = ideal(parts, cluster, cases, q)
        runs = [simulate(parts, cluster, cases, q, seed) for seed in range(5)]
        real, twice = float(np.median([run[0] for run in runs])), int(np.median([run[1] for run in runs]))
        lines.append(f"| {cases:,} | {q} | {gpus:,} | {hours:.2f} | {real:.2f} | {real * gpus:.0f} | {twice} | {waits} |")
    return lines


def main() -> None:
    """Print the parts, the tables and the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpu-rows", type=float, default=1000, help="rows a second of ViT-B/16 on one GPU")
    parser.add_argument("--measure", action="store_true", help="measure start, case and size here first, some minutes")
    given = parser.parse_args()
    parts = replace(Parts(), row=1 / given.gpu_rows)
    if given.measure:
        with tempfile.TemporaryDirectory() as folder:
            parts = replace(measured(Path(folder)), row=1 / given.gpu_rows)
    print(parts)
    plans = [(50_000, q, gpus) for q in (1000, 3000) for gpus in (1, 8, 64)]
    print("\n".join(table(parts, [*plans, (1_000_000, 1000, 1000), (1_000_000, 3000, 1000)])))
    for cases in (50_000, 1_000_000):
        after = cases * parts.merge / 60, cases * parts.report / 60, cases * parts.megabytes / 1000
        print(f"{cases:,} cases: {after[0]:.1f} min to merge, {after[1]:.1f} min for the report, {after[2]:.0f} GB")
    print("one shard a worker in place of four, 50,000 cases at q=1000 on 64 GPUs:")
    for shards in (1, 2, 4, 16):
        runs = [simulate(parts, Cluster(64, shards=shards), 50_000, 1000, seed)[0] for seed in range(5)]
        print(f"- {shards} shards a worker: {60 * float(np.median(runs)):.1f} min")


if __name__ == "__main__":
    main()
