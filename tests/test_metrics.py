"""Localisation metrics against numbers worked out by hand, torchmetrics and Quantus."""

import dataclasses
import importlib
import inspect
import pkgutil
from typing import Any

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torchmetrics.functional.classification import binary_jaccard_index

import dax_lightning.metrics as metrics
from dax_lightning.black_box import from_function
from dax_lightning.errors import InputError
from dax_lightning.explainers.base import Explainer, Found
from dax_lightning.metrics import IoU, Metric, Pointing, TopShare
from dax_lightning.metrics.localisation import (
    IoUBest,
    IoUWrongLabel,
    RelevanceMass,
    RelevanceRank,
    iou,
    iou_best,
    mass_accuracy,
    pointing,
    rank_accuracy,
    top_share,
)
from dax_lightning.types import Case, Explanation
from tests.conftest import ROOT

MAP = torch.tensor([[0.0, 1.0, 2.0], [3.0, 4.0, 8.0]])  # mean 3, variance (9 + 4 + 1 + 0 + 1 + 25) / 6, std 2.58
TRUTH = torch.tensor([[False, False, True], [False, True, True]])
VOID = torch.tensor([[False, False, False], [False, False, True]])
NAMES = sorted(path.stem for path in (ROOT / "conf" / "metric").glob("*.yaml"))
quarter = torch.zeros(12, 12, dtype=torch.bool)
quarter[:6, :6] = True


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def case_of(truth, ignore=None):
    shape = (2, 3) if truth is None else tuple(truth.shape)
    return Case("a", torch.zeros(3, *shape), 0, truth, ignore)


def explanation_of(saliency):
    return Explanation(saliency, target=0, score=0.5, queries=1, seconds=0.0)


@pytest.mark.parametrize(
    ("k", "expected"),
    [
        (0.0, 2 / 3),  # above 3: the 4 and the 8, both true; the 2 is missed
        (1.0, 1 / 3),  # above 5.58: the 8
        (2.0, 0.0),  # above 8.16: nothing
        (-0.5, 3 / 4),  # above 1.71: 2, 3, 4, 8; the 3 is not true
    ],
)
def test_iou_by_hand(k, expected):
    assert iou(MAP, TRUTH, k=k) == pytest.approx(expected)


def test_iou_takes_its_threshold_from_the_places_that_count():
    # without the 8: mean 2, std 1.41, above 3.41 is the 4 alone, true are the 2 and the 4
    assert iou(MAP, TRUTH, VOID) == pytest.approx(1 / 2)


def test_pointing_by_hand():
    assert pointing(MAP, TRUTH) == 1
    assert pointing(-MAP, TRUTH) == 0
    assert pointing(MAP, TRUTH.logical_not(), VOID) == 0  # the peak that counts is the 4
    assert pointing(MAP.clamp(max=3), TRUTH) == pytest.approx(2 / 3)  # a peak of three places, two of them true


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.1, 1.0), (1 / 3, 1.0), (0.5, 2 / 3), (1.0, 1 / 2)],  # 1, 2, 3 and 6 places
)
def test_top_share_by_hand(share, expected):
    assert top_share(MAP, TRUTH, share=share) == pytest.approx(expected)


def test_top_share_shares_out_the_tied_places():
    saliency = torch.tensor([9.0, 5.0, 5.0, 5.0, 1.0, 0.0])
    truth = torch.tensor([True, True, False, False, True, True])
    # three places: the 9 for sure, and two of the three 5s, of which a third is true
    assert top_share(saliency, truth, share=0.5) == pytest.approx((1 + 2 / 3) / 3)
    assert top_share(saliency.flip(0), truth.flip(0), share=0.5) == pytest.approx((1 + 2 / 3) / 3)


def test_top_share_counts_its_share_from_the_places_that_count():
    # five places count: half of them, rounded to two, are the 4 and the 3
    assert top_share(MAP, TRUTH, VOID, share=0.4) == pytest.approx(1 / 2)


def test_iou_best_by_hand():
    # from the 8 down: 1/3, 2/3, 2/4, 3/4 (with the 2), 3/5, 3/6
    assert iou_best(MAP, TRUTH) == pytest.approx(3 / 4)
    assert iou_best(MAP, TRUTH, VOID) == pytest.approx(2 / 3)  # from the 4 down: 1/2, 1/3, 2/3, 2/4, 2/5
    assert iou_best(MAP.clamp(min=2), TRUTH) == pytest.approx(2 / 3)  # the 2 comes with two others: 3/6
    assert iou_best(-MAP, TRUTH) == pytest.approx(1 / 2)  # everything, the truth's share


