"""What every metric has in common."""

from abc import ABC, abstractmethod
from typing import ClassVar

from dax_lightning.types import Case, Explanation


class Metric(ABC):
    """One number about an explanation of a case.

    Attributes:
        higher_is_better: its direction.
        needs_truth: whether it can be told only where ``case.truth`` is known.
    """

    higher_is_better: ClassVar[bool]
    needs_truth: ClassVar[bool]

    def __call__(self, case: Case, explanation: Explanation) -> float | None:
        """The number, or ``None`` where the case lacks the truth that it needs, or all of it is ignored."""
        if self.needs_truth and not _known(case):
            return None
        return self._measure(case, explanation)

    @abstractmethod
    def _measure(self, case: Case, explanation: Explanation) -> float:
        """The metric itself; the truth it needs is there."""


def _known(case: Case) -> bool:
    if case.truth is None:
        return False
    return bool((case.truth if case.ignore is None else case.truth & ~case.ignore).any())
