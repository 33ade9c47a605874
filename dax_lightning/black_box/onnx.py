"""A black box that is an ONNX file, run by onnxruntime."""

import ast
import json
import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from dax_lightning.black_box.answers import Outputs
from dax_lightning.black_box.base import BlackBox, class_names
from dax_lightning.black_box.model_file import FileModel, Layout, View, declared, existing, file_fingerprint
from dax_lightning.black_box.torch.module import Numbers
from dax_lightning.device import pick_device
from dax_lightning.errors import InputError, cause_of, remedy
from dax_lightning.inputs.base import Input
from dax_lightning.inputs.image import Crop

_TYPES = {"float": "float32", "float16": "float16", "double": "float64", "uint8": "uint8", "int32": "int32", "int64": "int64"}
_NAMES = ("classes", "class_names", "names", "labels", "id2label")  # where files keep class names
_SAME = ("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Cast")  # steps that leave the values alone


def onnx_model(
    file: str,
    output: str | None = None,
    size: int | tuple[int, int] | list[int] | None = None,
    channels: int | None = None,
    channels_last: bool | None = None,
    low: int | float | None = None,
    high: int | float | None = None,
    mean: Numbers = None,
    std: Numbers = None,
    crop: Crop = "center",
    classes: str | list[str] | tuple[str, ...] | None = None,
    outputs: Outputs | None = None,
    multi_label: bool = False,
    batch_size: int = 32,
    device: str = "auto",
    input: Input | None = None,
) -> BlackBox:
    """A black box that is an ONNX file. Size, layout, type, batch and, where the file has them, class names are read from it.

    An ONNX file is data: nothing in it is run but ONNX's own operators. Its weights may lie in a second file beside it.

    Args:
        file: the ``.onnx`` file.
        output: name of the output that holds the scores; ``None``: the first.
        size: (H, W) in pixels, or one side; ``None``: the file's.
        channels: of a picture; ``None``: the file's, or 3 where it leaves them open.
        channels_last: whether the network takes (n, H, W, c); ``None``: the short axis is the channels.
        low: smallest value of a row; ``None``: 0.
        high: largest value of a row; ``None``: 1, or 255 where the network takes bytes.
        mean: a value a channel, subtracted from rows in [low, high]; ``None``: 0.
        std: a value a channel, divided by; it goes with ``mean``.
        crop: ``center`` or ``squash``.
        classes: class names, or a text file with one a line; ``None``: the file's.
        outputs: what the scores are; ``None``: ``probabilities`` after a softmax, ``sigmoid`` after sigmoids, else ``logits``.
        multi_label: each class is its own yes or no.
        batch_size: rows a call; a file with a fixed batch is called with that.
        device: cpu, cuda or auto; on a GPU where onnxruntime is built for it.
        input: see :func:`~dax_lightning.black_box.function.from_function`.

    Raises:
        InputError: onnxruntime is missing, the file is missing or damaged, it takes several inputs, a setting contradicts it,
            or has to be given because it leaves it open.
    """
    path = existing(file, "an .onnx file")
    picked, asked = pick_device(device), device
    try:
        run = OnnxRun(str(path), output, _providers(picked, asked))
        layout, columns, graph = run.layout(channels_last), run.columns(), Graph.of(path)
    except UnicodeDecodeError as error:
        raise InputError(f"model file {path} has a name that is no UTF-8: export it again") from error
    view = View(size, channels, low, high, crop, mean, std, input)
    taken = view.on(layout, path.name)
    scores, several, remarks = declared(outputs, multi_label, graph.last(run.output), columns, path.name)
    names = class_names(classes) or _own_names(run.metadata, columns)
    others = [name for name in run.outputs if name != run.output]
    if others and output is None:
        told = f"{path.name} has {len(run.outputs)} outputs, {', '.join(run.outputs)}: the first is explained"
        remarks = (*remarks, f"{told}; black_box.output= names another")
    weights = [path.parent / name for name in graph.weights]
    where = torch.device("cpu") if run.providers == ["CPUExecutionProvider"] else picked
    model = FileModel(run, layout, view, path.name, file_fingerprint(path, *weights), names, remarks, where)
    return BlackBox(model, taken, scores, several, batch_size)


