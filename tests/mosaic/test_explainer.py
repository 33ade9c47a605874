"""DAX-Mosaic as a whole: how its parts make one map, which copies it asks about, what it refuses."""

import sys
from typing import Any

import pytest
import torch
from torch import nn

from dax_lightning.black_box import from_function
from dax_lightning.errors import InputError
from dax_lightning.explainers.dax import CounterfactualLoss, MaskNetwork, MlpStudent, Optim, Training, lightning_trainer
from dax_lightning.explainers.dax.data import PooledCopies
from dax_lightning.explainers.dax.module import DaxModule, Ensemble
from dax_lightning.explainers.mosaic import MosaicDax
from dax_lightning.explainers.mosaic.copies import averaged_within, kept_minus_removed, standardised
from dax_lightning.explainers.mosaic.cut import Cut
from dax_lightning.explainers.mosaic.explainer import SegmentMask
from dax_lightning.explainers.mosaic.profile import class_profile
from dax_lightning.explainers.mosaic.ridge import additive
from dax_lightning.explainers.mosaic.rivals import LimeOnMosaic, RidgeOnMosaic, RiseOnMosaic
from dax_lightning.game.base import in_space
from dax_lightning.game.fill import filled
from dax_lightning.game.subsets import Perturber
from dax_lightning.segment.grid import Grid
from dax_lightning.segment.mosaic import Mosaic
from dax_lightning.testing import QuarterBox
from tests.conftest import untyped
from tests.functions import noise
from tests.mosaic.toys import FIXED, LEVELS, OUTLINED, SIDE, ZEROS, X, asked, box_of, copies_of, many_classes

KINDS = [RiseOnMosaic, LimeOnMosaic, RidgeOnMosaic, MosaicDax]


def training(**changed):
    """DAX-Mosaic's own learning rates, few epochs."""
    given = {"lr_mask": 0.05, "lr_student": 0.004, "max_epochs": 5, "patience": 5, **changed}
    epochs, patience = given.pop("max_epochs"), given.pop("patience")
    return Training(lightning_trainer(max_epochs=epochs, accelerator="cpu"), Optim(**given), patience=patience)


# networks that learn nothing: the masks stay flat, the students as they were made
UNTRAINED: dict[str, Any] = {
    "training": training(lr_mask=1e-30, lr_student=1e-30, max_epochs=1),
    "members": 1,
    "min_steps": 0,
    "student_copies": 0,
    "adaptive": 0.0,
    "largest": 0.0,
}
ONLY_EVIDENCE = {**UNTRAINED, "evidence": 1.0, "additive": 0.0, "support": 0.0}


def of_odds(odds):
    return torch.stack([odds.sigmoid(), 1 - odds.sigmoid()], 1)


def adding_up(rows):
    return of_odds(4 * rows.mean((1, 2, 3)) + 4 * rows[:, :, :16, :16].mean((1, 2, 3)) - 2)


def together(rows):
    """Each of two quarters counts only beside the other."""
    return of_odds(16 * rows[:, :, :16, :16].mean((1, 2, 3)) * rows[:, :, 16:, 16:].mean((1, 2, 3)) - 2)


@pytest.mark.parametrize(
    ("answer", "r2", "targets", "weight"),
    [
        (noise, (-1.0, 0.0), "log_odds", "uniform"),
        (many_classes, (0.0, 0.4), "profile", "uniform"),
        (together, (0.5, 0.95), "probability", "lime"),
        (adding_up, (0.99, 1.0), "log_odds", "uniform"),
    ],
)
@pytest.mark.parametrize("largest", [0.0, 0.3])
def test_the_map_is_made_of_its_parts_as_documented(answer, r2, targets, weight, largest, noisy_image):
    """A plain reading of what a class's docstring tells, the mask being flat."""
    perturber = Perturber(fill="zeros", weight=weight)
    levels, answers = asked(box_of(answer), noisy_image, perturber, q=100)
    outlined = OUTLINED.outlined(noisy_image, levels)
    own = copies_of(answers, levels, in_space(answers.probability, "log_odds" if targets == "profile" else targets))
    learned = class_profile(answers) if targets == "profile" else own.values
    assert learned is not None
    adds, found = additive(own), kept_minus_removed(copies_of(answers, levels, learned))
    assert r2[0] <= adds.r2 <= r2[1]
    sure = min(max(adds.r2, 0.0), 0.99)
    mixed = 1.5 * standardised(found) + 0.01 * (sure / (1 - sure)) ** 3 * standardised(adds.saliency)
    whole, added = (standardised(averaged_within(part, outlined)) for part in (mixed, adds.saliency))
    whole = whole + 0.7 * sure**0.5 * torch.where(added > 0, 2 * added, added)
    cut = {"complement": 3.0, "separation": 0.2, "uncut": 0.9, "largest": largest}
    expected, named = Cut(**cut)(whole, own, adds.r2)

    settings = {**UNTRAINED, **cut, "evidence": 1.5, "additive": 0.01, "support": 0.7, "targets": targets}
    made = MosaicDax(box_of(answer), OUTLINED, perturber, q=100, **settings).explain(noisy_image, 0)
    torch.testing.assert_close(made.saliency, expected, atol=1e-3, rtol=1e-3)
    assert made.notes["additive_r2"] == pytest.approx(adds.r2)
    assert {name: made.notes[name] for name in named} == pytest.approx(named, abs=0.01)
    assert ("named" in made.notes) == bool(named)
    assert made.notes.get("profile") == (True if targets == "profile" else None)


