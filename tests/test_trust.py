"""What a configuration may name and what a command may bring: no code but ours, unless the user says so; no secret is written."""

import ast
import json
import os
from pathlib import Path

import pandas as pd
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from PIL import Image

from dax_lightning.errors import InputError
from dax_lightning.explainers.random import Random
from dax_lightning.report import write_report, write_summary
from dax_lightning.run.config import TRUSTED, build, check_trust, explainer_nodes, with_short_cuts
from dax_lightning.run.loggers import CsvRun
from dax_lightning.run.main import run
from dax_lightning.run.runner import Benchmark
from dax_lightning.tasks import Task
from dax_lightning.testing import QuarterBox
from dax_lightning.types import Case, Explanation
from tests.conftest import ROOT
from tests.test_report import Page

CONF = ROOT / "conf"
GRID = "dax_lightning.segment.grid.Grid"


def node(target, **more):
    return OmegaConf.create({"_target_": target, **more})


def targets(value):
    """Every ``_target_`` in a YAML."""
    if isinstance(value, dict):
        yield from (value[key] for key in value if key == "_target_")
        for part in value.values():
            yield from targets(part)
    elif isinstance(value, list):
        for part in value:
            yield from targets(part)


# --- what a configuration may name -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.print",
        "dax_lightning.segment.cache.os.system",  # passes through ours
        "dax_lightning.inputs.image_file.Image.open",
        "dax_lightning.run.config.build",  # would build whatever it is given, with all allowed
        "dax_lightning.run.main.run",
        "dax_lightning",
        "dax_lightning_evil.f",
        "pytorch_lightning.loggers.csv_logs.os.system",
        "pytorch_lightning.LightningModule.load_from_checkpoint",
        "torch.load",
        7,
    ],
)
def test_a_target_elsewhere_is_one_line_and_is_not_imported(target):
    told = r"^segmenter\._target_=.* is not trusted: wanted a class or function of dax_lightning.*allow_targets=true takes any"
    with pytest.raises(InputError, match=told) as caught:
        build(node(target, command="exit 1"), "segmenter")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "more",
    [
        {"others": [{"_target_": GRID}, {"_target_": "os.getcwd"}]},
        {"others": [[{"_target_": "os.getcwd"}]]},
        {"others": {"deep": {"deeper": {"_target_": "os.getcwd", "_partial_": True}}}},
        {"_args_": [{"_target_": "os.getcwd"}]},
    ],
)
def test_a_target_inside_another_is_found(more):
    with pytest.raises(InputError, match=r"_target_=os.getcwd is not trusted"):
        build(node("dax_lightning.segment.mosaic.Mosaic", **more), "mosaic")


def test_a_target_through_an_interpolation_is_found():
    cfg = OmegaConf.create({"evil": "os.getcwd", "segmenter": {"_target_": "${evil}"}})
    with pytest.raises(InputError, match=r"segmenter\._target_=os.getcwd is not trusted"):
        build(cfg.segmenter, "segmenter")


def test_who_trusts_a_configuration_says_so():
    assert build(node("os.path.basename", p="a/b", _partial_=True), "x", True).keywords == {"p": "a/b"}


def test_an_explainer_is_not_imported_to_learn_its_name():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", ["explainer._target_=antigravity.fly"])
    with pytest.raises(InputError, match=r"explainer\._target_=antigravity.fly is not trusted"):
        explainer_nodes(cfg)


def test_what_conf_names_is_trusted_and_no_more():
    named = {target for file in CONF.rglob("*.yaml") for target in targets(OmegaConf.to_container(OmegaConf.load(file)))}
    own = {target for target in named if target.startswith("hydra_plugins.")}  # launchers and sweepers, which Hydra makes itself
    assert all(target.startswith(TRUSTED) for target in named - own)
    foreign = {target.rpartition(".")[0] for target in named - own if not target.startswith("dax_lightning.")}
    assert foreign == {"pytorch_lightning", "pytorch_lightning.loggers"}


# --- what a command may bring ------------------------------------------------------------------------------------------

EVIL = """# @package _global_
hydra:
  callbacks:
    evil: {_target_: os.mkdir, path: %s}
"""


@pytest.fixture
def evil(tmp_path):
    """A folder with a YAML whose callback makes another folder, and that folder."""
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "evil.yaml").write_text(EVIL % (tmp_path / "made"), encoding="utf-8")
    return tmp_path


def refusal(arguments, capfd):
    assert run(arguments) == 2
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    return err


