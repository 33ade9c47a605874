"""Arrays from NumPy's files."""

from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from dax_lightning.errors import InputError

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
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            array, names = loaded, [""]
        else:
            with loaded:
                names = loaded.files
                array = loaded[names[0]] if len(names) == 1 else np.zeros(0)
    except Exception as error:  # damaged bytes fail in any way
        cause = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"input {path} is no array of NumPy ({cause}): write it with numpy.save") from error
    if len(names) != 1:
        raise InputError(f"input {path} holds {len(names)} arrays ({', '.join(names) or 'none'}), wanted one: write it alone")
    if array.dtype.kind not in "biuf":
        raise InputError(f"input {path} holds {array.dtype} values, wanted real numbers")
    return array
