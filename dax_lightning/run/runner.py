"""Cases and explainers go in, rows come out: each is written as it is done, and a case that fails is a row too."""

import errno
import hashlib
import json
import logging
import os
import time
from collections.abc import Hashable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd
import torch

from dax_lightning.errors import BudgetExceeded, InputError, StoreError
from dax_lightning.explainers.base import Explainer
from dax_lightning.files import read_json
from dax_lightning.inputs.sound import write_sound
from dax_lightning.metrics.base import Curve, Measured, Metric
from dax_lightning.plots.maps import region
from dax_lightning.plots.panel import draw_panel
from dax_lightning.report import write_report
from dax_lightning.run.jobs import FAILED, OK, UNFAITHFUL
from dax_lightning.run.loggers import RunLogger
from dax_lightning.run.provenance import decisive, machine, peak_mb, provenance
from dax_lightning.run.rows import COLUMNS, Rows
from dax_lightning.run.shards import own_share
from dax_lightning.tasks import Task
from dax_lightning.tasks.base import check_name
from dax_lightning.types import Case, Explanation, Sound

_log = logging.getLogger(__name__)
_OF_THE_DISK = {  # what one case can't help; other errors of the system, such as a name that is too long, cost that case alone
    getattr(errno, name, None) for name in ("ENOSPC", "EDQUOT", "EROFS", "EACCES", "EPERM", "EIO", "ENOTDIR", "ENODEV")
}


