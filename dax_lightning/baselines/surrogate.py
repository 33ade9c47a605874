"""What LIME and its relatives share: random copies, the black box's answers, and a simple model of them."""

from abc import abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dax_lightning.answers import TargetSpace, ask, check_space, in_space
from dax_lightning.black_box.base import BlackBox
from dax_lightning.errors import InputError
from dax_lightning.explainer import Explainer, Found
from dax_lightning.perturb import Perturber
from dax_lightning.segment import Quickshift, Segmenter

_SAME = 1e-6  # relative; answers this close differ by rounding (32-bit floats, batches of another size)


@dataclass(frozen=True)
class Fitted:
    """A simple model of the answers.

    Args:
        importance: what each segment adds to the target, in units of the answers; negative where it speaks against it.
        r2: share of the answers' weighted variance that the model explains, 1 at best.
    """

    importance: Float[Tensor, " j"]
    r2: float


class SegmentSurrogate(Explainer):
    """Fits a simple model to the answers to ``q`` copies that lost random segments. Subclasses write :meth:`_fit`.

    The copies are those of :func:`~dax_lightning.answers.ask` from a fresh generator, so that DAX and all surrogates with the
    same perturber, segmenter, seed and ``q`` ask about the same copies.

    Args:
        black_box: what is explained.
        segmenter: parts the input.
        perturber: makes the copies.
        q: copies, the input included.
        targets: the scale of the answers: ``probability`` or ``log_odds``.
        seed: of all randomness.
        budget: most rows the black box may be asked.
    """

    def __init__(
        self,
        black_box: BlackBox,
        segmenter: Segmenter | None = None,
        perturber: Perturber | None = None,
        q: int = 1000,
        targets: TargetSpace = "probability",
        seed: int = 0,
        budget: int | None = None,
    ):
        super().__init__(black_box, seed, budget)
        check_space(targets)
        if q < 3:
            raise InputError(
                f"q={q} copies asked for; wanted at least 3, and some times as many as there are segments: try q=1000"
            )
        self.segmenter, self.perturber = segmenter or Quickshift(), perturber or Perturber()
        self.q = q
        self.targets: TargetSpace = targets

    def prepare(self) -> None:
        """See :class:`Explainer`."""
        self.segmenter.prepare()

    def rows_needed(self, x: Float[Tensor, "c *space"]) -> int:
        """See :class:`Explainer`."""
        return self.q

    def _explain(
        self,
        x: Float[Tensor, "c *space"],
        target: int,
        generator: torch.Generator,
        segments: Int[Tensor, "*space"] | None,
    ) -> Found:
        segments = self.segmenter(x) if segments is None else segments
        answers = ask(self.black_box, self.perturber, x, segments, target, self.q, generator)
        values = in_space(answers.probability, self.targets)
        notes = {"segments": answers.kept.shape[1], "surrogate_r2": None}
        if all_same(values):
            return Found(torch.zeros(x.shape[1:]), answers.probability[0].item(), segments, notes)
        fitted = self._fit(answers.kept, values, answers.weight, generator)
        notes["surrogate_r2"] = fitted.r2
        return Found(fitted.importance[segments], answers.probability[0].item(), segments, notes)

    @abstractmethod
    def _fit(
        self, kept: Bool[Tensor, "n j"], values: Float[Tensor, " n"], weight: Float[Tensor, " n"], generator: torch.Generator
    ) -> Fitted:
        """The simple model; ``values`` are the answers on the chosen scale, not all the same."""


def all_same(values: Float[Tensor, " n"]) -> bool:
    """Whether answers differ by no more than rounding.

    Example:
        >>> all_same(torch.tensor([0.2, 0.2])), all_same(torch.tensor([0.2, 0.3])), all_same(torch.tensor([1e-9, 2e-9]))
        (True, False, False)
    """
    return bool(values.max() - values.min() <= _SAME * values.abs().max())
