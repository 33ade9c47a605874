"""Many segmentations: the stack, its copies, and DAX-Mosaic and its rivals on them."""

import contextlib
import inspect
import itertools
from dataclasses import replace
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from omegaconf import OmegaConf

import dax_lightning.baselines.mosaic as rivals
import dax_lightning.learnable as heard
import dax_lightning.mosaic as many
from dax_lightning.answers import Answers, ask, in_space, log_odds
from dax_lightning.baselines.lime import weighted_ridge
from dax_lightning.baselines.mosaic import LimeOnMosaic, RidgeOnMosaic, RiseOnMosaic
from dax_lightning.black_box import CallableBlackBox
from dax_lightning.dax import CounterfactualLoss, MaskNetwork, MlpStudent, MosaicDax, Training, mosaic
from dax_lightning.dax.data import PooledCopies
from dax_lightning.dax.module import DaxModule, Ensemble, Recorder
from dax_lightning.dax.mosaic import SegmentMask
from dax_lightning.errors import InputError, SingleSegment
from dax_lightning.learnable import class_profile, learnable
from dax_lightning.metrics.sensitivity import rank_correlation
from dax_lightning.mosaic import Copies, Mosaic, additive, averaged_within, cut_out, kept_minus_removed, stacked, standardised
from dax_lightning.perturb import Perturber, closeness, filled, level_of, painted
from dax_lightning.segment import ColourClusters, Felzenszwalb, FromCase, Grid
from tests.conftest import ROOT, QuarterBox

SIDE = 12
X = torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
PARTITIONS = [Grid(2, 2)(X), Grid(3, 4)(X), Grid(1, 5)(X)]
LEVELS = stacked(PARTITIONS)
FIXED = Mosaic(Grid(4, 4), [Grid(3, 3), Grid(8, 2)], [])
OUTLINED = Mosaic(FIXED.segmenter, FIXED.others, [Grid(5, 1), Grid(2, 7)])


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


