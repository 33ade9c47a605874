"""Recordings of coughs with annotated events, real or synthetic; one event type tells positive from negative."""

import csv
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dax_lightning.black_box import BlackBox
from dax_lightning.errors import InputError
from dax_lightning.inputs.sound import SOUNDS, read_sound
from dax_lightning.tasks.base import Only, Task, contents, safe_keys
from dax_lightning.tasks.cough_sounds import share_of, synthetic
from dax_lightning.tasks.esc10 import on_places, sound_rate
from dax_lightning.tasks.textgrids import EVENT_TYPES, Annotation, read_annotations
from dax_lightning.types import Case, Sound

CLASSES = ("negative", "positive")
LABELS = {"0": False, "n": False, "negative": False, "1": True, "p": True, "positive": True}
TABLE = "labels.csv"
_SHORT = 0.1  # seconds by which a recording may be shorter than its annotation
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Split:
    """Which recordings are for training, and which are explained.

    Args:
        held_out: share that is explained and not trained on, over 0 and under 1.
        seconds: longer recordings are in neither.
        seed: of the draw, and of synthetic recordings; a run's seed leaves them as they are.

    Raises:
        InputError: no such share, or no length.

    Example:
        >>> Split(held_out=0.5).held("a"), Split(held_out=0.5).held("b")
        (True, False)
    """

    held_out: float = 0.3
    seconds: float = 8.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not (0 < self.held_out < 1 and self.seconds > 0):
            raise InputError(
                f"task.split.held_out={self.held_out:g}, task.split.seconds={self.seconds:g}: wanted a share over 0 and under 1, "
                "and a length over 0"
            )

    def held(self, name: str) -> bool:
        """Whether a recording of this name is held out."""
        return share_of(self.seed, "held out", name) < self.held_out


@dataclass(frozen=True)
class Recording:
    """An annotated recording.

    Args:
        annotation: its events.
        file: where it is; ``None``: it is synthetic.
        positive: its label; ``None``: not known.
    """

    annotation: Annotation
    file: Path | None
    positive: bool | None

    @property
    def name(self) -> str:
        """The stem of its file."""
        return self.annotation.file.stem


class CoughSet:
    """Annotated recordings in which the carrier is heard, beside some other event type.

    Args:
        root: a folder with TextGrids, in it or in its subfolders; see :func:`read_annotations`.
        recordings: a folder with the recordings of the same stems, in it or in its subfolders. Its ``labels.csv``, with
            the columns ``stem`` and ``label`` (positive, p or 1; negative, n or 0), says which are positive. ``None``: they are
            synthetic, and half are positive by a seeded draw.
        carrier: the event type that tells positive from negative.
        split: which recordings are for training.

    Attributes:
        trained: recordings for training.
        held: recordings that are held out, in a seeded random order.
        labelled: whether labels are known.

    Raises:
        InputError: no such folder or carrier, a table that is none, or nothing left.
    """

    def __init__(self, root: str | None, recordings: str | None = None, carrier: str = "cough", split: Split = Split()):
        if root is None:
            raise InputError("task=cough has no data: give data=DIR (a folder that holds cough_phases/) or task.root=DIR")
        if carrier not in EVENT_TYPES:
            raise InputError(f"task.carrier={carrier}: choose one of {', '.join(EVENT_TYPES)}")
        self.carrier, self.split = carrier, split
        annotations = read_annotations(root)
        fitting = [one for one in annotations if one.kinds > {carrier} and one.seconds <= split.seconds]
        if recordings is None:
            self.labelled = True
            known = [Recording(one, None, share_of(split.seed, "positive", one.file.stem) < 0.5) for one in fitting]
        else:
            table = Path(recordings).expanduser() / TABLE
            self.labelled = table.is_file()
            labels = read_labels(table) if self.labelled else {}
            files = _paired(annotations, recordings)
            stems = [one for one in fitting if one.file.stem in files]
            unlabelled = sum(one.file.stem not in labels for one in stems)
            if self.labelled and unlabelled:
                _log.warning("skipped: %d of %d recordings without a label in %s", unlabelled, len(stems), table)
            known = [Recording(one, files[one.file.stem], labels.get(one.file.stem)) for one in stems]
        self.trained = [one for one in known if not split.held(one.name)]
        self.held = sorted(
            (one for one in known if split.held(one.name)), key=lambda one: share_of(split.seed, "order", one.name)
        )
        if not self.held:
            raise InputError(
                f"task.root={root}: of {len(annotations)} annotations, {len(fitting)} have {carrier} beside other events and at "
                f"most {split.seconds:g} s, {len(known)} of these have a recording, and none is held out: give more, or raise "
                "task.split.held_out or task.split.seconds"
            )

    def sound(self, one: Recording, rate: int) -> Sound:
        """A recording at some rate.

        Raises:
            InputError: it can't be read, or is shorter than its annotation.
        """
        if one.file is None:
            return synthetic(one.annotation, rate, self.carrier if one.positive else None, self.split.seed)
        sound, last = read_sound(one.file, rate, seconds=self.split.seconds), one.annotation.events[-1].end
        if sound.seconds < last - _SHORT:
            raise InputError(
                f"recording {one.file} lasts {sound.seconds:.2f} s, the last event of its annotation ends at {last:.2f} s: give "
                "the recording that was annotated"
            )
        return sound


