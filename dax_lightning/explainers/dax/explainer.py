"""DAX as an Explainer: segments, copies, answers, joint training, and the mask read out."""

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from dax_lightning.black_box.base import BlackBox
from dax_lightning.errors import InputError
from dax_lightning.explainers.base import SPACES, Found
from dax_lightning.explainers.dax.data import PerturbationDataModule, Serving, grown
from dax_lightning.explainers.dax.losses import CounterfactualLoss, DaxLoss
from dax_lightning.explainers.dax.module import DaxModule, Recorder
from dax_lightning.explainers.dax.networks import MaskNetwork, MlpStudent
from dax_lightning.explainers.dax.training import Training
from dax_lightning.explainers.segments import SegmentExplainer
from dax_lightning.game.base import TargetSpace, check_space, game_of, same_answers
from dax_lightning.game.subsets import Perturber
from dax_lightning.segment.base import Segmenter


@dataclass(frozen=True)
class Reading:
    """What :meth:`Distiller._read` hands back: map, facts beside those of the training, the mask after each epoch."""

    saliency: Float[Tensor, "*space"]
    notes: dict[str, Any] = field(default_factory=dict)
    epochs: Float[Tensor, "e a b"] | None = None


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
    stops: ClassVar[tuple[str, ...]] = ("max_seconds",)
    gentler: ClassVar[str] = "perturber.kept_share=0.8"  # what helps where copies lost too much

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

    def _explain(
        self, x: Float[Tensor, "c *space"], target: int, generator: torch.Generator, segments: Int[Tensor, "*space"] | None
    ) -> Found:
        data = self._data(x, target, generator, segments)
        data.setup()
        if same_answers(data.probability):
            return self._silent(x, data.score, data.segments, self.q)
        module = self._module(data)
        recorder = Recorder(lambda: _mask(module, data))
        self.training.fit(module, data, recorder)
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
        doubts = self._doubts(fidelity, self.learner.min_fidelity, count, self._remedies(fidelity))
        return Found(reading.saliency, data.score, data.segments, notes, doubts, reading.epochs)

    def _data(self, x: Tensor, target: int, generator: torch.Generator, segments: Tensor | None) -> PerturbationDataModule:
        segments = self._parts(x, segments)
        count = int(segments.max()) + 1
        if self.q < count:
            raise InputError(
                f"q={self.q} copies for {count} segments: wanted at least one a segment; try q={max(1000, 10 * count)}"
            )
        serving = Serving(self.learner.targets, self.learner.resolution, self.training.split, self.training.progress)
        game = game_of(self.black_box, x, segments, self.perturber)
        return PerturbationDataModule(game, self.perturber, target, self.q, generator, serving)

    def _remedies(self, fidelity: float) -> list[str]:
        remedies = [] if self.learner.targets == "log_odds" else ["explainer.learner.targets=log_odds"]
        if not fidelity > -1:  # far worse than a constant: it diverged
            remedies.append(self.slower)
        return [*remedies, self.gentler]


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
