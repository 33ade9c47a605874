"""The one progress bar."""

import sys
import time
from typing import Any, Protocol, runtime_checkable

from tqdm.auto import tqdm

EVERY = 10.0  # seconds between two lines where no terminal shows a bar


@runtime_checkable
class Bar(Protocol):
    """What counts steps: a bar on a terminal or in a notebook, lines elsewhere."""

    total: Any

    def update(self, n: int = 1) -> object:
        """Count ``n`` more steps."""

    def reset(self) -> None:
        """Count from the start again."""

    def close(self) -> None:
        """No more steps will come."""

    def __enter__(self) -> "Bar": ...
    def __exit__(self, kind: Any, error: Any, trace: Any, /) -> object: ...


class Lines:
    """Steps as plain lines on stderr, one every 10 s; nothing is printed before that.

    Args:
        total: steps in all; ``None``: not known.
        what: what is counted, such as ``queries``.

    Example:
        >>> with Lines(2, "queries") as steps:
        ...     steps.update(2)
        >>> steps.done
        2
    """

    def __init__(self, total: int | None, what: str):
        self.total, self.what, self.done = total, what, 0
        self._start = self._told = time.monotonic()

    def update(self, n: int = 1) -> None:
        """Count ``n`` more steps, and print a line where the last is 10 s old."""
        self.done += n
        now = time.monotonic()
        if now - self._told >= EVERY:
            print(f"  {self.what}: {self.done}{self._left(now)}", file=sys.stderr, flush=True)
            self._told = now

    def _left(self, now: float) -> str:
        if self.total is None:
            return ""
        left = (now - self._start) / max(self.done, 1) * max(self.total - self.done, 0)
        return f" of {self.total}, about {left:.0f} s left"

    def reset(self) -> None:
        """Count from the start again."""
        self.done = 0

    def close(self) -> None:
        """No more steps will come."""

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any, /) -> None:
        self.close()


def bar(total: int | None, what: str, shown: bool = True) -> Bar:
    """A progress bar where a person watches: in a notebook, or where stderr is a terminal. Elsewhere a line every 10 s.

    Args:
        total: steps in all; ``None``: not known.
        what: what is counted, such as ``queries``.
        shown: false hides it everywhere.

    Example:
        >>> with bar(3, "queries", shown=False) as steps:
        ...     _ = steps.update(3)
    """
    if shown and not watched():
        return Lines(total, what)
    return tqdm(total=total, desc=what, leave=False, disable=not shown)


def watched() -> bool:
    """Whether a person sees progress bars: in a notebook, or where stderr is a terminal."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules
