"""COCO's two layouts, the official JSON and YOLO's text files, read into one form."""

import logging
import math
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from pycocotools import mask

from dax_lightning.errors import InputError, cause_of
from dax_lightning.files import read_json
from dax_lightning.inputs.image_file import SUFFIXES, size_of

NAMES = ("person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light", "fire hydrant",
         "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra",
         "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite",
         "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle", "wine glass", "cup", "fork",
         "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut",
         "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote",
         "keyboard", "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors",
         "teddy bear", "hair drier", "toothbrush")  # fmt: skip
_FAR = 100_000  # pixels; no picture is so wide
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outline:
    """Where one object, or one crowd of them, is.

    Args:
        name: its class, in small letters.
        polygons: flat lists x, y, x, y, ... in pixels; their union.
        runs: a run-length mask as COCO writes it, ``{"size": [h, w], "counts": ...}``, in place of polygons.
        crowd: a region in which such objects are, not one object. A box without a mask is one too.
    """

    name: str
    polygons: tuple[tuple[float, ...], ...] = ()
    runs: dict[str, Any] | None = None
    crowd: bool = False

    @property
    def readable(self) -> bool:
        """Whether its place is known."""
        return bool(self.polygons or self.runs)

    def filled(self, height: int, width: int) -> UInt8[np.ndarray, "h w"]:
        """Ones where it is.

        Raises:
            InputError: a broken run-length mask.
        """
        try:
            drawn: Any = [list(polygon) for polygon in self.polygons] or self.runs
            packed = drawn if _compressed(drawn) else mask.frPyObjects(drawn, height, width)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # pycocotools' own way with NumPy 2
                filled = mask.decode(mask.merge(packed) if isinstance(packed, list) else packed)
        except (TypeError, ValueError) as error:
            raise InputError(f"the mask of a {self.name} is broken ({error}): copy the annotations again") from error
        return filled


@dataclass(frozen=True)
class Annotated:
    """A photograph and the outlines of what is in it.

    Args:
        image: its file.
        size: (width, height) that the outlines are drawn in.
        outlines: everything that is annotated, in the file's order.
    """

    image: Path
    size: tuple[int, int]
    outlines: tuple[Outline, ...]

    def mask(self, name: str, crowd: bool = False) -> Image.Image:
        """The union of a class's objects (or of its crowds) as a picture of ones and zeros.

        Example:
            >>> photo = Annotated(Path("x.jpg"), (4, 2), (Outline("cat", polygons=((0.0, 0.0, 2.0, 0.0, 2.0, 1.0, 0.0, 1.0),)),))
            >>> np.asarray(photo.mask("cat")).tolist()
            [[1, 1, 0, 0], [0, 0, 0, 0]]
        """
        width, height = self.size
        union = np.zeros((height, width), np.uint8)
        for outline in self.outlines:
            if outline.name == name and outline.crowd == crowd and outline.readable:
                union |= outline.filled(height, width)
        return Image.fromarray(union)


def photographs(root: str | None, image_set: str | None) -> Iterable[tuple[str, Annotated | InputError]]:
    """Name and annotation of each photograph, read as they are asked for; an error in place of one that can't be read.

    Args:
        root: a folder with ``annotations/instances_SET.json`` and the images in ``SET/`` or ``images/SET/`` (COCO's own), or
            with ``labels/SET/*.txt`` and ``images/SET/`` (YOLO's: a class id, then x y x y ... as shares of width and height).
        image_set: the SET; ``None``: the only one there.

    Raises:
        InputError: not this layout, no such set, several to choose from, or a JSON file that is no COCO annotation.
    """
    if root is None:
        raise InputError("task=coco has no root: give task.root=DIR, the folder that holds annotations/ or labels/")
    base = Path(root).expanduser()
    official = {file.stem.removeprefix("instances_"): partial(_official, base, file) for file in _jsons(base)}
    yolo = {folder.name: partial(_yolo, base, folder) for folder in sorted(base.glob("labels/*/"))}
    known = {**yolo, **official}
    if not known:
        raise InputError(
            f"task.root={root} has neither annotations/instances_SET.json (COCO) nor labels/SET/*.txt (YOLO polygons): "
            "give the folder that holds annotations/ or labels/"
        )
    if image_set not in known and (image_set is not None or len(known) > 1):
        raise InputError(f"task.image_set={image_set}: choose one of {', '.join(sorted(known))}")
    return known[image_set or next(iter(known))]()


