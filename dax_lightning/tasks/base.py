"""A task: a list of cases for one black box."""

import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator
from itertools import islice
from typing import ClassVar, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from dax_lightning.black_box import BlackBox
from dax_lightning.errors import InputError
from dax_lightning.types import Case

Only = Literal["all", "correct", "wrong"]


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
        black_box: as given.

    Raises:
        InputError: no such class, a limit below 1, or right and wrong can't be told; once all are looked at: no case is left.
    """

    name: ClassVar[str]
    knows_classes: ClassVar[bool] = False

    def __init__(self, black_box: BlackBox, keys: Iterable[str], target: int | str | None, limit: int | None, only: Only = "all"):
        if limit is not None and limit < 1:
            raise InputError(f"limit={limit}: it must be at least 1, or null for all cases")
        if only not in get_args(Only):
            raise InputError(f"only={only}: choose one of {', '.join(get_args(Only))}")
        if only != "all" and not self.knows_classes:
            raise InputError(f"only={only}: task={self.name} does not know what is in its pictures: leave out only=")
        self.black_box, self.only = black_box, only
        self._target = None if target is None else black_box.target(target)
        self._keys: list[str] = []  # of all that were looked at
        self._picked: list[int] = []  # of these, the cases
        self._asked: tuple[Tensor, Tensor] | None = None  # the last input and its answer
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
        return self._case(self._picked[index])

    def __iter__(self) -> Iterator[Case]:
        index = 0
        while self._look(index + 1):
            yield self[index]
            index += 1

    @abstractmethod
    def _case(self, index: int) -> Case:
        """Make the case of ``self._keys[index]``; ``InputError`` if this one can't be."""

    def _own_classes(self, index: int, case: Case) -> Collection[int] | None:
        """Class ids that are a right answer to this case; ``None`` where that can't be told."""
        return None

    def _nothing_left(self) -> str:
        """The error where no case is left after all keys were looked at."""
        return f"only={self.only} leaves no case of task={self.name} ({len(self._keys)} looked at): leave it out"

    def _look(self, wanted: int | None = None) -> bool:
        """Look at keys until so many cases are found; whether they are."""
        missing = None if wanted is None else max(0, wanted - len(self._picked))
        self._picked += islice(self._stream, missing)
        if not self._picked and missing != 0:
            raise InputError(self._nothing_left())
        return wanted is None or len(self._picked) >= wanted

    def _fitting(self, keys: Iterable[str]) -> Iterator[int]:
        for index, key in enumerate(keys):
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
        return self._asked[1]

    def _chosen(self, x: Float[Tensor, "c *space"]) -> int:
        return int(self._answer(x).argmax()) if self._target is None else self._target

    def _most_probable(self, x: Float[Tensor, "c *space"], ids: Iterable[int]) -> int | None:
        """Of these classes the most probable one; ``None`` where there is none to choose from."""
        wanted = sorted(set(ids))
        return wanted[int(self._answer(x)[wanted].argmax())] if wanted else None


def safe_keys(names: Iterable[str]) -> list[str]:
    """Names made safe for files: word characters, dots and dashes; at most 100; told apart whatever their letter case.

    Example:
        >>> safe_keys(["a cat", "a/cat", "..", "été"])
        ['a_cat', 'a_cat_2', 'case', 'été']
    """
    keys: list[str] = []
    taken: set[str] = set()
    for name in names:
        stem = re.sub(r"[^\w.-]+", "_", name).strip("._")[:100] or "case"
        count, key = 1, stem
        while key.lower() in taken:
            count, key = count + 1, f"{stem}_{count + 1}"
        taken.add(key.lower())
        keys.append(key)
    return keys
