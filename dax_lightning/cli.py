"""Between the command line and the parts: short cuts, type checks before anything is built, and errors in one line."""

import difflib
import inspect
import math
import re
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from beartype.door import is_bearable
from hydra.core.hydra_config import HydraConfig
from hydra.errors import ConfigCompositionException, HydraException, InstantiationException, OverrideParseException
from hydra.experimental.callback import Callback
from hydra.utils import get_object, instantiate
from omegaconf import OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException

from dax_lightning.errors import InputError
from dax_lightning.report import write_summary

USER_ERRORS = (InputError, HydraException, OmegaConfBaseException, InstantiationException)
_OPTIONS = ("--package", "--config-path", "--config-name", "--config-dir", "--experimental-rerun", "--info")  # with a value
_OWN = {"segmenter": "segmenter", "mosaic": "mosaic", "perturber": "perturber", "mask_network": "mask_network"}
_OWN |= {"student": "student", "trainer": "training", "loss": "loss"}  # a group that explainers share → its name in an explainer
_LOSS_VALUES = ("lam1", "lam2", "lam3", "ceiling")
_VALUES = {
    "input": str | None,
    "target": int | str | None,
    "limit": int | None,
    "seed": int,
    "q": int,
    "budget": int | None,
    "lam1": float,
    "lam2": float,
    "lam3": float,
    "device": str,
    "only": str,
    "data": str | None,
    "ids": str | None,
    "heads": str,
    "methods": list[str] | None,
}


def under(folder: str | None, path: str) -> str | None:
    """``path`` inside ``folder``, or nothing where no folder was given; in the configuration ``${under:${data},voc}``.

    Example:
        >>> under("data", "voc"), under(None, "voc")
        ('data/voc', None)
    """
    return None if folder is None else str(Path(folder, path))


def in_repository(path: str) -> str:
    """A file of the repository, wherever the command is given; in the configuration ``${repository:benchmarks/voc_dev.txt}``.

    Example:
        >>> Path(in_repository("train.py")).is_file()
        True
    """
    return str(Path(__file__).resolve().parents[1] / path)


OmegaConf.register_new_resolver("under", under, replace=True)
OmegaConf.register_new_resolver("repository", in_repository, replace=True)


def with_short_cuts(arguments: Sequence[str]) -> list[str]:
    """``input=FILE`` alone means ``task=files input=FILE``; ``-m`` may stand anywhere; odd paths get Hydra's quotes.

    ``explainer=dax`` is what runs anyway, and is taken off, so that ``loss=v1``, ``v2`` or ``v3`` beside it can choose the
    paper's DAX. ``explainer=dax_paper`` and ``dame`` without a loss get V2's.

    Raises:
        InputError: a setting with dashes before it, ``ids`` for a task that has none, or a sweep of DAX and losses that does not
            tell which DAX is meant.

    Example:
        >>> with_short_cuts(["input=cat.jpg", "-m", "q=500,1000"])
        ['-m', 'task=files', 'input=cat.jpg', 'q=500,1000']
        >>> with_short_cuts(["explainer=dame"])
        ['explainer=dame', 'loss=v2']
    """
    given = [argument.partition("=")[0] for argument in arguments]
    for argument, key in zip(arguments, given, strict=True):
        if key.startswith("--") and "=" in argument and key not in _OPTIONS:
            raise InputError(f"{argument} is no option: settings have no dashes, write {argument.lstrip('-')}")
    if "ids" in given and "experiment" not in given and "task=voc" not in arguments:
        raise InputError("ids goes with task=voc alone; limit=N takes the first N cases of any task")
    if "loss" in given and any(re.fullmatch(r"explainer=(.+,)?dax(,.+)?", a) and "," in a for a in arguments):
        raise InputError(
            "explainer=dax is DAX-Mosaic in a sweep, whatever the loss: write dax_paper for the paper's DAX, or no loss="
        )
    quoted = [_quoted(argument) for argument in arguments if argument != "explainer=dax"]
    flags = [argument for argument in quoted if argument in ("-m", "--multirun")]
    settings = [argument for argument in quoted if argument not in flags]
    if "loss" not in given and any(re.fullmatch(r"explainer=(dax_paper|dame)(,(dax_paper|dame))?", a) for a in arguments):
        settings.append("loss=v2")
    return [*flags, *(["task=files"] if "input" in given and "task" not in given else []), *settings]


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
    for key in ("lam1", "lam2", "lam3"):
        if key in cfg and not 0 <= cfg[key] < math.inf:
            raise InputError(f"{key}={cfg[key]}: it is the weight of a loss term, wanted 0 or more")


