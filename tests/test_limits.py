"""Small files that declare much: each costs one line, and no memory to speak of."""

import io
import struct
import tracemalloc
import warnings
import zipfile
import zlib

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from torch import nn

from dax_lightning.black_box.torch.weights import load_weights
from dax_lightning.errors import InputError
from dax_lightning.files import MOST_BYTES, read_npz
from dax_lightning.inputs import image_file
from dax_lightning.inputs.arrays import read_array
from dax_lightning.inputs.image_file import read_image
from dax_lightning.inputs.sound import read_sound
from dax_lightning.segment.cache import read_segments
from dax_lightning.segment.file import FromFile
from dax_lightning.tasks.masks import Masks
from dax_lightning.tasks.voc import read_mask

SMALL = 20_000_000  # bytes that a refusal may take: what was declared is a thousand times as much
SIDE = 30_000  # pixels: 900 million in all


def refused(told, read, *arguments):
    """The one line of an error that came before any memory was taken."""
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=told) as caught:
            read(*arguments)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value)
    assert peak < SMALL


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width, height, colour=0):
    head = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def tiff(width, height):
    tags = {256: (4, width), 257: (4, height), 258: (3, 8), 259: (3, 1), 262: (3, 1), 273: (4, 8), 277: (3, 1), 278: (4, height)}
    tags[279] = (4, width * height)
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, (kind, value) in sorted(tags.items()))
    return b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + entries + bytes(4)


def gif(width, height):
    picture = b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x4c\x01\x00;"
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6) + picture


def webp(width, height):
    frame = b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14) + b"\x88\x88\x08\x07"
    body = b"WEBPVP8L" + struct.pack("<I", len(frame) + 1) + frame + b"\0"
    return b"RIFF" + struct.pack("<I", len(body)) + body


PICTURES = {
    "bomb.png": png(SIDE, SIDE),
    "vast.png": png(2**31 - 1, 2**31 - 1),
    "bomb.tif": tiff(SIDE, SIDE),
    "bomb.gif": gif(SIDE, SIDE),
    "bomb.webp": webp(16_000, 16_000),
    "bomb.bmp": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, SIDE, SIDE, 1, 24, 0, 0, 0, 0, 0, 0),
    "bomb.ppm": b"P6 30000 30000 255\n" + bytes(100),
}


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_that_declares_more_than_it_has_is_refused_before_it_is_decoded(tmp_path, name):
    (tmp_path / name).write_bytes(PICTURES[name])
    refused(rf"^image .*{name} (declares \d+x\d+ pixels in [\d,]+ bytes|is .* in all: downscale)", read_image, tmp_path / name)


def test_a_photograph_that_is_dense_but_not_large_is_read(tmp_path):
    Image.new("L", (4000, 3000)).save(tmp_path / "black.png")
    assert (tmp_path / "black.png").stat().st_size * image_file.DENSEST < 4000 * 3000
    assert read_image(tmp_path / "black.png").size == (4000, 3000)


def test_a_program_in_the_place_of_a_picture_is_not_run(tmp_path):
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 50 50\n%%EndComments\nshowpage\n")
    refused("is not an image: wanted PNG", read_image, tmp_path / "a.png")  # Pillow would hand it to Ghostscript


def test_masks_and_label_maps_have_a_limit_too(tmp_path):
    (tmp_path / "bomb.png").write_bytes(png(SIDE, SIDE))
    told = "30000x30000 pixels, wanted at most 50,000,000 in all"
    refused(f"^label map .*{told}", FromFile, tmp_path / "bomb.png")
    refused(f"^VOC mask .*{told}", read_mask, tmp_path / "bomb.png")
    masks = Masks(str(tmp_path / "bomb.png"), [tmp_path / "bomb.jpg"], "object")
    refused(f"^mask .*{told}", masks.of, tmp_path / "bomb.jpg", np.zeros((2, 2, 3)))


def npy(shape, kind="<f8", data=b""):
    head = f"{{'descr': {kind!r}, 'fortran_order': False, 'shape': {shape!r}}}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + data


ARRAYS = {
    "declares 8,000,000,000,000 bytes, wanted at most 1,073,741,824": npy((1000, 1000, 1_000_000)),
    r"declares [\d,]{30,} bytes, wanted at most": npy((10**40,)),
    "declares 80,000,000 bytes and has 8": npy((10_000_000,), data=bytes(8)),
    r"declares the shape \(-1,\)": npy((-1,), data=bytes(8)),
    "holds object values": npy((2,), "|O", bytes(16)),
    "holds <U0 values": npy((10**12,), "<U0"),
    "version 9.9": b"\x93NUMPY\x09\x09" + bytes(100),
}


@pytest.mark.parametrize("told", ARRAYS)
def test_an_array_that_declares_more_than_it_has_is_refused(tmp_path, told):
    (tmp_path / "a.npy").write_bytes(ARRAYS[told])
    refused(f"is no array of NumPy .*{told}", read_array, tmp_path / "a.npy")
    refused(f"^label map .*{told}", FromFile, tmp_path / "a.npy")


def zeros(size):
    """A zip member that is nothing but zeros: a header that declares them, and the rest."""
    return npy((size,), "|u1") + bytes(size)


