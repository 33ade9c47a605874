"""SEGMENTS by the Segment Anything Model (SAM): its overlapping masks, turned into a partition."""

import hashlib
import heapq
import importlib
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, fields
from functools import cached_property, partial
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar
from urllib.parse import urljoin, urlsplit

import numpy as np
import pooch
import torch
from jaxtyping import Bool, Float, Int
from skimage import measure
from torch import Tensor

from dax_lightning.device import pick_device
from dax_lightning.errors import InputError, check_count, check_number, remedy
from dax_lightning.files import check_archive
from dax_lightning.progress import bar
from dax_lightning.segment.base import Segmenter
from dax_lightning.segment.cache import cache_folder
from dax_lightning.segment.image import rgb8

ADDRESS = "https://dl.fbaipublicfiles.com/segment_anything/"
LARGEST = 4 * 2**30  # bytes of a checkpoint; the largest official one has 2.6 GB
_HERE = ("127.0.0.1", "localhost", "::1")  # what needs no encryption
_STEPS = 5  # redirects that are followed
# model_type -> official file and its SHA-256; the digits in the file's name are not part of that digest
CHECKPOINTS = {
    "vit_b": ("sam_vit_b_01ec64.pth", "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912"),
    "vit_l": ("sam_vit_l_0b3195.pth", "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622"),
    "vit_h": ("sam_vit_h_4b8939.pth", "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e"),
}


@dataclass(frozen=True)
class Download:
    """Where SAM's checkpoint comes from, and where it is kept.

    Args:
        allowed: whether a missing official checkpoint may be downloaded.
        url: where to download from instead of the official address (a mirror); https, without a user or password.
        sha256: the checkpoint's digest, 64 hexadecimal digits; ``None`` is the official one, or, for a checkpoint of your own,
            any.
        cache_dir: folder for checkpoints and segments; ``None`` is ``$XDG_CACHE_HOME/dax_lightning`` or
            ``~/.cache/dax_lightning``.

    Raises:
        InputError: no such address, or no digest.

    Example:
        >>> Download(allowed=False).url is None
        True
    """

    allowed: bool = True
    url: str | None = None
    sha256: str | None = None
    cache_dir: str | Path | None = None

    def __post_init__(self) -> None:
        if self.url is not None:
            _check_address(self.url, "segmenter.download.url")
        if self.sha256 is not None and not re.fullmatch("[0-9a-fA-F]{64}", self.sha256):
            raise InputError(f"segmenter.download.sha256={self.sha256!r}; wanted 64 hexadecimal digits")


