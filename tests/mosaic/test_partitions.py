"""Several partitions of one input, and the outlines that maps are averaged within."""

import contextlib

import pytest
import torch

from dax_lightning.errors import InputError, SingleSegment
from dax_lightning.game.subsets import level_of
from dax_lightning.segment.file import FromCase
from dax_lightning.segment.grid import Grid
from dax_lightning.segment.image import ColourClusters, Felzenszwalb
from dax_lightning.segment.mosaic import OTHERS, OUTLINES, Mosaic, stacked
from tests.mosaic.toys import FIXED, LEVELS, OUTLINED, PARTITIONS, X

PLAIN = torch.full((3, 8, 8), 0.5)


def test_ids_go_on_from_one_partition_to_the_next():
    assert [(int(one.min()), int(one.max())) for one in LEVELS] == [(0, 3), (4, 15), (16, 20)]
    assert level_of(LEVELS, X).tolist() == [0] * 4 + [1] * 12 + [2] * 5
    assert level_of(PARTITIONS[1], X).tolist() == [0] * 12


def test_a_partition_of_one_segment_is_left_out_unless_no_other_is_found():
    assert len(Mosaic(Grid(2, 2), [Felzenszwalb(), Grid(3, 3)])(PLAIN)) == 2
    assert torch.equal(Mosaic(Felzenszwalb(), [Grid(2, 2)])(PLAIN)[0], Grid(2, 2)(PLAIN))
    assert len(Mosaic(Grid(2, 2), [], [Felzenszwalb(), Grid(4, 4)]).outlined(PLAIN, Grid(2, 2)(PLAIN)[None])) == 2
    with pytest.raises(InputError, match="found 1 segment"):
        Mosaic(Felzenszwalb(), [Felzenszwalb()])(PLAIN)


def test_a_segmenter_that_does_not_fit_is_named():
    with pytest.raises(InputError, match="does not fit"):
        Mosaic(Grid(2, 2), [Grid(20, 20)])(X)
    with pytest.raises(InputError, match="does not fit"):
        Mosaic(Grid(2, 2), [], [Grid(20, 20)]).outlined(X, LEVELS)


def test_a_given_partition_takes_the_first_place():
    own = Grid(1, 3)(X)
    assert torch.equal(FIXED(X, own)[0], own)
    assert len(Mosaic(FromCase(), [Grid(2, 2)])(X, own)) == 2
    assert len(Mosaic(None, [Grid(2, 2)])(X, own)) == 2


def test_a_chosen_segmenter_comes_before_the_others():
    assert [type(one) for one in Mosaic(Grid(2, 2)).all] == [Grid, *map(type, OTHERS)]
    assert list(Mosaic().all) == list(OTHERS)
    with pytest.raises(InputError, match="wanted at least one segmenter"):
        Mosaic(None, [])


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_change_no_partition(threads):
    x = torch.rand(3, 8, 8).repeat_interleave(12, 1).repeat_interleave(12, 2)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        levels, alone = Mosaic()(x), [one(x) for one in OTHERS]
    finally:
        torch.set_num_threads(before)
    assert torch.equal(levels, stacked(alone))


def test_outlines_come_after_the_partitions_and_no_copy_is_made_of_them():
    levels = OUTLINED(X)
    assert torch.equal(levels, FIXED(X))
    expected = stacked([Grid(5, 1)(X), Grid(2, 7)(X)]) + levels.max() + 1
    assert torch.equal(OUTLINED.outlined(X, levels), torch.cat([levels, expected]))
    assert torch.equal(FIXED.outlined(X, levels), levels)


def test_the_default_outlines_are_graph_segmentations_and_clusters_of_colours():
    parts = [(one.scale, one.sigma, one.min_size) for one in (*OTHERS, *OUTLINES) if isinstance(one, Felzenszwalb)]
    graphs = [(scale, sigma, scale) for scale in (100, 300, 1000) for sigma in (0.5, 1.2, 2.0)]
    assert sorted(parts) == sorted([*graphs, (300, 0.8, 400)])  # none of them twice
    assert [one.n_clusters for one in OUTLINES if isinstance(one, ColourClusters)] == [4, 6, 8, 12, 16, 24, 32, 48]
    x = torch.rand(3, 8, 8).repeat_interleave(12, 1).repeat_interleave(12, 2)  # 64 patches of 144 pixels
    levels, own = Grid(2, 2)(x)[None], []
    for one in OUTLINES:
        with contextlib.suppress(SingleSegment):
            own.append(one(x))
    assert len(own) >= 9
    assert torch.equal(Mosaic(Grid(2, 2), []).outlined(x, levels), torch.cat([levels, stacked(own) + 4]))


def test_all_segmenters_are_prepared():
    class Counted(Grid):
        def prepare(self):
            prepared.append(self)

    prepared: list[Grid] = []
    parts = [Counted(2, 2), Counted(3, 3), Counted(4, 4)]
    Mosaic(parts[0], parts[1:2], parts[2:]).prepare()
    assert prepared == parts
