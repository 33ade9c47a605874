"""A black box behind HTTP."""

import hashlib
import json
import re
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dax_lightning.black_box.answers import Outputs
from dax_lightning.black_box.base import BlackBox, class_names
from dax_lightning.black_box.function import image_input
from dax_lightning.black_box.http.forms import Codec, Form, OpenInference, Own, Pixels
from dax_lightning.black_box.http.wire import Asks, Client, Fault, Request, Retry, Wire, checked_url, shown
from dax_lightning.errors import InputError, cause_of
from dax_lightning.inputs.base import Input

_V2 = re.compile(r"^(.*?)(/v2/models/[^/]+(?:/versions/[^/]+)?)(?:/infer)?/?$")
_ASK = "server"  # classes that the server names
_SIZE = (224, 224)
_FORM, _PIXELS, _WIRE, _RETRY = Form(), Pixels(), Wire(), Retry()


def _free(rows: int) -> None:
    """Nothing is spent."""


class HttpModel:
    """What answers behind a url, as a :class:`~dax_lightning.black_box.base.Model`.

    One call sends several requests side by side, and again where that may help. Answers come back in the order of the rows.

    Args:
        url: ``http://HOST/v2/models/NAME`` is the Open Inference Protocol; any other takes our own form, see :class:`Form`.
        shape: (c, *space) of one row; ``None``: what the server's metadata says.
        form: what requests and answers look like.
        pixels: what a row's numbers are when they are sent.
        classes: class names in order; ``server``: the server names them; ``None``: the same, if the protocol is v2.
        token_env: name of the environment variable with the token; the token itself is kept nowhere.
        wire: how much is sent at once.
        retry: how often, and when.

    Attributes:
        spend: called with the number of rows before each request of rows, retries included, in the thread that called
            :meth:`scores`. What it raises ends the call, unchanged.
        behind_wire: true: rows cost time or money even where they are asked again.
        fingerprint: of the url, the form, and the server's metadata.

    Raises:
        InputError: the url or a setting can't be right, or the server gives no metadata where they are needed.

    Example:
        >>> model = HttpModel("http://127.0.0.1:8000/predict", (3, 32, 32), classes=("cat", "dog"))
        >>> model
        HttpModel(url=http://127.0.0.1:8000/predict, own form)
    """

    behind_wire = True

    def __init__(
        self,
        url: str,
        shape: tuple[int | None, ...] | None = None,
        form: Form = _FORM,
        pixels: Pixels = _PIXELS,
        classes: tuple[str, ...] | str | None = None,
        token_env: str | None = None,
        wire: Wire = _WIRE,
        retry: Retry = _RETRY,
    ):
        url = checked_url(url)
        self._client = Client(wire, retry, token_env)
        self.spend: Callable[[int], None] = _free
        self.metadata: Mapping[str, Any] = {}
        found = _V2.match(url)
        if found:
            self.url, root = "".join(found.groups()), found[1]
            self.metadata = self._told(self.url)
            binary = form.rows == "auto" and self._takes_binary(f"{root}/v2")
            protocol = OpenInference(self.url, form, pixels, self.metadata, binary)
            self.shape = self._agreed(protocol.shape, shape)
            self._codec: Codec = protocol
        else:
            self.url = url
            self.metadata = self._told(url) if classes == _ASK else {}
            self.shape = shape or _shape_in(self.metadata)
            self._codec = Own(url, form, pixels, self.shape)
        named = classes in (None, _ASK)
        self.classes = _classes_in(self.metadata, url, needed=classes == _ASK) if named else class_names(classes)
        facts = {**self._codec.facts, "url": self.url, "metadata": json.dumps(self.metadata, sort_keys=True)}
        self.fingerprint = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
        self._columns: int | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        kind = "Open Inference Protocol" if isinstance(self._codec, OpenInference) else "own form"
        return f"HttpModel(url={shown(self.url)}, {kind})"

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=threading.Lock())

    def scores(self, rows: Float[Tensor, "n c *space"]) -> Float[Tensor, "n k"]:
        """The server's scores.

        Raises:
            InputError: the server refuses the request.
            ModelError: it can't be reached, or answers no scores, as often as it was tried.
        """
        most = min(self._client.wire.rows_per_request, self._codec.most or len(rows))
        chunks = [chunk.numpy() for chunk in rows.split(most)]

        async def all_of(asks: Asks) -> list[Any]:
            return await self._client.gathered([self._one(chunk, asks) for chunk in chunks])

        return torch.from_numpy(np.concatenate(self._client.run_asking(all_of, self._spent)))

    async def _one(self, rows: Any, asks: Asks) -> Any:
        request = await self._client.apart(self._codec.request, rows)

        def read(body: bytes, headers: Mapping[str, str]) -> Any:
            table = self._codec.scores(request, len(rows), body, headers)
            if self._columns not in (None, table.shape[1]):
                raise Fault(f"answered {table.shape[1]} scores a row, before it were {self._columns}", odd=True)
            self._columns = table.shape[1]
            return table

        return await self._client.ask(request, read, lambda: asks.put(len(rows)))

    def _spent(self, rows: int) -> None:
        with self._lock:
            self.spend(rows)

    def _told(self, url: str) -> Mapping[str, Any]:
        """The server's metadata."""

        def read(body: bytes, _: Mapping[str, str]) -> Any:
            try:
                answer = json.loads(body)
            except (ValueError, RecursionError) as error:
                raise Fault(f"gave metadata that are no JSON ({cause_of(error, 80)})") from None
            if not isinstance(answer, dict):
                raise Fault(f"gave metadata that are a {type(answer).__name__}, wanted an object", odd=True)
            return answer

        return self._client.run(self._client.ask(Request(url), read, _at_once))

    def _takes_binary(self, url: str) -> bool:
        try:
            listed = self._told(url).get("extensions")
        except InputError:  # a server needn't have that page: JSON always works
            return False
        return isinstance(listed, list) and any("binary" in str(name) for name in listed)

    def _agreed(self, served: tuple[int | None, ...], wanted: tuple[int | None, ...] | None) -> tuple[int | None, ...]:
        """The shape of a row, where the server's and the user's fit."""
        if wanted is None:
            return served
        pairs = zip(served, wanted, strict=False)
        if len(served) != len(wanted) or any(None not in pair and pair[0] != pair[1] for pair in pairs):
            told = f"{shown(self.url)} takes rows of shape {served}, not {wanted}"
            raise InputError(f"{told}: leave size= and channels= to it, or set pixels.layout")
        return tuple(mine if theirs is None else theirs for theirs, mine in zip(served, wanted, strict=True))


