"""Copies of several partitions, and the maps that their answers give."""

import pytest
import torch
import torch.nn.functional as F

from dax_lightning.explainers.mosaic.copies import Copies, averaged_within, groups, kept_minus_removed
from dax_lightning.game.fill import filled, painted
from dax_lightning.game.subsets import closeness
from tests.mosaic.toys import LEVEL, LEVELS, PARTITIONS, SIDE, X, groups_by_hand, random_kept, shown_by


def test_each_copy_loses_segments_of_one_partition():
    kept = random_kept(600)
    assert kept[0].equal(LEVEL == 0)
    assert (kept.long() @ F.one_hot(LEVEL) > 0).sum(1).max() == 1
    assert torch.equal(painted(X, torch.zeros_like(X), LEVELS, kept), X * shown_by(kept, LEVELS)[:, None])


def test_partitions_are_drawn_alike():
    level = (random_kept(3000).long() @ F.one_hot(LEVEL)).argmax(1)
    assert level.bincount() / 3000 == pytest.approx([1 / 3] * 3, abs=0.03)


def test_closeness_counts_a_copys_own_partition():
    kept = torch.zeros(1, 21, dtype=torch.bool)
    kept[0, 4:10] = True  # half of the second partition
    alone = closeness(kept[:, 4:16], torch.zeros(12, dtype=torch.long))
    torch.testing.assert_close(closeness(kept, LEVEL), alone)


def test_the_segment_means_of_several_partitions_are_averaged():
    each = [filled(X, one, "segment_mean") for one in PARTITIONS]
    torch.testing.assert_close(filled(X, LEVELS, "segment_mean"), torch.stack(each).mean(0))


def test_copies_of_a_partition_are_a_group_and_so_are_those_that_kept_nothing():
    kept = random_kept(60)
    kept[5] = kept[9] = False
    found, partition = (
        groups(kept, LEVELS),
        torch.from_numpy(groups_by_hand(Copies(kept, torch.ones(60), LEVELS, torch.ones(60)))),
    )
    assert torch.equal(found[:, None] == found, partition[:, None] == partition)


def test_kept_minus_removed_is_the_difference_of_two_means():
    kept, values, weight = random_kept(60), torch.randn(60), torch.rand(60) + 0.1
    shown = shown_by(kept, LEVELS).double()
    means = [
        torch.einsum("n,nhw->hw", (weight * values).double(), part) / torch.einsum("n,nhw->hw", weight.double(), part)
        for part in (shown, 1 - shown)
    ]
    found = kept_minus_removed(Copies(kept, values, LEVELS, weight))
    torch.testing.assert_close(found, (means[0] - means[1]).float(), atol=1e-4, rtol=0)


def test_averaged_within_is_a_mean_of_means():
    saliency = torch.rand(SIDE, SIDE)
    expected = torch.zeros(SIDE, SIDE)
    for one in PARTITIONS:
        for segment in one.unique():
            expected[one == segment] += saliency[one == segment].mean() / 3
    torch.testing.assert_close(averaged_within(saliency, LEVELS), expected)
