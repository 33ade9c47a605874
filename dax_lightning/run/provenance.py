"""What made an explanation, and at what cost in memory."""

import hashlib
import json
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

try:
    import resource
except ImportError:  # Windows
    resource = None

_FREE = ("task.limit", "task.ids", "task.n")  # how many cases there are changes none of them
_PACKAGES = ("dax-lightning", "torch", "torchvision", "timm", "pytorch-lightning", "scikit-image", "numpy", "scipy")
_PACKAGES += ("scikit-learn", "shap", "shapiq", "captum", "openvino")  # some come with an extra only
_PATHS = ("task.input", "task.masks", "task.root", "explainer.segmenter.path")


def provenance(config: Mapping[str, Any]) -> dict[str, Any]:
    """What is needed to make an explanation again: the configuration, its hash, the folder that paths start at, and versions.

    Example:
        >>> provenance({"seed": 0})["config_hash"] == provenance({"seed": 0})["config_hash"]
        True
    """
    versions = {name: _version(name) for name in _PACKAGES}
    return {
        "config": dict(config),
        "cwd": os.getcwd(),
        "config_hash": hashlib.sha256(repr(config).encode()).hexdigest()[:16],
        "versions": {"python": platform.python_version(), **{name: v for name, v in versions.items() if v}},
    }


def machine(device: torch.device) -> dict[str, Any]:
    """What the last bits of a map depend on: torch's number of threads, the black box's device, the processor's name.

    Example:
        >>> machine(torch.device("cpu"))["device"]
        'cpu'
    """
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {"threads": torch.get_num_threads(), "device": str(device), "cpu": _cpu(), **({"gpu": name} if name else {})}


def peak_mb() -> float | None:
    """Most memory so far, in MiB: of the GPU where one is used, else of this process; ``None`` where the system can't tell."""
    if torch.cuda.is_available() and torch.cuda.max_memory_allocated():
        return round(torch.cuda.max_memory_allocated() / 2**20, 1)
    if resource is None:
        return None
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB on Linux
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20, 1)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu() -> str:
    """The processor's name; Linux has it in a file, elsewhere Python knows it more or less."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(names), platform.processor() or platform.machine())


def decisive(config: Mapping[str, Any], cwd: str | None = None) -> dict[str, Any]:
    """What decides how a case is explained, as ``key: value``; where it was computed is left out.

    Args:
        config: the whole configuration.
        cwd: the folder that paths start at, so that equal names of different files differ; ``None``: paths stay as they are.

    Example:
        >>> decisive({"task": {"input": "cat.png"}}, "/home/a")["task.input"]
        '/home/a/cat.png'
    """
    plain = json.loads(json.dumps({key: config.get(key) for key in ("task", "black_box", "explainer", "metrics")}))
    return {
        key: os.path.abspath(os.path.join(cwd, os.path.expanduser(value))) if cwd and value and key in _PATHS else value
        for key, value in _leaves(plain, "")
        if key not in _FREE and key.rpartition(".")[2] not in ("device", "accelerator", "devices", "enable_progress_bar")
    }


def _leaves(node: Any, key: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(node, dict):
        yield key, node
        return
    for name, value in node.items():
        yield from _leaves(value, f"{key}.{name}" if key else name)