@dataclass(frozen=True)
class Sam(Segmenter):
    """Segment Anything's automatic masks, made into a partition by :func:`masks_to_partition`.

    Needs ``pip install 'dax-lightning[sam]'`` and a checkpoint. The checkpoint is downloaded once, unless ``checkpoint`` names
    one or the cache holds one. One photograph takes ``points_per_side``² decoder runs: a second or more on a GPU, a minute or
    more on a CPU. So segments are cached by content.
    Source: Kirillov et al., "Segment Anything", ICCV 2023, and its ``SamAutomaticMaskGenerator``.

    Args:
        model_type: size of the network: ``vit_b`` (375 MB), ``vit_l`` (1.2 GB) or ``vit_h`` (2.6 GB).
        checkpoint: a ``.pth`` file of that size; ``None`` takes the official one from the cache, or downloads it.
        download: where it comes from otherwise, and where it and the segments are kept.
        points_per_side: points on each side of the grid of prompts, at least 1; higher finds more segments, takes longer.
        pred_iou_thresh: masks of lower quality by SAM's own estimate are left out, in [0, 1]; lower means more segments.
        stability_score_thresh: masks that move more with the cut-off are left out, in [0, 1]; lower means more segments.
        min_size: pieces of fewer pixels join a neighbour, at least 1.
        device: where SAM runs: ``cpu``, ``cuda``, ``cuda:N`` or ``auto``.

    Raises:
        InputError: a setting is out of range, segment-anything is not installed, or there is no such checkpoint. At the first
            use: the checkpoint can't be downloaded or read, or has another digest.

    Example:
        >>> Sam(points_per_side=16).model_type
        'vit_b'
    """

    model_type: str = "vit_b"
    checkpoint: str | Path | None = None
    download: Download = Download()
    points_per_side: int = 32
    pred_iou_thresh: int | float = 0.88
    stability_score_thresh: int | float = 0.95
    min_size: int = 50
    device: str = "auto"

    cached: ClassVar[bool] = True
    remedy: ClassVar[str] = (
        "a lower pred_iou_thresh, stability_score_thresh or min_size, or Grid() (segmenter=grid on the command line)"
    )

    def __post_init__(self) -> None:
        if self.model_type not in CHECKPOINTS:
            raise InputError(f"segmenter.model_type={self.model_type!r}; wanted one of {', '.join(CHECKPOINTS)}")
        if self.checkpoint is not None and not self._file.is_file():
            raise InputError(
                f"no SAM checkpoint at {self.checkpoint}; "
                f"segmenter.checkpoint must name a file such as {CHECKPOINTS[self.model_type][0]}"
            )
        check_count("segmenter.points_per_side", self.points_per_side, least=1)
        check_number("segmenter.pred_iou_thresh", self.pred_iou_thresh, least=0, most=1)
        check_number("segmenter.stability_score_thresh", self.stability_score_thresh, least=0, most=1)
        check_count("segmenter.min_size", self.min_size, least=1)
        pick_device(self.device)
        _segment_anything()

    @property
    def cache_dir(self) -> str | Path | None:
        """See :class:`Download`."""
        return self.download.cache_dir

    def __getstate__(self) -> dict[str, Any]:  # the settings only: the model is loaded again where it is unpickled
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def prepare(self) -> None:
        """See that the checkpoint is there and is the one wanted; download it if it may be.

        Raises:
            InputError: it is not there and can't be downloaded, or has another SHA-256.
        """
        if self.checkpoint is None:
            self._fetch()
        elif self.download.sha256 is not None and self._digest != self.download.sha256.lower():
            raise InputError(
                f"SAM checkpoint {self.checkpoint} has SHA-256 {self._digest}, wanted {self.download.sha256.lower()}: "
                "give another segmenter.checkpoint, or segmenter.download.sha256=null"
            )

    def _segment(self, x: Float[Tensor, "c h w"]) -> Int[Tensor, "h w"]:
        found = [record["segmentation"] for record in self._generator.generate(rgb8(x))]
        masks = np.stack(found) if found else np.zeros((0, *x.shape[1:]), dtype=bool)
        return masks_to_partition(torch.from_numpy(masks), self.min_size)

    def _fingerprint(self) -> str:
        settings = (self.model_type, self.points_per_side, self.pred_iou_thresh, self.stability_score_thresh, self.min_size)
        return f"Sam 1 {settings} {pick_device(self.device).type} {self._digest}"  # 1: this file's way of making a partition

    @property
    def _address(self) -> str:
        return self.download.url or ADDRESS + CHECKPOINTS[self.model_type][0]

    @property
    def _file(self) -> Path:
        """The checkpoint: the one given, or the place of the downloaded one."""
        if self.checkpoint is not None:
            return Path(self.checkpoint).expanduser()
        name = Path(urlsplit(self._address).path).name or f"sam_{self.model_type}.pth"
        return cache_folder(self.cache_dir) / name

    @cached_property
    def _digest(self) -> str:
        """SHA-256 of the checkpoint; without ``checkpoint`` it is known before there is a file."""
        if self.checkpoint is not None:
            return _sha256(self._file)
        return (self.download.sha256 or CHECKPOINTS[self.model_type][1]).lower()

    @cached_property
    def _generator(self) -> Any:
        self.prepare()
        model = _load(self.model_type, self._file).to(pick_device(self.device))
        return _segment_anything().SamAutomaticMaskGenerator(
            model,
            points_per_side=self.points_per_side,
            pred_iou_thresh=self.pred_iou_thresh,
            stability_score_thresh=self.stability_score_thresh,
        )

    def _fetch(self) -> None:
        todo = (
            f"fetch {self._address} by other means and give {remedy('checkpoint=FILE', 'segmenter')}, or try Quickshift() "
            "(segmenter=quickshift on the command line)"
        )
        if not self.download.allowed:
            if self._file.is_file() and _sha256(self._file) == self._digest:
                return
            state = "has another SHA-256 than wanted" if self._file.is_file() else "is not there"
            raise InputError(f"SAM's checkpoint {self._file} {state}, and segmenter.download.allowed=false: {todo}")
        try:
            fetch(self._address, self._file, self._digest)
        except InputError as error:
            raise InputError(f"SAM's checkpoint {self._file} could not be made: {error}: {todo}") from error


