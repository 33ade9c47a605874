"""Black boxes that are torch modules.

timm brings wandb along, and both packages torch's compiler: much of a command's start, for functions that nobody calls here.
Where a program of its own compiles timm's NaFlexVit, it had better import timm first.
"""

import sys
from contextlib import ExitStack
from unittest.mock import patch

import torch

from dax_lightning.imports import imported_when_called, instead

_COMPILER = "torch._dynamo.utils"


def _lean() -> ExitStack:
    """What is loaded already stays as it is."""
    lean = ExitStack()
    if "wandb" not in sys.modules:
        lean.enter_context(instead("wandb"))
    if "torch._dynamo" not in sys.modules:
        lean.enter_context(instead(_COMPILER, imported_when_called(_COMPILER, "is_compile_supported")))
        lean.enter_context(patch.object(torch.compiler, "disable", None))  # timm has its own for a torch without it
    return lean


try:
    with _lean():
        import timm
        import torchvision
except ImportError:  # a version that wants more of the compiler
    import timm  # noqa: F401 -- the packages' other modules find them imported
    import torchvision  # noqa: F401