class Overheard(QuarterBox):
    """Keeps the rows it was asked about."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def _scores(self, x):
        self.asked.append(x)
        return super()._scores(x)


def batches(perturber, n, seed=0):
    parts = list(perturber(X, LEVELS, n, torch.Generator().manual_seed(seed)))
    return (torch.cat([getattr(part, name) for part in parts]) for name in ("inputs", "kept", "weight"))


def random_kept(n):
    _, kept, _ = batches(Perturber(kept_share=0.4, kept_share_max=0.8), n)
    return kept


def training(**changed):
    return Training(**{"lr_mask": 0.05, "lr_student": 0.004, "max_epochs": 5, "progress": False, **changed})


def test_ids_go_on_from_one_partition_to_the_next():
    assert [(int(one.min()), int(one.max())) for one in LEVELS] == [(0, 3), (4, 15), (16, 20)]
    assert level_of(LEVELS, X).tolist() == [0] * 4 + [1] * 12 + [2] * 5
    assert level_of(PARTITIONS[1], X).tolist() == [0] * 12


def test_a_segmenter_that_finds_one_segment_is_left_out():
    plain = torch.full((3, 8, 8), 0.5)
    assert len(Mosaic(Grid(2, 2), [Felzenszwalb(), Grid(3, 3)])(plain)) == 2


def test_the_first_segmenter_is_not_left_out():
    with pytest.raises(InputError, match="found 1 segment"):
        Mosaic(Felzenszwalb(), [Grid(2, 2)])(torch.full((3, 8, 8), 0.5))
    with pytest.raises(InputError, match="does not fit"):
        Mosaic(Grid(2, 2), [Grid(20, 20)])(X)


def test_a_given_partition_takes_the_first_place():
    own = Grid(1, 3)(X)
    assert torch.equal(FIXED(X, own)[0], own)
    assert len(Mosaic(FromCase(), [Grid(2, 2)])(X, own)) == 2


def test_outlines_come_after_the_partitions_and_no_copy_is_made_of_them():
    levels = OUTLINED(X)
    assert torch.equal(levels, FIXED(X))
    found, own = OUTLINED.outlined(X, levels), [Grid(5, 1)(X), Grid(2, 7)(X)]
    assert torch.equal(found[: len(levels)], levels)
    assert torch.equal(found[len(levels) :], stacked(own) + levels.max() + 1)
    assert torch.equal(FIXED.outlined(X, levels), levels)
    plain = torch.full((3, 8, 8), 0.5)
    assert len(Mosaic(Grid(2, 2), [], [Felzenszwalb(), Grid(4, 4)]).outlined(plain, Grid(2, 2)(plain)[None])) == 2


def test_the_default_outlines_are_graph_segmentations_of_three_scales_and_smoothings_and_clusters_of_colours():
    parts = [(one.scale, one.sigma, one.min_size) for one in many.OUTLINES if isinstance(one, Felzenszwalb)]
    assert parts == [(scale, sigma, scale) for scale in (100, 300, 1000) for sigma in (0.5, 1.2, 2.0)]
    colours = [one.n_clusters for one in many.OUTLINES if isinstance(one, ColourClusters)]
    assert colours == [4, 6, 8, 12, 16, 24, 32, 48]
    x = F.interpolate(torch.rand(1, 3, 8, 8), size=(96, 96))[0]  # 64 patches of 144 pixels
    levels = Grid(2, 2)(x)[None]
    found, own = Mosaic(Grid(2, 2), []).outlined(x, levels), []
    for one in many.OUTLINES:
        with contextlib.suppress(SingleSegment):
            own.append(one(x))
    assert len(own) >= 3 + len(colours)
    assert torch.equal(found, torch.cat([levels, stacked(own) + 4]))


def test_an_outline_that_does_not_fit_is_named_before_any_query(noisy_image):
    bad = Mosaic(Grid(4, 4), [], [Grid(40, 40)])
    for kind in (MosaicDax, RiseOnMosaic, LimeOnMosaic, RidgeOnMosaic):
        box = QuarterBox()
        with pytest.raises(InputError, match="does not fit"):
            kind(box, bad, q=60).explain(noisy_image, 0)
        assert box.seen == 0


def test_all_segmenters_are_prepared():
    class Counted(Grid):
        def prepare(self):
            prepared.append(self)

    prepared: list[Grid] = []
    parts = [Counted(2, 2), Counted(3, 3), Counted(4, 4)]
    Mosaic(parts[0], parts[1:2], parts[2:]).prepare()
    assert prepared == parts


@pytest.mark.parametrize("kind", [RiseOnMosaic, LimeOnMosaic, RidgeOnMosaic])
def test_the_maps_of_rivals_are_averaged_within_the_outlines(kind, noisy_image, monkeypatch):
    raw = torch.arange(32.0 * 32).view(32, 32)
    monkeypatch.setattr(kind, "_map", lambda *_: (raw, None))
    made = [
        kind(QuarterBox(), each, Perturber(fill="zeros"), q=60).explain(noisy_image, 0).saliency for each in (FIXED, OUTLINED)
    ]
    levels = FIXED(noisy_image)
    torch.testing.assert_close(made[0], averaged_within(raw, levels))
    torch.testing.assert_close(made[1], averaged_within(raw, OUTLINED.outlined(noisy_image, levels)))
    assert not torch.allclose(*made)
    plain = kind(QuarterBox(), OUTLINED, Perturber(fill="zeros"), q=60, averaged=0).explain(noisy_image, 0).saliency
    assert torch.equal(plain, raw)
    twice = kind(QuarterBox(), FIXED, Perturber(fill="zeros"), q=60, averaged=2).explain(noisy_image, 0).saliency
    torch.testing.assert_close(twice, averaged_within(made[0], levels))


class ManyClasses(QuarterBox):
    """Of 40 classes, 20 speak for the top left quarter and 20 against it, each with noise of its own: most of it in class 0."""

    def __init__(self):
        super().__init__(classes=None)

    def _scores(self, x):
        seen = super()._scores(x)[:, :1]
        seed = (x.flatten(1).sum(1) * 1e4).long().tolist()
        noise = torch.stack([torch.randn(40, generator=torch.Generator().manual_seed(abs(s))) for s in seed])
        sign = torch.cat([torch.ones(20), -torch.ones(20)])
        return (6 * (seen - 0.5) * sign + noise * torch.cat([torch.full((1,), 4.0), torch.full((39,), 0.5)])).softmax(1)


def many_answers(x, box=None, q=200):
    levels = FIXED(x)
    perturber = Perturber(fill="zeros", weight="uniform")
    return levels, ask(box or ManyClasses(), perturber, x, levels, 0, q, torch.Generator().manual_seed(0))


def test_the_profile_is_a_weighted_sum_of_standardised_log_ratios(noisy_image):
    _, answers = many_answers(noisy_image)
    weight = torch.rand(200, generator=torch.Generator().manual_seed(1))
    found = class_profile(Answers(answers.kept, weight, 3, answers.classes))
    p, w = answers.classes.double().numpy(), weight.double().numpy()
    ratios = np.log(np.maximum(p, 1e-5))
    ratios -= ratios.mean(1, keepdims=True)
    own = np.log(p[:, 3] / (1 - p[:, 3]))
    expected = 0
    for column in ratios.T:
        covariance = np.cov(column, own, aweights=w, ddof=0)
        correlation = covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])
        expected += correlation * (column - np.average(column, weights=w)) / np.sqrt(covariance[0, 0])
    assert found is not None
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-4)


def test_the_profile_tells_two_targets_of_one_answer_apart(noisy_image):
    _, answers = many_answers(noisy_image)
    left, right = (class_profile(Answers(answers.kept, answers.weight, t, answers.classes)) for t in (3, 30))
    assert left is not None
    assert right is not None
    assert torch.corrcoef(torch.stack([left, right]))[0, 1] < -0.9


def test_of_two_classes_the_profile_is_the_targets_own(noisy_image):
    _, answers = many_answers(noisy_image)
    own = answers.classes[:, 3].clamp(0.01, 0.99)
    profile = class_profile(Answers(answers.kept, answers.weight, 0, torch.stack([own, 1 - own], 1)))
    assert profile is not None
    assert torch.corrcoef(torch.stack([profile, log_odds(own)]))[0, 1] > 0.9999


def test_what_never_changes_but_for_rounding_says_nothing():
    kept, weight = torch.ones(3, 1).bool(), torch.ones(3)
    noisy = torch.tensor([[0.5, 0.3, 0.2]]) + torch.tensor([[0, 0, 0], [1e-7, -1e-7, 0], [0, 1e-7, -1e-7]])
    for target in range(3):
        profile = class_profile(Answers(kept, weight, target, noisy))
        assert profile is not None
        assert not profile.any()


def test_a_single_class_has_no_profile():
    assert class_profile(Answers(torch.ones(3, 1).bool(), torch.ones(3), 0, torch.tensor([[0.995], [1.0], [0.999]]))) is None


@pytest.mark.parametrize(("short", "known"), [(0.008, True), (0.02, False)])
def test_rounding_takes_no_profile_away(short, known):
    classes = torch.tensor([[0.6, 0.3, 0.1], [0.4, 0.5 - short, 0.1], [0.2, 0.2, 0.6]])
    assert (class_profile(Answers(torch.ones(3, 1).bool(), torch.ones(3), 0, classes)) is not None) == known


def test_many_classes_are_worked_on_some_at_a_time(noisy_image, monkeypatch):
    _, answers = many_answers(noisy_image)
    whole = class_profile(answers)
    monkeypatch.setattr(heard, "_TOGETHER", 7)
    parts = class_profile(answers)
    assert whole is not None
    assert parts is not None
    torch.testing.assert_close(parts, whole)


def about_another_place(x, share):
    """The target says what is noise and, by a ``share``, the bottom right quarter; 60 other classes say the top left one."""
    levels, answers = many_answers(x, q=300)
    rng = torch.Generator().manual_seed(2)
    shown = torch.stack([answers.kept[:, levels[0][place]] for place in ((0, 0), (-1, -1))], 1).float()
    others = 3 * shown[:, :1] * torch.randn(1, 60, generator=rng) + 0.3 * torch.randn(300, 60, generator=rng)
    own = (share * shown[:, 1:] + torch.randn(300, 1, generator=rng)).sigmoid()
    return levels, Answers(answers.kept, answers.weight, 0, torch.cat([own, (1 - own) * others.softmax(1)], 1))


@pytest.mark.parametrize("share", [0.0, 1.5])
def test_a_profile_that_is_about_something_else_is_not_learned(share, noisy_image):
    levels, answers = about_another_place(noisy_image, share)
    profile = class_profile(answers)
    assert profile is not None
    own = Copies(answers.kept, log_odds(answers.probability), levels, answers.weight)
    r2 = [additive(each).r2 for each in (own, replace(own, values=profile))]
    assert r2[1] > r2[0]
    found = learnable(answers, levels, "profile")
    assert found.notes["profile"] is False
    assert found.notes["profile_correlation"] < 0.5
    assert torch.equal(found.values, log_odds(answers.probability))


def test_weights_count_in_what_is_learned(noisy_image):
    levels, answers = many_answers(noisy_image)
    first = torch.arange(200) < 120
    light = Answers(
        answers.kept, torch.where(first, 1.0, 1e-9), 0, torch.where(first[:, None], answers.classes, answers.classes.flip(1))
    )
    alone = Answers(answers.kept[:120], torch.ones(120), 0, answers.classes[:120])
    one, other = (learnable(each, levels, "profile") for each in (light, alone))
    assert one.notes["profile"] is other.notes["profile"] is True
    assert one.notes["profile_correlation"] == pytest.approx(other.notes["profile_correlation"], abs=1e-4)
    torch.testing.assert_close(one.values[:120], other.values, rtol=1e-3, atol=1e-3)


def test_probabilities_keep_their_scale():
    dax, data = mosaic_and_data(targets="probability")
    assert torch.equal(data.teacher, data.probability)
    assert ((dax._module(data).answers(*data.pool(data.kept)) - 0.5).abs() < 0.5).all()


def test_the_answers_of_all_classes_are_let_go():
    _, data = mosaic_and_data()
    assert data.probability.untyped_storage().nbytes() == 60 * 4


def test_the_profile_is_learned_where_places_foretell_it_better(noisy_image):
    levels, answers = many_answers(noisy_image)
    found = learnable(answers, levels, "profile")
    profile = class_profile(answers)
    assert profile is not None
    own = Copies(answers.kept, log_odds(answers.probability), levels, answers.weight)
    r2 = [additive(each).r2 for each in (own, replace(own, values=profile))]
    assert r2[1] > r2[0] + 0.1
    assert found.notes["profile"] is True
    assert 0 < found.notes["profile_correlation"] < 0.9
    torch.testing.assert_close(found.values, profile)
    torch.testing.assert_close(found.own, log_odds(answers.probability))


def test_the_targets_own_answer_is_learned_where_the_others_are_noise(noisy_image):
    levels, answers = many_answers(noisy_image)
    p, others = answers.probability, torch.rand(200, 30, generator=torch.Generator().manual_seed(4))
    own = (p - p.min()) / (p.max() - p.min()) * 0.1 + answers.kept[:, levels[0, 0, 0]] * 0.4 + 0.1
    noisy = Answers(
        answers.kept, answers.weight, 0, torch.cat([own[:, None], others / others.sum(1, keepdim=True) * (1 - own[:, None])], 1)
    )
    found = learnable(noisy, levels, "profile")
    assert found.notes["profile"] is False
    assert torch.equal(found.values, found.own)


def test_answers_that_are_no_distribution_have_no_profile(noisy_image):
    levels, answers = many_answers(noisy_image)
    firsts = answers.classes.topk(5, 1)
    told = torch.zeros_like(answers.classes).scatter(1, firsts.indices, firsts.values)
    found = learnable(Answers(answers.kept, answers.weight, 0, told), levels, "profile")
    assert found.notes == {"profile": False}
    assert torch.equal(found.values, log_odds(told[:, 0]))


@pytest.mark.parametrize("scale", ["log_odds", "probability"])
def test_a_scale_of_the_targets_own_is_what_is_learned(scale, noisy_image):
    levels, answers = many_answers(noisy_image)
    found = learnable(answers, levels, scale)
    assert found.notes == {}
    assert torch.equal(found.values, in_space(answers.probability, scale))


def test_masks_and_evidence_learn_the_profile_and_the_ridge_and_the_cut_the_targets_own(noisy_image, monkeypatch):
    asked, cut = [], []
    monkeypatch.setattr(mosaic, "additive", lambda *given: asked.append(given) or additive(*given))
    monkeypatch.setattr(many.Cut, "__call__", lambda _, saliency, *given: cut.append(given) or (saliency, {}))
    dax = MosaicDax(
        ManyClasses(),
        FIXED,
        Perturber(fill="zeros", weight="uniform"),
        training=training(),
        q=200,
        student_copies=0,
        adaptive=0.0,
    )
    data = dax._data(noisy_image, 0, torch.Generator().manual_seed(0), None)
    data.setup()
    profile = class_profile(many_answers(noisy_image)[1])
    assert profile is not None
    torch.testing.assert_close(data.teacher, data.targets(profile))
    trained = data.teacher[data.train_rows]
    assert (trained.mean().item(), trained.std(correction=0).item()) == pytest.approx((0, 1), abs=1e-4)
    torch.testing.assert_close(dax._effect(data, dax._module(data)), kept_minus_removed(copies_of(data, data.teacher)))
    recorder = Recorder(lambda: torch.zeros(8, 8))
    recorder.masks.append(torch.zeros(8, 8))
    made = dax._read(data.x, data, dax._module(data), recorder)
    for copies, *_ in (asked[0], cut[0]):
        torch.testing.assert_close(copies.values, log_odds(data.probability))
    assert made.notes["profile"] is True


@pytest.mark.parametrize("kind", [RiseOnMosaic, LimeOnMosaic, RidgeOnMosaic])
def test_rivals_may_learn_the_profile_too(kind, noisy_image, monkeypatch):
    answered, cut = [], []
    monkeypatch.setattr(rivals, "ask", lambda *given: answered.append(ask(*given)) or answered[0])
    monkeypatch.setattr(many.Cut, "__call__", lambda _, saliency, *given: cut.append(given) or (saliency, {}))
    plain = Perturber(fill="zeros", weight="uniform")
    rival = kind(ManyClasses(), FIXED, plain, q=90, targets="profile", averaged=0, cut=True)
    made, levels = rival.explain(noisy_image, 0), FIXED(noisy_image)
    profile = class_profile(answered[0])
    assert profile is not None
    own = Copies(answered[0].kept, log_odds(answered[0].probability), levels, torch.ones(90))
    expected = rival._map(replace(own, values=profile))[0]
    torch.testing.assert_close(made.saliency, expected)
    torch.testing.assert_close(cut[0][0].values, own.values)
    assert cut[0][1] == additive(own).r2
    assert made.notes["profile"] is True


@contextlib.contextmanager
def untyped():
    """Without the tests' own type checks, which would be first."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.parametrize("kind", [RiseOnMosaic, LimeOnMosaic, RidgeOnMosaic, MosaicDax])
