"""Does the map depend on the model? A model with shuffled weights should get another map."""

import copy
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from torch import nn

from dax_lightning.black_box import BlackBox
from dax_lightning.errors import ModelError
from dax_lightning.explainers.base import Explainer
from dax_lightning.metrics.base import Metric
from dax_lightning.metrics.checks import given
from dax_lightning.metrics.sensitivity import rank_correlation
from dax_lightning.types import Case, Explanation


@torch.no_grad()
def shuffled(module: nn.Module, seed: int = 0) -> nn.Module:
    """A copy whose parameters have their values permuted, each tensor within itself; buffers stay.

    A batch norm that was folded into its convolution is shuffled with it.

    Example:
        >>> layer = nn.Linear(8, 8)
        >>> other = shuffled(layer)
        >>> before, after = layer.weight.flatten(), other.weight.flatten()
        >>> torch.equal(before, after), torch.equal(before.msort(), after.msort())
        (False, True)
    """
    other, generator = copy.deepcopy(module), torch.Generator().manual_seed(seed)
    for parameter in other.parameters():
        order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
        parameter.copy_(parameter.flatten()[order].view_as(parameter))
    return other


@dataclass(frozen=True)
class Randomisation(Metric):
    """Absolute :func:`rank_correlation` of the map and the map of a model with :func:`shuffled` weights; lower is better.

    A map that stays depends on the picture and not on the model. Range 0 to 1; a random map, which no model changes, gets 1.
    Rows that the shuffled model answers don't count as queries. Source: Adebayo et al., "Sanity checks for saliency maps", 2018,
    all layers at once.

    ``None`` where the black box is no torch module or the shuffled model has no finite answer. ``None`` too where one of the
    maps is flat: a shuffled model may answer the same whatever it sees, which says nothing about the method.

    Args:
        seed: of the shuffling.
    """

    seed: int = 0
    higher_is_better: ClassVar[bool | None] = False
    needs_truth: ClassVar[bool] = False
    needs_explainer: ClassVar[bool] = True

    def bank(self, black_box: BlackBox) -> AbstractContextManager[None]:
        """See :class:`Metric`."""
        return _shuffled_box(black_box, self.seed).bank() if black_box.module is not None else nullcontext()

    def _measure(self, case: Case, explanation: Explanation, explainer: Explainer | None) -> float | None:
        box, saliency = given(explainer).black_box, explanation.saliency
        if box.module is None or saliency.min() == saliency.max():
            return None
        try:
            other = given(explainer).again(black_box=_shuffled_box(box, self.seed)).explain_case(case, explanation.target)
        except ModelError:
            return None
        flat = other.saliency.min() == other.saliency.max()  # the shuffled model answers the same whatever it sees
        return None if flat else abs(rank_correlation(saliency, other.saliency))


@lru_cache(maxsize=1)  # the same for all cases and explainers of a run
def _shuffled_box(box: BlackBox, seed: int) -> BlackBox:
    return box.with_module(shuffled(box.module, seed))
