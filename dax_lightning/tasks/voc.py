"""PASCAL VOC's segmentation images: a photograph, and where its object is."""

from collections.abc import Collection, Iterator
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from PIL import Image
from torch import Tensor

from dax_lightning.black_box import BlackBox
from dax_lightning.errors import InputError
from dax_lightning.inputs.image_file import opened_png, read_image
from dax_lightning.tasks.base import Only, Task, contents
from dax_lightning.tasks.imagenet import meanings
from dax_lightning.types import Case

CLASSES = ("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
           "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor")  # fmt: skip
ANIMALS = ("cat", "cow", "dog", "horse", "sheep")  # what a wrong label over ImageNet is taken from
VOID = 255


class Voc(Task):
    """Photographs of PASCAL VOC whose largest object is the truth; void pixels are in ``Case.ignore``.

    Without ``target``, a case's target is the largest object's class, by name. With ImageNet's 1000 classes it is the most
    probable one that means it. Where the black box has neither, it is the top class. ``Case.wrong`` is the most probable class
    of an object that the mask does not show. A case costs one row.

    Args:
        black_box: the model whose answers are explained.
        root: the folder that holds ``VOCdevkit/VOC2012/``, as torchvision's ``VOCSegmentation`` wants it.
        image_set: train, val, trainval or any other list in ``ImageSets/Segmentation/``.
        ids: a text file with one case key a line: these cases, in this order; ``None``: all that have an object in view.
        year: 2007 to 2012, part of the folder's name.
        target: see :class:`Task`.
        limit: see :class:`Task`.
        only: see :class:`Task`; right is the class of the largest object, over ImageNet any class that means it. With
            ``wrong`` the target is the answer that was given, the top class.

    Raises:
        InputError: not this layout, an id that is not in the list, or no such target; from ``task[i]``, a damaged or missing
            photograph or mask, or no object in view.

    Example:
        >>> import tempfile
        >>> from dax_lightning.black_box import from_function
        >>> box = from_function(lambda rows: rows.mean((2, 3)), multi_label=True, size=(8, 8), classes=["cat", "dog", "cow"])
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
    knows_classes = True

    def __init__(
        self,
        black_box: BlackBox,
        root: str | None = None,
        image_set: str = "val",
        ids: str | None = None,
        year: int = 2012,
        target: int | str | None = None,
        limit: int | None = None,
        only: Only = "all",
    ):
        self._files = pairs(root, image_set, year)
        self._place = f"task.image_set={image_set} has an object in view: check task.root={root}"
        keys = self._with_object() if ids is None else listed(ids, self._files)
        super().__init__(black_box, (key for key in keys if key not in black_box.trained_on), target, limit, only)

    def content(self, index: int) -> dict[str, bytes]:
        """See :meth:`Task.content`."""
        image, mask = self._files[self._keys[self._key_of(index)]]
        return contents(file=image, mask=mask)

    def _with_object(self) -> Iterator[str]:
        """Keys whose mask shows an object; one whose mask can't be read stays in, to fail on its own."""
        for key, (_, mask) in self._files.items():
            try:
                seen = bool(objects(self._labels(mask)).any())
            except InputError:
                seen = True
            if seen:
                yield key

    def _labels(self, mask: Path) -> Int[Tensor, "h w"]:
        return self._view.labels(read_mask(mask))

    def _nothing_left(self) -> str:
        if self._keys:
            return super()._nothing_left()
        trained = len(self.black_box.trained_on & self._files.keys())
        seen = f" that the black box was not trained on ({trained} were left out)" if trained else ""
        return f"no image of {self._place}{seen}"

    def _case(self, index: int) -> Case:
        key = self._keys[index]
        image, mask = self._files[key]
        x, labels = self._view.image(read_image(image)), self._labels(mask)
        own = largest(labels, key)
        target = self._target_of(CLASSES[own], x)
        wrong = self._wrong(labels, x, target)
        return Case(key, x, target, truth=labels == own, ignore=labels == VOID, wrong=wrong)

    def _target_of(self, voc_class: str, x: Float[Tensor, "c h w"]) -> int:
        given = self._target is not None or self.only == "wrong"
        found = None if given else self._most_probable(x, self._known(x).get(voc_class, ()))
        return self._chosen(x) if found is None else found

    def _wrong(self, labels: Int[Tensor, "h w"], x: Float[Tensor, "c h w"], target: int) -> int | None:
        candidates = ANIMALS if len(self._answer(x)) == 1000 else CLASSES[1:]
        absent = {name for name in candidates if CLASSES.index(name) not in labels}
        ids = {index for name, ids in self._known(x).items() if name in absent for index in ids}
        return self._most_probable(x, ids - {target})

    def _own_classes(self, index: int, case: Case) -> Collection[int] | None:
        key = self._keys[index]
        return self._known(case.x).get(CLASSES[largest(self._labels(self._files[key][1]), key)])

    def _known(self, x: Float[Tensor, "c h w"]) -> dict[str, tuple[int, ...]]:
        """VOC's objects that the black box knows, and its classes that mean them."""
        return meanings(CLASSES[1:], self.black_box.classes, len(self._answer(x)))


