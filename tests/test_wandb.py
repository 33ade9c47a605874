"""W&B over whole runs and sweeps: one run a job, the same run when a folder is given again, and what a killed one leaves."""

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from itertools import product

import numpy as np
import pytest
import yaml
from PIL import Image

from dax_lightning.run.config import check_values
from dax_lightning.run.loggers import WandbRun
from tests.conftest import ROOT
from tests.pages import composed
from tests.test_cli import BOX, GRID, PAPER, PHOTO, Command, photo, run, whole_run
from tests.test_loggers import benchmark_of, code_of, history_in, places_in, read, server, tables_in, wandb

__all__ = ["photo", "run", "server", "wandb", "whole_run"]
QUICK = [*GRID, "explainer=random", "logger=wandb"]
PICTURES = ["input", "map", "overlay", "region", "truth"]


def runs_in(folder):
    """Each start under a folder, the oldest first."""
    return [read(place) for place in places_in(folder)]


def run_of(records):
    return next(record.run for record in records if record.HasField("run"))


def summary_of(records):
    return {item.key: json.loads(item.value_json) for record in records for item in record.summary.update}


def rows_of(folder):
    with (folder / "rows.csv").open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def inspected(file):
    told = [shutil.which("wandb") or str(ROOT / ".venv" / "bin" / "wandb"), "leet", "inspect", "--summary", "--json", str(file)]
    return json.loads(subprocess.run(told, capture_output=True, text=True, check=True, timeout=60).stdout)


@pytest.mark.usefixtures("wandb")
def test_a_sweep_is_a_run_a_job_of_one_group(run: Command, photo):
    sweep = ["-m", "loss=v1,v2", "q=40,60", "logger=wandb", "mask_every=1"]
    assert run(photo, *sweep, settings=[one for one in PAPER if not one.startswith(("q=", "explainer."))]) in (0, 3), run.err
    ids = set()
    for number, (loss, q) in enumerate(product(("v1", "v2"), (40, 60))):
        ((files, records),) = runs_in(run.folder / str(number))
        started, (row,) = run_of(records), rows_of(run.folder / str(number))
        assert (started.display_name, started.run_group) == (f"files-dax_paper-callable-q{q}-job{number}", "run")
        assert list(started.tags) == ["explainer=dax_paper", f"loss={loss}", "segmenter=grid", f"q={q}"]
        assert code_of(records) == 0
        ids.add(started.run_id)
        told = summary_of(records)
        for column in ("fidelity", "queries", "seconds"):
            assert told[column] == pytest.approx(float(row[column]), abs=1e-6), column
        steps = history_in(records)
        name = "photo__dax_paper"
        assert [step[f"{name}/epoch"] for step in steps if f"{name}/fidelity" in step] == [0, 1]  # one point an epoch
        masks = [step[f"{name}/mask"] for step in steps if f"{name}/mask" in step]
        assert len(masks) == 2
        assert all((files / mask["path"]).is_file() for mask in masks)
        assert sum(f"{name}/panel" in step for step in steps) == 1
        (table,) = tables_in(files, steps)
        assert [list(row)[:5] for row in table] == [PICTURES]
        assert [told["artifact_name"] for told in used(records)] == [f"results-{started.run_id}"]
    assert len(ids) == 4
    seen = inspected(run.folder / "3" / "wandb")
    assert (seen["state"], seen["exit_code"], seen["config"]["q"], seen["config"]["loss"]["lam3"]) == ("finished", 0, 60, 0.5)
    assert seen["summary"]["photo__dax_paper/epoch"] == 1


def used(records):
    """The artifacts with the rows and the report."""
    for record in records:
        if record.HasField("artifact") and record.artifact.type == "results":
            assert sorted(entry.path for entry in record.artifact.manifest.contents) == ["report.html", "rows.csv"]
            yield {"artifact_name": record.artifact.name}


