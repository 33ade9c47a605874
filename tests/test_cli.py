import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from dax_lightning.inputs import image_file as images
from dax_lightning.run import main, runner
from dax_lightning.tasks import Files
from tests.conftest import ROOT

BOX = ["black_box=callable", "black_box.function=tests.functions.quarters", "black_box.size=[32,32]"]
GRID = ["q=40", "device=cpu", "segmenter=grid", "segmenter.rows=4", "segmenter.columns=4"]
SMALL = [*GRID, "mosaic.others=[]", "explainer.perturber.fill=zeros"]
SMALL += ["explainer.min_fidelity=-1e9"]  # so small a student learns little, and that has an exit code of its own
PAPER = [*GRID, "perturber.fill=zeros", "trainer.max_epochs=2", "explainer.learner.min_fidelity=-1e9"]  # for loss=v1 and v2
PHOTO = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


class Command:
    """``python train.py`` in this process; remembers what the last run printed."""

    def __init__(self, folder: Path, capsys):
        self.folder, self._capsys = folder, capsys
        self.out = self.err = ""

    def __call__(self, *arguments: str, box: list[str] = BOX, settings: list[str] = SMALL, folder: Path | None = None) -> int:
        place = folder or self.folder
        where = [f"hydra.run.dir={place}", f"hydra.sweep.dir={place}"]
        try:
            return main.run([*box, *settings, *where, *arguments])
        finally:
            self.out, self.err = self._capsys.readouterr()

    def refused(self, match: str, *arguments: str, **more) -> None:
        """The run ends with exit code 2 and one line that matches."""
        code = self(*arguments, **more)
        assert (code, self.err.count("\n")) == (2, 1), self.err + self.out
        assert re.search(f"^error: .*{match}", self.err), self.err

    def rows(self) -> list[dict[str, str]]:
        with (self.folder / "rows.csv").open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def saliency(self, case: str = "photo") -> np.ndarray:
        with np.load(self.folder / "explanations" / f"{case}__dax.npz") as arrays:
            return arrays["saliency"]

    def facts(self, case: str = "photo", name: str = "dax") -> dict:
        def no_such_json(literal: str) -> None:
            raise ValueError(f"{literal} is no JSON")

        text = (self.folder / "explanations" / f"{case}__{name}.json").read_text(encoding="utf-8")
        return json.loads(text, parse_constant=no_such_json)


