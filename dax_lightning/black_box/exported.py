"""A black box that is a torch network in a file: torch.export's ``.pt2``, or TorchScript. Nothing in it is unpickled."""

import io
import json
import re
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dax_lightning.black_box.answers import Outputs
from dax_lightning.black_box.base import BlackBox, class_names
from dax_lightning.black_box.model_file import FileModel, Layout, View, declared, existing, file_fingerprint
from dax_lightning.black_box.torch.module import Numbers
from dax_lightning.device import pick_device
from dax_lightning.errors import InputError, cause_of
from dax_lightning.inputs.base import Input
from dax_lightning.inputs.image import Crop

_WANTED = "a .pt2 file by torch.export.save, or a TorchScript file"
_LAST = {"softmax": "Softmax", "_softmax": "Softmax", "sigmoid": "Sigmoid"}
_SAME = ("view", "reshape", "flatten", "squeeze", "unsqueeze", "to", "_to_copy", "contiguous", "clone")
_TARGET = re.compile(r"torch\.ops\.(aten|prims|higher_order)\.\w+(\.\w+)*|torch\.sym_\w+|_operator\.\w+|math\.\w+")
_NAME = re.compile(r"[\w.]*")
_SYMBOL = re.compile(  # of a size, as SymPy writes it
    r"[a-z]{1,3}\d+|True|False|Symbol|Integer|Rational|Add|Mul|Pow|Max|Min|Mod|Abs|PythonMod|FloorDiv|CleanDiv|CeilDiv|TruncToInt|"
    r"Equality|Unequality|StrictLessThan|LessThan|StrictGreaterThan|GreaterThan|positive|negative|nonnegative|nonzero|integer|real"
)
_TREE = (None, "builtins.tuple", "builtins.list", "builtins.dict")  # what a network takes and returns


