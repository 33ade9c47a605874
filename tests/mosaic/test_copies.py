"""Copies of several partitions."""

import pytest
import torch
import torch.nn.functional as F

from dax_lightning.game.fill import filled, painted
from dax_lightning.game.subsets import closeness
from tests.mosaic.toys import LEVEL, LEVELS, PARTITIONS, X, random_kept, shown_by


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
