"""When an explanation may end before its last query."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor

from dax_lightning.errors import InputError

When = Literal["converged"]
_ENOUGH = 0.98  # rank correlation of two maps that a tenth of the copies lies between
_TWICE = 2  # so often in a row


@dataclass(frozen=True)
class Stop:
    """What ends an explanation early; the map so far is the explanation, and a warning says so.

    Args:
        max_seconds: for its queries, from the first on, over 0; ``None``: no limit. Segments come before, the map after.
        when: ``converged``: as soon as more copies no longer change the map's order; ``None``: after ``q`` copies.

    Raises:
        InputError: a value is out of range.

    Example:
        >>> Stop(max_seconds=60.0).when is None
        True
    """

    max_seconds: float | None = None
    when: When | None = None

    def __post_init__(self) -> None:
        if self.max_seconds is not None and not self.max_seconds > 0:
            raise InputError(f"max_seconds={self.max_seconds}: wanted a number of seconds over 0, or null")
        if self.when not in (None, "converged"):
            raise InputError(f"stop_when={self.when}: wanted converged, or null")

    @property
    def wanted(self) -> set[str]:
        """What an explainer must know to obey, of ``max_seconds`` and ``converged``."""
        return ({"max_seconds"} if self.max_seconds is not None else set()) | ({self.when} if self.when is not None else set())

    def settled(self, map_of: Callable[[Any], Float[Tensor, "*n"]]) -> Callable[[Any], bool] | None:
        """What tells from the answers so far whether the map has settled: twice in a row its order is nearly the same.

        Args:
            map_of: the map, or a value a segment, from the answers so far.

        Example:
            >>> import torch
            >>> settled = Stop(when="converged").settled(lambda answers: answers)
            >>> [settled(torch.tensor(one)) for one in ([1.0, 2.0, 3.0], [1.0, 5.0, 9.0], [0.0, 1.0, 2.0])]
            [False, False, True]
        """
        if self.when is None:
            return None
        before: list[Tensor] = []

        def same(answers: Any) -> bool:
            before.append(_ranks(map_of(answers)))
            pairs = list(pairwise(before))[-_TWICE:]
            return len(pairs) == _TWICE and all(_correlation(*pair) >= _ENOUGH for pair in pairs)

        return same


def _ranks(saliency: Float[Tensor, "*n"]) -> Float[Tensor, " n"]:
    """The place of each value in their order; equal values share their mean place."""
    _, which, counts = saliency.flatten().unique(return_inverse=True, return_counts=True)
    return (counts.cumsum(0).double() - (counts - 1) / 2)[which]


def _correlation(first: Tensor, second: Tensor) -> float:
    one, other = first - first.mean(), second - second.mean()
    length = (one.square().sum() * other.square().sum()).sqrt()
    return 0.0 if length == 0 else ((one * other).sum() / length).item()
