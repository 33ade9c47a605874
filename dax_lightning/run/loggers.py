"""Lightning's loggers over a whole run: curves while each case is trained, then its pictures, at the end all rows."""

import inspect
import math
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from jaxtyping import Float
from PIL import Image
from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from torch import Tensor

from dax_lightning.device import one_process
from dax_lightning.errors import InputError
from dax_lightning.logs import log_to
from dax_lightning.plots.canvas import pixels_of
from dax_lightning.plots.kinds import drawing, kind_of, upright
from dax_lightning.plots.maps import overlay, photograph, region
from dax_lightning.run.rows import COLUMNS
from dax_lightning.types import Case, Explanation

Mode = Literal["online", "offline", "disabled"]
PICTURES = ("input", "overlay", "region", "truth")
SOUNDS = ("recording", "kept", "removed")


class RunLogger(ABC):
    """One Lightning logger for a whole run: it hears of each explanation while it is made and when it is done, and of all rows.

    Used as ``start``, then ``training`` and ``case`` for each explanation, then ``finish``, which is called even when the run
    breaks off. ``case`` is left out for explanations that were made earlier.

    Args:
        make: makes the Lightning logger; it is given the folder.
        name: of the run, where the logger has none of its own.
        mask_every: a picture of the mask every so many epochs, from the first on; 1 or more.

    Raises:
        InputError: ``mask_every`` is out of range.
    """

    def __init__(self, make: Callable[..., Logger], name: str | None = None, mask_every: int = 5):
        if mask_every < 1:
            raise InputError(f"mask_every={mask_every}: a picture every so many epochs, wanted 1 or more")
        self.make, self.name, self.mask_every = make, name, mask_every

    def start(self, folder: Path, config: Mapping[str, Any]) -> None:
        """A job begins; its files go under ``folder``.

        Raises:
            InputError: the logger's package is not installed, or the logger refuses its settings.
        """
        try:
            with one_process():
                self._start(folder, config)
        except ModuleNotFoundError as error:
            package = self.package or str(error)
            raise InputError(f"logger={package} needs the package {package}: pip install 'dax-lightning[{package}]'") from error

    @contextmanager
    def training(self, name: str) -> Iterator[None]:
        """While this is open, one explanation is made: trainings write their curves."""
        with one_process(), log_to(self._curves(name)):
            try:
                yield
            finally:
                self._trained(name)

    def case(self, name: str, case: Case, explanation: Explanation, panel: Path) -> None:
        """One case is explained; ``name`` is that of its files, ``<case>__<explainer>``, ``panel`` its picture."""
        with one_process():
            self._case(name, case, explanation, panel)

    def finish(self, rows: pd.DataFrame, failed: bool) -> None:
        """The job is over, done or broken off."""
        with one_process():
            self._finish(rows, failed)

    package: str | None = None
    """What has to be installed, where that isn't Lightning's own."""

    @abstractmethod
    def _start(self, folder: Path, config: Mapping[str, Any]) -> None: ...

    @abstractmethod
    def _curves(self, name: str) -> Logger: ...

    def _trained(self, name: str) -> None:  # noqa: B027  # most have nothing to do
        """The training ended or failed."""

    @abstractmethod
    def _case(self, name: str, case: Case, explanation: Explanation, panel: Path) -> None: ...

    @abstractmethod
    def _finish(self, rows: pd.DataFrame, failed: bool) -> None: ...


