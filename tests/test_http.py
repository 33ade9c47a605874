"""Black boxes behind HTTP, on real servers on loopback: both forms, the wire's manners, and what it keeps to itself."""

import asyncio
import base64
import io
import json
import logging
import os
import pickle
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from PIL import Image
from torch import nn

from dax_lightning.black_box import BlackBox, from_torch
from dax_lightning.black_box.http import Form, HttpModel, Pixels, Retry, Wire, from_http
from dax_lightning.black_box.http.path import find, parsed
from dax_lightning.black_box.http.wire import retry_after
from dax_lightning.errors import BudgetExceeded, InputError, ModelError
from dax_lightning.explainers.surrogate.lime import Lime
from dax_lightning.run import main, runner
from dax_lightning.run.config import build
from dax_lightning.segment.grid import Grid
from dax_lightning.serve import app, background
from dax_lightning.testing import QuarterBox
from tests.conftest import ROOT, untyped
from tests.pages import composed, jobs, lines

NAMES = ["cat", "dog", "none"]
FAST = Retry(first=0.01, longest=0.02, jitter=0.01)
SECRET = "s3cret-t0ken-9f"
V2 = {
    "name": "m",
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 3, 8, 8]}],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}],
}


def rows(n: int, size: int = 8) -> torch.Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(n))


def torch_box(size: int = 8) -> BlackBox:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * (size - 2) ** 2, 3))
    return from_torch(module, size, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2), classes=NAMES)


class Scripted:
    """A server that notes each request and answers it as a function says: (status, headers, body) or what JSON makes of it."""

    def __init__(self, answer: Callable[[Any], Any]):
        self.answer, self.seen, self.flying, self.most_flying, self.times = answer, [], 0, 0, []
        self.wait = 0.0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        self.times.append(time.monotonic())
        self.flying += 1
        self.most_flying = max(self.flying, self.most_flying)
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        headers = {key.decode(): value.decode() for key, value in scope["headers"]}
        request = SimpleNamespace(method=scope["method"], path=scope["path"], headers=headers, body=body, number=len(self.seen))
        self.seen.append(request)
        await asyncio.sleep(self.wait)
        made = self.answer(request)
        status, told, content = made if isinstance(made, tuple) else (200, {}, json.dumps(made).encode())
        listed = [(key.encode(), str(value).encode()) for key, value in told.items()]
        listed.append((b"content-length", str(len(content)).encode()))
        await send({"type": "http.response.start", "status": status, "headers": listed})
        await send({"type": "http.response.body", "body": content})
        self.flying -= 1


@pytest.fixture
def serve():
    """Starts servers, which end with the test."""
    with ExitStack() as stack:
        yield lambda application: stack.enter_context(background(application))


def means(request: Any) -> Any:
    """Two scores a row: the mean of its values, and the rest."""
    sent = json.loads(request.body)["rows"]
    values = [np.load(io.BytesIO(base64.b64decode(row["data"]))).mean().item() for row in sent]
    return {"predictions": [{"id": row["id"], "scores": [v, 1 - v]} for row, v in zip(sent, values, strict=True)]}


def wanted(x: torch.Tensor) -> torch.Tensor:
    share = x.mean((1, 2, 3))
    return torch.stack([share, 1 - share], 1)


def refused(match: str, make: Callable[..., Any], *args: Any, kind: type[InputError] = InputError, **more: Any) -> str:
    with pytest.raises(kind, match=match) as raised:
        make(*args, **more)
    assert "\n" not in str(raised.value)
    return str(raised.value)


# --- both forms ---


@pytest.mark.parametrize(
    "form",
    [*(("predict", kind) for kind in ("json", "npy", "npy_body", "png")), *(("v2", kind) for kind in ("json", "binary", "auto"))],
)
def test_both_forms_answer_as_the_torch_box_does_and_every_row_is_counted(form, serve):
    path, kind = form
    address = serve(app(torch_box(), "m"))
    url = f"{address}/predict" if path == "predict" else f"{address}/v2/models/m"
    box = from_http(url, form=Form(rows=kind), classes="server", batch_size=16, wire=Wire(rows_per_request=3))
    x = rows(21)
    if kind == "png":  # which rounds to 8 bits
        x = (x * 255).round() / 255
    assert torch.allclose(box(x), torch_box()(x), atol=1e-3)
    assert box.classes == tuple(NAMES)
    assert box.input.shape == (3, 8, 8)
    assert httpx.get(f"{address}/rows").json() == {"rows": 21} == {"rows": box.queries}


def test_a_png_rounds_to_eight_bits_and_says_so(serve):
    url = serve(app(torch_box())) + "/predict"
    x = rows(5)
    png, npy = (from_http(url, 8, form=Form(rows=kind))(x) for kind in ("png", "npy"))
    assert torch.allclose(npy, torch_box()(x), atol=1e-6)
    assert 0 < (png - npy).abs().max() < 0.05
    assert "8 bits" in str(Form.__doc__)


