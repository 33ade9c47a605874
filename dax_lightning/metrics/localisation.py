"""Does the map lie on the object? Ignored places (VOC's void) don't count."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from dax_lightning.errors import InputError
from dax_lightning.explainers.base import Explainer
from dax_lightning.game.fill import blurred
from dax_lightning.metrics.base import Curve, Measured, Metric
from dax_lightning.metrics.checks import given
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
    return _overlap(saliency > saliency.mean() + k * saliency.std(correction=0), truth)


def _overlap(named: Bool[Tensor, " n"], truth: Bool[Tensor, " n"]) -> float:
    union = (named | truth).sum().item()
    return (named & truth).sum().item() / union if union else 0.0


def iou_best(
    saliency: Float[Tensor, "*space"], truth: Bool[Tensor, "*space"], ignore: Bool[Tensor, "*space"] | None = None
) -> float:
    """The highest IoU over all thresholds on the map: its score with the best threshold known.

    Equal values stay together. The lowest threshold keeps everything, so a map that varies scores at least the truth's share
    of the picture. A flat map has no threshold: 0.

    Returns:
        0 to 1; 1 if and only if every value on the truth lies over every value beside it.

    Example:
        >>> import torch
        >>> iou_best(torch.tensor([0.0, 0.3, 0.2, 0.9]), torch.tensor([False, False, True, True])) == 2 / 3
        True
    """
    saliency, truth = _counted(saliency, truth, ignore)
    values, order = saliency.sort(descending=True)
    if not len(values) or values[0] == values[-1]:
        return 0.0
    hits, above = truth[order].cumsum(0), torch.arange(1, len(values) + 1)
    last_of_its_value = torch.cat([values[1:] != values[:-1], torch.tensor([True])])
    return (hits / (above + hits[-1] - hits).double())[last_of_its_value].max().item()


def pointing(
    saliency: Float[Tensor, "*space"], truth: Bool[Tensor, "*space"], ignore: Bool[Tensor, "*space"] | None = None
) -> float:
    """Pointing game: does the map's peak lie on the truth? A peak of several places gives the share of them that do.

    There is no tolerance. Published numbers are often higher, since they count a peak within 15 pixels of the object as a hit.

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
    """Share of the most salient places that lies on the truth.

    ``share`` of all places is looked at. Places tied at the edge of that share count in proportion.

    Returns:
        0 to 1. An uninformed map gets the truth's share of the picture.

    Example:
        >>> import torch
        >>> top_share(torch.tensor([4.0, 3.0, 2.0, 1.0]), torch.tensor([True, False, False, False]), share=0.5)
        0.5
    """
    saliency, truth = _counted(saliency, truth, ignore)
    return mean_of_highest(saliency, truth, max(1, round(share * saliency.numel())))


def mass_accuracy(
    saliency: Float[Tensor, "*space"], truth: Bool[Tensor, "*space"], ignore: Bool[Tensor, "*space"] | None = None
) -> float:
    """Share of the map's positive mass that lies on the truth.

    Negative values are left out. The map's zero matters: adding a constant to a map, as RISE does, moves the score towards the
    truth's share of the picture. A map without positive values has no mass: 0.

    Returns:
        0 to 1.

    Example:
        >>> import torch
        >>> mass_accuracy(torch.tensor([3.0, 1.0, -5.0]), torch.tensor([True, False, False]))
        0.75
    """
    saliency, truth = _counted(saliency.double(), truth, ignore)
    mass = saliency.clamp(min=0)
    total = mass.sum().item()
    return mass[truth].sum().item() / total if total else 0.0


def rank_accuracy(
    saliency: Float[Tensor, "*space"], truth: Bool[Tensor, "*space"], ignore: Bool[Tensor, "*space"] | None = None
) -> float:
    """Share of the n most salient places that lies on the truth, where n is the truth's size. Ties count in proportion.

    Returns:
        0 to 1. An uninformed map gets the truth's share of the picture; 0 where the truth is empty.

    Example:
        >>> import torch
        >>> rank_accuracy(torch.tensor([4.0, 3.0, 2.0, 1.0]), torch.tensor([True, False, True, False]))
        0.5
    """
    saliency, truth = _counted(saliency, truth, ignore)
    size = int(truth.sum())
    return mean_of_highest(saliency, truth, size) if size else 0.0


