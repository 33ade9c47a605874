"""A task: a list of cases for one black box."""

import hashlib
import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import ClassVar, Literal, cast, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from dax_lightning.black_box import BlackBox
from dax_lightning.errors import InputError
from dax_lightning.inputs import ImageInput
from dax_lightning.types import Case

Only = Literal["all", "correct", "wrong"]
_LONGEST = 100  # bytes of a key; the explainer's name and the ending come after it


class Task(ABC):
    """Cases in a fixed order, each made when it is asked for.

    What is wrong with the whole task is raised when it is built; what is wrong with one case (a corrupt file) is raised
    by ``task[i]`` alone, so that the others can still be explained. Subclasses write :meth:`_case`, and those that know what is
    in a picture :meth:`_own_classes`.

    Args:
        black_box: the model whose answers are explained; its view cuts the inputs.
        keys: names of the cases; looked at one by one, and no further than to the ``limit``-th case.
        target: class id or name to explain in every case; ``None`` asks the black box for each case's top class (one row).
        limit: only the first so many cases.
        only: ``correct`` or ``wrong`` leaves the cases whose top class is, or is not, the picture's own (one row for each key
            that is looked at); where that can't be told, the case is neither. A case that can't be made stays in, to fail on
            its own.

    Attributes:
        name: the task's name in ``rows.csv``.
        knows_classes: whether right and wrong can be told.
        of_pictures: whether the cases are photographs or drawings, so that the black box must take images.
        black_box: as given.

    Raises:
        InputError: no such class, a limit below 1, right and wrong can't be told, or the black box takes no pictures; once all
            are looked at: no case is left.

    """

    name: ClassVar[str]
    knows_classes: ClassVar[bool] = False
    of_pictures: ClassVar[bool] = True

    def __init__(self, black_box: BlackBox, keys: Iterable[str], target: int | str | None, limit: int | None, only: Only = "all"):
        if limit is not None and limit < 1:
            raise InputError(f"limit={limit}: it must be at least 1, or null for all cases")
        if only not in get_args(Only):
            raise InputError(f"only={only}: choose one of {', '.join(get_args(Only))}")
        if only != "all" and not self.knows_classes:
            raise InputError(f"only={only}: task={self.name} does not know what is in its pictures: leave out only=")
        self.black_box, self.only = black_box, only
        if self.of_pictures and not isinstance(black_box.input, ImageInput):
            raise InputError(f"task={self.name} has pictures, the black box takes a {black_box.input.kind}: give input=FILE")
        self._target = None if target is None else black_box.target(target)
        self._keys: list[str] = []  # of all that were looked at
        self._picked: list[int] = []  # of these, the cases
        self._asked: tuple[Tensor, Tensor] | None = None  # the last input and its answer
        self._used = False  # whether the answer was looked at since
        self._stream = islice(self._fitting(keys), limit)
        if only == "all":
            self._look(1)

    def keys(self) -> list[str]:
        """Names of the cases, in order; unique, and safe in a file name."""
        self._look()
        return [self._keys[index] for index in self._picked]

    def __len__(self) -> int:
        self._look()
        return len(self._picked)

    def __getitem__(self, index: int) -> Case:
        self._look(None if index < 0 else index + 1)
        self._used = False
        case = self._case(self._picked[index])
        return replace(case, asked=int(self._used))

    def __iter__(self) -> Iterator[Case]:
        index = 0
        while self._look(index + 1):
            yield self[index]
            index += 1

    def content(self, index: int) -> dict[str, bytes]:
        """What case ``index`` is made from: its ``file``, and its ``mask`` if it has one. A run notices when either changes.

        Empty where the task's settings tell all of it, as with drawings. A file that can't be read is left out, which the case
        will tell.
        """
        return {}

    def remarks(self) -> list[str]:
        """What the user should know before the run, a line each."""
        return []

    def outside(self) -> list[float]:
        """Which share of each photograph the black box does not see, 0 to 1; empty where nobody wonders."""
        return []

    @abstractmethod
    def _case(self, index: int) -> Case:
        """Make the case of ``self._keys[index]``; ``InputError`` if this one can't be."""

    def _own_classes(self, index: int, case: Case) -> Collection[int] | None:
        """Class ids that are a right answer to this case; ``None`` where that can't be told."""
        return None

    def _nothing_left(self) -> str:
        """The error where no case is left after all keys were looked at."""
        return f"only={self.only} leaves no case of task={self.name} ({len(self._keys)} looked at): leave it out"

    @property
    def _view(self) -> ImageInput:
        """How the black box sees a picture."""
        return cast(ImageInput, self.black_box.input)

    def _key_of(self, index: int) -> int:
        """Which of all keys is that of case ``index``."""
        self._look(index + 1)
        return self._picked[index]

    def _look(self, wanted: int | None = None) -> bool:
        """Look at keys until so many cases are found; whether they are."""
        missing = None if wanted is None else max(0, wanted - len(self._picked))
        self._picked += islice(self._stream, missing)
        if not self._picked and missing != 0:
            raise InputError(self._nothing_left())
        return wanted is None or len(self._picked) >= wanted

    def _fitting(self, keys: Iterable[str]) -> Iterator[int]:
        for index, key in enumerate(keys):
            check_name(key, f"task={self.name} lists the case")
            self._keys.append(key)
            if self.only == "all" or self._fits(index):
                yield index

    def _fits(self, index: int) -> bool:
        try:
            case = self._case(index)
            own = self._own_classes(index, case)
            return own is not None and (int(self._answer(case.x).argmax()) in own) == (self.only == "correct")
        except InputError:
            return True

    def _answer(self, x: Float[Tensor, "c *space"]) -> Float[Tensor, " k"]:
        """The black box's probabilities; the last answer is remembered, so that one case costs one row."""
        if self._asked is None or not torch.equal(self._asked[0], x):
            self._asked = x, self.black_box(x[None])[0]
        self._used = True
        return self._asked[1]

    def _chosen(self, x: Float[Tensor, "c *space"]) -> int:
        return int(self._answer(x).argmax()) if self._target is None else self._target

    def _most_probable(self, x: Float[Tensor, "c *space"], ids: Iterable[int]) -> int | None:
        """Of these classes the most probable one; ``None`` where there is none to choose from."""
        wanted = sorted(set(ids))
        return wanted[int(self._answer(x)[wanted].argmax())] if wanted else None


