"""What faults of the wire, of the process and of the disk do to a run: python -m benchmarks.faults prints a Markdown table.

- The wire: a server on loopback answers a share of its calls with one fault, by a seed. A run is a row of batches through a black
  box behind HTTP. It survives if its answers are those of the undisturbed server bit for bit.
- Process and disk: a run is one explanation by DAX-Mosaic with a store. It survives if it ends, after the same command was given
  again where it broke off, with the undisturbed run's map bit for bit. Rows lost are those that were answered, were no longer in
  flight, and had to be asked again.
"""

import asyncio
import itertools
import json
import multiprocessing
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from dax_lightning.black_box import BlackBox, Store, from_function
from dax_lightning.black_box.http import Form, Retry, Wire, from_http
from dax_lightning.black_box.store import rescue
from dax_lightning.errors import InputError, StoreError
from dax_lightning.explainers.mosaic import MosaicDax
from dax_lightning.serve import app, background
from dax_lightning.testing import QuarterBox

BEFORE = ("500", "429", "time-out", "lost connection")  # instead of an answer
AFTER = ("cut body", "malformed JSON", "NaN", "rows out of order", "wrong number of rows")  # of an answer
FAULTS = (*BEFORE, *AFTER)
SHARE = 0.3  # of the calls
FAST = Retry(first=0.01, longest=0.05, jitter=0.01)  # as often as by default, without the waiting
PATIENCE = 0.4  # seconds that a client waits for an answer, where the fault is a time-out


