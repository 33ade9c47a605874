"""The package's inner order: imports go one way, Hydra stays at the door, errors are raised and never asserted."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

METHOD = "errors types device black_box segment mosaic perturb answers learnable explainer"  # what an explainer is made of
MAY_IMPORT = {  # each layer, from the first to the last, and those before it that it may import; its own modules beside them
    "errors": "",
    "types": "errors",
    "device": "errors",
    "black_box": "errors types device",
    "segment": "errors types",
    "mosaic": "errors segment",
    "sam": "errors types device segment",
    "tasks": "errors types device black_box",
    "head_training": "errors types device black_box tasks",
    "perturb": "errors types",
    "answers": "errors types black_box perturb",
    "learnable": "mosaic answers",
    "explainer": "errors types black_box segment",
    "dax": METHOD,
    "baselines": METHOD,
    "distilled": f"{METHOD} dax baselines",
    "metrics": "errors types black_box perturb answers explainer",
    "report": "errors types",
    "loggers": "errors types",
    "rows": "errors",
    "provenance": "",
    "benchmark": "errors types tasks explainer metrics report loggers rows provenance",
    "cli": "errors report",
}
PUBLIC = "__init__"  # the package itself may import all that is meant for users, and no other layer may import it
NOT_PUBLIC = {"cli"}
DOOR = {"train.py", "dax_lightning/cli.py"}
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
    assert entries == {*MAY_IMPORT, PUBLIC}


def test_layers_name_only_earlier_ones():
    order = list(MAY_IMPORT)
    for layer, earlier in MAY_IMPORT.items():
        assert set(earlier.split()) <= set(order[: order.index(layer)]), layer


@pytest.mark.parametrize(
    ("file", "source", "fault"),
    [
        ("dax_lightning/types.py", "import dax_lightning.device", "types may not import device"),
        ("dax_lightning/segment.py", "from dax_lightning.sam import Sam", "segment may not import sam"),
        ("dax_lightning/dax/data.py", "from dax_lightning import baselines", "dax may not import baselines"),
        ("dax_lightning/dax/data.py", "from ..baselines import Random", "dax may not import baselines"),
        ("dax_lightning/dax/data.py", "from .. import baselines", "dax may not import baselines"),
        ("dax_lightning/dax/__init__.py", "from ..baselines.random import Random", "dax may not import baselines"),
        ("dax_lightning/baselines/lime.py", "from dax_lightning.dax.losses import DaxLoss", "baselines may not import dax"),
        (
            "dax_lightning/report/page.py",
            "def f():\n    from dax_lightning.metrics import Metric",
            "report may not import metrics",
        ),
        ("dax_lightning/explainer.py", "from dax_lightning import explain", "explainer may not import __init__"),
        ("dax_lightning/explainer.py", "import dax_lightning", "explainer may not import __init__"),
        ("dax_lightning/__init__.py", "from dax_lightning.cli import build", "__init__ may not import cli"),
        ("dax_lightning/new.py", "", "new is not in MAY_IMPORT"),
        ("dax_lightning/new/part.py", "", "new is not in MAY_IMPORT"),
        ("dax_lightning/cli.py", "from hydra import main", "hydra.main outside train.py"),
        ("scripts/run.py", "@hydra.main()\ndef main(cfg): ...", "hydra.main outside train.py"),
        ("dax_lightning/benchmark.py", "from hydra.utils import instantiate", "hydra outside the door"),
        ("dax_lightning/loggers.py", "import omegaconf as oc", "omegaconf outside the door"),
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
        ("dax_lightning/dax/data.py", "from . import losses\nfrom .losses import DaxLoss\nfrom ..errors import InputError"),
        ("dax_lightning/dax/__init__.py", "from .explainer import Dax"),
        ("dax_lightning/__init__.py", "from .dax import Dax\nfrom dax_lightning.baselines import Random"),
        ("dax_lightning/cli.py", "import hydra.utils"),
        ("train.py", "import hydra\n@hydra.main()\ndef main(cfg): ..."),
        ("benchmarks/speed.py", "assert True"),
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
    for node in ast.walk(ast.parse(source)):
        where = f"{file}:{getattr(node, 'lineno', 0)}"
        if package and isinstance(node, ast.Assert):
            yield f"{where}: assert: raise an error that says what was wanted and what came"
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "hydra.main" and file != "train.py":
            yield f"{where}: hydra.main outside train.py"
        for name in imported(node, file):
            yield from (f"{where}: {fault}" for fault in import_faults(name, file))


def import_faults(name: str, file: str) -> Iterator[str]:
    top, _, rest = name.partition(".")
    package = file.startswith("dax_lightning/")
    if name == "__future__.annotations":
        yield "from __future__ import annotations: it hides the shapes from the checks"
    if name == "hydra.main" and file != "train.py":
        yield "hydra.main outside train.py"
    elif package and top in ("hydra", "omegaconf") and file not in DOOR:
        yield f"{top} outside the door ({', '.join(sorted(DOOR))})"
    if package and top == "dax_lightning":
        own, wanted = layer_of(file), rest.split(".")[0] if rest.split(".")[0] in MAY_IMPORT else PUBLIC
        allowed = set(MAY_IMPORT) - NOT_PUBLIC if own == PUBLIC else {own, *MAY_IMPORT[own].split()}
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
    return Path(file).with_suffix("").parts[1]
