"""The configuration is the classes' own parameters, no more and no less."""

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import get_object
from omegaconf import MISSING, OmegaConf

from dax_lightning.errors import InputError
from dax_lightning.run.config import build, explainer_nodes, idle_settings, with_short_cuts
from dax_lightning.segment.grid import Grid
from dax_lightning.segment.image import ColourClusters
from dax_lightning.segment.mosaic import OUTLINES
from dax_lightning.testing import QuarterTorchBox
from tests.conftest import ROOT

CONF = ROOT / "conf"
SETTINGS = {"experiment", "comparison", "size", "hydra"}  # groups that set values of others, and Hydra's own
GROUPS = sorted(p.name for p in CONF.iterdir() if p.is_dir() and p.name not in SETTINGS)
EMPTY = {CONF / "loss" / "mosaic.yaml"}  # a choice of nothing
FILES = sorted(p.relative_to(CONF) for group in GROUPS for p in (CONF / group).glob("*.yaml") if p not in EMPTY)
EXPERIMENTS = sorted(p.stem for p in (CONF / "experiment").glob("*.yaml"))
PRESETS = {  # other values for a class that has a YAML with its defaults beside it
    "mask_network/conv.yaml",
    "perturber/mosaic.yaml",
    "black_box/vit_tiny.yaml",
    "black_box/lite0_voc.yaml",
    "black_box/vit_tiny_voc.yaml",
    "black_box/cough_blstm.yaml",
    "black_box/esc10_resnet.yaml",
    "metric/iou_audible.yaml",
    "metric/iou_time_compress.yaml",
    "metric/iou_time_cough.yaml",
    "metric/iou_time_inhale.yaml",
    "metric/iou_time_noise.yaml",
    "metric/iou_time_silence.yaml",
    "metric/iou_time_throatclear.yaml",
    "metric/iou_time_wrong_label.yaml",
}


def composed(*overrides):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", list(overrides))


def parameters(node):
    target = get_object(node["_target_"])
    given = {"black_box", *(["channels", "size"] if node.get("_partial_") else [])}  # what the program gives, not the user
    return {name: p for name, p in inspect.signature(target).parameters.items() if name not in given}


def test_the_launcher_of_rays_keys_are_its_parameters():
    node: Any = OmegaConf.load(CONF / "hydra" / "launcher" / "ray.yaml")
    defaults = {name: one.default for name, one in inspect.signature(get_object(node.pop("_target_"))).parameters.items()}
    assert node == defaults


def lightnings(node):
    return node["_target_"].startswith("pytorch_lightning.")


def node_of(file: Path):
    group = file.parent.name
    if group == "metric":
        return composed(f"+metric@metrics.one={file.stem}").metrics.one
    return composed(f"{group}={file.stem}")[group]


@pytest.mark.parametrize("file", FILES, ids=str)
def test_keys_are_the_parameters(file):
    node = node_of(file)
    keys = {key for key in node if not str(key).startswith("_")}
    known = parameters(node)
    if lightnings(node):  # what is worth a place of the many; `mode` and `group` go on to W&B
        assert keys <= set(known) | {"mode", "group"}
    else:
        assert keys == set(known)


@pytest.mark.parametrize("file", [f for f in FILES if f.as_posix() not in PRESETS], ids=str)
def test_values_are_the_parameters_defaults(file):
    node = node_of(file)
    if lightnings(node):  # values for explanations, see test_the_configuration_trains_as_the_classes_do_by_themselves
        return
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
    assert any(other["_target_"] == node["_target_"] and (other != node or file.startswith("loss")) for other in others)


def test_every_group_choice_in_config_yaml_exists():
    assert composed().keys() >= {*GROUPS} - {"metric"} | {"metrics"}


@pytest.mark.parametrize("size", ["small", "paper"])
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_experiments_compose_and_all_their_parts_are_built(name, size, tmp_path):
    cfg = composed(f"experiment={name}", f"size={size}", "device=cpu", f"data={tmp_path}", "q=80")
    box = QuarterTorchBox()
    made = {key: build(node, where, black_box=box) for key, (where, node) in explainer_nodes(cfg).items()}
    assert made
    assert all(explainer.rows_needed(torch.zeros(3, 32, 32)) in range(10_000) for explainer in made.values())
    assert {key: build(node, f"metrics.{key}") for key, node in cfg.metrics.items()}.keys() >= {"iou", "pointing"}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_last_explainer_of_an_experiment_explains_in_miniature(name, noisy_image):
    short = ["segmenters.short.pieces=4"]  # a picture has no seconds
    own = {"table4": ["q_fewer=70"], "table7": short, "mixture": short}
    small = ("segmenter=grid", "q=80", "trainer.max_epochs=2", "device=cpu", *own.get(name, []))
    where, node = list(explainer_nodes(composed(f"experiment={name}", *small)).values())[-1]
    made = build(node, where, black_box=QuarterTorchBox()).explain(noisy_image, 0)
    assert 0 < made.queries <= 80


def target_of(name):
    node: Any = OmegaConf.load(CONF / "explainer" / f"{name}.yaml")
    return node["_target_"]


def test_the_comparison_holds_every_method():
    methods = {p.stem for p in (CONF / "explainer").glob("*.yaml")}
    listed = {node["_target_"] for node in composed("comparison=all").explainers.values()}
    assert listed == {target_of(name) for name in methods}


def test_methods_are_some():
    with pytest.raises(InputError, match=r"methods=\[\] names none: wanted some of random, occlusion"):
        explainer_nodes(composed("comparison=all", "methods=[]"))


