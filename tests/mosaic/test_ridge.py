"""What places add up to, by one ridge regression."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dax_lightning.explainers.mosaic.ridge import Ridge, partition_of
from dax_lightning.metrics.sensitivity import rank_correlation
from tests.mosaic.toys import LEVELS, SIDE, Copies, additive_copies, groups_by_hand, random_kept


def fitted(copies, places=None):
    return Ridge(copies.kept, copies.levels, copies.weight, places).fit(copies.values)


def sums_over_segments(saliency):
    return torch.zeros(21).index_add(0, LEVELS.flatten(), saliency.flatten().repeat(len(LEVELS)))


def test_what_places_add_is_found_for_the_segments_of_all_partitions():
    copies, adds = additive_copies(800)
    found = fitted(copies)
    assert found.r2 == pytest.approx(1, abs=1e-3)
    torch.testing.assert_close(sums_over_segments(found.saliency), sums_over_segments(adds), atol=0.1, rtol=0.02)


def refitted(copies):
    """By plain lines, for each of 25 penalties: what places add, and the errors of fits to all copies but one.

    An unpenalised column for each partition is its intercept. The last number is the error of the mean of the partition's others.
    """
    inside = torch.stack([LEVELS.eq(segment).any(0).flatten() for segment in range(21)]).double().numpy()
    overlap, group = inside @ inside.T, groups_by_hand(copies)
    scale = 1 / overlap.diagonal()
    kept, answers, weight = (part.double().numpy() for part in (copies.kept, copies.values, copies.weight))
    columns, of = kept @ overlap * scale, (group[:, None] == np.unique(group)).astype(float)
    means = of @ ((of * weight[:, None]).T @ columns / (of.T @ weight)[:, None])
    strongest = np.linalg.norm(np.sqrt(weight)[:, None] * (columns - means), 2) ** 2
    design, everything = np.hstack([columns, of]), np.arange(len(kept))
    mates = [np.flatnonzero((group == group[copy]) & (everything != copy)) for copy in everything]

    def fit(rows, penalty):
        left = design[rows].T * weight[rows]
        fixed = np.diag([penalty * strongest] * 21 + [1e-9] * of.shape[1])
        return np.linalg.solve(left @ design[rows] + fixed, left @ answers[rows])

    fits = []
    for penalty in np.logspace(-5, 1, 25):
        wrong = [answers[i] - design[i] @ fit(everything != i, penalty) for i in everything if len(mates[i])]
        coefficients = torch.from_numpy(fit(everything >= 0, penalty)[:21] * scale * SIDE**2)
        fits.append((sum(w * e**2 for w, e in zip(weight[[len(m) > 0 for m in mates]], wrong, strict=True)), coefficients))
    spread = sum(
        w * (y - np.average(answers[m], weights=weight[m])) ** 2 for w, y, m in zip(weight, answers, mates, strict=True) if len(m)
    )
    return fits, spread


def test_the_regression_its_penalty_and_its_r2_by_plain_lines():
    copies, _ = additive_copies(30, noise=0.1)
    copies.kept[3] = False  # the only copy that kept nothing: nothing predicts it
    fits, spread = refitted(copies)
    best = min(range(25), key=lambda number: fits[number][0])
    assert 0 < best < 24  # neither the weakest penalty nor the strongest
    found = fitted(copies)
    torch.testing.assert_close(found.saliency, fits[best][1][LEVELS].sum(0).float(), atol=1e-4, rtol=1e-4)
    assert found.r2 == pytest.approx(1 - fits[best][0] / spread, abs=1e-6)


def test_of_places_that_could_not_be_removed_nothing_is_known():
    places = torch.rand(SIDE, SIDE) < 0.5
    copies, _ = additive_copies(100, noise=0.1)
    found = fitted(copies, places)
    alone = fitted(replace(copies, levels=LEVELS[:, places][:, None]))  # as if there were no others
    assert found.r2 == pytest.approx(alone.r2)
    assert found.saliency[~places].eq(0).all()
    told = found.saliency[places][None]
    assert rank_correlation(told, alone.saliency) > 0.9999
    assert rank_correlation(told, fitted(copies).saliency[places][None]) < 0.9999


def test_a_region_adds_its_mean_times_its_share_of_the_input():
    copies, adds = additive_copies(800)
    found, region = fitted(copies).saliency, torch.zeros(SIDE, SIDE, dtype=torch.bool)
    region[:, : SIDE // 2] = True  # segments of the first partition
    assert (found * region).mean().item() == pytest.approx((adds * region).mean().item(), rel=0.02)


def test_one_decomposition_serves_all_answers():
    copies, _ = additive_copies(60, noise=0.1)
    ridge = Ridge(copies.kept, copies.levels, copies.weight)
    ridge.fit(torch.randn(60))
    assert torch.equal(ridge.fit(copies.values).saliency, fitted(copies).saliency)


def test_copies_of_a_partition_are_a_group_and_so_are_those_that_kept_nothing():
    kept = random_kept(60)
    kept[5] = kept[9] = False
    by_hand = groups_by_hand(Copies(kept, torch.ones(60), LEVELS, torch.ones(60)))
    assert partition_of(kept, LEVELS).tolist() == [3 if group < 0 else group for group in by_hand]


def test_answers_by_chance_are_not_predicted():
    for n in (15, 60, 300):  # fewer than there are segments, too
        r2 = fitted(Copies(random_kept(n), torch.randn(n), LEVELS, torch.ones(n))).r2
        assert r2 is not None
        assert r2 < 0.2


@pytest.mark.parametrize("values", [torch.zeros(60), torch.full((60,), 3.3)])
def test_answers_that_are_all_the_same_add_nothing(values):
    found = fitted(Copies(random_kept(60), values, LEVELS, torch.ones(60)))
    assert found.r2 == 0
    assert found.saliency.eq(0).all()
