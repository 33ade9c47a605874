"""The package's inner order: imports go one way, Hydra stays at the door, errors are raised and never asserted."""

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.conftest import ROOT

METHOD = "errors types device inputs black_box segment game explainers.base explainers.segments"  # what an explainer is made of
MAY_IMPORT = {  # each room, from the first to the last, and those before it that it may import; its own modules beside them
    "errors": "",
    "files": "errors",
    "imports": "",
    "scheme": "errors",
    "types": "errors files",
    "device": "errors",
    "progress": "",
    "logs": "",
    "inputs": "errors files types",
    "black_box": "errors files imports scheme types device inputs",
    "segment": "errors files types device progress inputs",
    "game": "errors types device progress inputs black_box segment",
    "tasks": "errors files types device inputs black_box",
    "explainers": "",
    "explainers.stops": "errors",
    "explainers.base": "errors types inputs black_box segment game explainers.stops",
    "explainers.segments": "errors types inputs black_box segment game explainers.base",
    "explainers.random": METHOD,
    "explainers.dax": f"{METHOD} progress logs",
    "explainers.masking": METHOD,
    "explainers.gradient": METHOD,
    "explainers.shapley": f"{METHOD} explainers.masking",
    "explainers.surrogate": f"{METHOD} explainers.dax explainers.masking",
    "explainers.mosaic": METHOD,
    "explainers.rivals": f"{METHOD} explainers.mosaic explainers.surrogate",
    "testing": "errors types device inputs black_box segment",
    "serve": "errors inputs black_box",
    "metrics": "errors types inputs black_box segment game explainers.base",
    "training": "errors types device logs inputs black_box tasks",
    "stats": "errors types",
    "plots": "errors types inputs stats",
    "report": "errors files types stats plots",
    "run": "errors files scheme types device logs inputs black_box tasks explainers.base metrics stats plots report",
    "api": "errors types inputs black_box explainers.base",
    "__main__": "run",
}
LATE = {"types": "plots"}  # and what a function may import when it is called: an explanation draws itself only when asked to
PUBLIC = "__init__"  # the package itself may import all that is meant for users, and no other layer may import it
NOT_PUBLIC = {"run", "__main__"}
MAIN = "dax_lightning/run/main.py"
DOOR = {MAIN, "dax_lightning/run/config.py", "dax_lightning/run/jobs.py", "dax_lightning/run/tune.py"}
FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [ROOT / "train.py", *(f for d in ("dax_lightning", "scripts", "benchmarks") for f in (ROOT / d).rglob("*.py"))]
)


@pytest.mark.parametrize("file", FILES)
def test_rules_hold(file):
    assert list(faults(file, (ROOT / file).read_text(encoding="utf-8"))) == []


