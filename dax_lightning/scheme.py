"""What ``model=`` means: the ending or the scheme of a model's name says which black box it is. Addresses hold no secrets."""

import re
from os.path import expanduser, isdir  # a text that no path can have is none: those of pathlib raise
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from dax_lightning.errors import InputError

KEYS = {  # black box → its setting that names the model
    "onnx": "file",
    "exported": "file",
    "sklearn": "file",
    "huggingface": "model",
    "timm": "model",
    "torchvision": "model",
    "callable": "function",
    "http": "url",
}
_ENDINGS = {
    ".onnx": "onnx",
    ".pt2": "exported",
    ".ts": "exported",
    ".pt": "exported",
    ".pth": "exported",
    ".skops": "sklearn",
    ".pkl": "sklearn",
    ".pickle": "sklearn",
    ".joblib": "sklearn",
}
_SCHEMES = {"hf": "huggingface", "timm": "timm", "torchvision": "torchvision"}
_SECRET = re.compile(r"token|secret|passw|signature|credential|api_?-?key|^(key|sig|code|auth|pwd)$", re.I)
_KNOWN = (
    "a file that ends in .onnx, .pt2, .ts, .pt or .skops, a folder with config.json, hf:OWNER/NAME, timm:NAME, torchvision:NAME, "
    "package.module:function, or an http(s) address"
)


def black_box_of(model: str, named: str | None = None) -> tuple[str, str, str]:
    """The black box that a model's name means, its setting, and that setting's value.

    Args:
        model: a file, a folder, an address, or a name with its scheme.
        named: the black box that the user chose; ``None``: the name decides.

    Raises:
        InputError: the name is empty, unknown, or means another black box than the user chose.

    Example:
        >>> black_box_of("nets/cat.onnx")
        ('onnx', 'file', 'nets/cat.onnx')
        >>> black_box_of("timm:resnet50"), black_box_of("resnet50", named="timm")
        (('timm', 'model', 'resnet50'), ('timm', 'model', 'resnet50'))
    """
    if not model:
        raise InputError(f"model= names nothing: wanted {_KNOWN}")
    found = _found(model)
    if named is not None:
        if named not in KEYS:
            raise InputError(f"model={model} beside black_box={named}, which has a model of its own: leave out one of the two")
        if found is not None and found[0] != named:
            raise InputError(f"model={model} means black_box={found[0]}, not black_box={named}: leave out black_box=")
        return named, KEYS[named], model if found is None else found[1]
    if found is None:
        if model.lower().endswith(".safetensors"):
            raise InputError(
                f"model={model} holds weights and no network: write black_box=timm black_box.model=NAME "
                f"black_box.weights={model}, or black_box=module with black_box.factory="
            )
        raise InputError(f"model={model} is not known: wanted {_KNOWN}")
    return found[0], KEYS[found[0]], found[1]


def secret_in(address: str) -> str | None:
    """What in an address is a secret, and would stand in every output: ``user``, or the name of a value of its query.

    Example:
        >>> secret_in("https://me:pw@host/p"), secret_in("https://host/p?v=2&api_key=x"), secret_in("https://host/p?v=2")
        ('user', 'api_key', None)
    """
    try:
        parts = urlsplit(address)
    except ValueError:  # no address
        return None
    if parts.username or parts.password:
        return "user"
    return next((key for key, _ in parse_qsl(parts.query, keep_blank_values=True) if _SECRET.search(key)), None)


def _found(model: str) -> tuple[str, str] | None:
    """Black box and the name without its scheme."""
    scheme, _, name = model.partition(":")
    if re.match(r"https?://", model):
        return "http", model
    if scheme in _SCHEMES and name:
        return _SCHEMES[scheme], name
    if kind := _ENDINGS.get(Path(model).suffix.lower()):
        return kind, model
    if model.endswith("/") or isdir(expanduser(model)):
        return "huggingface", model
    if re.fullmatch(r"[A-Za-z_]\w*(\.\w+)*:[A-Za-z_][\w.]*", model):
        return "callable", model
    return None