def test_the_rivals_of_dax_mosaic_may_have_all_that_is_not_the_student():
    made = composed("comparison=mosaic").explainers
    whole = {name: made.dax[name] for name in ("targets", "averaged", "parts", "last")}
    for name in ("lime_mosaic_all", "rise_mosaic_all"):
        assert {key: made[name][key] for key in whole} == whole
    assert (made.lime_mosaic.averaged, made.lime_mosaic_plain.averaged) == (1, 0)
    assert made.dax["_target_"] == "dax_lightning.explainers.mosaic.MosaicDax"


def test_a_comparison_can_be_cut_to_some_methods():
    assert list(explainer_nodes(composed("comparison=all", "methods=[lime,dax_v1]"))) == ["lime", "dax_v1"]
    assert list(explainer_nodes(composed("comparison=all", "methods=[dax_v1,lime]"))) == ["dax_v1", "lime"]
    with pytest.raises(InputError, match="methods: lemon is not among"):
        explainer_nodes(composed("comparison=all", "methods=[lemon]"))


def test_entries_have_the_losses_they_are_named_for():
    cfg = composed("experiment=table4")
    assert cfg.explainers.v1_lam1_high.loss == {
        "_target_": "dax_lightning.explainers.dax.SparseLoss",
        "lam1": 0.01,
        "lam2": 0.02,
        "l1": "sum",
    }
    assert (cfg.explainers.v2_fewer_lam3_low.loss.lam3, cfg.explainers.v2_fewer_lam3_low.q) == (0.1, 128)
    assert composed("experiment=table4", "size=paper").explainers.v2_fewer.q == 4000


def test_a_data_folder_is_where_tasks_look():
    assert composed("task=voc", "data=here").task.root == "here/voc"
    assert composed("task=voc", "data=here", "task.root=there").task.root == "there"


def test_v3_chooses_sam_and_the_user_has_the_last_word():
    assert composed("loss=v3").segmenter["_target_"].endswith("Sam")
    assert composed("loss=v3", "segmenter=slic").segmenter["_target_"].endswith("Slic")
    assert composed("loss=v2").segmenter["_target_"].endswith("Default")


@pytest.mark.parametrize(("name", "clusters"), [("no_clusters", False), ("no_graphs", True)])
def test_without_some_outlines_the_mosaic_keeps_the_others(name, clusters):
    mosaic = build(composed("experiment=mosaic").mosaics[name], f"mosaics.{name}")
    assert list(mosaic.outlines) == [one for one in OUTLINES if isinstance(one, ColourClusters) == clusters]


@pytest.mark.parametrize(
    ("part", "told"),
    [
        ("{_target_: dax_lightning.segment.grid.Grid, rows: 0}", "segmenter.rows=0"),
        ("{_target_: dax_lightning.segment.grid.Grid, rows: two}", r"mosaic.others.1.rows=two is text, wanted int"),
        (
            "{_target_: dax_lightning.segment.grid.Grid, lines: 2}",
            r"mosaic.others.1.lines is no setting of Grid: it has rows, columns",
        ),
        ("7", "mosaic.others=.* is list, wanted"),
    ],
)
def test_the_segmenters_of_a_list_are_checked_each(part, told):
    grid = "{_target_: dax_lightning.segment.grid.Grid, rows: 3}"
    made = build(composed(f"mosaic.others=[{grid}]").mosaic, "mosaic")
    assert made.others == [Grid(rows=3)]
    with pytest.raises(InputError, match=told):
        build(composed(f"mosaic.others=[{grid},{part}]").mosaic, "mosaic")


@pytest.mark.parametrize("loss", ["v1", "v2", "v3"])
def test_the_papers_losses_choose_the_papers_dax_and_the_user_has_the_last_word(loss):
    assert composed(f"loss={loss}").explainer["_target_"] == "dax_lightning.explainers.dax.Dax"
    assert composed(f"loss={loss}", "explainer=lime").explainer["_target_"].endswith("Lime")
    assert composed().explainer["_target_"].endswith("MosaicDax")
    assert composed("comparison=all").explainers.dax_v1["_target_"] == "dax_lightning.explainers.dax.Dax"


@pytest.mark.parametrize("explainer", ["dax_paper", "dame"])
def test_the_papers_dax_wants_one_of_the_papers_losses(explainer):
    with pytest.raises(InputError, match=f"explainer={explainer} needs one of the paper's losses: add loss=v2, or v1, v3"):
        with_short_cuts([f"explainer={explainer}"])
    assert composed(*with_short_cuts([f"explainer={explainer}", "loss=v1"])).loss["_target_"].endswith("SparseLoss")


def test_dax_mosaic_has_no_loss():
    cfg = composed("comparison=mosaic", "loss=v2")
    assert "loss" not in cfg.explainers.dax
    (told,) = idle_settings(cfg, explainer_nodes(cfg), ["loss=v2"])
    assert told.startswith("loss=v2 changes nothing: ")
    assert composed("loss=mosaic").explainer["_target_"].endswith("MosaicDax")


def test_shapes_bring_their_classifier_and_the_user_has_the_last_word():
    assert composed("task=shapes").black_box["_target_"].endswith("shapes_classifier")
    assert composed("task=shapes", "black_box=lite0").black_box["_target_"].endswith("lite0")


def test_values_of_the_losses_come_from_the_top():
    cfg = composed("loss=v1", "lam1=0.5", "lam2=0.25", "q=77", "seed=3")
    assert (cfg.loss.lam1, cfg.loss.lam2, cfg.explainer.q, cfg.explainer.seed) == (0.5, 0.25, 77, 3)
    assert composed("loss=v2", "lam3=0.75").loss.lam3 == 0.75