def test_every_layer_is_listed_and_exists():
    entries = {
        path.stem for path in (ROOT / "dax_lightning").iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    assert entries == {*(layer.partition(".")[0] for layer in MAY_IMPORT), PUBLIC}
    families = {
        path.stem for path in (ROOT / "dax_lightning" / "explainers").iterdir() if path.stem not in (PUBLIC, "__pycache__")
    }
    assert families == {layer.partition(".")[2] for layer in MAY_IMPORT if "." in layer}


def test_layers_name_only_earlier_ones():
    order = list(MAY_IMPORT)
    for layer, earlier in MAY_IMPORT.items():
        assert set(earlier.split()) <= set(order[: order.index(layer)]), layer


@pytest.mark.parametrize(
    ("file", "source", "fault"),
    [
        ("dax_lightning/types.py", "import dax_lightning.device", "types may not import device"),
        ("dax_lightning/segment/sam.py", "from dax_lightning.game.fill import Fill", "segment may not import game"),
        ("dax_lightning/game/base.py", "from dax_lightning import tasks", "game may not import tasks"),
        (
            "dax_lightning/explainers/dax/data.py",
            "from ..mosaic import MosaicDax",
            "explainers.dax may not import explainers.mosaic",
        ),
        ("dax_lightning/game/base.py", "from .. import tasks", "game may not import tasks"),
        (
            "dax_lightning/explainers/dax/__init__.py",
            "from ..random import Random",
            "explainers.dax may not import explainers.random",
        ),
        (
            "dax_lightning/explainers/masking/rise.py",
            "from dax_lightning.explainers.dax.losses import DaxLoss",
            "explainers.masking may not import explainers.dax",
        ),
        (
            "dax_lightning/report/page.py",
            "def f():\n    from dax_lightning.metrics import Metric",
            "report may not import metrics",
        ),
        ("dax_lightning/explainers/base.py", "from dax_lightning import explain", "explainers.base may not import __init__"),
        ("dax_lightning/explainers/base.py", "import dax_lightning", "explainers.base may not import __init__"),
        ("dax_lightning/__init__.py", "from dax_lightning.run.config import build", "__init__ may not import run"),
        ("dax_lightning/types.py", "from dax_lightning.plots.kinds import draw", "types may not import plots"),
        ("dax_lightning/types.py", "def f():\n    import dax_lightning.report", "types may not import report"),
        ("dax_lightning/game/base.py", "def f():\n    from dax_lightning.plots import kinds", "game may not import plots"),
        ("dax_lightning/new.py", "", "new is not in MAY_IMPORT"),
        ("dax_lightning/new/part.py", "", "new is not in MAY_IMPORT"),
        ("dax_lightning/run/config.py", "from hydra import main", f"hydra.main outside {MAIN}"),
        ("scripts/run.py", "@hydra.main()\ndef main(cfg): ...", f"hydra.main outside {MAIN}"),
        ("dax_lightning/run/runner.py", "from hydra.utils import instantiate", "hydra outside the door"),
        ("dax_lightning/run/loggers.py", "import omegaconf as oc", "omegaconf outside the door"),
        ("dax_lightning/types.py", "assert True", "assert"),
        ("train.py", "from __future__ import annotations", "from __future__ import annotations"),
    ],
)
def test_each_rule_finds_a_planted_fault(file, source, fault):
    found = list(faults(file, source))
    assert len(found) == 1
    assert fault in found[0]


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("dax_lightning/game/base.py", "from . import fill\nfrom .fill import filled\nfrom ..errors import InputError"),
        ("dax_lightning/explainers/dax/__init__.py", "from .explainer import Dax"),
        ("dax_lightning/__init__.py", "from .explainers.dax import Dax\nfrom dax_lightning.explainers.random import Random"),
        ("dax_lightning/run/config.py", "import hydra.utils"),
        (MAIN, "import hydra\n@hydra.main()\ndef main(cfg): ..."),
        ("benchmarks/speed.py", "assert True"),
        ("dax_lightning/types.py", "class E:\n    def f(self):\n        from dax_lightning.plots.kinds import draw"),
    ],
)
def test_no_false_alarm(file, source):
    assert list(faults(file, source)) == []


def faults(file: str, source: str) -> Iterator[str]:
    """What is wrong with a source file; ``file`` is relative to the repository."""
    package = file.startswith("dax_lightning/")
    if package and layer_of(file) not in {*MAY_IMPORT, PUBLIC}:
        yield f"{file}: the layer {layer_of(file)} is not in MAY_IMPORT: give it a place there"
        return
    tree = ast.parse(source)
    late = {id(node) for function in ast.walk(tree) if isinstance(function, ast.FunctionDef) for node in ast.walk(function)}
    for node in ast.walk(tree):
        where = f"{file}:{getattr(node, 'lineno', 0)}"
        if package and isinstance(node, ast.Assert):
            yield f"{where}: assert: raise an error that says what was wanted and what came"
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "hydra.main" and file != MAIN:
            yield f"{where}: hydra.main outside {MAIN}"
        for name in imported(node, file):
            yield from (f"{where}: {fault}" for fault in import_faults(name, file, late=id(node) in late))


def import_faults(name: str, file: str, *, late: bool) -> Iterator[str]:
    top, _, rest = name.partition(".")
    package = file.startswith("dax_lightning/")
    if name == "__future__.annotations":
        yield "from __future__ import annotations: it hides the shapes from the checks"
    if name == "hydra.main" and file != MAIN:
        yield f"hydra.main outside {MAIN}"
    elif package and top in ("hydra", "omegaconf") and file not in DOOR:
        yield f"{top} outside the door ({', '.join(sorted(DOOR))})"
    if package and top == "dax_lightning":
        own, named = layer_of(file), room(rest.split("."))
        wanted = named if named in MAY_IMPORT else PUBLIC
        allowed = set(MAY_IMPORT) - NOT_PUBLIC if own == PUBLIC else {own, *MAY_IMPORT[own].split()}
        allowed |= set(LATE.get(own, "").split()) if late else set()
        if wanted not in allowed:
            yield f"{own} may not import {wanted} ({name})"


def imported(node: ast.AST, file: str) -> list[str]:
    """Dotted names that an import statement names, relative ones made absolute."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    parents = Path(file).with_suffix("").parts
    start = ".".join([*parents[: len(parents) - node.level], node.module or ""] if node.level else [node.module or ""]).strip(".")
    return [f"{start}.{alias.name}" for alias in node.names]


def layer_of(file: str) -> str:
    return room(Path(file).with_suffix("").parts[1:])


def room(parts: Sequence[str]) -> str:
    """The room of a module whose dotted name, inside the package, has these parts."""
    return ".".join(parts[:2]) if parts[0] == "explainers" and parts[1] != PUBLIC else parts[0]