def build(node: Any, key: str, **more: Any) -> Any:
    """Instantiate a config node, after its values were checked against the types of the class that it names.

    Args:
        node: a config node (``DictConfig``) with ``_target_``.
        key: its place in the configuration, for the error.
        more: arguments that are no configuration, such as the black box.

    Raises:
        InputError: a value is missing, of another type, or refused by the class; the message is one line.

    Example:
        >>> build(OmegaConf.create({"_target_": "dax_lightning.segment.Grid", "rows": 2, "columns": 2}), "segmenter")
        Grid(rows=2, columns=2)
        >>> build(OmegaConf.create({"_target_": "dax_lightning.segment.Grid", "rows": "two"}), "segmenter")
        Traceback (most recent call last):
            ...
        dax_lightning.errors.InputError: segmenter.rows=two is text, wanted int
    """
    _check(OmegaConf.to_container(node, resolve=True, throw_on_missing=True), key)
    try:
        return instantiate(node, _convert_="all", **more)
    except InstantiationException as error:
        raise _cause(error) from error


def one_line(error: BaseException) -> str:
    """The error as one line for the user; Hydra's own in plain words.

    Example:
        >>> one_line(ValueError("a\\n  b"))
        'a b'
    """
    text, cause = " ".join(str(error).split()), error.__cause__
    if found := re.search(r"Could not find '(.+)/(.+?)' Available options in '.+?': (.*?) Config search path", text):
        group, choice, known = found.groups()
        return f"{group}={choice} is not known: choose one of {', '.join(known.split())}"
    if isinstance(error, ConfigCompositionException) and isinstance(cause, ConfigKeyError | ConfigAttributeError):
        return _unknown_key(text, cause)
    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key} has no value: give {error.full_key}=VALUE"
    if isinstance(error, OverrideParseException):
        return f"{error.override} can't be read: wanted key=value; odd characters need Hydra's quotes: \"input='cat (1).jpg'\""
    parts = [str(error), str(cause)] if isinstance(error, ConfigCompositionException) and cause is not None else [str(error)]
    lines = [line.strip() for line in "\n".join(parts).splitlines()]
    return " ".join(line for line in lines if line and not line.startswith(("full_key:", "object_type=")))


class SummaryCallback(Callback):
    """After a multirun: one table and one report over all its jobs."""

    def on_multirun_end(self, config: Any, **kwargs: Any) -> None:
        """Called by Hydra when the last job is done."""
        folder = Path(config.hydra.sweep.dir)
        print(f"all jobs: {write_summary(folder)}", flush=True)


def explainer_nodes(cfg: Any) -> dict[str, tuple[str, Any]]:
    """Name in the rows → place in the configuration and node, of each explainer that is to run.

    These are the entries of ``explainers``, or ``methods`` of them; where there are none, ``explainer`` alone.

    Raises:
        InputError: ``methods`` names none, or one that is not there.
    """
    several = {str(name): (f"explainers.{name}", node) for name, node in cfg.explainers.items()}
    if not several:
        single = get_object(cfg.explainer["_target_"]).name if "_target_" in cfg.explainer else "explainer"
        several = {single: ("explainer", cfg.explainer)}
    if cfg.methods is not None and not cfg.methods:
        raise InputError(f"methods=[] names none: wanted some of {', '.join(several)}, or null for all")
    for name in cfg.methods or ():
        if name not in several:
            raise InputError(f"methods: {name} is not among the explainers {', '.join(several)}")
    return {name: node for name, node in several.items() if cfg.methods is None or name in cfg.methods}


