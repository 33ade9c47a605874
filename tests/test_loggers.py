"""What the loggers leave behind, read back from their files: curves, masks an epoch, panels and rows."""

import csv
import json
import os
import socket
import struct
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from lightning_utilities.core.rank_zero import rank_zero_only
from PIL import Image
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger

from dax_lightning.errors import InputError
from dax_lightning.explainers.dax import Dax, Training, lightning_trainer
from dax_lightning.explainers.random import Random
from dax_lightning.explainers.surrogate.lime import Lime
from dax_lightning.game.subsets import Perturber
from dax_lightning.inputs import WaveInput
from dax_lightning.inputs.sound import write_sound
from dax_lightning.metrics import IoU
from dax_lightning.run.loggers import CsvRun, TensorBoardRun, WandbRun, run_logger
from dax_lightning.run.runner import Benchmark
from dax_lightning.segment.grid import Grid
from dax_lightning.tasks import Files, Task
from dax_lightning.testing import KINDS, HalvesModel, QuarterBox, ToyBox
from dax_lightning.types import Case, Sound
from tests.conftest import ROOT
from tests.test_cli import BOX, SMALL

EPOCHS = 2
TERMS = {f"{stage}_{term}" for stage in ("train", "val") for term in ("total", "mse", "counterfactual")}
CURVES = TERMS | {"epoch", "fidelity"}


class Quarters(Task):
    """Bright noise; the truth is the top left quarter. ``breaks`` is raised in place of the last case."""

    name = "quarters"

    def __init__(self, black_box, keys=("a", "b.c"), breaks=None):
        super().__init__(black_box, keys, 0, None)
        self.breaks = breaks

    def _case(self, index):
        if self.breaks is not None and index == len(self) - 1:
            raise self.breaks
        x = 0.5 + 0.5 * torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(index))
        truth = torch.zeros(32, 32, dtype=torch.bool)
        truth[:16, :16] = True
        return Case(self._keys[index], x, self._target or 0, truth)


