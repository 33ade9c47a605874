"""LIME, the forest and greedy deletion, each against something independent."""

import itertools
from functools import partial
from typing import Any, cast

import numpy as np
import pytest
import torch
from captum.attr import LimeBase as CaptumLime
from lime.lime_base import LimeBase
from sklearn.linear_model import Ridge

from dax_lightning.black_box import from_function
from dax_lightning.errors import InputError
from dax_lightning.explainers.base import seed_of
from dax_lightning.explainers.rivals.mosaic import RidgeOnMosaic
from dax_lightning.explainers.shapley.kernel_shap import KernelShap
from dax_lightning.explainers.surrogate.forest import Forest, weighted_forest
from dax_lightning.explainers.surrogate.greedy import Greedy, delete_greedily
from dax_lightning.explainers.surrogate.lime import Lime, k_lasso, weighted_ridge
from dax_lightning.game.base import ask, game_of
from dax_lightning.game.subsets import Perturber
from dax_lightning.segment.grid import Grid
from dax_lightning.segment.mosaic import Mosaic
from dax_lightning.testing import QuarterBox

PARTS = {"segmenter": Grid(4, 4), "perturber": Perturber(fill="zeros")}


def answers_of(x, q=300, target=0):
    """The copies and answers that an explainer with seed 0 asks for."""
    generator = torch.Generator().manual_seed(seed_of(0, x))
    game = game_of(QuarterBox(), x, Grid(4, 4)(x), PARTS["perturber"])
    return ask(game, PARTS["perturber"], target, q, generator)


# --- what all say of a fill that removes nothing ---


@pytest.mark.parametrize("make", [Lime, Forest, Greedy, KernelShap, RidgeOnMosaic])
@pytest.mark.parametrize(("fill", "other"), [("segment_mean", "zeros"), ("zeros", "segment_mean")])
def test_a_fill_that_changes_barely_anything_is_doubted_without_a_further_query(make, fill, other, noisy_image):
    box = from_function(lambda rows: 0.5 + 0.004 * rows.mean((2, 3))[:, :2], size=(32, 32), multi_label=True)
    own: dict[str, Any] = {"mosaic": Mosaic(Grid(4, 4), [Grid(3, 3)])} if make is RidgeOnMosaic else {"segmenter": Grid(4, 4)}
    made = make(box, perturber=Perturber(fill=fill), q=60, **own).explain(noisy_image, 0)
    (told,) = [text for text in made.warnings if text.startswith("removing segments barely changes the answer (by at most ")]
    assert told.endswith(f"): try another fill, such as {'explainer.' * (make is RidgeOnMosaic)}perturber.fill={other}")
    assert made.queries == box.queries <= 60


@pytest.mark.parametrize("make", [Lime, Forest, Greedy, KernelShap])
def test_a_fill_that_changes_the_answer_is_fine(make, noisy_image):
    for box in (QuarterBox(), from_function(lambda rows: rows.mean((2, 3))[:, :2], size=(32, 32), multi_label=True)):
        assert make(box, q=60, **PARTS).explain(noisy_image, 0).warnings == ()


# --- LIME ---


def test_lime_is_limes_on_the_same_rows(noisy_image):
    answers = answers_of(noisy_image)
    rows = answers.kept.double().numpy()
    distance = 1 - np.sqrt(rows.mean(1))  # the cosine distance to all ones
    theirs = LimeBase(partial(lambda d, width: np.sqrt(np.exp(-(d**2) / width**2)), width=0.25))
    labels = np.stack([answers.probability.double().numpy()] * 2, 1)
    _, pairs, score, _ = theirs.explain_instance_with_data(rows, labels, distance, 0, num_features=16)
    ours = Lime(QuarterBox(), q=300, **PARTS).explain(noisy_image, 0)
    expected = torch.tensor([value for _, value in sorted(cast(list[tuple[int, float]], pairs))]).float()
    assert torch.allclose(ours.saliency[::8, ::8].flatten(), expected, atol=1e-6)
    assert ours.notes["surrogate_r2"] == pytest.approx(score, abs=1e-6)


def test_lime_is_captums_on_the_same_rows(noisy_image):
    answers = answers_of(noisy_image)
    order = iter(range(300))
    theirs = CaptumLime(
        lambda rows: torch.stack([answers.probability[(answers.kept == row.bool()).all(1)][0] for row in rows]),
        interpretable_model=cast(Any, RidgeOfCaptum()),
        similarity_func=lambda _x, _copy, row, **_: answers.weight[(answers.kept == row[0].bool()).all(1)][0],
        perturb_func=lambda _, **__: answers.kept[next(order)][None].float(),
        perturb_interpretable_space=True,
        from_interp_rep_transform=lambda row, _, **__: row,
        to_interp_rep_transform=None,
    )
    expected = theirs.attribute(torch.ones(1, 16), n_samples=300).flatten()
    ours = Lime(QuarterBox(), q=300, **PARTS).explain(noisy_image, 0).saliency[::8, ::8].flatten()
    assert torch.allclose(ours, expected.float(), atol=1e-5)


