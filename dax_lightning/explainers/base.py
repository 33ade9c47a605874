"""What every explainer has in common: checks, seeds, counts and clocks around the one method to write."""

import copy
import hashlib
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, overload

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from dax_lightning.black_box.base import BlackBox, Meter
from dax_lightning.errors import BudgetExceeded, InputError, whole
from dax_lightning.explainers.stops import Stop
from dax_lightning.types import Case, Explanation, Sound

KINDS = ("image", "spectrogram", "wave", "text", "table")
SPACES = ("image", "spectrogram", "wave")  # whose places have neighbours
PLANES = ("image", "spectrogram")  # whose places have neighbours on two axes
Target = Any  # an id of any integer type, or a name; see BlackBox.target
Targets = Target | Sequence[Target] | Tensor | None


@dataclass(frozen=True)
class Found:
    """What :meth:`Explainer._explain` hands back; see :class:`~dax_lightning.types.Explanation` for the fields."""

    saliency: Float[Tensor, "*space"]
    score: float
    segments: Int[Tensor, "*space"] | None = None
    notes: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    epochs: Float[Tensor, "e h w"] | None = None
    region: Bool[Tensor, "*space"] | None = None


class Explainer(ABC):
    """Explains one prediction of a black box at a time.

    Subclasses write :meth:`_explain`. The same seed, input and target give the same map whatever ran before, on a CPU
    bit for bit; the global random state is left as it was.

    Args:
        black_box: what is explained.
        seed: of all randomness.

    Attributes:
        name: the method's name in tables and file names.
        kinds: the kinds of input that it takes.
        needs_gradients: whether a black box that can only be queried is refused.
        deterministic: whether the seed changes nothing.
        draws_globally: whether it may draw from global random numbers; its explanations can't be made side by side then.
        stops: what may end an explanation early, of ``max_seconds`` and ``converged``.
        budget: most rows the black box may be asked for one explanation; ``None``: as many as the method takes. Set by
            :meth:`again`, as ``stop`` is.
    """

    name: ClassVar[str]
    kinds: ClassVar[tuple[str, ...]] = KINDS
    needs_gradients: ClassVar[bool] = False
    deterministic: ClassVar[bool] = False
    draws_globally: ClassVar[bool] = True
    stops: ClassVar[tuple[str, ...]] = ()

    def __init__(self, black_box: BlackBox, seed: int = 0):
        if black_box.input.kind not in self.kinds:
            raise InputError(
                f"explainer={self.name} takes {', '.join(self.kinds)}, and this model takes a {black_box.input.kind}: choose one "
                "that asks about segments, such as explainer=dax, lime or shap"
            )
        self.black_box, self.seed = black_box, whole("seed", seed)

    budget: int | None = None
    stop: Stop = Stop()

    def prepare(self) -> None:  # noqa: B027 -- most explainers need nothing
        """Fetch what the first explanation needs (SAM's weights), so that what is missing shows before any query."""

    def explain(
        self,
        x: Float[Tensor, "c *space"] | Any,
        target: Target | None = None,
        segments: Shaped[Tensor, "*space"] | Shaped[np.ndarray, "*space"] | None = None,
    ) -> Explanation:
        """The explanation of one input.

        Args:
            x: (c, *space), of the model's size and range; or what ``black_box.input.prepare`` takes, such as a path, a PIL
                image or a NumPy array.
            target: as in :meth:`attribute`.
            segments: a partition of your own, used in place of the explainer's segmenter: whole numbers, 0 or more. Equal
                numbers are one segment; numbers may be missing.

        Raises:
            InputError: ``x`` has another shape, NaN or values out of range, ``segments`` is no partition of it, or there is no
                such target.
            BudgetExceeded: the method needs more rows than ``budget``.
        """
        return self._of_any(x, target, segments)

    def _of_any(self, x: Any, target: Target | None, segments: Any, seeded: bool = True) -> Explanation:
        view, sound = self.black_box.input, None
        if isinstance(x, str | Path):
            sound = view.record(Path(x))
        if sound is not None:
            x = view.of_sound(sound)
        elif not isinstance(x, Tensor):
            x = view.prepare(x)
        return self._counted(x, target, segments, 0, sound, seeded)

    def _counted(
        self, x: Tensor, target: Target | None, segments: Any, before: int, sound: Sound | None, seeded: bool = True
    ) -> Explanation:
        """As :meth:`explain`; ``before`` rows found the target, and count too. Threads side by side can't have global seeds."""
        self.black_box.input.check(x)
        x = x.detach().float().cpu()
        self._check_budget(x, rows_before=before + int(target is None))
        box = self.black_box
        start = time.perf_counter()
        seed = seed_of(self.seed, x)
        limit = None if self.budget is None else self.budget - before
        seeds = _seeded(seed) if seeded else nullcontext()
        with box.budget(limit, self.stop.max_seconds) as asked, seeds, torch.inference_mode(False), torch.enable_grad():
            wanted = self._target(x, target)
            generator = torch.Generator().manual_seed(seed)
            found = self._explain(x.clone(), wanted, generator, None if segments is None else consecutive(segments, x))
        saliency = _checked_map(found.saliency, x)
        return Explanation(
            saliency=saliency,
            target=wanted,
            score=found.score,
            queries=asked.queries + before,
            asked=asked.asked,
            seconds=time.perf_counter() - start + asked.seconds_saved,
            segments=found.segments,
            region=found.region,
            seconds_black_box=asked.seconds,
            notes=found.notes | ({"stopped": asked.stopped} if asked.stopped else {}),
            warnings=(
                *([asked.stopped] if asked.stopped else []),
                *(found.warnings or _flat(saliency)),
                *self._about_answers(asked, wanted, found.score),
                *box.doubts(asked),
            ),
            epochs=found.epochs,
            x=x,
            target_name=box.class_name(wanted),
            kind=box.input.kind,
            labels=box.input.places(x),
            sound=sound or box.input.heard(x),
            step=box.input.step,
            hertz=box.input.hertz,
            method=self.name,
        )

    def explain_many(
        self,
        inputs: Sequence[Any] | Tensor | np.ndarray,
        target: Targets = None,
        workers: int = 2,
        done: Callable[[int, Explanation], None] | None = None,
    ) -> list[Explanation]:
        """The explanations of several inputs, the same as one by one.

        While the black box answers for one, the copies of another are made and a third one's map is computed. That pays where the
        black box leaves processors idle, as on a GPU or behind a wire. The first error ends it; what was finished before was
        handed to ``done``. Methods that draw from Python's, NumPy's or torch's global random numbers go one by one.

        Args:
            inputs: each as in :meth:`explain`.
            target: one for all, or one for each; see :meth:`attribute`.
            workers: explanations in work at a time, 1 or more.
            done: called with the place and the explanation of each that is finished, in any order.

        Raises:
            InputError: see :meth:`explain`; or ``workers`` is under 1.

        Example:
            >>> from dax_lightning.black_box import from_function
            >>> from dax_lightning.explainers.mosaic import MosaicDax
            >>> box = from_function(lambda rows: rows[:, :2, :16, :16].mean((2, 3)), size=(32, 32), multi_label=True)
            >>> made = MosaicDax(box, q=60).explain_many(torch.rand(3, 3, 32, 32), target=0)
            >>> [one.queries for one in made]
            [60, 60, 60]
        """
        workers = whole("workers", workers)
        if workers < 1:
            raise InputError(f"workers={workers}: wanted 1 or more")
        targets = _targets(target, len(inputs))

        alone = workers == 1 or self.draws_globally

        def one(place: int) -> Explanation:
            made = self._of_any(inputs[place], targets[place], None, seeded=alone)
            if done is not None:
                done(place, made)
            return made

        if alone:
            return [one(place) for place in range(len(inputs))]
        with ThreadPoolExecutor(workers) as pool:
            waiting = [pool.submit(one, place) for place in range(len(inputs))]
            try:
                return [each.result() for each in waiting]
            finally:
                for each in waiting:
                    each.cancel()

    def explain_case(self, case: Case, target: int | None = None) -> Explanation:
        """The explanation of a case; with its own partition where the segmenter is ``case``.

        The row that the task asked to find the case's target counts as the explanation's.

        Args:
            case: what to explain.
            target: a class id other than the case's own, if any.
        """
        before = case.asked if target is None else 0
        return self._counted(case.x, case.target if target is None else target, self._own_parts(case), before, case.sound)

    def rows_needed(self, x: Float[Tensor, "c *space"]) -> int | None:
        """The most rows that one explanation of ``x`` asks, its target given; ``None``: not known beforehand."""
        return None

    def again(self, **changed: Any) -> "Explainer":
        """The same explainer with another ``seed``, ``budget``, ``stop`` or ``black_box``.

        Raises:
            InputError: a budget under 1, or a :class:`~dax_lightning.explainers.stops.Stop` that this method can't obey.

        Example:
            >>> from dax_lightning.explainers.random import Random
            >>> from dax_lightning.black_box import from_function
            >>> box = from_function(lambda rows: torch.full((len(rows), 2), 0.5), size=(8, 8))
            >>> Random(box).again(seed=3).seed
            3
        """
        budget = changed.get("budget")
        if budget is not None and budget < 1:
            raise InputError(f"budget={budget}: it must be at least 1 row, or null for no limit")
        unknown = sorted(changed.get("stop", Stop()).wanted - set(self.stops))
        if unknown:
            setting = "stop_when=converged" if "converged" in unknown else "max_seconds"
            raise InputError(f"{setting}: {self.name} has no map before its last query; explainer=dax and lime have one")
        other = copy.copy(self)
        vars(other).update(changed)
        return other

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
        maps = [made.saliency for made in self.explain_many(inputs, target, workers=1)]
        return torch.stack(maps).to(inputs.device).unsqueeze(1).expand(inputs.shape).clone()

    def _check_budget(self, x: Tensor, rows_before: int) -> None:
        needed = self.rows_needed(x)
        if self.budget is not None and needed is not None and needed + rows_before > self.budget:
            found = " and 1 row to find the top class" if rows_before else ""
            raise BudgetExceeded(
                f"{self.name} asks up to {needed} rows{found}, more than budget={self.budget}: raise budget or lower q"
            )

    @abstractmethod
    def _explain(
        self,
        x: Float[Tensor, "c *space"],
        target: int,
        generator: torch.Generator,
        segments: Int[Tensor, "*space"] | None,
    ) -> Found:
        """The method itself; torch's global random state is seeded and belongs to it."""

    def _own_parts(self, case: Case) -> Int[Tensor, "*space"] | None:
        """The partition that the case brings, where the explainer uses one."""
        return None

    def _about_answers(self, asked: Meter, target: int, score: float) -> tuple[str, ...]:
        """Sentences for the user about what was asked."""
        return ()

    def _target(self, x: Tensor, target: Target | None) -> int:
        if target is None:
            return int(self.black_box(x[None])[0].argmax())
        return self.black_box.target(target)