class Breaks(WandbRun):
    """Fails once the first case is logged."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def case(self, name, case, explanation, panel):
        super().case(name, case, explanation, panel)
        raise self.error


def benchmark_of(folder, logger, explainer=None, callbacks=None, **task):
    box = QuarterBox()
    training = Training(lightning_trainer(max_epochs=EPOCHS, callbacks=callbacks), device="cpu")
    dax = explainer or Dax(box, Grid(4, 4), Perturber(fill="zeros"), training=training, q=60)
    config = {"q": 60, "loss": {"lam3": 0.5}}
    labels = {dax.name: {"seed": 0}}
    return Benchmark(Quarters(box, **task), {dax.name: dax}, {"iou": IoU()}, folder, logger, labels, {dax.name: config})


def history_of(folder, case):
    facts = json.loads((folder / "explanations" / f"{case}__dax_paper.json").read_text())
    return facts["notes"]["history"]


# --- csv ---------------------------------------------------------------------------------------------------------------


def test_csv_has_a_line_an_epoch_with_every_term(tmp_path):
    assert benchmark_of(tmp_path, CsvRun()).run()
    assert sorted(path.name for path in (tmp_path / "curves").iterdir()) == ["a__dax_paper.csv", "b.c__dax_paper.csv"]
    with (tmp_path / "curves" / "b.c__dax_paper.csv").open(newline="") as file:
        lines = [{name: float(value) for name, value in line.items()} for line in csv.DictReader(file)]
    for step, (line, expected) in enumerate(zip(lines, history_of(tmp_path, "b.c"), strict=True)):
        assert line == pytest.approx(expected | {"step": step})


class Reads(pl.Callback):
    """Keeps what a file of the run holds whenever an epoch begins."""

    found: ClassVar[list] = []

    def __init__(self, folder, read):
        self.folder, self.read = folder, read

    def on_train_epoch_start(self, trainer, pl_module):
        self.found.append(self.read(self.folder))


@pytest.fixture
def reads(tmp_path):
    Reads.found = []
    return partial(Reads, tmp_path)


def test_curves_are_on_the_disk_while_training_goes_on(tmp_path, reads):
    def epochs(folder):
        files = list((folder / "curves").rglob("*.csv"))
        return [[line["epoch"] for line in csv.DictReader(file.read_text().splitlines())] for file in files]

    assert benchmark_of(tmp_path, CsvRun(), callbacks=reads(epochs), keys=("a",)).run()
    assert Reads.found == [[], [["0.0"]]]


def test_csv_keeps_the_curves_of_a_training_that_breaks_off(tmp_path, reads):
    def stop(_folder):
        if Reads.found:
            raise RuntimeError("planted")

    assert not benchmark_of(tmp_path, CsvRun(), callbacks=reads(stop), keys=("a",)).run()
    assert [path.name for path in (tmp_path / "curves").iterdir()] == ["a__dax_paper.csv"]
    assert len((tmp_path / "curves" / "a__dax_paper.csv").read_text().splitlines()) == 2


def test_ranks_of_a_cluster_keep_no_curve_away(tmp_path, monkeypatch):
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    assert benchmark_of(tmp_path, CsvRun(), keys=("a",)).run()
    assert (tmp_path / "curves" / "a__dax_paper.csv").is_file()


def test_csv_leaves_no_folder_where_nothing_was_trained(tmp_path, no_training):
    assert benchmark_of(tmp_path, CsvRun(), no_training).run()
    assert not (tmp_path / "curves").exists()


def test_a_default_run_imports_no_lightning(photograph, tmp_path):
    """It takes seconds, and DAX-Mosaic trains nothing; in a process of its own, where nothing else has imported it."""
    told = (
        "import sys; from dax_lightning.run.main import run; print(run(sys.argv[1:]), {'pytorch_lightning'} & set(sys.modules))"
    )
    own = ["explainer=dax", "logger=csv", f"input={photograph}", f"hydra.run.dir={tmp_path / 'run'}"]
    done = subprocess.run(
        [sys.executable, "-c", told, *BOX, *SMALL, *own],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.stdout.splitlines()[-1] == "0 set()", done.stdout + done.stderr


# --- any other -------------------------------------------------------------------------------------------------------


class Lines(Logger):
    """A logger of somebody else."""

    name = version = "lines"  # pyright: ignore
    lines: ClassVar[list] = []

    def __init__(self, save_dir):
        super().__init__()

    def log_hyperparams(self, params):
        self.lines.append(dict(params))

    def log_metrics(self, metrics, step=None):
        self.lines.append((step, dict(metrics)))

    def finalize(self, status):
        self.lines.append(status)


def test_any_lightning_logger_gets_config_curves_and_means(tmp_path):
    Lines.lines = []
    assert benchmark_of(tmp_path, run_logger(partial(Lines)), keys=("a",)).run()
    config, *epochs, (_, means), status = Lines.lines
    assert (config["q"], status) == (60, "success")
    for step, (line, expected) in enumerate(zip(epochs, history_of(tmp_path, "a"), strict=True)):
        assert line == (step, {f"a__dax_paper/{name}": value for name, value in expected.items()})
    assert {"fidelity", "iou", "queries", "seconds", "cases", "failed"} == set(means)
    assert (means["queries"], means["cases"], means["failed"]) == (60, 1, 0)


@pytest.mark.parametrize(
    ("lightning", "run"), [(CSVLogger, CsvRun), (TensorBoardLogger, TensorBoardRun), (WandbLogger, WandbRun)]
)
def test_lightnings_loggers_are_carried_through_a_run(lightning, run):
    assert type(run_logger(partial(lightning))) is run


# --- tensorboard -------------------------------------------------------------------------------------------------------


def read_events(folder):
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulators.EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0, "tensors": 0})
    return events.Reload()


def test_tensorboard_events_hold_curves_masks_panels_and_rows(tmp_path):
    assert benchmark_of(tmp_path, TensorBoardRun(mask_every=1)).run()
    events = read_events(tmp_path / "tensorboard")
    tags = events.Tags()
    assert set(tags["scalars"]) == {f"{case}__dax_paper/{term}" for case in ("a", "b.c") for term in CURVES}
    assert set(tags["images"]) == {f"{case}__dax_paper/{picture}" for case in ("a", "b.c") for picture in ("mask", "panel")}
    for term in CURVES:
        written = [(event.step, event.value) for event in events.Scalars(f"b.c__dax_paper/{term}")]
        expected = [epoch[term] for epoch in history_of(tmp_path, "b.c")]
        assert [step for step, _ in written] == list(range(EPOCHS))
        assert [value for _, value in written] == pytest.approx(expected)
    masks = events.Images("a__dax_paper/mask")
    assert [(mask.step, mask.height, mask.width) for mask in masks] == [(epoch, 28, 28) for epoch in range(EPOCHS)]
    (panel,) = events.Images("a__dax_paper/panel")
    assert panel.encoded_image_string.startswith(b"\x89PNG")
    assert panel.width > panel.height > 50
    rows = events.Tensors("rows/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "quarters" in rows
    assert "b.c" in rows


def test_tensorboard_is_closed_when_the_run_breaks_off(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        benchmark_of(tmp_path, TensorBoardRun(mask_every=1), breaks=KeyboardInterrupt()).run()
    events = read_events(tmp_path / "tensorboard")
    assert len(events.Scalars("a__dax_paper/fidelity")) == EPOCHS
    assert "rows/text_summary" in events.Tags()["tensors"]


# --- wandb -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server():
    """Stands where W&B's own would; nobody is to come."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield listening


