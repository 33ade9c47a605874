"""Answers on disk: what a model said to a row is never asked again."""

import contextlib
import os
import sqlite3
import sys
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xxhash
from jaxtyping import Float
from torch import Tensor

from dax_lightning.errors import StoreError

_FILE = "answers.sqlite"
_WAIT = 60.0  # seconds for another process to finish writing
_PATIENCE = 600.0  # seconds for another process to ask the same batch; then it is asked here too
_PLACES = 64  # locks of batches: two that differ seldom share one
_MANY = 500  # keys in one statement: SQLite takes some thousand
_CHECK = 4  # bytes of the checksum at the end of each answer
_LEAST = 32  # bytes of the shortest answer with its key
_FAULTS = (sqlite3.Error, OSError, UnicodeDecodeError)  # the last where SQLite's own words hold bytes of a damaged file
_TABLES = """
create table if not exists answers (key blob primary key, scores blob not null, seconds real not null);
create table if not exists probes (model text primary key, scores blob not null);
"""


class Stored(NamedTuple):
    """One answer.

    Attributes:
        scores: of all classes, as the model gave them.
        seconds: what the row took when it was asked.
    """

    scores: Float[np.ndarray, " k"]
    seconds: float


class Store:
    """Answers of any number of models, in one SQLite file that several processes may share.

    A row's answer is on the disk before it is used: a kill loses what was in flight, no more. Keys are hashes of the model's
    fingerprint and of the row's values. Each answer has a checksum; one that is damaged counts as missing. Nothing is pickled.

    Not for network disks, whose locks SQLite can't trust: give each machine a store of its own.

    Args:
        folder: where the file is; made where it is missing.

    Raises:
        StoreError: the folder can't be written, or the file is no store.

    Example:
        >>> import tempfile, torch
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     store = Store(folder)
        ...     keys = store.keys("a model", torch.zeros(2, 3, 8, 8))
        ...     store.write(keys[:1], torch.tensor([[0.25, 0.75]]), seconds=0.1)
        ...     store.read(keys)[keys[0]].scores.tolist(), len(store)
        ...     store.close()
        ([0.25, 0.75], 1)
    """

    def __init__(self, folder: str | Path):
        self.path = Path(folder).expanduser().absolute() / _FILE
        self._lock, self._open = threading.RLock(), None
        with self._connection():
            pass

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=threading.RLock(), _open=None)

    def __len__(self) -> int:
        with self._connection() as db:
            return db.execute("select count(*) from answers").fetchone()[0]

    @staticmethod
    def keys(model: str, rows: Float[Tensor, "n c *space"]) -> list[bytes]:
        """A key of 16 bytes for each row.

        Args:
            model: its fingerprint.
            rows: as the model gets them.
        """
        head = f"{model} {tuple(rows.shape[1:])} ".encode()
        return [xxhash.xxh3_128_digest(head + row.tobytes()) for row in rows.detach().cpu().contiguous().numpy()]

    @contextmanager
    def asking(self, key: bytes) -> Iterator[None]:
        """Read, ask and write a batch within this: another process or thread that begins with the same row waits for its end.

        A process that is killed leaves no lock. After ten minutes the one that waits asks for itself.

        Args:
            key: of the batch's first row.
        """
        from filelock import FileLock, Timeout

        with contextlib.ExitStack() as held:
            try:
                folder = self.path.with_name("asking")
                folder.mkdir(exist_ok=True)
                lock = FileLock(folder / f"{key[0] % _PLACES}.lock", _PATIENCE, is_singleton=True)  # within a batch, it is open
                with contextlib.suppress(Timeout):
                    held.enter_context(lock.acquire(poll_interval=0.01))
            except OSError as error:
                raise StoreError(_told(self.path, error)) from error
            yield

    def read(self, keys: Sequence[bytes]) -> dict[bytes, Stored]:
        """The answers that are known, by key. Those that are damaged are taken out of the store."""
        found, damaged = {}, []
        with self._connection() as db:
            for start in range(0, len(keys), _MANY):
                some = keys[start : start + _MANY]
                marks = ",".join("?" * len(some))
                for key, scores, seconds in db.execute(f"select * from answers where key in ({marks})", some):
                    if (whole := _checked(key, scores)) is not None:
                        found[key] = Stored(whole, seconds)
                    else:
                        damaged.append((key,))
            if damaged:
                with _transaction(db):
                    db.executemany("delete from answers where key = ?", damaged)
        return found

    def write(self, keys: Sequence[bytes], scores: Float[Tensor, "n k"], seconds: float) -> None:
        """Store answers, all or none of them. What another process stored meanwhile stays.

        Args:
            keys: see :meth:`keys`.
            scores: a row a key.
            seconds: what all of them took.
        """
        each = seconds / len(keys)
        rows = [(key, _signed(key, row.tobytes()), each) for key, row in zip(keys, scores.numpy(), strict=True)]
        with self._connection() as db, _transaction(db):
            db.executemany("insert or ignore into answers values (?, ?, ?)", rows)

    def probe(self, model: str) -> Float[np.ndarray, " k"] | None:
        """What a model said to its probe row when the store first met it; ``None``: it never did."""
        with self._connection() as db:
            found = db.execute("select scores from probes where model = ?", [model]).fetchone()
        return None if found is None else _checked(model.encode(), found[0])

    def write_probe(self, model: str, scores: Float[Tensor, " k"]) -> None:
        """Remember what a model said to its probe row."""
        with self._connection() as db, _transaction(db):
            db.execute("insert or replace into probes values (?, ?)", [model, _signed(model.encode(), scores.numpy().tobytes())])

    def close(self) -> None:
        """Close the file; the next call opens it again."""
        with self._lock:
            if self._open is not None and self._open[0] == os.getpid():
                self._open[1].close()
            self._open = None

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """The open file, of this process alone: SQLite's locks don't survive a fork."""
        with self._lock:
            try:
                if self._open is None or self._open[0] != os.getpid():
                    self._open = os.getpid(), _opened(self.path)
                yield self._open[1]
            except _FAULTS as error:
                raise StoreError(_told(self.path, error)) from error