def contents(**files: Path | None) -> dict[str, bytes]:
    """The bytes of files by name, for :meth:`Task.content`; one that can't be read is left out.

    Example:
        >>> contents(file=Path("no such file"), mask=None)
        {}
    """
    found = {}
    for name, file in files.items():
        with suppress(OSError):
            found |= {} if file is None else {name: file.read_bytes()}
    return found


def check_name(name: str, what: str) -> None:
    """Raise an InputError where files of this name would lie elsewhere, such as ``../x``.

    Example:
        >>> check_name("b.c", "case")
        >>> check_name("../x", "case")
        Traceback (most recent call last):
            ...
        dax_lightning.errors.InputError: case '../x', whose files would lie elsewhere: wanted a name without / and \\
    """
    if name in ("", ".", "..") or any(one in name for one in "/\\\0"):
        raise InputError(f"{what} {name!r:.120}, whose files would lie elsewhere: wanted a name without / and \\")


def safe_keys(names: Iterable[str]) -> list[str]:
    """Names made safe for files, each once; see :func:`safe_key`.

    Example:
        >>> safe_keys(["a cat", "a/cat", "..", "été"])
        ['a_cat', 'a_cat_2', 'case', 'été']
    """
    taken: set[str] = set()
    return [safe_key(name, taken) for name in names]


def safe_key(name: str, taken: set[str]) -> str:
    """A name made safe for files: word characters, dots and dashes, and of at most 100 bytes in UTF-8.

    A longer name is cut, and ends in a hash of all of it. So the names of all files of a case stay below the usual limit of 255
    bytes.

    Args:
        name: any text.
        taken: keys that were given before, whatever their letter case; the new one is added.

    Example:
        >>> len(safe_key("猫" * 82, set()).encode())
        99
    """
    stem = re.sub(r"[^\w.-]+", "_", name).strip("._") or "case"
    if len(stem.encode()) > _LONGEST:
        stem = _cut(stem, _LONGEST - 9) + "_" + hashlib.sha256(name.encode()).hexdigest()[:8]
    count, key = 1, stem
    while _same(key) in taken:
        count, key = count + 1, f"{stem}_{count + 1}"
    taken.add(_same(key))
    return key


def _cut(text: str, most: int) -> str:
    """The first characters that fit into so many bytes."""
    return text.encode()[:most].decode(errors="ignore")


def _same(key: str) -> str:
    """What file systems may take for the same name gives the same."""
    return unicodedata.normalize("NFC", key).casefold()
