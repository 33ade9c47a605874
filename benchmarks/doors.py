"""The doors that ``benchmarks.fuzz`` tries, each a function of bytes, and small inputs that work."""

import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import soundfile
import torch
from PIL import Image

from dax_lightning.black_box import Store, onnx_model
from dax_lightning.black_box.http.forms import Form, OpenInference, Own, Pixels
from dax_lightning.black_box.store import rescue
from dax_lightning.errors import InputError
from dax_lightning.inputs import WaveInput
from dax_lightning.inputs.arrays import read_array
from dax_lightning.inputs.image_file import read_image
from dax_lightning.run.config import with_short_cuts
from tests.test_fuzz import OWN_ANSWER, PIXELS, SCORES, V2, V2_BINARY, V2_JSON, onnx_file

PLACE = Path(mkdtemp())


def written(name: str, data: bytes) -> Path:
    file = PLACE / name
    file.write_bytes(data)
    return file


def picture(data: bytes) -> None:
    read_image(written("picture.png", data))


def recording(data: bytes) -> None:
    WaveInput(rate=8000, samples=800).read(written("sound.wav", data))


def array(data: bytes) -> None:
    read_array(written("array.npy", data))


def words(data: bytes) -> None:
    with_short_cuts(data.decode("utf-8", "replace").split("\0"))


def onnx(data: bytes) -> None:
    onnx_model(str(written("net.onnx", data)), device="cpu")


def store(data: bytes) -> None:
    folder = Path(mkdtemp(dir=PLACE))
    (folder / "answers.sqlite").write_bytes(data)
    try:
        opened = Store(folder)
        opened.read([bytes(16)])
        opened.close()
    except InputError:
        rescue(folder)
        raise
    finally:
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()


def answer(data: bytes) -> None:
    own = Own("http://127.0.0.1/predict", Form(rows="json"), Pixels(), (3, 4, 4))
    own.scores(own.request(np.zeros((3, 3, 4, 4), np.float32)), 3, data, {})


def answer_v2(data: bytes) -> None:
    codec = OpenInference("http://127.0.0.1/v2/models/m", Form(), Pixels(), V2, binary=True)
    request = codec.request(np.zeros((3, 3, 4, 4), np.float32))
    codec.scores(request, 3, data[1:], {"inference-header-content-length": str(data[0])} if data else {})


DOORS: dict[str, Callable[[bytes], None]] = {
    one.__name__: one for one in (picture, recording, array, words, onnx, store, answer, answer_v2)
}


def seeds(door: str) -> list[bytes]:
    """Small inputs that work."""
    found = []
    if door == "picture":
        for kind in ("png", "jpeg", "gif", "tiff", "webp", "bmp"):
            Image.fromarray(PIXELS).save(file := BytesIO(), kind)
            found.append(file.getvalue())
    elif door == "recording":
        for kind in ("wav", "flac", "ogg"):
            soundfile.write(file := BytesIO(), np.sin(np.arange(900) / 9), 8000, format=kind)
            found.append(file.getvalue())
    elif door == "array":
        np.save(file := BytesIO(), SCORES)
        found.append(file.getvalue())
    elif door == "onnx":
        found.append(onnx_file())
    elif door == "store":
        made = Store(PLACE / "seed")
        made.write([bytes(16)], torch.ones(1, 3), 0.0)
        made.close()
        found.append(made.path.read_bytes())
    elif door == "words":
        found += [b"input=a.jpg\0q=10\0-m", b"model=net.onnx\0target=cat, dog", b"segmenter=grid\0+metric@metrics.a=iou"]
    else:
        found += [OWN_ANSWER, b"\0" + V2_JSON, bytes([len(V2_BINARY)]) + V2_BINARY + SCORES.tobytes(), json.dumps({}).encode()]
    return found
