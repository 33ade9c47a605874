"""A run's folder: made for it alone, locked while it is in use; each job leaves its exit code and its log there."""

import json
import os
import platform
import shlex
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import OmegaConf

OK, FAILED, REFUSED, UNFAITHFUL, STOPPED = 0, 1, 2, 3, 130
_SEVERITY = (OK, UNFAITHFUL, FAILED, REFUSED, STOPPED)  # the mildest first
_STATUS, _LOCK, LOG = "status.json", ".lock", "job.log"
_GRACE = 60.0  # seconds that jobs in other processes have to write their reports after Ctrl-C
_LOOK = 0.2  # seconds between two looks at them


def new_folder(path: str) -> str:
    """Make a folder that no other run has: ``path``, or ``path_1``, ``path_2`` where it is there already.

    In the configuration: ``${new_folder:outputs/${now:%Y-%m-%d}/${now:%H-%M-%S}}``. Where no folder can be made, the path
    comes back, and the run tells why when it writes there.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as place:
        ...     [Path(new_folder(f"{place}/12-30-00")).name for _ in range(3)]
        ['12-30-00', '12-30-00_1', '12-30-00_2']
    """
    number, made = 0, path
    while True:
        try:
            Path(made).parent.mkdir(parents=True, exist_ok=True)
            Path(made).mkdir()
        except FileExistsError:
            number, made = number + 1, f"{path}_{number + 1}"
        except OSError:
            return path
        else:
            return made


OmegaConf.register_new_resolver("new_folder", new_folder, use_cache=True, replace=True)


def worst(codes: Iterable[int]) -> int:
    """The most severe of some exit codes: stopped, refused, failed, unfaithful, in this order; 0 where there are none.

    Example:
        >>> worst([0, 3, 1]), worst([3, 0]), worst([])
        (1, 3, 0)
    """
    return max(codes, key=_SEVERITY.index, default=OK)


@dataclass
class Run:
    """What this command runs now: its folder, whether that holds several jobs, and whether Ctrl-C came.

    Attributes:
        folder: of the run or of the multirun; ``None`` before it is known, and where nothing runs.
        multirun: whether each job has a subfolder.
        interrupted: whether Ctrl-C or SIGTERM came.
        arguments: what was given on the command line.
        broken: whether the launcher gave up, so that some jobs may have left nothing.
    """

    folder: Path | None = None
    multirun: bool = False
    interrupted: bool = False
    arguments: Sequence[str] = ()
    broken: bool = False
    _lock: Any = field(default=None, repr=False)

    def hold(self, folder: Path, multirun: bool) -> None:
        """Lock a folder for this run.

        Raises:
            SystemExit: another run holds it. Hydra swallows other errors of callbacks, so the line is printed here.
        """
        from filelock import FileLock, Timeout  # not at the top: help and typos needn't wait for it

        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(folder / _LOCK)
            lock.acquire(timeout=0)
        except Timeout:
            told = f"error: {folder} is in use by another run{_holder(folder)}: wait for it, or give another {_key(multirun)}"
            print(told, file=sys.stderr)
            raise SystemExit(REFUSED) from None
        except OSError:
            return  # Hydra is about to write there too, and its error tells more
        self.folder, self.multirun, self._lock = folder, multirun, lock
        if multirun:
            for left in _statuses(folder):
                if not _held(left.parent):  # else an earlier start's job still works there, and its code will count
                    left.unlink()
            write_status(folder, None, self._rerun())

    def code(self) -> int:
        """The exit code that the jobs left in their files, whatever process they ran in."""
        if self.folder is None:
            return OK
        files = _statuses(self.folder) if self.multirun else [self.folder / _STATUS]
        return worst([*map(_code_in, files), *([FAILED] if self.broken else [])])

    def wait(self, stop: bool = False) -> None:
        """Wait for the jobs of a multirun that still run in other processes; they hold their folders.

        Args:
            stop: end those of this machine as Ctrl-C does, and wait a minute at most.
        """
        until = time.monotonic() + _GRACE if stop else None
        while (
            self.folder is not None and self.multirun and (busy := [one for one in _statuses(self.folder) if _held(one.parent)])
        ):
            for job in busy if stop else ():
                facts = _facts(job)
                if facts.get("host") == platform.node() and facts.get("pid") != os.getpid():
                    with suppress(OSError):
                        os.kill(int(facts["pid"]), signal.SIGINT)
            stop = False
            if until is not None and time.monotonic() > until:
                return
            time.sleep(_LOOK)

    def release(self) -> None:
        """Unlock the folder."""
        if self._lock is None or self.folder is None:
            return
        if self.multirun:
            with suppress(OSError):
                write_status(self.folder, self.code(), self._rerun())
        self._lock.release()
        self._lock = None

    def given(self) -> list[str]:
        """The command's arguments, but for the folder of its output."""
        return [one for one in self.arguments if not one.startswith(("hydra.run.dir=", "hydra.sweep.dir="))]

    def _rerun(self) -> dict[str, str]:
        return {"command": shlex.join(["dax", *self.given()]), "cwd": str(Path.cwd())}

    def resume(self) -> str:
        """What to add to the command to go on in this folder."""
        return f"{_key(self.multirun)}={self.folder}"


