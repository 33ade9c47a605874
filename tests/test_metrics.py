"""Localisation metrics against numbers worked out by hand, torchmetrics and Quantus."""

import inspect

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torchmetrics.functional.classification import binary_jaccard_index

import dax_lightning.metrics as metrics
from dax_lightning.errors import InputError
from dax_lightning.metrics import IoU, Metric, Pointing, TopShare
from dax_lightning.metrics.localisation import iou, pointing, top_share
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


@pytest.mark.parametrize("metric", [iou, pointing, top_share])
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


def test_perfect_and_inverse_maps():
    noise = 0.01 * torch.rand(12, 12, generator=generator())
    perfect = quarter + noise
    assert (iou(perfect, quarter), pointing(perfect, quarter), top_share(perfect, quarter)) == (1, 1, 1)
    assert (iou(-perfect, quarter), pointing(-perfect, quarter), top_share(-perfect, quarter)) == (0, 0, 0)


def test_random_maps_are_at_chance():
    maps = torch.rand(300, 12, 12, generator=generator())
    measured = torch.tensor([[iou(m, quarter), pointing(m, quarter), top_share(m, quarter)] for m in maps]).mean(0)
    above = 0.5 - 1 / 12**0.5  # share of uniform noise over its mean + 1 std
    by_chance = 0.25 * above / (0.25 + above - 0.25 * above)
    assert measured[0].item() == pytest.approx(by_chance, abs=0.01)
    assert measured[1].item() == pytest.approx(0.25, abs=0.08)  # 3 standard errors
    assert measured[2].item() == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize("scale", [(1.0, 0.0), (250.0, -40.0), (1e-6, 0.0)])
@pytest.mark.parametrize("metric", [iou, pointing, top_share])
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
    # their rank accuracy is the share of the truth among as many top places as the truth has
    ranks = quantus.RelevanceRankAccuracy(**settings)(**call)
    ours = [top_share(m, t, share=t.float().mean().item()) for m, t in zip(maps, truths, strict=True)]
    assert ours == pytest.approx([float(rank) for rank in ranks])


@pytest.mark.parametrize(("metric", "function"), [(IoU(k=0.0), iou), (Pointing(), pointing), (TopShare(share=0.5), top_share)])
def test_classes_call_their_functions_with_their_settings(metric, function):
    settings = [getattr(metric, name) for name in ("k", "share") if hasattr(metric, name)]
    for ignore in (None, VOID):
        assert metric(case_of(TRUTH, ignore), explanation_of(MAP)) == function(MAP, TRUTH, ignore, *settings)
    assert metric.higher_is_better
    assert metric.needs_truth


@pytest.mark.parametrize("metric", [IoU(), Pointing(), TopShare()])
@pytest.mark.parametrize(
    ("truth", "ignore"),
    [(None, None), (torch.zeros_like(TRUTH), None), (VOID, VOID), (TRUTH, torch.ones_like(TRUTH))],
    ids=["no truth", "empty truth", "truth all void", "all void"],
)
def test_no_truth_no_number(metric, truth, ignore):
    assert metric(case_of(truth, ignore), explanation_of(MAP)) is None


@pytest.mark.parametrize("function", [iou, pointing, top_share])
def test_shapes_that_differ_are_named(function):
    as_users_run_it = inspect.unwrap(function)  # the tests' own shape checks would be first
    with pytest.raises(InputError, match=r"map of shape \(2, 3\) and truth of shape \(3, 2\) differ"):
        as_users_run_it(MAP, TRUTH.T)


@pytest.mark.parametrize("share", [0.0, -0.1, 1.5])
def test_bad_share_is_named(share):
    with pytest.raises(InputError, match=rf"metric.share={share}: wanted in \(0, 1\]"):
        TopShare(share)


@pytest.mark.parametrize("name", NAMES)
def test_yaml_says_the_classes_own_defaults(name):
    config = OmegaConf.load(ROOT / "conf" / "metric" / f"{name}.yaml")
    metric = instantiate(config)
    assert metric == type(metric)()
    assert set(map(str, config)) - {"_target_"} == set(inspect.signature(type(metric)).parameters)


def test_every_metric_has_a_yaml():
    classes = [getattr(metrics, name) for name in metrics.__all__]
    configs = [OmegaConf.load(ROOT / "conf" / "metric" / f"{name}.yaml") for name in NAMES]
    written = {OmegaConf.select(config, "_target_").rsplit(".")[-1] for config in configs}
    assert written == {c.__name__ for c in classes if isinstance(c, type) and not inspect.isabstract(c)}
    assert all(issubclass(c, Metric) for c in classes)
