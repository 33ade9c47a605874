"""Folders, locks, exit codes of jobs in other processes, Ctrl-C: what stands around a run."""

import json
import multiprocessing
import os
import shlex
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from filelock import FileLock
from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.plugins import Plugins
from hydra.core.utils import run_job
from omegaconf import open_dict
from PIL import Image

from dax_lightning.run import main
from dax_lightning.run.jobs import new_folder
from tests.conftest import ROOT
from tests.test_cli import BOX, GRID, PHOTO, Command, photo, run, whole_run

__all__ = ["photo", "run", "whole_run"]
QUICK = [*GRID, "explainer=random"]


def test_two_runs_in_one_second_have_a_folder_each(photo, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["dax"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT))
    for _ in range(4):  # refused by their values, so several fall into one second
        assert main.run([photo, *BOX, *QUICK, "limit=none"]) == 2
    assert len(list((tmp_path / "outputs").glob("*/*"))) == 4
    capsys.readouterr()


def test_a_folder_in_use_is_told_and_left_alone(run: Command, photo):
    run.folder.mkdir()
    (run.folder / "status.json").write_text('{"code": null, "pid": 77, "host": "a"}', encoding="utf-8")
    with FileLock(run.folder / ".lock"):
        run.refused(r"run is in use by another run \(process 77 on a\): wait for it, or give another hydra.run.dir", photo)
        assert sorted(file.name for file in run.folder.iterdir()) == [".lock", "status.json"]
        run.refused("in use by another run.*give another hydra.sweep.dir", "-m", photo, "seed=0,1")
    assert run(photo, settings=QUICK) == 0


class SpawningLauncher(BasicLauncher):
    """As launchers of clusters do: each job in a process of its own."""

    def launch(self, job_overrides, initial_job_idx):
        jobs = []
        assert self.hydra_context is not None
        assert self.config is not None
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            for number, overrides in enumerate(job_overrides, initial_job_idx):
                config = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
                with open_dict(config):
                    config.hydra.job.id = config.hydra.job.num = number
                jobs.append(pool.submit(in_a_process, config, self.hydra_context).result())
        return jobs


def in_a_process(config, context):
    return run_job(main.job, config, "hydra.sweep.dir", "hydra.sweep.subdir", context)


def test_the_exit_code_comes_from_jobs_in_other_processes_too(run: Command, photo, monkeypatch):
    monkeypatch.setattr(Plugins, "instantiate_launcher", lambda _, **given: set_up(SpawningLauncher(), **given))
    assert run("-m", photo, "q=abc,def") == 2
    assert [json.loads((run.folder / job / "status.json").read_text())["code"] for job in ("0", "1", ".")] == [2, 2, 2]


def set_up(launcher, hydra_context, task_function, config):
    launcher.setup(hydra_context=hydra_context, task_function=task_function, config=config)
    return launcher


def test_the_command_in_the_folder_makes_it_again(run: Command, photo):
    name = photo.replace("photo.png", "a 'b', c.png")
    Path(photo.partition("=")[2]).rename(name.partition("=")[2])
    assert run(name, "-m", "seed=1,2", settings=QUICK) == 0
    for job, count in ((run.folder / "1", 1), (run.folder, 2)):
        made = json.loads((job / "status.json").read_text())
        assert made["cwd"] == str(Path.cwd())
        assert made["command"].startswith("dax ")
        assert str(run.folder) not in made["command"]
        again = Command(run.folder.with_name(f"again{count}"), run._capsys)
        assert again(*shlex.split(made["command"])[1:], box=[], settings=[]) == 0
        maps = sorted(again.folder.rglob("*.npz"))
        assert len(maps) == count
        theirs = sorted(job.rglob("*.npz"))
        assert all(np.array_equal(np.load(a)["saliency"], np.load(b)["saliency"]) for a, b in zip(maps, theirs, strict=True))


def test_of_several_jobs_the_worst_code_counts_and_old_jobs_do_not(run: Command, photo):
    (run.folder / "7").mkdir(parents=True)
    (run.folder / "7" / "status.json").write_text('{"code": 2}', encoding="utf-8")  # an earlier sweep's
    noise = "black_box.function=tests.functions.quarters,tests.functions.noise"
    settings = [*GRID, "mosaic.others=[]", "q=200"]
    assert run("-m", photo, noise, "explainer.min_fidelity=-1e9,0.1", settings=settings) == 3
    codes = [json.loads((run.folder / str(job) / "status.json").read_text())["code"] for job in range(4)]
    assert codes[2:] == [0, 3]


def test_ctrl_c_reports_what_is_done_and_tells_how_to_go_on(tmp_path):
    """In a process of its own: the signal comes with the second picture."""
    album = tmp_path / "album"
    album.mkdir()
    Image.fromarray(PHOTO).save(album / "a.png")
    Image.fromarray(np.full((40, 60, 3), 9, np.uint8)).save(album / "b.png")
    settings = [
        *GRID,
        "mosaic.others=[]",
        "explainer.perturber.fill=zeros",
    ]
    box = ["black_box=callable", "black_box.function=tests.functions.interrupts_in_the_dark", "black_box.size=[32,32]"]
    done = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), f"input={album}", *box, *settings, f"hydra.run.dir={tmp_path / 'run'}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 130, done.stderr
    assert done.stderr.startswith(f"stopped: what is done is in {tmp_path / 'run' / 'report.html'}; to go on, add hydra.run.dir=")
    assert done.stderr.count("\n") == 1
    assert "[1/2] a · dax" in done.stdout
    assert (tmp_path / "run" / "report.html").is_file()
    assert json.loads((tmp_path / "run" / "status.json").read_text())["code"] == 130


SWALLOWED = """
import signal, sys
from dax_lightning.run import main, runner

def trained(*_):
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        sys.exit(1)

runner.Benchmark._explained = trained
before = signal.getsignal(signal.SIGINT)
code = main.run(sys.argv[1:])
sys.exit(code if signal.getsignal(signal.SIGINT) is before else 99)
"""


def test_lightning_does_not_swallow_ctrl_c(photo, tmp_path):
    """It exits with 1 after a signal that comes while it trains. A process of its own: signals are a process's."""
    words = [*BOX, *QUICK, photo, f"hydra.run.dir={tmp_path / 'run'}"]
    done = subprocess.run(
        [sys.executable, "-c", SWALLOWED, *words], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 130, done.stderr
    assert "stopped: what is done is in" in done.stderr
    assert (tmp_path / "run" / "report.html").is_file()


def test_a_model_that_closes_stderr_closes_the_job_s_alone(run: Command, photo):
    closes = "black_box.function=tests.functions.closes_stderr"
    assert run(photo, closes, "-m", "seed=1,oops", box=BOX[::2], settings=QUICK) == 2
    assert "job 1 failed: seed=oops is text" in run.err
    assert "/report.html" in (run.folder / "0" / "job.log").read_text(encoding="utf-8")


def test_new_folders_are_made_exclusively(tmp_path):
    with ProcessPoolExecutor(4, multiprocessing.get_context("fork")) as pool:
        made = list(pool.map(new_folder, [str(tmp_path / "run")] * 8))
    assert len(set(made)) == 8


def test_relative_paths_mean_the_folder_of_the_command_whatever_chdir_says(run: Command, tmp_path, monkeypatch):
    Image.fromarray(PHOTO).save(tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    assert run("input=photo.png", "hydra.job.chdir=true", settings=QUICK) == 0
    assert Path.cwd() == tmp_path
