"""Is the map stable? Another seed, or invisible noise, should change little."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dax_lightning.errors import InputError
from dax_lightning.explainers.base import Explainer
from dax_lightning.metrics.base import Metric
from dax_lightning.metrics.checks import given
from dax_lightning.types import Case, Explanation


def rank_correlation(first: Float[Tensor, "*space"], second: Float[Tensor, "*space"]) -> float:
    """Spearman's rank correlation of two maps over all their places; ties share the mean of their ranks.

    The correlation of a flat map with any map is 0.

    Returns:
        -1 (the reverse order) to 1 (the same order).

    Raises:
        InputError: the maps differ in shape.

    Example:
        >>> round(rank_correlation(torch.tensor([0.1, 0.2, 9.0]), torch.tensor([1.0, 2.0, 3.0])), 6)
        1.0
    """
    if first.shape != second.shape:
        raise InputError(f"maps of shapes {tuple(first.shape)} and {tuple(second.shape)} can't be compared: wanted the same")
    from scipy.stats import rankdata  # not at the top: a run without this metric needn't wait for it

    one, other = (rankdata(each.flatten().numpy()) for each in (first, second))
    one, other = one - one.mean(), other - other.mean()
    size = np.linalg.norm(one) * np.linalg.norm(other)
    return float(np.clip(one @ other / size, -1, 1)) if size else 0.0


def noisy(
    x: Float[Tensor, "c *space"], sigma: float, seed: int, low: float | int = 0, high: float | int = 1
) -> Float[Tensor, "c *space"]:
    """``x`` with Gaussian noise, clamped to [low, high]; ``sigma`` is its standard deviation in parts of that range.

    Example:
        >>> noisy(torch.ones(3, 2, 2), sigma=0.1, seed=0).max().item()
        1.0
    """
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
    return (x + sigma * (high - low) * noise).clamp(low, high)


@dataclass(frozen=True)
class StabilitySeeds(Metric):
    """Mean :func:`rank_correlation` of the map with the maps that ``seeds`` other seeds give; -1 to 1, 1 is best.

    A deterministic explainer needs no query: its map is compared with itself. Void places count too. A random map gives 0, and
    so does a flat one.

    Args:
        seeds: how many; each costs as much as the explanation.
    """

    seeds: int = 2
    higher_is_better: ClassVar[bool | None] = True
    needs_truth: ClassVar[bool] = False
    needs_explainer: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise InputError(f"metric.seeds={self.seeds}: it must be at least 1 other seed")

    def _measure(self, case: Case, explanation: Explanation, explainer: Explainer | None) -> float:
        return _agreement(explanation, self._others(case, explanation, given(explainer)))

    def _others(self, case: Case, explanation: Explanation, explainer: Explainer) -> Iterable[Explanation]:
        if explainer.deterministic:
            return [explanation]
        others = (explainer.again(seed=explainer.seed + 1 + i) for i in range(self.seeds))
        return (other.explain_case(case, explanation.target) for other in others)


@dataclass(frozen=True)
class StabilityNoise(Metric):
    """Mean :func:`rank_correlation` of the map with the maps of the input under small noise; -1 to 1, 1 is best.

    Explainers draw new copies for each input, so this number includes the effect of another seed: read it beside
    :class:`StabilitySeeds`. The noise is the same for all explainers. Void places count too. Source: Alvarez-Melis and Jaakkola,
    "On the robustness of interpretability methods", 2018, with ranks in place of distances.

    Args:
        sigma: the noise's standard deviation, in units of the input's range; 0.02 is 5 of 255 grey levels.
        repeats: how many noises; each costs as much as the explanation.
        seed: of the noise.
    """

    sigma: float = 0.02
    repeats: int = 2
    seed: int = 0
    higher_is_better: ClassVar[bool | None] = True
    needs_truth: ClassVar[bool] = False
    needs_explainer: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.sigma <= 0 or self.repeats < 1:
            raise InputError(f"metric.sigma={self.sigma}, repeats={self.repeats}: wanted a positive sigma and 1 repeat or more")

    def _measure(self, case: Case, explanation: Explanation, explainer: Explainer | None) -> float:
        view = given(explainer).black_box.input
        noises = (noisy(case.x, self.sigma, self.seed + i, view.low, view.high) for i in range(self.repeats))
        noised = (replace(case, x=x) for x in noises)
        return _agreement(explanation, (given(explainer).explain_case(other, explanation.target) for other in noised))


def _agreement(explanation: Explanation, others: Iterable[Explanation]) -> float:
    return float(np.mean([rank_correlation(explanation.saliency, other.saliency) for other in others]))
