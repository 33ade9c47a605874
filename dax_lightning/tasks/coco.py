"""COCO: photographs of several things, so that the map must follow the class asked for, or of single things too."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from dax_lightning.black_box import BlackBox
from dax_lightning.errors import InputError
from dax_lightning.inputs.image_file import read_image
from dax_lightning.tasks.base import Only, Task, contents, safe_key
from dax_lightning.tasks.coco_files import Annotated, photographs
from dax_lightning.tasks.imagenet import IMAGENET, meanings
from dax_lightning.types import Case


@dataclass(frozen=True)
class InView:
    """When a class counts as in view, and how many a photograph must have.

    Args:
        min_share: of the view that a class must cover, 0 to 1.
        min_score: probability that the target must have, 0 to 1; over 0, classes below it do not count as known in that
            photograph (one row each). Over ImageNet's classes many things beside the main one have next to none.
        min_classes: known classes that must be in view for a photograph to count; 1: photographs of a single thing are cases too.

    Raises:
        InputError: a share or score outside [0, 1], or ``min_classes`` under 1.

    Example:
        >>> InView(min_classes=1).min_share
        0.01
    """

    min_share: float = 0.01
    min_score: float = 0.0
    min_classes: int = 2

    def __post_init__(self) -> None:
        if not (0 <= self.min_share <= 1 and 0 <= self.min_score <= 1):
            raise InputError(f"task.in_view.min_share={self.min_share}, task.in_view.min_score={self.min_score}: both are 0 to 1")
        if self.min_classes < 1:
            raise InputError(
                f"task.in_view.min_classes={self.min_classes}: wanted 1 or more; 1 takes photographs of single things too"
            )


class Coco(Task):
    """A case for each class in view, in photographs where the black box knows several classes in view.

    The truth is the union of the class's objects; its crowds are in ``Case.ignore``. A black box with ImageNet's 1000 classes
    knows 59 of COCO's 80 (:mod:`~dax_lightning.tasks.imagenet` says by which), another one those that it has by name. The
    target is the most probable class that means this object, however improbable; ``Case.wrong`` the most probable that means an
    object of which COCO shows none in the photograph. A case costs one row. Keys are ``<image>_<class>``.

    Annotations that can't be used are left out, and the log says how many. Of an object with a box and no mask the box is in
    ``Case.ignore``. Where there is no box either, its class gives no case in that photograph.

    Args:
        black_box: the model whose answers are explained. One without class names is asked one grey row to count its classes.
        root: a folder of COCO (``annotations/instances_SET.json``, images in ``SET/`` or ``images/SET/``), or with YOLO's
            polygons in ``labels/SET/*.txt`` and images in ``images/SET/``.
        image_set: the SET, such as val2017; ``None``: the only one there.
        in_view: which classes are in view, and how many must be.
        target: see :class:`Task`.
        limit: see :class:`Task`; cases, not photographs.
        only: see :class:`Task`; right is any class that means the case's object, which is explained in any case.

    Raises:
        InputError: not this layout, no such target, or no photograph
            with so many classes that the black box knows; from ``task[i]``, a damaged or missing photograph or label file.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from dax_lightning.black_box import from_function
        >>> box = from_function(lambda rows: rows.mean((2, 3)), multi_label=True, size=(8, 8), classes=["cat", "dog", "cow"])
        >>> with tempfile.TemporaryDirectory() as root:
        ...     for folder in ("images", "labels"):
        ...         Path(root, folder, "val2017").mkdir(parents=True)
        ...     Image.new("RGB", (8, 8), "red").save(Path(root, "images/val2017/7.jpg"))
        ...     _ = Path(root, "labels/val2017/7.txt").write_text("15 0 0 0.4 0 0.4 1 0 1\\n16 0.6 0 1 0 1 1 0.6 1")
        ...     [(case.key, case.target, case.wrong) for case in Coco(box, root)]
        [('7_cat', 0, 2), ('7_dog', 1, 2)]
    """

    name = "coco"
    knows_classes = True

    def __init__(
        self,
        black_box: BlackBox,
        root: str | None = None,
        image_set: str | None = None,
        in_view: InView = InView(),
        target: int | str | None = None,
        limit: int | None = None,
        only: Only = "all",
    ):
        self.root, self.image_set, self.in_view = root, image_set, in_view
        self._sources: dict[str, tuple[Annotated, str] | InputError] = {}  # of each key that was looked at
        self._known = _known(black_box)
        super().__init__(black_box, self._in_input(), target, limit, only)

    def content(self, index: int) -> dict[str, bytes]:
        """See :meth:`Task.content`; the mask is the photograph's outlines, in whatever file they lie."""
        source = self._sources[self._keys[self._key_of(index)]]
        if isinstance(source, InputError):
            return {}
        return contents(file=source[0].image) | {"mask": repr((source[0].size, source[0].outlines)).encode()}

    def _nothing_left(self) -> str:
        if self._keys:
            return super()._nothing_left()
        return (
            f"no photograph of task.root={self.root} shows {self.in_view.min_classes} of the {len(self._known)} COCO classes "
            "that the black box knows: give a black box with COCO's or ImageNet's classes, or lower task.in_view.min_share, "
            "task.in_view.min_score or task.in_view.min_classes"
        )

    def _in_input(self) -> Iterator[str]:
        taken: set[str] = set()
        for stem, photograph in photographs(self.root, self.image_set):
            for name, source in self._cases_of(stem, photograph):
                key = safe_key(name, taken)
                self._sources[key] = source
                yield key

    def _cases_of(self, stem: str, photograph: Annotated | InputError) -> list[tuple[str, tuple[Annotated, str] | InputError]]:
        try:
            if isinstance(photograph, InputError):
                raise photograph
            names = self._in_photograph(photograph)
        except InputError as error:
            return [(stem, error)]
        return [(f"{stem}_{name}", (photograph, name)) for name in names] if len(names) >= self.in_view.min_classes else []

    def _in_photograph(self, photograph: Annotated) -> list[str]:
        names = [name for name in self._candidates(photograph) if self._share(photograph, name) >= self.in_view.min_share]
        if len(names) < self.in_view.min_classes or not self.in_view.min_score:
            return names
        answer = self._answer(self._x(photograph))
        return [name for name in names if answer[list(self._known[name])].max() >= self.in_view.min_score]

    def _candidates(self, photograph: Annotated) -> list[str]:
        """Classes that the black box knows and that are outlined, every object of them."""
        drawn = {outline.name for outline in photograph.outlines if outline.readable and not outline.crowd}
        lost = {outline.name for outline in photograph.outlines if not outline.readable}
        return [name for name in self._known if name in drawn - lost]

    def _share(self, photograph: Annotated, name: str) -> float:
        seen = self._seen(photograph.mask(name))
        return seen.float().mean().item() if seen.any() else -1.0

    def _seen(self, mask: Image.Image) -> Bool[Tensor, "h w"]:
        return self._view.labels(mask).bool()

    def _case(self, index: int) -> Case:
        key = self._keys[index]
        source = self._sources[key]
        if isinstance(source, InputError):
            raise source
        photograph, name = source
        x, truth = self._x(photograph), self._seen(photograph.mask(name))
        own = self._most_probable(x, self._known[name]) if self._target is None else self._target
        target = self._chosen(x) if own is None else own
        ignore = self._seen(photograph.mask(name, crowd=True)) & ~truth
        present = {outline.name for outline in photograph.outlines}
        absent = {i for other, ids in self._known.items() if other not in present for i in ids} - {target}
        return Case(key, x, target, truth, ignore if ignore.any() else None, wrong=self._most_probable(x, absent))

    def _x(self, photograph: Annotated) -> Float[Tensor, "c h w"]:
        picture = read_image(photograph.image)
        (width, height), (wanted_width, wanted_height) = picture.size, photograph.size
        if abs(width * wanted_height - height * wanted_width) > 0.02 * width * wanted_height:
            raise InputError(
                f"image {photograph.image} is {width}x{height} pixels, its outlines are drawn in {wanted_width}x{wanted_height}: "
                "take the image that was annotated"
            )
        return self._view.image(picture)

    def _own_classes(self, index: int, case: Case) -> Collection[int] | None:
        source = self._sources[self._keys[index]]
        return None if isinstance(source, InputError) else self._known[source[1]]


def _known(black_box: BlackBox) -> dict[str, tuple[int, ...]]:
    classes = black_box.classes
    count = len(classes) if classes else black_box(torch.full([1, *(side or 1 for side in black_box.input.shape)], 0.5)).shape[1]
    return meanings(IMAGENET if count == 1000 else [name.lower() for name in classes or ()], classes, count)
