"""A task in shares: every case once, whoever was killed; shares that become one run."""

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock

from dax_lightning.errors import InputError
from dax_lightning.run import merge as merging
from dax_lightning.run.config import check_values, with_short_cuts
from dax_lightning.run.merge import merge
from dax_lightning.run.shards import own_gpu, own_share
from tests.conftest import ROOT
from tests.test_cli import BOX, Command, run, whole_run

__all__ = ["run", "whole_run"]
DRAWINGS = ["task=shapes", "explainer=random", "device=cpu"]


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "rows.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def sharded(run: Command, folder: Path, cases: int, shards: int) -> int:
    return run("-m", *DRAWINGS, f"limit={cases}", f"shard=all/{shards}", settings=[], folder=folder)


@pytest.mark.parametrize("shards", [1, 3, 7])
def test_every_case_is_in_one_share_and_no_share_is_larger_by_more_than_one(shards):
    shares = [own_share(7, f"{number}/{shards}") for number in range(1, shards + 1)]
    assert sorted(case for share in shares for case in share) == list(range(7))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("shard", ["0/4", "5/4", "1/0", "1", "a/b", "1/4/2", "-1/4", ""])
def test_a_share_that_is_none_is_refused_before_anything_is_loaded(shard):
    with pytest.raises(InputError, match=f"shard={re.escape(shard)}: wanted i/n with i from 1 to n"):
        check_values({"shard": shard, "task": {"_target_": "a"}})


def test_a_share_without_a_case_is_told(run: Command):
    run.refused("shard=3/3 has no case, there are 2: make n at most 2", *DRAWINGS, "limit=2", "shard=3/3", settings=[])


def test_all_shares_are_written_short():
    assert with_short_cuts(["-m", "shard=all/3", "q=9"]) == ["-m", "shard=1/3,2/3,3/3", "q=9"]
    with pytest.raises(InputError, match="shard=all/3 starts 3 jobs: add -m, or give one of them, such as shard=1/3"):
        with_short_cuts(["shard=all/3"])


def test_the_shares_together_are_the_whole_run_and_it_can_go_on(run: Command, tmp_path):
    assert sharded(run, tmp_path / "shares", 5, 2) == 0
    assert [len(rows_of(tmp_path / "shares" / job)) for job in "01"] == [3, 2]
    assert run(*DRAWINGS, "limit=5", settings=[], folder=tmp_path / "whole") == 0
    assert merging.main([str(tmp_path / "shares"), "--out", str(tmp_path / "all")]) == 0
    own = ("case", "explainer", "target", "score", "iou", "status")
    whole, together = ({tuple(row[c] for c in own) for row in rows_of(tmp_path / name)} for name in ("whole", "all"))
    assert whole == together
    assert len(whole) == 5
    for file in (tmp_path / "whole" / "explanations").rglob("*.npz"):
        assert file.read_bytes() == (tmp_path / "all" / "explanations" / file.name).read_bytes()
    made, whole_run_made = ({f.relative_to(tmp_path / n) for f in (tmp_path / n).rglob("*__*")} for n in ("all", "whole"))
    assert made == whole_run_made
    inputs = tmp_path / "all" / "explanations" / "inputs"
    assert len(list(inputs.glob("*.png"))) == 5
    assert (tmp_path / "all" / "report.html").is_file()
    assert run(*DRAWINGS, "limit=6", settings=[], folder=tmp_path / "all") == 0
    assert "1 row to make (5 are done)" in run.out


