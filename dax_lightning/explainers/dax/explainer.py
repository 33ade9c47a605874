"""DAX as an Explainer: segments, copies, answers, joint training, and the mask read out."""

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from dax_lightning.black_box.base import BlackBox
from dax_lightning.errors import InputError
from dax_lightning.explainers.base import SPACES, Found
from dax_lightning.explainers.dax.data import Learnable, PerturbationDataModule, Serving, grown
from dax_lightning.explainers.dax.losses import CounterfactualLoss, DaxLoss
from dax_lightning.explainers.dax.module import DaxModule, Recorder
from dax_lightning.explainers.dax.networks import MaskNetwork, MlpStudent
from dax_lightning.explainers.dax.training import Training
from dax_lightning.explainers.segments import SegmentExplainer
from dax_lightning.game.base import Answers, TargetSpace, check_space, game_of, same_answers
from dax_lightning.game.subsets import Perturber
from dax_lightning.segment.base import Segmenter

_FEW = 8  # segments; LIME's quick shift finds this few in pictures far smaller than 224 pixels
_NOTHING = 0.1  # R² below which a student is no better than a guess


@dataclass(frozen=True)
class Reading:
    """What :meth:`Distiller._read` hands back: map, facts beside those of the training, the mask after each epoch, a region."""

    saliency: Float[Tensor, "*space"]
    notes: dict[str, Any] = field(default_factory=dict)
    epochs: Float[Tensor, "e a b"] | None = None
    region: Bool[Tensor, "*space"] | None = None


@dataclass(frozen=True)
class Learner:
    """Which networks learn, from what, and when they are believed.

    Args:
        mask_network: called with ``channels``; the mask network of one explanation.
        student: called with ``channels`` and ``size``; the student of one explanation.
        targets: the scale of the answers: ``log_odds``, or ``probability`` as in the paper.
        resolution: side of the grid on which the networks see the copies, at least 4.
        sees_kept: the student is told which cells were removed.
        average_epochs: the explanation is the mean mask of so many last epochs; 1: the last mask, as in the text.
        min_fidelity: below this held-out weighted R² the student has learned nothing and the explanation is flagged.

    Raises:
        InputError: a value is out of range.

    Example:
        >>> Learner(targets="probability").resolution
        28
    """

    mask_network: Callable[..., nn.Module] = MaskNetwork
    student: Callable[..., nn.Module] = MlpStudent
    targets: TargetSpace = "log_odds"
    resolution: int = 28
    sees_kept: bool = True
    average_epochs: int = 1
    min_fidelity: float = 0.1

    def __post_init__(self) -> None:
        check_space(self.targets)
        if self.resolution < 4:
            raise InputError(f"explainer.learner.resolution={self.resolution} must be at least 4")
        if self.average_epochs < 1:
            raise InputError(f"explainer.learner.average_epochs={self.average_epochs}: it must be at least 1")


class Distiller(SegmentExplainer):
    """Asks about perturbed copies, and trains a student to imitate the answers; the explanation is read from what was learned.

    Subclasses write :meth:`_module` and :meth:`_read`. All have the same first queries, those of
    :func:`~dax_lightning.game.base.ask` from a fresh generator.

    Args:
        black_box: what is explained.
        segmenter: parts the input; copies lose whole segments.
        perturber: makes the copies.
        learner: the networks, and what they learn.
        training: how they are trained.
        q: perturbed copies, the input included.
        seed: of all randomness.
    """

    slower: ClassVar[str] = "lower optim.lr_student"  # what helps where the training diverged
    gentler: ClassVar[str] = "perturber.kept_share=0.8"  # what helps where copies lost too much
    min_steps: int = 0  # of the training, see Training.fit

    def __init__(
        self,
        black_box: BlackBox,
        segmenter: Segmenter | None = None,
        perturber: Perturber | None = None,
        learner: Learner | None = None,
        training: Training | None = None,
        q: int = 1000,
        seed: int = 0,
    ):
        super().__init__(black_box, segmenter, perturber, q, seed)
        self.learner, self.training = learner or Learner(), training or Training()

    @property
    def asked_first(self) -> int:
        """How many of the copies are asked about before training."""
        return self.q

    def _explain(
        self, x: Float[Tensor, "c *space"], target: int, generator: torch.Generator, segments: Int[Tensor, "*space"] | None
    ) -> Found:
        data = self._data(x, target, generator, segments)
        data.setup()
        if same_answers(data.probability):
            silent = (
                f"the black box's answer is the same for all {self.asked_first} copies: nothing speaks for or against this target"
            )
            notes = {"fidelity": None, "unfaithful": True, "epochs": 0}
            return Found(torch.zeros(x.shape[1:]), data.score, data.partition, notes, (silent,))
        module = self._module(data)
        recorder = Recorder(lambda: _mask(module, data))
        self.training.fit(module, data, recorder, self.min_steps)
        return self._found(self._read(x, data, module, recorder), data, recorder)

    @abstractmethod
    def _module(self, data: PerturbationDataModule) -> DaxModule:
        """The networks to train; the black box has answered."""

    @abstractmethod
    def _read(self, x: Tensor, data: PerturbationDataModule, module: DaxModule, recorder: Recorder) -> Reading:
        """The explanation that the trained networks hold."""

    def _found(self, reading: Reading, data: PerturbationDataModule, recorder: Recorder) -> Found:
        fidelity = recorder.history[-1]["fidelity"]
        count = int(data.segments.max()) + 1
        notes = {
            "fidelity": fidelity if math.isfinite(fidelity) else None,
            "unfaithful": not fidelity >= self.learner.min_fidelity,
            "epochs": len(recorder.history),
            "segments": count,
            "history": recorder.history,
            **reading.notes,
        }
        doubts = self._doubts(fidelity, count)
        return Found(reading.saliency, data.score, data.partition, notes, doubts, reading.epochs, reading.region)

    def _data(self, x: Tensor, target: int, generator: torch.Generator, segments: Tensor | None) -> PerturbationDataModule:
        segments = self._parts(x, segments)
        self._check_q(int(segments.max()) + 1)
        return self._data_of(x, segments, target, generator)

    def _check_q(self, segments: int) -> None:
        if self.asked_first < segments:
            raise InputError(
                f"q={self.q} copies for {segments} segments: wanted at least one a segment; try q={max(1000, 10 * segments)}"
            )

    def _data_of(
        self,
        x: Tensor,
        segments: Tensor,
        target: int,
        generator: torch.Generator,
        colours: bool = True,
        learnable: Callable[[Answers], Learnable] | None = None,
    ) -> PerturbationDataModule:
        serving = Serving(self.learner.targets, self.learner.resolution, self.training.split, colours, self.training.progress)
        game = game_of(self.black_box, x, segments, self.perturber)
        return PerturbationDataModule(game, self.perturber, target, self.asked_first, generator, serving, learnable)

    def _doubts(self, fidelity: float, segments: int) -> tuple[str, ...]:
        doubts = []
        if segments < _FEW:
            doubts.append(f"only {segments} segments, so the map can't tell more places apart; try {self._finer()}")
        if not fidelity >= self.learner.min_fidelity:
            learned = "nothing" if not fidelity >= _NOTHING else "too little"
            doubts.append(
                f"the student learned {learned}: its R² on held-out copies is {fidelity:.2f}, under "
                f"{self.learner.min_fidelity:g}, so don't trust this map; try {', '.join(self._remedies(fidelity))}"
            )
        return tuple(doubts)

    def _finer(self) -> str:
        if self.black_box.input.step is not None:
            return (
                "shorter pieces of time, such as Time(seconds=0.05) (segmenter=time segmenter.seconds=0.05 on the command line)"
            )
        return "Slic() or Grid() (segmenter=slic, segmenter=grid on the command line)"

    def _remedies(self, fidelity: float) -> list[str]:
        remedies = [] if self.learner.targets == "log_odds" else ["explainer.learner.targets=log_odds"]
        if not fidelity > -1:  # far worse than a constant: it diverged
            remedies.append(self.slower)
        return [*remedies, self.gentler, f"q={3 * self.q}", "another segmenter"]


