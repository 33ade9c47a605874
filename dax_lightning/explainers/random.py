"""The floor under every comparison."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from dax_lightning.black_box.base import BlackBox
from dax_lightning.errors import InputError
from dax_lightning.explainers.base import Explainer, Found


class Random(Explainer):
    """A smooth random map; it asks the black box for nothing but the score.

    Args:
        black_box: only its score on the input is asked, 1 row.
        cells: side of the grid of uniform noise that is up-sampled to the input's size; on one axis, its square.
        seed: of the noise.

    Example:
        >>> from dax_lightning.black_box import from_function
        >>> box = from_function(lambda rows: torch.full((len(rows), 2), 0.5), size=(8, 8))
        >>> Random(box).explain(torch.zeros(3, 8, 8), target=0).queries
        1
    """

    name: ClassVar[str] = "random"

    def __init__(self, black_box: BlackBox, cells: int = 7, seed: int = 0):
        super().__init__(black_box, seed)
        if cells < 1:
            raise InputError(f"explainer.cells={cells}: it must be at least 1")
        self.cells = cells

    def rows_needed(self, x: Float[Tensor, "c *space"]) -> int:
        """See :class:`Explainer`."""
        return 1

    def _explain(
        self, x: Float[Tensor, "c *space"], target: int, generator: torch.Generator, segments: Int[Tensor, "*space"] | None
    ) -> Found:
        generator = torch.Generator().manual_seed(generator.initial_seed() + target)
        plane = x.ndim == 3
        sides = (self.cells, self.cells) if plane else (min(self.cells**2, x.shape[1]),)
        noise = torch.rand(1, 1, *sides, generator=generator)
        saliency = F.interpolate(noise, list(x.shape[1:]), mode="bilinear" if plane else "linear", align_corners=False)[0, 0]
        return Found(saliency, self.black_box(x[None])[0, target].item())
