"""Where the curves of a training go while it runs, and what Lightning keeps to itself."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any

_LOGGER: ContextVar[Any] = ContextVar("logger", default=None)


@contextmanager
def log_to(make: Callable[[], Any]) -> Iterator[None]:
    """Trainings inside the ``with`` write their curves to a Lightning logger, in this thread alone.

    Args:
        make: makes the Lightning ``Logger``; called once, when a training first asks. What trains nothing needs no Lightning.

    Example:
        >>> with log_to(lambda: "a logger"):
        ...     current_logger()
        'a logger'
        >>> current_logger() is None
        True
    """
    token = _LOGGER.set(cache(make))
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
    make = _LOGGER.get()
    return None if make is None else make()


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