def test_an_explanation_over_http_is_that_of_the_model_itself(serve):
    x = rows(1, 32)[0]
    box = from_http(serve(app(QuarterBox())) + "/v2/models/model", batch_size=64, wire=Wire(rows_per_request=64))
    made, own = (Lime(b, segmenter=Grid(rows=4, columns=4), q=60).explain(x, 0) for b in (box, QuarterBox()))
    assert torch.allclose(made.saliency, own.saliency, atol=1e-4)
    assert made.queries == own.queries


@pytest.mark.parametrize(("layout", "dtype"), [("NCHW", "float64"), ("NHWC", "float32"), ("NHWC", "uint8")])
def test_rows_are_sent_in_the_layout_and_type_that_is_set(layout, dtype, serve):
    server = Scripted(lambda request: {"predictions": [{"scores": [0.5, 0.5]}] * len(json.loads(request.body)["rows"])})
    x = rows(2)
    from_http(serve(server) + "/p", 8, pixels=Pixels(layout, dtype))(x)
    (data, other) = (np.load(io.BytesIO(base64.b64decode(row["data"]))) for row in json.loads(server.seen[0].body)["rows"])
    values = x[0].permute(1, 2, 0) if layout == "NHWC" else x[0]
    assert (data.shape, data.dtype, other.dtype) == (tuple(values.shape), dtype, dtype)
    np.testing.assert_allclose(data, (values * 255).round() if dtype == "uint8" else values, atol=1e-6)


def test_mean_and_std_are_taken_off_before_rows_are_sent(serve):
    server = Scripted(means)
    model = HttpModel(serve(server) + "/p", (3, 8, 8), pixels=Pixels(mean=[0.0, 0.0, 0.5], std=0.5))
    shift = torch.tensor([0.0, 0.0, 0.5]).view(1, 3, 1, 1)
    assert torch.allclose(model.scores(rows(3)).float(), wanted((rows(3) - shift) / 0.5), atol=1e-5)


@pytest.mark.parametrize(
    ("template", "scores"),
    [
        ({"instances": "$rows"}, "predictions[*]"),
        ({"instances": [{"image": "$row"}], "model": {"name": "m", "version": 2}}, "predictions[*]"),
        ({"inputs": {"image": "$row"}}, "predictions[0]"),
    ],
)
def test_a_template_makes_the_body_that_a_server_wants(template, scores, serve):
    def answer(request):
        body = json.loads(request.body)
        sent = body.get("instances") or [body["inputs"]]
        images = [one["image"] if isinstance(one, dict) else one for one in sent]
        assert body.get("model") in (None, {"name": "m", "version": 2})
        return {"predictions": [[np.mean(image), 1 - np.mean(image)] for image in images]}

    box = from_http(serve(Scripted(answer)) + "/p", 8, form=Form("json", template, scores))
    assert torch.allclose(box(rows(5)), wanted(rows(5)), atol=1e-6)


def test_rows_come_back_in_the_order_of_their_ids(serve):
    def backwards(request):
        return {"predictions": means(request)["predictions"][::-1]}

    url = serve(Scripted(backwards)) + "/p"
    assert torch.allclose(from_http(url, 8)(rows(9)), wanted(rows(9)), atol=1e-6)
    assert not torch.allclose(from_http(url, 8, form=Form(ids="nowhere"))(rows(9)), wanted(rows(9)), atol=1e-6)


def test_ids_of_other_rows_are_refused(serve):
    first: list[Any] = []

    def stale(request):
        first.append(means(request))
        return first[0]

    box = from_http(serve(Scripted(stale)) + "/p", 8, retry=FAST)
    box(rows(2))
    refused("ids of other rows than the 2 it was sent: set form.ids.*after 4 tries", box, rows(2) / 2, kind=ModelError)


