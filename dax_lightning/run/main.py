"""The command ``dax``, the same as ``python train.py`` and ``python -m dax_lightning``; ``dax --help`` tells more.

Only what reads the options is imported here: torch and the rest follow once the options are checked.
"""

import gc
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from dax_lightning.errors import InputError
from dax_lightning.run.config import (
    USER_ERRORS,
    build,
    check_values,
    config_of,
    explainer_nodes,
    forget_black_box,
    idle_settings,
    kept_black_box,
    labels,
    one_line,
    run_name,
    sweep_name,
    usable,
    with_short_cuts,
)
from dax_lightning.run.help import conf_folder, help_text
from dax_lightning.run.jobs import (
    FAILED,
    OK,
    REFUSED,
    RUN,
    STOPPED,
    Run,
    job_of_sweep,
    job_status,
    one_run,
    rerun,
    summary,
    worst,
)
from dax_lightning.run.shards import own_gpu, worker_name
from dax_lightning.run.tune import objective

_TOLD = 300  # characters of another library's error
_CUT = 0.1  # share of a photograph that a centre crop may leave out without a word


def explain(cfg: Any, folder: Path) -> int:
    """Build all parts, then explain every case.

    Args:
        cfg: the composed configuration.
        folder: where everything goes.

    Returns:
        The exit code: 0 all explained, 1 some failed, 3 some unfaithful.
    """
    check_values(cfg)
    _take_gpu(cfg.device)
    print(_what(cfg, folder), flush=True)
    if "factory" in cfg.black_box and cfg.black_box.weights is None:
        print(f"black_box.weights is not given: the module is explained as {cfg.black_box.factory} builds it", flush=True)

    from dax_lightning.black_box.store import store_at
    from dax_lightning.run.cost import estimate
    from dax_lightning.run.loggers import run_logger
    from dax_lightning.run.runner import Benchmark, means

    trust = cfg.allow_targets
    metrics = {name: build(node, f"metrics.{name}", trust) for name, node in cfg.metrics.items()}
    nodes = explainer_nodes(cfg)
    logger = run_logger(build(cfg.logger, "logger", trust), run_name(cfg, nodes), cfg.mask_every, sweep_name())
    for line in idle_settings(cfg, nodes, HydraConfig.get().overrides.task):
        print(f"warning: {line}", file=sys.stderr)
    partial = {
        name: build(node, key, trust, _partial_=True) for name, (key, node) in nodes.items()
    }  # a typo costs no loading of weights
    black_box = kept_black_box(cfg.black_box, trust)
    gc.enable()  # nearly all is imported now
    for line in black_box.remarks:
        print(line, flush=True)
    explainers = usable(partial, black_box, cfg.budget, _stop(cfg))
    for explainer in explainers.values():
        explainer.prepare()
    with black_box.budget(cfg.max_queries):
        black_box.keep(store_at(cfg.store, black_box.behind_wire))
        task = build(cfg.task, "task", trust, black_box=black_box)
        for line in [*task.remarks(), *_cropped(task.outside(), "crop" in cfg.black_box)]:
            print(line, flush=True)
        if cfg.dry_run or cfg.confirm or black_box.behind_wire or cfg.price_per_1000 is not None:
            print("\n".join(estimate(task, explainers, metrics, _number(cfg.price_per_1000))), flush=True)
        if cfg.dry_run or (cfg.confirm and not _confirmed()):
            return OK
    if cfg.shard is not None:
        print(f"shard {cfg.shard}: its share of the task's {len(task)} cases", flush=True)
    settings = {
        name: labels(cfg, nodes[name][1], getattr(explainer, "segmenter", None)) for name, explainer in explainers.items()
    }
    configs = {name: config_of(cfg, nodes[name][1]) for name in explainers}
    run = Benchmark(task, explainers, metrics, folder, logger, settings, configs, cfg.max_queries, cfg.shard)
    run.run()
    if run.stopped:
        where = RUN.resume() if RUN.folder else f"hydra.sweep.dir={folder.parent}"  # this is another process than the command's
        print(f"{run.stopped}; to go on, raise it and add {where} to the same command", file=sys.stderr)
    picture = next((folder / "explanations").glob("*.png"), "none, no case was explained")
    table = run.table()
    print(f"{means(table, ['fidelity', *metrics])}\npicture: {picture}\nreport:  {folder / 'report.html'}")
    if black_box.store is not None:
        saved = black_box.queries - black_box.asked
        print(f"rows: {black_box.queries} needed, {black_box.asked} asked, {saved} saved by {black_box.store.path.parent}")
    if failed := list(table["status"]).count("failed"):
        print(f"{failed} of {len(table)} rows failed: see the report")
    return run.code


@hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name="config")
def job(cfg: Any) -> float | None:
    """One job, in the folder where the command was given: a user's mistake is one line, and a multirun's other jobs go on.

    A job of a multirun gives the number that a search judges it by, see :func:`dax_lightning.run.tune.objective`.
    """
    here = HydraConfig.get().runtime.cwd
    os.chdir(here)  # hydra.job.chdir would have relative paths lead elsewhere
    if here not in sys.path:
        sys.path.append(here)  # for black_box.function=my_module.my_function
    folder = Path(HydraConfig.get().runtime.output_dir)
    try:
        with job_of_sweep(folder) if HydraConfig.get().mode is RunMode.MULTIRUN else nullcontext():
            code = one_job(cfg, folder)
    except InputError as error:  # its folder is in use: whoever works there writes the exit code
        code = _refuse(error)
    if HydraConfig.get().mode is not RunMode.MULTIRUN or code == REFUSED or cfg.dry_run or cfg.confirm:
        return None
    return objective(folder, str(cfg.tune.metric))


