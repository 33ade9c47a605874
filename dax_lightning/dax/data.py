"""The perturbed copies of one input and the black box's answers to them, as a LightningDataModule."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import pytorch_lightning as pl
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler, SequentialSampler

from dax_lightning.answers import Answers, TargetSpace, ask, in_space, log_odds
from dax_lightning.black_box.base import BlackBox
from dax_lightning.learnable import Learnable
from dax_lightning.perturb import Perturber, filled


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


class PooledCopies:
    """Draws any copy at the networks' resolution, from its row of kept segments alone.

    Pooling is linear, so the mean over a cell of copy i is ``fill + kept_i @ change``: exactly the copy's own average-pooling,
    at the cost of a small matrix product; no copy is ever stored.

    Args:
        x: the input, values in [0, 1].
        fill: what it looks like with everything removed.
        segments: the partition, or a stack (p, h, w) of them that share no id; a copy keeps segments of one alone.
        resolution: side of the grid of cells (no more than the input's own sides).

    Example:
        >>> pool = PooledCopies(torch.ones(1, 2, 2), torch.zeros(1, 2, 2), torch.tensor([[0, 0], [0, 1]]), resolution=1)
        >>> copies, kept = pool(torch.tensor([[True, False]]))
        >>> copies.item(), kept.item()  # a cell three quarters full; copies are scaled to [-1, 1]
        (0.5, 0.75)
    """

    def __init__(self, x: Float[Tensor, "c h w"], fill: Float[Tensor, "c h w"], segments: Int[Tensor, "*p h w"], resolution: int):
        self.channels, self.size = len(x), (min(resolution, x.shape[1]), min(resolution, x.shape[2]))
        cells, count = math.prod(self.size), int(segments.max()) + 1
        rows, columns = (torch.arange(n) * s // n for n, s in zip(x.shape[1:], self.size, strict=True))
        cell = (rows[:, None] * self.size[1] + columns).flatten()
        area = cell.bincount(minlength=cells)
        slot = (segments.reshape(-1, cell.numel()) * cells + cell).flatten()
        self.share = slot.bincount(minlength=count * cells).view(count, cells) / area
        removed = (x - fill).flatten(1).repeat(1, slot.numel() // cell.numel())
        change = torch.zeros(len(x), count * cells).index_add(1, slot, removed)
        self.change = (change.view(len(x), count, cells) / area).permute(1, 0, 2).reshape(count, -1)
        self.fill = (torch.zeros(len(x), cells).index_add(1, cell, fill.flatten(1)) / area).flatten()

    def __call__(self, kept: Bool[Tensor, "n j"]) -> tuple[Float[Tensor, "n c h w"], Float[Tensor, "n 1 h w"]]:
        """The pooled copies, values in [-1, 1], and the share of each cell that was kept."""
        rows = kept.float()
        copies = (self.fill + rows @ self.change).view(len(kept), self.channels, *self.size)
        return copies * 2 - 1, (rows @ self.share).view(len(kept), 1, *self.size)


class _Copies(Dataset):
    """Indexed by a whole batch of copy numbers at once."""

    def __init__(self, pool: PooledCopies, kept: Tensor, teacher: Tensor, weight: Tensor):
        self.pool, self.kept, self.teacher, self.weight = pool, kept, teacher, weight

    def __len__(self) -> int:
        return len(self.kept)

    def __getitem__(self, rows: list[int]) -> Batch:
        return Batch(*self.pool(self.kept[rows]), self.teacher[rows], self.weight[rows])


class PerturbationDataModule(pl.LightningDataModule):
    """Queries the black box on ``q`` copies of one input and serves them, split by copies.

    The first batch of queries holds the input itself; only kept segments and answers are stored, so memory does not grow
    with the size of the copies.

    Args:
        black_box: what is asked.
        perturber: how copies are made.
        x: the input, values in [0, 1].
        segments: its partition, or a stack of partitions.
        target: class that is explained.
        q: copies, the input included.
        generator: the source of randomness.
        space: scale of the answers: ``probability``, in [0, 1]; or ``log_odds``, standardised (:class:`Targets`), where an
            answer near 0 or 1 still tells its neighbours apart.
        resolution: side of the networks' grid.
        val_share: share of the copies held out, in (0, 1); the input itself is always trained on.
        batch_size: copies a training step.
        progress: show a progress bar of the queries.
        colours: serve the copies' colours; without, copies have no channels, and only the kept shares tell them apart.
        outlined: what the map will be averaged within (:meth:`~dax_lightning.mosaic.Mosaic.outlined`), where it will be.
        learnable: what of the whole answers the student learns; ``None``: the target's own, in ``space``.
    """

    def __init__(
        self,
        black_box: BlackBox,
        perturber: Perturber,
        x: Float[Tensor, "c *space"],
        segments: Int[Tensor, "*levels"],
        target: int,
        q: int,
        generator: torch.Generator,
        space: TargetSpace = "log_odds",
        resolution: int = 28,
        val_share: float = 0.1,
        batch_size: int = 64,
        progress: bool = False,
        colours: bool = True,
        outlined: Int[Tensor, "*more"] | None = None,
        learnable: Callable[[Answers], Learnable] | None = None,
    ):
        super().__init__()
        self.black_box, self.perturber, self.x, self.segments = black_box, perturber, x, segments
        self.target, self.q, self.generator = target, q, generator
        self.space: TargetSpace = space
        self.resolution, self.val_share, self.batch_size, self.progress = resolution, val_share, batch_size, progress
        self.channels = len(x) if colours else 0
        self.outlined = segments if outlined is None else outlined
        self.learnable = learnable
        self._asked = False

    def setup(self, stage: str | None = None) -> None:
        """Ask the black box, once."""
        if self._asked:
            return
        self._asked = True
        answers = ask(self.black_box, self.perturber, self.x, self.segments, self.target, self.q, self.generator, self.progress)
        self.kept, self.weight, self.probability = answers.kept, answers.weight, answers.probability
        fill = filled(self.x, self.segments, self.perturber.fill, self.perturber.blur_sigma)
        self.pool = PooledCopies(self.x[: self.channels], fill[: self.channels], self.segments, self.resolution)
        held_out = min(max(1, round(self.val_share * (self.q - 1))), self.q - 2)
        order = 1 + torch.randperm(self.q - 1, generator=self.generator)
        self.val_rows, self.train_rows = order[:held_out], torch.cat([torch.zeros(1, dtype=torch.long), order[held_out:]])
        self.learned, train = (self.learnable or self._own)(answers), self.train_rows
        values = self.learned.values
        self.targets = Targets() if self.space == "probability" else Targets.fit(values[train], self.weight[train])
        self.teacher = self.targets(values)

    @property
    def score(self) -> float:
        """The black box's probability of the target on the input itself, in [0, 1]."""
        return self.probability[0].item()

    @property
    def spread(self) -> float:
        """Standard deviation of all answers, in log-odds: 0 means that removing segments changes nothing."""
        return log_odds(self.probability).std().item()

    @property
    def partition(self) -> Int[Tensor, "*space"]:
        """The partition, or the first of several."""
        return self.segments if self.segments.ndim < self.x.ndim else self.segments[0]

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

    def _own(self, answers: Answers) -> Learnable:
        own = in_space(answers.probability, self.space)
        return Learnable(own, own)

    def _dataset(self, rows: Tensor) -> _Copies:
        return _Copies(self.pool, self.kept[rows], self.teacher[rows], self.weight[rows] / self.weight[self.train_rows].mean())

    def _loader(self, data: _Copies, order: RandomSampler | SequentialSampler) -> DataLoader:
        batches = BatchSampler(order, self.batch_size, drop_last=False)
        return DataLoader(data, batch_size=None, sampler=batches, num_workers=0)
