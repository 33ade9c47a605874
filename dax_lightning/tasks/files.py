"""The user's own photographs, and one that ships with scikit-image."""

from contextlib import suppress
from typing import Literal, get_args

import numpy as np
import skimage
from PIL import Image

from dax_lightning.black_box import BlackBox
from dax_lightning.errors import InputError
from dax_lightning.inputs import ImageInput
from dax_lightning.inputs.image_file import size_of, to_rgb
from dax_lightning.tasks.base import Only, Task, contents, safe_keys
from dax_lightning.tasks.masks import Masks, MasksAre, found
from dax_lightning.types import Case

Photograph = Literal["chelsea", "coffee", "astronaut", "rocket", "camera"]  # inside scikit-image's package, no download
_MEASURED = 200  # photographs whose size is looked at


class Photo(Task):
    """One photograph that ships with scikit-image: a cat, an espresso, an astronaut, a rocket or a man with a camera.

    Args:
        black_box: the model whose answer is explained.
        photograph: chelsea (the cat), coffee, astronaut, rocket or camera.
        target: see :class:`Task`.
        limit: see :class:`Task`.
        only: all; nobody knows what is in the picture, so right and wrong can't be told.

    Raises:
        InputError: another name, no such target, or another ``only``.

    Example:
        >>> from dax_lightning.black_box import from_function
        >>> task = Photo(from_function(lambda rows: rows.mean((2, 3)), multi_label=True, size=(32, 32)), target=0)
        >>> task.keys(), task[0].x.shape
        (['chelsea'], torch.Size([3, 32, 32]))
    """

    name = "photo"

    def __init__(
        self,
        black_box: BlackBox,
        photograph: Photograph = "chelsea",
        target: int | str | None = None,
        limit: int | None = None,
        only: Only = "all",
    ):
        if photograph not in get_args(Photograph):
            raise InputError(f"task.photograph={photograph}: choose one of {', '.join(get_args(Photograph))}, or input=FILE")
        super().__init__(black_box, [photograph], target, limit, only)

    def outside(self) -> list[float]:
        """See :meth:`Task.outside`."""
        height, width = getattr(skimage.data, self._keys[0])().shape[:2]
        return [self._view.outside(width, height)]

    def _case(self, index: int) -> Case:
        key = self._keys[index]
        x = self._view.image(to_rgb(Image.fromarray(getattr(skimage.data, key)())))
        return Case(key, x, self._chosen(x))


class Files(Task):
    """The user's files, in natural order (``2.jpg`` before ``10.jpg``), with masks where there are any.

    A mask is a picture of one channel (``.png``) or an array (``.npy``), as large as its picture. Its file has the same name, the
    ending aside. 0 is background. Where the masks hold one other value, it is the object. Where they hold several, each is the id
    of one of the model's classes, and the truth is what shows the target. 255 is ignored beside other values. The first 200 masks
    tell which it is.

    Args:
        black_box: the model whose answers are explained; its input says which files are read.
        input: a file, a folder (its files, not those of its subfolders), or a glob such as ``photos/**/*.jpg``.
        masks: a file, folder or glob of masks; ``None``: the cases have no truth.
        target: see :class:`Task`.
        limit: see :class:`Task`.
        only: all; nobody knows what is in the picture, so right and wrong can't be told.
        masks_are: what the values of the masks mean. ``object``: whatever is not 0 is the object. ``classes``: ids of the model's
            classes. ``auto``: one value everywhere is the object, several are ids.

    Raises:
        InputError: nothing there, no such file among it, no picture with a mask, no such target, or another ``only``; from
            ``task[i]``, what the input refuses, and a mask that is missing, damaged, in colour, of another size, or without the
            target.

    Example:
        >>> import tempfile
        >>> from dax_lightning.black_box import from_function
        >>> box = from_function(lambda rows: rows.mean((2, 3)), multi_label=True, size=(8, 8))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for n in (10, 2):
        ...         Image.new("RGB", (9, 9), "red").save(f"{folder}/{n}.png")
        ...     [(case.key, case.target) for case in Files(box, folder)]
        [('2', 0), ('10', 0)]
    """

    name = "files"
    of_pictures = False

    def __init__(
        self,
        black_box: BlackBox,
        input: str | None = None,
        masks: str | None = None,
        target: int | str | None = None,
        limit: int | None = None,
        only: Only = "all",
        masks_are: MasksAre = "auto",
    ):
        if input is None:
            alone = "" if masks is None else f"masks={masks} alone is not enough: "
            raise InputError(f"{alone}task=files has no input: give input=FILE, input=FOLDER or input='photos/*.jpg'")
        self.files = found(input, black_box.input.suffixes)
        self._masks = None if masks is None else Masks(masks, self.files, masks_are)
        if self._masks is not None and not isinstance(black_box.input, ImageInput):
            raise InputError(f"masks={masks} are for pictures, the black box takes a {black_box.input.kind}: leave out masks=")
        super().__init__(black_box, safe_keys(file.stem for file in self.files), target, limit, only)

    def content(self, index: int) -> dict[str, bytes]:
        """See :meth:`Task.content`."""
        file = self.files[self._key_of(index)]
        return contents(file=file, mask=self._masks and self._masks.file_of(file))

    def remarks(self) -> list[str]:
        """See :meth:`Task.remarks`."""
        return [] if self._masks is None else [self._masks.told()]

    def outside(self) -> list[float]:
        """See :meth:`Task.outside`; of the first 200 photographs, without those that can't be read and without arrays."""
        shares = []
        if isinstance(self.black_box.input, ImageInput):
            for file in (self.files[index] for index in self._picked[: len(self)][:_MEASURED]):
                with suppress(InputError):
                    shares.append(self._view.outside(*size_of(file)))
        return shares

    def _case(self, index: int) -> Case:
        file, key = self.files[index], self._keys[index]
        if self._masks is None:
            sound = self.black_box.input.record(file)
            x = self.black_box.input.read(file) if sound is None else self.black_box.input.of_sound(sound)
            return Case(key, x, self._chosen(x), sound=sound)
        source = self._view.source(file)
        mask = self._masks.of(file, source)
        x = self._view.prepare(source)
        target = self._chosen(x)
        truth, ignore = self._masks.truth(mask, target, self.black_box.classes)
        truth, ignore = (self._view.labels(Image.fromarray(part.astype(np.uint8))).bool() for part in (truth, ignore))
        if not truth.any():
            raise InputError(f"the mask of {file} shows nothing in the black box's view: leave it out, or try crop=squash")
        return Case(key, x, target, truth=truth, ignore=ignore if ignore.any() else None)
