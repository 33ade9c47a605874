"""The store on the command line: what was answered is asked once, and every run says what it asked and what it saved."""

import pytest

from tests.test_cli import GRID, Command, album, photo, run, whole_run
from tests.test_run_cost import COUNTED, QUICK, counted

__all__ = ["album", "counted", "photo", "run", "whole_run"]


def test_a_second_run_with_a_store_asks_nothing(whole_run: Command, photo, counted, tmp_path):
    store = f"store={tmp_path / 'answers'}"
    assert whole_run(photo, COUNTED, store, settings=QUICK) == 0
    first = counted()
    assert f"rows: 41 needed, {first} asked, {41 - first} saved by {tmp_path / 'answers'}" in whole_run.out
    whole_run.folder = whole_run.folder.with_name("again")
    assert whole_run(photo, COUNTED, store, settings=QUICK) == 0
    assert counted() == first
    assert "rows: 41 needed, 0 asked, 41 saved" in whole_run.out
    assert (whole_run.rows()[0]["queries"], whole_run.rows()[0]["asked"]) == ("41", "0")
    assert "0 rows; 41 were known from the bank, the store or the task" in (whole_run.folder / "report.html").read_text(
        encoding="utf-8"
    )


def test_a_local_model_has_no_store_by_itself(run: Command, photo, counted):
    assert run(photo, COUNTED, settings=QUICK) == 0
    assert counted() == 41
    assert "saved by" not in run.out
    assert run.rows()[0]["asked"] == "40"


def test_a_store_that_cannot_be_used_ends_the_run_with_a_line(run: Command, photo, tmp_path):
    (tmp_path / "answers").write_text("a file", encoding="utf-8")
    run.refused("can't be used", photo, f"store={tmp_path / 'answers'}", settings=QUICK)


def test_a_price_is_told_before_the_start(run: Command, album):
    (album / "b.jpg").unlink()
    assert run(f"input={album}", "price_per_1000=10", settings=QUICK) == 0
    assert "together: 82 rows, about 0 s in the black box, at a price of 0.82;" in run.out
    assert run.out.index("at a price of") < run.out.index("[1/2]")


def test_confirm_needs_somebody_who_answers(run: Command, photo, monkeypatch):
    run.refused("confirm=true asks before the start, and nobody can answer here", photo, "confirm=true", settings=QUICK)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    for answer, explained in (("n", False), ("yes", True)):
        monkeypatch.setattr("builtins.input", lambda _, answer=answer: answer)
        assert run(photo, "confirm=true", settings=QUICK) == 0
        assert (run.folder / "rows.csv").exists() == explained


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("stop_when=soon", "stop_when=soon: wanted converged, or null"),
        ("max_seconds=0", "max_seconds=0.0: wanted a number of seconds over 0"),
        ("max_seconds=long", "max_seconds=long is text"),
        ("price_per_1000=cheap", "price_per_1000=cheap is text"),
    ],
)
def test_settings_out_of_range_are_told(run: Command, photo, setting, told):
    run.refused(told, photo, setting, settings=QUICK)


def test_methods_that_cannot_stop_early_are_refused_or_left_out(run: Command, photo):
    run.refused("max_seconds: rise has no map before its last query", photo, "max_seconds=9", settings=["explainer=rise"])
    assert run(photo, "max_seconds=60", "comparison=gradient_free", "methods=[rise,lime]", settings=GRID) == 0
    assert "rise is left out: max_seconds: rise has no map" in run.out
    assert [row["explainer"] for row in run.rows()] == ["lime"]
