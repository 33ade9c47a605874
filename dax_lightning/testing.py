"""Toys whose answer is known: for tests, and for examples that needn't build one."""

from typing import Any

import torch
from torch import Tensor, nn

from dax_lightning.black_box import BlackBox, ImageInput, TorchModel
from dax_lightning.inputs.base import Input
from dax_lightning.inputs.sound import LogMel
from dax_lightning.inputs.spectrogram import SpectrogramInput, log_mel_input
from dax_lightning.inputs.table import TableInput
from dax_lightning.inputs.text import TextInput
from dax_lightning.inputs.wave import WaveInput

_NAMES = ("top left", "bottom right", "neither")
_SMALL = ImageInput((32, 32))


class QuarterModel:
    """Class 0 speaks for light in the top left quarter, class 1 for light in the bottom right one, class 2 for neither.

    ``seen`` counts the rows that really reached the model.
    """

    fingerprint = "quarter"

    def __init__(self, classes: tuple[str, ...] | None = _NAMES):
        self.classes = classes
        self.seen = 0

    def scores(self, rows, /):
        """Probabilities."""
        self.seen += len(rows)
        half = rows.shape[-1] // 2
        first, second = rows[..., :half, :half].mean((1, 2, 3)), rows[..., half:, half:].mean((1, 2, 3))
        return torch.softmax(torch.stack([8 * first, 8 * second, torch.full_like(first, 4)], 1), 1)


class ConstantModel(QuarterModel):
    """Says the same whatever it sees."""

    def scores(self, rows, /):
        """Probabilities."""
        self.seen += len(rows)
        return torch.tensor([[0.2, 0.3, 0.5]]).repeat(len(rows), 1)


class ToyBox(BlackBox):
    """A toy model that answers with probabilities; ``seen`` counts the rows that reached it."""

    model: Any

    def __init__(self, model: Any, input: Input = _SMALL):
        super().__init__(model, input, batch_size=64)

    @property
    def seen(self) -> int:
        """Rows that reached the model."""
        return self.model.seen


class QuarterBox(ToyBox):
    """:class:`QuarterModel` behind its door."""

    def __init__(self, size: int = 32, classes: tuple[str, ...] | None = _NAMES):
        super().__init__(QuarterModel(classes), ImageInput((size, size)))


class ConstantBox(ToyBox):
    """:class:`ConstantModel` behind its door."""

    def __init__(self):
        super().__init__(ConstantModel())


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
        """Scores of three classes."""
        self.seen += len(x)
        seen = self.last(torch.relu(self.features(x)).square() * self.where)
        scores = 8 * 4 * seen.mean((2, 3))
        return torch.cat([scores, torch.full_like(scores[:, :1], 4)], 1) * (not self.constant)


class QuarterTorchBox(BlackBox):
    """:class:`QuarterModule` behind its door, for those who need gradients."""

    def __init__(self, size: int = 32, constant: bool = False):
        input = ImageInput((size, size))
        super().__init__(TorchModel(QuarterModule(size, constant), input.shape, classes=_NAMES), input, "logits")

    @property
    def seen(self) -> int:
        """Rows that reached the module."""
        return self.module.seen


class HalvesModel:
    """Class 0 speaks for high values in the first half of an input, class 1 for those in the second, class 2 for neither.

    It takes every kind of input: the halves are those of the first axis after the channels. ``seen`` counts the rows.
    """

    fingerprint = "halves"
    classes = ("first", "second", "neither")

    def __init__(self, input: Input):
        self.input, self.seen = input, 0

    def scores(self, rows):
        """Probabilities."""
        self.seen += len(rows)
        unit = torch.stack([self.input.unit(row) for row in rows]).mean(1)  # over the channels
        half = unit.shape[1] // 2
        first, second = unit[:, :half].flatten(1).mean(1), unit[:, half:].flatten(1).mean(1)
        return torch.softmax(torch.stack([8 * first, 8 * second, torch.full_like(first, 4)], 1), 1)


_FREE = 40  # places along an axis whose length a model leaves open
WORDS = ("[MASK]", *(f"word{number}" for number in range(1, 20)))
KINDS: dict[str, Input] = {
    "RGB": ImageInput((32, 32)),
    "one channel": ImageInput((32, 32), channels=1),
    "12 channels": ImageInput((32, 32), channels=12),
    "(mel, time)": SpectrogramInput(32, 40),
    "recording": log_mel_input(LogMel(rate=8000, window=256, hop=128, bands=20)),
    "(time,)": WaveInput(100, 400),
    "tokens": TextInput(WORDS, mask=0, tokens=16),
    "table row": TableInput(tuple(f"x{feature}" for feature in range(12)), (0.0,) * 12, (10.0,) * 12),
}


def toy_box(kind: str) -> ToyBox:
    """A :class:`HalvesModel` for one of the inputs in :data:`KINDS`.

    Example:
        >>> toy_box("tokens").input.kind
        'text'
    """
    return ToyBox(HalvesModel(KINDS[kind]), KINDS[kind])


def toy_input(kind: str) -> Tensor:
    """An input of this kind whose halves are both of high values.

    Example:
        >>> toy_input("table row").shape
        torch.Size([1, 12])
    """
    input, generator = KINDS[kind], torch.Generator().manual_seed(3)
    shape = [side or _FREE for side in input.shape]
    x = input.low + (input.high - input.low) * (0.5 + 0.5 * torch.rand(shape, generator=generator))
    return x.round() if input.kind == "text" else x
