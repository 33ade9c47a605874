"""Mask and student network, trained jointly: one LightningModule for every loss."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, get_args, runtime_checkable

import pytorch_lightning as pl
import torch
from jaxtyping import Float
from torch import Tensor, nn

from dax_lightning.errors import InputError
from dax_lightning.explainers.dax.data import Batch, TargetSpace
from dax_lightning.explainers.dax.losses import DaxLoss, weighted_r2

Optimizer = Literal["adamw", "sgd"]


@dataclass(frozen=True)
class Optim:
    """How fast mask and student learn.

    Args:
        lr_mask: learning rate of the mask network.
        lr_student: learning rate of the student.
        weight_decay: of the student; 0 or more.
        optimizer: ``adamw``, or ``sgd`` (Nesterov, momentum 0.9) as in the research code.

    Raises:
        InputError: a number is out of range, or the optimiser is not known.

    Example:
        >>> Optim(lr_mask=0.05).lr_student
        0.001
    """

    lr_mask: float = 0.01
    lr_student: float = 0.001
    weight_decay: float = 1e-4
    optimizer: Optimizer = "adamw"

    def __post_init__(self) -> None:
        for name in ("lr_mask", "lr_student"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"optim.{name}={getattr(self, name)}: it must be positive")
        if not 0 <= self.weight_decay < math.inf:
            raise InputError(f"optim.weight_decay={self.weight_decay}: wanted 0 or more")
        if self.optimizer not in get_args(Optimizer):
            raise InputError(f"optim.optimizer={self.optimizer}: choose one of {', '.join(get_args(Optimizer))}")


class DaxModule(pl.LightningModule):
    """Trains ``f_S(x_p ⊙ f_M(x_p))`` to answer as the black box does; the mask is the explanation (figure 4 of the paper).

    Each epoch logs every loss term as ``train_*`` and ``val_*``, and ``fidelity``: the weighted R² on held-out copies.

    Args:
        mask_network: makes a mask in (0, 1) from the copies.
        student: makes a score from the masked copies.
        loss: V1, V2 or V3.
        space: scale of the answers; ``probability`` puts a sigmoid after the student, as in the text.
        sees_kept: give the student one more channel, the share of each cell that was kept; without it a removed cell and a
            cell of the fill's colour look the same.
        optim: learning rates and optimiser.
    """

    def __init__(
        self,
        mask_network: nn.Module,
        student: nn.Module,
        loss: DaxLoss,
        space: TargetSpace = "log_odds",
        sees_kept: bool = True,
        optim: Optim = Optim(),
    ):
        super().__init__()
        self.mask_network, self.student, self.loss = mask_network, student, loss
        self.space, self.sees_kept, self.optim = space, sees_kept, optim
        self._held_out: list[tuple[Tensor, Tensor, Tensor]] = []
        self._seen: dict[str, list[tuple[int, dict[str, Tensor]]]] = {"train": [], "val": []}  # of this epoch: copies and terms

    def forward(self, copies: Float[Tensor, "n c h w"]) -> Float[Tensor, "n m h w"]:
        """The mask of each copy, in (0, 1): one for all channels, or one for each channel the student sees."""
        return self.mask_network(copies)

    def score(
        self, copies: Float[Tensor, "n c h w"], kept: Float[Tensor, "n 1 h w"], mask: Float[Tensor, "n m h w"]
    ) -> Float[Tensor, " n"]:
        """The student's answer to the masked copies, on the scale of :class:`~dax_lightning.explainers.dax.data.Targets`."""
        seen = torch.cat([copies, kept], 1) if self.sees_kept else copies
        answer = self.student(seen * mask)
        return answer.sigmoid() if self.space == "probability" else answer

    def terms(self, batch: Batch) -> tuple[dict[str, Tensor], Float[Tensor, " n"]]:
        """The loss's terms on a batch, and the student's answers."""
        mask = self(batch.copies)
        kept = self.score(batch.copies, batch.kept, mask)
        rest = self.score(batch.copies, batch.kept, 1 - mask) if self.loss.needs_rest else None
        return self.loss(kept, rest, batch.teacher, mask.mean(1, keepdim=True), batch.weight), kept

    def answers(self, copies: Float[Tensor, "n c h w"], kept: Float[Tensor, "n 1 h w"]) -> Float[Tensor, " n"]:
        """The student's answers to copies through its mask, on the scale of ``Targets``."""
        return self.score(copies, kept, self(copies))

    def training_step(self, batch: Batch) -> Tensor:
        """One step of both networks."""
        terms, _ = self.terms(batch)
        self._see("train", terms, len(batch.teacher))
        return terms["total"]

    def on_train_batch_end(self, outputs: object, batch: Batch, batch_idx: int) -> None:
        """Log the epoch's means after its last batch, or where the training ends within it."""
        if self.trainer.is_last_batch or self.trainer.should_stop or self.trainer.global_step == self.trainer.max_steps:
            self._log("train")

    def validation_step(self, batch: Batch) -> None:
        """Collect the student's answers to held-out copies."""
        terms, kept = self.terms(batch)
        self._see("val", terms, len(batch.teacher))
        self._held_out.append((kept, batch.teacher, batch.weight))

    def on_validation_epoch_end(self) -> None:
        """Log the means and the fidelity over all held-out copies."""
        self._log("val")
        kept, teacher, weight = (torch.cat(parts) for parts in zip(*self._held_out, strict=True))
        self._held_out.clear()
        self.log("fidelity", weighted_r2(kept, teacher, weight), prog_bar=True, logger=False)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Both networks in one optimiser, each with its own learning rate."""
        groups = [
            {"params": list(self.mask_network.parameters()), "lr": self.optim.lr_mask, "weight_decay": 0.0},
            {
                "params": list(self.student.parameters()),
                "lr": self.optim.lr_student,
                "weight_decay": self.optim.weight_decay,
            },
        ]
        if self.optim.optimizer == "sgd":
            return torch.optim.SGD(groups, lr=self.optim.lr_student, momentum=0.9, nesterov=True)
        return torch.optim.AdamW(groups)

    def _see(self, stage: str, terms: dict[str, Tensor], n: int) -> None:
        self._seen[stage].append((n, {name: value.detach() for name, value in terms.items()}))

    def _log(self, stage: str) -> None:
        """The terms' means over the copies that were seen: once an epoch, since at each step it takes a fifth of the time."""
        seen, self._seen[stage] = self._seen[stage], []
        copies = torch.tensor([float(n) for n, _ in seen], device=self.device)
        share, count = copies / copies.sum(), sum(n for n, _ in seen)
        named = {f"{stage}_{name}": share @ torch.stack([terms[name] for _, terms in seen]) for name in seen[0][1]}
        self.log_dict(named, on_step=False, on_epoch=True, batch_size=count, logger=False)


