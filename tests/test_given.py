"""What users hand over: arrays, pictures, files, and partitions of their own."""

import inspect
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image

from dax_lightning.black_box import from_function
from dax_lightning.errors import InputError
from dax_lightning.explainers.dax import Training, lightning_trainer
from dax_lightning.explainers.masking.hsic import Hsic
from dax_lightning.explainers.masking.occlusion import Occlusion
from dax_lightning.explainers.masking.rise import Rise
from dax_lightning.explainers.masking.sobol import Sobol
from dax_lightning.explainers.random import Random
from dax_lightning.explainers.rivals.mosaic import RidgeOnMosaic
from dax_lightning.explainers.shapley.kernel_shap import KernelShap
from dax_lightning.explainers.shapley.partition import PartitionShap
from dax_lightning.explainers.shapley.shapiq import Shapley
from dax_lightning.explainers.surrogate.forest import Forest
from dax_lightning.explainers.surrogate.lime import Lime
from dax_lightning.explainers.surrogate.student import StudentLime
from dax_lightning.game.subsets import Perturber
from dax_lightning.segment.grid import Grid
from dax_lightning.segment.image import Slic
from dax_lightning.segment.mosaic import Mosaic
from dax_lightning.testing import QuarterBox
from dax_lightning.types import Explanation
from tests.conftest import untyped

LIME = {"segmenter": Grid(4, 4), "perturber": Perturber(fill="zeros"), "q": 60}


def test_arrays_pictures_and_files_are_explained_as_tensors_are(noisy_image, tmp_path):
    pixels = (noisy_image * 255).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(tmp_path / "noise.png")
    lime = Lime(QuarterBox(), **LIME)
    expected = lime.explain(torch.from_numpy(pixels).permute(2, 0, 1) / 255, 0).saliency
    for given in (pixels, Image.fromarray(pixels), tmp_path / "noise.png", str(tmp_path / "noise.png"), pixels / np.float32(255)):
        assert torch.equal(lime.explain(given, 0).saliency, expected)


def test_what_is_no_input_is_named():
    with pytest.raises(InputError, match="input of type NoneType"):
        Lime(QuarterBox(), **LIME).explain(None, 0)


def test_partitions_may_have_gaps_and_be_arrays(noisy_image):
    lime, ids = Lime(QuarterBox(), **LIME), Grid(4, 4)(noisy_image)
    expected = lime.explain(noisy_image, 0, ids).saliency
    for given in (ids * 7 + 3, ids.numpy(), ids.numpy().astype(np.uint8), ids.to(torch.int16)):
        assert torch.equal(lime.explain(noisy_image, 0, given).saliency, expected)


COUNTS = {"q": 300, "seed": 3, "cells": 4, "window": 5, "stride": 3, "batch_size": 6, "trees": 30, "leaf": 4, "features": 3}
COUNTS |= {"copies": 100, "averaged": 1}


@pytest.mark.parametrize(
    "method", [Random, Hsic, Sobol, Rise, Occlusion, KernelShap, PartitionShap, Shapley, Forest, Lime, RidgeOnMosaic, StudentLime]
)
def test_counts_may_be_numpys(method, noisy_image, tmp_path):
    takes = inspect.signature(method).parameters
    more = {"training": Training(lightning_trainer(max_epochs=2))} if "training" in takes else {}
    more |= {"segmenter": Grid(4, 4)} if "segmenter" in takes else {}
    more |= {"perturber": Perturber(fill="zeros")} if "perturber" in takes else {}
    more |= {"mosaic": Mosaic(Grid(4, 4), [Grid(3, 3)], [])} if "mosaic" in takes else {}
    counts = {name: value for name, value in COUNTS.items() if name in takes}
    made = method(QuarterBox(), **counts, **more).explain(noisy_image, 0)
    with untyped():
        numpys = method(QuarterBox(), **{name: np.int64(value) for name, value in counts.items()}, **more).explain(noisy_image, 0)
    assert torch.equal(numpys.saliency, made.saliency)
    numpys.save(tmp_path / "made")
    assert Explanation.load(tmp_path / "made").notes == made.notes


def test_settings_of_segmenters_may_be_numpys(noisy_image):
    four, three, nine, fifty, size = cast(list[Any], [np.int64(4), np.int32(3), np.int64(9), np.float32(50), np.int64(32)])
    blocks = noisy_image[:, ::8, ::8].repeat_interleave(8, 1).repeat_interleave(8, 2)
    with untyped():
        for ours, theirs in ((Grid(4, 3), Grid(four, three)), (Slic(9, 50.0), Slic(nine, fifty))):
            assert torch.equal(ours(blocks), theirs(blocks))
        box = from_function(lambda rows: rows.mean((2, 3)), size=size, multi_label=True)
    assert box.input.shape == (3, 32, 32)


@pytest.mark.parametrize("make", [lambda n: Lime(QuarterBox(), q=n), lambda n: Rise(QuarterBox(), cells=n), lambda n: Grid(n, 4)])
@pytest.mark.parametrize("value", [np.float64(4), "4", True, None])
def test_what_is_no_whole_number_is_named(make, value):
    with untyped(), pytest.raises(InputError, match="wanted a whole number"):
        make(value)


def test_a_partition_in_lists_is_named_before_any_query(noisy_image):
    box, lists = QuarterBox(), cast(Any, Grid(4, 4)(noisy_image).tolist())
    with untyped(), pytest.raises(InputError, match=r"segments are a list, wanted a tensor or an array .*: try numpy\.array"):
        Lime(box, **LIME).explain(noisy_image, 0, lists)
    assert box.seen == 0


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda ids: ids - 1, "segments hold -1, wanted numbers of 0 or more"),
        (lambda ids: ids.float(), r"segments of torch\.float32, wanted whole numbers"),
        (lambda ids: torch.full(ids.shape, torch.nan), "wanted whole numbers"),
        (lambda ids: ids[:16], r"segments of shape \(16, 32\), wanted the input's \(32, 32\)"),
    ],
)
def test_what_is_no_partition_is_named_before_any_query(noisy_image, spoil, message):
    box = QuarterBox()
    with pytest.raises(InputError, match=message):
        Lime(box, **LIME).explain(noisy_image, 0, spoil(Grid(4, 4)(noisy_image)))
    assert box.seen == 0
