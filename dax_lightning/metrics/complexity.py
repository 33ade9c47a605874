"""How few places does the map name?"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from dax_lightning.explainers.base import Explainer
from dax_lightning.metrics.base import Metric
from dax_lightning.types import Case, Explanation


def gini(saliency: Float[Tensor, "*space"]) -> float:
    """Gini index of the map's absolute values: how unequally they are spread.

    The map's zero matters: adding a constant lowers the index.

    Returns:
        0 (all alike, or all zero) to almost 1 (one place has everything).

    Example:
        >>> gini(torch.tensor([0.0, 0.0, 0.0, 1.0])), gini(torch.ones(4))
        (0.75, 0.0)
    """
    values = saliency.double().abs().flatten().sort().values
    n, total = len(values), values.sum().item()
    ranks = 2 * torch.arange(1, n + 1, dtype=torch.double) - n - 1
    return (ranks @ values).item() / (n * total) if total else 0.0


@dataclass(frozen=True)
class Sparseness(Metric):
    """See :func:`gini` (Chalasani et al., "Concise explanations of neural networks using adversarial training", 2020).

    Range 0 to 1. It has no direction: a map that names a single wrong place is as sparse as a map can be. Void places count,
    since no truth is used.
    """

    higher_is_better: ClassVar[bool | None] = None
    needs_truth: ClassVar[bool] = False

    def _measure(self, case: Case, explanation: Explanation, explainer: Explainer | None) -> float:
        return gini(explanation.saliency)
