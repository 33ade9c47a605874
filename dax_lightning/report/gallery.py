"""Which pictures a page shows, in which order, and the files behind them."""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from dax_lightning.errors import InputError
from dax_lightning.files import read_json, read_npz
from dax_lightning.plots.canvas import as_uri, sound_uri
from dax_lightning.plots.curves import draw_curves, draw_maps
from dax_lightning.stats.tables import SETTING

PICTURES, A_CASE, WIDTH = (
    30,
    10,
    1200,
)  # most panels on a page, and their pixels (about 40 kB each) and of one case; the rest stay in their folder
LEADING, TILES = 3, 25  # cases shown open, with their curves and their maps side by side; most maps side by side

MADE = (
    "saved",
    "versions",
    "black_box",
    "file_sha256",
    "mask_sha256",
    "input_sha256",
)  # facts beside an explanation of how it was made

Row = dict[str, Any]


@dataclass(frozen=True)
class Panel:
    """One picture with the row it belongs to, and what can be heard, as ``data:`` addresses; of long recordings the file."""

    row: Row
    name: str
    picture: str | None
    curves: str | None
    sounds: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Entry:
    """One case: its place among the others, if IoU is known, and its pictures."""

    rank: str
    case: str
    iou: float
    maps: str | None
    panels: list[Panel]


@dataclass(frozen=True)
class Gallery:
    """The cases shown open, those folded away, and how many pictures there was no room for."""

    leading: list[Entry]
    others: list[Entry]
    left_out: int


def gallery(folder: Path, rows: list[Row], *, maps: bool = True) -> Gallery:
    """Choose the pictures of a page: the best, median and worst case by mean IoU first (the first three without IoU).

    Args:
        folder: where the jobs' folders are.
        rows: with their notes.
        maps: whether a case's maps are shown side by side; not where a grid shows them already.

    Example:
        >>> gallery(Path("no such folder"), [{"status": "failed"}])
        Gallery(leading=[], others=[], left_out=0)
    """
    done = [row for row in rows if row["status"] != "failed"]
    several = {key for key in SETTING if len({str(row[key]) for row in done}) > 1}
    varying = [key for key in SETTING if key in several or (key == "explainer" and not any(row.get("label") for row in done))]
    room, entries = PICTURES, []
    for n, (rank, group) in enumerate(_ranked(done)):
        part = group[: min(A_CASE, room)]
        room -= len(part)
        if part:
            tiles = _side_by_side(folder, group[:TILES], varying) if maps and n < LEADING else None
            panels = [_panel(folder, row, _name(row, varying), curves=n < LEADING) for row in part]
            entries.append(Entry(rank, group[0]["case"], _mean_iou(group), tiles, panels))
    return Gallery(entries[:LEADING], entries[LEADING:], len(done) - (PICTURES - room))


def with_notes(folder: Path, rows: list[Row]) -> list[Row]:
    """Add what a row's ``.json`` says: ``warnings``, ``curves``, ``history`` (training, an item an epoch), ``made`` (how).

    Example:
        >>> with_notes(Path("no such folder"), [{"job": "", "case": "a", "explainer": "dax"}])[0]["warnings"]
        []
    """
    return [{**row, **_read_notes(find(folder, row, "explanations", ".json"))} for row in rows]


def warnings_by_text(rows: list[Row]) -> list[dict[str, Any]]:
    """Gather equal warnings, the most frequent first, each with the cases it concerns.

    Example:
        >>> warnings_by_text([{"case": "a", "explainer": "dax", "warnings": ["learned nothing"]}])
        [{'text': 'learned nothing', 'cases': ['a (dax)'], 'more': 0}]
    """
    cases: dict[str, list[str]] = {}
    for row in rows:
        for text in row["warnings"]:
            cases.setdefault(text, []).append(f"{row['case']} ({row.get('label') or row['explainer']})")
    ordered = sorted(cases.items(), key=lambda item: -len(item[1]))
    return [{"text": text, "cases": names[:5], "more": len(names) - len(names[:5])} for text, names in ordered]


def find(folder: Path, row: Row, kind: str, suffix: str) -> Path | None:
    """Find a row's file in its job's folder ``kind``, if it is there; a case's name can't lead out of that folder.

    Example:
        >>> find(Path("."), {"job": "", "case": "../../etc/x", "explainer": "dax"}, "explanations", ".png") is None
        True
    """
    return _inside(Path(folder, row["job"], kind), f"{row['case']}__{row['explainer']}{suffix}")


