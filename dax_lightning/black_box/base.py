"""The one door to a model: rows in, probabilities out, every row counted."""

import difflib
import hashlib
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dax_lightning.black_box.view import View
from dax_lightning.errors import BudgetExceeded, InputError, ModelError

Outputs = Literal["probabilities", "logits"]
_SLACK = 1e-3  # how far probabilities may leave [0, 1] by rounding (half precision)


class BlackBox(ABC):
    """A classifier known only by its answers.

    Subclasses write :meth:`_scores`; calling the object checks both ends, batches, and counts every row that the model saw.

    Args:
        view: the part of a photograph that the model sees, and at what size.
        classes: class names in the order of the scores; ``None`` when unknown.
        outputs: what the model returns; ``logits`` are put through a softmax.
        batch_size: rows in one call of the model.

    Attributes:
        queries: rows answered so far, those from the bank among them.
        seconds: wall-clock seconds spent in the model so far; an answer from the bank counts what it took when it was asked.
        seconds_saved: how much sooner the bank let all this end, the time that it takes itself subtracted.
        fingerprint: identifies the model's weights or code; saved with every explanation.
        device: where the model lives.
        trained_on: keys of cases that the model was trained on, as far as is known; tasks leave them out.
    """

    fingerprint: str
    trained_on: frozenset[str] = frozenset()
    device = torch.device("cpu")

    def __init__(self, view: View, classes: tuple[str, ...] | None, outputs: Outputs, batch_size: int):
        if outputs not in get_args(Outputs):
            raise InputError(f"black_box.outputs={outputs}: choose one of {', '.join(get_args(Outputs))}")
        if batch_size < 1:
            raise InputError(f"black_box.batch_size={batch_size}: it must be at least 1")
        self.view, self.classes, self.outputs, self.batch_size = view, classes, outputs, batch_size
        self.queries, self.seconds, self.seconds_saved = 0, 0.0, 0.0
        self._known: dict[bytes, tuple[Tensor, float]] | None = None
        self._limit: int | None = None
        self._class_count: int | None = None if classes is None else len(classes)
        self._promised: int | None = None  # a target that was accepted before the number of classes was known

    def __call__(self, x: Float[Tensor, "n c *space"]) -> Float[Tensor, "n k"]:
        """Class probabilities of each row, on the CPU; no gradients.

        Args:
            x: values in [0, 1], of the size that ``view`` makes.

        Raises:
            InputError: ``x`` has another shape or is not finite.
            ModelError: the model's answer is not a finite (n, k) table of what ``outputs`` declares.
            BudgetExceeded: the rows would go over the budget; none of them was asked.
        """
        if tuple(x.shape[1:]) != self.view.shape:
            raise InputError(
                f"input rows of shape {tuple(x.shape[1:])}, wanted {self.view.shape}: use black_box.view.image(photograph)"
            )
        if len(x) == 0:
            raise InputError("the input holds no rows: give at least one")
        if not torch.isfinite(x).all():
            raise InputError("the input holds NaN or infinite values: replace them before explaining")
        self._check_limit(len(x))
        return torch.cat([self._batch(rows) for rows in x.split(self.batch_size)])

    @abstractmethod
    def _scores(self, x: Float[Tensor, "n c *space"]) -> Any:
        """The model's answers to one batch, unchecked: wanted is a (n, k) tensor or array."""

    def differentiable(self) -> nn.Module:
        """The model as a torch module from rows in [0, 1] to its own scores, with gradients; rows and seconds are counted.

        Raises:
            InputError: this black box can only be queried.
        """
        raise InputError(
            f"gradients are wanted, but a {type(self).__name__} can only be queried: choose an explainer that needs none, such "
            "as explainer=dax, lime or rise, or a black box that is a torch module, such as black_box=timm"
        )

    def _check_limit(self, rows: int) -> None:
        if self._limit is not None and self.queries + rows > self._limit:
            raise BudgetExceeded(f"the black box may not be asked {rows} more rows within this budget: raise budget= or lower q=")

    def _batch(self, x: Tensor) -> Tensor:
        self.queries += len(x)
        if self._known is None:
            return self._asked(x)[0]
        start = time.perf_counter()
        key = hashlib.sha256(x.detach().cpu().contiguous().numpy().data).digest() + bytes(str(tuple(x.shape)), "ascii")
        self.seconds_saved -= time.perf_counter() - start  # without the bank, nothing is hashed
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._asked(x)
        else:
            self.seconds += known[1]
            self.seconds_saved += known[1]
        return known[0].clone()

    @contextmanager
    def counted(self, rows: int) -> Iterator[None]:
        """Count rows and seconds of a pass that is made around :meth:`__call__`, within the budget."""
        self._check_limit(rows)
        self.queries += rows
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - start

    @torch.no_grad()
    def _asked(self, x: Tensor) -> tuple[Tensor, float]:
        start = time.perf_counter()
        try:
            scores = self._checked(self._scores(x), len(x))
        finally:
            seconds = time.perf_counter() - start
            self.seconds += seconds
        return scores.softmax(1) if self.outputs == "logits" else scores.clamp(0, 1), seconds

    def _checked(self, scores: Any, rows: int) -> Tensor:
        try:
            table = torch.as_tensor(scores).detach().float().cpu()
        except (TypeError, ValueError, RuntimeError) as error:
            raise ModelError(f"the model returned {type(scores).__name__}, wanted a table of ({rows}, classes) scores") from error
        count = self._class_count or (table.shape[1] if table.ndim == 2 else 0)
        if table.ndim != 2 or len(table) != rows or table.shape[1] != count or count < 1:
            wanted = f"({rows}, {count or 'classes'})"
            raise ModelError(f"the model returned scores of shape {tuple(table.shape)} for {rows} rows, wanted {wanted}")
        self._class_count, promised, self._promised = count, self._promised, None
        if promised is not None:
            self.target(promised)
        if not torch.isfinite(table).all():
            raise ModelError(
                "the model returned NaN or infinite scores: check its weights; its rows were in [0, 1] before mean and std"
            )
        self._check_outputs(table)
        return table

    def _check_outputs(self, table: Tensor) -> None:
        low, high = table.min().item(), table.max().item()
        if self.outputs == "probabilities" and (low < -_SLACK or high > 1 + _SLACK):
            raise ModelError(
                f"scores from {low:.3g} to {high:.3g} are not probabilities, they look like logits: set black_box.outputs=logits"
            )
        sums_to_one = torch.allclose(table.sum(1), torch.ones(len(table)), atol=_SLACK)
        if self.outputs == "logits" and table.shape[1] > 1 and low >= 0 and high <= 1 and sums_to_one:
            raise ModelError(
                "scores declared as logits are probabilities already (each row sums to 1): set black_box.outputs=probabilities"
            )

    @contextmanager
    def bank(self) -> Iterator[None]:
        """Inside this context no batch of rows goes to the model twice, whoever asks: its answer is remembered.

        ``queries`` and ``seconds`` count on as if it had been asked. Whole batches are remembered, not single rows, so that an
        answer is the same bit for bit with the bank and without.

        Example:
            >>> from dax_lightning.black_box import CallableBlackBox
            >>> asked = []
            >>> box = CallableBlackBox(lambda rows: asked.append(len(rows)) or rows.mean((2, 3)), size=(2, 2))
            >>> with box.bank():
            ...     _ = box(torch.ones(5, 3, 2, 2)), box(torch.ones(5, 3, 2, 2))
            >>> asked, box.queries
            ([5], 10)
        """
        outer = self._known
        self._known = {} if outer is None else outer
        try:
            yield
        finally:
            self._known = outer

    @contextmanager
    def budget(self, rows: int | None) -> Iterator[None]:
        """Refuse, inside this context, every query that would take the count over ``rows`` (``None``: no new limit)."""
        outer = self._limit
        self._limit = outer if rows is None else min(self.queries + rows, outer or self.queries + rows)
        try:
            yield
        finally:
            self._limit = outer

    def class_name(self, target: int) -> str:
        """The name of a class, or its number as text where the model has no names."""
        return self.classes[target] if self.classes else str(target)

    def target(self, wanted: int | str, classes: int | None = None) -> int:
        """The class id that ``wanted`` means: an id, an id as text, or a name (case does not matter).

        Args:
            wanted: id or name.
            classes: how many classes there are, where the model has no names.

        Raises:
            InputError: no such class, or a name that two classes share. Where only the model's first answer will tell how many
                classes there are, that answer raises it.
        """
        count = len(self.classes) if self.classes else classes or self._class_count
        if isinstance(wanted, str) and not re.fullmatch(r"\s*-?\d+\s*", wanted):
            return self._target_by_name(wanted)
        number = int(wanted)
        if number < 0 or (count is not None and number >= count):
            ids = f"it has {count} classes, ids 0 to {count - 1}" if count else "ids start at 0"
            raise InputError(f"target={number} is no class of this black box: {ids}")
        self._promised = number if count is None else None
        return number

    def _target_by_name(self, wanted: str) -> int:
        if not self.classes:
            raise InputError(f"target={wanted!r}: this black box has no class names, give an id")
        names = [name.lower() for name in self.classes]
        word = wanted.strip().lower()
        found = [i for i, name in enumerate(names) if name == word] or [
            i
            for i, name in enumerate(names)
            if word in name.split(", ")  # ImageNet's names list synonyms: "ram, tup"
        ]
        if len(found) > 1:
            raise InputError(f"target={wanted!r} names the classes {found}: give one of these ids")
        if not found:
            near = difflib.get_close_matches(wanted.lower(), names, n=3, cutoff=0.5)
            hint = f": did you mean {' or '.join(repr(self.classes[names.index(n)]) for n in near)}?" if near else ": give its id"
            raise InputError(f"target={wanted!r} is not a class name of this black box{hint}")
        return found[0]


def class_names(classes: str | list[str] | tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Class names from a list, or from a text file with one name a line.

    Example:
        >>> class_names(["cat", "dog"])
        ('cat', 'dog')
    """
    if not isinstance(classes, str):
        return None if classes is None else tuple(str(name) for name in classes)
    try:
        with open(classes, encoding="utf-8") as lines:
            return tuple(line.strip() for line in lines if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"black_box.classes={classes} can't be read as a text file with one class name a line ({error})"
        ) from error