def masks_to_partition(masks: Bool[Tensor, "n h w"], min_size: int = 1) -> Int[Tensor, "h w"]:
    """Turn masks that overlap and leave holes into a partition.

    1. The masks are painted from the largest to the smallest, so that a part lies on top of its whole. Of masks of one size,
       the later lies on top. What is still visible of a mask is one segment, connected or not.
    2. What no mask covers is split into connected pieces (4 neighbours); each is a segment.
    3. Each connected piece of fewer than ``min_size`` pixels joins a neighbour, the smallest piece first. It joins the one with
       the longest common border in pixel sides; of equals, the first in reading order.

    Args:
        masks: any number of masks, none included (then the whole is one segment).
        min_size: smallest piece in pixels, at least 1; with 1 nothing is merged.

    Returns:
        int64 ids 0 to j - 1, each present: the masks from the largest on, then the uncovered pieces in reading order.

    Example:
        >>> house = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 0, 0]]).bool()
        >>> door = torch.tensor([[0, 0, 0, 0, 0], [0, 1, 0, 0, 0]]).bool()
        >>> masks_to_partition(torch.stack([door, house]))
        tensor([[0, 0, 0, 2, 2],
                [0, 1, 0, 2, 2]])
        >>> masks_to_partition(torch.stack([door, house]), min_size=2)
        tensor([[0, 0, 0, 1, 1],
                [0, 0, 0, 1, 1]])
    """
    painted = torch.zeros(masks.shape[1:], dtype=torch.int64)
    areas = masks.flatten(1).sum(1)
    for label, mask in enumerate(areas.argsort(descending=True, stable=True).tolist(), start=1):
        painted[masks[mask]] = label
    pieces = (
        np.asarray(measure.label(painted.numpy(), background=-1, connectivity=1)) - 1
    )  # -1: what is left over is labelled too
    owner = painted.flatten().numpy()[np.unique(pieces, return_index=True)[1]]
    owner = np.where(owner == 0, len(masks) + 1 + np.arange(len(owner)), owner)
    return torch.unique(torch.from_numpy(owner[_merge_small(pieces, min_size)[pieces]]), return_inverse=True)[1]


def fetch(url: str, path: Path, sha256: str, most: int = LARGEST) -> None:
    """Download ``url`` to ``path`` unless it is there already; what is cut off, too large or wrong leaves no file behind.

    Args:
        url: https; http from this machine alone.
        path: appears whole, or not at all; another content is replaced.
        sha256: the wanted digest, 64 lower-case hexadecimal digits.
        most: bytes after which the download is given up.

    Raises:
        InputError: another kind of address, also one that the first leads to; no answer, too large, cut off half-way, another
            digest, or no place to write.
    """
    _check_address(url, "the download's address")
    pooch.get_logger().setLevel("WARNING")
    with bar(1, path.name) as progress:  # pooch writes the real total; a bar of 0 counts as none
        try:
            download: Any = partial(_download, progress=progress, most=most)
            pooch.retrieve(url, f"sha256:{sha256}", path.name, path.parent, downloader=download)
        except (OSError, ValueError) as error:  # requests raises OSErrors, pooch a ValueError for another digest
            cause = " ".join(str(error).split()) or type(error).__name__
            raise InputError(f"the download from {url} failed ({cause})") from error


def _download(url: str, output_file: str, _: Any, progress: Any, most: int) -> None:
    """What pooch calls for a temporary file: no more than ``most`` bytes, and no step over plain http."""
    with _answer(url) as answer, open(output_file, "wb") as file:
        answer.raise_for_status()
        declared = answer.headers.get("content-length", "")
        progress.total = int(declared) if declared.isdecimal() else 0
        held = 0
        for part in answer.iter_content(2**20):
            held += len(part)
            if max(held, progress.total) > most:
                raise ValueError(f"{max(held, progress.total):,} bytes, wanted at most {most:,}")
            file.write(part)
            progress.update(len(part))


