"""Measures over time alone, and against what else is known of each place."""

from dataclasses import dataclass, field, replace
from typing import ClassVar

from dax_lightning.explainers.base import Explainer
from dax_lightning.metrics.base import Measured, Metric
from dax_lightning.metrics.localisation import IoU, check_share, mean_of_highest, over_time
from dax_lightning.types import Case, Explanation


@dataclass(frozen=True)
class OverTime(Metric):
    """Another metric of the map over time: a spectrogram's map is summed over frequency first, as in the DAX paper.

    Args:
        metric: what is measured.
        layer: of ``Case.layers``, what is the truth instead of ``Case.truth``: where it is over one half. A case without it has
            no value.

    Example:
        >>> import torch
        >>> from dax_lightning.metrics.localisation import IoU
        >>> case = Case("a", torch.zeros(1, 2, 2), 0, truth=torch.tensor([[True, False], [True, False]]))
        >>> made = Explanation(torch.tensor([[3.0, 0.0], [0.0, 1.0]]), target=0, score=1.0, queries=1, seconds=0.0)
        >>> IoU(0.0)(case, made), OverTime(IoU(0.0))(case, made)
        (0.5, 1.0)
    """

    metric: Metric = field(default_factory=IoU)
    layer: str | None = None

    @property
    def needs_truth(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride] -- the metric's own
        """As the metric does; with a layer always."""
        return self.metric.needs_truth or self.layer is not None

    @property
    def needs_explainer(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride] -- the metric's own
        """As the metric does."""
        return self.metric.needs_explainer

    @property
    def higher_is_better(self) -> bool | None:  # pyright: ignore[reportIncompatibleVariableOverride] -- the metric's own
        """The metric's own direction."""
        return self.metric.higher_is_better

    def _measure(self, case: Case, explanation: Explanation, explainer: Explainer | None) -> Measured | None:
        if self.layer is not None:
            if self.layer not in case.layers:
                return None
            case = replace(case, truth=case.layers[self.layer] > 0.5)
        if case.truth is not None:
            case = replace(case, truth=over_time(case.truth.float()) > 0)
        region = None if explanation.region is None else over_time(explanation.region.float()) > 0
        made = replace(explanation, saliency=over_time(explanation.saliency), region=region)
        return self.metric.measure(case, made, explainer)


@dataclass(frozen=True)
class LayerShare(Metric):
    """Mean of one of ``Case.layers`` over the most salient places, such as the share of the asked class's own power there.

    Places tied at the edge of that share count in proportion. Range 0 to 1; a case without the layer has no value.

    Args:
        layer: its name in ``Case.layers``.
        share: how many of all places are looked at, in (0, 1].

    Example:
        >>> import torch
        >>> case = Case("a", torch.zeros(1, 2), 0, torch.tensor([True, False]), layers={"own_power": torch.tensor([0.75, 0.25])})
        >>> made = Explanation(torch.tensor([1.0, 0.0]), target=0, score=1.0, queries=1, seconds=0.0)
        >>> LayerShare("own_power", 0.5)(case, made)
        0.75
    """

    layer: str = "own_power"
    share: float = 0.1
    higher_is_better: ClassVar[bool | None] = True
    needs_truth: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_share(self.share)

    def _measure(self, case: Case, explanation: Explanation, explainer: Explainer | None) -> float | None:
        if self.layer not in case.layers:
            return None
        wanted = max(1, round(self.share * explanation.saliency.numel()))
        return mean_of_highest(explanation.saliency.flatten(), case.layers[self.layer].flatten(), wanted)


@dataclass(frozen=True)
class LayerMass(Metric):
    """Share of the map's positive mass that lies on one of ``Case.layers``: each place counts by the layer's value.

    The map is taken from its own mean up, so that a constant added to it changes nothing. Range 0 to 1; a flat map has the
    layer's mean; a case without the layer has no value.

    Args:
        layer: its name in ``Case.layers``.

    Example:
        >>> import torch
        >>> case = Case("a", torch.zeros(1, 2), 0, torch.tensor([True, False]), layers={"own_power": torch.tensor([0.75, 0.25])})
        >>> made = Explanation(torch.tensor([1.0, 0.0]), target=0, score=1.0, queries=1, seconds=0.0)
        >>> LayerMass("own_power")(case, made)
        0.75
    """

    layer: str = "own_power"
    higher_is_better: ClassVar[bool | None] = True
    needs_truth: ClassVar[bool] = True

    def _measure(self, case: Case, explanation: Explanation, explainer: Explainer | None) -> float | None:
        if self.layer not in case.layers:
            return None
        mass = (explanation.saliency.double() - explanation.saliency.double().mean()).clamp_min(0)
        layer, total = case.layers[self.layer].double(), mass.sum().item()
        return (mass * layer).sum().item() / total if total else layer.mean().item()
