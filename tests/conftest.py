"""Small black boxes whose answer is known, and the data that may be missing."""

import contextlib
import os
import sys
import weakref
from pathlib import Path

import absl.logging
import jaxtyping
import pytest
import torch
from PIL import Image

from dax_lightning.black_box import BlackBox, FunctionModel, ImageInput
from dax_lightning.testing import QuarterBox

os.environ.setdefault("WANDB_SILENT", "true")
absl.logging.get_absl_handler().python_handler.setStream(sys.__stderr__)  # openvino imports it: it would close pytest's own
ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data"


class HeldAnswers(BlackBox):
    """A black box that notes at each call how many of its earlier answers, or parts of them, are still in memory."""

    def __init__(self, function, size, batch_size):
        super().__init__(FunctionModel(function), ImageInput(size), batch_size=batch_size)
        self.held: list[int] = []
        self._answers: list[weakref.ref] = []

    def __call__(self, x):
        self.held.append(sum(answer() is not None for answer in self._answers))
        memory = super().__call__(x).numpy().copy()  # lives as long as any tensor that looks into it
        self._answers.append(weakref.ref(memory))
        return torch.from_numpy(memory)


@contextlib.contextmanager
def untyped():
    """Without the tests' own type checks, which would be first at a wrong argument."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def quarter_box():
    return QuarterBox()


@pytest.fixture
def noisy_image():
    return 0.5 + 0.5 * torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def photograph(tmp_path):
    """Path of a small colour photograph."""
    pixels = torch.randint(0, 256, (40, 60, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    Image.fromarray(pixels.numpy()).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture
def data():
    """The folder of real data, or a skip."""
    if not DATA.is_dir():
        pytest.skip(f"the real data is not at {DATA}")
    return DATA
