"""Between the command line and the parts: short cuts, type checks before anything is built, and errors in one line."""

import difflib
import inspect
import json
import logging
import math
import re
import typing
from collections.abc import Mapping, Sequence
from os.path import exists, expanduser, isdir  # a text that no path can have is none: those of pathlib raise
from pathlib import Path
from typing import Any

from beartype.door import is_bearable
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import ConfigCompositionException, HydraException, InstantiationException, OverrideParseException
from hydra.types import RunMode
from hydra.utils import get_object, instantiate
from omegaconf import OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException

from dax_lightning.errors import InputError, in_one_line
from dax_lightning.run.help import conf_folder
from dax_lightning.run.shards import all_shards, shard_of
from dax_lightning.scheme import KEYS, black_box_of, secret_in

logging.getLogger(get_object.__module__).setLevel(logging.CRITICAL)  # it prints what the errors here tell in one line
USER_ERRORS = (InputError, HydraException, OmegaConfBaseException, InstantiationException)
_OPTIONS = ("--package", "--config-path", "--config-name", "--config-dir", "--experimental-rerun", "--info")  # with a value
_OWN = {"segmenter": "segmenter", "mosaic": "mosaic", "perturber": "perturber", "mask_network": "mask_network"}
_OWN |= {
    "student": "student",
    "trainer": "training",
    "optim": "training",
    "training": "training",
    "loss": "loss",
}  # a group that explainers share → its name in an explainer
_LOSS_VALUES = ("lam1", "lam2", "lam3", "ceiling")
_VALUES = {
    "input": str | None,
    "masks": str | None,
    "target": int | str | None,
    "limit": int | None,
    "shard": str | None,
    "seed": int,
    "q": int,
    "budget": int | None,
    "lam1": float,
    "lam2": float,
    "lam3": float,
    "device": str,
    "mask_every": int,
    "only": str,
    "data": str | None,
    "ids": str | None,
    "heads": str,
    "models": str,
    "methods": list[str] | None,
    "max_queries": int | None,
    "max_seconds": float | None,
    "stop_when": str | None,
    "store": str,
    "confirm": bool,
    "price_per_1000": float | None,
    "dry_run": bool,
    "allow_targets": bool,
}
# Whose classes and functions `_target_` may name: ours, and Lightning's parts that conf/trainer and conf/logger make. More would
# let a YAML run any code, as Hydra calls whatever it names.
TRUSTED = ("dax_lightning.", "pytorch_lightning.Trainer", "pytorch_lightning.loggers.", "pytorch_lightning.callbacks.")
_LOGGERS = "dax_lightning.run.loggers."
# All of it but its loggers builds from configurations itself, so that a YAML could name another one with all allowed.
_DOOR = "dax_lightning.run."
_RERUN = "--experimental-rerun"
_FOLDERS = ("--config-dir", "--config-path", "-cd", "-cp")  # where more YAML comes from
_CALLED = (
    "hydra.searchpath",
    "hydra.callbacks",
    "hydra.job_logging",
    "hydra.hydra_logging",
)  # what Hydra calls before we see the configuration
_IN_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#\s'\"]*@", re.IGNORECASE)  # a name or password before the host
_SECRET = re.compile(r"oc\.env:\s*\w*(TOKEN|KEY|SECRET|PASS|CREDENTIAL)", re.IGNORECASE)
_TEXT = {  # paths and names: read as they are written, whatever Hydra's grammar makes of them
    *("input", "masks", "data", "ids", "heads", "models", "target", "store"),
    *("task.input", "task.masks", "task.root", "task.ids", "task.target", "task.image_set"),
    *("black_box.model", "black_box.weights", "black_box.classes", "black_box.head", "black_box.function", "black_box.factory"),
    *("black_box.url", "black_box.token_env", "black_box.form.scores", "black_box.form.ids", "black_box.form.output"),
    *("black_box.file", "black_box.output", "black_box.table"),
    *(
        "segmenter.path",
        "segmenter.checkpoint",
        "segmenter.download.url",
        "segmenter.download.cache_dir",
        "logger.project",
        "logger.name",
    ),
    *("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir"),
}
_ITEM = r"""\s*(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[^\s"'\[\],][^\[\],]*)\s*"""  # of a list: in quotes, or without a comma
_LAUNCHERS = {"joblib": "joblib", "submitit_local": "slurm", "submitit_slurm": "slurm"}  # the extra that each needs
_PAPERS = ("v1", "v2", "v3")  # losses of the paper's DAX


