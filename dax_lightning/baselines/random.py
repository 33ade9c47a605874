"""The floor under every comparison."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from dax_lightning.black_box.base import BlackBox
from dax_lightning.errors import InputError
from dax_lightning.explainer import Explainer, Found


class Random(Explainer):
    """A smooth random map; it asks the black box for nothing but the score.

    Args:
        black_box: only its score on the input is asked, 1 row.
        cells: side of the grid of uniform noise that is up-sampled bilinearly to the input's size.
        seed: of the noise.
        budget: most rows the black box may be asked.

    Example:
        >>> from dax_lightning.black_box import CallableBlackBox
        >>> box = CallableBlackBox(lambda rows: torch.full((len(rows), 2), 0.5), size=(8, 8))
        >>> Random(box).explain(torch.zeros(3, 8, 8), target=0).queries
        1
    """

    name: ClassVar[str] = "random"

    def __init__(self, black_box: BlackBox, cells: int = 7, seed: int = 0, budget: int | None = None):
        super().__init__(black_box, seed, budget)
        if cells < 1:
            raise InputError(f"explainer.cells={cells}: it must be at least 1")
        self.cells = cells

    def rows_needed(self, x: Float[Tensor, "c *space"]) -> int:
        """See :class:`Explainer`."""
        return 1

    def _explain(
        self, x: Float[Tensor, "c h w"], target: int, generator: torch.Generator, segments: Int[Tensor, "h w"] | None
    ) -> Found:
        generator = torch.Generator().manual_seed(generator.initial_seed() + target)
        noise = torch.rand(1, 1, self.cells, self.cells, generator=generator)
        saliency = F.interpolate(noise, size=x.shape[1:], mode="bilinear", align_corners=False)[0, 0]
        return Found(saliency, self.black_box(x[None])[0, target].item())
