"""What is installed: the wheel's content, and how little is imported before the options are checked."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from zipfile import ZipFile

import pytest

import dax_lightning
from tests.conftest import ROOT

HEAVY = ["torch", "torchvision", "pytorch_lightning", "pandas", "matplotlib", "scipy", "skimage"]


def test_the_wheel_holds_conf_command_and_types(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "train.py"):
        shutil.copy(ROOT / name, source)
    for name in ("dax_lightning", "conf", "hydra_plugins"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    pip = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "-q",
        "-w",
        str(tmp_path),
        str(source),
    ]
    subprocess.run(pip, check=True, capture_output=True, timeout=100, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    with ZipFile(wheel) as held:
        files = set(held.namelist())
        meta = next(name for name in files if name.endswith(".dist-info/entry_points.txt"))
        assert "dax = dax_lightning.run.main:command" in held.read(meta).decode()
    code = {f"dax_lightning/{file.relative_to(ROOT / 'dax_lightning')}" for file in (ROOT / "dax_lightning").rglob("*.py")}
    conf = {f"dax_lightning/conf/{file.relative_to(ROOT / 'conf')}" for file in (ROOT / "conf").rglob("*.yaml")}
    assert {"dax_lightning/py.typed", "hydra_plugins/dax_ray_launcher.py", *code, *conf} <= files
    assert "hydra_plugins/__init__.py" not in files  # it is a namespace that other plug-ins share
    assert wheel.name.startswith(f"dax_lightning-{dax_lightning.__version__}-")


def in_a_new_process(script, folder):
    """A script run in a folder that is not the project's."""
    return subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--help"], 0, "Examples:\n  dax input=photo.jpg"),
        (["segmnter=slic"], 2, "error: segmnter is no setting: did you mean segmenter?"),
        (["segmenter=foo"], 2, "error: segmenter=foo is not known"),
        (["q=many"], 2, "error: q=many is text, wanted int"),
    ],
)
def test_a_typo_waits_for_nothing_heavy(tmp_path, arguments, code, told):
    script = f"""
import sys
from dax_lightning.run.main import run
code = run({arguments!r})
print([name for name in {HEAVY} if name in sys.modules])
sys.exit(code)"""
    done = in_a_new_process(script, tmp_path)
    assert done.returncode == code, done.stderr
    assert told in done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_run_imports_neither_compiler_nor_wandb(tmp_path):
    """timm and torchvision bring them along, two seconds, and work without; who wants them later gets them."""
    script = """
import sys
import torch
from dax_lightning.run.main import run
assert run(["black_box.crop=squash", "q=20"]) == 0
print([name for name in ("wandb", "torch._dynamo", "pytorch_lightning") if name in sys.modules])
from torchvision.ops import roi_align
print(roi_align(torch.ones(1, 1, 8, 8), torch.tensor([[0.0, 0.0, 0.0, 4.0, 4.0]]), 2, aligned=True).tolist())
import wandb
import torch._dynamo.utils as utils
print(wandb.__name__, utils.counters is not None, torch.compile(lambda x: x + 1, backend="eager")(torch.ones(1)).item())"""
    done = in_a_new_process(script, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-3:] == ["[]", "[[[[1.0, 1.0], [1.0, 1.0]]]]", "wandb True 2.0"]


def test_a_missing_extra_is_one_line(tmp_path):
    script = """
import sys
sys.modules["shap"] = None
from dax_lightning.run.main import run
sys.exit(run(["explainer=shap_partition"]))"""
    done = in_a_new_process(script, tmp_path)
    assert (done.returncode, done.stderr) == (2, "error: explainer needs the package shap: pip install '.[baselines]' has it\n")


def test_public_names_are_there_and_listed_once():
    assert sorted(dax_lightning._HOME) == sorted(set(dax_lightning.__all__) - {"__version__"})
    assert all(getattr(dax_lightning, name).__name__ == name for name in dax_lightning._HOME)
    with pytest.raises(AttributeError, match="no attribute 'Lemon'"):
        dax_lightning.Lemon  # noqa: B018
    stub = (ROOT / "dax_lightning" / "__init__.py").read_text(encoding="utf-8").partition("if TYPE_CHECKING:")[2]
    assert all(f"{name}" in stub.partition("__version__")[0] for name in dax_lightning._HOME)


def test_python_m_and_every_extra_is_named():
    done = subprocess.run(
        [sys.executable, "-m", "dax_lightning", "--help"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0
    assert "  3  all cases explained, but some map is unfaithful" in done.stdout
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    assert scripts == {"dax": "dax_lightning.run.main:command"}
    assert Path(ROOT, "dax_lightning", "py.typed").is_file()


def test_a_module_in_the_working_folder_is_found(tmp_path):
    (tmp_path / "my_model.py").write_text(
        "import torch\n\ndef bright(rows):\n    share = rows.mean((1, 2, 3))\n    return torch.stack([share, 1 - share], 1)\n",
        encoding="utf-8",
    )
    done = subprocess.run(
        [
            sys.executable,
            str(ROOT / "train.py"),
            "black_box=callable",
            "black_box.function=my_model:bright",
            "black_box.size=[32,32]",
            "explainer=random",
            "hydra.run.dir=2024",
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "2024" / "report.html").is_file()


def test_a_file_of_the_repository_that_is_not_installed_is_told(monkeypatch, tmp_path):
    from dax_lightning.errors import InputError
    from dax_lightning.run import config

    monkeypatch.setattr(config, "__file__", str(tmp_path / "dax_lightning" / "run" / "config.py"))
    with pytest.raises(InputError, match=r"benchmarks/voc_dev.txt is a file of the repository.*give ids=FILE"):
        config.in_repository("benchmarks/voc_dev.txt")
