"""How mask and student are trained: by Lightning's own Trainer, one an explanation."""

import copy
import inspect
import math
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytorch_lightning as pl
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.utilities.exceptions import MisconfigurationException
from pytorch_lightning.callbacks import EarlyStopping, ProgressBar

from dax_lightning.device import one_process, one_thread, pick_device
from dax_lightning.errors import InputError
from dax_lightning.explainers.dax.data import PerturbationDataModule, Split
from dax_lightning.explainers.dax.module import Optim, Recorder
from dax_lightning.logs import current_logger, quiet_lightning
from dax_lightning.progress import bar

_SETTINGS: dict[str, Any] = {  # where they differ from Lightning's own
    "devices": 1,
    "max_epochs": 20,
    "log_every_n_steps": 1,
    "num_sanity_val_steps": 0,
    "enable_checkpointing": False,
    "enable_model_summary": False,
}


def lightning_trainer(**settings: Any) -> partial[pl.Trainer]:
    """Lightning's Trainer as explanations use it: 20 epochs, one device, no checkpoints.

    Args:
        settings: any arguments of ``pytorch_lightning.Trainer``.

    Example:
        >>> lightning_trainer(max_epochs=5, accelerator="cpu").keywords["max_epochs"]
        5
    """
    return partial(pl.Trainer, **(_SETTINGS | settings))


@dataclass(frozen=True)
class Training:
    """How long, how fast and where mask and student are trained.

    Environment variables change nothing: neither ``PL_TRAINER_*`` nor those of a cluster, such as ``SLURM_NTASKS``.

    Args:
        trainer: makes Lightning's Trainer, one an explanation; it has one device. Its callbacks are copied for each.
        optim: learning rates and optimiser.
        split: share of the copies held out, and copies a step.
        patience: epochs without a better held-out loss before training stops.
        device: where the networks train, if the trainer's accelerator is ``auto``: cpu, cuda, cuda:1 or auto.

    Raises:
        InputError: Lightning refuses a setting, there is no such device, or there are several.

    Example:
        >>> training = Training(lightning_trainer(max_epochs=5), Optim(lr_mask=0.05), device="cpu")
        >>> training.patience
        5
    """

    trainer: partial[pl.Trainer] = field(default_factory=lightning_trainer)
    optim: Optim = Optim()  # noqa: RUF009  # it is frozen
    split: Split = Split()  # noqa: RUF009
    patience: int = 5
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.patience < 1:
            raise InputError(f"training.patience={self.patience}: it must be at least 1")
        pick_device(self.device)
        if self._given("max_epochs", None) == 0:
            raise InputError("trainer.max_epochs=0: it must be at least 1, or -1 to train until the held-out loss stays")
        self._made()

    @property
    def progress(self) -> bool:
        """Whether progress bars of queries and training are wanted: ``enable_progress_bar`` of the trainer."""
        return self._given("enable_progress_bar", None) is not False

    def fit(self, module: pl.LightningModule, data: PerturbationDataModule, recorder: Recorder) -> None:
        """Train to the end or to the stop.

        Curves go to :func:`~dax_lightning.logs.current_logger` after each epoch.

        Raises:
            InputError: the trainer ended before the first epoch did, by a limit that was given.
        """
        stop = EarlyStopping("val_total", min_delta=1e-3, patience=self.patience, strict=False)  # its absence is told below
        own: list[pl.Callback] = copy.deepcopy(_listed(self._given("callbacks", None)))
        theirs = any(isinstance(callback, ProgressBar) for callback in own)
        callbacks = [recorder, stop, *own, *([] if theirs else [_Steps(self.progress)])]
        with one_process(), one_thread(), quiet_lightning(), _interruptible():
            trainer = self._made(
                callbacks=callbacks,
                enable_progress_bar=theirs,
                logger=current_logger() or self._given("logger", False),
            )
            trainer.fit(module, datamodule=data)
        if not recorder.history or "fidelity" not in recorder.history[-1]:
            raise InputError("training ended before its first epoch: raise trainer.max_steps or trainer.max_time")

    def _given(self, name: str, otherwise: Any) -> Any:
        value = self.trainer.keywords.get(name)
        return otherwise if value is None else value

    def _made(self, **more: Any) -> pl.Trainer:
        """One trainer. All arguments are given, those with their own defaults too: what is missing, Lightning reads elsewhere."""
        known = inspect.signature(self.trainer.func).parameters.values()
        defaults = {p.name: p.default for p in known if p.default is not p.empty}
        settings = {**defaults, "logger": False, "callbacks": None, **self.trainer.keywords, **more}
        if settings.get("accelerator") == "auto":
            settings |= _place(self.device)
        settings["plugins"] = [*_listed(settings.get("plugins")), _OneProcess()]
        try:
            with one_process(), quiet_lightning():
                trainer = self.trainer.func(*self.trainer.args, **settings)
        except (MisconfigurationException, ValueError, TypeError) as error:
            raise InputError(f"trainer: Lightning refuses its settings: {' '.join(str(error).split())}") from error
        if trainer.num_devices * trainer.num_nodes != 1:
            raise InputError(
                f"trainer.devices={settings['devices']}, num_nodes={trainer.num_nodes}: one explanation trains on one device; "
                "spread cases over several with -m and hydra/launcher"
            )
        return trainer


class _Steps(pl.Callback):
    """Counts the steps of a training in the same bar as the queries."""

    def __init__(self, shown: bool):
        self._shown = shown

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        most = trainer.estimated_stepping_batches  # early stopping may end it sooner
        self._bar = bar(int(most) if math.isfinite(most) and most > 0 else None, "training", self._shown)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._bar.update(1)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._bar.close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._bar.close()


class _OneProcess(LightningEnvironment):
    """The environment of a training that no other process takes part in, whatever the variables of a cluster say."""

    @property
    def creates_processes_externally(self) -> bool:
        return False

    def local_rank(self) -> int:
        return 0

    def node_rank(self) -> int:
        return 0

    def teardown(self) -> None:
        """The environment's variables stay."""


def _place(device: str) -> dict[str, Any]:
    picked = pick_device(device)
    index = {} if picked.index is None else {"devices": [picked.index]}
    return {"accelerator": "gpu", **index} if picked.type == "cuda" else {"accelerator": "cpu", "devices": 1}


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C stays what it is: Lightning makes an exit of it, with code 1, and then ignores the next ones."""
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise error.__context__ from None
        raise
    finally:
        if main and handler is not None:
            signal.signal(signal.SIGINT, handler)
