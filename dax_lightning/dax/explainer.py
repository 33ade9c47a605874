"""DAX as an Explainer: segments, copies, answers, joint training, and the mask read out."""

import logging
import math
import sys
import warnings
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, get_args

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from pytorch_lightning.callbacks import EarlyStopping, TQDMProgressBar
from torch import Tensor, nn

from dax_lightning.answers import TargetSpace, check_space
from dax_lightning.black_box.base import BlackBox
from dax_lightning.dax.data import PerturbationDataModule
from dax_lightning.dax.losses import CounterfactualLoss, DaxLoss
from dax_lightning.dax.module import DaxModule, Optimizer, Recorder
from dax_lightning.dax.networks import MaskNetwork, MlpStudent
from dax_lightning.device import one_thread, pick_device
from dax_lightning.errors import InputError
from dax_lightning.explainer import Explainer, Found
from dax_lightning.perturb import Perturber
from dax_lightning.segment import Quickshift, Segmenter

logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # which devices there are is not news in every explanation
_FEW = 8  # segments; LIME's quick shift finds this few in pictures far smaller than 224 pixels
_SILENT = 1e-3  # log-odds; answers that vary less than this are the same answer


@dataclass(frozen=True)
class Training:
    """How long, how fast and where mask and student are trained.

    Args:
        max_epochs: most passes over the copies.
        patience: epochs without a better held-out loss before training stops.
        batch_size: copies a step.
        val_share: share of the copies held out, in (0, 1).
        lr_mask: learning rate of the mask network.
        lr_student: learning rate of the student.
        weight_decay: of the student.
        optimizer: ``adamw``, or ``sgd`` (Nesterov, momentum 0.9) as in the research code.
        device: where the networks train: cpu, cuda or auto.
        progress: show progress bars of queries and training, where a person watches (stderr is a terminal).
    """

    max_epochs: int = 20
    patience: int = 5
    batch_size: int = 64
    val_share: float = 0.1
    lr_mask: float = 0.01
    lr_student: float = 0.001
    weight_decay: float = 1e-4
    optimizer: Optimizer = "adamw"
    device: str = "auto"
    progress: bool = True

    def __post_init__(self) -> None:
        for name in ("max_epochs", "patience", "batch_size", "lr_mask", "lr_student"):
            if not getattr(self, name) > 0:
                raise InputError(f"trainer.{name}={getattr(self, name)}: it must be positive")
        if not 0 < self.val_share < 1 or self.weight_decay < 0:
            raise InputError(
                f"trainer.val_share={self.val_share} is wanted in (0, 1), weight_decay={self.weight_decay} not negative"
            )
        if self.optimizer not in get_args(Optimizer):
            raise InputError(f"trainer.optimizer={self.optimizer}: choose one of {', '.join(get_args(Optimizer))}")
        pick_device(self.device)

    @property
    def watched(self) -> bool:
        """Whether progress bars are shown."""
        return self.progress and sys.stderr.isatty()

    def fit(self, module: pl.LightningModule, data: PerturbationDataModule, recorder: Recorder, min_steps: int = 0) -> None:
        """Train to the end or to the stop, but at least ``min_steps`` steps: few copies make short epochs."""
        device = pick_device(self.device)
        steps = math.ceil(len(data.train_rows) / self.batch_size)  # an epoch
        callbacks: list[pl.Callback] = [recorder, EarlyStopping("val_total", min_delta=1e-3, patience=self.patience)]
        trainer = pl.Trainer(
            max_epochs=max(self.max_epochs, math.ceil(min_steps / steps)),
            min_steps=min_steps or None,
            accelerator="gpu" if device.type == "cuda" else "cpu",
            devices=[device.index or 0] if device.type == "cuda" else 1,
            callbacks=[*callbacks, TQDMProgressBar(refresh_rate=5, leave=False)] if self.watched else callbacks,
            enable_progress_bar=self.watched,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        with warnings.catch_warnings(), one_thread():
            warnings.filterwarnings("ignore", ".*does not have many workers.*")  # a batch is one small matrix product
            warnings.filterwarnings("ignore", ".*treespec, LeafSpec.*")  # Lightning's own use of torch
            trainer.fit(module, datamodule=data)


@dataclass(frozen=True)
class Reading:
    """What :meth:`Distiller._read` hands back: the map, facts beside those of the training, the mask after each epoch."""

    saliency: Float[Tensor, "h w"]
    notes: dict[str, Any] = field(default_factory=dict)
    epochs: Float[Tensor, "e a b"] | None = None


class Distiller(Explainer):
    """Asks about perturbed copies, and trains a student to imitate the answers; the explanation is read from what was learned.

    Subclasses write :meth:`_module` and :meth:`_read`. All have the same first queries, those of
    :func:`~dax_lightning.answers.ask` from a fresh generator.

    Args:
        black_box: what is explained.
        segmenter: parts the input; copies lose whole segments.
        perturber: makes the copies.
        student: called with ``channels`` and ``size``; the student of one explanation.
        training: how it is trained.
        q: perturbed copies, the input included.
        targets: the scale of the answers: ``log_odds`` or ``probability``.
        resolution: side of the grid on which the networks see the copies.
        sees_kept: the student is told which cells were removed.
        min_fidelity: below this held-out weighted R² the student has learned nothing and the explanation is flagged.
        seed: of all randomness.
        budget: most rows the black box may be asked.
    """

    slower: ClassVar[str] = "lower trainer.lr_student"  # what helps where the training diverged
    gentler: ClassVar[str] = "perturber.kept_share=0.8"  # what helps where copies lost too much
    other_fill: ClassVar[str] = "perturber.fill=zeros"
    min_steps: int = 0  # of the training, see Training.fit

    def __init__(
        self,
        black_box: BlackBox,
        segmenter: Segmenter | None = None,
        perturber: Perturber | None = None,
        student: Callable[..., nn.Module] = MlpStudent,
        training: Training | None = None,
        q: int = 1000,
        targets: TargetSpace = "log_odds",
        resolution: int = 28,
        sees_kept: bool = True,
        min_fidelity: float = 0.1,
        seed: int = 0,
        budget: int | None = None,
    ):
        super().__init__(black_box, seed, budget)
        check_space(targets)
        if q < 3:
            raise InputError(f"q={q} copies asked for; wanted at least 3, and no fewer than there are segments: try q=1000")
        if resolution < 4:
            raise InputError(f"explainer.resolution={resolution} must be at least 4")
        self.segmenter = segmenter or Quickshift()
        self.perturber = perturber or Perturber()
        self.training = training or Training()
        self.student = student
        self.q, self.resolution, self.sees_kept = q, resolution, sees_kept
        self.targets: TargetSpace = targets
        self.min_fidelity = min_fidelity

    def prepare(self) -> None:
        """See :class:`Explainer`."""
        self.segmenter.prepare()

    def rows_needed(self, x: Float[Tensor, "c *space"]) -> int:
        """See :class:`Explainer`."""
        return self.q

    @property
    def asked_first(self) -> int:
        """How many of the copies are asked about before training."""
        return self.q

    def _explain(
        self, x: Float[Tensor, "c h w"], target: int, generator: torch.Generator, segments: Int[Tensor, "h w"] | None
    ) -> Found:
        data = self._data(x, target, generator, segments)
        data.setup()
        if data.spread < _SILENT:
            silent = (
                f"the black box's answer is the same for all {self.asked_first} copies: nothing speaks for or against this target"
            )
            notes = {"fidelity": None, "unfaithful": True, "epochs": 0}
            return Found(torch.zeros(x.shape[1:]), data.score, data.partition, notes, (silent + self._other_fill(),))
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
            "unfaithful": not fidelity >= self.min_fidelity,
            "epochs": len(recorder.history),
            "segments": count,
            "history": recorder.history,
            **reading.notes,
        }
        return Found(reading.saliency, data.score, data.partition, notes, self._doubts(fidelity, count), reading.epochs)

    def _data(self, x: Tensor, target: int, generator: torch.Generator, segments: Tensor | None) -> PerturbationDataModule:
        segments = self.segmenter(x) if segments is None else segments
        self._check_q(int(segments.max()) + 1)
        return self._data_of(x, segments, target, generator)

    def _check_q(self, segments: int) -> None:
        if self.asked_first < segments:
            raise InputError(
                f"q={self.q} copies for {segments} segments: wanted at least one a segment; try q={max(1000, 10 * segments)}"
            )

    def _data_of(
        self, x: Tensor, segments: Tensor, target: int, generator: torch.Generator, **more: Any
    ) -> PerturbationDataModule:
        return PerturbationDataModule(
            black_box=self.black_box,
            perturber=self.perturber,
            x=x,
            segments=segments,
            target=target,
            q=self.asked_first,
            generator=generator,
            space=self.targets,
            resolution=self.resolution,
            val_share=self.training.val_share,
            batch_size=self.training.batch_size,
            progress=self.training.watched,
            **more,
        )

    def _doubts(self, fidelity: float, segments: int) -> tuple[str, ...]:
        doubts = []
        if segments < _FEW:
            doubts.append(
                f"only {segments} segments, so the map can't tell more places apart; try segmenter=slic or segmenter=grid"
            )
        if not fidelity >= self.min_fidelity:
            doubts.append(
                f"the student learned nothing: its R² on held-out copies is {fidelity:.2f}, under {self.min_fidelity:g}, so "
                f"don't trust this map; try {', '.join(self._remedies(fidelity))}"
            )
        return tuple(doubts)

    def _remedies(self, fidelity: float) -> list[str]:
        remedies = [] if self.targets == "log_odds" else ["explainer.targets=log_odds"]
        if not fidelity > -1:  # far worse than a constant: it diverged
            remedies.append(self.slower)
        return [*remedies, self.gentler, f"q={3 * self.q}", "another segmenter"]

    def _other_fill(self) -> str:
        return "" if self.perturber.fill == "zeros" else f"; try {self.other_fill}"