def test_a_folder_of_yaml_is_trusted_by_a_word_alone(evil, monkeypatch, capfd):
    monkeypatch.chdir(evil)
    there = os.path.relpath(evil / "experiment" / "evil", CONF / "experiment")
    for given in (
        ["--config-dir", str(evil)],
        [f"--config-dir={evil}"],
        ["--config-d", str(evil)],
        ["-cd", str(evil)],
        ["--config-path", str(evil)],
        [f"hydra.searchpath=[file://{evil}]"],
        [f"experiment={there}"],
        ["--config-name", there],
    ):
        told = refusal([*given, "+experiment=evil", "dry_run=true"], capfd)
        assert "can name Python objects to run: add allow_targets=true where you trust what it names" in told
    assert not (evil / "made").exists()


@pytest.mark.parametrize(
    "argument",
    [
        "+hydra.callbacks.evil={_target_:os.mkdir,path:made}",
        "++hydra.callbacks.jobs._target_=os.mkdir",
        "hydra.launcher._target_=os.mkdir",
        "hydra={callbacks:{evil:{_target_:os.mkdir}}}",
        "hydra.job_logging={version:1,formatters:{a:{(): os.getcwd}}}",
        "hydra/launcher=../../evil",
    ],
)
def test_hydras_own_parts_are_not_chosen_by_a_target(argument):
    with pytest.raises(InputError, match="can name Python objects to run: add allow_targets=true"):
        with_short_cuts([argument])
    assert with_short_cuts([argument, "allow_targets=true"])


@pytest.mark.parametrize("option", ["--experimental-rerun", "--experimental-rerun=x.pickle", "--exp"])
def test_a_pickled_configuration_is_never_read(option):
    with pytest.raises(InputError, match="--experimental-rerun would run the code in a file: repeat the command"):
        with_short_cuts([option, "config.pickle", "allow_targets=true"])


def test_harmless_commands_pass():
    given = ["task=files", "input=../photos/a.jpg", "hydra.run.dir=../out", "-m", "hydra/launcher=joblib", "hydra.verbose=true"]
    check_trust([*given, "target=cat@home", "hydra.sweep.dir=a/b", "black_box.function=../my:f", "data=${oc.env:HOME}"])


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("black_box.url=https://me:hunter2@host/v1", "black_box.url has a user or password in its address"),
        ("model=http://hunter2@host", "model has a user or password"),
        ("segmenter.download.url='https://me:hunter2@host/sam.pth'", "segmenter.download.url has a user"),
        ("--x=https://me:hunter2@host", "has a user or password"),
        ("model=https://host/p?v=2&api_key=hunter2", r"model has a secret \(api_key\) in its address"),
        ("black_box.url='https://host/p?token=hunter2'", r"black_box.url has a secret \(token\) in its address"),
        ("logger.project=${oc.env:WANDB_API_KEY}", "logger.project takes a secret from the environment"),
        ("+header=${oc.env:MY_TOKEN,none}", "header takes a secret from the environment"),
    ],
)
def test_secrets_in_a_command_are_refused_without_being_repeated(argument, told):
    with pytest.raises(InputError, match=told) as caught:
        with_short_cuts([argument])
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


# --- what a run leaves -------------------------------------------------------------------------------------------------

SECRET = "hunter2-5f1e9c0d7a"