class CsvRun(RunLogger):
    """``curves/<case>__<explainer>.csv``: a line an epoch with every loss term and the fidelity.

    While a case is trained, its lines are in ``curves/<case>__<explainer>/metrics.csv``.
    """

    def __init__(self, make: Callable[..., Logger] = CSVLogger, name: str | None = None, mask_every: int = 5):
        super().__init__(make, name, mask_every)

    def _start(self, folder: Path, config: Mapping[str, Any]) -> None:
        self._folder = folder / "curves"

    def _curves(self, name: str) -> Logger:
        shutil.rmtree(self._folder / name, ignore_errors=True)  # of a run that was killed
        return self.make(save_dir=self._folder, name="", version=name)

    def _trained(self, name: str) -> None:
        live = self._folder / name
        with suppress(FileNotFoundError):  # nothing was trained
            os.replace(live / "metrics.csv", self._folder / f"{name}.csv")
        shutil.rmtree(live, ignore_errors=True)
        with suppress(OSError):  # there are curves of other cases
            self._folder.rmdir()

    def _case(self, name: str, case: Case, explanation: Explanation, panel: Path) -> None:
        """The curves are written."""

    def _finish(self, rows: pd.DataFrame, failed: bool) -> None:
        """The rows are in rows.csv."""


class OtherRun(RunLogger):
    """Any other Lightning logger: curves under ``<case>__<explainer>/``, the means of all rows at the end."""

    def _start(self, folder: Path, config: Mapping[str, Any]) -> None:
        place = {"save_dir": folder} if "save_dir" in inspect.signature(self.make).parameters else {}
        self._logger = self.make(**place)
        self._logger.log_hyperparams(dict(config))

    def _curves(self, name: str) -> Logger:
        return _CaseLogger(self._logger, name)

    def _case(self, name: str, case: Case, explanation: Explanation, panel: Path) -> None:
        """Other loggers have no common way to take pictures."""

    def _finish(self, rows: pd.DataFrame, failed: bool) -> None:
        self._logger.log_metrics(summary(rows))
        self._logger.finalize("failed" if failed else "success")


class TensorBoardRun(RunLogger):
    """Event files under ``tensorboard/``: curves, masks and panels of each case, at the end all rows."""

    package = "tensorboard"

    def __init__(self, make: Callable[..., Logger] = TensorBoardLogger, name: str | None = None, mask_every: int = 5):
        super().__init__(make, name, mask_every)

    def _start(self, folder: Path, config: Mapping[str, Any]) -> None:
        self._logger: Any = self.make(save_dir=folder, name="tensorboard", version="")
        self._writer: Any = self._logger.experiment
        self._writer.add_text("config", f"```\n{dict(config)}\n```")

    def _curves(self, name: str) -> Logger:
        def picture(mask: Tensor, epoch: int) -> None:
            self._writer.add_image(f"{name}/mask", mask, epoch, dataformats="HW")

        return _CaseLogger(self._logger, name, self.mask_every, picture, self._writer.flush)

    def _case(self, name: str, case: Case, explanation: Explanation, panel: Path) -> None:
        with Image.open(panel) as picture:
            self._writer.add_image(f"{name}/panel", np.asarray(picture.convert("RGB")), dataformats="HWC")

    def _finish(self, rows: pd.DataFrame, failed: bool) -> None:
        self._writer.add_text("rows", f"```\n{rows.to_string(index=False)}\n```")
        self._logger.finalize("failed" if failed else "success")


