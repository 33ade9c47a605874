"""Training classifiers of sound by Lightning."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from dax_lightning.black_box.torch.sound import Architecture, SoundModel, network
from dax_lightning.device import pick_device
from dax_lightning.errors import InputError
from dax_lightning.inputs.sound import LogMel, exactly, read_sound
from dax_lightning.logs import quiet_lightning
from dax_lightning.tasks.esc10 import clips, in_fold


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a network learns.

    Args:
        epochs: passes over the training clips.
        lr: highest learning rate, of a cycle that rises and falls.
        batch_size: clips a step.
        mixing: strength of mixup's Beta distribution; 0: clips are not mixed.
        masks: stretches of time and of bands that are blanked in each clip (SpecAugment, Park et al. 2019).
    """

    epochs: int = 20
    lr: float = 1e-3
    batch_size: int = 16
    mixing: float = 0.3
    masks: int = 2


class SoundClassifier(pl.LightningModule):
    """A network that learns classes of spectrograms, which are rolled, blanked in parts and mixed."""

    def __init__(self, module: nn.Module, schedule: Schedule, steps: int):
        super().__init__()
        self.module, self.schedule, self.steps = module, schedule, steps

    def training_step(self, batch: Any, index: int) -> Tensor:
        """The cross-entropy of one batch."""
        rows, labels = batch
        rows = blanked(rolled(rows), self.schedule.masks)
        if self.schedule.mixing:
            share = float(torch.distributions.Beta(self.schedule.mixing, self.schedule.mixing).sample())
            order = torch.randperm(len(rows))
            said = self.module(share * rows + (1 - share) * rows[order])
            losses = F.cross_entropy(said, labels), F.cross_entropy(said, labels[order])
            return share * losses[0] + (1 - share) * losses[1]
        return F.cross_entropy(self.module(rows), labels)

    def configure_optimizers(self) -> Any:
        """AdamW, and one cycle of the learning rate."""
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.schedule.lr, weight_decay=0.01)
        cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.schedule.lr, total_steps=self.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": cycle, "interval": "step"}}


def rolled(rows: Float[Tensor, "n 1 mel time"]) -> Float[Tensor, "n 1 mel time"]:
    """Each row moved by a random time; what leaves at one end comes in at the other."""
    return torch.stack([row.roll(int(torch.randint(row.shape[-1], ())), -1) for row in rows])


def blanked(rows: Float[Tensor, "n 1 mel time"], masks: int) -> Float[Tensor, "n 1 mel time"]:
    """Each row with random stretches of time, and of bands, of up to an eighth each, at the mean, 0."""
    rows = rows.clone()
    for row in rows:
        for axis in (1, 2):
            for _ in range(masks):
                length = row.shape[axis]
                width = int(torch.randint(length // 8 + 1, ()))
                start = int(torch.randint(length - width + 1, ()))
                row.narrow(axis, start, width).zero_()
    return rows


def fit(
    module: nn.Module, rows: Float[Tensor, "n 1 mel time"], labels: Int[Tensor, " n"], schedule: Schedule, device: str = "auto"
) -> None:
    """Train a network on spectrograms of mean 0 and standard deviation 1. It is left in evaluation mode, on the CPU."""
    picked = pick_device(device)
    loader = DataLoader(TensorDataset(rows, labels), schedule.batch_size, shuffle=True, drop_last=len(rows) > schedule.batch_size)
    learner = SoundClassifier(module, schedule, steps=schedule.epochs * len(loader))
    with quiet_lightning():
        trainer = pl.Trainer(
            max_epochs=schedule.epochs,
            accelerator="gpu" if picked.type == "cuda" else "cpu",
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_model_summary=False,
            plugins=[LightningEnvironment()],
        )
        module.train()
        trainer.fit(learner, loader)
    module.cpu().eval()


def train_esc10(
    root: str,
    architecture: Architecture = "lite0",
    fold: int = 5,
    front: LogMel | None = None,
    schedule: Schedule | None = None,
    seed: int = 0,
    device: str = "auto",
) -> SoundModel:
    """A classifier of ESC-10's classes, trained on all folds but one.

    Args:
        root: ESC-50's folder.
        architecture: the network; lite0 begins with ImageNet's weights.
        fold: held out; its accuracy is in ``facts["accuracy"]``, of ``facts["clips"]`` clips.
        front: how recordings become spectrograms; ``None``: 128 bands at 22 kHz, a frame each 46 ms.
        schedule: how it learns.
        seed: of all randomness.
        device: cpu, cuda or auto.

    Raises:
        InputError: not this layout, or no clips are left to train on.
    """
    front = front or LogMel(window=2048, hop=1024, bands=128)
    known = clips(root, "esc10")
    held = in_fold(known, fold)
    classes = tuple(sorted({clip.category for clip in known}))
    samples = 5 * front.rate
    rows = torch.stack([front(exactly(read_sound(clip.file, front.rate, seconds=5.0), samples).wave[0]) for clip in known])
    labels = torch.tensor([classes.index(clip.category) for clip in known])
    trained = torch.tensor([clip not in held for clip in known])
    if not trained.any():
        raise InputError(f"fold={fold} holds all clips: none is left to train on")
    made = trained_model(architecture, front, classes, rows[trained], labels[trained], schedule or Schedule(), seed, device)
    held_out = accuracy(made, list(rows[~trained]), labels[~trained])
    return replace(made, facts={"fold": fold, "seed": seed, "clips": len(held), "accuracy": held_out})


def trained_model(
    architecture: Architecture,
    front: LogMel,
    classes: Sequence[str],
    rows: Float[Tensor, "n 1 mel time"],
    labels: Int[Tensor, " n"],
    schedule: Schedule,
    seed: int,
    device: str,
) -> SoundModel:
    """A network trained on spectrograms in dB, as a model of sound without any facts."""
    mean, std = rows.mean().item(), rows.std().item()
    pl.seed_everything(seed, verbose=False)
    module = network(architecture, front.bands, len(classes), pretrained=True)
    fit(module, (rows - mean) / std, labels, schedule, device)
    return SoundModel(module, architecture, front, tuple(classes), mean, std, {})


@torch.no_grad()
def accuracy(model: SoundModel, rows: Sequence[Float[Tensor, "1 mel time"]], labels: Int[Tensor, " n"]) -> float:
    """Share of right answers to spectrograms in dB, each of its own length.

    Example:
        >>> model = SoundModel(nn.Flatten(), "blstm", LogMel(bands=2), ("low", "high"), 0.0, 1.0, {})
        >>> accuracy(model, list(torch.eye(2).view(2, 1, 2, 1)), torch.tensor([0, 0]))
        0.5
    """
    said = [model.module((row[None] - model.mean) / model.std).argmax(1) for row in rows]
    return (torch.cat(said) == labels).float().mean().item()
