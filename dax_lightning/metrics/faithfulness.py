"""Does the answer depend on the places that the map names? They are removed or revealed, and the black box is asked again."""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from dax_lightning.black_box import BlackBox
from dax_lightning.errors import InputError, check_number
from dax_lightning.explainers.base import Explainer
from dax_lightning.game.base import removed_of
from dax_lightning.metrics.base import Curve, Measured, Metric
from dax_lightning.metrics.checks import given
from dax_lightning.types import Case, Explanation

Empty = Literal["model_zero", "zeros", "image_mean", "blur"]


def taken(saliency: Float[Tensor, "*space"], counts: Float[Tensor, " n"]) -> Float[Tensor, "n *space"]:
    """How much of each place is taken when the most salient places go first.

    Tied places are taken together, each in part. That is the average over all orders of the tied places, so neither position
    nor chance decides. A segment of equal values fades as a whole.

    Args:
        saliency: higher goes first.
        counts: how many places are taken, 0 to all.

    Returns:
        0 (untouched) to 1 (taken); each row sums to its count.

    Example:
        >>> taken(torch.tensor([5.0, 1.0, 1.0, 9.0]), torch.tensor([1.0, 3.0])).tolist()
        [[0.0, 0.0, 0.0, 1.0], [1.0, 0.5, 0.5, 1.0]]
    """
    _, rank, tied = saliency.flatten().unique(return_inverse=True, return_counts=True)
    above = tied.sum() - tied.cumsum(0)  # places with a higher value
    parts = ((counts[:, None].double() - above) / tied).clamp(0, 1).float()
    return parts[:, rank].view(len(counts), *saliency.shape)


def empty(
    x: Float[Tensor, "c *space"], black_box: BlackBox, fill: Empty = "model_zero", blur_sigma: float = 0.05
) -> Float[Tensor, "c *space"]:
    """What is left of an input when everything is removed.

    Args:
        x: values in [0, 1].
        black_box: its normalisation is read for ``model_zero``.
        fill: ``model_zero``: what the model's normalisation turns into zeros (RISE's choice). That is mostly the mean colour of
            the training data. Where the model has no normalisation, it is the kind's neutral input: black, silence. ``zeros``:
            the same; ``image_mean``; ``blur``.
        blur_sigma: standard deviation of ``blur``, as a share of the shorter side.

    Example:
        >>> from dax_lightning.black_box import from_function
        >>> box = from_function(lambda rows: rows.mean((2, 3)), multi_label=True, size=(2, 2))
        >>> empty(torch.ones(3, 2, 2), box).max().item()
        0.0
    """
    if fill != "model_zero":
        return removed_of(black_box.input, x, torch.zeros(x.shape[1:], dtype=torch.long), fill, blur_sigma)
    mean, std = (torch.as_tensor(getattr(black_box.model, name, none)).cpu().float() for name, none in (("mean", 0), ("std", 1)))
    if (mean == 0).all() and (std == 1).all():
        return black_box.input.neutral(x)
    return mean.reshape(-1, *[1] * (x.ndim - 1)).expand_as(x).contiguous()


def scores_on_the_way(
    black_box: BlackBox,
    start: Float[Tensor, "c *space"],
    end: Float[Tensor, "c *space"],
    saliency: Float[Tensor, "*space"],
    counts: Float[Tensor, " n"],
    target: int,
) -> Float[Tensor, " n"]:
    """Probability of ``target`` as the most salient places of ``start`` become those of ``end``.

    Returns:
        A probability for each count. Memory does not grow with the number of counts.

    Example:
        >>> from dax_lightning.black_box import from_function
        >>> box = from_function(lambda rows: rows.mean((2, 3)), channels=1, size=(1, 2))  # one column: the probability of class 1
        >>> x, map_ = torch.ones(1, 1, 2), torch.tensor([[0.0, 1.0]])
        >>> scores_on_the_way(box, x, torch.zeros_like(x), map_, torch.tensor([0.0, 1.0, 2.0]), target=1).tolist()
        [1.0, 0.5, 0.0]
    """
    parts = (taken(saliency, some).unsqueeze(1) for some in counts.split(black_box.batch_size))
    # a view instead of a clone would hold the answers of all classes
    return torch.cat([black_box(torch.lerp(start, end, part))[:, target].clone() for part in parts])


def area(x: Float[Tensor, " n"], y: Float[Tensor, " n"]) -> float:
    """Area under a curve by the trapezoidal rule.

    Example:
        >>> area(torch.tensor([0.0, 0.5, 1.0]), torch.tensor([1.0, 0.5, 0.0]))
        0.5
    """
    return torch.trapezoid(y.double(), x.double()).item()


