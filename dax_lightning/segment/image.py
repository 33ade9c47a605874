"""Segmenters that follow what a photograph shows: quick shift, SLIC, graph segmentation, clusters of colours."""

import warnings
from dataclasses import dataclass
from math import ceil, sqrt
from threading import Lock
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from scipy.cluster.vq import kmeans2, vq
from skimage import color, filters, segmentation
from torch import Tensor

from dax_lightning.errors import check_count, check_number
from dax_lightning.segment.base import Number, Segmenter

_ALONE = Lock()  # warnings are filtered for all threads at once
_CLUSTERED = 2**14  # most pixels that clusters of colours are fitted to


@dataclass(frozen=True)
class Quickshift(Segmenter):
    """Quick shift in colour and place, with LIME's settings as defaults: uneven pieces that follow the colours.

    As in LIME, scikit-image gets the 8-bit photograph and converts it to Lab. LIME's ``random_seed`` does not reach
    scikit-image, so ties are broken by its fixed seed 42, here too.
    Source: Vedaldi & Soatto, "Quick shift and kernel methods for mode seeking", ECCV 2008.

    Args:
        kernel_size: width of the Gaussian that smooths the density, at least 1; higher means fewer segments.
        max_dist: longest link between two pixels, above 0; higher means fewer segments.
        ratio: weight of colour against place, in [0, 1].

    Raises:
        InputError: a setting is out of range.

    Example:
        >>> from skimage.data import astronaut
        >>> x = torch.from_numpy(astronaut()[:32, :32] / 255).float().permute(2, 0, 1)
        >>> Quickshift(max_dist=10)(x).shape
        torch.Size([32, 32])
    """

    kernel_size: Number = 4
    max_dist: Number = 200
    ratio: Number = 0.2
    remedy: ClassVar[str] = "Grid() (segmenter=grid on the command line), or a smaller max_dist or kernel_size"

    def __post_init__(self) -> None:
        check_number("segmenter.kernel_size", self.kernel_size, least=1)
        check_number("segmenter.max_dist", self.max_dist, above=0)
        check_number("segmenter.ratio", self.ratio, least=0, most=1)

    def _segment(self, x: Float[Tensor, "c h w"]) -> Int[Tensor, "h w"]:
        settings: dict[str, Any] = {"kernel_size": self.kernel_size, "max_dist": self.max_dist, "ratio": self.ratio}
        return torch.from_numpy(segmentation.quickshift(rgb8(x), rng=42, **settings))


@dataclass(frozen=True)
class Slic(Segmenter):
    """SLIC superpixels: k-means in Lab colour and place, connected pieces of about one size.

    Source: Achanta et al., "SLIC superpixels compared to state-of-the-art superpixel methods", PAMI 2012.

    Args:
        n_segments: about how many segments, at least 2.
        compactness: weight of place against colour, above 0; higher means squarer.
        sigma: width in pixels of the Gaussian that smooths the photograph first, at least 0.

    Raises:
        InputError: a setting is out of range.

    Example:
        >>> from skimage.data import astronaut
        >>> x = torch.from_numpy(astronaut()[:32, :32] / 255).float().permute(2, 0, 1)
        >>> 2 <= Slic(n_segments=9)(x).max() <= 20
        tensor(True)
    """

    n_segments: int = 100
    compactness: Number = 10
    sigma: Number = 0
    remedy: ClassVar[str] = "Grid() (segmenter=grid on the command line), or a higher n_segments"

    def __post_init__(self) -> None:
        check_count("segmenter.n_segments", self.n_segments, least=2)
        check_number("segmenter.compactness", self.compactness, above=0)
        check_number("segmenter.sigma", self.sigma, least=0)

    def _segment(self, x: Float[Tensor, "c h w"]) -> Int[Tensor, "h w"]:
        settings: dict[str, Any] = {"n_segments": self.n_segments, "compactness": self.compactness, "sigma": self.sigma}
        return torch.from_numpy(segmentation.slic(rgb8(x), start_label=0, **settings))


