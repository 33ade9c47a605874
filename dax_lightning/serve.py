"""Serve a black box over HTTP: in our own form, and by the Open Inference Protocol v2."""

import base64
import hmac
import io
import json
import math
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped
from PIL import Image
from torch import Tensor

from dax_lightning.black_box.base import BlackBox
from dax_lightning.errors import BudgetExceeded, InputError

_MB = 2**20
_TYPES = {"FP32": "<f4", "FP64": "<f8", "FP16": "<f2", "UINT8": "|u1"}
_HEADER = "Inference-Header-Content-Length"


class _Refused(Exception):
    """What a client sent can't be taken: a status and a line."""

    def __init__(self, status: int, told: str):
        super().__init__(told)
        self.status, self.told = status, told


def app(
    black_box: BlackBox, name: str = "model", most_rows: int = 256, body_mb: float = 256.0, token_env: str | None = None
) -> Any:
    """A FastAPI application that answers with a black box's probabilities.

    ``POST /predict`` takes our own form, ``POST /v2/models/NAME/infer`` the Open Inference Protocol v2, as JSON and as binary
    tensors. A GET of either url gives the metadata; ``GET /rows`` counts the rows answered so far.
    Needs ``pip install 'dax-lightning[serve]'``.

    Args:
        black_box: what answers.
        name: the model's name in urls.
        most_rows: most rows of one request.
        body_mb: most MiB of one request; more is refused before it is read, and pictures of another size before they are decoded.
        token_env: name of the environment variable with the token that clients must send; ``None``: anyone may ask.

    Raises:
        InputError: FastAPI is missing, or the variable is not set.

    Example:
        >>> from dax_lightning.testing import QuarterBox
        >>> app(QuarterBox(), name="quarters").title
        'quarters'
    """
    try:
        import fastapi
        from fastapi.concurrency import run_in_threadpool
        from fastapi.responses import JSONResponse, Response
    except ImportError as error:
        raise InputError(f"serving needs the package {error.name}: pip install 'dax-lightning[serve]'") from error
    token = _token(token_env)
    made, lock = fastapi.FastAPI(title=name, docs_url=None, redoc_url=None, openapi_url=None), threading.Lock()
    served = {"rows": 0}

    @made.exception_handler(_Refused)
    async def refuse(_: fastapi.Request, error: Any) -> JSONResponse:
        return JSONResponse({"error": error.told}, error.status)

    def check(request: fastapi.Request) -> None:
        if token is None:
            return
        sent = request.headers.get("authorization", "").removeprefix("Bearer ") or request.headers.get("x-api-key", "")
        if not hmac.compare_digest(sent.encode(), token.encode()):
            raise _Refused(401, "a token is wanted: Authorization: Bearer TOKEN")

    async def answered(rows: Tensor) -> Shaped[np.ndarray, "n k"]:
        try:
            table = await run_in_threadpool(black_box, rows)
        except BudgetExceeded as error:
            raise _Refused(429, str(error)) from error
        except InputError as error:
            raise _Refused(422, str(error)) from error
        with lock:
            served["rows"] += len(rows)
        return table.numpy()

    about = _metadata(black_box, name)
    checked = [fastapi.Depends(check)]

    @made.get("/rows")
    async def rows_answered() -> Any:
        return dict(served)

    @made.get("/predict", dependencies=checked)
    async def own_metadata() -> Any:
        return about["own"]

    @made.get("/v2")
    async def server_metadata() -> Any:
        return {"name": "dax-lightning", "version": "2", "extensions": ["binary_tensor_data"]}

    @made.get("/v2/health/{state}")
    @made.get(f"/v2/models/{name}/ready")
    async def healthy() -> Any:
        return {"live": True, "ready": True, "name": name}

    @made.get(f"/v2/models/{name}", dependencies=checked)
    async def model_metadata() -> Any:
        return about["v2"]

    @made.post("/predict", dependencies=checked)
    async def predict(request: fastapi.Request) -> Any:
        body = await _body(request, int(body_mb * _MB))
        if request.headers.get("content-type", "").startswith("application/x-npy"):
            rows, ids = _npy(body, black_box, most_rows), None
        else:
            rows, ids = _own_rows(_json(body), black_box, most_rows)
        table = (await answered(rows)).tolist()
        named = ids if ids is not None else [None] * len(table)
        return {
            "predictions": [
                {"scores": row} if one is None else {"id": one, "scores": row} for one, row in zip(named, table, strict=True)
            ]
        }

    @made.post(f"/v2/models/{name}/infer", dependencies=checked)
    async def infer(request: fastapi.Request) -> Any:
        body = await _body(request, int(body_mb * _MB))
        head = _head(request.headers.get(_HEADER), body)
        asked = _json(body[:head])
        table = await answered(_v2_rows(asked, body[head:], black_box, most_rows))
        wanted = (asked.get("outputs") or [{}])[0]
        output = {"name": "scores", "datatype": "FP32", "shape": list(table.shape)}
        told = {"model_name": name, "outputs": [output], **({"id": asked["id"]} if "id" in asked else {})}
        if not (wanted.get("parameters") or {}).get("binary_data"):
            output["data"] = table.ravel().tolist()
            return JSONResponse(told)
        raw = table.astype("<f4").tobytes()
        output["parameters"] = {"binary_data_size": len(raw)}
        text = json.dumps(told).encode()
        return Response(text + raw, media_type="application/octet-stream", headers={_HEADER: str(len(text))})

    return made


@contextmanager
def background(application: Any, port: int = 0) -> Iterator[str]:
    """Serve an application on loopback while this context is open.

    Args:
        application: what :func:`app` makes, or any ASGI application.
        port: 0: a free one.

    Returns:
        The server's address, such as ``http://127.0.0.1:8000``.

    Example:
        >>> from dax_lightning.testing import QuarterBox
        >>> with background(app(QuarterBox())) as address:
        ...     print(address.rpartition(":")[0])
        http://127.0.0.1
    """
    server, door = _server(application, "127.0.0.1", port, quiet=True)
    thread = threading.Thread(target=server.run, args=([door],), name="dax-serve", daemon=True)
    thread.start()
    try:
        while not server.started:
            if not thread.is_alive():
                raise InputError(f"the server on port {port} didn't start: try another port")
            time.sleep(0.01)
        yield f"http://127.0.0.1:{door.getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True
        thread.join()
        door.close()


def run(application: Any, host: str = "127.0.0.1", port: int = 8000) -> None:
    """Serve an application until it is stopped.

    Args:
        application: what :func:`app` makes.
        host: the address to listen at; ``0.0.0.0``: all of this machine's.
        port: 0: a free one, which is printed.

    Raises:
        InputError: uvicorn is missing, or the port is taken.
    """
    server, door = _server(application, host, port, quiet=False)
    print(f"serving at http://{host}:{door.getsockname()[1]}", flush=True)
    try:
        server.run([door])
    finally:
        door.close()


def _server(application: Any, host: str, port: int, quiet: bool) -> tuple[Any, socket.socket]:
    try:
        import uvicorn
    except ImportError as error:
        raise InputError(f"serving needs the package {error.name}: pip install 'dax-lightning[serve]'") from error
    door = socket.socket()
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        door.bind((host, port))
    except OSError as error:
        door.close()
        raise InputError(f"port={port} at {host} can't be used ({error.strerror}): give another, or 0 for a free one") from error
    level = "critical" if quiet else "warning"
    return uvicorn.Server(uvicorn.Config(application, log_level=level, ws="none", lifespan="off", access_log=False)), door


def _token(token_env: str | None) -> str | None:
    if token_env is None:
        return None
    token = os.environ.get(token_env, "").strip()
    if not token:
        raise InputError(f"token_env={token_env}: no such environment variable is set: export it, or check its name")
    return token


def _metadata(black_box: BlackBox, name: str) -> dict[str, Any]:
    shape, classes = list(black_box.input.shape), list(black_box.classes or ())
    free = [-1 if side is None else side for side in shape]
    known = {"classes": classes} if classes else {}
    own = {"name": name, "shape": shape, "outputs": "probabilities", "multi_label": black_box.multi_label, **known}
    outputs = [{"name": "scores", "datatype": "FP32", "shape": [-1, len(classes) or -1]}]
    v2 = {"name": name, "versions": ["1"], "platform": "dax-lightning", "outputs": outputs}
    v2["inputs"] = [{"name": "rows", "datatype": "FP32", "shape": [-1, *free]}]
    parameters = {**known, "fingerprint": black_box.fingerprint}
    return {"own": {**own, "fingerprint": black_box.fingerprint}, "v2": {**v2, "parameters": parameters}}


async def _body(request: Any, most: int) -> bytes:
    told = request.headers.get("content-length", "0")
    body = bytearray()
    if not told.isdigit() or int(told) > most:
        raise _Refused(413, f"a body of {told[:20]} bytes, at most {most} are read")
    async for part in request.stream():
        body += part
        if len(body) > most:
            raise _Refused(413, f"a body of more than {most} bytes")
    return bytes(body)


