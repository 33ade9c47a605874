"""What a Python function is made of: its code, and all values that it reaches."""

import functools
import hashlib
import inspect
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from tokenize import TokenError
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_PLAIN = (type(None), bool, int, float, complex, str, bytes)
_DEEP = 20  # nested values of a fingerprint
_MANY = 1000  # values that are searched for torch modules, at every call


def fingerprint_of(function: Callable[..., Any]) -> str:
    """First 16 hex digits of the SHA-256 of the function's code, its module's code, and the values that it reaches.

    These are closures, defaults, attributes and the globals that it names: tensors, arrays, torch modules, plain values and other
    objects that can be pickled. Functions of the same package count with their code, other packages' with their name.

    Example:
        >>> def scaled(by):
        ...     return lambda rows: by * rows
        >>> fingerprint_of(scaled(2)) == fingerprint_of(scaled(2)) != fingerprint_of(scaled(3))
        True
    """
    digest = hashlib.sha256()
    for part in _Reader(_package(function)).read(function):
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()[:16]


def modules_in(function: Any) -> list[nn.Module]:
    """The torch modules that a call of this function can reach without importing: itself, its closure, globals, attributes.

    Example:
        >>> net = nn.Linear(2, 2)
        >>> modules_in(lambda rows: net(rows)) == modules_in(net.forward) == [net]
        True
    """
    found, seen, waiting = [], {}, [function]  # what was seen is held, so that no id is used again
    for value in waiting:  # the nearest first; it grows
        if id(value) in seen or isinstance(value, (*_PLAIN, Tensor, np.ndarray, type, types.ModuleType)):
            continue
        seen[id(value)] = value
        if isinstance(value, nn.Module):
            found.append(value)
        elif len(waiting) < _MANY:
            parts = [part for _, part in _parts(value)]
            waiting += parts or [*getattr(value, "__dict__", {}).values(), _call_of(value)]
    return found


def state_fingerprint(module: nn.Module) -> str:
    """First 16 hex digits of the SHA-256 of all weights: the same weights, the same fingerprint.

    Example:
        >>> len(state_fingerprint(nn.Linear(2, 2)))
        16
    """
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(name.encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()[:16]


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """What a function or container holds, by name."""
    if isinstance(value, types.MethodType):
        yield from (("self", value.__self__), ("function", value.__func__))
    elif isinstance(value, functools.partial):
        yield from (("function", value.func), ("arguments", value.args), ("keywords", value.keywords))
    elif isinstance(value, types.FunctionType):
        yield from (("defaults", value.__defaults__), ("keywords", value.__kwdefaults__))
        for name, cell in zip(value.__code__.co_freevars, value.__closure__ or (), strict=True):
            yield name, _content(cell)
        yield from ((name, value.__globals__[name]) for name in _names(value.__code__) if name in value.__globals__)
        yield "wrapped", getattr(value, "__wrapped__", None)
    elif isinstance(value, Mapping):
        yield from ((repr(key), part) for key, part in value.items())
    elif isinstance(value, list | tuple):
        yield from ((str(place), part) for place, part in enumerate(value))


def _call_of(value: Any) -> Any:
    """The Python function that runs when an object is called, if any."""
    call = inspect.getattr_static(type(value), "__call__", None)
    return call if isinstance(call, types.FunctionType) else None


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not yet filled
        return None


def _names(code: types.CodeType) -> list[str]:
    inner = [name for constant in code.co_consts if isinstance(constant, types.CodeType) for name in _names(constant)]
    return sorted({*code.co_names, *inner})


class _Reader:
    """Values as bytes that are the same in every process."""

    def __init__(self, package: str):
        self.package = package
        self.seen: dict[int, tuple[int, Any]] = {}  # what was seen is held, so that no id is used again

    def read(self, value: Any, depth: int = 0) -> Iterator[bytes]:
        """The value's type and content."""
        yield f"{type(value).__module__}.{type(value).__qualname__}".encode()
        if isinstance(value, _PLAIN):
            yield repr(value).encode()
        elif id(value) in self.seen or depth > _DEEP:
            yield str(self.seen.get(id(value), ["deep"])[0]).encode()
        else:
            self._see(value)
            yield from self._read(value, depth)

    def _see(self, value: Any) -> None:
        self.seen[id(value)] = len(self.seen), value

    def _read(self, value: Any, depth: int) -> Iterator[bytes]:
        if isinstance(value, Tensor):
            yield f"{value.dtype} {tuple(value.shape)}".encode()
            yield _bytes(value)
        elif isinstance(value, np.ndarray) and not value.dtype.hasobject:
            yield f"{value.dtype} {value.shape}".encode()
            yield np.ascontiguousarray(value).tobytes()
        elif isinstance(value, nn.Module):
            yield f"{state_fingerprint(value)} {value!r}".encode()
            yield from self._code(type(value))
        elif isinstance(value, types.ModuleType):
            yield f"{value.__name__} {getattr(value, '__version__', '')}".encode()
            yield from self._code(value)
        elif isinstance(value, type | types.BuiltinFunctionType):
            yield from self._code(value)
        elif isinstance(value, set | frozenset):
            yield from sorted(b"".join(self.read(part, depth + 1)) for part in value)
        elif isinstance(value, types.FunctionType | types.MethodType | functools.partial | dict | list | tuple):
            yield from self._held(value, depth)
        else:
            yield from self._object(value, depth)

    def _held(self, value: Any, depth: int) -> Iterator[bytes]:
        if isinstance(value, types.FunctionType):
            yield from self._code(value)
            if _package(value) != self.package:
                return
        for name, part in _parts(value):
            yield name.encode()
            yield from self.read(part, depth + 1)

    def _object(self, value: Any, depth: int) -> Iterator[bytes]:
        yield from self._code(type(value))
        if _package(value) == self.package:
            yield from self.read(_call_of(value), depth + 1)
        try:
            parts = value.__reduce_ex__(4)  # what pickle would store
        except Exception:  # handles to files, sessions and such: their type must do
            return
        for part in [parts] if isinstance(parts, str) else parts:
            yield from self.read(list(part) if isinstance(part, Iterator) else part, depth + 1)

    def _code(self, value: Any) -> Iterator[bytes]:
        """Name and, of the same package, source, with that of the whole module around it."""
        yield f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}".encode()
        if _package(value) != self.package:
            return
        yield _source(value)
        module = sys.modules.get(getattr(value, "__module__", None) or "")
        if module is not None and id(module) not in self.seen:
            self._see(module)
            yield _source(module)


def _package(value: Any) -> str:
    """The top of the dotted name of the module that a function, class or module is from."""
    inner = value.func if isinstance(value, functools.partial) else value
    name = getattr(inner, "__module__", None) or getattr(inner, "__name__", None) or type(inner).__module__
    return str(name).partition(".")[0]


def _source(value: Any) -> bytes:
    try:
        return inspect.getsource(value).encode()
    except (OSError, TypeError, SyntaxError, TokenError):  # none, or a file that is no Python, such as a page with code in it
        code = getattr(value, "__code__", None)
        return b"" if code is None else _code_bytes(code)


def _code_bytes(code: types.CodeType) -> bytes:
    inner = [_code_bytes(part) if isinstance(part, types.CodeType) else repr(part).encode() for part in code.co_consts]
    return b" ".join([code.co_code, repr(code.co_names).encode(), *inner])


def _bytes(tensor: Tensor) -> bytes:
    plain = tensor.detach().to_dense() if tensor.is_sparse else tensor.detach()
    plain = plain.dequantize() if plain.is_quantized else plain
    return plain.cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
