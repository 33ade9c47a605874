"""DAX-Mosaic: copies of many partitions, a student that imitates the answers to them, and the region that its map names."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dax_lightning.black_box.base import BlackBox
from dax_lightning.errors import InputError, check_number, whole
from dax_lightning.explainers.base import Found
from dax_lightning.explainers.mosaic.average import averaged
from dax_lightning.explainers.mosaic.last_copies import ENOUGH, against
from dax_lightning.explainers.mosaic.region import region_of
from dax_lightning.explainers.mosaic.ridge import Imitation, Ridge
from dax_lightning.explainers.mosaic.signal import MosaicTargets, signal
from dax_lightning.explainers.segments import SegmentExplainer, check_size
from dax_lightning.game.base import Answers, TargetSpace, ask, check_space, game_of, same_answers
from dax_lightning.game.subsets import MIXED, Perturber
from dax_lightning.segment.default import mosaic_on
from dax_lightning.segment.mosaic import Mosaic

GENTLER = "explainer.perturber.pairs=false explainer.perturber.kept_share_max=0.95"  # what helps where copies lost too much
Student = Callable[[Float[Tensor, " n"]], Imitation]  # imitates any values that the copies have


@dataclass(frozen=True)
class Learned:
    """What the student learned: of the whole object, by the profile if it is predicted better, and of the target's own answer."""

    whole: Imitation
    own: Imitation
    notes: dict[str, Any]


