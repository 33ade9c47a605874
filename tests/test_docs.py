"""Whatever the pages show is run, or at least composed; what is generated is up to date; every option has its line."""

import re
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from PIL import Image
from skimage.data import chelsea

from benchmarks import results
from dax_lightning.run.config import check_values
from tests.conftest import ROOT
from tests.pages import PAGES, blocks, commands, composed, jobs, lines, links, text

FINDINGS = [page for page in PAGES if page.startswith("docs/findings/") and not page.endswith("index.md")]

KNOWN = (
    "dax ",
    "python train.py",
    "python scripts/serve.py ",
    "python -m dax_lightning.run.merge ",
    "make ",
    "pip install .",
    "scripts/gpu_check.sh ",
)

LONG = ("docs/tutorial.md", "docs/outputs.md")  # pages whose blocks take half a minute


@pytest.fixture
def photograph(tmp_path, monkeypatch):
    """A folder with a photograph and a recording, to be in."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(chelsea()).save("my.jpg")
    soundfile.write("clip.wav", np.random.default_rng(0).normal(0, 0.1, 16000), 16000)
    return tmp_path


@pytest.mark.usefixtures("photograph")
@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=pytest.mark.slow) if page in LONG else page for page in PAGES if blocks(page, "python")],
)
def test_the_python_blocks_of_a_page_run_in_their_order(page):
    space: dict = {"__name__": "page"}
    for block in blocks(page, "python"):
        small = re.sub(r"\bq=\d+", "q=100", block)
        exec(compile(small, page, "exec"), space)


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)])
def test_every_command_composes(page):
    for command in commands(page):
        different = {tuple(o for o in job if not re.fullmatch(r"\w+=\d+(/\d+)?", o)): job for job in jobs(command)}
        for overrides in different.values():
            cfg = composed(overrides)
            check_values(cfg)
            assert cfg.black_box["_target_"].startswith("dax_lightning."), command


def test_every_make_target_and_extra_exists():
    rules = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    tables = {f"table-{p.stem.removeprefix('table')}" for p in (ROOT / "conf" / "experiment").glob("*.yaml")}
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for page in (*PAGES, "CONTRIBUTING.md"):
        for target in re.findall(r"(?:^|`)make ([a-z0-9-]+)", text(page), re.M):
            assert target in {*rules, *tables}, f"{page}: make {target}"
        for names in re.findall(r"pip install '\.\[([a-z,]+)\]'", text(page)):
            assert set(names.split(",")) <= set(extras), f"{page}: {names}"


def test_every_shell_line_is_one_that_a_test_knows():
    for page in PAGES:
        for line in lines(page):
            if module := re.match(r"python -m (benchmarks\.\w+)", line):
                assert find_spec(module[1]), f"{page}: {line}"
                assert all(Path(ROOT, folder).is_dir() for folder in re.findall(r"docs/results/\w+", line)), f"{page}: {line}"
            else:
                assert f"{line} ".startswith(KNOWN), f"{page}: {line}"


def test_every_option_and_every_choice_has_its_line():
    page = text("docs/command_line.md")
    config = yaml.safe_load((ROOT / "conf" / "config.yaml").read_text(encoding="utf-8"))
    for key in config.keys() - {"defaults", "hydra"}:
        assert re.search(rf"^\|[^|]*`{key}`", page, re.M), f"conf/config.yaml has {key}"
    for file in (ROOT / "conf").glob("*/*.yaml"):
        row = re.search(rf"^\| `{file.parent.name}` \|(.*)$", page, re.M)
        assert row, f"no row of the group {file.parent.name}"
        assert f"`{file.stem}`" in row[1], f"{file.parent.name}={file.stem} is not listed"


def test_the_results_are_those_of_the_rows():
    assert text("docs/results.md") == results.page()


def test_the_readme_has_the_rows_table():
    assert text("README.md") == results.with_table(text("README.md"))


def test_every_link_leads_somewhere():
    for page in (*PAGES, "CONTRIBUTING.md", "CHANGELOG.md"):
        for file in links(page):
            assert file.exists(), f"{page}: {file}"


def test_every_page_that_the_code_names_exists():
    files = [file for folder in ("conf", "dax_lightning", "benchmarks", "scripts") for file in (ROOT / folder).rglob("*.*")]
    for file in (*files, ROOT / "Makefile", ROOT / "train.py"):
        if file.suffix in (".py", ".yaml", ".j2", ""):
            for page in re.findall(r"docs/[\w./]*\w(?![\w{])", file.read_text(encoding="utf-8")):
                if "_build" not in page:
                    assert Path(ROOT, page).exists(), f"{file}: {page}"


def test_a_finding_has_one_table_that_says_what_was_kept():
    for page in FINDINGS:
        heads = re.findall(r"^(\|.*\|)\n\| ---", text(page), re.M)
        assert len(heads) == 1, page
        assert heads[0].endswith(("| kept |", "| kept (held) |")), page
    listed = set(re.findall(r"^\w+$", text("docs/findings/index.md"), re.M))
    assert listed == {page.removeprefix("docs/findings/").removesuffix(".md") for page in FINDINGS}


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_asks_no_network(tmp_path):
    made = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "-q", "docs", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr
    for page in tmp_path.rglob("*.html"):
        assert not re.search(r"<(?:script|link|img)[^>]+(?:src|href)=\"(?:https?:)?//", page.read_text(encoding="utf-8")), page
    assert (tmp_path / "api" / "dax_lightning.game.html").is_file()
