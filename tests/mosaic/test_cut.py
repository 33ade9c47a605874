"""Where a graded map becomes a region."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from skimage.filters import threshold_otsu

from dax_lightning.errors import InputError
from dax_lightning.explainers.mosaic.copies import Copies
from dax_lightning.explainers.mosaic.cut import Cut, cut_out
from dax_lightning.segment.grid import Grid
from dax_lightning.segment.mosaic import stacked
from tests.mosaic.toys import LEVEL, LEVELS, X, additive_copies, cells, groups_by_hand, random_kept, rescaled, shown_by


def best_region(saliency, copies, largest, complement, separation):
    """By plain lines, over all regions of a map of few values."""
    shown, group = shown_by(copies.kept, copies.levels).numpy(), groups_by_hand(copies)
    values, weight = copies.values.double().numpy(), copies.weight.double().numpy()
    picture = saliency.double().numpy()

    def explained(places):
        both = np.stack([shown[:, places].mean(1), values])
        for number in np.unique(group):
            mine = group == number
            both[:, mine] -= np.average(both[:, mine], axis=1, weights=weight[mine])[:, None]
        c = (both * weight) @ both.T
        return max(0.0, c[0, 1] / np.sqrt(c[0, 0] * c[1, 1])) ** 2

    def score(inside):
        within = [(part.mean() * (picture[part].mean() - picture.mean()) ** 2) for part in (inside, ~inside)]
        return explained(inside) - complement * explained(~inside) + separation * sum(within) / picture.var()

    regions = [picture >= value for value in np.unique(picture)]
    return torch.from_numpy(max((region for region in regions if region.mean() <= largest), key=score))


@pytest.mark.parametrize(("complement", "separation"), [(0.0, 0.0), (0.5, 0.0), (2.0, 0.0), (0.5, 0.3), (0.5, 3.0)])
def test_the_region_is_the_best_of_all(complement, separation):
    sizes = set()
    for _ in range(12):
        kept, values = random_kept(80), torch.randn(12)
        saliency = values[Grid(3, 4)(X)]
        answers = (shown_by(kept, LEVELS) * saliency.clamp_min(0)).mean((1, 2)) + 0.2 * torch.randn(80)
        copies = Copies(kept, answers + LEVEL[kept.int().argmax(1)], LEVELS, torch.rand(80) + 0.1)
        cut = cut_out(saliency, copies, 0.45, complement, separation)
        assert 0 <= cut.min() <= cut.max() <= 1
        assert torch.equal(cut.unique(return_inverse=True)[1], saliency.unique(return_inverse=True)[1])  # the map's order
        found = cut > 0.5
        assert torch.equal(found, best_region(saliency, copies, 0.45, complement, separation))
        sizes.add(int(found.sum()))
    assert len(sizes) > 2


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_where_the_answers_do_not_tell_the_threshold_is_otsus(offset):
    saliency = torch.rand(20, 20) * 0.1 + offset
    saliency[:4, :5] += 1
    silent = replace(cells(20, 200, saliency > 0.5), values=torch.zeros(200))
    wanted = saliency.numpy() > threshold_otsu(saliency.numpy().astype(np.float64))
    assert wanted.sum() == 20
    assert torch.equal(cut_out(saliency, silent, separation=0.3) > 0.5, torch.from_numpy(wanted))
    assert (cut_out(saliency, silent, separation=0.0) > 0.5).sum() != 20


def test_equal_places_are_named_together_and_no_more_than_the_largest_share():
    levels = stacked([Grid(3, 3)(torch.zeros(3, 30, 30))])
    kept = torch.rand(200, 9) < 0.5
    copies = Copies(kept, kept[:, :6].float().mean(1), levels, torch.ones(200))  # about more than may be named
    cut = cut_out(9.0 - levels[0], copies)
    assert (cut > 0.5).sum() == 400
    assert not ((cut > 0.2) & (cut < 0.8)).any()
    half = (levels[0] > 4).float()  # not even the first run of equals is small enough
    assert (cut_out(half, copies) > 0.5).sum() == 400


def test_a_bad_largest_share_and_a_map_of_another_size_are_named():
    copies = cells(20, 50, torch.arange(400).view(20, 20) < 80)
    for largest in (0.0, 0.6, -1.0, float("nan")):
        with pytest.raises(InputError, match=f"largest={largest}: wanted a share over 0"):
            cut_out(torch.rand(20, 20), copies, largest=largest)
    message = r"a map of \(1, 3\) places, partitions of \(20, 20\): wanted the same height and width"
    with pytest.raises(InputError, match=message):
        cut_out(torch.tensor([[1.0, 0.5, 0.0]]), copies)


@pytest.mark.parametrize(
    ("r2", "counts", "graded"), [(-0.2, 3.0, 0.1), (0.5, 1.5, 0.1), (0.72, 0.84, 0.4), (0.735, 0.795, 0.625), (1.0, 0.03, 1.0)]
)
def test_the_complement_and_the_cut_count_as_far_as_places_do_not_add_up(r2, counts, graded):
    copies, adds = additive_copies(100, noise=0.1)
    made, notes = Cut(complement=3.0, separation=0.7, uncut=0.73, largest=0.3)(adds, copies, r2)
    torch.testing.assert_close(made, cut_out(adds, copies, 0.3, counts, 0.7, graded=graded))
    assert notes == ({"named": (made > 0.5).float().mean().item()} if graded < 0.5 else {})
    if r2 == 1:
        torch.testing.assert_close(made, rescaled(adds))


def test_the_region_is_what_the_map_names_where_it_is_cut():
    truth = torch.arange(400).view(20, 20) < 80
    copies, saliency = cells(20, 200, truth), truth + 0.1 * torch.rand(20, 20)
    for r2 in (0.2, 0.8):
        region = Cut().region(saliency, copies, r2)
        assert torch.equal(region, Cut(uncut=2.0)(saliency, copies, r2)[0] > 0.5)
        assert torch.equal(region, Cut(largest=0.0).region(saliency, copies, r2))
        assert Cut(largest=0.1).region(saliency, copies, r2).float().mean() < 0.11 < region.float().mean()
        assert torch.equal(Cut(uncut=0.0).region(saliency, copies, r2), region)  # also where the map stays graded
    assert not Cut().region(torch.ones(20, 20), copies, 0.5).any()
    assert Cut(largest=0.0)(saliency, copies, 0.5) == (saliency, {})
