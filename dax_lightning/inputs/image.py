"""The geometry between a photograph and what the model sees of it."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, Shaped
from PIL import Image
from torch import Tensor

from dax_lightning.errors import InputError, remedy
from dax_lightning.inputs import arrays
from dax_lightning.inputs.base import Input, check_range
from dax_lightning.inputs.image_file import SUFFIXES, photograph, read_image

Crop = Literal["center", "squash"]
_LONGEST = 100  # times the shorter side; the centre crop first resizes all of it
_COLOURS = (1, 3)  # channels of a photograph
_INTERPOLATION = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True)
class ImageInput(Input):
    """How a photograph is cut to the model's input: shorter side resized, centre cropped; or squashed.

    Args:
        size: (H, W) of the model's input, in pixels.
        channels: 3, or 1 for a greyscale model.
        crop_pct: with ``center``, the side of the crop over the side of the resized photograph, in (0, 1].
        crop: ``center`` keeps the aspect and cuts the rim off, ``squash`` keeps all of the photograph and changes the aspect.
        interpolation: nearest, bilinear, bicubic or lanczos.
        low: smallest value.
        high: largest value. 8-bit pictures are scaled to [low, high]. Where that is not [0, 1], other arrays are taken as they
            are, such as reflectances of 0 to 10000.

    Raises:
        InputError: a setting is out of range.

    Example:
        >>> ImageInput((32, 32), crop_pct=0.5).image(Image.new("RGB", (100, 80))).shape
        torch.Size([3, 32, 32])
    """

    kind: ClassVar[str] = "image"
    size: tuple[int, int]
    channels: int = 3
    crop_pct: float = 1.0
    crop: Crop = "center"
    interpolation: str = "bicubic"
    low: int | float = 0.0
    high: int | float = 1.0

    def __post_init__(self) -> None:
        if self.crop not in get_args(Crop):
            raise InputError(f"crop={self.crop}: choose one of {', '.join(get_args(Crop))}")
        if self.interpolation not in _INTERPOLATION:
            raise InputError(f"interpolation={self.interpolation}: choose one of {', '.join(_INTERPOLATION)}")
        if min(self.size) < 1 or not 0 < self.crop_pct <= 1:
            raise InputError(f"size={self.size}, crop_pct={self.crop_pct}: sizes are 1 or more, crop_pct is in (0, 1]")
        if self.channels < 1:
            raise InputError(f"channels={self.channels}: wanted 1 (greyscale), 3 (RGB) or more")
        check_range(self.low, self.high)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (c, H, W) of one prepared input."""
        return (self.channels, *self.size)

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Pictures; arrays where the channels are no colours, or the values no shares of 255."""
        bands = (*arrays.SUFFIXES, *arrays.BANDS)
        if self.channels not in _COLOURS:
            return bands
        return SUFFIXES if self._of_shares else (*SUFFIXES, *arrays.SUFFIXES)

    def read(self, path: Path) -> Float[Tensor, "c h w"]:
        """A picture; or an array of (c, H, W) or (H, W, c) in a ``.npy``, ``.npz`` or ``.tif`` file."""
        source = self.source(path)
        return self.image(source) if isinstance(source, Image.Image) else self._from_array(source, first=False)

    def source(self, path: Path) -> Image.Image | np.ndarray:
        """What is in a file, before it is cut: a picture, or an array where the channels are no colours.

        Raises:
            InputError: the file is missing or damaged.
        """
        ending = path.suffix.lower()
        if ending in arrays.SUFFIXES:
            return arrays.read_array(path)
        if ending in arrays.BANDS and not (self.channels in _COLOURS and self._of_shares):
            return arrays.read_bands(path)
        return read_image(path)

    def neutral(self, x: Float[Tensor, "c h w"]) -> Float[Tensor, "c h w"]:
        """Black: 0, or the value of the range that is nearest to it."""
        return torch.full_like(x, min(max(0.0, self.low), self.high))

    def show(self, x: Float[Tensor, "c h w"]) -> Image.Image:
        """The picture; where the channels are no colours, their mean in grey."""
        seen = x if self.channels in _COLOURS else x.mean(0, keepdim=True)
        seen = self.unit(seen)
        pixels = (seen.detach().cpu().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
        return Image.fromarray(pixels if self.channels == 3 else pixels[..., 0])

    def prepare(self, source: object) -> Float[Tensor, "c h w"]:
        """The model's view of a picture in any form.

        Args:
            source: a path; a PIL image; a NumPy array, (H, W, c) or (H, W); or a tensor, (c, H, W). Integers are 0 to 255 (of 16
                bits: 0 to 65535), floats are 0 to 1. What has the shape of an input already is taken as it is.

        Raises:
            InputError: another type, several images, other channels, or values out of range.

        Example:
            >>> ImageInput((8, 8)).prepare(np.zeros((20, 30, 3), np.uint8)).shape
            torch.Size([3, 8, 8])
        """
        if isinstance(source, str | Path):
            x = self.read(Path(source))
        elif isinstance(source, Image.Image):
            x = self.image(photograph(source))
        elif isinstance(source, Tensor):
            floating = source.is_floating_point()  # NumPy knows no bfloat16
            x = self._from_array((source.detach().float() if floating else source).cpu().numpy(), first=True)
        elif isinstance(source, np.ndarray):
            x = self._from_array(source, first=False)
        else:
            raise InputError(f"input of type {type(source).__name__}, wanted a path, a PIL image, a NumPy array or a tensor")
        self.check(x)
        return x

    def image(self, picture: Image.Image) -> Float[Tensor, "c h w"]:
        """The model's view of a photograph, values in [low, high].

        Raises:
            InputError: the model takes other channels than a photograph has, or it is too long for a centre crop.
        """
        if self.channels not in _COLOURS:
            wanted = f"wanted {self.channels} channels: give an array of ({self.channels}, H, W) or a .npy file of one"
            raise InputError(f"a photograph has 1 or 3 channels, {wanted}")
        pixels = self._cut(picture.convert("L" if self.channels == 1 else "RGB"), _INTERPOLATION[self.interpolation])
        array = torch.from_numpy(np.asarray(pixels, dtype=np.float32) / 255)
        return self._ranged(array[None] if self.channels == 1 else array.permute(2, 0, 1).contiguous())

    def labels(self, labels: Image.Image) -> Tensor:
        """The same cut of a label picture, (H, W) integers, nearest neighbour so that no label is invented."""
        return torch.from_numpy(np.asarray(self._cut(labels, Image.Resampling.NEAREST), dtype=np.int64))

    def outside(self, width: int, height: int) -> float:
        """The share of a photograph of this size that the view leaves out, 0 to 1.

        Example:
            >>> ImageInput((32, 32)).outside(64, 32), ImageInput((32, 32), crop="squash").outside(64, 32)
            (0.5, 0.0)
        """
        if self.crop == "squash":
            return 0.0
        resized = self._resized(width, height)
        return 1 - math.prod(self.size) / math.prod(resized)

    def _from_array(self, array: Shaped[np.ndarray, "..."], first: bool) -> Float[Tensor, "c h w"]:
        """The view of an array; ``first``: where both ends could be the channels, it is the first."""
        if array.dtype.kind not in "biuf":
            raise InputError(f"input of {array.dtype} values, wanted real numbers")
        if array.size == 0:
            raise InputError(f"the input of shape {array.shape} is empty: give one with at least one value")
        ready = array.shape == self.shape
        layers = array if ready else self._channels_last(array, first)
        if not self._of_shares and layers.dtype != np.uint8:
            return self._of_values(layers.astype(np.float32), ready)
        if layers.dtype.kind in "iu" and not _is_deep(layers) and layers.min() >= 0 and layers.max() <= 255:
            layers = layers.astype(np.uint8)
        if not ready and layers.dtype == np.uint8 and self.channels in _COLOURS:  # as a file of these pixels is read
            return self.image(photograph(Image.fromarray(layers.squeeze(2) if layers.shape[2] == 1 else layers)))
        values = _shares(layers)
        made = values if ready else self._cut_each(self._mixed(values)).clip(0, 1)
        return self._ranged(torch.from_numpy(made))

    @property
    def _of_shares(self) -> bool:
        """Values are shares of the largest possible one, as those of photographs are."""
        return (self.low, self.high) == (0, 1)

    def _ranged(self, shares: Float[Tensor, "c h w"]) -> Float[Tensor, "c h w"]:
        """Shares in [0, 1] as values in [low, high]."""
        return shares if self._of_shares else self.low + (self.high - self.low) * shares

    def _of_values(self, values: Float[np.ndarray, "x y z"], ready: bool) -> Float[Tensor, "c h w"]:
        """The view of values that are in the range already."""
        if not np.isfinite(values).all():
            raise InputError("the input holds NaN or infinite values: replace them before explaining")
        low, high = values.min().item(), values.max().item()
        if low < self.low or high > self.high:
            fix = f"declare their range, {remedy(f'low={min(low, self.low):g}')} and {remedy(f'high={max(high, self.high):g}')}"
            raise InputError(f"input values from {low:.6g} to {high:.6g}, wanted [{self.low:g}, {self.high:g}]: {fix}")
        return torch.from_numpy(values if ready else self._cut_each(values).clip(self.low, self.high))

    def _cut_each(self, values: Float[np.ndarray, "h w c"]) -> Float[np.ndarray, "c h2 w2"]:
        resampling = _INTERPOLATION[self.interpolation]
        return np.stack([np.asarray(self._cut(Image.fromarray(layer), resampling)) for layer in np.moveaxis(values, 2, 0)])

    def _channels_last(self, array: Shaped[np.ndarray, "..."], first: bool) -> Shaped[np.ndarray, "h w c"]:
        photo = self._of_shares or array.dtype == np.uint8  # else a channel is neither a colour nor transparency
        known = (*_COLOURS, 2, 4) if self.channels in _COLOURS and photo else (self.channels,)
        wanted = (
            f"wanted {self.channels} channels: give an array of (H, W, {self.channels}) or a tensor of ({self.channels}, H, W)"
        )
        if array.ndim == 2 and 1 in known:
            return array[..., None]
        if array.ndim == 4:
            fix = "give x[0]" if len(array) == 1 else "give them one by one"
            raise InputError(f"input of shape {array.shape}, a batch of {len(array)} images: {fix}")
        ends = [axis for axis in ((0, 2) if first else (2, 0)) if array.ndim == 3 and array.shape[axis] in known]
        if not ends:
            raise InputError(f"input of shape {array.shape}, {wanted}")
        return np.ascontiguousarray(np.moveaxis(array, ends[0], 2))

    def _mixed(self, values: Float[np.ndarray, "h w c"]) -> Float[np.ndarray, "h w c2"]:
        """The model's channels: transparency laid on white, grey made of colours or spread over them."""
        if self.channels in _COLOURS and values.shape[2] in (2, 4):
            clear = values[..., -1:]
            values = values[..., :-1] * clear + 1 - clear
        if values.shape[2] == self.channels:
            return values
        if self.channels == 1:
            return (values @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]
        return values.repeat(3, 2)

    def _cut(self, picture: Image.Image, interpolation: Image.Resampling) -> Image.Image:
        height, width = self.size
        if self.crop == "squash":
            return picture.resize((width, height), interpolation)
        if max(picture.size) > _LONGEST * min(picture.size):
            raise InputError(
                f"a photograph of {picture.width}x{picture.height} pixels is too long for a centre crop: cut it first"
            )
        size = self._resized(*picture.size)
        left, top = round((size[0] - width) / 2), round((size[1] - height) / 2)
        return picture.resize(size, interpolation).crop((left, top, left + width, top + height))

    def _resized(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) of a photograph before the centre crop."""
        high, wide = self.size
        scale = max(math.floor(high / self.crop_pct) / height, math.floor(wide / self.crop_pct) / width)
        # rounded down, as torchvision and timm do; the tiny number undoes what floating point takes from a whole one
        return max(wide, int(width * scale + 1e-6)), max(high, int(height * scale + 1e-6))


def _is_deep(array: Shaped[np.ndarray, "..."]) -> bool:
    return array.dtype.kind == "u" and array.dtype.itemsize == 2


def _shares(array: Shaped[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Values as shares of the largest possible one, 0 to 1."""
    low, high = array.min().item(), array.max().item()
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            raise InputError("the input holds NaN or infinite values: replace them before explaining")
        if low < 0 or high > 1:
            fix = "divide by 255, or give 8-bit integers" if low >= 0 and high <= 255 else "mean and std belong to the black box"
            raise InputError(f"input values from {low:.3g} to {high:.3g}, wanted [0, 1]: {fix}")
        return array.astype(np.float32)
    top = 1 if array.dtype.kind == "b" else 65535 if _is_deep(array) else 255
    if low < 0 or high > top:
        raise InputError(f"input of integers from {low} to {high}, wanted 0 to {top}: give floats in [0, 1]")
    return array.astype(np.float32) / np.float32(top)
