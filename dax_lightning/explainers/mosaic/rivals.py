"""RISE, LIME and a joint ridge on DAX-Mosaic's copies, without masks and students.

All three ask about the copies that ``MosaicDax`` learns from. In place of its last copies they ask as many more first ones.
Their maps are averaged within the same segments, so that a comparison tells methods apart and not perturbations.
"""

import math
from abc import abstractmethod
from dataclasses import replace
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dax_lightning.black_box.base import BlackBox
from dax_lightning.errors import InputError
from dax_lightning.explainers.base import Found
from dax_lightning.explainers.mosaic.copies import Copies, averaged_within, kept_minus_removed, standardised
from dax_lightning.explainers.mosaic.cut import Cut
from dax_lightning.explainers.mosaic.probe import Probe
from dax_lightning.explainers.mosaic.profile import MosaicTargets, check_targets, learnable
from dax_lightning.explainers.mosaic.ridge import Additive, additive, bounded
from dax_lightning.explainers.segments import SegmentExplainer, check_size
from dax_lightning.explainers.surrogate.lime import weighted_ridge
from dax_lightning.game.base import TargetSpace, ask, game_of, same_answers
from dax_lightning.game.subsets import MIXED, Perturber
from dax_lightning.segment.default import mosaic_on
from dax_lightning.segment.mosaic import Mosaic


class OnMosaic(SegmentExplainer):
    """Asks about copies that lost segments of one of several partitions each; subclasses write :meth:`_map`.

    The map is averaged within all segments and outlines (``outlined``) and, if ``cut``, cut
    (``Cut``), as DAX-Mosaic's own: neither needs a mask or a student, so a rival may have both. The
    cut, and ``notes["additive_r2"]``, are about the target's own answers, whatever the map is made of.

    Args:
        black_box: what is explained.
        mosaic: the partitions; ``None``: :class:`~dax_lightning.segment.mosaic.Mosaic`'s own.
        perturber: makes the copies; ``None``: that of DAX-Mosaic.
        q: copies, the input included.
        targets: ``log_odds`` or ``probability`` of the target; ``profile``: what all classes say of it, as DAX-Mosaic learns it
            (:func:`~dax_lightning.explainers.mosaic.profile.learnable`).
        averaged: how many times the map is averaged, 0 or more: more of it lies better on objects, and tells less apart.
        cut: cut the map.
        support: weight of the averaged ridge on the target's own answers, as in DAX-Mosaic.
        probe: the last copies, as in DAX-Mosaic; ``None``: all are first ones.
        seed: of all randomness.
    """

    fill_setting: ClassVar[str] = "explainer.perturber.fill"

    def __init__(
        self,
        black_box: BlackBox,
        mosaic: Mosaic | None = None,
        perturber: Perturber | None = None,
        q: int = 1000,
        targets: MosaicTargets = "log_odds",
        averaged: int = 1,
        cut: bool = False,
        support: float = 0.0,
        probe: Probe | None = None,
        seed: int = 0,
    ):
        self.mosaic = mosaic_on(mosaic, black_box.input)
        super().__init__(black_box, self.mosaic.first, perturber or MIXED, q, seed)
        check_targets(targets)
        if averaged < 0:
            raise InputError(f"explainer.averaged={averaged}: wanted how many times the map is averaged, 0 or more")
        self.targets: MosaicTargets = targets
        self.space: TargetSpace = "log_odds" if targets == "profile" else targets
        self.averaged, self.cut, self.support, self.probe = averaged, cut, support, probe

    def prepare(self) -> None:
        """See :class:`Explainer`."""
        self.mosaic.prepare()

    def _explain(
        self, x: Float[Tensor, "c *space"], target: int, generator: torch.Generator, segments: Int[Tensor, "*space"] | None
    ) -> Found:
        unit = self.black_box.input.unit(x)
        levels = self.mosaic(unit, segments)
        check_size(int(levels.max()) + 1)
        outlined = self.mosaic.outlined(unit, levels) if self.averaged else levels
        game = game_of(self.black_box, x, levels, self.perturber)
        first = self.q if self.probe is None else self.probe.first(self.q)
        answers = ask(game, self.perturber, target, first, generator)
        learned, score = learnable(answers, levels, self.targets), answers.probability[0].item()
        notes = {"segments": answers.kept.shape[1], **learned.notes}
        if same_answers(answers.probability):
            return Found(torch.zeros(x.shape[1:]), score, levels[0], notes)
        own = Copies(answers.kept, learned.own, levels, answers.weight)
        saliency, adds = self._map(replace(own, values=learned.values))
        for _ in range(self.averaged):
            saliency = averaged_within(saliency, outlined)
        if not (self.cut or self.support or self.probe) and adds is None:
            return Found(saliency, score, levels[0], notes)
        if adds is None or learned.values is not learned.own:
            adds = additive(own)
        notes["additive_r2"] = adds.r2
        cut = Cut()
        moved = torch.zeros_like(saliency)
        if self.support or self.probe:
            saliency = standardised(saliency)
        if self.probe is not None and first < self.q:
            region = cut.region(saliency, own, adds.r2)
            moved, notes["beside_r2"] = self.probe(
                game, self.perturber, target, self.space, self.q - first, saliency, region, outlined, own, score, generator
            )
        if self.support:
            added = standardised(averaged_within(adds.saliency, outlined))
            saliency = saliency + self.support * math.sqrt(bounded(adds.r2)) * (added + added.relu())
        graded = saliency + moved
        if not self.cut:
            return Found(graded, score, levels[0], notes)
        saliency, named = cut(graded, own, adds.r2)
        return Found(saliency, score, levels[0], notes | named, region=cut.region(graded, own, adds.r2))

    @abstractmethod
    def _map(self, copies: Copies) -> tuple[Float[Tensor, "*space"], Additive | None]:
        """The map before it is averaged, and :func:`additive`'s answer where it is known; the copies' values are what is learned
        of the answers, not all the same."""


