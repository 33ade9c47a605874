"""What a request and an answer look like: arrays to bodies, bodies to scores."""

import base64
import hashlib
import io
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float, Shaped
from PIL import Image

from dax_lightning.black_box.http.path import find, parsed
from dax_lightning.black_box.http.wire import Fault, Request
from dax_lightning.errors import InputError

Rows = Literal["auto", "json", "npy", "npy_body", "png", "binary"]
Layout = Literal["auto", "NCHW", "NHWC"]
Dtype = Literal["auto", "float32", "float16", "float64", "uint8"]
Numbers = float | tuple[float, ...] | list[float] | None
_OWN, _V2 = ("json", "npy", "npy_body", "png"), ("json", "binary")
_TEMPLATE: Mapping[str, Any] = {"rows": [{"id": "$id", "data": "$row"}]}
_EACH, _WHOLE = ("$row", "$id"), ("$rows", "$ids")
_TYPES = {"FP32": "<f4", "FP64": "<f8", "FP16": "<f2", "UINT8": "|u1", "INT8": "|i1", "INT32": "<i4", "INT64": "<i8"}
_SENT: dict[str, Dtype] = {
    "FP32": "float32",
    "FP64": "float64",
    "FP16": "float16",
    "UINT8": "uint8",
}  # datatypes that rows can be sent in
_HEADER = "Inference-Header-Content-Length"
_SHOWN = 200


@dataclass(frozen=True)
class Pixels:
    """What the numbers of a row are when they are sent.

    Args:
        layout: ``NCHW`` or ``NHWC``; ``auto``: as the server's metadata has it, else ``NCHW``.
        dtype: ``float32``, ``float16``, ``float64``, or ``uint8``: 0 to 255; ``auto``: the server's, else ``float32``.
        mean: a value a channel, or one for all, subtracted from rows in [0, 1]; ``None``: 0.
        std: a value a channel, or one for all, divided by; ``None``: 1.

    Raises:
        InputError: an unknown choice, or ``std`` is not over 0.

    Example:
        >>> Pixels("NHWC", "uint8").array(np.ones((2, 3, 4, 5), np.float32)).shape
        (2, 4, 5, 3)
    """

    layout: Layout = "auto"
    dtype: Dtype = "auto"
    mean: Numbers = None
    std: Numbers = None

    def __post_init__(self) -> None:
        for name, choices in (("layout", Layout), ("dtype", Dtype)):
            if getattr(self, name) not in get_args(choices):
                raise InputError(f"pixels.{name}={getattr(self, name)}: choose one of {', '.join(get_args(choices))}")
        if self.std is not None and not (np.asarray(self.std) > 0).all():
            raise InputError(f"pixels.std={self.std}: rows are divided by it, wanted over 0")
        if self.dtype == "uint8" and not self.plain:
            raise InputError("pixels.dtype=uint8 with a mean or std: bytes are 0 to 255, send float32")

    @property
    def plain(self) -> bool:
        """Whether values go as they are."""
        return self.mean is None and self.std is None

    def array(self, rows: Shaped[np.ndarray, "n c *space"]) -> Shaped[np.ndarray, "n ..."]:
        """Rows as they are sent."""
        if not self.plain:
            mean, std = (_a_channel(values, rows.shape[1], rows.ndim) for values in (self.mean or 0.0, self.std or 1.0))
            rows = (rows - mean) / std
        rows = np.moveaxis(rows, 1, -1) if self.layout == "NHWC" else rows
        if self.dtype == "uint8":
            rows = np.rint(np.clip(rows, 0, 1) * 255)
        return np.ascontiguousarray(rows, dtype="float32" if self.dtype == "auto" else self.dtype)


