"""``hydra/sweeper=optuna``: the next jobs of a sweep are suggested from the results of those before.

hydra-optuna-sweeper is not used. It names an optuna of 2022, begins at job 0 where a search goes on, and a failed job ends it.
"""

import json
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep, Transformer
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.utils import get_object
from omegaconf import OmegaConf

from dax_lightning.errors import InputError

STUDY, BEST = "study.db", "best.json"
_OF_ANY_RUN = {"fidelity": True, "queries": False, "seconds": False, "peak_mb": False}  # columns, and whether higher is better
_log = logging.getLogger(__name__)


class Search(Sweeper):
    """A search by optuna for the settings with the best mean of the column ``tune.metric``, see :func:`objective`.

    The study is ``study.db`` in the sweep's folder, and trial n is job n. In a folder that is given again, a job that was
    interrupted is run again first, and then what is missing of ``n_trials``. ``best.json`` names the best job. A job that
    failed ends nothing. It has no value, and the search goes on.

    Args:
        n_trials: jobs in all; where all is choices, at most all their combinations, each once; 1 or more.
        n_jobs: jobs that are suggested at once; 1 or more.
        seed: of the suggestions.
        params: what is searched, in Hydra's grammar: setting → values.

    Raises:
        InputError: a number is out of range.

    Example:
        >>> Search(n_trials=4, params={"q": "500,1000"}).n_trials
        4
    """

    def __init__(self, n_trials: int = 20, n_jobs: int = 1, seed: int = 0, params: Mapping[str, Any] | None = None):
        for name, value in (("n_trials", n_trials), ("n_jobs", n_jobs)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"hydra.sweeper.{name}={value}: wanted 1 or more jobs")
        self.n_trials, self.n_jobs, self.seed, self.params = n_trials, n_jobs, seed, dict(params or {})

    def setup(self, *, hydra_context: Any, task_function: Any, config: Any) -> None:
        """Called by Hydra before :meth:`sweep`."""
        self._config, self._context = config, hydra_context
        self._launcher = Plugins.instance().instantiate_launcher(
            config=config, hydra_context=hydra_context, task_function=task_function
        )

    def sweep(self, arguments: list[str]) -> list[Any]:
        """Run the search; called by Hydra with what was given on the command line.

        Raises:
            InputError: nothing is searched, the metric isn't known, optuna is missing, or the folder holds another search.
        """
        folder, metric = Path(self._config.hydra.sweep.dir), str(self._config.tune.metric)
        maximise = self._maximise(metric)
        space, fixed = self._space(arguments)
        folder.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self._config, folder / "multirun.yaml")
        search = {"metric": metric, "space": {key: str(way) for key, way in space.items()}, "fixed": fixed}
        study = self._study(folder, space, maximise, search)
        returns = []
        for trial in _unfinished(study):
            returns += self._run(study, [trial.number], [trial.user_attrs["overrides"]], metric)
        while (left := self._target(space) - _asked(study)) > 0:
            trials = [study.ask(space) for _ in range(min(left, self.n_jobs))]
            jobs = [[*fixed, *(f"{key}={_told(value)}" for key, value in trial.params.items())] for trial in trials]
            for trial, job in zip(trials, jobs, strict=True):
                trial.set_user_attr("overrides", job)
            returns += self._run(study, [trial.number for trial in trials], jobs, metric)
        self._say_best(study, folder, metric, maximise, fixed)
        return returns

    def _run(self, study: Any, numbers: Sequence[int], jobs: Sequence[Sequence[str]], metric: str) -> list[Any]:
        """Launch some jobs whose numbers follow each other, and tell the study what came."""
        from optuna.trial import TrialState

        for job in jobs:  # a setting that isn't known ends the search before its first job
            self._context.config_loader.load_sweep_config(self._config, list(job))
        returned = self._launcher.launch([list(job) for job in jobs], initial_job_idx=numbers[0])
        for number, made in zip(numbers, returned, strict=True):
            value = _value(made, number)
            if value is None:
                study.tell(number, state=TrialState.FAIL)
            else:
                study.tell(number, value)
            print(f"job {number}: {metric} {'none: it failed' if value is None else f'{value:.4g}'}", flush=True)
        return list(returned)

    def _maximise(self, metric: str) -> bool:
        node = self._config.metrics.get(metric)
        up = _OF_ANY_RUN.get(metric) if node is None else get_object(node["_target_"]).higher_is_better
        if node is None and up is None:
            known = ", ".join([*map(str, self._config.metrics), *_OF_ANY_RUN])
            raise InputError(
                f"tune.metric={metric} is not measured: choose {known}, or add +metric@metrics.{metric}={metric} if there is one"
            )
        if up is None:
            raise InputError(f"tune.metric={metric} has no better and worse: choose a metric that has a direction")
        return up

    def _space(self, arguments: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
        """What is searched, and what every job is given."""
        given = [f"{key}={value}" for key, value in self.params.items()] + list(arguments)
        last = {one.get_key_element(): one for one in OverridesParser.create().parse_overrides(given)}
        space = {key: _distribution(one, self._now(key)) for key, one in last.items() if one.is_sweep_override()}
        if not space:
            raise InputError(
                "hydra/sweeper=optuna has nothing to search: give values, such as lam3='interval(0.05,2)' q=500,1000"
            )
        return space, [f"{key}={one.get_value_element_as_str()}" for key, one in last.items() if key not in space]

    def _now(self, key: str) -> Any:
        """The setting's value without a search."""
        return OmegaConf.select(self._config, key.lstrip("+"), throw_on_missing=False)

    def _combinations(self, space: Mapping[str, Any]) -> int | None:
        """How many there are; ``None`` where not all is choices."""
        return (
            math.prod(len(way.choices) for way in space.values()) if all(hasattr(w, "choices") for w in space.values()) else None
        )

    def _target(self, space: Mapping[str, Any]) -> int:
        return min(self.n_trials, self._combinations(space) or self.n_trials)

    def _study(self, folder: Path, space: Mapping[str, Any], maximise: bool, search: Mapping[str, Any]) -> Any:
        optuna = _optuna()
        storage = f"sqlite:///{(folder / STUDY).absolute()}"
        study = optuna.create_study(
            storage=storage, study_name="sweep", direction="maximize" if maximise else "minimize", load_if_exists=True
        )
        if not study.user_attrs:
            study.set_user_attr("search", search)
            if (self._combinations(space) or math.inf) <= self.n_trials:  # then all of them, each once
                for values in product(*(way.choices for way in space.values())):
                    study.enqueue_trial(dict(zip(space, values, strict=True)))
        _check_same(study.user_attrs["search"], search, folder)
        study.sampler = optuna.samplers.TPESampler(seed=self.seed + len(study.trials))  # else it would begin with the same again
        return study

    def _say_best(self, study: Any, folder: Path, metric: str, maximise: bool, fixed: Sequence[str]) -> None:
        from optuna.trial import TrialState

        told = study.get_trials(states=[TrialState.COMPLETE])
        facts: dict[str, Any] = {"metric": metric, "higher_is_better": maximise, "jobs": _asked(study), "with_a_value": len(told)}
        if told:
            best = study.best_trial
            own = [one for one in best.user_attrs["overrides"] if one not in fixed]
            facts |= {"value": best.value, "job": best.number, "overrides": own}
            print(f"best {metric} of {len(told)} jobs: {best.value:.4g}, job {best.number}: {' '.join(own)}", flush=True)
        else:
            print(f"no job has a value of {metric}: see their errors above", flush=True)
        (folder / BEST).write_text(json.dumps(facts, indent=2, ensure_ascii=False), encoding="utf-8")


def objective(folder: Path, metric: str) -> float | None:
    """What a job is judged by: the mean of a column over its rows; ``None`` where a row failed or none has a value.

    A mean without the failed cases would be that of other, perhaps easier cases.

    Args:
        folder: of the job, with its ``rows.csv``.
        metric: the column.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "rows.csv").write_text("task,case,explainer,status,iou\\nvoc,a,dax,ok,0.25\\nvoc,b,dax,ok,1\\n")
        ...     objective(Path(folder), "iou"), objective(Path(folder), "pointing")
        (0.625, None)
    """
    from dax_lightning.stats.tables import read_rows, typed  # it imports pandas, which a typo needn't wait for

    rows = typed(read_rows(folder))
    if metric not in rows or "failed" in set(rows["status"]):
        return None
    known = [value for value in rows[metric].tolist() if value == value]  # NaN isn't itself
    return sum(known) / len(known) if known else None


def _value(returned: Any, number: int) -> float | None:
    try:
        value = returned.return_value
    except Exception:  # whatever a job died of, the others go on; its exit code tells
        _log.exception("job %s failed", number)
        return None
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _unfinished(study: Any) -> list[Any]:
    """Trials whose job was begun and has no end: the sweep was stopped or killed."""
    from optuna.trial import TrialState

    begun = study.get_trials(states=[TrialState.RUNNING])
    for trial in begun:
        if "overrides" not in trial.user_attrs:  # killed before its job had settings
            study.tell(trial.number, state=TrialState.FAIL)
    return [trial for trial in begun if "overrides" in trial.user_attrs]


def _asked(study: Any) -> int:
    from optuna.trial import TrialState

    return sum(trial.state is not TrialState.WAITING for trial in study.trials)


def _distribution(override: Override, now: Any) -> Any:
    """Where to look; ends of an interval are whole numbers where the setting is one ``now``."""
    distributions = _optuna().distributions
    value = override.value()
    if isinstance(value, IntervalSweep):
        low, high, log = value.start or 0, value.end or 0, "log" in value.tags
        try:
            if isinstance(now, int) and low == int(low) and high == int(high):
                return distributions.IntDistribution(int(low), int(high), log=log)
            return distributions.FloatDistribution(low, high, log=log)
        except ValueError as error:
            raise InputError(f"{override.input_line} is no range to search: {error}") from error
    if isinstance(value, RangeSweep) and all(isinstance(one, int) for one in (value.start, value.stop, value.step)):
        values = range(*(int(one) for one in (value.start or 0, value.stop or 0, value.step)))
        return distributions.IntDistribution(min(values), max(values), step=abs(values.step))
    return distributions.CategoricalDistribution([str(one) for one in override.sweep_iterator(transformer=Transformer.encode)])


def _told(value: Any) -> str:
    """A value as an override has it; four digits are enough to look for a good one."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _check_same(before: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    for key, name in (("metric", "tune.metric"), ("space", "searched values"), ("fixed", "settings")):
        if before[key] != now[key]:
            then = f"{name} {_plain(before[key])}, now {_plain(now[key])}"
            raise InputError(f"{folder} holds a search with {then}: give another folder as hydra.sweep.dir")


def _plain(value: str | Mapping[str, str] | Iterable[str]) -> str:
    if isinstance(value, str):
        return value
    return " ".join(f"{key}: {way}" for key, way in value.items()) if isinstance(value, Mapping) else " ".join(value) or "none"


def _optuna() -> Any:
    try:
        import optuna
    except ModuleNotFoundError as error:
        raise InputError("hydra/sweeper=optuna needs the package optuna: pip install 'dax-lightning[optuna]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # each job says its own
    return optuna
