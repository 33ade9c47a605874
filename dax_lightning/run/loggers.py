"""Lightning's loggers over a whole run: curves while each case is trained, then its pictures, at the end all rows.

Lightning takes seconds to import, and most explanations train nothing. So it is imported where a logger needs it.
"""

import inspect
import math
import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from PIL import Image
from torch import Tensor

from dax_lightning.device import one_process
from dax_lightning.errors import InputError
from dax_lightning.logs import log_to
from dax_lightning.plots.canvas import pixels_of
from dax_lightning.plots.kinds import drawing, kind_of, upright
from dax_lightning.plots.maps import coloured, overlay, photograph, region
from dax_lightning.run.rows import COLUMNS
from dax_lightning.types import Case, Explanation

Mode = Literal["online", "offline", "disabled"]
PICTURES = ("input", "map", "overlay", "region", "truth")
SOUNDS = ("recording", "kept", "removed")


class RunLogger(ABC):
    """One Lightning logger for a whole run: it hears of each explanation while it is made and when it is done, and of all rows.

    Used as ``start``, then ``training`` and ``case`` for each explanation, then ``finish``, which is called even when the run
    breaks off. ``case`` is left out for explanations that were made earlier.

    Args:
        make: makes the Lightning logger; it is given the folder. ``None``: the one that the class is for.
        name: of the run, where the logger has none of its own.
        mask_every: a picture of the mask every so many epochs, from the first on; 1 or more.
        group: of the runs of one sweep, where the logger has none of its own.

    Raises:
        InputError: ``mask_every`` is out of range.
    """

    def __init__(
        self,
        make: Callable[..., Any] | None = None,
        name: str | None = None,
        mask_every: int = 5,
        group: str | None = None,
    ):
        if mask_every < 1:
            raise InputError(f"mask_every={mask_every}: a picture every so many epochs, wanted 1 or more")
        self.make, self.name, self.mask_every, self.group = make or self._lightning(), name, mask_every, group
        self.tags: Sequence[str] = ()

    def start(self, folder: Path, config: Mapping[str, Any], tags: Sequence[str] = ()) -> None:
        """A job begins; its files go under ``folder``.

        Args:
            folder: of the run.
            config: the whole configuration.
            tags: what to find the run by, such as ``loss=v1``.

        Raises:
            InputError: the logger's package is not installed, or the logger refuses its settings.
        """
        self.tags = tags
        try:
            with one_process():
                self._start(folder, config)
        except ModuleNotFoundError as error:
            package = self.package or str(error)
            raise InputError(f"logger={package} needs the package {package}: pip install 'dax-lightning[{package}]'") from error

    @contextmanager
    def training(self, name: str) -> Iterator[None]:
        """While this is open, one explanation is made: trainings write their curves."""
        with one_process(), log_to(partial(self._curves, name)):
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

    def _lightning(self) -> Callable[..., Any]:
        raise InputError(f"{type(self).__name__} has no Lightning logger of its own: give make")

    @abstractmethod
    def _start(self, folder: Path, config: Mapping[str, Any]) -> None: ...

    @abstractmethod
    def _curves(self, name: str) -> Any: ...

    def _trained(self, name: str) -> None:  # noqa: B027  # most have nothing to do
        """The training ended or failed."""

    @abstractmethod
    def _case(self, name: str, case: Case, explanation: Explanation, panel: Path) -> None: ...

    @abstractmethod
    def _finish(self, rows: pd.DataFrame, failed: bool) -> None: ...


@dataclass(frozen=True)
class CsvCurves:
    """Makes Lightning's ``CSVLogger`` when a training first wants it.

    Args:
        flush_logs_every_n_steps: lines that are kept back before they are written; 1 or more.

    Raises:
        InputError: ``flush_logs_every_n_steps`` is out of range.

    Example:
        >>> type(CsvCurves()(".", "", "cat__dax")).__name__
        'CSVLogger'
    """

    flush_logs_every_n_steps: int = 1

    def __post_init__(self):
        if self.flush_logs_every_n_steps < 1:
            raise InputError(f"logger.flush_logs_every_n_steps={self.flush_logs_every_n_steps}: wanted 1 or more lines")

    def __call__(self, save_dir: Path | str, name: str, version: str) -> Any:
        """One case's ``CSVLogger``."""
        from pytorch_lightning.loggers import CSVLogger

        return CSVLogger(save_dir, name, version, flush_logs_every_n_steps=self.flush_logs_every_n_steps)