def test_unknown_targets_are_named(kind):
    unknown: Any = "logits"
    with untyped(), pytest.raises(InputError, match=r"explainer.targets=logits: choose one of profile, log_odds, probability"):
        kind(QuarterBox(), targets=unknown)


def test_an_unknown_fill_of_the_last_copies_is_named():
    unknown: Any = "pink"
    with untyped(), pytest.raises(InputError, match="adaptive_fill=pink: choose one of zeros, segment_mean, image_mean, blur"):
        MosaicDax(QuarterBox(), adaptive_fill=unknown)


@pytest.mark.parametrize("kind", [RiseOnMosaic, LimeOnMosaic, RidgeOnMosaic])
def test_the_maps_of_rivals_can_be_cut_as_dax_cuts_its_own(kind, noisy_image, monkeypatch):
    asked: list[Any] = []
    monkeypatch.setattr(rivals, "additive", lambda *given: asked.append(given) or many.Additive(additive(*given).saliency, 0.5))
    whole, cut = (
        kind(QuarterBox(), FIXED, Perturber(fill="zeros"), q=60, cut=cut).explain(noisy_image, 0) for cut in (False, True)
    )
    (copies,) = asked[-1]
    wanted, notes = many.Cut()(whole.saliency, copies, 0.5)
    torch.testing.assert_close(cut.saliency, wanted)
    assert cut.notes["named"] == notes["named"]
    assert "named" not in whole.notes


def test_a_map_is_not_averaged_less_than_not_at_all():
    with pytest.raises(InputError, match=r"averaged=-1: wanted .* 0 or more"):
        RiseOnMosaic(QuarterBox(), averaged=-1)


def test_each_copy_loses_segments_of_one_partition():
    inputs, kept, weight = batches(Perturber(fill="zeros", weight="uniform", batch_size=7), 600)
    mine = F.one_hot(level_of(LEVELS, X))
    assert torch.equal(inputs[0], X)
    assert (kept.long() @ mine > 0).sum(1).max() == 1
    assert weight.eq(1).all()
    for copy, row in zip(inputs[:50], kept[:50], strict=True):
        shown = torch.zeros(SIDE, SIDE, dtype=torch.bool)
        for one in LEVELS:
            shown |= row[one]
        assert torch.equal(copy, X * shown)


def test_partitions_are_drawn_alike():
    level = (random_kept(3000).long() @ F.one_hot(level_of(LEVELS, X))).argmax(1)
    assert level.bincount() / 3000 == pytest.approx([1 / 3] * 3, abs=0.03)


def test_closeness_counts_a_copys_own_partition():
    kept = torch.zeros(1, 21, dtype=torch.bool)
    kept[0, 4:10] = True  # half of the second partition
    alone = closeness(kept[:, 4:16], torch.zeros(12, dtype=torch.long))
    torch.testing.assert_close(closeness(kept, level_of(LEVELS, X)), alone)


@pytest.mark.parametrize("fill", ["zeros", "segment_mean", "image_mean", "blur"])
def test_pooled_copies_are_the_copies_pooled(fill):
    kept, background = random_kept(20), filled(X, LEVELS, fill)
    copies, share = PooledCopies(X, background, LEVELS, 4)(kept)
    really = painted(X, background, LEVELS, kept)
    torch.testing.assert_close(copies, F.avg_pool2d(really, 3) * 2 - 1, atol=1e-5, rtol=0)
    shown = kept[:, LEVELS].any(1).float()
    torch.testing.assert_close(share, F.avg_pool2d(shown[:, None], 3), atol=1e-6, rtol=0)


def test_the_segment_means_of_several_partitions_are_averaged():
    each = [filled(X, one, "segment_mean") for one in PARTITIONS]
    torch.testing.assert_close(filled(X, LEVELS, "segment_mean"), torch.stack(each).mean(0))


