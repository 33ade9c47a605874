"""What there is to learn of the answers: the target's own, and the profile of all classes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dax_lightning.explainers.mosaic.signal import profile_of, signal
from dax_lightning.game.base import Answers, in_space, log_odds
from tests.mosaic.toys import asked, box_of, many_classes


@pytest.fixture
def answers(noisy_image):
    return asked(box_of(many_classes), noisy_image)[1]


def rows_of(classes, target=0, weight=None):
    """Answers whose kept segments don't matter."""
    n = len(classes)
    return Answers(torch.ones(n, 1).bool(), torch.ones(n) if weight is None else weight, classes[:, target], classes)


@pytest.mark.parametrize("count", [40, 5000])
def test_the_profile_is_a_weighted_sum_of_standardised_log_ratios(count):
    common = torch.randn(60, 1)
    p = (common * torch.randn(1, count) + torch.randn(60, count)).softmax(1)
    weight = torch.rand(60)
    found = profile_of(rows_of(p, 3, weight))
    assert found is not None
    p, w = p.double().numpy(), weight.double().numpy()
    ratios = np.log(np.maximum(p, 1e-5))
    ratios -= ratios.mean(1, keepdims=True)
    own = np.log(p[:, 3] / (1 - p[:, 3]))
    expected = 0
    for column in ratios.T:
        covariance = np.cov(column, own, aweights=w, ddof=0)
        correlation = covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])
        expected += correlation * (column - np.average(column, weights=w)) / np.sqrt(covariance[0, 0])
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-3, atol=1e-3)


def test_what_never_changes_but_for_rounding_says_nothing():
    noisy = torch.tensor([[0.5, 0.3, 0.2]]) + torch.tensor([[0, 0, 0], [1e-7, -1e-7, 0], [0, 1e-7, -1e-7]])
    for target in range(3):
        found = profile_of(rows_of(noisy, target))
        assert found is not None
        assert not found.any()


@pytest.mark.parametrize(("short", "known"), [(0.008, True), (0.02, False)])
def test_rounding_takes_no_profile_away_and_a_single_class_has_none(short, known):
    classes = torch.tensor([[0.6, 0.3, 0.1], [0.4, 0.5 - short, 0.1], [0.2, 0.2, 0.6]])
    assert (profile_of(rows_of(classes)) is not None) == known
    assert profile_of(rows_of(1 - short / 2 * torch.rand(3, 1))) is None


def test_answers_that_are_no_distribution_have_no_profile(answers):
    firsts = answers.classes.topk(5, 1)
    told = torch.zeros_like(answers.classes).scatter(1, firsts.indices, firsts.values)
    found = signal(replace(answers, probability=told[:, 0], classes=told), "log_odds")
    assert found.profile is None
    assert torch.equal(found.own, log_odds(told[:, 0]))


def test_the_profile_has_the_mean_and_the_deviation_of_the_targets_own_answer(answers):
    found, weight = signal(answers, "log_odds"), answers.weight.double().numpy()
    assert found.profile is not None
    assert torch.equal(found.own, log_odds(answers.probability))
    for part in (lambda v: np.average(v, weights=weight), lambda v: np.cov(v, aweights=weight, ddof=0)):
        assert part(found.profile.double().numpy()) == pytest.approx(part(found.own.double().numpy()), rel=1e-4)
    both = np.cov(found.profile.numpy(), found.own.numpy(), aweights=weight)
    assert found.notes["profile_correlation"] == pytest.approx(both[0, 1] / np.sqrt(both[0, 0] * both[1, 1]), abs=1e-4)


@pytest.mark.parametrize("share", [0.0, 1.5])
def test_a_profile_that_is_about_something_else_is_left_out(share, noisy_image):
    """The target is noise plus a ``share`` of the bottom right quarter; 60 other classes are about the top left one."""
    levels, answers = asked(box_of(many_classes), noisy_image, q=300)
    shown = torch.stack([answers.kept[:, levels[0][place]] for place in ((0, 0), (-1, -1))], 1).float()
    others = 3 * shown[:, :1] * torch.randn(1, 60) + 0.3 * torch.randn(300, 60)
    own = (share * shown[:, 1:] + torch.randn(300, 1)).sigmoid()
    found = signal(replace(answers, classes=torch.cat([own, (1 - own) * others.softmax(1)], 1)), "log_odds")
    assert found.profile is None
    assert found.notes["profile_correlation"] < 0.5


def test_weights_count_in_what_is_learned(answers):
    first = torch.arange(200) < 120
    classes = torch.where(first[:, None], answers.classes, answers.classes.flip(1))
    light = Answers(answers.kept, torch.where(first, 1.0, 1e-9), classes[:, 0], classes)
    alone = Answers(answers.kept[:120], torch.ones(120), answers.probability[:120], answers.classes[:120])
    one, other = (signal(each, "log_odds") for each in (light, alone))
    assert one.notes["profile_correlation"] == pytest.approx(other.notes["profile_correlation"], abs=1e-4)
    assert one.profile is not None
    assert other.profile is not None
    torch.testing.assert_close(one.profile[:120], other.profile, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("scale", ["log_odds", "probability"])
def test_a_scale_of_the_targets_own_is_what_is_learned(scale, answers):
    found = signal(replace(answers, classes=None), scale)
    assert found.profile is None
    assert found.notes == {}
    assert torch.equal(found.own, in_space(answers.probability, scale))
    assert found.own.untyped_storage().nbytes() == 200 * 4  # the other classes' answers can be freed
