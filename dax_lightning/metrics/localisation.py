"""Does the map lie on the object? Ignored places (VOC's void) count neither for nor against."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Bool, Float
from torch import Tensor

from dax_lightning.errors import InputError
from dax_lightning.metrics.base import Metric
from dax_lightning.types import Case, Explanation


def iou(
    saliency: Float[Tensor, "*space"], truth: Bool[Tensor, "*space"], ignore: Bool[Tensor, "*space"] | None = None, k: float = 1.0
) -> float:
    """Intersection over union of the truth and the map above mean + k standard deviations.

    Mean and standard deviation are taken over the places that count. A flat map has nothing above its mean: 0.

    Returns:
        0 (disjoint) to 1 (the same region).

    Example:
        >>> import torch
        >>> iou(torch.tensor([0.0, 0.0, 1.0, 1.0]), torch.tensor([False, False, False, True]), k=0.5)
        0.5
    """
    saliency, truth = _counted(saliency.double(), truth, ignore)  # single precision puts a flat map's mean beside its value
    above = saliency > saliency.mean() + k * saliency.std(correction=0)
    union = (above | truth).sum().item()
    return (above & truth).sum().item() / union if union else 0.0


def pointing(
    saliency: Float[Tensor, "*space"], truth: Bool[Tensor, "*space"], ignore: Bool[Tensor, "*space"] | None = None
) -> float:
    """Pointing game: does the map's peak lie on the truth? A peak of several places gives the share of them that do.

    Returns:
        0 to 1.

    Example:
        >>> import torch
        >>> pointing(torch.tensor([0.1, 0.9, 0.9]), torch.tensor([False, True, False]))
        0.5
    """
    saliency, truth = _counted(saliency, truth, ignore)
    return truth[saliency == saliency.max()].float().mean().item()


def top_share(
    saliency: Float[Tensor, "*space"],
    truth: Bool[Tensor, "*space"],
    ignore: Bool[Tensor, "*space"] | None = None,
    share: float = 0.1,
) -> float:
    """Of the places with the highest values (a ``share`` of all), the part that lies on the truth.

    Where the map is tied at the edge of that share, the tied places count in proportion.

    Returns:
        0 to 1; a map that knows nothing gets the truth's own share of the picture.

    Example:
        >>> import torch
        >>> top_share(torch.tensor([4.0, 3.0, 2.0, 1.0]), torch.tensor([True, False, False, False]), share=0.5)
        0.5
    """
    saliency, truth = _counted(saliency, truth, ignore)
    wanted = max(1, round(share * saliency.numel()))
    edge = saliency.sort(descending=True).values[wanted - 1]
    above, tied = saliency > edge, saliency == edge
    left = wanted - above.sum().item()
    return (truth[above].sum().item() + left * truth[tied].float().mean().item()) / wanted


@dataclass(frozen=True)
class IoU(Metric):
    """See :func:`iou`; ``k`` standard deviations over the mean make the threshold (as in the DAX paper)."""

    k: float = 1.0
    higher_is_better: ClassVar[bool] = True
    needs_truth: ClassVar[bool] = True

    def _measure(self, case: Case, explanation: Explanation) -> float:
        return iou(explanation.saliency, _truth(case), case.ignore, self.k)


@dataclass(frozen=True)
class Pointing(Metric):
    """See :func:`pointing` (Zhang et al., "Top-down Neural Attention by Excitation Backprop", 2016)."""

    higher_is_better: ClassVar[bool] = True
    needs_truth: ClassVar[bool] = True

    def _measure(self, case: Case, explanation: Explanation) -> float:
        return pointing(explanation.saliency, _truth(case), case.ignore)


@dataclass(frozen=True)
class TopShare(Metric):
    """See :func:`top_share`."""

    share: float = 0.1
    higher_is_better: ClassVar[bool] = True
    needs_truth: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise InputError(f"metric.share={self.share}: wanted in (0, 1]")

    def _measure(self, case: Case, explanation: Explanation) -> float:
        return top_share(explanation.saliency, _truth(case), case.ignore, self.share)


def _truth(case: Case) -> Tensor:
    if case.truth is None:
        raise InputError(f"case {case.key} has no truth to measure against")
    return case.truth


def _counted(saliency: Tensor, truth: Tensor, ignore: Tensor | None) -> tuple[Tensor, Tensor]:
    if saliency.shape != truth.shape:
        raise InputError(f"map of shape {tuple(saliency.shape)} and truth of shape {tuple(truth.shape)} differ")
    if ignore is None:
        return saliency.flatten(), truth.flatten()
    return saliency[~ignore], truth[~ignore]
