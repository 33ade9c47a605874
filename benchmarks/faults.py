"""What faults of the wire do to a run: python -m benchmarks.faults prints a Markdown table.

A server on loopback answers a share of its calls with one fault, by a seed. A run is a row of batches through a black box behind
HTTP. It survives if its answers are those of the undisturbed server bit for bit.
"""

import asyncio
import json
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from dax_lightning.black_box.http import Form, Retry, Wire, from_http
from dax_lightning.errors import InputError
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
        wire = Wire(rows_per_request=8, timeout=PATIENCE if fault == "time-out" else 10.0)
        url, kind = (f"{address}/predict", "npy") if form == "own" else (f"{address}/v2/models/model", "json")
        made = Form(rows=kind, ids=ids)
        boxes = [from_http(url, 16, form=made, wire=wire, retry=FAST, batch_size=32) for _ in range(2)]
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


MEASURED: tuple[Callable[[], Iterator[list[Outcome]]], ...] = (wire_outcomes,)  # each yields the runs of one fault


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
