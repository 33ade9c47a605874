"""A task: a list of cases for one black box."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from dax_lightning.black_box import BlackBox
from dax_lightning.errors import InputError
from dax_lightning.types import Case


class Task(ABC):
    """Cases in a fixed order, each made when it is asked for.

    What is wrong with the whole task is raised when it is built; what is wrong with one case (a corrupt file) is raised
    by ``task[i]`` alone, so that the others can still be explained. Subclasses write :meth:`_case`.

    Args:
        black_box: the model whose answers are explained; its view cuts the inputs.
        keys: names of the cases; no more than ``limit`` are drawn.
        target: class id or name to explain in every case; ``None`` asks the black box for each case's top class (one row).
        limit: only the first so many cases.

    Attributes:
        name: the task's name in ``rows.csv``.
        black_box: as given.

    Raises:
        InputError: no such class, or a limit below 1.
    """

    name: ClassVar[str]

    def __init__(self, black_box: BlackBox, keys: Iterable[str], target: int | str | None, limit: int | None):
        if limit is not None and limit < 1:
            raise InputError(f"limit={limit}: it must be at least 1, or null for all cases")
        self.black_box = black_box
        self._target = None if target is None else black_box.target(target)
        self._keys = list(islice(keys, limit))

    def keys(self) -> list[str]:
        """Names of the cases, in order; unique, and safe in a file name."""
        return list(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def __getitem__(self, index: int) -> Case:
        return self._case(range(len(self))[index])

    def __iter__(self) -> Iterator[Case]:
        return (self[index] for index in range(len(self)))

    @abstractmethod
    def _case(self, index: int) -> Case:
        """Make one case; ``InputError`` if this one can't be."""

    def _chosen(self, x: Float[Tensor, "c *space"]) -> int:
        return int(self.black_box(x[None]).argmax()) if self._target is None else self._target


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
