"""The configuration is the classes' own parameters, no more and no less."""

import inspect
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import get_object
from omegaconf import MISSING, OmegaConf

from dax_lightning.cli import build
from tests.conftest import ROOT, QuarterBox

CONF = ROOT / "conf"
GROUPS = sorted(p.name for p in CONF.iterdir() if p.is_dir() and p.name != "experiment")
FILES = sorted(p.relative_to(CONF) for group in GROUPS for p in (CONF / group).glob("*.yaml"))
EXPERIMENTS = sorted(p.stem for p in (CONF / "experiment").glob("*.yaml"))
PRESETS = {"mask_network/conv.yaml"}  # other values for a class that has a YAML with its defaults beside it


def composed(*overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", list(overrides))


def parameters(node):
    target = get_object(node["_target_"])
    given = {"black_box", *(["channels", "size"] if node.get("_partial_") else [])}  # what the program gives, not the user
    return {name: p for name, p in inspect.signature(target).parameters.items() if name not in given}


def node_of(file: Path):
    group = file.parent.name
    if group == "metric":
        return composed(f"+metric@metrics.one={file.stem}").metrics.one
    return composed(f"{group}={file.stem}")[group]


@pytest.mark.parametrize("file", FILES, ids=str)
def test_keys_are_the_parameters(file):
    node = node_of(file)
    keys = {key for key in node if not str(key).startswith("_")}
    assert keys == set(parameters(node))


@pytest.mark.parametrize("file", [f for f in FILES if f.as_posix() not in PRESETS], ids=str)
def test_values_are_the_parameters_defaults(file):
    node = node_of(file)
    defaults = {name: MISSING if p.default is p.empty else p.default for name, p in parameters(node).items()}
    for name, default in defaults.items():
        if OmegaConf.is_missing(node, name):
            assert default == MISSING, name
        elif not OmegaConf.is_config(node[name]) or OmegaConf.is_list(node[name]):
            value = OmegaConf.to_container(node[name]) if OmegaConf.is_list(node[name]) else node[name]
            default = list(default) if isinstance(default, tuple) else default
            assert value == default, name


@pytest.mark.parametrize("file", sorted(PRESETS))
def test_a_preset_stands_beside_the_defaults_of_its_class(file):
    node = node_of(Path(file))
    others = [node_of(f) for f in FILES if f.parent == Path(file).parent and f.as_posix() != file]
    assert any(other["_target_"] == node["_target_"] and other != node for other in others)


def test_every_group_choice_in_config_yaml_exists():
    assert composed().keys() >= {*GROUPS} - {"metric"} | {"metrics"}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiments_compose_and_run_in_miniature(name, noisy_image):
    cfg = composed(f"experiment={name}", "segmenter=grid", "q=80", "trainer.max_epochs=2", "device=cpu")
    made = build(cfg.explainer, "explainer", black_box=QuarterBox()).explain(noisy_image, 0)
    assert made.queries == 80


def test_v3_chooses_sam_and_the_user_has_the_last_word():
    assert composed("loss=v3").segmenter["_target_"].endswith("Sam")
    assert composed("loss=v3", "segmenter=slic").segmenter["_target_"].endswith("Slic")
    assert composed("loss=v2").segmenter["_target_"].endswith("Quickshift")


def test_shapes_bring_their_classifier_and_the_user_has_the_last_word():
    assert composed("task=shapes").black_box["_target_"].endswith("shapes_classifier")
    assert composed("task=shapes", "black_box=lite0").black_box["_target_"].endswith("lite0")


def test_values_of_the_losses_come_from_the_top():
    cfg = composed("loss=v1", "lam1=0.5", "lam2=0.25", "q=77", "seed=3")
    assert (cfg.loss.lam1, cfg.loss.lam2, cfg.explainer.q, cfg.explainer.seed) == (0.5, 0.25, 77, 3)
    assert composed("loss=v2", "lam3=0.75").loss.lam3 == 0.75
