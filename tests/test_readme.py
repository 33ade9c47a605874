"""The front page: short, and what it shows works."""

import pytest

from dax_lightning.run.config import build, explainer_nodes
from dax_lightning.testing import QuarterBox, QuarterTorchBox
from tests.conftest import ROOT
from tests.pages import blocks, commands, composed, jobs, lines, text

README = text("README.md")


def test_it_is_short():
    assert len(README.splitlines()) <= 150
    assert (ROOT / "README.md").stat().st_size <= 12_000


def test_it_begins_with_two_commands_that_need_nothing_before_them():
    assert lines("README.md")[:2] == ["make explain", "make test"]
    assert len(commands("README.md")) >= 8


@pytest.mark.parametrize("command", commands("README.md"))
def test_its_commands_explain_in_miniature(command, noisy_image):
    cfg = composed([*jobs(command)[0], "segmenter=grid", "q=70", "trainer.max_epochs=1", "device=cpu"])
    build(cfg.logger, "logger")
    made = {key: build(node, where, black_box=QuarterTorchBox()) for key, (where, node) in explainer_nodes(cfg).items()}
    one = made.get("lime") or next(iter(made.values()))
    assert one.explain(noisy_image, 0).queries == 70


def test_the_new_method_explains(noisy_image):
    space: dict = {}
    exec(compile(blocks("README.md", "python")[-1], "README.md", "exec"), space)
    assert space["Brightness"](QuarterBox()).explain(noisy_image, 0).saliency.equal(noisy_image.mean(0))
