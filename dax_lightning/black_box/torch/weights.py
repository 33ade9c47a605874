"""Weights from a file."""

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from dax_lightning.errors import InputError
from dax_lightning.files import check_archive

_WRAPPERS = ("model", "state_dict", "model_state_dict")  # keys that training scripts put a state dict under
_PREFIXES = ("_orig_mod.", "module.", "model.", "net.")  # of torch.compile, DataParallel and Lightning


def load_weights(module: nn.Module, path: str) -> None:
    """Load a state dict, strictly and without unpickling code; one inside ``model`` or ``state_dict``, with its keys' prefixes.

    Args:
        module: gets the weights.
        path: a .safetensors file, or what torch.save wrote. Prefixes that all keys share and the module lacks, such as
            ``module.`` and ``model.``, are taken off.

    Raises:
        InputError: the file is missing, unreadable, or of another architecture.
    """
    path = str(Path(path).expanduser())
    if not Path(path).is_file():
        raise InputError(f"weights file {path} does not exist: give the path of a .safetensors or .pth file")
    try:
        state = _state(path)
    except Exception as error:  # damaged bytes fail in any way
        raise InputError(
            f"weights file {path} can't be read as a state dict ({_cause(error)}): wanted .safetensors, or a .pth by "
            "torch.save(module.state_dict(), ...)"
        ) from error
    try:
        module.load_state_dict(_unwrapped(state, module))
    except (RuntimeError, TypeError, AttributeError) as error:
        name = type(module).__name__
        raise InputError(f"weights file {path} does not fit {name}: {' '.join(str(error).split())[:200]}") from error


def _cause(error: Exception) -> str:
    """The first line; of a refused pickle what was refused, without torch's advice to run the code in it."""
    refused = re.search(r"WeightsUnpickler error:\s*(.*?)(?: was not an allowed.*|\. Please .*)?$", str(error), re.M)
    if refused:
        return f"nothing but tensors is read: {refused[1]}"
    return (str(error).splitlines() or [type(error).__name__])[0]


def _unwrapped(state: Any, module: nn.Module) -> Any:
    for key in _WRAPPERS:
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping):
        return state
    for prefix in _PREFIXES:
        own = any(name.startswith(prefix) for name in module.state_dict())
        if state and not own and all(str(name).startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def _state(path: str) -> Any:
    if path.endswith(".safetensors"):
        return load_file(path)
    check_archive(Path(path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's guesses at what a strange file may be; the error says it better
        return torch.load(path, map_location="cpu", weights_only=True)
