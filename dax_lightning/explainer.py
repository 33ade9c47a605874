"""What every explainer has in common: checks, seeds, counts and clocks around the one method to write."""

import hashlib
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, overload

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dax_lightning.black_box.base import BlackBox
from dax_lightning.errors import InputError
from dax_lightning.types import Explanation

Targets = int | str | Sequence[int] | Tensor | None


@dataclass(frozen=True)
class Found:
    """What :meth:`Explainer._explain` hands back; see :class:`~dax_lightning.types.Explanation` for the fields."""

    saliency: Float[Tensor, "*space"]
    score: float
    segments: Int[Tensor, "*space"] | None = None
    notes: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    epochs: Float[Tensor, "e h w"] | None = None


class Explainer(ABC):
    """Explains one prediction of a black box at a time.

    Subclasses write :meth:`_explain`. The same seed, input and target give the same map whatever ran before, on a CPU
    bit for bit; the global random state is left as it was.

    Args:
        black_box: what is explained.
        seed: of all randomness.
        budget: most rows the black box may be asked for one explanation; ``None``: as many as the method takes.
    """

    name: ClassVar[str]

    def __init__(self, black_box: BlackBox, seed: int = 0, budget: int | None = None):
        if budget is not None and budget < 1:
            raise InputError(f"budget={budget}: it must be at least 1 row, or null for no limit")
        self.black_box, self.seed, self.budget = black_box, seed, budget

    def prepare(self) -> None:  # noqa: B027 -- most explainers need nothing
        """Fetch what the first explanation needs (SAM's weights), so that what is missing shows before any query."""

    def explain(
        self,
        x: Float[Tensor, "c *space"],
        target: int | str | None = None,
        segments: Int[Tensor, "*space"] | None = None,
    ) -> Explanation:
        """The explanation of one input.

        Args:
            x: values in [0, 1], of the size of the black box's view.
            target: as in :meth:`attribute`.
            segments: a partition of your own, used in place of the explainer's segmenter.

        Raises:
            InputError: ``x`` has another shape, NaN or values outside [0, 1], or there is no such target.
            BudgetExceeded: the method needs more rows than ``budget``.
        """
        _check_input(x, self.black_box)
        x = x.detach().float().cpu()
        self._check_budget(rows_before=int(target is None))
        queries, in_black_box, start = self.black_box.queries, self.black_box.seconds, time.perf_counter()
        with (
            self.black_box.budget(self.budget),
            torch.random.fork_rng(range(torch.cuda.device_count())),
            torch.inference_mode(False),
            torch.enable_grad(),
        ):
            wanted = self._target(x, target)
            generator = torch.Generator().manual_seed(seed_of(self.seed, x, wanted))
            torch.manual_seed(generator.initial_seed())
            found = self._explain(x.clone(), wanted, generator, None if segments is None else consecutive(segments, x))
        return Explanation(
            saliency=_checked_map(found.saliency, x),
            target=wanted,
            score=found.score,
            queries=self.black_box.queries - queries,
            seconds=time.perf_counter() - start,
            segments=found.segments,
            seconds_black_box=self.black_box.seconds - in_black_box,
            notes=found.notes,
            warnings=found.warnings,
            epochs=found.epochs,
        )

    @overload
    def attribute(self, inputs: Tensor, target: Targets = None) -> Tensor: ...
    @overload
    def attribute(self, inputs: tuple[Tensor, ...], target: Targets = None) -> tuple[Tensor, ...]: ...
    def attribute(
        self,
        inputs: Float[Tensor, "n c *space"] | tuple[Float[Tensor, "n c *space"], ...],
        target: Targets = None,
    ) -> Float[Tensor, "n c *space"] | tuple[Float[Tensor, "n c *space"], ...]:
        """Attributions in Captum's convention, so that tools made for Captum just work.

        Args:
            inputs: values in [0, 1]; or a tuple of such, as Captum's metrics pass them, for a tuple of attributions.
            target: the class that is explained: an id or a name for all rows, or an id for each; ``None`` is the black box's
                top class, which costs one more row each.

        Returns:
            A value for each place, the same in all channels.
        """
        if isinstance(inputs, tuple):
            return tuple(self._attribute(part, target) for part in inputs)
        return self._attribute(inputs, target)

    def _attribute(self, inputs: Tensor, target: Targets) -> Tensor:
        targets = _targets(target, len(inputs))
        maps = [self.explain(x, t).saliency for x, t in zip(inputs, targets, strict=True)]
        return torch.stack(maps).to(inputs.device).unsqueeze(1).expand(inputs.shape).clone()

    def _check_budget(self, rows_before: int) -> None:  # noqa: B027 -- the black box counts anyway
        """Refuse before any query, where the cost is known; ``rows_before`` are asked to find the target."""

    @abstractmethod
    def _explain(
        self,
        x: Float[Tensor, "c *space"],
        target: int,
        generator: torch.Generator,
        segments: Int[Tensor, "*space"] | None,
    ) -> Found:
        """The method itself; torch's global random state is seeded and belongs to it."""

    def _target(self, x: Tensor, target: int | str | None) -> int:
        if target is None:
            return int(self.black_box(x[None])[0].argmax())
        return self.black_box.target(target)


