"""TextGrids of coughs: events, misspelt labels, and files that can't be used."""

import logging
import sys

import pytest

from dax_lightning.errors import InputError
from dax_lightning.tasks.textgrids import Annotation, Event, read_annotation, read_annotations
from tests.conftest import ROOT

REAL = ROOT.parent / "shared" / "data" / "cough_phases"


def textgrid(intervals, tier="type", end=None):
    """A TextGrid as Praat writes it, with a tier beside that of events."""
    end = end or intervals[-1][1]
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {end}", "tiers? <exists>"]
    lines += ["size = 2", "item []:"]
    for number, (name, found) in enumerate([(tier, intervals), ("number of cough", [(0, end, "2")])], 1):
        lines += [f"item [{number}]:", 'class = "IntervalTier"', f'name = "{name}"', "xmin = 0", f"xmax = {end}"]
        lines += [f"intervals: size = {len(found)}"]
        for place, (start, stop, label) in enumerate(found, 1):
            lines += [f"intervals [{place}]:", f"xmin = {start}", f"xmax = {stop}", f'text = "{label}"']
    return "\n".join(lines) + "\n"


GOOD = textgrid([(0, 0.5, "silence"), (0.5, 1, "cough"), (1, 2, "noise")])


def write(folder, **contents):
    folder.mkdir(exist_ok=True, parents=True)
    for name, content in contents.items():
        (folder / f"{name}.TextGrid").write_text(content, encoding="utf-8")
    return folder


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_events_are_those_of_the_tier_type(tmp_path, encoding):
    (tmp_path / "a.TextGrid").write_text(GOOD, encoding=encoding)
    events = Event("silence", 0.0, 0.5), Event("cough", 0.5, 1.0), Event("noise", 1.0, 2.0)
    assert read_annotation(tmp_path / "a.TextGrid") == Annotation(tmp_path / "a.TextGrid", 2.0, events)


@pytest.mark.parametrize(
    ("label", "kind"),
    [
        *(("slence", "silence"), ("compres", "compress"), ("comoress", "compress"), ("commpress", "compress")),
        *(("throatlear", "throatclear"), ("noisenoise", "noise"), (" Cough ", "cough"), ("throat clear", "throatclear")),
    ],
)
def test_misspelt_labels_are_mended_and_kept_as_they_stood(tmp_path, label, kind):
    made = read_annotation(write(tmp_path, a=textgrid([(0, 1, label), (1, 2, "noise")])) / "a.TextGrid")
    assert made.events[0] == Event(kind, 0.0, 1.0)
    assert made.mended == (label.strip(),)


def test_empty_and_other_intervals_are_left_out(tmp_path):
    found = [(0, 1, ""), (1, 2, "cough"), (2, 3, "other"), (3, 3, "noise")]
    made = read_annotation(write(tmp_path, a=textgrid(found, end=4)) / "a.TextGrid")
    assert made.events == (Event("cough", 1.0, 2.0),)
    assert made.left_out == ("", "other")
    assert made.seconds == 4


BAD = {
    "": "is empty: wanted a TextGrid that Praat wrote",
    "no TextGrid": "can't be read .*: wanted a TextGrid that Praat wrote",
    GOOD[: len(GOOD) // 3]: "can't be read",
    textgrid([(0, 1, "cough"), (0.5, 2, "noise")]): "has intervals that overlap: mend it in Praat",
    textgrid([(0, 1, "cough"), (1, 2, "4")]): "has the label '4' at 1 s: wanted one of cough, throatclear",
    textgrid([(0, 1, "cough")], tier="kind"): r"has no tier type \(its tiers: kind, number of cough\)",
    textgrid([(0, 1, "")]): "has no event in its tier type",
}


@pytest.mark.parametrize(("content", "message"), BAD.items())
def test_a_bad_file_asked_for_by_name_is_told_in_one_line(tmp_path, content, message):
    file = write(tmp_path, a=content) / "a.TextGrid"
    for read in (read_annotation, read_annotations):
        with pytest.raises(InputError, match=message) as told:
            read(file)
        assert "\n" not in str(told.value)


@pytest.mark.parametrize("content", BAD)
def test_a_folder_goes_on_without_a_bad_file_and_says_why(tmp_path, caplog, content):
    write(tmp_path, a=content, c=textgrid([(0, 1, "slence"), (1, 2, "cough")]))
    write(tmp_path / "deep", b=GOOD)
    with caplog.at_level(logging.WARNING):
        found = read_annotations(tmp_path)
    assert [one.file.stem for one in found] == ["b", "c"]
    assert len(caplog.records) == 2
    assert "2 TextGrids: labels mended: slence 1. 1 skipped" in caplog.text
    assert "skipped: annotation" in caplog.text


def test_two_files_of_one_name_are_one(tmp_path, caplog):
    write(tmp_path, a=GOOD)
    write(tmp_path / "deep", a=GOOD)
    assert len(read_annotations(tmp_path)) == 1
    assert "has the name of" in caplog.text


def test_a_folder_without_any_is_told(tmp_path):
    with pytest.raises(InputError, match="holds no TextGrid: wanted a folder"):
        read_annotations(tmp_path)
    with pytest.raises(InputError, match=r"none of its 1 TextGrids can be used: annotation .* is empty"):
        read_annotations(write(tmp_path, a=""))
    with pytest.raises(InputError, match="does not exist: give the path of a TextGrid"):
        read_annotation(tmp_path / "b.TextGrid")


@pytest.mark.skipif(not REAL.is_dir(), reason="the annotations are not here")
def test_the_real_annotations_are_read_and_what_was_mended_is_counted(caplog):
    found = read_annotations(REAL)
    assert len(found) == 1257
    assert caplog.text.count("WARNING") == 3
    told = "labels mended: compres 2, slence 2, comoress 1, commpress 1, throatlear 1, noisenoise 1"
    assert told in caplog.text
    assert "intervals left out: other 19, without a label 17. 2 skipped" in caplog.text
    assert caplog.text.count("skipped: annotation") == 2
    assert sum(event.kind == "cough" for one in found for event in one.events) > 6000


def test_without_its_parser_the_remedy_is_told(tmp_path, monkeypatch):
    write(tmp_path, a=GOOD)
    monkeypatch.setitem(sys.modules, "tgt", None)
    with pytest.raises(InputError, match=r"annotations need the package tgt: pip install 'dax-lightning\[textgrid\]'"):
        read_annotation(tmp_path / "a.TextGrid")