class CsvRun(RunLogger):
    """``curves/<case>__<explainer>.csv``: a line an epoch with every loss term and the fidelity.

    While a case is trained, its lines are in ``curves/<case>__<explainer>/metrics.csv``.
    """

    def _lightning(self) -> Callable[..., Any]:
        return CsvCurves()

    def _start(self, folder: Path, config: Mapping[str, Any]) -> None:
        self._folder = folder / "curves"

    def _curves(self, name: str) -> Any:
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

    def _curves(self, name: str) -> Any:
        from dax_lightning.run.curves import CaseLogger

        return CaseLogger(self._logger, name)

    def _case(self, name: str, case: Case, explanation: Explanation, panel: Path) -> None:
        """Other loggers have no common way to take pictures."""

    def _finish(self, rows: pd.DataFrame, failed: bool) -> None:
        self._logger.log_metrics(summary(rows))
        self._logger.finalize("failed" if failed else "success")


class TensorBoardRun(RunLogger):
    """Event files under ``tensorboard/``: curves, masks and panels of each case, at the end all rows."""

    package = "tensorboard"

    def _lightning(self) -> Callable[..., Any]:
        from pytorch_lightning.loggers import TensorBoardLogger

        return TensorBoardLogger

    def _start(self, folder: Path, config: Mapping[str, Any]) -> None:
        self._logger: Any = self.make(save_dir=folder, name="tensorboard", version="")
        self._writer: Any = self._logger.experiment
        self._writer.add_text("config", f"```\n{dict(config)}\n```")

    def _curves(self, name: str) -> Any:
        def picture(mask: Tensor, epoch: int) -> None:
            self._writer.add_image(f"{name}/mask", mask, epoch, dataformats="HW")

        from dax_lightning.run.curves import CaseLogger

        return CaseLogger(self._logger, name, self.mask_every, picture, self._writer.flush)

    def _case(self, name: str, case: Case, explanation: Explanation, panel: Path) -> None:
        with Image.open(panel) as picture:
            self._writer.add_image(f"{name}/panel", np.asarray(picture.convert("RGB")), dataformats="HWC")

    def _finish(self, rows: pd.DataFrame, failed: bool) -> None:
        self._writer.add_text("rows", f"```\n{rows.to_string(index=False)}\n```")
        self._logger.finalize("failed" if failed else "success")