def under(folder: str | None, path: str) -> str | None:
    """``path`` inside ``folder``, or nothing where no folder was given; in the configuration ``${under:${data},voc}``.

    Example:
        >>> under("data", "voc"), under(None, "voc")
        ('data/voc', None)
    """
    return None if folder is None else str(Path(folder, path))


def in_repository(path: str) -> str:
    """A file of the repository, wherever the command is given; in the configuration ``${repository:benchmarks/voc_dev.txt}``.

    Raises:
        InputError: the package is installed without its repository.

    Example:
        >>> Path(in_repository("train.py")).is_file()
        True
    """
    file = Path(__file__).resolve().parents[2] / path
    if not file.exists():
        raise InputError(f"{path} is a file of the repository, and only the package is here: clone it, or give ids=FILE")
    return str(file)


OmegaConf.register_new_resolver("under", under, replace=True)
OmegaConf.register_new_resolver("repository", in_repository, replace=True)


def with_short_cuts(arguments: Sequence[str]) -> list[str]:
    """The arguments as Hydra reads them.

    ``input=FILE`` alone means ``task=files input=FILE``. ``model=net.onnx`` means ``black_box=onnx black_box.file=net.onnx``, and
    so for each kind that :func:`~dax_lightning.scheme.black_box_of` knows. ``-m`` may stand anywhere. Paths and names are text:
    what Hydra's grammar would read as something else gets quotes, and so does each name in a list of classes. With ``-m`` a comma
    separates values, unless a file has that name, and ``shard=all/3`` is ``shard=1/3,2/3,3/3``. A value in quotes of its own,
    and ``null`` where no such file is, stay as they are.

    Raises:
        InputError: a setting with dashes before it, ``ids`` for a task that has none, DAX-Mosaic with a loss of the paper's,
            the paper's DAX without one, a ``model`` that is not known or doesn't fit what stands beside it, or what
            :func:`check_trust` refuses.

    Example:
        >>> with_short_cuts(["input=a.jpg,cat (1).jpg", "-m", "q=500,1000"])
        ['-m', 'task=files', "input=a.jpg,'cat (1).jpg'", 'q=500,1000']
        >>> with_short_cuts(["data=2012", "target=ram, tup", "black_box.classes=[cat,10]"])
        ["data='2012'", "target='ram, tup'", "black_box.classes=[cat,'10']"]
    """
    check_trust(arguments)
    given = {key.lstrip("+"): value for key, _, value in (argument.partition("=") for argument in arguments)}
    for argument, key in ((argument, argument.partition("=")[0]) for argument in arguments):
        if key.startswith("--") and "=" in argument and key not in _OPTIONS:
            raise InputError(f"{argument} is no option: settings have no dashes, write {argument.lstrip('-')}")
    if "ids" in given and "experiment" not in given and given.get("task") != "voc":
        raise InputError("ids goes with task=voc alone; limit=N takes the first N cases of any task")
    loss = given.get("loss", "")
    if "dax" in given.get("explainer", "").split(",") and any(one in _PAPERS for one in loss.split(",")):
        raise InputError(
            f"explainer=dax is DAX-Mosaic, which has no loss={loss}: write loss={loss} alone, or explainer=dax_paper loss={loss}"
        )
    papers = [one for one in given.get("explainer", "").split(",") if one in ("dax_paper", "dame")]
    if papers and not given.keys() & {"loss", "experiment", "comparison"}:
        raise InputError(f"explainer={papers[0]} needs one of the paper's losses: add loss=v2, or v1, v3")
    flags = [argument for argument in arguments if argument in ("-m", "--multirun")]
    arguments = [all_shards(argument, swept=bool(flags)) for argument in arguments]
    plain = _without_model([argument for argument in arguments if argument not in flags], swept=bool(flags))
    settings = [_as_text(argument, swept=bool(flags)) for argument in plain]
    for setting in settings:
        _check_choice(setting)
    return [*flags, *(["task=files"] if "input" in given and "task" not in given else []), *settings]


