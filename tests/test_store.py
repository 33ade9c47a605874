"""Answers on disk: nothing is paid twice, nothing that was answered is lost, and the answers are the same."""

import multiprocessing
import os
import pickle
import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from dax_lightning.black_box import Store, from_function
from dax_lightning.black_box.store import command, rescue, store_at
from dax_lightning.errors import BudgetExceeded, InputError, OutOfTime, StoreError
from dax_lightning.explainers.mosaic import MosaicDax
from dax_lightning.explainers.rivals.mosaic import LimeOnMosaic
from dax_lightning.explainers.stops import Stop
from dax_lightning.explainers.surrogate.lime import Lime
from dax_lightning.game.subsets import Perturber
from dax_lightning.segment.grid import Grid
from tests.conftest import ROOT


def quarters(rows):
    """Light in the top left quarter speaks for the first class, in the top right one for the second."""
    return rows[:, :2, :16, :16].mean((2, 3))


class Spy:
    """A model's function that counts the rows it saw."""

    def __init__(self):
        self.rows = 0

    def __call__(self, rows):
        self.rows += len(rows)
        return quarters(rows)


def boxed(spy, **more):
    return from_function(spy, size=(32, 32), multi_label=True, fingerprint="spy", **more)


def lime(box, **more):
    return Lime(box, Grid(4, 4), **{"perturber": Perturber(fill="zeros"), **more})


def damage(file: Path, what: bytes, by: bytes) -> None:
    data = file.read_bytes()
    assert what in data
    file.write_bytes(data.replace(what, by))


@pytest.fixture
def x():
    return torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(1))


def test_a_second_process_asks_nothing_and_gets_the_same_map(tmp_path, x):
    alone = MosaicDax(boxed(quarters), q=60).explain(x, 0)
    for again in (False, True):
        spy = Spy()
        box = boxed(spy)
        box.keep(Store(tmp_path))
        made = MosaicDax(box, q=60).explain(x, 0)
        assert torch.equal(made.saliency, alone.saliency)
        assert made.queries == 60
        assert made.asked == spy.rows == (0 if again else len(Store(tmp_path)))  # equal copies are asked once


def test_a_larger_q_continues_a_smaller_one(tmp_path, x):
    box = boxed(Spy())
    box.keep(Store(tmp_path))
    small = lime(box, perturber=Perturber(fill="zeros"), q=50).explain(x, 0)
    large = lime(box, perturber=Perturber(fill="zeros"), q=100).explain(x, 0)
    assert (small.asked, large.asked) == (50, 50)
    alone = lime(boxed(quarters), perturber=Perturber(fill="zeros"), q=100).explain(x, 0)
    assert torch.allclose(large.saliency, alone.saliency, atol=1e-5)


def test_equal_rows_of_one_batch_are_asked_once(tmp_path):
    spy = Spy()
    box = boxed(spy)
    box.keep(Store(tmp_path))
    answers = box(torch.cat([torch.ones(3, 3, 32, 32), torch.zeros(1, 3, 32, 32)]))
    assert spy.rows == 2
    assert torch.equal(answers, quarters(torch.cat([torch.ones(3, 3, 32, 32), torch.zeros(1, 3, 32, 32)])))


def test_another_model_has_other_answers(tmp_path, x):
    store = Store(tmp_path)
    first, second = boxed(quarters), from_function(lambda rows: 1 - quarters(rows), size=(32, 32), multi_label=True)
    for box in (first, second):
        box.keep(store)
    assert torch.allclose(first(x[None]), 1 - second(x[None]))
    assert len(store) == 2


def test_bank_and_store_go_together(tmp_path, x):
    spy = Spy()
    box = boxed(spy)
    box.keep(Store(tmp_path))
    with box.bank(), box.budget(None) as meter:
        for _ in range(3):
            box(x[None])
    assert (meter.queries, meter.asked, spy.rows) == (3, 1, 1)


