"""ANSWERS: what the black box says of perturbed copies. Copies are streamed; what each kept and what was answered stays."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from tqdm import tqdm

from dax_lightning.black_box.base import BlackBox
from dax_lightning.errors import InputError
from dax_lightning.perturb import Perturber, painted

TargetSpace = Literal["log_odds", "probability"]
_TINY = 1e-7  # probabilities are kept this far from 0 and 1 before the log-odds: they end at ±16


@dataclass(frozen=True)
class Answers:
    """The black box's answers to perturbed copies; row 0 is the input itself.

    Args:
        kept: which segments each copy kept.
        weight: closeness of each copy to the input, in (0, 1].
        target: class id of the target.
        classes: the probabilities of all classes, in [0, 1].
    """

    kept: Bool[Tensor, "n j"]
    weight: Float[Tensor, " n"]
    target: int
    classes: Float[Tensor, "n k"]

    @property
    def probability(self) -> Float[Tensor, " n"]:
        """The target's, in [0, 1]."""
        return self.classes[:, self.target].clone()  # a view would hold all classes in memory


def ask(
    black_box: BlackBox,
    perturber: Perturber,
    x: Float[Tensor, "c *space"],
    segments: Int[Tensor, "*levels"],
    target: int,
    q: int,
    generator: torch.Generator,
    progress: bool = False,
) -> Answers:
    """Make ``q`` copies (the input is the first), and ask the black box about each.

    The copies depend on the perturber, the input, its segments and the generator's state alone, so methods that begin with
    this call from generators of one seed ask about the same copies: inside :meth:`BlackBox.bank` all but the first go free.

    Args:
        black_box: what is asked.
        perturber: makes the copies.
        x: the input, values in [0, 1].
        segments: its partition, ids 0 to j - 1, or a stack of partitions, as the perturber takes them.
        target: class id of what is explained.
        q: copies, 1 or more.
        generator: the only source of randomness.
        progress: show a progress bar.

    Example:
        >>> from dax_lightning.black_box import CallableBlackBox
        >>> box = CallableBlackBox(lambda rows: rows.mean((2, 3)), size=(4, 4))
        >>> answers = ask(box, Perturber(), torch.ones(3, 4, 4), torch.arange(16).view(4, 4), 0, 10, torch.Generator())
        >>> answers.kept.shape, answers.probability[0].item(), box.queries
        (torch.Size([10, 16]), 1.0, 10)
    """
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    with _bar(q, progress) as bar:
        for batch in perturber(x, segments, q, generator):
            parts.append((batch.kept, batch.weight, black_box(batch.inputs)))
            bar.update(len(batch.kept))
    kept, weight, classes = (torch.cat(column) for column in zip(*parts, strict=True))
    return Answers(kept, weight, target, classes)


def ask_kept(
    black_box: BlackBox,
    x: Float[Tensor, "c *space"],
    fill: Float[Tensor, "c *space"],
    segments: Int[Tensor, "*levels"],
    kept: Bool[Tensor, "n j"],
    target: int,
    batch_size: int = 32,
    progress: bool = False,
) -> Float[Tensor, " n"]:
    """The target's probability for copies that keep given segments, the rest filled.

    Args:
        black_box: what is asked.
        x: the input, values in [0, 1].
        fill: what the input looks like with everything removed, see :func:`dax_lightning.perturb.filled`.
        segments: the partition, ids 0 to j - 1, or a stack of partitions.
        kept: a row a copy.
        target: class id.
        batch_size: copies in memory at once.
        progress: show a progress bar.

    Example:
        >>> from dax_lightning.black_box import CallableBlackBox
        >>> box = CallableBlackBox(lambda rows: rows.mean((2, 3)), size=(1, 2))
        >>> x, kept = torch.ones(3, 1, 2), torch.tensor([[True, False], [True, True]])
        >>> ask_kept(box, x, torch.zeros_like(x), torch.tensor([[0, 1]]), kept, target=0).tolist()
        [0.5, 1.0]
    """
    parts = []
    with _bar(len(kept), progress) as bar:
        for rows in _painted(x, fill, segments, kept, batch_size):
            parts.append(black_box(rows)[:, target])
            bar.update(len(rows))
    return torch.cat(parts)


def log_odds(probability: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """``log(p / (1 - p))``, with p kept 1e-7 away from 0 and 1.

    Example:
        >>> log_odds(torch.tensor([0.5])).item()
        0.0
    """
    return probability.double().clamp(_TINY, 1 - _TINY).logit().float()


def in_space(probability: Float[Tensor, "*n"], space: TargetSpace) -> Float[Tensor, "*n"]:
    """Probabilities as they are, or as log-odds.

    Example:
        >>> in_space(torch.tensor([0.5]), "log_odds").item(), in_space(torch.tensor([0.5]), "probability").item()
        (0.0, 0.5)
    """
    return log_odds(probability) if space == "log_odds" else probability


def check_space(space: str, *others: str) -> None:
    """Raise an InputError unless ``space`` names a scale of answers, or one of ``others``."""
    known = (*others, *get_args(TargetSpace))
    if space not in known:
        raise InputError(f"explainer.targets={space}: choose one of {', '.join(known)}")


def _bar(rows: int, shown: bool) -> tqdm:
    return tqdm(total=rows, desc="queries", unit="row", disable=not shown, leave=False)


def _painted(x: Tensor, fill: Tensor, segments: Tensor, kept: Tensor, batch_size: int) -> Iterator[Tensor]:
    return (painted(x, fill, segments, rows) for rows in kept.split(batch_size))