@pytest.mark.parametrize(
    ("shape", "datatype", "came", "sent"),
    [
        ([-1, 3, 8, 8], "FP16", (3, 8, 8), (5, 3, 8, 8)),
        ([-1, 8, 8, 3], "FP32", (3, 8, 8), (5, 8, 8, 3)),
        ([1, 8, 8, 3], "UINT8", (3, 8, 8), (1, 8, 8, 3)),
        ([3, 8, 8], "FP64", (3, 8, 8), (3, 8, 8)),
    ],
)
def test_the_metadata_of_v2_say_the_layout_the_type_and_the_batch(shape, datatype, came, sent, serve):
    types = {"FP16": "<f2", "FP32": "<f4", "FP64": "<f8", "UINT8": "u1"}

    def answer(request):
        if request.method == "GET":
            metadata = {**V2, "inputs": [{"name": "x", "datatype": datatype, "shape": shape}]}
            return {"extensions": ["binary_tensor_data"]} if request.path == "/v2" else metadata
        head = int(request.headers["inference-header-content-length"])
        (tensor,) = json.loads(request.body[:head])["inputs"]
        values = np.frombuffer(request.body[head:], types[datatype]).reshape(tensor["shape"]).astype(float)
        shapes.append(tuple(tensor["shape"]))
        values = values / (255 if datatype == "UINT8" else 1)
        share = values.mean(tuple(range(1, values.ndim))) if values.ndim == 4 else values.mean()[None]
        raw = np.stack([share, 1 - share], 1).astype("<f4")
        output = {"name": "y", "datatype": "FP32", "shape": list(raw.shape), "parameters": {"binary_data_size": raw.nbytes}}
        text = json.dumps({"outputs": [output]}).encode()
        return 200, {"Inference-Header-Content-Length": len(text)}, text + raw.tobytes()

    shapes: list[tuple[int, ...]] = []
    box = from_http(serve(Scripted(answer)) + "/v2/models/m")
    assert box.input.shape == came
    assert torch.allclose(box(rows(5)), wanted(rows(5)), atol=3e-3)
    assert set(shapes) == {sent}


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"inputs": []}, "one of its inputs is wanted, but the server's metadata has none"),
        ({"outputs": [*V2["outputs"], {"name": "z"}]}, "one of its outputs is wanted, but .* has y, z: set form.output"),
        ({"inputs": [{"name": "x", "datatype": "BYTES", "shape": [-1]}]}, "takes BYTES: wanted one of FP32"),
        ({"inputs": [{"name": "x", "datatype": "FP16", "shape": [-1, 3, 8, 8]}]}, "FP16, which JSON can't carry"),
        ({"inputs": [{"name": "x", "datatype": "FP32", "shape": [4, 3, 8, 8]}]}, "takes exactly 4 rows at once"),
        (
            {"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 3, -1, -1]}]},
            r"rows of shape \(3, None, None\): give size=",
        ),
    ],
)
def test_metadata_that_fit_no_picture_are_told_in_one_line(change, match, serve):
    def answer(request):
        return {**V2, **change} if request.path == "/v2/models/m" else (404, {}, b"")

    refused(match, from_http, serve(Scripted(answer)) + "/v2/models/m")


def test_a_size_that_the_server_does_not_take_is_told(serve):
    url = serve(app(QuarterBox())) + "/v2/models/model"
    refused(r"takes rows of shape \(3, 32, 32\), not \(3, 16, 16\)", from_http, url, 16)


def test_rows_of_a_table_go_over_the_wire_as_well(serve):
    model = HttpModel(serve(Scripted(means)) + "/p", (1, 3))
    x = torch.rand(4, 1, 3)
    assert torch.allclose(model.scores(x).float(), torch.stack([x.mean((1, 2)), 1 - x.mean((1, 2))], 1), atol=1e-6)


# --- the wire's manners ---


def test_requests_run_side_by_side_and_answers_keep_the_order_of_rows(serve):
    server = Scripted(means)
    server.wait = 0.1
    box = from_http(serve(server) + "/p", 8, batch_size=64, wire=Wire(rows_per_request=4, concurrency=4))
    got = box(rows(48))
    assert torch.allclose(got, wanted(rows(48)), atol=1e-6)
    assert (len(server.seen), server.most_flying) == (12, 4)


def test_no_more_requests_a_second_than_are_allowed(serve):
    server = Scripted(means)
    box = from_http(serve(server) + "/p", 8, wire=Wire(rows_per_request=1, per_second=20.0, concurrency=8))
    start = time.monotonic()
    box(rows(7))
    assert server.times[-1] - start >= 6 / 20
    assert len(server.seen) == 7


def test_a_server_that_is_busy_is_asked_again_after_what_it_says(serve):
    def busy_once(request):
        return (429, {"Retry-After": "1"}, b"") if request.number == 0 else means(request)

    server = Scripted(busy_once)
    box = from_http(serve(server) + "/p", 8, wire=Wire(rows_per_request=1, concurrency=1), retry=FAST)
    assert torch.allclose(box(rows(3)), wanted(rows(3)), atol=1e-6)
    assert len(server.seen) == 4
    assert server.times[1] - server.times[0] >= 1.0  # nor is another row sent meanwhile


def test_retry_after_is_capped(serve):
    server = Scripted(lambda request: (503, {"Retry-After": "86400"}, b"") if request.number == 0 else means(request))
    start = time.monotonic()
    from_http(serve(server) + "/p", 8, retry=Retry(longest_asked=0.2, jitter=0.0))(rows(1))
    assert 0.2 <= time.monotonic() - start < 20


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("3", 3.0),
        ("0", 0.0),
        ("-5", 0.0),
        ("99999", 60.0),
        ("inf", 60.0),
        ("9" * 400, 60.0),
        ("nan", None),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_in_seconds(text, seconds):
    assert retry_after(text, None, 60.0) == seconds