def test_a_share_that_was_killed_loses_no_case_and_asks_only_what_is_missing(run: Command, tmp_path):
    folder = tmp_path / "share"
    settings = [*BOX, *DRAWINGS, "shard=1/2"]
    command = [sys.executable, str(ROOT / "train.py"), *settings, "limit=400", f"hydra.run.dir={folder}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL) as started:
        until = time.monotonic() + 100
        while time.monotonic() < until and not ((folder / "rows.csv").is_file() and len(rows_of(folder)) >= 3):
            time.sleep(0.05)
        started.send_signal(signal.SIGKILL)
    done = rows_of(folder)
    with (folder / "rows.csv").open("a", encoding="utf-8") as file:
        file.write("shapes,disc_4,ran")  # cut off by the kill
    assert 3 <= len(done) < 200
    assert run(*settings, f"limit={2 * (len(done) + 2)}", box=[], settings=[], folder=folder) == 0
    assert f"2 rows to make ({len(done)} are done)" in run.out
    assert rows_of(folder)[: len(done)] == done
    assert len({row["case"] for row in rows_of(folder)}) == len(rows_of(folder)) == len(done) + 2


# --- merging ---


def folder_of(place: Path, *rows: str, columns: str = "task,case,explainer,seconds,iou,status") -> Path:
    place.mkdir(parents=True)
    (place / "rows.csv").write_text("".join(f"{line}\n" for line in [columns, *rows]), encoding="utf-8")
    (place / "explanations").mkdir()
    for row in rows:
        case = row.split(",")[1]
        (place / "explanations" / f"{case}__dax.npz").write_bytes(case.encode())
    return place


def test_the_same_row_twice_is_one_whatever_it_took(tmp_path):
    one = folder_of(tmp_path / "1", "photo,a,dax,1.0,.5,ok", "photo,b,dax,1.0,.6,ok")
    two = folder_of(tmp_path / "2", "photo,b,dax,9.0,.6,ok", "photo,c,dax,1.0,.7,ok")
    made = merge([two, one], tmp_path / "all")
    assert (made.rows, made.dropped, made.conflicts) == (3, 1, [])
    assert [row["case"] for row in rows_of(tmp_path / "all")] == ["a", "b", "c"]
    assert not (tmp_path / "all" / "conflicts.csv").exists()


@pytest.mark.parametrize("differs", ["row", "map"])
def test_rows_or_maps_that_differ_are_told_and_kept_beside(tmp_path, capsys, differs):
    folder_of(tmp_path / "1", "photo,a,dax,1.0,.5,ok")
    two = folder_of(tmp_path / "2", f"photo,a,dax,1.0,{'.4' if differs == 'row' else '.5'},ok")
    (two / "explanations" / "a__dax.npz").write_bytes(b"another" if differs == "map" else b"a")
    assert merging.main([str(two), str(tmp_path / "1"), "--out", str(tmp_path / "all")]) == 1
    assert re.search(r"^error: 1 rows differ between folders \(a · dax\): see .*conflicts.csv", capsys.readouterr().err)
    assert [row["iou"] for row in rows_of(tmp_path / "all")] == [".5"]
    beside = (tmp_path / "all" / "conflicts.csv").read_text(encoding="utf-8").splitlines()
    assert beside[1].startswith(f"{two},photo,a,dax")
    assert (tmp_path / "all" / "explanations" / "a__dax.npz").read_bytes() == b"a"


@pytest.mark.parametrize("first", ["1", "2"])
def test_a_case_that_failed_in_one_folder_and_not_in_another_did_not_fail(tmp_path, first):
    folder_of(tmp_path / "1", "photo,a,dax,1.0,.5,failed" if first == "1" else "photo,a,dax,1.0,.5,ok")
    folder_of(tmp_path / "2", "photo,a,dax,1.0,.5,ok" if first == "1" else "photo,a,dax,,,failed")
    made = merge([tmp_path / "1", tmp_path / "2"], tmp_path / "all")
    assert (made.rows, made.failed, made.conflicts) == (1, 0, [])


def test_the_order_of_the_folders_changes_nothing_and_merging_again_adds_what_is_new(tmp_path):
    for name, rows in (("1", ["photo,c10,dax,1.0,.5,ok"]), ("2", ["photo,c9,dax,1.0,.5,ok"]), ("3", ["photo,c1,dax,1.0,,ok"])):
        folder_of(tmp_path / "sweep" / name, *rows)
    folders = [tmp_path / "sweep" / name for name in "123"]
    merge(folders, tmp_path / "all")
    text = (tmp_path / "all" / "rows.csv").read_text(encoding="utf-8")
    assert [line.split(",")[1] for line in text.splitlines()[1:]] == ["c1", "c9", "c10"]
    for number, some in enumerate((folders[::-1], [tmp_path / "sweep"])):
        merge(some, tmp_path / f"other{number}")
        assert (tmp_path / f"other{number}" / "rows.csv").read_text(encoding="utf-8") == text
    shutil.rmtree(tmp_path / "sweep")
    made = merge([folder_of(tmp_path / "4", "photo,c2,dax,1.0,.5,ok")], tmp_path / "all")
    assert (made.rows, made.dropped) == (4, 0)
    assert merge([tmp_path / "4"], tmp_path / "all").dropped == 0
    assert len(list((tmp_path / "all" / "explanations").glob("*.npz"))) == 4


def test_other_columns_are_joined(tmp_path):
    folder_of(tmp_path / "1", "photo,a,dax,1.0,.5,ok")
    folder_of(tmp_path / "2", "photo,b,dax,ok,.3", columns="task,case,explainer,status,deletion")
    merge([tmp_path / "1", tmp_path / "2"], tmp_path / "all")
    assert [(row["iou"], row["deletion"]) for row in rows_of(tmp_path / "all")] == [(".5", ""), ("", ".3")]


@pytest.mark.parametrize(("folder", "told"), [("none", "has no rows.csv, nor have its jobs"), ("two", "rows of esc10 and photo")])
def test_what_can_not_be_merged_is_one_line(tmp_path, capsys, folder, told):
    folder_of(tmp_path / "two" / "1", "photo,a,dax,1.0,.5,ok")
    folder_of(tmp_path / "two" / "2", "esc10,a,dax,1.0,.5,ok")
    assert merging.main([str(tmp_path / folder)]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert told in err
    assert not (tmp_path / f"{folder}_merged").exists()


# --- jobs and GPUs ---


def test_a_job_whose_earlier_start_still_runs_is_not_started_twice(run: Command, tmp_path):
    assert sharded(run, tmp_path / "shares", 4, 2) == 0
    before = (tmp_path / "shares" / "1" / "rows.csv").read_bytes()
    with FileLock(tmp_path / "shares" / "1" / ".lock"):
        (tmp_path / "shares" / "1" / "status.json").write_text('{"code": null, "pid": 77, "host": "a"}', encoding="utf-8")
        assert sharded(run, tmp_path / "shares", 6, 2) == 1
    assert re.search(r"error: .*shares/1 is in use by another job \(process 77 on a\): wait for it", run.err)
    assert (tmp_path / "shares" / "1" / "rows.csv").read_bytes() == before
    assert len(rows_of(tmp_path / "shares" / "0")) == 3


@pytest.mark.parametrize(
    ("shown", "worker", "gpus", "own"),
    [
        ({}, "LokyProcess-1", 4, "0"),
        ({}, "LokyProcess-6", 4, "1"),
        ({"CUDA_VISIBLE_DEVICES": "2,GPU-ab,7"}, "LokyProcess-2", 3, "GPU-ab"),
        ({}, "LokyProcess-2", 1, None),
        ({"CUDA_VISIBLE_DEVICES": ""}, "LokyProcess-2", 0, None),
        ({}, "MainProcess", 4, None),
    ],
)
def test_workers_of_joblib_take_the_gpus_in_turn(shown, worker, gpus, own):
    assert own_gpu(shown, worker, gpus) == own