class WandbRun(RunLogger):
    """One W&B run a job: losses and masks of each case over its own epochs, panels, a table of all rows, and their means.

    The table ``rows`` shows input, map, overlay, salient region and truth beside each row's numbers, and plays sounds.
    ``rows.csv`` and the report are an artifact. A folder that is given again goes on with the same run: its id stands in
    ``wandb/run_id.txt``, unless ``WANDB_RUN_ID`` says another. Without a mode, W&B's own rule holds: what ``WANDB_MODE`` or its
    settings say, else online with an account. Without an account the run is offline (``wandb sync`` uploads it later). Nobody is
    ever asked for a key.

    Raises:
        InputError: the mode is not known.
    """

    package = "wandb"

    def __init__(
        self,
        make: Callable[..., Any] | None = None,
        name: str | None = None,
        mask_every: int = 5,
        group: str | None = None,
    ):
        super().__init__(make, name, mask_every, group)
        self._given: dict[str, Any] = dict(getattr(self.make, "keywords", {}))
        mode = self._given.get("mode")
        if mode is not None and mode not in get_args(Mode):
            raise InputError(f"logger.mode={mode}: choose {', '.join(get_args(Mode))}, or null for W&B's own rule")

    def _lightning(self) -> Callable[..., Any]:
        from pytorch_lightning.loggers import WandbLogger

        return partial(WandbLogger, project="dax_lightning")

    def _start(self, folder: Path, config: Mapping[str, Any]) -> None:
        import wandb

        self._wandb: Any = wandb
        self._folder, self._own = folder, folder / "wandb"  # W&B's own files are there too
        name, mode = self._given.get("name") or self.name, _mode(wandb, self._given.get("mode"))
        known = inspect.signature(wandb.init).parameters
        settings = {key: value for key, value in self._given.items() if key in known}
        settings |= {"dir": folder, "name": name, "mode": mode, "config": dict(config)}
        settings |= {"group": self._given.get("group") or self.group, "tags": [*(self._given.get("tags") or []), *self.tags]}
        settings |= self._identity(settings)
        self._run: Any = wandb.init(**settings, reinit="finish_previous")  # by itself, Lightning makes one axis for all cases
        self._kept = not self._run.disabled
        if self._kept:
            (self._own / "table").mkdir(parents=True, exist_ok=True)
            (self._own / "run_id.txt").write_text(self._run.id, encoding="utf-8")
        self._logger: Any = self.make(experiment=self._run)

    def _identity(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The id of the run that this folder holds already, also of one that was killed."""
        file = self._own / "run_id.txt"
        if settings.get("id") or "WANDB_RUN_ID" in os.environ or not file.is_file():
            return {}
        online = settings["mode"] in ("online", None) and os.environ.get("WANDB_MODE") not in ("offline", "dryrun", "disabled")
        own = {"id": file.read_text(encoding="utf-8").strip()}
        return {**own, "resume": "allow"} if online else own  # offline, wandb sync joins what has one id

    def _curves(self, name: str) -> Any:
        plain = _no_dots(name)

        def picture(mask: Tensor, _epoch: int) -> None:
            pixels = (mask.numpy() * 255).astype("uint8")
            self._run.log({f"{plain}/mask": self._wandb.Image(pixels)}, commit=False)  # with the epoch's numbers

        self._run.define_metric(f"{plain}/*", step_metric=f"{plain}/epoch")
        from dax_lightning.run.curves import CaseLogger

        return CaseLogger(self._logger, plain, self.mask_every, picture, own_axis=True)

    def _case(self, name: str, case: Case, explanation: Explanation, panel: Path) -> None:
        self._run.log({f"{_no_dots(name)}/panel": self._wandb.Image(str(panel))})
        for told, pixels in _pictures(case, explanation).items():
            if self._kept:
                Image.fromarray(pixels).save(self._own / "table" / f"{name}__{told}.png")  # a run that goes on shows it again

    def _finish(self, rows: pd.DataFrame, failed: bool) -> None:
        try:
            if self._kept:
                self._run.log({"rows": self._table(rows)})
                self._log_files()
            self._run.summary.update(summary(rows))
        except BaseException:
            failed = True
            raise
        finally:
            self._run.finish(exit_code=int(failed))

    def _log_files(self) -> None:
        files = [file for file in (self._folder / "rows.csv", self._folder / "report.html") if file.is_file()]
        artifact = self._wandb.Artifact(f"results-{self._run.id}", type="results")
        for file in files:
            artifact.add_file(str(file), policy="immutable")  # what a later start changes stays as it was here
        self._run.log_artifact(artifact)

    def _table(self, rows: pd.DataFrame) -> Any:
        numbers = rows.astype(object).where(rows.notna(), None)
        shown = [self._media(str(row["case"]), str(row["explainer"])) for _, row in rows.iterrows()]
        media = [*PICTURES, *(told for told in SOUNDS if any(told in parts for parts in shown))]
        data = [
            [*(parts.get(told) for told in media), *row] for parts, row in zip(shown, numbers.to_numpy().tolist(), strict=True)
        ]
        return self._wandb.Table(columns=[*media, *rows.columns], data=data)

    def _media(self, case: str, explainer: str) -> dict[str, Any]:
        """Pictures and sounds of one row, also of a row that an earlier start made."""
        name, told = f"{case}__{explainer}", self._folder / "explanations"
        pictures = {told: self._own / "table" / f"{name}__{told}.png" for told in PICTURES}
        sounds = dict(zip(SOUNDS, (f"{case}__input.wav", f"{name}__kept.wav", f"{name}__removed.wav"), strict=True))
        made = {key: self._wandb.Image(str(file)) for key, file in pictures.items() if file.is_file()}
        return made | {key: self._wandb.Audio(str(told / file)) for key, file in sounds.items() if (told / file).is_file()}


def run_logger(make: Any, name: str | None = None, mask_every: int = 5, group: str | None = None) -> RunLogger:
    """What carries a Lightning logger through a run.

    Args:
        make: a Lightning logger's class and settings as a ``partial``, or :class:`CsvCurves`.
        name: of the run, where the logger has none of its own.
        mask_every: a picture of the mask every so many epochs; 1 or more.
        group: of the runs of one sweep, where the logger has none of its own.

    Raises:
        InputError: a setting is out of range, or that is no Lightning logger.

    Example:
        >>> type(run_logger(CsvCurves())).__name__
        'CsvRun'
    """
    if isinstance(make, CsvCurves):
        return CsvRun(make, name, mask_every, group)
    from pytorch_lightning.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger

    kinds = ((CSVLogger, CsvRun), (TensorBoardLogger, TensorBoardRun), (WandbLogger, WandbRun), (Logger, OtherRun))
    made = getattr(make, "func", None)
    for lightning, run in kinds:
        if isinstance(made, type) and issubclass(made, lightning):
            return run(make, name, mask_every, group)
    raise InputError(f"logger._target_={made or make}: wanted a logger of pytorch_lightning.loggers")


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
        "map": coloured(saliency),
        "overlay": overlay(picture, saliency),
        "region": picture * np.where(region(saliency, named)[0], 1, 0.18)[..., None],
    }
    if case.truth is not None:
        made["truth"] = case.truth.numpy().astype(float)
    kind = kind_of(explanation)
    return {name: (upright(pixels, kind).clip(0, 1) * 255).astype("uint8") for name, pixels in made.items()}
