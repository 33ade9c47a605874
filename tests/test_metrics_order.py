"""On drawings whose answer is known, an explainer that knows it is the best by every metric and one that guesses the worst."""

import functools
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn

from dax_lightning.black_box import ImageInput, from_torch
from dax_lightning.explainers.base import Explainer, Found
from dax_lightning.explainers.random import Random
from dax_lightning.tasks.scenes import shape_scene
from dax_lightning.tasks.textgrids import EVENT_TYPES
from dax_lightning.types import Case
from tests.conftest import ROOT

SIZE, SCENES = 32, 16
METRICS = {path.stem: instantiate(OmegaConf.load(path)) for path in sorted((ROOT / "conf" / "metric").glob("*.yaml"))}
DIRECTED = [
    name
    for name, metric in METRICS.items()
    if metric.higher_is_better is not None and name != "iou_time_wrong_label"  # a drawing's columns are no time
]
UNEVEN = {
    "deletion_paper",  # a map that names more than the object removes more, and beats one that names it exactly
    "iou_wrong_label",  # a map at random is at chance, and a poor one may be there too
}


class Evidence(nn.Module):
    """Class 0 is the texture on the object, class 1 the texture on a square beside it."""

    def __init__(self, weight):
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x):
        evidence = (self.weight * (x.mean(1, keepdim=True) - 0.5)).sum((2, 3)) / self.weight.abs().sum((1, 2))  # 0 to 0.4
        return torch.cat([20 * evidence, torch.full_like(evidence[:, :1], 5)], 1)


class Knows(Explainer):
    """Reads the weights; blind to a share of them, to which it gives noise."""

    name = "knows"
    black_box: Any

    def __init__(self, black_box, blind=0.0):
        super().__init__(black_box)
        self.blind = blind

    def _explain(self, x, target, generator, segments):
        noise = torch.rand(2, SIZE, SIZE, generator=generator)
        weight = self.black_box.module.weight[target].detach().abs()
        return Found(torch.where(noise[0] < self.blind, noise[1], weight), score=self.black_box(x[None])[0, target].item())


@functools.cache
def scenes():
    """Cases, each with its own box."""
    made = []
    for index in range(SCENES):
        truth = shape_scene(0, index, SIZE).truth
        beside = torch.zeros_like(truth)
        beside[-10:, -10:] = True
        beside &= ~truth
        cells = torch.rand(SIZE // 2, SIZE // 2, generator=torch.Generator().manual_seed(index)).round() * 2 - 1
        texture = cells.repeat_interleave(2, 0).repeat_interleave(2, 1)
        picture = (0.5 + 0.4 * texture).expand(3, -1, -1).contiguous()
        weight = torch.stack([truth * texture, beside * texture])
        box = from_torch(Evidence(weight), ImageInput((SIZE, SIZE)), (0.0,) * 3, (1.0,) * 3, None)
        layers = {name: truth.float() for name in ("audible", "own_power", *EVENT_TYPES)}
        made.append((box, Case(str(index), picture, 0, truth, wrong=1, layers=layers)))
    return made


@functools.cache
def mean(name, explain):
    values = []
    for box, case in scenes():
        explainer = explain(box)
        values.append(METRICS[name](case, explainer.explain_case(case), explainer))
    return sum(values) / SCENES


def oracle(box):
    return Knows(box)


def half_blind(box):
    return Knows(box, blind=0.5)


@pytest.mark.parametrize("name", DIRECTED)
def test_the_oracle_is_best_and_random_is_last(name):
    best, between, last = (mean(name, explain) for explain in (oracle, half_blind, Random))
    sign = 1 if METRICS[name].higher_is_better else -1
    if name not in UNEVEN:
        assert sign * best >= sign * between >= sign * last
    assert sign * best > sign * last + 0.05


@pytest.mark.parametrize(
    "name", ["iou", "iou_best", "pointing", "relevance_mass", "relevance_rank", "top_share", "stability_seeds"]
)
def test_the_oracle_is_perfect(name):
    assert mean(name, oracle) == pytest.approx(1)


def test_all_but_sparseness_have_a_direction():
    assert set(METRICS) - set(DIRECTED) == {"sparseness", "iou_time_wrong_label"}
    assert len(DIRECTED) >= 13


@pytest.mark.parametrize("name", sorted(METRICS))
def test_what_is_needed_and_not_there_gives_no_number(name):
    (box, case), metric = scenes()[0], METRICS[name]
    explainer = Random(box)
    explanation = explainer.explain_case(case)
    blind = Case("blind", case.x, 0, wrong=1)
    assert (metric(blind, explanation, explainer) is None) is metric.needs_truth
    assert (metric(case, explanation) is None) is metric.needs_explainer


@pytest.mark.parametrize("name", sorted(METRICS))
def test_what_needs_no_explainer_asks_nothing(name):
    box, case = scenes()[0]
    explainer = Random(box)
    explanation, before = explainer.explain_case(case), box.queries
    METRICS[name](case, explanation, explainer)
    assert (box.queries > before) is (METRICS[name].needs_explainer and name != "randomisation")  # it asks another box