@pytest.fixture
def whole_run(tmp_path, capsys, monkeypatch) -> Command:
    monkeypatch.setattr(sys, "argv", ["train.py"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    return Command(tmp_path / "run", capsys)


@pytest.fixture
def run(whole_run, monkeypatch) -> Command:
    """The command without its pictures and pages, which take most of the time of a run this small."""

    def panel(_x, _explanation, path, **_):
        Image.new("RGB", (8, 8)).save(path)
        return path

    monkeypatch.setattr(runner, "draw_panel", panel)
    monkeypatch.setattr(runner, "write_report", lambda folder: (folder / "report.html").touch())
    return whole_run


@pytest.fixture
def photo(tmp_path) -> str:
    Image.fromarray(PHOTO).save(tmp_path / "photo.png")
    return f"input={tmp_path / 'photo.png'}"


@pytest.fixture
def album(tmp_path) -> Path:
    """A folder with two good pictures and a broken one between them."""
    folder = tmp_path / "album"
    folder.mkdir()
    Image.fromarray(PHOTO).save(folder / "a.png")
    Image.fromarray(PHOTO[::-1].copy()).save(folder / "c.png")
    (folder / "b.jpg").write_text("not a picture")
    return folder


# --- the input is wrong ---


def test_missing_file(run, tmp_path):
    run.refused(r"none.jpg does not exist: give an image file, a folder", f"input={tmp_path}/none.jpg")


def test_folder_and_glob_without_images(run, tmp_path):
    (tmp_path / "words.txt").write_text("no picture")
    run.refused(r"is a folder without images: wanted files ending in .*\.jpg", f"input={tmp_path}")
    run.refused("is a glob without images: wanted files ending in", f"input={tmp_path}/*.gif")
    run.refused("task=files has no input: give input=FILE", "task=files")


def broken(name: str, folder: Path) -> Path:
    path = folder / f"{name}.jpg"
    if name == "words":
        path.write_text("not a picture")
    elif name == "dot":
        Image.new("RGB", (1, 1)).save(path)
    else:
        Image.fromarray(PHOTO).save(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("words", r"words.jpg \(13 bytes\) is not an image: wanted PNG, JPEG"),
        ("cut", "cut.jpg is cut off or damaged .*copy or download it again"),
        ("dot", "dot.jpg is 1x1 pixels, wanted at least 8 a side: give a larger one"),
    ],
)
def test_the_only_picture_is_broken(run, tmp_path, name, told):
    run.refused(told, f"input={broken(name, tmp_path)}")
    (row,) = run.rows()
    assert (row["case"], row["status"]) == (name, "failed")
    assert re.search(told, row["error"])
    assert (run.folder / "report.html").is_file()


@pytest.mark.parametrize("mode", ["L", "RGBA", "I;16", "CMYK", "P", "LA"])
def test_every_kind_of_picture_works(run, tmp_path, mode):
    path = tmp_path / ("photo.jpg" if mode == "CMYK" else "photo.png")
    deep = Image.fromarray(PHOTO[..., 0].astype(np.uint16) * 257)
    (deep if mode == "I;16" else Image.fromarray(PHOTO).convert(mode)).save(path)
    with Image.open(path) as written:
        assert written.mode == mode
    assert run(f"input={path}") == 0
    assert run.rows()[0]["status"] in ("ok", "unfaithful")
    assert np.isfinite(run.saliency()).all()


def test_a_huge_picture_is_downscaled_and_said(run, photo, monkeypatch, caplog):
    monkeypatch.setattr(images, "MAX_PIXELS", 1_000)
    assert run(photo) == 0
    assert "photo.png downscaled from 60x40 to 38x25 pixels" in caplog.text


def test_one_broken_picture_among_several_costs_no_other(run, album):
    assert run(f"input={album}") == 1
    assert [(row["case"], row["status"] == "failed") for row in run.rows()] == [("a", False), ("b", True), ("c", False)]
    assert "is not an image" in run.rows()[1]["error"]
    assert "[2/3] b · dax: failed: input" in run.out
    assert run.err == ""
    assert {file.stem for file in (run.folder / "explanations").glob("*.npz")} == {"a__dax", "c__dax"}


def test_masks_of_ones_own_bring_the_truth_metrics(run, album):
    masks = album.parent / "masks"
    masks.mkdir()
    truth = np.zeros((40, 60), np.uint8)
    truth[:20, :30] = 255
    Image.fromarray(truth).save(masks / "a.png")
    assert run(f"input={album}", f"masks={masks}") == 1
    rows = {row["case"]: row for row in run.rows()}
    assert 0 <= float(rows["a"]["iou"]) <= 1
    assert rows["a"]["pointing"] in ("0.0", "1.0", "0", "1")
    assert "c.png has no mask" in rows["c"]["error"]
    run.refused("masks=.* goes with input=FOLDER alone", "task=photo", f"masks={masks}")


def test_none_of_the_cases_counts_cases_and_not_rows(run, album):
    (album / "a.png").write_bytes(b"")
    (album / "c.png").unlink()
    several = ["+explainers.one=${explainer}", "+explainers.two=${explainer}"]
    told = "none of 2 cases could be explained by any of 2 explainers, the first because .*a.png"
    run.refused(told, f"input={album}", *several, settings=[*GRID, "explainer=lime"])
    assert len(run.rows()) == 4


def test_all_pictures_broken(run, album):
    (album / "a.png").write_bytes(b"")
    (album / "c.png").unlink()
    run.refused(r"none of 2 cases could be explained, the first because .*a.png \(0 bytes\) is not an image", f"input={album}")
    assert [row["status"] for row in run.rows()] == ["failed", "failed"]


def test_a_defect_of_ours_is_a_failed_case_and_not_the_users_fault(run, photo, monkeypatch, caplog):
    monkeypatch.setattr(Files, "_case", lambda *_: 1 // 0)
    assert run(photo) == 1
    assert run.rows()[0]["error"] == "ZeroDivisionError: integer division or modulo by zero"
    assert "Traceback" in caplog.text  # it is to be mended, so it is told in full


def test_a_metric_that_fails_costs_no_other_case(run, album, monkeypatch):
    measure = runner.Benchmark._measured

    def fails_on_a(self, column, case, explanation, name):
        return 1 // 0 if case.key == "a" else measure(self, column, case, explanation, name)

    monkeypatch.setattr(runner.Benchmark, "_measured", fails_on_a)
    assert run(f"input={album}") == 1
    assert [row["status"] == "failed" for row in run.rows()] == [True, True, False]


# --- a setting is wrong ---


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("q=0", "q=0 copies asked for; wanted at least 3"),
        ("q=-5", "q=-5 copies asked for"),
        ("lam1=-1", "lam1=-1: .* wanted 0 or more"),
        ("lam2=-0.5", "lam2=-0.5: .* wanted 0 or more"),
        ("lam3=-1", "lam3=-1: .* wanted 0 or more"),
        ("lam3=nan", "lam3=nan"),
        ("q=abc", "q=abc is text, wanted int"),
        ("q=10.5", "q=10.5 is float, wanted int"),
        ("q=[1,2]", r"q=\[1, 2\] is list.*, wanted int"),
        ("lam1=high", "lam1=high is text, wanted float"),  # v2 doesn't use it, but it is no less wrong
        ("limit=abc", "limit=abc is text, wanted int"),
        ("limit=0", "limit=0: it must be at least 1"),
        ("seed=null", "seed=None is null, wanted int"),
        ("budget=0", "budget=0: it must be at least 1"),
        (
            "segmenter=foo",
            "segmenter=foo is not known: choose one of case, .*grid, onsets, quickshift, sam, slic, tiles, time$",
        ),
        ("loss=v9", "loss=v9 is not known: choose one of mosaic, v1, v2, v3$"),
        ("foo=1", "foo is no setting: there are .*q, .*lam1, .*segmenter"),
        ("segmnter=slic", "segmnter is no setting: did you mean segmenter"),
        ("segmenter.foo=1", "segmenter.foo is no setting: there are rows, columns$"),
        (
            "segmenter=default",
            "segmenter.rows is no setting: segmenter= chosen here has none: name another, such as segmenter=time",
        ),
        ("segmenter.row=1", "segmenter.row is no setting: did you mean segmenter.rows"),
        ("+segmenter.foo=1", "segmenter.foo is no setting of Grid: it has rows, columns"),
        ("segmenter.rows=two", "segmenter.rows=two is text, wanted int"),
        (
            "explainer.perturber.fill=pink",
            "explainer.perturber.fill=pink is text, wanted one of zeros, segment_mean, image_mean, blur",
        ),
        ("black_box.outputs=scores", "black_box.outputs=scores is text, wanted one of probabilities, logits"),
        ("black_box.rows=jax", "black_box.rows=jax is text, wanted one of torch, numpy, numpy_channels_last"),
        ("black_box.rows=left", "black_box.rows=left is text, wanted one of torch, numpy"),
        ("black_box.batch_size=0", "batch_size=0: it must be at least 1"),
        (
            "segmenter.rows=1 segmenter.columns=1",
            "1 x 1 is a single segment; at least 2 are needed: try rows=8, columns=8 .segmenter.rows=8 segm",
        ),
        ("target=cat", "target='cat': this black box has no class names: give an id"),
        ("target=-1", "target=-1 is no class"),
        ("black_box.function=tests.functions.none", "black_box.function=tests.functions.none can't be imported"),
        ("black_box.function=tests.functions.number", "is a int, wanted a function"),
        ("black_box.function=null", "black_box.function=None is null, wanted"),
        ("q", "q can't be read: wanted key=value"),
        ("--q=40", "--q=40 is no option: settings have no dashes, write q=40"),
        ("input=no(1).png", r"input no\(1\).png does not exist"),
    ],
)
def test_settings_refused_before_the_first_case(run, photo, arguments, told):
    run.refused(told, photo, *arguments.split())
    assert not (run.folder / "rows.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("budget=40", "dax asks up to 40 rows and 1 row to find the top class, more than budget=40: raise budget or lower q"),
        ("target=3", "target=3 is no class of this black box: it has 3 classes, ids 0 to 2"),
        ("black_box.function=tests.functions.nans", "the model returned NaN or infinite scores: check its weights"),
        ("black_box.function=tests.functions.one_row_too_few", r"scores of shape \(0, 3\) for 1 rows, wanted \(1, classes\)"),
        ("black_box.function=tests.functions.nothing", "the model returned NoneType, wanted a table"),
        ("black_box.function=tests.functions.varying", r"scores of shape \(32, 33\) for 32 rows, wanted \(32, 2\)"),
        ("black_box.function=tests.functions.logits", "they look like logits: say outputs=logits .black_box.outputs=logits on"),
        (
            "black_box.outputs=logits",
            "are probabilities already .*: say outputs=probabilities .black_box.outputs=probab",
        ),
        ("black_box.function=tests.functions.boom", "the function boom failed on torch rows .*RuntimeError: out of luck"),
    ],
)
def test_settings_that_fail_every_case(run, photo, arguments, told):
    run.refused(told, photo, *arguments.split())
    (row,) = run.rows()
    assert row["status"] == "failed"
    assert re.search(told, row["error"])


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("device=tpu", "device='tpu': wanted cpu, cuda"),
        ("q=15", "q=15 copies for 16 segments: wanted at least one a segment; try q=1000"),
    ],
)
def test_settings_of_a_training_are_checked(run, photo, setting, told):
    run.refused(told, photo, "loss=v2", setting, settings=PAPER)


