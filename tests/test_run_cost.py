"""Budgets, limits, what a run would cost, what it says while it runs, and which rows it makes again."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from dax_lightning import progress
from dax_lightning.metrics import IoU
from dax_lightning.run.loggers import CsvRun
from dax_lightning.run.runner import Benchmark
from dax_lightning.testing import QuarterBox
from tests.conftest import ROOT
from tests.test_benchmark import Quarters, explainers_of
from tests.test_cli import GRID, PHOTO, Command, album, photo, run, whole_run

__all__ = ["album", "photo", "run", "whole_run"]
QUICK = [*GRID, "explainer=lime"]
COUNTED = "black_box.function=tests.functions.counted"


@pytest.fixture
def counted(tmp_path, monkeypatch):
    """How many rows the model saw."""
    file = tmp_path / "count.txt"
    monkeypatch.setenv("DAX_TEST_COUNT", str(file))
    return lambda: sum(map(int, file.read_text(encoding="utf-8").split()))


def test_the_row_that_finds_the_target_is_in_budget_and_count(run: Command, photo, counted):
    run.refused(
        "lime asks up to 40 rows and 1 row to find the top class, more than budget=40", photo, "budget=40", settings=QUICK
    )
    assert run(photo, "budget=41", COUNTED, settings=QUICK) == 0
    assert (run.rows()[0]["queries"], counted()) == ("41", 41)
    run.folder = run.folder.with_name("given")
    assert run(photo, "budget=40", "target=0", settings=QUICK) == 0
    assert run.rows()[0]["queries"] == "40"


def test_a_run_stops_at_max_queries_with_what_is_done(run: Command, album, counted):
    (album / "b.jpg").unlink()
    assert run(f"input={album}", COUNTED, "max_queries=60", settings=QUICK) == 1
    assert counted() == 42  # a's 41, and the row that finds c's target; the rest would go over, and is not begun
    assert [(row["case"], row["status"]) for row in run.rows()] == [("a", "ok"), ("c", "failed")]
    told = "the next explanation asks up to 40 rows, 18 are left of max_queries=60"
    assert run.rows()[1]["error"] == told
    assert run.err.count("\n") == 1
    assert run.err.startswith(f"{told}; to go on, raise it and add hydra.run.dir={run.folder} ")
    assert run.out.splitlines()[-1] == "1 of 2 rows failed: see the report"
    assert run(f"input={album}", COUNTED, "max_queries=60", settings=QUICK) == 0


def test_what_metrics_ask_counts_for_max_queries(run: Command, photo, counted):
    deletion = "+metric@metrics.deletion=deletion"
    assert run(photo, COUNTED, deletion, "max_queries=45", settings=QUICK) == 1
    assert counted() <= 45
    assert "within this budget" in run.rows()[0]["error"]
    assert "max_queries=45 are spent" in run.err


def test_a_dry_run_tells_rows_and_explains_nothing(run: Command, album, counted):
    (album / "b.jpg").unlink()
    assert run(f"input={album}", COUNTED, "dry_run=true", settings=QUICK) == 0
    assert "lime: 2 cases, 82 rows in all (41 each)" in run.out
    assert f"asked so far: {counted()} rows; nothing is explained yet" in run.out
    assert not (run.folder / "rows.csv").exists()


def test_a_dry_run_of_one_case(run: Command, photo):
    assert run(photo, "dry_run=true", settings=QUICK) == 0
    assert "lime: 1 case, 41 rows in all (41 each)" in run.out


def test_a_run_says_at_once_what_it_does_and_at_the_end_the_means(run: Command, album):
    (album / "b.jpg").unlink()
    assert run(f"input={album}", settings=QUICK) == 0
    first, cut, second, *rest = run.out.splitlines()
    told = "2 of 2 photographs lie partly outside the model's centre crop, 33 % on average"
    assert cut == f"{told}: give photographs of the model's own shape"
    assert first == f"explaining input={album} by lime: q=40 queries for each explanation; the output goes to {run.folder}"
    assert second == "2 cases by 1 explainer: 2 rows to make, q=40 queries each"
    assert [line.split()[:2] for line in rest[-4:-2]] == [["explainer", "rows"], ["lime", "2"]]


def test_a_comparison_tells_row_and_time_left(tmp_path, capsys):
    box = QuarterBox()
    Benchmark(Quarters(box), explainers_of(box, "lime", "random"), {"iou": IoU()}, tmp_path, CsvRun()).run()
    out = capsys.readouterr().out
    assert "[row 1 of 4, " in out
    assert "[row 4 of 4, 0 s left] b · random: " in out


def test_without_a_terminal_a_line_every_ten_seconds(monkeypatch, capsys):
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    with progress.bar(100, "queries") as steps:
        for _ in range(10):
            clock[0] += 4
            steps.update(10)
    assert capsys.readouterr().err.splitlines() == [
        "  queries: 30 of 100, about 28 s left",
        "  queries: 60 of 100, about 16 s left",
        "  queries: 90 of 100, about 4 s left",
    ]


def test_a_picture_that_was_replaced_is_explained_anew(run: Command, album):
    (album / "b.jpg").unlink()
    assert run(f"input={album}", settings=QUICK) == 0
    before = run.rows()
    Image.fromarray(255 - PHOTO).save(album / "c.png")
    assert run(f"input={album}", settings=QUICK) == 0
    after = run.rows()
    assert [row["case"] for row in after] == ["a", "c"]
    assert after[0] == before[0]
    assert after[1]["score"] != before[1]["score"]
    fresh = Command(run.folder.with_name("fresh"), run._capsys)
    assert fresh(f"input={album}", settings=QUICK) == 0
    assert [row["score"] for row in fresh.rows()] == [row["score"] for row in after]


def test_a_mask_that_was_replaced_is_measured_anew(run: Command, album):
    (album / "b.jpg").unlink()
    masks = album.parent / "masks"
    masks.mkdir()
    corner = np.zeros(PHOTO.shape[:2], np.uint8)
    corner[:20, :30] = 1
    for name in "ac":
        Image.fromarray(corner).save(masks / f"{name}.png")
    command = [f"input={album}", f"masks={masks}"]
    assert run(*command, settings=QUICK) == 0
    assert "masks: one object, value 1\n" in run.out
    before = run.rows()
    Image.fromarray(1 - corner).save(masks / "c.png")
    assert run(*command, settings=QUICK) == 0
    after = run.rows()
    assert [row["case"] for row in after] == ["a", "c"]
    assert after[0] == before[0]
    assert after[1]["top_share"] != before[1]["top_share"]


def test_a_picture_of_the_same_stem_gets_a_result_of_its_own(run: Command, tmp_path):
    pets = tmp_path / "pets"
    pets.mkdir()
    Image.fromarray(PHOTO).save(pets / "cat.png")
    assert run(f"input={pets}", settings=QUICK) == 0
    Image.fromarray(255 - PHOTO).save(pets / "cat.bmp")
    assert run(f"input={pets}", settings=QUICK) == 0
    rows = run.rows()
    assert len({row["case"] for row in rows}) == len(rows) == 2
    fresh = Command(run.folder.with_name("fresh"), run._capsys)
    assert fresh(f"input={pets}", settings=QUICK) == 0
    assert {row["case"]: row["score"] for row in fresh.rows()} == {row["case"]: row["score"] for row in rows}


def test_two_pictures_of_one_name_do_not_overwrite_each_other(run: Command, tmp_path, monkeypatch):
    """The same command in two folders, each with a cat.png of its own."""
    for name, pixels in (("a", PHOTO), ("b", 255 - PHOTO)):
        (tmp_path / name).mkdir()
        Image.fromarray(pixels).save(tmp_path / name / "cat.png")
    monkeypatch.chdir(tmp_path / "a")
    assert run("input=cat.png", settings=QUICK) == 0
    made = (run.folder / "explanations" / "cat__lime.npz").read_bytes()
    rows = run.rows()
    monkeypatch.chdir(tmp_path / "b")
    run.refused(
        f"holds explanations made with task.input={tmp_path}/a/cat.png, now it is {tmp_path}/b/cat.png: give another folder",
        "input=cat.png",
        settings=QUICK,
    )
    assert (run.folder / "explanations" / "cat__lime.npz").read_bytes() == made
    assert run.rows() == rows
    assert run("input=../a/cat.png", settings=QUICK) == 0  # the same file by another path: nothing to do
    assert run.rows() == rows


def test_the_json_tells_the_files_hash(run: Command, photo):
    import hashlib

    assert run(photo, settings=QUICK) == 0
    facts = json.loads((run.folder / "explanations" / "photo__lime.json").read_text(encoding="utf-8"))
    with open(photo.partition("=")[2], "rb") as file:
        assert facts["file_sha256"] == hashlib.sha256(file.read()).hexdigest() != facts["input_sha256"]


def test_the_json_tells_the_machine(run: Command, photo):
    assert run(photo, settings=QUICK) == 0
    facts = json.loads((run.folder / "explanations" / "photo__lime.json").read_text(encoding="utf-8"))
    assert (facts["threads"], facts["device"]) == (torch.get_num_threads(), "cpu")
    assert facts["cpu"]
    assert {"scipy", "scikit-learn", "shap", "shapiq"} <= facts["versions"].keys()


def test_a_case_that_can_not_be_written_ends_no_other(tmp_path):
    """A folder lies where the first case's map should go."""
    (tmp_path / "explanations" / "a__random.npz").mkdir(parents=True)
    box = QuarterBox()
    assert not Benchmark(Quarters(box), explainers_of(box, "random"), {"iou": IoU()}, tmp_path, CsvRun()).run()
    rows = (tmp_path / "rows.csv").read_text(encoding="utf-8").splitlines()
    assert "failed" in rows[1]
    assert "ok" in rows[2]


def test_what_only_some_systems_have_is_not_needed():
    code = (
        "import sys; sys.modules.update(resource=None, fcntl=None); import dax_lightning.run.main, dax_lightning.run.runner as r"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"{code}; print(r.peak_mb())"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "None\n"), done.stderr
