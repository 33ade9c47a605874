"""The cases of a task in shares, and a GPU for each worker."""

import re
from collections.abc import Mapping
from multiprocessing import current_process

from dax_lightning.errors import InputError


def own_share(cases: int, shard: str | None) -> range:
    """The places of the cases that a shard explains: of each n in a row the i-th, so that easy and hard ones are spread.

    Args:
        cases: how many there are.
        shard: ``i/n``, i from 1 to n; ``None``: all of them.

    Raises:
        InputError: no such shard, or it would be empty.

    Example:
        >>> [list(own_share(7, shard)) for shard in ("1/3", "2/3", "3/3")]
        [[0, 3, 6], [1, 4], [2, 5]]
    """
    if shard is None:
        return range(cases)
    which, of = shard_of(shard)
    share = range(which - 1, cases, of)
    if not share:
        raise InputError(f"shard={shard} has no case, there are {cases}: make n at most {cases}")
    return share


def shard_of(shard: str) -> tuple[int, int]:
    """``i/n`` as numbers.

    Raises:
        InputError: it is no such text.

    Example:
        >>> shard_of("1/4")
        (1, 4)
    """
    found = re.fullmatch(r"(\d+)/(\d+)", shard)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise InputError(f"shard={shard}: wanted i/n with i from 1 to n, such as shard=1/4; with -m, shard=all/4 starts all four")
    return int(found[1]), int(found[2])


def all_shards(argument: str, swept: bool) -> str:
    """``shard=all/3`` of a sweep is ``shard=1/3,2/3,3/3``; another argument stays as it is.

    Raises:
        InputError: there is no sweep.

    Example:
        >>> all_shards("shard=all/3", swept=True)
        'shard=1/3,2/3,3/3'
    """
    found = re.fullmatch(r"shard=all/([1-9]\d*)", argument)
    if not found:
        return argument
    if not swept:
        raise InputError(f"{argument} starts {found[1]} jobs: add -m, or give one of them, such as shard=1/{found[1]}")
    return "shard=" + ",".join(f"{one}/{found[1]}" for one in range(1, int(found[1]) + 1))


def own_gpu(environment: Mapping[str, str], worker: str, gpus: int) -> str | None:
    """What ``CUDA_VISIBLE_DEVICES`` should be in a worker of joblib: one GPU, the workers in turn.

    Ray and SLURM set it themselves. joblib shows every worker all GPUs.

    Args:
        environment: variables of the process; GPUs that it doesn't show aren't given.
        worker: the process's name, such as ``LokyProcess-3``.
        gpus: how many GPUs the process sees; 0 or more.

    Returns:
        The GPU; ``None`` where nothing is to be changed: no worker of joblib, or fewer than two GPUs.

    Example:
        >>> [own_gpu({}, f"LokyProcess-{number}", 2) for number in (1, 2, 3)]
        ['0', '1', '0']
        >>> own_gpu({"CUDA_VISIBLE_DEVICES": "4,6"}, "LokyProcess-2", 2)
        '6'
    """
    found = re.fullmatch(r"LokyProcess-(\d+)", worker)
    if not found or gpus < 2:
        return None
    shown = environment.get("CUDA_VISIBLE_DEVICES", "").split(",")
    place = (int(found[1]) - 1) % gpus
    return shown[place] if len(shown) == gpus else str(place)


def worker_name() -> str:
    """Of this process, as :mod:`multiprocessing` counts them.

    Example:
        >>> worker_name()
        'MainProcess'
    """
    return current_process().name
