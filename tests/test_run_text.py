"""Paths and names on the command line are read as they are written; what is written is UTF-8 everywhere."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from PIL import Image

from dax_lightning.black_box import lite0
from dax_lightning.run.config import with_short_cuts
from tests.conftest import ROOT
from tests.test_cli import BOX, GRID, PHOTO, Command, photo, run, whole_run

__all__ = ["photo", "run", "whole_run"]
QUICK = [*GRID, "explainer=random"]
NAMES = (
    "2024",
    "1e5",
    "true",
    "null",
    "${x}.jpg",
    " cat",
    "jack-o'-lantern.jpg",
    "a,b",
    "\\${q}\\'",
    "x=[1",
    'q"',
    "猫",
    "C:\\a\\",
)


def read(argument: str):
    """What Hydra makes of an argument, interpolations resolved."""
    (quoted,) = with_short_cuts([argument, "task=files"])[:1]
    override = OverridesParser.create().parse_override(quoted)
    assert not override.is_sweep_override()
    return OmegaConf.create({"value": override.value()}).value


@pytest.mark.parametrize("key", ["input", "data", "target", "task.root", "black_box.weights", "hydra.run.dir"])
def test_text_stays_text(key, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "null").touch()
    for name in NAMES:
        if not (key.startswith("hydra") and "${" in name):  # Hydra's own may have interpolations
            assert read(f"{key}={name}") == name


def test_every_name_that_the_program_prints_is_a_target():
    names = lite0().classes
    assert names is not None
    assert len(names) == 1000
    assert [read(f"target={name}") for name in names] == list(names)


def test_what_is_no_text_stays_what_it_is():
    assert read("target=null") is None
    assert read("data=null") is None
    assert with_short_cuts(['target="a, b"', "q=5", "black_box.classes=[a,b]"]) == [
        'target="a, b"',
        "q=5",
        "black_box.classes=[a,b]",
    ]
    assert with_short_cuts(["hydra.run.dir=out/${q}"]) == ["hydra.run.dir=out/${q}"]


@pytest.mark.parametrize(
    ("written", "names"),
    [
        ("[猫,été]", ["猫", "été"]),
        ("[10,1]", ["10", "1"]),
        ("[true,null,1e5]", ["true", "null", "1e5"]),
        ("""["ram, tup", 'a\\'b' ,hot dog,jack-o'-lantern, 3 ]""", ["ram, tup", "a'b", "hot dog", "jack-o'-lantern", "3"]),
        ("[${x},a(b)=c]", ["${x}", "a(b)=c"]),
        ("['x[1]',b]", ["x[1]", "b"]),
        ("[]", []),
    ],
)
def test_names_in_a_list_of_classes_stay_text(written, names):
    assert list(read(f"black_box.classes={written}")) == names


def test_a_sweep_over_lists_of_classes_is_hydras():
    assert with_short_cuts(["-m", "black_box.classes=[a,b],[c,d]"])[1] == "black_box.classes=[a,b],[c,d]"


def test_a_name_that_a_run_printed_is_that_class(run: Command, photo):
    for classes in ("[猫,été,10]", "[10,1,true]", "[crane,1e5,'a, b']"):
        for target in ("0", "1", "2"):
            run.folder = run.folder.with_name(f"{classes}{target}".replace(" ", ""))
            assert run(photo, f"black_box.classes={classes}", f"target=id:{target}", settings=QUICK) == 0
            (row,) = run.rows()
            run.folder = run.folder.with_name(f"{classes}{target} by name")
            assert run(photo, f"black_box.classes={classes}", f"target={row['target_name']}", settings=QUICK) == 0, run.err
            assert run.rows()[0]["target"] == row["target"] == target


def test_a_name_of_two_classes_is_refused_with_both_ids(run: Command, photo):
    told = r"target='crane' names the classes \[0, 2\]: give one of these ids"
    run.refused(told, photo, "black_box.classes=[crane,dog,crane]", "target=crane", settings=[*GRID, "explainer=lime"])


def test_a_sweep_over_names_has_its_commas(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    swept = with_short_cuts(["-m", "input=a.jpg,2024", "target=1,2", "task=files"])
    values = [list(OverridesParser.create().parse_override(one).sweep_iterator()) for one in swept[1:3]]
    assert [[getattr(v, "text", v) for v in one] for one in values] == [["a.jpg", "2024"], ["1", "2"]]
    (tmp_path / "a,b.jpg").touch()
    assert with_short_cuts(["-m", "input=a,b.jpg", "task=files"])[1] == "input='a,b.jpg'"
    assert with_short_cuts(["-m", "target=range(0,3)"])[1] == "target=range(0,3)"


def test_odd_files_and_names_end_to_end(run: Command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    album = tmp_path / "2012"
    album.mkdir()
    for name in ("1e5.png", "jack-o'-lantern.png", "${x}.png"):
        Image.fromarray(PHOTO).save(album / name)
    classes = 'black_box.classes=["jack-o\'-lantern","ram, tup",neither]'
    assert run("input=2012", classes, "target=ram, tup", settings=QUICK) == 0
    assert sorted(row["case"] for row in run.rows()) == ["1e5", "jack-o_-lantern", "x"]
    assert {row["target_name"] for row in run.rows()} == {"ram, tup"}


def test_everything_is_utf_8_on_a_machine_that_is_not(tmp_path):
    Image.fromarray(PHOTO).save(tmp_path / "photo.png")
    (tmp_path / "names.txt").write_text("猫\nété\nneither\n", encoding="utf-8")
    done = subprocess.run(
        [
            *(sys.executable, "-X", "utf8=0", str(ROOT / "train.py"), f"input={tmp_path / 'photo.png'}", *BOX, *GRID),
            *("explainer=lime", "target=0", f"black_box.classes={tmp_path / 'names.txt'}", f"hydra.run.dir={tmp_path / 'run'}"),
        ],
        cwd=ROOT,
        capture_output=True,
        timeout=100,
        env={**os.environ, "PYTHONPATH": str(ROOT), "LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "latin-1"},
    )
    assert done.returncode == 0, done.stderr.decode("latin-1")
    folder = tmp_path / "run"
    text = (folder / "explanations" / "photo__lime.json").read_text(encoding="utf-8")
    assert '"target_name": "猫"' in text
    assert '"config"' in text
    assert "猫" in (folder / "rows.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize("folder", ["dax_lightning", "scripts", "benchmarks"])
def test_no_text_is_read_or_written_in_the_machines_encoding(folder):
    files = sorted(Path(ROOT, folder).rglob("*.py"))
    assert files
    calls = [
        (f"{file.relative_to(ROOT)}:{node.lineno}", node)
        for file in files
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    ]
    assert [where for where, call in calls if is_text(call) and "encoding" not in {word.arg for word in call.keywords}] == []


def is_text(call: ast.Call) -> bool:
    """Whether a call reads or writes text."""
    name = getattr(call.func, "attr", getattr(call.func, "id", ""))
    if name == "open":
        modes = [arg.value for arg in call.args if isinstance(arg, ast.Constant) and re.fullmatch("[rwax+bt]+", str(arg.value))]
        return "b" not in str(modes[0]) if modes else isinstance(call.func, ast.Name)
    return name in ("read_text", "write_text")
