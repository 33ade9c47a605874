"""SEGMENTS: cut an input into the pieces that are kept or removed together.

Every segmenter gives a partition: an integer map of the input's height and width, ids 0 to j - 1, each present.
"""

import hashlib
import logging
import os
import tempfile
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil, inf, isfinite, sqrt
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, final
from zipfile import BadZipFile
from zlib import error as ZlibError

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from PIL import Image
from scipy.cluster.vq import kmeans2, vq
from skimage import color, filters, segmentation
from torch import Tensor

from dax_lightning.errors import InputError, SingleSegment

log = logging.getLogger(__name__)
Number = int | float
_CLUSTERED = 2**16  # pixels that make clusters of colours, at most


class Segmenter(ABC):
    """Cuts an input into segments; ``_segment`` is the one method to write.

    Segmenters are deterministic: the same input gives the same segments, and no global random state is read or moved.

    Attributes:
        axes: how many axes ``*space`` has; 2 for photographs and for spectrograms.
        cached: keep the segments on disk under ``cache_dir``, by content: same input and settings, same file.
        cache_dir: where; ``None`` is ``$XDG_CACHE_HOME/dax_lightning``, or ``~/.cache/dax_lightning``.
        remedy: what to try when only one segment was found.

    Example:
        >>> class Halves(Segmenter):
        ...     def _segment(self, x):
        ...         return (torch.arange(x.shape[-1]) * 2 // x.shape[-1]).expand(x.shape[1:])
        >>> Halves()(torch.zeros(3, 2, 4))
        tensor([[0, 0, 1, 1],
                [0, 0, 1, 1]])
    """

    axes: ClassVar[int] = 2
    cached: ClassVar[bool] = False
    remedy: ClassVar[str] = "segmenter=grid"
    cache_dir: str | Path | None = None

    @final
    def __call__(self, x: Float[Tensor, "c *space"]) -> Int[Tensor, "*space"]:
        """Cut ``x`` into at least two segments.

        Args:
            x: the input, values in [0, 1], any number of channels, any device; left as it is.

        Returns:
            The partition: int64 on the CPU, ids 0 to j - 1, each present, j at least 2.

        Raises:
            InputError: ``x`` is empty, not finite, outside [0, 1] or not of ``axes`` axes, or came out in one piece.
        """
        _check_input(x, self.axes, self._name)
        file = self._cache_file(x) if self.cached else None
        segments = _read_segments(file, x.shape[1:])
        if segments is None:
            segments = self._checked(self._segment(x.detach()), x.shape[1:])
            _write_segments(file, segments)
        return segments

    @abstractmethod
    def _segment(self, x: Float[Tensor, "c *space"]) -> Int[Tensor, "*space"]:
        """Give every place a whole number; equal numbers are one segment. ``x`` is checked; ids needn't be consecutive."""

    def prepare(self) -> None:  # noqa: B027 -- most segmenters need nothing
        """Fetch what the first call needs (SAM its checkpoint), so that what is missing shows before the work starts."""

    def _fingerprint(self) -> str:
        """What the segments depend on beside the input; only asked of ``cached`` segmenters."""
        return repr(self)

    @property
    def _name(self) -> str:
        return f"segmenter {type(self).__name__}"

    def _checked(self, segments: Tensor, space: torch.Size) -> Int[Tensor, "*space"]:
        if segments.shape != space:
            raise ValueError(f"{self._name}: _segment gave shape {tuple(segments.shape)}, wanted {tuple(space)}")
        found, segments = torch.unique(segments.cpu(), return_inverse=True)
        if len(found) < 2:
            size = " x ".join(map(str, space))
            raise SingleSegment(f"{self._name} found 1 segment in an input of {size}; at least 2 are needed: try {self.remedy}")
        return segments

    def _cache_file(self, x: Tensor) -> Path:
        values = x.detach().cpu().contiguous()
        key = hashlib.sha256(f"{self._fingerprint()} {values.dtype} {tuple(values.shape)} ".encode())
        key.update(values.view(torch.uint8).numpy().tobytes())
        return cache_folder(self.cache_dir) / "segments" / f"{key.hexdigest()}.npz"


