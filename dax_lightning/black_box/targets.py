"""Which class a user means: by id, or by name."""

import difflib
import operator
import re
from typing import Any

import numpy as np

from dax_lightning.errors import InputError, remedy


def find_target(wanted: Any, classes: tuple[str, ...] | None, count: int | None) -> int:
    """The class id that ``wanted`` means.

    Args:
        wanted: an id (of any integer type), a name, an id as text, or ``id:3``, which is never a name.
        classes: the names; ``None``: there are none.
        count: how many classes there are; ``None``: not known.

    Raises:
        InputError: no such class, a name that two classes share, or text that is the name of one class and the id of another.

    Example:
        >>> find_target("dog", ("cat", "dog"), 2), find_target("7", ("7", "8"), 2), find_target("id:1", ("1", "0"), 2)
        (1, 0, 1)
    """
    if not isinstance(wanted, str):
        return _id(_whole(wanted), count)
    text = wanted.strip()
    exact = [i for i, name in enumerate(classes or ()) if name.strip() == text]
    number = re.fullmatch(r"(id:)?\s*(-?\d+)", text, re.ASCII)
    if number is None or (exact and number[1]):
        return _by_name(wanted, exact, classes)
    meant = int(number[2])
    if not exact:
        return _id(meant, count)
    possible = count is None or 0 <= meant < count
    if possible and exact != [meant]:
        raise InputError(
            f"target={wanted!r} is the name of class {exact[0]} and the id of class {meant} ({(classes or ())[meant]!r}): "
            f"write target=id:{exact[0]} or target=id:{meant}"
        )
    return _by_name(wanted, exact, classes)


def _whole(wanted: Any) -> int:
    kind = type(wanted).__name__
    try:
        if isinstance(wanted, bool | np.bool_):
            raise TypeError
        return operator.index(wanted)
    except TypeError as error:
        raise InputError(f"target={wanted} is a {kind}, wanted a class id (a whole number) or a class name") from error


def _id(number: int, count: int | None) -> int:
    if number < 0 or (count is not None and number >= count):
        ids = f"it has {count} classes, ids 0 to {count - 1}" if count else "ids start at 0"
        raise InputError(f"target={number} is no class of this black box: {ids}")
    return number


def _by_name(wanted: str, exact: list[int], classes: tuple[str, ...] | None) -> int:
    if not classes:
        raise InputError(
            f"target={wanted!r}: this black box has no class names: give an id, or the names by "
            f"{remedy('classes=[...]')}, in the order of the scores"
        )
    names, word = [name.strip().lower() for name in classes], wanted.strip().lower()
    synonyms = [i for i, name in enumerate(names) if word in name.split(", ")]  # ImageNet's names list them: "ram, tup"
    found = exact or [i for i, name in enumerate(names) if name == word] or synonyms
    if len(found) > 1:
        raise InputError(f"target={wanted!r} names the classes {found}: give one of these ids")
    if not found:
        near = [name for name in names if word in re.split(r"\W+", name)] + [name for name in names if word and word in name]
        near = list(dict.fromkeys([*near, *difflib.get_close_matches(word, names, n=3, cutoff=0.5)]))[:3]
        hint = f": did you mean {' or '.join(repr(classes[names.index(n)]) for n in near)}?" if near else ": give its id"
        raise InputError(f"target={wanted!r} is not a class name of this black box{hint}")
    return found[0]
