import logging
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageFile

from dax_lightning.errors import InputError
from dax_lightning.inputs import image_file as images
from dax_lightning.inputs.image_file import read_image, to_rgb

RAMP = np.linspace(0, 65535, 16 * 24).round().astype(np.uint16).reshape(16, 24)
PHOTO = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def chunk(kind: bytes, data: bytes, crc: int | None = None) -> bytes:
    """A part of a PNG; its checksum is right unless one is given."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data) if crc is None else crc)


def png16(path: Path, pixels: np.ndarray) -> Path:
    """A 16-bit RGB PNG by hand: Pillow reads such files but can't write them."""
    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
    return path


def wrong(path: Path, match: str) -> None:
    with pytest.raises(InputError, match=match) as raised:
        read_image(path)
    message = str(raised.value)
    assert "\n" not in message
    assert path.name in message


def test_missing_folder_and_not_an_image(tmp_path):
    wrong(tmp_path / "none.jpg", "does not exist: give the path")
    wrong(tmp_path, "is a folder, wanted one image file")
    (tmp_path / "words.jpg").write_text("not a picture")
    wrong(tmp_path / "words.jpg", re.escape("(13 bytes) is not an image: wanted PNG, JPEG"))
    (tmp_path / "empty.png").touch()
    wrong(tmp_path / "empty.png", re.escape("(0 bytes) is not an image"))


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp", "bmp"])
def test_truncated(tmp_path, suffix):
    whole, cut = tmp_path / f"whole.{suffix}", tmp_path / f"cut.{suffix}"
    Image.fromarray(PHOTO).save(whole)
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    wrong(cut, "cut off or damaged .*copy or download it again|is not an image")
    if suffix in ("jpg", "png"):
        wrong(cut, "cut off or damaged")


TEXT = chunk(b"tEXt", b"Comment\0cat", crc=7)