@pytest.mark.usefixtures("wandb")
def test_a_folder_that_is_given_again_goes_on_with_the_same_run(tmp_path):
    assert benchmark_of(tmp_path, WandbRun(), keys=("a",)).run()
    time.sleep(1)  # W&B names its folders by the second
    assert benchmark_of(tmp_path, WandbRun()).run()
    (_, first), (files, second) = runs_in(tmp_path)
    assert run_of(first).run_id == run_of(second).run_id
    (rows,) = tables_in(files, history_in(second))
    assert [row["case"] for row in rows] == ["a", "b.c"]
    (artifact,) = (record.artifact for record in second if record.HasField("artifact") and record.artifact.type == "run_table")
    table = next(entry for entry in artifact.manifest.contents if entry.path == "rows.table.json")
    with open(table.local_path, encoding="utf-8") as file:
        whole = json.load(file)
    shown = [dict(zip(whole["columns"], row, strict=True)) for row in whole["data"]]
    assert all(row[name] for row in shown for name in PICTURES)  # those of the case that was explained before too


TERMINATED = """
import signal, sys
from dax_lightning.run import main, runner

runner.Benchmark._explained = lambda *_: signal.raise_signal(signal.SIGTERM)
before = signal.getsignal(signal.SIGTERM)
code = main.run(sys.argv[1:])
sys.exit(code if signal.getsignal(signal.SIGTERM) is before else 99)
"""


@pytest.mark.usefixtures("wandb")
def test_sigterm_finishes_the_run_and_tells_how_to_go_on(photo, tmp_path):
    """In a process of its own: signals are a process's."""
    folder = tmp_path / "run"
    told = [sys.executable, "-c", TERMINATED, *BOX, *QUICK, photo, f"hydra.run.dir={folder}"]
    done = subprocess.run(told, cwd=ROOT, env=own_service(), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 130, done.stderr
    assert "stopped: " in done.stderr
    ((_, records),) = runs_in(folder)
    assert code_of(records) == 1


def own_service():
    """The environment of a process that starts W&B's service itself."""
    return {**{key: one for key, one in os.environ.items() if key != "WANDB_SERVICE"}, "PYTHONPATH": str(ROOT)}


@pytest.mark.usefixtures("wandb")
def test_a_run_that_was_killed_is_gone_on_with(run: Command, tmp_path):
    """SIGKILL, in a process of its own, once the first row is there."""
    album = tmp_path / "album"
    album.mkdir()
    for n in range(6):
        Image.fromarray(np.roll(PHOTO, n, 0)).save(album / f"{n}.png")
    box = ["black_box=callable", "black_box.function=tests.functions.slow_quarters", "black_box.size=[32,32]"]
    own = [f"input={album}", *box, *QUICK, f"hydra.run.dir={run.folder}"]
    started = subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), *own],
        cwd=ROOT,
        env=own_service(),
        stdout=subprocess.DEVNULL,
    )
    until = time.monotonic() + 100
    while time.monotonic() < until and not ((run.folder / "rows.csv").is_file() and rows_of(run.folder)):
        time.sleep(0.05)
    started.kill()
    started.wait()
    done = len(rows_of(run.folder))
    assert 0 < done < 6
    assert run(f"input={album}", box=box, settings=QUICK) == 0, run.err
    assert f"({done} are done)" in run.out
    killed, gone_on = places_in(run.folder)
    (_, first), (files, last) = read(killed, seconds=0), read(gone_on)
    assert (code_of(first), code_of(last)) == (None, 0)
    assert [file.name for file in killed.glob("*.wandb")] == [file.name for file in gone_on.glob("*.wandb")]  # the id is in it
    (rows,) = tables_in(files, history_in(last))
    assert len(rows) == 6


def test_the_sweep_for_wandbs_agents_composes():
    sweep = yaml.safe_load((ROOT / "wandb_sweep.yaml").read_text(encoding="utf-8"))
    assert (ROOT / sweep["program"]).is_file()
    fixed = [one for one in sweep["command"] if not one.startswith("${")]
    values = {key: one.get("values") or [one["min"], one["max"]] for key, one in sweep["parameters"].items()}
    for chosen in product(*values.values()):
        cfg = composed([*fixed, *(f"{key}={value}" for key, value in zip(values, chosen, strict=True))])
        check_values(cfg)
        assert sweep["metric"]["name"] in cfg.metrics
    assert sweep["metric"]["goal"] == "maximize"