def test_a_damaged_answer_is_asked_again(tmp_path, x):
    store, spy = Store(tmp_path), Spy()
    box = boxed(spy)
    box.keep(store)
    right = box(x[None])
    stored = quarters(x[None]).numpy().tobytes()
    store.close()
    for left in tmp_path.glob("*-wal"):
        raise AssertionError(f"{left} is still there")
    damage(tmp_path / "answers.sqlite", stored, bytes(8))
    assert torch.equal(box(x[None]), right)
    assert torch.equal(box(x[None]), right)
    assert spy.rows == 2


def test_a_torn_file_is_told_and_what_can_be_read_is_saved(tmp_path, capsys):
    store = Store(tmp_path)
    rows = torch.rand(400, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    keys = store.keys("m", rows)
    store.write(keys, torch.arange(1200.0).view(400, 3), seconds=4.0)
    store.close()
    file = tmp_path / "answers.sqlite"
    data = bytearray(file.read_bytes())
    assert data[5 * 4096] == 13  # a page of answers
    data[5 * 4096 : 6 * 4096] = b"\xa5" * 4096
    file.write_bytes(bytes(data))
    with pytest.raises(StoreError, match=r"is damaged .* saves what can be read"):
        Store(tmp_path).read(keys)
    assert command([str(tmp_path)]) == 0
    told = capsys.readouterr().out
    known = Store(tmp_path).read(keys)
    assert 100 < len(known) < 400
    assert told.startswith(f"{len(known)} answers are saved")
    for place, key in enumerate(keys):
        if key in known:
            assert known[key].scores.tolist() == [3.0 * place, 3.0 * place + 1, 3.0 * place + 2]
    assert (tmp_path / "answers.sqlite.damaged").is_file()
    assert command([]) == 2
    with pytest.raises(StoreError, match="move it away first"):
        rescue(tmp_path)


def test_what_is_no_store_is_told(tmp_path):
    (tmp_path / "answers.sqlite").write_text("no database at all, but long enough to be taken for one" * 99)
    with pytest.raises(StoreError, match="is damaged"):
        Store(tmp_path)
    with pytest.raises(StoreError, match="can't be used"):
        Store(tmp_path / "answers.sqlite" / "below")


def test_names_that_are_no_text_are_told(tmp_path):
    """SQLite repeats them in its own error, which Python can't decode."""
    store = Store(tmp_path)
    store.close()
    damage(store.path, b"answers (key", b"\xd8\xd8\xd8\xd8\xd8\xd8\xd8 (\xd8ey")
    with pytest.raises(StoreError, match="is damaged"):
        Store(tmp_path).read([b"k" * 16])
    assert command([str(tmp_path)]) == 0


def test_which_store_a_setting_means(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert store_at("none", behind_wire=True) is None
    made = store_at("auto", behind_wire=True)
    assert made is not None
    assert made.path == tmp_path / "outputs/store/answers.sqlite"


def test_a_store_pickles_and_survives_a_fork(tmp_path):
    store = Store(tmp_path)
    again = pickle.loads(pickle.dumps(store))
    store.write([b"k" * 16], torch.ones(1, 2), 0.0)
    assert len(again) == 1


def _fill(folder, start):
    store = Store(folder)
    for number in range(start, start + 40):
        store.write([number.to_bytes(16, "big")], torch.full((1, 2), float(number)), 0.0)


def test_processes_share_a_store(tmp_path):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_fill, args=(tmp_path, start)) for start in (0, 20)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    store = Store(tmp_path)
    known = store.read([number.to_bytes(16, "big") for number in range(60)])
    assert [known[number.to_bytes(16, "big")].scores[0] for number in range(60)] == list(range(60))


SLOW = """
import sys, time
import torch
from dax_lightning.black_box import Store, from_function
from dax_lightning.explainers.mosaic import MosaicDax
def slow(rows):
    time.sleep(float(sys.argv[2]))
    with open(sys.argv[3], "a") as log:
        log.write(f"{len(rows)}\\n")
    return rows[:, :2, :16, :16].mean((2, 3))
box = from_function(slow, size=(32, 32), multi_label=True, fingerprint="spy", batch_size=8)
box.keep(Store(sys.argv[1]))
x = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(1))
made = MosaicDax(box, q=120).explain(x, 0)
torch.save({"map": made.saliency, "asked": made.asked}, sys.argv[4])
"""


def test_a_kill_loses_at_most_what_is_in_flight(tmp_path):
    """Twice killed without a word, the third start ends with the same map; at most two batches are asked twice."""
    log, out = tmp_path / "rows.log", tmp_path / "made.pt"
    command = [sys.executable, "-c", SLOW, str(tmp_path / "store"), "0.1", str(log), str(out)]
    for at_least in (3, 8):
        started = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
        until = time.monotonic() + 120
        while not (log.is_file() and len(log.read_text(encoding="utf-8").splitlines()) >= at_least):
            assert time.monotonic() < until
            time.sleep(0.02)
        os.kill(started.pid, signal.SIGKILL)
        started.wait()
    assert subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False).returncode == 0
    made, x = torch.load(out, weights_only=True), torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(1))
    box, store = boxed(quarters, batch_size=8), Store(tmp_path / "alone")
    box.keep(store)
    assert torch.equal(made["map"], MosaicDax(box, q=120).explain(x, 0).saliency)
    paid = sum(map(int, log.read_text(encoding="utf-8").split()))
    assert len(store) <= paid <= len(store) + 2 * 8
    assert made["asked"] < len(store) - 2 * 8


