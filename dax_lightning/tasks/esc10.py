"""ESC-10: clips of ten classes of sound, with noise before and after, and two clips at once."""

import csv
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dax_lightning.black_box import BlackBox
from dax_lightning.errors import InputError
from dax_lightning.inputs.base import Input
from dax_lightning.inputs.sound import read_sound
from dax_lightning.inputs.spectrogram import SpectrogramInput
from dax_lightning.tasks.base import Only, Task, contents
from dax_lightning.types import Case, Sound

_FRAME = 0.02  # seconds over which the level of a sound is measured


@dataclass(frozen=True)
class Clip:
    """One clip of ESC-50's list.

    Args:
        file: the recording.
        fold: 1 to 5.
        category: its class, such as ``dog``.
    """

    file: Path
    fold: int
    category: str


@dataclass(frozen=True)
class Noise:
    """White noise before and after a clip.

    Args:
        shortest: least seconds on each side, 0 or more.
        longest: most seconds on each side.
        snr: the clip's power over the noise's, in dB; the clip's power is that of its audible part.
        seed: of lengths and noise; a run's seed leaves them as they are.

    Raises:
        InputError: the lengths are none.

    Example:
        >>> Noise(shortest=1.0, longest=1.0).around(Sound(torch.ones(1, 8000), 8000), seed=0)[0].seconds
        3.0
    """

    shortest: float = 1.0
    longest: float = 3.0
    snr: float = 20.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.shortest <= self.longest:
            raise InputError(
                f"task.noise.shortest={self.shortest:g}, task.noise.longest={self.longest:g}: wanted seconds, 0 or more, the "
                "shorter first"
            )

    def around(self, sound: Sound, seed: int) -> tuple[Sound, int]:
        """The sound between two pieces of noise, and at which sample it begins."""
        generator = torch.Generator().manual_seed(1000 * self.seed + seed)
        spans = self.shortest + (self.longest - self.shortest) * torch.rand(2, generator=generator)
        before, after = (int(span * sound.rate) for span in spans)
        wave = sound.wave
        level = _power(sound)[audible_frames(sound)].mean().sqrt() * 10 ** (-self.snr / 20)
        noise = torch.randn(1, before + after, generator=generator) * level
        return Sound(torch.cat([noise[:, :before], wave, noise[:, before:]], 1).clamp(-1, 1), sound.rate), before


class Esc10(Task):
    """A case for each clip of one fold, with noise of random length before and after it. The truth is the clip's own time.

    ``Case.layers["audible"]`` is the part of that time in which the clip is heard: many clips are padded with digital silence.
    The target is the clip's class; ``Case.wrong`` the next class of the list.

    Args:
        black_box: a model of sounds that knows ESC-10's classes by name.
        root: ESC-50's folder, with ``meta/esc50.csv`` and ``audio/``, whose recordings end in ``.wav`` or ``.ogg``.
        fold: 1 to 5; the others are for training.
        noise: before and after each clip.
        audible: dB below the clip's loudest 20 ms that still count as audible.
        target: see :class:`Task`.
        limit: see :class:`Task`.
        only: see :class:`Task`.

    Raises:
        InputError: not this layout, no such fold, or a model of other classes; from ``task[i]``, an unreadable clip.
    """

    name = "esc10"
    knows_classes = True
    of_pictures = False

    def __init__(
        self,
        black_box: BlackBox,
        root: str | None = None,
        fold: int = 5,
        noise: Noise = Noise(),
        audible: float = 40.0,
        target: int | str | None = None,
        limit: int | None = None,
        only: Only = "all",
    ):
        self._clips = {clip.file.stem: clip for clip in held_out(clips(root, "esc10"), fold, black_box)}
        self._ids = class_ids(black_box, {clip.category for clip in self._clips.values()})
        self.noise, self.audible = noise, audible
        super().__init__(black_box, list(self._clips), target, limit, only)

    def content(self, index: int) -> dict[str, bytes]:
        """See :meth:`Task.content`."""
        return contents(file=self._clips[self._keys[self._key_of(index)]].file)

    def _case(self, index: int) -> Case:
        clip, kind = self._clips[self._keys[index]], self.black_box.input
        rate = sound_rate(kind)
        own = read_sound(clip.file, rate)
        noisy, start = self.noise.around(own, seed=index)
        sound = kind.fitted(noisy)
        x = kind.of_sound(sound)
        heard = torch.zeros(noisy.wave.shape[1])
        heard[start : start + own.wave.shape[1]] = audible_samples(own, self.audible)
        ids = sorted(self._ids.values())
        target = self._ids[clip.category] if self._target is None else self._target
        return Case(
            self._keys[index],
            x,
            target,
            truth=during(kind, x, start, start + own.wave.shape[1]),
            wrong=ids[(ids.index(self._ids[clip.category]) + 1) % len(ids)],
            sound=sound,
            layers={"audible": on_places(kind, x, heard)},
        )

    def _own_classes(self, index: int, case: Case) -> Collection[int]:
        return [self._ids[self._clips[self._keys[index]].category]]


