"""Four methods on the gradient of a score with respect to the pixels; the attributions are Captum's.

All differentiate the module's own score of the target (the logit, before the softmax) with respect to the input in [0, 1], the
normalisation included. The module's flags, weights and gradients stay as they are.
"""

import math
from abc import abstractmethod
from typing import ClassVar, Literal, cast, get_args

import torch
from captum.attr import IntegratedGradients, NoiseTunnel, Saliency
from jaxtyping import Float, Int
from torch import Tensor

from dax_lightning.black_box.base import BlackBox
from dax_lightning.errors import InputError
from dax_lightning.explainers.base import SPACES, Explainer, Found

Channels = Literal["absmax", "abs_sum", "sum"]
_ROWS = 8  # noisy copies or steps whose activations are held at once: memory is the same for any number of them


class TargetScores:
    """The differentiable module as a function of rows, which also remembers the first row's probability of the target.

    Args:
        black_box: holds a torch module.
        target: class id.

    Raises:
        InputError: the black box can only be queried.

    Example:
        >>> from dax_lightning.black_box import from_torch, ImageInput
        >>> module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
        >>> scores = TargetScores(from_torch(module, ImageInput((2, 2), 1), (0.5,), (0.5,), None), target=1)
        >>> scores(torch.rand(3, 1, 2, 2)).shape, 0 < scores.probability < 1
        (torch.Size([3, 2]), True)
    """

    def __init__(self, black_box: BlackBox, target: int):
        self.black_box, self.target = black_box, target
        self.module = black_box.differentiable()
        self.probability = math.nan

    def __call__(self, rows: Float[Tensor, "n c *space"]) -> Float[Tensor, "n k"]:
        """The scores of rows in [0, 1]; a module that does not look at them has a gradient of 0."""
        scores = self.module(rows)
        self.black_box.target(self.target, classes=scores.shape[1])
        if math.isnan(self.probability):
            self.probability = self._probability(scores.detach()[0])
        return scores + 0 * rows.flatten(1).sum(1, keepdim=True).to(scores.device)

    def _probability(self, scores: Tensor) -> float:
        return self.black_box.probabilities(scores[None].float().cpu())[0, self.target].item()


def over_channels(attribution: Float[Tensor, "c *space"], channels: Channels) -> Float[Tensor, "*space"]:
    """One value a place.

    Args:
        attribution: a value for each channel of each place.
        channels: ``absmax`` (the largest size of any channel), ``abs_sum`` (all sizes added) or ``sum`` (signed).

    Example:
        >>> [over_channels(torch.tensor([[-3.0], [1.0]]), channels).item() for channels in get_args(Channels)]
        [3.0, 4.0, -2.0]
    """
    if channels == "sum":
        return attribution.sum(0)
    return attribution.abs().amax(0) if channels == "absmax" else attribution.abs().sum(0)


def check_channels(channels: str) -> None:
    """Raise an InputError unless ``channels`` names a way to reduce the channels."""
    if channels not in get_args(Channels):
        raise InputError(f"explainer.channels={channels}: choose one of {', '.join(get_args(Channels))}")


class PixelGradient(Explainer):
    """What the four methods have in common: subclasses write :meth:`_attributed`."""

    needs_gradients: ClassVar[bool] = True
    kinds: ClassVar[tuple[str, ...]] = (*SPACES, "table")  # ids of words have no gradient

    def __init__(self, black_box: BlackBox, channels: Channels, seed: int = 0):
        super().__init__(black_box, seed)
        black_box.differentiable()
        check_channels(channels)
        self.channels: Channels = channels

    def _explain(
        self,
        x: Float[Tensor, "c *space"],
        target: int,
        generator: torch.Generator,
        segments: Int[Tensor, "*space"] | None,
    ) -> Found:
        scores = TargetScores(self.black_box, target)
        attribution = self._attributed(scores, x[None], generator)[0].detach().float().cpu()
        return Found(over_channels(attribution, self.channels), scores.probability, notes={"scores": self.black_box.outputs})

    @abstractmethod
    def _attributed(
        self, scores: TargetScores, row: Float[Tensor, "1 c *space"], generator: torch.Generator
    ) -> Float[Tensor, "1 c *space"]:
        """The attribution of every value of the input; the first row that ``scores`` sees is the input itself."""