def _without_model(arguments: Sequence[str], swept: bool) -> list[str]:
    """The arguments with ``model=`` as the black box and the setting that it means."""
    given = {key: value for key, _, value in (argument.partition("=") for argument in arguments)}
    if "model" not in given:
        return list(arguments)
    model, named = given["model"], given.get("black_box")
    several = model.split(",") if swept and not exists(expanduser(model)) else [model]
    meant = [black_box_of(one.strip(), named) for one in several]
    kinds = list(dict.fromkeys(kind for kind, _, _ in meant))
    if len(kinds) > 1:
        raise InputError(
            f"model={model} means black_box={' and '.join(kinds)}: sweep models of one kind, or run the command twice"
        )
    setting = f"black_box.{KEYS[kinds[0]]}"
    if setting in given:
        raise InputError(f"model={model} and {setting}={given[setting]} name the model twice: leave out one of the two")
    own = [f"black_box={kinds[0]}"] if named is None else []
    made = [*own, f"{setting}={','.join(value for _, _, value in meant)}"]
    return [one for argument in arguments for one in (made if argument.startswith("model=") else [argument])]


def check_trust(arguments: Sequence[str]) -> None:
    """Refuse what would run code before a configuration can be checked, and secrets, which a run writes down.

    Raises:
        InputError: a pickled configuration; without ``allow_targets=true`` more folders of YAML, or parts of Hydra's own; a user,
            password or token in an address, or a secret of the environment.

    Example:
        >>> check_trust(["black_box.url=https://me:secret@host/"])
        Traceback (most recent call last):
            ...
        dax_lightning.errors.InputError: black_box.url has a user or password in its address: leave it out, every output has it
    """
    allowed = any(argument.lstrip("+") == "allow_targets=true" for argument in arguments)
    before = ""
    for argument in arguments:
        key, _, value = argument.partition("=")
        name = key.lstrip("+~")
        if _is_option(name, (_RERUN,)):
            raise InputError(f"{_RERUN} would run the code in a file: repeat the command, which the run's status.json has")
        if _IN_ADDRESS.search(argument):
            setting = name.partition("://")[0] or "an argument"
            raise InputError(f"{setting} has a user or password in its address: leave it out, every output has it")
        if "://" in value and (secret := secret_in(value)):
            todo = "leave it out, and give black_box.token_env=NAME, the name of an environment variable that holds it"
            raise InputError(f"{name} has a secret ({secret}) in its address, and every output would have it: {todo}")
        if _SECRET.search(value):
            raise InputError(f"{name} takes a secret from the environment, and every output would have it: leave it out")
        group = re.split(r"[@/]", name)[0]
        outside = ".." in value and (group == "hydra" or isdir(conf_folder() / group))
        outside |= ".." in argument and (name.startswith("-cn") or _is_option(before, ("--config-name", "-cn")))
        called = name.startswith(_CALLED) or (group.startswith("hydra") and "_target_" in argument)
        if not allowed and (_is_option(name, _FOLDERS) or name.startswith(("-cd", "-cp")) or outside or called):
            raise InputError(f"{name} can name Python objects to run: add allow_targets=true where you trust what it names")
        before = name


def _is_option(name: str, options: Sequence[str]) -> bool:
    """Whether it is one of these options, or what argparse takes for the short form of one."""
    return name in options or (len(name) > 3 and any(option.startswith(name) for option in options))


