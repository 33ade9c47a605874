"""The perturbed copies of one input and the black box's answers to them, as a LightningDataModule."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, SequentialSampler

from dax_lightning.errors import InputError
from dax_lightning.game.base import Game, TargetSpace, ask, in_space
from dax_lightning.game.subsets import Perturber


class Batch(NamedTuple):
    """Copies as the networks see them: pooled to their resolution, values in [-1, 1]."""

    copies: Float[Tensor, "n c h w"]
    kept: Float[Tensor, "n 1 h w"]  # share of each cell that is not removed
    teacher: Float[Tensor, " n"]
    weight: Float[Tensor, " n"]


@dataclass(frozen=True)
class Targets:
    """The scale on which the student imitates the black box.

    Args:
        mean: what is taken off the answers.
        std: what they are divided by.

    Example:
        >>> Targets(1.0, 2.0)(torch.tensor([5.0])).item()
        2.0
    """

    mean: float = 0.0
    std: float = 1.0

    @classmethod
    def fit(cls, values: Float[Tensor, " n"], weight: Float[Tensor, " n"]) -> "Targets":
        """Mean 0 and standard deviation 1 over these training copies."""
        share = weight / weight.sum()
        mean = (share * values).sum()
        return cls(mean.item(), max((share * (values - mean) ** 2).sum().sqrt().item(), 1e-6))

    def __call__(self, values: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """What the student is to say."""
        return (values - self.mean) / self.std


@dataclass(frozen=True)
class Split:
    """How the copies are dealt out to training and held-out ones, and in what portions.

    Args:
        val_share: share of the copies held out, in (0, 1); the input itself is always trained on.
        batch_size: copies a training step.

    Raises:
        InputError: one is out of range.

    Example:
        >>> Split(val_share=0.2).batch_size
        64
    """

    val_share: float = 0.1
    batch_size: int = 64

    def __post_init__(self) -> None:
        if not 0 < self.val_share < 1:
            raise InputError(f"training.split.val_share={self.val_share}: wanted a share in (0, 1)")
        if self.batch_size < 1:
            raise InputError(f"training.split.batch_size={self.batch_size}: it must be at least 1")


class PooledCopies:
    """Draws any copy at the networks' resolution, from its row of kept segments alone.

    Pooling is linear, so the mean over a cell of copy i is ``fill + kept_i @ change``. This is the copy's own average-pooling, at
    the cost of a small matrix product. No copy is stored.

    Args:
        x: the input, values in [0, 1].
        fill: what it looks like with everything removed.
        segments: the partition.
        resolution: side of the grid of cells (no more than the input's own sides).

    Example:
        >>> pool = PooledCopies(torch.ones(1, 2, 2), torch.zeros(1, 2, 2), torch.tensor([[0, 0], [0, 1]]), resolution=1)
        >>> copies, kept = pool(torch.tensor([[True, False]]))
        >>> copies.item(), kept.item()  # a cell three quarters full; copies are scaled to [-1, 1]
        (0.5, 0.75)
    """

    def __init__(
        self, x: Float[Tensor, "c *space"], fill: Float[Tensor, "c *space"], segments: Int[Tensor, "*space"], resolution: int
    ):
        sides = tuple(x.shape[1:]) if x.ndim == 3 else (1, math.prod(x.shape[1:]))
        self.channels, self.size = len(x), cells_of(tuple(x.shape[1:]), resolution)
        cells, count = math.prod(self.size), int(segments.max()) + 1
        rows, columns = (torch.arange(n) * s // n for n, s in zip(sides, self.size, strict=True))
        cell = (rows[:, None] * self.size[1] + columns).flatten()
        area = cell.bincount(minlength=cells)
        slot = segments.flatten() * cells + cell
        self.share = slot.bincount(minlength=count * cells).view(count, cells) / area
        change = torch.zeros(len(x), count * cells).index_add(1, slot, (x - fill).flatten(1))
        self.change = (change.view(len(x), count, cells) / area).permute(1, 0, 2).reshape(count, -1)
        self.fill = (torch.zeros(len(x), cells).index_add(1, cell, fill.flatten(1)) / area).flatten()

    def __call__(self, kept: Bool[Tensor, "n j"]) -> tuple[Float[Tensor, "n c h w"], Float[Tensor, "n 1 h w"]]:
        """The pooled copies, values in [-1, 1], and the share of each cell that was kept."""
        rows = kept.float()
        copies = (self.fill + rows @ self.change).view(len(kept), self.channels, *self.size)
        return copies * 2 - 1, (rows @ self.share).view(len(kept), 1, *self.size)


def cells_of(space: tuple[int, ...], resolution: int) -> tuple[int, int]:
    """Height and width in cells of the grid on which the networks see a copy.

    An input of one axis is a grid of one row, of as many cells as a square grid has.

    Example:
        >>> cells_of((224, 200), 28), cells_of((16000,), 28), cells_of((12,), 28)
        ((28, 28), (1, 784), (1, 12))
    """
    if len(space) == 2:
        return min(resolution, space[0]), min(resolution, space[1])
    return 1, min(resolution**2, math.prod(space))


def grown(cells: Float[Tensor, "a b"], space: tuple[int, ...]) -> Float[Tensor, "*space"]:
    """A value a cell, interpolated linearly to the input's own places.

    Example:
        >>> grown(torch.tensor([[0.0, 1.0]]), (4,)).tolist()
        [0.0, 0.25, 0.75, 1.0]
    """
    size = list(space) if len(space) == 2 else [1, math.prod(space)]
    return F.interpolate(cells[None, None], size=size, mode="bilinear", align_corners=False)[0, 0].view(space)


class _Copies(Dataset):
    """Indexed by a whole batch of copy numbers at once."""

    def __init__(self, pool: PooledCopies, kept: Tensor, teacher: Tensor, weight: Tensor):
        self.pool, self.kept, self.teacher, self.weight = pool, kept, teacher, weight

    def __len__(self) -> int:
        return len(self.kept)

    def __getitem__(self, rows: list[int]) -> Batch:
        return Batch(*self.pool(self.kept[rows]), self.teacher[rows], self.weight[rows])


@dataclass(frozen=True)
class Serving:
    """How copies and answers reach the networks.

    Args:
        space: scale of the answers: ``probability``, in [0, 1]; or ``log_odds``, standardised (:class:`Targets`), where an
            answer near 0 or 1 still tells its neighbours apart.
        resolution: side of the networks' grid.
        split: share of the copies held out, and copies a training step.
        progress: show a progress bar of the queries.
    """

    space: TargetSpace = "log_odds"
    resolution: int = 28
    split: Split = Split()  # it is frozen
    progress: bool = True


class PerturbationDataModule(pl.LightningDataModule):
    """Queries the black box on ``q`` copies of one input and serves them, split by copies.

    The first copy is the input itself. Only kept segments and answers are stored, so memory does not grow with the size of the
    copies.

    Args:
        game: what is asked: an input, its segments and a black box.
        perturber: draws the copies.
        target: class that is explained.
        q: copies, the input included.
        generator: the source of randomness.
        serving: how copies and answers reach the networks.
    """

    def __init__(
        self,
        game: Game,
        perturber: Perturber,
        target: int,
        q: int,
        generator: torch.Generator,
        serving: Serving | None = None,
    ):
        super().__init__()
        self.game, self.perturber, self.target, self.q, self.generator = game, perturber, target, q, generator
        self.x, self.segments = game.x, game.segments
        self.serving = serving or Serving()
        self._asked = False

    def setup(self, stage: str | None = None) -> None:
        """Ask the black box, once."""
        if self._asked:
            return
        self._asked = True
        answers = ask(self.game, self.perturber, self.target, self.q, self.generator, self.serving.progress)
        self.kept, self.weight, self.probability = answers.kept, answers.weight, answers.probability
        unit = self.game.black_box.input.unit
        self.pool = PooledCopies(unit(self.x), unit(self.game.removed), self.segments, self.serving.resolution)
        asked = len(answers.kept)
        if asked < 3:
            raise InputError(f"max_seconds is over after {asked} copies, a student wants at least 3: raise it")
        held_out = min(max(1, round(self.serving.split.val_share * (asked - 1))), asked - 2)
        order = 1 + torch.randperm(asked - 1, generator=self.generator)
        self.val_rows, self.train_rows = order[:held_out], torch.cat([torch.zeros(1, dtype=torch.long), order[held_out:]])
        values, train = in_space(answers.probability, self.serving.space), self.train_rows
        self.targets = Targets() if self.serving.space == "probability" else Targets.fit(values[train], self.weight[train])
        self.teacher = self.targets(values)

    @property
    def score(self) -> float:
        """The black box's probability of the target on the input itself, in [0, 1]."""
        return self.probability[0].item()

    def train_dataloader(self) -> DataLoader:
        """Batches of training copies, shuffled anew each epoch."""
        data = self._dataset(self.train_rows)
        return self._loader(data, RandomSampler(data, generator=self.generator))

    def val_dataloader(self) -> DataLoader:
        """Batches of held-out copies."""
        data = self._dataset(self.val_rows)
        return self._loader(data, SequentialSampler(data))

    def input_batch(self) -> Batch:
        """The unperturbed input as a batch of one."""
        return self._dataset(torch.zeros(1, dtype=torch.long))[[0]]

    def _dataset(self, rows: Tensor) -> _Copies:
        return _Copies(self.pool, self.kept[rows], self.teacher[rows], self.weight[rows] / self.weight[self.train_rows].mean())

    def _loader(self, data: _Copies, order: RandomSampler | SequentialSampler) -> DataLoader:
        batches = BatchSampler(order, self.serving.split.batch_size, drop_last=False)
        return DataLoader(data, batch_size=None, sampler=batches, num_workers=0)