def test_a_module_that_does_not_fit_its_rows_is_one_line(run, photo):
    wrong = ["black_box=module", "black_box.factory=tests.test_models:OneChannel", "black_box.size=[8,8]", "device=cpu"]
    told = r"the module failed on rows of shape \(1, 3, 8, 8\): RuntimeError: .*: set size= or channels= .black_box.size="
    run.refused(told, photo, box=wrong)
    assert "Traceback" not in run.err + run.out


@pytest.fixture
def clip(tmp_path) -> str:
    """Half a second of noise, then half a second of silence."""
    wave = np.random.default_rng(0).normal(0, 0.2, 8000) * (np.arange(8000) < 4000)
    soundfile.write(tmp_path / "clip.wav", wave, 8000)
    return f"input={tmp_path / 'clip.wav'}"


@pytest.mark.parametrize(
    ("box", "shape"),
    [
        (["callable", "function=tests.functions:loud", "kind=wave", "kind.rate=4000"], (4000,)),
        (["module", "factory=tests.functions:loud_module", "kind=spectrogram", "kind.front.bands=20"], (20, 44)),
    ],
)
def test_a_model_of_ones_own_takes_sounds(run, clip, box, shape):
    name, own, *kind = box
    given = [f"black_box={name}", f"black_box.{own}", "black_box.outputs=probabilities", *kind]
    assert run(clip, "explainer=lime", "perturber.fill=zeros", "target=1", box=given, settings=["device=cpu", "q=60"]) == 0
    with np.load(next((run.folder / "explanations").glob("*.npz"))) as made:
        saliency = made["saliency"].reshape(-1, made["saliency"].shape[-1]).sum(0)
        assert made["saliency"].shape == shape
    half = len(saliency) // 2
    assert saliency[:half].mean() > 10 * abs(saliency[half + len(saliency) // 10 :].mean())


def test_metrics_are_added_one_by_one(run, photo):
    run.refused(r"metrics=.* is no set of metrics: \+metric@metrics.iou_best=iou_best adds one", photo, "metrics=")
    run.refused(r"metrics=iou is no set of metrics", photo, "metrics=iou")


def test_a_kind_goes_with_a_model_of_ones_own(run, clip):
    assert run(clip, "kind=wave", "kind.rate=8000", box=[]) == 2
    assert "kind= goes with a model of your own, black_box=callable or black_box=module" in run.err
    assert run(clip, "black_box.input=wave", box=["black_box=callable", "black_box.function=tests.functions:loud"]) == 2
    assert "black_box.input=wave is text: write kind=wave, and its settings as kind.rate=16000" in run.err


def test_a_greyscale_module_without_weights_is_explained_as_built(run, photo):
    own = ["black_box=module", "black_box.factory=tests.test_models:OneChannel", "black_box.size=[8,8]", "black_box.channels=1"]
    told = "black_box.weights is not given: the module is explained as tests.test_models:OneChannel builds it"
    assert run(photo, "explainer=random", box=own, settings=["device=cpu"]) == 0
    assert run.out.splitlines()[1] == told
    assert run(photo, "explainer=random", settings=["device=cpu"], folder=run.folder / "other") == 0
    assert "is not given" not in run.out


def test_class_names_and_unknown_ones(run, photo):
    names = 'black_box.classes=["top left","bottom right",neither]'
    assert run(photo, names, 'target="Bottom Right"') == 0
    assert (run.rows()[0]["target"], run.rows()[0]["target_name"]) == ("1", "bottom right")
    run.refused("'botom right' is not a class name .*did you mean 'bottom right'", photo, names, 'target="botom right"')


def test_a_label_map_of_one_single_segment(run, photo, tmp_path):
    np.save(tmp_path / "one.npy", np.zeros((32, 32), np.int64))
    file = ["segmenter=file", f"segmenter.path={tmp_path / 'one.npy'}"]
    run.refused(
        "found 1 segment .*at least 2 are needed: try a label map with more than one label",
        photo,
        *file,
        settings=["q=40", "explainer=lime"],
    )


def test_model_that_fails_later_loses_nothing(run, album):
    Image.new("RGB", (32, 32)).save(album / "b.jpg")
    assert run(f"input={album}", "black_box.function=tests.functions.nans_in_the_dark") == 1
    assert [row["status"] == "failed" for row in run.rows()] == [False, True, False]


def test_a_model_that_ends_the_program_costs_its_case_alone(run, album):
    Image.new("RGB", (32, 32)).save(album / "b.jpg")
    quick = [*GRID, "explainer=lime"]
    assert run(f"input={album}", "black_box.function=tests.functions.ends_in_the_dark", settings=quick) == 1
    assert [row["status"] for row in run.rows()] == ["ok", "failed", "ok"]
    assert "the model ended the program (SystemExit: 3)" in run.rows()[1]["error"]


def test_typos_are_told_before_weights_are_read(run, photo, tmp_path):
    box = ["black_box=timm", "black_box.model=resnet18", f"black_box.weights={tmp_path / 'none.pth'}"]
    run.refused("segmenter.rows=two is text", photo, "segmenter.rows=two", box=box)
    run.refused("perturber.kept_share=7.0: it is a chance", photo, "explainer.perturber.kept_share=7.0", box=box)
    run.refused("none.pth does not exist: give the path", photo, box=box)


def test_unreadable_weights(run, photo, tmp_path):
    (tmp_path / "noise.pth").write_bytes(np.random.default_rng(0).bytes(3000))
    box = ["black_box=timm", "black_box.model=test_resnet", f"black_box.weights={tmp_path / 'noise.pth'}"]
    run.refused("noise.pth can't be read as a state dict .*wanted .safetensors, or a .pth by torch.save", photo, box=box)
    run.refused("black_box.model has no value: give black_box.model=VALUE", photo, box=["black_box=timm"])


@pytest.mark.parametrize("chosen", [["loss=v1"], ["loss=v1", "explainer=dax_paper"]])
def test_a_loss_of_the_papers_chooses_the_papers_dax(run, photo, chosen):
    assert run(photo, *chosen, settings=PAPER) == 0
    (row,) = run.rows()
    assert (row["explainer"], row["loss"], row["q"]) == ("dax_paper", "v1", "40")
    assert (run.folder / "curves" / "photo__dax_paper.csv").is_file()
    assert run.err == ""


def test_dax_mosaic_and_the_papers_losses_do_not_go_together(run, photo):
    told = "explainer=dax is DAX-Mosaic, which has no loss=v1: write loss=v1 alone, or explainer=dax_paper loss=v1"
    run.refused(told, photo, "explainer=dax", "loss=v1", settings=GRID)
    run.refused(told, "-m", photo, "explainer=dax,lime", "loss=v1", settings=GRID)
    run.refused("explainer=dame needs one of the paper's losses: add loss=v2", photo, "explainer=dame", settings=GRID)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["perturber.fill=zeros"], "perturber.fill=zeros changes nothing: dax has its own, explainer.perturber"),
        (["trainer.max_epochs=1"], "trainer.max_epochs=1 changes nothing: dax has none"),
        (["optim.optimizer=sgd"], "optim.optimizer=sgd changes nothing: dax has none"),
        (["student.hidden=8"], "student.hidden=8 changes nothing: dax has none"),
        (["explainer=lime", "trainer.max_epochs=1"], "trainer.max_epochs=1 changes nothing: lime has none"),
        (["explainer=random", "segmenter.rows=2"], "segmenter.rows=2 changes nothing: random has none"),
        (["explainer=lime", "loss=v2"], "loss=v2 changes nothing: lime has none"),
        (["lam3=0.1"], "lam3=0.1 changes nothing: the loss has no such weight"),
        (["lam1=0.1"], "lam1=0.1 changes nothing: the loss has no such weight"),
        (["explainer=lime", "perturber.fill=zeros"], None),
    ],
)
def test_a_setting_that_nothing_uses_is_told(run, photo, settings, told):
    small = [] if any(s.startswith("explainer") for s in settings) else SMALL[-2:]
    assert run(photo, *settings, settings=[*GRID, *small]) == 0
    assert ([line for line in run.err.splitlines() if settings[-1] in line]) == ([f"warning: {told}"] if told else [])


