"""Photographs from files: every kind that Pillow reads becomes RGB, or one line that says why not."""

import io
import logging
import math
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageChops, ImageFile, UnidentifiedImageError

from dax_lightning.errors import InputError
from dax_lightning.inputs.sound import SOUNDS

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
MIN_SIDE = 8  # pixels; nothing smaller can be cut into segments
MAX_PIXELS = 24_000_000  # larger photographs are downscaled; about 100 MB decoded
LARGEST_IDS = 50_000_000  # pixels of masks and label maps, which are not downscaled
LARGEST = 2**30  # pixels; more would need over 4 GB to decode
DENSEST = 500  # pixels a byte of a file that is downscaled; photographs have under 20, a file of nothing but zeros a thousand
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # the other decoders of Pillow are never asked
_TURNS = {  # EXIF's orientation -> what undoes it
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_LYING = (
    Image.Transpose.TRANSPOSE,
    Image.Transpose.ROTATE_270,
    Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_90,
)  # width and height change places
_JPEG, _END = b"\xff\xd8\xff", b"\xff\xd9"  # how a JPEG begins and ends
_PIXELS = bytes(range(1, 255)) * 16  # what a decoder that still waits for pixels takes for some
_log = logging.getLogger(__name__)


def read_image(path: str | Path) -> Image.Image:
    """A photograph as 8-bit RGB, upright, of at most ``MAX_PIXELS`` pixels.

    Greyscale, palette, CMYK and 16-bit files are converted, transparency is laid on white, the EXIF orientation is applied,
    of an animation the first frame is taken. Colour profiles are ignored, and so is what is broken beside the pixels. A larger
    file is downscaled, and the log says so.

    Args:
        path: a file in one of ``FORMATS``, whatever its ending.

    Raises:
        InputError: missing, a folder, no image, cut off, under ``MIN_SIDE`` pixels a side, over ``LARGEST`` pixels, or over
            ``MAX_PIXELS`` in a file that is far too small for them.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.new("L", (20, 10), 128).save(f"{folder}/grey.png")
        ...     read_image(f"{folder}/grey.png")
        <PIL.Image.Image image mode=RGB size=20x10 at ...>
    """
    path = Path(path).expanduser()
    if not path.is_file():
        what = "is a folder, wanted one image file" if path.is_dir() else "does not exist: give the path of an image file"
        raise InputError(f"input {path} {what}")
    try:
        # an open file, not a path: Pillow memory-maps a path, and then garbles greyscale TIFFs that are to be turned
        with path.open("rb") as file:
            try:
                return _decoded(file, path)
            except OSError as error:
                file.seek(0)
                return _without_end(file.read(), path, error)
    except InputError:
        raise
    except UnidentifiedImageError as error:
        sound = path.suffix.lower() in SOUNDS
        told = "; for a recording give a model of sound, such as black_box=esc10_resnet" if sound else ""
        raise InputError(
            f"input {path} ({path.stat().st_size} bytes) is not an image: wanted PNG, JPEG, TIFF, WebP, GIF or BMP{told}"
        ) from error
    except PermissionError as error:
        raise InputError(f"input {path} can't be opened (permission denied): make it readable") from error
    except Exception as error:  # each decoder raises its own kind
        cause = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"image {path} is cut off or damaged ({cause}): copy or download it again") from error


def to_rgb(picture: Image.Image) -> Image.Image:
    """8-bit RGB: 16-bit levels are scaled by 65535 (not clipped), transparency is laid on white.

    Raises:
        InputError: values beyond 16 bits, or floating-point ones outside [0, 1].

    Example:
        >>> to_rgb(Image.new("RGBA", (8, 8), (0, 0, 0, 51))).getpixel((0, 0))
        (204, 204, 204)
    """
    if picture.mode.startswith("I") or picture.mode == "F":
        return _deep_to_rgb(picture)
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return picture.convert("RGB")


def photograph(picture: Image.Image, name: str = "given") -> Image.Image:
    """A picture as :func:`read_image` makes it of a file: 8-bit RGB, upright, not too large.

    Args:
        picture: any picture of Pillow, decoded or not yet.
        name: what an error calls it.

    Raises:
        InputError: over ``LARGEST`` pixels, none at all, or values that are no colours.
    """
    width, height = picture.size
    if min(width, height) < 1:
        raise InputError(f"image {name} is {width}x{height} pixels: it is empty")
    if width * height > LARGEST:
        raise InputError(f"image {name} is {width}x{height} pixels, wanted at most {LARGEST:,} in all: downscale it first")
    small = fitting(width, height)
    if small != (width, height):
        _log.warning("image %s downscaled from %dx%d to %dx%d pixels to save memory", name, width, height, *small)
        picture.draft(None, small)  # a JPEG decodes at 1/2, 1/4 or 1/8 from the start, which saves its memory
    picture.load()
    rgb = to_rgb(_upright(picture))
    return rgb.resize(fitting(*rgb.size), Image.Resampling.BOX)


def _decoded(file: io.BufferedReader | io.BytesIO, path: Path) -> Image.Image:
    with _quiet_pillow(strict=False):  # what is broken beside the pixels, such as a PNG's text, does no harm in a browser
        opened = Image.open(file, formats=FORMATS)
    with opened as picture, _quiet_pillow(strict=True):
        if min(picture.size) < MIN_SIDE:
            width, height = picture.size
            raise InputError(f"image {path} is {width}x{height} pixels, wanted at least {MIN_SIDE} a side: give a larger one")
        _check_density(picture.size, path)
        return photograph(picture, str(path))


