"""The segmenter and the mosaic for each kind of input, where none is given."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float, Int
from torch import Tensor

from dax_lightning.errors import InputError
from dax_lightning.inputs.base import Input
from dax_lightning.segment.base import Segmenter
from dax_lightning.segment.image import Quickshift
from dax_lightning.segment.mosaic import Mosaic
from dax_lightning.segment.time import Tiles, Time
from dax_lightning.segment.tokens import Tokens


@dataclass(frozen=True)
class Default(Segmenter):
    """What suits the kind of input: an explainer takes :func:`segmenter_for` in its place.

    Example:
        >>> from dax_lightning.inputs.image import ImageInput
        >>> Default().on(ImageInput((224, 224)))
        Quickshift(kernel_size=4, max_dist=200, ratio=0.2)
    """

    axes: ClassVar[int | None] = None

    def on(self, kind: Input) -> Segmenter:
        """See :class:`Segmenter`."""
        return segmenter_for(kind)

    def _segment(self, x: Float[Tensor, "c *space"]) -> Int[Tensor, "*space"]:
        raise InputError("segmenter=default is chosen by the kind of input: call Default().on(black_box.input)")


def segmenter_for(kind: Input) -> Segmenter:
    """Quick shift for photographs, pieces of 0.2 s for sounds, single places where places have no neighbours.

    Of a sound whose rate is not known, 16 pieces of time, or quick shift on a spectrogram.

    Example:
        >>> from dax_lightning.inputs.image import ImageInput
        >>> segmenter_for(ImageInput((224, 224)))
        Quickshift(kernel_size=4, max_dist=200, ratio=0.2)
    """
    if not kind.has_space:
        return Tokens()
    if kind.step is not None:
        return Time(seconds=0.2).on(kind)
    return Quickshift() if len(kind.shape) == 3 else Time(16)


def mosaic_for(kind: Input) -> Mosaic:
    """Six segmentations of photographs, pieces of time of five lengths of sounds, single places where there are no neighbours.

    Example:
        >>> from dax_lightning.inputs.image import ImageInput
        >>> mosaic_for(ImageInput((224, 224))) == Mosaic()
        True
    """
    if not kind.has_space:
        return Mosaic(Tokens(), [], [])
    if kind.step is not None:
        lengths = [Time(seconds=seconds) for seconds in (0.1, 0.4, 0.8, 1.6)]
        tiles = [Tiles(seconds=0.8, bands=4)] if len(kind.shape) == 3 else []
        return Mosaic(Time(seconds=0.2), [*lengths, *tiles], []).on(kind)
    return Mosaic() if len(kind.shape) == 3 else Mosaic(Time(16), [Time(8), Time(24), Time(40)], [])


def mosaic_on(mosaic: Mosaic | None, kind: Input) -> Mosaic:
    """The mosaic for a kind of input; what it leaves open is that of :func:`mosaic_for`.

    Example:
        >>> from dax_lightning.inputs.wave import WaveInput
        >>> mosaic_on(Mosaic(Time(2)), WaveInput(8000)).outlines
        []
    """
    own = mosaic_for(kind)
    if mosaic is None:
        return own
    first = own.segmenter if mosaic.segmenter is None or isinstance(mosaic.segmenter, Default) else mosaic.segmenter
    others = own.others if mosaic.others is None else mosaic.others
    return Mosaic(first, others, own.outlines if mosaic.outlines is None else mosaic.outlines).on(kind)