# --- the disk is full or in the way ---


def test_full_disk_at_the_first_row(run, photo):
    run.folder.mkdir()
    (run.folder / "rows.csv").symlink_to("/dev/full")
    run.refused("can't be written .No space left on device.: make room or give another folder .hydra.run.dir=DIR.*is kept", photo)


@pytest.mark.parametrize("suffix", ["npz", "png"])
def test_full_disk_later_keeps_what_was_finished(run, album, suffix):
    full = run.folder / "explanations" / f"c__dax.{suffix}"
    full.parent.mkdir(parents=True)
    full.symlink_to("/dev/full")
    run.refused("can't be written .No space left on device.", f"input={album}")
    assert [row["case"] for row in run.rows()] == ["a", "b"]
    finished = run.saliency("a")
    full.unlink()
    (album / "b.jpg").unlink()
    made = (run.folder / "explanations" / "a__dax.npz").stat().st_mtime_ns
    assert run(f"input={album}") == 0
    assert (run.folder / "explanations" / "a__dax.npz").stat().st_mtime_ns == made
    assert np.array_equal(run.saliency("a"), finished)


def test_full_disk_under_a_picture(whole_run, photo):
    full = whole_run.folder / "explanations" / "photo__dax.png"
    full.parent.mkdir(parents=True)
    full.symlink_to("/dev/full")
    whole_run.refused("can't be written .No space left on device.", photo)


