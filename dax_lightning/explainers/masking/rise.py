"""RISE: the mean answer behind random smooth masks that show a place (Petsiuk, Das and Saenko, BMVC 2018)."""

from collections.abc import Iterator
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from dax_lightning.black_box.base import BlackBox
from dax_lightning.errors import InputError, whole
from dax_lightning.explainers.base import Found
from dax_lightning.explainers.masking.base import ImageFill, MaskExplainer, check_cells, mean_by_place
from dax_lightning.game.base import TargetSpace


class Rise(MaskExplainer):
    """For each place, the mean answer over all masks, weighted by how much of the place each shows.

    The map is ``sum y m / sum m``: the paper's ``sum y m / (Q E[m])``, with the masks' own mean at each place for E[m], which
    the paper takes as p. Both tend to the same map; with finite Q the paper's carries the masks' unevenness times the mean
    answer, a pattern of nothing that a constant black box shows alone. Values are mean answers, so their zero has no meaning.

    The authors' code multiplies masks with inputs that are normalised already, where 0 is about the mean colour of the data
    set: ``fill=image_mean`` is nearest to it.

    Args:
        black_box: what is explained.
        q: rows asked, the input itself included: q - 1 masks.
        cells: side of the grid of random cells that is up-sampled bilinearly and shifted at random by up to a cell.
        kept_share: the paper's p: chance that a cell shows the input, in (0, 1).
        fill: what shows where a mask is 0: ``zeros`` (the paper), ``image_mean`` or ``blur``.
        targets: the scale of the answers: ``probability`` (the paper) or ``log_odds``.
        seed: of the masks.

    Example:
        >>> from dax_lightning.black_box import from_function
        >>> box = from_function(lambda rows: rows[:, :2, :7, :7].mean((2, 3)), size=(14, 14), multi_label=True)
        >>> saliency = Rise(box, q=200).explain(torch.ones(3, 14, 14), target=0).saliency
        >>> bool(saliency[:7, :7].min() > saliency[8:, 8:].max())
        True
    """

    name: ClassVar[str] = "rise"

    def __init__(
        self,
        black_box: BlackBox,
        q: int = 1000,
        cells: int = 7,
        kept_share: float = 0.5,
        fill: ImageFill = "zeros",
        targets: TargetSpace = "probability",
        seed: int = 0,
    ):
        super().__init__(black_box, q, fill, targets, seed)
        cells = whole("explainer.cells", cells)
        if cells < 1:
            raise InputError(f"explainer.cells={cells}: it must be at least 1")
        if not 0 < kept_share < 1:
            raise InputError(f"explainer.kept_share={kept_share}: it is a chance between 0 and 1, both left out; try 0.5")
        self.cells, self.kept_share = cells, kept_share

    def rows_needed(self, x: Float[Tensor, "c *space"]) -> int:
        """See :class:`Explainer`."""
        check_cells(self.cells, x, least=1)
        return self.q

    def _explain(
        self, x: Float[Tensor, "c h w"], target: int, generator: torch.Generator, segments: Int[Tensor, "h w"] | None
    ) -> Found:
        probability = self._score(x, target)
        score = self._scaled(probability)  # answers are averaged as their distance from it: equal ones give an exactly flat map
        answers = self._answers(x, self._masks(x, generator), target)
        change = mean_by_place((masks, self._scaled(answer) - score) for masks, answer in answers)
        return Found((score + change).float(), probability.item(), notes={"masks": self.q - 1})

    def _masks(self, x: Float[Tensor, "c h w"], generator: torch.Generator) -> Iterator[Float[Tensor, "_ h w"]]:
        height, width = x.shape[1:]
        for start in range(0, self.q - 1, self.black_box.batch_size):
            n = min(self.black_box.batch_size, self.q - 1 - start)
            draws = torch.rand(n, self.cells**2 + 2, generator=generator)  # the last two: each mask's own shift
            grid = (draws[:, :-2] < self.kept_share).float().view(n, self.cells, self.cells)
            yield smooth_masks(grid, draws[:, -2:], (height, width))


def smooth_masks(
    grid: Float[Tensor, "n s s"], shift: Float[Tensor, "n 2"], size: tuple[int, int]
) -> Float[Tensor, "n {size[0]} {size[1]}"]:
    """The paper's masks: the grid up-sampled bilinearly to s + 1 cells a side, then a cut-out of the input's size.

    Args:
        grid: 1 where a cell shows the input, 0 where not.
        shift: where the cut-out begins, down and right, in cells, in [0, 1).
        size: height and width of the masks.

    Returns:
        Values in [0, 1].

    Example:
        >>> mask = smooth_masks(torch.tensor([[[0.0, 1.0], [0.0, 1.0]]]), torch.zeros(1, 2), (1, 4))
        >>> [round(v, 3) for v in mask[0, 0].tolist()]
        [0.0, 0.0, 0.333, 0.667]
    """
    cell = [-(-side // grid.shape[-1]) for side in size]  # rounded up
    whole = F.interpolate(grid[:, None], [(grid.shape[-1] + 1) * c for c in cell], mode="bilinear", align_corners=False)[:, 0]
    tops, lefts = ((shift[:, i] * cell[i]).long().tolist() for i in (0, 1))
    cuts = [w[t : t + size[0], left : left + size[1]] for w, t, left in zip(whole, tops, lefts, strict=True)]
    return torch.stack(cuts)