def from_http(
    url: str,
    size: int | tuple[int, int] | list[int] | Input | None = None,
    channels: int = 3,
    form: Form = _FORM,
    pixels: Pixels = _PIXELS,
    classes: str | list[str] | tuple[str, ...] | None = None,
    outputs: Outputs = "probabilities",
    multi_label: bool = False,
    batch_size: int = 64,
    token_env: str | None = None,
    wire: Wire = _WIRE,
    retry: Retry = _RETRY,
    input: Input | None = None,
) -> BlackBox:
    """A black box behind HTTP.

    Needs ``pip install 'dax-lightning[http]'``.

    Args:
        url: ``http://HOST/v2/models/NAME`` is the Open Inference Protocol (KServe, Triton, MLServer); any other takes our own.
        size: (H, W) in pixels; or an ``Input``; ``None``: what the server's metadata says, else (224, 224).
        channels: 3 for RGB, 1 for greyscale; an ``Input`` and the server's metadata have their own.
        form: what requests and answers look like, see :class:`Form`.
        pixels: layout, type, mean and std of what is sent, see :class:`Pixels`.
        classes: class names, or a text file with one a line; ``server``: a GET of ``url`` names them.
        outputs: what the server returns: ``probabilities`` or ``logits``. A single column is two classes.
        multi_label: each class is its own yes or no: sigmoids, no softmax, and rows needn't sum to 1.
        batch_size: rows of one call; they go in several requests, see :class:`Wire`.
        token_env: name of the environment variable that holds the token; the token itself is written nowhere.
        wire: requests in flight, their pace and their size, see :class:`Wire`.
        retry: when a request is sent again, see :class:`Retry`.
        input: another kind of input than photographs: ``kind=wave`` on the command line. The same as an ``Input`` for ``size``.

    Raises:
        InputError: the url or a setting can't be right, or the server gives no metadata where they are needed.

    Example:
        >>> from_http("http://127.0.0.1:8000/predict", size=32).input.shape
        (3, 32, 32)
    """
    given = size if input is None else input
    asked = bool(_V2.match(url)) or classes == _ASK
    known = image_input(given, channels) if given is not None else None if asked else image_input(_SIZE, channels)
    names = tuple(classes) if isinstance(classes, list) else classes
    names = names if names in (None, _ASK) else class_names(names)
    model = HttpModel(url, known.shape if known else None, form, pixels, names, token_env, wire, retry)
    return BlackBox(model, known or _photographs(model), outputs, multi_label, batch_size)


def _photographs(model: HttpModel) -> Input:
    """The input that the server's metadata tell of."""
    if len(model.shape) != 3 or None in model.shape:
        told = f"rows of shape {model.shape}" if model.shape else "no shape"
        raise InputError(f"{shown(model.url)} tells of {told}: give size=[HEIGHT,WIDTH], or kind= where it takes no photographs")
    channels, height, width = (int(side or 0) for side in model.shape)
    return image_input((height, width), channels)


def _shape_in(metadata: Mapping[str, Any]) -> tuple[int | None, ...]:
    shape = metadata.get("shape")
    fits = isinstance(shape, list) and all(side is None or (isinstance(side, int) and side > 0) for side in shape)
    return tuple(shape) if fits and shape else ()


def _classes_in(metadata: Mapping[str, Any], url: str, needed: bool) -> tuple[str, ...] | None:
    parameters = metadata.get("parameters")
    inner = parameters.get("classes") if isinstance(parameters, dict) else None
    listed = metadata.get("classes", inner)
    if isinstance(listed, list) and listed:
        return tuple(map(str, listed))
    if needed:
        raise InputError(f"classes={_ASK}, but {shown(url)} names none: give a list, or a text file with one name a line")
    return None


async def _at_once() -> None:
    """Metadata cost nothing."""
