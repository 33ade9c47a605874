"""The user's own masks, and which files a path means."""

import glob
import re
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Int, Shaped
from PIL import Image

from dax_lightning.errors import InputError
from dax_lightning.inputs.arrays import read_array
from dax_lightning.inputs.image_file import fitting, opened_png

SUFFIXES = (".png", ".npy")  # without loss
VOID = 255
MasksAre = Literal["auto", "object", "classes"]
_SCANNED = 200  # masks that are looked at to learn what their values mean
_NAMED = 8  # values that a line names


class Masks:
    """The masks of some pictures, found by their names; see :class:`~dax_lightning.tasks.Files` for what they hold.

    Args:
        masks: a file, folder or glob.
        pictures: files of the pictures.
        are: what their values mean.

    Raises:
        InputError: no mask there, none of them is that of a picture, or no such meaning.
    """

    def __init__(self, masks: str, pictures: Sequence[Path], are: MasksAre = "auto"):
        if are not in get_args(MasksAre):
            raise InputError(f"task.masks_are={are}: choose one of {', '.join(get_args(MasksAre))}")
        self._setting, self._are = masks, are
        self._files: dict[str, list[Path]] = {}
        for file in found(masks, SUFFIXES, "masks"):
            self._files.setdefault(file.stem, []).append(file)
        self._pictures: dict[str, list[Path]] = {}
        for picture in pictures:
            self._pictures.setdefault(picture.stem, []).append(picture)
        if not self._files.keys() & self._pictures.keys():
            stem = pictures[0].stem
            raise InputError(f"masks={masks} has no mask of any picture: wanted {stem}.png or {stem}.npy for {pictures[0].name}")

    def of(self, picture: Path, pixels: Image.Image | Shaped[np.ndarray, "..."]) -> Int[np.ndarray, "h w"]:
        """The mask of a picture, checked against its size.

        Raises:
            InputError: it is missing, not the only one, damaged, in colour, or of another size.
        """
        file = self._file(picture)
        mask = _read(file)
        height, width = mask.shape
        if isinstance(pixels, Image.Image):
            fits = (width, height) == pixels.size or fitting(width, height) == pixels.size
            size = f"{pixels.width}x{pixels.height}"
        else:
            fits = (height, width) in (pixels.shape[:2], pixels.shape[-2:])  # channels last or first
            size = " x ".join(map(str, pixels.shape))
        if not fits:
            raise InputError(f"mask {file} is {width}x{height} pixels, its picture {size}: give one of the picture's size")
        return mask

    def truth(
        self, mask: Int[np.ndarray, "h w"], target: int, classes: Sequence[str] | None
    ) -> tuple[Bool[np.ndarray, "h w"], Bool[np.ndarray, "h w"]]:
        """Where the object is, and what is ignored.

        Raises:
            InputError: the target is not in the mask, or a value is no class.
        """
        if self._as_classes:
            truth, ignore = (mask == target) & (mask > 0), mask == VOID  # 0 is background, though it is a class's id too
        else:
            ignore = (mask == VOID) & (VOID not in self._values)
            truth = (mask > 0) & ~ignore if self._are == "object" else np.isin(mask, list(self._values))
        if not truth.any():
            name = f" ({classes[target]})" if classes else ""
            raise InputError(f"the mask shows no pixel of the target, class {target}{name}; {self._instead(mask, classes)}")
        return truth, ignore

    def told(self) -> str:
        """How the masks are read, in one line."""
        values = sorted(self._values)
        named = ", ".join(map(str, values[:_NAMED])) + (f" and {len(values) - _NAMED} more" if len(values) > _NAMED else "")
        kind = "class ids" if self._as_classes else f"one object, value{'s' * (len(values) > 1)}"
        return f"masks: {kind} {named}" + ("; 255 is ignored" if VOID in self._seen - self._values else "")

    def file_of(self, picture: Path) -> Path | None:
        """The mask's file; ``None`` where it is missing or not the only one, which :meth:`of` will tell."""
        files = self._files.get(picture.stem, [])
        return files[0] if len(files) == 1 else None

    def _instead(self, mask: Int[np.ndarray, "h w"], classes: Sequence[str] | None) -> str:
        """What the mask shows instead of the target, and what to do."""
        held = sorted({int(value) for value in np.unique(mask)} - {0, VOID})
        if not held:
            return "it is empty: leave the picture out"
        its = f"its value{'s' * (len(held) > 1)} {', '.join(map(str, held[:_NAMED]))}"
        if not self._as_classes:
            others = ", ".join(map(str, sorted(self._values)))
            return f"other masks have {others} for the object, {its}: save masks of 0 and 1, or give task.masks_are=object"
        strange = classes is not None and any(value >= len(classes) for value in held)
        ids = f"the model has {len(classes or ())} classes" if strange else "where they are such ids, give target=ID"
        read = f"{its} {'are read as ids' if len(held) > 1 else 'is read as an id'} of the model's classes"
        return f"{read}: save masks of 0 and 1, or give task.masks_are=object; {ids}"

    def _file(self, picture: Path) -> Path:
        files, pictures = self._files.get(picture.stem, []), self._pictures[picture.stem]
        if not files:
            wanted = f"wanted {picture.stem}.png or {picture.stem}.npy"
            raise InputError(f"picture {picture} has no mask in masks={self._setting}: {wanted}")
        if len(files) > 1 or len(pictures) > 1:
            both = files if len(files) > 1 else pictures
            raise InputError(f"{both[0]} and {both[1]} have one name, so that masks can't be told apart: rename one")
        return files[0]

    @property
    def _as_classes(self) -> bool:
        return self._are == "classes" or (self._are == "auto" and len(self._values) > 1)

    @property
    def _values(self) -> set[int]:
        """The object's value; or the ids of several classes. 255 is the object where there is nothing else."""
        return self._seen - {VOID} or {VOID}

    @cached_property
    def _seen(self) -> set[int]:
        """All values but the background's."""
        values: set[int] = set()
        for stem in [stem for stem in self._pictures if stem in self._files][:_SCANNED]:
            with suppress(InputError):  # fails on its own
                values |= {int(value) for value in np.unique(_read(self._files[stem][0]))}
        return values - {0}


