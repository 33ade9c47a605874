"""What there is to learn of a black box's answers: the target's own number, and what all classes say of the target."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from dax_lightning.game.base import Answers, TargetSpace, in_space, log_odds

MosaicTargets = Literal["profile", "log_odds", "probability"]
_FAINT = 1e-5  # a class that is less probable counts as this; measured, 1e-9 does about as well
_TOGETHER = 2**18  # log-probabilities that are worked on at a time: 2 MB, for any number of copies and classes
_WHOLE = 1e-2  # how far from 1 the sum of an answer's probabilities may be: half precision misses it by 1e-3
_STILL = 1e-5  # a class whose log-probability varies less has not changed, but for rounding
_ALIKE = 0.5  # the least correlation of a profile with the target's own answer: a quarter of their variance is shared


@dataclass(frozen=True)
class Signal:
    """What there is to learn, for each copy, in log-odds of the target or in probability."""

    own: Float[Tensor, " n"]
    """The target's own answer: about the parts that decide."""
    profile: Float[Tensor, " n"] | None
    """What all classes say of the target, with the mean and deviation of its own answer: about the whole object."""
    notes: dict[str, Any] = field(default_factory=dict)
    """``profile_correlation``: of the two, where there is a profile."""


def signal(answers: Answers, space: TargetSpace) -> Signal:
    """What a student may learn of the answers.

    The black box answers with all its classes at once, so :func:`profile_of` all classes costs no query, and it has less noise.
    One whose correlation with the target's own log-odds is under 0.5 is about something else, and left out.

    Args:
        answers: of the copies; without those of all classes there is no profile.
        space: the scale of the target's own.

    Example:
        >>> classes = torch.tensor([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])
        >>> found = signal(Answers(torch.ones(3, 1).bool(), torch.ones(3), classes[:, 0], classes), "log_odds")
        >>> found.profile.argsort().tolist(), round(found.profile.mean().item() - found.own.mean().item(), 4)
        ([2, 1, 0], 0.0)
    """
    own, profile = in_space(answers.probability, space), profile_of(answers)
    if profile is None:
        return Signal(own, None)
    share = answers.weight.double() / answers.weight.double().sum()
    both = torch.stack([own.double(), profile], 1)
    standard = _standardised(both, share)
    alike = (share @ standard.prod(1)).item()
    centre = share @ both[:, 0]
    told = centre + (share @ (both[:, 0] - centre) ** 2).sqrt() * standard[:, 1]
    return Signal(own, told.float() if alike >= _ALIKE else None, {"profile_correlation": round(alike, 6)})


def profile_of(answers: Answers) -> Float[Tensor, " n"] | None:
    """What all classes together say of the target, for each copy.

    Each class's log-probability, minus the mean over all classes, is standardised over the copies. It is weighted by its
    correlation with the target's log-odds, and summed: one step of a power iteration towards the strongest common component.
    What the target shares with many classes stays, its own noise counts little.

    Returns:
        Any scale, higher where the classes speak for the target; ``None`` without the classes, of a single one, or where any
        answer's sum misses 1 by over 0.01, as of models with several labels, or of an endpoint that tells the first few of many.

    Example:
        >>> p = torch.tensor([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])
        >>> said = profile_of(Answers(torch.ones(3, 1).bool(), torch.ones(3), p[:, 0], p))
        >>> said.argsort().tolist(), profile_of(Answers(torch.ones(3, 1).bool(), torch.ones(3), p[:, 0] / 2, p / 2))
        ([2, 1, 0], None)
    """
    classes = answers.classes
    if classes is None or classes.shape[1] < 2 or ((classes.sum(1, dtype=torch.double) - 1).abs() > _WHOLE).any():
        return None
    share = answers.weight.double() / answers.weight.double().sum()
    own = share[:, None] * _standardised(log_odds(answers.probability).double()[:, None], share)
    middle = torch.stack([logs.sum(1) for logs in _logs(classes)]).sum(0) / classes.shape[1]
    profile = torch.zeros_like(share)
    for logs in _logs(classes):
        ratios = _standardised(logs - middle[:, None], share)
        profile += (ratios @ (ratios.T @ own))[:, 0]
    return profile


def _logs(classes: Float[Tensor, "n k"]) -> Iterator[Float[Tensor, "n some"]]:
    """The log-probabilities, some classes at a time."""
    return (some.double().clamp_min(_FAINT).log() for some in classes.split(max(1, _TOGETHER // len(classes)), 1))


def _standardised(columns: Float[Tensor, "n k"], share: Float[Tensor, " n"]) -> Float[Tensor, "n k"]:
    """Weighted mean 0 and standard deviation 1; zeros where nothing but rounding varies."""
    centred = columns - share @ columns
    spread = (share @ centred**2).sqrt()
    return torch.where(spread > _STILL, centred / spread.clamp_min(_STILL), 0.0)