class Dax(Distiller):
    """Distillation aided explainability: a mask and a student network trained jointly on the black box's answers.

    The student learns to imitate the black box on perturbed copies of the input, through the mask; what the mask lets through
    is the explanation (equations 4 to 12 of the paper).

    Args:
        black_box: what is explained.
        segmenter: parts the input; copies lose whole segments.
        perturber: makes the copies.
        loss: :class:`~dax_lightning.dax.SparseLoss` (V1) or :class:`~dax_lightning.dax.CounterfactualLoss` (V2, V3).
        mask_network: called with ``channels``; the mask network of one explanation.
        student: called with ``channels`` and ``size``; the student of one explanation.
        training: how the two are trained.
        q: perturbed copies, the input included.
        targets: the scale of the answers: ``log_odds``, or ``probability`` as in the paper.
        resolution: side of the grid on which the networks see the copies.
        sees_kept: the student is told which cells were removed.
        average_epochs: the explanation is the mean mask of so many last epochs; 1: the last mask, as in the text.
        min_fidelity: below this held-out weighted R² the student has learned nothing and the explanation is flagged.
        seed: of all randomness.
        budget: most rows the black box may be asked.

    Example:
        >>> from dax_lightning.black_box import CallableBlackBox
        >>> from dax_lightning.segment import Grid
        >>> def top_left(rows):
        ...     share = rows[:, :, :16, :16].mean((1, 2, 3))
        ...     return torch.stack([share, 1 - share], 1)
        >>> box = CallableBlackBox(top_left, size=(32, 32))
        >>> dax = Dax(box, Grid(4, 4), Perturber(fill="zeros"), training=Training(progress=False), q=200)
        >>> made = dax.explain(torch.ones(3, 32, 32), target=0)
        >>> made.queries, bool(made.saliency[:16, :16].mean() > made.saliency[16:].mean())
        (200, True)
    """

    name: ClassVar[str] = "dax_paper"
    slower: ClassVar[str] = "lower trainer.lr_mask and trainer.lr_student, loss.ceiling=1"
    module_type: ClassVar[type[DaxModule]] = DaxModule

    def __init__(
        self,
        black_box: BlackBox,
        segmenter: Segmenter | None = None,
        perturber: Perturber | None = None,
        loss: DaxLoss | None = None,
        mask_network: Callable[..., nn.Module] = MaskNetwork,
        student: Callable[..., nn.Module] = MlpStudent,
        training: Training | None = None,
        q: int = 1000,
        targets: TargetSpace = "log_odds",
        resolution: int = 28,
        sees_kept: bool = True,
        average_epochs: int = 1,
        min_fidelity: float = 0.1,
        seed: int = 0,
        budget: int | None = None,
    ):
        super().__init__(
            black_box,
            segmenter,
            perturber,
            student,
            training,
            q,
            targets,
            resolution,
            sees_kept,
            min_fidelity,
            seed,
            budget,
        )
        if average_epochs < 1:
            raise InputError(f"explainer.average_epochs={average_epochs}: it must be at least 1")
        self.loss, self.mask_network, self.average_epochs = loss or CounterfactualLoss(), mask_network, average_epochs

    def _module(self, data: PerturbationDataModule) -> DaxModule:
        channels = len(data.x)
        return self.module_type(
            mask_network=self._mask_network(channels),
            student=self.student(channels=channels + self.sees_kept, size=data.pool.size),
            loss=self.loss,
            space=self.targets,
            sees_kept=self.sees_kept,
            lr_mask=self.training.lr_mask,
            lr_student=self.training.lr_student,
            weight_decay=self.training.weight_decay,
            optimizer=self.training.optimizer,
        )

    def _mask_network(self, channels: int) -> nn.Module:
        return self.mask_network(channels=channels)

    def _read(self, x: Tensor, data: PerturbationDataModule, module: DaxModule, recorder: Recorder) -> Reading:
        masks = torch.stack(recorder.masks)
        mean = masks[-self.average_epochs :].mean(0)
        saliency = F.interpolate(mean[None, None], size=x.shape[1:], mode="bilinear", align_corners=False)[0, 0]
        return Reading(saliency, epochs=masks)


@torch.no_grad()
def _mask(module: DaxModule, data: PerturbationDataModule) -> Float[Tensor, "h w"]:
    was_training = module.training
    module.eval()
    mask = module(data.input_batch().copies.to(module.device))[0].mean(0).cpu()
    module.train(was_training)
    return mask