RUN = Run()  # of this process


@contextmanager
def one_run(arguments: Sequence[str]) -> Iterator[Run]:
    """A fresh :data:`RUN` of these arguments; its folder is unlocked at the end. Ctrl-C and SIGTERM are noted, whoever handles
    them first, and what is open is closed."""
    RUN.folder, RUN.multirun, RUN.interrupted, RUN.broken, RUN.arguments = None, False, False, False, tuple(arguments)
    try:
        with noting_interrupts():
            yield RUN
    finally:
        RUN.release()


@contextmanager
def noting_interrupts() -> Iterator[None]:
    """Ctrl-C and SIGTERM are noted in :data:`RUN`, also where a library swallows it."""
    main_thread = threading.current_thread() is threading.main_thread()
    before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)} if main_thread else {}

    def interrupt(*_: Any) -> None:
        RUN.interrupted = True
        raise KeyboardInterrupt

    for one in before:
        signal.signal(one, interrupt)
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler or signal.SIG_DFL)


def rerun(hydra: Any) -> dict[str, str]:
    """How a job is run again: its ``command`` for a shell, without its output folder, and ``cwd``, where relative paths start.

    Args:
        hydra: Hydra's own configuration. A job of a sweep has its own values alone.
    """
    own = ["hydra.mode=RUN", *hydra.overrides.task] if hydra.mode is RunMode.MULTIRUN else RUN.given()
    return {"command": shlex.join(["dax", *own]), "cwd": hydra.runtime.cwd}


@dataclass
class Ended:
    """How a job ended.

    Attributes:
        code: its exit code.
        error: the mistake or defect that ended it, in one line; empty where none did.
    """

    code: int = OK
    error: str = ""


@contextmanager
def job_status(folder: Path, facts: Mapping[str, str]) -> Iterator[Ended]:
    """``status.json`` of a job: its process while it runs, its exit code and error once it ends, and how to run it again.

    Args:
        folder: the job's.
        facts: what else to write there; see :func:`rerun`.

    Yields:
        What takes the exit code; an error that comes through says which.
    """
    ended = Ended()
    write_status(folder, None, facts)
    try:
        yield ended
    except BaseException as error:
        ended.code = STOPPED if isinstance(error, KeyboardInterrupt) or RUN.interrupted else FAILED
        ended.error = " ".join(f"{type(error).__name__}: {error}".split())
        raise
    finally:
        write_status(folder, ended.code, {**facts, **({"error": ended.error} if ended.error else {})})


