"""RISE, LIME and a ridge on the target's own answers, on DAX-Mosaic's copies.

They take the student's place. With ``targets=profile``, ``averaged=None``, ``parts=0.3`` and ``last=0.1`` all else is
DAX-Mosaic's, so that a comparison tells methods apart and not perturbations.
"""

from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dax_lightning.black_box.base import BlackBox
from dax_lightning.explainers.mosaic.explainer import MosaicDax, Student
from dax_lightning.explainers.mosaic.ridge import Imitation, partition_of
from dax_lightning.explainers.mosaic.signal import MosaicTargets
from dax_lightning.explainers.surrogate.lime import weighted_ridge
from dax_lightning.game.base import Answers
from dax_lightning.game.subsets import Perturber
from dax_lightning.segment.mosaic import Mosaic


class RidgeOnMosaic(MosaicDax):
    """DAX-Mosaic's student on the target's own answers, averaged once, without the last copies.

    See :class:`~dax_lightning.explainers.mosaic.MosaicDax` for the arguments.

    Example:
        >>> from dax_lightning.black_box import from_function
        >>> from dax_lightning.segment.grid import Grid
        >>> box = from_function(lambda rows: rows[:, :2, :7, :7].mean((2, 3)), size=(14, 14), multi_label=True)
        >>> mosaic, zeros = Mosaic(Grid(2, 2), [Grid(7, 7)]), Perturber(fill="zeros")
        >>> saliency = RidgeOnMosaic(box, mosaic, zeros, q=400).explain(torch.ones(3, 14, 14), target=0).saliency
        >>> bool(saliency[:7, :7].min() > saliency[8:, 8:].max())
        True
    """

    name: ClassVar[str] = "ridge_mosaic"

    def __init__(
        self,
        black_box: BlackBox,
        mosaic: Mosaic | None = None,
        perturber: Perturber | None = None,
        q: int = 1000,
        targets: MosaicTargets = "log_odds",
        averaged: int | None = 1,
        parts: float = 0.0,
        last: float = 0.0,
        min_fidelity: float = 0.1,
        seed: int = 0,
    ):
        super().__init__(black_box, mosaic, perturber, q, targets, averaged, parts, last, min_fidelity, seed)


class RiseOnMosaic(RidgeOnMosaic):
    """RISE's mean answer, kept minus removed, over the copies of many partitions.

    See :class:`~dax_lightning.explainers.mosaic.MosaicDax` for the arguments.

    Example:
        >>> from dax_lightning.black_box import from_function
        >>> from dax_lightning.segment.grid import Grid
        >>> box = from_function(lambda rows: rows[:, :2, :7, :7].mean((2, 3)), size=(14, 14), multi_label=True)
        >>> mosaic, zeros = Mosaic(Grid(2, 2), [Grid(7, 7)]), Perturber(fill="zeros")
        >>> saliency = RiseOnMosaic(box, mosaic, zeros, q=400).explain(torch.ones(3, 14, 14), target=0).saliency
        >>> bool(saliency[:7, :7].min() > saliency[8:, 8:].max())
        True
    """

    name: ClassVar[str] = "rise_mosaic"

    def _student(self, answers: Answers, levels: Int[Tensor, "p *space"]) -> Student:
        return lambda values: Imitation(kept_minus_removed(answers.kept, values, levels, answers.weight), None)


class LimeOnMosaic(RidgeOnMosaic):
    """LIME's weighted ridge on the copies of each partition; the map is the mean over the partitions.

    See :class:`~dax_lightning.explainers.mosaic.MosaicDax` for the arguments.

    Example:
        >>> from dax_lightning.black_box import from_function
        >>> from dax_lightning.segment.grid import Grid
        >>> box = from_function(lambda rows: rows[:, :2, :7, :7].mean((2, 3)), size=(14, 14), multi_label=True)
        >>> mosaic, zeros = Mosaic(Grid(2, 2), [Grid(7, 7)]), Perturber(fill="zeros")
        >>> saliency = LimeOnMosaic(box, mosaic, zeros, q=400).explain(torch.ones(3, 14, 14), target=0).saliency
        >>> bool(saliency[:7, :7].min() > saliency[8:, 8:].max())
        True
    """

    name: ClassVar[str] = "lime_mosaic"

    def _student(self, answers: Answers, levels: Int[Tensor, "p *space"]) -> Student:
        return lambda values: Imitation(mean_of_limes(answers.kept, values, levels, answers.weight), None)


def kept_minus_removed(
    kept: Bool[Tensor, "n j"], values: Float[Tensor, " n"], levels: Int[Tensor, "p *space"], weight: Float[Tensor, " n"]
) -> Float[Tensor, "*space"]:
    """For each place, the mean answer of copies that keep it minus that of copies that don't: RISE's map and its complement's.

    Positive where a place speaks for the target, on average over what else is there. Exact at every place: a copy's mask is a sum
    over its segments, so sums over copies are made a segment at a time.

    Example:
        >>> kept = torch.tensor([[True, True], [True, False], [False, True], [False, False]])
        >>> kept_minus_removed(kept, torch.tensor([3.0, 2.0, 1.0, 0.0]), torch.tensor([[[0, 1]]]), torch.ones(4)).tolist()
        [[2.0, 1.0]]
    """
    rows, weight = kept.double(), weight.double()
    centred = weight * (values - (weight * values).sum() / weight.sum())
    total = (centred @ rows)[levels].sum(0)  # over what is removed, it is its negative
    shown = (weight @ rows)[levels].sum(0)
    return (total / shown.clamp_min(1e-9) + total / (weight.sum() - shown).clamp_min(1e-9)).float()


def mean_of_limes(
    kept: Bool[Tensor, "n j"], values: Float[Tensor, " n"], levels: Int[Tensor, "p *space"], weight: Float[Tensor, " n"]
) -> Float[Tensor, "*space"]:
    """LIME's ridge on the copies of each partition, and the mean of their maps.

    Example:
        >>> kept = torch.tensor([[True, True], [True, False], [False, True]])
        >>> mean_of_limes(kept, torch.tensor([2.0, 2.0, 0.0]), torch.tensor([[[0, 1]]]), torch.ones(3)).round(decimals=2).tolist()
        [[0.75, -0.25]]
    """
    importance, group = torch.zeros(kept.shape[1]), partition_of(kept, levels)
    for number, level in enumerate(levels):
        rows, own = group == number, level.unique()  # a copy that kept nothing tells no partition from another
        if rows.sum() > 1:
            importance[own] = weighted_ridge(kept[rows][:, own], values[rows], weight[rows]).importance
    return importance[levels].mean(0)