def over_time(values: Float[Tensor, "*space"]) -> Float[Tensor, "*space"]:
    """A spectrogram's map summed over frequency, each sum at all bands of its time; a wave's map as it is.

    Example:
        >>> import torch
        >>> over_time(torch.tensor([[1.0, 2.0], [3.0, 4.0]])).tolist()
        [[4.0, 6.0], [4.0, 6.0]]
    """
    return values.flatten(0, -2).sum(0).expand_as(values).contiguous() if values.ndim > 1 else values


def smoothed(saliency: Float[Tensor, "*space"], sigma: float) -> Float[Tensor, "*space"]:
    """The map under a Gaussian blur; ``sigma`` is a share of the shorter side, 0 for none.

    Raises:
        InputError: ``sigma`` is negative.

    Example:
        >>> import torch
        >>> smoothed(torch.tensor([[0.0, 1.0]]), 0.0).tolist()
        [[0.0, 1.0]]
    """
    if not sigma >= 0:
        raise InputError(f"metric.smoothing={sigma}: wanted 0 or more, a share of the shorter side such as 0.02")
    return blurred(saliency[None], sigma)[0] if sigma else saliency


@dataclass(frozen=True)
class IoU(Metric):
    """See :func:`iou`; as in the DAX paper, the threshold is k standard deviations over the mean.

    Args:
        k: standard deviations over the mean.
        smoothing: standard deviation of a Gaussian blur of the map, as a share of the shorter side; 0: no blur.

    Example:
        >>> import torch
        >>> truth = torch.tensor([[True, True, False, False]])
        >>> made = Explanation(torch.tensor([[0.0, 1.0, 0.0, 0.0]]), target=0, score=1.0, queries=1, seconds=0.0)
        >>> [IoU(0.0, smoothing)(Case("a", torch.zeros(3, 1, 4), 0, truth), made) for smoothing in (0.0, 1.0)]
        [0.5, 1.0]
    """

    k: float = 1.0
    smoothing: float = 0.0
    higher_is_better: ClassVar[bool | None] = True
    needs_truth: ClassVar[bool] = True

    def _measure(self, case: Case, explanation: Explanation, explainer: Explainer | None) -> float:
        return iou(smoothed(explanation.saliency, self.smoothing), _truth(case), case.ignore, self.k)


@dataclass(frozen=True)
class IoURegion(Metric):
    """IoU of the region that the method names; of a method that names none, what lies above the map's mean + 1 std.

    Example:
        >>> import torch
        >>> truth, named = torch.tensor([[True, True, False, False]]), torch.tensor([[True, False, False, False]])
        >>> made = Explanation(torch.tensor([[4.0, 3.0, 2.0, 0.0]]), target=0, score=1.0, queries=1, seconds=0.0, region=named)
        >>> IoURegion()(Case("a", torch.zeros(3, 1, 4), 0, truth), made)
        0.5
    """

    higher_is_better: ClassVar[bool | None] = True
    needs_truth: ClassVar[bool] = True

    def _measure(self, case: Case, explanation: Explanation, explainer: Explainer | None) -> float:
        if explanation.region is None:
            return iou(explanation.saliency, _truth(case), case.ignore)
        return _overlap(*_counted(explanation.region, _truth(case), case.ignore))


@dataclass(frozen=True)
class IoUBest(Metric):
    """See :func:`iou_best`; its curve is :func:`iou` at each k from ``k_min`` to ``k_max`` in steps of ``k_step``.

    ``smoothing`` is as in :class:`IoU`.

    Example:
        >>> len(IoUBest().ks())
        61
    """

    k_min: float = -2.0
    k_max: float = 4.0
    k_step: float = 0.1
    smoothing: float = 0.0
    higher_is_better: ClassVar[bool | None] = True
    needs_truth: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.k_step <= 0 or self.k_max < self.k_min:
            raise InputError(
                f"metric.k_min={self.k_min}, k_max={self.k_max}, k_step={self.k_step}: wanted k_min up to k_max in positive steps"
            )

    def ks(self) -> list[float]:
        """The k of the curve, ascending."""
        count = int((self.k_max - self.k_min) / self.k_step + 1e-9) + 1  # the last one in spite of rounding
        return [round(self.k_min + self.k_step * i, 9) for i in range(count)]

    def _measure(self, case: Case, explanation: Explanation, explainer: Explainer | None) -> Measured:
        parts = smoothed(explanation.saliency, self.smoothing), _truth(case), case.ignore
        curve = Curve(self.ks(), [iou(*parts, k) for k in self.ks()], "k", "IoU above mean + k standard deviations")
        return Measured(iou_best(*parts), curve)


