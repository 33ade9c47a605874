"""The smallest real networks, and how each is written to a file."""

import contextlib
import io
import warnings
from pathlib import Path

import torch
from torch import nn


def small(classes: int = 3, channels: int = 3, last: nn.Module | None = None, seed: int = 0) -> nn.Module:
    """A random but fixed network of 64 x 64 pixels; its convolutions see edges and colours."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        parts = [nn.Conv2d(channels, 8, 5, stride=2), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2), nn.ReLU()]
        net = nn.Sequential(*parts, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(256, classes))
    for one in net.parameters():
        one.data *= 2
    return nn.Sequential(net, last).eval() if last is not None else net.eval()


def to_onnx(net: nn.Module, file: Path, x: torch.Tensor, free: bool = True, **more) -> Path:
    """By torch's own exporter; ``free``: any number of rows."""
    dims = ({0: torch.export.Dim("n")},) if free else None
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "No complete tensor found")  # the exporter's, about weights on no CPU
        torch.onnx.export(net.eval(), (x,), file, dynamic_shapes=dims, verbose=False, dynamo=True, **more)
    return file


def to_pt2(net: nn.Module, file: Path, x: torch.Tensor, free: bool = True) -> Path:
    """By ``torch.export``."""
    dims = ({0: torch.export.Dim("n")},) if free else None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "No complete tensor found")
        torch.export.save(torch.export.export(net.eval(), (x,), dynamic_shapes=dims), file)
    return file


def to_script(net: nn.Module, file: Path, x: torch.Tensor) -> Path:
    """By ``torch.jit``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(net.eval(), x), str(file))
    return file