class OnnxRun:
    """A session of onnxruntime, from one batch to the scores; it has as many threads as torch has when it is made.

    Args:
        file: the ``.onnx`` file.
        output: name of the output; ``None``: the first.
        providers: where it may run, the best first; ``None``: on the CPU.

    Raises:
        InputError: onnxruntime is missing, the file can't be read, it has several inputs, or no such output.
    """

    def __init__(self, file: str, output: str | None = None, providers: list[str] | None = None):
        self.file, self.providers = file, providers or ["CPUExecutionProvider"]
        self._session = _session(file, self.providers)
        inputs, weights = self._session.get_inputs(), {one.name for one in self._session.get_overridable_initializers()}
        wanted = [one for one in inputs if one.name not in weights]
        name = Path(file).name
        if len(wanted) != 1:
            told = ", ".join(one.name for one in wanted) or "none"
            raise InputError(f"{name} has {len(wanted)} inputs ({told}), wanted one: export the network with its pictures alone")
        self.input: Any = wanted[0]
        self.outputs = [one.name for one in self._session.get_outputs()]
        if not self.outputs:
            raise InputError(f"{name} has no output: export the network with its scores")
        if output is not None and output not in self.outputs:
            raise InputError(f"{name} has no output {output}: choose {remedy('output=')} among {', '.join(self.outputs)}")
        self.output = output or self.outputs[0]
        self.metadata: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map

    def __reduce__(self) -> tuple[Any, ...]:  # a session can't be pickled: it is opened again
        return OnnxRun, (self.file, self.output, self.providers)

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        """The scores of one batch."""
        return self._session.run([self.output], {self.input.name: batch})[0]

    def layout(self, channels_last: bool | None = None) -> Layout:
        """The batch that the file declares.

        Raises:
            InputError: its type is none of numbers, or it has no axes.
        """
        kind = str(self.input.type).removeprefix("tensor(").removesuffix(")")
        shape = [side if isinstance(side, int) and side > 0 else None for side in self.input.shape or ()]
        if kind not in _TYPES or len(shape) < 2:
            raise InputError(
                f"{Path(self.file).name} takes {self.input.type} of shape {self.input.shape}, wanted a batch of numbers, such as "
                f"(n, 3, 224, 224): types are {', '.join(_TYPES)}"
            )
        return Layout(tuple(shape[1:]), shape[0], _TYPES[kind], channels_last)

    def columns(self) -> int | None:
        """Scores a row, where the file says it."""
        shape = next(one.shape for one in self._session.get_outputs() if one.name == self.output) or ()
        last = shape[-1] if len(shape) > 1 else None
        return last if isinstance(last, int) else None


def _session(file: str, providers: list[str]) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError("black_box=onnx needs onnxruntime: pip install 'dax-lightning[onnx]'") from error
    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
    options.log_severity_level = 3  # errors come as exceptions, warnings are for those who export
    try:
        return onnxruntime.InferenceSession(file, options, providers=providers)
    except Exception as error:  # onnxruntime's own, one a fault
        raise InputError(f"model file {file} can't be read as ONNX ({cause_of(error, 200)}): export it again") from error


def _providers(device: torch.device, asked: str) -> list[str] | None:
    if device.type == "cpu":
        return None
    try:
        import onnxruntime

        known = onnxruntime.get_available_providers()
    except ImportError:  # the session tells it
        return None
    if "CUDAExecutionProvider" in known:
        return ["CUDAExecutionProvider", "CPUExecutionProvider"]
    if asked != "auto":
        raise InputError(f"device={asked}, but this onnxruntime has no CUDA: install onnxruntime-gpu, or set device=cpu")
    return None