@pytest.mark.parametrize("levels", [2, 5, 1000])
@pytest.mark.parametrize("seed", range(4))
def test_iou_best_is_the_best_of_all_thresholds(seed, levels):
    saliency = (torch.rand(9, 7, generator=generator(seed)) * levels).floor()
    truth, void = (torch.rand(9, 7, generator=generator(seed + n)) > 0.7 for n in (50, 99))
    labels = truth.long().masked_fill(void, -1)
    with_each = [binary_jaccard_index((saliency >= value).float(), labels, ignore_index=-1) for value in saliency.unique()]
    assert iou_best(saliency, truth, void) == pytest.approx(max(with_each).item())
    assert iou_best(saliency, truth, void) >= max(iou(saliency, truth, void, k) for k in (-1.0, 0.0, 0.5, 1.0))


@pytest.mark.parametrize(
    "oracle", [lambda t: t, lambda t: 7.5 * t - 40, lambda t: t + 0.9 * torch.rand(12, 12, generator=generator())]
)
def test_an_oracle_map_scores_exactly_one_at_best_k(oracle):
    assert iou_best(oracle(quarter.float()), quarter) == 1
    void = torch.rand(12, 12, generator=generator(1)) > 0.7
    assert iou_best(oracle(quarter.float()).masked_fill(void, 99.0), quarter, void) == 1


def test_iou_best_keeps_the_whole_curve():
    measured: Any = IoUBest(k_min=-0.5, k_max=2.0, k_step=0.5).measure(case_of(TRUTH, VOID), explanation_of(MAP))
    assert measured.value == iou_best(MAP, TRUTH, VOID)
    assert measured.curve.x == [-0.5, 0, 0.5, 1, 1.5, 2]
    assert measured.curve.y == [iou(MAP, TRUTH, VOID, k) for k in measured.curve.x]
    ks = IoUBest().ks()
    assert (len(ks), ks[0], ks[20], ks[30], ks[-1]) == (61, -2, 0, 1, 4)


@pytest.mark.parametrize("settings", [{"k_step": 0.0}, {"k_step": -0.5}, {"k_min": 2.0, "k_max": 1.0}])
def test_bad_sweep_is_named(settings):
    with pytest.raises(InputError, match="wanted k_min up to k_max in positive steps"):
        IoUBest(**settings)


def test_mass_accuracy_by_hand():
    assert mass_accuracy(MAP, TRUTH) == pytest.approx(14 / 18)
    assert mass_accuracy(MAP, TRUTH, VOID) == pytest.approx(6 / 10)
    assert mass_accuracy(MAP - 3, TRUTH) == pytest.approx(6 / 6)  # left are 1 and 5; what speaks against is no mass
    assert mass_accuracy(MAP - 3, ~TRUTH) == 0
    assert mass_accuracy(-MAP, TRUTH) == 0  # nothing speaks for it anywhere


def test_rank_accuracy_by_hand():
    assert rank_accuracy(MAP, TRUTH) == pytest.approx(2 / 3)  # of the 8, 4 and 3 the first two are true
    assert rank_accuracy(MAP, TRUTH, VOID) == pytest.approx(1 / 2)  # two places: the 4 and the 3
    assert rank_accuracy(MAP.clamp(max=3), TRUTH) == pytest.approx(2 / 3)  # the three tied places
    assert rank_accuracy(MAP.clamp(max=1), TRUTH) == pytest.approx(3 / 5)  # three of five tied ones


class ByTarget(Explainer):
    """Explains each target by its own map."""

    name = "by target"

    def __init__(self, maps):
        super().__init__(from_function(lambda rows: rows.mean((2, 3)), multi_label=True, size=(2, 3)))
        self.maps = maps

    def _explain(self, x, target, generator, segments):
        return Found(self.maps[target], score=0.5)


def test_the_wrong_label_is_explained_and_held_against_the_object():
    explainer, case = ByTarget({0: MAP, 1: -MAP}), dataclasses.replace(case_of(TRUTH, VOID), wrong=1)
    measured = IoUWrongLabel()(case, explanation_of(MAP), explainer)
    assert measured == iou(-MAP, TRUTH, VOID) != iou(MAP, TRUTH, VOID)
    assert IoUWrongLabel(k=-2.0)(case, explanation_of(MAP), explainer) == iou(-MAP, TRUTH, VOID, k=-2.0) != measured


