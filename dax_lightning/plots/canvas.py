"""What every picture shares: colours, type sizes, text that any font can show, and the way into a web page.

Figures are made by matplotlib's object interface, so nothing here touches the pyplot state of a notebook.
"""

import base64
import io
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.image import AxesImage
from PIL import Image

INK, GREY, RULE, RED = "#1a1a1a", "#5f6368", "#d5d8dc", "#b3261e"
SERIES = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#000000",
    "#8c6d31",
)  # Okabe and Ito: colour-blind safe
MARKERS = "osD^vPX*"
MAP = "viridis"  # perceptually uniform
SIGNED = "RdBu_r"  # of maps with both signs: red speaks for the target, blue against it
NAMED = "#ffb000"  # the outline of a region
DPI = 120
_MOST_SAMPLES = 2**24  # of a recording in a page, all channels together
FONT = "DejaVu Sans"  # comes with matplotlib, so pictures look alike on every machine


@cache
def _glyphs() -> frozenset[int]:
    return frozenset(get_font(findfont(FONT)).get_charmap())


def printable(text: str, longest: int = 110) -> str:
    """Make ``text`` one line of at most ``longest`` characters, with a box for each one the font can't draw.

    Example:
        >>> printable("a cat\\nand a dog", longest=9)
        'a cat an…'
    """
    line = "".join(c if ord(c) in _glyphs() else "□" for c in " ".join(str(text).split()))
    return line if len(line) <= longest else line[: longest - 1] + "…"


def style(size: float | int = 8.5, color: str = INK, **more: Any) -> dict[str, Any]:
    """Give the keyword arguments of every text drawn: one font, and a ``$`` in a name is no formula.

    Example:
        >>> style(color="red")["parse_math"]
        False
    """
    return {"fontsize": size, "color": color, "family": FONT, "parse_math": False, **more}


def axes_at(figure: Figure, left: float | int, top: float | int, width: float | int, height: float | int) -> Axes:
    """Add axes at a place given in inches from the figure's top left corner.

    Example:
        >>> axes_at(Figure(figsize=(4, 2)), 1, 0.5, 2, 1).get_position().get_points().tolist()
        [[0.25, 0.25], [0.75, 0.75]]
    """
    wide, high = figure.get_size_inches()
    return figure.add_axes((left / wide, 1 - (top + height) / high, width / wide, height / high))


def dress(axes: Axes, title: str, below: str) -> None:
    """Give a chart's axes a title, a word below and quiet lines.

    Example:
        >>> dress(axes_at(Figure(), 0, 0, 1, 1), "iou", "queries")
    """
    axes.set_title(printable(title, 40), loc="left", pad=6, **style(9.2, weight="bold"))
    axes.set_xlabel(printable(below, 60), **style(8, GREY))
    axes.tick_params(labelsize=7.5, labelcolor=GREY, color=RULE, labelfontfamily=FONT)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(RULE)
    axes.grid(axis="y", color="#eceff1", linewidth=0.8)
    axes.set_axisbelow(True)


def show(axes: Axes, values: np.ndarray, **more: Any) -> AxesImage:
    """Draw one image (H, W), (H, W, 3) or, for audio, (1, time) with a thin frame and no ticks; returns matplotlib's image.

    Example:
        >>> show(axes_at(Figure(), 0, 0, 1, 1), np.zeros((2, 3))).get_array().shape
        (2, 3)
    """
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(color=RULE, linewidth=0.6)
    return axes.imshow(values, aspect="auto", **more)


def stretch(values: Float[np.ndarray, "*space"]) -> Float[np.ndarray, "*space"]:
    """Scale to [0, 1] for display only, its 1st and 99th hundredths to the ends; a flat map and what isn't finite become 0.

    Example:
        >>> stretch(np.array([[2.0, 2.0]])), stretch(np.array([[0.0, 5.0]])).round(2)
        (array([[0., 0.]]), array([[0., 1.]]))
    """
    if is_flat(values):
        return np.zeros_like(values)
    low, high = np.nanpercentile(values[np.isfinite(values)], (1, 99))
    if high <= low:  # a map of few bright points: its ends are all there is
        low, high = np.min(values[np.isfinite(values)]), np.max(values[np.isfinite(values)])
    return np.clip(np.where(np.isfinite(values), (values - low) / (high - low), 0), 0, 1)