def test_kept_minus_removed_is_the_difference_of_two_means():
    kept, values, weight = random_kept(60), torch.randn(60), torch.rand(60) + 0.1
    found = kept_minus_removed(Copies(kept, values, LEVELS, weight))
    for row, column in ((0, 0), (5, 7), (11, 3)):
        shown = torch.tensor([bool(k[LEVELS[:, row, column]].any()) for k in kept])
        mean = [(weight * values)[rows].sum() / weight[rows].sum() for rows in (shown, ~shown)]
        assert found[row, column].item() == pytest.approx((mean[0] - mean[1]).item(), abs=1e-4)


def test_averaged_within_is_a_mean_of_means():
    saliency = torch.rand(SIDE, SIDE)
    expected = torch.zeros(SIDE, SIDE)
    for one in PARTITIONS:
        for segment in one.unique():
            expected[one == segment] += saliency[one == segment].mean() / 3
    torch.testing.assert_close(averaged_within(saliency, LEVELS), expected)


def copies_of_cells(side, n, spoken_for):
    """Random copies of a picture whose every place is a segment; the answers are the share kept of some places."""
    levels = torch.arange(side * side).view(1, side, side)
    kept = torch.rand(n, side * side) < 0.3 + 0.4 * torch.rand(n, 1)
    return Copies(kept, kept[:, spoken_for.flatten()].float().mean(1), levels, torch.ones(n))


@pytest.mark.parametrize(("height", "width"), [(2, 3), (5, 8), (8, 10)])
def test_the_cut_is_as_large_as_what_the_answers_are_about(height, width):
    truth = torch.zeros(20, 20, dtype=torch.bool)
    truth[:height, :width] = True
    saliency = torch.rand(20, 20) * 0.8 + truth * 0.8  # no gap between the two groups
    size = truth.sum().item()
    saliency[truth] = saliency[truth].clamp_min(saliency[~truth].max() + 0.01)
    cut = cut_out(saliency, copies_of_cells(20, 600, truth))
    assert torch.equal(cut.flatten().argsort(), saliency.flatten().argsort())
    assert 0 <= cut.min() <= cut.max() <= 1
    assert (cut > 0.5).sum().item() == pytest.approx(size, rel=0.25)
    over = (cut > cut.mean() + cut.std(correction=0)).sum().item()  # what the metrics take for the map's region
    assert size / 2 <= over <= 2 * size


def test_the_shares_and_correlations_by_plain_lines():
    saliency, kept = torch.rand(SIDE, SIDE), random_kept(80)
    values, weight = torch.randn(80) + kept[:, LEVELS[0, 0, 0]].float(), torch.rand(80) + 0.1
    shown = kept[:, LEVELS].any(1).flatten(1).double()
    order, sizes = saliency.flatten().argsort(descending=True), torch.tensor([1, 17, 60])
    copies = Copies(kept, values, LEVELS, weight)
    found, group = many._shares_kept(order, sizes, kept, LEVELS), many._groups(kept, LEVELS)
    for column, size in enumerate(sizes.tolist()):
        for shares, part in zip(found, (order[:size], order[size:]), strict=True):
            mean = shown[:, part].mean(1)
            torch.testing.assert_close(shares[:, column], mean)
            there = np.stack([mean.numpy(), values.double().numpy()])
            for number in group.unique():
                mine = (group == number).numpy()
                there[:, mine] -= np.average(there[:, mine], axis=1, weights=weight[mine])[:, None]
            c = (there * weight.numpy()) @ there.T
            r = many._correlation(shares, copies)[column].item()
            assert r == pytest.approx(max(0.0, c[0, 1] / (c[0, 0] * c[1, 1]) ** 0.5), abs=1e-6)


def test_copies_of_a_partition_are_compared_with_each_other():
    kept = random_kept(60)
    kept[5] = False
    partition = torch.where(kept.any(1), level_of(LEVELS, X)[kept.int().argmax(1)], -1)
    found = many._groups(kept, LEVELS)
    assert torch.equal(found[:, None] == found, partition[:, None] == partition)


def where_places_add_up(n, noise=0.0):
    """Copies whose answers are a sum over the kept places, and something else for each partition; what a place adds."""
    adds, kept = torch.rand(SIDE, SIDE), random_kept(n)
    adds[2:5, 6:9] += 3
    values = (kept[:, LEVELS].any(1) * adds).mean((1, 2)) + level_of(LEVELS, X)[kept.int().argmax(1)]
    return Copies(kept, values + noise * torch.randn(n), LEVELS, torch.rand(n) + 0.5), adds


def test_what_places_add_is_found_for_the_segments_of_all_partitions():
    copies, adds = where_places_add_up(800)
    found = additive(copies)
    assert found.r2 > 0.999
    torch.testing.assert_close(sums_over_segments(found.saliency), sums_over_segments(adds), atol=0.1, rtol=0.02)


def sums_over_segments(saliency):
    return torch.zeros(21).index_add(0, LEVELS.flatten(), saliency.flatten().repeat(len(LEVELS)))


def test_fewer_copies_of_each_partition_are_enough_for_all_together():
    copies, adds = where_places_add_up(40, noise=0.02)
    kept, values, weight = copies.kept, copies.values, copies.weight
    level, alone = level_of(LEVELS, X), torch.zeros(21)
    for number in range(3):
        rows = kept[:, level == number].any(1)
        alone[level == number] = weighted_ridge(kept[rows][:, level == number], values[rows], weight[rows], 1e-3).importance
    together = sums_over_segments(additive(copies).saliency)
    truth = sums_over_segments(adds)
    assert (together - truth).square().mean() < 0.75 * (alone * SIDE**2 - truth).square().mean()


def overlaps():
    inside = torch.stack([LEVELS.eq(segment).any(0).double().flatten() for segment in range(21)])
    return inside @ inside.T / SIDE**2


def refitted(copies, penalty):
    """By plain lines: what places add, and the R² of fits to all but one copy; a column without a penalty for each partition."""
    overlap, kept = overlaps(), copies.kept
    group = many._groups(copies.kept, copies.levels)
    columns, of = kept.double() @ overlap / overlap.diagonal().sqrt(), F.one_hot(group).double()
    design, answers, weight = torch.cat([columns, of], 1), copies.values.double(), copies.weight.double()
    fixed = torch.diag(torch.tensor([penalty] * 21 + [1e-9] * of.shape[1], dtype=torch.float64))

    def fit(rows):
        left = design[rows].T * weight[rows]
        return torch.linalg.solve(left @ design[rows] + fixed, left @ answers[rows])

    wrong = spread = 0.0
    for copy in range(len(kept)):
        rest = [other for other in range(len(kept)) if other != copy]
        mates = [other for other in rest if of[other].equal(of[copy])]
        if mates:
            wrong += weight[copy] * (answers[copy] - design[copy] @ fit(rest)) ** 2
            spread += weight[copy] * (answers[copy] - (weight[mates] @ answers[mates]) / weight[mates].sum()) ** 2
    coefficients = fit(list(range(len(kept))))[:21] / overlap.diagonal().sqrt()
    return coefficients[LEVELS].sum(0).float(), float(1 - wrong / spread)


@pytest.mark.parametrize("penalty", [1e-3, 1e-1])
def test_the_regression_and_its_r2_by_plain_lines(penalty, monkeypatch):
    copies, _ = where_places_add_up(30, noise=0.05)
    copies.kept[3] = False  # the only copy that kept nothing: nothing foretells it
    root, group = copies.weight.double().sqrt(), many._groups(copies.kept, copies.levels)
    overlap = overlaps()
    rows = many._centred(copies.kept.double() @ overlap / overlap.diagonal().sqrt(), group, many._shares(group, copies.weight))
    strongest = torch.linalg.matrix_norm(root[:, None] * rows, 2).item() ** 2
    monkeypatch.setattr(many, "_PENALTIES", torch.tensor([penalty], dtype=torch.float64))
    found = additive(copies)
    saliency, r2 = refitted(copies, penalty * strongest)
    torch.testing.assert_close(found.saliency, saliency, atol=1e-4, rtol=1e-4)
    assert found.r2 == pytest.approx(r2, abs=1e-6)


