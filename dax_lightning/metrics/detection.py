"""Does the map show that a model is bad?"""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Bool, Float
from torch import Tensor

from dax_lightning.explainers.base import Explainer
from dax_lightning.metrics.base import Metric
from dax_lightning.metrics.localisation import _counted, _truth
from dax_lightning.types import Case, Explanation


def detected(
    saliency: Float[Tensor, "*space"], truth: Bool[Tensor, "*space"], ignore: Bool[Tensor, "*space"] | None = None
) -> float:
    """1 where the map shows the truth rather than the rest, else 0. The mean over cases is the detection rate.

    Positive values are averaged over the truth and over the rest; the truth's mean must be higher. Means, not sums, so the
    larger region has no advantage. A flat map detects nothing.

    Example:
        >>> import torch
        >>> background = torch.tensor([True, True, True, False])
        >>> detected(torch.tensor([0.2, 0.4, 0.3, 0.1]), background), detected(torch.tensor([0.2, 0.4, 0.3, 0.9]), background)
        (1.0, 0.0)
    """
    saliency, truth = _counted(saliency.double().clamp(min=0), truth, ignore)
    if truth.all() or not truth.any() or saliency.min() == saliency.max():
        return 0.0
    return float(saliency[truth].mean() > saliency[~truth].mean())


@dataclass(frozen=True)
class Detected(Metric):
    """See :func:`detected`; meant for ``task=bad_model``, whose truth is the background that the model looks at."""

    higher_is_better: ClassVar[bool | None] = True
    needs_truth: ClassVar[bool] = True

    def _measure(self, case: Case, explanation: Explanation, explainer: Explainer | None) -> float:
        return detected(explanation.saliency, _truth(case), case.ignore)