class WandbRun(RunLogger):
    """One W&B run a job: losses and masks of each case over its own epochs, panels, a table of all rows, and their means.

    The table ``rows`` shows input, overlay, salient region and truth beside each row's numbers, and plays sounds. Without a mode,
    W&B's own rule holds: what ``WANDB_MODE`` or its settings say, else online with an account. Without an account the run is
    offline (``wandb sync`` uploads it later). Nobody is ever asked for a key.

    Raises:
        InputError: the mode is not known.
    """

    package = "wandb"

    def __init__(
        self,
        make: Callable[..., Logger] = partial(WandbLogger, project="dax_lightning"),  # noqa: B008
        name: str | None = None,
        mask_every: int = 5,
    ):
        super().__init__(make, name, mask_every)
        self._given: dict[str, Any] = dict(getattr(make, "keywords", {}))
        mode = self._given.get("mode")
        if mode is not None and mode not in get_args(Mode):
            raise InputError(f"logger.mode={mode}: choose {', '.join(get_args(Mode))}, or null for W&B's own rule")

    def _start(self, folder: Path, config: Mapping[str, Any]) -> None:
        import wandb

        self._wandb: Any = wandb
        self._shown: dict[str, dict[str, Any]] = {}
        name, mode = self._given.get("name") or self.name, _mode(wandb, self._given.get("mode"))
        known = inspect.signature(wandb.init).parameters
        settings = {key: value for key, value in self._given.items() if key in known}
        settings |= {"dir": folder, "name": name, "mode": mode, "config": dict(config)}
        self._run: Any = wandb.init(**settings, reinit="finish_previous")  # by itself, Lightning makes one axis for all cases
        self._logger: Any = self.make(experiment=self._run)

    def _curves(self, name: str) -> Logger:
        plain = _no_dots(name)

        def picture(mask: Tensor, _epoch: int) -> None:
            pixels = (mask.numpy() * 255).astype("uint8")
            self._run.log({f"{plain}/mask": self._wandb.Image(pixels)}, commit=False)  # with the epoch's numbers

        self._run.define_metric(f"{plain}/*", step_metric=f"{plain}/epoch")
        return _CaseLogger(self._logger, plain, self.mask_every, picture, own_axis=True)

    def _case(self, name: str, case: Case, explanation: Explanation, panel: Path) -> None:
        self._run.log({f"{_no_dots(name)}/panel": self._wandb.Image(str(panel))})
        shown = {told: self._wandb.Image(pixels) for told, pixels in _pictures(case, explanation).items()}
        files = (f"{case.key}__input.wav", f"{panel.stem}__kept.wav", f"{panel.stem}__removed.wav")
        for told, file in zip(SOUNDS, map(panel.with_name, files), strict=True):
            if file.is_file():
                shown[told] = self._wandb.Audio(str(file))
        self._shown[name] = shown  # on the disk, in W&B's folder

    def _finish(self, rows: pd.DataFrame, failed: bool) -> None:
        try:
            self._run.log({"rows": self._table(rows)})
            self._run.summary.update(summary(rows))
        except BaseException:
            failed = True
            raise
        finally:
            self._run.finish(exit_code=int(failed))

    def _table(self, rows: pd.DataFrame) -> Any:
        numbers = rows.astype(object).where(rows.notna(), None)
        shown = [self._shown.get(f"{row['case']}__{row['explainer']}", {}) for _, row in rows.iterrows()]
        media = [*PICTURES, *(told for told in SOUNDS if any(told in parts for parts in shown))]
        data = [
            [*(parts.get(told) for told in media), *row] for parts, row in zip(shown, numbers.to_numpy().tolist(), strict=True)
        ]
        return self._wandb.Table(columns=[*media, *rows.columns], data=data)


_KINDS: tuple[tuple[type[Logger], type[RunLogger]], ...] = (
    (CSVLogger, CsvRun),
    (TensorBoardLogger, TensorBoardRun),
    (WandbLogger, WandbRun),
    (Logger, OtherRun),
)


def run_logger(make: partial[Logger], name: str | None = None, mask_every: int = 5) -> RunLogger:
    """What carries a Lightning logger through a run.

    Args:
        make: a Lightning logger's class and settings.
        name: of the run, where the logger has none of its own.
        mask_every: a picture of the mask every so many epochs; 1 or more.

    Raises:
        InputError: a setting is out of range, or that is no Lightning logger.

    Example:
        >>> type(run_logger(partial(CSVLogger))).__name__
        'CsvRun'
    """
    for lightning, run in _KINDS:
        if isinstance(make.func, type) and issubclass(make.func, lightning):
            return run(make, name, mask_every)
    raise InputError(f"logger._target_={make.func}: wanted a logger of pytorch_lightning.loggers")