def seed_of(seed: int, x: Tensor) -> int:
    """One seed for each (seed, input), so that the order of the cases never matters, and all targets see the same copies.

    But for those that a method makes of its own map.

    Example:
        >>> seed_of(0, torch.zeros(1)) == seed_of(0, torch.zeros(1)) != seed_of(1, torch.zeros(1))
        True
    """
    digest = hashlib.sha256(f"{seed} {tuple(x.shape)} ".encode())
    digest.update(x.detach().cpu().contiguous().numpy().tobytes())
    return int.from_bytes(digest.digest()[:7], "big")


def consecutive(segments: Shaped[Tensor, "*space"] | Shaped[np.ndarray, "*space"], x: Tensor) -> Int[Tensor, "*space"]:
    """A user's partition with ids 0 to j - 1.

    Raises:
        InputError: it has not the input's size, or holds something else than whole numbers of 0 or more.

    Example:
        >>> consecutive(np.array([[7, 3]]), torch.zeros(3, 1, 2)).tolist()
        [[1, 0]]
    """
    if not isinstance(segments, Tensor | np.ndarray):
        name = type(segments).__name__
        raise InputError(f"segments are a {name}, wanted a tensor or an array of the input's size: try numpy.array(segments)")
    if tuple(segments.shape) != tuple(x.shape[1:]):
        raise InputError(f"segments of shape {tuple(segments.shape)}, wanted the input's {tuple(x.shape[1:])}")
    ids = torch.as_tensor(segments).detach().cpu()
    if ids.is_floating_point() or ids.is_complex():
        raise InputError(f"segments of {ids.dtype}, wanted whole numbers: convert them, such as segments.long()")
    if (ids.long() < 0).any():
        raise InputError(f"segments hold {int(ids.min())}, wanted numbers of 0 or more: give those places a segment of their own")
    return ids.long().unique(return_inverse=True)[1]


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seeds for every global source of randomness that foreign code may draw from; their states come back."""
    plain, arrays = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            random.setstate(plain)
            np.random.set_state(arrays)


def _flat(saliency: Tensor) -> tuple[str, ...]:
    if saliency.max() > saliency.min():
        return ()
    return ("the map is the same for all places: nothing was found to speak for or against this target",)


def _checked_map(saliency: Tensor, x: Tensor) -> Tensor:
    saliency = saliency.detach().float().cpu()
    if saliency.shape != x.shape[1:]:
        raise RuntimeError(f"the method made a map of shape {tuple(saliency.shape)} for an input of {tuple(x.shape)}")
    if not torch.isfinite(saliency).all():
        raise InputError("the map is not finite, its training diverged: lower the learning rates of optim")
    return saliency


def _targets(target: Targets, n: int) -> Sequence[Target | None]:
    if not isinstance(target, Sequence | Tensor | np.ndarray) or isinstance(target, str):
        return [target] * n
    ids = list(target) if isinstance(target, Sequence) else target.flatten().tolist()
    ids = ids * n if len(ids) == 1 else ids
    if len(ids) != n:
        raise InputError(f"{len(ids)} targets for {n} inputs: give one for all, or one each")
    return ids
