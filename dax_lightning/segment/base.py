"""SEGMENTS: cut an input into the pieces that are kept or removed together.

Every segmenter gives a partition: an integer map of the input's space, ids 0 to j - 1, each present.
"""

import hashlib
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dax_lightning.errors import InputError, SingleSegment
from dax_lightning.inputs.base import Input
from dax_lightning.segment.cache import cache_folder, read_segments, write_segments
from dax_lightning.types import Case

Number = int | float


class Segmenter(ABC):
    """Cuts an input into segments; ``_segment`` is the one method to write.

    Segmenters are deterministic: the same input gives the same segments, and no global random state is read or moved.

    Attributes:
        axes: how many axes ``*space`` has; 2 for photographs and for spectrograms; ``None``: any number.
        cached: keep the segments on disk under ``cache_dir``, by content: same input and settings, same file.
        cache_dir: where; ``None`` is ``$XDG_CACHE_HOME/dax_lightning``, or ``~/.cache/dax_lightning``.
        remedy: what to try when only one segment was found.

    Example:
        >>> class Halves(Segmenter):
        ...     def _segment(self, x):
        ...         return (torch.arange(x.shape[-1]) * 2 // x.shape[-1]).expand(x.shape[1:])
        >>> Halves()(torch.zeros(3, 2, 4))
        tensor([[0, 0, 1, 1],
                [0, 0, 1, 1]])
    """

    axes: ClassVar[int | None] = 2
    cached: ClassVar[bool] = False
    remedy: ClassVar[str] = "Grid() (segmenter=grid on the command line)"

    @property
    def cache_dir(self) -> str | Path | None:
        """See above."""
        return None

    def on(self, kind: Input) -> "Segmenter":
        """The segmenter for one kind of input, whose rate it may need; itself where it needs nothing."""
        return self

    @final
    def __call__(self, x: Float[Tensor, "c *space"]) -> Int[Tensor, "*space"]:
        """Cut ``x`` into at least two segments.

        Args:
            x: the input, values in [0, 1], any number of channels, any device; left as it is.

        Returns:
            The partition: int64 on the CPU, ids 0 to j - 1, each present, j at least 2.

        Raises:
            InputError: ``x`` is empty, not finite, outside [0, 1], not of ``axes`` axes, or became a single segment.
        """
        _check_input(x, self.axes, self._name)
        file = self._cache_file(x) if self.cached else None
        segments = read_segments(file, x.shape[1:])
        if segments is None:
            segments = self._checked(self._segment(x.detach()), x.shape[1:])
            write_segments(file, segments)
        return segments

    @abstractmethod
    def _segment(self, x: Float[Tensor, "c *space"]) -> Int[Tensor, "*space"]:
        """A whole number for every place; equal numbers are one segment. ``x`` is checked. Ids needn't be consecutive."""

    def of_case(self, case: Case) -> Int[Tensor, "*space"] | None:
        """The case's own partition, for a segmenter that wants it; ``None``: the segmenter makes one."""
        return None

    def prepare(self) -> None:  # noqa: B027 -- most segmenters need nothing
        """Fetch what the first call needs, such as SAM's checkpoint, so that errors show before the work starts."""

    def _fingerprint(self) -> str:
        """What the segments depend on beside the input; used for ``cached`` segmenters alone."""
        return repr(self)

    @property
    def _name(self) -> str:
        return f"segmenter {type(self).__name__}"

    def _checked(self, segments: Tensor, space: torch.Size) -> Int[Tensor, "*space"]:
        if segments.shape != space:
            raise ValueError(f"{self._name}: _segment gave shape {tuple(segments.shape)}, wanted {tuple(space)}")
        found, segments = torch.unique(segments.cpu(), return_inverse=True)
        if len(found) < 2:
            size = " x ".join(map(str, space))
            raise SingleSegment(f"{self._name} found 1 segment in an input of {size}; at least 2 are needed: try {self.remedy}")
        return segments

    def _cache_file(self, x: Tensor) -> Path:
        values = x.detach().cpu().contiguous()
        key = hashlib.sha256(f"{self._fingerprint()} {values.dtype} {tuple(values.shape)} ".encode())
        key.update(values.view(torch.uint8).numpy().tobytes())
        return cache_folder(self.cache_dir) / "segments" / f"{key.hexdigest()}.npz"


def _check_input(x: Tensor, axes: int | None, name: str) -> None:
    if x.ndim < 2 or x.ndim != (x.ndim if axes is None else axes + 1) or x.numel() == 0:
        wanted = "(channels, height, width)" if axes == 2 else f"(channels, and {axes} more)"
        told = ": a wave has time alone, try Time() (segmenter=time on the command line)" if (axes, x.ndim) == (2, 2) else ""
        raise InputError(f"{name}: the input has shape {tuple(x.shape)}; wanted {wanted}, none of them 0{told}")
    if not x.isfinite().all():
        raise InputError(f"{name}: {int((~x.isfinite()).sum())} values of the input are NaN or infinite; wanted all in [0, 1]")
    low, high = x.min().item(), x.max().item()
    if low < -1e-4 or high > 1 + 1e-4:  # room for what resizing rounds
        raise InputError(f"{name}: values of the input go from {low:g} to {high:g}; wanted [0, 1]: divide 8-bit values by 255")