def summary(rows: pd.DataFrame) -> dict[str, float | int]:
    """The mean of each metric, of queries and of seconds, for each explainer where there are several, and what failed.

    Example:
        >>> two = pd.DataFrame({"explainer": ["a", "a"], "status": ["ok", "ok"], "queries": [1, 3], "iou": [0.5, None]})
        >>> summary(two)
        {'queries': 2.0, 'iou': 0.5, 'cases': 2, 'failed': 0}
    """
    if rows.empty:
        return {"cases": 0, "failed": 0}
    columns = [c for c in rows.columns if c in ("queries", "seconds") or c not in COLUMNS]
    names = rows["explainer"].tolist()
    explainers, means = list(dict.fromkeys(names)), {}
    for column in columns:
        values = np.asarray(pd.to_numeric(rows[column], errors="coerce"), dtype=float)
        for name in explainers:
            known = [value for value, of in zip(values.tolist(), names, strict=True) if of == name and not math.isnan(value)]
            if known:
                means[f"{name}/{column}" if len(explainers) > 1 else column] = sum(known) / len(known)
    return {**means, "cases": len(rows), "failed": rows["status"].tolist().count("failed")}


class _CaseLogger(Logger):
    """One case's part of a run's logger: its name stands before each number.

    Args:
        logger: the run's.
        case: the case's name.
        mask_every: a mask every so many epochs.
        picture: takes a mask and its epoch.
        flush: called after each epoch.
        own_axis: the epoch among the numbers is the case's own axis; else all cases share the logger's steps.
    """

    def __init__(
        self,
        logger: Logger,
        case: str,
        mask_every: int = 1,
        picture: Callable[[Tensor, int], None] | None = None,
        flush: Callable[[], None] | None = None,
        own_axis: bool = False,
    ):
        super().__init__()
        self._logger, self._case, self._mask_every, self._picture = logger, case, mask_every, picture
        self._flush, self._own_axis = flush, own_axis

    @property
    def name(self) -> str | None:
        return self._logger.name

    @property
    def version(self) -> int | str | None:
        return self._logger.version

    def log_hyperparams(self, params: Any, *more: Any, **named: Any) -> None:
        """A run's configuration is logged once, when it starts."""

    def log_mask(self, mask: Float[Tensor, "h w"], epoch: int) -> None:
        """A picture of the mask, if this epoch is to have one."""
        if self._picture is not None and epoch % self._mask_every == 0:
            self._picture(mask, epoch)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """An epoch's numbers."""
        named = {f"{self._case}/{name}": value for name, value in metrics.items()}
        self._logger.log_metrics(named, None if self._own_axis else step)

    def save(self) -> None:
        """After each epoch."""
        if self._flush is not None:
            self._flush()


def _no_dots(name: str) -> str:
    """In a step metric's name, W&B takes a dot for nesting, and finds no such value."""
    return name.replace(".", "_")


def _mode(wandb: Any, given: str | None) -> str | None:
    """``None`` leaves it to W&B, which then has an account and asks for nothing."""
    told = given or os.environ.get("WANDB_MODE") or wandb.setup().settings.mode
    if told in ("offline", "dryrun", "disabled"):
        return given
    if wandb.login(prompt=False, verify=False):
        return given
    if told == "online" and (given or os.environ.get("WANDB_MODE")):
        raise InputError("W&B is to be online, but there is no account here: wandb login, or logger.mode=offline")
    return "offline"


def _pictures(case: Case, explanation: Explanation) -> dict[str, np.ndarray]:
    """What the table shows of a case, as bytes a pixel. What has no two axes to show is one drawing: the overlay."""
    if explanation.saliency.ndim != 2:
        return {"overlay": pixels_of(drawing(explanation))}
    picture, saliency = photograph(case.x), explanation.saliency.numpy()
    named = None if explanation.region is None else explanation.region.numpy()
    made = {
        "input": picture,
        "overlay": overlay(picture, saliency),
        "region": picture * np.where(region(saliency, named)[0], 1, 0.18)[..., None],
    }
    if case.truth is not None:
        made["truth"] = case.truth.numpy().astype(float)
    kind = kind_of(explanation)
    return {name: (upright(pixels, kind).clip(0, 1) * 255).astype("uint8") for name, pixels in made.items()}