class RidgeOfCaptum:
    """What Captum calls its interpretable model: anything with ``fit`` on a loader and a ``representation``."""

    def fit(self, loader):
        rows, values, weights = (torch.cat(column).double() for column in zip(*loader, strict=True))
        self.found = Ridge(alpha=1.0).fit(rows.numpy(), values.flatten().numpy(), weights.flatten().numpy()).coef_

    def representation(self):
        return torch.from_numpy(self.found)


def test_k_lasso_keeps_the_few_that_matter():
    kept = torch.rand(400, 12, generator=torch.Generator().manual_seed(0)) < 0.5
    values = 3 * kept[:, 4].float() - 2 * kept[:, 7].float() + 0.1 * kept[:, 1].float()
    assert k_lasso(kept.double().numpy(), values.double().numpy(), np.ones(400), 2).tolist() == [4, 7]
    importance = weighted_ridge(kept, values, torch.ones(400), features=2).importance
    assert importance.nonzero().flatten().tolist() == [4, 7]
    assert importance[4] > 2.9
    assert importance[7] < -1.9


def test_limes_log_odds_are_another_scale(noisy_image):
    plain, log_odds = (Lime(QuarterBox(), q=300, targets=t, **PARTS).explain(noisy_image, 0) for t in ("probability", "log_odds"))
    assert log_odds.saliency.max() > plain.saliency.max() > 0


# --- forest ---


def test_the_forest_sees_what_needs_two_segments_and_a_linear_model_halves_it():
    kept = torch.rand(1000, 8, generator=torch.Generator().manual_seed(0)) < 0.5
    values = (kept[:, 2] & kept[:, 5]).float() - 0.5 * kept[:, 0].float()
    fitted = weighted_forest(kept, values, torch.ones(1000), trees=100, leaf=5, seed=0)
    order = fitted.importance.argsort(descending=True)
    assert set(order[:2].tolist()) == {2, 5}
    assert order[-1] == 0  # it speaks against
    assert fitted.importance[[1, 3, 4, 6, 7]].abs().max() < 0.05
    assert fitted.r2 > 0.9


def test_the_forest_finds_the_quarter(noisy_image):
    made = Forest(QuarterBox(), q=300, **PARTS).explain(noisy_image, 0)
    assert made.notes["surrogate_r2"] > 0.5
    assert made.saliency[:16, :16].mean() > 3 * made.saliency[16:, 16:].abs().mean()


# --- greedy ---


def test_greedy_takes_the_steepest_way_down():
    worth = torch.rand(6, 6, generator=torch.Generator().manual_seed(2))

    def game(kept):
        rows = kept.float()
        return torch.einsum("ni,ij,nj->n", rows, worth, rows)

    expected, kept = [], torch.ones(6, dtype=torch.bool)
    for _ in range(6):
        scores = {}
        for segment in kept.nonzero().flatten().tolist():
            without = kept.clone()
            without[segment] = False
            scores[segment] = game(without[None]).item()
        expected.append(min(scores, key=lambda segment: scores[segment]))
        kept[expected[-1]] = False
    made = delete_greedily(game, 6, rows=1000)
    assert made.order == expected
    values = made.values()[expected]
    assert all(a >= b for a, b in itertools.pairwise(values.tolist()))


def test_greedy_stops_within_its_rows_and_says_when_they_are_too_few(noisy_image):
    made = Greedy(QuarterBox(), q=40, **PARTS).explain(noisy_image, 0)
    assert made.queries == 1 + 16 + 15
    assert len(made.notes["removed"]) == 2
    with pytest.raises(InputError, match="q=16 rows for 16 segments: wanted at least 17"):
        Greedy(QuarterBox(), q=16, **PARTS).explain(noisy_image, 0)


@pytest.mark.parametrize(
    ("method", "wrong", "message"),
    [
        (Lime, {"alpha": -1.0}, "alpha=-1.0"),
        (Lime, {"features": 0}, "features=0"),
        (Lime, {"q": 2}, "q=2"),
        (Forest, {"trees": 3}, "trees=3"),
        (Forest, {"leaf": 0}, "leaf=0"),
        (Greedy, {"q": 1}, "q=1"),
    ],
)
def test_bad_settings_are_named(method, wrong, message):
    with pytest.raises(InputError, match=message):
        method(QuarterBox(), **wrong)
