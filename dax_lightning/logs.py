"""Where the curves of a training go while it runs: told by the run, asked by whatever trains."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_LOGGER: ContextVar[Any] = ContextVar("logger", default=None)


@contextmanager
def log_to(logger: Any) -> Iterator[None]:
    """Trainings inside the ``with`` write their curves to this Lightning logger, in this thread alone.

    Args:
        logger: a Lightning ``Logger``.

    Example:
        >>> with log_to("a logger"):
        ...     current_logger()
        'a logger'
        >>> current_logger() is None
        True
    """
    token = _LOGGER.set(logger)
    try:
        yield
    finally:
        _LOGGER.reset(token)


def current_logger() -> Any:
    """The logger of the innermost :func:`log_to`; ``None`` outside of any.

    Example:
        >>> current_logger() is None
        True
    """
    return _LOGGER.get()