def largest(labels: Int[Tensor, "h w"], key: str) -> int:
    """The class with the most pixels.

    Raises:
        InputError: there is no object.

    Example:
        >>> CLASSES[largest(torch.tensor([[0, 0, 0, 8, 12, 12]]), "2007_000033")]
        'dog'
    """
    sizes = torch.bincount(labels[objects(labels)], minlength=1)
    if not sizes.any():
        raise InputError(f"VOC image {key} has no object in the black box's view: take it out of task.ids")
    return int(sizes.argmax())


def read_mask(mask: Path) -> Image.Image:
    """A VOC mask, a picture of class ids.

    Raises:
        InputError: it is missing, damaged, or another kind of picture.
    """
    try:
        with opened_png(mask) as picture:
            if picture.mode not in ("P", "L"):
                raise ValueError(f"its mode is {picture.mode}")
            return picture.copy()
    except (OSError, ValueError) as error:
        raise InputError(f"VOC mask {mask} is missing or no picture of class ids ({error}): copy it again") from error


def objects(labels: Int[Tensor, "h w"]) -> Bool[Tensor, "h w"]:
    """Where an object is: neither background nor void.

    Example:
        >>> objects(torch.tensor([[0, 8, 255]])).tolist()
        [[False, True, False]]
    """
    return (labels > 0) & (labels < len(CLASSES))


def pairs(root: str | None, image_set: str, year: int) -> dict[str, tuple[Path, Path]]:
    """Files of photograph and mask of each key of the list, in its order; the arguments are those of :class:`Voc`.

    Raises:
        InputError: not this layout, or no such list.
    """
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
    keys = (lists / f"{image_set}.txt").read_text(encoding="utf-8").split()
    return {key: (base / "JPEGImages" / f"{key}.jpg", base / "SegmentationClass" / f"{key}.png") for key in keys}


def listed(ids: str, known: Collection[str], setting: str = "task.ids") -> list[str]:
    """The case keys in a text file, one a line.

    Raises:
        InputError: it can't be read, is empty, or names a key that is not known.
    """
    try:
        lines = Path(ids).expanduser().read_text(encoding="utf-8-sig").split()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{setting}={ids} can't be read: wanted a text file with one case key a line") from error
    keys = list(dict.fromkeys(lines))
    unknown = [key for key in keys if key not in known]
    if unknown or not keys:
        what = f"names {unknown[0]}, which task.image_set lacks" if unknown else "is empty"
        like = f"wanted case keys such as {next(iter(known), '2007_000033')}, one a line"
        raise InputError(f"{setting}={ids} {what}: {like}; ids=null takes all cases")
    return keys
