"""The wire: requests in flight, their pace, time-outs, retries, and the token that no one gets to see."""

import asyncio
import atexit
import contextlib
import logging
import math
import os
import queue
import random
import re
import threading
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar
from urllib.parse import urlsplit

from dax_lightning.errors import InputError, ModelError, cause_of
from dax_lightning.scheme import secret_in

T = TypeVar("T")
_PASSING = {408, 425, 429}  # answers that ask to come again, with all of 5xx
_SHOWN = 200  # characters of a server's own words in an error
_MB = 2**20
_ABSENT = 3  # tries for a server that was never there: a mistyped port is told at once
_IDLE = 2.0  # seconds that an unused connection is kept: less than servers keep theirs, so that none closes under a request


@dataclass(frozen=True)
class Wire:
    """How much goes over the wire at once.

    Args:
        rows_per_request: rows in one request, 1 or more.
        concurrency: requests in flight at once, 1 or more.
        per_second: most requests a second; ``None``: no limit.
        timeout: seconds for one request and the whole of its answer.
        answer_mb: most MiB of one answer that are read.
        token_header: the header that carries the token: ``Authorization`` (as ``Bearer TOKEN``), or another, which gets it bare.

    Raises:
        InputError: a value is out of range.

    Example:
        >>> Wire(concurrency=8).rows_per_request
        16
    """

    rows_per_request: int = 16
    concurrency: int = 4
    per_second: float | None = None
    timeout: float = 60.0
    answer_mb: float = 64.0
    token_header: str = "Authorization"

    def __post_init__(self) -> None:
        for name, least in (("rows_per_request", 1), ("concurrency", 1)):
            if getattr(self, name) < least:
                raise InputError(f"wire.{name}={getattr(self, name)}: it must be at least {least}")
        for name in ("timeout", "answer_mb", "per_second"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise InputError(f"wire.{name}={value}: wanted a number over 0")
        if not re.fullmatch(r"[A-Za-z0-9-]+", self.token_header):
            raise InputError(f"wire.token_header={self.token_header!r}: wanted a header's name, such as X-Api-Key")


@dataclass(frozen=True)
class Retry:
    """When a request is sent again: exponential back-off with jitter.

    A fault of the wire is a lost connection, a time-out, 408, 425, 429, 5xx, or a body that is cut off or no JSON. An odd answer
    is whole, but has NaN, a wrong number of rows, or no scores where they should be. It may be the model's own fault, so it is
    asked for again fewer times.

    Args:
        attempts: most requests for one chunk of rows, 1 or more.
        odd_attempts: most odd answers to one chunk, 1 or more; 1: an odd answer ends the call.
        first: seconds before the second request; they double each time.
        longest: most seconds between two requests.
        jitter: up to so many seconds more, by chance.
        longest_asked: most seconds that a server's ``Retry-After`` is waited for.

    Raises:
        InputError: a value is out of range.

    Example:
        >>> Retry(attempts=1).odd_attempts
        4
    """

    attempts: int = 8
    odd_attempts: int = 4
    first: float = 0.5
    longest: float = 30.0
    jitter: float = 0.5
    longest_asked: float = 120.0

    def __post_init__(self) -> None:
        for name in ("attempts", "odd_attempts"):
            if getattr(self, name) < 1:
                raise InputError(f"retry.{name}={getattr(self, name)}: it must be at least 1")
        for name in ("first", "longest", "jitter", "longest_asked"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"retry.{name}={getattr(self, name)}: wanted seconds, 0 or more")


class Fault(ModelError):
    """What may pass: the request is worth another try.

    Args:
        text: what happened, in one line.
        wait: seconds that the server asked for.
        odd: the answer was whole, but not what a model answers.
        absent: no one is there.
    """

    def __init__(self, text: str, wait: float | None = None, odd: bool = False, absent: bool = False):
        super().__init__(text)
        self.wait, self.odd, self.absent = wait, odd, absent


@dataclass(frozen=True)
class Request:
    """One request, the same each time it is sent.

    Args:
        url: where it goes.
        content: its body; ``None``: a GET.
        headers: beside the client's own.
        ids: names that the answer may echo, of the rows or of the request.
    """

    url: str
    content: bytes | None = None
    headers: Mapping[str, str] | None = None
    ids: tuple[str, ...] = ()


def checked_url(url: str) -> str:
    """The url, if it is one that may stand in a configuration.

    Raises:
        InputError: another scheme, no host, or a secret in it.

    Example:
        >>> checked_url("http://127.0.0.1:8000/predict?version=2")
        'http://127.0.0.1:8000/predict?version=2'
        >>> checked_url("ftp://host/predict")
        Traceback (most recent call last):
            ...
        dax_lightning.errors.InputError: url=ftp://host/predict is no address: wanted http://HOST:PORT/PATH or https://
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise InputError(
            f"url={url.partition('?')[0].rpartition('@')[2]} is no address ({error}): wanted http://HOST:PORT/PATH"
        ) from None
    if secret := secret_in(url):
        raise InputError(
            f"url={shown(url)} holds a secret ({secret}): set token_env=NAME, the name of an environment variable that holds it, "
            "and wire.token_header=HEADER where it isn't a bearer token"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname or not url.isascii() or re.search(r"\s", url):
        raise InputError(f"url={shown(url)} is no address: wanted http://HOST:PORT/PATH or https://")
    return url


def shown(url: str) -> str:
    """The url as errors show it: without user, password and query.

    Example:
        >>> shown("https://me:pw@host:1/a?b=c")
        'https://host:1/a?...'
    """
    parts = urlsplit(url)
    query = "?..." if parts.query else ""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}{query}"


def retry_after(text: str | None, date: str | None, longest: float) -> float | None:
    """Seconds that a ``Retry-After`` asks for; ``None`` where it can't be read.

    A date is compared with the server's own ``Date``, so that a wrong clock here changes nothing.

    Args:
        text: the header, seconds or an HTTP date.
        date: the answer's ``Date``; ``None``: now, by this machine's clock.
        longest: most seconds.

    Example:
        >>> retry_after("7", None, 120.0)
        7.0
        >>> retry_after("Wed, 21 Oct 2015 07:28:30 GMT", "Wed, 21 Oct 2015 07:28:00 GMT", 120.0)
        30.0
    """
    try:
        seconds = float(text or "")
    except ValueError:
        until, now = _instant(text), _instant(date) or datetime.now(UTC)
        if until is None:
            return None
        seconds = (until - now).total_seconds()
    return None if math.isnan(seconds) else float(min(max(seconds, 0.0), longest))


def _instant(text: str | None) -> datetime | None:
    try:
        found = parsedate_to_datetime(text or "")
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


class _Thread:
    """The thread of the wire of one process, with its loop; it ends with the process, after all connections."""

    def __init__(self) -> None:
        self.process, self.loop = os.getpid(), asyncio.new_event_loop()
        self.open: set[_Live] = set()
        self._thread = threading.Thread(target=self.loop.run_forever, name="dax-http", daemon=True)
        self._thread.start()
        atexit.register(self._end)

    def close(self, live: "_Live") -> None:
        """Close one client's connections, some time soon: whoever collects garbage must not wait."""
        self.open.discard(live)
        if self.process == os.getpid() and self.loop.is_running():
            self.loop.call_soon_threadsafe(lambda: self.loop.create_task(live.http.aclose()))

    def _end(self) -> None:
        if self.process != os.getpid():
            return

        async def close_all() -> None:
            for live in list(self.open):
                await live.http.aclose()

        with contextlib.suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(close_all(), self.loop).result(2)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(2)
        if not self._thread.is_alive():
            self.loop.close()


_THREADS: dict[int, _Thread] = {}  # by process
_STARTING = threading.Lock()


def _thread() -> _Thread:
    with _STARTING:
        here = os.getpid()
        if here not in _THREADS:
            _THREADS[here] = _Thread()
        return _THREADS[here]


class _Live:
    """What can't be pickled: the open connections and the pace of one process."""

    def __init__(self, wire: Wire):
        httpx, _ = libraries()
        for name, level in (("httpx", logging.WARNING), ("stamina", logging.ERROR)):
            logger = logging.getLogger(name)  # they have a line for each request, or for each retry
            if logger.level == logging.NOTSET:
                logger.setLevel(level)
        limits = httpx.Limits(max_connections=wire.concurrency, keepalive_expiry=_IDLE)
        self.process, self.slots = os.getpid(), asyncio.Semaphore(wire.concurrency)
        self.http = httpx.AsyncClient(timeout=None, limits=limits, headers={"Accept-Encoding": "identity"})
        self.next = self.resume = -math.inf  # by the loop's clock, which no one sets: of the next request, and of any


def libraries() -> tuple[Any, Any]:
    """httpx and stamina.

    Raises:
        InputError: they are missing.

    Example:
        >>> [library.__name__ for library in libraries()]
        ['httpx', 'stamina']
    """
    try:
        import httpx
        import stamina
    except ImportError as error:
        raise InputError(f"black_box=http needs the package {error.name}: pip install 'dax-lightning[http]'") from error
    return httpx, stamina


class Client:
    """Sends requests to one server, again where that may help. Threads may share it.

    Args:
        wire: how much at once.
        retry: how often.
        token_env: name of the environment variable that holds the token; ``None``: there is none. The value is read for each
            request and is kept nowhere.

    Raises:
        InputError: the variable is not set, or holds what no header can carry; httpx or stamina is missing.

    Example:
        >>> Client(Wire(), Retry(), None).wire.timeout
        60.0
    """

    def __init__(self, wire: Wire, retry: Retry, token_env: str | None):
        libraries()
        self.wire, self.retry, self.token_env = wire, retry, token_env
        self._live: _Live | None = None
        self._reached = False
        self._token()

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_live": None}

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do this work in the thread of the wire, and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, _thread().loop).result()

    def run_asking(self, work: Callable[["Asks"], Coroutine[Any, Any, T]], answer: Callable[[int], None]) -> T:
        """Do this work in the thread of the wire; what it asks is answered here, in the caller's thread.

        An error of ``answer`` ends the work, and is raised as it is.
        """
        asks = Asks()
        job = asyncio.run_coroutine_threadsafe(asks.until_done(work(asks)), _thread().loop)
        try:
            asks.serve(answer)
        except BaseException:
            job.cancel()
            asks.drain()
            raise
        return job.result()

    async def gathered(self, works: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
        """What all of these make, in their order; the first error cancels the others and is raised as it is."""
        tasks = [asyncio.ensure_future(work) for work in works]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def apart(self, function: Callable[[Any], T], rows: Any) -> T:
        """Do what takes the processor in another thread, so that the wire goes on."""
        return await asyncio.to_thread(function, rows)

    async def ask(
        self, request: Request, read: Callable[[bytes, Mapping[str, str]], T], before: Callable[[], Awaitable[Any]]
    ) -> T:
        """What ``read`` makes of the answer to a request, which is sent again where that may help.

        Args:
            request: the request.
            read: takes the body and the headers; it raises a :class:`Fault` where they are not as they should be.
            before: awaited before each request.

        Raises:
            InputError: the server refuses the request, or sends it to another place.
            ModelError: the server can't be reached, or its answers are no scores, as often as it was tried.
        """
        _, stamina = libraries()
        odd, tries = 0, 0

        def again(error: Exception) -> bool | float:
            nonlocal odd
            if not isinstance(error, Fault):
                return False
            odd += error.odd
            nobody = error.absent and not self._reached and tries >= _ABSENT
            if odd >= self.retry.odd_attempts or nobody:
                return False
            return True if error.wait is None else error.wait + random.uniform(0, self.retry.jitter)

        many: dict[str, Any] = {"attempts": self.retry.attempts, "timeout": None, "wait_initial": self.retry.first}
        many |= {"wait_max": self.retry.longest, "wait_jitter": self.retry.jitter}
        fault = ""
        try:
            async for attempt in stamina.retry_context(on=again, **many):
                with attempt:
                    tries += 1
                    return await self._once(request, read, before)
        except Fault as error:
            fault = str(error)
        raise ModelError(f"{shown(request.url)} {self._clean(fault)}, after {tries} {'tries' if tries > 1 else 'try'}")

    async def _once(self, request: Request, read: Callable[..., T], before: Callable[[], Awaitable[Any]]) -> T:
        live = self._alive()
        async with live.slots:
            await self._turn(live)
            await before()
            status, headers, body = await self._sent(live, request)
        if token := self._value().encode():  # which a server may echo
            body = body.replace(token, b"***")
        if 200 <= status < 300:
            return read(body, headers)
        told = " ".join(body.decode(errors="replace").split())[:_SHOWN]
        told = f"answered {status}" + (f" ({told})" if told else "")
        if status in _PASSING or status >= 500:
            wait = retry_after(headers.get("retry-after"), headers.get("date"), self.retry.longest_asked)
            if wait:
                live.resume = max(live.resume, asyncio.get_running_loop().time() + wait)
            raise Fault(f"{told}: wait, or lower wire.concurrency or wire.per_second", wait)
        raise self._refused(request.url, status, told, headers)

    def _refused(self, url: str, status: int, told: str, headers: Mapping[str, str]) -> InputError:
        where = shown(url)
        if 300 <= status < 400:
            place = self._clean(shown(headers.get("location", "nowhere")))
            return InputError(f"{where} sends the request on to {place} ({status}): give url={place} itself, if you trust it")
        fixes = {
            401: "set token_env=NAME, the environment variable that holds the token",
            403: "the token of token_env may not do this: give another",
            404: "check url=, of the Open Inference Protocol http://HOST/v2/models/NAME",
            405: "check url=, it takes no such request",
            413: "lower wire.rows_per_request",
        }
        return InputError(f"{where} {told}: {fixes.get(status, 'check form= and pixels= against what the server wants')}")

    async def _turn(self, live: _Live) -> None:
        """Wait for the pace, and for what the server asked."""
        clock = asyncio.get_running_loop().time
        while True:
            start = max(clock(), live.next, live.resume)
            if self.wire.per_second is not None:
                live.next = start + 1 / self.wire.per_second
            while (left := start - clock()) > 0:
                await asyncio.sleep(left)
            if live.resume <= start:  # nothing else was asked meanwhile
                return

    async def _sent(self, live: _Live, request: Request) -> tuple[int, Mapping[str, str], bytes]:
        httpx, _ = libraries()
        headers = {**(request.headers or {}), **self._token()}
        method, most = "GET" if request.content is None else "POST", int(self.wire.answer_mb * _MB)
        body, absent = bytearray(), False
        try:
            async with (
                asyncio.timeout(self.wire.timeout),
                live.http.stream(method, request.url, content=request.content, headers=headers) as answer,
            ):
                self._reached = True
                if answer.headers.get("content-encoding", "identity") != "identity":
                    raise InputError(f"{shown(request.url)} packs its answers, which was not asked for: turn that off there")
                async for part in answer.aiter_raw():
                    body += part
                    if len(body) > most:
                        wanted = f"more than wire.answer_mb={self.wire.answer_mb:g} MiB"
                        raise InputError(f"{shown(request.url)} answers {wanted}: raise it, or lower wire.rows_per_request")
                return answer.status_code, answer.headers, bytes(body)
        except TimeoutError:
            told = f"gave no answer within wire.timeout={self.wire.timeout:g} seconds"
        except httpx.ConnectError as error:
            told, absent = f"can't be reached ({cause_of(error, _SHOWN)}): start the server, or check url=", True
        except httpx.TransportError as error:
            told = f"lost the connection ({cause_of(error, _SHOWN)})"
        raise Fault(told, absent=absent)  # out of the except: httpx's error holds the request and so the token

    def _alive(self) -> _Live:
        if self._live is None or self._live.process != os.getpid():
            self._live, thread = _Live(self.wire), _thread()
            thread.open.add(self._live)
            weakref.finalize(self, thread.close, self._live).atexit = False
        return self._live

    def _token(self) -> dict[str, str]:
        """The header with the token."""
        if self.token_env is None:
            return {}
        token = self._value()
        if not token:
            raise InputError(f"token_env={self.token_env}: no such environment variable is set: export it, or check its name")
        if not re.fullmatch(r"[\x21-\x7e]+", token):
            raise InputError(
                f"token_env={self.token_env}: the variable holds what no header can carry: wanted letters without spaces"
            )
        header = self.wire.token_header
        return {header: f"Bearer {token}" if header.lower() == "authorization" else token}

    def _clean(self, text: str) -> str:
        """The text without the token."""
        token = self._value()
        return text.replace(token, "***") if token else text

    def _value(self) -> str:
        """The token; empty: there is none."""
        return os.environ.get(self.token_env, "").strip() if self.token_env else ""


class Asks:
    """Questions from the thread of the wire, answered one by one in the thread that waits for the work.

    The caller may hold locks, or count for its own thread: so it is not called from another.

    Example:
        >>> async def work(asks):
        ...     await asks.put(3)
        >>> Client(Wire(), Retry(), None).run_asking(work, print)
        3
    """

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[tuple[int, asyncio.Future[None]] | None] = queue.SimpleQueue()

    async def put(self, number: int) -> None:
        """Ask, and wait for the answer."""
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.put((number, answered))
        await answered

    async def until_done(self, work: Coroutine[Any, Any, T]) -> T:
        """The work, after which no more questions come."""
        try:
            return await work
        finally:
            self._queue.put(None)

    def serve(self, answer: Callable[[int], None]) -> None:
        """Answer until the work is done."""
        while (ask := self._queue.get()) is not None:
            number, answered = ask
            answer(number)
            _thread().loop.call_soon_threadsafe(_grant, answered)

    def drain(self) -> None:
        """Wait until the work, which was cancelled, is over."""
        try:
            while self._queue.get(timeout=5) is not None:
                pass
        except queue.Empty:  # it was cancelled before it began
            pass


def _grant(answered: "asyncio.Future[None]") -> None:
    if not answered.done():
        answered.set_result(None)
