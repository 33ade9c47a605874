"""A small input, its partitions, copies of it, and black boxes whose answers are known."""

from dataclasses import dataclass

import torch
from torch import Tensor

from dax_lightning.black_box import from_function
from dax_lightning.explainers.base import seed_of
from dax_lightning.game.base import Answers, ask, game_of, log_odds
from dax_lightning.game.subsets import Perturber, level_of
from dax_lightning.segment.grid import Grid
from dax_lightning.segment.mosaic import Mosaic, stacked

SIDE = 12
X = torch.rand(3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
PARTITIONS = [Grid(2, 2)(X), Grid(3, 4)(X), Grid(1, 5)(X)]
LEVELS = stacked(PARTITIONS)
LEVEL = level_of(LEVELS, X)  # the partition of each of the 21 segments
FIXED = Mosaic(Grid(4, 4), [Grid(3, 3), Grid(8, 2)], [])
OUTLINED = Mosaic(FIXED.segmenter, FIXED.others, [Grid(5, 1), Grid(2, 7)])
ZEROS = Perturber(fill="zeros", weight="uniform")


@dataclass(frozen=True)
class Copies:
    """Which segments each copy kept, the answers, the partitions, and each copy's weight."""

    kept: Tensor
    values: Tensor
    levels: Tensor
    weight: Tensor


def random_kept(n):
    """The segments of ``LEVELS`` that ``n`` random copies keep; the first keeps the first partition."""
    return Perturber(kept_share=0.4, kept_share_max=0.8).draw(n, LEVEL, torch.Generator().manual_seed(0))


def additive_copies(n, noise=0.0):
    """Copies whose answers are a sum over the kept places and a constant for each partition; and what a place adds."""
    adds, kept = torch.rand(SIDE, SIDE), random_kept(n)
    adds[2:5, 6:9] += 3
    values = (kept[:, LEVELS].any(1) * adds).mean((1, 2)) + LEVEL[kept.int().argmax(1)]
    return Copies(kept, values + noise * torch.randn(n), LEVELS, torch.rand(n) + 0.5), adds


def groups_by_hand(copies):
    """A number for the partition that each copy keeps segments of; -1 where it keeps none."""
    level = level_of(copies.levels, torch.zeros(1, *copies.levels.shape[1:]))
    return torch.where(copies.kept.any(1), level[copies.kept.int().argmax(1)], -1).numpy()


def asked(box, x, perturber=ZEROS, q=200, mosaic=FIXED, target=0, seed=0):
    """The partitions, and the answers that every explainer of a mosaic asks for first."""
    levels = mosaic(x)
    game = game_of(box, x, levels, perturber)
    return levels, ask(game, perturber, target, q, torch.Generator().manual_seed(seed_of(seed, x)), classes=True)


def copies_of(answers: Answers, levels, values=None):
    """With the target's log-odds, or with other values."""
    return Copies(answers.kept, log_odds(answers.probability) if values is None else values, levels, answers.weight)


def box_of(function):
    """A black box of 32 by 32 pixels."""
    return from_function(function, size=(32, 32))


def many_classes(rows):
    """Of 40 classes, 20 speak for the top left quarter, 20 against it, each with noise of its own: most of it in class 0."""
    seen = torch.sigmoid(8 * (rows[:, :, :16, :16].mean((1, 2, 3)) - 0.4))[:, None]
    seeds = (rows.flatten(1).sum(1) * 1e4).long().tolist()
    noise = torch.stack([torch.randn(40, generator=torch.Generator().manual_seed(abs(seed))) for seed in seeds])
    noise[:, 0] *= 6
    sign = torch.cat([torch.ones(20), -torch.ones(20)])
    return (6 * (seen - 0.5) * sign + 0.5 * noise).softmax(1)


def shown_by(kept, levels):
    """The places that each copy keeps."""
    return kept[:, levels].any(1)
