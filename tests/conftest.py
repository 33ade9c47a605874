"""Small black boxes whose answer is known, and the data that may be missing."""

import os
from pathlib import Path

import pytest
import torch
from PIL import Image

from dax_lightning.black_box import BlackBox, View

os.environ.setdefault("WANDB_SILENT", "true")
ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data"


class QuarterBox(BlackBox):
    """Class 0 speaks for light in the top left quarter, class 1 for light in the bottom right one, class 2 for neither.

    ``seen`` counts the rows that really reached the model.
    """

    fingerprint = "quarter"

    def __init__(self, size: int = 32, classes: tuple[str, ...] | None = ("top left", "bottom right", "neither")):
        super().__init__(View((size, size)), classes, "probabilities", batch_size=64)
        self.seen = 0

    def _scores(self, x):
        self.seen += len(x)
        half = x.shape[-1] // 2
        first, second = x[..., :half, :half].mean((1, 2, 3)), x[..., half:, half:].mean((1, 2, 3))
        return torch.softmax(torch.stack([8 * first, 8 * second, torch.full_like(first, 4)], 1), 1)


class ConstantBox(QuarterBox):
    """Says the same whatever it sees."""

    def _scores(self, x):
        self.seen += len(x)
        return torch.tensor([[0.2, 0.3, 0.5]]).repeat(len(x), 1)


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
