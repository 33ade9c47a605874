"""Arrays from NumPy's files, and from TIFF files of several bands."""

from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from dax_lightning.errors import InputError, cause_of
from dax_lightning.files import read_arrays

SUFFIXES = (".npy", ".npz")
BANDS = (".tif", ".tiff")


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


def read_bands(path: str | Path) -> Shaped[np.ndarray, "..."]:
    """The bands of a TIFF file, (bands, H, W) or (H, W, bands), as it stores them; (H, W) where there is one.

    Args:
        path: the file. Its place on the map is not read.

    Raises:
        InputError: missing, damaged, or no numbers.

    Example:
        >>> import tempfile, tifffile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     tifffile.imwrite(f"{folder}/x.tif", np.zeros((12, 8, 9), np.uint16))
        ...     read_bands(f"{folder}/x.tif").shape
        (12, 8, 9)
    """
    import tifffile  # not at the top: photographs needn't wait for it

    path = Path(path).expanduser()
    if not path.is_file():
        raise InputError(f"input {path} does not exist: give the path of a .tif file")
    try:
        array = tifffile.imread(path)
    except Exception as error:  # damaged bytes and missing decoders fail in any way
        raise InputError(f"input {path} can't be read as a TIFF ({cause_of(error, 200)}): save it without compression") from error
    if array.dtype.kind not in "biuf":
        raise InputError(f"input {path} holds {array.dtype} values, wanted real numbers")
    return array