def test_folder_below_a_file(run, photo, tmp_path):
    run.refused(
        "photo.png.* can't be written or read .Not a directory.: set hydra.run.dir", photo, folder=tmp_path / "photo.png" / "x"
    )


# --- what a run leaves ---


def test_files_of_a_run(whole_run, photo):
    assert whole_run(photo) == 0
    files = {str(file.relative_to(whole_run.folder)) for file in whole_run.folder.rglob("*") if file.is_file()}
    made = {f"explanations/photo__dax.{suffix}" for suffix in ("npz", "json", "png")}
    hydra = {f".hydra/{name}.yaml" for name in ("config", "hydra", "overrides")}
    own = {
        ".lock",
        "status.json",
        "rows.csv",
        "metrics.json",
        "report.html",
        "means.csv",
        "explanations/inputs/photo.png",
    }
    assert files == {*own, *made, *hydra}
    (row,) = whole_run.rows()
    wanted = (
        "task,case,explainer,black_box,loss,segmenter,seed,q,target,target_name,score,queries,asked,metric_queries,seconds,"
        "seconds_black_box,peak_mb,status"
    )
    assert ",".join(row).startswith(f"{wanted},error,fidelity,")
    assert [row[key] for key in ("task", "case", "explainer", "loss", "segmenter", "seed", "q", "queries")] == [
        "files", "photo", "dax", "", "grid", "0", "40", "41",
    ]  # fmt: skip
    assert 0 < float(row["score"]) < 1
    with np.load(whole_run.folder / "explanations" / "photo__dax.npz") as arrays:
        assert (arrays["saliency"].dtype, arrays["saliency"].shape) == (np.float32, (32, 32))
        assert (arrays["segments"].dtype, len(np.unique(arrays["segments"]))) == (np.int32, 16)
    with Image.open(whole_run.folder / "explanations" / "photo__dax.png") as panel:
        assert min(panel.size) > 100
    assert (
        f"picture: {whole_run.folder / 'explanations' / 'photo__dax.png'}\nreport:  {whole_run.folder / 'report.html'}\n"
        in whole_run.out
    )


