"""Arrays from NumPy's files."""

from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from dax_lightning.errors import InputError
from dax_lightning.files import read_arrays

SUFFIXES = (".npy", ".npz")


def read_array(path: str | Path) -> Shaped[np.ndarray, "..."]:
    """The array of a ``.npy`` file, or the only array of a ``.npz`` file. No code in the file is run.

    Args:
        path: the file.

    Raises:
        InputError: missing, damaged, no numbers, or a ``.npz`` file of several arrays.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(f"{folder}/x.npy", np.zeros((2, 3)))
        ...     read_array(f"{folder}/x.npy").shape
        (2, 3)
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise InputError(f"input {path} does not exist: give the path of a .npy file")
    try:
        arrays = read_arrays(path)
    except (OSError, ValueError) as error:
        raise InputError(f"input {path} is no array of NumPy ({error}): write it with numpy.save") from error
    if len(arrays) != 1:
        names = ", ".join(arrays) or "none"
        raise InputError(f"input {path} holds {len(arrays)} arrays ({names}), wanted one: write it alone")
    (array,) = arrays.values()
    if array.dtype.kind not in "biuf":
        raise InputError(f"input {path} holds {array.dtype} values, wanted real numbers")
    return array
