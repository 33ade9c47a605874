"""What explainers that ask about kept segments have in common."""

from typing import ClassVar

from jaxtyping import Float, Int
from torch import Tensor

from dax_lightning.black_box.base import BlackBox
from dax_lightning.errors import InputError
from dax_lightning.explainers.base import Explainer
from dax_lightning.game.subsets import Perturber
from dax_lightning.segment.base import Segmenter
from dax_lightning.segment.default import Default
from dax_lightning.types import Case


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

    Raises:
        InputError: ``q`` is under ``fewest``.
    """

    fewest: ClassVar[int] = 3

    def __init__(
        self,
        black_box: BlackBox,
        segmenter: Segmenter | None = None,
        perturber: Perturber | None = None,
        q: int = 1000,
        seed: int = 0,
    ):
        super().__init__(black_box, seed)
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

    def _own_parts(self, case: Case) -> Int[Tensor, "*space"] | None:
        return self.segmenter.of_case(case)

    def _parts(self, x: Tensor, segments: Tensor | None) -> Int[Tensor, "*space"]:
        """The user's partition, or the segmenter's."""
        return self.segmenter(self.black_box.input.unit(x)) if segments is None else segments
