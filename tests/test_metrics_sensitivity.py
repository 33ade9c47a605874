"""Stability, randomisation and sparseness against scipy, Quantus and numbers worked out by hand."""

import inspect
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from dax_lightning.black_box import ImageInput, from_function, from_torch
from dax_lightning.errors import InputError
from dax_lightning.explainers.base import Explainer, Found
from dax_lightning.explainers.random import Random
from dax_lightning.metrics.complexity import Sparseness, gini
from dax_lightning.metrics.sanity import Randomisation, shuffled
from dax_lightning.metrics.sensitivity import StabilityNoise, StabilitySeeds, noisy, rank_correlation
from dax_lightning.testing import ConstantBox
from dax_lightning.types import Case, Explanation

SIZE = (4, 4)
RAMP = torch.arange(16.0).view(SIZE)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def linear_box():
    """Each class is a linear function of the input's places."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    return from_torch(module, ImageInput(SIZE, 1), (0.0,), (1.0,), None)


def case_of(x=None):
    return Case("a", torch.rand(1, *SIZE, generator=generator()) if x is None else x, target=2)


def explanation_of(saliency, target=1):
    return Explanation(saliency, target=target, score=0.5, queries=1, seconds=0.0)


class Asked(NamedTuple):
    seed: int
    x: torch.Tensor
    target: int
    black_box: Any


class Spy(Explainer):
    """Gives the map that ``function`` makes of what it is asked, and remembers that."""

    name = "spy"

    def __init__(self, function, black_box=None, seed=0):
        super().__init__(black_box or linear_box(), seed)
        self.function, self.asked = function, []

    def _explain(self, x, target, generator, segments):
        self.asked.append(Asked(self.seed, x, target, self.black_box))
        return Found(self.function(self.asked[-1]), score=0.5)


class Same(Spy):
    name, deterministic = "same", True


def weights_of(asked):
    """What a linear model really looks at."""
    return asked.black_box.module[1].weight[asked.target].detach().view(SIZE)


def spearman(first, second) -> Any:
    return spearmanr(first.flatten(), second.flatten())[0]


@pytest.mark.parametrize("levels", [2, 4, 10_000])
@pytest.mark.parametrize("seed", range(4))
def test_rank_correlation_agrees_with_scipy(seed, levels):
    first, second = ((torch.rand(9, 7, generator=generator(seed + n)) * levels).floor() for n in (0, 50))
    second = second + first * (seed % 2)
    assert rank_correlation(first, second) == pytest.approx(spearman(first, second))


def test_rank_correlation_by_hand():
    assert rank_correlation(RAMP, RAMP.exp() - 5) == pytest.approx(1)  # only the order counts
    assert rank_correlation(RAMP, -RAMP) == pytest.approx(-1)
    assert rank_correlation(torch.tensor([1.0, 2, 3]), torch.tensor([1.0, 3, 2])) == pytest.approx(1 - 6 * 2 / (3 * 8))


@pytest.mark.parametrize("flat", [0.0, 0.1, -7.3])
def test_a_flat_map_orders_nothing(flat):
    assert rank_correlation(RAMP, torch.full(SIZE, flat)) == 0
    assert rank_correlation(torch.full(SIZE, flat), torch.full(SIZE, flat)) == 0


def test_maps_of_other_shapes_are_named():
    with pytest.raises(InputError, match=r"shapes \(4, 4\) and \(2, 8\)"):
        inspect.unwrap(rank_correlation)(RAMP, RAMP.view(2, 8))


def test_noise_is_of_its_size_and_stays_in_range():
    grey = torch.full((3, 64, 64), 0.5)
    assert (noisy(grey, 0.02, 0) - grey).std().item() == pytest.approx(0.02, rel=0.05)
    assert torch.equal(noisy(grey, 0.02, 3), noisy(grey, 0.02, 3))
    assert not torch.equal(noisy(grey, 0.02, 3), noisy(grey, 0.02, 4))
    black = noisy(torch.zeros(3, 64, 64), 0.5, 0)
    assert (black.min(), (black == 0).float().mean()) == (0, pytest.approx(0.5, abs=0.03))
    quiet = noisy(torch.full((1, 64, 64), -40.0), 0.02, 0, -80, 0)  # decibels
    assert (quiet.mean().item(), quiet.std().item()) == (pytest.approx(-40, abs=0.1), pytest.approx(1.6, rel=0.05))


def test_stability_over_seeds_by_hand():
    maps = {5: RAMP, 6: RAMP.exp(), 7: -RAMP, 8: RAMP}
    spy = Spy(lambda asked: maps[asked.seed], seed=5)
    assert StabilitySeeds(seeds=1)(case_of(), explanation_of(RAMP), spy) == pytest.approx(1)
    assert StabilitySeeds(seeds=3)(case_of(), explanation_of(RAMP), spy) == pytest.approx((1 - 1 + 1) / 3)
    assert [(asked.seed, asked.target) for asked in spy.asked] == [(6, 1), (6, 1), (7, 1), (8, 1)]  # the explained class
    assert spy.seed == 5


def test_what_is_deterministic_is_stable_over_seeds_without_a_query():
    same = Same(lambda _: RAMP)
    assert StabilitySeeds()(case_of(), explanation_of(RAMP), same) == pytest.approx(1)
    assert StabilitySeeds()(case_of(), explanation_of(torch.ones(SIZE)), same) == 0  # flat
    assert same.asked == []


def test_stability_under_noise_looks_at_noisy_inputs_with_the_same_seed():
    spy, case = Spy(lambda asked: asked.x[0], seed=5), case_of()
    value = StabilityNoise(sigma=0.1, repeats=3)(case, explanation_of(case.x[0]), spy)
    inputs = [asked.x for asked in spy.asked]
    assert {(asked.seed, asked.target) for asked in spy.asked} == {(5, 1)}
    assert len({x.sum().item() for x in inputs}) == 3
    assert all(0 < (x - case.x).abs().max() < 0.5 for x in inputs)
    assert value == pytest.approx(np.mean([spearman(x, case.x) for x in inputs]))


def test_more_noise_less_stable():
    case, spy = case_of(), Spy(lambda asked: asked.x[0])
    stable: list[Any] = [StabilityNoise(sigma, repeats=8)(case, explanation_of(case.x[0]), spy) for sigma in (1e-4, 0.1, 2.0)]
    assert stable[0] > stable[1] > stable[2]


def test_random_maps_are_stable_under_nothing():
    case = Case("a", torch.rand(1, 32, 32, generator=generator()), target=2)
    box = from_function(lambda rows: rows.mean((2, 3)).expand(-1, 3), multi_label=True, size=(32, 32), channels=1)
    explainer = Random(box)
    explanation = explainer.explain_case(case)
    for metric in (StabilitySeeds(seeds=20), StabilityNoise(repeats=20)):
        assert metric(case, explanation, explainer) == pytest.approx(0, abs=0.2)
    assert box.queries == 1 + 20 + 20


def test_shuffling_keeps_the_values_and_moves_them():
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(32, 5)).eval()
    before = {name: each.clone() for name, each in module.state_dict().items()}
    first, again, second = (shuffled(module, seed) for seed in (0, 0, 1))
    assert all(torch.equal(each, before[name]) for name, each in module.state_dict().items())
    for weight, other, same, another in zip(*(m.parameters() for m in (module, first, again, second)), strict=True):
        assert torch.equal(weight.flatten().sort()[0], other.flatten().sort()[0])
        assert torch.equal(other, same)
        assert weight.std() == 0 or not torch.equal(weight, other)
        assert weight.std() == 0 or not torch.equal(other, another)


def test_a_map_of_the_weights_changes_with_them_and_a_map_of_the_picture_does_not():
    box, case = linear_box(), case_of()
    honest, edges = Spy(weights_of, box), Spy(lambda asked: asked.x[0], box)
    changed = Randomisation()(case, explanation_of(weights_of(Asked(0, case.x, 1, box))), honest)
    weights = [next(module.parameters())[1].detach() for module in (box.module, shuffled(box.module))]
    assert changed == pytest.approx(abs(spearman(*weights)), rel=1e-6)
    assert abs(spearman(*weights)) < 0.6
    assert Randomisation()(case, explanation_of(case.x[0]), edges) == pytest.approx(1)
    assert Randomisation()(case, explanation_of(-case.x[0]), edges) == pytest.approx(1)  # upside down it says the same
    assert box.queries == 0


def test_the_shuffled_box_has_its_own_bank():
    box, case, scores = linear_box(), case_of(), []
    spy = Spy(lambda asked: scores.append(asked.black_box(asked.x[None])) or RAMP, box)
    with box.bank():
        spy.explain_case(case)
        Randomisation()(case, explanation_of(RAMP), spy)
    assert not torch.allclose(*scores)


def test_randomisation_needs_weights_and_a_map():
    spy = Spy(weights_of)
    assert Randomisation()(case_of(), explanation_of(torch.ones(SIZE)), spy) is None  # flat
    assert Randomisation()(Case("a", torch.rand(3, 32, 32), 0), explanation_of(torch.rand(32, 32)), Random(ConstantBox())) is None


def test_a_shuffled_model_without_an_answer_gives_no_number():
    box = from_torch(nn.Sequential(nn.Flatten(), Fragile()), ImageInput(SIZE, 1), (0.0,), (1.0,), None)
    spy = Spy(lambda asked: asked.black_box(asked.x[None])[0, 0] * RAMP, box)
    spy.explain_case(case_of())
    assert Randomisation()(case_of(), explanation_of(RAMP), spy) is None


class Fragile(nn.Module):
    """Answers NaN as soon as its parameters change places."""

    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.arange(64.0))

    def forward(self, scores):
        return scores if torch.equal(self.shift, torch.arange(64.0)) else scores * torch.nan


def test_gini_by_hand():
    assert gini(torch.tensor([1.0, 3.0])) == pytest.approx((-1 * 1 + 1 * 3) / (2 * 4))
    assert gini(torch.tensor([1.0, -3.0])) == pytest.approx(0.25)  # what speaks against is part of the map
    assert gini(torch.full((5, 5), 0.1)) == pytest.approx(0, abs=1e-12)
    assert gini(torch.zeros(5, 5)) == 0
    assert gini(torch.eye(10)[0]) == pytest.approx(0.9)


def test_gini_agrees_with_quantus():
    quantus = pytest.importorskip("quantus", reason="a dev dependency")
    maps = torch.randn(8, 6, 6, generator=generator()) ** 3
    sparseness = quantus.Sparseness(abs=True, normalise=False, disable_warnings=True)
    theirs = sparseness(
        model=nn.Identity(), x_batch=np.zeros((8, 1, 6, 6), np.float32), y_batch=np.zeros(8, int), a_batch=maps[:, None].numpy()
    )
    assert [gini(each) for each in maps] == pytest.approx([float(number) for number in theirs], abs=1e-5)
    assert [Sparseness()(case_of(), explanation_of(each)) for each in maps] == [gini(each) for each in maps]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: StabilitySeeds(seeds=0), "metric.seeds=0: it must be at least 1"),
        (lambda: StabilityNoise(sigma=0.0), "metric.sigma=0.0, repeats=2: wanted a positive sigma"),
        (lambda: StabilityNoise(repeats=0), "repeats=0: wanted a positive sigma and 1 repeat or more"),
    ],
)
def test_bad_settings_are_named(make, message):
    with pytest.raises(InputError, match=message):
        make()
