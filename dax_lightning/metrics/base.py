"""What every metric has in common."""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import ClassVar

from dax_lightning.black_box import BlackBox
from dax_lightning.explainers.base import Explainer
from dax_lightning.types import Case, Explanation


@dataclass(frozen=True)
class Curve:
    """What a metric's number was made of.

    Args:
        x: positions, ascending.
        y: values at them.
        x_name: what x is, such as "share removed".
        y_name: what y is, such as "probability of the target".
    """

    x: list[float]
    y: list[float]
    x_name: str
    y_name: str


@dataclass(frozen=True)
class Measured:
    """A metric's number, and the whole curve where it has one."""

    value: float
    curve: Curve | None = None


class Metric(ABC):
    """One number about an explanation of a case. Subclasses write :meth:`_measure`.

    Attributes:
        higher_is_better: its direction; ``None``: it has none.
        needs_truth: whether it needs ``case.truth``.
        needs_explainer: whether it asks the black box or explains again.
    """

    higher_is_better: ClassVar[bool | None]
    needs_truth: ClassVar[bool]
    needs_explainer: ClassVar[bool] = False

    def __call__(self, case: Case, explanation: Explanation, explainer: Explainer | None = None) -> float | None:
        """The number, or ``None`` where :meth:`measure` gives none."""
        measured = self.measure(case, explanation, explainer)
        return None if measured is None else measured.value

    def measure(self, case: Case, explanation: Explanation, explainer: Explainer | None = None) -> Measured | None:
        """The number and its curve; ``None`` where the truth or the explainer that it needs is missing.

        Args:
            case: what was explained.
            explanation: its explanation.
            explainer: what made it; its black box can be asked.
        """
        if (self.needs_truth and not _known(case)) or (self.needs_explainer and explainer is None):
            return None
        measured = self._measure(case, explanation, explainer)
        return measured if isinstance(measured, Measured | None) else Measured(float(measured))

    def bank(self, black_box: BlackBox) -> AbstractContextManager[None]:
        """Share what the metric asks other models than ``black_box`` among all explainers of one case."""
        return nullcontext()

    @abstractmethod
    def _measure(self, case: Case, explanation: Explanation, explainer: Explainer | None) -> Measured | float | None:
        """The metric itself; what it needs is there. ``None``: it has no value for this case."""


def _known(case: Case) -> bool:
    if case.truth is None:
        return False
    return bool((case.truth if case.ignore is None else case.truth & ~case.ignore).any())