@dataclass
class Benchmark:
    """Explains every case of a task by every explainer, measures the maps, and leaves rows, explanations, pictures, a report.

    The explainers of one case share the black box's answers (:meth:`BlackBox.bank`); each row still tells what it would have
    cost alone.

    Args:
        task: the cases.
        explainers: name in the rows → what explains them.
        metrics: column name → metric; those that need a truth stay empty where there is none.
        folder: where everything goes; what is explained there already is kept and not repeated, what failed is tried again.
        logger: is told of everything too.
        labels: values of the columns that describe the setting (black_box, loss, segmenter, seed, q) of each explainer.
        configs: the whole configuration of each explainer, saved beside its explanations.
        max_queries: most rows that the black box may have been asked when the run ends, metrics included; ``None``: no limit.
            Answers that explainers share count for each of them, as in the rows. At the limit the run stops.
        shard: ``i/n``: of each n cases in a row, the i-th alone; ``None``: all cases. See :func:`own_share`.

    Attributes:
        stopped: why the run stopped before its last case; empty: it didn't.

    Raises:
        InputError: an explainer's name leads elsewhere; the folder or a file in it can't be written, holds explanations made
            with another setting, or no case could be explained and the user's input was the reason each time.
    """

    task: Task
    explainers: Mapping[str, Explainer]
    metrics: Mapping[str, Metric]
    folder: Path
    logger: RunLogger
    labels: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    configs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    max_queries: int | None = None
    shard: str | None = None
    stopped: str = field(default="", init=False)
    _refused: list[InputError] = field(default_factory=list, init=False)
    _rows: Rows = field(init=False)
    _own: range = field(init=False)  # of the task's cases, those of this shard
    _keys: list[str] = field(init=False)  # their names
    _index: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        for name in self.explainers:
            check_name(name, "explainers: one is called")

    def run(self) -> bool:
        """Explain all cases that are not explained yet; true if none failed.

        What is done is reported also where the run breaks off.
        """
        try:
            with self.task.black_box.budget(self._left()):
                return self._run()
        except OSError as error:
            where = error.filename or self.folder
            raise InputError(
                f"{where} can't be written ({error.strerror or error}): make room or give "
                "another folder (hydra.run.dir=DIR, with -m hydra.sweep.dir=DIR); "
                "what was finished before is kept"
            ) from error

    def _run(self) -> bool:
        keys = self.task.keys()
        self._own = own_share(len(keys), self.shard)
        self._keys = [keys[index] for index in self._own]
        self._index = dict(zip(self._keys, self._own, strict=True))
        (self.folder / "explanations" / "inputs").mkdir(parents=True, exist_ok=True)
        rows = Rows(self.folder / "rows.csv", [*COLUMNS, *_measured(self.metrics)])
        self._check_resumed(rows)
        self._write_facts()
        self._rows, keys = rows, self._keys
        missing = {key: [name for name in self.explainers if (key, name) not in rows.done] for key in keys}
        places = _Places(sum(map(len, missing.values())), len(self.explainers))
        print(_plan(len(keys), len(self.explainers), places.of, self.labels), flush=True)
        self.logger.start(self.folder, shared_config(self.configs), _tags(self.labels))
        finished = False
        try:
            for place, (index, key) in enumerate(zip(self._own, keys, strict=True)):
                if missing[key] and not self.stopped:
                    self._case(place, index, key, missing[key], places)
            finished = not rows.failed and not self.stopped
        finally:
            reported = False
            try:
                write_report(self.folder)
                reported = True
            finally:
                self.logger.finish(rows.table(), failed=not (finished and reported))
        if not rows.done and len(self._refused) == rows.failed > 0 and not self.stopped:
            raise self._all_refused()
        return finished

    @property
    def code(self) -> int:
        """The exit code of a run that is over: 0 all explained, 1 some failed or the run was stopped, 3 some unfaithful."""
        if self._rows.failed or self.stopped:
            return FAILED
        return UNFAITHFUL if "unfaithful" in set(self._rows.table()["status"]) else OK

    def table(self) -> pd.DataFrame:
        """The rows of a run that is over."""
        return self._rows.table()

    def _left(self) -> int | None:
        return None if self.max_queries is None else max(0, self.max_queries - self.task.black_box.queries)

    def _case(self, place: int, index: int, key: str, names: list[str], places: "_Places") -> None:
        made: Case | Exception = self._made(index, key)
        box = self.task.black_box
        again = len(names) > 1 or any(metric.needs_explainer for metric in self.metrics.values())
        with ExitStack() as banks:
            if again:  # else no answer is wanted twice, and no row need be hashed
                banks.enter_context(box.bank())
            for bank in (metric.bank(box) for metric in self.metrics.values()):
                banks.enter_context(bank)
            for name in names:
                self._rows.add(self._row(made, key, name))
                _say(self._rows.last, places.next(place + 1, len(self._keys)))
                if self.stopped:
                    return

    def _made(self, index: int, key: str) -> Case | Exception:
        try:
            case, view, folder = self.task[index], self.task.black_box.input, self.folder / "explanations"
            sound = case.sound or view.heard(case.x)
            with _writing():
                view.show(case.x).save(folder / "inputs" / f"{key}.png")
                if sound is not None:
                    write_sound(folder / f"{key}__input.wav", sound)
        except _Unwritable as error:
            raise error.cause from error
        except StoreError:
            raise
        except Exception as error:  # one bad case must not cost the others
            return error
        return case

    def _write_facts(self) -> None:
        file = self.folder / "metrics.json"
        try:
            before = dict(read_json(file)) if file.is_file() else {}
            known = dict(before.get("explainers", {}))
        except (ValueError, TypeError):  # damaged: it is written anew
            before, known = {}, {}
        explainers = {name: {"needs_gradients": made.needs_gradients} for name, made in self.explainers.items()}
        metrics = {name: {"higher_is_better": metric.higher_is_better} for name, metric in self.metrics.items()}
        facts = {**before, **metrics, "explainers": {**known, **explainers}}
        file.write_text(json.dumps(facts, indent=2), encoding="utf-8")

    def _check_resumed(self, rows: Rows) -> None:
        others = sorted(rows.tasks - {self.task.name})
        if others:
            raise InputError(f"{self.folder} holds rows of task={others[0]}, now it is {self.task.name}: give another folder")
        changed, hashed = set(), lru_cache(maxsize=1)(self._hashes)  # of a new folder, no file is read
        for (index, key), name in product(zip(self._own, self._keys, strict=True), self.explainers):
            facts = _facts_in(self._json(key, name))
            if facts is None or any(facts.get(what) not in (None, now) for what, now in hashed(index).items()):
                changed.add((key, name))
            if facts is None:
                continue
            cwd = os.getcwd() if "cwd" in facts else None  # older runs did not save it
            then, now = decisive(facts["config"], facts.get("cwd")), decisive(self.configs.get(name, {}), cwd)
            if (key, name) not in rows.done:  # it will be measured anew
                then, now = ({k: v for k, v in all_.items() if not k.startswith("metrics")} for all_ in (then, now))
            then["black_box.weights"], now["black_box.weights"] = facts["black_box"], self.task.black_box.fingerprint
            for setting in sorted(then.keys() | now.keys()):
                if then.get(setting) != now.get(setting):
                    raise InputError(
                        f"{self.folder} holds explanations made with {setting}={then.get(setting)}, now it is "
                        f"{now.get(setting)}: give another folder as hydra.run.dir"
                    )
        for key, name in changed:  # another input by the same name, or its files are gone
            self._json(key, name).unlink(missing_ok=True)
        rows.forget(changed)

    def _hashes(self, index: int) -> dict[str, str]:
        return {f"{name}_sha256": hashlib.sha256(data).hexdigest() for name, data in self.task.content(index).items()}

    def _all_refused(self) -> InputError:
        messages = list(dict.fromkeys(str(error) for error in self._refused))
        if len(messages) == 1:
            return self._refused[0]
        cases = _many(len(set(self.table()["case"])), "case")
        rows = f" by any of {len(self.explainers)} explainers" if len(self.explainers) > 1 else ""
        return InputError(f"none of {cases} could be explained{rows}, the first because {messages[0]}")

    def _row(self, made: Case | Exception, key: str, name: str) -> dict[str, Any]:
        row = {"task": self.task.name, "case": key, "explainer": name, **self.labels.get(name, {})}
        left = self._left()
        try:
            if isinstance(made, Exception):
                raise made
            return {**row, **self._explained(made, name)}
        except _Unwritable as error:
            raise error.cause from error
        except StoreError:  # no other case would fare better
            raise
        except Exception as error:
            if isinstance(error, BudgetExceeded) and not self.stopped:
                self._note_limit(made, name, left)
            if isinstance(error, InputError):
                self._refused.append(error)
            else:
                _log.exception("case %s failed", key)
            return {**row, "status": "failed", "error": " ".join(f"{_kind(error)}{error}".split())}

    def _explained(self, case: Case, name: str) -> dict[str, Any]:
        explanation = self._kept(case, name)
        if explanation is None:
            self._check_left(case, name)
            with self.logger.training(self._stem(case.key, name).name):
                explanation = self.explainers[name].explain_case(case)
            with _writing():
                self._save(case, explanation, name)
        asked = self.task.black_box.queries
        measured = {column: self._measured(column, case, explanation, name) for column in self.metrics}
        asked = self.task.black_box.queries - asked
        self._add_curves(case.key, name, {column: made.curve for column, made in measured.items() if made and made.curve})
        numbers = {"fidelity": explanation.notes.get("fidelity"), **{c: m and m.value for c, m in measured.items()}}
        cells = {column: "" if value is None else round(value, 6) for column, value in numbers.items()}
        return {**self._facts(explanation), "metric_queries": asked, **cells}

    def _check_left(self, case: Case, name: str) -> None:
        left, needed = self._left(), self.explainers[name].rows_needed(case.x)
        if left is not None and needed is not None and needed > left:
            self.stopped = f"the next explanation asks up to {needed} rows, {left} are left of max_queries={self.max_queries}"
            raise BudgetExceeded(self.stopped)

    def _note_limit(self, made: Case | Exception, name: str, left: int | None) -> None:
        """Whether it was the run's limit that a row met, and not the explanation's own."""
        own = self.explainers[name].budget
        measuring = isinstance(made, Case) and os.path.isfile(self._json(made.key, name))
        if left is not None and (own is None or left < own or measuring or isinstance(made, Exception)):
            self.stopped = f"max_queries={self.max_queries} are spent: {self.task.black_box.queries} rows were asked"

    def _measured(self, column: str, case: Case, explanation: Explanation, name: str) -> Measured | None:
        return self.metrics[column].measure(case, explanation, self.explainers[name])

    def _kept(self, case: Case, name: str) -> Explanation | None:
        """What an earlier run explained with this setting (all were checked), so that a new metric costs no new explanation."""
        try:
            made = Explanation.load(self._stem(case.key, name))
        except InputError:  # none, or cut off half-way
            return None
        return made if made.target == case.target else None

    def _facts(self, explanation: Explanation) -> dict[str, Any]:
        return {
            "target": explanation.target,
            "target_name": self.task.black_box.class_name(explanation.target),
            "score": round(explanation.score, 6),
            "queries": explanation.queries,
            "asked": "" if explanation.asked is None else explanation.asked,
            "seconds": round(explanation.seconds, 3),
            "seconds_black_box": round(explanation.seconds_black_box, 3),
            "peak_mb": peak_mb(),
            "status": "unfaithful" if explanation.notes.get("unfaithful") else "ok",
            "error": " ".join(explanation.warnings),
        }

    def _stem(self, key: str, name: str) -> Path:
        return self.folder / "explanations" / f"{key}__{name}"

    def _json(self, key: str, name: str) -> Path:
        return self.folder / "explanations" / f"{key}__{name}.json"

    def _add_curves(self, key: str, name: str, curves: Mapping[str, Curve]) -> None:
        facts = _facts_in(self._json(key, name)) or {}
        facts["curves"] = {**facts.get("curves", {}), **{column: asdict(curve) for column, curve in curves.items()}}
        with _writing():
            self._json(key, name).write_text(json.dumps(facts, indent=2, ensure_ascii=False), encoding="utf-8")

    def _save(self, case: Case, explanation: Explanation, name: str) -> None:
        stem = self._stem(case.key, name)
        box = self.task.black_box
        explanation.save(
            stem,
            **provenance(self.configs.get(name, {})),
            **machine(box.device),
            **self._hashes(self._index[case.key]),
            black_box=box.fingerprint,
            target_name=box.class_name(explanation.target),
        )
        if explanation.sound is not None:
            self._save_sounds(explanation, explanation.sound, stem)
        panel = draw_panel(
            case.x,
            explanation,
            stem.with_name(f"{stem.name}.png"),
            target_name=box.class_name(explanation.target),
            title=f"{case.key} · {name}",
            truth=case.truth,
            masks=None if explanation.epochs is None else list(explanation.epochs),
        )
        self.logger.case(stem.name, case, explanation, panel)

    def _save_sounds(self, explanation: Explanation, sound: Sound, stem: Path) -> None:
        """What the region keeps of the recording, and what it removes."""
        where = explanation.region
        if where is None:
            where = torch.from_numpy(region(np.atleast_2d(explanation.saliency.numpy()))[0]).view(explanation.saliency.shape)
        kept, removed = self.task.black_box.input.split(sound, where.float())
        write_sound(stem.with_name(f"{stem.name}__kept.wav"), kept)
        write_sound(stem.with_name(f"{stem.name}__removed.wav"), removed)


