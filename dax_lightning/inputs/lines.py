"""Lines of text as a picture."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

_SIZE, _MARGIN, _SPACING = 18, 12, 6  # pixels


def picture_of(lines: Sequence[str]) -> Image.Image:
    """The lines in black on white, below each other.

    Example:
        >>> picture_of(["a", "b"]).height > picture_of(["a"]).height
        True
    """
    font, text = ImageFont.load_default(_SIZE), "\n".join(lines)
    box = ImageDraw.Draw(Image.new("RGB", (1, 1))).multiline_textbbox((_MARGIN, _MARGIN), text, font, spacing=_SPACING)
    picture = Image.new("RGB", (int(box[2]) + _MARGIN, int(box[3]) + _MARGIN), "white")
    ImageDraw.Draw(picture).multiline_text((_MARGIN, _MARGIN), text, "black", font, spacing=_SPACING)
    return picture