@dataclass(frozen=True)
class Quickshift(Segmenter):
    """Quick shift in colour and place, with LIME's settings as defaults: uneven pieces that follow the colours.

    LIME calls scikit-image the same way, on the 8-bit photograph, which scikit-image turns to Lab; LIME's ``random_seed``
    never arrives there, so ties are broken by scikit-image's own fixed seed 42, here as there.
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
    remedy: ClassVar[str] = "segmenter=grid, or a smaller segmenter.max_dist or segmenter.kernel_size"

    def __post_init__(self) -> None:
        check_number("kernel_size", self.kernel_size, least=1)
        check_number("max_dist", self.max_dist, above=0)
        check_number("ratio", self.ratio, least=0, most=1)

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
    remedy: ClassVar[str] = "segmenter=grid, or a higher segmenter.n_segments"

    def __post_init__(self) -> None:
        check_count("n_segments", self.n_segments, least=2)
        check_number("compactness", self.compactness, above=0)
        check_number("sigma", self.sigma, least=0)

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
    remedy: ClassVar[str] = "segmenter=grid, or a smaller segmenter.scale or segmenter.min_size"

    def __post_init__(self) -> None:
        check_number("scale", self.scale, above=0)
        check_number("sigma", self.sigma, least=0)
        check_count("min_size", self.min_size, least=1)

    def _segment(self, x: Float[Tensor, "c h w"]) -> Int[Tensor, "h w"]:
        settings: dict[str, Any] = {"scale": self.scale, "sigma": self.sigma, "min_size": self.min_size}
        return torch.from_numpy(segmentation.felzenszwalb(rgb8(x), **settings))


@dataclass(frozen=True)
class ColourClusters(Segmenter):
    """k-means of the colours in Lab: a segment is all that has about one colour, wherever it lies and in however many pieces.

    15 rounds of Lloyd's algorithm from k-means++ seeds (Arthur & Vassilvitskii, "k-means++: the advantages of careful seeding",
    SODA 2007), always the same ones. Of an input of more than 65 536 pixels, every second, third, ... row and column makes the
    clusters.

    Args:
        n_clusters: how many segments, at least 2; fewer where the smoothed input has fewer colours (told apart by a tenth of
            Lab's units), and in the rare case that a cluster loses all of its places.
        sigma: width in pixels of the Gaussian that smooths the photograph first, at least 0; what is smoothed at an edge makes
            colours of its own.

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
        check_count("n_clusters", self.n_clusters, least=2)
        check_number("sigma", self.sigma, least=0)

    def _segment(self, x: Float[Tensor, "c h w"]) -> Int[Tensor, "h w"]:
        lab = color.rgb2lab(rgb8(x)).astype(np.float32)
        lab = filters.gaussian(lab, self.sigma, channel_axis=-1, preserve_range=True)
        step = ceil(sqrt(lab[..., 0].size / _CLUSTERED))
        some = lab[::step, ::step].reshape(-1, 3)
        tenths = (some * 10).round().astype(np.int64)
        distinct = len(np.unique(tenths @ [10**8, 10**4, 1]))  # a number for each; a and b stay between -1300 and 1300
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "One of the clusters is empty", UserWarning)
            centres, labels = kmeans2(some, min(self.n_clusters, distinct), iter=15, minit="++", rng=0)
        if step > 1:
            labels = vq(lab.reshape(-1, 3), centres)[0]
        return torch.from_numpy(labels.reshape(lab.shape[:2]))


@dataclass(frozen=True)
class Grid(Segmenter):
    """Equal rectangles, whatever the input shows.

    Args:
        rows: segments from top to bottom, at least 1 and at most the input's height.
        columns: segments from left to right, at least 1 and at most the input's width.

    Raises:
        InputError: a setting is out of range, the grid has one cell, or (at the call) the input has too few pixels for it.

    Example:
        >>> Grid(rows=2, columns=2)(torch.zeros(1, 2, 5))
        tensor([[0, 0, 0, 1, 1],
                [2, 2, 2, 3, 3]])
    """

    rows: int = 8
    columns: int = 8

    def __post_init__(self) -> None:
        check_count("rows", self.rows, least=1)
        check_count("columns", self.columns, least=1)
        if self.rows * self.columns == 1:
            raise InputError(
                "a grid of 1 x 1 is a single segment; at least 2 are needed: try segmenter.rows=8 segmenter.columns=8"
            )

    def _segment(self, x: Float[Tensor, "c h w"]) -> Int[Tensor, "h w"]:
        h, w = x.shape[1:]
        if h < self.rows or w < self.columns:
            raise InputError(
                f"a grid of {self.rows} x {self.columns} does not fit an input of {h} x {w} pixels: "
                f"try segmenter.rows={min(h, self.rows)} segmenter.columns={min(w, self.columns)}"
            )
        row, column = torch.arange(h) * self.rows // h, torch.arange(w) * self.columns // w
        return row[:, None] * self.columns + column


