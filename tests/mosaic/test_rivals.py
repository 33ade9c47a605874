"""RISE, LIME and the student on DAX-Mosaic's copies."""

import pytest
import torch

from dax_lightning.explainers.mosaic.average import averaged
from dax_lightning.explainers.mosaic.region import region_of
from dax_lightning.explainers.mosaic.ridge import Ridge
from dax_lightning.explainers.mosaic.signal import signal
from dax_lightning.explainers.rivals.mosaic import LimeOnMosaic, RidgeOnMosaic, RiseOnMosaic, kept_minus_removed
from dax_lightning.explainers.surrogate.lime import Lime, weighted_ridge
from dax_lightning.game.base import log_odds
from dax_lightning.game.subsets import Perturber
from dax_lightning.segment.grid import Grid
from dax_lightning.segment.mosaic import Mosaic
from dax_lightning.testing import QuarterBox
from tests.mosaic.toys import FIXED, LEVELS, OUTLINED, ZEROS, asked, box_of, many_classes, random_kept, shown_by


def mean_of_limes(kept, values, levels, weight):
    """The mean over the partitions of LIME on the copies of each."""
    maps = []
    for one in levels:
        own = one.unique()
        rows = kept[:, own].any(1)
        maps.append(weighted_ridge(kept[rows][:, own], values[rows], weight[rows]).importance[one - own.min()])
    return torch.stack(maps).mean(0)


def additive(kept, values, levels, weight):
    return Ridge(kept, levels, weight).fit(values).saliency


METHODS = [
    pytest.param(RiseOnMosaic, kept_minus_removed, id="rise"),
    pytest.param(LimeOnMosaic, mean_of_limes, id="lime"),
    pytest.param(RidgeOnMosaic, additive, id="ridge"),
]


@pytest.mark.parametrize(("kind", "expected"), METHODS)
def test_the_map_is_the_methods_own_on_the_mosaics_copies_averaged_within_the_outlines(kind, expected, noisy_image):
    lime = Perturber(fill="zeros", weight="lime")
    levels, answers = asked(QuarterBox(), noisy_image, lime, q=90)
    assert answers.weight.min() < 1
    raw = expected(answers.kept, log_odds(answers.probability), levels, answers.weight)
    outlined = OUTLINED.outlined(noisy_image, levels)

    def made(mosaic, times):
        return kind(QuarterBox(), mosaic, lime, q=90, averaged=times).explain(noisy_image, 0)

    torch.testing.assert_close(made(OUTLINED, 0).saliency, raw)
    torch.testing.assert_close(made(OUTLINED, 1).saliency, averaged(raw, outlined))
    torch.testing.assert_close(made(FIXED, 2).saliency, averaged(raw, levels, 2))
    assert (made(FIXED, 0).notes["fidelity"] is None) == (kind is not RidgeOnMosaic)


@pytest.mark.parametrize(("kind", "expected"), METHODS)
def test_rivals_may_learn_the_profile_and_name_a_region_as_dax_mosaic_does(kind, expected, noisy_image):
    levels, answers = asked(box_of(many_classes), noisy_image, q=150)
    profile = signal(answers, "log_odds").profile
    assert profile is not None
    made = kind(box_of(many_classes), FIXED, ZEROS, q=150, targets="profile", averaged=0).explain(noisy_image, 0)
    torch.testing.assert_close(made.saliency, expected(answers.kept, profile, levels, answers.weight))
    assert made.region is not None
    assert torch.equal(made.region, region_of(made.saliency))
    assert made.notes["profile"] is True


def test_lime_of_a_single_partition_is_lime(noisy_image):
    settings = {"perturber": Perturber(fill="zeros"), "q": 200, "targets": "log_odds"}
    ours = LimeOnMosaic(QuarterBox(), Mosaic(Grid(4, 4), [], []), **settings).explain(noisy_image, 0).saliency
    theirs = Lime(QuarterBox(), Grid(4, 4), **settings).explain(noisy_image, 0).saliency
    torch.testing.assert_close(ours, averaged(theirs, Grid(4, 4)(noisy_image)[None]))


def test_kept_minus_removed_is_the_difference_of_two_means():
    kept, values, weight = random_kept(60), torch.randn(60), torch.rand(60) + 0.1
    shown = shown_by(kept, LEVELS).double()
    means = [
        torch.einsum("n,nhw->hw", (weight * values).double(), part) / torch.einsum("n,nhw->hw", weight.double(), part)
        for part in (shown, 1 - shown)
    ]
    found = kept_minus_removed(kept, values, LEVELS, weight)
    torch.testing.assert_close(found, (means[0] - means[1]).float(), atol=1e-4, rtol=0)


def test_with_the_last_copies_a_rival_learns_what_speaks_against_the_target(noisy_image):
    plain, told = (
        RidgeOnMosaic(QuarterBox(), OUTLINED, ZEROS, q=q, last=last).explain(noisy_image, 0)
        for q, last in ((270, 0.0), (300, 0.1))
    )
    assert (plain.queries, told.queries) == (270, 300)
    assert plain.region is not None
    lower = told.saliency < plain.saliency - 1e-6
    assert lower.any()
    assert not lower[plain.region].any()
    assert torch.equal(told.saliency[plain.region], plain.saliency[plain.region])