class Gradient(PixelGradient):
    """The gradient of the target's score (Simonyan et al. 2014, "Deep inside convolutional networks").

    The map says where a small change matters, whether it speaks for the target or against: it is not signed. One row.

    Args:
        black_box: a torch module.
        channels: how the channels become one map, see :func:`over_channels`; the paper's is the largest size.
        seed: changes nothing.

    Raises:
        InputError: the black box can only be queried, or a value is out of its range.

    Example:
        >>> from dax_lightning.black_box import from_torch, ImageInput
        >>> module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 2, bias=False))
        >>> box = from_torch(module, ImageInput((2, 2)), (0.0,) * 3, (1.0,) * 3, None)
        >>> made = Gradient(box).explain(torch.rand(3, 2, 2), target=1)
        >>> torch.equal(made.saliency.flatten(), module[1].weight[1].view(3, 4).abs().amax(0)), made.queries
        (True, 1)
    """

    name: ClassVar[str] = "gradient"
    deterministic: ClassVar[bool] = True

    def __init__(self, black_box: BlackBox, channels: Channels = "absmax", seed: int = 0):
        super().__init__(black_box, channels, seed)

    def rows_needed(self, x: Float[Tensor, "c *space"]) -> int:
        """See :class:`Explainer`."""
        return 1

    def _attributed(self, scores: TargetScores, row: Tensor, generator: torch.Generator) -> Tensor:
        return Saliency(scores).attribute(row.requires_grad_(), target=scores.target, abs=False)


class InputXGradientMap(PixelGradient):
    """The gradient times the input's distance from neutral (Shrikumar et al. 2016, "Not just a black box").

    Positive where the values, against black or silence, speak for the target to first order. One row.

    Args:
        black_box: a torch module.
        channels: how the channels become one map, see :func:`over_channels`; products are added, as the score is.
        seed: changes nothing.

    Raises:
        InputError: the black box can only be queried, or a value is out of its range.

    Example:
        >>> from dax_lightning.black_box import from_torch, ImageInput
        >>> module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2, bias=False))
        >>> box = from_torch(module, ImageInput((2, 2), 1), (0.0,), (1.0,), None)
        >>> x = torch.rand(1, 2, 2)
        >>> torch.allclose(InputXGradientMap(box).explain(x, target=1).saliency.sum(), module(x[None])[0, 1])
        True
    """

    name: ClassVar[str] = "input_x_gradient"
    deterministic: ClassVar[bool] = True

    def __init__(self, black_box: BlackBox, channels: Channels = "sum", seed: int = 0):
        super().__init__(black_box, channels, seed)

    def rows_needed(self, x: Float[Tensor, "c *space"]) -> int:
        """See :class:`Explainer`."""
        return 1

    def _attributed(self, scores: TargetScores, row: Tensor, generator: torch.Generator) -> Tensor:
        gradient = Saliency(scores).attribute(row.requires_grad_(), target=scores.target, abs=False)
        return gradient * (row.detach() - self.black_box.input.neutral(row[0].detach()))


