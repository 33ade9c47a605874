"""Black boxes that are torch modules.

timm brings wandb along, and both packages torch's compiler: over two seconds, for functions that nobody calls here. Where a
program of its own compiles timm's NaFlexVit, it had better import timm first.
"""

from unittest.mock import patch

import torch

from dax_lightning.imports import imported_when_called, instead

_COMPILER = "torch._dynamo.utils"

with (
    instead("wandb"),
    instead(_COMPILER, imported_when_called(_COMPILER, "is_compile_supported")),
    patch.object(torch.compiler, "disable", None),  # timm has a decorator of its own for a torch without it
):
    import timm  # noqa: F401 -- the packages' other modules find them imported
    import torchvision  # noqa: F401
