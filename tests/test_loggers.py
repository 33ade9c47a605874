"""What the loggers leave behind, read back from their files: curves, masks an epoch, panels and rows."""

import csv
import inspect
import json
import os
import socket
import struct
import time
from contextlib import suppress

import pandas as pd
import pytest
import torch
from PIL import Image

from dax_lightning.baselines import Random
from dax_lightning.benchmark import Benchmark
from dax_lightning.dax import Dax, Training
from dax_lightning.errors import InputError
from dax_lightning.loggers import CsvLogger, RunLogger, TensorboardLogger, WandbLogger
from dax_lightning.metrics import IoU
from dax_lightning.perturb import Perturber
from dax_lightning.segment import Grid
from dax_lightning.tasks import Task
from dax_lightning.types import Case, Explanation
from tests.conftest import QuarterBox

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


class Breaks(RunLogger):
    """Passes all on to another logger, but fails at the first case."""

    def __init__(self, logger, error):
        self.logger, self.error = logger, error

    def start(self, folder, config):
        self.logger.start(folder, config)

    def case(self, name, explanation, panel):
        self.logger.case(name, explanation, panel)
        raise self.error

    def finish(self, rows, failed):
        self.logger.finish(rows, failed)


def benchmark_of(folder, logger, explainer=None, **task):
    box = QuarterBox()
    training = Training(max_epochs=EPOCHS, progress=False, device="cpu")
    dax = explainer or Dax(box, Grid(4, 4), Perturber(fill="zeros"), training=training, q=60)
    config = {"q": 60, "loss": {"lam3": 0.5}}
    labels = {dax.name: {"seed": 0}}
    return Benchmark(Quarters(box, **task), {dax.name: dax}, {"iou": IoU()}, folder, logger, labels, {dax.name: config})


def history_of(folder, case):
    facts = json.loads((folder / "explanations" / f"{case}__dax_paper.json").read_text())
    return facts["notes"]["history"]


# --- csv ---------------------------------------------------------------------------------------------------------------


def test_csv_has_a_line_an_epoch_with_every_term(tmp_path):
    assert benchmark_of(tmp_path, CsvLogger()).run()
    assert sorted(path.name for path in (tmp_path / "curves").iterdir()) == ["a__dax_paper.csv", "b.c__dax_paper.csv"]
    with (tmp_path / "curves" / "b.c__dax_paper.csv").open(newline="") as file:
        lines = [{name: float(value) for name, value in line.items()} for line in csv.DictReader(file)]
    assert [set(line) for line in lines] == [CURVES] * EPOCHS
    for line, expected in zip(lines, history_of(tmp_path, "b.c"), strict=True):
        assert line == pytest.approx(expected)


def test_csv_leaves_no_folder_where_nothing_was_trained(tmp_path, no_training):
    assert benchmark_of(tmp_path, CsvLogger(), no_training).run()
    assert not (tmp_path / "curves").exists()


# --- tensorboard -------------------------------------------------------------------------------------------------------


def read_events(folder):
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulators.EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0, "tensors": 0})
    return events.Reload()


def test_tensorboard_events_hold_curves_masks_panels_and_rows(tmp_path):
    assert benchmark_of(tmp_path, TensorboardLogger()).run()
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
        benchmark_of(tmp_path, TensorboardLogger(), breaks=KeyboardInterrupt()).run()
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
    """The records of a .wandb file: LevelDB's log format, 7 bytes of header, blocks of 32 KiB, then protobuf."""
    from wandb.proto.wandb_internal_pb2 import Record  # pyright: ignore[reportAttributeAccessIssue]

    log, at, whole = file.read_bytes(), 7, b""
    assert log.startswith(b":W&B")
    while at < len(log):
        left = 2**15 - at % 2**15  # of this block
        if left < 7:
            at += left
            continue
        _, size, kind = struct.unpack_from("<IHB", log, at)
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


