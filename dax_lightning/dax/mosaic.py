"""DAX-Mosaic: copies from many segmentations train each mask, and what the masks learned is cut along their edges."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from dax_lightning.answers import ask_kept, in_space
from dax_lightning.black_box.base import BlackBox
from dax_lightning.dax.data import PerturbationDataModule
from dax_lightning.dax.explainer import Distiller, Reading, Training
from dax_lightning.dax.losses import CounterfactualLoss, DaxLoss
from dax_lightning.dax.module import DaxModule, Ensemble, Recorder, answers
from dax_lightning.dax.networks import MlpStudent
from dax_lightning.device import one_thread
from dax_lightning.errors import InputError
from dax_lightning.learnable import MosaicTargets, check_targets, learnable
from dax_lightning.mosaic import (
    Copies,
    Cut,
    Mosaic,
    additive,
    averaged_within,
    bounded,
    kept_minus_removed,
    standardised,
)
from dax_lightning.perturb import MIXED, Fill, Perturber, check_fill, filled, level_of

FASTER = Training(lr_mask=0.05, lr_student=0.004)
_ENOUGH = 30  # last copies: of fewer, the regression tells little, and its R² is noise
_FULL = 20  # last answers that vary less than a 20th as much as the first count in proportion
_SAME = 0.1  # of the input's standard deviation: a fill that is nearer to it takes nothing away


class SegmentMask(nn.Module):
    """A mask that is the same for all copies: a learned value for each segment of each partition, added up where they overlap.

    Such a mask knows the place, and has the edges of all partitions. As in :class:`~dax_lightning.dax.MaskNetwork`, the mean over
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
    def places(self, levels: Int[Tensor, "p h w"]) -> Float[Tensor, "h w"]:
        """The logits at the input's own resolution, before their mean is taken off."""
        return self.scale * self.values.cpu()[levels].sum(0)