def test_of_places_that_could_not_be_removed_nothing_is_known():
    places = torch.rand(SIDE, SIDE) < 0.5
    copies, _ = where_places_add_up(100, noise=0.1)
    found = additive(copies, places)
    alone = additive(replace(copies, levels=LEVELS[:, places][:, None]))  # as if there were no others
    assert found.r2 == pytest.approx(alone.r2)
    assert found.saliency[~places].eq(0).all()
    told = found.saliency[places][None]
    assert rank_correlation(told, alone.saliency) > 0.9999
    assert rank_correlation(told, additive(copies).saliency[places][None]) < 0.9999


def test_the_penalty_is_the_best_for_copies_left_out(monkeypatch):
    copies, _ = where_places_add_up(60, noise=0.1)
    best = additive(copies).r2
    tried = []
    for penalty in many._PENALTIES.tolist():
        monkeypatch.setattr(many, "_PENALTIES", torch.tensor([penalty], dtype=torch.float64))
        tried.append(additive(copies).r2)
    assert best == pytest.approx(max(tried))
    assert min(tried) < best - 0.01


def test_nothing_is_foretold_of_answers_by_chance():
    for n in (15, 60, 300):  # fewer than there are segments, too
        assert additive(Copies(random_kept(n), torch.randn(n), LEVELS, torch.ones(n))).r2 < 0.2


def test_weights_count_as_copies_do(monkeypatch):
    monkeypatch.setattr(many, "_PENALTIES", torch.tensor([0.1], dtype=torch.float64))
    copies, _ = where_places_add_up(60, noise=0.05)
    heavy = torch.ones(60)
    heavy[:20] = 2
    several = torch.cat([torch.arange(60), torch.arange(20)])
    repeated = additive(Copies(copies.kept[several], copies.values[several], LEVELS, torch.ones(80))).saliency
    torch.testing.assert_close(additive(replace(copies, weight=heavy)).saliency, repeated)


@pytest.mark.parametrize("values", [torch.zeros(60), torch.full((60,), 3.3)])
def test_answers_that_are_all_the_same_add_nothing(values):
    found = additive(Copies(random_kept(60), values, LEVELS, torch.ones(60)))
    assert found.r2 == 0
    assert found.saliency.eq(0).all()


def test_what_a_partition_answers_on_average_moves_no_cut():
    copies, adds = where_places_add_up(300)
    of = level_of(LEVELS, X)[copies.kept.int().argmax(1)]
    moved = replace(copies, values=copies.values + 10.0 * of)
    torch.testing.assert_close(cut_out(adds, copies), cut_out(adds, moved))


def test_equal_places_are_named_together_and_no_more_than_the_largest_share():
    levels = stacked([Grid(3, 3)(torch.zeros(3, 30, 30))])
    saliency = torch.tensor([9.0, 8, 7, 6, 5, 4, 3, 2, 1])[levels[0]]
    assert many._sizes(saliency.flatten().sort(descending=True).values, 0.45).tolist() == [100, 200, 300, 400]
    kept = torch.rand(200, 9) < 0.5
    copies = Copies(kept, kept[:, :6].float().mean(1), levels, torch.ones(200))  # about more than may be named
    cut = cut_out(saliency, copies)
    assert (cut > 0.5).sum() == 400
    assert not ((cut > 0.2) & (cut < 0.8)).any()
    half = (levels[0] > 4).float()  # not even the first run of equals is small enough
    assert (cut_out(half, copies) > 0.5).sum() == 400


@pytest.mark.parametrize("largest", [0.0, 0.6, -1.0, float("nan")])
def test_a_bad_largest_share_is_named(largest):
    truth = torch.arange(400).view(20, 20) < 80
    with pytest.raises(InputError, match=f"largest={largest}: wanted a share over 0"):
        cut_out(truth.float(), copies_of_cells(20, 50, truth), largest=largest)


def test_cutting_a_map_of_another_size_than_the_partitions_says_so():
    copies = Copies(torch.eye(2).bool(), torch.tensor([1.0, 0.0]), torch.tensor([[[0, 1]]]), torch.ones(2))
    message = r"a map of \(1, 3\) places, partitions of \(1, 2\): wanted the same height and width"
    with pytest.raises(InputError, match=message):
        cut_out(torch.tensor([[1.0, 0.5, 0.0]]), copies)


def test_no_more_than_the_largest_share_is_named():
    truth = torch.arange(400).view(20, 20) < 320
    saliency = torch.rand(20, 20) * 0.3 + truth
    copies = copies_of_cells(20, 600, truth)
    named = [(cut_out(saliency, copies, largest=largest) > 0.5).float().mean().item() for largest in (0.45, 0.1)]
    assert named == pytest.approx([0.45, 0.1], abs=0.04)  # the mask has soft edges
    assert cut_out(torch.ones(20, 20), copies).eq(0).all()


def test_what_is_named_of_a_large_object_lies_over_mean_plus_one_std():
    truth = torch.arange(400).view(20, 20) < 170
    cut = cut_out(torch.linspace(1, 0, 400).view(20, 20), copies_of_cells(20, 600, truth), complement=4.0)
    named, over = (cut > 0.5).sum().item(), (cut > cut.mean() + cut.std(correction=0)).sum().item()
    assert named > 150
    assert over > 0.95 * named


def test_a_complement_that_must_not_explain_makes_the_mask_larger():
    truth = torch.arange(400).view(20, 20) < 100
    copies = copies_of_cells(20, 600, truth)
    copies = replace(copies, values=copies.values + 0.5 * copies.kept[:, 100:160].float().mean(1))  # a weaker part
    saliency = torch.linspace(1, 0, 400).view(20, 20)
    named = [(cut_out(saliency, copies, complement=c) > 0.5).sum().item() for c in (0.0, 0.5, 2.0)]
    assert named == sorted(named)
    assert named[0] < named[-1]


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_what_lies_between_the_parts_by_plain_lines(offset):
    saliency = torch.rand(8, 8) + offset
    saliency[:3] += 2
    ranked, sizes = saliency.flatten().sort(descending=True).values, torch.tensor([1, 24, 30])
    for size, found in zip(sizes.tolist(), many._between(ranked, sizes).tolist(), strict=True):
        parts = ranked[:size].double(), ranked[size:].double()
        between = sum(len(part) / 64 * (part.mean() - ranked.double().mean()) ** 2 for part in parts)
        assert found == pytest.approx((between / ranked.double().var(correction=0)).item(), rel=1e-5)


def test_where_the_answers_do_not_tell_the_cut_parts_the_map():
    saliency = torch.rand(20, 20) * 0.1
    saliency[:4, :5] += 1
    silent = replace(copies_of_cells(20, 200, saliency > 0.5), values=torch.zeros(200))
    named = [(cut_out(saliency, silent, separation=value) > 0.5).sum().item() for value in (0.0, 0.3)]
    assert named[0] != 20
    assert named[1] == 20


def test_standardised():
    made = standardised(torch.rand(9, 9) * 7)
    assert (made.mean().item(), made.std(correction=0).item()) == pytest.approx((0, 1), abs=1e-5)


def test_a_segment_mask_adds_up_its_partitions():
    share = PooledCopies(X[:0], X[:0], LEVELS, SIDE).share
    mask = SegmentMask(share, (SIDE, SIDE), 3)
    with torch.no_grad():
        mask.values.copy_(torch.randn(21))
    logits = mask.values.detach()[LEVELS].sum(0) / 3**0.5
    torch.testing.assert_close(mask.places(LEVELS), logits)
    torch.testing.assert_close(mask(torch.zeros(2, 0, SIDE, SIDE))[1, 0], (logits - logits.mean()).sigmoid())


