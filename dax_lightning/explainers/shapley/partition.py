"""SHAP for images without segments: the shap library halves the image again and again where it matters."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from dax_lightning.black_box.base import BlackBox
from dax_lightning.errors import InputError, check_number, whole
from dax_lightning.explainers.base import PLANES, Explainer, Found
from dax_lightning.explainers.masking.base import ImageFill, check_fill
from dax_lightning.explainers.shapley.base import Payoff
from dax_lightning.game.base import TargetSpace, check_space, game_of
from dax_lightning.game.subsets import Perturber

with warnings.catch_warnings():  # shap's plots, which nothing here draws, make their colours the old way
    warnings.filterwarnings("ignore", "The set_(bad|over|under) function", PendingDeprecationWarning)
    from shap.explainers import Partition
    from shap.maskers import Image


class PartitionShap(Explainer):
    """Owen values of the image's pixels by shap's Partition explainer, the library's own way with images.

    The image is halved into rectangles again and again, the rectangle with the largest effect first; what a rectangle that was
    not halved is worth is shared evenly among its pixels. The map sums to the difference between the input's answer and that of
    the wholly filled image. A user's partition and the seed change nothing.

    Args:
        black_box: what is explained.
        fill: what removed rectangles show: ``zeros``, ``image_mean`` or ``blur``, as in shap's examples.
        blur_sigma: standard deviation of the Gaussian blur, as a share of the shorter side; the default blurs as strongly as
            the ``blur(128, 128)`` of shap's examples at 224 pixels: a box of w pixels deviates by w / √12.
        q: rows, those of the input and of the filled image included; rounded down to an even number, as halves come in pairs.
        targets: the scale of the answers that are shared out: ``probability`` or ``log_odds``.
        batch_size: copies that are asked at once; a larger one is faster and follows the largest effect less closely.
        seed: changes nothing.

    Example:
        >>> from dax_lightning.black_box import from_function
        >>> box = from_function(lambda rows: rows[:, :, :2].mean((2, 3)), size=(4, 4), multi_label=True)
        >>> made = PartitionShap(box, q=20).explain(torch.ones(3, 4, 4), target=0)
        >>> round(made.saliency[:2].sum().item(), 3), made.saliency[2:].sum().item(), made.queries
        (1.0, 0.0, 20)
    """

    name: ClassVar[str] = "shap_partition"
    kinds: ClassVar[tuple[str, ...]] = PLANES
    deterministic: ClassVar[bool] = True

    def __init__(
        self,
        black_box: BlackBox,
        fill: ImageFill = "zeros",
        blur_sigma: float = 0.165,
        q: int = 1000,
        targets: TargetSpace = "probability",
        batch_size: int = 10,
        seed: int = 0,
    ):
        super().__init__(black_box, seed)
        check_space(targets)
        check_fill(fill)
        q, batch_size = whole("q", q), whole("explainer.batch_size", batch_size)
        check_number("explainer.blur_sigma", blur_sigma, above=0)
        if q < 4 or batch_size < 2:
            raise InputError(f"q={q} must be at least 4, batch_size={batch_size} at least 2")
        self.fill: ImageFill = fill
        self.targets: TargetSpace = targets
        self.blur_sigma, self.q, self.batch_size = blur_sigma, q, batch_size

    def prepare(self) -> None:
        """Compile the library's loops, seconds once a process, so that they don't count as the first explanation's."""
        _owen(lambda kept: kept.mean((1, 2, 3)), (4, 4), rows=8, batch_size=4)

    def rows_needed(self, x: Float[Tensor, "c *space"]) -> int:
        """See :class:`Explainer`."""
        return self.q - self.q % 2

    def _explain(
        self, x: Float[Tensor, "c h w"], target: int, generator: torch.Generator, segments: Int[Tensor, "h w"] | None
    ) -> Found:
        pixels = torch.arange(x[0].numel()).view(x.shape[1:])
        perturber = Perturber(fill=self.fill, blur_sigma=self.blur_sigma)
        payoff = Payoff(game_of(self.black_box, x, pixels, perturber), target, self.targets)
        values = _owen(lambda kept: payoff(kept.reshape(len(kept), -1)), x.shape[1:], self.rows_needed(x), self.batch_size)
        return Found(torch.from_numpy(values).float(), payoff.score, notes={"base_value": payoff.empty})


def _owen(game: Callable[[np.ndarray], np.ndarray], sides: tuple[int, ...], rows: int, batch_size: int) -> np.ndarray:
    """A value for each pixel; ``game`` gets (n, h, w, 1) arrays, 1 where a pixel is kept and 0 where it is not."""
    with _ties_broken_alike():
        explainer = Partition(game, Image(np.zeros((*sides, 1))))
        made: Any = explainer(np.ones((1, *sides, 1)), max_evals=rows, batch_size=batch_size, silent=True)
    return made.values[0, ..., 0]


@contextmanager
def _ties_broken_alike() -> Iterator[None]:
    """The library orders rectangles of equal effect by numpy's global randomness, whose state comes back."""
    state = np.random.get_state()
    np.random.seed(0)
    try:
        yield
    finally:
        np.random.set_state(state)