def test_no_wrong_label_no_number():
    assert IoUWrongLabel().measure(case_of(TRUTH), explanation_of(MAP), ByTarget({})) is None
    assert IoUWrongLabel().measure(dataclasses.replace(case_of(TRUTH), wrong=7), explanation_of(MAP)) is None  # and no explainer


@pytest.mark.parametrize("metric", [iou, iou_best, pointing, top_share, mass_accuracy, rank_accuracy])
def test_what_lies_on_void_changes_nothing(metric):
    saliency, truth = torch.rand(10, 10, generator=generator()), torch.rand(10, 10, generator=generator(1)) > 0.6
    void = torch.rand(10, 10, generator=generator(2)) > 0.7
    before = metric(saliency, truth, void)
    assert metric(torch.where(void, 100.0, saliency), truth, void) == before
    assert metric(torch.where(void, -100.0, saliency), truth ^ void, void) == before
    assert metric(torch.where(void, 100.0, saliency), truth & ~void) != before  # and it would without it


@pytest.mark.parametrize("value", [0.0, 0.1, 0.7349993586540222, 0.859894871711731, -3.3, 1e6])
@pytest.mark.parametrize("size", [7, 224])
def test_a_flat_map_knows_nothing(value, size):
    truth = torch.zeros(size, size, dtype=torch.bool)
    truth[: size // 2] = True
    flat, share = torch.full((size, size), value), truth.float().mean().item()
    assert [iou(flat, truth, k=k) for k in (0.0, 0.5, 1.0)] == [0, 0, 0]
    assert pointing(flat, truth) == pytest.approx(share)
    assert top_share(flat, truth) == pytest.approx(share)
    assert iou_best(flat, truth) == 0
    assert rank_accuracy(flat, truth) == pytest.approx(share)
    assert mass_accuracy(flat, truth) == pytest.approx(share if value > 0 else 0)


def test_perfect_and_inverse_maps():
    noise = 0.01 * torch.rand(12, 12, generator=generator())
    perfect = quarter + noise
    assert (iou(perfect, quarter), pointing(perfect, quarter), top_share(perfect, quarter)) == (1, 1, 1)
    assert (iou(-perfect, quarter), pointing(-perfect, quarter), top_share(-perfect, quarter)) == (0, 0, 0)
    assert (iou_best(perfect, quarter), rank_accuracy(perfect, quarter), rank_accuracy(-perfect, quarter)) == (1, 1, 0)
    assert mass_accuracy(perfect, quarter) == pytest.approx(36 * 1.005 / (36 * 1.005 + 108 * 0.005), rel=1e-3)


def test_random_maps_are_at_chance():
    maps = torch.rand(300, 12, 12, generator=generator())
    measured = torch.tensor([[iou(m, quarter), pointing(m, quarter), top_share(m, quarter)] for m in maps]).mean(0)
    above = 0.5 - 1 / 12**0.5  # share of uniform noise over its mean + 1 std
    by_chance = 0.25 * above / (0.25 + above - 0.25 * above)
    assert measured[0].item() == pytest.approx(by_chance, abs=0.01)
    assert measured[1].item() == pytest.approx(0.25, abs=0.08)  # 3 standard errors
    assert measured[2].item() == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize("scale", [(1.0, 0.0), (250.0, -40.0), (1e-6, 0.0)])
@pytest.mark.parametrize("metric", [iou, iou_best, pointing, top_share, rank_accuracy])
def test_a_maps_own_units_do_not_matter(metric, scale):
    saliency = torch.rand(12, 12, generator=generator())
    assert metric(saliency * scale[0] + scale[1], quarter) == metric(saliency, quarter)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("k", [0.0, 1.0, 1.5])
def test_iou_agrees_with_torchmetrics(seed, k):
    saliency, truth = torch.rand(15, 11, generator=generator(seed)), torch.rand(15, 11, generator=generator(seed + 50)) > 0.5
    void = torch.rand(15, 11, generator=generator(seed + 99)) > 0.8
    counted = saliency.numpy()[~void.numpy()].astype(np.float64)
    threshold = float(counted.mean() + k * counted.std())
    theirs = binary_jaccard_index(saliency, truth.long().masked_fill(void, -1), threshold=threshold, ignore_index=-1)
    assert iou(saliency, truth, void, k) == pytest.approx(theirs.item())


def test_agrees_with_quantus():
    quantus = pytest.importorskip("quantus", reason="a dev dependency")
    maps = torch.rand(20, 12, 12, generator=generator(5))
    truths = torch.rand(20, 12, 12, generator=generator(6)) > 0.75
    call = {
        "model": torch.nn.Identity(),
        "x_batch": np.zeros((20, 1, 12, 12), np.float32),
        "y_batch": np.zeros(20, int),
        "a_batch": maps[:, None].numpy(),
        "s_batch": truths[:, None].numpy(),
    }
    settings = {"disable_warnings": True, "normalise": False, "abs": False}
    hits = quantus.PointingGame(**settings)(**call)
    assert [pointing(m, t) for m, t in zip(maps, truths, strict=True)] == [float(hit) for hit in hits]
    assert 0 < sum(hits) < 20
    for theirs, ours in ((quantus.RelevanceRankAccuracy, rank_accuracy), (quantus.RelevanceMassAccuracy, mass_accuracy)):
        numbers = theirs(**settings)(**call)
        assert [ours(m, t) for m, t in zip(maps, truths, strict=True)] == pytest.approx([float(number) for number in numbers])


@pytest.mark.parametrize(
    ("metric", "function"),
    [
        (IoU(k=0.0), iou),
        (IoUBest(), iou_best),
        (Pointing(), pointing),
        (TopShare(share=0.5), top_share),
        (RelevanceMass(), mass_accuracy),
        (RelevanceRank(), rank_accuracy),
    ],
)
def test_classes_call_their_functions_with_their_settings(metric, function):
    settings = [getattr(metric, name) for name in ("k", "share") if hasattr(metric, name)]
    for ignore in (None, VOID):
        assert metric(case_of(TRUTH, ignore), explanation_of(MAP)) == function(MAP, TRUTH, ignore, *settings)
    assert metric.higher_is_better
    assert metric.needs_truth


@pytest.mark.parametrize("metric", [IoU(), IoUBest(), Pointing(), TopShare(), RelevanceMass(), RelevanceRank(), IoUWrongLabel()])
@pytest.mark.parametrize(
    ("truth", "ignore"),
    [(None, None), (torch.zeros_like(TRUTH), None), (VOID, VOID), (TRUTH, torch.ones_like(TRUTH))],
    ids=["no truth", "empty truth", "truth all void", "all void"],
)
def test_no_truth_no_number(metric, truth, ignore):
    assert metric(case_of(truth, ignore), explanation_of(MAP)) is None


@pytest.mark.parametrize("function", [iou, iou_best, pointing, top_share, mass_accuracy, rank_accuracy])
def test_shapes_that_differ_are_named(function):
    as_users_run_it = inspect.unwrap(function)  # the tests' own shape checks would be first
    with pytest.raises(InputError, match=r"map of shape \(2, 3\) and truth of shape \(3, 2\) differ"):
        as_users_run_it(MAP, TRUTH.T)


@pytest.mark.parametrize("share", [0.0, -0.1, 1.5])
def test_bad_share_is_named(share):
    with pytest.raises(InputError, match=rf"metric.share={share}: wanted in \(0, 1\]"):
        TopShare(share)


PRESETS = {  # other values for a class that has a YAML with its defaults beside it
    *("deletion_time", "insertion_time", "iou_audible", "iou_time_best", "iou_time_wrong_label", "pointing_time"),
    *("iou_time_compress", "iou_time_cough", "iou_time_inhale", "iou_time_noise", "iou_time_silence", "iou_time_throatclear"),
}


@pytest.mark.parametrize("name", NAMES)
def test_yaml_says_the_classes_own_defaults(name):
    config = OmegaConf.load(ROOT / "conf" / "metric" / f"{name}.yaml")
    metric = instantiate(config)
    assert metric == type(metric)() or name in PRESETS
    assert set(map(str, config)) - {"_target_"} == set(inspect.signature(type(metric)).parameters)


def test_every_metric_has_a_yaml_and_is_public():
    modules = [importlib.import_module(f"dax_lightning.metrics.{found.name}") for found in pkgutil.iter_modules(metrics.__path__)]
    classes = {c for module in modules for c in vars(module).values() if inspect.isclass(c) and issubclass(c, Metric)}
    configs = [OmegaConf.load(ROOT / "conf" / "metric" / f"{name}.yaml") for name in NAMES]
    written = {OmegaConf.select(config, "_target_").rsplit(".")[-1] for config in configs}
    assert written == {c.__name__ for c in classes - {Metric}}
    assert written < set(metrics.__all__)
