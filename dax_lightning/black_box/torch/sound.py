"""Classifiers of sound: a network on log-mel spectrograms, and the file that holds it with its front end."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import timm
import torch.nn.functional as F
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor, nn

from dax_lightning.black_box.base import BlackBox
from dax_lightning.black_box.torch.engine import Engine
from dax_lightning.black_box.torch.module import from_torch
from dax_lightning.black_box.torch.named import lite0_module
from dax_lightning.black_box.torch.stored import store, stored
from dax_lightning.errors import InputError, cause_of
from dax_lightning.inputs.sound import LogMel
from dax_lightning.inputs.spectrogram import log_mel_input

Architecture = Literal["lite0", "resnet18", "resnet50", "blstm"]
_KIND = "sound_model"


class ImageNetwork(nn.Module):
    """An image network on spectrograms: the one channel is given three times.

    Example:
        >>> import torch
        >>> ImageNetwork("resnet18", classes=10)(torch.zeros(2, 1, 64, 64)).shape
        torch.Size([2, 10])
    """

    def __init__(self, architecture: Literal["lite0", "resnet18", "resnet50"], classes: int, pretrained: bool = False):
        super().__init__()
        if pretrained:
            self.network: Any = lite0_module()
            self.network.reset_classifier(classes)
        else:
            name = "tf_efficientnet_lite0" if architecture == "lite0" else architecture
            self.network = timm.create_model(name, num_classes=classes)

    def forward(self, rows: Float[Tensor, "n 1 mel time"]) -> Float[Tensor, "n k"]:
        """The logits."""
        return self.network(rows.expand(-1, 3, -1, -1))


class Blstm(nn.Module):
    """A bi-directional LSTM over windows of a spectrogram; the logits of all windows are averaged.

    As in the baseline of the DiCOVA challenge (Sharma et al. 2022): windows of 51 frames, each 10 frames after the one before.
    The last frame is repeated until the last window is full, so that inputs of any length are heard to their end.

    Example:
        >>> import torch
        >>> Blstm(mels=64, classes=2)(torch.zeros(3, 1, 64, 200)).shape
        torch.Size([3, 2])
    """

    window, stride = 51, 10  # frames

    def __init__(self, mels: int, classes: int, hidden: int = 32):
        super().__init__()
        self.lstm = nn.LSTM(mels, hidden, bidirectional=True, batch_first=True)
        self.out = nn.Sequential(nn.Linear(2 * hidden, hidden), nn.Tanh(), nn.Linear(hidden, classes))

    def forward(self, rows: Float[Tensor, "n 1 mel time"]) -> Float[Tensor, "n k"]:
        """The logits."""
        over = rows.shape[-1] - self.window
        missing = -over if over < 0 else -over % self.stride
        windows = F.pad(rows[:, 0], (0, missing), mode="replicate").unfold(-1, self.window, self.stride)  # (n, mel, w, 51)
        said = self.out(self.lstm(windows.permute(0, 2, 3, 1).flatten(0, 1))[0].mean(1))
        return said.unflatten(0, (len(rows), -1)).mean(1)


def network(architecture: Architecture, mels: int, classes: int, pretrained: bool = False) -> nn.Module:
    """A network by name, with random weights, or with ImageNet's where the package brings them (lite0).

    Raises:
        InputError: no such name.
    """
    if architecture == "blstm":
        return Blstm(mels, classes)
    if architecture not in ("lite0", "resnet18", "resnet50"):
        raise InputError(f"architecture={architecture}: choose one of lite0, resnet18, resnet50, blstm")
    return ImageNetwork(architecture, classes, pretrained and architecture == "lite0")


@dataclass(frozen=True)
class SoundModel:
    """A trained network, with all that is needed to use it on recordings.

    Args:
        module: (n, 1, mel, time) normalised rows to logits.
        architecture: what the network is.
        front: how recordings become spectrograms.
        classes: names, in the order of the logits.
        mean: of the training's spectrograms, in dB.
        std: of the same.
        facts: what else is known, such as the held-out accuracy and what it was trained on.

    Example:
        >>> import torch
        >>> import tempfile
        >>> front = LogMel(rate=8000, window=256, hop=128, bands=20)
        >>> model = SoundModel(Blstm(20, 2), "blstm", front, ("cough", "speech"), -40.0, 20.0, {"fold": 5})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save(Path(folder, "a.safetensors"))
        ...     SoundModel.load(Path(folder, "a.safetensors")).classes
        ('cough', 'speech')
    """

    module: nn.Module
    architecture: Architecture
    front: LogMel
    classes: tuple[str, ...]
    mean: float
    std: float
    facts: dict[str, Any]

    def save(self, file: str | Path) -> None:
        """Write a .safetensors file, and the folders above it.

        Raises:
            InputError: it can't be written.
        """
        names = ("architecture", "classes", "mean", "std", "facts")
        told = {"front": asdict(self.front)} | {name: getattr(self, name) for name in names}
        store(file, _KIND, told, self.module.state_dict(), "model")

    @classmethod
    def load(cls, file: str | Path) -> "SoundModel":
        """Read back what :meth:`save` wrote.

        Raises:
            InputError: no such file, or another kind of file.
        """
        path = Path(file).expanduser()
        if not path.is_file():
            raise InputError(f"black_box.weights={file} does not exist: `make sound data=DIR` trains the models of sound")
        try:
            told, state = stored(path, _KIND)
            front, classes = LogMel(**told["front"]), tuple(told["classes"])
            module = network(told["architecture"], front.bands, len(classes))
            module.load_state_dict(state)
        except (SafetensorError, KeyError, ValueError, TypeError, OSError, RuntimeError) as error:
            cause = cause_of(error, most=200)
            raise InputError(
                f"black_box.weights={file} is no model of sound ({cause}): wanted a .safetensors file that `make sound` wrote"
            ) from error
        return cls(module, told["architecture"], front, classes, told["mean"], told["std"], told["facts"])


def sound_model(weights: str, batch_size: int = 32, device: str = "auto", engine: Engine = "torch") -> BlackBox:
    """A classifier of sound that ``make sound`` trained; it takes recordings of any length.

    Args:
        weights: the .safetensors file.
        batch_size: rows a call.
        device: cpu, cuda or auto.
        engine: see :func:`runner`.

    Raises:
        InputError: no such file, or another kind of file.
    """
    made = SoundModel.load(weights)
    kind, mean, std = log_mel_input(made.front), (made.mean,), (made.std,)
    box = from_torch(made.module, kind, mean, std, made.classes, batch_size=batch_size, device=device, engine=engine)
    box.facts = made.facts
    return box
