"""Imports of packages without what they bring along and nobody here calls."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType


@contextmanager
def instead(name: str, module: ModuleType | None = None) -> Iterator[None]:
    """While it lasts, an import of ``name`` gives ``module``; with ``None`` it fails as where the package is missing.

    Example:
        >>> with instead("json"):
        ...     try:
        ...         import json
        ...     except ImportError:
        ...         print("missing")
        missing
    """
    kept = sys.modules.get(name)
    sys.modules[name] = module  # pyright: ignore[reportArgumentType] -- of None an import fails
    try:
        yield
    finally:
        if kept is None:
            del sys.modules[name]
        else:
            sys.modules[name] = kept


def imported_when_called(name: str, function: str) -> ModuleType:
    """A module with one function of the module ``name``, which is imported when the function is called.

    Example:
        >>> imported_when_called("math", "sqrt").sqrt(4.0)
        2.0
    """
    module = ModuleType(name)
    setattr(module, function, lambda *given, **options: getattr(import_module(name), function)(*given, **options))
    return module
