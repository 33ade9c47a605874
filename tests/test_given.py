"""What users hand over: arrays, pictures, files, and partitions of their own."""

import numpy as np
import pytest
import torch
from PIL import Image

from dax_lightning.errors import InputError
from dax_lightning.explainers.surrogate.lime import Lime
from dax_lightning.game.subsets import Perturber
from dax_lightning.segment.grid import Grid
from dax_lightning.testing import QuarterBox

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