def _answer(url: str) -> Any:
    """The open answer of an address, or of the one that it leads to."""
    import requests  # not at the top: who has the checkpoint needn't wait for it

    for _ in range(_STEPS):
        answer = requests.get(url, timeout=30, stream=True, allow_redirects=False)
        if not answer.is_redirect:
            return answer
        url = urljoin(url, answer.headers["location"])
        answer.close()
        _check_address(url, "the address that it leads to")
    raise ValueError(f"over {_STEPS} redirects")


def _check_address(url: str, setting: str) -> None:
    """Raise an InputError unless it is https, or http from this machine, without a user or password; those aren't repeated."""
    try:
        parts = urlsplit(url)
        host, port, secret = parts.hostname, parts.port, "@" in parts.netloc
    except ValueError as error:
        raise InputError(f"{setting}={url!r} is no address ({error}); wanted one that begins with https://") from error
    if secret:
        raise InputError(f"{setting} has a user or password in it: leave it out, as every output has the address")
    safe = parts.scheme == "https" or (parts.scheme == "http" and host in _HERE)
    if not (safe and host and url.isascii() and url.isprintable() and port != 0):
        raise InputError(f"{setting}={url!r}; wanted an address that begins with https://")


def _segment_anything() -> ModuleType:
    try:
        return importlib.import_module("segment_anything")
    except ImportError as error:
        raise InputError("segmenter=sam needs segment-anything: pip install 'dax-lightning[sam]'") from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _load(model_type: str, checkpoint: Path) -> Any:
    """SAM with the checkpoint's weights, on the CPU; no code in the checkpoint is run."""
    try:
        check_archive(checkpoint)
        weights = torch.load(checkpoint, map_location="cpu", weights_only=True)
        with torch.random.fork_rng(devices=[]):  # building draws first weights that are not used
            model = _segment_anything().sam_model_registry[model_type]()
        model.load_state_dict(weights)
    except Exception as error:  # foreign bytes fail in any way
        reason = next(iter(str(error).splitlines()), "")[:120] or type(error).__name__
        raise InputError(
            f"{checkpoint} is no SAM checkpoint of size {model_type} ({reason}): "
            f"give another segmenter.checkpoint, or its segmenter.model_type={'|'.join(CHECKPOINTS)}"
        ) from error
    return model.eval().requires_grad_(False)


def _merge_small(pieces: Int[np.ndarray, "h w"], min_size: int) -> Int[np.ndarray, " p"]:
    """For each of the pieces 0 to p - 1 the piece it ends up in; see masks_to_partition, step 3."""
    sizes, borders = np.bincount(pieces.ravel()), _borders(pieces)
    into = np.arange(len(sizes))
    queue = [(size, piece) for piece, size in enumerate(sizes.tolist()) if size < min_size]
    heapq.heapify(queue)
    while queue:
        size, piece = heapq.heappop(queue)
        if size != sizes[piece] or not borders[piece]:  # an entry from before it grew or went; or nothing left to join
            continue
        goal = max(borders[piece], key=lambda other: (borders[piece][other], -other))
        _join(piece, goal, sizes, borders)
        into[piece] = goal
        if sizes[goal] < min_size:
            heapq.heappush(queue, (int(sizes[goal]), goal))
    while (into != into[into]).any():
        into = into[into]
    return into


def _join(piece: int, goal: int, sizes: Int[np.ndarray, " p"], borders: dict[int, Counter[int]]) -> None:
    sizes[goal] += sizes[piece]
    sizes[piece] = 0
    for other, length in borders.pop(piece).items():
        del borders[other][piece]
        if other != goal:
            borders[goal][other] += length
            borders[other][goal] += length


def _borders(pieces: Int[np.ndarray, "h w"]) -> dict[int, Counter[int]]:
    """Length of the border between each piece and each of its neighbours, in pixel sides."""
    borders: dict[int, Counter[int]] = defaultdict(Counter)
    for one, other in ((pieces[:, :-1], pieces[:, 1:]), (pieces[:-1], pieces[1:])):
        pairs, lengths = np.unique(np.stack([one[one != other], other[one != other]]), axis=1, return_counts=True)
        for (a, b), length in zip(pairs.T.tolist(), lengths.tolist(), strict=True):
            borders[a][b] += length
            borders[b][a] += length
    return borders
