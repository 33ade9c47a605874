"""Partitions that are not computed: from a file, or from the case itself."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from dax_lightning.errors import InputError
from dax_lightning.files import read_npy, read_npz
from dax_lightning.inputs.image_file import opened_png
from dax_lightning.segment.base import Segmenter
from dax_lightning.types import Case


@dataclass(frozen=True)
class FromCase(Segmenter):
    """The partition that comes with a case, such as the true segments of ``task=shapes``.

    Example:
        >>> FromCase()(torch.zeros(3, 2, 2))
        Traceback (most recent call last):
            ...
        dax_lightning.errors.InputError: segmenter=case: no partition comes with this input; try another, such as quickshift
    """

    axes: ClassVar[int | None] = None

    def of_case(self, case: Case) -> Int[Tensor, "*space"] | None:
        """See :class:`Segmenter`."""
        return case.segments

    def _segment(self, x: Float[Tensor, "c *space"]) -> Int[Tensor, "*space"]:
        raise InputError("segmenter=case: no partition comes with this input; try another, such as quickshift")


@dataclass(frozen=True)
class FromFile(Segmenter):
    """Segments from a file: a map of whole numbers; equal numbers are one segment.

    Args:
        path: ``.npy``; ``.npz`` with one array, or with one called ``segments`` as in a saved explanation; or ``.png`` in grey
            or with a palette. Its height and width must be the input's.

    Raises:
        InputError: the file is missing, ends otherwise, or holds no two-axis map of whole numbers. At the call: the map has
            another size than the input.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(Path(folder, "map.npy"), np.array([[7, 7], [7, 9]]))
        ...     FromFile(Path(folder, "map.npy"))(torch.zeros(3, 2, 2))
        tensor([[0, 0],
                [0, 1]])
    """

    path: str | Path
    remedy: ClassVar[str] = "a label map with more than one label, or Grid() (segmenter=grid on the command line)"

    def __post_init__(self) -> None:
        _read_labels(Path(self.path).expanduser())  # so that a bad file shows before the work starts

    def _segment(self, x: Float[Tensor, "c h w"]) -> Int[Tensor, "h w"]:
        labels = _read_labels(Path(self.path).expanduser())
        if labels.shape != x.shape[1:]:
            came, wanted = (" x ".join(map(str, shape)) for shape in (labels.shape, x.shape[1:]))
            raise InputError(
                f"label map {self.path} has {came} pixels, the input has {wanted} (height x width): "
                "resize the map with nearest neighbour, or make it from the input as the black box sees it"
            )
        return torch.from_numpy(labels)


def _read_labels(path: Path) -> Int[np.ndarray, "h w"]:
    """Read a label map; see FromFile for what is allowed."""
    readers = {".npy": read_npy, ".npz": _read_npz, ".png": _read_png}
    if path.suffix.lower() not in readers:
        raise InputError(f"label map {path} ends in {path.suffix or 'nothing'}; wanted .npy, .npz or .png")
    if not path.is_file():
        raise InputError(f"no label map at {path}; path (segmenter.path on the command line) must name a .npy, .npz or .png file")
    try:
        labels = readers[path.suffix.lower()](path)
    except InputError:
        raise
    except (OSError, ValueError) as error:
        raise InputError(f"label map {path} can't be read ({error}); write it anew as .npy, .npz or .png") from error
    if labels.dtype.kind not in "iub" or labels.ndim != 2 or labels.size == 0:
        came = f"{labels.dtype} of shape {labels.shape}"
        raise InputError(f"label map {path} holds {came}; wanted whole numbers of shape (height, width): try labels.astype(int)")
    return labels.astype(np.int64)


def _read_npz(path: Path) -> np.ndarray:
    arrays = read_npz(path)
    if len(arrays) != 1 and "segments" not in arrays:
        raise InputError(f"label map {path} holds arrays {list(arrays)}; wanted one array, or one of them called 'segments'")
    return arrays.get("segments", next(iter(arrays.values())))


def _read_png(path: Path) -> np.ndarray:
    with opened_png(path) as picture:
        if len(picture.getbands()) != 1:
            raise InputError(
                f"label map {path} is a picture in colour or with transparency ({picture.mode}); "
                "wanted one whole number a pixel: save it in grey or with a palette, or as .npy"
            )
        return np.array(picture)