def check_values(cfg: Any) -> None:
    """Check the values that stand alone (``q``, ``lam1``, ...), also those that the chosen parts don't use.

    Raises:
        InputError: one is of another type, or a lambda is negative or not finite.

    Example:
        >>> check_values({"lam1": "high"})
        Traceback (most recent call last):
            ...
        dax_lightning.errors.InputError: lam1=high is text, wanted float
    """
    for key, hint in _VALUES.items():
        if key in cfg:
            value = cfg[key]
            _check_value(OmegaConf.to_container(value) if OmegaConf.is_config(value) else value, hint, key)
    if "input" in cfg and cfg["input"] is not None and not cfg["task"]["_target_"].endswith(".Files"):
        raise InputError(f"input={cfg['input']} goes with task=files alone: leave out task= or input=")
    if "metrics" in cfg and not isinstance(cfg["metrics"], Mapping):
        raise InputError(
            f"metrics={cfg['metrics']} is no set of metrics: +metric@metrics.iou_best=iou_best adds one, ~metrics.iou omits one"
        )
    if "black_box" in cfg and isinstance(cfg["black_box"].get("input"), str):
        kind = cfg["black_box"]["input"]
        raise InputError(f"black_box.input={kind} is text: write kind={kind}, and its settings as kind.rate=16000")
    if "kind" in cfg and cfg["kind"] is not None and "input" not in cfg["black_box"]:
        raise InputError(
            "kind= goes with a model of your own, black_box=callable or black_box=module, or a file, onnx or exported"
        )
    if "max_queries" in cfg and cfg["max_queries"] is not None and cfg["max_queries"] < 1:
        raise InputError(f"max_queries={cfg['max_queries']}: it must be at least 1 row, or null for no limit")
    if "stop_when" in cfg and cfg["stop_when"] not in (None, "converged"):
        raise InputError(f"stop_when={cfg['stop_when']}: wanted converged, or null")
    if cfg.get("shard") is not None:
        shard_of(cfg["shard"])
    if "masks" in cfg and cfg["masks"] is not None and not cfg["task"]["_target_"].endswith(".Files"):
        raise InputError(f"masks={cfg['masks']} goes with input=FOLDER alone: give input=, or leave out masks=")
    for key in ("lam1", "lam2", "lam3"):
        if key in cfg and not 0 <= cfg[key] < math.inf:
            raise InputError(f"{key}={cfg[key]}: it is the weight of a loss term, wanted 0 or more")


def build(node: Any, key: str, allow_targets: bool = False, **more: Any) -> Any:
    """Instantiate a config node, after its values were checked against the types of the class that it names.

    Args:
        node: a config node (``DictConfig``) with ``_target_``.
        key: its place in the configuration, for the error.
        allow_targets: whether ``_target_`` may name what is not ``TRUSTED``, in the node or in a part of it.
        more: arguments that are no configuration, such as the black box.

    Raises:
        InputError: a value is missing, of another type, or refused by the class, or a target is not trusted; the message is one
            line.

    Example:
        >>> build(OmegaConf.create({"_target_": "dax_lightning.segment.grid.Grid", "rows": 2, "columns": 2}), "segmenter")
        Grid(rows=2, columns=2)
        >>> build(OmegaConf.create({"_target_": "dax_lightning.segment.grid.Grid", "rows": "two"}), "segmenter")
        Traceback (most recent call last):
            ...
        dax_lightning.errors.InputError: segmenter.rows=two is text, wanted int
    """
    plain = OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    if not allow_targets:
        _check_targets(plain, key)
    _check(plain, key)
    try:
        return instantiate(node, _convert_="all", **more)
    except InstantiationException as error:
        raise _cause(error) from error


_kept: dict[str, Any] = {}  # the last black box, by its settings: the jobs of one worker load a model once


def kept_black_box(node: Any, allow_targets: bool = False) -> Any:
    """The black box of a config node; where the last one had the same settings and files, its model is not loaded again.

    Args:
        node: see :func:`build`.
        allow_targets: see :func:`build`.

    Example:
        >>> node = OmegaConf.create({"_target_": "dax_lightning.testing.QuarterBox"})
        >>> kept_black_box(node).model is kept_black_box(node).model
        True
    """
    values = OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    known = json.dumps([values, *map(_file_state, _texts(values))], default=str)
    if known not in _kept:
        forget_black_box()
        _kept[known] = build(node, "black_box", allow_targets)
    return _kept[known].anew()


def forget_black_box() -> None:
    """The next job loads its model."""
    _kept.clear()


