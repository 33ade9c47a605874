"""Files of others, read within limits: arrays, archives and JSON. No code in them is run, and memory is bounded.

Whatever is wrong with the bytes is a ``ValueError`` of one line; the callers say what the file was for.
"""

import json
import math
import os
import warnings
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from dax_lightning.errors import cause_of

MOST_BYTES = 2**30  # of the arrays in one file, once they are unpacked: ten photographs of 24 million pixels
_KINDS = "biufcmMSU"  # of values: whatever is no Python object and no record
_ZIP = b"PK"  # how an archive begins
_PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # what NumPy writes; others shrink zeros a million times
_MOST_ARRAYS = 1000  # in one archive


def read_npy(path: Path) -> Shaped[np.ndarray, "..."]:
    """The array of a ``.npy`` file.

    Raises:
        OSError: it can't be opened.
        ValueError: it is none, is cut off, holds objects, or declares more than it has or than ``MOST_BYTES``.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(f"{folder}/x.npy", np.zeros((2, 3)))
        ...     read_npy(Path(folder, "x.npy")).shape
        (2, 3)
    """
    with path.open("rb") as file, _one_line():
        return _array(file, os.fstat(file.fileno()).st_size)


def read_npz(path: Path, only: Collection[str] | None = None) -> dict[str, Shaped[np.ndarray, "..."]]:
    """The arrays of a ``.npz`` file by name.

    Args:
        path: the file.
        only: names of those that are wanted; ``None``: all. One that is not there is left out.

    Raises:
        OSError: it can't be opened.
        ValueError: it is no such archive, is damaged, holds objects, or holds more than ``MOST_BYTES`` once it is unpacked.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.savez(f"{folder}/x.npz", a=np.zeros(2), b=np.ones(3))
        ...     sorted(read_npz(Path(folder, "x.npz"))), list(read_npz(Path(folder, "x.npz"), only=["b"]))
        (['a', 'b'], ['b'])
    """
    with path.open("rb") as file, _one_line(), zipfile.ZipFile(file) as archive:
        _check_members(archive, MOST_BYTES)
        found = {}
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            if only is None or name in only:
                with archive.open(member) as inside:
                    found[name] = _array(inside, member.file_size)
        return found


def read_arrays(path: Path) -> dict[str, Shaped[np.ndarray, "..."]]:
    """The arrays of a ``.npy`` or ``.npz`` file, whatever its ending; the only one of a ``.npy`` file is called ``""``.

    Raises:
        OSError: it can't be opened.
        ValueError: see :func:`read_npy` and :func:`read_npz`.
    """
    with path.open("rb") as file:
        start = file.read(len(_ZIP))
    return read_npz(path) if start == _ZIP else {"": read_npy(path)}


def check_archive(path: Path) -> None:
    """See that an archive of weights, if the file is one, unpacks to no more than its own size: torch.save never compresses.

    Raises:
        OSError: it can't be opened.
        ValueError: it unpacks to more, or is no sound archive.
    """
    with path.open("rb") as file, _one_line():
        if file.read(len(_ZIP)) != _ZIP:
            return
        with zipfile.ZipFile(file) as archive:
            _check_members(archive, os.fstat(file.fileno()).st_size, most=None)


def read_json(path: Path) -> Any:
    """What a JSON file says.

    Raises:
        OSError: it can't be opened.
        ValueError: it is no JSON in UTF-8, or is nested too deeply.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = Path(folder, "a.json").write_text("[" * 100_000, encoding="utf-8")
        ...     read_json(Path(folder, "a.json"))
        Traceback (most recent call last):
            ...
        ValueError: it is nested too deeply
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _check_members(archive: zipfile.ZipFile, size: int, most: int | None = _MOST_ARRAYS) -> None:
    members = archive.infolist()
    if most is not None and len(members) > most:
        raise ValueError(f"it is an archive of {len(members)} files, wanted at most {most}")
    if any(member.compress_type not in _PACKED for member in members):
        raise ValueError("it is compressed in another way than NumPy does")
    unpacked = sum(member.file_size for member in members)
    if unpacked > size:
        raise ValueError(f"it unpacks to {unpacked:,} bytes, wanted at most {size:,}")


def _array(file: Any, size: int) -> Shaped[np.ndarray, "..."]:
    """An array from the start of an open file of so many bytes; nothing is allocated before its header was checked."""
    version = np.lib.format.read_magic(file)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"it is in version {version[0]}.{version[1]} of NumPy's format, wanted 1.0 or 2.0")
    shape, _, dtype = readers[version](file)
    if dtype.kind not in _KINDS or not dtype.itemsize:
        raise ValueError(f"it holds {dtype} values, wanted numbers")
    if any(side < 0 for side in shape):
        raise ValueError(f"it declares the shape {shape}")
    declared, held = math.prod(shape) * dtype.itemsize, size - file.tell()
    if declared > MOST_BYTES:
        raise ValueError(f"it declares {declared:,} bytes, wanted at most {MOST_BYTES:,}")
    if declared > held:
        raise ValueError(f"it declares {declared:,} bytes and has {held:,}")
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False)


@contextmanager
def _one_line() -> Iterator[None]:
    """Whatever foreign bytes make another library raise is one ``ValueError`` of one line."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of headers that look odd; the array tells whether they are
            yield
    except ValueError as error:
        raise ValueError(" ".join(str(error).split())) from error
    except OSError:
        raise
    except Exception as error:  # damaged bytes fail in any way, each part of the reader in its own
        raise ValueError(cause_of(error, most=200)) from error
