"""The one door to a model: rows in, probabilities out, every row counted."""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, get_args, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from dax_lightning.black_box.answers import Declared, Outputs, Reach, table_of, wrong_shape
from dax_lightning.black_box.store import Store
from dax_lightning.black_box.targets import find_target
from dax_lightning.errors import BudgetExceeded, InputError, ModelError, OutOfTime
from dax_lightning.inputs.base import Input

_UNPICKLED = ("_lock", "_here")
_SAME = 1e-3  # how far a model's answer to its probe row may move, by another machine or another number of threads
_PROBE = 8000  # length of the probe row on an axis of any length


@runtime_checkable
class Model(Protocol):
    """What answers rows: a module, a function, a file or a wire, and nothing else.

    Attributes:
        fingerprint: identifies the weights or the code; saved with every explanation.
        classes: class names in the order of the scores; ``None`` when unknown. One column of scores has one name or two, the
            first of which is what speaks against it.
    """

    @property
    def fingerprint(self) -> str:
        """See above."""
        ...

    @property
    def classes(self) -> tuple[str, ...] | None:
        """See above."""
        ...

    def scores(self, rows: Float[Tensor, "n c *space"], /) -> Any:
        """The answers to one batch, unchecked: wanted is what :func:`table_of` takes. The rows are the model's own copy."""
        ...


@runtime_checkable
class WireModel(Model, Protocol):
    """A model that is asked over a wire, maybe more than once for one batch.

    Attributes:
        spend: called with the number of rows before each request, tries again included; the black box sets it. What it raises
            ends the call.
    """

    spend: Callable[[int], None]


@runtime_checkable
class OpenModel(Model, Protocol):
    """A model that can be looked into."""

    module: nn.Module

    def open_scores(self, rows: Float[Tensor, "n c *space"], /) -> Any:
        """The module's answers to rows in the input's range, with gradients."""
        ...

    def with_module(self, module: nn.Module) -> "OpenModel":
        """The same around another module."""
        ...


@dataclass(eq=False)
class Meter:
    """What was asked inside one :meth:`BlackBox.budget`, by the thread that opened it.

    Attributes:
        limit: most rows; ``None``: no limit.
        most_seconds: from the first question on; ``None``: no limit.
        until: when they are over, as :func:`time.perf_counter` tells it; ``None``: nothing was asked yet.
        queries: rows answered.
        asked: rows that the model was asked: without those that bank and store knew, with those that were asked again.
        seconds: in the model.
        seconds_saved: by the bank and the store.
        scores: the reach of the model's own scores.
        lowest: each class's lowest probability; ``None`` before the first answer.
        highest: each class's highest.
        stopped: why fewer rows were asked than wanted; empty: they weren't.
    """

    limit: int | None = None
    most_seconds: float | None = None
    until: float | None = None
    queries: int = 0
    asked: int = 0
    seconds: float = 0.0
    seconds_saved: float = 0.0
    scores: Reach = field(default_factory=Reach)
    lowest: Float[Tensor, " k"] | None = None
    highest: Float[Tensor, " k"] | None = None
    stopped: str = ""

    def add(self, queries: int = 0, asked: int = 0, seconds: float = 0.0, saved: float = 0.0) -> None:
        """Count."""
        self.queries += queries
        self.asked += asked
        self.seconds += seconds
        self.seconds_saved += saved

    def see(self, scores: Reach, answers: Float[Tensor, "n k"] | None = None) -> None:
        """Remember how far scores reach, and the probabilities made of them."""
        self.scores = self.scores.also(scores)
        if answers is not None:
            low, high = answers.amin(0), answers.amax(0)
            self.lowest = low if self.lowest is None else torch.minimum(self.lowest, low)
            self.highest = high if self.highest is None else torch.maximum(self.highest, high)

    def is_late(self) -> bool:
        """Whether the seconds are over; they begin with the first look."""
        if self.most_seconds is None:
            return False
        now = time.perf_counter()
        self.until = now + self.most_seconds if self.until is None else self.until
        return now > self.until

    def change(self, target: int, score: float) -> float:
        """How far the target's probability went from ``score`` at most."""
        if self.lowest is None or self.highest is None:
            return 0.0
        return max(score - self.lowest[target].item(), self.highest[target].item() - score)