def _texts(node: Any) -> list[str]:
    if isinstance(node, Mapping | list):
        return [text for one in (node.values() if isinstance(node, Mapping) else node) for text in _texts(one)]
    return [node] if isinstance(node, str) else []


def _file_state(text: str) -> tuple[int, int] | None:
    """When the file of that name was written, and its size; nothing where the text names none."""
    if not exists(expanduser(text)):
        return None
    state = Path(text).expanduser().stat()
    return state.st_mtime_ns, state.st_size


def one_line(error: BaseException) -> str:
    """The error as one line for the user; Hydra's own in plain words.

    Example:
        >>> one_line(ValueError("a\\n  b"))
        'a b'
    """
    return in_one_line(_one_line(error))


def _one_line(error: BaseException) -> str:
    text, cause = " ".join(str(error).split()), error.__cause__
    if found := re.search(r"Could not find '(.+)/(.+?)' Available options in '.+?': (.*?) Config search path", text):
        group, choice, known = found.groups()
        if group == "hydra/launcher" and choice in _LAUNCHERS:
            return f"{group}={choice} needs another package: pip install 'dax-lightning[{_LAUNCHERS[choice]}]'"
        return f"{group}={choice} is not known: choose one of {', '.join(known.split())}"
    if isinstance(error, ConfigCompositionException) and isinstance(cause, ConfigKeyError | ConfigAttributeError):
        return _unknown_key(text, cause)
    if found := re.search(r"InputError raised while resolving interpolation: (.*?)(?: full_key: .*)?$", text):
        return found[1]
    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key} has no value: give {error.full_key}=VALUE"
    if isinstance(error, OverrideParseException):
        return f"{error.override} can't be read: wanted key=value; odd characters need Hydra's quotes: \"input='cat (1).jpg'\""
    parts = [str(error), str(cause)] if isinstance(error, ConfigCompositionException) and cause is not None else [str(error)]
    lines = [line.strip() for line in "\n".join(parts).splitlines()]
    return " ".join(line for line in lines if line and not line.startswith(("full_key:", "object_type=")))


def explainer_nodes(cfg: Any) -> dict[str, tuple[str, Any]]:
    """Name in the rows → place in the configuration and node, of each explainer that is to run.

    These are the entries of ``explainers``, or ``methods`` of them; where there are none, ``explainer`` alone.

    Raises:
        InputError: ``methods`` names none, or one that is not there.
    """
    several = {str(name): (f"explainers.{name}", node) for name, node in cfg.explainers.items()}
    if not several:
        if "_target_" in cfg.explainer and not cfg.allow_targets:
            _check_trusted(cfg.explainer["_target_"], "explainer")
        single = _found(cfg.explainer["_target_"], "explainer").name if "_target_" in cfg.explainer else "explainer"
        several = {single: ("explainer", cfg.explainer)}
    if cfg.methods is not None and not cfg.methods:
        raise InputError(f"methods=[] names none: wanted some of {', '.join(several)}, or null for all")
    for name in cfg.methods or ():
        if name not in several:
            raise InputError(f"methods: {name} is not among the explainers {', '.join(several)}")
    return several if cfg.methods is None else {name: several[name] for name in cfg.methods}  # in the order typed


def usable(partial: Mapping[str, Any], black_box: Any, budget: int | None = None, stop: Any = None) -> dict[str, Any]:
    """The explainers built; of several, those that need gradients, or another kind of input, are left out where there is none.

    Those that can't stop early are left out where ``stop``, a :class:`~dax_lightning.explainers.stops.Stop`, asks for it.

    Raises:
        InputError: the only one, or the last one, can't be built.
    """
    made, refused = {}, []
    for name, make in partial.items():
        try:
            made[name] = make(black_box=black_box).again(budget=budget, **({} if stop is None else {"stop": stop}))
        except InputError as error:
            blind = make.func.needs_gradients and not gives_gradients(black_box)
            whole = stop is not None and stop.wanted - set(make.func.stops)
            if not blind and not whole and black_box.input.kind in make.func.kinds:
                raise
            refused.append(error)
            print(f"{name} is left out: {error}", flush=True)
    if not made:
        raise refused[-1]
    return made