@dataclass(frozen=True)
class Form:
    """What a request and its answer look like.

    Args:
        rows: how rows are written. In our own form: ``json`` lists, ``npy`` (base64), ``npy_body`` (the body is one .npy file) or
            ``png`` (base64, which rounds to 8 bits); ``auto`` is ``npy``. In the Open Inference Protocol: ``json`` or ``binary``;
            ``auto`` is ``binary`` where the server's metadata has that extension.
        template: our own form's body. ``$row`` and ``$id`` stand for one row: the list around them is repeated. ``$rows`` and
            ``$ids`` stand for all. ``None``: ``{rows: [{id: $id, data: $row}]}``.
        scores: our own form's path to the scores in the answer: dotted keys, ``[0]`` and ``[*]``.
        ids: our own form's path to the ids, if the server echoes them; rows are put back in their order by them.
        output: the Open Inference Protocol's output that holds the scores; ``None``: the only one.

    Raises:
        InputError: an unknown choice, a path that can't be read, or a template without rows.

    Example:
        >>> Form(template={"instances": "$rows"}, scores="predictions[*]").rows
        'auto'
    """

    rows: Rows = "auto"
    template: Mapping[str, Any] | None = None
    scores: str = "predictions[*].scores"
    ids: str = "predictions[*].id"
    output: str | None = None

    def __post_init__(self) -> None:
        if self.rows not in get_args(Rows):
            raise InputError(f"form.rows={self.rows}: choose one of {', '.join(get_args(Rows))}")
        for name in ("scores", "ids"):
            parsed(getattr(self, name), f"form.{name}")
        if self.template is not None and not _mentions(self.template, (_EACH[0], _WHOLE[0])):
            raise InputError("form.template has neither $row nor $rows: say where the rows go, as in {instances: $rows}")


class Codec(ABC):
    """One form of requests to one url.

    Attributes:
        most: most rows of one request; ``None``: any number.
        facts: what tells this model from another, for its fingerprint.
    """

    most: int | None = None
    facts: Mapping[str, Any]

    @abstractmethod
    def request(self, rows: Shaped[np.ndarray, "n c *space"]) -> Request:
        """The request for these rows."""

    @abstractmethod
    def scores(self, request: Request, n: int, body: bytes, headers: Mapping[str, str]) -> Float[np.ndarray, "n k"]:
        """The scores in the answer to a request of ``n`` rows.

        Raises:
            Fault: they are not there.
        """


class Own(Codec):
    """The small form of our own, see :class:`Form`.

    Args:
        url: where rows go.
        form: what is sent and read.
        pixels: what a row's numbers are.
        shape: (c, *space) of one row.

    Raises:
        InputError: ``form.rows`` is not of this form, or can't carry such rows.

    Example:
        >>> codec = Own("http://127.0.0.1/predict", Form(rows="json"), Pixels(), (1, 1, 2))
        >>> json.loads(codec.request(np.zeros((1, 1, 1, 2), np.float32)).content)["rows"][0]["data"]
        [[[0.0, 0.0]]]
    """

    def __init__(self, url: str, form: Form, pixels: Pixels, shape: tuple[int | None, ...]):
        self.url, self.kind = url, "npy" if form.rows == "auto" else form.rows
        if self.kind not in _OWN:
            raise InputError(f"form.rows={form.rows} is for a url with /v2/models/NAME: choose one of {', '.join(_OWN)}")
        if self.kind == "png":
            if len(shape) != 3 or shape[0] not in (1, 3):
                raise InputError(f"form.rows=png for rows of shape {shape}: pictures have 1 or 3 channels, choose npy or json")
            if not pixels.plain or pixels.dtype not in ("auto", "uint8") or pixels.layout == "NCHW":
                raise InputError(
                    "form.rows=png with pixels= set: a PNG has bytes, channels last, without mean and std: choose npy"
                )
            pixels = Pixels("NHWC", "uint8")
        self.pixels, self.template = pixels, _TEMPLATE if form.template is None else form.template
        self._scores, self._ids = parsed(form.scores, "form.scores"), parsed(form.ids, "form.ids")
        self.most = 1 if self.kind != "npy_body" and _alone(self.template) else None
        self._whole, self._named = _mentions(self.template, _WHOLE[:1]), _mentions(self.template, (_EACH[1], _WHOLE[1]))
        self.facts = {"form": str(form), "pixels": str(pixels)}

    def request(self, rows: Shaped[np.ndarray, "n c *space"]) -> Request:
        """See above."""
        array = self.pixels.array(rows)
        if self.kind == "npy_body":
            return Request(self.url, _npy(array), {"Content-Type": "application/x-npy", "Accept": "application/json"})
        names = _names(array)
        each = [{"$row": self._one(row), "$id": name} for row, name in zip(array, names, strict=True)]
        rows_whole = _npy64(array) if self.kind == "npy" and self._whole else [one["$row"] for one in each]
        whole = {"$rows": rows_whole, "$ids": names, **(each[0] if self.most else {})}
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        return Request(self.url, _json(_filled(self.template, whole, each)), headers, tuple(names) if self._named else ())

    def scores(self, request: Request, n: int, body: bytes, headers: Mapping[str, str]) -> Float[np.ndarray, "n k"]:
        """See above; rows are in the order of their ids, where the server echoes them."""
        answer = _parsed(body)
        try:
            table = _table(find(answer, self._scores), n)
        except LookupError as error:
            told = _own_words(answer)
            raise Fault(
                f"answered without scores at form.scores ({told or error}): set form.scores to where they are", odd=True
            ) from None
        echoed = self._echoed(answer) if request.ids else None
        return table if echoed is None else table[_order(echoed, request.ids)]

    def _one(self, row: Shaped[np.ndarray, "..."]) -> Any:
        if self.kind == "json":
            return row.tolist()
        return _npy64(row) if self.kind == "npy" else _png64(row)

    def _echoed(self, answer: Any) -> list[Any] | None:
        try:
            found = find(answer, self._ids)
        except LookupError:
            return None
        return found if isinstance(found, list) else [found]


