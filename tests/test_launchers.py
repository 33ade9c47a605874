"""Sweeps on every launcher: the same maps, exit code and summary; a job that fails or is killed costs no other."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from dax_lightning.black_box import BlackBox
from dax_lightning.run import main
from tests.conftest import ROOT
from tests.functions import BUILT
from tests.test_cli import Command, photo, run, whole_run
from tests.test_shards import rows_of

__all__ = ["photo", "run", "whole_run"]
slow = pytest.mark.slow
SHAPES = ["task=shapes", "explainer=random", "device=cpu", "black_box=callable", "black_box.size=[32,32]"]
QUARTERS = "black_box.function=tests.functions.quarters"
DEFECT = ["task._target_=dax_lightning.tasks.Shapes,tests.functions.Defective", "allow_targets=true"]
LAUNCHERS = {
    "basic": [],
    "joblib": ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"],
    "submitit_local": ["hydra/launcher=submitit_local"],
    "ray": ["hydra/launcher=ray", "hydra.launcher.workers=2"],
}


def started(folder: Path, *arguments: str, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), "-m", *SHAPES, *arguments, f"hydra.sweep.dir={folder}"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def codes(folder: Path) -> list[int]:
    return [json.loads(file.read_text(encoding="utf-8"))["code"] for file in sorted(folder.glob("*/status.json"))]


@pytest.fixture(scope="module")
def basic(tmp_path_factory):
    """What the basic launcher makes of four jobs, two of which end by a defect: its folder, exit code and errors."""
    folder, err = tmp_path_factory.mktemp("basic") / "jobs", io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stderr(err), redirect_stdout(io.StringIO()):
        patch.setattr(sys, "argv", ["train.py"])
        patch.setenv("HYDRA_FULL_ERROR", "1")
        code = main.run(["-m", *SHAPES, "limit=4", "shard=all/2", QUARTERS, *DEFECT, f"hydra.sweep.dir={folder}"])
    return folder, code, err.getvalue()


def check_the_failing_jobs(folder: Path, code: int, err: str) -> None:
    assert code == 1, err
    assert codes(folder) == [0, 1, 0, 1]
    assert "job 1 failed: ZeroDivisionError: a defect of ours; see 1/job.log\n" in err
    assert "job 3 failed" in err
    assert "Traceback" not in err
    for job in "13":
        log = (folder / job / "job.log").read_text(encoding="utf-8")
        assert log.rstrip().endswith("ZeroDivisionError: a defect of ours")
        assert "Traceback" in log
    assert "2/2" in (folder / "2" / "job.log").read_text(encoding="utf-8")
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "2 jobs ended early or left no rows" in page
    assert "ZeroDivisionError: a defect of ours" in page


def test_a_job_that_fails_is_named_has_its_traceback_and_ends_no_other(basic):
    check_the_failing_jobs(*basic)


@pytest.mark.parametrize("launcher", [pytest.param("joblib", marks=slow), pytest.param("submitit_local", marks=slow), "ray"])
def test_another_launcher_makes_the_same_maps_exit_code_and_summary(basic, tmp_path, launcher):
    folder = tmp_path / "jobs"
    with started(folder, "limit=4", "shard=all/2", QUARTERS, *DEFECT, *LAUNCHERS[launcher]) as sweep:
        out, err = sweep.communicate(timeout=200)
    check_the_failing_jobs(folder, sweep.returncode, err)
    maps = sorted(basic[0].glob("*/explanations/*.npz"))
    assert len(maps) == 4
    for file in maps:
        assert (folder / file.relative_to(basic[0])).read_bytes() == file.read_bytes(), file
    costs = {"seconds", "seconds_black_box", "peak_mb"}
    for job in "02":
        ours, theirs = (
            [{k: v for k, v in row.items() if k not in costs} for row in rows_of(f / job)] for f in (folder, basic[0])
        )
        assert ours == theirs
    assert f"all jobs: {folder / 'report.html'}" in out
    assert (folder / "summary.csv").read_text(encoding="utf-8").count("\n") == 5


@slow
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local", "ray"])
def test_a_killed_worker_loses_nothing(tmp_path, launcher):
    """Ray begins the job again by itself; the others are told, and the same command asks only what is missing."""
    folder, marker = tmp_path / "jobs", tmp_path / "died"
    arguments = ["limit=12", "shard=all/2", "black_box.function=tests.functions.dies_once", *LAUNCHERS[launcher]]
    with started(folder, *arguments, DIES_ONCE=str(marker)) as sweep:
        _, err = sweep.communicate(timeout=200)
    assert marker.exists()
    if launcher == "ray":
        assert sweep.returncode == 0, err
    else:
        assert sweep.returncode == 1, err
        assert "error: the launcher gave up (" in err
        assert f"to go on, add hydra.sweep.dir={folder} to the same command" in err
        done = sum(len(rows_of(run.parent)) for run in folder.glob("*/rows.csv"))
        assert done > 0
        with started(folder, *arguments, DIES_ONCE=str(marker)) as sweep:
            _, err = sweep.communicate(timeout=200)
        assert sweep.returncode == 0, err
    cases = [row["case"] for job in "01" for row in rows_of(folder / job)]
    assert len(cases) == len(set(cases)) == 12


@slow
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local", "ray"])
def test_ctrl_c_ends_all_jobs_and_reports_what_is_done(tmp_path, launcher):
    folder = tmp_path / "jobs"
    with started(folder, "limit=4000", "shard=all/2", QUARTERS, *LAUNCHERS[launcher]) as sweep:
        until = time.monotonic() + 100
        while time.monotonic() < until and len(list(folder.glob("*/explanations/*.npz"))) < 4:
            time.sleep(0.1)
        sweep.send_signal(signal.SIGINT)
        _, err = sweep.communicate(timeout=100)
    assert sweep.returncode == 130, err
    assert f"stopped: what is done is in {folder / 'report.html'}; to go on, add hydra.sweep.dir={folder}" in err
    pids = [json.loads(file.read_text(encoding="utf-8"))["pid"] for file in folder.glob("*/status.json")]
    assert len(pids) == 2
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_a_launcher_without_its_package_says_which_extra(run: Command, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    run.refused(
        r"hydra/launcher=ray needs the package ray: pip install 'dax-lightning\[ray\]'",
        "-m",
        "task=shapes",
        "explainer=random",
        "hydra/launcher=ray",
        settings=[],
    )


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("num_cpus=0", "hydra.launcher.num_cpus=0: a job needs a part of a CPU"),
        ("num_gpus=-1", "hydra.launcher.num_gpus=-1: it must be at least 0"),
        ("workers=0", "hydra.launcher.workers=0: it must be at least 1"),
        ("max_retries=-1", "hydra.launcher.max_retries=-1: it must be at least 0"),
    ],
)
def test_settings_of_ray_are_checked(run: Command, setting, told):
    run.refused(told, "-m", "task=shapes", "hydra/launcher=ray", f"hydra.launcher.{setting}", settings=[])


def test_the_jobs_of_a_worker_load_a_model_once(run: Command, photo):
    box = ["black_box=module", "black_box.factory=tests.functions:counted_module", "black_box.size=[8,8]"]
    box += ["black_box.outputs=logits", "device=cpu"]
    BUILT.clear()
    assert run("-m", photo, "seed=0,1,2", box=box, settings=["explainer=random"]) == 0
    assert len(BUILT) == 1
    queries = [row["queries"] for job in "012" for row in rows_of(run.folder / job)]
    assert len(queries) == 3
    assert len(set(queries)) == 1  # each job counts its own
    other = run.folder.with_name("other")
    assert run("-m", photo, "black_box.batch_size=7,8", box=box, settings=["explainer=random"], folder=other) == 0
    assert len(BUILT) == 3


def test_a_box_anew_has_counted_nothing_and_answers_the_same(quarter_box, noisy_image):
    first = quarter_box(noisy_image[None])
    fresh = quarter_box.anew()
    assert isinstance(fresh, BlackBox)
    assert (fresh.queries, quarter_box.queries) == (0, 1)
    with fresh.budget(1):
        assert fresh(noisy_image[None]).equal(first)
    assert (fresh.queries, quarter_box.queries) == (1, 1)