def gives_gradients(black_box: Any) -> bool:
    """Whether the black box is more than a box: a torch module that can be looked into."""
    try:
        black_box.differentiable()
    except InputError:
        return False
    return True


def idle_settings(cfg: Any, nodes: Mapping[str, tuple[str, Any]], overrides: Sequence[str]) -> list[str]:
    """A line for each setting that was given and that no explainer of the run uses.

    Args:
        cfg: the configuration.
        nodes: the explainers, see :func:`explainer_nodes`.
        overrides: what was given on the command line, such as ``perturber.fill=zeros``.
    """
    used = " ".join(str(OmegaConf.to_container(node, resolve=False)) for _, node in nodes.values())
    for part in ("mosaic", "mosaics", "loss", "losses", "training"):
        if part in cfg and _refers(used, part):
            used += str(OmegaConf.to_container(cfg[part], resolve=False))
    lines = []
    for override in overrides:
        setting = override.partition("=")[0]
        group = setting.partition(".")[0]
        if group in _LOSS_VALUES and f"${{{group}}}" not in used:
            told = f"the loss has its own, loss.{group}" if group in cfg.loss else "the loss has no such weight"
            lines.append(f"{override} changes nothing: {told}")
        own = _OWN.get(group)
        if own is None or _refers(used, setting):
            continue
        key, has = f"explainer.{own}", [name for name, (_, node) in nodes.items() if own in node]
        key += ".optim" if group == "optim" else ""
        told = f"{', '.join(has)} has its own, {key}" if has else f"{', '.join(nodes)} has none"
        lines.append(f"{override} changes nothing: {told}")
    return lines


def _refers(text: str, setting: str) -> bool:
    """``${loss}`` and ``${loss.lam3}`` refer to ``loss``; ``${losses.v1}`` does not, nor ``${loss.lam3}`` to ``loss.ceiling``."""
    whole = setting.split(".")
    above = [".".join(whole[:n]) for n in range(1, len(whole) + 1)]
    return f"${{{setting}." in text or any(f"${{{place}}}" in text for place in above)


def run_name(cfg: Any, nodes: Mapping[str, Any]) -> str:
    """What a run is called where runs have names: ``<task>-<explainer or comparison>-<model>-q<q>``, then the job of a sweep.

    Args:
        cfg: the configuration.
        nodes: the explainers, see :func:`explainer_nodes`.
    """
    choices = HydraConfig.get().runtime.choices
    group = next((choices[g] for g in ("experiment", "comparison") if choices.get(g) not in (None, "null")), "several")
    model = Path(_model_name(cfg)).name
    job = f"-job{HydraConfig.get().job.num}" if HydraConfig.get().mode is RunMode.MULTIRUN else ""
    return f"{choices['task']}-{next(iter(nodes)) if len(nodes) == 1 else group}-{model}-q{cfg.q}{job}"


def sweep_name() -> str | None:
    """What the jobs of this sweep have in common: the end of its folder's path, such as ``2026-01-31/12-30-00``."""
    hydra = HydraConfig.get()
    if hydra.mode is not RunMode.MULTIRUN:
        return None
    place = Path(hydra.sweep.dir)
    return "/".join(place.parts[-2:]) if re.fullmatch(r"\d\d-\d\d-\d\d(_\d+)?", place.name) else place.name


def _model_name(cfg: Any) -> str:
    """The black box in a word: the name of its file, of its model, or its own."""
    named = cfg.black_box.get("model")
    if cfg.black_box.get("file") or (named and exists(expanduser(named))):
        return Path(str(cfg.black_box.get("file") or named)).expanduser().resolve().name
    return str(named or HydraConfig.get().runtime.choices["black_box"])


def config_of(cfg: Any, node: Any) -> dict[str, Any]:
    """The whole configuration as if ``node`` were the one explainer of the run, as plain values."""
    full: Any = OmegaConf.to_container(cfg, resolve=True)
    many = ("explainers", "losses", "segmenters", "mosaics", "methods")
    return {**{k: v for k, v in full.items() if k not in many}, "explainer": OmegaConf.to_container(node, resolve=True)}