class OpenInference(Codec):
    """The Open Inference Protocol, version 2, with Triton's extension for binary tensors.

    Source: https://github.com/kserve/open-inference-protocol; the extension: Triton's ``extension_binary_data``.

    Args:
        url: ``http://HOST/v2/models/NAME``, with ``/versions/V`` or without.
        form: see :class:`Form`.
        pixels: what a row's numbers are.
        metadata: the answer to a GET of ``url``.
        binary: whether the server takes binary tensors.

    Raises:
        InputError: the metadata tells of no single input that takes rows.

    Example:
        >>> tensor = {"name": "x", "datatype": "FP32", "shape": [-1, 3, 4, 5]}
        >>> metadata = {"inputs": [tensor], "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}]}
        >>> OpenInference("http://127.0.0.1/v2/models/m", Form(), Pixels(), metadata, binary=False).shape
        (3, 4, 5)
    """

    def __init__(self, url: str, form: Form, pixels: Pixels, metadata: Mapping[str, Any], binary: bool):
        self.url, self.kind = url, ("binary" if binary else "json") if form.rows == "auto" else form.rows
        if self.kind not in _V2:
            raise InputError(f"form.rows={form.rows} is of our own form: the Open Inference Protocol has {' and '.join(_V2)}")
        self.input, self.output = _only(metadata, "inputs", None), _only(metadata, "outputs", form.output)["name"]
        kind = str(self.input.get("datatype"))
        if kind not in _SENT:
            raise InputError(f"the server's model takes {kind}: wanted one of {', '.join(_SENT)}, pixels or numbers")
        if kind == "FP16" and self.kind == "json":
            raise InputError("the server's model takes FP16, which JSON can't carry: form.rows=binary")
        if pixels.dtype not in ("auto", _SENT[kind]):
            raise InputError(f"pixels.dtype={pixels.dtype}, but the server's model takes {kind}: leave it auto")
        axes = [int(side) for side in self.input.get("shape", ())]
        self.batched = len(axes) != 3 or axes[0] < 0  # (c, H, W) alone is one picture
        layout = _layout(axes[self.batched :], pixels.layout)
        self.pixels = Pixels(layout, _SENT[kind], pixels.mean, pixels.std)
        self.most = _most(axes) if self.batched else 1
        self.facts = {"form": str(form), "pixels": str(self.pixels), "metadata": json.dumps(metadata, sort_keys=True)}
        ends = axes[self.batched :]
        first = ends[-1:] + ends[:-1] if layout == "NHWC" else ends
        self.shape = tuple(side if side > 0 else None for side in first)

    def request(self, rows: Shaped[np.ndarray, "n c *space"]) -> Request:
        """See above."""
        array = self.pixels.array(rows)
        sent = array if self.batched else array[0]
        tensor = {"name": self.input["name"], "shape": list(sent.shape), "datatype": self.input["datatype"]}
        name = hashlib.sha256(sent.data).hexdigest()[:16]
        body: dict[str, Any] = {"id": name, "inputs": [tensor]}
        headers = {"Content-Type": "application/json"}
        if self.kind == "json":
            tensor["data"] = sent.ravel().tolist()
            return Request(f"{self.url}/infer", _json({**body, "outputs": [{"name": self.output}]}), headers, (name,))
        raw = sent.astype(_TYPES[tensor["datatype"]]).tobytes()
        tensor["parameters"] = {"binary_data_size": len(raw)}
        head = _json({**body, "outputs": [{"name": self.output, "parameters": {"binary_data": True}}]})
        headers = {"Content-Type": "application/octet-stream", _HEADER: str(len(head))}
        return Request(f"{self.url}/infer", head + raw, headers, (name,))

    def scores(self, request: Request, n: int, body: bytes, headers: Mapping[str, str]) -> Float[np.ndarray, "n k"]:
        """See above."""
        length = headers.get(_HEADER.lower()) or headers.get(_HEADER)
        head = _length(length, len(body)) if length is not None else len(body)
        answer = _parsed(body[:head])
        try:
            outputs = {str(one["name"]): one for one in answer["outputs"]}
            tensor = outputs[self.output]
            values = _binary(answer["outputs"], self.output, body[head:]) if length is not None else None
            if values is None:
                values = np.asarray(tensor["data"])
            table = _numbers(values.ravel()).reshape([int(side) for side in tensor["shape"]])
        except Fault:
            raise
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            told = _own_words(answer) or f"{type(error).__name__}: {error}"
            raise Fault(f"answered without a whole output {self.output} ({told[:_SHOWN]}): set form.output", odd=True) from None
        if answer.get("id") not in (None, "", *request.ids):
            raise Fault(f"answered another request (id {str(answer['id'])[:_SHOWN]}, wanted {request.ids[0]})", odd=True)
        if not self.batched and (table.ndim == 1 or table.shape[0] != 1):
            table = table[None]
        if table.ndim == 0 or len(table) != n:
            raise _other_rows(len(table) if table.ndim else 0, n)
        return _finite(table.reshape(n, -1))


