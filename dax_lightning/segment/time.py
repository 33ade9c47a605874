"""Pieces of time, and tiles of time and frequency."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.ndimage import uniform_filter1d
from torch import Tensor

from dax_lightning.errors import InputError, check_count, check_number, remedy
from dax_lightning.inputs.base import Input
from dax_lightning.segment.base import Segmenter


@dataclass(frozen=True)
class Time(Segmenter):
    """Equal pieces along the last axis: of a wave (time,), or of a spectrogram (mel, time).

    Args:
        pieces: how many, at least 2 and at most the input's length; ``None``: as many as ``seconds`` gives.
        seconds: how long each is, over 0, where ``pieces`` is not given; only for inputs whose rate is known.
        step: seconds from one place to the next; ``None``: the explainer tells (:meth:`on`).

    Raises:
        InputError: a setting is out of range, or (at the call) the input is too short for it, or its rate is not known.

    Example:
        >>> Time(pieces=2)(torch.zeros(1, 4)).tolist(), Time(seconds=0.2, step=0.1)(torch.zeros(1, 5)).tolist()
        ([0, 0, 1, 1], [0, 0, 1, 1, 2])
    """

    pieces: int | None = None
    seconds: float = 0.2
    step: float | None = None
    axes: ClassVar[int | None] = None
    remedy: ClassVar[str] = "Time(seconds=0.05) (segmenter=time segmenter.seconds=0.05 on the command line)"

    def __post_init__(self) -> None:
        if self.pieces is not None:
            check_count("segmenter.pieces", self.pieces, least=2)
        check_number("segmenter.seconds", self.seconds, above=0)

    def on(self, kind: Input) -> "Time":
        """See :class:`Segmenter`."""
        return replace(self, step=kind.step) if self.step is None else self

    def _segment(self, x: Float[Tensor, "c *space"]) -> Int[Tensor, "*space"]:
        length = x.shape[-1]
        if self.pieces is None:
            return (torch.arange(length) // places(self.seconds, self.step)).expand(x.shape[1:])
        if length < self.pieces:
            raise InputError(
                f"{self.pieces} pieces of time for an input of length {length}: try {remedy(f'pieces={length}', 'segmenter')}"
            )
        return (torch.arange(length) * self.pieces // length).expand(x.shape[1:])


@dataclass(frozen=True)
class Tiles(Segmenter):
    """Equal tiles of a spectrogram: so many seconds wide, and the bands in equal parts.

    Args:
        seconds: how wide each is, over 0.
        bands: how many lie above each other, at least 1.
        step: seconds from one place to the next; ``None``: the explainer tells (:meth:`on`).

    Raises:
        InputError: a setting is out of range, or (at the call) there are fewer bands, or no rate is known.

    Example:
        >>> Tiles(seconds=0.2, bands=2, step=0.1)(torch.zeros(1, 2, 4)).tolist()
        [[0, 0, 1, 1], [2, 2, 3, 3]]
    """

    seconds: float = 0.4
    bands: int = 4
    step: float | None = None

    def __post_init__(self) -> None:
        check_number("segmenter.seconds", self.seconds, above=0)
        check_count("segmenter.bands", self.bands, least=1)

    def on(self, kind: Input) -> "Tiles":
        """See :class:`Segmenter`."""
        return replace(self, step=kind.step) if self.step is None else self

    def _segment(self, x: Float[Tensor, "c mel time"]) -> Int[Tensor, "mel time"]:
        mels, length = x.shape[1:]
        if mels < self.bands:
            raise InputError(f"{self.bands} tiles above each other for {mels} bands: try {remedy(f'bands={mels}', 'segmenter')}")
        column = torch.arange(length) // places(self.seconds, self.step)
        return torch.arange(mels)[:, None] * self.bands // mels * (column[-1] + 1) + column


@dataclass(frozen=True)
class Onsets(Segmenter):
    """Pieces of time that begin where the sound gets louder or softer.

    Args:
        pieces: most pieces, at least 2: the strongest changes are taken.
        shortest: least seconds between two changes, over 0.
        step: seconds from one place to the next; ``None``: the explainer tells (:meth:`on`).

    Raises:
        InputError: a setting is out of range, or (at the call) no rate is known.

    Example:
        >>> x = torch.zeros(1, 2, 12)
        >>> x[..., 4:8] = 1
        >>> Onsets(shortest=0.2, step=0.1)(x)[0].tolist()
        [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]
    """

    pieces: int = 24
    shortest: float = 0.1
    step: float | None = None
    axes: ClassVar[int | None] = None
    remedy: ClassVar[str] = "Time() (segmenter=time on the command line)"

    def __post_init__(self) -> None:
        check_count("segmenter.pieces", self.pieces, least=2)
        check_number("segmenter.shortest", self.shortest, above=0)

    def on(self, kind: Input) -> "Onsets":
        """See :class:`Segmenter`."""
        return replace(self, step=kind.step) if self.step is None else self

    def _segment(self, x: Float[Tensor, "c *space"]) -> Int[Tensor, "*space"]:
        apart = places(self.shortest, self.step)
        level = x if x.ndim == 3 else (x - x.mean()).abs()  # a spectrogram is a level already
        loud = uniform_filter1d(level.flatten(0, -2).mean(0).double().numpy(), max(1, apart // 2))
        change = np.abs(np.diff(loud))
        from scipy.signal import find_peaks  # not at the top: photographs needn't wait a second for it

        found, facts = find_peaks(change, height=max(change.max(initial=0) * 0.02, 1e-9), distance=apart)
        strongest = np.sort(found[np.argsort(-facts["peak_heights"], kind="stable")][: self.pieces - 1])
        starts = torch.zeros(x.shape[-1], dtype=torch.long)
        starts[torch.from_numpy(strongest) + 1] = 1
        return starts.cumsum(0).expand(x.shape[1:])


def places(seconds: float, step: float | None) -> int:
    """How many places such a time is, at least 1.

    Raises:
        InputError: the rate is not known.

    Example:
        >>> places(0.2, step=0.1)
        2
    """
    if step is None:
        raise InputError(
            "a segmenter in seconds for an input whose rate is not known: give the input a front end, or "
            "Grid() (segmenter=grid on the command line)"
        )
    return max(1, round(seconds / step))
