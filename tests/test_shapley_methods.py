"""Shapley values by enumeration, by Captum and by the libraries' own use, against the three Shapley methods."""

from itertools import combinations
from math import factorial
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
from captum.attr import ShapleyValues

from dax_lightning.black_box import from_function
from dax_lightning.errors import InputError
from dax_lightning.explainers.shapley.kernel_shap import KernelShap
from dax_lightning.explainers.shapley.partition import Image, Partition, PartitionShap
from dax_lightning.explainers.shapley.shapiq import Shapley
from dax_lightning.game.fill import Fill, filled
from dax_lightning.game.subsets import Perturber
from dax_lightning.segment.grid import Grid
from dax_lightning.testing import ConstantBox, QuarterBox, ToyBox

SAMPLERS = {
    "shap": KernelShap,
    "leverage": Shapley,
    "kernel_shap": lambda *a, **k: Shapley(*a, approximator="kernel_shap", **k),
    "permutation": lambda *a, **k: Shapley(*a, approximator="permutation", **k),
}
REGRESSIONS = ["shap", "leverage", "kernel_shap"]


class LinearModel:
    """The target's probability is a weighted mean of the picture, so a segment is worth what it adds, whatever else is kept."""

    fingerprint, classes = "linear", None

    def __init__(self):
        self.weight = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(5)) / (3 * 32 * 32)
        self.seen = 0

    def scores(self, x):
        self.seen += len(x)
        share = (x.double() * self.weight).sum((1, 2, 3))
        return torch.stack([share, 1 - share], 1)


def explainer(name, box, q, **more):
    if name == "shap_partition":
        return PartitionShap(box, q=q, **more)
    return SAMPLERS[name](box, Grid(4, 4), Perturber(fill="zeros"), q=q, **more)


def answer(box, x, segments, kept, target=0, fill: Fill = "zeros", targets="probability"):
    """One copy, painted by hand."""
    copy = filled(x, segments, fill)
    for segment in kept:
        copy[:, segments == segment] = x[:, segments == segment]
    p = box(copy[None])[0, target].double().item()
    return p if targets == "probability" else np.log(p / (1 - p))


def by_enumeration(box, x, segments, **how):
    """Shapley's formula: the mean of what each player adds to each set, by the chance that this set comes before it."""
    j = int(segments.max()) + 1
    worth = {s: answer(box, x, segments, s, **how) for n in range(j + 1) for s in combinations(range(j), n)}
    chance = [factorial(n) * factorial(j - n - 1) / factorial(j) for n in range(j)]
    values = [sum(chance[len(s)] * (worth[tuple(sorted((*s, i)))] - worth[s]) for s in worth if i not in s) for i in range(j)]
    return torch.tensor(values).float()[segments]


def sum_of(made):
    """What the segments are worth together."""
    return sum(made.saliency[made.segments == i][0].item() for i in range(int(made.segments.max()) + 1))


# --- values --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REGRESSIONS)
@pytest.mark.parametrize(("grid", "fill", "targets"), [((2, 2), "segment_mean", "probability"), ((2, 3), "zeros", "log_odds")])
def test_all_sets_give_the_exact_values(name, grid, fill, targets, noisy_image):
    segmenter, box = Grid(*grid), QuarterBox()
    expected = by_enumeration(QuarterBox(), noisy_image, segmenter(noisy_image), fill=fill, targets=targets)
    made = SAMPLERS[name](box, segmenter, Perturber(fill=fill), q=100, targets=targets).explain(noisy_image, 0)
    torch.testing.assert_close(made.saliency, expected, rtol=1e-4, atol=1e-6)
    assert box.seen == made.queries == 2 ** (grid[0] * grid[1])  # none is asked twice


def test_permutations_come_near_the_exact_values(noisy_image):
    segments = Grid(2, 2)(noisy_image)
    made = SAMPLERS["permutation"](QuarterBox(), Grid(2, 2), Perturber(fill="zeros"), q=3000).explain(noisy_image, 0)
    expected = by_enumeration(QuarterBox(), noisy_image, segments)
    torch.testing.assert_close(made.saliency, expected, rtol=0, atol=0.02 * expected.abs().max().item())


