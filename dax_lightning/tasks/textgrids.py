"""Praat TextGrids of coughs: which event lasts from when to when."""

import codecs
import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dax_lightning.errors import InputError, cause_of

EVENT_TYPES = ("cough", "throatclear", "noise", "inhale", "compress", "silence")
MENDED = {
    "slence": "silence",
    "compres": "compress",
    "comoress": "compress",
    "commpress": "compress",
    "throatlear": "throatclear",
    "noisenoise": "noise",
}
LEFT_OUT = ("", "other")
TIER = "type"
_TOLD = 10  # skipped files that are told one by one
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Event:
    """What is heard for some time.

    Args:
        kind: one of ``EVENT_TYPES``.
        start: seconds.
        end: seconds, later than ``start``.
    """

    kind: str
    start: float
    end: float


@dataclass(frozen=True)
class Annotation:
    """What one TextGrid says.

    Args:
        file: the TextGrid; its stem is the recording's.
        seconds: how long the recording lasts.
        events: in their order; they don't overlap.
        mended: labels that were misspelt, as they stood there.
        left_out: labels of intervals that are no event: ``other`` and the empty one.
    """

    file: Path
    seconds: float
    events: tuple[Event, ...]
    mended: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def kinds(self) -> set[str]:
        """The event types in it."""
        return {event.kind for event in self.events}


def read_annotation(file: str | Path) -> Annotation:
    """The events of one TextGrid's tier ``type``. Misspelt labels are mended by ``MENDED``.

    Args:
        file: a TextGrid, long or short format, UTF-8 or UTF-16.

    Raises:
        InputError: missing, empty or unreadable, without such a tier or any event, intervals that overlap, or an unknown label.

    Example:
        >>> import tempfile
        >>> lines = '"IntervalTier" "type" 0 1 2 0 0.4 "slence" 0.4 1 "cough"'.split()
        >>> head = ['File type = "ooTextFile short"', '"TextGrid"', "0", "1", "<exists>", "1"]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "a.TextGrid").write_text("\\n".join([*head, *lines]))
        ...     made = read_annotation(f"{folder}/a.TextGrid")
        >>> made.events[0], made.mended
        (Event(kind='silence', start=0.0, end=0.4), ('slence',))
    """
    try:
        import tgt  # not at the top: photographs needn't wait for it
    except ImportError as error:
        raise InputError("annotations need the package tgt: pip install 'dax-lightning[textgrid]'") from error
    path = Path(file).expanduser()
    if not path.is_file():
        raise InputError(f"annotation {path} does not exist: give the path of a TextGrid")
    try:
        content = path.read_bytes()
        if not content.strip():
            raise InputError(f"annotation {path} is empty: wanted a TextGrid that Praat wrote")
        utf16 = content.startswith((codecs.BOM_UTF16_BE, codecs.BOM_UTF16_LE))
        grid = tgt.io.read_textgrid(str(path), "utf-16" if utf16 else "utf-8-sig", include_empty_intervals=True)
    except InputError:
        raise
    except Exception as error:  # the parser has no error of its own
        cause = cause_of(error, most=150)
        if "Could not add object" in str(error):
            raise InputError(f"annotation {path} has intervals that overlap: mend it in Praat ({cause})") from error
        raise InputError(f"annotation {path} can't be read ({cause}): wanted a TextGrid that Praat wrote") from error
    if not grid.has_tier(TIER):
        tiers = ", ".join(grid.get_tier_names()) or "none"
        raise InputError(f"annotation {path} has no tier {TIER} (its tiers: {tiers}): wanted the events in a tier of this name")
    tier = grid.get_tier_by_name(TIER)
    events, mended, left_out = [], [], []
    for interval in tier:
        label = "".join(interval.text.lower().split())
        kind = MENDED.get(label, label)
        if kind in LEFT_OUT:
            left_out.append(kind)
        elif kind not in EVENT_TYPES:
            raise InputError(
                f"annotation {path} has the label {interval.text!r} at {float(interval.start_time):g} s: wanted one of "
                f"{', '.join((*EVENT_TYPES, 'other'))}"
            )
        elif interval.end_time > interval.start_time:
            events.append(Event(kind, float(interval.start_time), float(interval.end_time)))
            mended += [interval.text] if kind != interval.text else []
    if not events:
        raise InputError(f"annotation {path} has no event in its tier {TIER}: wanted some of {', '.join(EVENT_TYPES)}")
    return Annotation(path, float(tier.end_time), tuple(events), tuple(mended), tuple(left_out))


def read_annotations(root: str | Path) -> list[Annotation]:
    """All TextGrids of a folder and its subfolders, by file name. One log line says what was mended, left out and skipped.

    Args:
        root: the folder; a file stands for itself.

    Raises:
        InputError: no such folder, no TextGrid in it, or none that can be used, with what is wrong with the first.
    """
    folder = Path(root).expanduser()
    if folder.is_file():
        files = [folder]
    else:
        files = sorted((file for file in folder.rglob("*") if file.suffix.lower() == ".textgrid"), key=lambda f: (f.stem, f))
    if not files:
        raise InputError(f"task.root={root} holds no TextGrid: wanted a folder with *.TextGrid in it or in its subfolders")
    found: dict[str, Annotation] = {}
    skipped = []
    for file in files:
        try:
            if file.stem in found:
                raise InputError(f"annotation {file} has the name of {found[file.stem].file}")
            found[file.stem] = read_annotation(file)
        except InputError as error:
            skipped.append(str(error))
    if not found:
        raise InputError(f"task.root={root}: none of its {len(files)} TextGrids can be used: {skipped[0]}")
    _tell(list(found.values()), skipped)
    return list(found.values())


def _tell(found: list[Annotation], skipped: list[str]) -> None:
    told = []
    if mended := _counted(label for one in found for label in one.mended):
        told.append(f"labels mended: {mended}")
    if left_out := _counted(label for one in found for label in one.left_out):
        told.append(f"intervals left out: {left_out}")
    if skipped:
        told.append(f"{len(skipped)} skipped")
    if told:
        _log.warning("%d TextGrids: %s", len(found), ". ".join(told))
    for reason in skipped[:_TOLD]:
        _log.warning("skipped: %s", reason)
    if len(skipped) > _TOLD:
        _log.warning("and %d more", len(skipped) - _TOLD)


def _counted(labels: Iterable[str]) -> str:
    return ", ".join(f"{label or 'without a label'} {count}" for label, count in Counter(labels).most_common())