def test_an_ensemble_is_the_mean_of_its_members():
    members = [
        DaxModule(MaskNetwork(3), MlpStudent(3, (8, 8), dropout=0.0), CounterfactualLoss(), sees_kept=False) for _ in "abc"
    ]
    whole, copies = Ensemble(members), torch.rand(5, 3, 8, 8)
    torch.testing.assert_close(whole(copies), torch.stack([member(copies) for member in members]).mean(0))
    seen = (copies, torch.ones(5, 1, 8, 8))
    torch.testing.assert_close(whole.answers(*seen), torch.stack([member.answers(*seen) for member in members]).mean(0))
    trained = {id(p) for group in whole.configure_optimizers().param_groups for p in group["params"]}
    assert trained == {id(p) for member in members for p in member.parameters()}


def test_all_who_explain_a_mosaic_ask_the_same_but_for_the_last_tenth(noisy_image):
    box = QuarterBox()
    parts = {"mosaic": FIXED, "perturber": Perturber(fill="zeros", weight="uniform"), "q": 320}
    with box.bank():
        made = [kind(box, **parts).explain(noisy_image, 0) for kind in (RiseOnMosaic, LimeOnMosaic, RidgeOnMosaic)]
        made.append(MosaicDax(box, training=training(), min_steps=0, **parts).explain(noisy_image, 0))
    assert [one.queries for one in made] == [320] * 4
    assert box.seen == 320 + 32  # the last tenth of DAX-Mosaic's are its own
    assert all(torch.equal(one.segments, Grid(4, 4)(noisy_image)) for one in made if one.segments is not None)


def test_lime_of_a_single_partition_is_lime(noisy_image):
    from dax_lightning.baselines.lime import Lime

    perturber = Perturber(fill="zeros")
    settings = {"perturber": perturber, "q": 200, "targets": "log_odds"}
    ours = LimeOnMosaic(QuarterBox(), Mosaic(Grid(4, 4), [], []), **settings).explain(noisy_image, 0).saliency
    theirs = Lime(QuarterBox(), Grid(4, 4), **settings).explain(noisy_image, 0).saliency
    torch.testing.assert_close(ours, theirs)


def test_rise_on_a_mosaic_by_plain_lines(noisy_image):
    box = Overheard()
    made = RiseOnMosaic(box, FIXED, Perturber(fill="zeros", weight="uniform"), q=90).explain(noisy_image, 0)
    rows = torch.cat(box.asked)
    shown = (rows != 0).any(1).float()
    values = log_odds(QuarterBox()(rows)[:, 0])
    mean = [torch.einsum("n,nhw->hw", values, part) / part.sum(0) for part in (shown, 1 - shown)]
    torch.testing.assert_close(made.saliency, averaged_within(mean[0] - mean[1], FIXED(noisy_image)), atol=1e-3, rtol=1e-3)


def test_few_copies_train_as_long_as_many(noisy_image):
    settings = {"mosaic": FIXED, "perturber": Perturber(fill="zeros"), "training": training(patience=50), "min_steps": 40}
    settings["uncut"] = 2.0
    for q, steps in ((100, 2), (300, 4)):
        notes = MosaicDax(QuarterBox(), q=q, **settings).explain(noisy_image, 0).notes
        assert notes["epochs"] == 40 / steps
    assert 0 < notes["named"] <= 0.45


def copies_of(data, values):
    """Those that were asked about first."""
    return Copies(data.kept, values, data.segments, data.weight)


def mosaic_and_data(mosaic_=FIXED, **settings):
    dax = MosaicDax(QuarterBox(), mosaic_, **{"q": 60, "student_copies": 500, "adaptive": 0.0, **settings})
    data = dax._data(torch.rand(3, 32, 32), 0, torch.Generator().manual_seed(3), None)
    data.setup()
    return dax, data


def untrained(mosaic_=FIXED, **settings):
    """What ``_read`` is given, as if training had changed nothing."""
    dax, data = mosaic_and_data(mosaic_, **settings)
    recorder = Recorder(lambda: torch.zeros(8, 8))
    recorder.masks.append(torch.zeros(8, 8))
    return dax, data, dax._module(data), recorder


def test_students_answer_without_chance_and_without_a_query():
    dax, data = mosaic_and_data()
    module, seen = dax._module(data).train(), data.black_box.queries
    once, twice = (mosaic._answers(module, data, data.kept) for _ in "ab")
    assert torch.equal(once, twice)
    module.eval()
    torch.testing.assert_close(once, module.answers(*data.pool(data.kept)))
    assert data.black_box.queries == seen


@pytest.mark.parametrize("space", ["log_odds", "probability"])
@pytest.mark.parametrize("weight", ["uniform", "lime"])
def test_the_evidence_is_the_students_where_they_are_right_and_the_real_where_they_are_silent(space, weight, monkeypatch):
    dax, data = mosaic_and_data(perturber=Perturber(fill="zeros", weight=weight), targets=space)
    module, few = dax._module(data), kept_minus_removed(copies_of(data, data.teacher))
    dax.student_copies, many = 0, dax.student_copies
    assert torch.equal(dax._effect(data, module), few)

    dax.student_copies = many
    monkeypatch.setattr(mosaic, "_answers", lambda *given: torch.zeros(len(given[-1])))
    torch.testing.assert_close(dax._effect(data, module), few)

    def truly(*given):
        """As the box itself, on the students' scale."""
        rows = painted(data.x, torch.zeros_like(data.x), data.segments, given[-1])
        return data.targets(in_space(QuarterBox()(rows)[:, 0], space))

    monkeypatch.setattr(mosaic, "_answers", truly)
    before, level = data.generator.get_state(), level_of(data.segments, data.x)
    found = dax._effect(data, module)
    data.generator.set_state(before)
    more = dax.perturber.subsets(many, level, data.generator)
    weights = dax.perturber.closeness(more, level)
    assert (weights.min() < 1) == (weight == "lime")
    torch.testing.assert_close(found, kept_minus_removed(Copies(more, truly(more), data.segments, weights)))


@pytest.mark.parametrize("weight", ["uniform", "lime"])
def test_the_map_is_cut_by_the_answers_and_their_weights(weight):
    dax, data, module, recorder = untrained(perturber=Perturber(fill="zeros", weight=weight), evidence=0.0, uncut=2.0)
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, SegmentMask):
                part.values.normal_()
    dax.cut = many.Cut(uncut=2.0, largest=0.0)
    graded = dax._read(data.x, data, module, recorder)
    dax.cut = many.Cut(uncut=2.0)
    asked = copies_of(data, data.learned.own)
    r2 = additive(asked).r2
    assert "named" not in graded.notes
    assert graded.notes["additive_r2"] == r2
    torch.testing.assert_close(
        dax._read(data.x, data, module, recorder).saliency,
        cut_out(graded.saliency, asked, complement=4 * (1 - min(max(r2, 0), 0.99)), separation=0.3),
    )


@pytest.mark.parametrize(
    ("r2", "counts", "graded"), [(-0.2, 3.0, 0.1), (0.5, 1.5, 0.1), (0.72, 0.84, 0.4), (0.735, 0.795, 0.625), (1.0, 0.03, 1.0)]
)
def test_the_complement_and_the_cut_count_as_far_as_places_do_not_add_up(r2, counts, graded, monkeypatch):
    dax, data, module, recorder = untrained(complement=3.0, largest=0.3, separation=0.7, uncut=0.73)
    given = []
    monkeypatch.setattr(mosaic, "additive", lambda *_: many.Additive(torch.rand(32, 32), r2))
    monkeypatch.setattr(many, "cut_out", lambda *args, **more: given.append((args[-3:], more)) or args[0])
    notes = dax._read(data.x, data, module, recorder).notes
    assert given == [((0.3, pytest.approx(counts), 0.7), {"graded": pytest.approx(graded)})]
    assert ("named" in notes) == (graded < 0.5)