@dataclass
class Faulty:
    """An ASGI application that spoils a share of another's answers to POST.

    Args:
        inner: the application.
        fault: one of ``FAULTS``.
        share: of the calls.
        seed: of the chance.
    """

    inner: Any
    fault: str
    share: float = SHARE
    seed: int = 0
    injected: int = 0
    calls: int = 0
    on: bool = True
    _chance: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if not self.on or scope["type"] != "http" or scope["method"] != "POST":
            await self.inner(scope, receive, send)
            return
        self.calls += 1
        if self._chance.random() >= self.share:
            await self.inner(scope, receive, send)
            return
        self.injected += 1
        if self.fault in BEFORE:
            await self._instead(receive, send)
        else:
            await self._spoiled(scope, receive, send)

    async def _instead(self, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        if self.fault == "time-out":
            await asyncio.sleep(2 * PATIENCE)
        headers = [(b"content-length", b"2")]
        if self.fault == "lost connection":
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            raise ConnectionAbortedError("the server hangs up")  # with nothing of the body sent
        status = {"500": 500, "429": 429, "time-out": 200}[self.fault]
        if status == 429:
            headers.append((b"retry-after", b"0"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"{}"})

    async def _spoiled(self, scope: Any, receive: Any, send: Any) -> None:
        sent: list[Any] = []

        async def keep(message: Any) -> None:
            sent.append(message)

        await self.inner(scope, receive, keep)
        body = b"".join(message.get("body", b"") for message in sent[1:])
        told = len(body)
        if self.fault == "cut body":
            body = body[: told // 2]
        elif self.fault == "malformed JSON":
            body = body[:-3] + b"}}}"
        else:
            body = json.dumps(self._other(json.loads(body))).encode()
            told = len(body)
        kept = [(key, value) for key, value in sent[0]["headers"] if key != b"content-length"]
        await send({**sent[0], "headers": [*kept, (b"content-length", str(told).encode())]})
        await send({"type": "http.response.body", "body": body})

    def _other(self, answer: Any) -> Any:
        if "outputs" in answer:  # the Open Inference Protocol's JSON: it has no ids, so rows that are out of order can't be told
            (output,) = answer["outputs"]
            if self.fault == "NaN":
                output["data"][0] = float("nan")
            else:
                rows, columns = output["shape"]
                output["shape"], output["data"] = [rows - 1, columns], output["data"][:-columns]
            return answer
        rows = answer["predictions"]
        if self.fault == "NaN":
            rows[0]["scores"][0] = float("nan")
        elif self.fault == "rows out of order":
            rows.reverse()
        else:
            rows.pop()
        return answer


@dataclass(frozen=True)
class Outcome:
    """What became of one run.

    Args:
        fault: what was done to it.
        injected: how many times.
        survived: all answers came, and are those of the undisturbed server bit for bit.
        lost: rows whose answers never came.
        paid_twice: rows that were sent, beside the first time.
        error: the one line that ended it; empty: none.
        wrong: answers came that are not the undisturbed server's.
    """

    fault: str
    injected: int
    survived: bool
    lost: int
    paid_twice: int
    error: str = ""
    wrong: bool = False


def run_once(
    fault: str, seed: int = 0, form: str = "own", batches: int = 4, share: float = SHARE, ids: str = Form().ids
) -> Outcome:
    """One run against a server with one fault: ``batches`` times 32 rows, 8 a request; ``ids``: where they are echoed."""
    chance = torch.Generator().manual_seed(seed)
    rows = torch.rand(batches * 32, 3, 16, 16, generator=chance)
    faulty = Faulty(app(QuarterBox(16)), fault, share, seed)
    asked: list[int] = []
    with background(faulty) as address:
        wires = [Wire(rows_per_request=8, timeout=seconds) for seconds in (10.0, PATIENCE if fault == "time-out" else 10.0)]
        url, kind = (f"{address}/predict", "npy") if form == "own" else (f"{address}/v2/models/model", "json")
        made = Form(rows=kind, ids=ids)
        boxes = [from_http(url, 16, form=made, wire=wire, retry=FAST, batch_size=32) for wire in wires]
        faulty.on = False
        wanted = boxes[0](rows)
        faulty.on = True
        boxes[1].model.spend = asked.append  # pyright: ignore[reportAttributeAccessIssue]
        came: list[torch.Tensor] = []
        error = ""
        try:
            for batch in rows.split(32):
                came.append(boxes[1](batch))
        except InputError as stop:
            error = str(stop)
    got = torch.cat(came) if came else wanted[:0]
    wrong = not torch.equal(got, wanted[: len(got)])
    sent_once = len(got) + (32 if error else 0)
    twice = max(0, sum(asked) - sent_once)
    return Outcome(fault, faulty.injected, not error and not wrong, len(rows) - len(got), twice, error, wrong)


def wire_outcomes(seeds: int = 5) -> Iterator[list[Outcome]]:
    """The runs of each fault of the wire."""
    for fault in FAULTS:
        yield [run_once(fault, seed) for seed in range(seeds)]


KILLS = 10
BATCH = 8
_IMAGE = 32


@dataclass
class Told:
    """A model's function that leaves a line a batch in a file, before it answers."""

    log: Path
    seconds: float = 0.0
    scale: float = 1.0

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        with self.log.open("a", encoding="utf-8") as file:
            file.write(f"{len(rows)}\n")
        time.sleep(self.seconds)
        return self.scale * rows[:, :2, :16, :16].mean((2, 3))

    @property
    def rows(self) -> int:
        """Asked so far."""
        return sum(map(int, self.log.read_text(encoding="utf-8").split())) if self.log.is_file() else 0


def explained(folder: Path, seconds: float = 0.0, skew: float = 0.0) -> torch.Tensor:
    """One run: its map is left in ``folder/map.pt``.

    Args:
        folder: holds the store, the log of rows, and the map.
        seconds: that the model takes for a batch.
        skew: seconds by which the clock jumps, back and forth, each time that it is read.
    """
    torch.set_num_threads(1)
    if skew:
        jumps = itertools.cycle((skew, -skew))
        time.time = lambda: 1.7e9 + next(jumps)
    told = Told(folder / "rows.log", seconds)
    box = from_function(told, (_IMAGE, _IMAGE), multi_label=True, fingerprint="told", batch_size=BATCH)
    box.keep(Store(folder / "store"))
    made = _map_of(box)
    torch.save(made, folder / "map.pt")
    return made


def _map_of(box: BlackBox) -> torch.Tensor:
    x = torch.rand(3, _IMAGE, _IMAGE, generator=torch.Generator().manual_seed(1))
    return MosaicDax(box, q=160).explain(x, 0).saliency


def _started(folder: Path, **more: float) -> Any:
    """A run in a process of its own; the line that ends it is left in ``folder/error.txt``."""
    process = multiprocessing.get_context("fork").Process(target=_ended, args=(folder,), kwargs=more)
    process.start()
    return process


def _ended(folder: Path, **more: float) -> None:
    try:
        explained(folder, **more)
    except StoreError as error:
        (folder / "error.txt").write_text(str(error), encoding="utf-8")


def _told(folder: Path) -> str:
    """The line that ended the run before, which is forgotten; empty: none did."""
    file = folder / "error.txt"
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    file.unlink(missing_ok=True)
    return text


def _outcome(fault: str, folder: Path, injected: int, wanted: torch.Tensor, in_flight: int, error: str = "") -> Outcome:
    """Of runs whose map should be there now; ``in_flight``: rows that may be asked twice."""
    got = torch.load(folder / "map.pt", weights_only=True) if (folder / "map.pt").is_file() else torch.zeros(0)
    same = torch.equal(got, wanted)
    store = Store(folder / "store")
    twice = Told(folder / "rows.log").rows - len(store)
    store.close()
    return Outcome(fault, injected, same, max(0, twice - in_flight), twice, error, wrong=len(got) > 0 and not same)


def killed(number: int, wanted: torch.Tensor, folder: Path) -> Outcome:
    """Kill -9 at a random point, and the same again."""
    log, until = Told(folder / "rows.log"), random.Random(number).randrange(BATCH, 140)
    process = _started(folder, seconds=0.01)
    while log.rows < until and process.is_alive():
        time.sleep(0.002)
    process.kill()
    process.join()
    _started(folder).join()
    return _outcome("kill -9", folder, int(process.exitcode == -signal.SIGKILL), wanted, BATCH)


def shared(number: int, wanted: torch.Tensor, folder: Path) -> Outcome:
    """Two processes explain the same with one store at the same time: each waits for what the other has in flight."""
    both = [_started(folder, seconds=0.01 + 0.002 * number) for _ in range(2)]
    for process in both:
        process.join()
    return _outcome("two processes on one store", folder, 1, wanted, 0)


def skewed(number: int, wanted: torch.Tensor, folder: Path) -> Outcome:
    """A clock that jumps by a day, back and forth."""
    _started(folder, skew=86400.0 * (number + 1)).join()
    return _outcome("a clock that jumps", folder, 1, wanted, 0)


def torn(number: int, wanted: torch.Tensor, folder: Path) -> Outcome:
    """A page of the store is overwritten: what it held is asked again, at once or after the store was rescued."""
    _started(folder).join()
    Store(folder / "store").close()  # all is in the one file now
    (folder / "map.pt").unlink()
    file = folder / "store" / "answers.sqlite"
    data = bytearray(file.read_bytes())
    page = random.Random(number).randrange(1, len(data) // 4096)
    data[page * 4096 : (page + 1) * 4096] = random.Random(number).randbytes(4096)
    file.write_bytes(bytes(data))
    before = Told(folder / "rows.log").rows
    _started(folder).join()
    if error := _told(folder):
        rescue(folder / "store")
        _started(folder).join()
    made = _outcome("a torn page of the store", folder, 1, wanted, 10**9, error)
    return replace(made, paid_twice=Told(folder / "rows.log").rows - before)  # the page's own rows


def full(number: int, wanted: torch.Tensor, folder: Path) -> Outcome:
    """A disk (tmpfs) without room, and the same again after there is some."""
    place = folder / "store"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={40 + 12 * number}k", "tmpfs", str(place)], check=True)
    try:
        _started(folder).join()
        error = _told(folder)
        subprocess.run(["mount", "-o", "remount,size=4m", str(place)], check=True)
        _started(folder).join()
        return _outcome("a full disk", folder, int(bool(error)), wanted, BATCH, "" if "its disk is full" in error else error)
    finally:
        subprocess.run(["umount", str(place)], check=True)


def changed(number: int, wanted: torch.Tensor, folder: Path) -> Outcome:
    """Another model under the same address, after the same map: refused before any answer of it is used."""
    port, error, fault = 0, "", "another model under the address"
    for scale in (1.0, 0.99 - 0.01 * number):
        model = from_function(Told(folder / "rows.log", scale=scale), _IMAGE, multi_label=True)
        with background(app(model), port) as address:
            port = int(address.rpartition(":")[2])
            box = from_http(f"{address}/predict", _IMAGE, multi_label=True, batch_size=BATCH)
            try:
                box.keep(Store(folder / "store"))
                wrong = scale != 1.0 or not torch.allclose(_map_of(box), wanted, atol=1e-3)
            except InputError as told:
                error, wrong = str(told), "the model was changed" not in str(told)
    return Outcome(fault, 1, bool(error) and not wrong, 0, 0, error, wrong)


def run_outcomes(times: int = KILLS) -> Iterator[list[Outcome]]:
    """The runs of each fault of the process and of the disk."""
    with tempfile.TemporaryDirectory() as place:
        alone = Path(place, "alone")
        alone.mkdir()
        wanted = explained(alone)
        for measure in (killed, shared, skewed, torn, full, changed):
            runs = []
            for number in range(times):
                folder = Path(place, f"{measure.__name__}_{number}")
                folder.mkdir()
                try:
                    runs.append(measure(number, wanted, folder))
                except (OSError, subprocess.CalledProcessError) as error:
                    print(f"{measure.__name__} can't be done here: {error}", file=sys.stderr)
                    break
            if runs:
                yield runs


MEASURED: tuple[Callable[[], Iterator[list[Outcome]]], ...] = (wire_outcomes, run_outcomes)  # each yields the runs of one fault


def row(runs: list[Outcome]) -> str:
    """One line of the table."""
    survived = f"{sum(run.survived for run in runs)} of {len(runs)}"
    numbers = (sum(getattr(run, name) for run in runs) for name in ("injected", "lost", "paid_twice"))
    injected, lost, twice = map(str, numbers)
    return f"| {' | '.join((runs[0].fault, injected, survived, lost, twice))} |"


def main() -> int:
    """Print the table; 1 if any run gave a wrong answer."""
    print("| fault | times injected | runs survived | rows lost | rows paid twice |\n| --- | --- | --- | --- | --- |", flush=True)
    wrong = False
    for measured in MEASURED:
        for runs in measured():
            print(row(runs), flush=True)
            wrong = wrong or any(run.wrong for run in runs)
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main())