def rescue(folder: str | Path) -> int:
    """Make a store anew from what can still be read of a damaged one, which is set aside as ``answers.sqlite.damaged``.

    On the command line: ``python -m dax_lightning.black_box.store FOLDER``. What can't be read is asked again.

    Returns:
        How many answers were saved: none where the damage is at the root of the file's tree.

    Raises:
        StoreError: there is no store, or an earlier one was set aside, or the folder can't be written.

    Example:
        >>> import tempfile, torch
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     store = Store(folder)
        ...     store.write([b"0" * 16], torch.tensor([[0.5]]), seconds=0.0)
        ...     store.close()
        ...     rescue(folder)
        1
    """
    old = Path(folder).expanduser().absolute() / _FILE
    aside = old.with_name(f"{_FILE}.damaged")
    if not old.is_file():
        raise StoreError(f"{old} does not exist: give the folder of a store")
    if aside.exists():
        raise StoreError(f"{aside} is there already: move it away first")
    try:
        for end in ("", "-wal", "-shm"):
            if (left := old.with_name(_FILE + end)).exists():
                left.rename(aside.with_name(aside.name + end))
        most = aside.stat().st_size // _LEAST
        with contextlib.closing(sqlite3.connect(aside)) as source, contextlib.closing(_opened(old)) as made, _transaction(made):
            made.executemany("insert or ignore into answers values (?, ?, ?)", _readable(source, most))
            return made.execute("select count(*) from answers").fetchone()[0]
    except _FAULTS as error:
        raise StoreError(_told(old, error)) from error


def _readable(source: sqlite3.Connection, most: int) -> Iterator[tuple[bytes, bytes, float]]:
    """Every answer that its checksum confirms, row by row: a damaged page costs its own rows alone."""
    try:
        last = source.execute("select max(rowid) from answers").fetchone()[0] or 0
    except _FAULTS:
        last = most
    for number in range(1, last + 1):
        try:
            row = source.execute("select * from answers not indexed where rowid = ?", [number]).fetchone()
        except _FAULTS:
            continue
        if row is not None and _checked(row[0], row[1]) is not None:
            yield row


def _opened(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(path, timeout=_WAIT, isolation_level=None, check_same_thread=False)
    try:
        for attempt in range(100):  # two processes that set the mode at once: one is told "locked", whatever its time-out
            try:
                db.execute("pragma journal_mode=wal")
                break
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or attempt == 99:
                    raise
                time.sleep(0.05)
        db.execute("pragma synchronous=full")
        with _transaction(db):
            for line in filter(str.strip, _TABLES.split(";")):
                db.execute(line)
    except BaseException:
        db.close()
        raise
    return db


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("begin immediate")
    try:
        yield
        db.execute("commit")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):  # a full disk has rolled back already
            db.execute("rollback")
        raise


def _signed(key: bytes, scores: bytes) -> bytes:
    return scores + zlib.crc32(key + scores).to_bytes(_CHECK, "little")


def _checked(key: Any, signed: Any) -> Float[np.ndarray, " k"] | None:
    """The scores, or nothing where they are not what was written."""
    if not (isinstance(key, bytes) and isinstance(signed, bytes) and len(signed) > _CHECK and len(signed) % 4 == 0):
        return None
    scores = signed[:-_CHECK]
    return np.frombuffer(scores, np.float32) if _signed(key, scores) == signed else None


def _told(path: Path, error: Exception) -> str:
    """What went wrong, in one line; nothing that was stored before is lost."""
    text = " ".join(str(error).split())
    if "full" in text or getattr(error, "errno", None) == 28:
        told = "make room, and give the same command again; what was answered is kept"
        return f"the store {path} can't grow, its disk is full: {told}"
    if "locked" in text:
        return f"the store {path} is in use by another process for over {_WAIT:.0f} s: wait for it, or give another store=DIR"
    if isinstance(error, UnicodeDecodeError):
        text = "malformed, its tables have no readable names"
    if "not a database" in text or "malformed" in text or "corrupt" in text:
        mend = f"python -m dax_lightning.black_box.store {path.parent}"
        return f"the store {path} is damaged ({text}): `{mend}` saves what can be read, or give another store=DIR"
    return f"the store {path} can't be used ({text}): give a folder that can be written, store=DIR, or store=none"


def store_at(where: str, behind_wire: bool, default: str = "outputs/store") -> Store | None:
    """The store that a setting means.

    Args:
        where: a folder; ``none``; or ``auto``: ``default`` for a model behind a wire, none for a local one.
        behind_wire: whether the model is behind a wire.
        default: a folder.

    Example:
        >>> store_at("none", behind_wire=True) is store_at("auto", behind_wire=False) is None
        True
    """
    if where == "none" or (where == "auto" and not behind_wire):
        return None
    return Store(default if where == "auto" else where)


def command(arguments: Sequence[str]) -> int:
    """``python -m dax_lightning.black_box.store FOLDER``."""
    if len(arguments) != 1:
        print("wanted one argument, the folder of a store: it is made anew from what can be read", file=sys.stderr)
        return 2
    try:
        saved = rescue(arguments[0])
    except StoreError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{saved} answers are saved, what could not be read is asked again; the damaged file is beside them")
    return 0


if __name__ == "__main__":
    sys.exit(command(sys.argv[1:]))
