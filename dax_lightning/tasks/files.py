"""The user's own photographs, and one that ships with scikit-image."""

import glob
import re
from pathlib import Path
from typing import Literal, get_args

import skimage
from PIL import Image

from dax_lightning.black_box import BlackBox
from dax_lightning.errors import InputError
from dax_lightning.tasks.base import Only, Task, safe_keys
from dax_lightning.tasks.images import SUFFIXES, read_image, to_rgb
from dax_lightning.types import Case

Photograph = Literal["chelsea", "coffee", "astronaut", "rocket", "camera"]  # inside scikit-image's package, no download


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
        >>> from dax_lightning.black_box import CallableBlackBox
        >>> task = Photo(CallableBlackBox(lambda rows: rows.mean((2, 3)), size=(32, 32)), target=0)
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

    def _case(self, index: int) -> Case:
        key = self._keys[index]
        x = self.black_box.view.image(to_rgb(Image.fromarray(getattr(skimage.data, key)())))
        return Case(key, x, self._chosen(x))


class Files(Task):
    """The user's image files, in natural order (``2.jpg`` before ``10.jpg``).

    Args:
        black_box: the model whose answers are explained.
        input: a file, a folder (its images, not those of its subfolders), or a glob such as ``photos/**/*.jpg``.
        target: see :class:`Task`.
        limit: see :class:`Task`.
        only: all; nobody knows what is in the picture, so right and wrong can't be told.

    Raises:
        InputError: nothing there, no image among it, no such target, or another ``only``; from ``task[i]``, what
            :func:`read_image` refuses.

    Example:
        >>> import tempfile
        >>> from dax_lightning.black_box import CallableBlackBox
        >>> box = CallableBlackBox(lambda rows: rows.mean((2, 3)), size=(8, 8))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for n in (10, 2):
        ...         Image.new("RGB", (9, 9), "red").save(f"{folder}/{n}.png")
        ...     [(case.key, case.target) for case in Files(box, folder)]
        [('2', 0), ('10', 0)]
    """

    name = "files"

    def __init__(
        self,
        black_box: BlackBox,
        input: str | None = None,
        target: int | str | None = None,
        limit: int | None = None,
        only: Only = "all",
    ):
        if input is None:
            raise InputError("task=files has no input: give input=FILE, input=FOLDER or input='photos/*.jpg'")
        self.files = _found(str(Path(input).expanduser()))
        super().__init__(black_box, safe_keys(file.stem for file in self.files), target, limit, only)

    def _case(self, index: int) -> Case:
        x = self.black_box.view.image(read_image(self.files[index]))
        return Case(self._keys[index], x, self._chosen(x))


def _found(input: str) -> list[Path]:
    path = Path(input)
    if path.is_file():
        return [path]
    if not path.is_dir() and not glob.has_magic(input):
        raise InputError(f"input {input} does not exist: give an image file, a folder of them, or a glob in quotes")
    found = path.iterdir() if path.is_dir() else map(Path, glob.iglob(input, recursive=True))
    files = [file for file in found if _is_image(file)]
    if not files:
        what = "folder" if path.is_dir() else "glob"
        raise InputError(f"input {input} is a {what} without images: wanted files ending in {' '.join(SUFFIXES)}")
    return sorted(files, key=_natural)


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()


def _natural(file: Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", str(file).lower())]
