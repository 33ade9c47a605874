"""Sweeps over several processes of one machine: the same maps, cases an hour, killed workers, the time to merge.

Run: python -m benchmarks.cluster [same] [speed] [many]. Without a word all three. Each job has one thread.

``same``: Ray, joblib and submitit's local executor beside the basic launcher. ``speed``: one worker and two, in turn. ``many``:
2,000 small cases in 8 shards on Ray, three of whose workers are killed; then merging and the report, for more and more shards.
"""

import csv
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from benchmarks.common import ROOT
from dax_lightning.report import write_report
from dax_lightning.run.merge import merge

LAUNCHERS = {
    "basic": [],
    "joblib": ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"],
    "submitit_local": ["hydra/launcher=submitit_local"],
    "ray": ["hydra/launcher=ray", "hydra.launcher.workers=2"],
}
SHAPES = ["task=shapes", "black_box=shapes", "device=cpu"]
CASES, SHARDS, KILLS = 2000, 8, 3
ROUNDS = 3


def started(folder: Path, *arguments: str) -> subprocess.Popen:
    """A sweep in a process of its own, each job with one thread."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "train.py"), "-m", *arguments, f"hydra.sweep.dir={folder}"]
    with (folder.with_suffix(".out")).open("w", encoding="utf-8") as out:
        return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT)


def rows_in(folder: Path) -> list[dict[str, str]]:
    """All jobs' rows."""
    rows = []
    for file in folder.glob("*/rows.csv"):
        with file.open(newline="", encoding="utf-8") as lines:
            rows += list(csv.DictReader(lines))
    return rows


def same(place: Path) -> None:
    """Whether each launcher makes the basic one's maps, bit for bit."""
    maps: dict[str, dict[str, bytes]] = {}
    for name, launcher in LAUNCHERS.items():
        folder = place / name
        code = started(folder, *SHAPES, "limit=6", "q=200", "shard=all/2", *launcher).wait()
        maps[name] = {f.relative_to(folder).as_posix(): f.read_bytes() for f in folder.glob("*/explanations/*.npz")}
        equal = sum(maps["basic"].get(file) == data for file, data in maps[name].items())
        print(f"- {name}: exit code {code}, {len(maps[name])} maps, {equal} of them the basic launcher's bit for bit", flush=True)


def speed(place: Path) -> None:
    """Cases an hour of one worker and of two, without the start; the photographs are drawings, the model EfficientNet-Lite0."""
    rates: dict[int, list[float]] = {1: [], 2: []}
    load = os.getloadavg()[0]
    for number in range(ROUNDS):
        for workers, taken in rates.items():
            folder = place / f"speed{workers}_{number}"
            launcher = ["hydra/launcher=joblib", f"hydra.launcher.n_jobs={workers}"]
            box = ["task=shapes", "black_box=lite0", "device=cpu", "q=100", "limit=8"]
            code = started(folder, *box, f"shard=all/{workers}", *launcher).wait()
            if code:
                raise SystemExit((folder.with_suffix(".out")).read_text(encoding="utf-8"))
            taken.append(sum(_rate(job) for job in folder.glob("[0-9]*")))
    one, two = median(rates[1]), median(rates[2])
    print(f"- one worker: {one:.0f} cases an hour; two: {two:.0f}, {two / one:.2f} times; median of {ROUNDS} rounds in turn")
    print(f"- each round: {', '.join(f'{b / a:.2f}' for a, b in zip(rates[1], rates[2], strict=True))}; load before: {load:.1f}")


def _rate(job: Path) -> float:
    """Cases an hour of one job, from its first map to its last."""
    times = sorted(file.stat().st_mtime for file in job.glob("explanations/*.npz"))
    return 3600 * (len(times) - 1) / (times[-1] - times[0])


def many(place: Path, cases: int = CASES) -> None:
    """Many cases in shards, three kills; then merging and the report."""
    folder = place / "many"
    box = ["black_box=callable", "black_box.function=tests.functions.quarters", "black_box.size=[32,32]", "device=cpu"]
    start = time.perf_counter()
    sweep = started(folder, "task=shapes", *box, "explainer=random", f"task.n={cases}", f"shard=all/{SHARDS}", *LAUNCHERS["ray"])
    killed: list[int] = []
    while sweep.poll() is None:
        done = len(rows_in(folder))
        if len(killed) < KILLS and done > (len(killed) + 1) * cases / (KILLS + 2):
            killed += _kill_one(folder, killed)
        time.sleep(1)
    seconds = time.perf_counter() - start
    keys = [row["case"] for row in rows_in(folder)]
    print(f"- {cases} cases in {SHARDS} shards, {len(killed)} workers killed: exit code {sweep.returncode}, {seconds:.0f} s")
    print(f"- {len(keys)} rows, {len(set(keys))} cases: {'every case once' if len(keys) == len(set(keys)) == cases else 'WRONG'}")
    shards = sorted(file.parent for file in folder.glob("*/rows.csv"))
    print("| rows | seconds to merge | the same, nothing new | seconds for the report |\n| --- | --- | --- | --- |")
    for count in (1, 2, 4, 8):
        out = place / f"merged{count}"
        times = [_timed(merge, shards[:count], out), _timed(merge, shards[:count], out), _timed(write_report, out)]
        with (out / "rows.csv").open(encoding="utf-8") as lines:
            print(f"| {sum(1 for _ in lines) - 1} | {' | '.join(f'{taken:.2f}' for taken in times)} |", flush=True)
    merge(shards[::-1], place / "reversed")
    equal = (place / "reversed" / "rows.csv").read_bytes() == (place / "merged8" / "rows.csv").read_bytes()
    print(f"- merged in the other order: {'the same file' if equal else 'ANOTHER FILE'}")


def _timed(step: Callable[..., object], *given: object) -> float:
    start = time.perf_counter()
    step(*given)
    return time.perf_counter() - start


def _kill_one(folder: Path, killed: list[int]) -> list[int]:
    """End the process of a job that runs, as a machine that goes down does; it is one that this benchmark started."""
    for file in sorted(folder.glob("*/status.json")):
        try:
            status = json.loads(file.read_text(encoding="utf-8"))
        except ValueError:  # it is being written
            continue
        if status["code"] is None and status["host"] == platform.node() and status["pid"] not in killed:
            os.kill(status["pid"], signal.SIGKILL)
            return [status["pid"]]
    return []


def main(names: list[str]) -> None:
    """Measure, and print."""
    with tempfile.TemporaryDirectory() as place:
        for part in (same, speed, many):
            if not names or part.__name__ in names:
                print(f"{part.__name__}:", flush=True)
                part(Path(place))


if __name__ == "__main__":
    main(sys.argv[1:])
