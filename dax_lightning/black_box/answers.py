"""What a model may answer: a table of scores, in whatever it is wrapped, of the kind that was declared."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dax_lightning.errors import ModelError, remedy

Outputs = Literal["probabilities", "logits", "sigmoid"]  # sigmoid: probabilities of independent classes
_SLACK = 1e-3  # how far probabilities may leave [0, 1] by rounding (half precision)
_SUM_SLACK = 1e-2  # and the sum of a row leave 1
_ENOUGH = 16  # values that tell logits of independent classes from probabilities
_KEYS = ("logits", "scores", "probabilities", "probs", "outputs")  # of a dict; the first that is there


def table_of(answer: Any, rows: int) -> Float[Tensor, "n k"]:
    """The scores in a model's answer, as float32, on its own device and with its gradients.

    Args:
        answer: (n, k), (n, 1) or (n,) scores, or a tuple or list that starts with them; a dict or an object with ``logits``.
        rows: how many rows were asked.

    Raises:
        ModelError: no such table is in it.

    Example:
        >>> table_of((torch.tensor([0.25, 0.5]), None), rows=2).tolist()
        [[0.25], [0.5]]
    """
    scores = _unwrapped(answer, rows)
    if isinstance(scores, np.ndarray) and not scores.flags.writeable:
        scores = scores.copy()  # torch warns of arrays that it can't write into
    try:
        table = torch.as_tensor(scores).float()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ModelError(f"the model returned {_told(answer)}, wanted a table of ({rows}, classes) scores") from error
    if table.shape == (rows,) or (table.ndim == 0 and rows == 1):
        return table.reshape(rows, 1)
    if table.ndim != 2 or len(table) != rows or table.shape[1] < 1:
        raise wrong_shape(table, rows, "classes")
    return table


def wrong_shape(table: Tensor, rows: int, columns: int | str) -> ModelError:
    """The error that says which table was wanted."""
    return ModelError(f"the model returned scores of shape {tuple(table.shape)} for {rows} rows, wanted ({rows}, {columns})")


@dataclass(frozen=True)
class Reach:
    """From where to where scores go.

    Args:
        low: the lowest.
        high: the highest.
        count: how many there are.

    Example:
        >>> Reach.of(torch.tensor([[0.25, 2.0]])).also(Reach(-1.0, 0.5, 3))
        Reach(low=-1.0, high=2.0, count=5)
    """

    low: float = math.inf
    high: float = -math.inf
    count: int = 0

    @classmethod
    def of(cls, table: Float[Tensor, "n k"]) -> "Reach":
        """The reach of a table."""
        low, high = table.detach().aminmax()
        return cls(low.item(), high.item(), table.numel())

    def also(self, other: "Reach") -> "Reach":
        """The reach of both."""
        return Reach(min(self.low, other.low), max(self.high, other.high), self.count + other.count)


@dataclass
class Declared:
    """What the scores were declared to be, checked with every answer.

    Args:
        outputs: ``probabilities`` or ``logits``.
        multi_label: each column is its own yes or no.
    """

    outputs: Outputs
    multi_label: bool
    _so_far: Reach = field(default_factory=Reach)

    def independent(self, columns: int) -> bool:
        """Whether each column is its own yes or no: with ``multi_label``, and where there is only one."""
        return self.multi_label or columns == 1

    def two_classes(self, scores: Float[Tensor, "n k"]) -> Float[Tensor, "n j"]:
        """The scores; a single column becomes two, the second speaks for it and the first against it."""
        if scores.shape[1] > 1:
            return scores
        return torch.cat([-scores if self.outputs == "logits" else 1 - scores, scores], 1)

    def probabilities(self, scores: Float[Tensor, "n k"]) -> Float[Tensor, "n j"]:
        """Probabilities of the classes from the model's own scores: softmax, sigmoids, or the scores clamped to [0, 1]."""
        alone = self.independent(scores.shape[1])
        scores = self.two_classes(scores)
        if self.outputs == "probabilities":
            return scores.clamp(0, 1)
        return scores.sigmoid() if alone else scores.softmax(1)

    def check(self, table: Float[Tensor, "n k"]) -> None:
        """Refuse what doesn't fit.

        Raises:
            ModelError: with what to declare instead.
        """
        if not torch.isfinite(table).all():
            raise ModelError(
                "the model returned NaN or infinite scores: check its weights; its rows were in [0, 1] before mean and std"
            )
        reach = Reach.of(table)
        low, high = reach.low, reach.high
        off = (table.double().sum(1) - 1).abs().max().item()
        alone = self.independent(table.shape[1])
        if self.outputs == "probabilities":
            self._check_probabilities(low, high, off, alone)
        elif table.shape[1] > 1 and low >= 0 and high <= 1 and off <= _SLACK:
            raise ModelError(
                f"scores declared as logits are probabilities already (each row sums to 1): say {remedy('outputs=probabilities')}"
            )
        elif alone:
            self._check_logits(reach)

    def doubts(self, reach: Reach, columns: int) -> tuple[str, ...]:
        """A sentence where scores that were declared as logits look like probabilities, and may be logits all the same."""
        if self.outputs != "logits" or reach.count < _ENOUGH or not 0 <= reach.low < reach.high <= 1:
            return ()
        also = "" if self.independent(columns) else ", multi_label=true"
        return (
            "all of the model's scores lie in [0, 1], as probabilities do, and outputs=logits squashes them: if they are "
            f"probabilities, say outputs=probabilities{also}",
        )

    def _check_probabilities(self, low: float, high: float, off: float, alone: bool) -> None:
        if low < -_SLACK or high > 1 + _SLACK:
            told = f"scores from {low:.3g} to {high:.3g} are not probabilities, they look like logits"
            raise ModelError(f"{told}: say {remedy('outputs=logits')}")
        if not alone and off > _SUM_SLACK:
            raise ModelError(
                f"scores in [0, 1] whose rows don't sum to 1 (off by {off:.3g}) are not probabilities of classes that exclude "
                f"each other: say {remedy('multi_label=true')} if each class is its own yes or no"
            )

    def _check_logits(self, reach: Reach) -> None:
        found = self._so_far = self._so_far.also(reach)
        wide = found.high - found.low > 0.25 and (found.low < 0.05 or found.high > 0.95)
        if found.count >= _ENOUGH and found.low >= 0 and found.high <= 1 and wide:
            raise ModelError(
                f"scores declared as logits are all from {found.low:.3g} to {found.high:.3g} in {found.count} answers, they look "
                f"like probabilities: say {remedy('outputs=probabilities')}"
            )


def _unwrapped(answer: Any, rows: int) -> Any:
    if isinstance(answer, Tensor | np.ndarray):
        return answer
    if getattr(answer, "logits", None) is not None:
        return answer.logits
    if isinstance(answer, Mapping):
        key = next((key for key in _KEYS if key in answer), next(iter(answer)) if len(answer) == 1 else None)
        return answer[key] if isinstance(answer.get(key), Tensor | np.ndarray) else answer
    if isinstance(answer, tuple | list) and answer and isinstance(answer[0], Tensor | np.ndarray):
        first = answer[0]
        if first.ndim == 1 and len(answer) == rows and all(getattr(one, "shape", None) == first.shape for one in answer):
            return torch.stack([torch.as_tensor(one) for one in answer])  # a row each
        return first if first.ndim else answer
    return answer


def _told(answer: Any) -> str:
    keys = f" with {', '.join(map(str, answer))}" if isinstance(answer, Mapping) else ""
    return f"{type(answer).__name__}{keys}"
