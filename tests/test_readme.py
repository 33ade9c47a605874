"""Whatever the README shows is run, or at least composed and built."""

import re
import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser

from dax_lightning.cli import build, explainer_nodes, with_short_cuts
from tests.conftest import ROOT, QuarterBox, QuarterTorchBox

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.S | re.M)
SHELL = [line.split("#")[0].strip() for kind, text in BLOCKS if kind == "sh" for line in text.splitlines()]
COMMANDS = [line for line in SHELL if line.startswith("python train.py")]
PYTHON = [text for kind, text in BLOCKS if kind == "python"]


def jobs(command):
    """The overrides of each job that a command starts."""
    arguments = [argument for argument in shlex.split(command)[2:] if argument != "-m"]
    parsed = OverridesParser.create().parse_overrides(with_short_cuts(arguments))
    swept = [p.sweep_string_iterator() if p.is_sweep_override() else [p.get_value_element_as_str()] for p in parsed]
    return [
        list(p.key_or_group + "=" + str(value) for p, value in zip(parsed, values, strict=True)) for values in _product(swept)
    ]


def _product(lists):
    rows = [[]]
    for values in map(list, lists):
        rows = [[*row, value] for row in rows for value in values]
    return rows


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_compose_and_their_explainers_explain(command, noisy_image):
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        every = [compose("config", overrides) for overrides in jobs(command)]
        small = compose("config", [*jobs(command)[0], "segmenter=grid", "q=70", "trainer.max_epochs=1", "device=cpu"])
    assert all(cfg.black_box["_target_"].startswith("dax_lightning.") for cfg in every)
    build(small.logger, "logger")
    made = {key: build(node, where, black_box=QuarterTorchBox()) for key, (where, node) in explainer_nodes(small).items()}
    one = made.get("lime") or next(iter(made.values()))
    assert one.again(min_steps=0).explain(noisy_image, 0).queries == 70


def test_there_are_commands_and_every_make_target_exists():
    targets = re.findall(r"(?:^|`)make ([a-z0-9-]+)", README, re.M)
    rules = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
    tables = {f"table-{p.stem.removeprefix('table')}" for p in (ROOT / "conf" / "experiment").glob("*.yaml")}
    assert len(COMMANDS) >= 8
    assert {"explain", "test", "table-2"} <= set(targets) <= {*rules, *tables}


def test_the_five_lines_run(capsys):
    exec(compile(PYTHON[0].replace("MosaicDax(black_box)", "MosaicDax(black_box, q=100)"), "README.md", "exec"), {})
    assert "tiger cat torch.Size([224, 224]) 100" in capsys.readouterr().out


def test_the_new_method_explains(noisy_image):
    space: dict = {}
    exec(compile(PYTHON[1], "README.md", "exec"), space)
    assert space["Brightness"](QuarterBox()).explain(noisy_image, 0).saliency.equal(noisy_image.mean(0))


def test_every_link_leads_somewhere():
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert link.startswith("http") or Path(ROOT, link).exists(), link


def test_nothing_is_left_to_fill_in():
    assert not re.findall(r"@[A-Z]+@", README)
