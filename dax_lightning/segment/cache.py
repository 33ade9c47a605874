"""Segments kept on disk, by content."""

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from dax_lightning.files import read_npz

log = logging.getLogger(__name__)


def cache_folder(cache_dir: str | Path | None = None) -> Path:
    """``cache_dir`` if given, else ``$XDG_CACHE_HOME/dax_lightning``, else ``~/.cache/dax_lightning``.

    Example:
        >>> cache_folder("here").name
        'here'
    """
    if cache_dir is not None:
        return Path(cache_dir).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dax_lightning"


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing. It appears at ``path`` complete, or not at all if the block raises.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with whole_file(Path(folder, "new", "a.txt")) as file:
        ...         _ = file.write(b"text")
        ...     Path(folder, "new", "a.txt").read_text()
        'text'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        os.replace(part, path)
    except BaseException:  # an interrupt too must leave nothing behind
        Path(part).unlink(missing_ok=True)
        raise


def read_segments(file: Path | None, space: torch.Size) -> Int[Tensor, "*space"] | None:
    """The segments in a cache file; None if the file is missing, broken, or not a partition of ``space``."""
    if file is None or not file.is_file():
        return None
    try:
        segments = torch.from_numpy(read_npz(file)["segments"]).long()
    except (OSError, ValueError, TypeError, KeyError) as error:
        log.warning("cached segments %s can't be read and are made again: %s", file, error)
        return None
    found, ids = torch.unique(segments, return_inverse=True)
    return segments if segments.shape == space and len(found) > 1 and torch.equal(ids, segments) else None


def write_segments(file: Path | None, segments: Int[Tensor, "*space"]) -> None:
    """Keep segments in a cache file; a folder that can't be written is a warning."""
    if file is None:
        return
    try:
        with whole_file(file) as opened:
            np.savez_compressed(opened, segments=segments.numpy().astype(np.int32))
    except OSError as error:
        log.warning("segments are not cached: can't write %s: %s", file, error)
