"""DAX-Mosaic: copies from many segmentations train each mask, and what the masks learned is cut along their edges."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from dax_lightning.black_box.base import BlackBox
from dax_lightning.device import one_thread
from dax_lightning.errors import InputError
from dax_lightning.explainers.dax.data import PerturbationDataModule
from dax_lightning.explainers.dax.explainer import Distiller, Learner, Reading, Training
from dax_lightning.explainers.dax.losses import CounterfactualLoss, DaxLoss
from dax_lightning.explainers.dax.module import DaxModule, Ensemble, Optim, Recorder, answers
from dax_lightning.explainers.dax.networks import MlpStudent
from dax_lightning.explainers.mosaic.copies import Copies, averaged_within, kept_minus_removed, standardised
from dax_lightning.explainers.mosaic.cut import Cut
from dax_lightning.explainers.mosaic.probe import Probe
from dax_lightning.explainers.mosaic.profile import MosaicTargets, check_targets, learnable
from dax_lightning.explainers.mosaic.ridge import additive, bounded
from dax_lightning.explainers.segments import check_size
from dax_lightning.game.base import TargetSpace
from dax_lightning.game.fill import Fill
from dax_lightning.game.subsets import MIXED, Perturber, level_of
from dax_lightning.segment.default import mosaic_on
from dax_lightning.segment.mosaic import Mosaic

FASTER = Optim(lr_mask=0.05, lr_student=0.004)


class SegmentMask(nn.Module):
    """A mask that is the same for all copies: a learned value for each segment of each partition, added up where they overlap.

    Such a mask knows the place, and has the edges of all partitions. As in ``MaskNetwork``, the mean over
    all cells is taken off before the sigmoid: opening one place closes others.

    Args:
        share: how much of each cell is covered by each segment.
        size: height and width in cells.
        levels: the number of partitions.

    Example:
        >>> mask = SegmentMask(torch.tensor([[1.0, 0.0], [0.0, 1.0]]), (1, 2), levels=1)
        >>> mask(torch.zeros(3, 0, 1, 2)).shape, mask.places(torch.tensor([[[0, 0, 1]]])).tolist()
        (torch.Size([3, 1, 1, 2]), [[0.0, 0.0, 0.0]])
    """

    share: Tensor

    def __init__(self, share: Float[Tensor, "j cells"], size: tuple[int, int], levels: int):
        super().__init__()
        self.size, self.scale = size, 1 / math.sqrt(levels)
        self.values = nn.Parameter(torch.zeros(len(share)))
        self.register_buffer("share", share, persistent=False)

    def forward(self, copies: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 1 h w"]:
        """The mask in (0, 1), once for each copy."""
        logits = self.scale * (self.values @ self.share)
        return (logits - logits.mean()).sigmoid().view(1, 1, *self.size).expand(len(copies), -1, -1, -1)

    @torch.no_grad()
    def places(self, levels: Int[Tensor, "p *space"]) -> Float[Tensor, "*space"]:
        """The logits at the input's own resolution, before their mean is taken off."""
        return self.scale * self.values.cpu()[levels].sum(0)