@dataclass(frozen=True)
class IoUWrongLabel(Metric):
    """IoU of the truth and the map for a class that is not in the picture (the DAX paper's Table II). Lower is better.

    The explainer runs again for ``case.wrong``. A map that lies on the object whatever the class scores as high as its
    :class:`IoU`. A random map scores low too, so low numbers mean something only beside a high :class:`IoU`.
    Range 0 to 1; ``None`` where ``case.wrong`` is ``None``.

    Args:
        k: standard deviations over the mean.
        of_time: sum a spectrogram's map over frequency first.
    """

    k: float = 1.0
    of_time: bool = False
    higher_is_better: ClassVar[bool | None] = False
    needs_truth: ClassVar[bool] = True
    needs_explainer: ClassVar[bool] = True

    def _measure(self, case: Case, explanation: Explanation, explainer: Explainer | None) -> float | None:
        if case.wrong is None:
            return None
        saliency = given(explainer).explain_case(case, case.wrong).saliency
        if self.of_time:
            return iou(over_time(saliency), over_time(_truth(case).float()) > 0, case.ignore, self.k)
        return iou(saliency, _truth(case), case.ignore, self.k)


@dataclass(frozen=True)
class Pointing(Metric):
    """See :func:`pointing` (Zhang et al., "Top-down Neural Attention by Excitation Backprop", 2016)."""

    higher_is_better: ClassVar[bool | None] = True
    needs_truth: ClassVar[bool] = True

    def _measure(self, case: Case, explanation: Explanation, explainer: Explainer | None) -> float:
        return pointing(explanation.saliency, _truth(case), case.ignore)


@dataclass(frozen=True)
class TopShare(Metric):
    """See :func:`top_share`."""

    share: float = 0.1
    higher_is_better: ClassVar[bool | None] = True
    needs_truth: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_share(self.share)

    def _measure(self, case: Case, explanation: Explanation, explainer: Explainer | None) -> float:
        return top_share(explanation.saliency, _truth(case), case.ignore, self.share)


@dataclass(frozen=True)
class RelevanceMass(Metric):
    """See :func:`mass_accuracy` (Arras et al., "CLEVR-XAI: a benchmark dataset for the ground truth evaluation", 2022)."""

    higher_is_better: ClassVar[bool | None] = True
    needs_truth: ClassVar[bool] = True

    def _measure(self, case: Case, explanation: Explanation, explainer: Explainer | None) -> float:
        return mass_accuracy(explanation.saliency, _truth(case), case.ignore)


@dataclass(frozen=True)
class RelevanceRank(Metric):
    """See :func:`rank_accuracy` (Arras et al., "CLEVR-XAI: a benchmark dataset for the ground truth evaluation", 2022)."""

    higher_is_better: ClassVar[bool | None] = True
    needs_truth: ClassVar[bool] = True

    def _measure(self, case: Case, explanation: Explanation, explainer: Explainer | None) -> float:
        return rank_accuracy(explanation.saliency, _truth(case), case.ignore)


def check_share(share: float) -> None:
    """Raise an InputError unless it is in (0, 1]."""
    if not 0 < share <= 1:
        raise InputError(f"metric.share={share}: wanted in (0, 1]")


def mean_of_highest(saliency: Shaped[Tensor, " n"], values: Shaped[Tensor, " n"], wanted: int) -> float:
    """Mean of ``values``, such as the truth, over the ``wanted`` highest places; those tied at the edge count in proportion.

    Example:
        >>> import torch
        >>> mean_of_highest(torch.tensor([2.0, 1.0, 1.0]), torch.tensor([1.0, 0.0, 1.0]), wanted=2)
        0.75
    """
    edge = saliency.sort(descending=True).values[wanted - 1]
    above, tied = saliency > edge, saliency == edge
    left = wanted - above.sum().item()
    return (values[above].sum().item() + left * values[tied].float().mean().item()) / wanted


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
