"""Where curves, masks, panels and rows go besides the run's own files: one logger, one run a job, always finished."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from PIL import Image

from dax_lightning.errors import InputError
from dax_lightning.types import Explanation

Mode = Literal["offline", "online", "disabled"]


class RunLogger(ABC):
    """Told of each explanation as it is done, and of all rows at the end.

    Used as ``start``, any number of ``case``, then ``finish``, which is called even when the run breaks off.
    """

    @abstractmethod
    def start(self, folder: Path, config: Mapping[str, Any]) -> None:
        """A job begins; its files go under ``folder``."""

    @abstractmethod
    def case(self, name: str, explanation: Explanation, panel: Path) -> None:
        """One case is explained: its training history, its mask an epoch and its panel."""

    @abstractmethod
    def finish(self, rows: pd.DataFrame, failed: bool) -> None:
        """The job is over."""


class CsvLogger(RunLogger):
    """``curves/<case>__<explainer>.csv``: a line an epoch with every loss term and the fidelity."""

    def start(self, folder: Path, config: Mapping[str, Any]) -> None:
        """See :class:`RunLogger`."""
        self._folder = folder / "curves"

    def case(self, name: str, explanation: Explanation, panel: Path) -> None:
        """See :class:`RunLogger`."""
        if history := explanation.notes.get("history"):
            self._folder.mkdir(exist_ok=True)
            pd.DataFrame(history).to_csv(self._folder / f"{name}.csv", index=False)

    def finish(self, rows: pd.DataFrame, failed: bool) -> None:
        """See :class:`RunLogger`."""


class TensorboardLogger(RunLogger):
    """Event files under ``tensorboard/``; look at them with ``tensorboard --logdir outputs``."""

    def start(self, folder: Path, config: Mapping[str, Any]) -> None:
        """See :class:`RunLogger`."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise InputError(
                "logger=tensorboard needs the package tensorboard: pip install 'dax-lightning[tensorboard]'"
            ) from error
        self._writer = SummaryWriter(str(folder / "tensorboard"))
        self._writer.add_text("config", f"```\n{config}\n```")

    def case(self, name: str, explanation: Explanation, panel: Path) -> None:
        """See :class:`RunLogger`."""
        for step, metrics in enumerate(explanation.notes.get("history", [])):
            for metric, value in metrics.items():
                self._writer.add_scalar(f"{name}/{metric}", value, step)
        for step, mask in enumerate(explanation.epochs if explanation.epochs is not None else []):
            self._writer.add_image(f"{name}/mask", mask, step, dataformats="HW")
        self._writer.add_image(f"{name}/panel", _pixels(panel), dataformats="HWC")

    def finish(self, rows: pd.DataFrame, failed: bool) -> None:
        """See :class:`RunLogger`."""
        self._writer.add_text("rows", f"```\n{rows.to_string(index=False)}\n```")
        self._writer.close()


class WandbLogger(RunLogger):
    """One W&B run a job: losses and mask an epoch, final panels, and a table of rows.

    Args:
        project: W&B project.
        mode: ``offline`` needs no account (``wandb sync`` uploads it later); ``online``; or ``disabled``.
        name: of the run; ``None`` lets W&B choose one.
    """

    def __init__(self, project: str = "dax_lightning", mode: Mode = "offline", name: str | None = None):
        if mode not in get_args(Mode):
            raise InputError(f"logger.mode={mode}: choose offline, online or disabled")
        self.project, self.name = project, name
        self.mode: Mode = mode

    def start(self, folder: Path, config: Mapping[str, Any]) -> None:
        """See :class:`RunLogger`."""
        try:
            import wandb
        except ImportError as error:
            raise InputError("logger=wandb needs the package wandb: pip install 'dax-lightning[wandb]'") from error
        self._wandb: Any = wandb
        self._run: Any = wandb.init(
            project=self.project, mode=self.mode, name=self.name, dir=folder, config=dict(config), reinit="finish_previous"
        )

    def case(self, name: str, explanation: Explanation, panel: Path) -> None:
        """See :class:`RunLogger`."""
        name = name.replace(".", "_")  # in a step metric's name, W&B takes a dot for nesting, and finds no such value
        self._run.define_metric(f"{name}/*", step_metric=f"{name}/epoch")
        masks = explanation.epochs if explanation.epochs is not None else []
        for metrics, mask in zip_longest(explanation.notes.get("history", []), masks):
            picture = {} if mask is None else {"mask": self._wandb.Image((mask.numpy() * 255).astype("uint8"))}
            self._run.log({f"{name}/{key}": value for key, value in ((metrics or {}) | picture).items()})
        self._run.log({f"{name}/panel": self._wandb.Image(str(panel))})

    def finish(self, rows: pd.DataFrame, failed: bool) -> None:
        """See :class:`RunLogger`."""
        try:
            self._run.log({"rows": self._wandb.Table(dataframe=rows.astype(object).where(rows.notna(), None))})
        except BaseException:
            failed = True
            raise
        finally:
            self._run.finish(exit_code=int(failed))


def _pixels(panel: Path) -> np.ndarray:
    with Image.open(panel) as picture:
        return np.asarray(picture.convert("RGB"))