def find_input(folder: Path, row: Row) -> Path | None:
    """Find the picture of a row's case as the black box saw it, if it is there.

    Example:
        >>> find_input(Path("."), {"job": "", "case": "cat"}) is None
        True
    """
    return _inside(Path(folder, row["job"], "explanations", "inputs"), f"{row['case']}.png")


def map_of(folder: Path, row: Row) -> np.ndarray | None:
    """Read a row's saliency map, if it is there and can be read.

    Example:
        >>> map_of(Path("."), {"job": "", "case": "cat", "explainer": "dax"}) is None
        True
    """
    try:
        return read_npz(find(folder, row, "explanations", ".npz") or Path(), only=["saliency"])["saliency"]
    except (OSError, ValueError, KeyError):
        return None  # its picture, if there is one, is shown all the same


def picture_of(folder: Path, row: Row, width: int | None = None) -> str | None:
    """Read a row's panel as a ``data:`` address, ``width`` pixels wide at most, if it is there and can be read.

    Example:
        >>> picture_of(Path("."), {"job": "", "case": "cat", "explainer": "dax"}) is None
        True
    """
    file = find(folder, row, "explanations", ".png")
    try:
        return as_uri(file, width) if file else None
    except OSError:
        return None  # the page says that there is no picture


def _inside(place: Path, name: str) -> Path | None:
    file = Path(place, name)
    return file if file.parent == place and os.path.isfile(file) else None  # os.path, as it bears names too long or odd


def _read_notes(file: Path | None) -> Row:
    try:
        said: Row = read_json(file) if file else {"warnings": []}
        warnings = [str(text) for text in said["warnings"]]
        notes = {"warnings": warnings, "history": said.get("notes", {}).get("history"), "curves": said.get("curves") or {}}
        return {**notes, "made": {key: said[key] for key in MADE if said.get(key)}}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {"warnings": ["its .json can’t be read, so its warnings are not known"], "history": None, "curves": {}, "made": {}}


def _mean_iou(rows: list[Row]) -> float:
    known = [row["iou"] for row in rows if "iou" in row and math.isfinite(row["iou"])]
    return sum(known) / len(known) if known else math.nan


def _ranked(done: list[Row]) -> list[tuple[str, list[Row]]]:
    """Order the cases: best, median, worst, then the others from best to worst, then those without IoU as they came."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in done:
        groups.setdefault((row["task"], row["case"]), []).append(row)
    known = sorted((g for g in groups.values() if math.isfinite(_mean_iou(g))), key=_mean_iou, reverse=True)
    last = len(known) - 1
    ranks = {0: "Best", last // 2: "Median", last: "Worst"} if last > 1 else {0: "Best", 1: "Worst"} if last == 1 else {}
    leading = [(rank, known[n]) for n, rank in ranks.items()]
    rest = [group for n, group in enumerate(known) if n not in ranks]
    return [*leading, *(("", g) for g in rest), *(("", g) for g in groups.values() if math.isnan(_mean_iou(g)))]


def _name(row: Row, varying: list[str]) -> str:
    keys = [key for key in varying if key == "explainer"] if row.get("label") else varying  # the label names the others
    texts = [f"q={row[key]:g}" if isinstance(row[key], float) else str(row[key]) for key in keys if row[key] == row[key]]
    return " · ".join(text for text in (row.get("label") or "", *texts) if text)


def _panel(folder: Path, row: Row, name: str, *, curves: bool) -> Panel:
    chart = _curves(row["history"]) if curves and row["history"] else None
    return Panel(row, name, picture_of(folder, row, WIDTH), chart, tuple(_sounds(folder, row, inside=curves)))


def _sounds(folder: Path, row: Row, *, inside: bool) -> Iterator[tuple[str, str]]:
    """The recording, what its map keeps and what it removes: short ones inside the page where wanted, others by their file."""
    whole = _inside(Path(folder, row["job"], "explanations"), f"{row['case']}__input.wav")
    parts = ((told, find(folder, row, "explanations", f"__{told}.wav")) for told in ("kept", "removed"))
    for told, file in (("input", whole), *parts):
        if file is not None:
            yield told, (inside and sound_uri(file)) or quote(os.path.relpath(file, folder))


def _curves(history: Any) -> str | None:
    try:
        return as_uri(draw_curves(history))
    except (InputError, ValueError, TypeError, AttributeError):
        return None  # a history that is no history costs its chart alone


def _side_by_side(folder: Path, rows: list[Row], varying: list[str]) -> str | None:
    """Draw the maps of one case beside each other, where there is more than one."""
    found = [(_name(row, varying), map_of(folder, row)) for row in rows]
    maps = [(name, saliency) for name, saliency in found if saliency is not None]
    return as_uri(draw_maps(maps)) if len(maps) > 1 else None