def seed_of(seed: int, x: Tensor, target: int) -> int:
    """One seed for each (seed, input, target), so that the order of the cases never matters.

    Example:
        >>> seed_of(0, torch.zeros(1), 3) == seed_of(0, torch.zeros(1), 3) != seed_of(1, torch.zeros(1), 3)
        True
    """
    digest = hashlib.sha256(f"{seed} {target} {tuple(x.shape)} ".encode())
    digest.update(x.detach().cpu().contiguous().numpy().tobytes())
    return int.from_bytes(digest.digest()[:7], "big")


def consecutive(segments: Int[Tensor, "*space"], x: Float[Tensor, "c *space"]) -> Int[Tensor, "*space"]:
    """A user's partition with ids 0 to j - 1.

    Raises:
        InputError: it has not the input's size.

    Example:
        >>> consecutive(torch.tensor([[7, 3]]), torch.zeros(3, 1, 2)).tolist()
        [[1, 0]]
    """
    if segments.shape != x.shape[1:]:
        raise InputError(f"segments of shape {tuple(segments.shape)}, wanted the input's {tuple(x.shape[1:])}")
    return segments.unique(return_inverse=True)[1]


def _check_input(x: Tensor, black_box: BlackBox) -> None:
    if tuple(x.shape) != black_box.view.shape:
        raise InputError(
            f"input of shape {tuple(x.shape)}, wanted {black_box.view.shape} (one input, no batch axis): "
            "make it with black_box.view.image(photograph)"
        )
    if not torch.isfinite(x).all():
        raise InputError("the input holds NaN or infinite values: replace them before explaining")
    if x.min() < 0 or x.max() > 1:
        low, high = x.min().item(), x.max().item()
        raise InputError(f"input values from {low:.3g} to {high:.3g}, wanted [0, 1]: mean and std belong to the black box")


def _checked_map(saliency: Tensor, x: Tensor) -> Tensor:
    saliency = saliency.detach().float().cpu()
    if saliency.shape != x.shape[1:]:
        raise RuntimeError(f"the method made a map of shape {tuple(saliency.shape)} for an input of {tuple(x.shape)}")
    if not torch.isfinite(saliency).all():
        raise InputError("the map is not finite, its training diverged: lower trainer.lr_mask and trainer.lr_student")
    return saliency


def _targets(target: Targets, n: int) -> Sequence[int | str | None]:
    if target is None or isinstance(target, int | str):
        return [target] * n
    ids = [int(t) for t in (target.flatten().tolist() if isinstance(target, Tensor) else target)]
    ids = ids * n if len(ids) == 1 else ids
    if len(ids) != n:
        raise InputError(f"{len(ids)} targets for {n} inputs: give one for all, or one each")
    return ids