def _read(file: Path) -> Int[np.ndarray, "h w"]:
    values = read_array(file) if file.suffix.lower() == ".npy" else _read_png(file)
    if values.ndim != 2:
        raise InputError(f"mask {file} has the shape {values.shape}, wanted (H, W): save one channel")
    if values.size == 0 or not (np.isfinite(values).all() and (values == np.round(values)).all()):
        raise InputError(f"mask {file} holds no whole numbers: save it as integers")
    if values.min() < 0 or values.max() >= 2**31:
        raise InputError(f"mask {file} holds {values.min():g} to {values.max():g}, wanted 0 and the ids of classes")
    return values.astype(np.int64)


def _read_png(file: Path) -> Shaped[np.ndarray, "h w"]:
    try:
        with opened_png(file) as picture:
            if picture.mode not in ("1", "L", "P", "I", "I;16"):
                raise InputError(f"mask {file} is a colour picture ({picture.mode}): save it with one channel, a value a class")
            return np.array(picture)
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"mask {file} is damaged ({' '.join(str(error).split())}): save it again") from error


def found(given: str, suffixes: Sequence[str], setting: str = "input") -> list[Path]:
    """The files that a file, a folder or a glob means, each once, in natural order; hidden ones are left out.

    Args:
        given: the path; of a folder the files themselves, not those of its subfolders.
        suffixes: endings that count, in small letters; a single file may have any.
        setting: what an error calls it.

    Raises:
        InputError: nothing there, or no such file among it.
    """
    text = str(Path(given).expanduser())
    path, (one, many) = Path(text), _named(suffixes)
    if path.is_file():
        return [path]
    if not path.is_dir() and not glob.has_magic(text):
        raise InputError(f"{setting} {given} does not exist: give {one}, a folder of them, or a glob in quotes")
    files = path.iterdir() if path.is_dir() else _matches(text)
    wanted = [file for file in files if file.suffix.lower() in suffixes and not file.name.startswith(".") and file.is_file()]
    if not wanted:
        kind = "folder" if path.is_dir() else "glob"
        other = " (m4a, aac and wma need `ffmpeg -i FILE out.wav` first)" if many == "recordings" else ""
        raise InputError(f"{setting} {given} is a {kind} without {many}: wanted files ending in {' '.join(suffixes)}{other}")
    return _each_once(sorted(wanted, key=_natural), by_name=setting == "masks")


def _named(suffixes: Sequence[str]) -> tuple[str, str]:
    """What such files are, one and many."""
    if ".png" in suffixes:
        return "an image file", "images"
    return ("a recording", "recordings") if ".wav" in suffixes else ("a file", "files to read")


def _matches(pattern: str) -> Iterator[Path]:
    """What a glob means. ``**`` enters each folder once, so that links in a circle end."""
    parts = Path(pattern).parts
    if "**" not in parts:
        yield from map(Path, glob.iglob(pattern))
        return
    stars = parts.index("**")
    rest = parts[stars + 1 :] or ("*",)
    for top in glob.iglob(str(Path(*parts[:stars]))):
        for folder in _folders(Path(top)):
            yield from _matches(str(Path(glob.escape(str(folder)), *rest)))


def _folders(top: Path) -> Iterator[Path]:
    """A folder and all below it but the hidden ones; links last, and none to a folder that was there before."""
    seen: set[Path] = set()
    waiting, links = [top], deque[Path]()
    while waiting or links:
        folder = waiting.pop() if waiting else links.popleft()
        if folder.resolve() in seen or not folder.is_dir():
            continue
        seen.add(folder.resolve())
        yield folder
        with suppress(OSError):  # one that can't be opened
            below = sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.is_dir())
            waiting += [path for path in below if not path.is_symlink()]
            links += [path for path in below if path.is_symlink()]


def _each_once(files: Sequence[Path], by_name: bool) -> list[Path]:
    """A file that is met twice, through a link to it or to its folder, counts once: its path with the fewest links is kept.

    Args:
        files: as they were met.
        by_name: links of other names count each, as those of pictures that share a mask do.
    """
    own = {file: file.parent.resolve() / file.name if by_name else file.resolve() for file in files}
    first: dict[Path, Path] = {}
    for file in sorted(files, key=lambda file: (file.resolve() != file.absolute(), len(file.parts))):
        first.setdefault(own[file], file)
    return [file for file in files if first[own[file]] is file]


def _natural(file: Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", str(file).lower())]
