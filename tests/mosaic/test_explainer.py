"""DAX-Mosaic as a whole: how its steps make one map, which copies it asks about, what it refuses."""

import inspect
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch

from dax_lightning.black_box import from_function
from dax_lightning.errors import InputError
from dax_lightning.explainers.mosaic import MosaicDax
from dax_lightning.explainers.mosaic.average import averaged
from dax_lightning.explainers.mosaic.region import region_of
from dax_lightning.explainers.mosaic.ridge import Ridge
from dax_lightning.explainers.mosaic.signal import signal
from dax_lightning.explainers.rivals.mosaic import LimeOnMosaic, RidgeOnMosaic, RiseOnMosaic
from dax_lightning.game.subsets import Perturber
from dax_lightning.segment.grid import Grid
from dax_lightning.segment.mosaic import Mosaic
from dax_lightning.testing import QuarterBox
from tests.conftest import untyped
from tests.functions import noise
from tests.mosaic.toys import FIXED, OUTLINED, ZEROS, asked, box_of, many_classes

KINDS = [RiseOnMosaic, LimeOnMosaic, RidgeOnMosaic, MosaicDax]


def of_odds(odds):
    return torch.stack([odds.sigmoid(), 1 - odds.sigmoid()], 1)


def adding_up(rows):
    return of_odds(4 * rows.mean((1, 2, 3)) + 4 * rows[:, :, :16, :16].mean((1, 2, 3)) - 2)


def test_there_are_at_most_ten_parameters():
    assert len(inspect.signature(MosaicDax).parameters) <= 10


@pytest.mark.parametrize("parts", [0.0, 0.5])
@pytest.mark.parametrize(
    ("answer", "targets", "weight", "learned"),
    [
        (many_classes, "profile", "uniform", True),
        (adding_up, "log_odds", "lime", False),
        (adding_up, "probability", "lime", False),
    ],
)
def test_the_map_is_made_of_its_steps_as_documented(answer, targets, weight, learned, parts, noisy_image):
    lime = Perturber(fill="zeros", weight=weight)
    made = MosaicDax(box_of(answer), OUTLINED, lime, q=150, targets=targets, averaged=3, parts=parts).explain(noisy_image, 0)
    levels, answers = asked(box_of(answer), noisy_image, lime, q=150)
    assert (answers.weight.min() < 1) == (weight == "lime")
    answers = answers if learned else replace(answers, classes=None)
    said, student = signal(answers, "log_odds" if learned else targets), Ridge(answers.kept, levels, answers.weight)
    whole, own, outlined = (
        student.fit(said.own if said.profile is None else said.profile),
        student.fit(said.own),
        OUTLINED.outlined(noisy_image, levels),
    )
    expected = (averaged(whole.saliency, outlined, 3) + parts * averaged(own.saliency, outlined)) / (1 + parts)
    torch.testing.assert_close(made.saliency, expected)
    assert made.region is not None
    assert torch.equal(made.region, region_of(expected))
    assert made.notes["fidelity"] == whole.r2
    assert made.notes.get("profile") == (learned or None)


