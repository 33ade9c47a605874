"""What explainers that ask about kept segments have in common."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dax_lightning.black_box.base import BlackBox, Meter
from dax_lightning.errors import InputError, whole
from dax_lightning.explainers.base import Explainer, Found
from dax_lightning.game.subsets import Perturber
from dax_lightning.segment.base import Segmenter
from dax_lightning.segment.default import Default
from dax_lightning.types import Case

_BARELY = 0.01  # of the score
_FEW = 8  # segments; LIME's quick shift finds this few in pictures far smaller than 224 pixels
_NOTHING = 0.1  # R² below which a student is no better than a guess
MOST_SEGMENTS = 4096  # methods hold tables of their square: 2 GiB in KernelSHAP, 128 MiB each in a ridge regression


def check_size(count: int, remedy: str = "choose a coarser segmenter") -> None:
    """Refuse more than :data:`MOST_SEGMENTS` segments, as memory grows with their square.

    Example:
        >>> check_size(5000)
        Traceback (most recent call last):
            ...
        dax_lightning.errors.InputError: 5000 segments: wanted at most 4096; choose a coarser segmenter
    """
    if count > MOST_SEGMENTS:
        raise InputError(f"{count} segments: wanted at most {MOST_SEGMENTS}; {remedy}")


class SegmentExplainer(Explainer):
    """Parts the input into segments, and asks about at most ``q`` copies that lost some of them.

    Args:
        black_box: what is explained.
        segmenter: parts the input; ``None``: the default for this kind of input.
        perturber: makes the copies; ``None``: LIME's.
        q: most rows asked, the input included.
        seed: of all randomness.

    Attributes:
        fewest: the smallest ``q`` that is taken.
        fill_setting: the setting of its fill.

    Raises:
        InputError: ``q`` is under ``fewest``.
    """

    fewest: ClassVar[int] = 3
    fill_setting: ClassVar[str] = "perturber.fill"

    def __init__(
        self,
        black_box: BlackBox,
        segmenter: Segmenter | None = None,
        perturber: Perturber | None = None,
        q: int = 1000,
        seed: int = 0,
    ):
        super().__init__(black_box, seed)
        q = whole("q", q)
        if q < self.fewest:
            raise InputError(f"q={q} copies asked for; wanted at least {self.fewest}, and some for each segment: try q=1000")
        self.segmenter = (segmenter or Default()).on(black_box.input)
        self.perturber = perturber or Perturber()
        self.q = q

    def prepare(self) -> None:
        """See :class:`Explainer`."""
        self.segmenter.prepare()

    def rows_needed(self, x: Float[Tensor, "c *space"]) -> int:
        """See :class:`Explainer`."""
        return self.q

    def _about_answers(self, asked: Meter, target: int, score: float) -> tuple[str, ...]:
        change = asked.change(target, score)
        if asked.queries < self.fewest or change > _BARELY * score:
            return ()
        told = f"removing segments barely changes the answer (by at most {change:.2g})"
        if not self.black_box.input.has_space:  # all fills are one there
            return (told,)
        other = "segment_mean" if self.perturber.fill == "zeros" else "zeros"
        return (f"{told}: try another fill, such as {self.fill_setting}={other}",)

    def _own_parts(self, case: Case) -> Int[Tensor, "*space"] | None:
        return self.segmenter.of_case(case)

    def _parts(self, x: Tensor, segments: Tensor | None) -> Int[Tensor, "*space"]:
        """The user's partition, or the segmenter's; refused where it has too many segments."""
        parts = self.segmenter(self.black_box.input.unit(x)) if segments is None else segments
        check_size(int(parts.max()) + 1)
        return parts

    def _silent(self, x: Tensor, score: float, segments: Int[Tensor, "*space"], asked: int) -> Found:
        """What is found where the answer is the same for all copies, and a student has nothing to learn."""
        told = f"the black box's answer is the same for all {asked} copies: nothing speaks for or against this target"
        return Found(torch.zeros(x.shape[1:]), score, segments, {"fidelity": None, "unfaithful": True}, (told,))

    def _doubts(self, fidelity: float, least: float, segments: int, remedies: Sequence[str]) -> tuple[str, ...]:
        """Sentences about a student's fidelity that is under the least one, and about too few segments."""
        doubts = []
        if segments < _FEW:
            doubts.append(f"only {segments} segments, so the map can't tell more places apart; try {self._finer()}")
        if not fidelity >= least:
            learned = "nothing" if not fidelity >= _NOTHING else "too little"
            tries = ", ".join([*remedies, f"q={3 * self.q}", "another segmenter"])
            doubts.append(
                f"the student learned {learned}: its R² on held-out copies is {fidelity:.2f}, under {least:g}, so don't trust "
                f"this map; try {tries}"
            )
        return tuple(doubts)

    def _finer(self) -> str:
        if self.black_box.input.step is not None:
            return (
                "shorter pieces of time, such as Time(seconds=0.05) (segmenter=time segmenter.seconds=0.05 on the command line)"
            )
        return "Slic() or Grid() (segmenter=slic, segmenter=grid on the command line)"