class MosaicDax(Distiller):
    """DAX-Mosaic: a mask learned from several segmentations at once.

    Each step was measured (``docs/findings/``). How the map is made:

    1. **Copies.** Each copy loses segments of one of several partitions (``mosaic``). The input's mean fills them.
    2. **Masks.** ``members`` masks are trained, each with a student. A mask is one value a segment (:class:`SegmentMask`).
       The student sees only which places were kept.
    3. **Evidence.** Mean answer with a place minus mean answer without it, over ``student_copies`` copies that the students
       answer. Their errors on the real copies correct it.
    4. **Ridge.** One regression over all copies (:func:`~dax_lightning.explainers.mosaic.ridge.additive`). Its weight is
       ``additive · (R² / (1 - R²))³``, with R² on held-out copies. Where effects add up, it is the sharpest part.
    5. **Averages.** The sum is averaged within segments and outlines. ``support · R`` times the averaged ridge is added.
       Values above its mean count twice.
    6. **Last copies.** The share ``adaptive`` of the copies keeps what the map names and loses parts of the rest. A ridge on
       them moves the rest by ``beside · R``. It moves less near the region's edge, and by ``2 (1 - p)`` where p is over 1/2.
    7. **Cut.** The map is cut where the region explains the answers and the rest does not
       (:class:`~dax_lightning.explainers.mosaic.cut.Cut`). Where effects add up (R² over ``uncut``), it stays graded.

    Masks, students and evidence learn all classes' answers (``targets``). Ridge and cut use the target's own.

    ``notes``: ``profile`` (were all classes learned), ``profile_correlation`` (with the target's own answers), ``fidelity``,
    ``named`` (share of places in the region), ``additive_r2`` and ``beside_r2`` (of the two regressions).

    Args:
        black_box: what is explained.
        mosaic: the partitions; ``None``: :class:`~dax_lightning.segment.mosaic.Mosaic`'s own.
        perturber: makes the copies; ``None``: the input's mean as fill, 30 to 70 % of the segments kept, equal weights.
        loss: of each member; ``None``: the student's squared error through its mask.
        student: called with ``channels`` and ``size``; the student of one member; ``None``: one hidden layer of 128 units.
        training: how they are trained; ``None``: faster than the paper's networks.
        q: perturbed copies, the input included.
        targets: the signal to learn. ``profile``: all classes' answers, if the ridge predicts them better than the target's
            own. ``log_odds`` or ``probability``: the target's own.
        resolution: side of the grid on which the masks and students see the copies.
        members: masks, each with a student.
        min_steps: training steps at least, also where few copies make epochs short.
        evidence: weight of the difference of mean answers, in standard deviations of the masks' mean.
        additive: weight of the ridge, 0 or more.
        support: weight of the averaged ridge, 0 or more. More of it is about single parts, less about the whole object.
        adaptive: share of the ``q`` copies that are asked last, in [0, 0.5]; under 30 copies none are.
        adaptive_fill: fill of the last copies. The perturber's fill, where this one changes next to nothing.
        beside: weight of the last copies' ridge, in standard deviations of the map; 0 or more.
        complement: penalty in the cut where the rest explains the answers, times 1 - R²; 0 or more.
        separation: weight of Otsu's criterion in the cut, 0 or more.
        uncut: from about this R² on, maps stay graded; 1.02 or more cuts all maps.
        student_copies: copies that the students answer for the evidence; 0: the real copies alone.
        largest: largest share of places that a cut map names; 0: no map is cut.
        min_fidelity: below this held-out weighted R² the students have learned nothing and the explanation is flagged.
        seed: of all randomness.

    Example:
        >>> from dax_lightning.black_box import from_function
        >>> from dax_lightning.segment.grid import Grid
        >>> def top_left(rows):
        ...     share = rows[:, :, :16, :16].mean((1, 2, 3))
        ...     return torch.stack([share, 1 - share], 1)
        >>> box = from_function(top_left, size=(32, 32))
        >>> mosaic, zeros = Mosaic(Grid(4, 4), [Grid(3, 3)]), Perturber(fill="zeros", weight="uniform")
        >>> dax = MosaicDax(box, mosaic, zeros, q=200)
        >>> made = dax.explain(torch.ones(3, 32, 32), target=0)
        >>> made.queries, bool(made.saliency[:16, :16].mean() > made.saliency[16:].mean())
        (200, True)
    """

    name: ClassVar[str] = "dax"
    slower: ClassVar[str] = "lower explainer.training.optim.lr_mask and explainer.training.optim.lr_student"
    gentler: ClassVar[str] = "explainer.perturber.kept_share_max=0.95"
    fill_setting: ClassVar[str] = "explainer.perturber.fill"

    def __init__(
        self,
        black_box: BlackBox,
        mosaic: Mosaic | None = None,
        perturber: Perturber | None = None,
        loss: DaxLoss | None = None,
        student: Callable[..., nn.Module] | None = None,
        training: Training | None = None,
        q: int = 1000,
        targets: MosaicTargets = "profile",
        resolution: int = 28,
        members: int = 4,
        min_steps: int = 300,
        evidence: float = 1.0,
        additive: float = 0.055,
        support: float = 0.2,
        adaptive: float = 0.1,
        adaptive_fill: Fill = "blur",
        beside: float = 0.7,
        complement: float = Cut.complement,
        separation: float = Cut.separation,
        uncut: float = Cut.uncut,
        student_copies: int = 4000,
        largest: float = Cut.largest,
        min_fidelity: float = 0.1,
        seed: int = 0,
    ):
        self.mosaic = mosaic_on(mosaic, black_box.input)
        student, training = student or partial(MlpStudent, hidden=128), training or Training(optim=FASTER)
        check_targets(targets)
        self.targets: MosaicTargets = targets
        space: TargetSpace = "log_odds" if targets == "profile" else targets
        learner = Learner(student=student, targets=space, resolution=resolution, min_fidelity=min_fidelity)
        super().__init__(black_box, self.mosaic.first, perturber or MIXED, learner, training, q, seed)
        if members < 1 or student_copies < 0 or min_steps < 0:
            raise InputError(
                f"explainer.members={members}, student_copies={student_copies}, min_steps={min_steps}: wanted at least 1 member, "
                "0 copies, and 0 steps"
            )
        weights = {"evidence": evidence, "additive": additive, "support": support, "beside": beside}
        amounts = weights | {"complement": complement, "separation": separation, "uncut": uncut}
        for name, value in amounts.items():
            if not 0 <= value < math.inf:
                raise InputError(f"explainer.{name}={value}: wanted a number, 0 or more")
        if not 0 <= largest <= 0.5:
            raise InputError(f"explainer.largest={largest}: wanted a share in [0, 0.5]")
        self.loss, self.members, self.min_steps = loss or CounterfactualLoss(lam3=0.0), members, min_steps
        self.evidence, self.additive, self.support, self.student_copies = evidence, additive, support, student_copies
        self.probe = Probe(adaptive, adaptive_fill, beside)
        self.cut = Cut(complement, separation, uncut, largest)

    def prepare(self) -> None:
        """See :class:`Explainer`."""
        self.mosaic.prepare()

    @property
    def asked_first(self) -> int:
        """How many of the copies are asked about before training: all but those that keep what the map names."""
        return self.probe.first(self.q)

    def _data(self, x: Tensor, target: int, generator: torch.Generator, segments: Tensor | None) -> PerturbationDataModule:
        unit = self.black_box.input.unit(x)
        levels = self.mosaic(unit, segments)
        check_size(int(levels.max()) + 1)
        self._check_q(int(level_of(levels, x).bincount().min()))
        chosen = partial(learnable, levels=levels, targets=self.targets)
        data = self._data_of(x, levels, target, generator, colours=False, learnable=chosen)
        data.outlined = self.mosaic.outlined(unit, levels)  # before any query: a segmenter may refuse the input
        return data

    def _module(self, data: PerturbationDataModule) -> Ensemble:
        return Ensemble([self._member(data) for _ in range(self.members)])

    def _member(self, data: PerturbationDataModule) -> DaxModule:
        mask = SegmentMask(data.pool.share, data.pool.size, len(data.segments))
        return DaxModule(
            mask,
            self.learner.student(channels=1, size=data.pool.size),
            self.loss,
            self.learner.targets,
            True,
            self.training.optim,
        )

    def _read(self, x: Tensor, data: PerturbationDataModule, module: DaxModule, recorder: Recorder) -> Reading:
        masks = [mask for mask in module.modules() if isinstance(mask, SegmentMask)]
        outlined = data.outlined
        learned = torch.stack([mask.places(data.segments) for mask in masks]).mean(0)
        learned = standardised(averaged_within(averaged_within(learned, outlined), outlined))
        if self.evidence:
            learned = learned + self.evidence * standardised(self._effect(data, module))
        own = Copies(data.kept, data.learned.own, data.segments, data.weight)
        adds = additive(own)
        share = bounded(adds.r2)
        learned = learned + self.additive * (share / (1 - share)) ** 3 * standardised(adds.saliency)
        learned = standardised(averaged_within(learned, outlined))
        notes = {"additive_r2": adds.r2, **data.learned.notes}
        beside = torch.zeros_like(learned)
        if self.q > self.asked_first:
            beside, notes["beside_r2"] = self.probe(
                data.game, self.perturber, data.target, self.learner.targets, self.q - self.asked_first, learned,
                self.cut.region(learned, own, adds.r2), outlined, own, data.score, data.generator, self.training.progress,
            )  # fmt: skip
        if self.support:
            added = standardised(averaged_within(adds.saliency, outlined))
            learned = learned + self.support * math.sqrt(share) * (added + added.relu())
        graded = learned + beside
        saliency, named = self.cut(graded, own, adds.r2)
        region = self.cut.region(graded, own, adds.r2)
        return Reading(saliency, {**notes, **named}, torch.stack(recorder.masks), region)

    def _effect(self, data: PerturbationDataModule, module: DaxModule) -> Float[Tensor, "*space"]:
        """The difference of mean answers: the students' to many copies, and what they get wrong on the real ones."""
        asked = Copies(data.kept, data.teacher, data.segments, data.weight)
        if not self.student_copies:
            return kept_minus_removed(asked)
        level = level_of(data.segments, data.x)
        more = self.perturber.subsets(self.student_copies, level, data.generator)
        said = Copies(more, _answers(module, data, more), data.segments, self.perturber.closeness(more, level))
        wrong = replace(asked, values=data.teacher - _answers(module, data, data.kept))
        return kept_minus_removed(said) + kept_minus_removed(wrong)


@torch.no_grad()
def _answers(module: DaxModule, data: PerturbationDataModule, kept: Bool[Tensor, "n j"]) -> Float[Tensor, " n"]:
    module.eval()
    with one_thread():
        return torch.cat([answers(module, *data.pool(rows)) for rows in kept.split(256)])