def test_where_places_add_up_the_map_is_not_cut(monkeypatch):
    dax, data, module, recorder = untrained(evidence=0.0, support=0.0)
    adds = torch.rand(32, 32)
    monkeypatch.setattr(mosaic, "additive", lambda *_: many.Additive(adds, 0.9))
    whole = averaged_within(standardised(adds), data.segments)
    made = dax._read(data.x, data, module, recorder).saliency
    torch.testing.assert_close(made, scaled(whole))


def test_the_rival_is_the_regression_alone(noisy_image, monkeypatch):
    given = []
    monkeypatch.setattr(rivals, "additive", lambda *asked: given.append(asked) or additive(*asked))
    made = RidgeOnMosaic(QuarterBox(), FIXED, Perturber(fill="zeros", weight="lime"), q=90).explain(noisy_image, 0)
    (copies,) = given[0]
    assert len(copies.kept) == 90
    assert copies.weight.min() < 1
    adds = additive(copies)
    torch.testing.assert_close(made.saliency, averaged_within(adds.saliency, copies.levels))
    assert made.notes["additive_r2"] == adds.r2


def test_the_defaults_of_class_and_configuration_agree():
    plain: Any = OmegaConf.to_container(OmegaConf.load(ROOT / "conf" / "explainer" / "dax.yaml"), resolve=False)
    signature = inspect.signature(MosaicDax.__init__).parameters
    own = [
        name
        for name, parameter in signature.items()
        if isinstance(parameter.default, int | float | str) and name not in ("q", "seed")
    ]
    assert {"evidence", "additive", "complement", "separation", "uncut", "largest", "targets"} <= {*own}
    assert {name: plain[name] for name in own} == {name: signature[name].default for name in own}


@pytest.mark.parametrize(("r2", "weight"), [(-0.2, 0.0), (0.5, 0.3), (0.75, 8.1), (1.0, 0.3 * 99**3)])
def test_what_places_add_counts_as_far_as_they_add_up(r2, weight, monkeypatch):
    dax, data, module, recorder = untrained(evidence=0.0, additive=0.3, support=0.0, largest=0.0)
    adds = torch.rand(32, 32)
    monkeypatch.setattr(mosaic, "additive", lambda *_: many.Additive(adds, r2))
    made = dax._read(data.x, data, module, recorder)
    assert made.notes["additive_r2"] == r2
    expected = standardised(averaged_within(weight * standardised(adds), data.segments))
    torch.testing.assert_close(made.saliency, expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(("r2", "root"), [(-0.2, 0.0), (0.25, 0.5), (1.0, 0.99**0.5)])
def test_what_supports_the_answer_comes_on_top_averaged_and_by_the_correlation(r2, root, monkeypatch):
    dax, data, module, recorder = untrained(OUTLINED, support=0.7, additive=0.0, largest=0.0, evidence=2.0)
    dax.student_copies = 0
    adds = torch.rand(32, 32)
    monkeypatch.setattr(mosaic, "additive", lambda *_: many.Additive(adds, r2))
    within = OUTLINED.outlined(data.x, data.segments)
    whole, added = (standardised(averaged_within(m, within)) for m in (standardised(dax._effect(data, module)), adds))
    expected = whole + 0.7 * root * torch.where(added > 0, 2 * added, added)
    torch.testing.assert_close(dax._read(data.x, data, module, recorder).saliency, expected)


def test_the_map_is_averaged_within_the_outlines():
    dax, data, module, recorder = untrained(OUTLINED, additive=0.0, support=0.0, largest=0.0, evidence=2.0)
    within = OUTLINED.outlined(data.x, data.segments)
    assert len(within) == len(data.segments) + 2
    learned = []
    for part in module.modules():
        if isinstance(part, SegmentMask):
            torch.nn.init.normal_(part.values)
            learned.append(part.places(data.segments))
    state = data.generator.get_state()
    effect = dax._effect(data, module)
    data.generator.set_state(state)
    mask = standardised(averaged_within(averaged_within(torch.stack(learned).mean(0), within), within))
    expected = standardised(averaged_within(mask + 2.0 * standardised(effect), within))
    torch.testing.assert_close(dax._read(data.x, data, module, recorder).saliency, expected)


def test_students_answer_many_copies_so_seeds_agree_better(noisy_image):
    settings = {
        "mosaic": FIXED,
        "perturber": Perturber(fill="zeros", weight="uniform"),
        "training": training(),
        "q": 100,
        "members": 1,
        "min_steps": 0,
        "adaptive": 0.0,
    }
    agreement = []
    for copies in (0, 2000):
        made = [
            MosaicDax(QuarterBox(), student_copies=copies, largest=0.0, evidence=50.0, seed=seed, **settings)
            .explain(noisy_image, 0)
            .saliency
            for seed in range(4)
        ]
        pairs = itertools.combinations(made, 2)
        agreement.append(np.mean([rank_correlation(one, other) for one, other in pairs]))
    assert agreement[1] > agreement[0]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"members": 0}, "members=0"),
        ({"student_copies": -1}, "student_copies=-1"),
        ({"min_steps": -1}, "min_steps=-1"),
        ({"evidence": -0.1}, "evidence=-0.1"),
        ({"additive": float("nan")}, "additive=nan"),
        ({"support": -0.1}, "support=-0.1: wanted a number, 0 or more"),
        ({"beside": float("inf")}, "beside=inf: wanted a number, 0 or more"),
        ({"adaptive": 0.6}, "adaptive=0.6: wanted a share of the q copies in"),
        ({"adaptive": -0.1}, "adaptive=-0.1"),
        ({"adaptive": float("nan")}, "adaptive=nan"),
        ({"complement": -1.0}, "complement=-1.0"),
        ({"separation": -0.3}, "separation=-0.3"),
        ({"separation": float("inf")}, "separation=inf"),
        ({"uncut": -0.1}, "uncut=-0.1"),
        ({"largest": 0.6}, "largest=0.6"),
        ({"targets": "probability", "q": 2}, "q=2"),
    ],
)
def test_bad_settings_are_named(setting, message):
    with pytest.raises(InputError, match=message):
        MosaicDax(QuarterBox(), **setting)


def test_too_few_copies_are_refused_before_any_query(noisy_image):
    box = QuarterBox()
    with pytest.raises(InputError, match="q=8 copies for 9 segments"):
        MosaicDax(box, FIXED, q=8).explain(noisy_image, 0)
    assert box.seen == 0


def scaled(saliency):
    return (saliency - saliency.min()) / (saliency.max() - saliency.min())


def test_without_the_cut_the_map_is_the_graded_one(noisy_image):
    settings = {"mosaic": FIXED, "perturber": Perturber(fill="zeros"), "training": training(), "min_steps": 0, "q": 100}
    graded, cut = (
        MosaicDax(QuarterBox(), largest=largest, uncut=2.0, **settings).explain(noisy_image, 0).saliency
        for largest in (0.0, 0.45)
    )
    assert torch.equal(graded.flatten().argsort(stable=True), cut.flatten().argsort(stable=True))
    assert 0 < (cut > 0.5).float().mean() <= 0.45
    assert ((cut > 0.15) & (cut < 0.85)).float().mean() < 0.05
    assert ((scaled(graded) > 0.15) & (scaled(graded) < 0.85)).float().mean() > 0.3


