"""Where something lies in a JSON answer: ``predictions[*].scores``."""

import re
from collections.abc import Sequence
from typing import Any

from dax_lightning.errors import InputError

_STEP = re.compile(r"(?:^|\.)([^.\[\]]+)|\[(\d+|\*)\]")
EACH = "*"  # a step into every item of a list
_SHOWN = 5  # keys of an answer that an error names


class Key(str):
    """A step into an object; a plain ``*`` is a step into each item of a list."""


Step = Key | int | str


def parsed(path: str, setting: str) -> tuple[Step, ...]:
    """The steps of a path: dotted keys, ``[0]`` for one item of a list and ``[*]`` for each.

    Args:
        path: the path; an empty one is the whole answer.
        setting: where the path was given, for the error.

    Raises:
        InputError: it is no such path.

    Example:
        >>> parsed("predictions[*].scores", "scores")
        ('predictions', '*', 'scores')
    """
    steps: list[Step] = []
    place = 0
    while place < len(path):
        found = _STEP.match(path, place)
        if found is None:
            told = "wanted dotted keys, [0] or [*], such as predictions[*].scores"
            raise InputError(f"{setting}={path!r} can't be read at {path[place:]!r}: {told}")
        key, index = found.groups()
        steps.append(Key(key) if key is not None else EACH if index == EACH else int(index))
        place = found.end()
    return tuple(steps)


def find(answer: Any, steps: Sequence[Step]) -> Any:
    """What lies at a path.

    Raises:
        LookupError: nothing; the text says where the path breaks off.

    Example:
        >>> find({"a": [{"b": 1}, {"b": 2}]}, parsed("a[*].b", "scores"))
        [1, 2]
    """
    for place, step in enumerate(steps):
        if isinstance(step, Key):
            if not isinstance(answer, dict) or step not in answer:
                raise LookupError(f"no {step!r}: {_what(answer)}")
            answer = answer[step]
        elif not isinstance(answer, list):
            raise LookupError(f"no list for [{step}]: {_what(answer)}")
        elif isinstance(step, int):
            if step >= len(answer):
                raise LookupError(f"no item [{step}]: {_what(answer)}")
            answer = answer[step]
        else:
            return [find(item, steps[place + 1 :]) for item in answer]
    return answer


def _what(answer: Any) -> str:
    if isinstance(answer, dict):
        keys = ", ".join(map(str, list(answer)[:_SHOWN])) or "nothing"
        return f"the answer has {keys}{' and more' if len(answer) > _SHOWN else ''} there"
    return f"a list of {len(answer)} is there" if isinstance(answer, list) else f"a {type(answer).__name__} is there"
