"""Between the command line and the parts: short cuts, type checks before anything is built, and errors in one line."""

import inspect
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from beartype.door import is_bearable
from hydra.core.hydra_config import HydraConfig
from hydra.errors import ConfigCompositionException, HydraException, InstantiationException
from hydra.experimental.callback import Callback
from hydra.utils import get_object, instantiate
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dax_lightning.errors import InputError
from dax_lightning.report import write_summary

USER_ERRORS = (InputError, HydraException, OmegaConfBaseException, InstantiationException)


def with_short_cuts(arguments: Sequence[str]) -> list[str]:
    """``input=FILE`` alone means ``task=files input=FILE``.

    Example:
        >>> with_short_cuts(["input=cat.jpg", "q=500"])
        ['task=files', 'input=cat.jpg', 'q=500']
    """
    given = [argument.partition("=")[0] for argument in arguments]
    return ["task=files", *arguments] if "input" in given and "task" not in given else list(arguments)


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
    """The error as one line for the user.

    Example:
        >>> one_line(ValueError("a\\n  b"))
        'a b'
    """
    parts = [str(error)]
    if isinstance(error, ConfigCompositionException) and error.__cause__ is not None:
        parts.append(str(error.__cause__))
    lines = [line.strip() for line in " ".join(parts).splitlines()]
    return " ".join(line for line in lines if line and not line.startswith(("full_key:", "object_type=")))


class SummaryCallback(Callback):
    """After a multirun: one table and one report over all its jobs."""

    def on_multirun_end(self, config: Any, **kwargs: Any) -> None:
        """Called by Hydra when the last job is done."""
        folder = Path(config.hydra.sweep.dir)
        print(f"all jobs: {write_summary(folder)}", flush=True)


def labels(cfg: Any) -> dict[str, Any]:
    """The row columns that describe a setting, from the choices of Hydra's groups."""
    choices = HydraConfig.get().runtime.choices
    return {"loss": choices["loss"], "segmenter": choices["segmenter"], "seed": cfg.seed, "q": cfg.q}


def _check(node: Any, key: str) -> None:
    if isinstance(node, Mapping):
        if "_target_" in node:
            _check_arguments(node, key)
        for name, value in node.items():
            _check(value, f"{key}.{name}")


def _check_arguments(node: Mapping[str, Any], key: str) -> None:
    target = get_object(node["_target_"])
    parameters = inspect.signature(target).parameters
    hints = typing.get_type_hints(target.__init__ if inspect.isclass(target) else target)
    for name, value in node.items():
        if name.startswith("_") or (isinstance(value, Mapping) and "_target_" in value):
            continue
        if name not in parameters:
            raise InputError(f"{key}.{name} is no setting of {target.__name__}: it has {', '.join(parameters)}")
        hint = hints.get(name, Any)
        if not (is_bearable(value, hint) or (isinstance(value, int) and is_bearable(float(value), hint))):
            raise InputError(f"{key}.{name}={value} is {_type_name(value)}, wanted {_hint_name(hint)}")


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