def test_the_masks_mean_is_averaged_three_times_within_the_outlines(noisy_image):
    slow = {"training": training(lr_mask=1e-3, max_epochs=2), "members": 3, "resolution": 32}
    settings = {**ONLY_EVIDENCE, "evidence": 0.0, **slow}
    made = MosaicDax(QuarterBox(), OUTLINED, ZEROS, q=100, **settings).explain(noisy_image, 0)
    assert made.epochs is not None
    expected, outlined = made.epochs[-1].logit(), OUTLINED.outlined(noisy_image, FIXED(noisy_image))
    for _ in range(3):
        expected = averaged_within(expected, outlined)
    torch.testing.assert_close(made.saliency, standardised(expected), atol=1e-2, rtol=1e-2)


class Silent(nn.Module):
    """Says 0, and something by chance while it is trained."""

    def __init__(self, channels, size):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, masked):
        return self.bias + torch.randn(len(masked)) * self.training


def knowing(x):
    """Students that answer as ``together`` does of copies of ``x`` filled with zeros, behind a flat mask."""

    class Knowing(Silent):
        def forward(self, masked):
            return self.bias + together(x * (masked > 0.25))[:, 0].logit()

    return Knowing


@pytest.mark.parametrize("weight", ["uniform", "lime"])
def test_the_evidence_is_the_students_where_they_are_right_and_the_real_where_they_are_silent(weight, noisy_image):
    perturber = Perturber(fill="zeros", weight=weight)

    def made(q, copies, student):
        settings = {**ONLY_EVIDENCE, "targets": "probability", "resolution": 32, "student_copies": copies, "student": student}
        return MosaicDax(box_of(together), FIXED, perturber, q=q, **settings).explain(noisy_image, 0)

    few, silent, right = made(60, 0, Silent), made(60, 2000, Silent), made(60, 4000, knowing(noisy_image))
    torch.testing.assert_close(silent.saliency, few.saliency, atol=1e-4, rtol=1e-4)
    assert right.queries == 60
    levels, answers = asked(box_of(together), noisy_image, perturber, q=8000, seed=9)
    many = averaged_within(kept_minus_removed(copies_of(answers, levels, answers.probability)), levels)
    alike = [torch.corrcoef(torch.stack([each.saliency, many]).flatten(1))[0, 1] for each in (few, right)]
    assert alike[1] > 0.995 > 0.98 > alike[0]


def test_few_copies_train_as_long_as_many(noisy_image):
    settings = {"training": training(patience=50), "min_steps": 40, "members": 1}
    for q, steps in ((100, 2), (300, 4)):
        notes = MosaicDax(QuarterBox(), FIXED, Perturber(fill="zeros"), q=q, **settings).explain(noisy_image, 0).notes
        assert notes["epochs"] == 40 / steps


def test_all_who_explain_a_mosaic_ask_the_same_but_for_the_last_tenth(noisy_image):
    box = QuarterBox()
    with box.bank():
        made = [kind(box, FIXED, ZEROS, q=320).explain(noisy_image, 0) for kind in KINDS[:3]]
        made.append(MosaicDax(box, FIXED, ZEROS, training=training(), min_steps=0, q=320).explain(noisy_image, 0))
    assert [one.queries for one in made] == [320] * 4
    assert box.seen == 320 + 32  # the last tenth of DAX-Mosaic's are its own
    assert all(torch.equal(one.segments, Grid(4, 4)(noisy_image)) for one in made if one.segments is not None)