def one_job(cfg: Any, folder: Path) -> int:
    """Explain, and leave the exit code in the folder.

    Args:
        cfg: the composed configuration.
        folder: where everything goes.

    Returns:
        The exit code.
    """
    with job_status(folder, rerun(HydraConfig.get())) as ended:
        try:
            ended.code = explain(cfg, folder)
        except USER_ERRORS as error:
            ended.error, ended.code = one_line(error), _refuse(error)
    return ended.code


def run(arguments: Sequence[str]) -> int:
    """The whole command.

    Args:
        arguments: as on the command line, without the program's name.

    Returns:
        The exit code: 0 all cases explained, 1 some failed, 2 the user's input was wrong, 3 all explained but some unfaithful,
        130 stopped by Ctrl-C.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a class named 猫 on a terminal that has no such letter
    if any(argument in ("-h", "--help") for argument in arguments):
        print(help_text())
        return OK
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come here, so that they can be told in one line
    forget_black_box()  # another command's
    with one_run(arguments) as current:
        try:
            sys.argv[1:] = with_short_cuts(arguments)
            job()
        except USER_ERRORS as error:
            return _refuse(error)
        except OSError as error:
            what = f"{error.filename or 'a file'} can't be written or read ({error.strerror or error})"
            return _refuse(InputError(f"{what}: set hydra.run.dir, with -m hydra.sweep.dir, to a folder that can"))
        except (KeyboardInterrupt, SystemExit) as error:
            if current.interrupted or isinstance(error, KeyboardInterrupt):
                return _stopped(current)
            return error.code if isinstance(error.code, int) else OK
        except Exception as error:  # a launcher's own, which differ: a worker of it was killed, or none could be had
            if not current.multirun:
                raise
            return _broken(current, error)
        return current.code()


def command() -> None:
    """The console command ``dax``."""
    gc.disable()  # imports make many objects and hardly any rubbish; explain() enables it
    code = run(sys.argv[1:])
    gc.freeze()  # at its exit Python looks through all objects once more, for .6 s
    sys.exit(code)


def _what(cfg: Any, folder: Path) -> str:
    """One line, printed at once: what is explained, by what, and where the output goes."""
    choices: Any = HydraConfig.get().runtime.choices
    cases = f"task={choices.task}" if cfg.input is None else f"input={cfg.input}"
    explainers = list(cfg.methods or cfg.explainers) or [choices.explainer]
    by = ", ".join(map(str, explainers[:4])) + (f" and {len(explainers) - 4} more" if len(explainers) > 4 else "")
    asked = f"q={cfg.q} queries for each explanation" + ("" if cfg.max_queries is None else f", at most {cfg.max_queries} in all")
    return f"explaining {cases} by {by}: {asked}; the output goes to {folder}"


def _take_gpu(device: str) -> None:
    """Of several GPUs, a worker of joblib takes its own."""
    if device != "auto" or worker_name() == "MainProcess":
        return
    import torch  # a typo needn't wait for it

    if (gpu := own_gpu(os.environ, worker_name(), torch.cuda.device_count())) is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu


def _cropped(outside: Sequence[float], can_squash: bool) -> list[str]:
    """One line, where more than a tenth of some photograph is cut off."""
    much = [share for share in outside if share > _CUT]
    if not much:
        return []
    fix = "black_box.crop=squash shows all of it" if can_squash else "give photographs of the model's own shape"
    mean = f"{100 * sum(much) / len(much):.0f} %"
    if len(outside) == 1:
        return [f"{mean} of the photograph is outside the model's centre crop: {fix}"]
    return [f"{len(much)} of {len(outside)} photographs lie partly outside the model's centre crop, {mean} on average: {fix}"]


def _stop(cfg: Any) -> Any:
    from dax_lightning.explainers.base import Stop  # it imports torch, which a typo needn't wait for

    return Stop(_number(cfg.max_seconds), cfg.stop_when)


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


def _confirmed() -> bool:
    """Whether the user wants to go on.

    Raises:
        InputError: nobody can answer here.
    """
    if not sys.stdin.isatty():
        raise InputError("confirm=true asks before the start, and nobody can answer here: run it in a terminal, or leave it out")
    return input("go on? [y/N] ").strip().lower() in ("y", "yes")


def _refuse(error: BaseException) -> int:
    """Say what was wrong, in one line."""
    print(f"error: {one_line(error)}", file=sys.stderr)
    return REFUSED


def _stopped(current: Run) -> int:
    """Say in one line how to go on."""
    folder = current.folder
    current.wait(stop=True)
    if folder is None or not any(folder.rglob("rows.csv")):
        print("stopped: nothing was explained", file=sys.stderr)
        return STOPPED
    if current.multirun:
        summary(folder)
    print(
        f"stopped: what is done is in {folder / 'report.html'}; to go on, add {current.resume()} to the same command",
        file=sys.stderr,
    )
    return STOPPED


def _broken(current: Run, error: Exception) -> int:
    """Say in one line that the launcher gave up, once the jobs that it left running are done."""
    current.broken = True
    current.wait()
    told = " ".join(f"{type(error).__name__}: {error}".split())[:_TOLD]
    if current.folder is not None and any(current.folder.glob("*/status.json")):
        summary(current.folder)
    print(f"error: the launcher gave up ({told}): to go on, add {current.resume()} to the same command", file=sys.stderr)
    return worst([FAILED, current.code()])
