"""Where tensors live."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from lightning_utilities.core.rank_zero import rank_zero_only

from dax_lightning.errors import InputError


def pick_device(device: str) -> torch.device:
    """The device that ``cpu``, ``cuda``, ``cuda:1`` or ``auto`` (a GPU where there is one) means here.

    Raises:
        InputError: no such device on this machine.

    Example:
        >>> pick_device("cpu")
        device(type='cpu')
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        picked = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise InputError(f"device={device!r}: wanted cpu, cuda, cuda:N or auto") from error
    if picked.type not in ("cpu", "cuda"):
        raise InputError(f"device={device!r}: wanted cpu, cuda, cuda:N or auto")
    if picked.type == "cuda" and (picked.index or 0) >= torch.cuda.device_count():
        raise InputError(f"device={device!r}, but {torch.cuda.device_count()} CUDA devices were found: set device=cpu")
    return picked


@contextmanager
def one_thread() -> Iterator[None]:
    """The same sums in the same order whatever the number of cores; small networks gain nothing from more.

    Example:
        >>> with one_thread():
        ...     torch.get_num_threads()
        1
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def one_process() -> Iterator[None]:
    """Lightning takes this process for the only one, whatever rank a cluster's environment variables gave it.

    Of other ranks, Lightning's loggers write nothing.

    Example:
        >>> with one_process():
        ...     getattr(rank_zero_only, "rank")
        0
    """
    rank = getattr(rank_zero_only, "rank", 0)
    setattr(rank_zero_only, "rank", 0)  # noqa: B010  # Lightning keeps it on its function
    try:
        yield
    finally:
        setattr(rank_zero_only, "rank", rank)  # noqa: B010
