"""The geometry between a photograph and what the model sees of it."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from dax_lightning.errors import InputError

Crop = Literal["center", "squash"]
_LONGEST = 100  # times the shorter side; the centre crop first resizes all of it
_INTERPOLATION = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True)
class View:
    """How a photograph is cut to the model's input: shorter side resized, centre cropped; or squashed.

    Args:
        size: (H, W) of the model's input, in pixels.
        channels: 3, or 1 for a greyscale model.
        crop_pct: with ``center``, the side of the crop over the side of the resized photograph, in (0, 1].
        crop: ``center`` keeps the aspect and cuts the rim off, ``squash`` keeps all of the photograph and changes the aspect.
        interpolation: nearest, bilinear, bicubic or lanczos.

    Example:
        >>> View((32, 32), crop_pct=0.5).image(Image.new("RGB", (100, 80))).shape
        torch.Size([3, 32, 32])
    """

    size: tuple[int, int]
    channels: int = 3
    crop_pct: float = 1.0
    crop: Crop = "center"
    interpolation: str = "bicubic"

    def __post_init__(self) -> None:
        if self.crop not in get_args(Crop):
            raise InputError(f"crop={self.crop}: choose one of {', '.join(get_args(Crop))}")
        if self.interpolation not in _INTERPOLATION:
            raise InputError(f"interpolation={self.interpolation}: choose one of {', '.join(_INTERPOLATION)}")
        if min(self.size) < 1 or not 0 < self.crop_pct <= 1:
            raise InputError(f"size={self.size}, crop_pct={self.crop_pct}: sizes are 1 or more, crop_pct is in (0, 1]")
        if self.channels not in (1, 3):
            raise InputError(f"channels={self.channels}: a photograph has 1 (greyscale) or 3 (RGB) channels")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape (c, H, W) of one prepared input."""
        return (self.channels, *self.size)

    def image(self, photograph: Image.Image) -> Float[Tensor, "c h w"]:
        """The model's view of a photograph, values in [0, 1]."""
        pixels = self._cut(photograph.convert("L" if self.channels == 1 else "RGB"), _INTERPOLATION[self.interpolation])
        array = torch.from_numpy(np.asarray(pixels, dtype=np.float32) / 255)
        return array[None] if self.channels == 1 else array.permute(2, 0, 1).contiguous()

    def labels(self, labels: Image.Image) -> Tensor:
        """The same cut of a label picture, (H, W) integers, nearest neighbour so that no label is invented."""
        return torch.from_numpy(np.asarray(self._cut(labels, Image.Resampling.NEAREST), dtype=np.int64))

    def _cut(self, picture: Image.Image, interpolation: Image.Resampling) -> Image.Image:
        height, width = self.size
        if self.crop == "squash":
            return picture.resize((width, height), interpolation)
        if max(picture.size) > _LONGEST * min(picture.size):
            raise InputError(
                f"a photograph of {picture.width}x{picture.height} pixels is too long for a centre crop: cut it first"
            )
        scale = max(math.floor(height / self.crop_pct) / picture.height, math.floor(width / self.crop_pct) / picture.width)
        # rounded down, as torchvision and timm do; the tiny number undoes what floating point takes from a whole one
        size = (max(width, int(picture.width * scale + 1e-6)), max(height, int(picture.height * scale + 1e-6)))
        left, top = round((size[0] - width) / 2), round((size[1] - height) / 2)
        return picture.resize(size, interpolation).crop((left, top, left + width, top + height))
