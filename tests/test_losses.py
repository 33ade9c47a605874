"""The mathematics of DAX against numbers worked out by hand."""

import math

import pytest
import torch

from dax_lightning.errors import InputError
from dax_lightning.explainers.dax.losses import (
    CounterfactualLoss,
    SparseLoss,
    counterfactual,
    kl_divergence,
    mask_l1,
    score_kl,
    soft_histogram,
    weighted_mse,
    weighted_r2,
)

KEPT, REST = torch.tensor([0.5, 0.25]), torch.tensor([0.0, 1.0])
TEACHER, WEIGHT = torch.tensor([1.0, 0.0]), torch.tensor([1.0, 0.5])
MASK = torch.tensor([[[[1.0, 0.0], [0.5, 0.5]]], [[[0.0, 0.0], [0.0, 1.0]]]])  # sums 2 and 1


def test_weighted_mse_by_hand():
    # (1 * 0.5² + 0.5 * 0.25²) / 2
    assert weighted_mse(KEPT, TEACHER, WEIGHT).item() == pytest.approx((0.25 + 0.03125) / 2)


def test_mask_l1_by_hand():
    assert mask_l1(MASK).item() == pytest.approx(1.5)
    assert mask_l1(MASK, "mean").item() == pytest.approx(1.5 / 4)


def test_counterfactual_by_hand():
    assert counterfactual(REST, TEACHER, WEIGHT).item() == pytest.approx((1 + 0.5) / 2)
    assert counterfactual(REST, TEACHER, WEIGHT, ceiling=0.5).item() == 0.5


def test_counterfactual_above_its_ceiling_has_no_gradient():
    rest = REST.clone().requires_grad_()
    counterfactual(rest, TEACHER, WEIGHT, ceiling=0.5).backward()
    assert rest.grad is not None
    assert not rest.grad.any()


def test_kl_by_hand_and_with_an_empty_bin():
    by_hand = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert kl_divergence(torch.tensor([0.75, 0.25]), torch.tensor([0.5, 0.5])).item() == pytest.approx(by_hand)
    assert kl_divergence(torch.tensor([1.0, 0.0]), torch.tensor([0.5, 0.5])).item() == pytest.approx(math.log(2))


def test_soft_histogram_counts_like_a_hard_one_at_the_centres():
    centres = torch.linspace(0, 9, 10)
    shares = soft_histogram(torch.tensor([0.0, 0.0, 9.0, 4.0]), centres)
    assert shares.sum().item() == pytest.approx(1)
    assert shares[[0, 9, 4]].tolist() == pytest.approx([0.44, 0.22, 0.2], abs=0.03)  # the outer bins lose to one side only


def test_score_kl_is_lower_for_the_same_distribution_and_its_gradient_moves_scores_together():
    teacher = torch.linspace(0, 1, 20)
    apart = (teacher * 0.2).requires_grad_()
    divergence = score_kl(apart, teacher)
    assert divergence > score_kl(teacher.flip(0), teacher) + 0.1
    divergence.backward()
    assert apart.grad is not None
    assert apart.grad[-1] < 0  # the highest score is to rise
    assert score_kl(apart, torch.ones(20)).item() == 0


def test_v1_is_the_sum_of_its_terms():
    terms = SparseLoss(lam1=0.1, lam2=2.0)(KEPT, None, TEACHER, MASK, WEIGHT)
    by_hand = 0.140625 + 0.1 * 1.5 + 2 * score_kl(KEPT, TEACHER).item()
    assert terms["total"].item() == pytest.approx(by_hand)
    assert set(terms) == {"total", "mse", "l1", "kl"}


@pytest.mark.parametrize(
    ("lam3", "ceiling", "total"), [(0.5, None, 0.140625 - 0.375), (1.0, 0.5, 0.140625 - 0.5), (0.0, None, 0.140625)]
)
def test_v2_by_hand(lam3, ceiling, total):
    assert CounterfactualLoss(lam3, ceiling)(KEPT, REST, TEACHER, MASK, WEIGHT)["total"].item() == pytest.approx(total)


@pytest.mark.parametrize(
    "make", [lambda: SparseLoss(lam1=-1.0), lambda: SparseLoss(lam2=-0.1), lambda: CounterfactualLoss(lam3=-0.5)]
)
def test_negative_weights_are_refused(make):
    with pytest.raises(InputError, match=r"lam\d=-\d.*0 or more"):
        make()


def test_weighted_r2_by_hand():
    score, teacher, weight = torch.tensor([0.0, 0.0, 1.0]), torch.tensor([0.0, 1.0, 1.0]), torch.tensor([1.0, 1.0, 2.0])
    # centre 0.75; residual 1; total 1 * 0.5625 + 3 * 0.0625
    assert weighted_r2(score, teacher, weight) == pytest.approx(1 - 1 / 0.75)
    assert math.isnan(weighted_r2(score, torch.ones(3), weight))
