"""What the methods share that show the black box its input through masks: 1 keeps a place, 0 fills it, between is a mixture."""

from collections.abc import Iterable, Iterator
from typing import ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dax_lightning.black_box.base import BlackBox
from dax_lightning.errors import InputError, whole
from dax_lightning.explainers.base import PLANES, Explainer
from dax_lightning.game.base import TargetSpace, check_space, in_space, removed_of

ImageFill = Literal["zeros", "image_mean", "blur"]
FEWEST = 2  # cells a side of a grid whose cells are compared


class MaskExplainer(Explainer):
    """An explainer that asks about the input behind masks; a batch of the black box's size is in memory at once.

    Args:
        black_box: what is explained.
        q: most rows asked, the input itself included.
        fill: what shows where a mask is 0: ``zeros``, ``image_mean`` or ``blur``, as in the perturber.
        targets: the scale of the answers: ``probability`` or ``log_odds``.
        seed: of all randomness.
    """

    kinds: ClassVar[tuple[str, ...]] = PLANES

    def __init__(self, black_box: BlackBox, q: int, fill: ImageFill, targets: TargetSpace, seed: int):
        super().__init__(black_box, seed)
        check_space(targets)
        check_fill(fill)
        q = whole("q", q)
        if q < 3:
            raise InputError(f"q={q} rows for explainer={self.name}: wanted the input and at least 2 masks; try q=1000")
        self.q = q
        self.fill: ImageFill = fill
        self.targets: TargetSpace = targets

    def _score(self, x: Float[Tensor, "c h w"], target: int) -> Float[Tensor, " 1"]:
        return self.black_box(x[None])[:, target]

    def _scaled(self, probability: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        return in_space(probability, self.targets).double()

    def _answers(
        self, x: Float[Tensor, "c h w"], masks: Iterable[Float[Tensor, "_ h w"]], target: int
    ) -> Iterator[tuple[Float[Tensor, "_ h w"], Float[Tensor, " _"]]]:
        """Each batch of masks with the target's probabilities behind them."""
        fill = removed_of(self.black_box.input, x, torch.zeros(x.shape[1:], dtype=torch.long), self.fill)
        for batch in masks:
            yield batch, self.black_box(seen_through(batch, x, fill))[:, target].clone()  # a view would hold all classes

    def _cell_answers(self, x: Float[Tensor, "c h w"], cells: Float[Tensor, "n s s"], target: int) -> Float[Tensor, " n"]:
        """The target's probabilities behind masks of ``s`` x ``s`` cells with sharp edges."""
        size = list(x.shape[1:])
        masks = (F.interpolate(part[:, None], size, mode="nearest")[:, 0] for part in cells.split(self.black_box.batch_size))
        return torch.cat([probability for _, probability in self._answers(x, masks, target)])


def seen_through(
    masks: Float[Tensor, "n h w"], x: Float[Tensor, "c h w"], fill: Float[Tensor, "c h w"]
) -> Float[Tensor, "n c h w"]:
    """``x`` where a mask is 1, ``fill`` where it is 0, both exactly.

    Example:
        >>> seen_through(torch.tensor([[[1.0, 0.5, 0.0]]]), torch.ones(1, 1, 3), torch.zeros(1, 1, 3)).tolist()
        [[[[1.0, 0.5, 0.0]]]]
    """
    return torch.lerp(fill, x, masks.unsqueeze(1))


def mean_by_place(batches: Iterable[tuple[Float[Tensor, "_ h w"], Float[Tensor, " _"]]]) -> Float[Tensor, "h w"]:
    """For each place, the mean of all masks' values, weighted by the masks there; the plain mean where all masks are 0.

    Only the running sums are kept, in double precision: memory does not grow with the number of masks.

    Args:
        batches: masks, not negative, and a value for each.

    Example:
        >>> masks, values = torch.tensor([[[1.0, 1.0, 0.0]], [[1.0, 0.0, 0.0]]]), torch.tensor([4.0, 2.0])
        >>> mean_by_place([(masks, values)]).tolist()
        [[3.0, 4.0, 3.0]]
    """
    total: Tensor | float = 0.0
    weight, plain, count = torch.zeros(()), torch.zeros(()), 0
    for masks, values in batches:
        rows = masks.double()
        total = total + torch.einsum("n,nhw->hw", values.double(), rows)
        weight, plain, count = weight + rows.sum(0), plain + values.double().sum(), count + len(values)
    return torch.where(weight > 0, total / weight.clamp_min(1e-300), plain / count)


def check_fill(fill: str) -> None:
    """Raise an InputError unless ``fill`` is one that needs no segments."""
    if fill not in get_args(ImageFill):
        raise InputError(f"explainer.fill={fill}: choose one of {', '.join(get_args(ImageFill))}")


def check_cells(cells: int, x: Float[Tensor, "c h w"], least: int) -> None:
    """Raise an InputError unless ``x`` is at least ``cells`` places high and wide; ``least``: the fewest cells a side."""
    shorter = min(x.shape[1:])
    if cells > shorter:
        size = " x ".join(str(side) for side in x.shape[1:])
        fitting = f"explainer.cells={max(least, shorter // 2)}" if shorter >= least else "explainer=occlusion"
        raise InputError(
            f"explainer.cells={cells} for an input of {size}: wanted no more cells a side than places; try {fitting}"
        )


def upsampled(cells: Float[Tensor, "s s"], x: Float[Tensor, "c h w"]) -> Float[Tensor, "h w"]:
    """A value a cell, bilinearly at the input's size.

    Example:
        >>> upsampled(torch.tensor([[0.0, 1.0], [0.0, 1.0]]), torch.zeros(3, 1, 4)).tolist()
        [[0.0, 0.25, 0.75, 1.0]]
    """
    return F.interpolate(cells[None, None].float(), list(x.shape[1:]), mode="bilinear", align_corners=False)[0, 0]
