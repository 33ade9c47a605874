"""Several partitions of one input."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dax_lightning.errors import InputError, SingleSegment
from dax_lightning.inputs.base import Input
from dax_lightning.segment.base import Segmenter
from dax_lightning.segment.image import ColourClusters, Felzenszwalb, Slic

OTHERS: tuple[Segmenter, ...] = (
    *(Slic(n_segments=count, sigma=1) for count in (16, 36, 80)),
    *(Felzenszwalb(scale=100, sigma=sigma, min_size=100) for sigma in (0.5, 2.0)),
    Felzenszwalb(scale=300, sigma=0.8, min_size=400),
)


OUTLINES: tuple[Segmenter, ...] = (
    Felzenszwalb(scale=100, sigma=1.2, min_size=100),
    *(Felzenszwalb(scale=scale, sigma=sigma, min_size=scale) for scale in (300, 1000) for sigma in (0.5, 1.2, 2.0)),
    *(ColourClusters(n_clusters=count) for count in (4, 6, 8, 12, 16, 24, 32, 48)),
)


@dataclass(frozen=True)
class Mosaic:
    """A stack of partitions of one input, from fine to coarse and by different rules.

    Args:
        segmenter: makes one more partition, the first. It is left out where it finds a single segment and another one finds
            more, as quick shift in inputs of under 60 pixels. ``None``: there is none.
        others: the further partitions; ``None``: SLIC with 16, 36 and 80 segments, and three of Felzenszwalb's graph
            segmentations. Those that find a single segment, as in a small or plain input, are left out.
        outlines: more partitions that maps are averaged within (:meth:`outlined`), but no copy is made of. Those that find a
            single segment are left out. ``None``: seven more of Felzenszwalb's; and 4, 6, 8, 12, 16, 24, 32 and 48 clusters of
            colours, so that equal colours get equal values.

    Raises:
        InputError: neither a segmenter nor others.

    Example:
        >>> from dax_lightning.segment.grid import Grid
        >>> Mosaic(Grid(1, 2), [Grid(2, 1)])(torch.zeros(3, 2, 2)).tolist()
        [[[0, 1], [0, 1]], [[2, 2], [3, 3]]]
    """

    segmenter: Segmenter | None = None
    others: Sequence[Segmenter] | None = None
    outlines: Sequence[Segmenter] | None = None

    def __post_init__(self) -> None:
        if self.segmenter is None and self.others is not None and not self.others:
            raise InputError("mosaic.segmenter=null, mosaic.others=[]: wanted at least one segmenter")

    @property
    def all(self) -> Sequence[Segmenter]:
        """What makes the partitions that copies are made of, in this order."""
        others = OTHERS if self.others is None else self.others
        return others if self.segmenter is None else [self.segmenter, *others]

    def on(self, kind: Input) -> "Mosaic":
        """See :class:`Segmenter`."""
        others, outlines = (None if some is None else [one.on(kind) for one in some] for some in (self.others, self.outlines))
        return Mosaic(None if self.segmenter is None else self.segmenter.on(kind), others, outlines)

    def prepare(self) -> None:
        """See :class:`Segmenter`."""
        for segmenter in (*self.all, *self._outlines):
            segmenter.prepare()

    def __call__(self, x: Float[Tensor, "c *space"], first: Int[Tensor, "*space"] | None = None) -> Int[Tensor, "p *space"]:
        """The partitions; no two share an id.

        Args:
            x: the input, values in [0, 1].
            first: a partition of the user's, ids 0 to j - 1, in place of ``segmenter``'s.

        Raises:
            InputError: no segmenter finds more than one segment, or one refuses the input.
        """
        makers = self.all if first is None or self.segmenter is None else self.all[1:]
        found = [*([] if first is None else [first]), *_found(makers, x)]
        return stacked(found or [self.all[0](x)])  # where nothing was found, the first segmenter says why

    def outlined(self, x: Float[Tensor, "c *space"], levels: Int[Tensor, "p *space"]) -> Int[Tensor, "more *space"]:
        """The partitions and then the outlines: all that maps are averaged within. Outlines cost no query.

        Args:
            x: the input, values in [0, 1].
            levels: its partitions, ids from 0 on.

        Raises:
            InputError: a segmenter of the outlines refuses the input.

        Example:
            >>> from dax_lightning.segment.grid import Grid
            >>> x = torch.tensor([[[0.0, 0.0, 1.0, 1.0]]])
            >>> mosaic = Mosaic(Grid(1, 4), [], [Felzenszwalb(scale=0.1, sigma=0, min_size=1)])
            >>> mosaic.outlined(x, mosaic(x)).tolist()
            [[[0, 1, 2, 3]], [[4, 4, 5, 5]]]
        """
        found = _found(self._outlines, x)
        return torch.cat([levels, stacked(found) + levels.max() + 1]) if found else levels

    @property
    def _outlines(self) -> Sequence[Segmenter]:
        return OUTLINES if self.outlines is None else self.outlines


def _found(segmenters: Sequence[Segmenter], x: Float[Tensor, "c *space"]) -> list[Int[Tensor, "*space"]]:
    """The partitions of more than one segment, made side by side where there are several threads."""

    def made(segmenter: Segmenter) -> Int[Tensor, "*space"] | None:
        try:
            return segmenter(x)
        except SingleSegment:
            return None

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        return [one for one in pool.map(made, segmenters) if one is not None]


def stacked(partitions: Sequence[Int[Tensor, "*space"]]) -> Int[Tensor, "p *space"]:
    """Partitions with ids 0 to j - 1 each, as one stack whose ids go on.

    Example:
        >>> stacked([torch.tensor([0, 1]), torch.tensor([0, 0])]).tolist()
        [[0, 1], [2, 2]]
    """
    sizes = torch.tensor([int(one.max()) + 1 for one in partitions])
    starts = sizes.cumsum(0) - sizes
    return torch.stack([one + start for one, start in zip(partitions, starts, strict=True)])