def _own_names(metadata: Mapping[str, str], columns: int | None) -> tuple[str, ...] | None:
    """Class names in a file's metadata: a list, a mapping of ids, or lines; as many as there are scores, else none."""
    for key in _NAMES:
        if key in metadata and (names := _names(metadata[key])) and columns in (None, len(names)):
            return names
    return None


def _names(text: str) -> tuple[str, ...]:
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):  # neither JSON nor a Python value: lines
            continue
        if isinstance(found, dict) and all(str(key).isdigit() for key in found):
            return tuple(str(found[key]) for key in sorted(found, key=int))
        return tuple(map(str, found)) if isinstance(found, list | tuple) else ()
    return tuple(line.strip() for line in text.replace(",", "\n").splitlines() if line.strip())


@dataclass(frozen=True)
class Graph:
    """The steps of an ONNX file, and the files that hold its weights. onnxruntime tells neither.

    Args:
        steps: output → operator and its first input.
        weights: names of files beside it.

    Example:
        >>> graph = Graph({"p": ("Softmax", "z"), "y": ("Identity", "p")})
        >>> graph.last("y"), graph.last("z")
        ('Softmax', None)
    """

    steps: Mapping[str, tuple[str, str]]
    weights: tuple[str, ...] = field(default=())
    _GRAPH: ClassVar[int] = 7  # fields of ONNX's messages, see onnx.proto
    _NODE: ClassVar[int] = 1
    _INITIALIZER: ClassVar[int] = 5
    _EXTERNAL: ClassVar[int] = 13

    @classmethod
    def of(cls, path: Path) -> "Graph":
        """The graph in a file that onnxruntime could read."""
        steps: dict[str, tuple[str, str]] = {}
        weights: dict[str, None] = {}
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            message = _Message(content, 0, len(content))
            for graph in message.parts(cls._GRAPH):
                for node in graph.parts(cls._NODE):
                    inputs, made, kinds = ([part.text() for part in node.parts(number)] for number in (1, 2, 4))
                    steps |= {name: (kinds[0] if kinds else "", inputs[0] if inputs else "") for name in made}
                for tensor in graph.parts(cls._INITIALIZER):
                    for entry in tensor.parts(cls._EXTERNAL):
                        key, value = ("".join(part.text() for part in entry.parts(number)) for number in (1, 2))
                        weights |= {value: None} if key == "location" else {}
        return cls(steps, tuple(weights))

    def last(self, output: str) -> str | None:
        """The operator that makes an output's values; ``None`` where it is unknown."""
        for _ in range(len(self.steps)):
            operator, before = self.steps.get(output, (None, ""))
            if operator not in _SAME:
                return operator
            output = before
        return None


@dataclass(frozen=True)
class _Message:
    """A message of Protocol Buffers, from ``start`` to ``end`` of a file."""

    content: mmap.mmap
    start: int
    end: int

    def parts(self, wanted: int) -> Iterator["_Message"]:
        """The fields of this number that are text, bytes or messages."""
        place = self.start
        while place < self.end:
            tag, place = self._number(place)
            kind, length = tag & 7, {1: 8, 5: 4}.get(tag & 7, 0)
            if kind in (0, 2):
                length, place = self._number(place)
            if kind == 2 and tag >> 3 == wanted:
                yield _Message(self.content, place, place + length)
            place += length if kind else 0

    def text(self) -> str:
        """As text."""
        return self.content[self.start : self.end].decode()

    def _number(self, place: int) -> tuple[int, int]:
        """The whole number at a place, and the place after it: 7 bits a byte, the last byte is below 128."""
        value = shift = 0
        while True:
            byte = self.content[place]
            value, shift, place = value | (byte & 127) << shift, shift + 7, place + 1
            if byte < 128:
                return value, place
