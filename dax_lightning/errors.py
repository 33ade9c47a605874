"""The errors a user can mend: one line that says what was wanted, what came and what to do."""

import operator
from math import inf, isfinite, nan
from numbers import Integral, Real
from typing import Any


class InputError(ValueError):
    """What the user gave can't be used; the message is one line and names the remedy.

    ``train.py`` prints the message without a traceback and exits with code 2.

    Example:
        >>> str(InputError("q=0 copies asked for; q must be at least 2: try q=1000"))
        'q=0 copies asked for; q must be at least 2: try q=1000'
    """

    def __init__(self, *parts: Any):
        super().__init__(*(in_one_line(part) if isinstance(part, str) else part for part in parts))


def in_one_line(text: str) -> str:
    """The text in one line that a terminal prints as it is: what a file holds may not clear the screen or begin a line.

    Example:
        >>> in_one_line("cat\\n\\x1b[2Jdog 猫")
        'cat \\\\x1b[2Jdog 猫'
    """
    if text.isprintable():
        return text
    shown = (one if one.isprintable() else " " if one.isspace() else one.encode("unicode_escape").decode() for one in text)
    return "".join(shown)


def remedy(setting: str, group: str = "black_box") -> str:
    """A setting as a Python user writes it, and as the command line does.

    Args:
        setting: ``name=value``.
        group: where the command line has it.

    Example:
        >>> remedy("outputs=logits")
        'outputs=logits (black_box.outputs=logits on the command line)'
    """
    return f"{setting} ({group}.{setting} on the command line)"


def cause_of(error: BaseException, most: int | None = None) -> str:
    """Another library's error as a part of our one line: its type and its text, of which at most so many characters.

    Example:
        >>> cause_of(ValueError("a\\n  b"))
        'ValueError: a b'
    """
    return " ".join(f"{type(error).__name__}: {error}".split())[:most]


class SingleSegment(InputError):
    """A segmenter found nothing to tell apart in this input."""


class BudgetExceeded(InputError):
    """An explanation asked the black box for more rows than ``budget`` allows."""


class StoreError(InputError):
    """The store of answers can't be read or written: the run ends, and what was stored is kept."""


class OutOfTime(BudgetExceeded):
    """An explanation asked the black box for rows after ``max_seconds``."""


class ModelError(InputError):
    """The black box gave something that is not a table of class scores, such as NaN or a wrong shape."""


def whole(setting: str, value: Any) -> int:
    """A whole number as an ``int``, whatever integer type it came in, such as NumPy's.

    Raises:
        InputError: it is none.

    Example:
        >>> import numpy as np
        >>> whole("q", np.int64(5))
        5
        >>> whole("q", 0.5)
        Traceback (most recent call last):
            ...
        dax_lightning.errors.InputError: q=0.5 is a float, wanted a whole number
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)
    except TypeError as error:
        raise InputError(f"{setting}={value!r} is a {type(value).__name__}, wanted a whole number") from error


def check_count(setting: str, value: Any, least: int) -> None:
    """Raise InputError unless ``value`` is a whole number of at least ``least``.

    Example:
        >>> check_count("rows", 2, least=1)
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise InputError(f"{setting}={value!r}; wanted a whole number of at least {least}")


def check_number(
    setting: str, value: Any, *, least: int | float = -inf, above: int | float = -inf, most: int | float = inf
) -> None:
    """Refuse what is not a finite number, at least ``least``, above ``above`` and at most ``most``.

    Raises:
        InputError: it is none.

    Example:
        >>> check_number("ratio", 2, least=0, most=1)
        Traceback (most recent call last):
            ...
        dax_lightning.errors.InputError: ratio=2; wanted a finite number at least 0 and at most 1
    """
    number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else nan
    if not isfinite(number) or number < least or number <= above or number > most:
        limits = (("at least", least), ("above", above), ("at most", most))
        wanted = " and ".join(f"{word} {limit}" for word, limit in limits if isfinite(limit))
        raise InputError(f"{setting}={value!r}; wanted a finite number {wanted}".rstrip())