def labels(cfg: Any, node: Any, segmenter: object) -> dict[str, Any]:
    """The row columns that describe an explainer's setting; ``segmenter`` is what it uses, and named where none was chosen."""
    choices = HydraConfig.get().runtime.choices
    plain: Any = OmegaConf.to_container(node, resolve=False)
    told = {name: _choice(plain[name], choices[name]) for name in ("loss", "segmenter") if name in plain}
    if "mosaic" in plain:
        told["segmenter"] = "mosaic" if choices["segmenter"] == "default" else choices["segmenter"]
    if told.get("segmenter") == "default":
        told["segmenter"] = type(segmenter).__name__.lower()
    told |= {name: node[name] for name in ("seed", "q") if name in node}
    return {"black_box": _model_name(cfg), **told}


def _choice(value: Any, chosen: str) -> str:
    """``${losses.v1}`` is v1, ``${loss}`` what was chosen."""
    return value.strip("${}").rpartition(".")[2] if isinstance(value, str) and "." in value else chosen


def _check_targets(node: Any, key: str) -> None:
    """See that every target in a node, however deep, is trusted, before any of them is imported."""
    if isinstance(node, Mapping):
        if _is_part(node):
            _check_trusted(node["_target_"], key)
        for name, value in node.items():
            _check_targets(value, f"{key}.{name}")
    elif isinstance(node, list):
        for place, value in enumerate(node):
            _check_targets(value, f"{key}.{place}")


def _check_trusted(target: Any, key: str) -> None:
    named = isinstance(target, str) and target.startswith(TRUSTED) and not _builds(target)
    if not (named and _is_ours(_found(target, key))):
        raise InputError(
            f"{key}._target_={target!s:.100} is not trusted: wanted a class or function of dax_lightning or Lightning's loggers, "
            "callbacks or Trainer; allow_targets=true takes any, and runs it"
        )


def _is_ours(found: Any) -> bool:
    """Whether it is from a trusted package itself: ``dax_lightning.segment.cache.os.system`` only passes through one."""
    home = f"{getattr(found, '__module__', '')}."
    named = inspect.isclass(found) or inspect.isfunction(found)
    return named and home.startswith(("dax_lightning.", "pytorch_lightning.")) and not _builds(home)


def _builds(name: str) -> bool:
    return name.startswith(_DOOR) and not name.startswith(_LOGGERS)


def _check(node: Any, key: str) -> None:
    if isinstance(node, Mapping):
        if _is_part(node):
            _check_arguments(node, key)
        for name, value in node.items():
            _check(value, f"{key}.{name}")
    elif isinstance(node, list):
        for place, value in enumerate(node):
            _check(value, f"{key}.{place}")


def _check_arguments(node: Mapping[str, Any], key: str) -> None:
    target = _found(node["_target_"], key)
    parameters = inspect.signature(target).parameters
    more = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    try:
        hints = typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
    except NameError:  # another library's, of types that it imports for type checkers alone
        hints = {}
    for name, value in node.items():
        if name.startswith("_") or _is_part(value) or (isinstance(value, list) and value and all(map(_is_part, value))):
            continue
        if name not in parameters and not more:
            raise InputError(f"{key}.{name} is no setting of {target.__name__}: it has {', '.join(parameters)}")
        _check_value(value, hints.get(name, Any), f"{key}.{name}")


def _is_part(value: Any) -> bool:
    return isinstance(value, Mapping) and "_target_" in value


def _found(target: str, key: str) -> Any:
    try:
        return get_object(target)
    except Exception as error:  # hydra wraps what an import raised
        missing = re.search(r"No module named '([\w.]+)'", f"{error} {error.__cause__}")
        if missing and not missing[1].startswith("dax_lightning"):
            package = missing[1].partition(".")[0]
            raise InputError(f"{key} needs the package {package}: pip install '.[baselines]' has it") from error
        raise


def _check_value(value: Any, hint: Any, key: str) -> None:
    if not (is_bearable(value, hint) or (isinstance(value, int) and is_bearable(float(value), hint))):
        raise InputError(f"{key}={value} is {_type_name(value)}, wanted {_hint_name(hint)}")


