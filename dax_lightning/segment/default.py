"""The segmenter and the mosaic for each kind of input, where none is given."""

from dax_lightning.inputs.base import Input
from dax_lightning.segment.base import Segmenter
from dax_lightning.segment.image import Quickshift
from dax_lightning.segment.mosaic import Mosaic
from dax_lightning.segment.time import Time
from dax_lightning.segment.tokens import Tokens


def segmenter_for(kind: Input) -> Segmenter:
    """Quick shift for two axes, pieces of time for one, single places where places have no neighbours.

    Example:
        >>> from dax_lightning.inputs.image import ImageInput
        >>> segmenter_for(ImageInput((224, 224)))
        Quickshift(kernel_size=4, max_dist=200, ratio=0.2)
    """
    if not kind.has_space:
        return Tokens()
    return Quickshift() if len(kind.shape) == 3 else Time()


def mosaic_for(kind: Input) -> Mosaic:
    """Six segmentations for two axes, pieces of time of four lengths for one, single places where there are no neighbours.

    Example:
        >>> from dax_lightning.inputs.image import ImageInput
        >>> mosaic_for(ImageInput((224, 224))) == Mosaic()
        True
    """
    if not kind.has_space:
        return Mosaic(Tokens(), [], [])
    return Mosaic() if len(kind.shape) == 3 else Mosaic(Time(16), [Time(8), Time(24), Time(40)], [])
