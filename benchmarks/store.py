"""What the store of answers costs and saves: time at 1000 local rows, rows of Table IV's settings, and ten million rows.

Run: python -m benchmarks.store [cost] [table4] [many]. Without a word all three.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
import torch

from benchmarks.common import ROOT, make_explainer, make_task
from dax_lightning.black_box import Store
from dax_lightning.black_box.store import Stored
from dax_lightning.run.main import run

ROUNDS = 3
SETTINGS = ("q=128,200", "lam1=0.0001,0.001,0.01", "lam2=0.01,0.04")
MANY, CLASSES, AT_ONCE, LOOKED_UP = 10_000_000, 10, 5000, 1000


class Timed(Store):
    """A store that knows how many seconds it took."""

    spent = 0.0

    def keys(self, model: str, rows: torch.Tensor) -> list[bytes]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self._timed(lambda: Store.keys(model, rows))

    def read(self, keys: Sequence[bytes]) -> dict[bytes, Stored]:
        return self._timed(lambda: super(Timed, self).read(keys))

    def write(self, keys: Sequence[bytes], scores: torch.Tensor, seconds: float) -> None:
        self._timed(lambda: super(Timed, self).write(keys, scores, seconds))

    def _timed(self, work: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        try:
            return work()
        finally:
            self.spent += time.perf_counter() - start


def cost(folder: Path) -> None:
    """Explanations of 1000 local rows with an empty store, and with one that knows all rows: the store's own share of the time.

    Its time is told inside the same run, so that other load on the machine makes no difference between two runs.
    """
    task = make_task("black_box.crop=squash")
    case, box = task[0], task.black_box
    explainer = make_explainer(box, "q=1000")
    explainer.explain_case(case)  # warm
    shares, full = [], []
    for number in range(ROUNDS):
        for known in (False, True):
            store = Timed(folder / str(number))
            box.keep(store)
            start = time.perf_counter()
            explainer.explain_case(case)
            wall = time.perf_counter() - start
            (full if known else shares).append(wall if known else store.spent / wall)
    print(f"1000 local rows, EfficientNet-Lite0, median of {ROUNDS}: an empty store takes {median(shares):.3f} of the time")
    print(f"where it knows all rows, an explanation takes {median(full):.2f} s")


def table4(folder: Path) -> None:
    """Twelve settings of Table IV, a job each, of two drawings."""
    common = ["-m", "task=shapes", "black_box=shapes", "segmenter=slic", "limit=2", "loss=v1", *SETTINGS]
    code = run([*common, f"hydra.sweep.dir={folder / 'jobs'}", f"store={folder / 'store'}"])
    rows = pd.concat([pd.read_csv(file) for file in folder.glob("jobs/*/rows.csv")])
    needed, asked = (int(rows[column].to_numpy().sum()) for column in ("queries", "asked"))
    print(f"exit code {code}; {len(rows)} explanations in {len(list(folder.glob('jobs/*/rows.csv')))} jobs")
    print(f"rows asked without a store: {needed}, with one: {asked}, {asked / needed:.3f} of them")


def many(folder: Path) -> None:
    """Ten million answers of ten classes: size, and the time to look some up."""
    store, generator = Store(folder), torch.Generator().manual_seed(0)
    scores, kept = torch.rand(AT_ONCE, CLASSES, generator=generator), []
    start = time.perf_counter()
    for part in range(MANY // AT_ONCE):
        keys = [_key(part * AT_ONCE + place) for place in range(AT_ONCE)]
        store.write(keys, scores, 0.0)
        kept.append(keys[part % AT_ONCE])
    filled = time.perf_counter() - start
    store.close()
    size = sum(file.stat().st_size for file in folder.glob("answers.sqlite*"))
    print(f"{MANY:,} answers of {CLASSES} classes: {size / 2**30:.2f} GiB, {size / MANY:.0f} bytes each, {filled:.0f} s to write")
    known = [kept[i] for i in torch.randperm(len(kept), generator=generator)[:LOOKED_UP].tolist()]
    unknown = [_key(MANY + place) for place in range(LOOKED_UP)]
    for name, keys, wanted in (("known", known, LOOKED_UP), ("unknown", unknown, 0)):
        seconds = median(_timed(lambda keys=keys: store.read(keys), wanted) for _ in range(ROUNDS))
        print(f"- {LOOKED_UP} {name} rows are looked up in {1000 * seconds:.1f} ms")


def _key(number: int) -> bytes:
    """The key of a row of two values."""
    return Store.keys("many", torch.tensor([[float(number // 2**20), float(number % 2**20)]]))[0]


def _timed(look: Callable[[], dict], wanted: int) -> float:
    start = time.perf_counter()
    found = look()
    if len(found) != wanted:
        raise RuntimeError(f"{len(found)} rows were found, wanted {wanted}")
    return time.perf_counter() - start


PARTS = {"cost": cost, "table4": table4, "many": many}


def main(names: list[str]) -> None:
    for name in names or PARTS:
        with tempfile.TemporaryDirectory(dir=ROOT / "outputs") as folder:
            PARTS[name](Path(folder))


if __name__ == "__main__":
    main(sys.argv[1:])