def _a_channel(values: Any, channels: int, axes: int) -> Shaped[np.ndarray, "..."]:
    given = np.asarray(values, dtype=np.float32).ravel()
    if len(given) not in (1, channels):
        raise InputError(f"{len(given)} values of pixels.mean or std for {channels} channels: wanted one each")
    return given.reshape(-1, *[1] * (axes - 2))


def _json(body: Any) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()


def _npy(array: Shaped[np.ndarray, "..."]) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def _npy64(array: Shaped[np.ndarray, "..."]) -> str:
    return base64.b64encode(_npy(array)).decode()


def _png64(row: Shaped[np.ndarray, "h w c"]) -> str:
    file = io.BytesIO()
    Image.fromarray(row[..., 0] if row.shape[-1] == 1 else row).save(file, "PNG", compress_level=1)
    return base64.b64encode(file.getvalue()).decode()


def _names(array: Shaped[np.ndarray, "n ..."]) -> list[str]:
    """An id a row, by its place and its content: an answer to other rows is told, and equal requests are equal bit for bit."""
    return [f"{place}-{hashlib.sha256(row.data).hexdigest()[:12]}" for place, row in enumerate(array)]


def _mentions(node: Any, names: Sequence[str]) -> bool:
    if isinstance(node, Mapping):
        return any(_mentions(value, names) for value in node.values())
    return any(_mentions(item, names) for item in node) if isinstance(node, list) else node in names


def _alone(node: Any) -> bool:
    """Whether a row stands outside of any list, so that a request carries one."""
    if isinstance(node, Mapping):
        return any(_alone(value) for value in node.values())
    return isinstance(node, str) and node in _EACH


def _filled(node: Any, whole: Mapping[str, Any], each: Sequence[Mapping[str, Any]]) -> Any:
    if isinstance(node, Mapping):
        return {key: _filled(value, whole, each) for key, value in node.items()}
    if isinstance(node, list):
        return [
            made
            for item in node
            for made in (
                [_filled(item, {**whole, **one}, []) for one in each]
                if each and _mentions(item, _EACH)
                else [_filled(item, whole, each)]
            )
        ]
    return whole.get(node, node) if isinstance(node, str) else node


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Fault(f"answered with no whole JSON ({type(error).__name__} in {len(body)} bytes)") from None


