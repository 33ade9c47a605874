"""The mathematics of DAX: pure functions, and the three losses made of them.

Equations are numbered as in the paper (Bhattacharya et al., "Gradient-free Post-hoc Explainability Using Distillation Aided
Learnable Approach"). All scores are in the student's own units: probabilities, or standardised log-odds (see
:class:`dax_lightning.explainers.dax.data.Targets`).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from dax_lightning.errors import InputError

Reduction = Literal["sum", "mean"]


def weighted_mse(score: Float[Tensor, " n"], teacher: Float[Tensor, " n"], weight: Float[Tensor, " n"]) -> Float[Tensor, ""]:
    """Mean of ``w (teacher - score)²`` over the batch: first term of equations 8, 9 and 11.

    Example:
        >>> weighted_mse(torch.tensor([0.5, 0.0]), torch.tensor([1.0, 0.0]), torch.tensor([1.0, 0.5])).item()
        0.125
    """
    return (weight * (teacher - score) ** 2).mean()


def mask_l1(mask: Float[Tensor, "n 1 *cells"], reduction: Reduction = "sum") -> Float[Tensor, ""]:
    """L1 norm of each mask, averaged over the batch: the sparsity term of equation 9.

    Args:
        mask: masks in [0, 1] at the mask network's own resolution.
        reduction: ``sum`` over the cells, or their ``mean``.

    Example:
        >>> mask_l1(torch.full((2, 1, 2, 2), 0.5)).item(), mask_l1(torch.full((2, 1, 2, 2), 0.5), "mean").item()
        (2.0, 0.5)
    """
    flat = mask.flatten(1).abs()
    return (flat.sum(1) if reduction == "sum" else flat.mean(1)).mean()


def soft_histogram(scores: Float[Tensor, " n"], centres: Float[Tensor, " b"]) -> Float[Tensor, " b"]:
    """A histogram with a gradient: each score is shared among bins by a softmax over its squared distance to their centres.

    Args:
        scores: any range; far outside the centres they fall to the outer bins.
        centres: bin centres, evenly spaced and increasing; half their spacing is the width of the kernel.

    Returns:
        Shares that sum to 1.

    Example:
        >>> [round(share, 3) for share in soft_histogram(torch.tensor([0.0, 0.0, 1.0, 1.0]), torch.tensor([0.0, 1.0])).tolist()]
        [0.5, 0.5]
    """
    width = (centres[1] - centres[0]) / 2
    return torch.softmax(-((scores[:, None] - centres) ** 2) / (2 * width**2), dim=1).mean(0)


def kl_divergence(q: Float[Tensor, " b"], q_hat: Float[Tensor, " b"]) -> Float[Tensor, ""]:
    """``KL(q ‖ q_hat)`` in nats, 0 or more (equation 10).

    Example:
        >>> round(kl_divergence(torch.tensor([0.5, 0.5]), torch.tensor([0.25, 0.75])).item(), 4)
        0.1438
    """
    tiny = torch.finfo(q.dtype).tiny
    return (q * (q.clamp_min(tiny).log() - q_hat.clamp_min(tiny).log())).sum()


def score_kl(score: Float[Tensor, " n"], teacher: Float[Tensor, " n"], bins: int = 10) -> Float[Tensor, ""]:
    """KL divergence of the batch's histogram of student scores from that of the black box's scores (equation 10).

    The bins part the range of the batch's black-box scores evenly; a batch of equal scores has no distribution to compare
    and gives 0.

    Example:
        >>> y = torch.tensor([0.0, 0.5, 1.0])
        >>> score_kl(y, y).item()
        0.0
    """
    low, high = teacher.min(), teacher.max()
    if high - low < 1e-6:
        return score.sum() * 0
    centres = low + (high - low) * (torch.arange(bins, device=score.device) + 0.5) / bins
    return kl_divergence(soft_histogram(teacher, centres), soft_histogram(score, centres))


def counterfactual(
    rest: Float[Tensor, " n"], teacher: Float[Tensor, " n"], weight: Float[Tensor, " n"], ceiling: float | None = None
) -> Float[Tensor, ""]:
    """How badly the mask's complement explains the scores (second term of equation 11, to be made large).

    Args:
        rest: student scores of the complement, ``f_S(x_p ⊙ (1 - M))``.
        teacher: black-box scores.
        weight: closeness of each copy.
        ceiling: the term stops to grow here, so that it can't run off; ``None`` as in the paper.

    Example:
        >>> counterfactual(torch.tensor([3.0]), torch.tensor([1.0]), torch.tensor([1.0])).item()
        4.0
        >>> counterfactual(torch.tensor([3.0]), torch.tensor([1.0]), torch.tensor([1.0]), ceiling=1.0).item()
        1.0
    """
    error = weighted_mse(rest, teacher, weight)
    return error if ceiling is None else error.clamp(max=ceiling)


def weighted_r2(score: Float[Tensor, " n"], teacher: Float[Tensor, " n"], weight: Float[Tensor, " n"]) -> float:
    """The student's fidelity: weighted share of the black box's variance that it explains, at most 1.

    0 is what a constant reaches; negative is worse than a constant. Where the black box itself is constant there is nothing
    to learn, and the result is NaN.

    Example:
        >>> y, w = torch.tensor([0.0, 1.0]), torch.ones(2)
        >>> weighted_r2(y, y, w), weighted_r2(torch.full((2,), 0.5), y, w)
        (1.0, 0.0)
    """
    score, teacher, weight = score.double(), teacher.double(), weight.double()
    centre = (weight * teacher).sum() / weight.sum()
    variance = (weight * (teacher - centre) ** 2).sum()
    if variance <= 1e-12 * weight.sum():
        return float("nan")
    return 1 - ((weight * (teacher - score) ** 2).sum() / variance).item()


@dataclass(frozen=True)
class DaxLoss(ABC):
    """What mask and student are trained to: a sum of named terms."""

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, int | float) and not value >= 0:
                raise InputError(f"{f.name}={value}: weights and ceilings of a loss are 0 or more")

    @property
    def needs_rest(self) -> bool:
        """Whether the student must also score the mask's complement."""
        return False

    @abstractmethod
    def __call__(
        self,
        kept: Float[Tensor, " n"],
        rest: Float[Tensor, " n"] | None,
        teacher: Float[Tensor, " n"],
        mask: Float[Tensor, "n 1 *cells"],
        weight: Float[Tensor, " n"],
    ) -> dict[str, Float[Tensor, ""]]:
        """The loss's terms, ``total`` among them; the others enter it with the loss's own weights and signs.

        Args:
            kept: student's scores of ``x_p ⊙ M``.
            rest: student's scores of ``x_p ⊙ (1 - M)``; may be ``None`` where ``needs_rest`` is false.
            teacher: black box's scores.
            mask: the masks M, in [0, 1].
            weight: closeness of each copy.
        """