def read_labels(table: Path) -> dict[str, bool]:
    """Which recordings are positive, by stem.

    Raises:
        InputError: other columns, or another label.
    """
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except UnicodeDecodeError as error:
        raise InputError(f"{table} is no UTF-8: save it as such, in a spreadsheet as CSV UTF-8") from error
    found = {}
    for row in rows:
        if row.get("stem") is None or (label := (row.get("label") or "").strip().lower()) not in LABELS:
            raise InputError(f"{table}: {dict(row)}: wanted the columns stem and label, and a label of {', '.join(LABELS)}")
        found[row["stem"].strip()] = LABELS[label]
    return found


def _paired(annotations: list[Annotation], folder: str) -> dict[str, Path]:
    """The recording of each stem. One log line says how many had no partner."""
    found = {file.stem: file for file in sorted(Path(folder).expanduser().rglob("*")) if file.suffix.lower() in SOUNDS}
    stems = {one.file.stem for one in annotations}
    if not stems & found.keys():
        raise InputError(
            f"task.recordings={folder} holds {len(found)} recordings, none named as one of {len(stems)} annotations: wanted such "
            f"as {min(stems)}.wav, flac, ogg or mp3"
        )
    alone, unknown = len(stems - found.keys()), len(found.keys() - stems)
    if alone or unknown:
        _log.warning("skipped: %d annotations without a recording, %d recordings without an annotation", alone, unknown)
    return found


def _check_facts(facts: Mapping[str, Any], recordings: str | None, carrier: str, split: Split) -> None:
    """Raise an InputError where the model, as far as is known, learned another carrier or was trained on what is explained."""
    learned = facts.get("carrier", carrier)
    if recordings is None and learned != carrier:
        raise InputError(f"task.carrier={carrier}: the model learned to tell by {learned}: write task.carrier={learned}")
    held_out, seed = facts.get("held_out", split.held_out), facts.get("split_seed", split.seed)
    if seed != split.seed or split.held_out > held_out:  # a smaller share of the same draw is a part of what was held out
        raise InputError(
            f"task.split.held_out={split.held_out:g}, task.split.seed={split.seed}: the model was trained on some of these "
            f"recordings, it held out {held_out:g} by seed {seed}: write task.split.held_out={held_out:g} task.split.seed={seed}"
        )


class Cough(Task):
    """A case for each held-out positive recording of coughs. The truth is the time of all events of the carrier.

    ``Case.layers`` has the time of each event type that is heard. The target is ``positive``. Where no ``labels.csv`` says which
    recordings are positive, each is a case, and its target is the model's top class.

    Args:
        black_box: a model of sounds that knows the classes ``negative`` and ``positive`` by name.
        root: see :class:`CoughSet`.
        recordings: see :class:`CoughSet`; ``None``: synthetic.
        carrier: see :class:`CoughSet`; the one that the model was trained for.
        split: as in the model's training, so that none of these recordings was trained on.
        target: see :class:`Task`.
        limit: see :class:`Task`.
        only: see :class:`Task`; ``correct`` are the positive recordings that the model takes for positive.

    Raises:
        InputError: as for :class:`CoughSet`, a model of other classes, for another carrier or trained on these recordings, or
            ``only`` without labels; from ``task[i]``, an unreadable recording.
    """

    name = "cough"
    knows_classes = True
    of_pictures = False

    def __init__(
        self,
        black_box: BlackBox,
        root: str | None = None,
        recordings: str | None = None,
        carrier: str = "cough",
        split: Split = Split(),
        target: int | str | None = None,
        limit: int | None = None,
        only: Only = "all",
    ):
        self._set = CoughSet(root, recordings, carrier, split)
        _check_facts(black_box.facts, recordings, carrier, split)
        names = list(black_box.classes or ())
        if not set(CLASSES) <= set(names):
            raise InputError(
                "the black box does not know the classes negative and positive: give a model of coughs, such as "
                "black_box=cough_blstm (make sound trains it)"
            )
        self._positive = names.index("positive")
        if only != "all" and not self._set.labelled:
            raise InputError(
                f"only={only}: {recordings} holds no {TABLE} with the columns stem and label: add it, or leave out only="
            )
        self._cases = [one for one in self._set.held if one.positive or not self._set.labelled]
        if not self._cases:
            raise InputError(f"none of {len(self._set.held)} held-out recordings is positive: raise task.split.held_out")
        super().__init__(black_box, safe_keys(one.name for one in self._cases), target, limit, only)

    def content(self, index: int) -> dict[str, bytes]:
        """See :meth:`Task.content`; the annotation is the mask."""
        one = self._cases[self._key_of(index)]
        return contents(file=one.file, mask=one.annotation.file)

    def _case(self, index: int) -> Case:
        one, kind = self._cases[index], self.black_box.input
        sound = kind.fitted(self._set.sound(one, sound_rate(kind)))
        x = kind.of_sound(sound)
        layers = {}
        for event_type in EVENT_TYPES:
            during = torch.zeros(sound.wave.shape[1])
            for event in one.annotation.events:
                if event.kind == event_type:
                    during[round(event.start * sound.rate) : round(event.end * sound.rate)] = 1
            if during.any():
                layers[event_type] = on_places(kind, x, during)
        return Case(
            self._keys[index],
            x,
            self._positive if self._set.labelled and self._target is None else self._chosen(x),
            truth=layers[self._set.carrier] > 0.5,
            sound=sound,
            layers=layers,
        )

    def _own_classes(self, index: int, case: Case) -> Collection[int] | None:
        return [self._positive] if self._set.labelled else None
