"""Tensors and the facts that belong to them, in one .safetensors file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from dax_lightning.errors import InputError


def store(file: str | Path, kind: str, facts: Mapping[str, Any], tensors: Mapping[str, Tensor], what: str) -> None:
    """Write a .safetensors file, and the folders above it; the same content, the same bytes.

    Args:
        file: where.
        kind: what it is, as :func:`stored` asks for it.
        facts: plain JSON values.
        tensors: name → tensor.
        what: how an error calls it.

    Raises:
        InputError: it can't be written.

    Example:
        >>> import tempfile, torch
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     store(Path(folder, "a.safetensors"), "numbers", {"of": "three"}, {"n": torch.tensor([3])}, "count")
        ...     stored(Path(folder, "a.safetensors"), "numbers")
        ({'of': 'three'}, {'n': tensor([3])})
    """
    path = Path(file).expanduser()
    content = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # one entry: safetensors writes several in no fixed order, and the file would differ each time
        save_file(content, path, metadata={kind: json.dumps(facts)})
    except (OSError, SafetensorError) as error:
        raise InputError(f"{what} {file} can't be written ({error}): give another file") from error


def stored(path: Path, kind: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What :func:`store` wrote: the facts and the tensors.

    Raises:
        OSError: it can't be read.
        SafetensorError: it is another kind of file.
        KeyError: it holds something else.
    """
    with safe_open(path, "pt") as file:
        facts = json.loads((file.metadata() or {})[kind])
        return facts, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 -- no mapping
