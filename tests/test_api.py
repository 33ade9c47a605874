"""explain() takes what people have at hand, and says what it can't take."""

import re
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from dax_lightning import BlackBox, InputError, explain, from_function, from_torch
from dax_lightning.explainers.masking.rise import Rise
from dax_lightning.explainers.random import Random
from dax_lightning.explainers.shapley.partition import PartitionShap
from dax_lightning.explainers.surrogate.lime import Lime
from dax_lightning.inputs.image import ImageInput
from dax_lightning.testing import QuarterBox, QuarterModule
from tests import functions
from tests.conftest import untyped

PIXELS = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)  # the size of the box's own input
CHW = torch.from_numpy(PIXELS).permute(2, 0, 1)


def seen(image, box: BlackBox | None = None) -> torch.Tensor:
    """What the black box got."""
    rows: list[torch.Tensor] = []
    spy = from_function(lambda x: rows.append(x.clone()) or functions.quarters(x), size=(box or QuarterBox()).input)
    explain(spy, image, target=0, method="random")
    return rows[0][0]


def test_files_pictures_arrays_and_tensors_are_the_same_photograph(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "photo.png")
    wanted = CHW / 255
    for image in (
        tmp_path / "photo.png",
        str(tmp_path / "photo.png"),
        Image.fromarray(PIXELS),
        PIXELS,
        PIXELS / 255,
        np.float32(PIXELS / 255),
        (PIXELS / 255).transpose(2, 0, 1),
        CHW,
        CHW / 255,
        (CHW / 255).requires_grad_(),
    ):
        torch.testing.assert_close(seen(image), wanted)


def test_other_sizes_are_cut_as_the_black_box_says():
    large = np.random.default_rng(1).integers(0, 256, (90, 120, 3)).astype(np.uint8)
    wanted = QuarterBox().input.image(Image.fromarray(large))
    for image in (large, large / 255, torch.from_numpy(large).permute(2, 0, 1)):
        torch.testing.assert_close(seen(image), wanted, atol=0.01, rtol=0)  # floats are not rounded to 8 bits
    grey = large[..., 0]
    for image in (grey, grey[..., None]):
        torch.testing.assert_close(seen(image), QuarterBox().input.image(Image.fromarray(grey)))


@pytest.mark.parametrize("method", ["dax", "lime", "shap", "gradient", "gradcam"])
def test_any_method_by_its_name(method):
    box = from_torch(QuarterModule(64), size=64, classes=["top left", "bottom right", "neither"])
    tiles = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(3)) / 5
    tiles[:, :2, :2] += 0.7
    made = explain(box, tiles.repeat_interleave(16, 1).repeat_interleave(16, 2), "top left", method, q=150)
    assert made.target == 0
    assert made.saliency[:32, :32].mean() > made.saliency[32:, 32:].mean()
    assert made.queries <= 150


def test_modules_and_functions_need_a_size_and_black_boxes_have_one():
    x = CHW / 255
    by_module, by_function = (
        explain(model, x, 0, "rise", q=60, size=32).saliency
        for model in (QuarterModule(), lambda x: QuarterModule()(x).softmax(1))
    )
    torch.testing.assert_close(by_module, by_function)
    told = {
        "input size is not known: give size=": lambda: explain(nn.Flatten(), x),
        "size=32 is for a module or a function": lambda: explain(QuarterBox(), x, size=32),
    }
    for match, call in told.items():
        with pytest.raises(ValueError, match=match):
            call()


def test_an_explainer_may_be_the_method():
    box = QuarterBox()
    assert torch.equal(explain(box, PIXELS, 0, Random(box)).saliency, explain(box, PIXELS, 0, "random").saliency)


def test_an_explainer_explains_its_own_model_alone_and_by_its_own_settings():
    box = QuarterBox()
    told = {
        "the explainer was made for another black box than model: give model=method.black_box": lambda: explain(
            QuarterBox(), PIXELS, 0, Random(box)
        ),
        "q=50, seed=3 beside an explainer, which has its own: give it where random is made": lambda: explain(
            box, PIXELS, 0, Random(box), q=50, seed=3
        ),
        "size=32 beside an explainer": lambda: explain(box, PIXELS, 0, Random(box), size=32),
    }
    for match, call in told.items():
        with pytest.raises(InputError, match=match):
            call()
    assert box.seen == 0


@pytest.mark.parametrize("method", ["dax", "random", "gradient"])
@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"q": "100"}, "q='100' is a str, wanted a whole number"),
        ({"q": 2.5}, "q=2.5 is a float, wanted a whole number"),
        ({"seed": 0.5}, "seed=0.5 is a float, wanted a whole number"),
    ],
)
def test_copies_and_seeds_are_whole_numbers(wrong, told, method):
    with untyped(), pytest.raises(InputError, match=told):
        explain(QuarterBox(), PIXELS, 0, method, **wrong)


@pytest.mark.parametrize("make", [Lime, Rise, PartitionShap])
def test_so_are_those_of_explainers(make):
    with untyped(), pytest.raises(InputError, match=r"q=2000\.5 is a float, wanted a whole number"):
        make(QuarterBox(), q=2000.5)


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("lite0", r"model is a str, wanted a black box, a torch module or a function: explain\(model, image, ...\)"),
        (PIXELS, "model is a ndarray, wanted"),
        (QuarterModule, "model is the class QuarterModule, wanted a black box"),
        ({"weight": CHW}, "model is a dict, wanted"),
    ],
)
def test_what_is_no_model_is_told(model, told):
    box: Any = QuarterBox()  # given in the image's place
    with untyped(), pytest.raises(InputError, match=told):
        explain(model, box, method="lime")


@pytest.mark.parametrize(
    ("image", "told"),
    [
        (np.zeros((5, 32, 32, 3)), "a batch of 5 images: give them one by one"),
        (np.full((40, 40, 3), 200.0), "input values from 200 to 200, wanted [0, 1]"),
        (np.full((40, 40, 3), np.nan), "NaN or infinite"),
        (torch.full((3, 32, 32), 1.5), "input values from 1.5 to 1.5, wanted [0, 1]"),
        ("none.png", "none.png does not exist"),
    ],
)
def test_what_is_no_image_is_told(image, told):
    with pytest.raises(ValueError, match=re.escape(told)):
        explain(QuarterBox(), image)


@pytest.mark.parametrize(
    ("method", "told"),
    [
        ("qqq", r"method=qqq is not known: choose one of dame, dax, .*lime"),
        ("limee", r"method=limee is not known: did you mean lime\?"),
        ("../explainer/lime", "is not known"),
        (["lime", "rise"], r"method=\['lime', 'rise'\]: one method at a time"),
        (Rise, r"wanted a name such as 'lime', or an explainer such as Rise\(model\)"),
    ],
)
def test_unknown_methods_are_told(method, told):
    with untyped(), pytest.raises(InputError, match=told):
        explain(QuarterBox(), PIXELS, method=method)


def test_a_greyscale_model():
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    made = explain(from_torch(module, size=8, mean=[0.5], std=[0.5]), PIXELS, 0, "random")
    assert made.saliency.shape == (8, 8)
    assert from_torch(module, size=ImageInput((8, 8), channels=1)).input.channels == 1