@pytest.mark.parametrize("logger", ["csv", "wandb"])
def test_no_file_of_a_run_has_a_secret_of_the_environment(tmp_path, monkeypatch, capfd, logger):
    for name in ("DAX_TOKEN", "WANDB_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, SECRET)
    monkeypatch.setenv("WANDB_MODE", "offline")
    folder = tmp_path / "run"
    Image.new("RGB", (40, 60), "red").save(tmp_path / "photo.png")
    box = ("black_box=callable", "black_box.function=tests.functions.quarters", "black_box.size=[32,32]")
    small = ("explainer=lime", "segmenter=grid", "segmenter.rows=2", "segmenter.columns=2", "q=20", "device=cpu")
    code = run([f"input={tmp_path / 'photo.png'}", *box, *small, f"logger={logger}", f"hydra.run.dir={folder}"])
    assert code == 0
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert {"rows.csv", "report.html", "status.json", "config.yaml"} <= {file.name for file in files}
    assert logger == "csv" or any(file.suffix == ".wandb" for file in files)
    assert [file for file in files if SECRET.encode() in file.read_bytes()] == []
    assert SECRET not in "".join(capfd.readouterr())


# --- names that become files and pages ---------------------------------------------------------------------------------


class Listed(Task):
    """Cases of any names."""

    name = "listed"

    def __init__(self, keys):
        super().__init__(QuarterBox(), keys, 0, None)

    def _case(self, index):
        return Case(self._keys[index], torch.rand(3, 32, 32), 0)


@pytest.mark.parametrize("key", ["../evil", "/etc/passwd", "a/b", "..", "", "a\\b", "a\0b", "."])
def test_a_case_or_an_explainer_whose_name_leads_elsewhere_is_refused(key, tmp_path):
    with pytest.raises(InputError, match=r"^task=listed lists the case .*, whose files would lie elsewhere"):
        Listed([key])
    with pytest.raises(InputError, match=r"^explainers: one is called .*, whose files would lie elsewhere"):
        Benchmark(Listed(["a"]), {key: Random(QuarterBox())}, {}, tmp_path, CsvRun())


HOSTILE = [
    "<script>alert(1)</script>",
    "'\"><img src=x onerror=alert(1)>",
    "{{ 7 * 7 }}",
    "$x^2$",
    "../../etc/passwd",
    "\u202eevil猫",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_stays_a_name_on_every_page(tmp_path, name):
    texts = dict.fromkeys(("task", "case", "explainer", "black_box", "loss", "segmenter", "target_name", "error"), name)
    facts = texts | {"seed": 0, "q": 9, "queries": 9, "seconds": 1, "iou": 0.5}
    rows = [facts | {"status": status} for status in ("ok", "failed")]
    rows.append(rows[0] | {"explainer": "other", "case": "b"})
    for job in ("0", "1"):
        folder = tmp_path / job
        (folder / ".hydra").mkdir(parents=True)
        (folder / "explanations").mkdir()
        pd.DataFrame(rows).rename(columns={"iou": f"iou {name}"}).to_csv(folder / "rows.csv", index=False)
        (folder / ".hydra" / "overrides.yaml").write_text(json.dumps([f"input={name}"]), encoding="utf-8")
        (folder / "metrics.json").write_text(json.dumps({f"iou {name}": {"higher_is_better": True}}), encoding="utf-8")
        said = {"warnings": [name], "black_box": name, "versions": {"torch": name}, "saved": name, "file_sha256": name}
        (folder / "explanations" / "b__other.json").write_text(json.dumps(said), encoding="utf-8")
    shown = [write_report(tmp_path / "0"), write_summary(tmp_path)]
    made = Explanation(torch.rand(8, 8), 0, 0.5, 1, 0.1, target_name=name, method=name, warnings=(name,), x=torch.rand(3, 8, 8))
    (tmp_path / "notebook.html").write_text(made._repr_html_(), encoding="utf-8")
    for file in (*shown, tmp_path / "notebook.html"):
        page = Page(file)
        assert not {tag for tag, _ in page.tags} & {"script", "iframe", "object", "embed", "base", "form", "link"}
        assert not any(key.startswith("on") for _, attributes in page.tags for key in attributes)
        assert all(a.get("src", "data:").startswith("data:") for _, a in page.tags)
        assert all(a.get("href", "#").startswith("#") for _, a in page.tags)
        assert name in page.text
    assert not (tmp_path.parent / "etc").exists()


# --- what the package may call -----------------------------------------------------------------------------------------

FORBIDDEN = {"pickle.load", "pickle.loads", "joblib.load", "yaml.load", "yaml.full_load", "yaml.unsafe_load", "dill.load"}
FORBIDDEN |= {
    "eval",
    "exec",
    "compile",
    "os.system",
    "os.popen",
    "shelve.open",
    "marshal.loads",
    "pd.read_pickle",
    "torch.hub.load",
}
NEEDED = {  # a call, and what it must be given
    "torch.load": {"weights_only": True},
    "np.load": {"allow_pickle": False},
    "np.lib.format.read_array": {"allow_pickle": False},
}
SOURCES = sorted(file for folder in ("dax_lightning", "scripts") for file in (ROOT / folder).rglob("*.py"))


def unsafe(source):
    """Calls that run code from a file, or may do so."""
    for call in (part for part in ast.walk(ast.parse(source)) if isinstance(part, ast.Call)):
        name = ast.unparse(call.func)
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        shell = given.get("shell") not in (None, "False")
        lacking = {key: value for key, value in NEEDED.get(name, {}).items() if given.get(key) != str(value)}
        if name in FORBIDDEN or lacking or shell:
            yield f"line {call.lineno}: {name}"


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_no_file_is_unpickled_or_run(file: Path):
    asked_for = {"sklearn.py": ["joblib.load"]}.get(file.name, [])  # black_box.trust_pickle=true
    assert [told.partition(": ")[2] for told in unsafe(file.read_text(encoding="utf-8"))] == asked_for


@pytest.mark.parametrize(
    "source",
    [
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "np.load(path)",
        "pickle.load(file)",
        "yaml.load(text, Loader=x)",
        "eval('1')",
        "subprocess.run('a', shell=True)",
    ],
)
def test_an_unsafe_call_is_found(source):
    assert len(list(unsafe(f"def f():\n    return {source}"))) == 1