class _Unwritable(Exception):
    """The run's folder can't be written: the run ends, where another error costs one row."""

    def __init__(self, cause: OSError):
        super().__init__(str(cause))
        self.cause = cause


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _OF_THE_DISK:
            raise _Unwritable(error) from error
        raise


def shared_config(configs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """One configuration of a run: what its explainers share, and each one's own settings by its name.

    Example:
        >>> shared_config({"a": {"q": 9, "explainer": {"x": 1}}, "b": {"q": 9, "explainer": {"x": 2}}})
        {'q': 9, 'explainers': {'a': {'x': 1}, 'b': {'x': 2}}}
    """
    first = dict(next(iter(configs.values()), {}))
    if len(configs) < 2:
        return first
    first.pop("explainer", None)
    return first | {"explainers": {name: config.get("explainer") for name, config in configs.items()}}


def _tags(labels: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What a run is found by: ``explainer=dax``, ``loss=v1``, ``segmenter=slic``, ``q=1000``."""
    own = [{"explainer": name, **label} for name, label in labels.items()]
    told = (
        f"{key}={one[key]}" for key in ("explainer", "loss", "segmenter", "q") for one in own if one.get(key) not in (None, "")
    )
    return list(dict.fromkeys(told))


def _facts_in(file: Path) -> dict[str, Any] | None:
    """What stands beside an explanation; ``None`` where there is none, or it was cut off half-way."""
    if not os.path.isfile(file):
        return None
    try:
        facts = read_json(file)
    except ValueError:
        return None
    return facts if isinstance(facts, dict) and {"config", "black_box"} <= facts.keys() else None


def _measured(metrics: Mapping[str, Metric]) -> list[str]:
    return ["fidelity", *metrics]


def _kind(error: Exception) -> str:
    return "" if isinstance(error, InputError) else f"{type(error).__name__}: "


class _Places:
    """Where a run stands: the case's number; of several explainers, the row's and the time left."""

    def __init__(self, of: int, explainers: int):
        self.of, self._explainers, self._row, self._start = of, explainers, 0, time.perf_counter()

    def next(self, case: int, cases: int) -> str:
        """The place of the row that was just written."""
        self._row += 1
        if self._explainers == 1:
            return f"[{case}/{cases}]"
        left = (time.perf_counter() - self._start) / self._row * (self.of - self._row)
        return f"[row {self._row} of {self.of}, {duration(left)} left]"


def duration(seconds: float) -> str:
    """Seconds as a person says them.

    Example:
        >>> duration(8.4), duration(160.0), duration(9000.0)
        ('8 s', '3 min', '2.5 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def means(rows: pd.DataFrame, metrics: Iterable[str]) -> str:
    """The mean of each metric by explainer, as plain text; failed rows are left out.

    Example:
        >>> rows = {"explainer": ["dax", "dax"], "status": ["ok", "ok"], "iou": [0.5, 1], "queries": 9, "seconds": 2.0}
        >>> print(means(pd.DataFrame(rows), ["iou", "top_share"]))
        explainer  rows  iou    queries  seconds
        dax        2     0.750  9        2.0
    """
    done = [row for row in rows.to_dict("records") if row["status"] != "failed"]
    digits = dict.fromkeys((column for column in metrics if _numbers(done, column)), 3) | {"queries": 0, "seconds": 1}
    table = [["explainer", "rows", *digits]]
    for name in dict.fromkeys(row["explainer"] for row in done):
        own = [row for row in done if row["explainer"] == name]
        cells = [f"{fmean(found):.{digits[c]}f}" if (found := _numbers(own, c)) else "" for c in digits]
        table.append([str(name), str(len(own)), *cells])
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table]
    return "\n".join(lines)


def _numbers(rows: list[dict[Hashable, Any]], column: str) -> list[float]:
    return [float(row[column]) for row in rows if column in row and not pd.isna(row[column])]


def _plan(cases: int, explainers: int, rows: int, labels: Mapping[str, Mapping[str, Any]]) -> str:
    """One line: how many rows there are to make, and what each may ask."""
    each = sorted({int(label["q"]) for label in labels.values() if "q" in label})
    asked = f", q={' or '.join(map(str, each))} queries each" if each else ""
    what = f"{_many(cases, 'case')} by {_many(explainers, 'explainer')}"
    done = cases * explainers - rows
    return f"{what}: {_many(rows, 'row')} to make{f' ({done} are done)' if done else ''}{asked}"


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _say(row: Mapping[str, Any], where: str) -> None:
    place = f"{where} {row['case']} · {row['explainer']}"
    if row["status"] == "failed":
        print(f"{place}: failed: {row['error']}", flush=True)
        return
    learned = f", fidelity {row['fidelity']:.2f}" if isinstance(row["fidelity"], float) else ""
    cost = f"{row['queries']} queries, {row['seconds']:.1f} s ({row['seconds_black_box']:.1f} s in the black box)"
    print(f"{place}: {row['target_name']} {row['score']:.3f}{learned}, {cost}", flush=True)
    if row["error"]:
        print(f"  warning: {row['error']}", flush=True)