def answers(module: DaxModule, copies: Float[Tensor, "n c h w"], kept: Float[Tensor, "n 1 h w"]) -> Float[Tensor, " n"]:
    """What a trained student says of pooled copies, on its own scale; wherever it was trained, the result is on the CPU.

    Args:
        module: the student and its mask, trained.
        copies: pooled, values in [-1, 1].
        kept: share of each cell that was kept.

    Example:
        >>> from dax_lightning.explainers.dax import MaskNetwork, MlpStudent, SparseLoss
        >>> module = DaxModule(MaskNetwork(3), MlpStudent(4, (8, 8)), SparseLoss())
        >>> answers(module, torch.zeros(2, 3, 8, 8), torch.ones(2, 1, 8, 8)).shape
        torch.Size([2])
    """
    return module.answers(copies.to(module.device), kept.to(module.device)).detach().cpu()


@runtime_checkable
class MaskLogger(Protocol):
    """A logger that takes pictures of masks beside numbers."""

    def log_mask(self, mask: Float[Tensor, "h w"], epoch: int) -> None:
        """The mask after this epoch, values in [0, 1]; called before the epoch's numbers are logged."""


class Recorder(pl.Callback):
    """Keeps, for each epoch, all that was measured and the mask of the unperturbed input, and logs them at once.

    Args:
        mask_of_input: makes the current mask of the input, on the CPU.
    """

    def __init__(self, mask_of_input: Callable[[], Float[Tensor, "h w"]]):
        self._mask_of_input = mask_of_input
        self.history: list[dict[str, float]] = []
        self.masks: list[Float[Tensor, "h w"]] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Called by the trainer after each epoch's validation; a logger gets one line an epoch."""
        epoch = trainer.current_epoch
        metrics = {name: value.item() for name, value in trainer.callback_metrics.items()}
        self.history.append({"epoch": float(epoch), **metrics})
        self.masks.append(self._mask_of_input())
        for logger in trainer.loggers:
            if isinstance(logger, MaskLogger):
                logger.log_mask(self.masks[-1], epoch)
            logger.log_metrics(dict(self.history[-1]), step=epoch)
            logger.save()