def test_json_holds_what_makes_it_again(run, photo):
    assert run(photo, "seed=7") == 0
    facts = run.facts()
    assert (facts["config"]["q"], facts["config"]["seed"], facts["queries"]) == (
        40,
        7,
        41,
    )  # copies, and the row that found the top class
    assert facts["config"]["explainer"]["mosaic"]["segmenter"]["rows"] == 4
    assert facts["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert re.fullmatch("[0-9a-f]{16}", facts["config_hash"])
    assert re.fullmatch("[0-9a-f]{16}", facts["black_box"])


def test_json_is_strict_even_where_nothing_could_be_measured(run, photo):
    few = ["q=4", "segmenter.rows=1", "segmenter.columns=2"]
    assert run(photo, "loss=v2", *few, settings=PAPER) == 3  # one held-out copy has no variance
    history = run.facts(name="dax_paper")["notes"]["history"]
    assert [epoch["fidelity"] for epoch in history] == [None, None]


def test_the_same_command_gives_the_same_map(run, photo):
    maps = []
    for number, seed in enumerate((0, 0, 1)):
        run.folder = run.folder.with_name(f"run{number}")
        assert run(photo, f"seed={seed}") == 0
        maps.append(run.saliency())
    assert np.array_equal(maps[0], maps[1])
    assert not np.array_equal(maps[0], maps[2])


def test_a_student_that_learned_nothing_says_so_everywhere(run, photo):
    assert run(photo, "black_box.function=tests.functions.noise", "q=200", "explainer.min_fidelity=0.1") == 3
    (row,) = run.rows()
    assert row["status"] == "unfaithful"
    assert float(row["fidelity"]) < 0.1
    told = "the student learned nothing: .*don't trust this map; try explainer.perturber.pairs=false explainer.perturber."
    assert re.search(told, row["error"])
    assert re.search(told, run.facts()["warnings"][0])
    assert re.search(f"warning: {told}", run.out)


def test_a_student_that_learned_is_ok(run, photo):
    assert run(photo, "q=300", "trainer.max_epochs=15") == 0
    assert run.rows()[0]["status"] == "ok"
    assert run.facts()["warnings"] == []
    assert "warning" not in run.out


# --- into the same folder again ---


def test_finished_cases_are_not_repeated_and_failed_ones_are(run, album, tmp_path, monkeypatch):
    count = tmp_path / "count.txt"
    monkeypatch.setenv("DAX_TEST_COUNT", str(count))
    command = [f"input={album}", "black_box.function=tests.functions.counted"]
    assert run(*command) == 1
    before = run.rows()
    count.write_text("")
    assert run(*command) == 1
    assert count.read_text() == ""
    assert sorted(row["case"] + row["status"] for row in run.rows()) == sorted(row["case"] + row["status"] for row in before)
    Image.fromarray(PHOTO[:, ::-1].copy()).save(album / "b.jpg")
    assert run(*command) == 0
    assert sum(map(int, count.read_text().split())) == 41  # one case: its top class and 40 copies
    assert [row["case"] for row in run.rows()] == ["a", "c", "b"]
    assert [row for row in run.rows() if row["case"] != "b"] == [before[0], before[2]]


def test_ids_are_for_voc(run, tmp_path):
    (tmp_path / "ids.txt").write_text("a")
    run.refused("ids goes with task=voc alone; limit=N takes", f"ids={tmp_path}/ids.txt", "task=shapes")


def test_a_row_cut_off_is_made_again(run, album):
    (album / "b.jpg").unlink()
    assert run(f"input={album}") == 0
    text = (run.folder / "rows.csv").read_text()
    (run.folder / "rows.csv").write_text(text[:-40])
    assert run(f"input={album}") == 0
    assert [row["case"] for row in run.rows()] == ["a", "c"]
    assert run.rows()[1]["status"] in ("ok", "unfaithful")


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("q=50", "q=40, now it is 50"),
        ("target=1", "target=None, now it is 1"),
        ("explainer.parts=0.1", "explainer.parts=0.3, now it is 0.1"),
    ],
)
def test_another_setting_wants_another_folder(run, photo, setting, told):
    assert run(photo) == 0
    before = run.rows()
    run.refused(f"holds explanations made with .*{told}: give another folder as hydra.run.dir", photo, setting)
    assert run.rows() == before


