"""One word for any black box: a file, a folder, an address, or a name with its scheme."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dax_lightning.black_box.base import BlackBox
from dax_lightning.black_box.exported import exported_model
from dax_lightning.black_box.function import from_function
from dax_lightning.black_box.http import from_http
from dax_lightning.black_box.huggingface import huggingface_model
from dax_lightning.black_box.onnx import onnx_model
from dax_lightning.black_box.sklearn import sklearn_model
from dax_lightning.black_box.torch.named import timm_model, torchvision_model
from dax_lightning.errors import InputError
from dax_lightning.scheme import black_box_of

_MAKE: dict[str, Callable[..., BlackBox]] = {
    "onnx": onnx_model,
    "exported": exported_model,
    "sklearn": sklearn_model,
    "huggingface": huggingface_model,
    "timm": timm_model,
    "torchvision": torchvision_model,
    "callable": from_function,
    "http": from_http,
}


def from_model(model: str | Path, **settings: Any) -> BlackBox:
    """A black box from one word, as ``model=`` on the command line.

    Args:
        model: a file that ends in .onnx, .pt2, .ts, .pt or .skops; a folder with config.json; ``hf:OWNER/NAME``, ``timm:NAME``,
            ``torchvision:NAME``, ``package.module:function`` or an http(s) address.
        settings: of the function that makes such a black box, such as ``size`` and ``classes``.

    Raises:
        InputError: unknown, or no setting of that function.

    Example:
        >>> from_model("numpy:square", size=8, channels=1).input.shape
        (1, 8, 8)
    """
    kind, key, value = black_box_of(str(model))
    make = _MAKE[kind]
    known = [name for name in inspect.signature(make).parameters if name != key]
    for name in settings:
        if name not in known:
            raise InputError(f"{name} is no setting of black_box={kind}: it has {', '.join(known)}")
    return make(value, **settings)