@dataclass(frozen=True)
class SparseLoss(DaxLoss):
    """DAX-V1 (equations 8 and 9): ``MSE + lam1 ‖M‖₁ + lam2 KL``.

    Args:
        lam1: weight of the mask's L1 norm.
        lam2: weight of the KL divergence between the batch's scores.
        l1: ``sum`` over the mask's cells, or their ``mean`` (the paper does not say which).

    Example:
        >>> loss = SparseLoss(lam1=0.001, lam2=0.02)
        >>> y, w = torch.tensor([0.0, 1.0]), torch.ones(2)
        >>> round(loss(y, None, y, torch.full((2, 1, 10, 10), 0.5), w)["total"].item(), 3)
        0.05
    """

    lam1: float = 0.001
    lam2: float = 0.02
    l1: Reduction = "sum"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.l1 not in get_args(Reduction):
            raise InputError(f"loss.l1={self.l1}: choose one of {', '.join(get_args(Reduction))}")

    def __call__(self, kept, rest, teacher, mask, weight):
        """``total``, ``mse``, ``l1`` and ``kl``; see :class:`DaxLoss`."""
        terms = {
            "mse": weighted_mse(kept, teacher, weight),
            "l1": mask_l1(mask, self.l1),
            "kl": score_kl(kept, teacher),
        }
        return {"total": terms["mse"] + self.lam1 * terms["l1"] + self.lam2 * terms["kl"], **terms}


@dataclass(frozen=True)
class CounterfactualLoss(DaxLoss):
    """DAX-V2 and V3 (equation 11): ``MSE - lam3 MSE(complement)``; V3 is V2 on SAM's segments.

    Args:
        lam3: weight of the counterfactual term.
        ceiling: where that term stops to grow, in units of the scores squared; ``null`` as in the paper.

    Example:
        >>> loss = CounterfactualLoss(lam3=0.5)
        >>> y, w = torch.tensor([0.0, 1.0]), torch.ones(2)
        >>> loss(y, 1 - y, y, torch.ones(2, 1, 2, 2), w)["total"].item()
        -0.5
    """

    lam3: float = 0.5
    ceiling: float | None = 1.0

    @property
    def needs_rest(self) -> bool:
        """Not where the term has no weight: the student is then spared half of its work."""
        return self.lam3 > 0

    def __call__(self, kept, rest, teacher, mask, weight):
        """``total``, ``mse`` and, where it has weight, ``counterfactual``; see :class:`DaxLoss`."""
        if not self.needs_rest:
            error = weighted_mse(kept, teacher, weight)
            return {"total": error, "mse": error}
        if rest is None:
            raise ValueError("a counterfactual loss needs the student's scores of the mask's complement")
        terms = {
            "mse": weighted_mse(kept, teacher, weight),
            "counterfactual": counterfactual(rest, teacher, weight, self.ceiling),
        }
        return {"total": terms["mse"] - self.lam3 * terms["counterfactual"], **terms}