def test_rows_with_other_columns_are_set_aside(run, photo):
    run.folder.mkdir()
    (run.folder / "rows.csv").write_text("name,age\nTom,7\n")
    assert run(photo) == 0
    assert (run.folder / "rows_1.csv").read_text() == "name,age\nTom,7\n"
    assert [row["status"] for row in run.rows()] in (["ok"], ["unfaithful"])


# --- many jobs ---


def test_multirun_gathers_its_jobs(run, photo):
    assert run(photo, "-m", "loss=v1,v2", "q=40,50", settings=PAPER[:-1]) in (0, 3)  # -m may stand anywhere
    jobs = [run.folder / str(number) for number in range(4)]
    assert all((job / name).is_file() for job in jobs for name in ("rows.csv", "report.html", ".hydra/config.yaml"))
    with (run.folder / "summary.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["job"] for row in rows] == ["0", "1", "2", "3"]
    assert sorted((row["loss"], row["q"]) for row in rows) == [("v1", "40"), ("v1", "50"), ("v2", "40"), ("v2", "50")]
    assert (run.folder / "report.html").is_file()
    assert f"all jobs: {run.folder / 'report.html'}" in run.out


def test_an_experiment_resumes_in_its_folder(whole_run):
    """A whole table in miniature, on drawings: two jobs, then a case more, then nothing new."""
    table = ["experiment=table2", "task=shapes", "seed=0,1", "methods=[lime,random]", "segmenter=grid"]
    small = {"box": ["black_box=shapes", "black_box.epochs=1", "black_box.drawings=64"], "settings": ["q=40", "device=cpu"]}
    assert whole_run(*table, "limit=1", **small) == 0
    assert whole_run(*table, "limit=2", **small) == 0
    maps = {file: file.stat().st_mtime_ns for file in whole_run.folder.glob("*/explanations/*.npz")}
    assert len(maps) == 2 * 2 * 2  # jobs, cases, methods
    assert whole_run(*table, "limit=2", **small) == 0
    assert maps == {file: file.stat().st_mtime_ns for file in maps}
    assert "iou_wrong_label" in (whole_run.folder / "summary.csv").read_text().splitlines()[0]


def test_a_bad_job_leaves_the_others(run, photo):
    assert run("-m", photo, "explainer.parts=0.5,-1.0,0.1") == 2
    first, last = run.err.splitlines()
    assert re.search(r"^error: explainer.parts=-1\.0; wanted a finite number at least 0$", first)
    assert last.startswith("job 1 failed: explainer.parts=")
    with (run.folder / "summary.csv").open(newline="", encoding="utf-8") as file:
        assert [(row["job"], row["status"] == "failed") for row in csv.DictReader(file)] == [("0", False), ("2", False)]
    assert "job 1" in (run.folder / "report.html").read_text(encoding="utf-8")


def test_a_typo_in_a_multirun_costs_no_job(run, photo):
    run.refused("segmenter=foo is not known", "-m", photo, "segmenter=grid,foo")
    assert not list(run.folder.glob("*/rows.csv"))


# --- the short cut, odd paths, and the real thing ---


def test_input_alone_means_task_files_and_odd_names_are_fine(run, photo, tmp_path):
    assert run(photo) == 0
    assert run.rows()[0]["task"] == "files"
    for number, name in enumerate(("cat (1), it's.png", "a=b [2] {x}.png", "100% ä ö.png")):
        shutil.copy(tmp_path / "photo.png", tmp_path / name)
        run.folder = run.folder.with_name(f"odd{number}")
        assert run(f"input={tmp_path / name}") == 0


def shell(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *arguments], cwd=cwd, capture_output=True, text=True, timeout=100
    )