def usable(partial: Mapping[str, Any], black_box: Any) -> dict[str, Any]:
    """The explainers built; of several, those that need gradients are left out where the black box gives none.

    Raises:
        InputError: the only one, or the last one, can't be built.
    """
    made, refused = {}, []
    for name, make in partial.items():
        try:
            made[name] = make(black_box=black_box)
        except InputError as error:
            if not make.func.needs_gradients or gives_gradients(black_box):
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
    for part in ("mosaic", "mosaics", "loss", "losses"):
        if part in cfg and _refers(used, part):
            used += str(OmegaConf.to_container(cfg[part], resolve=False))
    lines = []
    for override in overrides:
        group = re.split(r"[.=]", override)[0]
        if group in _LOSS_VALUES and f"${{{group}}}" not in used:
            told = f"the loss has its own, loss.{group}" if group in cfg.loss else "the loss has no such weight"
            lines.append(f"{override} changes nothing: {told}")
        own = _OWN.get(group)
        if own is None or _refers(used, group):
            continue
        key, has = f"explainer.{own}", [name for name, (_, node) in nodes.items() if own in node]
        told = f"{', '.join(has)} has its own, {key}" if has else f"{', '.join(nodes)} has none"
        lines.append(f"{override} changes nothing: {told}")
    return lines


def _refers(text: str, group: str) -> bool:
    """``${loss}`` and ``${loss.lam3}`` refer to ``loss``, ``${losses.v1}`` does not."""
    return any(f"${{{group}{end}" in text for end in "}.")


def config_of(cfg: Any, node: Any) -> dict[str, Any]:
    """The whole configuration as if ``node`` were the one explainer of the run, as plain values."""
    full: Any = OmegaConf.to_container(cfg, resolve=True)
    many = ("explainers", "losses", "segmenters", "mosaics", "methods")
    return {**{k: v for k, v in full.items() if k not in many}, "explainer": OmegaConf.to_container(node, resolve=True)}


def labels(cfg: Any, node: Any) -> dict[str, Any]:
    """The row columns that describe an explainer's setting."""
    choices = HydraConfig.get().runtime.choices
    plain: Any = OmegaConf.to_container(node, resolve=False)
    told = {name: _choice(plain[name], choices[name]) for name in ("loss", "segmenter") if name in plain}
    told |= {"segmenter": choices["segmenter"]} if "mosaic" in plain else {}
    told |= {name: node[name] for name in ("seed", "q") if name in node}
    return {"black_box": cfg.black_box.get("model") or choices["black_box"], **told}


def _choice(value: Any, chosen: str) -> str:
    """``${losses.v1}`` is v1, ``${loss}`` what was chosen."""
    return value.strip("${}").rpartition(".")[2] if isinstance(value, str) and "." in value else chosen


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
    hints = typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
    for name, value in node.items():
        if name.startswith("_") or _is_part(value) or (isinstance(value, list) and value and all(map(_is_part, value))):
            continue
        if name not in parameters:
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
            raise InputError(f"{key} needs the package {missing[1]}: pip install 'dax-lightning[baselines]' has it") from error
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
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(str(k) for k in known if k[0] != '_')}"
    return f"{key} is no setting: {hint}"


def _quoted(argument: str) -> str:
    key, _, value = argument.partition("=")
    plain = re.fullmatch(r"[\w ./:%+@*?\\-]*", value, re.ASCII)  # what Hydra's grammar takes without quotes
    if plain or not Path(value).expanduser().exists():
        return argument
    return f"{key}='{value}'" if "'" not in value else f'{key}="{value}"'