def records_of_finished(folder):
    """The one run under ``folder``: its files' folder, its records and its exit code."""
    (file,) = sorted((folder / "wandb").glob("offline-run-*/run-*.wandb"))
    until = time.monotonic() + 10  # W&B's own process writes the last record a moment after `finish`
    while True:
        records = list(records_in(file))
        codes = [record.exit.exit_code for record in records if record.HasField("exit")]
        if codes or time.monotonic() > until:
            (code,) = codes
            return file.parent / "files", records, code
        time.sleep(0.02)


def test_wandb_offline_run_holds_curves_masks_panels_and_rows(tmp_path, wandb):
    assert benchmark_of(tmp_path, WandbLogger()).run()
    assert wandb.run is None
    files, records, code = records_of_finished(tmp_path)
    steps = history_in(records)
    assert code == 0
    assert len(steps) == 2 * (EPOCHS + 1) + 1
    for case, name in (("a", "a__dax_paper"), ("b.c", "b_c__dax_paper")):
        epochs = [step for step in steps if f"{name}/mask" in step]
        assert [set(step) for step in epochs] == [{f"{name}/{key}" for key in CURVES | {"mask"}}] * EPOCHS
        for step, expected in zip(epochs, history_of(tmp_path, case), strict=True):
            assert {term: step[f"{name}/{term}"] for term in CURVES} == pytest.approx(expected)
            mask = step[f"{name}/mask"]
            assert (mask["_type"], mask["height"], mask["width"]) == ("image-file", 28, 28)
            assert (files / mask["path"]).is_file()
        (panel,) = [step[f"{name}/panel"] for step in steps if f"{name}/panel" in step]
        assert (files / panel["path"]).read_bytes() == (tmp_path / "explanations" / f"{case}__dax_paper.png").read_bytes()
    (rows,) = tables_in(files, steps)
    with (tmp_path / "rows.csv").open(newline="") as lines:
        expected = list(csv.DictReader(lines))
    assert [list(row) for row in rows] == [list(row) for row in expected]
    assert [row["case"] for row in rows] == ["a", "b.c"]
    assert [row["iou"] for row in rows] == pytest.approx([float(row["iou"]) for row in expected])


@pytest.mark.usefixtures("wandb")
def test_wandb_run_has_its_name_project_and_config_and_draws_curves_over_epochs(tmp_path):
    assert benchmark_of(tmp_path, WandbLogger(project="quarters", name="named"), keys=("b.c",)).run()
    _, records, _ = records_of_finished(tmp_path)
    run = next(record.run for record in records if record.HasField("run"))
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert (run.project, run.display_name) == ("quarters", "named")
    assert (config["q"], config["loss"]) == (60, {"lam3": 0.5})
    metrics = [record.metric for record in records if record.HasField("metric")]
    assert [(metric.glob_name, metric.step_metric) for metric in metrics] == [("b_c__dax_paper/*", "b_c__dax_paper/epoch")]


@pytest.mark.usefixtures("wandb")
def test_wandb_second_job_in_a_process_is_a_second_run(tmp_path):
    for job in ("0", "1"):
        assert benchmark_of(tmp_path / job, WandbLogger(), keys=("a",)).run()
    first, second = (records_of_finished(tmp_path / job) for job in ("0", "1"))
    assert first[0].parent.name != second[0].parent.name
    assert [len(history_in(records)) for _, records, _ in (first, second)] == [EPOCHS + 2] * 2
    assert (first[2], second[2]) == (0, 0)


def test_wandb_run_is_finished_when_interrupted_between_cases(tmp_path, wandb):
    with pytest.raises(KeyboardInterrupt):
        benchmark_of(tmp_path, WandbLogger(), breaks=KeyboardInterrupt()).run()
    files, steps = finished_as_failed(tmp_path, wandb)
    (rows,) = tables_in(files, steps)
    assert [row["case"] for row in rows] == ["a"]


def test_wandb_run_is_finished_when_interrupted_while_logging(tmp_path, wandb):
    with pytest.raises(KeyboardInterrupt):
        benchmark_of(tmp_path, Breaks(WandbLogger(), KeyboardInterrupt()), keys=("a",)).run()
    finished_as_failed(tmp_path, wandb)