def test_retry_after_as_a_date_counts_from_the_servers_own_clock():
    now = datetime(2001, 1, 1, tzinfo=UTC)
    date = format_datetime(now, usegmt=True)
    later, earlier = (format_datetime(now + timedelta(seconds=s), usegmt=True) for s in (20, -20))
    assert retry_after(later, date, 60.0) == 20.0
    assert retry_after(earlier, date, 60.0) == 0.0
    near = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert 25 < (retry_after(near, None, 60.0) or 0) <= 30
    assert retry_after(near, "no date", 60.0) is not None
    assert retry_after("Wed, 99 Foo 2015 07:28:00 GMT", None, 60.0) is None


def test_a_clock_that_jumps_hurts_nobody(serve, monkeypatch):
    server = Scripted(lambda request: (503, {}, b"") if request.number % 2 == 0 else means(request))
    box = from_http(serve(server) + "/p", 8, retry=FAST, wire=Wire(rows_per_request=1, per_second=50.0))
    real, jumps = time.time, iter(range(10**6))
    monkeypatch.setattr(time, "time", lambda: real() + (-1) ** next(jumps) * 1e6)
    start = time.monotonic()
    assert torch.allclose(box(rows(4)), wanted(rows(4)), atol=1e-6)
    assert time.monotonic() - start < 30


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_answers_that_may_pass_are_asked_for_again(status, serve):
    server = Scripted(lambda request: (status, {}, b"") if request.number < 3 else means(request))
    box = from_http(serve(server) + "/p", 8, retry=FAST)
    assert torch.allclose(box(rows(2)), wanted(rows(2)), atol=1e-6)
    assert (len(server.seen), box.queries) == (4, 2)


@pytest.mark.parametrize(
    ("status", "match"),
    [
        (400, r"answered 400 \(no such key\): check form= and pixels="),
        (401, "set token_env=NAME"),
        (403, "may not do this"),
        (404, "check url="),
        (413, "lower wire.rows_per_request"),
    ],
)
def test_answers_that_stay_are_not_asked_for_again(status, match, serve):
    server = Scripted(lambda _: (status, {}, b"no such\nkey"))
    refused(match, from_http(serve(server) + "/p", 8), rows(2))
    assert len(server.seen) == 1