def _jsons(base: Path) -> list[Path]:
    return sorted(base.glob("annotations/instances_*.json"))


def _official(base: Path, file: Path) -> list[tuple[str, Annotated | InputError]]:
    folder = _folder(base, file.stem.removeprefix("instances_"))
    try:
        content = read_json(file)
        images, categories = ([*content[key]] for key in ("images", "categories"))
        annotations = [*(content["annotations"] or ())]
    except (OSError, ValueError, KeyError, TypeError) as error:
        cause = cause_of(error, most=200)
        raise InputError(f"{file} is no COCO instances file ({cause}): copy or download it again") from error
    skipped: Counter[str] = Counter()
    names = {_key(each["id"]): each["name"].lower() for each in categories if _has(each, name=str)}
    skipped["classes without an id or a name"] = sum(not _has(each, name=str) for each in categories)
    usable = [each for each in images if _has(each, file_name=str)]
    skipped["images without an id or a file name"] = len(images) - len(usable)
    files: dict[str, str] = {}  # of each id
    photos: dict[str, Annotated | InputError] = {}  # of each file
    for image in usable:
        identity, name = _key(image["id"]), image["file_name"]
        if identity in files or name in photos:
            skipped["images that are listed twice"] += 1
        if files.setdefault(identity, name) not in photos:
            photos[name] = _annotated(folder, image)
    outlines: dict[str, list[Outline]] = {name: [] for name in photos}
    for annotation in annotations:
        try:
            name = files[_key(_get(annotation, "image_id"))]
            outlines[name].append(_outline(annotation, names, photos[name], skipped))
        except KeyError:
            skipped["annotations of an image that is not listed"] += 1
        except _Unusable as reason:
            skipped[f"annotations {reason}"] += 1
    _warn(file, skipped)
    return [(Path(name).stem, _with(photo, outlines[name])) for name, photo in photos.items()]


def _with(photo: Annotated | InputError, outlines: list[Outline]) -> Annotated | InputError:
    return photo if isinstance(photo, InputError) else replace(photo, outlines=tuple(outlines))


def _key(identity: Any) -> str:
    """An id as text; those that are equal as numbers are equal: 1, 1.0, "1" and "1.0". Empty: it is none."""
    if isinstance(identity, float) and math.isfinite(identity):
        identity = int(identity) if identity.is_integer() else str(identity)
    if not isinstance(identity, int | str):
        return ""
    number = re.fullmatch(r"(-?)0*(\d+)(\.0*)?", str(identity))
    return number[1] + number[2] if number else str(identity)


class _Unusable(Exception):
    """Why an annotation can't be used."""


def _warn(file: Path, skipped: Counter[str]) -> None:
    reasons = [f"{count} {reason}" for reason, count in skipped.items() if count]
    if reasons:
        _log.warning("%s: what can't be used was left out: %s", file, ", ".join(reasons))


def _has(thing: Any, **types: type) -> bool:
    """Whether it is an object of JSON with an id and values of these types."""
    return (
        isinstance(thing, dict)
        and _key(thing.get("id")) != ""
        and all(isinstance(thing.get(key), kind) for key, kind in types.items())
    )


def _get(annotation: Any, key: str) -> Any:
    if not isinstance(annotation, dict):
        raise _Unusable("that are no objects of JSON")
    return annotation.get(key)


def _annotated(folder: Path, image: dict[str, Any]) -> Annotated | InputError:
    """A photograph without its outlines; where its size is not written, the file tells it."""
    file, width, height = folder / image["file_name"], image.get("width"), image.get("height")
    try:
        if not (isinstance(width, int) and isinstance(height, int) and min(width, height) > 0):
            width, height = size_of(file)
        return Annotated(file, (width, height), ())
    except InputError as error:
        return error


