"""One case's part of a run's Lightning logger. It imports Lightning, so it is itself imported where a logger needs it."""

from collections.abc import Callable, Mapping
from typing import Any

from jaxtyping import Float
from pytorch_lightning.loggers import Logger
from torch import Tensor


class CaseLogger(Logger):
    """One case's part of a run's logger: its name stands before each number.

    Args:
        logger: the run's.
        case: the case's name.
        mask_every: a mask every so many epochs.
        picture: takes a mask and its epoch.
        flush: called after each epoch.
        own_axis: the epoch among the numbers is the case's own axis; else all cases share the logger's steps.

    Example:
        >>> from pytorch_lightning.loggers import CSVLogger
        >>> CaseLogger(CSVLogger("."), "cat__dax").version == CSVLogger(".").version
        True
    """

    def __init__(
        self,
        logger: Logger,
        case: str,
        mask_every: int = 1,
        picture: Callable[[Tensor, int], None] | None = None,
        flush: Callable[[], None] | None = None,
        own_axis: bool = False,
    ):
        super().__init__()
        self._logger, self._case, self._mask_every, self._picture = logger, case, mask_every, picture
        self._flush, self._own_axis = flush, own_axis

    @property
    def name(self) -> str | None:
        """The run's."""
        return self._logger.name

    @property
    def version(self) -> int | str | None:
        """The run's."""
        return self._logger.version

    def log_hyperparams(self, params: Any, *more: Any, **named: Any) -> None:
        """A run's configuration is logged once, when it starts."""

    def log_mask(self, mask: Float[Tensor, "h w"], epoch: int) -> None:
        """A picture of the mask, if this epoch is to have one."""
        if self._picture is not None and epoch % self._mask_every == 0:
            self._picture(mask, epoch)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """An epoch's numbers."""
        named = {f"{self._case}/{name}": value for name, value in metrics.items()}
        self._logger.log_metrics(named, None if self._own_axis else step)

    def save(self) -> None:
        """After each epoch."""
        if self._flush is not None:
            self._flush()