class SmoothGrad(PixelGradient):
    """The mean gradient over noisy copies of the input (Smilkov et al. 2017, "SmoothGrad").

    The signed gradients are averaged, then the channels reduced, as in the authors' code. ``n`` rows and one for the score.

    Args:
        black_box: a torch module.
        n: noisy copies.
        sigma: standard deviation of the Gaussian noise over the input's own range (largest value minus smallest), 0 or more;
            copies may leave [0, 1], as in the paper.
        channels: how the channels become one map, see :func:`over_channels`.
        seed: of the noise.

    Raises:
        InputError: the black box can only be queried, or a value is out of its range.

    Example:
        >>> from dax_lightning.black_box import from_torch, ImageInput
        >>> module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
        >>> box = from_torch(module, ImageInput((2, 2), 1), (0.0,), (1.0,), None)
        >>> SmoothGrad(box, n=10).explain(torch.rand(1, 2, 2), target=1).queries
        11
    """

    name: ClassVar[str] = "smoothgrad"

    def __init__(
        self,
        black_box: BlackBox,
        n: int = 25,
        sigma: float = 0.15,
        channels: Channels = "absmax",
        seed: int = 0,
    ):
        super().__init__(black_box, channels, seed)
        if n < 1 or not 0 <= sigma < math.inf:
            raise InputError(f"explainer.n={n}, explainer.sigma={sigma}: n is 1 or more, sigma 0 or more")
        self.n, self.sigma = n, sigma

    def rows_needed(self, x: Float[Tensor, "c *space"]) -> int:
        """See :class:`Explainer`."""
        return self.n + 1

    def _attributed(self, scores: TargetScores, row: Tensor, generator: torch.Generator) -> Tensor:
        with torch.no_grad():
            scores(row)
        attribution = NoiseTunnel(Saliency(scores)).attribute(  # draws from torch's global generator, which is seeded
            row,
            nt_samples=self.n,
            nt_samples_batch_size=min(self.n, _ROWS, self.black_box.batch_size),
            stdevs=float(self.sigma * (row.max() - row.min())),
            target=scores.target,
            abs=False,
        )
        return cast(Tensor, attribution)  # a tuple only where tuples are given


class IntegratedGradientsMap(PixelGradient):
    """The gradient integrated from a baseline to the input, times their difference (Sundararajan et al. 2017).

    The values add up to score(input) - score(baseline), in units of the score. ``steps`` rows and one for the score.

    Args:
        black_box: a torch module.
        steps: of the Gauss-Legendre quadrature.
        baseline: value of every place of the baseline, in the input's range; ``None``: its neutral input: black, silence.
        channels: how the channels become one map, see :func:`over_channels`; ``sum`` keeps the completeness.
        seed: changes nothing.

    Raises:
        InputError: the black box can only be queried, or a value is out of its range.

    Example:
        >>> from dax_lightning.black_box import from_torch, ImageInput
        >>> module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
        >>> box = from_torch(module, ImageInput((2, 2), 1), (0.0,), (1.0,), None)
        >>> x = torch.rand(1, 2, 2)
        >>> gained = (module(x[None]) - module(torch.zeros(1, 1, 2, 2)))[0, 1]
        >>> torch.allclose(IntegratedGradientsMap(box).explain(x, target=1).saliency.sum(), gained, atol=1e-5)
        True
    """

    name: ClassVar[str] = "integrated_gradients"
    deterministic: ClassVar[bool] = True

    def __init__(
        self,
        black_box: BlackBox,
        steps: int = 50,
        baseline: float | None = None,
        channels: Channels = "sum",
        seed: int = 0,
    ):
        super().__init__(black_box, channels, seed)
        low, high = black_box.input.low, black_box.input.high
        if steps < 1 or (baseline is not None and not low <= baseline <= high):
            raise InputError(
                f"explainer.steps={steps}, explainer.baseline={baseline}: steps is 1 or more, baseline in [{low:g}, {high:g}]"
            )
        self.steps, self.baseline = steps, baseline

    def rows_needed(self, x: Float[Tensor, "c *space"]) -> int:
        """See :class:`Explainer`."""
        return self.steps + 1

    def _attributed(self, scores: TargetScores, row: Tensor, generator: torch.Generator) -> Tensor:
        with torch.no_grad():
            scores(row)
        return IntegratedGradients(scores).attribute(
            row,
            baselines=self.black_box.input.neutral(row[0])[None] if self.baseline is None else float(self.baseline),
            target=scores.target,
            n_steps=self.steps,
            internal_batch_size=min(_ROWS, self.black_box.batch_size),
        )
