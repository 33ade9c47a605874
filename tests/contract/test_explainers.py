"""What every explainer must do; the list is conf/explainer/*.yaml."""

import math
import pickle
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import get_object
from omegaconf import OmegaConf

from dax_lightning.errors import BudgetExceeded, InputError
from dax_lightning.run.config import build
from dax_lightning.testing import ConstantBox, QuarterBox, QuarterTorchBox
from tests.conftest import ROOT

EXPLAINERS = sorted(path.stem for path in (ROOT / "conf" / "explainer").glob("*.yaml"))
SETTINGS = ["segmenter=grid", "segmenter.rows=4", "segmenter.columns=4", "perturber.fill=zeros", "q=200", "trainer.max_epochs=6"]
OWN = {  # those that have a perturber or training of their own
    "dax": ["explainer.perturber.fill=zeros"],
    "dax_paper": ["loss=v2"],
    "dame": ["loss=v2"],
    "lime_mosaic": ["explainer.perturber.fill=zeros"],
    "rise_mosaic": ["explainer.perturber.fill=zeros"],
    "ridge_mosaic": ["explainer.perturber.fill=zeros"],
}
FLOOR = {"random"}  # explainers that look at nothing but the score


@pytest.fixture(params=EXPLAINERS)
def name(request):
    return request.param


@pytest.fixture
def quarter_box(name):
    return box_for(name)


def box_for(name, constant=False):
    if class_of(name).needs_gradients:
        return QuarterTorchBox(constant=constant)
    return ConstantBox() if constant else QuarterBox()


def numpy_state():
    state: Any = np.random.get_state()
    return state[1]


def class_of(name):
    node: Any = OmegaConf.load(ROOT / "conf" / "explainer" / f"{name}.yaml")
    return get_object(node["_target_"])


@cache
def composed(name, *settings):
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("config", [f"explainer={name}", "device=cpu", *SETTINGS, *OWN.get(name, []), *settings])


def make(name, black_box, *settings):
    return build(composed(name, *settings).explainer, "explainer", black_box=black_box)


def test_map_is_finite_and_of_the_inputs_size(name, quarter_box, noisy_image):
    made = make(name, quarter_box).explain(noisy_image, 0)
    assert made.saliency.shape == noisy_image.shape[1:]
    assert made.saliency.dtype == torch.float32
    assert torch.isfinite(made.saliency).all()
    assert made.score == pytest.approx(box_for(name)(noisy_image[None])[0, 0].item(), abs=1e-6)
    assert made.target == 0


def test_same_seed_same_map_whatever_ran_before(name, quarter_box, noisy_image):
    first = make(name, quarter_box).explain(noisy_image, 0)
    torch.rand(17)
    explainer = make(name, box_for(name))
    explainer.explain(noisy_image.flip(2), 1)
    assert torch.equal(explainer.explain(noisy_image, 0).saliency, first.saliency)


def test_another_seed_another_map_unless_there_is_no_chance_in_it(name, quarter_box, noisy_image):
    maps = [make(name, quarter_box, f"seed={seed}").explain(noisy_image, 0).saliency for seed in (0, 1)]
    assert torch.equal(*maps) == class_of(name).deterministic


def test_gradients_are_asked_of_torch_modules_alone(name, quarter_box):
    if class_of(name).needs_gradients:
        with pytest.raises(InputError, match=r"gradients are wanted.*QuarterModel can only be queried.*explainer=dax"):
            make(name, QuarterBox())
    assert make(name, quarter_box).name == name


def test_input_and_global_randomness_are_left_alone(name, quarter_box, noisy_image):
    before, state, arrays = noisy_image.clone(), torch.random.get_rng_state(), numpy_state()
    make(name, quarter_box).explain(noisy_image, 0)
    assert torch.equal(noisy_image, before)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert np.array_equal(numpy_state(), arrays)


@pytest.mark.parametrize("target", [0, None])
def test_queries_are_the_rows_the_model_saw(name, quarter_box, noisy_image, target):
    made = make(name, quarter_box).explain(noisy_image, target)
    assert made.queries == quarter_box.seen > 0


def test_budget_is_never_exceeded(name, quarter_box, noisy_image):
    needed = make(name, quarter_box).rows_needed(noisy_image)
    assert make(name, quarter_box).again(budget=needed).explain(noisy_image, 0).queries <= needed
    if needed > 1:
        fresh = box_for(name)
        for budget, target in ((needed - 1, 0), (needed, None)):  # finding the top class costs one row more
            with pytest.raises(BudgetExceeded, match="budget"):
                make(name, fresh).again(budget=budget).explain(noisy_image, target)
        assert fresh.seen == 0


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (3, "target=3 is no class.*ids 0 to 2"),
        (-1, "target=-1"),
        ("top lift", "did you mean 'top left'"),
        ("zebra", "not a class name"),
    ],
)
def test_bad_targets_are_named(name, quarter_box, noisy_image, target, message):
    with pytest.raises(InputError, match=message):
        make(name, quarter_box).explain(noisy_image, target)