@pytest.mark.parametrize(
    ("q", "adaptive", "first"), [(1000, 0.1, 900), (1000, 0.0, 1000), (60, 0.5, 30), (300, 0.1, 270), (290, 0.1, 290)]
)
def test_a_share_of_the_copies_is_asked_about_last_if_these_are_thirty(q, adaptive, first):
    assert MosaicDax(QuarterBox(), q=q, adaptive=adaptive).asked_first == first


def without_the_last(box, x, perturber=ZEROS):
    """Where the last copies start from: the map of the first 60, their R², and the region that the map would name."""
    made = MosaicDax(box, FIXED, perturber, q=60, **ONLY_EVIDENCE).explain(x, 0)
    levels, answers = asked(box, x, perturber, q=60)
    own = copies_of(answers, levels)
    return made.saliency, own, Cut().region(made.saliency, own, made.notes["additive_r2"])


@pytest.mark.parametrize(
    ("fill", "sigma", "other"), [("blur", 0.1, "zeros"), ("zeros", 0.1, "image_mean"), ("blur", 1e-3, "zeros")]
)
def test_the_last_copies_keep_what_the_map_names_and_lose_parts_of_the_rest(fill, sigma, other, noisy_image):
    rows = []
    box = box_of(lambda each: rows.append(each.clone()) or QuarterBox()(each))
    perturber = Perturber(fill=other, blur_sigma=sigma, weight="uniform", batch_size=16)
    _, _, region = without_the_last(QuarterBox(), noisy_image, perturber)
    settings = {**ONLY_EVIDENCE, "adaptive": 0.4, "adaptive_fill": fill}
    made = MosaicDax(box, FIXED, perturber, q=100, **settings).explain(noisy_image, 0)
    assert len(torch.cat(rows)) == made.queries == 100
    assert max(map(len, rows)) == 16
    last, levels = torch.cat(rows)[60:], FIXED(noisy_image)
    taken = other if sigma < 0.01 else fill  # so narrow a blur takes nothing away
    filler = torch.where(region, noisy_image, filled(noisy_image, levels, taken, sigma))
    shown = (last == noisy_image).all(1)
    torch.testing.assert_close(last, torch.where(shown[:, None], noisy_image, filler))
    assert shown[:, region].all()
    assert 0.2 < shown[:, ~region].float().mean() < 0.8
    assert len({tuple(row.flatten().tolist()) for row in shown}) > 30


@pytest.mark.parametrize("offset", [-4.0, -1.0])  # the target's probability is a quarter, or 0.87
def test_the_last_copies_tell_of_the_rest_away_from_the_edge_and_where_the_target_is_unsure(offset):
    """The first quarter speaks for the target, the last one, hardly, against it."""
    x, rows = torch.ones(3, 32, 32), []

    def answer(each):
        rows.append(each.clone())
        return of_odds(offset + 3 * each[:, :, :16, :16].mean((1, 2, 3)) - 0.1 * each[:, :, 16:, 16:].mean((1, 2, 3)))

    before, own, region = without_the_last(box_of(answer), x)
    rows.clear()
    settings = {**ONLY_EVIDENCE, "adaptive": 0.4, "adaptive_fill": "zeros", "support": 0.7}
    told, plain = (
        MosaicDax(box_of(answer), FIXED, ZEROS, q=100, beside=beside, **settings).explain(x, 0) for beside in (2.0, 0.0)
    )
    p = answer(x[None])[0, 0].item()
    counts = 20 * (in_space(answer(torch.cat(rows)[60:100])[:, 0], "log_odds").std() / own.values.std()).item()
    assert 0.1 < counts < 0.9
    r2 = told.notes["beside_r2"]
    assert r2 > 0.5
    far = (before[region].min() - before).clamp(0, 1)
    there = ~region & (far > 0)
    weight = 2.0 * min(1.0, 2 * (1 - p)) * counts * min(r2, 0.99) ** 0.5
    moved = (told.saliency - plain.saliency)[there] / far[there] / weight
    assert torch.equal(told.saliency[~there], plain.saliency[~there])
    assert there.sum() > 0.9 * (~region).sum()
    assert (moved.mean().item(), moved.std(correction=0).item()) == pytest.approx((0, 1), abs=0.1)
    last = torch.zeros(32, 32, dtype=torch.bool)
    last[16:, 16:] = True
    assert moved[last[there]].mean() < -1


