"""Small black boxes whose answer is known, and the data that may be missing."""

import os
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from dax_lightning.black_box import BlackBox, TorchBlackBox, View

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


class QuarterModule(nn.Module):
    """Light squared in the same quarters, by a convolutional network: a channel a quarter; ``seen`` counts the rows."""

    where: torch.Tensor

    def __init__(self, size: int = 32, constant: bool = False):
        super().__init__()
        self.seen, self.constant = 0, constant
        where = torch.zeros(2, size // 4, size // 4)
        where[0, : size // 8, : size // 8] = where[1, size // 8 :, size // 8 :] = 1
        self.register_buffer("where", where)
        self.features = nn.Conv2d(3, 2, 4, stride=4, bias=False)
        self.last = nn.Conv2d(2, 2, 1, bias=False)
        nn.init.constant_(self.features.weight, 1 / 48)
        with torch.no_grad():
            self.last.weight.copy_(torch.eye(2).view(2, 2, 1, 1))

    def forward(self, x):
        self.seen += len(x)
        seen = self.last(torch.relu(self.features(x)).square() * self.where)
        scores = 8 * 4 * seen.mean((2, 3))
        return torch.cat([scores, torch.full_like(scores[:, :1], 4)], 1) * (not self.constant)


class QuarterTorchBox(TorchBlackBox):
    """:class:`QuarterBox` for those who need gradients."""

    def __init__(self, size: int = 32, constant: bool = False):
        names = ("top left", "bottom right", "neither")
        super().__init__(QuarterModule(size, constant), View((size, size)), (0.0,) * 3, (1.0,) * 3, names)

    @property
    def seen(self):
        return self.module.seen


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
