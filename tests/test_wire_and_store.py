"""A model behind a wire, its answers on disk: one network, one map, every row paid once and counted as the server counts."""

from contextlib import ExitStack
from typing import Any

import httpx
import pytest
import torch

from dax_lightning.black_box import BlackBox, Store, from_model, from_torch
from dax_lightning.black_box.http import Form, from_http
from dax_lightning.errors import InputError
from dax_lightning.explainers.mosaic import MosaicDax
from dax_lightning.serve import app, background
from tests.nets import small
from tests.test_cli import Command, photo, whole_run

__all__ = ["photo", "whole_run"]
NORMAL: Any = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}


def box_of(seed: int = 0) -> BlackBox:
    return from_torch(small(seed=seed), 64, classes=["a", "b", "c"], **NORMAL)


@pytest.fixture
def x():
    return torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def server():
    """The address of a server of one network, port included, so that another network can take its place."""
    with ExitStack() as stack:
        yield lambda box, port=0: stack.enter_context(background(app(box, "m"), port))


def counted(address: str) -> int:
    return httpx.get(f"{address}/rows").json()["rows"]


@pytest.mark.parametrize("path", ["predict", "v2/models/m"])
def test_one_network_one_map_and_as_many_rows_as_the_server_counted(server, x, path, tmp_path):
    address = server(box_of())
    there = from_model(f"{address}/{path}", size=64, classes="server")
    store = Store(tmp_path)
    there.keep(store)
    maps = [MosaicDax(box, q=200).explain(x, "b") for box in (box_of(), there)]
    assert (maps[0].saliency - maps[1].saliency).abs().max() < 1e-3
    assert maps[0].saliency.std() > 0.01
    assert there.queries == 201  # one row tells whether the model was changed
    first = counted(address)
    assert there.asked == first == len(store) + 1  # equal copies are asked once
    again = from_http(f"{address}/{path}", size=64, classes="server")
    again.keep(Store(tmp_path))
    assert torch.equal(MosaicDax(again, q=200).explain(x, "b").saliency, maps[1].saliency)
    assert (again.queries, again.asked, counted(address)) == (201, 1, first + 1)


def test_another_model_under_the_same_address_is_refused(x, tmp_path):
    with background(app(box_of(), "m")) as address:
        box = from_http(f"{address}/predict", size=64)
        box.keep(Store(tmp_path))
        box(x[None])
    port = int(address.rpartition(":")[2])
    with background(app(box_of(seed=1), "m"), port) as changed:
        assert changed == address
        box = from_http(f"{address}/predict", size=64)
        with pytest.raises(InputError, match=r"the model was changed since .* \(scores moved by .* on the same row\)"):
            box.keep(Store(tmp_path))


def test_the_command_line_keeps_answers_of_a_wire_by_itself(server, whole_run: Command, photo, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    address = server(box_of())
    settings = ["q=40", "segmenter=grid", "explainer=lime", f"model={address}/predict", "black_box.size=[64,64]"]
    assert whole_run(photo, box=[], settings=settings) == 0
    first = counted(address)
    assert f"rows: 42 needed, {first} asked" in whole_run.out  # the photograph, its 40 copies, and the row of noise
    assert "together: 41 rows, about" in whole_run.out
    assert (tmp_path / "outputs/store/answers.sqlite").is_file()
    whole_run.folder = whole_run.folder.with_name("again")
    assert whole_run(photo, box=[], settings=settings) == 0
    assert counted(address) == first + 1


def test_answers_of_a_wire_are_the_same_whatever_they_came_in(server, x, tmp_path):
    """Requests of one row and of seven: the map moves by rounding alone."""
    maps = []
    for rows in (1, 7):
        box = from_http(f"{server(box_of())}/predict", size=64, form=Form(rows="npy"), batch_size=rows)
        box.keep(Store(tmp_path / str(rows)))
        maps.append(MosaicDax(box, q=60).explain(x, 1).saliency)
    assert torch.allclose(*maps, atol=1e-3)
