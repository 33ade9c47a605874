"""Cases and explainers go in, rows come out: each is written as it is done, and a case that fails is a row too."""

import json
import logging
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from torchvision.utils import save_image

from dax_lightning.errors import InputError
from dax_lightning.explainer import Explainer
from dax_lightning.loggers import RunLogger
from dax_lightning.metrics.base import Curve, Measured, Metric
from dax_lightning.provenance import decisive, peak_mb, provenance
from dax_lightning.report import draw_panel, write_report
from dax_lightning.rows import COLUMNS, Rows
from dax_lightning.tasks import Task
from dax_lightning.types import Case, Explanation

_log = logging.getLogger(__name__)


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

    Raises:
        InputError: the folder or a file in it can't be written, holds explanations made with another setting, or no case could
            be explained and the user's input was the reason each time.
    """

    task: Task
    explainers: Mapping[str, Explainer]
    metrics: Mapping[str, Metric]
    folder: Path
    logger: RunLogger
    labels: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    configs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    _refused: list[InputError] = field(default_factory=list, init=False)

    def run(self) -> bool:
        """Explain all cases that are not explained yet; true if none failed."""
        try:
            return self._run()
        except OSError as error:
            where = error.filename or self.folder
            raise InputError(
                f"{where} can't be written ({error.strerror or error}): make room or give "
                "another folder (hydra.run.dir=DIR, with -m hydra.sweep.dir=DIR); "
                "what was finished before is kept"
            ) from error

    def _run(self) -> bool:
        (self.folder / "explanations" / "inputs").mkdir(parents=True, exist_ok=True)
        rows = Rows(self.folder / "rows.csv", [*COLUMNS, *_measured(self.metrics)])
        self._check_resumed(rows)
        self._write_facts()
        self.logger.start(self.folder, shared_config(self.configs))
        finished = False
        try:
            for index, key in enumerate(self.task.keys()):
                missing = [name for name in self.explainers if (key, name) not in rows.done]
                if missing:
                    self._case(index, key, missing, rows)
            finished = not rows.failed
        finally:
            self.logger.finish(rows.table(), failed=not finished)
        write_report(self.folder)
        if not rows.done and len(self._refused) == rows.failed > 0:
            raise self._all_refused()
        return finished

    def _case(self, index: int, key: str, names: list[str], rows: Rows) -> None:
        made: Case | Exception = self._made(index, key)
        box = self.task.black_box
        with ExitStack() as banks:
            for bank in (box.bank(), *(metric.bank(box) for metric in self.metrics.values())):
                banks.enter_context(bank)
            for name in names:
                rows.add(self._row(made, key, name))
                _say(rows.last, index + 1, len(self.task))

    def _made(self, index: int, key: str) -> Case | Exception:
        try:
            case = self.task[index]
        except Exception as error:  # one bad case must not cost the others
            return error
        save_image(case.x, self.folder / "explanations" / "inputs" / f"{key}.png")
        return case

    def _write_facts(self) -> None:
        file = self.folder / "metrics.json"
        before = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        explainers = {name: {"needs_gradients": made.needs_gradients} for name, made in self.explainers.items()}
        metrics = {name: {"higher_is_better": metric.higher_is_better} for name, metric in self.metrics.items()}
        facts = {**before, **metrics, "explainers": {**before.get("explainers", {}), **explainers}}
        file.write_text(json.dumps(facts, indent=2), encoding="utf-8")

    def _check_resumed(self, rows: Rows) -> None:
        others = sorted(rows.tasks - {self.task.name})
        if others:
            raise InputError(f"{self.folder} holds rows of task={others[0]}, now it is {self.task.name}: give another folder")
        for key, name in product(self.task.keys(), self.explainers):
            facts = _facts_in(self._json(key, name))
            if facts is None:
                continue
            then, now = (decisive(config) for config in (facts["config"], self.configs.get(name, {})))
            if (key, name) not in rows.done:  # it will be measured anew
                then, now = ({k: v for k, v in all_.items() if not k.startswith("metrics")} for all_ in (then, now))
            then["black_box.weights"], now["black_box.weights"] = facts["black_box"], self.task.black_box.fingerprint
            for setting in sorted(then.keys() | now.keys()):
                if then.get(setting) != now.get(setting):
                    raise InputError(
                        f"{self.folder} holds explanations made with {setting}={then.get(setting)}, now it is "
                        f"{now.get(setting)}: give another folder as hydra.run.dir"
                    )

    def _all_refused(self) -> InputError:
        messages = list(dict.fromkeys(str(error) for error in self._refused))
        if len(messages) == 1:
            return self._refused[0]
        return InputError(f"none of {len(self._refused)} cases could be explained, the first because {messages[0]}")

    def _row(self, made: Case | Exception, key: str, name: str) -> dict[str, Any]:
        row = {"task": self.task.name, "case": key, "explainer": name, **self.labels.get(name, {})}
        try:
            if isinstance(made, Exception):
                raise made
            return {**row, **self._explained(made, name)}
        except _Unwritable as error:
            raise error.cause from error
        except Exception as error:
            if isinstance(error, InputError):
                self._refused.append(error)
            else:
                _log.exception("case %s failed", key)
            return {**row, "status": "failed", "error": " ".join(f"{_kind(error)}{error}".split())}

    def _explained(self, case: Case, name: str) -> dict[str, Any]:
        explanation = self._kept(case, name)
        if explanation is None:
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

    def _measured(self, column: str, case: Case, explanation: Explanation, name: str) -> Measured | None:
        return self.metrics[column].measure(case, explanation, self.explainers[name])

    def _kept(self, case: Case, name: str) -> Explanation | None:
        """What an earlier run explained with this setting (all were checked), so that a new metric costs no new explanation."""
        try:
            made = Explanation.load(self._stem(case.key, name))
        except (InputError, ValueError, KeyError, zipfile.BadZipFile, EOFError):  # none, or cut off half-way
            return None
        return made if made.target == case.target else None

    def _facts(self, explanation: Explanation) -> dict[str, Any]:
        return {
            "target": explanation.target,
            "target_name": self.task.black_box.class_name(explanation.target),
            "score": round(explanation.score, 6),
            "queries": explanation.queries,
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
            black_box=box.fingerprint,
            target_name=box.class_name(explanation.target),
        )
        panel = draw_panel(
            case.x,
            explanation,
            stem.with_name(f"{stem.name}.png"),
            target_name=box.class_name(explanation.target),
            title=f"{case.key} · {name}",
            truth=case.truth,
            masks=None if explanation.epochs is None else list(explanation.epochs),
        )
        self.logger.case(stem.name, explanation, panel)


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
        raise _Unwritable(error) from error


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


def _facts_in(file: Path) -> dict[str, Any] | None:
    """What stands beside an explanation; ``None`` where there is none, or it was cut off half-way."""
    if not file.is_file():
        return None
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        return None
    return facts if isinstance(facts, dict) and {"config", "black_box"} <= facts.keys() else None


def _measured(metrics: Mapping[str, Metric]) -> list[str]:
    return ["fidelity", *metrics]


def _kind(error: Exception) -> str:
    return "" if isinstance(error, InputError) else f"{type(error).__name__}: "


def _say(row: Mapping[str, Any], number: int, of: int) -> None:
    place = f"[{number}/{of}] {row['case']} · {row['explainer']}"
    if row["status"] == "failed":
        print(f"{place}: failed: {row['error']}", flush=True)
        return
    learned = f", fidelity {row['fidelity']:.2f}" if isinstance(row["fidelity"], float) else ""
    cost = f"{row['queries']} queries, {row['seconds']:.1f} s ({row['seconds_black_box']:.1f} s in the black box)"
    print(f"{place}: {row['target_name']} {row['score']:.3f}{learned}, {cost}", flush=True)
    if row["error"]:
        print(f"  warning: {row['error']}", flush=True)