def archive(file, members, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(file, "w", method) as made:
        for name, data in members.items():
            made.writestr(name, data)
    return file


@pytest.fixture
def limit(monkeypatch):
    monkeypatch.setattr("dax_lightning.files.MOST_BYTES", 10_000_000)


@pytest.mark.usefixtures("limit")
def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path):
    bomb = archive(tmp_path / "bomb.npz", {"segments.npy": zeros(9_000_000), "b.npy": zeros(9_000_000)})
    assert bomb.stat().st_size < 40_000
    refused("label map .*unpacks to 18,000,256 bytes, wanted at most 10,000,000", FromFile, bomb)
    refused("unpacks to 18,000,256 bytes", read_array, bomb)
    assert read_segments(bomb, torch.Size([2])) is None


def test_the_limit_is_a_gibibyte():
    assert MOST_BYTES == 2**30


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_archive_of_another_compression_is_refused(tmp_path, method):
    bomb = archive(tmp_path / "bomb.npz", {"a.npy": zeros(100)}, method)
    refused("compressed in another way than NumPy does", read_array, bomb)


def test_an_archive_of_very_many_files_is_refused(tmp_path):
    bomb = archive(tmp_path / "bomb.npz", {f"{n}.npy": b"" for n in range(1001)})
    refused("an archive of 1001 files, wanted at most 1000", read_array, bomb)


def test_an_array_in_an_archive_is_checked_as_one_alone(tmp_path):
    bomb = archive(tmp_path / "bomb.npz", {"a.npy": npy((10**6, 10**6))})
    refused("declares 8,000,000,000,000 bytes", read_array, bomb)
    (tmp_path / "junk.npz").write_bytes(bomb.read_bytes()[:60])
    refused("is no array of NumPy", read_array, tmp_path / "junk.npz")


def test_only_what_is_wanted_is_unpacked(tmp_path):
    made = archive(tmp_path / "a.npz", {"a.npy": zeros(3), "b.npy": b"junk"})
    assert read_npz(made, only=["a"])["a"].tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="magic string"):
        read_npz(made)


def wav(rate=8000, channels=1, data=bytes(range(256)) * 40, declared=None):
    size = len(data) if declared is None else declared
    head = struct.pack("<IHHIIHH", 16, 1, channels, rate, rate * channels * 2 & 0xFFFFFFFF, channels * 2, 16)
    return b"RIFF" + struct.pack("<I", 36 + size & 0xFFFFFFFF) + b"WAVEfmt " + head + b"data" + struct.pack("<I", size) + data


def test_a_recording_that_declares_very_much_is_refused(tmp_path):
    (tmp_path / "fast.wav").write_bytes(wav(2**31 - 1))
    refused("declares 1 channels of 2,147,483,647 samples a second: resample it", read_sound, tmp_path / "fast.wav", 16000)
    (tmp_path / "many.wav").write_bytes(wav(48000, 1000, bytes(range(250)) * 400))
    refused("declares 1000 channels of 48,000 samples", read_sound, tmp_path / "many.wav", 16000)


def test_a_recording_longer_than_it_is_costs_what_it_is(tmp_path):
    (tmp_path / "long.wav").write_bytes(wav(declared=0xFFFFFF00))
    assert read_sound(tmp_path / "long.wav", 8000).wave.shape == (1, 5120)
    flac = io.BytesIO()
    soundfile.write(flac, np.linspace(-0.5, 0.5, 8000), 8000, format="FLAC")
    content = bytearray(flac.getvalue())
    content[21] |= 0x0F  # the number of samples, 36 bits in STREAMINFO: now 2^36 - 1
    content[22:26] = b"\xff" * 4
    (tmp_path / "long.flac").write_bytes(content)
    refused("long.flac can't be read", read_sound, tmp_path / "long.flac", 8000)


def test_raw_samples_have_no_header(tmp_path):
    (tmp_path / "a.raw").write_bytes(bytes(range(256)) * 40)
    refused("raw samples without a header", read_sound, tmp_path / "a.raw", 8000)


def safetensors(header, data=b""):
    return struct.pack("<Q", len(header)) + header + data


@pytest.mark.parametrize(
    "content",
    [
        safetensors(b'{"a":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000]}}'),
        safetensors(b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}', bytes(4)),
        struct.pack("<Q", 2**62) + b"{}",
        safetensors(b"[" * 100_000),
        safetensors(b'{"a":{"dtype":"F32","shape":[18446744073709551615,2],"data_offsets":[0,8]}}', bytes(8)),
    ],
    ids=["declares much", "has less", "long header", "deep", "overflow"],
)
def test_weights_that_declare_more_than_they_have_are_refused(tmp_path, content):
    (tmp_path / "a.safetensors").write_bytes(content)
    refused("can't be read as a state dict", load_weights, nn.Linear(2, 2), str(tmp_path / "a.safetensors"))


def test_weights_in_a_compressed_archive_are_refused(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(nn.Linear(2, 2).state_dict(), tmp_path / "fine.pth")
    load_weights(nn.Linear(2, 2), str(tmp_path / "fine.pth"))
    with zipfile.ZipFile(tmp_path / "fine.pth") as fine:
        members = {name: fine.read(name) for name in fine.namelist()}
    bomb = archive(tmp_path / "bomb.pth", {**members, "archive/data/9": bytes(5_000_000)})
    refused(r"can't be read as a state dict \(it unpacks to 5,\d+,\d+ bytes", load_weights, nn.Linear(2, 2), str(bomb))