class Mixture(Task):
    """Two clips of two classes; each pair is two cases, one for either class. The second begins in the last part of the first.

    They overlap for 20 to 60 % of the shorter one. No pair comes twice.

    The truth is the time of the class that is asked about. ``Case.layers["own_power"]`` is the share of that clip's power in each
    band and frame, known because the clips were mixed here (spectrograms only). ``Case.wrong`` is the other clip's class.

    Args:
        black_box: a model of sounds that knows ESC-10's classes by name.
        root: as for :class:`Esc10`.
        fold: 1 to 5.
        pairs: how many.
        seed: of the pairs and of how far they overlap; a run's seed leaves them as they are.
        target: see :class:`Task`.
        limit: see :class:`Task`; cases, not pairs.
        only: see :class:`Task`; right is either class of the pair.

    Raises:
        InputError: as for :class:`Esc10`, or fewer such pairs than ``pairs``, or none wanted.
    """

    name = "mixture"
    knows_classes = True
    of_pictures = False

    def __init__(
        self,
        black_box: BlackBox,
        root: str | None = None,
        fold: int = 5,
        pairs: int = 30,
        seed: int = 0,
        target: int | str | None = None,
        limit: int | None = None,
        only: Only = "all",
    ):
        known = held_out(clips(root, "mixture"), fold, black_box)
        self._ids = class_ids(black_box, {clip.category for clip in known})
        possible = [(one, other) for one, other in permutations(known, 2) if one.category < other.category]
        if not 1 <= pairs <= len(possible):
            raise InputError(f"task.pairs={pairs}: wanted 1 to {len(possible)}, the pairs of two classes in fold {fold}")
        generator = torch.Generator().manual_seed(seed)
        self._pairs: dict[str, tuple[Clip, Clip, float]] = {}
        for number, drawn in enumerate(torch.randperm(len(possible), generator=generator)[:pairs].tolist()):
            swapped, share = torch.rand(2, generator=generator).tolist()
            one, other = possible[drawn][:: -1 if swapped < 0.5 else 1]
            self._pairs[f"{number}_{one.category}_not_{other.category}"] = (one, other, share)
            self._pairs[f"{number}_{other.category}_not_{one.category}"] = (one, other, share)
        super().__init__(black_box, list(self._pairs), target, limit, only)

    def content(self, index: int) -> dict[str, bytes]:
        """See :meth:`Task.content`; both clips."""
        one, other, _ = self._pairs[self._keys[self._key_of(index)]]
        return contents(file=one.file, other=other.file)

    def _case(self, index: int) -> Case:
        kind = self.black_box.input
        first, second, share = self._pairs[self._keys[index]]
        rate = sound_rate(kind)
        waves = [trimmed(read_sound(clip.file, rate)).wave for clip in (first, second)]
        both = int(min(wave.shape[1] for wave in waves) * (0.2 + 0.4 * share))
        start = waves[0].shape[1] - both
        length = start + waves[1].shape[1]
        parts = torch.cat([_placed(waves[0], 0, length), _placed(waves[1], start, length)])
        sound = kind.fitted(Sound((parts.sum(0, keepdim=True) / 2).clamp(-1, 1), rate))
        asked = index % 2
        clip, other = (first, second) if asked == 0 else (second, first)
        x = kind.of_sound(sound)
        begin = 0 if asked == 0 else start
        layers = {}
        if isinstance(kind, SpectrogramInput) and kind.front is not None:
            own, rest = (
                kind.front.power(kind.fitted(Sound(part[None], rate)).wave[0]) for part in (parts[asked], parts[1 - asked])
            )
            layers["own_power"] = own / (own + rest).clamp_min(1e-12)
        return Case(
            self._keys[index],
            x,
            self._ids[clip.category] if self._target is None else self._target,
            truth=during(kind, x, begin, begin + waves[asked].shape[1]),
            wrong=self._ids[other.category],
            sound=sound,
            layers=layers,
        )

    def _own_classes(self, index: int, case: Case) -> Collection[int]:
        return [self._ids[clip.category] for clip in self._pairs[self._keys[index]][:2]]


def clips(root: str | None, task: str) -> list[Clip]:
    """ESC-10's clips in ESC-50's layout, in the order of the list.

    Args:
        root: the folder with ``meta/esc50.csv`` and ``audio/``.
        task: for errors.

    Raises:
        InputError: no such folder or list, or no recording of it.
    """
    if root is None:
        raise InputError(f"task={task} has no data: give data=DIR (a folder that holds esc10/) or task.root=DIR, ESC-50's folder")
    table = Path(root).expanduser() / "meta" / "esc50.csv"
    if not table.is_file():
        raise InputError(f"task.root={root} holds no meta/esc50.csv: give ESC-50's folder, with meta/ and audio/")
    with table.open(encoding="utf-8", newline="") as file:
        listed = csv.DictReader(file)
        if missing := {"filename", "fold", "category", "esc10"} - set(listed.fieldnames or ()):
            raise InputError(f"{table} has no column {', '.join(sorted(missing))}: wanted ESC-50's own list")
        rows = [row for row in listed if row["esc10"] == "True"]
    found = []
    for row in rows:
        recorded = table.parent.parent / "audio" / row["filename"]
        there = next((f for f in (recorded, recorded.with_suffix(".wav"), recorded.with_suffix(".ogg")) if f.is_file()), None)
        if there is not None:
            found.append(Clip(there, int(row["fold"]), row["category"]))
    if not found:
        raise InputError(
            f"task.root={root} lists {len(rows)} clips of ESC-10, and audio/ holds none of them: download ESC-50 again"
        )
    return found