@dataclass(frozen=True)
class Felzenszwalb(Segmenter):
    """Felzenszwalb & Huttenlocher's graph segmentation: pieces of very different sizes, few where little happens.

    Source: "Efficient graph-based image segmentation", IJCV 2004. The defaults are those of scikit-image's gallery.

    Args:
        scale: how different two pieces must be to stay apart, above 0; higher means fewer segments.
        sigma: width in pixels of the Gaussian that smooths the photograph first, at least 0.
        min_size: smallest segment in pixels, at least 1.

    Raises:
        InputError: a setting is out of range.

    Example:
        >>> from skimage.data import astronaut
        >>> x = torch.from_numpy(astronaut()[:32, :32] / 255).float().permute(2, 0, 1)
        >>> Felzenszwalb(min_size=100)(x).unique(return_counts=True)[1].min() >= 100
        tensor(True)
    """

    scale: Number = 100
    sigma: Number = 0.5
    min_size: int = 50
    remedy: ClassVar[str] = "Grid() (segmenter=grid on the command line), or a smaller scale or min_size"

    def __post_init__(self) -> None:
        check_number("segmenter.scale", self.scale, above=0)
        check_number("segmenter.sigma", self.sigma, least=0)
        check_count("segmenter.min_size", self.min_size, least=1)

    def _segment(self, x: Float[Tensor, "c h w"]) -> Int[Tensor, "h w"]:
        settings: dict[str, Any] = {"scale": self.scale, "sigma": self.sigma, "min_size": self.min_size}
        return torch.from_numpy(segmentation.felzenszwalb(rgb8(x), **settings))


@dataclass(frozen=True)
class ColourClusters(Segmenter):
    """k-means of the colours in Lab: a segment is all pixels of about one colour, connected or not.

    Lloyd's algorithm runs for 15 rounds from fixed k-means++ seeds. Over 16 384 pixels, the clusters are fitted to every
    second, third, ... row and column.
    Source: Arthur & Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007.

    Args:
        n_clusters: how many segments, at least 2. There are fewer where the smoothed input has fewer colours, rounded to a tenth
            of Lab's units, or, rarely, where a cluster becomes empty.
        sigma: width in pixels of the Gaussian that smooths the photograph first, at least 0. Smoothed edges make colours of
            their own.

    Raises:
        InputError: a setting is out of range.

    Example:
        >>> ids = ColourClusters(n_clusters=2, sigma=0)(torch.tensor([[[0.0, 0.9, 0.1, 1.0]]]))[0].tolist()
        >>> ids[0] == ids[2] != ids[1] == ids[3]
        True
    """

    n_clusters: int = 8
    sigma: Number = 1

    def __post_init__(self) -> None:
        check_count("segmenter.n_clusters", self.n_clusters, least=2)
        check_number("segmenter.sigma", self.sigma, least=0)

    def _segment(self, x: Float[Tensor, "c h w"]) -> Int[Tensor, "h w"]:
        lab = color.rgb2lab(rgb8(x)).astype(np.float32)
        lab = filters.gaussian(lab, self.sigma, channel_axis=-1, preserve_range=True)
        step = ceil(sqrt(lab[..., 0].size / _CLUSTERED))
        some = lab[::step, ::step].reshape(-1, 3)
        tenths = (some * 10).round().astype(np.int64)
        distinct = len(np.unique(tenths @ [10**8, 10**4, 1]))  # a number for each; a and b stay between -1300 and 1300
        with _ALONE, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "One of the clusters is empty", UserWarning)
            centres, labels = kmeans2(some, min(self.n_clusters, distinct), iter=15, minit="++", rng=0)
        if step > 1:
            labels = vq(lab.reshape(-1, 3), centres)[0]
        return torch.from_numpy(labels.reshape(lab.shape[:2]))


def rgb8(x: Float[Tensor, "c h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """The photograph as 8-bit RGB, channels last, as scikit-image and SAM expect.

    One channel is repeated three times. Of 2, 4 or more channels, their mean is repeated.

    Example:
        >>> rgb8(torch.tensor([[[0.0, 1.0]]])).tolist()
        [[[0, 0, 0], [255, 255, 255]]]
    """
    rgb = x if len(x) == 3 else x.mean(0, keepdim=True).expand(3, -1, -1)
    scaled = (rgb.detach().cpu().float() * 255).round().clamp(0, 255)
    return np.ascontiguousarray(scaled.to(torch.uint8).permute(1, 2, 0).numpy())