@pytest.mark.parametrize("name", ["shap", "leverage"])
def test_exact_values_are_captums(name, noisy_image):
    segments = Grid(1, 5)(noisy_image)
    made = SAMPLERS[name](QuarterBox(), Grid(1, 5), Perturber(fill="zeros"), q=32).explain(noisy_image, 1)
    captums = ShapleyValues(QuarterBox()).attribute(noisy_image[None], target=1, feature_mask=segments[None, None])
    torch.testing.assert_close(made.saliency, captums[0, 0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", SAMPLERS)
def test_few_rows_are_enough_for_a_linear_black_box(name, noisy_image):
    box, segments = ToyBox(LinearModel()), Grid(4, 4)(noisy_image)
    made = SAMPLERS[name](box, Grid(4, 4), Perturber(fill="zeros"), q=60).explain(noisy_image, 0)
    parts = (noisy_image * box.model.weight).sum(0)
    expected = torch.stack([parts[segments == i].sum() for i in range(16)])[segments]
    torch.testing.assert_close(made.saliency, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("targets", ["probability", "log_odds"])
def test_segments_share_out_the_whole_difference(name, targets, noisy_image):
    how = {"targets": targets, "fill": "blur"}
    made = SAMPLERS[name](QuarterBox(), Grid(5, 5), Perturber(fill="blur"), q=101, targets=targets).explain(noisy_image, 0)
    empty, full = (answer(QuarterBox(), noisy_image, made.segments, s, **how) for s in ((), range(25)))
    assert sum_of(made) == pytest.approx(full - empty, abs=1e-5)
    assert made.notes["base_value"] == pytest.approx(empty, abs=1e-5)


@pytest.mark.parametrize("fill", ["blur", "image_mean", "zeros"])
def test_partition_is_the_librarys_own_on_the_image(fill, noisy_image):
    made = PartitionShap(QuarterBox(), fill=fill, blur_sigma=0.1, q=120, targets="log_odds").explain(noisy_image, 0)
    box, x = QuarterBox(), noisy_image.permute(1, 2, 0).numpy()
    background = filled(noisy_image, torch.zeros(32, 32, dtype=torch.long), fill, 0.1).permute(1, 2, 0).numpy()

    def log_odds(rows):
        return box(torch.from_numpy(rows).permute(0, 3, 1, 2))[:, 0].double().logit().numpy()

    np.random.seed(1)
    library: Any = Partition(log_odds, Image(background))(x[None], max_evals=120, batch_size=10, silent=True)
    torch.testing.assert_close(made.saliency, torch.from_numpy(library.values[0].sum(-1)).float(), rtol=1e-3, atol=1e-6)
    assert made.saliency.sum().item() == pytest.approx((log_odds(x[None]) - log_odds(background[None])).item(), abs=1e-4)


# --- rows ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("q", [60, 61, 200])
@pytest.mark.parametrize("name", [*REGRESSIONS, "shap_partition"])
def test_exactly_q_rows(name, q, noisy_image):
    box = QuarterBox()
    made = explainer(name, box, q).explain(noisy_image, 0)
    assert (
        box.seen == made.queries == explainer(name, box, q).rows_needed(noisy_image) == q - (q % 2) * (name == "shap_partition")
    )


@pytest.mark.parametrize(("q", "rows"), [(61, 47), (62, 62)])  # 2 and 15 for each order of 16 segments
def test_permutations_ask_the_rows_of_whole_orders(q, rows, noisy_image):
    assert explainer("permutation", QuarterBox(), q).explain(noisy_image, 0).queries == rows


@pytest.mark.parametrize("name", [*SAMPLERS, "shap_partition"])
def test_nothing_is_drawn_on_the_screen(name, noisy_image, capfd):
    explainer(name, QuarterBox(), 200).explain(noisy_image, 0)
    assert capfd.readouterr() == ("", "")


# --- randomness and constants ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*SAMPLERS, "shap_partition"])
def test_seed_decides_and_numpys_global_state_is_left_alone(name, noisy_image):
    first = explainer(name, QuarterBox(), 100).explain(noisy_image, 0).saliency
    np.random.seed(7)
    assert torch.equal(explainer(name, QuarterBox(), 100).explain(noisy_image, 0).saliency, first)
    assert np.random.rand() == np.random.RandomState(7).rand()
    other = explainer(name, QuarterBox(), 100, seed=1).explain(noisy_image, 0).saliency
    assert torch.equal(other, first) == (name == "shap_partition")


def test_ties_of_the_partition_are_broken_alike(noisy_image):
    box = from_function(
        lambda rows: rows[..., :8].mean((2, 3)), size=(32, 32), multi_label=True
    )  # the upper and the lower half tell the same,
    even = torch.ones_like(noisy_image)
    maps = [PartitionShap(box, q=6, batch_size=2, seed=seed).explain(even, 0).saliency for seed in range(4)]  # one is halved
    assert all(torch.equal(maps[0], other) for other in maps)


@pytest.mark.parametrize("name", [*SAMPLERS, "shap_partition"])
@pytest.mark.parametrize("targets", ["probability", "log_odds"])
def test_constant_black_box_gives_zeros(name, targets, noisy_image):
    made = explainer(name, ConstantBox(), 100, targets=targets).explain(noisy_image, 0)
    assert not made.saliency.any()
    assert made.score == pytest.approx(0.2)


# --- what is refused -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize(
    ("grid", "q", "message"),
    [((4, 4), 33, "q=33 rows for 16 segments: wanted at least 34"), ((2, 2), 9, "q=9 rows for 4 segments: wanted at least 10")],
)
def test_too_few_rows_are_refused_before_any_query(name, grid, q, message, noisy_image):
    box = QuarterBox()
    with pytest.raises(InputError, match=message):
        SAMPLERS[name](box, Grid(*grid), q=q).explain(noisy_image, 0)
    assert box.seen == 0


@pytest.mark.parametrize("name", ["leverage", "kernel_shap"])
def test_segments_beyond_what_shapiqs_regression_can_count_are_refused_before_any_query(name):
    box = from_function(lambda rows: rows[:, :2].mean((2, 3)), size=(1, 1001), multi_label=True)
    x, segments = torch.rand(3, 1, 1001, generator=torch.Generator().manual_seed(0)), torch.arange(1001)[None]
    with pytest.raises(InputError, match=f"1001 segments: explainer.approximator={name} takes at most 1000"):
        SAMPLERS[name](box, q=3000).explain(x, 0, segments=segments)
    assert box.queries == 0
    assert SAMPLERS["permutation"](box, q=3000).explain(x, 0, segments=segments).queries == 2 + 2 * 1000
    most = SAMPLERS[name](box, q=2100).explain(x, 0, segments=segments.clamp_max(999))
    assert most.saliency.isfinite().all()


@pytest.mark.parametrize("name", SAMPLERS)
def test_one_segment_is_refused_and_a_users_partition_is_used(name, noisy_image):
    halves = torch.tensor([4, 9]).repeat_interleave(16).expand(32, 32)
    made = explainer(name, QuarterBox(), 100).explain(noisy_image, 0, segments=halves)
    assert made.saliency.unique().numel() == 2
    with pytest.raises(InputError, match="one single segment"):
        explainer(name, QuarterBox(), 100).explain(noisy_image, 0, segments=torch.zeros(32, 32, dtype=torch.long))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: KernelShap(QuarterBox(), q=3), "q=3 copies asked for; wanted at least 4"),
        (lambda: Shapley(QuarterBox(), q=3), "q=3 copies asked for; wanted at least 4"),
        (lambda: PartitionShap(QuarterBox(), q=3), "q=3 must be at least 4"),
        (lambda: PartitionShap(QuarterBox(), batch_size=1), "batch_size=1 at least 2"),
    ],
)
def test_bad_values_are_named(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize(
    ("method", "values", "message"),
    [
        (Shapley, {"approximator": "svarm"}, "approximator=svarm: choose one of leverage, kernel_shap, permutation"),
        (PartitionShap, {"fill": "segment_mean"}, "fill=segment_mean: choose one of zeros, image_mean, blur"),
        (KernelShap, {"targets": "logits"}, "targets=logits: choose one of"),
    ],
)
def test_unknown_choices_are_named(method, values, message):
    jaxtyping.config.update("jaxtyping_disable", True)  # the tests' own type checks would be first
    try:
        with pytest.raises(InputError, match=message):
            method(QuarterBox(), **values)
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