def _json(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _Refused(400, f"the body is no JSON ({type(error).__name__})") from None
    if not isinstance(found, dict):
        raise _Refused(400, "the body is no JSON object")
    return found


def _head(length: str | None, body: bytes) -> int:
    if length is None:
        return len(body)
    if not length.isdigit() or int(length) > len(body):
        raise _Refused(400, f"{_HEADER} is {length[:20]} for {len(body)} bytes")
    return int(length)


def _tensor(array: Shaped[np.ndarray, "..."], black_box: BlackBox, most: int) -> Tensor:
    """Rows in the input's range from an array of any of the shapes that are taken."""
    if array.dtype.kind not in "fiu":
        raise _Refused(400, f"rows of {array.dtype} values, wanted numbers")
    if array.ndim < 2 or not 0 < len(array) <= most:
        raise _Refused(
            413 if len(array.shape) and len(array) > most else 400, f"rows of shape {array.shape}, wanted 1 to {most} rows"
        )
    values = array.astype(np.float32)
    if array.dtype == np.uint8:
        values = values / np.float32(255)
    if not black_box.input.fits(values.shape[1:]) and black_box.input.fits(np.moveaxis(values, -1, 1).shape[1:]):
        values = np.moveaxis(values, -1, 1)
    if not black_box.input.fits(values.shape[1:]):
        raise _Refused(400, f"rows of shape {array.shape[1:]}, wanted {black_box.input.shape}")
    return torch.from_numpy(np.ascontiguousarray(values))


def _npy_array(body: bytes) -> Shaped[np.ndarray, "..."]:
    """An array from a .npy file, whose header must tell of no more than the bytes that are there."""
    file = io.BytesIO(body)
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
        if dtype.hasobject or math.prod(shape) * dtype.itemsize != len(body) - file.tell():
            raise ValueError(f"{len(body)} bytes for {shape} of {dtype}")
        return np.load(io.BytesIO(body), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise _Refused(400, f"the rows are no .npy file ({' '.join(str(error).split())[:200]})") from None


def _npy(body: bytes, black_box: BlackBox, most: int) -> Tensor:
    return _tensor(_npy_array(body), black_box, most)


def _own_rows(asked: Mapping[str, Any], black_box: BlackBox, most: int) -> tuple[Tensor, list[Any] | None]:
    rows = asked.get("rows")
    if isinstance(rows, str):  # one .npy file of all
        return _npy(_decoded(rows), black_box, most), asked.get("ids")
    if not isinstance(rows, list) or not rows:
        raise _Refused(400, 'wanted {"rows": [{"id": ..., "data": ...}]}, data: base64 of a PNG or .npy file, or nested lists')
    if len(rows) > most:
        raise _Refused(413, f"{len(rows)} rows, at most {most} are taken")
    each = [row if isinstance(row, dict) else {"data": row} for row in rows]
    arrays = [_row(one.get("data"), black_box) for one in each]
    if len({array.shape for array in arrays}) > 1:
        raise _Refused(400, "rows of several shapes")
    ids = [one.get("id") for one in each]
    return _tensor(np.stack(arrays), black_box, most), None if None in ids else ids


def _row(data: Any, black_box: BlackBox) -> Shaped[np.ndarray, "..."]:
    if isinstance(data, list):
        return _listed(data)
    raw = _decoded(data)
    if not raw.startswith(b"\x89PNG"):
        return _npy_array(raw)
    shape = black_box.input.shape
    try:
        with Image.open(io.BytesIO(raw), formats=["PNG"]) as picture:
            if len(shape) != 3 or picture.size != (shape[2], shape[1]):  # before its pixels are decoded
                raise _Refused(400, f"a picture of {picture.size[0]}x{picture.size[1]} pixels, wanted rows of shape {shape}")
            pixels = np.asarray(picture.convert("L" if shape[0] == 1 else "RGB"))
    except (OSError, ValueError, SyntaxError) as error:
        raise _Refused(400, f"a row is no PNG ({type(error).__name__})") from None
    return pixels[..., None] if shape[0] == 1 else pixels


def _listed(data: Any) -> Shaped[np.ndarray, "..."]:
    try:
        return np.asarray(data, dtype=np.float32)
    except (ValueError, TypeError) as error:
        raise _Refused(400, f"the rows are no numbers ({' '.join(str(error).split())[:200]})") from None


def _decoded(data: Any) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except (ValueError, TypeError) as error:
        raise _Refused(400, f"a row is no base64 ({type(error).__name__})") from None


def _v2_rows(asked: Mapping[str, Any], raw: bytes, black_box: BlackBox, most: int) -> Tensor:
    try:
        (tensor,) = asked["inputs"]
        shape, kind = [int(side) for side in tensor["shape"]], np.dtype(_TYPES[tensor["datatype"]])
        size = (tensor.get("parameters") or {}).get("binary_data_size")
        array = np.frombuffer(raw, kind) if size is not None else _listed(tensor["data"]).astype(kind)
        if size not in (None, len(raw)):
            raise ValueError(f"{len(raw)} bytes, binary_data_size is {size}")
        return _tensor(array.reshape(shape), black_box, most)
    except (KeyError, TypeError, ValueError) as error:
        told = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise _Refused(400, f"wanted one input with name, shape, datatype ({', '.join(_TYPES)}) and data ({told})") from None