@pytest.fixture(scope="module")
def wandb(tmp_path_factory, server):
    """W&B without an account, and everything of its own in a temporary folder."""
    module = pytest.importorskip("wandb")
    own = tmp_path_factory.mktemp("wandb")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("WANDB_")]:
            patch.delenv(name)
        for name in ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
            patch.setenv(name, str(own / name))
        patch.setenv("WANDB_SILENT", "true")
        patch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        patch.setenv("NETRC", str(own / "no_account"))
        yield module
        module.teardown()


def records_in(file):
    """The whole records of a .wandb file: LevelDB's log format, 7 bytes of header, blocks of 32 KiB, then protobuf."""
    from wandb.proto.wandb_internal_pb2 import Record  # pyright: ignore[reportAttributeAccessIssue]

    log, at, whole = file.read_bytes(), 7, b""
    assert log.startswith(b":W&B")
    while at < len(log):
        left = 2**15 - at % 2**15  # of this block
        if left < 7:
            at += left
            continue
        _, size, kind = struct.unpack_from("<IHB", log.ljust(at + 7, b"\0"), at)
        if at + 7 + size > len(log):  # W&B still writes it
            return
        whole += log[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # a whole record, or the last piece of one
            yield Record.FromString(whole)
            whole = b""


def history_in(records):
    """One dict a step, without W&B's own keys."""
    steps = []
    for record in records:
        if record.HasField("history"):
            step = {}
            for item in record.history.item:
                *path, last = item.nested_key or [item.key]
                place = step
                for key in path:
                    place = place.setdefault(key, {})
                place[last] = json.loads(item.value_json)
            steps.append({key: value for key, value in step.items() if not key.startswith("_")})
    return steps


def code_of(records):
    """The exit code, or ``None`` where the run has not ended."""
    return next((record.exit.exit_code for record in records if record.HasField("exit")), None)


def read(place, seconds=10.0):
    """What W&B wrote at one start: its files' folder and its records. Its own process writes the last a moment after the end."""
    until = time.monotonic() + seconds
    while True:
        records = list(records_in(next(place.glob("run-*.wandb"))))
        if code_of(records) is not None or time.monotonic() > until:
            return place / "files", records
        time.sleep(0.05)


def places_in(folder):
    """What W&B wrote at each start under a folder, the oldest first."""
    return sorted((folder / "wandb").glob("offline-run-*"))


def records_of_finished(folder):
    """The one run under ``folder``: its files' folder, its records and its exit code."""
    (place,) = places_in(folder)
    files, records = read(place)
    return files, records, code_of(records)


def test_wandb_offline_run_holds_curves_masks_panels_and_rows(tmp_path, wandb):
    assert benchmark_of(tmp_path, WandbRun(mask_every=2)).run()
    assert wandb.run is None
    files, records, code = records_of_finished(tmp_path)
    steps = history_in(records)
    assert code == 0
    assert len(steps) == 2 * (EPOCHS + 1) + 1
    for case, name in (("a", "a__dax_paper"), ("b.c", "b_c__dax_paper")):
        epochs = [step for step in steps if f"{name}/fidelity" in step]
        for number, (step, expected) in enumerate(zip(epochs, history_of(tmp_path, case), strict=True)):
            assert {term: step.get(f"{name}/{term}") for term in CURVES} == pytest.approx(expected)
            assert (f"{name}/mask" in step) == (number % 2 == 0)
        mask = epochs[0][f"{name}/mask"]
        assert (mask["_type"], mask["height"], mask["width"]) == ("image-file", 28, 28)
        assert (files / mask["path"]).is_file()
        (panel,) = [step[f"{name}/panel"] for step in steps if f"{name}/panel" in step]
        assert (files / panel["path"]).read_bytes() == (tmp_path / "explanations" / f"{case}__dax_paper.png").read_bytes()
    axes = [(record.metric.glob_name, record.metric.step_metric) for record in records if record.HasField("metric")]
    assert axes == [(f"{name}/*", f"{name}/epoch") for name in ("a__dax_paper", "b_c__dax_paper")]


@pytest.mark.usefixtures("wandb")
def test_wandb_table_shows_each_row_and_the_summary_its_means(tmp_path):
    assert benchmark_of(tmp_path, WandbRun()).run()
    files, records, _ = records_of_finished(tmp_path)
    (rows,) = tables_in(files, history_in(records))
    with (tmp_path / "rows.csv").open(newline="") as lines:
        expected = list(csv.DictReader(lines))
    assert [list(row) for row in rows] == [["input", "map", "overlay", "region", "truth", *row] for row in expected]
    assert [row["case"] for row in rows] == ["a", "b.c"]
    assert [row["iou"] for row in rows] == pytest.approx([float(row["iou"]) for row in expected])
    (artifact,) = (record.artifact for record in records if record.HasField("artifact") and "rows" in record.artifact.name)
    kept = {entry.path: Path(entry.local_path) for entry in artifact.manifest.contents}  # a table with pictures goes there
    table = json.loads(kept["rows.table.json"].read_text())
    assert len(table["data"]) == 2
    for row in (dict(zip(table["columns"], row, strict=True)) for row in table["data"]):
        shown = {name: pixels_of(kept[row[name]["path"]]) for name in ("input", "map", "overlay", "region", "truth")}
        assert {pixels.shape[:2] for pixels in shown.values()} == {(32, 32)}
        truth = shown["truth"]
        assert (truth[:16, :16] == 255).all()
        assert truth.sum() == truth[:16, :16].sum()
    summary = {item.key: json.loads(item.value_json) for record in records for item in record.summary.update}
    for column in ("iou", "fidelity", "queries", "seconds"):
        assert summary[column] == pytest.approx(sum(float(row[column]) for row in expected) / 2, rel=1e-4)
    assert (summary["cases"], summary["failed"]) == (2, 0)


@pytest.mark.usefixtures("wandb")
@pytest.mark.parametrize(
    ("input", "shown"),
    [(KINDS["recording"], {"input", "map", "overlay", "region"}), (WaveInput(8000), {"overlay"})],
    ids=["spectrogram", "wave"],
)
def test_wandb_table_plays_what_a_map_of_sound_keeps_and_removes(tmp_path, input, shown):
    """A hum of 200 Hz."""
    write_sound(tmp_path / "clip.wav", Sound(0.9 * torch.sin(torch.arange(8000) * 2 * torch.pi * 200 / 8000)[None], 8000))
    black_box = ToyBox(HalvesModel(input), input)
    lime = Lime(black_box, perturber=Perturber(fill="zeros"), q=60)
    folder = tmp_path / "run"
    assert Benchmark(Files(black_box, str(tmp_path / "clip.wav"), target=0), {"lime": lime}, {}, folder, WandbRun()).run()
    _, records, _ = records_of_finished(folder)
    (artifact,) = (record.artifact for record in records if record.HasField("artifact") and "rows" in record.artifact.name)
    kept = {entry.path: Path(entry.local_path) for entry in artifact.manifest.contents}
    table = json.loads(kept["rows.table.json"].read_text())
    (row,) = (dict(zip(table["columns"], row, strict=True)) for row in table["data"])
    assert {name for name in ("input", "map", "overlay", "region", "truth") if row[name]} == shown
    for told, file in (("recording", "clip__input"), ("kept", "clip__lime__kept"), ("removed", "clip__lime__removed")):
        assert row[told]["_type"] == "audio-file"
        assert kept[row[told]["path"]].read_bytes() == (folder / "explanations" / f"{file}.wav").read_bytes()
    if "input" in shown:  # the lowest band is at the bottom, and light is loud
        pixels = pixels_of(kept[row["input"]["path"]])
        assert pixels[10:].mean() > 2 * pixels[:10].mean()


def test_wandb_has_the_curves_before_the_next_epoch(tmp_path, wandb, reads):
    def last(_folder):
        return wandb.run.summary.get("a__dax_paper/epoch")

    assert benchmark_of(tmp_path, WandbRun(), callbacks=reads(last), keys=("a",)).run()
    assert Reads.found == [None, 0]


@pytest.mark.usefixtures("wandb")
@pytest.mark.parametrize(("own", "name"), [({"name": "named"}, "named"), ({}, "quarters-dax_paper-q60")])
def test_wandb_run_has_its_name_project_and_config(tmp_path, own, name):
    logger = run_logger(partial(WandbLogger, project="quarters", **own), "quarters-dax_paper-q60")
    assert benchmark_of(tmp_path, logger, keys=("b.c",)).run()
    _, records, _ = records_of_finished(tmp_path)
    run = next(record.run for record in records if record.HasField("run"))
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert (run.project, run.display_name) == ("quarters", name)
    assert (config["q"], config["loss"]) == (60, {"lam3": 0.5})


@pytest.mark.usefixtures("wandb")
def test_wandb_second_job_in_a_process_is_a_second_run(tmp_path):
    for job in ("0", "1"):
        assert benchmark_of(tmp_path / job, WandbRun(), keys=("a",)).run()
    first, second = (records_of_finished(tmp_path / job) for job in ("0", "1"))
    assert first[0].parent.name != second[0].parent.name
    assert [len(history_in(records)) for _, records, _ in (first, second)] == [EPOCHS + 2] * 2
    assert (first[2], second[2]) == (0, 0)


def test_wandb_run_is_finished_when_interrupted_between_cases(tmp_path, wandb):
    with pytest.raises(KeyboardInterrupt):
        benchmark_of(tmp_path, WandbRun(), breaks=KeyboardInterrupt()).run()
    files, steps = finished_as_failed(tmp_path, wandb)
    (rows,) = tables_in(files, steps)
    assert [row["case"] for row in rows] == ["a"]


def test_wandb_run_is_finished_when_interrupted_while_logging(tmp_path, wandb):
    with pytest.raises(KeyboardInterrupt):
        benchmark_of(tmp_path, Breaks(KeyboardInterrupt()), keys=("a",)).run()
    finished_as_failed(tmp_path, wandb)


def test_wandb_run_is_finished_when_a_cases_logging_fails(tmp_path, wandb):
    with suppress(RuntimeError):  # whether the job goes on is the benchmark's matter
        assert not benchmark_of(tmp_path, Breaks(RuntimeError("planted")), keys=("a",)).run()
    finished_as_failed(tmp_path, wandb)


def test_wandb_run_is_finished_when_its_rows_cannot_be_logged(tmp_path, wandb, monkeypatch):
    class Broken(wandb.Table):
        def __init__(self, *args, **settings):
            raise RuntimeError("planted")

    monkeypatch.setattr(wandb, "Table", Broken)
    with pytest.raises(RuntimeError, match="planted"):
        benchmark_of(tmp_path, WandbRun(), keys=("a",)).run()
    finished_as_failed(tmp_path, wandb)


def test_wandb_run_with_a_failed_case_says_so_and_holds_its_row(tmp_path, wandb):
    assert not benchmark_of(tmp_path, WandbRun(), breaks=InputError("corrupt file")).run()
    files, steps = finished_as_failed(tmp_path, wandb)
    (rows,) = tables_in(files, steps)
    assert [row["status"] for row in rows] in (["ok", "failed"], ["unfaithful", "failed"])
    assert (rows[1]["case"], rows[1]["error"], rows[1]["iou"]) == ("b.c", "corrupt file", None)


@pytest.mark.usefixtures("wandb")
def test_wandb_logs_what_has_no_training_too(tmp_path, no_training):
    assert benchmark_of(tmp_path, WandbRun(), no_training, keys=("a",)).run()
    _, records, _ = records_of_finished(tmp_path)
    panel, rows = history_in(records)
    assert set(panel) - {"a__random/epoch"} == {"a__random/panel"}
    assert set(rows) == {"rows"}


def test_wandb_disabled_writes_nothing(tmp_path, wandb):
    assert benchmark_of(tmp_path, WandbRun(partial(WandbLogger, mode="disabled")), keys=("a",)).run()
    assert wandb.run is None
    assert not (tmp_path / "wandb").exists()


@pytest.mark.usefixtures("wandb")
def test_wandb_never_asked_the_network(tmp_path, server):
    assert benchmark_of(tmp_path, WandbRun(), keys=("a",)).run()
    records_of_finished(tmp_path)
    with pytest.raises(BlockingIOError):  # nobody has come to the door
        server.accept()


def test_wandb_mode_is_wandbs_own_rule_and_nobody_is_asked(wandb, monkeypatch):
    def started(mode):
        found = []
        with monkeypatch.context() as patch:
            patch.setattr(wandb, "init", lambda mode, **_: found.append(mode) or SimpleNamespace(disabled=True))
            WandbRun(partial(WandbLogger, mode=mode)).start(Path(), {})
        return found[0]

    assert started(None) == "offline"  # no account
    assert started("offline") == "offline"
    with pytest.raises(InputError, match=r"W&B is to be online, but there is no account here: wandb login, or logger\.mode="):
        started("online")
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert started(None) is None  # W&B reads it
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setattr(wandb, "login", lambda prompt, verify: not (prompt or verify))  # an account is there
    assert (started(None), started("online")) == (None, "online")


def test_bad_settings_are_named():
    with pytest.raises(InputError, match=r"logger\.mode=ofline: choose online, offline, disabled, or null"):
        run_logger(partial(WandbLogger, mode="ofline"))
    with pytest.raises(InputError, match="mask_every=0: a picture every so many epochs, wanted 1 or more"):
        run_logger(partial(CSVLogger), mask_every=0)


def finished_as_failed(folder, wandb):
    assert wandb.run is None
    files, records, code = records_of_finished(folder)
    steps = history_in(records)
    assert code == 1
    assert any("a__dax_paper/panel" in step for step in steps)
    return files, steps


def pixels_of(file):
    with Image.open(file) as picture:
        return np.asarray(picture)


def tables_in(files, steps):
    for step in steps:
        if "rows" in step:
            table = json.loads((files / step["rows"]["path"]).read_text())
            yield [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]


@pytest.fixture
def no_training():
    return Random(QuarterBox())
