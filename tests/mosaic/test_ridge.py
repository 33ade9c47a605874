"""What places add up to, by one ridge regression."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dax_lightning.explainers.mosaic.copies import Copies
from dax_lightning.explainers.mosaic.ridge import additive
from dax_lightning.metrics.sensitivity import rank_correlation
from tests.mosaic.toys import LEVELS, SIDE, additive_copies, groups_by_hand, random_kept


def sums_over_segments(saliency):
    return torch.zeros(21).index_add(0, LEVELS.flatten(), saliency.flatten().repeat(len(LEVELS)))


def test_what_places_add_is_found_for_the_segments_of_all_partitions():
    copies, adds = additive_copies(800)
    found = additive(copies)
    assert found.r2 > 0.999
    torch.testing.assert_close(sums_over_segments(found.saliency), sums_over_segments(adds), atol=0.1, rtol=0.02)


def refitted(copies):
    """By plain lines, for each of 25 penalties: what places add, and the errors of fits to all copies but one.

    An unpenalised column for each partition is its intercept. The last number is the error of the mean of the partition's others.
    """
    inside = torch.stack([LEVELS.eq(segment).any(0).flatten() for segment in range(21)]).double().numpy()
    overlap = inside @ inside.T / SIDE**2
    scale, group = 1 / np.sqrt(overlap.diagonal()), groups_by_hand(copies)
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
        coefficients = torch.from_numpy(fit(everything >= 0, penalty)[:21] * scale)
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
    found = additive(copies)
    torch.testing.assert_close(found.saliency, fits[best][1][LEVELS].sum(0).float(), atol=1e-4, rtol=1e-4)
    assert found.r2 == pytest.approx(1 - fits[best][0] / spread, abs=1e-6)


def test_of_places_that_could_not_be_removed_nothing_is_known():
    places = torch.rand(SIDE, SIDE) < 0.5
    copies, _ = additive_copies(100, noise=0.1)
    found = additive(copies, places)
    alone = additive(replace(copies, levels=LEVELS[:, places][:, None]))  # as if there were no others
    assert found.r2 == pytest.approx(alone.r2)
    assert found.saliency[~places].eq(0).all()
    told = found.saliency[places][None]
    assert rank_correlation(told, alone.saliency) > 0.9999
    assert rank_correlation(told, additive(copies).saliency[places][None]) < 0.9999


def test_answers_by_chance_are_not_predicted():
    for n in (15, 60, 300):  # fewer than there are segments, too
        assert additive(Copies(random_kept(n), torch.randn(n), LEVELS, torch.ones(n))).r2 < 0.2


@pytest.mark.parametrize("values", [torch.zeros(60), torch.full((60,), 3.3)])
def test_answers_that_are_all_the_same_add_nothing(values):
    found = additive(Copies(random_kept(60), values, LEVELS, torch.ones(60)))
    assert found.r2 == 0
    assert found.saliency.eq(0).all()