def test_the_region_is_what_the_map_names_where_it_is_cut():
    truth = torch.arange(400).view(20, 20) < 80
    asked = copies_of_cells(20, 200, truth)
    saliency = truth + 0.1 * torch.rand(20, 20)
    for r2 in (0.2, 0.8):
        region = many.Cut().region(saliency, asked, r2)
        assert torch.equal(region, many.Cut(uncut=2.0)(saliency, asked, r2)[0] > 0.5)
        assert torch.equal(region, many.Cut(largest=0.0).region(saliency, asked, r2))
        assert many.Cut(largest=0.1).region(saliency, asked, r2).float().mean() < 0.11 < region.float().mean()
    assert torch.equal(many.Cut(uncut=0.0).region(saliency, asked, 0.8), region)  # also where the map stays graded
    assert not many.Cut().region(torch.ones(20, 20), asked, 0.5).any()


@pytest.mark.parametrize(
    ("q", "adaptive", "first"), [(1000, 0.1, 900), (1000, 0.0, 1000), (60, 0.5, 30), (300, 0.1, 270), (290, 0.1, 290)]
)
def test_a_share_of_the_copies_is_asked_about_last_if_these_are_thirty(q, adaptive, first):
    assert MosaicDax(QuarterBox(), q=q, adaptive=adaptive).asked_first == first


@pytest.mark.parametrize(
    ("fill", "sigma", "other"), [("blur", 0.1, "zeros"), ("zeros", 0.1, "image_mean"), ("blur", 1e-3, "zeros")]
)
def test_the_last_copies_keep_what_the_map_names_and_lose_parts_of_the_rest(fill, sigma, other, noisy_image, monkeypatch):
    box, regions = Overheard(), []
    region_of = many.Cut.region
    monkeypatch.setattr(many.Cut, "region", lambda *given: regions.append(region_of(*given)) or regions[-1])
    perturber = Perturber(fill=other, blur_sigma=sigma, weight="uniform", batch_size=16)
    settings = {"training": training(), "min_steps": 0, "adaptive": 0.4, "adaptive_fill": fill}
    made = MosaicDax(box, FIXED, perturber, q=100, **settings).explain(noisy_image, 0)
    assert len(torch.cat(box.asked)) == made.queries == 100
    assert max(map(len, box.asked)) == 16
    last, levels = torch.cat(box.asked)[60:], FIXED(noisy_image)
    taken = other if sigma < 0.01 else fill  # so narrow a blur takes nothing away
    filler = torch.where(regions[0], noisy_image, filled(noisy_image, levels, taken, sigma))
    shown = (last == noisy_image).all(1)
    torch.testing.assert_close(last, torch.where(shown[:, None], noisy_image, filler))
    assert shown[:, regions[0]].all()
    assert 0.2 < shown[:, ~regions[0]].float().mean() < 0.8
    assert len({tuple(row.flatten().tolist()) for row in shown}) > 30


def test_the_last_copies_have_a_progress_bar(noisy_image, monkeypatch, capsys):
    monkeypatch.setattr(Training, "watched", True)
    MosaicDax(QuarterBox(), FIXED, training=training(max_epochs=1), min_steps=0, q=300).explain(noisy_image, 0)
    bars = capsys.readouterr().err
    assert "/270" in bars
    assert "/30" in bars


def test_last_copies_are_refused_where_the_first_are_too_few(noisy_image):
    with pytest.raises(InputError, match="q=60 copies for 36 segments: wanted at least one a segment; try q=1000"):
        MosaicDax(QuarterBox(), Mosaic(Grid(6, 6), [], []), q=60, adaptive=0.5).explain(noisy_image, 0)


def test_a_silent_black_box_is_told_with_the_copies_that_were_asked(noisy_image):
    silent = CallableBlackBox(lambda rows: torch.full((len(rows), 2), 0.5), size=(32, 32))
    made = MosaicDax(silent, FIXED, q=400).explain(noisy_image, 0)
    assert made.queries == 360
    assert "the same for all 360 copies" in made.warnings[0]


class AgainstBox(QuarterBox):
    """The first quarter speaks for class 1, the last against it, by ``size``."""

    size = 3.0

    def _scores(self, x):
        odds = 4 * x[:, :, :16, :16].mean((1, 2, 3)) - 4 - self.size * x[:, :, 16:, 16:].mean((1, 2, 3))
        return torch.stack([1 - odds.sigmoid(), odds.sigmoid(), 0 * odds], 1)


def gap(saliency):
    """Of a quarter of which nothing hangs over one that speaks against the target, in standard deviations of the map."""
    return (saliency[:12, 20:].mean() - saliency[20:, 20:].mean()).item()


def against(size, **changed):
    """Maps with the last copies and without."""
    box, settings = AgainstBox(), {"training": training(), "min_steps": 0, "largest": 0.0, "additive": 0.0, "support": 0.0}
    box.size = size
    settings |= {"q": 300, "adaptive_fill": "zeros", **changed}
    explainers = (
        MosaicDax(box, FIXED, Perturber(fill="zeros", weight="uniform"), **settings, beside=beside) for beside in (5.0, 0.0)
    )
    return (explainer.explain(torch.ones(3, 32, 32), 1) for explainer in explainers)


@pytest.mark.parametrize("space", ["log_odds", "probability"])
def test_what_speaks_against_the_target_moves_down(space):
    with_them, without = against(3.0, targets=space)
    assert with_them.notes["beside_r2"] > 0.5
    assert gap(with_them.saliency) > gap(without.saliency) + 1


def test_next_to_nothing_moves_nothing():
    with_them, without = against(1e-4)
    assert with_them.notes["beside_r2"] > 0.5
    assert abs(gap(with_them.saliency) - gap(without.saliency)) < 0.2


@pytest.mark.parametrize(("score", "against"), [(0.1, 1.0), (0.5, 1.0), (0.9, 0.2), (1.0, 0.0)])
@pytest.mark.parametrize(("r2", "root"), [(-0.2, 0.0), (0.25, 0.5), (1.0, 0.99**0.5)])
def test_the_rest_counts_as_far_as_its_places_add_up_not_at_the_edge_and_where_the_target_is_unsure(
    r2, root, score, against, monkeypatch
):
    lime = Perturber(fill="zeros", weight="lime")
    dax, data, module, recorder = untrained(support=0.7, evidence=2.0, largest=0.0, beside=2.0, adaptive=0.5, perturber=lime)
    dax.student_copies = 0
    data.probability[0] = score
    adds, given, regions = torch.rand(32, 32), [], []
    region = torch.zeros(32, 32, dtype=torch.bool)
    region[:8] = True
    monkeypatch.setattr(mosaic, "additive", lambda *asked: given.append(asked) or many.Additive(adds, r2))
    monkeypatch.setattr(many.Cut, "region", lambda _, *asked: regions.append(asked) or region)
    seen = data.black_box.queries
    made = dax._read(data.x, data, module, recorder)
    assert data.black_box.queries == seen + 30
    assert made.notes["beside_r2"] == r2
    ((first,), (last, rest)), ((before, *asked),) = given, regions
    assert torch.equal(last.weight, closeness(last.kept, level_of(last.levels, data.x)))
    assert torch.equal(rest, ~region)
    counts = 20 * (last.values.std() / data.learned.own.std()).item()
    assert 0.1 < counts < 0.9  # hardly anything hangs on the rest here
    assert asked[0] is first
    assert asked[1] == r2

    dax.adaptive = 0.0
    plain = dax._read(data.x, data, module, recorder)
    assert "beside_r2" not in plain.notes

    def outside(saliency):
        return torch.where(region, 0.0, (saliency - saliency[~region].mean()) / saliency[~region].std(correction=0))

    torch.testing.assert_close(before.mean(), torch.tensor(0.0), atol=1e-5, rtol=0)  # without what supports the answer
    far = (before[region].min() - before).clamp(0, 1)
    told = outside(averaged_within(outside(adds), data.segments))
    torch.testing.assert_close(made.saliency, plain.saliency + 2.0 * against * counts * root * far * told)
