"""Where the curves of a training go while it runs, and what Lightning keeps to itself."""

import logging
import warnings
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


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Lightning says nothing about devices and workers, which is no news in every training."""
    log = logging.getLogger("pytorch_lightning")
    level = log.level
    log.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*does not have many workers.*")  # a batch is one small matrix product
            warnings.filterwarnings("ignore", "GPU available but not used.*")  # device=cpu says so
            warnings.filterwarnings("ignore", ".*treespec, LeafSpec.*")  # Lightning's own use of torch
            yield
    finally:
        log.setLevel(level)
