"""Means within the segments of several partitions."""

import torch

from dax_lightning.explainers.mosaic.average import averaged
from tests.mosaic.toys import LEVELS, PARTITIONS, SIDE


def test_an_average_is_a_mean_of_means():
    saliency = torch.rand(SIDE, SIDE)
    expected = torch.zeros(SIDE, SIDE)
    for one in PARTITIONS:
        for segment in one.unique():
            expected[one == segment] += saliency[one == segment].mean() / 3
    torch.testing.assert_close(averaged(saliency, LEVELS), expected)


def test_a_map_is_averaged_as_often_as_asked():
    saliency = torch.rand(SIDE, SIDE)
    assert torch.equal(averaged(saliency, LEVELS, 0), saliency)
    assert torch.equal(averaged(saliency, LEVELS, 3), averaged(averaged(averaged(saliency, LEVELS), LEVELS), LEVELS))