def test_target_by_name_and_by_id_are_the_same(name, quarter_box, noisy_image):
    explainer = make(name, quarter_box)
    by_id, by_name, as_text = (explainer.explain(noisy_image, target).saliency for target in (1, "Bottom Right", "1"))
    assert torch.equal(by_id, by_name)
    assert torch.equal(by_id, as_text)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda x: x.clone().fill_(math.nan), "NaN"),
        (lambda x: x[:, :0], r"shape \(3, 0, 32\), wanted \(3, 32, 32\)"),
        (lambda x: x[:1], r"shape \(1, 32, 32\)"),
        (lambda x: x * 255, r"wanted \[0, 1\]"),
        (lambda x: x - 1, r"wanted \[0, 1\]"),
    ],
)
def test_bad_inputs_are_named_before_any_query(name, quarter_box, noisy_image, spoil, message):
    with pytest.raises(InputError, match=message):
        make(name, quarter_box).explain(spoil(noisy_image), 0)
    assert quarter_box.seen == 0


def test_attribute_is_stacked_explain(name, quarter_box, noisy_image):
    inputs = torch.stack([noisy_image, noisy_image.flip(1)])
    explainer = make(name, quarter_box)
    maps = explainer.attribute(inputs, target=torch.tensor([0, 1]))
    assert maps.shape == inputs.shape
    assert all(
        torch.equal(a, b) for a, b in zip(explainer.attribute((inputs,), 0), (explainer.attribute(inputs, 0),), strict=True)
    )
    for row, x, target in zip(maps, inputs, (0, 1), strict=True):
        assert torch.equal(row, explainer.explain(x, target).saliency.expand(3, -1, -1))


def test_works_where_gradients_are_off(name, quarter_box, noisy_image):
    explainer = make(name, quarter_box)
    expected = explainer.explain(noisy_image, 0).saliency
    for off in (torch.no_grad(), torch.inference_mode()):
        with off:
            assert torch.equal(explainer.explain(noisy_image, 0).saliency, expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_other_floats_work(name, quarter_box, noisy_image, dtype):
    assert make(name, quarter_box).explain(noisy_image.to(dtype), 0).saliency.dtype == torch.float32


def test_as_many_targets_as_inputs(name, quarter_box, noisy_image):
    with pytest.raises(InputError, match="2 targets for 1 inputs"):
        make(name, quarter_box).attribute(noisy_image[None], target=[0, 1])


def test_finds_a_known_truth(name, quarter_box, noisy_image):
    if name in FLOOR:
        pytest.skip("the floor knows nothing")
    saliency = make(name, quarter_box, "q=600", "trainer.max_epochs=15").explain(noisy_image, 0).saliency
    here = saliency[:16, :16].mean()
    assert here > saliency[:16, 16:].mean()
    assert here > saliency[16:, :16].mean()
    assert here > saliency[16:, 16:].mean()


def test_another_class_another_map(name, quarter_box, noisy_image):
    explainer = make(name, quarter_box)
    first, second = (explainer.explain(noisy_image, target).saliency for target in (0, 1))
    assert not torch.allclose(first, second)


def test_constant_black_box_gives_a_flat_map(name, noisy_image):
    if name in FLOOR:
        pytest.skip("the floor knows nothing")
    made = make(name, box_for(name, constant=True)).explain(noisy_image, 0)
    assert made.saliency.max() == made.saliency.min()
    assert "same for all" in made.warnings[0]


def test_the_bank_changes_no_map_and_no_count(name, quarter_box, noisy_image):
    alone = make(name, quarter_box).explain(noisy_image, 0)
    box = box_for(name)
    explainer = make(name, box)
    with box.bank():
        first = explainer.explain(noisy_image, 0)
        seen = box.seen
        again = explainer.explain(noisy_image, 0)
    assert torch.equal(first.saliency, alone.saliency)
    assert torch.equal(again.saliency, alone.saliency)
    assert first.queries == again.queries == alone.queries
    if not explainer.needs_gradients:
        assert box.seen == seen == alone.queries


def test_pickles(name, quarter_box, noisy_image):
    explainer = make(name, quarter_box)
    again = pickle.loads(pickle.dumps(explainer))
    assert torch.equal(again.explain(noisy_image, 0).saliency, explainer.explain(noisy_image, 0).saliency)


def test_files_come_back_as_they_were(name, quarter_box, noisy_image, tmp_path):
    made = make(name, quarter_box).explain(noisy_image, 0)
    made.save(tmp_path / "a.b__c")
    again = type(made).load(tmp_path / "a.b__c")
    assert torch.equal(again.saliency, made.saliency)
    assert (again.notes, again.warnings, again.queries) == (made.notes, made.warnings, made.queries)


def test_the_list_is_found():
    assert {"dax", "random"} <= set(EXPLAINERS)
    assert Path(ROOT / "conf" / "explainer").is_dir()


def test_many_are_explained_as_one_by_one(name, quarter_box):
    """Side by side or not, the maps and the counts are the same, and the global random numbers go on as before."""
    made = make(name, quarter_box)
    inputs, finished = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)), {}
    alone = [made.explain(x, target=0) for x in inputs]
    before = torch.random.get_rng_state(), numpy_state().copy()
    many = made.explain_many(inputs, target=[0, 0, 0], workers=3, done=finished.__setitem__)
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert np.array_equal(numpy_state(), before[1])
    for place, (one, other) in enumerate(zip(alone, many, strict=True)):
        assert torch.equal(one.saliency, other.saliency)
        assert one.queries == other.queries
        assert finished[place] is other