@dataclass(frozen=True)
class FromCase(Segmenter):
    """The partition that comes with a case, such as the true segments of ``task=shapes``.

    Example:
        >>> FromCase()(torch.zeros(3, 2, 2))
        Traceback (most recent call last):
            ...
        dax_lightning.errors.InputError: segmenter=case: no partition comes with this input; try segmenter=quickshift
    """

    def _segment(self, x: Float[Tensor, "c *space"]) -> Int[Tensor, "*space"]:
        raise InputError("segmenter=case: no partition comes with this input; try segmenter=quickshift")


@dataclass(frozen=True)
class FromFile(Segmenter):
    """Segments drawn by hand or made elsewhere: a map of whole numbers, equal numbers are one segment.

    Args:
        path: ``.npy``; ``.npz`` with one array, or several of which one is called ``segments`` (as in a saved explanation);
            or ``.png`` in grey or with a palette. Its height and width must be the input's.

    Raises:
        InputError: no such file, another ending, no whole numbers, a PNG of RGB colours, not two axes, or (at the call) not
            of the input's size.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     np.save(Path(folder, "map.npy"), np.array([[7, 7], [7, 9]]))
        ...     FromFile(Path(folder, "map.npy"))(torch.zeros(3, 2, 2))
        tensor([[0, 0],
                [0, 1]])
    """

    path: str | Path
    remedy: ClassVar[str] = "a label map with more than one label, or segmenter=grid"

    def __post_init__(self) -> None:
        _read_labels(Path(self.path).expanduser())  # so that a bad file shows before the work starts

    def _segment(self, x: Float[Tensor, "c h w"]) -> Int[Tensor, "h w"]:
        labels = _read_labels(Path(self.path).expanduser())
        if labels.shape != x.shape[1:]:
            came, wanted = (" x ".join(map(str, shape)) for shape in (labels.shape, x.shape[1:]))
            raise InputError(
                f"label map {self.path} has {came} pixels, the input has {wanted} (height x width): "
                "resize the map with nearest neighbour, or make it from the input as the black box sees it"
            )
        return torch.from_numpy(labels)