def test_two_processes_that_begin_at_once_pay_for_one(tmp_path):
    log, outs = tmp_path / "rows.log", [tmp_path / f"{number}.pt" for number in range(2)]
    command = [sys.executable, "-c", SLOW, str(tmp_path / "store"), "0.05", str(log)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    both = [subprocess.Popen([*command, str(out)], cwd=ROOT, env=environment) for out in outs]
    assert [started.wait(120) for started in both] == [0, 0]
    assert sum(map(int, log.read_text(encoding="utf-8").split())) == len(Store(tmp_path / "store"))
    first, second = (torch.load(out, weights_only=True) for out in outs)
    assert torch.equal(first["map"], second["map"])
    assert first["asked"] + second["asked"] == len(Store(tmp_path / "store"))


def test_a_model_that_asks_another_with_the_same_store_does_not_wait_for_itself(tmp_path):
    inner, rows = boxed(quarters), torch.rand(300, 3, 32, 32, generator=torch.Generator().manual_seed(0))  # locks are met twice
    outer = from_function(lambda batch: torch.cat([inner(row[None]) for row in batch]), size=(32, 32), multi_label=True)
    for box in (inner, outer):
        box.keep(Store(tmp_path))
    start = time.monotonic()
    assert torch.equal(outer(rows), inner(rows))
    assert time.monotonic() - start < 120  # it would be ten minutes


def test_a_full_disk_is_one_line_and_keeps_what_was_answered(tmp_path, x):
    """SQLite's own limit on pages stands for the disk: it fails in the same place with the same error."""
    box, store = boxed(quarters), Store(tmp_path)
    box.keep(store)
    box(x[None])
    with store._connection() as db:
        db.execute(f"pragma max_page_count={db.execute('pragma page_count').fetchone()[0]}")
    with pytest.raises(StoreError, match="its disk is full: make room"):
        box(torch.rand(6400, 3, 32, 32))
    store.close()
    whole = sqlite3.connect(tmp_path / "answers.sqlite")
    assert whole.execute("pragma integrity_check").fetchone() == ("ok",)
    spy = Spy()
    again = boxed(spy)
    again.keep(Store(tmp_path))
    again(x[None])
    assert spy.rows == 0


class Wire:
    """A model behind a wire that asks each batch twice."""

    classes, fingerprint = None, "wire"

    def __init__(self, scale=1.0):
        self.scale, self.rows, self.spend = scale, 0, lambda _: None

    def scores(self, rows):
        for _ in range(2):
            self.spend(len(rows))
            self.rows += len(rows)
        return self.scale * quarters(rows)


def wired(model):
    box = boxed(quarters)
    return type(box)(model, box.input, "probabilities", True, batch_size=8)


def test_rows_that_a_wire_asks_again_count_for_the_budget():
    model = Wire()
    box = wired(model)
    with box.budget(40) as meter, pytest.raises(BudgetExceeded, match="tries again included"):
        box(torch.rand(40, 3, 32, 32))
    assert (meter.asked, model.rows) == (40, 40)
    assert box.asked == 40


def test_a_model_that_was_changed_under_its_address_is_refused(tmp_path):
    wired(Wire()).keep(Store(tmp_path))
    wired(Wire()).keep(Store(tmp_path))
    box = wired(Wire(scale=0.9))
    with pytest.raises(InputError, match="the model was changed since"):
        box.keep(Store(tmp_path))
    assert box.store is None


def test_a_local_model_is_not_asked_a_probe(tmp_path):
    spy = Spy()
    boxed(spy).keep(Store(tmp_path))
    assert spy.rows == 0


@pytest.mark.parametrize("method", [MosaicDax, LimeOnMosaic, lime])
def test_time_that_is_over_leaves_the_map_so_far(x, method):
    def slow(rows):
        time.sleep(0.05)
        return quarters(rows)

    made = method(boxed(slow), q=2000).again(stop=Stop(max_seconds=0.4)).explain(x, 0)
    assert 32 <= made.queries < 1000
    assert made.warnings[0] == made.notes["stopped"]
    assert made.warnings[0].startswith(f"max_seconds is over after {made.queries} of")
    assert made.saliency[:16, :16].mean() > made.saliency[16:].mean()


def test_time_that_is_over_in_the_last_copies_leaves_the_map_of_the_first(x):
    """Also where it ends between a look at the clock and the next question."""
    asked = []

    def slow(rows):
        asked.append(len(rows))
        time.sleep(0.0 if sum(asked) <= 450 else 1.5)
        return quarters(rows)

    made = MosaicDax(boxed(slow), q=500).again(stop=Stop(max_seconds=1.0)).explain(x, 0)
    assert made.queries < 500
    assert re.fullmatch(r"max_seconds is over after \d+ of 50 last copies, which are not used", made.warnings[0])
    assert made.saliency[:16, :16].mean() > made.saliency[16:].mean()


def test_time_that_is_over_before_the_first_answer_is_told(x):
    with pytest.raises(OutOfTime, match="before the first answer"):
        MosaicDax(boxed(quarters), q=500).again(stop=Stop(max_seconds=1e-9)).explain(x)  # finding the target starts the clock


def test_a_method_without_a_map_before_its_last_query_refuses_to_stop():
    from dax_lightning.explainers.masking.rise import Rise

    with pytest.raises(InputError, match="rise has no map before its last query"):
        Rise(boxed(quarters)).again(stop=Stop(max_seconds=1.0))
    with pytest.raises(InputError, match=r"max_seconds=0\.0: wanted"):
        Stop(max_seconds=0.0)


@pytest.mark.parametrize("method", [MosaicDax, lime])
def test_a_map_that_settles_saves_the_rest(x, method):
    """A clean answer to few segments settles soon; noise doesn't."""
    clean = method(boxed(quarters), q=2000).again(stop=Stop(when="converged")).explain(x, 0)
    assert clean.queries < 1600
    assert "the map has settled after" in clean.warnings[0]
    generator = torch.Generator().manual_seed(0)
    noise = boxed(lambda rows: torch.rand(len(rows), 2, generator=generator))
    assert method(noise, q=200).again(stop=Stop(when="converged")).explain(x, 0).queries == 200


def test_what_was_not_stopped_is_the_same_as_without(x):
    plain = lime(boxed(quarters), q=100).explain(x, 0)
    timed = lime(boxed(quarters), q=100).again(stop=Stop(max_seconds=600.0)).explain(x, 0)
    assert torch.equal(plain.saliency, timed.saliency)
    assert timed.warnings == plain.warnings
    assert np.isfinite(timed.seconds)
