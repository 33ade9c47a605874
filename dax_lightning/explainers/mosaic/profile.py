"""What there is to learn of a black box's answers: the target's own number, or what all classes say of the target."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dax_lightning.explainers.dax.data import Learnable
from dax_lightning.explainers.mosaic.copies import Copies
from dax_lightning.explainers.mosaic.ridge import additive
from dax_lightning.game.base import Answers, TargetSpace, check_space, in_space, log_odds

MosaicTargets = Literal["profile", "log_odds", "probability"]
_FAINT = 1e-5  # a class that is less probable counts as this; measured, 1e-9 does about as well
_TOGETHER = 4096  # classes that are worked on at a time
_WHOLE = 1e-2  # how far from 1 the sum of an answer's probabilities may be
_STILL = 1e-5  # a class whose log-probability varies less has not changed, but for rounding


def learnable(answers: Answers, levels: Int[Tensor, "p *space"], targets: MosaicTargets) -> Learnable:
    """The signal to learn: the target's own answers, or all classes' profile, whichever a ridge regression predicts better.

    The black box answers with all its classes at once, so the profile (:func:`class_profile`) costs no query. It has less noise.
    With few classes, or where an endpoint rounds much, it may say less than the target alone. ``additive`` compares the two by
    R² on held-out copies. A profile whose correlation with the target's own log-odds is under 0.5 is not learned.

    Args:
        answers: of copies that keep segments of one partition each.
        levels: the partitions.
        targets: ``profile``: the better of the two; ``log_odds``, ``probability``: the target's own, on that scale.

    Example:
        >>> kept = torch.cartesian_prod(*[torch.tensor([True, False])] * 4)  # all copies of a picture of four segments
        >>> seen, alone = kept[:, 0].float(), kept.sum(1) % 2 - 0.5  # what all classes tell, and what sets two of them apart
        >>> answers = Answers(kept, torch.ones(16), 0, torch.stack([seen + alone, seen - alone, -seen], 1).softmax(1))
        >>> found = learnable(answers, torch.tensor([[[0, 1, 2, 3]]]), "profile")
        >>> found.notes["profile"], bool((found.own == found.values).all())
        (True, False)
    """
    space: TargetSpace = "log_odds" if targets == "profile" else targets
    own = in_space(answers.probability, space)
    if targets != "profile":
        return Learnable(own, own)
    profile = class_profile(answers)
    if profile is None:
        return Learnable(own, own, {"profile": False})
    alike = weighted_correlation(own, profile, answers.weight)
    copies = Copies(answers.kept, own, levels, answers.weight)
    better = alike >= _ALIKE and additive(replace(copies, values=profile)).r2 > additive(copies).r2
    return Learnable(own, profile if better else own, {"profile": better, "profile_correlation": alike})


_ALIKE = 0.5  # the least correlation of a profile with the target's own answer: a quarter of their variance is shared


def check_targets(targets: str) -> None:
    """Raise an InputError unless ``targets`` names what can be learned of the answers."""
    check_space(targets, "profile")


def class_profile(answers: Answers) -> Float[Tensor, " n"] | None:
    """What all classes together say of the target, for each copy.

    Each class's log-probability, minus the mean over all classes, is standardised over the copies. It is weighted by its
    correlation with the target's log-odds, and summed. This is one step of a power iteration from the target towards the
    strongest common component. What the target shares with many classes stays, its own noise counts little. Chance correlations
    can add up to something else; :func:`learnable` checks for that.

    Returns:
        Any scale, higher where the classes speak for the target; ``None`` of a single class, or where the probabilities of any
        answer miss 1 by over 0.01, as of models with several labels at a time, of an endpoint that tells the first few of many
        classes alone, or three digits of a thousand.

    Example:
        >>> p = torch.tensor([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])
        >>> said = class_profile(Answers(torch.ones(3, 1).bool(), torch.ones(3), 0, p))
        >>> said.argsort().tolist(), class_profile(Answers(torch.ones(3, 1).bool(), torch.ones(3), 0, p / 2))
        ([2, 1, 0], None)
    """
    classes = answers.classes
    if classes.shape[1] < 2 or ((classes.sum(1, dtype=torch.double) - 1).abs() > _WHOLE).any():
        return None
    share = answers.weight.double() / answers.weight.double().sum()
    own = share[:, None] * _standardised(log_odds(answers.probability).double()[:, None], share)
    middle = torch.stack([logs.sum(1) for logs in _logs(classes)]).sum(0) / classes.shape[1]
    profile = torch.zeros_like(share)
    for logs in _logs(classes):
        ratios = _standardised(logs - middle[:, None], share)
        profile += (ratios @ (ratios.T @ own))[:, 0]
    return profile.float()


def _logs(classes: Float[Tensor, "n k"]) -> Iterator[Float[Tensor, "n some"]]:
    """The log-probabilities, some classes at a time: of 20 000 classes and 1000 copies, each array of all would need 160 MB."""
    return (some.double().clamp_min(_FAINT).log() for some in classes.split(_TOGETHER, 1))


def weighted_correlation(one: Float[Tensor, " n"], other: Float[Tensor, " n"], weight: Float[Tensor, " n"]) -> float:
    """Pearson's; 0 where one of them doesn't vary.

    Example:
        >>> weighted_correlation(torch.tensor([1.0, 2.0, 9.0]), torch.tensor([3.0, 5.0, 0.0]), torch.tensor([1.0, 1.0, 0.0]))
        1.0
    """
    share = weight.double() / weight.double().sum()
    columns = _standardised(torch.stack([one, other], 1).double(), share)
    return round((share @ columns.prod(1)).item(), 6)


def _standardised(columns: Float[Tensor, "n k"], share: Float[Tensor, " n"]) -> Float[Tensor, "n k"]:
    """Weighted mean 0 and standard deviation 1; zeros where nothing but rounding varies."""
    centred = columns - share @ columns
    spread = (share @ centred**2).sqrt()
    return torch.where(spread > _STILL, centred / spread.clamp_min(_STILL), 0.0)