def _type_name(value: Any) -> str:
    return {str: "text", type(None): "null"}.get(type(value), type(value).__name__)


def _hint_name(hint: Any) -> str:
    if typing.get_origin(hint) is typing.Literal:
        return "one of " + ", ".join(str(choice) for choice in typing.get_args(hint))
    plain = inspect.isclass(hint) and not typing.get_args(hint)
    return hint.__name__ if plain else str(hint).replace("typing.", "")


def _cause(error: BaseException) -> InputError:
    while error.__cause__ is not None:
        error = error.__cause__
        if isinstance(error, InputError):
            return error
    return InputError(one_line(error))


def _unknown_key(text: str, cause: OmegaConfBaseException) -> str:
    found = re.search(r"Could not override '(.+?)'", text)
    key, known = (found[1] if found else str(cause.key)), list(cause.parent_node or ())
    place = key.rpartition(str(cause.key))[0]
    near = [place + name for name in difflib.get_close_matches(str(cause.key), map(str, known), n=3)]
    others = [str(name) for name in known if name[0] != "_"]
    group = place.rstrip(".")
    none = f"{group}= chosen here has none: name another, such as segmenter=time" if group == "segmenter" else f"{group} has none"
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(others)}" if others else none
    return f"{key} is no setting: {hint}"


def _check_choice(argument: str) -> None:
    """Raise an InputError where a group is given what is no name, such as ``null``; Hydra has no line for that."""
    key = argument.lstrip("+").partition("=")[0]
    group = key.partition("@")[0]
    if not key.lstrip("~").partition("@")[0]:
        raise InputError(f"{argument} can't be read: wanted key=value")
    if argument.startswith("~") or not (key != group or "/" in group or (group and isdir(conf_folder() / group))):
        return
    try:
        read = OverridesParser.create().parse_override(argument)
    except HydraException:
        return  # Hydra will say it
    value = [] if read.is_sweep_override() else read.value()
    named = all(isinstance(one, str | QuotedString) for one in value) if isinstance(value, list) else True
    if not named or not isinstance(value, str | list | QuotedString | dict):
        folder = conf_folder() / group
        known = ", ".join(sorted(file.stem for file in folder.glob("*.yaml"))) if isdir(folder) else ""
        raise InputError(f"{argument} is no choice: choose one of {known or 'the group'}, or leave it out")


def _as_text(argument: str, swept: bool) -> str:
    """Quotes for Hydra around a path or name that its grammar would not read as the same text."""
    key, sign, value = argument.partition("=")
    name = key.lstrip("+")
    if not sign or name not in _TEXT:
        return argument
    if not exists(expanduser(value)):
        own = value[:1] in ("'", '"') and value[-1:] == value[:1] and len(value) > 1
        if name == "black_box.classes" and re.fullmatch(rf"\[{_ITEM}(,{_ITEM})*\]", value):
            items = re.findall(rf"{_ITEM}(?=,|\]$)", value[1:])
            return f"{key}=[{','.join(_one_item(name, item.strip()) for item in items)}]"
        listed = value.startswith("[") and value.endswith("]") and name == "black_box.classes"
        if own or listed or value == "null" or (swept and re.fullmatch(r"\w+\(.*\)", value)):
            return argument
        if swept and "," in value and not any(quote in value for quote in ("'", '"')):
            return f"{key}=" + ",".join(_one_text(name, one.strip()) for one in value.split(","))
    return f"{key}={_one_text(name, value)}"


def _one_item(name: str, item: str) -> str:
    return item if item[0] in ("'", '"') else _one_text(name, item)


def _one_text(name: str, value: str) -> str:
    """One value: as it is where Hydra reads just this text, else in quotes; ``${`` is no interpolation, but for Hydra's own."""
    if not name.startswith("hydra."):
        value = re.sub(r"(\\*)\$\{", r"\1\1\\${", value)
    try:
        read = OverridesParser.create().parse_override(f"{name}={value}")
        if not read.is_sweep_override() and isinstance(read.value(), str) and read.value() == value:
            return value
    except HydraException:
        pass
    return QuotedString(value, Quote.single).with_quotes()
