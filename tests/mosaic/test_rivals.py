"""RISE, LIME and a joint ridge on DAX-Mosaic's copies."""

import pytest
import torch

from dax_lightning.errors import InputError
from dax_lightning.explainers.mosaic.copies import averaged_within, kept_minus_removed
from dax_lightning.explainers.mosaic.cut import Cut
from dax_lightning.explainers.mosaic.probe import Probe
from dax_lightning.explainers.mosaic.profile import class_profile
from dax_lightning.explainers.mosaic.ridge import additive
from dax_lightning.explainers.mosaic.rivals import LimeOnMosaic, RidgeOnMosaic, RiseOnMosaic
from dax_lightning.explainers.surrogate.lime import Lime, weighted_ridge
from dax_lightning.game.subsets import Perturber
from dax_lightning.segment.grid import Grid
from dax_lightning.segment.mosaic import Mosaic
from dax_lightning.testing import QuarterBox
from tests.mosaic.toys import FIXED, OUTLINED, ZEROS, asked, box_of, copies_of, many_classes


def mean_of_limes(copies):
    """The mean over the partitions of LIME on the copies of each."""
    maps = []
    for one in copies.levels:
        own = one.unique()
        rows = copies.kept[:, own].any(1)
        fitted = weighted_ridge(copies.kept[rows][:, own], copies.values[rows], copies.weight[rows])
        maps.append(fitted.importance[one - own.min()])
    return torch.stack(maps).mean(0)


METHODS = [
    pytest.param(RiseOnMosaic, kept_minus_removed, id="rise"),
    pytest.param(LimeOnMosaic, mean_of_limes, id="lime"),
    pytest.param(RidgeOnMosaic, lambda copies: additive(copies).saliency, id="ridge"),
]


@pytest.mark.parametrize(("kind", "expected"), METHODS)
def test_the_map_is_the_methods_own_on_the_mosaics_copies_averaged_within_the_outlines(kind, expected, noisy_image):
    lime = Perturber(fill="zeros", weight="lime")
    levels, answers = asked(QuarterBox(), noisy_image, lime, q=90)
    assert answers.weight.min() < 1
    copies = copies_of(answers, levels)
    raw, outlined = expected(copies), OUTLINED.outlined(noisy_image, levels)

    def made(mosaic, averaged):
        return kind(QuarterBox(), mosaic, lime, q=90, averaged=averaged).explain(noisy_image, 0)

    torch.testing.assert_close(made(OUTLINED, 0).saliency, raw)
    torch.testing.assert_close(made(OUTLINED, 1).saliency, averaged_within(raw, outlined))
    torch.testing.assert_close(made(FIXED, 2).saliency, averaged_within(averaged_within(raw, levels), levels))
    assert made(FIXED, 0).notes.get("additive_r2") == (additive(copies).r2 if kind is RidgeOnMosaic else None)


@pytest.mark.parametrize(("kind", "expected"), METHODS)
def test_rivals_may_learn_the_profile_and_are_cut_by_the_targets_own(kind, expected, noisy_image):
    levels, answers = asked(box_of(many_classes), noisy_image, q=150)
    profile, own = class_profile(answers), copies_of(answers, levels)
    assert profile is not None
    raw = expected(copies_of(answers, levels, profile))
    made = kind(box_of(many_classes), FIXED, ZEROS, q=150, targets="profile", averaged=0, cut=True).explain(noisy_image, 0)
    saliency, notes = Cut()(raw, own, additive(own).r2)
    torch.testing.assert_close(made.saliency, saliency)
    assert made.notes["named"] == notes["named"]
    assert made.notes["profile"] is True


def test_lime_of_a_single_partition_is_lime(noisy_image):
    settings = {"perturber": Perturber(fill="zeros"), "q": 200, "targets": "log_odds"}
    ours = LimeOnMosaic(QuarterBox(), Mosaic(Grid(4, 4), [], []), **settings).explain(noisy_image, 0).saliency
    theirs = Lime(QuarterBox(), Grid(4, 4), **settings).explain(noisy_image, 0).saliency
    torch.testing.assert_close(ours, theirs)


def test_a_map_is_not_averaged_less_than_not_at_all():
    with pytest.raises(InputError, match=r"averaged=-1: wanted .* 0 or more"):
        RiseOnMosaic(QuarterBox(), averaged=-1)


def test_with_a_probe_the_last_copies_move_what_lies_outside_the_region(noisy_image):
    """And with support, the averaged ridge is added: no row more than ``q`` is asked."""
    box = QuarterBox()
    plain = RidgeOnMosaic(box, OUTLINED, ZEROS, q=300, probe=Probe(fill="zeros", weight=0.0)).explain(noisy_image, 0)
    moved = RidgeOnMosaic(box, OUTLINED, ZEROS, q=300, probe=Probe(fill="zeros", weight=2.0)).explain(noisy_image, 0)
    assert plain.queries == moved.queries == 300
    assert 0 <= moved.notes["beside_r2"] <= 1
    levels, answers = asked(QuarterBox(), noisy_image, q=270)
    region = Cut().region(plain.saliency, copies_of(answers, levels), plain.notes["additive_r2"])
    changed = (moved.saliency - plain.saliency).abs() > 1e-6
    assert changed.any()
    assert not changed[region].any()
    supported = RidgeOnMosaic(box, OUTLINED, ZEROS, q=270, support=1.0).explain(noisy_image, 0)
    assert (supported.saliency - RidgeOnMosaic(box, OUTLINED, ZEROS, q=270).explain(noisy_image, 0).saliency).abs().max() > 0.1