@dataclass(frozen=True)
class Deletion(Metric):
    """Area under the target's probability as the most salient places are removed; lower is better (RISE: Petsiuk et al., 2018).

    Equal shares of all places are removed until nothing is left; tied places go together (:func:`taken`). Range 0 to 1. The
    curve is the probability against the share removed. Void places are removed too, since the black box sees them.

    Args:
        steps: each costs a query, and one more is the whole input.
        fill: what is put in place, see :func:`empty`.
        blur_sigma: of ``fill=blur``.
    """

    steps: int = 28
    fill: Empty = "model_zero"
    blur_sigma: float = 0.05
    higher_is_better: ClassVar[bool | None] = False
    needs_truth: ClassVar[bool] = False
    needs_explainer: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check(self.steps, self.fill, self.blur_sigma)

    def _measure(self, case: Case, explanation: Explanation, explainer: Explainer | None) -> Measured:
        box = given(explainer).black_box
        end = empty(case.x, box, self.fill, self.blur_sigma)
        return _measured(box, case.x, end, explanation, self.steps, explanation.saliency.numel(), "share removed")


@dataclass(frozen=True)
class Insertion(Metric):
    """Area under the target's probability as the most salient places are revealed; higher is better (RISE: Petsiuk et al., 2018).

    From an empty input to the whole, otherwise as :class:`Deletion`. Range 0 to 1. The curve is the probability against the
    share revealed.

    Args:
        steps: each costs a query, and one more is the empty input.
        fill: the empty input, see :func:`empty`.
        blur_sigma: of ``fill=blur``. RISE's blur is weaker, 5 of 224 pixels and cut at 5.
    """

    steps: int = 28
    fill: Empty = "blur"
    blur_sigma: float = 0.05
    higher_is_better: ClassVar[bool | None] = True
    needs_truth: ClassVar[bool] = False
    needs_explainer: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check(self.steps, self.fill, self.blur_sigma)

    def _measure(self, case: Case, explanation: Explanation, explainer: Explainer | None) -> Measured:
        box = given(explainer).black_box
        start = empty(case.x, box, self.fill, self.blur_sigma)
        return _measured(box, start, case.x, explanation, self.steps, explanation.saliency.numel(), "share revealed")


@dataclass(frozen=True)
class DeletionPaper(Metric):
    """:class:`Deletion` as the DAX paper has it (Table III): only the salient region is removed; lower is better.

    The region is the map above mean + k standard deviations, as in :class:`IoU`. The curve's x is the share of this region that
    is removed, so the number is the target's mean probability. It is not divided by the probability of the whole input. A
    larger region removes more, which favours maps that name more places. A flat map has no region: nothing is removed.

    Args:
        k: standard deviations over the mean.
        steps: each costs a query, and one more is the whole input.
        fill: what is put in place, see :func:`empty`; the paper says "masked off".
        blur_sigma: of ``fill=blur``.
    """

    k: float = 1.0
    steps: int = 28
    fill: Empty = "zeros"
    blur_sigma: float = 0.05
    higher_is_better: ClassVar[bool | None] = False
    needs_truth: ClassVar[bool] = False
    needs_explainer: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check(self.steps, self.fill, self.blur_sigma)

    def _measure(self, case: Case, explanation: Explanation, explainer: Explainer | None) -> Measured:
        box = given(explainer).black_box
        saliency = explanation.saliency.double()
        region = int((saliency > saliency.mean() + self.k * saliency.std(correction=0)).sum())
        end = empty(case.x, box, self.fill, self.blur_sigma)
        return _measured(box, case.x, end, explanation, self.steps, region, "share of the salient region removed")


def _measured(
    black_box: BlackBox, start: Tensor, end: Tensor, explanation: Explanation, steps: int, places: int, x_name: str
) -> Measured:
    shares = torch.linspace(0, 1, steps + 1)
    scores = scores_on_the_way(black_box, start, end, explanation.saliency, (shares * places).round(), explanation.target)
    return Measured(area(shares, scores), Curve(shares.tolist(), scores.tolist(), x_name, "probability of the target"))


def _check(steps: int, fill: str, blur_sigma: float) -> None:
    if steps < 1:
        raise InputError(f"metric.steps={steps}: it must be at least 1")
    if fill not in get_args(Empty):
        raise InputError(f"metric.fill={fill}: choose one of {', '.join(get_args(Empty))}")
    check_number("metric.blur_sigma", blur_sigma, above=0)
