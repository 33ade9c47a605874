"""Deletion and insertion against plain lines, Quantus and numbers worked out by hand."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from dax_lightning.black_box import ImageInput, from_function, from_torch
from dax_lightning.errors import InputError
from dax_lightning.explainers.random import Random
from dax_lightning.game.fill import filled
from dax_lightning.metrics.faithfulness import Deletion, DeletionPaper, Insertion, area, empty, scores_on_the_way, taken
from dax_lightning.types import Case, Explanation
from tests.conftest import HeldAnswers, untyped

MAP = torch.tensor([[0.0, 1.0, 2.0], [3.0, 4.0, 8.0]])  # mean 3, std 2.58
ALL = [Deletion, Insertion, DeletionPaper]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def brightness(size, **settings):
    """Class 0's probability is the mean brightness."""
    return from_function(
        lambda rows: torch.stack([rows.mean((1, 2, 3)), 1 - rows.mean((1, 2, 3))], 1), size=size, channels=1, **settings
    )


def network(size, seed=0, channels=3) -> Any:
    """A small smooth network with random weights, and its box."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = nn.Sequential(
            nn.Conv2d(channels, 6, 3, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(6 * size[0] * size[1], 3)
        ).eval()
    list(module.parameters())[-2].data *= 5  # so that each place matters
    return from_torch(module, ImageInput(size, channels), (0.4,) * channels, (0.2,) * channels, None, batch_size=8)


def untied(size, seed=1):
    return torch.randperm(size[0] * size[1], generator=generator(seed)).view(size).float()


def measured(metric, box, x, saliency, target=0) -> Any:
    explanation = Explanation(saliency, target=target, score=0.5, queries=1, seconds=0.0)
    return metric.measure(Case("a", x, 2), explanation, Random(box))


def test_taken_by_hand():
    saliency = torch.tensor([[3.0, 1.0, 1.0], [2.0, 1.0, 0.0]])
    expected = [
        [[0, 0, 0], [0, 0, 0]],
        [[1, 0, 0], [0, 0, 0]],
        [[1, 1 / 3, 1 / 3], [1, 1 / 3, 0]],
        [[1, 1, 1], [1, 1, 0.5]],  # a count that is no whole number takes a part of the last place
        [[1, 1, 1], [1, 1, 1]],
    ]
    counts = torch.tensor([0.0, 1, 3, 5.5, 6])
    assert taken(saliency, counts).flatten().tolist() == pytest.approx(torch.tensor(expected).flatten().tolist())


def test_tied_places_are_taken_as_on_average_over_their_orders():
    saliency = (4 * torch.rand(5, 5, generator=generator())).floor()
    by_luck = torch.zeros(3, 25)
    for seed in range(4000):
        order = (saliency.flatten() + 0.5 * torch.rand(25, generator=generator(seed))).argsort(descending=True)
        for row, count in enumerate((4, 11, 20)):
            by_luck[row, order[:count]] += 1 / 4000
    assert torch.allclose(taken(saliency, torch.tensor([4.0, 11, 20])).flatten(1), by_luck, atol=0.035)  # 4 standard errors


@pytest.mark.parametrize("metric", ALL)
def test_where_tied_places_lie_changes_nothing(metric):
    size, turned = (8, 8), brightness((8, 8))
    x = torch.rand(1, *size, generator=generator())
    saliency = (3 * torch.rand(size, generator=generator(1))).floor()
    there, here = (
        measured(metric(), turned, each.clone(), m.clone()) for each, m in ((x, saliency), (x.flip(1, 2), saliency.flip(0, 1)))
    )
    assert there.curve.y == pytest.approx(here.curve.y, abs=1e-6)


@pytest.mark.parametrize("steps", [1, 6, 9, 36])
@pytest.mark.parametrize(
    ("metric", "fill"), [(Deletion, "zeros"), (Deletion, "image_mean"), (Insertion, "blur"), (Insertion, "zeros")]
)
def test_agrees_with_plain_lines(metric, fill, steps):
    size = (6, 6)
    box, x, saliency = network(size), torch.rand(3, *size, generator=generator()), untied(size)
    blank = filled(x, torch.zeros(size, dtype=torch.long), fill, 0.1)
    copy, into = (x.clone(), blank) if metric is Deletion else (blank.clone(), x)
    scores = [box(copy[None])[0, 1].item()]
    for value in range(35, -1, -1):
        row, column = (saliency == value).nonzero()[0]
        copy[:, row, column] = into[:, row, column]
        if (36 - value) % (36 // steps) == 0:
            scores.append(box(copy[None])[0, 1].item())
    ours = measured(metric(steps=steps, fill=fill, blur_sigma=0.1), box, x, saliency, target=1)
    assert ours.curve.y == pytest.approx(scores, abs=1e-5)
    assert ours.curve.x == pytest.approx([i / steps for i in range(steps + 1)])
    assert ours.value == pytest.approx(np.trapezoid(scores, dx=1 / steps), abs=1e-5)
    assert max(scores) - min(scores) > 0.05


def test_agrees_with_quantus():
    quantus = pytest.importorskip("quantus", reason="a dev dependency")
    size = (6, 6)
    box = network(size, channels=1)
    module = nn.Sequential(Normalised(), *box.module).eval()
    x, saliency = torch.rand(1, *size, generator=generator()), untied(size)
    flipping = quantus.PixelFlipping(
        features_in_step=4, perturb_baseline="black", normalise=False, abs=False, disable_warnings=True
    )
    curve = flipping(
        model=module,
        x_batch=x[None].numpy(),
        y_batch=np.array([1]),
        a_batch=saliency[None, None].numpy(),
        channel_first=True,
        softmax=True,
    )[0]
    # their black is the input's least value, and their curve starts after the first step
    shifted = moved(box, x.min().item())
    ours = measured(Deletion(steps=9, fill="zeros"), shifted, x - x.min(), saliency, target=1)
    assert ours.curve.y[1:] == pytest.approx([float(score) for score in curve], abs=1e-5)


class Normalised(nn.Module):
    def forward(self, x):
        return (x - 0.4) / 0.2


def moved(box, by):
    return from_function(lambda rows: box(rows + by), box.input)


def test_only_the_salient_region_goes_in_the_papers_deletion():
    x = (MAP / 8)[None]
    paper = measured(DeletionPaper(k=0.0, steps=2), brightness((2, 3)), x, MAP)  # the region: 8 and 4
    assert paper.curve.x == [0, 0.5, 1]
    assert paper.curve.y == pytest.approx([18 / 48, 10 / 48, 6 / 48])
    assert paper.value == pytest.approx((18 / 2 + 10 + 6 / 2) / 2 / 48)
    least = measured(DeletionPaper(k=1.0, steps=2), brightness((2, 3)), x, MAP)  # the 8 alone, gone after the first of two steps
    assert least.curve.y == pytest.approx([18 / 48, 18 / 48, 10 / 48])


def test_nothing_goes_where_a_flat_map_has_no_region():
    x = torch.rand(1, 4, 4, generator=generator())
    assert measured(DeletionPaper(), brightness((4, 4)), x, torch.full((4, 4), 0.7)).value == pytest.approx(x.mean().item())


@pytest.mark.parametrize("metric", ALL)
def test_a_query_a_step_and_one_for_the_start(metric):
    box = brightness((4, 4))
    measured(metric(steps=5), box, torch.rand(1, 4, 4), untied((4, 4)))
    assert box.queries == 6


@pytest.mark.parametrize("metric", ALL)
def test_batch_size_changes_nothing(metric):
    x = torch.rand(1, 8, 8, generator=generator())
    few, many = (measured(metric(), brightness((8, 8), batch_size=n), x, untied((8, 8))) for n in (3, 64))
    assert few == many


@pytest.mark.parametrize("metric", ALL)
def test_the_curves_ends(metric):
    size = (8, 8)
    box, x = network(size), torch.rand(3, *size, generator=generator())
    curve = measured(metric(), box, x, untied(size)).curve
    whole, nothing = (box(each[None])[0, 0].item() for each in (x, empty(x, box, metric().fill)))
    first, last = (nothing, whole) if metric is Insertion else (whole, nothing)
    assert curve.y[0] == pytest.approx(first, abs=1e-6)
    assert (curve.y[-1] == pytest.approx(last, abs=1e-6)) is (metric is not DeletionPaper)


def test_void_is_removed_like_everything_else():
    size = (4, 4)
    case = Case("a", torch.rand(1, *size), 0, torch.rand(size) > 0.5, ignore=torch.rand(size) > 0.5)
    explanation = Explanation(untied(size), target=0, score=0.5, queries=1, seconds=0.0)
    with_void, without = (c for c in (case, dataclasses.replace(case, ignore=None)))
    assert Deletion()(with_void, explanation, Random(brightness(size))) == Deletion()(
        without, explanation, Random(brightness(size))
    )


def test_model_zero_is_what_normalisation_turns_into_zeros():
    box, x = network((4, 4)), torch.rand(3, 4, 4)
    assert torch.allclose(box.model.normalised(empty(x, box, "model_zero")[None]), torch.zeros(1, 3, 4, 4))
    assert torch.equal(empty(x[:1], brightness((4, 4)), "model_zero"), torch.zeros(1, 4, 4))  # no normalisation is known


@pytest.mark.parametrize("fill", ["zeros", "image_mean", "blur"])
def test_the_other_fills_are_the_perturbers(fill):
    x = torch.rand(3, 8, 8)
    assert torch.equal(empty(x, network((8, 8)), fill, 0.1), filled(x, torch.zeros(8, 8, dtype=torch.long), fill, 0.1))


def test_area_by_hand():
    assert area(torch.tensor([0.0, 0.25, 1.0]), torch.tensor([1.0, 0.6, 0.0])) == pytest.approx(0.25 * 0.8 + 0.75 * 0.3)


@pytest.mark.parametrize("metric", ALL)
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "metric.steps=0: it must be at least 1"),
        ({"blur_sigma": 0.0}, "metric.blur_sigma=0.0; wanted a finite number above 0"),
    ],
)
def test_bad_settings_are_named(metric, settings, message):
    with pytest.raises(InputError, match=message):
        metric(**settings)


@pytest.mark.parametrize("metric", ALL)
def test_unknown_fill_is_named(metric):
    unknown: Any = "grey"
    message = r"metric\.fill=grey: choose one of model_zero, zeros, image_mean, blur"
    with untyped(), pytest.raises(InputError, match=message):
        metric(fill=unknown)


def test_no_answer_on_the_way_is_held_as_a_part_of_a_batchs():
    """A view of the target's column would hold the answers of all classes."""
    box = HeldAnswers(lambda rows: rows.flatten(1)[:, :3].softmax(1), (8, 8), batch_size=2)
    x = torch.rand(3, 8, 8, generator=generator())
    scores_on_the_way(box, x, torch.zeros_like(x), x[0], torch.arange(40.0), target=1)
    assert len(box.held) == 20
    assert max(box.held) <= 1
