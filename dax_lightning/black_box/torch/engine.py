"""What runs a torch module: torch itself, or OpenVINO, which is faster on many CPUs."""

import copy
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, cast, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dax_lightning.black_box.answers import table_of
from dax_lightning.errors import InputError, remedy
from dax_lightning.imports import instead

Engine = Literal["torch", "openvino", "openvino_bf16"]
_PLAIN = remedy("engine=torch")
_CACHED = 8  # rows a call of torch on a CPU: their activations stay in its cache; benchmarks/black_box.py compares


def runner(
    module: nn.Module, shape: tuple[int | None, ...], device: torch.device, engine: str = "torch"
) -> Callable[[Tensor], Any]:
    """A function from rows to the module's scores.

    Args:
        module: in eval mode, on ``device``.
        shape: (c, *space) of one row.
        device: where the rows come from.
        engine: ``torch``; ``openvino``: the same function, on a CPU; ``openvino_bf16``: that in bfloat16, about twice as fast
            where the CPU knows it, and good to some 3 digits: answers differ a little from the module's.

    Raises:
        InputError: another engine, or OpenVINO is not installed, can't run the module, or is to run on a GPU.

    Example:
        >>> module = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
        >>> runner(module, (3, 2, 2), torch.device("cpu"))(torch.rand(5, 3, 2, 2)).shape
        torch.Size([5, 2])
    """
    if engine not in get_args(Engine):
        raise InputError(f"engine={engine} is none of {', '.join(get_args(Engine))}")
    if engine != "torch":
        return _OpenVino(module, shape, device, engine)
    return module if device.type != "cpu" else partial(_few_at_a_time, module)


def _few_at_a_time(module: nn.Module, rows: Tensor) -> Tensor:
    return torch.cat([table_of(module(few), len(few)) for few in rows.split(_CACHED)])


class _OpenVino:
    """The module, converted once a size, fed row by row: what a convolution writes is in the cache when the next reads it."""

    def __init__(self, module: nn.Module, shape: tuple[int | None, ...], device: torch.device, engine: str):
        if device.type != "cpu":
            raise InputError(f"engine={engine} runs on a CPU, and the device is {device}: device=cpu, or {_PLAIN}")
        try:
            with instead("openvino_telemetry"):  # OpenVINO reports its import to its makers, by this package
                import openvino
                import openvino.frontend.pytorch.ts_decoder  # noqa: F401
        except ImportError as error:
            wanted = f"engine={engine} needs OpenVINO: pip install 'dax-lightning[openvino]'"
            raise InputError(f"{wanted}; or {_PLAIN}") from error
        self._made_of = (module, shape, device, engine)
        self._shape, self._compiled = None, None
        if None not in shape:
            self._compile(torch.zeros(1, *cast(tuple[int, ...], shape)))

    def _compile(self, row: Tensor) -> None:
        import openvino
        from openvino.frontend import FrontEndManager
        from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

        module, _, _, engine = self._made_of
        reader: Any = FrontEndManager().load_by_framework("pytorch")  # openvino.convert_model would report to its makers
        try:
            with warnings.catch_warnings(), torch.inference_mode():
                warnings.simplefilter("ignore")  # the tracer's, about branches on shapes that are fixed here
                traced = TorchScriptPythonDecoder(_OneTable(module), example_input=row)  # held: the reader goes back to it
                model = reader.convert(reader.load(traced))
        except Exception as error:  # the converter raises errors of torch's tracer and its own
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(f"OpenVINO can't convert {type(module).__name__} ({first}): {_PLAIN}") from error
        model.reshape(list(row.shape))
        options: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": "bf16" if engine == "openvino_bf16" else "f32",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "ENABLE_CPU_PINNING": False,  # else all processes of a sweep sit on the first core
        }
        self._shape, self._compiled = row.shape, openvino.Core().compile_model(model, "CPU", options)

    def __reduce__(self) -> tuple[Any, ...]:  # what is compiled can't be pickled: it is compiled again
        return _OpenVino, self._made_of

    def __call__(self, rows: Float[Tensor, "n c *space"]) -> Float[Tensor, "n k"]:
        each = [row[None].contiguous().float() for row in rows]
        if each[0].shape != self._shape:  # recordings differ in length
            self._compile(each[0])
        compiled: Any = self._compiled
        return torch.cat([torch.from_numpy(compiled(row.numpy())[0].copy()) for row in each])


class _OneTable(nn.Module):
    """The module in single precision, and of its answer the scores alone."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = copy.deepcopy(module).float()

    def forward(self, rows: Tensor) -> Tensor:
        return table_of(self.module(rows), 1)