class Dax(Distiller):
    """Distillation aided explainability: a mask and a student network trained jointly on the black box's answers.

    The student learns to imitate the black box on perturbed copies of the input, through the mask; what the mask lets through
    is the explanation (equations 4 to 12 of the paper).

    Args:
        black_box: what is explained.
        segmenter: parts the input; copies lose whole segments.
        perturber: makes the copies.
        loss: ``SparseLoss`` (V1) or ``CounterfactualLoss`` (V2, V3).
        learner: the networks, and what they learn.
        training: how they are trained.
        q: perturbed copies, the input included.
        seed: of all randomness.

    Example:
        >>> from dax_lightning.black_box import from_function
        >>> from dax_lightning.segment.grid import Grid
        >>> def top_left(rows):
        ...     share = rows[:, :, :16, :16].mean((1, 2, 3))
        ...     return torch.stack([share, 1 - share], 1)
        >>> box = from_function(top_left, size=(32, 32))
        >>> dax = Dax(box, Grid(4, 4), Perturber(fill="zeros"), q=200)
        >>> made = dax.explain(torch.ones(3, 32, 32), target=0)
        >>> made.queries, bool(made.saliency[:16, :16].mean() > made.saliency[16:].mean())
        (200, True)
    """

    name: ClassVar[str] = "dax_paper"
    kinds: ClassVar[tuple[str, ...]] = SPACES
    slower: ClassVar[str] = "lower optim.lr_mask and optim.lr_student, loss.ceiling=1"
    module_type: ClassVar[type[DaxModule]] = DaxModule

    def __init__(
        self,
        black_box: BlackBox,
        segmenter: Segmenter | None = None,
        perturber: Perturber | None = None,
        loss: DaxLoss | None = None,
        learner: Learner | None = None,
        training: Training | None = None,
        q: int = 1000,
        seed: int = 0,
    ):
        super().__init__(black_box, segmenter, perturber, learner, training, q, seed)
        self.loss = loss or CounterfactualLoss()

    def _module(self, data: PerturbationDataModule) -> DaxModule:
        channels = len(data.x)
        return self.module_type(
            mask_network=self._mask_network(channels),
            student=self.learner.student(channels=channels + self.learner.sees_kept, size=data.pool.size),
            loss=self.loss,
            space=self.learner.targets,
            sees_kept=self.learner.sees_kept,
            optim=self.training.optim,
        )

    def _mask_network(self, channels: int) -> nn.Module:
        return self.learner.mask_network(channels=channels)

    def _read(self, x: Tensor, data: PerturbationDataModule, module: DaxModule, recorder: Recorder) -> Reading:
        masks = torch.stack(recorder.masks)
        mean = masks[-self.learner.average_epochs :].mean(0)
        return Reading(grown(mean, tuple(x.shape[1:])), epochs=masks)


@torch.no_grad()
def _mask(module: DaxModule, data: PerturbationDataModule) -> Float[Tensor, "h w"]:
    was_training = module.training
    module.eval()
    mask = module(data.input_batch().copies.to(module.device))[0].mean(0).cpu()
    module.train(was_training)
    return mask
