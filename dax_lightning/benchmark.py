"""Cases go in, rows come out: each is written as it is done, and a case that fails is a row too."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dax_lightning.errors import InputError
from dax_lightning.explainer import Explainer
from dax_lightning.loggers import RunLogger
from dax_lightning.metrics import Metric
from dax_lightning.provenance import decisive, peak_mb, provenance
from dax_lightning.report import draw_panel, write_report
from dax_lightning.rows import COLUMNS, Rows
from dax_lightning.segment import FromCase
from dax_lightning.tasks import Task
from dax_lightning.types import Case, Explanation

_log = logging.getLogger(__name__)


@dataclass
class Benchmark:
    """Explains every case of a task, measures the maps, and leaves rows, explanations, pictures and a report in a folder.

    Args:
        task: the cases.
        explainer: explains them.
        metrics: column name → metric; those that need a truth stay empty where there is none.
        folder: where everything goes; what is explained there already is kept and not repeated, what failed is tried again.
        logger: is told of everything too.
        labels: values of the columns that describe the setting: loss, segmenter, seed, q.
        config: the whole configuration, saved beside each explanation.

    Raises:
        InputError: the folder or a file in it can't be written, holds explanations made with another setting, or no case could
            be explained and the user's input was the reason each time.
    """

    task: Task
    explainer: Explainer
    metrics: Mapping[str, Metric]
    folder: Path
    logger: RunLogger
    labels: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
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
        (self.folder / "explanations").mkdir(parents=True, exist_ok=True)
        rows = Rows(self.folder / "rows.csv", [*COLUMNS, *_measured(self.metrics)])
        self._check_resumed(rows)
        self.logger.start(self.folder, self.config)
        finished = False
        try:
            for index, key in enumerate(self.task.keys()):
                if (key, self.explainer.name) not in rows.done:
                    rows.add(self._row(index, key))
                    _say(rows.last, index + 1, len(self.task))
            finished = not rows.failed
        finally:
            self.logger.finish(rows.table(), failed=not finished)
        write_report(self.folder)
        if not rows.done and len(self._refused) == rows.failed > 0:
            raise self._all_refused()
        return finished

    def _check_resumed(self, rows: Rows) -> None:
        now = decisive(self.config)
        for key, name in sorted(rows.done):
            file = self.folder / "explanations" / f"{key}__{name}.json"
            if name != self.explainer.name or not file.is_file():
                continue
            then = decisive(json.loads(file.read_text(encoding="utf-8"))["config"])
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

    def _row(self, index: int, key: str) -> dict[str, Any]:
        row = {"task": self.task.name, "case": key, "explainer": self.explainer.name, **self.labels}
        try:
            return {**row, **self._explained(index)}
        except OSError:
            raise
        except Exception as error:  # one bad case must not cost the others
            if isinstance(error, InputError):
                self._refused.append(error)
            else:
                _log.exception("case %s failed", key)
            return {**row, "status": "failed", "error": " ".join(f"{_kind(error)}{error}".split())}

    def _explained(self, index: int) -> dict[str, Any]:
        case = self.task[index]
        explanation = explain_case(self.explainer, case)
        self._save(case, explanation)
        return {**self._facts(case, explanation), **self._measures(case, explanation)}

    def _facts(self, case: Case, explanation: Explanation) -> dict[str, Any]:
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

    def _measures(self, case: Case, explanation: Explanation) -> dict[str, Any]:
        fidelity = explanation.notes.get("fidelity")
        measured = {name: metric(case, explanation) for name, metric in self.metrics.items()}
        return {name: "" if value is None else round(value, 6) for name, value in {"fidelity": fidelity, **measured}.items()}

    def _save(self, case: Case, explanation: Explanation) -> None:
        name = f"{case.key}__{self.explainer.name}"
        stem = self.folder / "explanations" / name
        box = self.task.black_box
        explanation.save(
            stem, **provenance(self.config), black_box=box.fingerprint, target_name=box.class_name(explanation.target)
        )
        panel = draw_panel(
            case.x,
            explanation,
            stem.parent / f"{name}.png",
            target_name=box.class_name(explanation.target),
            title=f"{case.key} · {self.explainer.name}",
            truth=case.truth,
            masks=None if explanation.epochs is None else list(explanation.epochs),
        )
        self.logger.case(name, explanation, panel)


def explain_case(explainer: Explainer, case: Case) -> Explanation:
    """The explanation of a case; with its own partition where the explainer's segmenter is ``case``."""
    from_case = isinstance(getattr(explainer, "segmenter", None), FromCase)
    return explainer.explain(case.x, case.target, case.segments if from_case else None)


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