def _own_words(answer: Any) -> str:
    """What a server says where it has no scores."""
    told = next((answer[key] for key in ("error", "detail", "message") if key in answer), "") if isinstance(answer, dict) else ""
    return " ".join(str(told).split())[:_SHOWN]


def _numbers(values: Shaped[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    if values.dtype.kind not in "fiu":
        raise ValueError(f"{values.dtype} where numbers were wanted")
    return values.astype(np.float64)


def _table(found: Any, n: int) -> Float[np.ndarray, "n k"]:
    try:
        values = _numbers(np.asarray(found))
    except (ValueError, OverflowError) as error:  # rows of several lengths, text, null
        told = " ".join(str(error).split())[:_SHOWN]
        raise Fault(f"answered with what is no table of scores ({told}): set form.scores to where they are", odd=True) from None
    if n == 1 and values.ndim == 1 and len(values) > 1:
        values = values[None]
    if values.ndim == 0 or len(values) != n:
        raise _other_rows(len(values) if values.ndim else 0, n)
    if values.ndim > 2 or values.size == 0:
        raise Fault(f"answered with scores of shape {values.shape}, wanted ({n}, classes): set form.scores", odd=True)
    return _finite(values.reshape(n, -1))


def _finite(table: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n k"]:
    if not np.isfinite(table).all():
        raise Fault("answered with NaN or infinite scores: check the model behind it", odd=True)
    return table


def _other_rows(came: int, wanted: int) -> Fault:
    return Fault(f"answered {came} rows, wanted {wanted}: set form.scores to a list with an entry a row", odd=True)


def _order(echoed: list[Any], sent: Sequence[str]) -> list[int]:
    place = {str(name): row for row, name in enumerate(echoed)}
    if len(place) != len(echoed) or set(place) != set(sent):
        raise Fault(
            f"answered with ids of other rows than the {len(sent)} it was sent: set form.ids to where it echoes them", odd=True
        )
    return [place[name] for name in sent]


def _only(metadata: Any, key: str, wanted: str | None) -> Mapping[str, Any]:
    listed = metadata.get(key) if isinstance(metadata, Mapping) else None
    named = {str(one["name"]): one for one in listed or () if isinstance(one, Mapping) and "name" in one}
    if wanted is not None and wanted in named:
        return named[wanted]
    if wanted is not None or len(named) != 1:
        told = f"form.output={wanted}" if wanted is not None else f"one of its {key}"
        fix = "set form.output" if key == "outputs" else "serve a model that takes rows alone"
        raise InputError(f"{told} is wanted, but the server's metadata has {', '.join(named) or 'none'}: {fix}")
    return next(iter(named.values()))


def _layout(ends: list[int], wanted: Layout) -> Layout:
    """Of (c, H, W) or (H, W, c): where 1, 3 or 4 channels stand."""
    if wanted != "auto" or len(ends) != 3:
        return "NCHW" if wanted == "auto" else wanted
    return "NHWC" if ends[2] in (1, 3, 4) and ends[0] not in (1, 3, 4) else "NCHW"


def _most(axes: list[int]) -> int | None:
    """Most rows a request."""
    if not axes or axes[0] < 0:
        return None
    if axes[0] > 1:
        raise InputError(
            f"the server's model takes exactly {axes[0]} rows at once: serve it with a batch of any size (-1), or of 1"
        )
    return 1


def _length(text: str, total: int) -> int:
    if not text.isdigit() or int(text) > total:
        raise Fault(f"answered with {_HEADER}: {text[:20]} for {total} bytes")
    return int(text)


def _binary(outputs: Sequence[Mapping[str, Any]], wanted: str, raw: bytes) -> Shaped[np.ndarray, "..."] | None:
    """The numbers of one output among those that follow the JSON; ``None`` where it is in the JSON."""
    place = 0
    for one in outputs:
        size = (one.get("parameters") or {}).get("binary_data_size")
        if one["name"] == wanted:
            if size is None:
                return None
            values = raw[place : place + size]
            if len(values) != size or size != math.prod(one["shape"]) * np.dtype(_TYPES[one["datatype"]]).itemsize:
                raise Fault(f"answered with {len(values)} bytes of {wanted}, wanted {size}")
            return np.frombuffer(values, _TYPES[one["datatype"]])
        place += size or 0
    return None