def test_from_a_shell_an_error_is_one_line_and_code_2(tmp_path):
    done = shell("input=none.jpg", *BOX, *SMALL, cwd=tmp_path)
    assert done.returncode == 2
    assert re.fullmatch(r"error: input none.jpg does not exist: give an image file.*\n", done.stderr)


def test_rubbish_is_collected_while_the_model_answers(photo, tmp_path, monkeypatch):
    """While all is imported it is not, which saves time."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "collected.py").write_text(
        "import gc\nfrom tests.functions import quarters\n\n"
        "def answer(rows):\n    assert gc.isenabled()\n    return quarters(rows)\n"
    )
    done = shell(photo, *BOX, *SMALL, "black_box.function=collected.answer", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_from_a_shell_in_another_folder(photo, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    done = shell(photo, *BOX, *SMALL, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    report = Path(done.stdout.strip().splitlines()[-1].removeprefix("report:").strip())
    assert report.is_file()
    assert report.is_relative_to(tmp_path / "outputs")


def test_sam_without_weights_or_network_asks_nothing(run, photo, tmp_path, monkeypatch):
    """One line, at once: no case is begun, though there may be hundreds."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    run.refused(
        "sam.pth failed.*segmenter.checkpoint",
        photo,
        "segmenter.download.url=http://127.0.0.1:9/sam.pth",
        settings=["segmenter=sam"],
    )
    assert not (run.folder / "rows.csv").exists()


def test_a_photograph_for_a_task_of_its_own_is_refused(run, photo):
    run.refused("input=.*goes with task=files alone", photo, "task=photo")


def test_the_same_file_name_from_another_folder_is_not_taken_for_done(run, photo, tmp_path):
    assert run(photo) == 0
    (tmp_path / "other").mkdir()
    other = shutil.copy(photo.partition("=")[2], tmp_path / "other")
    run.refused("holds explanations made with task.input=", f"input={other}")


def test_rows_of_a_method_without_a_loss_name_none(run, photo):
    assert run(photo, "explainer=random", settings=GRID) == 0
    (row,) = run.rows()
    assert (row["loss"], row["segmenter"], row["q"], row["seed"]) == ("", "", "", "0")
