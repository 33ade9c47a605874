"""THE QUESTION: what the black box answers when segments are kept or removed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from dax_lightning.black_box.base import BlackBox
from dax_lightning.errors import InputError, OutOfTime
from dax_lightning.game.fill import Fill, filled, painted
from dax_lightning.game.subsets import Perturber, level_of
from dax_lightning.inputs.base import Input
from dax_lightning.progress import bar

TargetSpace = Literal["log_odds", "probability"]


_SAME = 1e-3  # of log-odds
_CHECKS = 10  # how often in a game the map so far is looked at
_FIRST = 2  # of these, the first that is
_TINY = 1e-7  # probabilities are kept this far from 0 and 1 before the log-odds: they end at ±16


@dataclass(frozen=True)
class Answers:
    """The black box's answers to perturbed copies; row 0 is the input itself.

    Args:
        kept: which segments each copy kept.
        weight: closeness of each copy to the input, in (0, 1].
        probability: the target's, in [0, 1].
        classes: the probabilities of all classes; ``None``: they were not kept.
    """

    kept: Bool[Tensor, "n j"]
    weight: Float[Tensor, " n"]
    probability: Float[Tensor, " n"]
    classes: Float[Tensor, "n k"] | None = None


class Game:
    """What the black box answers when segments are kept and the others are filled.

    The one way to ask about segments: a method that sees a game sees no pixels. The game is the same for a photograph, a
    recording, a text and a table row.

    Args:
        black_box: what is asked.
        x: (c, *space), the input.
        segments: its partition, ids 0 to j - 1; or a stack (p, *space) of partitions that share no id.
        removed: (c, *space), what the input looks like with every segment removed, see :func:`~dax_lightning.game.fill.filled`.

    Attributes:
        players: how many segments there are.
        level: each segment's partition, see :func:`~dax_lightning.game.subsets.level_of`.
        whole: (j,), the row whose copy is the input itself.

    Example:
        >>> from dax_lightning.testing import QuarterBox
        >>> box, x, halves = QuarterBox(), torch.ones(3, 32, 32), (torch.arange(32) // 16).expand(32, 32)
        >>> game = Game(box, x, halves, removed=torch.zeros_like(x))
        >>> answers = game(torch.tensor([[True, True], [True, False], [False, True]]))
        >>> answers.argmax(1).tolist(), box.queries  # the first class is the top left quarter, the second the bottom right one
        ([0, 0, 1], 3)
    """

    def __init__(
        self,
        black_box: BlackBox,
        x: Float[Tensor, "c *space"],
        segments: Int[Tensor, "*levels"],
        removed: Float[Tensor, "c *space"],
    ):
        self.black_box, self.x, self.segments, self.removed = black_box, x, segments, removed
        self.level = level_of(segments, x)
        self.players = len(self.level)
        self.whole = self.level == 0

    def __call__(
        self,
        kept: Bool[Tensor, "n j"],
        progress: bool = True,
        enough: Callable[[Float[Tensor, "m k"]], bool] | None = None,
        only: int | None = None,
    ) -> Float[Tensor, "m k"]:
        """The probabilities of all classes for each row of kept segments, in [0, 1]; or a column of one class's.

        Args:
            kept: a row a copy; of a stack, a copy keeps segments of one partition alone, or all.
            progress: show a progress bar where a person watches.
            enough: is given all answers so far after each batch; where it says so, no more are asked. With it, the answers so
                far come back where time is over too: fewer than ``kept``, or none.
            only: a class id: the others' answers are not held in memory.

        Raises:
            OutOfTime: the seconds of a budget are over, and ``enough`` is not given.
        """
        table = torch.empty(0, int(only is not None))
        with bar(len(kept), "queries", progress) as done:
            for start in range(0, len(kept), self.black_box.batch_size):
                rows = kept[start : start + self.black_box.batch_size]
                try:
                    answers = self.black_box(self.copies(rows))
                except OutOfTime:
                    if enough is None:
                        raise
                    return table[:start].clone()
                answers = answers if only is None else answers[:, only, None]
                if not len(table):  # filled in place: a list of answers would hold the memory of every batch
                    table = torch.empty(len(kept), answers.shape[1])
                table[start : start + len(rows)] = answers
                done.update(len(rows))
                if enough is not None and enough(table[: start + len(rows)]):
                    return table[: start + len(rows)].clone()
        return table

    def copies(self, kept: Bool[Tensor, "n j"]) -> Float[Tensor, "n c *space"]:
        """The copies that the black box is asked about."""
        return painted(self.x, self.removed, self.segments, kept)


def game_of(black_box: BlackBox, x: Float[Tensor, "c *space"], segments: Int[Tensor, "*levels"], perturber: Perturber) -> Game:
    """The game in which removed segments are filled as the perturber says, see :func:`removed_of`.

    Example:
        >>> from dax_lightning.testing import QuarterBox
        >>> x, segments = torch.ones(3, 32, 32), torch.arange(1024).view(32, 32)
        >>> game_of(QuarterBox(), x, segments, Perturber(fill="zeros")).players
        1024
    """
    removed = removed_of(black_box.input, x, segments, perturber.fill, perturber.blur_sigma)
    return Game(black_box, x, segments, removed)


def removed_of(
    kind: Input, x: Float[Tensor, "c *space"], segments: Int[Tensor, "*levels"], fill: Fill, blur_sigma: float = 0.05
) -> Float[Tensor, "c *space"]:
    """What an input of this kind looks like with every segment removed.

    ``zeros`` is the kind's neutral value, see :meth:`~dax_lightning.inputs.base.Input.neutral`. An input without space has no
    other fill: a mean over places without neighbours means nothing. ``image_mean`` of a spectrogram is its mean spectrum.

    Raises:
        InputError: ``noise_floor`` for another kind than a spectrogram.

    Example:
        >>> from dax_lightning.inputs import ImageInput
        >>> x, segments = torch.tensor([[[0.0, 1.0]]]), torch.tensor([[0, 0]])
        >>> removed_of(ImageInput((1, 2), channels=1), x, segments, "segment_mean", blur_sigma=0.05).tolist()
        [[[0.5, 0.5]]]
    """
    if fill == "zeros" or not kind.has_space:
        return kind.neutral(x)
    if fill == "noise_floor" and kind.kind != "spectrogram":
        raise InputError(
            f"fill=noise_floor is for spectrograms, the model takes a {kind.kind}: choose another fill, such as zeros"
        )
    if fill == "image_mean" and kind.kind == "spectrogram":
        return x.mean(-1, keepdim=True).expand_as(x).contiguous()
    return filled(x, segments, fill, blur_sigma)


def ask(
    game: Game,
    perturber: Perturber,
    target: int,
    q: int,
    generator: torch.Generator,
    progress: bool = True,
    settled: Callable[[Answers], bool] | None = None,
    classes: bool = False,
) -> Answers:
    """Ask about ``q`` random copies, of which the first is the input itself; of fewer where time is over or the map settled.

    The copies depend on the perturber, the game's segments and the generator's state alone. So methods that begin with this
    call from generators of one seed ask about the same copies.

    Args:
        game: what is asked.
        perturber: draws which segments each copy keeps.
        target: class id of what is explained.
        q: copies, 1 or more.
        generator: the only source of randomness.
        progress: show a progress bar where a person watches.
        settled: is given the answers so far, from a fifth of the copies on, ten times in all: whether more would change nothing.
        classes: hold the answers of all classes, not the target's alone; a thousand take 4 kB a copy.

    Example:
        >>> from dax_lightning.testing import QuarterBox
        >>> game = game_of(QuarterBox(), torch.ones(3, 32, 32), torch.arange(1024).view(32, 32), Perturber())
        >>> answers = ask(game, Perturber(), target=0, q=10, generator=torch.Generator(), classes=True)
        >>> answers.kept.shape, answers.classes.shape
        (torch.Size([10, 1024]), torch.Size([10, 3]))
    """
    kept = perturber.draw(q, game.level, generator)
    weight, looked = perturber.closeness(kept, game.level), _FIRST - 1
    same = False

    def told(table: Tensor) -> Answers:
        count = len(table)
        own = table[:, target if classes else 0].clone()  # a view would hold all classes in memory
        return Answers(kept[:count], weight[:count], own, table if classes else None)

    def enough(table: Tensor) -> bool:
        nonlocal looked, same
        part = _CHECKS * len(table) // q
        if settled is not None and looked < part < _CHECKS:
            looked = part
            same = settled(told(table))
        return same

    table = game(kept, progress, enough, only=None if classes else target)
    count = len(table)
    if not count:
        raise OutOfTime("max_seconds is over before the first answer: raise it")
    if count < q:
        after = f"after {count} of {q} copies"
        saved, more = f"the map has settled {after}: {q - count} were saved", "more of them would make a better map"
        game.black_box.stop(saved if same else f"max_seconds is over {after}: {more}")
    return told(table)


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


def same_answers(probability: Float[Tensor, " n"]) -> bool:
    """Whether answers differ by no more than rounding may: about 0.001 in log-odds.

    A map of answers that are all the same is flat, whatever the method.

    Example:
        >>> same_answers(torch.tensor([0.5, 0.50001])), same_answers(torch.tensor([0.5, 0.51]))
        (True, False)
    """
    low, high = probability.double().aminmax()
    return bool(high - low <= _SAME * torch.minimum(high, 1 - low))