@pytest.mark.parametrize("place", ["http://127.0.0.2:9/other?key=abc", "/other"])
def test_a_redirect_is_refused_and_the_token_goes_nowhere_else(place, serve, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", SECRET)
    other = Scripted(means)
    where = place.replace("http://127.0.0.2:9", serve(other))
    server = Scripted(lambda _: (307, {"Location": where}, b""))
    told = refused(
        "sends the request on to .*other.*if you trust it", from_http(serve(server) + "/p", 8, token_env="MY_TOKEN"), rows(1)
    )
    assert "abc" not in told
    assert (len(server.seen), len(other.seen)) == (1, 0)


def test_an_answer_that_is_too_large_is_not_read_to_its_end(serve):
    server = Scripted(lambda _: (200, {}, b" " * 3_000_000))
    box = from_http(serve(server) + "/p", 8, wire=Wire(answer_mb=0.5), retry=FAST)
    refused("answers more than wire.answer_mb=0.5 MiB: raise it", box, rows(1))
    assert len(server.seen) == 1


def test_an_answer_that_was_packed_is_refused(serve):
    server = Scripted(lambda _: (200, {"Content-Encoding": "gzip"}, b"\x1f\x8b"))
    refused("packs its answers", from_http(serve(server) + "/p", 8), rows(1))
    assert server.seen[0].headers["accept-encoding"] == "identity"


def test_a_server_that_is_not_there_is_told_in_one_line():
    with background(Scripted(means)) as address:
        pass
    box = from_http(address + "/p", 8, retry=FAST)
    refused("can't be reached .*: start the server, or check url=, after 3 tries", box, rows(1), kind=ModelError)
    refused("can't be reached", from_http, address + "/v2/models/m", retry=FAST)


@pytest.mark.parametrize(
    ("answer", "match"),
    [
        ({"predictions": [{"scores": [0.5, float("nan")]}]}, "NaN or infinite scores"),
        ({"predictions": [{"scores": [0.5, 0.5]}] * 2}, "answered 2 rows, wanted 1"),
        ({"predictions": [{"scores": ["0.5", "0.5"]}]}, "no table of scores .*set form.scores"),
        ({"predictions": [{"scores": [[0.5], [0.5, 0.5]]}]}, "no table of scores"),
        ({"predictions": [{"scores": [None, 1.0]}]}, "no table of scores"),
        ({"error": "out of memory"}, "without scores at form.scores .out of memory.: set form.scores"),
        ({"results": []}, "no 'predictions': the answer has results there"),
    ],
)
def test_an_odd_answer_is_asked_for_again_some_times_and_then_told(answer, match, serve):
    server = Scripted(lambda _: answer)
    refused(match, from_http(serve(server) + "/p", 8, retry=FAST), rows(1), kind=ModelError)
    assert len(server.seen) == FAST.odd_attempts


def test_scores_of_several_lengths_are_odd(serve):
    def answer(request):
        return {"predictions": [{"scores": [0.5, 0.5, 0.0][: 3 if request.number > 0 else 2]}]}

    box = from_http(serve(Scripted(answer)) + "/p", 8, retry=FAST)
    box(rows(1))
    refused("answered 3 scores a row, before it were 2", box, rows(1), kind=ModelError)


# --- what is spent ---


def test_spend_is_called_before_each_request_in_the_callers_thread_and_one_at_a_time(serve):
    server = Scripted(lambda request: (500, {}, b"") if request.number in (1, 3) else means(request))
    model = HttpModel(serve(server) + "/p", (3, 8, 8), wire=Wire(rows_per_request=2), retry=FAST)
    calls: list[tuple[int, threading.Thread]] = []

    def spend(n: int) -> None:
        calls.append((n, threading.current_thread()))
        assert len(server.seen) < len(calls)

    model.spend = spend
    model.scores(rows(9))
    assert sum(n for n, _ in calls) in (9 + 4, 9 + 3)  # the last request has one row
    assert len(calls) == len(server.seen) == 7
    assert {thread for _, thread in calls} == {threading.current_thread()}


def test_a_budget_that_is_spent_ends_the_call_unchanged_and_stops_the_others(serve):
    server = Scripted(lambda request: (503, {}, b"") if request.number == 0 else means(request))
    wire, slow = Wire(rows_per_request=1, concurrency=1), Retry(first=60.0, longest=60.0)
    model = HttpModel(serve(server) + "/p", (3, 8, 8), wire=wire, retry=slow)
    stop, spent = BudgetExceeded("enough"), []

    def spend(n: int) -> None:
        spent.append(n)
        if len(spent) > 1:
            raise stop

    model.spend = spend
    start = time.monotonic()
    with pytest.raises(BudgetExceeded) as raised:
        model.scores(rows(20))
    assert raised.value is stop
    assert stop.__cause__ is None
    assert time.monotonic() - start < 30  # nobody waits out the minute
    time.sleep(0.2)
    assert len(server.seen) == 1
    assert model.behind_wire


def test_an_error_of_one_request_ends_the_call_and_the_others(serve):
    server = Scripted(lambda request: (503, {}, b"") if request.number == 0 else (403, {}, b""))
    wire, slow = Wire(rows_per_request=1, concurrency=1), Retry(first=2.0, longest=2.0, jitter=0.0)
    box = from_http(serve(server) + "/p", 8, wire=wire, retry=slow)
    start = time.monotonic()
    refused("answered 403", box, rows(2))
    assert time.monotonic() - start < 1.9
    time.sleep(2.5)
    assert len(server.seen) == 2  # the first was not asked for again


def test_threads_may_share_a_model(serve):
    server = Scripted(means)
    model = HttpModel(serve(server) + "/p", (3, 8, 8), wire=Wire(rows_per_request=2))
    busy, most, got = [0], [0], {}

    def spend(_: int) -> None:
        busy[0] += 1
        most[0] = max(most[0], busy[0])
        time.sleep(0.02)
        busy[0] -= 1

    model.spend = spend
    threads = [threading.Thread(target=lambda n=n: got.update({n: model.scores(rows(n))})) for n in (3, 8, 13)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert all(torch.allclose(got[n].float(), wanted(rows(n)), atol=1e-6) for n in (3, 8, 13))


def test_a_model_may_be_asked_where_a_loop_runs_as_in_a_notebook(serve):
    box = from_http(serve(Scripted(means)) + "/p", 8)

    async def cell():
        return box(rows(3))

    assert torch.allclose(asyncio.run(cell()), wanted(rows(3)), atol=1e-6)


def test_a_model_pickles_without_its_connections(serve):
    box = from_http(serve(Scripted(means)) + "/p", 8, classes=["light", "dark"])
    before = box(rows(2))
    again = pickle.loads(pickle.dumps(box))
    assert torch.equal(again(rows(2)), before)
    assert (again.fingerprint, again.classes) == (box.fingerprint, box.classes)


# --- what no one gets to see ---


def test_the_token_is_sent_and_is_in_nothing_that_is_shown_or_kept(serve, monkeypatch, caplog):
    monkeypatch.setenv("MY_TOKEN", SECRET)
    caplog.set_level(logging.DEBUG)

    def echo(request):  # a server that repeats what it was sent
        return 403, {}, json.dumps({"you sent": request.headers["authorization"]}).encode()

    server, other = Scripted(means), Scripted(echo)
    box = from_http(serve(server) + "/p", 8, token_env="MY_TOKEN")
    box(rows(2))
    assert server.seen[0].headers["authorization"] == f"Bearer {SECRET}"
    odd = Scripted(lambda request: {"error": "x" * 190 + request.headers["authorization"]})  # it would be cut within the token
    told = refused("xxx", from_http(serve(odd) + "/p", 8, token_env="MY_TOKEN", retry=FAST), rows(1))
    assert SECRET[:3] not in told
    told = refused(r"answered 403.*\*\*\*", from_http(serve(other) + "/p", 8, token_env="MY_TOKEN"), rows(1))
    kept = [repr(box.model), str(vars(box.model)), str(vars(box.model._client)), told, caplog.text, box.fingerprint]  # pyright: ignore[reportAttributeAccessIssue]
    assert not any(SECRET in text for text in kept)
    assert SECRET.encode() not in pickle.dumps(box)


def test_the_token_is_in_no_error_of_the_wire(monkeypatch):
    monkeypatch.setenv("MY_TOKEN", SECRET)
    with background(Scripted(means)) as address:
        pass
    with pytest.raises(ModelError) as raised:
        from_http(address + "/p", 8, token_env="MY_TOKEN", retry=Retry(attempts=1))(rows(1))
    error: BaseException | None = raised.value
    while error is not None:
        assert SECRET not in repr(error)
        assert not hasattr(error, "request")
        error = error.__cause__ or error.__context__


def test_another_header_carries_the_bare_token(serve, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", f" {SECRET}\n")
    server = Scripted(means)
    from_http(serve(server) + "/p", 8, token_env="MY_TOKEN", wire=Wire(token_header="X-Api-Key"))(rows(1))
    assert server.seen[0].headers["x-api-key"] == SECRET
    assert "authorization" not in server.seen[0].headers


@pytest.mark.parametrize("value", [None, "", "two words", "snow☃man"])
def test_a_token_that_is_missing_or_no_token_is_told_without_its_value(value, monkeypatch):
    monkeypatch.delenv("MY_TOKEN", raising=False)
    if value is not None:
        monkeypatch.setenv("MY_TOKEN", value)
    told = refused("token_env=MY_TOKEN: ", from_http, "http://127.0.0.1:9/p", 8, token_env="MY_TOKEN")
    assert not value or value not in told


def test_a_server_of_ours_wants_its_token(serve, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", SECRET)
    address = serve(app(QuarterBox(8), token_env="MY_TOKEN"))
    for url in (f"{address}/predict", f"{address}/v2/models/model"):
        assert from_http(url, 8, token_env="MY_TOKEN")(rows(2)).shape == (2, 3)
    refused("answered 401.*token is wanted.*set token_env", from_http(f"{address}/predict", 8), rows(1))


@pytest.mark.parametrize(
    ("url", "match"),
    [
        ("http://me:hunter2@127.0.0.1/p", "holds a secret .user.: set token_env=NAME"),
        ("http://127.0.0.1/p?version=1&api_key=hunter2", "holds a secret .api_key."),
        ("http://127.0.0.1/p?access_token=hunter2", "holds a secret"),
        ("http://127.0.0.1/p?sig=hunter2", "holds a secret"),
        ("ftp://127.0.0.1/p", "is no address: wanted http://HOST:PORT/PATH"),
        ("127.0.0.1:8000/p", "is no address"),
        ("http:///p", "is no address"),
        ("http://127.0.0.1:port/p", "is no address"),
    ],
)
def test_an_url_that_can_not_be_or_holds_a_secret_is_refused(url, match):
    assert "hunter2" not in refused(match, from_http, url, 8)


def test_the_fingerprint_is_of_the_url_the_form_and_the_metadata(serve):
    one, two = app(QuarterBox(8)), app(torch_box())
    switch = {"app": one}

    async def either(scope, receive, send):
        await switch["app"](scope, receive, send)

    address = serve(either)
    first, again = (from_http(f"{address}/v2/models/model").fingerprint for _ in range(2))
    json_form = from_http(f"{address}/v2/models/model", form=Form(rows="json")).fingerprint
    switch["app"] = two
    other = from_http(f"{address}/v2/models/model").fingerprint
    assert first == again
    assert len({first, json_form, other, from_http(f"{address}/predict", 8).fingerprint}) == 4


# --- settings ---


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Wire(rows_per_request=0), "wire.rows_per_request=0: it must be at least 1"),
        (lambda: Wire(concurrency=0), "wire.concurrency=0"),
        (lambda: Wire(per_second=0.0), "wire.per_second=0.0: wanted a number over 0"),
        (lambda: Wire(timeout=float("inf")), "wire.timeout=inf"),
        (lambda: Wire(token_header="a b"), "wire.token_header='a b'"),
        (lambda: Retry(attempts=0), "retry.attempts=0: it must be at least 1"),
        (lambda: Retry(first=-1.0), "retry.first=-1.0: wanted seconds"),
        (lambda: Form(rows="jpg"), "form.rows=jpg: choose one of auto, json"),  # pyright: ignore[reportArgumentType]
        (lambda: Form(scores="a[b]"), r"form.scores='a\[b\]' can't be read at '\[b\]'"),
        (lambda: Form(ids="a..b"), "form.ids='a..b' can't be read"),
        (lambda: Form(template={"a": "b"}), r"form.template has neither \$row nor \$rows"),
        (lambda: Pixels(layout="CHW"), "pixels.layout=CHW: choose one of auto, NCHW, NHWC"),  # pyright: ignore[reportArgumentType]
        (lambda: Pixels(dtype="uint8", mean=0.5), "pixels.dtype=uint8 with a mean or std"),
        (lambda: Pixels(std=0.0), "pixels.std=0.0: rows are divided by it"),
        (lambda: from_http("http://h/p", 8, form=Form(rows="binary")), "form.rows=binary is for a url with /v2/models/NAME"),
        (lambda: from_http("http://h/p", 8, 4, form=Form(rows="png")), "pictures have 1 or 3 channels"),
        (lambda: from_http("http://h/p", 8, form=Form(rows="png"), pixels=Pixels(mean=0.5)), "form.rows=png with pixels= set"),
    ],
)
def test_settings_that_can_not_be_are_refused(make, match):
    with untyped():
        refused(match, make)


def test_paths_find_what_lies_there():
    answer = {"a": [{"b": [1, 2]}, {"b": [3, 4]}], "*": 5}
    assert find(answer, parsed("a[*].b[1]", "x")) == [2, 4]
    assert find(answer, parsed("a[1].b", "x")) == [3, 4]
    assert find(answer, parsed("*", "x")) == 5
    assert find([[1], [2]], parsed("[*][0]", "x")) == [1, 2]
    assert find(answer, parsed("", "x")) is answer
    with pytest.raises(LookupError, match=r"no item \[7\]: a list of 2 is there"):
        find(answer, parsed("a[7]", "x"))


def test_a_missing_package_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "httpx", None)
    refused(r"pip install 'dax-lightning\[http\]'", from_http, "http://127.0.0.1/p", 8)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    refused(r"pip install 'dax-lightning\[serve\]'", app, QuarterBox())