def test_wandb_run_is_finished_when_a_cases_logging_fails(tmp_path, wandb):
    with suppress(RuntimeError):  # whether the job goes on is the benchmark's matter
        assert not benchmark_of(tmp_path, Breaks(WandbLogger(), RuntimeError("planted")), keys=("a",)).run()
    finished_as_failed(tmp_path, wandb)


def test_wandb_run_is_finished_when_its_rows_cannot_be_logged(tmp_path, wandb, monkeypatch):
    class Broken(wandb.Table):
        def __init__(self, *args, **settings):
            raise RuntimeError("planted")

    monkeypatch.setattr(wandb, "Table", Broken)
    with pytest.raises(RuntimeError, match="planted"):
        benchmark_of(tmp_path, WandbLogger(), keys=("a",)).run()
    finished_as_failed(tmp_path, wandb)


def test_wandb_run_with_a_failed_case_says_so_and_holds_its_row(tmp_path, wandb):
    assert not benchmark_of(tmp_path, WandbLogger(), breaks=InputError("corrupt file")).run()
    files, steps = finished_as_failed(tmp_path, wandb)
    (rows,) = tables_in(files, steps)
    assert [row["status"] for row in rows] in (["ok", "failed"], ["unfaithful", "failed"])
    assert (rows[1]["case"], rows[1]["error"], rows[1]["iou"]) == ("b.c", "corrupt file", None)


@pytest.mark.usefixtures("wandb")
def test_wandb_logs_what_has_no_training_too(tmp_path, no_training):
    assert benchmark_of(tmp_path, WandbLogger(), no_training, keys=("a",)).run()
    _, records, _ = records_of_finished(tmp_path)
    panel, rows = history_in(records)
    assert set(panel) - {"a__random/epoch"} == {"a__random/panel"}
    assert set(rows) == {"rows"}


@pytest.mark.usefixtures("wandb")
def test_wandb_logs_curves_without_masks(tmp_path):
    logger = WandbLogger()
    logger.start(tmp_path, {})
    Image.new("RGB", (4, 4)).save(tmp_path / "panel.png")
    history = [{"epoch": 0.0, "train_total": 0.5}, {"epoch": 1.0, "train_total": 0.25}]
    logger.case("a", Explanation(torch.zeros(4, 4), 0, 0.5, 1, 0.1, notes={"history": history}), tmp_path / "panel.png")
    logger.finish(pd.DataFrame({"case": ["a"]}), failed=False)
    _, records, code = records_of_finished(tmp_path)
    assert [step.get("a/train_total") for step in history_in(records)] == [0.5, 0.25, None, None]
    assert code == 0


def test_wandb_disabled_writes_nothing(tmp_path, wandb):
    assert benchmark_of(tmp_path, WandbLogger(mode="disabled"), keys=("a",)).run()
    assert wandb.run is None
    assert not (tmp_path / "wandb").exists()


@pytest.mark.usefixtures("wandb")
def test_wandb_never_asked_the_network(tmp_path, server):
    assert benchmark_of(tmp_path, WandbLogger(), keys=("a",)).run()
    records_of_finished(tmp_path)
    with pytest.raises(BlockingIOError):  # nobody has come to the door
        server.accept()


def test_unknown_mode_is_named():
    as_users_run_it = inspect.unwrap(WandbLogger.__init__)  # the tests' own type checks would be first
    with pytest.raises(InputError, match=r"logger\.mode=ofline: choose offline, online or disabled"):
        as_users_run_it(object.__new__(WandbLogger), mode="ofline")


def finished_as_failed(folder, wandb):
    assert wandb.run is None
    files, records, code = records_of_finished(folder)
    steps = history_in(records)
    assert code == 1
    assert any("a__dax_paper/panel" in step for step in steps)
    return files, steps


def tables_in(files, steps):
    for step in steps:
        if "rows" in step:
            table = json.loads((files / step["rows"]["path"]).read_text())
            yield [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]


@pytest.fixture
def no_training():
    return Random(QuarterBox())
