"""The last copies: which they are, and what they tell."""

import pytest
import torch

from dax_lightning.explainers.mosaic import MosaicDax
from dax_lightning.explainers.mosaic.last_copies import against
from dax_lightning.game.base import game_of
from dax_lightning.game.fill import filled
from dax_lightning.game.subsets import Perturber
from dax_lightning.testing import QuarterBox
from tests.mosaic.toys import FIXED, ZEROS, box_of


@pytest.mark.parametrize(
    ("q", "last", "first"), [(1000, 0.1, 900), (1000, 0.0, 1000), (60, 0.5, 30), (300, 0.1, 270), (290, 0.1, 290)]
)
def test_a_share_of_the_copies_is_asked_about_last_if_these_are_thirty(q, last, first):
    assert MosaicDax(QuarterBox(), q=q, last=last).first == first


@pytest.mark.parametrize(("sigma", "taken"), [(0.1, "blur"), (1e-3, "zeros")])  # so narrow a blur takes nothing away
def test_the_last_copies_keep_the_region_and_blur_parts_of_the_rest(sigma, taken, noisy_image):
    rows = []
    box = box_of(lambda each: rows.append(each.clone()) or QuarterBox()(each))
    perturber = Perturber(fill="zeros", blur_sigma=sigma, weight="uniform")
    made = MosaicDax(box, FIXED, perturber, q=100, last=0.4).explain(noisy_image, 0)
    region = MosaicDax(QuarterBox(), FIXED, perturber, q=60, last=0.0).explain(noisy_image, 0).region
    assert region is not None
    assert made.region is not None
    assert torch.equal(region, made.region)
    assert len(torch.cat(rows)) == made.queries == 100
    assert max(map(len, rows)) == box.batch_size
    last = torch.cat(rows)[60:]
    filler = torch.where(region, noisy_image, filled(noisy_image, FIXED(noisy_image), taken, sigma))
    shown = (last == noisy_image).all(1)
    torch.testing.assert_close(last, torch.where(shown[:, None], noisy_image, filler))
    assert shown[:, region].all()
    assert 0.2 < shown[:, ~region].float().mean() < 0.8
    assert len({tuple(row.flatten().tolist()) for row in shown}) > 30


@pytest.mark.parametrize("speaks", [1.0, -1.0])
def test_only_what_speaks_against_the_target_is_told_and_only_beside_the_region(speaks):
    """The last quarter speaks for the target or against it, the first one is the region."""
    x, region, last = torch.ones(3, 32, 32), torch.zeros(32, 32).bool(), torch.zeros(32, 32).bool()
    region[:16, :16] = last[16:, 16:] = True

    def answer(rows):
        odds = rows[:, :, :16, :16].mean((1, 2, 3)) + speaks * rows[:, :, 16:, 16:].mean((1, 2, 3))
        return torch.stack([odds.sigmoid(), 1 - odds.sigmoid()], 1)

    levels = FIXED(x)
    game = game_of(box_of(answer), x, levels, ZEROS)
    found = against(game, ZEROS, 0, 80, region, levels, "log_odds", torch.Generator().manual_seed(0))
    assert found.max() <= 0
    assert not found[region].any()
    if speaks < 0:
        assert found[last].mean() < -1
        assert found[last].sum() < 4 * found[~last].sum()
    else:
        assert found[last].max() > -0.1