def test_the_configuration_has_the_defaults_of_each_group():
    node: Any = composed(["black_box=http", "black_box.url=http://127.0.0.1:9/p"]).black_box
    for name, default in {"form": Form(), "pixels": Pixels(), "wire": Wire(), "retry": Retry()}.items():
        assert instantiate(node[name], _convert_="all") == default
        assert node[name].keys() - {"_target_"} == vars(default).keys()


def test_the_command_line_takes_urls_paths_and_templates_as_they_are():
    (job,) = jobs(
        "dax black_box=http 'black_box.url=http://127.0.0.1:9/p?v=1&w=a,b' black_box.size=8 black_box.form.rows=json "
        "'black_box.form.template={instances: $rows}' 'black_box.form.scores=predictions[*]' black_box.wire.per_second=5.0"
    )
    cfg = composed(job)
    assert (cfg.black_box.url, cfg.black_box.form.scores) == ("http://127.0.0.1:9/p?v=1&w=a,b", "predictions[*]")
    assert build(cfg.black_box, "black_box").input.shape == (3, 8, 8)


# --- the server ---


def body_of(array: np.ndarray) -> str:
    file = io.BytesIO()
    np.save(file, array)
    return base64.b64encode(file.getvalue()).decode()


def png_of(width: int, height: int) -> str:
    file = io.BytesIO()
    Image.new("RGB", (width, height)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        (b"{", 400, "no JSON"),
        (b"[1]", 400, "no JSON object"),
        (b"{}", 400, "wanted"),
        ({"rows": [{"data": png_of(4000, 4000)}]}, 400, "a picture of 4000x4000 pixels"),
        ({"rows": [{"data": "?"}]}, 400, "no base64"),
        ({"rows": [{"data": "AAAA"}]}, 400, "no .npy file"),
        ({"rows": [{"data": body_of(np.zeros((3, 9, 8)))}]}, 400, "rows of shape"),
        ({"rows": [{"data": body_of(np.full((3, 8, 8), np.nan))}]}, 422, "NaN"),
        ({"rows": [{"data": [[["x"]]]}]}, 400, "no numbers"),
        ({"rows": [[[[0.0] * 8] * 8] * 3] * 5}, 413, "5 rows, at most 4"),
        ({"rows": "A" * 200_000}, 413, "bytes"),
    ],
)
def test_a_server_of_ours_refuses_what_it_can_not_take(body, status, told, serve):
    address = serve(app(QuarterBox(8), most_rows=4, body_mb=0.15))
    came = httpx.post(f"{address}/predict", content=body if isinstance(body, bytes) else json.dumps(body))
    assert (came.status_code, list(came.json())) == (status, ["error"])
    assert told in came.json()["error"]
    assert httpx.get(f"{address}/rows").json() == {"rows": 0}


