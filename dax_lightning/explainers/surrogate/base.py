"""What LIME and its relatives share: random copies, the black box's answers, and a simple model of them."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dax_lightning.black_box.base import BlackBox
from dax_lightning.explainers.base import Found
from dax_lightning.explainers.segments import SegmentExplainer
from dax_lightning.game.base import Answers, TargetSpace, ask, check_space, game_of, in_space, same_answers
from dax_lightning.game.subsets import Perturber
from dax_lightning.segment.base import Segmenter


@dataclass(frozen=True)
class Fitted:
    """A simple model of the answers.

    Args:
        importance: what each segment adds to the target, in units of the answers; negative where it speaks against it.
        r2: share of the answers' weighted variance that the model explains, 1 at best.
    """

    importance: Float[Tensor, " j"]
    r2: float


class SegmentSurrogate(SegmentExplainer):
    """Fits a simple model to the answers to ``q`` copies that lost random segments. Subclasses write :meth:`_fit`.

    The copies are those of :func:`~dax_lightning.game.base.ask` from a fresh generator, so that DAX and all surrogates with the
    same perturber, segmenter, seed and ``q`` ask about the same copies.

    Args:
        black_box: what is explained.
        segmenter: parts the input.
        perturber: makes the copies.
        q: copies, the input included.
        targets: the scale of the answers: ``probability`` or ``log_odds``.
        seed: of all randomness.
    """

    stops: ClassVar[tuple[str, ...]] = ("max_seconds", "converged")

    def __init__(
        self,
        black_box: BlackBox,
        segmenter: Segmenter | None = None,
        perturber: Perturber | None = None,
        q: int = 1000,
        targets: TargetSpace = "probability",
        seed: int = 0,
    ):
        super().__init__(black_box, segmenter, perturber, q, seed)
        check_space(targets)
        self.targets: TargetSpace = targets

    def _explain(
        self,
        x: Float[Tensor, "c *space"],
        target: int,
        generator: torch.Generator,
        segments: Int[Tensor, "*space"] | None,
    ) -> Found:
        segments = self._parts(x, segments)
        game, state = game_of(self.black_box, x, segments, self.perturber), generator.get_state()
        settled = self.stop.settled(lambda answers: self._importance(answers, torch.Generator().set_state(state)))
        answers = ask(game, self.perturber, target, self.q, generator, settled=settled)
        values = in_space(answers.probability, self.targets)
        notes = {"segments": answers.kept.shape[1], "surrogate_r2": None}
        if same_answers(answers.probability):
            return Found(torch.zeros(x.shape[1:]), answers.probability[0].item(), segments, notes)
        fitted = self._fit(answers.kept, values, answers.weight, generator)
        notes["surrogate_r2"] = fitted.r2
        return Found(fitted.importance[segments], answers.probability[0].item(), segments, notes)

    def _importance(self, answers: Answers, generator: torch.Generator) -> Float[Tensor, " j"]:
        """What the answers so far tell of each segment."""
        return self._fit(answers.kept, in_space(answers.probability, self.targets), answers.weight, generator).importance

    @abstractmethod
    def _fit(
        self, kept: Bool[Tensor, "n j"], values: Float[Tensor, " n"], weight: Float[Tensor, " n"], generator: torch.Generator
    ) -> Fitted:
        """The simple model; ``values`` are the answers on the chosen scale, not all the same."""