def is_flat(values: Float[np.ndarray, "*space"]) -> bool:
    """Tell whether a map is the same everywhere, but for float32's rounding (or has no finite value).

    Example:
        >>> is_flat(np.full((2, 2), 0.3)), is_flat(np.eye(2))
        (True, False)
    """
    finite = values[np.isfinite(values)]
    return finite.size == 0 or bool(np.ptp(finite) <= 1e-6 * np.abs(finite).max())


def save(figure: Figure, path: Path) -> Path:
    """Write ``figure`` as PNG, its folder made if need be.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(Figure(figsize=(1, 1)), Path(folder, "new", "a.png")).name
        'a.png'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI, format="png", facecolor="white", metadata={"Software": f"matplotlib {matplotlib.__version__}"})
    return path


def as_uri(picture: Figure | Path, width: int | None = None) -> str:
    """Turn a drawn figure, or a picture file, into a ``data:`` address of a small WebP image.

    Args:
        picture: what to show; drawings of lines keep every letter, photographs and maps may lose a little.
        width: pixels that a wider file is shrunk to.

    Raises:
        OSError: the file is not there or is no picture.

    Example:
        >>> as_uri(Figure(figsize=(1, 1)))[:27]
        'data:image/webp;base64,UklG'
    """
    if isinstance(picture, Figure):
        return _drawing(picture)
    try:
        with Image.open(picture, formats=["PNG"]) as image:
            shown = image.convert("RGB")
    except (SyntaxError, ValueError, Image.DecompressionBombError) as error:  # what the decoder makes of damaged bytes
        raise OSError(f"{picture} is no picture ({error})") from error
    if width is not None and width < shown.width:
        shown = shown.resize((width, max(1, round(shown.height * width / shown.width))), Image.Resampling.LANCZOS, reducing_gap=2)
    return pack(shown, quality=86 if width is None else 76)


def sound_uri(path: Path, longest: float = 20.0) -> str | None:
    """Turn a recording into a ``data:`` address of Ogg Vorbis; ``None``: it lasts longer than so many seconds, or can't be read.

    Example:
        >>> sound_uri(Path("no such file.wav")) is None
        True
    """
    import soundfile  # not at the top: pictures needn't wait for it

    try:
        with soundfile.SoundFile(path) as source:
            rate, lasts = source.samplerate, source.frames / source.samplerate
            if not 0 <= lasts <= longest or source.frames * source.channels > _MOST_SAMPLES:
                return None
            wave = source.read(dtype="float32")
    except (OSError, soundfile.LibsndfileError):
        return None
    packed = io.BytesIO()
    peak = float(np.abs(wave).max(initial=1.0))
    soundfile.write(packed, (wave / peak).astype(np.float32), rate, format="OGG", subtype="VORBIS")
    return f"data:audio/ogg;base64,{base64.b64encode(packed.getvalue()).decode()}"


def pack(image: Image.Image, **more: Any) -> str:
    """Turn an image into a ``data:`` address, ``more`` for Pillow's WebP writer.

    Example:
        >>> pack(Image.new("RGB", (2, 2)), quality=70)[:23]
        'data:image/webp;base64,'
    """
    packed = io.BytesIO()
    image.save(packed, "webp", method=3, **more)
    return "data:image/webp;base64," + base64.b64encode(packed.getvalue()).decode()


def pixels_of(figure: Figure) -> UInt8[np.ndarray, "h w 3"]:
    """Draw a figure as pixels.

    Example:
        >>> pixels_of(Figure(figsize=(2, 1), dpi=10)).shape
        (10, 20, 3)
    """
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def _drawing(figure: Figure) -> str:
    figure.set_dpi(1.6 * DPI)  # sharp on most screens; the page shows it smaller
    figure.set_facecolor("white")
    image = Image.fromarray(pixels_of(figure))
    photographs = any(axes.images for axes in figure.axes)
    return pack(image, quality=86) if photographs else pack(image, lossless=True)