def test_a_file_that_claims_more_than_it_holds_is_refused_before_it_is_read(serve):
    lying = body_of(np.zeros((3, 8, 8), np.float32)).encode()
    raw = base64.b64decode(lying).replace(b"(3, 8, 8)", b"(3, 8, 9)")
    huge = base64.b64decode(lying).replace(b"(3, 8, 8),", b"(9999999,)")
    address = serve(app(QuarterBox(8)))
    for content in (raw, huge):
        came = httpx.post(f"{address}/predict", content=content, headers={"Content-Type": "application/x-npy"})
        assert (came.status_code, "bytes for" in came.text) == (400, True), came.text


@pytest.mark.parametrize(
    "change", [{"datatype": "BYTES"}, {"shape": [1, 3, 8]}, {"data": [1]}, {"parameters": {"binary_data_size": 7}}]
)
def test_v2_requests_that_do_not_fit_are_refused(change, serve):
    tensor = {"name": "rows", "datatype": "FP32", "shape": [1, 3, 8, 8], "data": [0.5] * 192, **change}
    came = httpx.post(serve(app(QuarterBox(8))) + "/v2/models/model/infer", json={"inputs": [tensor]})
    assert (came.status_code, list(came.json())) == (400, ["error"])


def test_the_pages_of_v2_are_there(serve):
    address = serve(app(torch_box(), "m"))
    assert httpx.get(f"{address}/v2/health/ready").status_code == 200
    assert httpx.get(f"{address}/v2/models/m/ready").status_code == 200
    metadata = httpx.get(f"{address}/v2/models/m").json()
    assert metadata["inputs"] == [{"name": "rows", "datatype": "FP32", "shape": [-1, 3, 8, 8]}]
    assert metadata["outputs"] == [{"name": "scores", "datatype": "FP32", "shape": [-1, 3]}]
    assert metadata["parameters"]["classes"] == NAMES


