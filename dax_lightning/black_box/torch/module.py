"""A black box that is a torch module."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dax_lightning.black_box.answers import Outputs
from dax_lightning.black_box.base import BlackBox, class_names
from dax_lightning.black_box.content import state_fingerprint
from dax_lightning.black_box.function import image_input, imported
from dax_lightning.black_box.torch.engine import Engine, runner
from dax_lightning.black_box.torch.fold import folded
from dax_lightning.black_box.torch.weights import load_weights
from dax_lightning.device import pick_device
from dax_lightning.errors import InputError, ModelError, cause_of, remedy
from dax_lightning.inputs.base import Input

Numbers = float | tuple[float, ...] | list[float] | None


class TorchModel:
    """A torch module as a :class:`~dax_lightning.black_box.base.Model`: evaluation mode, batch norms folded, channels-last.

    It runs a copy: the module itself stays where and as it is. Rows get the type of the module's weights.

    Args:
        module: maps (n, c, *space) normalised rows to scores.
        shape: (c, *space) of one row; ``None`` on an axis: any length.
        mean: a value a channel, or one for all, subtracted from the rows; ``None``: 0.
        std: a value a channel, or one for all, divided by; ``None``: 1.
        classes: class names in order; ``None`` when unknown.
        device: cpu, cuda, cuda:1 ... or auto (a GPU where there is one).
        engine: ``torch``, ``openvino`` or ``openvino_bf16``; see :func:`runner`.

    Raises:
        InputError: the module can't be copied, or the device or the engine is missing.

    Example:
        >>> TorchModel(nn.Flatten(), (3, 1, 1), mean=0.5).scores(torch.ones(2, 3, 1, 1)).tolist()
        [[0.5, 0.5, 0.5], [0.5, 0.5, 0.5]]
    """

    def __init__(
        self,
        module: nn.Module,
        shape: tuple[int | None, ...],
        mean: Numbers = None,
        std: Numbers = None,
        classes: tuple[str, ...] | None = None,
        device: str = "cpu",
        engine: Engine = "torch",
    ):
        self.shape, self.classes = shape, classes
        self.engine: Engine = engine
        self.device = pick_device(device)
        self.fingerprint = state_fingerprint(module)
        self.module = folded(_copied(module).eval(), shape).to(self.device)
        self.module.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self._run = runner(self.module, shape, self.device, engine)
        self.mean, self.std = (self._a_channel(values, default) for values, default in ((mean, 0.0), (std, 1.0)))

    def scores(self, rows: Float[Tensor, "n c *space"]) -> Any:
        """The module's answers to rows in the input's range.

        Raises:
            ModelError: the module raised an error.
        """
        layout = torch.channels_last if rows.ndim == 4 else torch.contiguous_format
        return self._answers(self._run, rows.to(self.device, memory_format=layout))

    def open_scores(self, rows: Float[Tensor, "n c *space"]) -> Any:
        """The same with gradients, by torch."""
        return self._answers(self.module, rows.to(self.device))

    def normalised(self, rows: Float[Tensor, "n c *space"]) -> Float[Tensor, "n c *space"]:
        """Rows as the module wants them."""
        return ((rows - self.mean) / self.std).to(dtype_of(self.module))

    def with_module(self, module: nn.Module) -> "TorchModel":
        """The same around another module."""
        mean, std = (values.flatten().tolist() for values in (self.mean, self.std))
        return TorchModel(module, self.shape, mean, std, self.classes, str(self.device), self.engine)

    def _answers(self, run: Callable[[Tensor], Any], rows: Tensor) -> Any:
        try:
            return run(self.normalised(rows))
        except InputError:
            raise
        except Exception as error:  # whatever a user's module raises
            cause = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            full = isinstance(error, torch.OutOfMemoryError)
            images = "size= or channels= (black_box.size=, black_box.channels= on the command line)"
            todo = images if rows.ndim == 4 and self.shape[0] != 1 else f"{images}; of sounds, the kind= that it takes"
            todo = f"lower {remedy('batch_size=')}" if full else f"set {todo}"
            raise ModelError(f"the module failed on rows of shape {tuple(rows.shape)}: {cause}: {todo}") from error

    def _a_channel(self, values: Numbers, default: float) -> Tensor:
        plain = default if values is None else values
        made = torch.tensor(plain, dtype=torch.float32, device=self.device).flatten()
        if len(made) not in (1, self.shape[0]):
            raise InputError(f"{len(made)} values of mean or std for {self.shape[0]} channels: wanted one each")
        return made.view(-1, *[1] * (len(self.shape) - 1))


def from_torch(
    module: nn.Module,
    size: int | tuple[int, int] | list[int] | Input,
    mean: Numbers = None,
    std: Numbers = None,
    classes: str | list[str] | tuple[str, ...] | None = None,
    outputs: Outputs = "logits",
    multi_label: bool = False,
    batch_size: int = 32,
    device: str = "cpu",
    engine: Engine = "torch",
    channels: int = 3,
) -> BlackBox:
    """A black box that is a torch module. It runs a copy in evaluation mode: the module itself stays as it is.

    Args:
        module: maps (n, c, H, W) normalised rows to scores; or to a tuple, list, dict or object with ``logits`` that holds them.
        size: side of the input in pixels, or (H, W); or an ``Input``, such as ``ImageInput((28, 28), channels=1)``.
        mean: a value a channel, subtracted after scaling to [0, 1]; ``None``: rows in [0, 1] as they are. One value alone means
            greyscale.
        std: a value a channel, divided by; it goes with ``mean``.
        classes: class names in order, or a text file with one a line. A single column of scores has one name, or two: the first
            of these is what speaks against it.
        outputs: what it returns: ``logits`` or ``probabilities``. A single column, (n, 1) or (n,), is two classes.
        multi_label: each class is its own yes or no: sigmoids, no softmax, and rows needn't sum to 1.
        batch_size: rows a call.
        device: cpu, cuda, cuda:1 ... or auto.
        engine: ``torch``, ``openvino`` or ``openvino_bf16``; see :func:`runner`.
        channels: 3 for RGB, 1 for greyscale; an ``Input`` has its own.

    Raises:
        InputError: that is no module, a setting is out of range, or the module ends in a softmax or sigmoid and ``outputs`` are
            logits.

    Example:
        >>> module = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
        >>> box = from_torch(module, size=2, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), classes=["cat", "dog"])
        >>> box(torch.rand(5, 3, 2, 2)).shape, box.queries
        (torch.Size([5, 2]), 5)
    """
    _check_module(module)
    last = _last(module)
    if outputs == "logits" and isinstance(last, nn.Sigmoid | nn.Softmax):
        raise InputError(
            f"the module ends in {type(last).__name__}, its scores are no logits: say {remedy('outputs=probabilities')}"
        )
    grey = isinstance(mean, float) or (isinstance(mean, tuple | list) and len(mean) == 1)
    input = image_input(size, 1 if grey else channels)
    check_normalisation(mean, std, input)
    model = TorchModel(module, input.shape, mean, std, class_names(classes), device, engine)
    return BlackBox(model, input, outputs, multi_label, batch_size)


def from_factory(
    factory: str,
    weights: str | None = None,
    size: int | tuple[int, int] | list[int] | Input = (224, 224),
    channels: int = 3,
    mean: Numbers = None,
    std: Numbers = None,
    classes: str | list[str] | tuple[str, ...] | None = None,
    outputs: Outputs = "logits",
    multi_label: bool = False,
    batch_size: int = 32,
    device: str = "auto",
    input: Input | None = None,
) -> BlackBox:
    """A black box that is the torch module which a function of yours makes.

    Args:
        factory: ``package.module:function``, called without arguments, or a class; the working folder is on the import path.
        weights: a .safetensors or .pth file; ``None``: the module has them already.
        size: see :func:`from_torch`, as are all others.
        input: see :func:`from_function`.

    Raises:
        InputError: the factory makes no torch module, or the weights don't fit.

    Example:
        >>> from_factory("torch.nn:Flatten", size=1)(torch.full((1, 3, 1, 1), 0.5)).sum().item()
        1.0
    """
    make = imported(factory, "black_box.factory")
    try:
        module = make()
    except Exception as error:
        told = f"black_box.factory={factory} failed when called without arguments ({cause_of(error)})"
        raise InputError(told) from error
    if not isinstance(module, nn.Module):
        raise InputError(f"black_box.factory={factory} made a {type(module).__name__}, wanted a torch.nn.Module")
    if weights is not None:
        load_weights(module, weights)
    kind = size if input is None else input
    return from_torch(module, kind, mean, std, classes, outputs, multi_label, batch_size, device, channels=channels)


def dtype_of(module: nn.Module) -> torch.dtype:
    """The type of the module's weights: of its first floating-point one, or float32 without any.

    Example:
        >>> dtype_of(nn.Linear(1, 1).half())
        torch.float16
    """
    values = (tensor.dtype for group in (module.parameters(), module.buffers()) for tensor in group)
    return next((dtype for dtype in values if dtype.is_floating_point), torch.float32)


def _check_module(module: Any) -> None:
    """Raise an InputError unless it is a module, with what to do instead."""
    if isinstance(module, nn.Module):
        return
    if isinstance(module, Mapping):
        raise InputError("these are weights, wanted a torch module: build the network, then network.load_state_dict(...)")
    if isinstance(module, type):
        raise InputError(f"{module.__name__} is a class, wanted a torch module: make one, such as {module.__name__}()")
    if callable(module):
        raise InputError("that is a function, wanted a torch module: from_function(function, size=...) takes functions")
    raise InputError(f"that is a {type(module).__name__}, wanted a torch module: an nn.Module that maps rows to scores")


def check_normalisation(mean: Numbers, std: Numbers, input: Input) -> None:
    """Raise an InputError unless mean and std go together and suit the input's range.

    Example:
        >>> from dax_lightning.inputs.image import ImageInput
        >>> check_normalisation(0.5, 0.5, ImageInput((8, 8)))
    """
    means, stds = (torch.as_tensor(0.5 if values is None else values).flatten().tolist() for values in (mean, std))
    if not all(value > 0 for value in stds):
        raise InputError(f"std={std}: rows are divided by it, wanted over 0")
    if mean is not None and std is None:
        raise InputError(f"mean={mean} without std: give {remedy('std=')} too, 1 where rows are only shifted")
    if (input.low, input.high) == (0, 1) and not all(value <= 1 for value in means):
        raise InputError(f"mean={mean} for rows in [0, 1]: divide mean and std by 255")


def _copied(module: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(module)
    except Exception as error:  # whatever hangs on it
        cause = " ".join(f"{error}".split())
        raise InputError(
            f"{type(module).__name__} can't be copied ({cause}): give it as a function, from_function(module, ...)"
        ) from error


def _last(module: nn.Module) -> nn.Module:
    """What runs last, as far as that is known."""
    while isinstance(module, nn.Sequential) and len(module):
        module = module[-1]
    return module