class RiseOnMosaic(OnMosaic):
    """RISE's mean answer, kept minus removed, over the copies of many segmentations.

    See :class:`OnMosaic` for the arguments.

    Example:
        >>> from dax_lightning.black_box import from_function
        >>> from dax_lightning.segment.grid import Grid
        >>> box = from_function(lambda rows: rows[:, :2, :7, :7].mean((2, 3)), size=(14, 14), multi_label=True)
        >>> mosaic, zeros = Mosaic(Grid(2, 2), [Grid(7, 7)]), Perturber(fill="zeros")
        >>> saliency = RiseOnMosaic(box, mosaic, zeros, q=400).explain(torch.ones(3, 14, 14), target=0).saliency
        >>> bool(saliency[:7, :7].min() > saliency[8:, 8:].max())
        True
    """

    name: ClassVar[str] = "rise_mosaic"

    def _map(self, copies):
        return kept_minus_removed(copies), None


class LimeOnMosaic(OnMosaic):
    """LIME's weighted ridge on the copies of each segmentation; the map is the mean over the segmentations.

    See :class:`OnMosaic` for the arguments.

    Example:
        >>> from dax_lightning.black_box import from_function
        >>> from dax_lightning.segment.grid import Grid
        >>> box = from_function(lambda rows: rows[:, :2, :7, :7].mean((2, 3)), size=(14, 14), multi_label=True)
        >>> mosaic, zeros = Mosaic(Grid(2, 2), [Grid(7, 7)]), Perturber(fill="zeros")
        >>> saliency = LimeOnMosaic(box, mosaic, zeros, q=400).explain(torch.ones(3, 14, 14), target=0).saliency
        >>> bool(saliency[:7, :7].min() > saliency[8:, 8:].max())
        True
    """

    name: ClassVar[str] = "lime_mosaic"

    def _map(self, copies):
        kept, values, weight = copies.kept, copies.values, copies.weight
        importance = torch.zeros(kept.shape[1])
        for one in copies.levels:
            own = one.unique()
            rows = kept[:, own].any(1)  # a copy that kept nothing tells no partition from another
            if rows.sum() > 1:
                importance[own] = weighted_ridge(kept[rows][:, own], values[rows], weight[rows]).importance
        return importance[copies.levels].mean(0), None


class RidgeOnMosaic(OnMosaic):
    """What each place adds, by one ridge regression on the copies of all segmentations.

    See :func:`~dax_lightning.explainers.mosaic.ridge.additive` for the regression, and :class:`OnMosaic` for
    the arguments; ``notes["additive_r2"]`` is always there.

    Example:
        >>> from dax_lightning.black_box import from_function
        >>> from dax_lightning.segment.grid import Grid
        >>> box = from_function(lambda rows: rows[:, :2, :7, :7].mean((2, 3)), size=(14, 14), multi_label=True)
        >>> mosaic, zeros = Mosaic(Grid(2, 2), [Grid(7, 7)]), Perturber(fill="zeros")
        >>> saliency = RidgeOnMosaic(box, mosaic, zeros, q=400).explain(torch.ones(3, 14, 14), target=0).saliency
        >>> bool(saliency[:7, :7].min() > saliency[8:, 8:].max())
        True
    """

    name: ClassVar[str] = "ridge_mosaic"

    def _map(self, copies):
        adds = additive(copies)
        return adds.saliency, adds