def rgb8(x: Float[Tensor, "c h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """The photograph as 8-bit RGB, channels last: what scikit-image and SAM are made for.

    One channel is repeated three times; with 2, 4 or more channels the mean over the channels is repeated instead.

    Example:
        >>> rgb8(torch.tensor([[[0.0, 1.0]]])).tolist()
        [[[0, 0, 0], [255, 255, 255]]]
    """
    rgb = x if len(x) == 3 else x.mean(0, keepdim=True).expand(3, -1, -1)
    scaled = (rgb.detach().cpu().float() * 255).round().clamp(0, 255)
    return np.ascontiguousarray(scaled.to(torch.uint8).permute(1, 2, 0).numpy())


def cache_folder(cache_dir: str | Path | None = None) -> Path:
    """``cache_dir`` if given, else ``$XDG_CACHE_HOME/dax_lightning``, else ``~/.cache/dax_lightning``.

    Example:
        >>> cache_folder("here").name
        'here'
    """
    if cache_dir is not None:
        return Path(cache_dir).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dax_lightning"


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that appears at ``path`` whole, or not at all if the block raises.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with whole_file(Path(folder, "new", "a.txt")) as file:
        ...         _ = file.write(b"text")
        ...     Path(folder, "new", "a.txt").read_text()
        'text'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        os.replace(part, path)
    except BaseException:  # an interrupt too must leave nothing behind
        Path(part).unlink(missing_ok=True)
        raise


def check_count(key: str, value: Any, least: int) -> None:
    """Raise InputError unless ``value`` is a whole number of at least ``least``.

    Example:
        >>> check_count("rows", 2, least=1)
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(f"segmenter.{key}={value!r}; wanted a whole number of at least {least}")


def check_number(key: str, value: Any, least: Number = -inf, above: Number = -inf, most: Number = inf) -> None:
    """Raise InputError unless ``value`` is a finite number, at least ``least``, above ``above`` and at most ``most``.

    Example:
        >>> check_number("ratio", 0.5, least=0, most=1)
    """
    number = isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
    if not number or value < least or value <= above or value > most:
        limits = (("at least", least), ("above", above), ("at most", most))
        wanted = " and ".join(f"{word} {limit}" for word, limit in limits if isfinite(limit))
        raise InputError(f"segmenter.{key}={value!r}; wanted a number {wanted}")


def _check_input(x: Tensor, axes: int, name: str) -> None:
    if x.ndim != axes + 1 or x.numel() == 0:
        wanted = "(channels, height, width)" if axes == 2 else f"(channels, and {axes} more)"
        raise InputError(f"{name}: the input has shape {tuple(x.shape)}; wanted {wanted}, none of them 0")
    if not x.isfinite().all():
        raise InputError(f"{name}: {int((~x.isfinite()).sum())} values of the input are NaN or infinite; wanted all in [0, 1]")
    low, high = x.min().item(), x.max().item()
    if low < -1e-4 or high > 1 + 1e-4:  # room for what resizing rounds
        raise InputError(f"{name}: values of the input go from {low:g} to {high:g}; wanted [0, 1]: divide 8-bit values by 255")


def _read_segments(file: Path | None, space: torch.Size) -> Int[Tensor, "*space"] | None:
    """The segments in a cache file, or None if it is not there, broken, or not a partition of ``space``."""
    if file is None or not file.is_file():
        return None
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:
            segments = torch.from_numpy(arrays["segments"]).long()
    except (OSError, ValueError, TypeError, KeyError, EOFError, BadZipFile, ZlibError) as error:
        log.warning("cached segments %s can't be read and are made again: %s", file, error)
        return None
    found, ids = torch.unique(segments, return_inverse=True)
    return segments if segments.shape == space and len(found) > 1 and torch.equal(ids, segments) else None


def _write_segments(file: Path | None, segments: Int[Tensor, "*space"]) -> None:
    if file is None:
        return
    try:
        with whole_file(file) as opened:
            np.savez_compressed(opened, segments=segments.numpy().astype(np.int32))
    except OSError as error:
        log.warning("segments are not cached: can't write %s: %s", file, error)


def _read_labels(path: Path) -> Int[np.ndarray, "h w"]:
    """Read a label map; see FromFile for what is allowed."""
    readers = {".npy": _read_npy, ".npz": _read_npz, ".png": _read_png}
    if path.suffix.lower() not in readers:
        raise InputError(f"label map {path} ends in {path.suffix or 'nothing'}; wanted .npy, .npz or .png")
    if not path.is_file():
        raise InputError(f"no label map at {path}; segmenter.path must name a .npy, .npz or .png file")
    try:
        labels = readers[path.suffix.lower()](path)
    except InputError:
        raise
    except (OSError, ValueError, TypeError, SyntaxError, EOFError, BadZipFile, ZlibError, Image.DecompressionBombError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"label map {path} can't be read ({reason}); write it anew as .npy, .npz or .png") from error
    if labels.dtype.kind not in "iub" or labels.ndim != 2 or labels.size == 0:
        came = f"{labels.dtype} of shape {labels.shape}"
        raise InputError(f"label map {path} holds {came}; wanted whole numbers of shape (height, width): try labels.astype(int)")
    return labels.astype(np.int64)


def _read_npy(path: Path) -> np.ndarray:
    with path.open("rb") as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _read_npz(path: Path) -> np.ndarray:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        names = list(arrays)
        if len(names) != 1 and "segments" not in names:
            raise InputError(f"label map {path} holds arrays {names}; wanted one array, or one of them called 'segments'")
        return arrays["segments" if "segments" in names else names[0]]


def _read_png(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        if len(picture.getbands()) != 1:
            raise InputError(
                f"label map {path} is a picture in colour or with transparency ({picture.mode}); "
                "wanted one whole number a pixel: save it in grey or with a palette, or as .npy"
            )
        return np.asarray(picture)
