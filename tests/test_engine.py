"""Other engines answer as torch does, say what they can't, and leave the process on all its cores."""

import os
import pickle
import re
import sys

import pytest
import torch
from torch import nn

from dax_lightning.black_box import ImageInput, from_torch
from dax_lightning.black_box.torch.engine import runner
from dax_lightning.errors import InputError

HALF = (0.5, 0.5, 0.5)
CPU = torch.device("cpu")


def net() -> nn.Module:
    torch.manual_seed(0)
    first = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()]
    return nn.Sequential(*first, nn.Linear(32, 4)).eval()


@pytest.mark.parametrize("rows", [1, 5, 40])
@pytest.mark.parametrize(("engine", "close"), [("torch", 1e-6), ("openvino", 1e-5), ("openvino_bf16", 0.02)])
def test_answers_are_the_module_s(engine, close, rows):
    pytest.importorskip("openvino")
    module = net()
    box = from_torch(module, ImageInput((24, 24)), HALF, HALF, None, engine=engine)
    x = torch.rand(rows, 3, 24, 24)
    with torch.no_grad():
        wanted = module((x - 0.5) / 0.5).softmax(1)
    assert torch.allclose(box(x), wanted, atol=close)
    assert box.queries == rows


def test_rows_of_any_length_are_answered_as_the_module_does():
    pytest.importorskip("openvino")
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3)).eval()
    run = runner(module, (1, 20, None), CPU, "openvino")
    for frames in (30, 45, 30):
        rows = torch.rand(3, 1, 20, frames)
        with torch.no_grad():
            assert torch.allclose(run(rows), module(rows), atol=1e-5)


def test_compiled_boxes_pickle():
    pytest.importorskip("openvino")
    box, x = from_torch(net(), ImageInput((24, 24)), HALF, HALF, None, engine="openvino"), torch.rand(2, 3, 24, 24)
    assert torch.equal(pickle.loads(pickle.dumps(box))(x), box(x))


def test_gradients_stay_torch_s():
    pytest.importorskip("openvino")
    box = from_torch(net(), ImageInput((24, 24)), HALF, HALF, None, engine="openvino")
    x = torch.rand(2, 3, 24, 24, requires_grad=True)
    box.differentiable()(x).sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no affinity on this system")
def test_the_process_keeps_its_cores():
    pytest.importorskip("openvino")
    before = os.sched_getaffinity(0)
    run = runner(net(), (3, 24, 24), CPU, "openvino")
    run(torch.rand(3, 3, 24, 24))
    assert os.sched_getaffinity(0) == before


def test_what_an_engine_can_not_do_is_said(monkeypatch):
    said = re.escape("engine=tensorrt is none of torch, openvino, openvino_bf16")
    with pytest.raises(InputError, match=said):
        runner(net(), (3, 24, 24), CPU, "tensorrt")
    with pytest.raises(InputError, match="runs on a CPU, and the device is cuda"):
        runner(net(), (3, 24, 24), torch.device("cuda"), "openvino")
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(InputError, match=re.escape("pip install 'dax-lightning[openvino]'")):
        runner(net(), (3, 24, 24), CPU, "openvino")


def test_a_module_that_can_not_be_converted_is_said():
    pytest.importorskip("openvino")
    with pytest.raises(InputError, match=re.escape("OpenVINO can't convert Strange")):
        runner(Strange().eval(), (3, 8, 8), CPU, "openvino")


class Strange(nn.Module):
    """Sorts in numpy, which no tracer follows to the end."""

    def forward(self, x):
        return torch.linalg.eigvals(x.flatten(2)[:, :, :3]).real
