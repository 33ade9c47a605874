"""PASCAL VOC's segmentation images: a photograph, and where its object is."""

from collections.abc import Iterator
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from PIL import Image
from torch import Tensor

from dax_lightning.black_box import BlackBox
from dax_lightning.errors import InputError
from dax_lightning.tasks.base import Task
from dax_lightning.tasks.images import read_image
from dax_lightning.types import Case

CLASSES = ("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
           "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor")  # fmt: skip
IMAGENET = {  # ids among ImageNet's 1000 that are this VOC class
    "dog": range(151, 269),
    "cat": range(281, 286),
    "horse": range(339, 340),
    "cow": range(345, 348),
    "sheep": range(348, 350),
}
VOID = 255


class Voc(Task):
    """Photographs of PASCAL VOC whose largest object is the truth; void pixels are in ``Case.ignore``.

    Without ``target``, a case's target is the largest object's class: by its name where the black box has that name; else,
    with ImageNet's 1000 classes, the most probable of those that are this animal (one row); else the top class (one row).

    Args:
        black_box: the model whose answers are explained.
        root: the folder that holds ``VOCdevkit/VOC2012/``, as torchvision's ``VOCSegmentation`` wants it.
        image_set: train, val, trainval or any other list in ``ImageSets/Segmentation/``.
        ids: a text file with one case key a line: these cases, in this order; ``None``: all that have an object in view.
        year: 2007 to 2012, part of the folder's name.
        target: see :class:`Task`.
        limit: see :class:`Task`.

    Raises:
        InputError: not this layout, an id that is not in the list, or no such target; from ``task[i]``, a damaged or missing
            photograph or mask, or no object in view.

    Example:
        >>> import tempfile
        >>> from dax_lightning.black_box import CallableBlackBox
        >>> box = CallableBlackBox(lambda rows: rows.mean((2, 3)), size=(8, 8), classes=["cat", "dog", "cow"])
        >>> with tempfile.TemporaryDirectory() as root:
        ...     base = Path(root, "VOCdevkit", "VOC2012")
        ...     for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        ...         (base / folder).mkdir(parents=True)
        ...     _ = (base / "ImageSets/Segmentation/val.txt").write_text("2007_000001")
        ...     Image.new("RGB", (8, 8), "red").save(base / "JPEGImages/2007_000001.jpg")
        ...     Image.new("L", (8, 8), CLASSES.index("dog")).save(base / "SegmentationClass/2007_000001.png")
        ...     [(case.key, case.target, case.truth.all().item()) for case in Voc(box, root)]
        [('2007_000001', 1, True)]
    """

    name = "voc"

    def __init__(
        self,
        black_box: BlackBox,
        root: str | None = None,
        image_set: str = "val",
        ids: str | None = None,
        year: int = 2012,
        target: int | str | None = None,
        limit: int | None = None,
    ):
        self._files = _pairs(root, image_set, year)
        super().__init__(black_box, self._with_object() if ids is None else _listed(ids, self._files), target, limit)
        if not self._keys:
            raise InputError(f"no image of task.image_set={image_set} has an object in view: check task.root={root}")

    def _with_object(self) -> Iterator[str]:
        """Keys whose mask shows an object; one whose mask can't be read stays in, to fail on its own."""
        for key, (_, mask) in self._files.items():
            try:
                seen = bool(_objects(self._labels(mask)).any())
            except InputError:
                seen = True
            if seen:
                yield key

    def _labels(self, mask: Path) -> Int[Tensor, "h w"]:
        try:
            with Image.open(mask) as picture:
                if picture.mode not in ("P", "L"):
                    raise ValueError(f"its mode is {picture.mode}")
                return self.black_box.view.labels(picture)
        except (OSError, SyntaxError, ValueError) as error:
            raise InputError(f"VOC mask {mask} is missing or no picture of class ids ({error}): copy it again") from error

    def _case(self, index: int) -> Case:
        key = self._keys[index]
        image, mask = self._files[key]
        x, labels = self.black_box.view.image(read_image(image)), self._labels(mask)
        sizes = torch.bincount(labels[_objects(labels)], minlength=1)
        if not sizes.any():
            raise InputError(f"VOC image {key} has no object in the black box's view: take it out of task.ids")
        largest = int(sizes.argmax())
        return Case(key, x, self._class_of(CLASSES[largest], x), truth=labels == largest, ignore=labels == VOID)

    def _class_of(self, voc_class: str, x: Float[Tensor, "c h w"]) -> int:
        if self._target is not None:
            return self._target
        names = [name.lower() for name in self.black_box.classes or ()]
        if voc_class in names:
            return names.index(voc_class)
        scores = self.black_box(x[None])[0]
        group = IMAGENET[voc_class] if len(scores) == 1000 and voc_class in IMAGENET else range(len(scores))
        return group[int(scores[list(group)].argmax())]


def _objects(labels: Int[Tensor, "h w"]) -> Bool[Tensor, "h w"]:
    return (labels > 0) & (labels < len(CLASSES))


def _pairs(root: str | None, image_set: str, year: int) -> dict[str, tuple[Path, Path]]:
    """Photograph and mask of each key of the list, in its order."""
    if root is None:
        raise InputError(f"task=voc has no root: give task.root=DIR, the folder that holds VOCdevkit/VOC{year}/")
    base = Path(root).expanduser() / "VOCdevkit" / f"VOC{year}"
    lists = base / "ImageSets" / "Segmentation"
    missing = [str(folder) for folder in (base / "JPEGImages", base / "SegmentationClass", lists) if not folder.is_dir()]
    if missing:
        raise InputError(
            f"task.root={root} is not laid out as VOCdevkit/VOC{year}/{{JPEGImages,SegmentationClass,ImageSets/Segmentation}}: "
            f"{', '.join(missing)} missing; root is the folder that holds VOCdevkit/"
        )
    sets = sorted(file.stem for file in lists.glob("*.txt"))
    if image_set not in sets:
        raise InputError(f"task.image_set={image_set}: choose one of {', '.join(sets) or f'(none: {lists} is empty)'}")
    keys = (lists / f"{image_set}.txt").read_text().split()
    return {key: (base / "JPEGImages" / f"{key}.jpg", base / "SegmentationClass" / f"{key}.png") for key in keys}


def _listed(ids: str, known: dict[str, tuple[Path, Path]]) -> list[str]:
    try:
        lines = Path(ids).expanduser().read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"task.ids={ids} can't be read: wanted a text file with one case key a line") from error
    keys = list(dict.fromkeys(lines))
    unknown = [key for key in keys if key not in known]
    if unknown or not keys:
        what = f"names {unknown[0]}, which task.image_set lacks" if unknown else "is empty"
        raise InputError(f"task.ids={ids} {what}: wanted case keys such as {next(iter(known), '2007_000033')}, one a line")
    return keys