def test_the_last_copies_have_a_progress_bar(noisy_image, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    parts = {"training": training(max_epochs=1), "min_steps": 0, "members": 1}
    MosaicDax(QuarterBox(), FIXED, q=300, **parts).explain(noisy_image, 0)
    bars = capsys.readouterr().err
    assert "/270" in bars
    assert "/30" in bars


def test_a_silent_black_box_is_told_with_the_copies_that_were_asked(noisy_image):
    silent = from_function(lambda rows: torch.full((len(rows), 2), 0.5), size=(32, 32))
    made = MosaicDax(silent, FIXED, q=400).explain(noisy_image, 0)
    assert made.queries == 360
    assert "the same for all 360 copies" in made.warnings[0]


def test_a_segment_mask_adds_up_its_partitions():
    mask = SegmentMask(PooledCopies(X[:0], X[:0], LEVELS, SIDE).share, (SIDE, SIDE), 3)
    with torch.no_grad():
        mask.values.copy_(torch.randn(21))
    logits = mask.values.detach()[LEVELS].sum(0) / 3**0.5
    torch.testing.assert_close(mask.places(LEVELS), logits)
    torch.testing.assert_close(mask(torch.zeros(2, 0, SIDE, SIDE))[1, 0], (logits - logits.mean()).sigmoid())


def test_an_ensemble_answers_with_the_mean_of_its_members_and_trains_all():
    members = [DaxModule(MaskNetwork(3), MlpStudent(4, (8, 8), dropout=0.0), CounterfactualLoss()) for _ in "abc"]
    whole, seen = Ensemble(members), (torch.rand(5, 3, 8, 8), torch.ones(5, 1, 8, 8))
    torch.testing.assert_close(whole.answers(*seen), torch.stack([member.answers(*seen) for member in members]).mean(0))
    trained = {id(p) for group in whole.configure_optimizers().param_groups for p in group["params"]}
    assert trained == {id(p) for member in members for p in member.parameters()}


NEGATIVE = ["evidence", "support", "beside", "adaptive", "complement", "uncut"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, -1.0) for name in NEGATIVE),
        *(("student_copies", -1), ("min_steps", -1), ("members", 0), ("q", 2)),
        *(("additive", float("nan")), ("separation", float("inf")), ("adaptive", 0.6), ("largest", 0.6)),
    ],
)
def test_a_bad_setting_is_named(name, value):
    with pytest.raises(InputError, match=f"{name}={value}"):
        MosaicDax(QuarterBox(), **{name: value})


def test_unknown_targets_and_fills_are_named():
    unknown: Any = "pink"
    for kind in KINDS:
        message = r"explainer.targets=pink: choose one of profile, log_odds, probability"
        with untyped(), pytest.raises(InputError, match=message):
            kind(QuarterBox(), targets=unknown)
    with untyped(), pytest.raises(InputError, match="adaptive_fill=pink: choose one of zeros, segment_mean, image_mean, blur"):
        MosaicDax(QuarterBox(), adaptive_fill=unknown)


def test_what_does_not_fit_is_refused_before_any_query(noisy_image):
    box = QuarterBox()
    with pytest.raises(InputError, match="q=8 copies for 9 segments"):
        MosaicDax(box, FIXED, q=8).explain(noisy_image, 0)
    message = "q=60 copies for 36 segments: wanted at least one a segment; try q=1000"
    with pytest.raises(InputError, match=message):  # 30 of them would be the last
        MosaicDax(box, Mosaic(Grid(6, 6), [], []), q=60, adaptive=0.5).explain(noisy_image, 0)
    for kind in KINDS:
        with pytest.raises(InputError, match="does not fit"):
            kind(box, Mosaic(Grid(4, 4), [], [Grid(40, 40)]), q=60).explain(noisy_image, 0)
    assert box.seen == 0


def test_the_region_is_where_a_cut_map_lies_over_one_half(noisy_image):
    made = MosaicDax(QuarterBox(), FIXED, ZEROS, q=100, uncut=2.0, **{**UNTRAINED, "largest": 0.45}).explain(noisy_image, 0)
    assert made.region is not None
    assert made.region.any()
    assert made.region.equal(made.saliency > 0.5)
