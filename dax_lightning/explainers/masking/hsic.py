"""HSIC attribution: how much the answer depends on whether a cell is shown (Novello, Fel and Vigouroux, NeurIPS 2022)."""

from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dax_lightning.black_box.base import BlackBox
from dax_lightning.errors import InputError, whole
from dax_lightning.explainers.base import Found
from dax_lightning.explainers.masking.base import FEWEST, ImageFill, MaskExplainer, check_cells, upsampled
from dax_lightning.game.base import TargetSpace, same_answers

_BLOCK = 512  # rows of the kernel matrix in memory at once
_FEW = 1000  # answers that the median distance is taken over: half a million pairs


class Hsic(MaskExplainer):
    """For each cell of a grid, the Hilbert-Schmidt independence criterion between its being shown and the answer.

    The map is never negative: it can't tell what speaks for the target from what speaks against it.

    Args:
        black_box: what is explained.
        q: rows asked, the input itself included: q - 1 masks (the paper: 1500, 750 for less).
        cells: side of the grid.
        fill: what shows where a cell is removed: ``zeros`` (the paper), ``image_mean`` or ``blur``.
        targets: the scale of the answers: ``probability`` or ``log_odds``.
        seed: of the masks, whose cells are shown with chance 0.5 each.

    Example:
        >>> from dax_lightning.black_box import from_function
        >>> box = from_function(lambda rows: rows[:, :2, :7, :7].mean((2, 3)), size=(14, 14), multi_label=True)
        >>> saliency = Hsic(box, q=200, cells=4).explain(torch.ones(3, 14, 14), target=0).saliency
        >>> bool(saliency[:7, :7].mean() > 5 * saliency[8:, 8:].mean())
        True
    """

    name: ClassVar[str] = "hsic"

    def __init__(
        self,
        black_box: BlackBox,
        q: int = 1000,
        cells: int = 7,
        fill: ImageFill = "zeros",
        targets: TargetSpace = "probability",
        seed: int = 0,
    ):
        super().__init__(black_box, q, fill, targets, seed)
        cells = whole("explainer.cells", cells)
        if cells < FEWEST:
            raise InputError(f"explainer.cells={cells}: it must be at least {FEWEST}")
        self.cells = cells

    def rows_needed(self, x: Float[Tensor, "c *space"]) -> int:
        """See :class:`Explainer`."""
        check_cells(self.cells, x, FEWEST)
        return self.q

    def _explain(
        self, x: Float[Tensor, "c h w"], target: int, generator: torch.Generator, segments: Int[Tensor, "h w"] | None
    ) -> Found:
        score = self._score(x, target).item()
        kept = (torch.rand(self.q - 1, self.cells, self.cells, generator=generator) < 0.5).float()
        probability = self._cell_answers(x, kept, target)
        if same_answers(probability):
            return Found(torch.zeros(x.shape[1:]), score)
        answers = self._scaled(probability)
        found = hsic(kept.flatten(1), answers).view(self.cells, self.cells)
        return Found(upsampled(found, x), score, notes={"masks": len(kept), "bandwidth": bandwidth(answers)})


def hsic(kept: Float[Tensor, "n d"], answers: Float[Tensor, " n"]) -> Float[Tensor, " d"]:
    """The paper's estimate ``tr(K H L H) / (n - 1)²`` for each variable, in O(n²) time and O(n) memory.

    L is a Gaussian kernel on the answers, of :func:`bandwidth`; K is 0.5 where two rows agree and -0.5 where not (Dirac's kernel
    less a constant, which the centring H removes anyway). K is half the outer product of the column's signs with itself, so no
    n x n matrix of it is needed.

    Args:
        kept: 0 or 1.
        answers: the black box's, on any scale.

    Returns:
        0 (independent, or a constant) and higher.

    Example:
        >>> kept = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
        >>> [round(v, 3) for v in hsic(kept, torch.tensor([0.0, 0.0, 1.0, 1.0])).tolist()]
        [0.175, 0.0]
    """
    width, y = bandwidth(answers), answers.double()
    signs = 2 * kept.double() - 1
    centred = signs - signs.mean(0)
    total = torch.zeros(kept.shape[1], dtype=torch.float64)
    if width == 0:
        return total
    for rows, part in zip(y.split(_BLOCK), centred.split(_BLOCK), strict=True):
        kernel = torch.exp(-((rows[:, None] - y) ** 2) / (2 * width**2))
        total += (part * (kernel @ centred)).sum(0)
    return total / (2 * (len(y) - 1) ** 2)


def bandwidth(answers: Float[Tensor, " n"]) -> float:
    """Median distance between two answers (of the first 1000); their mean distance where most are equal, 0 where all are.

    The usual heuristic. The authors' code takes the median answer itself, which is no distance and 0 at even log-odds.

    Example:
        >>> bandwidth(torch.tensor([0.0, 1.0, 3.0])), bandwidth(torch.tensor([2.0, 2.0]))
        (2.0, 0.0)
    """
    distances = torch.nn.functional.pdist(answers[:_FEW, None].double())
    return distances.median().item() or distances.mean().item()