class MosaicDax(SegmentExplainer):
    """DAX-Mosaic: a student imitates the answers to copies of many partitions, and what it learned is the map.

    1. Each copy loses segments of one of several partitions (``mosaic``), and the black box answers it.
    2. The student is one ridge regression on all copies. It learns what all classes say of the target, or the target's own answer
       where it predicts that better (:func:`~dax_lightning.explainers.mosaic.signal.signal`).
    3. Its map is averaged within segments and outlines.
    4. The region is where the map reaches three quarters of its typical positive value.
    5. The last copies keep the region, and tell what beside it speaks against the target.

    The map is in log-odds of the target. Its mean over a region, times the region's share of the input, is about what the region
    adds. 0 is neutral, positive is for the target, negative against. ``notes["fidelity"]`` is the student's R² on other copies.

    Args:
        black_box: what is explained.
        mosaic: the partitions; ``None``: :class:`~dax_lightning.segment.mosaic.Mosaic`'s own.
        perturber: makes the copies; ``None``: the input's mean as fill, 30 to 70 % kept, in pairs, equal weights.
        q: copies, the input included.
        targets: ``profile``: all classes' answers; ``log_odds`` or ``probability``: the target's own, and the map's unit.
        averaged: how often the map is averaged; ``None``: twice on photographs, once elsewhere. More suits large objects.
        parts: weight of the target's own answers, averaged once at most: more is about parts, less about the whole object.
        last: share of the copies that are asked last, in [0, 0.5]; under 30 copies none are.
        min_fidelity: below this fidelity the student has learned nothing and the explanation is flagged.
        seed: of all randomness.

    Example:
        >>> from dax_lightning.black_box import from_function
        >>> from dax_lightning.segment.grid import Grid
        >>> box = from_function(lambda rows: rows[:, :2, :16, :16].mean((2, 3)), size=(32, 32), multi_label=True)
        >>> dax = MosaicDax(box, Mosaic(Grid(4, 4), [Grid(3, 3)]), Perturber(fill="zeros"), q=200)
        >>> dax.explain(torch.ones(3, 32, 32), target=0).region.nonzero().amax(0).tolist()
        [15, 15]
    """

    name: ClassVar[str] = "dax"
    fill_setting: ClassVar[str] = "explainer.perturber.fill"
    draws_globally: ClassVar[bool] = False
    stops: ClassVar[tuple[str, ...]] = ("max_seconds", "converged")

    def __init__(
        self,
        black_box: BlackBox,
        mosaic: Mosaic | None = None,
        perturber: Perturber | None = None,
        q: int = 1000,
        targets: MosaicTargets = "profile",
        averaged: int | None = None,
        parts: float = 0.3,
        last: float = 0.1,
        min_fidelity: float = 0.1,
        seed: int = 0,
    ):
        self.mosaic = mosaic_on(mosaic, black_box.input)
        super().__init__(black_box, self.mosaic.all[0], perturber or MIXED, q, seed)
        check_space(targets, "profile")
        self.averaged = 1 + (black_box.input.kind == "image") if averaged is None else whole("explainer.averaged", averaged)
        if self.averaged < 0:
            raise InputError(f"explainer.averaged={averaged}: wanted how often, 0 or more")
        check_number("explainer.parts", parts, least=0)
        check_number("explainer.last", last, least=0, most=0.5)
        check_number("explainer.min_fidelity", min_fidelity)
        self.targets: MosaicTargets = targets
        self.space: TargetSpace = "log_odds" if targets == "profile" else targets
        self.parts, self.last, self.min_fidelity = parts, last, min_fidelity

    def prepare(self) -> None:
        """See :class:`Explainer`."""
        self.mosaic.prepare()

    @property
    def first(self) -> int:
        """How many of the copies are asked first: all, where the last ones would be too few."""
        last = round(self.last * self.q)
        return self.q - last * (last >= ENOUGH)

    def _explain(
        self, x: Float[Tensor, "c *space"], target: int, generator: torch.Generator, segments: Int[Tensor, "*space"] | None
    ) -> Found:
        levels, outlined = self._partitions(x, segments)
        game = game_of(self.black_box, x, levels, self.perturber)
        settled = self.stop.settled(lambda answers: self._average(self._imitate(answers, levels), outlined))
        answers = ask(game, self.perturber, target, self.first, generator, settled=settled, classes=self.targets == "profile")
        if same_answers(answers.probability):
            return self._silent(x, answers.probability[0].item(), levels[0], self.first)
        learned = self._imitate(answers, levels)
        saliency = self._average(learned, outlined)
        region = region_of(saliency, self.black_box.input.has_space)
        saliency += against(game, self.perturber, target, self.q - self.first, region, outlined, self.space, generator)
        return Found(saliency, answers.probability[0].item(), levels[0], *self._told(learned, game.players), region=region)

    def _partitions(self, x: Tensor, segments: Tensor | None) -> tuple[Int[Tensor, "p *space"], Int[Tensor, "more *space"]]:
        """Those that copies are made of, and those that the map is averaged within."""
        unit = self.black_box.input.unit(x)
        levels = self.mosaic(unit, segments)
        check_size(int(levels.max()) + 1)
        return levels, self.mosaic.outlined(unit, levels)

    def _student(self, answers: Answers, levels: Int[Tensor, "p *space"]) -> Student:
        return Ridge(answers.kept, levels, answers.weight).fit

    def _imitate(self, answers: Answers, levels: Int[Tensor, "p *space"]) -> Learned:
        said, student = signal(answers, self.space), self._student(answers, levels)
        own, profile = student(said.own), None if said.profile is None else student(said.profile)
        better = profile is not None and (profile.r2 is None or own.r2 is None or profile.r2 > own.r2)
        notes = {**said.notes, "profile": better} if self.targets == "profile" else {}
        return Learned(profile if profile is not None and better else own, own, notes)

    def _average(self, learned: Learned, outlined: Int[Tensor, "p *space"]) -> Float[Tensor, "*space"]:
        whole = averaged(learned.whole.saliency, outlined, self.averaged)
        parts = averaged(learned.own.saliency, outlined, min(self.averaged, 1)) if self.parts else 0
        return (whole + self.parts * parts) / (1 + self.parts)

    def _told(self, learned: Learned, segments: int) -> tuple[dict[str, Any], tuple[str, ...]]:
        """What is noted of the student, and what the user must know of it."""
        r2 = learned.whole.r2
        notes = {"fidelity": r2, "unfaithful": r2 is not None and not r2 >= self.min_fidelity, "segments": segments}
        tries = ["explainer.targets=log_odds"] * (self.targets == "probability") + [GENTLER]
        return notes | learned.notes, () if r2 is None else self._doubts(r2, self.min_fidelity, segments, tries)
