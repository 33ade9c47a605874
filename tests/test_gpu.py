"""The same explanations where the model is on a GPU; skipped where there is none."""

import pytest
import torch

from dax_lightning.black_box import from_torch
from dax_lightning.explainers.dax import CounterfactualLoss, Dax, Training, lightning_trainer
from dax_lightning.explainers.mosaic import MosaicDax
from dax_lightning.metrics.sensitivity import rank_correlation
from dax_lightning.segment.grid import Grid
from dax_lightning.segment.mosaic import Mosaic
from dax_lightning.testing import QuarterModule

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")]
FIXED = Mosaic(Grid(4, 4), [Grid(3, 3), Grid(8, 2)], [])


def box_on(device):
    zero, one = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    return from_torch(QuarterModule().to(device), size=32, mean=zero, std=one, outputs="logits", batch_size=16)


def test_the_map_is_that_of_the_cpu(noisy_image):
    maps = [MosaicDax(box_on(device), FIXED, q=300).explain(noisy_image, 0).saliency for device in ("cpu", "cuda")]
    assert rank_correlation(*maps) > 0.99


def test_many_are_explained_as_one_by_one_on_the_gpu():
    inputs, dax = torch.rand(4, 3, 32, 32), MosaicDax(box_on("cuda"), FIXED, q=200)
    alone = [dax.explain(x, 0).saliency for x in inputs]
    assert all(rank_correlation(one, many.saliency) > 0.99 for one, many in zip(alone, dax.explain_many(inputs, 0), strict=True))


def test_the_papers_dax_trains_there(noisy_image):
    training = Training(lightning_trainer(max_epochs=2, accelerator="gpu"))
    made = Dax(box_on("cuda"), Grid(4, 4), loss=CounterfactualLoss(), training=training, q=100).explain(noisy_image, 0)
    assert torch.isfinite(made.saliency).all()