def in_fold(known: Sequence[Clip], fold: int) -> list[Clip]:
    """The clips of one fold.

    Raises:
        InputError: there are none.
    """
    found = [clip for clip in known if clip.fold == fold]
    if not found:
        raise InputError(f"task.fold={fold}: no clip; choose one of {', '.join(map(str, sorted({clip.fold for clip in known})))}")
    return found


def held_out(known: Sequence[Clip], fold: int, black_box: BlackBox) -> list[Clip]:
    """The clips of one fold, which the model must not have been trained on, as far as is known.

    Raises:
        InputError: there are none, or the model was trained on them.
    """
    found = in_fold(known, fold)
    other = black_box.facts.get("fold", fold)
    if other != fold:
        raise InputError(
            f"task.fold={fold}: the model was trained on its clips, and fold {other} was held out: task.fold={other}"
        )
    return found


def class_ids(black_box: BlackBox, categories: Collection[str]) -> dict[str, int]:
    """The model's class id of each category.

    Raises:
        InputError: it doesn't know one by name.
    """
    names = list(black_box.classes or ())
    missing = sorted(set(categories) - set(names))
    if missing:
        raise InputError(
            f"the black box does not know {', '.join(missing)}: give a model of ESC-10's classes, such as black_box=esc10_resnet "
            "(make sound trains it)"
        )
    return {name: names.index(name) for name in categories}


def sound_rate(kind: Input) -> int:
    """The rate that an input's recordings have.

    Raises:
        InputError: it takes no recordings.
    """
    if isinstance(kind, SpectrogramInput) and kind.front is not None:
        return kind.front.rate
    rate = getattr(kind, "rate", None)
    if rate is None:
        raise InputError(f"the black box takes a {kind.kind}, this task has recordings: give a model of waves or spectrograms")
    return rate


def on_places(kind: Input, x: Float[Tensor, "c *space"], samples: Float[Tensor, " time"]) -> Float[Tensor, "*space"]:
    """A value of each sample, on the places of an input: of a spectrogram, that at each frame's middle."""
    return samples[_middles(kind, x).clamp_max(len(samples) - 1)].expand(x.shape[1:]).contiguous()


def during(kind: Input, x: Float[Tensor, "c *space"], start: int, end: int) -> Bool[Tensor, "*space"]:
    """The places between two samples."""
    at = _middles(kind, x)
    return ((at >= start) & (at < end)).expand(x.shape[1:]).contiguous()


def _middles(kind: Input, x: Float[Tensor, "c *space"]) -> Int[Tensor, " places"]:
    """The sample in the middle of each place along the last axis."""
    step = 1 if kind.step is None else max(1, round(kind.step * sound_rate(kind)))
    return torch.arange(x.shape[-1]) * step


def audible_frames(sound: Sound, below: float = 40.0) -> Bool[Tensor, " frames"]:
    """Which 20 ms are no more than so many dB below the loudest."""
    power = _power(sound)
    return power > power.max() * 10 ** (-below / 10)


def audible_samples(sound: Sound, below: float = 40.0) -> Float[Tensor, " time"]:
    """1 for each sample of an audible frame, else 0.

    Example:
        >>> audible_samples(Sound(torch.cat([torch.zeros(1, 160), torch.ones(1, 160)], 1), 8000)).mean().item()
        0.5
    """
    frames = audible_frames(sound, below).float().repeat_interleave(round(_FRAME * sound.rate))
    return F.pad(frames, (0, max(0, sound.wave.shape[1] - len(frames))))[: sound.wave.shape[1]]


def trimmed(sound: Sound) -> Sound:
    """The sound from its first audible frame to its last, its audible power brought to a tenth of full scale.

    Example:
        >>> trimmed(Sound(torch.cat([torch.zeros(1, 160), torch.ones(1, 160)], 1), 8000)).wave.shape
        torch.Size([1, 160])
    """
    at = audible_samples(sound).nonzero()[:, 0]
    kept = Sound(sound.wave[:, int(at[0]) : int(at[-1]) + 1], sound.rate)
    level = _power(kept)[audible_frames(kept)].mean().sqrt()
    return Sound((kept.wave * 0.1 / level).clamp(-1, 1), sound.rate)


def _power(sound: Sound) -> Float[Tensor, " frames"]:
    width = round(_FRAME * sound.rate)
    wave = sound.wave.mean(0)
    return F.pad(wave, (0, -len(wave) % width)).view(-1, width).square().mean(1)


def _placed(wave: Float[Tensor, "1 part"], start: int, length: int) -> Float[Tensor, "1 time"]:
    return F.pad(wave, (start, length - start - wave.shape[1]))
