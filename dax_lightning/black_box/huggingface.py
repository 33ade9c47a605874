"""A black box that is a model of transformers, with its own processor and labels: of photographs, or of sound."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dax_lightning.black_box.answers import Outputs, table_of
from dax_lightning.black_box.base import BlackBox, class_names
from dax_lightning.black_box.model_file import file_fingerprint
from dax_lightning.black_box.torch.module import TorchModel
from dax_lightning.device import pick_device
from dax_lightning.errors import InputError, ModelError, cause_of, remedy
from dax_lightning.inputs.image import Crop, ImageInput
from dax_lightning.inputs.wave import WaveInput

_RESAMPLING = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}  # Pillow's numbers
_READ = ("*.safetensors", "config.json", "preprocessor_config.json", "processor_config.json")
_CONVNEXT = 384  # pixels below which its processors cut the rim off


def huggingface_model(
    model: str,
    crop: Crop | None = None,
    samples: int | None = None,
    classes: str | list[str] | tuple[str, ...] | None = None,
    outputs: Outputs = "logits",
    multi_label: bool | None = None,
    batch_size: int = 32,
    device: str = "auto",
    download: bool = False,
    revision: str | None = None,
) -> BlackBox:
    """A black box that is a model of transformers for the classification of images or of sound.

    Its processor says how a photograph is cut, scaled and normalised, or which rate a recording has. Its labels are the classes.
    Weights are read from safetensors alone, and no code that comes with a model is run.

    Args:
        model: a folder with ``config.json``, or OWNER/NAME of a model that was downloaded before.
        crop: ``center`` or ``squash``; ``None``: the processor's.
        samples: length of a recording; ``None``: as it comes, at most 30 seconds.
        classes: class names, or a text file with one a line; ``None``: the model's labels.
        outputs: what the model returns.
        multi_label: each class is its own yes or no; ``None``: as the model's ``problem_type`` says.
        batch_size: rows a call.
        device: cpu, cuda or auto.
        download: fetch OWNER/NAME where it isn't here.
        revision: of OWNER/NAME, a branch, tag or commit; ``None``: the newest that is here.

    Raises:
        InputError: transformers is missing, the model isn't here, has no safetensors, classifies neither images nor sound, or its
            processor does what can't be told here.
    """
    with _quiet():
        config, folder = _config(model, download, revision)
        images, sounds = _mappings()
        architectures = set(config.architectures or ())
        kind = config.model_type
        is_sound = kind in sounds and (kind not in images or sounds[kind] in architectures)
        if not is_sound and (kind not in images or not architectures & set(_flat(images[kind]))):
            what = ", ".join(sorted(architectures)) or kind
            raise InputError(f"model={model} is a {what}: wanted a model for the classification of images or of sound")
        network = _network(model, is_sound, download, revision)
        processor = _processor(model, is_sound, download, revision)
    names = class_names(classes) or _labels(config)
    several = config.problem_type == "multi_label_classification" if multi_label is None else multi_label
    files = sorted(file for pattern in _READ for file in folder.glob(pattern))
    if is_sound:
        heard: Any = SoundModel(network, processor, names, device)
        heard.fingerprint = file_fingerprint(*files)
        return BlackBox(heard, WaveInput(processor.sampling_rate, samples), outputs, several, batch_size)
    channels = getattr(config, "num_channels", 3)
    view, remarks = image_input_of(processor, channels, crop)
    mean, std = _normalisation(processor, channels)
    seen: Any = TorchModel(Pixels(network), view.shape, mean, std, names, device)
    seen.fingerprint, seen.remarks = file_fingerprint(*files), remarks
    return BlackBox(seen, view, outputs, several, batch_size)


def image_input_of(processor: Any, channels: int = 3, crop: Crop | None = None) -> tuple[ImageInput, tuple[str, ...]]:
    """The input that an image processor makes of a photograph, and a line where it is not quite the same.

    Args:
        processor: of transformers.
        channels: that the model takes.
        crop: in place of the processor's.

    Raises:
        InputError: its size depends on the photograph.

    Example:
        >>> from types import SimpleNamespace
        >>> told = {"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}, "resample": 3}
        >>> image_input_of(SimpleNamespace(do_center_crop=True, **told))[0]
        ImageInput(size=(224, 224), channels=3, crop_pct=0.875, crop='center', interpolation='bicubic', low=0.0, high=1.0)
    """
    size, cut = (_pixels(getattr(processor, name, None)) for name in ("size", "crop_size"))
    crops = bool(getattr(processor, "do_center_crop", False))
    edge = (getattr(processor, "size", None) or {}).get("shortest_edge")
    remarks: tuple[str, ...] = ()
    share: float = 1.0
    if crops and cut is not None:
        wanted, own = cut, "center"
        if edge is not None:
            share = min(1.0, min(cut) / edge)
        elif size is not None:
            share = min(1.0, min(a / b for a, b in zip(cut, size, strict=True)))
            remarks = ("the model's processor squashes a photograph before it crops; here its aspect is kept",)
    elif size is not None:
        wanted, own = size, "squash"
    elif edge is not None:  # ConvNeXt's cut the rim off and make a square; others leave the other side free
        wanted, own = (edge, edge), "center"
        share = getattr(processor, "crop_pct", None) or 1.0
        share = share if edge < _CONVNEXT else 1.0
        if getattr(processor, "crop_pct", None) is None:
            remarks = (f"the model's processor keeps all of a photograph; here its centre is cut to {edge}x{edge} pixels",)
    else:
        raise InputError("the model's processor gives pictures no size: wanted height and width, or shortest_edge")
    way = _RESAMPLING.get(int(getattr(processor, "resample", None) or 0), "bilinear")
    return ImageInput(wanted or (1, 1), channels, share, crop or own, way), remarks


class Pixels(nn.Module):
    """A model of images, from normalised pixels to logits.

    Args:
        network: of transformers.
    """

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, rows: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k"]:
        """The logits."""
        return self.network(pixel_values=rows).logits


class SoundModel:
    """A model of sound as a :class:`~dax_lightning.black_box.base.Model`: its feature extractor takes waves.

    Args:
        network: of transformers, from features to logits.
        extractor: its feature extractor.
        classes: names in the order of the logits.
        device: cpu, cuda or auto.
    """

    def __init__(self, network: nn.Module, extractor: Any, classes: tuple[str, ...] | None, device: str = "cpu"):
        self.device = pick_device(device)
        self.network, self.extractor, self.classes = network.eval().to(self.device), extractor, classes
        self.fingerprint = ""

    @torch.no_grad()
    def scores(self, rows: Float[Tensor, "n c time"]) -> Float[Tensor, "n k"]:
        """The logits of waves.

        Raises:
            ModelError: the extractor or the network failed.
        """
        try:
            with _quiet():
                features = self.extractor(
                    list(rows.mean(1).numpy()), sampling_rate=self.extractor.sampling_rate, return_tensors="pt"
                )
                given = {name: values.to(self.device) for name, values in features.items()}
                return table_of(self.network(**given), len(rows))
        except Exception as error:  # whatever transformers raises
            told = f"the model failed on waves of shape {tuple(rows.shape)}: {cause_of(error, 200)}"
            raise ModelError(f"{told}: set {remedy('samples=')} to a length that it takes") from error


def _normalisation(processor: Any, channels: int) -> tuple[list[float], list[float]]:
    """Mean and standard deviation for rows in [0, 1]."""
    scale = 255 * getattr(processor, "rescale_factor", 1 / 255) if getattr(processor, "do_rescale", True) else 255.0
    shift = 1.0 if getattr(processor, "rescale_offset", False) and getattr(processor, "do_rescale", True) else 0.0
    normal = getattr(processor, "do_normalize", False)
    means, stds = (
        [float(value) for value in (values if isinstance(values, list | tuple) else [values])]
        for values in ((processor.image_mean, processor.image_std) if normal else (0.0, 1.0))
    )
    means, stds = (values * channels if len(values) == 1 else values for values in (means, stds))
    return [(mean + shift) / scale for mean in means], [std / scale for std in stds]


def _pixels(size: Any) -> tuple[int, int] | None:
    found = size if hasattr(size, "get") else {}
    height, width = found.get("height"), found.get("width")
    return None if height is None or width is None else (int(height), int(width))


def _labels(config: Any) -> tuple[str, ...] | None:
    """The labels; none where they are transformers' own placeholders."""
    labels = config.id2label or {}
    names = tuple(str(labels[key]) for key in sorted(labels, key=int))
    return None if not names or all(name == f"LABEL_{place}" for place, name in enumerate(names)) else names


def _mappings() -> tuple[Any, Any]:
    from transformers.models.auto import modeling_auto

    return modeling_auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES, modeling_auto.MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES


def _flat(names: Any) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _config(model: str, download: bool, revision: str | None) -> tuple[Any, Path]:
    try:
        from transformers import AutoConfig
        from transformers.utils.hub import cached_file
    except ImportError as error:
        raise InputError("black_box=huggingface needs transformers: pip install 'dax-lightning[huggingface]'") from error
    folder = Path(model).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise InputError(f"model folder {model} has no config.json: save the model there by model.save_pretrained")
        if not any(folder.glob("*.safetensors")):
            raise InputError(
                f"model folder {model} has no .safetensors file: save it by model.save_pretrained; pickled weights are not read"
            )
    config: Any = _loaded(model, download, revision, AutoConfig)
    place: Any = (
        str(folder / "config.json")
        if folder.is_dir()
        else cached_file(model, "config.json", local_files_only=True, revision=revision)
    )
    return config, Path(place).parent


def _network(model: str, is_sound: bool, download: bool, revision: str | None) -> nn.Module:
    from transformers import AutoModelForAudioClassification, AutoModelForImageClassification

    kind = AutoModelForAudioClassification if is_sound else AutoModelForImageClassification
    return _loaded(model, download, revision, kind, use_safetensors=True).float().eval()


def _processor(model: str, is_sound: bool, download: bool, revision: str | None) -> Any:
    from transformers import AutoFeatureExtractor, AutoImageProcessor

    return _loaded(model, download, revision, AutoFeatureExtractor if is_sound else AutoImageProcessor)


def _loaded(model: str, download: bool, revision: str | None, kind: Any, **more: Any) -> Any:
    place = str(Path(model).expanduser()) if Path(model).expanduser().is_dir() else model
    try:
        return kind.from_pretrained(
            place, local_files_only=not download, trust_remote_code=False, revision=revision or "main", **more
        )
    except Exception as error:  # transformers and its hub raise their own zoo
        if Path(place).is_dir():
            raise InputError(
                f"model folder {model} can't be read ({cause_of(error, 200)}): save it by save_pretrained"
            ) from error
        todo = "check its name and the network" if download else f"say {remedy('download=true')}, or give a folder"
        raise InputError(f"model={model} is not here ({cause_of(error, 160)}): {todo}") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' advice."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