class _Answer(NamedTuple):
    """What the model said to one batch."""

    probabilities: Tensor
    seconds: float
    scores: Reach


class BlackBox:
    """A classifier known only by its answers: it checks both ends, batches, and counts every row that the model saw.

    Threads may share one: the model answers one call at a time, and each thread has its own budgets.

    Args:
        model: what answers.
        input: what the model takes.
        outputs: what the model returns: ``probabilities`` or ``logits``; ``sigmoid`` is short for ``probabilities`` and
            ``multi_label``.
        multi_label: each class is its own yes or no: sigmoids, no softmax, and rows needn't sum to 1.
        batch_size: rows in one call of the model.

    Attributes:
        queries: rows answered so far, those from the bank and the store among them.
        asked: rows that the model was asked so far.
        seconds: wall-clock seconds spent in the model so far; what bank or store knew counts what it took when it was asked.
        seconds_saved: seconds saved by the bank and the store, net of hashing.
        behind_wire: whether the model is asked over a wire.
        store: answers on disk; see :meth:`keep`.
        classes: class names in the order of the probabilities; ``None`` when unknown.
        trained_on: keys of cases that the model was trained on, as far as is known; tasks leave them out.
        facts: what else is known of the training, such as the fold that was held out; tasks refuse what doesn't fit.

    Raises:
        InputError: unknown ``outputs``, or a batch size under 1.

    Example:
        >>> from dax_lightning.black_box import from_function
        >>> box = from_function(lambda rows: 4 - rows.sum((1, 2, 3)), size=(1, 1), classes=["dark"], outputs="logits")
        >>> box(torch.ones(1, 3, 1, 1))[0].sum().item(), box.classes, box.queries
        (1.0, ('not dark', 'dark'), 1)
    """

    trained_on: frozenset[str] = frozenset()
    facts: Mapping[str, Any] = MappingProxyType({})
    input: Any  # an Input; who asks knows which kind

    def __init__(
        self,
        model: Model,
        input: Input,
        outputs: Outputs = "probabilities",
        multi_label: bool = False,
        batch_size: int = 32,
    ):
        if outputs not in get_args(Outputs):
            raise InputError(f"outputs={outputs}: choose one of {', '.join(get_args(Outputs))}")
        if batch_size < 1:
            raise InputError(f"batch_size={batch_size}: it must be at least 1")
        self.model, self.input, self.batch_size = model, input, batch_size
        self.classes = _two(model.classes)
        several = outputs == "sigmoid"
        self._declared = Declared("probabilities" if several else outputs, multi_label or several)
        self._total = Meter()
        self._known: dict[bytes, _Answer] | None = None
        self._banks = 0  # that are open
        self._columns: int | None = None
        self._promised: int | None = None  # a target that was accepted before the number of classes was known
        self.behind_wire = isinstance(model, WireModel)
        self._paying: list[Meter] = []  # of the thread whose rows the model answers now
        self.store: Store | None = None
        if isinstance(model, WireModel):
            model.spend = self._spend
        self._lock, self._here = threading.RLock(), threading.local()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in _UNPICKLED}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=threading.RLock(), _here=threading.local())

    @property
    def queries(self) -> int:
        """Rows answered so far."""
        return self._total.queries

    @property
    def asked(self) -> int:
        """Rows that the model was asked so far."""
        return self._total.asked

    @property
    def seconds(self) -> float:
        """Seconds in the model so far."""
        return self._total.seconds

    @property
    def seconds_saved(self) -> float:
        """Seconds saved by the bank and the store so far."""
        return self._total.seconds_saved

    @property
    def fingerprint(self) -> str:
        """Of the model."""
        return self.model.fingerprint

    @property
    def outputs(self) -> Outputs:
        """What the model returns."""
        return self._declared.outputs

    @property
    def multi_label(self) -> bool:
        """Whether each class is its own yes or no."""
        return self._declared.multi_label

    @property
    def remarks(self) -> tuple[str, ...]:
        """What was read from the model's file and not declared, a line each; the command line prints them."""
        return tuple(getattr(self.model, "remarks", ()))

    @property
    def device(self) -> torch.device:
        """Where the model lives."""
        return getattr(self.model, "device", torch.device("cpu"))

    @property
    def module(self) -> Any:
        """The torch module inside; ``None`` where the model can only be queried."""
        return getattr(self.model, "module", None)

    def __call__(self, x: Float[Tensor, "n c *space"]) -> Float[Tensor, "n k"]:
        """Class probabilities of each row, on the CPU; no gradients.

        Args:
            x: rows in the range and of the shape of ``input``; the model gets copies.

        Raises:
            InputError: ``x`` has another shape or is not finite.
            ModelError: the model's answer is not a finite (n, k) table of what ``outputs`` declares.
            BudgetExceeded: the rows would go over the budget; none of them was asked.
        """
        if not self.input.fits(tuple(x.shape[1:])):
            raise InputError(
                f"input rows of shape {tuple(x.shape[1:])}, wanted {self.input.shape}: make them with black_box.input"
            )
        if len(x) == 0:
            raise InputError("the input holds no rows: give at least one")
        if not (torch.isfinite(x.sum()) or torch.isfinite(x).all()):  # a sum is finite where all are: the second look is rare
            raise InputError("the input holds NaN or infinite values: replace them before explaining")
        with self._lock:
            self._check_limit(len(x))
            return torch.cat([self._batch(rows) for rows in x.detach().float().split(self.batch_size)])

    def probabilities(self, scores: Float[Tensor, "n k"]) -> Float[Tensor, "n k"]:
        """Class probabilities from the scores that :meth:`differentiable` gives."""
        scores = scores[:, 1:] if self._columns == 1 else scores
        return self._declared.probabilities(scores)

    def differentiable(self) -> nn.Module:
        """The model as a torch module from rows to its own scores, with gradients; rows and seconds are counted.

        Raises:
            InputError: this black box can only be queried.
        """
        if not isinstance(self.model, OpenModel):
            raise InputError(
                f"gradients are wanted, but a {type(self.model).__name__} can only be queried: choose an explainer that needs "
                "none, such as explainer=dax, lime or rise, or a black box that is a torch module, such as black_box=timm"
            )
        return _Differentiable(self, self.model)

    def anew(self) -> "BlackBox":
        """A box around the same model that has counted nothing and has no bank, budget or store: for the next of many runs.

        Example:
            >>> from dax_lightning.black_box import from_torch
            >>> box = from_torch(nn.Flatten(), size=1, classes=["a", "b", "c"])
            >>> len(box(torch.rand(2, 3, 1, 1))), box.queries, box.anew().queries, box.anew().model is box.model
            (2, 2, 0, True)
        """
        fresh = copy(self)
        fresh._total, fresh._known, fresh._banks, fresh._paying, fresh.store = Meter(), None, 0, [], None
        if isinstance(fresh.model, WireModel):
            fresh.model.spend = fresh._spend
        return fresh

    def with_module(self, module: nn.Module) -> "BlackBox":
        """A box like this one, and uncounted, around another module that takes the same rows.

        Raises:
            InputError: this black box can only be queried.

        Example:
            >>> from dax_lightning.black_box import from_torch
            >>> box = from_torch(nn.Flatten(), size=1, classes=["a", "b", "c"])
            >>> box.with_module(nn.Sequential(nn.Flatten(), nn.Linear(3, 3))).classes
            ('a', 'b', 'c')
        """
        self.differentiable()
        model: Any = self.model
        return BlackBox(model.with_module(module), self.input, self.outputs, self.multi_label, self.batch_size)

    @property
    def _meters(self) -> list[Meter]:
        """Of this thread, the outermost first."""
        if not hasattr(self._here, "meters"):
            self._here.meters = []
        return self._here.meters

    def _check_limit(self, rows: int) -> None:
        if any(meter.limit is not None and meter.queries + rows > meter.limit for meter in self._meters):
            raise BudgetExceeded(f"the black box may not be asked {rows} more rows within this budget: raise budget= or lower q=")
        if any([meter.is_late() for meter in self._meters]):  # a list: each one's clock starts
            raise OutOfTime("max_seconds is over, and there is no map before the next row: raise it or lower q=")

    def _count(self, **spent: Any) -> None:
        with self._lock:
            for meter in (self._total, *self._meters):
                meter.add(**spent)

    def _batch(self, x: Tensor) -> Tensor:
        self._count(queries=len(x))
        answer = self._asked(x) if self._known is None else self._remembered(x, self._known)
        for meter in self._meters:
            meter.see(answer.scores, answer.probabilities)
        return answer.probabilities if self._known is None else answer.probabilities.clone()

    def _remembered(self, x: Tensor, bank: dict[bytes, _Answer]) -> _Answer:
        start = time.perf_counter()
        key = hashlib.sha256(x.cpu().contiguous().numpy().data).digest() + bytes(str(tuple(x.shape)), "ascii")
        self._count(saved=start - time.perf_counter())  # without the bank, nothing is hashed
        known = bank.get(key)
        if known is None:
            known = bank[key] = self._asked(x)
        else:
            self._count(seconds=known.seconds, saved=known.seconds)
        return known

    @contextmanager
    def counted(self, rows: int) -> Iterator[None]:
        """Count rows and seconds of a pass that is made around :meth:`__call__`, within the budget."""
        with self._lock:
            self._check_limit(rows)
            self._count(queries=rows, asked=rows)
        start = time.perf_counter()
        try:
            yield
        finally:
            self._count(seconds=time.perf_counter() - start)

    def _asked(self, x: Tensor) -> _Answer:
        before = time.perf_counter()
        table, seconds = self._fresh(x) if self.store is None else self._stored(x, self.store)
        if self.store is not None:  # what it took beyond the model's own time, and what it saved
            self._count(saved=seconds - (time.perf_counter() - before))
        return _Answer(self._declared.probabilities(table), seconds, Reach.of(table))

    def _stored(self, x: Tensor, store: Store) -> tuple[Tensor, float]:
        """The scores and the seconds of rows that the store may know; only the others are asked, each once."""
        keys = store.keys(self.fingerprint, x)
        with store.asking(keys[0]):
            known = store.read(keys)
            places = {key: place for place, key in enumerate(keys) if key not in known}
            answers = {key: torch.from_numpy(one.scores.copy()) for key, one in known.items()}
            seconds = float(sum(one.seconds for one in known.values()))
            self._count(seconds=seconds)
            if places:
                fresh, spent = self._fresh(x[list(places.values())])
                store.write(list(places), fresh, spent)
                answers, seconds = answers | dict(zip(places, fresh, strict=True)), seconds + spent
        table = torch.stack([answers[key] for key in keys])
        return self._checked(table) if known else table, seconds  # fresh ones were checked before they were stored

    @torch.no_grad()
    def _fresh(self, x: Tensor) -> tuple[Tensor, float]:
        """The model's own scores, and the seconds that they took."""
        self._paying = list(self._meters)
        if not self.behind_wire:
            self._spend(len(x))
        start = time.perf_counter()
        try:
            return self._checked(table_of(self.model.scores(x.clone()), len(x)).cpu()), time.perf_counter() - start
        except SystemExit as error:
            if isinstance(error.__context__, KeyboardInterrupt):
                raise  # the model ends the program at Ctrl-C
            raise ModelError(f"the model ended the program (SystemExit: {error}) on {len(x)} rows: it must answer") from error
        finally:
            self._count(seconds=time.perf_counter() - start)

    def _spend(self, rows: int) -> None:
        """Count rows that are about to be asked."""
        if any(meter.limit is not None and meter.asked + rows > meter.limit for meter in self._paying):
            raise BudgetExceeded(
                f"the black box may not be asked {rows} more rows within this budget, tries again included: raise budget= or "
                "lower q="
            )
        for meter in (self._total, *self._paying):
            meter.add(asked=rows)

    def keep(self, store: Store | None) -> None:
        """Answer from a store what it knows, and store every other answer before it is used.

        A model behind a wire is asked one row of noise, once a call of this method. Where it answers otherwise than when the
        store first met it, it was changed, and what is stored is no longer its own.

        Args:
            store: the store; ``None``: none.

        Raises:
            InputError: the model was changed under the same address.
            StoreError: the store can't be read or written.

        Example:
            >>> import tempfile
            >>> from dax_lightning.black_box import Store, from_function
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     box = from_function(lambda rows: rows.mean((2, 3)), size=(2, 2), multi_label=True)
            ...     box.keep(Store(folder))
            ...     _ = box(torch.ones(1, 3, 2, 2)), box(torch.ones(1, 3, 2, 2))
            ...     box.queries, box.asked
            (2, 1)
        """
        if store is not None and self.behind_wire:
            self._recognise(store)
        self.store = store

    def _recognise(self, store: Store) -> None:
        shape = [side or _PROBE for side in self.input.shape]
        noise = torch.rand(1, *shape, generator=torch.Generator().manual_seed(0))
        with self._lock:
            self._count(queries=1)
            now = self._fresh(self.input.low + (self.input.high - self.input.low) * noise)[0][0]
        then = store.probe(self.fingerprint)
        if then is None:
            store.write_probe(self.fingerprint, now)
        elif len(then) != len(now) or not np.allclose(then, now.numpy(), _SAME, _SAME):
            told = f"{len(then)} scores then, {len(now)} now"
            told = f"scores moved by {np.abs(then - now.numpy()).max():.2g}" if len(then) == len(now) else told
            raise InputError(
                f"the model was changed since {store.path.parent} was filled ({told} on the same row), and its answers there are "
                "no longer its own: give another store=DIR, or store=none"
            )

    def _checked(self, table: Tensor) -> Tensor:
        self._learn_columns(table)
        self._declared.check(table)
        return table

    def _learn_columns(self, table: Tensor) -> None:
        named = len(self.classes) if self.classes else None
        columns = self._columns or (1 if named == 2 and table.shape[1] == 1 else named)
        if columns is not None and table.shape[1] != columns:
            raise wrong_shape(table, len(table), columns) if self._columns else self._other_names(table.shape[1])
        self._columns, promised, self._promised = table.shape[1], self._promised, None
        if promised is not None:
            self.target(promised)

    def _other_names(self, columns: int) -> ModelError:
        names = len(self.model.classes or ())
        told = f"classes= has {names} name{'s' * (names > 1)}, the model answers {columns} score{'s' * (columns > 1)}"
        if columns > 1:
            return ModelError(f"{told}: give one name a score, in the order of the scores")
        return ModelError(f"{told}: a single score takes one name, of what it speaks for, or two, of which the second is that")

    def doubts(self, meter: Meter) -> tuple[str, ...]:
        """Sentences for the user about the answers that a :meth:`budget` counted.

        Example:
            >>> from dax_lightning.black_box import from_function
            >>> box = from_function(lambda rows: 0.5 + 0.1 * rows.mean((1, 2, 3)), size=(1, 1), outputs="logits")
            >>> with box.budget(None) as meter:
            ...     _ = box(torch.rand(20, 3, 1, 1))
            >>> box.doubts(meter)[0][:60]
            "all of the model's scores lie in [0, 1], as probabilities do"
        """
        return self._declared.doubts(meter.scores, self._columns or 1)

    @contextmanager
    def bank(self) -> Iterator[None]:
        """Inside this context no batch of rows goes to the model twice, whoever asks: its answer is remembered.

        ``queries`` and ``seconds`` count on as if it had been asked. Whole batches are remembered, not single rows, so that an
        answer is the same bit for bit with the bank and without.

        Example:
            >>> from dax_lightning.black_box import from_function
            >>> asked = []
            >>> box = from_function(lambda rows: asked.append(len(rows)) or rows.mean((2, 3)), size=(2, 2), multi_label=True)
            >>> with box.bank():
            ...     _ = box(torch.ones(5, 3, 2, 2)), box(torch.ones(5, 3, 2, 2))
            >>> asked, box.queries
            ([5], 10)
        """
        with self._lock:
            self._banks += 1
            self._known = {} if self._known is None else self._known
        try:
            yield
        finally:
            with self._lock:
                self._banks -= 1
                self._known = self._known if self._banks else None

    @contextmanager
    def budget(self, rows: int | None, seconds: float | None = None) -> Iterator[Meter]:
        """Refuse every query of this thread that would ask more than ``rows`` inside this context, and count what is asked.

        Rows that a wire asks again count too, beside those that were answered: neither may be more than ``rows``.

        Args:
            rows: the most; ``None``: no new limit, only the count.
            seconds: after how many seconds, from the first query on, every query is refused; ``None``: never.

        Example:
            >>> from dax_lightning.black_box import from_function
            >>> box = from_function(lambda rows: rows.mean((1, 2, 3)), size=(2, 2))
            >>> with box.budget(6) as meter:
            ...     _ = box(torch.ones(5, 3, 2, 2))
            >>> meter.queries
            5
        """
        meter = Meter(rows, seconds)
        self._meters.append(meter)
        try:
            yield meter
        finally:
            self._meters.remove(meter)

    def stop(self, why: str) -> None:
        """Note in this thread's innermost budget why fewer rows are asked than were wanted; the first reason counts."""
        for meter in self._meters[-1:]:
            meter.stopped = meter.stopped or why

    def class_name(self, target: int) -> str:
        """The name of a class, or its number as text where the model has no names."""
        return self.classes[target] if self.classes else str(target)

    def target(self, wanted: Any, classes: int | None = None) -> int:
        """The class id that ``wanted`` means.

        Args:
            wanted: an id of any integer type, an id as text, or a name. A name in its own spelling is found first, then in
                another case, then among synonyms. ``id:3`` as text is always an id.
            classes: how many classes there are, where the model has no names.

        Raises:
            InputError: no such class, a name that two classes share, text that is the name of one class and the id of another,
                or a number that is not whole. Where only the model's first answer will tell how many classes there are, that
                answer raises it.
        """
        columns = self._columns and max(2, self._columns)
        count = len(self.classes) if self.classes else classes or columns
        found = find_target(wanted, self.classes, count)
        self._promised = found if count is None else None
        return found


class _Differentiable(nn.Module):
    """The box's model for those who may look inside."""

    def __init__(self, box: BlackBox, model: OpenModel):
        super().__init__()
        self.module = model.module
        self._box = [box, model]  # in a list: they are no part of the module

    def forward(self, x: Float[Tensor, "n c *space"]) -> Float[Tensor, "n k"]:
        box, model = self._box
        with box.counted(len(x)):
            table = table_of(model.open_scores(x), len(x))
        box._learn_columns(table)
        for meter in box._meters:
            meter.see(Reach.of(table))
        return box._declared.two_classes(table)


def class_names(classes: str | list[str] | tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Class names from a list, or from a text file with one name a line.

    Example:
        >>> class_names(["cat", "dog"])
        ('cat', 'dog')
    """
    if not isinstance(classes, str):
        return None if classes is None else tuple(str(name) for name in classes)
    try:
        with open(classes, encoding="utf-8-sig") as lines:
            return tuple(line.strip() for line in lines if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"classes={classes} can't be read as a text file with one class name a line ({error})") from error


def _two(classes: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """The names of both classes that one column stands for."""
    return (f"not {classes[0]}", classes[0]) if classes and len(classes) == 1 else classes