def exported_model(
    file: str,
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
    """A black box that is a torch network in a file: torch.export's ``.pt2``, or TorchScript (``.ts``, ``.pt``, ``.pth``).

    No Python object in the file is unpickled, and of a ``.pt2`` only graphs of torch's own operators are accepted. A network is
    a program all the same: TorchScript can read and write files. Open files of people you trust.

    Args:
        file: the file. Of a ``.pt2``, size, type and batch are read from it; a TorchScript file doesn't tell them.
        size: see :func:`~dax_lightning.black_box.onnx.onnx_model`, as are all others.

    Raises:
        InputError: the file is missing, damaged, or pickled, it holds more than torch's operators, a setting contradicts it, or
            has to be given because the file leaves it open.
    """
    path, picked = existing(file, _WANTED), pick_device(device)
    run = ExportedRun(str(path), str(picked))
    layout = run.layout(channels_last, channels, input)
    view = View(size, channels, low, high, crop, mean, std, input)
    taken = view.on(layout, path.name)
    scores, several, remarks = declared(outputs, multi_label, run.last, run.columns, path.name)
    model = FileModel(run, layout, view, path.name, file_fingerprint(path), class_names(classes), remarks, picked)
    return BlackBox(model, taken, scores, several, batch_size)


class ExportedRun:
    """A network in a file, from one batch to the scores.

    Args:
        file: the file.
        device: where it runs.

    Raises:
        InputError: it is damaged, pickled, or holds more than torch's operators.
    """

    def __init__(self, file: str, device: str = "cpu"):
        self.file, self.device = file, device
        path = Path(file)
        self.shape: tuple[int | None, ...] | None = None
        self.dtype, self.columns, self.last = "float32", None, None
        if _is_program(path):
            program = _program(path)
            self._learn(program)
            if torch.device(device).type != "cpu":
                from torch.export.passes import move_to_device_pass

                program = move_to_device_pass(program, device)
            self._module: Any = program.module(check_guards=False)  # guards are Python text in the file, and would be run
        else:
            self._module = _script(path).to(device)
            self.last = _last_of_script(self._module)

    def __reduce__(self) -> tuple[Any, ...]:  # a graph can't be pickled: it is read again
        return ExportedRun, (self.file, self.device)

    @torch.no_grad()
    def __call__(self, batch: np.ndarray) -> Any:
        """The scores of one batch."""
        return self._module(torch.from_numpy(batch).to(self.device))

    def layout(self, channels_last: bool | None, channels: int | None, input: Input | None) -> Layout:
        """The batch that it takes; TorchScript has none, and takes what the user says.

        Raises:
            InputError: it is no batch.
        """
        if self.shape is None:
            shape = (None, None, None) if input is None else input.shape
            return Layout(shape, channels_last=bool(channels_last))
        if len(self.shape) < 2:
            raise InputError(
                f"{Path(self.file).name} takes a tensor of {len(self.shape)} axes, wanted a batch, such as (n, 3, 224, 224)"
            )
        return Layout(self.shape[1:], self.shape[0], self.dtype, channels_last)

    def _learn(self, program: Any) -> None:
        """Shape and type of its input, scores a row, and the last step, from its graph."""
        wanted, name = program.graph_signature.user_inputs, Path(self.file).name
        nodes = {node.name: node for node in program.graph.nodes}
        if len(wanted) != 1:
            raise InputError(f"{name} has {len(wanted)} inputs, wanted one: export the network with its pictures alone")
        value = nodes[wanted[0]].meta["val"]
        self.shape = tuple(side if isinstance(side, int) else None for side in value.shape)
        self.dtype = str(value.dtype).removeprefix("torch.")
        node = nodes[program.graph_signature.user_outputs[0]]
        answer = node.meta["val"].shape
        self.columns = answer[-1] if len(answer) > 1 and isinstance(answer[-1], int) else None
        while node.op == "call_function" and _operator(node) in _SAME:
            node = node.args[0]
        self.last = _LAST.get(_operator(node)) if node.op == "call_function" else None


def _operator(node: Any) -> str:
    """``softmax`` of ``aten.softmax.int``."""
    return str(getattr(node.target, "_schema", None) and node.target._schema.name).rpartition("::")[2]


def _is_program(path: Path) -> bool:
    """Whether a file is torch.export's; it is an error if it is TorchScript neither.

    Raises:
        InputError: with what the file is, and what to do.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.partition("/")[2] for name in archive.namelist()]
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        if path.read_bytes()[:1] == b"\x80":
            raise _pickled(path) from error
        raise InputError(f"model file {path} can't be read ({cause_of(error, 200)}): wanted {_WANTED}") from error
    if any(name.startswith("models/") for name in names):
        return True
    if any(name.startswith("code/") for name in names):
        return False
    if "data.pkl" in names:
        raise _pickled(path)
    raise InputError(f"model file {path} is an archive of something else: wanted {_WANTED}")


def _pickled(path: Path) -> InputError:
    weights = f"black_box=module black_box.factory=package.module:function black_box.weights={path}"
    return InputError(
        f"model file {path} is pickled, and unpickling runs whatever code is in it: save it by torch.export.save as .pt2; "
        f"or, if these are its weights, write {weights}"
    )


def _script(path: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch advises to export; this is for those who haven't
        try:
            return torch.jit.load(path, map_location="cpu").eval()
        except Exception as error:  # torch's own, one a fault
            raise InputError(f"model file {path} can't be read as TorchScript ({cause_of(error, 200)}): save it again") from error


def _last_of_script(module: Any) -> str | None:
    graph = module.inlined_graph  # held: its nodes die with it
    node = next(graph.outputs()).node()
    while node.kind().removeprefix("aten::") in _SAME:
        node = next(node.inputs()).node()
    return _LAST.get(node.kind().removeprefix("aten::"))


def _program(path: Path) -> Any:
    """The program in a file, once nothing in it can be unpickled or is foreign code.

    Raises:
        InputError: it is damaged, or holds such things.
    """
    content = path.read_bytes()  # once: what is checked is what is loaded
    try:
        found = next(_foreign(content), None)
        if found is None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return torch.export.load(io.BytesIO(content))
    except Exception as error:  # torch's own, one a fault
        raise InputError(f"model file {path} can't be read by torch.export ({cause_of(error, 200)}): export it again") from error
    raise InputError(
        f"model file {path} holds {found}, which could run any code: export the network with torch's own operators alone"
    )


def _foreign(content: bytes) -> Iterator[str]:
    """What ``torch.export.load`` would unpickle, or could run, beside torch's operators."""
    from torch.export.pt2_archive._package import PT2ArchiveReader

    with PT2ArchiveReader(io.BytesIO(content)) as archive:
        for name in archive.get_file_names():
            if name.startswith("data/aotinductor/"):
                yield "compiled code"
            elif name.startswith(("data/weights/", "data/constants/")) and name.endswith(".json"):
                for key, kept in json.loads(archive.read_bytes(name))["config"].items():
                    if kept["use_pickle"] or not kept["path_name"].startswith(("weight_", "tensor_")):
                        yield f"a pickled object ({key})"
            elif name.startswith(("data/weights/", "data/constants/")) and name.endswith(".pt"):
                yield f"pickled objects ({name})"
            elif name.startswith("data/sample_inputs/") and (sample := archive.read_bytes(name)):
                try:
                    torch.load(io.BytesIO(sample), weights_only=True)
                except Exception:  # torch.export.load would now unpickle it
                    yield f"pickled objects ({name})"
            elif name.startswith("models/"):
                yield from _strange(json.loads(archive.read_bytes(name)))


def _strange(node: Any, key: str = "") -> Iterator[str]:
    """Text in a graph that torch would look up or compile, and that is none of torch's operators, names or sizes."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield from _strange(value, name)
    elif isinstance(node, list):
        for value in node:
            yield from _strange(value, key)
    elif isinstance(node, str):
        if key == "target" and not _TARGET.fullmatch(node):
            yield f"the operator {node[:80]}"
        elif key in ("name", "as_name", "forward_arg_names") and not _NAME.fullmatch(node):
            yield f"the name {node[:80]!r}"
        elif key == "expr_str" and not _plain_size(node):
            yield f"the size {node[:80]!r}"
        elif key in ("in_spec", "out_spec", "dataclass_name") and not _plain_tree(node):
            yield f"an input or output that is no tensor, tuple, list or dict ({node[:80]})"


def _plain_size(text: str) -> bool:
    words = re.findall(r"[A-Za-z_]\w*", text)
    return re.fullmatch(r"[\w\s+\-*/(),.<>=']*", text) is not None and all(_SYMBOL.fullmatch(word) for word in words)


def _plain_tree(text: str) -> bool:
    def plain(node: Any) -> bool:
        if isinstance(node, list):
            return all(map(plain, node))
        return not isinstance(node, dict) or (node.get("type") in _TREE and all(map(plain, node.get("children_spec", []))))

    try:
        return plain(json.loads(text))
    except ValueError:
        return not text
