"""COCO's two layouts, the official JSON and YOLO's text files, read into one form."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image
from skimage.draw import polygon2mask

from dax_lightning.errors import InputError
from dax_lightning.tasks.images import SUFFIXES

NAMES = ("person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light", "fire hydrant",
         "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra",
         "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite",
         "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle", "wine glass", "cup", "fork",
         "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut",
         "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote",
         "keyboard", "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors",
         "teddy bear", "hair drier", "toothbrush")  # fmt: skip


@dataclass(frozen=True)
class Outline:
    """Where one object, or one crowd of them, is.

    Args:
        name: its class, in small letters.
        polygons: flat lists x, y, x, y, ... in pixels; their union.
        runs: lengths of pixels outside and inside in turn, down each column (uncompressed RLE), in place of polygons.
        crowd: a region full of such objects, not one.
    """

    name: str
    polygons: tuple[tuple[float, ...], ...] = ()
    runs: tuple[int, ...] = ()
    crowd: bool = False

    @property
    def readable(self) -> bool:
        """Whether its place is known; of compressed RLE it is not."""
        return bool(self.polygons or self.runs)


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
        picture = Image.new("L", self.size)
        for outline in self.outlines:
            if outline.name == name and outline.crowd == crowd:
                _fill(picture, outline)
        return picture


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


def _official(base: Path, file: Path) -> Iterable[tuple[str, Annotated | InputError]]:
    folder = _folder(base, file.stem.removeprefix("instances_"))
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        names = {category["id"]: category["name"].lower() for category in content["categories"]}
        outlines: dict[int, list[Outline]] = {image["id"]: [] for image in content["images"]}
        for annotation in content["annotations"]:
            outlines[annotation["image_id"]].append(_outline(annotation, names))
        sizes = [(image["file_name"], image["id"], (image["width"], image["height"])) for image in content["images"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        cause = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"{file} is no COCO instances file ({cause[:200]}): copy or download it again") from error
    return [(Path(name).stem, Annotated(folder / name, size, tuple(outlines[number]))) for name, number, size in sizes]


def _outline(annotation: dict[str, Any], names: dict[int, str]) -> Outline:
    name, crowd, drawn = names[annotation["category_id"]], bool(annotation.get("iscrowd", 0)), annotation["segmentation"]
    if isinstance(drawn, dict):
        runs = drawn["counts"]
        return Outline(name, runs=() if isinstance(runs, str) else tuple(runs), crowd=crowd)
    return Outline(name, polygons=tuple(tuple(map(float, polygon)) for polygon in drawn if len(polygon) >= 6), crowd=crowd)


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
    size = _size(image)
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


def _size(image: Path) -> tuple[int, int]:
    try:
        with Image.open(image) as picture:
            turned = picture.getexif().get(ExifTags.Base.Orientation, 1) >= 5  # 5 to 8 lie on their side
            width, height = picture.size
            return (height, width) if turned else (width, height)
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"image {image} can't be read ({error}): copy or download it again") from error


def _folder(base: Path, image_set: str) -> Path:
    folders = [base / image_set, base / "images" / image_set, base / "images"]
    found = next((folder for folder in folders if folder.is_dir()), None)
    if found is None:
        raise InputError(f"task.root={base} has no images of {image_set}: wanted {' or '.join(map(str, folders[:2]))}")
    return found


def _fill(picture: Image.Image, outline: Outline) -> None:
    for polygon in outline.polygons:
        x, y = np.array(polygon[::2]) - 0.5, np.array(polygon[1::2]) - 0.5  # a pixel is inside where its middle is
        inside = polygon2mask((picture.height, picture.width), np.stack([y, x], 1))
        picture.paste(1, mask=Image.fromarray(inside))
    if outline.runs:
        inside = np.repeat(np.arange(len(outline.runs)) % 2, outline.runs).astype(bool)
        if inside.size != picture.width * picture.height:
            raise InputError(f"a run-length mask of {inside.size} pixels for {picture.width}x{picture.height}: get it again")
        picture.paste(1, mask=Image.fromarray(inside.reshape(picture.width, picture.height).T))