class MosaicDax(Distiller):
    """DAX-Mosaic: masks made from several segmentations at once, and cut where the rest explains the answers worst.

    What differs from :class:`~dax_lightning.dax.Dax`, each step measured in ``docs/findings.md``: each copy loses segments of
    another partition (:class:`~dax_lightning.mosaic.Mosaic`), filled with the picture's mean colour; the mask is a value for
    each segment of each partition (:class:`SegmentMask`); the student sees only where copies were kept; several masks, each
    with a student, are trained side by side (:class:`~dax_lightning.dax.module.Ensemble`).

    The map is the members' mean mask before the sigmoid, averaged within the segments and outlines
    (:meth:`~dax_lightning.mosaic.Mosaic.outlined`) twice; plus ``evidence`` times the
    difference of mean answers with and without a place (:func:`~dax_lightning.mosaic.kept_minus_removed`), which tells for from
    against; plus ``additive · (R² / (1 - R²))³`` times what each place adds in a joint ridge regression
    (:func:`~dax_lightning.mosaic.additive`), whose R² on copies left out tells how far places add up: where they do, it is the
    sharpest of the three, where they act together, it says little. The sum is averaged within segments and outlines
    once more; plus ``support · R`` times what each place adds, averaged as well, standardised, and taken twice where it is
    above its mean: a map of the whole object leaves open which of its parts the target rests on, and which places beside it.
    The share ``adaptive`` of the copies is asked about last: they keep all of what the map (without ``support``) would name, and
    lose parts of the rest, filled with ``adaptive_fill``, so that the rest alone is tried, and beside what the target rests on.
    ``beside · R`` times what places of the rest add in a joint regression on these copies (R² is this one's), averaged and
    standardised, is put on them: fully where the map is a standard deviation or more below what it names, so that what may be the
    object's own edge stays; ``2 · (1 - p)`` of it where the target's probability p on the input is over one half, since the surer
    the answer, the less speaks against it; and less where these answers vary less than a 20th as much as the first ones. So
    places that speak against the target move down among the rest. Fewer than 30 last copies are not asked: all are first ones.
    That is made a mask again, of the size that explains the answers best, whose complement explains them worst, and that tells
    the map's high and low places apart best (:func:`~dax_lightning.mosaic.cut_out`): the complement counts
    ``complement · (1 - R²)``, the last ``separation``. Where places add up, the map tells the object's edge better than the cut
    does: a tenth of a cut map is the map itself, scaled to [0, 1], and from an R² of 0.03 below ``uncut`` to 0.03 above it this
    share grows to all. An R² under 0 counts as 0, one over 0.99 as that.
    The difference of means is taken over ``student_copies`` copies that the students answer at no cost, and corrected by their
    errors on the copies that were asked about (a control variate, though students were trained on most of these: of few copies
    they learn the answers by heart, and little is corrected). It varies less with the seed than the black box's few answers
    alone.

    Masks, students and evidence are about the answers of all classes, as far as these go with the target's (``targets``), which
    costs no query. What each place adds, and the cut, are about the target's own.

    ``notes["profile"]`` tells whether all classes' answers were learned, and ``notes["profile_correlation"]`` how far they go
    with the target's own; ``notes["fidelity"]`` is about what was learned; ``notes["named"]`` is the share of the places whose
    mask is over one half, where the map is more cut than graded; ``notes["additive_r2"]`` the joint regression's R²,
    ``notes["beside_r2"]``, where copies were asked about last, that of the regression on these.

    Args:
        black_box: what is explained.
        mosaic: the partitions; ``None``: :class:`~dax_lightning.mosaic.Mosaic`'s own.
        perturber: makes the copies; ``None``: mean colour of the picture, 30 to 70 % of the segments kept, all weighing alike. Of
            the last copies it chooses the segments and weights, but not the fill.
        loss: of each member; ``None``: how well its student answers through its mask, without the counterfactual term.
        student: called with ``channels`` and ``size``; the student of one member; ``None``: one hidden layer of 128 units.
        training: how they are trained; ``None``: faster than the paper's networks.
        q: perturbed copies, the input included.
        targets: what masks, students and evidence are about: ``profile``, what all classes say of the target, where places
            foretell that better than the target's own log-odds (:func:`~dax_lightning.learnable.learnable`); ``log_odds`` or
            ``probability``: the target's own, which is more about what tells it from its like, and less about the whole object.
        resolution: side of the grid on which the masks and students see the copies.
        members: masks, each with a student.
        min_steps: training steps at least, also where few copies make epochs short.
        evidence: weight of the difference of mean answers, in standard deviations of the masks' mean.
        additive: weight of what each place adds, see above; 0 or more.
        support: weight of what each place adds once the map is averaged, in standard deviations of the map, see above; 0 or more.
            More of it is more about what the answer rests on, and less about the whole object.
        adaptive: share of the ``q`` copies that are asked about last, see above, in [0, 0.5].
        adaptive_fill: what fills these (``perturber.blur_sigma`` is the blur's width); the perturber's fill, where this one
            leaves the rest as it is, to a tenth of its standard deviation, as a blur does with inputs of a few rows.
        beside: weight of what these tell of places beside what the map names, in standard deviations of the map; 0 or more.
        complement: how much it counts in the cut that the rest must not explain, see above; 0 or more.
        separation: how much it counts in the cut that the map tells what is named from the rest; 0 or more.
        uncut: the R² around which maps are left graded, see above; 0 or more. Since R² counts as 0.99 at most, 1.02 or more cuts
            all maps, and over 0.96 none is left whole; ``largest=0`` is what leaves all as they are.
        student_copies: copies that the students answer for that difference, beside the first that are asked about; 0: none.
        largest: most of the places that a map which is cut may name, see :func:`~dax_lightning.mosaic.cut_out`; 0 leaves out the
            cut.
        min_fidelity: below this held-out weighted R² the students have learned nothing and the explanation is flagged.
        seed: of all randomness.
        budget: most rows the black box may be asked.

    Example:
        >>> from dax_lightning.black_box import CallableBlackBox
        >>> from dax_lightning.segment import Grid
        >>> def top_left(rows):
        ...     share = rows[:, :, :16, :16].mean((1, 2, 3))
        ...     return torch.stack([share, 1 - share], 1)
        >>> box = CallableBlackBox(top_left, size=(32, 32))
        >>> mosaic, zeros = Mosaic(Grid(4, 4), [Grid(3, 3)]), Perturber(fill="zeros", weight="uniform")
        >>> dax = MosaicDax(box, mosaic, zeros, training=Training(lr_mask=0.05, progress=False), q=200)
        >>> made = dax.explain(torch.ones(3, 32, 32), target=0)
        >>> made.queries, bool(made.saliency[:16, :16].mean() > made.saliency[16:].mean())
        (200, True)
    """

    name: ClassVar[str] = "dax"
    slower: ClassVar[str] = "lower explainer.training.lr_mask and explainer.training.lr_student"
    gentler: ClassVar[str] = "explainer.perturber.kept_share_max=0.95"
    other_fill: ClassVar[str] = "explainer.perturber.fill=zeros"

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
        budget: int | None = None,
    ):
        self.mosaic = mosaic or Mosaic()
        parts = (self.mosaic.first, perturber or MIXED, student or partial(MlpStudent, hidden=128), training or FASTER)
        check_targets(targets)
        self.learns: MosaicTargets = targets
        space = "log_odds" if targets == "profile" else targets
        super().__init__(black_box, *parts, q, space, resolution, True, min_fidelity, seed, budget)
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
        if not 0 <= adaptive <= 0.5:
            raise InputError(f"explainer.adaptive={adaptive}: wanted a share of the q copies in [0, 0.5]")
        check_fill("explainer.adaptive_fill", adaptive_fill)
        if not 0 <= largest <= 0.5:
            raise InputError(f"explainer.largest={largest}: wanted a share in [0, 0.5]")
        self.loss, self.members, self.min_steps = loss or CounterfactualLoss(lam3=0.0), members, min_steps
        self.evidence, self.additive, self.support, self.student_copies = evidence, additive, support, student_copies
        self.adaptive, self.beside = adaptive, beside
        self.adaptive_fill: Fill = adaptive_fill
        self.cut = Cut(complement, separation, uncut, largest)

    def prepare(self) -> None:
        """See :class:`Explainer`."""
        self.mosaic.prepare()

    @property
    def asked_first(self) -> int:
        """How many of the copies are asked about before training: all but those that keep what the map names."""
        last = round(self.adaptive * self.q)
        return self.q - last if last >= _ENOUGH else self.q

    def _data(self, x: Tensor, target: int, generator: torch.Generator, segments: Tensor | None) -> PerturbationDataModule:
        levels = self.mosaic(x, segments)
        self._check_q(int(level_of(levels, x).bincount().min()))
        chosen = partial(learnable, levels=levels, targets=self.learns)
        outlined = self.mosaic.outlined(x, levels)
        return self._data_of(x, levels, target, generator, colours=False, outlined=outlined, learnable=chosen)

    def _module(self, data: PerturbationDataModule) -> Ensemble:
        return Ensemble([self._member(data) for _ in range(self.members)])

    def _member(self, data: PerturbationDataModule) -> DaxModule:
        rates = (self.training.lr_mask, self.training.lr_student, self.training.weight_decay, self.training.optimizer)
        mask = SegmentMask(data.pool.share, data.pool.size, len(data.segments))
        return DaxModule(mask, self.student(channels=1, size=data.pool.size), self.loss, self.targets, True, *rates)

    def _read(self, x: Tensor, data: PerturbationDataModule, module: DaxModule, recorder: Recorder) -> Reading:
        masks = [mask for mask in module.modules() if isinstance(mask, SegmentMask)]
        learned = torch.stack([mask.places(data.segments) for mask in masks]).mean(0)
        learned = standardised(averaged_within(averaged_within(learned, data.outlined), data.outlined))
        if self.evidence:
            learned = learned + self.evidence * standardised(self._effect(data, module))
        own = Copies(data.kept, data.learned.own, data.segments, data.weight)
        adds = additive(own)
        share = bounded(adds.r2)
        learned = learned + self.additive * (share / (1 - share)) ** 3 * standardised(adds.saliency)
        learned = standardised(averaged_within(learned, data.outlined))
        notes = {"additive_r2": adds.r2, **data.learned.notes}
        beside = torch.zeros_like(learned)
        if self.q > self.asked_first:
            region = self.cut.region(learned, own, adds.r2)
            edge = learned[region].min() if region.any() else learned.max()
            told, notes["beside_r2"] = self._beside(data, ~region)
            beside = self.beside * min(1.0, 2 * (1 - data.score)) * (edge - learned).clamp(0, 1) * told
        if self.support:
            added = standardised(averaged_within(adds.saliency, data.outlined))
            learned = learned + self.support * math.sqrt(share) * (added + added.relu())
        saliency, named = self.cut(learned + beside, own, adds.r2)
        return Reading(saliency, {**notes, **named}, torch.stack(recorder.masks))

    def _beside(self, data: PerturbationDataModule, rest: Bool[Tensor, "h w"]) -> tuple[Float[Tensor, "h w"], float]:
        """What places of the rest add to all others, as far as they do, and the R²: copies that keep these are asked about."""
        level = level_of(data.segments, data.x)
        kept = self.perturber.subsets(self.q - self.asked_first, level, data.generator)
        fill = torch.where(rest, self._last_fill(data, rest), data.x)
        size, watched = self.perturber.batch_size, self.training.watched
        said = ask_kept(self.black_box, data.x, fill, data.segments, kept, data.target, size, watched)
        values = in_space(said, self.targets)
        adds = additive(Copies(kept, values, data.segments, self.perturber.closeness(kept, level)), rest)
        averaged = averaged_within(_standardised_in(adds.saliency, rest), data.outlined)  # the others are 0: its mean
        counts = min(1.0, _FULL * (values.std() / data.learned.own.std()).item())
        return counts * math.sqrt(bounded(adds.r2)) * _standardised_in(averaged, rest), adds.r2

    def _last_fill(self, data: PerturbationDataModule, rest: Bool[Tensor, "h w"]) -> Float[Tensor, "c h w"]:
        """What fills the last copies: as the others, where ``adaptive_fill`` would leave the rest nearly as it is."""
        fill = filled(data.x, data.segments, self.adaptive_fill, self.perturber.blur_sigma)
        seen = data.x[:, rest]
        if (fill[:, rest] - seen).square().mean() <= _SAME**2 * seen.var(correction=0):
            return filled(data.x, data.segments, self.perturber.fill, self.perturber.blur_sigma)
        return fill

    def _effect(self, data: PerturbationDataModule, module: DaxModule) -> Float[Tensor, "h w"]:
        """The difference of mean answers: the students' to many copies, and what they get wrong on the real ones."""
        asked = Copies(data.kept, data.teacher, data.segments, data.weight)
        if not self.student_copies:
            return kept_minus_removed(asked)
        level = level_of(data.segments, data.x)
        more = self.perturber.subsets(self.student_copies, level, data.generator)
        said = Copies(more, _answers(module, data, more), data.segments, self.perturber.closeness(more, level))
        wrong = replace(asked, values=data.teacher - _answers(module, data, data.kept))
        return kept_minus_removed(said) + kept_minus_removed(wrong)


def _standardised_in(saliency: Float[Tensor, "h w"], places: Bool[Tensor, "h w"]) -> Float[Tensor, "h w"]:
    """Mean 0 and standard deviation 1 among these places, 0 elsewhere."""
    found = torch.zeros_like(saliency)
    if places.any():
        found[places] = standardised(saliency[places][None])[0]
    return found


@torch.no_grad()
def _answers(module: DaxModule, data: PerturbationDataModule, kept: Bool[Tensor, "n j"]) -> Float[Tensor, " n"]:
    module.eval()
    with one_thread():
        return torch.cat([answers(module, *data.pool(rows)) for rows in kept.split(256)])