@contextmanager
def job_of_sweep(folder: Path) -> Iterator[None]:
    """What one job of a multirun needs beside a run's: its own lock, its own log, and Ctrl-C noted in its own process.

    What the job prints goes to ``job.log`` too; so does the traceback of an error, which ends this job alone.

    Args:
        folder: the job's.

    Raises:
        InputError: an earlier start of this job still runs there.
    """
    from filelock import FileLock, Timeout

    from dax_lightning.errors import InputError

    lock = FileLock(folder / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(f"{folder} is in use by another job{_holder(folder)}: wait for it, or end it") from None
    with Path(folder, LOG).open("a", encoding="utf-8") as file, suppress(_Ended), lock:
        before = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = _Tee(before[0], file), _Tee(before[1], file)
        worker = RUN.folder is None  # else the command itself notes it
        RUN.interrupted = RUN.interrupted and not worker
        try:
            with noting_interrupts() if worker else nullcontext():
                yield
        except Exception:  # a defect of ours: the other jobs go on, and status.json has the exit code
            traceback.print_exc(file=file)
            raise _Ended from None
        finally:
            sys.stdout, sys.stderr = before


class _Ended(Exception):
    """A job ended by an error that is written down already."""


class _Tee:
    """A stream that is written to a file too."""

    def __init__(self, stream: Any, file: Any):
        self._stream, self._file = stream, file

    def write(self, text: str) -> int:
        self._file.write(text)
        self._file.flush()
        return self._stream.write(text)

    def close(self) -> None:
        """The stream stays open: it outlives the job."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def write_status(folder: Path, code: int | None, facts: Mapping[str, str]) -> None:
    """Write ``status.json``; ``None``: the job is running."""
    own = {"code": code, "pid": os.getpid(), "host": platform.node(), "time": datetime.now().isoformat(timespec="seconds")}
    Path(folder, _STATUS).write_text(json.dumps({**own, **facts}, ensure_ascii=False), encoding="utf-8")


class Jobs(Callback):
    """Locks the folder of a run or multirun before Hydra writes there; after a multirun: one page over all its jobs."""

    def on_run_start(self, config: Any, **kwargs: Any) -> None:
        """Called by Hydra before a single job."""
        RUN.hold(Path(config.hydra.run.dir).absolute(), multirun=False)

    def on_multirun_start(self, config: Any, **kwargs: Any) -> None:
        """Called by Hydra before the first job."""
        RUN.hold(Path(config.hydra.sweep.dir).absolute(), multirun=True)

    def on_multirun_end(self, config: Any, **kwargs: Any) -> None:
        """Called by Hydra when the last job is done."""
        summary(Path(config.hydra.sweep.dir))


def summary(folder: Path) -> Path:
    """The report over a multirun's jobs; its place is printed, and each job that didn't end by itself, with the reason."""
    from dax_lightning.report import write_summary  # it imports pandas and matplotlib, which a typo needn't wait for

    broken = broken_jobs(folder)
    page = write_summary(folder, broken)
    print(f"all jobs: {page}", flush=True)
    for job, reason in broken.items():
        print(f"job {job} failed: {reason}", file=sys.stderr, flush=True)
    return page


def broken_jobs(folder: Path) -> dict[str, str]:
    """Each job of a multirun that an error ended, or a kill, by the name of its folder, and why.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as place:
        ...     for name, told in (("0", '{"code": 0}'), ("1", '{"code": 1, "error": "OSError: no"}')):
        ...         Path(place, name).mkdir()
        ...         _ = Path(place, name, "status.json").write_text(told)
        ...     broken_jobs(Path(place))
        {'1': 'OSError: no; see 1/job.log'}
    """
    found = {}
    for file in _statuses(folder):
        facts, name = _facts(file), file.parent.relative_to(folder).as_posix()
        if facts.get("error"):
            found[name] = f"{facts['error']}; see {name}/{LOG}"
        elif facts.get("code") is None:
            found[name] = f"its process was killed{_holder(file.parent)}; the same command goes on where it stood"
    return found


def _statuses(folder: Path) -> list[Path]:
    """Those of a multirun's jobs; folders with many files of other kinds aren't looked into."""
    found = []
    for place, below, files in os.walk(folder):
        below[:] = sorted(one for one in below if one != "explanations" and not one.startswith("."))
        found += [Path(place, _STATUS)] if _STATUS in files and Path(place) != folder else []
    return found


def _held(folder: Path) -> bool:
    """Whether a process that is alive works in this folder."""
    from filelock import FileLock, Timeout

    try:
        with FileLock(folder / _LOCK, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:
        return False


def _facts(file: Path) -> dict[str, Any]:
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _code_in(file: Path) -> int:
    code = _facts(file).get("code")  # none: the job was killed
    return code if code in _SEVERITY else FAILED


def _holder(folder: Path) -> str:
    facts = _facts(folder / _STATUS)
    return f" (process {facts['pid']} on {facts['host']})" if {"pid", "host"} <= facts.keys() else ""


def _key(multirun: bool) -> str:
    return "hydra.sweep.dir" if multirun else "hydra.run.dir"