@pytest.mark.parametrize(
    ("odd", "after"),
    [
        (TEXT, 33),
        (TEXT, -12),
        (chunk(b"pHYs", b"\0\0\x0b"), 33),
        (chunk(b"gAMA", b"\0"), 33),
        (chunk(b"zTXt", b"a\0\0x", crc=1), 33),
    ],
    ids=["text", "text behind", "pHYs", "gAMA", "zTXt"],
)
def test_what_is_broken_beside_the_pixels_of_a_png_does_no_harm(tmp_path, odd, after):
    file = tmp_path / "odd.png"
    Image.fromarray(PHOTO).save(file)
    content = file.read_bytes()
    file.write_bytes(content[:after] + odd + content[after:])
    assert np.array_equal(np.asarray(read_image(file)), PHOTO)
    file.write_bytes((content[:after] + odd + content[after:])[: len(content) // 2])
    wrong(file, "cut off or damaged")
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


KINDS_OF_JPEG = {"plain": {}, "progressive": {"progressive": True}, "restarts": {"restart_marker_rows": 1}}


@pytest.mark.parametrize("kind", KINDS_OF_JPEG)
@pytest.mark.parametrize("colour", [None, "black", "grey"])
def test_a_jpeg_without_its_end_marker_is_read_and_one_cut_in_its_pixels_is_not(tmp_path, kind, colour):
    pixels = PHOTO if colour is None else np.vstack([np.asarray(Image.new("RGB", (60, 40), colour)), PHOTO])
    file = tmp_path / "cut.jpg"
    Image.fromarray(pixels).save(file, **KINDS_OF_JPEG[kind])
    content, whole = file.read_bytes(), read_image(file)
    for missing in (1, 2):
        file.write_bytes(content[:-missing])
        assert read_image(file).tobytes() == whole.tobytes()
    for size in range(content.find(b"\xff\xda"), len(content) - 40, 5):  # the last block has 30 bytes
        file.write_bytes(content[:size])
        wrong(file, "cut off or damaged .*copy or download it again|is not an image")


def test_too_small(tmp_path):
    for width, height in ((1, 1), (7, 50)):
        Image.new("RGB", (width, height)).save(tmp_path / "small.png")
        wrong(tmp_path / "small.png", f"is {width}x{height} pixels, wanted at least 8 a side")


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "RGBA", "RGB", "I;16"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    picture = Image.fromarray(RAMP) if mode == "I;16" else Image.fromarray(PHOTO).convert(mode)
    picture.save(tmp_path / "picture.png")
    read = read_image(tmp_path / "picture.png")
    assert (read.mode, read.size) == ("RGB", picture.size)
    if mode in ("L", "1", "P"):
        assert np.array_equal(np.asarray(read), np.asarray(picture.convert("RGB")))


def test_16_bit_levels_are_scaled_not_clipped(tmp_path):
    Image.fromarray(RAMP).save(tmp_path / "grey.png")
    tifffile.imwrite(tmp_path / "grey.tif", RAMP, photometric="minisblack", byteorder=">")
    colours = np.stack([RAMP, RAMP[::-1], RAMP[:, ::-1]], -1)
    tifffile.imwrite(tmp_path / "rgb.tif", colours, photometric="rgb")
    png16(tmp_path / "rgb.png", colours)
    wanted = {"grey": RAMP[..., None].repeat(3, 2), "rgb": colours}
    for file in sorted(tmp_path.iterdir()):
        off = np.asarray(read_image(file)).astype(float) / 255 - wanted[file.stem] / 65535.0
        assert abs(off).max() < 1 / 255, file.name


def test_floats_only_within_0_and_1(tmp_path):
    tifffile.imwrite(tmp_path / "good.tif", RAMP.astype(np.float32) / 65535)
    assert np.asarray(read_image(tmp_path / "good.tif"))[..., 0].max() == 255
    tifffile.imwrite(tmp_path / "bad.tif", RAMP.astype(np.float32))
    with pytest.raises(InputError, match="F pixels from 0 to 65535, wanted 0 to 1: save it as"):
        read_image(tmp_path / "bad.tif")


def test_transparency_is_laid_on_white():
    assert to_rgb(Image.new("RGBA", (8, 8), (255, 0, 0, 0))).getpixel((0, 0)) == (255, 255, 255)
    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([0, 0, 200])
    palette.info["transparency"] = 0
    assert to_rgb(palette).getpixel((0, 0)) == (255, 255, 255)


def test_cmyk_jpeg_keeps_its_colours(tmp_path):
    for colour in ((220, 30, 40), (20, 200, 60), (30, 40, 210), (240, 240, 240)):
        Image.new("RGB", (32, 32), colour).convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
        with Image.open(tmp_path / "cmyk.jpg") as written:
            assert written.mode == "CMYK"
        assert abs(np.asarray(read_image(tmp_path / "cmyk.jpg")).astype(int) - colour).max() < 12


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
@pytest.mark.parametrize(("orientation", "corner"), [(1, (0, 0)), (3, (-1, -1)), (6, (0, -1)), (8, (-1, 0))])
def test_exif_orientation(tmp_path, suffix, orientation, corner):
    pixels = np.zeros((32, 48), np.uint8)
    pixels[:8, :8] = 255  # top left in the file; greyscale, so that the tag must survive the change of mode
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / f"turned.{suffix}", exif=exif)
    read = read_image(tmp_path / f"turned.{suffix}")
    assert read.size == ((48, 32) if orientation in (1, 3) else (32, 48))
    assert np.asarray(read)[corner[0], corner[1], 0] > 250


def test_damaged_exif_does_no_harm(tmp_path):
    Image.fromarray(PHOTO).save(tmp_path / "odd.jpg", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff")
    assert read_image(tmp_path / "odd.jpg").size == (60, 40)


JUNK = [
    b"Exif\0\0MM\0*\0\0\0\x08\xff\xff",
    b"Exif\0\0II*\0\xff\xff\xff\x7f",
    b"MM",
    b"Exif\0\0",
    b"junk",
    bytes(range(256)),
    b"\xff" * 40,
]


@pytest.mark.parametrize("suffix", ["png", "webp", "jpg", "tif"])
def test_junk_exif_means_no_turn(tmp_path, suffix):
    rng = np.random.default_rng(0)
    for number, junk in enumerate([*JUNK, *(b"Exif\0\0II*\0" + rng.bytes(30) for _ in range(40))]):
        path = tmp_path / f"{number}.{suffix}"
        if suffix == "tif":
            Image.fromarray(PHOTO).save(path)
        else:
            Image.fromarray(PHOTO).save(path, exif=junk, lossless=True)  # jpg and png overlook the last
        assert sorted(read_image(path).size) == [40, 60]
        if suffix in ("png", "webp"):
            assert np.array_equal(np.sort(np.asarray(read_image(path)).ravel()), np.sort(PHOTO.ravel()))


CASES = Path(__file__).parents[2] / "shared" / "cases"


def test_the_shared_files_go_on_being_read():
    if not CASES.is_dir():
        pytest.skip("the shared cases are missing")
    for file in ("exif_junk.png", "cmyk.jpg", "anim.webp", "planar.tif"):
        with Image.open(CASES / file) as picture:
            picture.load()
            wanted = np.asarray(picture.convert("RGB"))
        assert np.array_equal(np.asarray(read_image(CASES / file)), wanted), file
    for file in ("la.png", "pal_trns.png"):
        with Image.open(CASES / file) as picture:
            layer = np.asarray(picture.convert("RGBA")).astype(float)
        share = layer[..., 3:] / 255
        assert abs(np.asarray(read_image(CASES / file)) - (layer[..., :3] * share + 255 * (1 - share))).max() <= 1, file
    grey = tifffile.imread(CASES / "grey12in16.tif")
    assert abs(np.asarray(read_image(CASES / "grey12in16.tif"))[..., 0] - grey / 257).max() <= 0.5


def test_planar_and_animated(tmp_path):
    tifffile.imwrite(tmp_path / "planar.tif", PHOTO.transpose(2, 0, 1), photometric="rgb", planarconfig="separate")
    assert np.array_equal(np.asarray(read_image(tmp_path / "planar.tif")), PHOTO)
    frames = [Image.fromarray(PHOTO), Image.fromarray(PHOTO[::-1].copy())]
    frames[0].save(tmp_path / "anim.webp", save_all=True, append_images=frames[1:], lossless=True)
    assert np.array_equal(np.asarray(read_image(tmp_path / "anim.webp")), PHOTO)


def test_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    assert read_image(tmp_path / "moving.gif").getpixel((3, 3)) == (255, 0, 0)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_huge_is_downscaled_and_said(tmp_path, monkeypatch, caplog, suffix):
    monkeypatch.setattr(images, "MAX_PIXELS", 5_000)
    pixels = np.zeros((300, 400, 3), np.uint8)
    pixels[:, 200:] = 200
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / f"huge.{suffix}", exif=exif)
    with caplog.at_level(logging.WARNING):
        read = read_image(tmp_path / f"huge.{suffix}")
    assert read.width * read.height <= 5_000
    assert abs(read.width / read.height - 300 / 400) < 0.05
    assert "downscaled from 400x300 to 81x61 pixels" in caplog.text
    assert abs(np.asarray(read)[[10, -10], 30, 0].astype(int) - (0, 200)).max() < 8  # left and right are now top and bottom


def test_small_enough_is_left_alone_and_nothing_said(tmp_path, caplog):
    Image.fromarray(PHOTO).save(tmp_path / "fine.png")
    assert np.array_equal(np.asarray(read_image(tmp_path / "fine.png")), PHOTO)
    assert not caplog.records


def test_over_the_largest(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "LARGEST", 2_000)
    Image.fromarray(PHOTO).save(tmp_path / "vast.png")
    wrong(tmp_path / "vast.png", "is 60x40 pixels, wanted at most 2,000 in all: downscale it first")


def test_pillow_settings_are_lifted_and_put_back(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # a bomb to Pillow at over 200
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    Image.fromarray(PHOTO).save(tmp_path / "bomb.png")
    assert read_image(tmp_path / "bomb.png").size == (60, 40)
    wrong(tmp_path / "none.png", "does not exist")
    assert (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES) == (100, True)