@contextmanager
def opened_png(path: Path) -> Iterator[Image.Image]:
    """A PNG whose pixels are ids of segments or classes, of at most ``LARGEST_IDS`` pixels; nothing is decoded yet.

    Raises:
        OSError: it can't be opened, or is no PNG.
        ValueError: it is too large; or the block meets damaged bytes.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.new("L", (3, 2), 7).save(f"{folder}/ids.png")
        ...     with opened_png(Path(folder, "ids.png")) as picture:
        ...         np.array(picture).tolist()
        [[7, 7, 7], [7, 7, 7]]
    """
    try:
        with path.open("rb") as file, _quiet_pillow(strict=True), Image.open(file, formats=["PNG"]) as picture:
            if math.prod(picture.size) > LARGEST_IDS:
                raise ValueError(f"{picture.width}x{picture.height} pixels, wanted at most {LARGEST_IDS:,} in all")
            yield picture
    except (OSError, ValueError):
        raise
    except Exception as error:  # the decoder raises its own kinds
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from error


def _check_density(size: tuple[int, int], path: Path) -> None:
    pixels, held = math.prod(size), path.stat().st_size
    if MAX_PIXELS < pixels <= LARGEST and pixels > DENSEST * held:
        told = f"{size[0]}x{size[1]} pixels in {held:,} bytes"
        raise InputError(f"image {path} declares {told}, which no photograph has: downscale it, or save it anew")


def _without_end(content: bytes, path: Path, error: OSError) -> Image.Image:
    """A JPEG whose end marker is missing; its pixels are whole, but for its last block, where bytes that follow change none.

    Raises:
        OSError: the given error, where it is another file, or pixels are missing.
    """
    if not content.startswith(_JPEG) or not _all_scans(content):
        raise error
    content = content.rstrip(b"\xff")
    whole = _decoded(io.BytesIO(content + _END), path)
    for restart in (b"", *(bytes([0xFF, 0xD0 + n]) for n in range(8))):  # after one of these a decoder may wait for more
        other = _decoded(io.BytesIO(content + restart + _PIXELS + _END), path)
        if ImageChops.difference(whole, other).getbbox() is not None:
            raise error
    return whole


def _all_scans(content: bytes) -> bool:
    """Whether the last scans of a progressive JPEG have begun: those that give the last bit of each of a block's 64 numbers."""
    frame = content.rfind(b"\xff\xc2")
    if frame < 0 or len(content) < frame + 10:
        return frame < 0
    exact: set[tuple[int, int]] = set()  # component and place
    for scan in re.finditer(rb"\xff\xda..(.)", content[frame:], re.DOTALL):
        count, start = scan[1][0], frame + scan.end()
        names, (first, last, bits) = content[start : start + 2 * count : 2], content[start + 2 * count :][:3].ljust(3, b"\xff")
        if bits & 15 == 0:
            exact |= {(name, place) for name in names for place in range(first, last + 1)}
    return len(exact) >= 64 * content[frame + 9]


def turn_of(picture: Image.Image) -> Image.Transpose | None:
    """What turns a picture upright, as its EXIF says. EXIF that can't be read means no turn, as in a browser.

    Example:
        >>> turn_of(Image.new("RGB", (8, 8))) is None
        True
    """
    try:
        return _TURNS.get(picture.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # foreign bytes fail in any way
        return None


def size_of(path: Path) -> tuple[int, int]:
    """(width, height) of a photograph once it is upright; only the file's head is read.

    Raises:
        InputError: it can't be read.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.new("L", (20, 10)).save(f"{folder}/grey.png")
        ...     size_of(Path(folder, "grey.png"))
        (20, 10)
    """
    try:
        with _quiet_pillow(strict=False), Image.open(path, formats=FORMATS) as picture:
            width, height = picture.size
            return (height, width) if turn_of(picture) in _LYING else (width, height)
    except Exception as error:  # each decoder raises its own kind
        raise InputError(f"image {path} can't be read ({error}): copy or download it again") from error


def _upright(picture: Image.Image) -> Image.Image:
    turn = turn_of(picture)
    return picture if turn is None else picture.transpose(turn)


def fitting(width: int, height: int) -> tuple[int, int]:
    """(width, height) at which a photograph of this size is read.

    Example:
        >>> fitting(6000, 6000)
        (4898, 4898)
    """
    shrink = min(1.0, math.sqrt(MAX_PIXELS / (width * height)))
    if shrink == 1:
        return width, height
    return max(MIN_SIDE, int(width * shrink)), max(MIN_SIDE, int(height * shrink))


def _deep_to_rgb(picture: Image.Image) -> Image.Image:
    top = 1 if picture.mode == "F" else 65535
    levels = np.asarray(picture)
    if not (levels.min() >= 0 and levels.max() <= top):  # NaN fails too
        held = f"{picture.mode} pixels from {levels.min():g} to {levels.max():g}"
        raise InputError(f"the image holds {held}, wanted 0 to {top}: save it as an 8-bit or 16-bit PNG")
    return Image.fromarray((levels * np.float32(255 / top)).round().astype(np.uint8)).convert("RGB")


@contextmanager
def _quiet_pillow(strict: bool) -> Iterator[None]:
    """Lift Pillow's limit on pixels (ours is checked instead) and silence its warnings, for as long as this lasts."""
    kept = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
    Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = None, not strict
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES = kept