def test_the_script_serves_and_the_command_explains_what_it_serves(tmp_path, monkeypatch, capsys):
    """As docs/http.md shows it: one process serves, another explains; the token is in no file."""
    environment = {**os.environ, "MY_TOKEN": SECRET, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    box = ["black_box=callable", "black_box.function=tests.functions.quarters", "black_box.size=[32,32]"]
    shown = [line.split() for line in lines("docs/http.md") if line.startswith("python scripts/serve.py") and "MY_TOKEN" in line]
    own = [word for word in shown[0][2:] if not word.startswith(("black_box", "name"))]
    process = subprocess.Popen(
        [sys.executable, "scripts/serve.py", *box, *own],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        line = process.stdout.readline() if process.stdout else ""
        (port,) = re.findall(r"serving at http://0.0.0.0:(\d+)", line)
        address = f"http://127.0.0.1:{port}"
        while httpx.get(f"{address}/v2/health/live").status_code != 200:
            time.sleep(0.05)
        monkeypatch.setenv("MY_TOKEN", SECRET)
        monkeypatch.setattr(sys, "argv", ["train.py"])
        monkeypatch.setattr(runner, "draw_panel", lambda _x, _explanation, path, **_: Image.new("RGB", (8, 8)).save(path) or path)
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(tmp_path / "my.png")
        http = ["black_box=http", f"black_box.url={address}/v2/models/model", "black_box.token_env=MY_TOKEN"]
        small = [
            "q=40",
            "device=cpu",
            "segmenter=grid",
            "explainer=lime",
            "segmenter.rows=4",
            "segmenter.columns=4",
            "metrics={}",
        ]
        places = [f"hydra.run.dir={tmp_path / 'run'}", f"store={tmp_path / 'store'}"]
        code = main.run([f"input={tmp_path / 'my.png'}", *http, *small, *places])
        told = capsys.readouterr()
        assert code in (0, 3), told.err
        asked = httpx.get(f"{address}/rows").json()["rows"]
        (row,) = [line for line in (tmp_path / "run" / "rows.csv").read_text(encoding="utf-8").splitlines()[1:]]
        assert ",http," in row or row.startswith("http,")
        assert 40 <= asked <= 42
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len(files) > 5
    assert not [file for file in files if SECRET.encode() in file.read_bytes()]
    assert SECRET not in told.out + told.err


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["port=x"], "port=x"),
        (["black_box=nowhere"], "black_box=nowhere is not known"),
        (
            ["token_env=NOT_SET_AT_ALL", "black_box=callable", "black_box.function=tests.functions.quarters"],
            "token_env=NOT_SET_AT_ALL",
        ),
    ],
)
def test_the_script_tells_a_mistake_in_one_line(arguments, match, capsys):
    from scripts.serve import main as serve_main

    assert serve_main(arguments) == 2
    error = capsys.readouterr().err
    assert match in error
    assert error.count("\n") == 1