def test_the_own_answer_is_learned_where_it_is_predicted_better(noisy_image):
    """A class beside the target is noise, and all classes' profile with it."""

    def answer(rows):
        seen = 4 * rows[:, :, :16, :16].mean((1, 2, 3)) - 2
        seeds = (rows.flatten(1).sum(1) * 1e4).long().tolist()
        drawn = torch.stack([torch.randn(30, generator=torch.Generator().manual_seed(abs(seed))) for seed in seeds])
        return torch.cat([seen.sigmoid()[:, None], (1 - seen.sigmoid())[:, None] * (2 * drawn).softmax(1)], 1)

    made = MosaicDax(box_of(answer), FIXED, ZEROS, q=200).explain(noisy_image, 0)
    plain = MosaicDax(box_of(answer), FIXED, ZEROS, q=200, targets="log_odds").explain(noisy_image, 0)
    assert made.notes["profile_correlation"] > 0.5
    assert made.notes["profile"] is False
    assert torch.equal(made.saliency, plain.saliency)


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_zero_is_neutral_and_a_value_is_what_a_place_adds(scale):
    """The left half adds to the log-odds, the right half takes from them, the rest does nothing."""
    columns = torch.arange(32)

    def answer(rows):
        light = rows.mean(1)
        left, right = light[:, :, columns < 8].mean((1, 2)), light[:, :, columns >= 24].mean((1, 2))
        return of_odds(scale * (4 * left - 2 * right - 1))

    box, mosaic = box_of(answer), Mosaic(Grid(4, 4), [Grid(2, 8), Grid(4, 8)], [])
    made = MosaicDax(box, mosaic, ZEROS, q=300, targets="log_odds", averaged=1, last=0.0).explain(torch.ones(3, 32, 32), 0)
    means = [made.saliency[:, part].mean().item() / 4 for part in (columns < 8, (columns >= 8) & (columns < 24), columns >= 24)]
    assert means == pytest.approx([4 * scale, 0, -2 * scale], abs=0.1)
    assert made.region is not None
    assert torch.equal(made.region.all(0), columns < 8)
    whole = MosaicDax(box, mosaic, ZEROS, q=300).explain(torch.ones(3, 32, 32), 0)  # with the profile, all averages, last copies
    assert whole.notes["profile"] is not None
    left, middle, right = (
        whole.saliency[:, part].mean().item() for part in (columns < 8, (columns >= 8) & (columns < 24), columns >= 24)
    )
    assert abs(middle) < 0.05 * left
    assert right < -0.2 * left


def test_all_who_explain_a_mosaic_ask_the_same_but_for_the_last_tenth(noisy_image):
    box = QuarterBox()
    with box.bank():
        made = [kind(box, FIXED, ZEROS, q=640).explain(noisy_image, 0) for kind in KINDS]
    assert [one.queries for one in made] == [640] * 4
    assert box.seen == 640 + 64  # the last tenth of DAX-Mosaic's are its own
    assert all(torch.equal(one.segments, Grid(4, 4)(noisy_image)) for one in made if one.segments is not None)


def test_the_last_copies_have_a_progress_bar(noisy_image, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    MosaicDax(QuarterBox(), FIXED, q=300).explain(noisy_image, 0)
    bars = capsys.readouterr().err
    assert "/270" in bars
    assert "/30" in bars


def test_a_silent_black_box_is_told_with_the_copies_that_were_asked(noisy_image):
    silent = from_function(lambda rows: torch.full((len(rows), 2), 0.5), size=(32, 32))
    made = MosaicDax(silent, FIXED, q=400).explain(noisy_image, 0)
    assert made.queries == 360
    assert "the same for all 360 copies" in made.warnings[0]
    assert made.notes["unfaithful"] is True


def test_a_student_that_learned_nothing_is_told(noisy_image):
    made = MosaicDax(box_of(noise), FIXED, ZEROS, q=200).explain(noisy_image, 0)
    assert made.notes["unfaithful"] is True
    assert made.notes["fidelity"] < 0.1
    assert "the student learned nothing" in made.warnings[0]
    assert "explainer.perturber.pairs=false explainer.perturber.kept_share_max=0.95, q=600" in made.warnings[0]
    trusted = MosaicDax(box_of(noise), FIXED, ZEROS, q=200, min_fidelity=-10.0).explain(noisy_image, 0)
    assert trusted.notes["unfaithful"] is False


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("averaged", -1),
        ("averaged", 1.5),
        ("averaged", True),
        ("min_fidelity", float("nan")),
        ("last", "x"),
        ("parts", -1.0),
        ("parts", float("nan")),
        ("parts", float("inf")),
        ("last", 0.6),
        ("last", -0.1),
        ("q", 2),
    ],
)
def test_a_bad_setting_is_named(name, value):
    for kind in KINDS:
        with untyped(), pytest.raises(InputError, match=f"{name}={value!r}"):
            kind(QuarterBox(), **{name: value})


def test_unknown_targets_are_named():
    unknown: Any = "pink"
    for kind in KINDS:
        with untyped(), pytest.raises(InputError, match=r"explainer.targets=pink: choose one of profile, log_odds, probability"):
            kind(QuarterBox(), targets=unknown)


def test_what_does_not_fit_is_refused_before_any_query(noisy_image):
    box = QuarterBox()
    for kind in KINDS:
        with pytest.raises(InputError, match="does not fit"):
            kind(box, Mosaic(Grid(4, 4), [], [Grid(40, 40)]), q=60).explain(noisy_image, 0)
    assert box.seen == 0