def _outline(annotation: dict[str, Any], names: dict[str, str], photo: Annotated | InputError, skipped: Counter[str]) -> Outline:
    name = names.get(_key(annotation.get("category_id")))
    drawn, box = annotation.get("segmentation"), annotation.get("bbox")
    if name is None:
        raise _Unusable("of a class that is not listed")
    crowd, lacking = bool(annotation.get("iscrowd", 0)), "without a mask"
    if isinstance(drawn, dict) and _whole(drawn):
        if isinstance(photo, InputError) or drawn["size"] == [*reversed(photo.size)]:
            return Outline(name, runs=drawn, crowd=crowd)
        lacking = "with a mask of another size than their image"
    polygons = tuple(tuple(map(float, polygon)) for polygon in drawn if _is_polygon(polygon)) if isinstance(drawn, list) else ()
    if polygons:
        return Outline(name, polygons, crowd=crowd)
    skipped[f"annotations {lacking} (their boxes are left out of the truth)"] += 1
    if not _is_numbers(box) or len(box) != 4:
        return Outline(name)  # it is somewhere: its class gives no case here
    left, top, width, height = map(float, box)
    right, bottom = left + width, top + height
    return Outline(name, ((left, top, right, top, right, bottom, left, bottom),), crowd=True)


def _is_polygon(points: Any) -> TypeGuard[list[float]]:
    return _is_numbers(points) and len(points) >= 6 and len(points) % 2 == 0


def _is_numbers(values: Any) -> TypeGuard[list[float]]:
    """Whether it is a list of coordinates; what is far outside any picture would take memory without bound."""
    return isinstance(values, list) and all(isinstance(value, int | float) and abs(value) < _FAR for value in values)


def _whole(runs: dict[str, Any]) -> bool:
    """Whether a run-length mask has a size and counts, and its runs fill it."""
    size, counts = runs.get("size"), runs.get("counts")
    if not (isinstance(size, list) and len(size) == 2 and all(isinstance(side, int) and 0 < side < _FAR for side in size)):
        return False
    lengths = _lengths(counts) if isinstance(counts, str) else counts
    if not (isinstance(lengths, list) and all(isinstance(length, int) and length >= 0 for length in lengths)):
        return False
    return sum(lengths) == size[0] * size[1]


def _lengths(counts: str) -> list[int] | None:
    """The runs in a compressed string: pycocotools reads past the end of one that is cut off. ``None``: no such string."""
    lengths: list[int] = []
    value = shift = 0
    for letter in counts:
        bits = ord(letter) - 48  # five bits of a number, the lowest first, and one that says whether more follow
        if not 0 <= bits < 64:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (bits & 16) << (shift - 4)  # the sign
            lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
            value = shift = 0
    return None if shift else lengths


def _compressed(drawn: Any) -> bool:
    return isinstance(drawn, dict) and isinstance(drawn["counts"], str)


def _yolo(base: Path, labels: Path) -> Iterator[tuple[str, Annotated | InputError]]:
    folder = _folder(base, labels.name)
    images = {file.stem: file for file in sorted(folder.iterdir()) if file.suffix.lower() in SUFFIXES}
    for stem, image in images.items():
        file = labels / f"{stem}.txt"
        if file.is_file():  # none: nothing in the picture
            try:
                yield stem, _yolo_one(image, file)
            except InputError as error:
                yield stem, error


def _yolo_one(image: Path, file: Path) -> Annotated:
    size = size_of(image)
    try:
        rows = [line.split() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        outlines = [Outline(NAMES[_id(row[0])], polygons=(_pixels(row[1:], size),)) for row in rows]
    except (OSError, ValueError, IndexError) as error:
        raise InputError(
            f"{file} holds no YOLO polygons ({error}): wanted lines of a class id 0 to 79 and three or more points x y in [0, 1]"
        ) from error
    return Annotated(image, size, tuple(outlines))


def _id(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError(f"class {number}")
    return number


def _pixels(texts: list[str], size: tuple[int, int]) -> tuple[float, ...]:
    if len(texts) < 6 or len(texts) % 2:
        raise ValueError(f"a line with {len(texts)} numbers after the class")
    shares = [float(text) for text in texts]
    if not all(-0.01 <= share <= 1.01 for share in shares):  # NaN fails too; rounding may leave the picture by a pixel
        raise ValueError("coordinates outside [0, 1]")
    return tuple(share * size[i % 2] for i, share in enumerate(shares))


def _folder(base: Path, image_set: str) -> Path:
    folders = [base / image_set, base / "images" / image_set, base / "images"]
    found = next((folder for folder in folders if folder.is_dir()), None)
    if found is None:
        raise InputError(f"task.root={base} has no images of {image_set}: wanted {' or '.join(map(str, folders[:2]))}")
    return found
