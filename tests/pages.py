"""What the pages show: their blocks, their commands and their links."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep

from dax_lightning.run.config import with_short_cuts
from tests.conftest import ROOT

PAGES = ("README.md", *sorted(str(p.relative_to(ROOT)) for p in (ROOT / "docs").rglob("*.md") if "_build" not in p.parts))
DAX = ("dax ", "python train.py", "python -m dax_lightning ")


def text(page: str) -> str:
    """The page as it is written."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, kind: str) -> list[str]:
    """What stands in the page's fenced blocks of one kind, such as ``python``."""
    return [found for name, found in re.findall(r"^```(\w+)\n(.*?)^```", text(page), re.S | re.M) if name == kind]


def lines(page: str) -> list[str]:
    """The page's shell lines, without comments; those that go on in the next line are one."""
    shell = "".join(blocks(page, "sh")).replace("\\\n", " ")
    return [line for line in (part.split(" #")[0].strip() for part in shell.splitlines()) if line]


def commands(page: str) -> list[str]:
    """Those that start a run."""
    return [line for line in lines(page) if f"{line} ".startswith(DAX)]


def jobs(command: str) -> list[list[str]]:
    """The overrides of each job that a command starts."""
    words = shlex.split(command)
    given = words[1 if words[0] == "dax" else 2 if words[1] == "train.py" else 3 :]
    parsed = OverridesParser.create().parse_overrides([word for word in with_short_cuts(given) if word != "-m"])
    rows: list[list[str]] = [[]]
    for override in parsed:
        key, line = str(override.input_line).split("=")[0], str(override.input_line)
        value = override.value()
        values = override.sweep_string_iterator() if override.is_discrete_sweep() else None
        if isinstance(value, IntervalSweep):
            values = [value.start, value.end]
        each = [line] if values is None else [f"{key}={value}" for value in values]
        rows = [[*row, argument] for argument in each for row in rows]
    return rows


def composed(overrides: list[str]) -> Any:
    """The configuration of a job."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("config", overrides)


def links(page: str) -> Iterator[Path]:
    """Files that the page links to; those that the build makes are left out."""
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text(page)):
        if "://" not in target and "api/dax_lightning" not in target:
            yield (ROOT / page).parent / target
