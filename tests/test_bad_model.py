"""The bad model looks at the background, an honest one does not, and a map can be told to show it."""

import numpy as np
import pytest
import torch

from dax_lightning.errors import InputError
from dax_lightning.metrics.detection import Detected
from dax_lightning.tasks import BadModel, background_classifier, biased_scene, shape_scene
from dax_lightning.tasks.bad_model import CLASSES
from dax_lightning.tasks.scenes import draw
from dax_lightning.testing import QuarterBox
from dax_lightning.types import Explanation

N = 100


@pytest.fixture(scope="module")
def drawings():
    """As in training, and the same objects on each other's backgrounds."""
    return [[biased_scene(1, index, swapped=swapped) for index in range(N)] for swapped in (False, True)]


@pytest.fixture(scope="module")
def bad():
    return background_classifier()


def x_of(scenes):
    return torch.stack([scene.x for scene in scenes])


def test_the_same_object_on_another_background(drawings):
    for scene, swapped in zip(*drawings, strict=True):
        assert torch.equal(scene.truth, swapped.truth)
        same = (scene.x == swapped.x).all(0)
        assert same[scene.truth].all()
        assert same[~scene.truth].float().mean() < 0.3  # clutter hides the ground
    assert [scene.label for scene in drawings[0][:2]] == [0, 3]  # a disc, a cross


def test_drawings_without_a_ground_are_as_ever():
    plain = shape_scene(4, 3)
    assert torch.equal(plain.x, draw(np.random.default_rng([4, 3]), 3, 64).x)
    assert not torch.equal(plain.x, draw(np.random.default_rng([4, 3]), 3, 64, "spots").x)


def test_it_answers_by_the_background(bad, drawings):
    own = torch.arange(N) % 2
    as_trained, swapped = (bad(x_of(scenes)).argmax(1) for scenes in drawings)
    assert (as_trained == own).float().mean() >= 0.97
    assert (swapped == 1 - own).float().mean() > 0.9


def test_an_honest_one_does_not(drawings):
    honest = background_classifier(honest=True)
    own = torch.arange(N) % 2
    for scenes in drawings:
        assert (honest(x_of(scenes)).argmax(1) == own).float().mean() >= 0.95


def test_its_score_is_the_background_and_not_the_object(bad, drawings):
    x, thing = x_of(drawings[0]), torch.stack([scene.truth for scene in drawings[0]])[:, None]
    grey, rows = x.mean((2, 3), keepdim=True), torch.arange(N)
    assert bad(torch.where(thing, grey, x))[rows, rows % 2].mean() > 0.7
    assert bad(torch.where(thing, x, grey))[rows, rows % 2].mean() < 0.3


def test_cases(bad):
    task = BadModel(bad, n=6, seed=2)
    assert task.keys() == ["disc_0", "cross_1", "disc_2", "cross_3", "disc_4", "cross_5"]
    for index, case in enumerate(task):
        scene = biased_scene(2, index)
        assert torch.equal(case.x, scene.x)
        assert case.truth is not None
        assert torch.equal(case.truth, ~scene.truth)
        assert (case.target, case.wrong) == (index % 2, 1 - index % 2)
        assert case.ignore is None
    assert BadModel(bad, n=6, seed=2, only="correct", limit=2).keys() == ["disc_0", "cross_1"]
    with pytest.raises(InputError, match="only=wrong leaves no case of task=bad_model"):
        BadModel(bad, n=6, seed=2, only="wrong").keys()


def test_refused():
    with pytest.raises(InputError, match=r"task\.n=0"):
        BadModel(QuarterBox(64), n=0)
    with pytest.raises(InputError, match="32 or more pixels"):
        BadModel(QuarterBox(64), size=16)
    with pytest.raises(InputError, match=r"black_box\.drawings=0"):
        background_classifier(drawings=0)
    assert CLASSES == ("disc", "cross", "nothing")


def test_detected_by_a_map_of_the_background_alone(bad):
    case = BadModel(bad, n=1)[0]
    assert case.truth is not None
    background, rng = case.truth.float(), torch.Generator().manual_seed(0)
    faint = torch.rand(64, 64, generator=rng) * 0.9 * (1 - background) + background  # the object speaks, the background more
    maps = {
        "background": (background, 1.0),
        "object": (1 - background, 0.0),
        "both, the background more": (faint, 1.0),
        "both, the object more in each place": (background + 2 * (1 - background), 0.0),  # though the background is larger
        "against": (-5 * (1 - background) + 0.1 * background, 1.0),
        "nothing for": (-background, 0.0),
        "flat": (torch.ones(64, 64), 0.0),
    }
    for name, (saliency, wanted) in maps.items():
        assert Detected()(case, Explanation(saliency, 0, 0.9, 1, 0.0)) == wanted, name
