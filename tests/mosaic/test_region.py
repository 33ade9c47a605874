"""What a map names: places over three quarters of what is typical, without crumbs and holes."""

import pytest
import torch

from dax_lightning.explainers.mosaic.region import region_of


def picture(side=40, **rectangles):
    """0 everywhere but in rectangles: top, bottom, left, right and the value."""
    made = torch.zeros(side, side)
    for top, bottom, left, right, value in rectangles.values():
        made[top:bottom, left:right] = value
    return made


def test_an_object_is_named_and_what_is_weak_beside_it_is_not():
    saliency = picture(object=(5, 20, 5, 20, 2.0), beside=(22, 38, 0, 40, 0.5), against=(0, 3, 0, 40, -9.0))
    assert torch.equal(region_of(saliency), saliency == 2)


@pytest.mark.parametrize(("value", "named"), [(0.7, False), (0.8, True)])
def test_the_threshold_is_three_quarters_of_the_typical_value(value, named):
    saliency = picture(many=(0, 20, 0, 40, 1.0), few=(30, 33, 0, 40, value))
    assert region_of(saliency)[31, 5].item() is named


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_the_scale_changes_nothing(scale):
    saliency = torch.randn(40, 40, generator=torch.Generator().manual_seed(0)).cumsum(0).cumsum(1)
    assert region_of(saliency).any()
    assert torch.equal(region_of(scale * saliency), region_of(saliency))


def test_crumbs_are_left_out_and_holes_are_filled():
    saliency = picture(
        object=(5, 25, 5, 25, 1.0), nose=(12, 15, 12, 15, 0.0), crumb=(32, 34, 32, 34, 1.0), second=(30, 38, 2, 10, 1.0)
    )
    found = region_of(saliency)
    assert torch.equal(found, picture(object=(5, 25, 5, 25, 1.0), second=(30, 38, 2, 10, 1.0)) > 0)
    hole = picture(object=(5, 25, 5, 25, 1.0), window=(10, 16, 10, 16, 0.0))  # over a hundredth of the picture
    assert not region_of(hole)[12, 12]


def test_places_without_neighbours_make_no_pieces():
    saliency = torch.tensor([1.0] * 20 + [0.0, 1.0, 0.0])
    assert region_of(saliency, has_space=False)[21]
    assert not region_of(saliency)[21]


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_nothing_speaks_for_the_target_so_nothing_is_named(value):
    assert not region_of(torch.full((4, 5), value)).any()


def test_a_wave_has_pieces_too():
    saliency = torch.tensor([0.0] * 50 + [1.0] * 100 + [0.0] * 50)
    assert torch.equal(region_of(saliency), saliency > 0)
