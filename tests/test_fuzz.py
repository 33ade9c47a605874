"""Broken and hostile bytes at every door: either they work, or one line says what is wrong. Never another error.

``make fuzz`` tries a hundred times as many, and others each time. A door that is new gets a test here: seeds that work, and what
reads them.
"""

import io
import json
import os
import re
import string
import warnings
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import pytest
import soundfile
import torch
from hydra import compose, initialize_config_dir
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save as safetensors
from torch import nn

from dax_lightning.black_box import Store, from_function, onnx_model
from dax_lightning.black_box.base import class_names
from dax_lightning.black_box.http.forms import Form, OpenInference, Own, Pixels
from dax_lightning.black_box.store import rescue
from dax_lightning.black_box.torch.heads import LinearHead
from dax_lightning.black_box.torch.sound import SoundModel
from dax_lightning.black_box.torch.weights import load_weights
from dax_lightning.errors import InputError
from dax_lightning.explainers.random import Random
from dax_lightning.inputs import ImageInput, WaveInput
from dax_lightning.inputs.image_file import read_image, size_of
from dax_lightning.inputs.sound import read_sound
from dax_lightning.inputs.table import TableInput
from dax_lightning.inputs.text import TextInput
from dax_lightning.report import write_report
from dax_lightning.run.config import USER_ERRORS, build, check_values, explainer_nodes, one_line, with_short_cuts
from dax_lightning.run.loggers import CsvRun
from dax_lightning.run.rows import COLUMNS, Rows
from dax_lightning.run.runner import Benchmark
from dax_lightning.segment.cache import read_segments
from dax_lightning.segment.file import FromFile
from dax_lightning.tasks import Coco, Files
from dax_lightning.tasks.textgrids import read_annotation
from dax_lightning.tasks.voc import listed, read_mask
from dax_lightning.testing import QuarterBox
from dax_lightning.types import Explanation
from tests.conftest import ROOT
from tests.test_textgrids import GOOD

pytestmark = pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning")  # of how long a file's bytes are
TIMES = int(os.environ.get("DAX_FUZZ", "1"))  # as many inputs; more than once: others each time
NOISE = np.random.default_rng(0)
PIXELS = NOISE.integers(0, 256, (12, 16, 3), dtype=np.uint8)


def tried(inputs, shrunk=True):
    """How many inputs the ordinary run tries, and ``make fuzz`` so many times more; slow ones are not shrunk."""
    return settings(
        max_examples=inputs * TIMES,
        phases=[Phase.generate, Phase.shrink] if shrunk else [Phase.generate],
        derandomize=TIMES == 1,
        database=None,
        deadline=None,
        suppress_health_check=[
            HealthCheck.too_slow,
            HealthCheck.data_too_large,
            HealthCheck.filter_too_much,
            HealthCheck.large_base_example,
        ],
    )


def fine(read, *arguments, **more):
    """It works, or one line says why not."""
    try:
        return read(*arguments, **more)
    except InputError as error:
        told = str(error)
    assert is_one_line(told), told
    return None


def is_one_line(text):
    return len(text.splitlines()) == 1 and text.isprintable()


ODD = [
    b"",
    b"\0",
    b"\xff" * 4,
    b"\x7f\xff\xff\xff",
    b"\x80\0\0\0",
    b"\n",
    b'"',
    b"-1",
    b"1e999",
    b"nan",
    b"9" * 40,
    b"[" * 50,
    b"\xed\xa0\x80",
]
EDIT = st.tuples(
    st.sampled_from(["set", "insert", "delete", "copy", "cut"]),
    st.floats(0, 1),
    st.one_of(st.sampled_from(ODD), st.binary(max_size=8)),
    st.integers(1, 40),
)


@st.composite
def mutated(draw, seeds):
    """One of some files, with a few of its bytes set, inserted, taken out or copied elsewhere."""
    content = bytearray(draw(st.sampled_from(seeds)))
    for kind, share, data, length in draw(st.lists(EDIT, max_size=6)):
        place = int(share * len(content))
        if kind == "set":
            content[place : place + len(data)] = data
        elif kind == "insert":
            content[place:place] = data * length
        elif kind == "delete":
            del content[place : place + length]
        elif kind == "copy":
            content[place:place] = content[: length * 4]
        else:
            del content[place:]
    return bytes(content)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


def written(folder, name, content):
    file = Path(folder, name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


# --- pictures ----------------------------------------------------------------------------------------------------------


def picture(kind, mode="RGB", **more):
    made = io.BytesIO()
    Image.fromarray(PIXELS).convert(mode).save(made, kind, **more)
    return made.getvalue()


def exif():
    made = Image.Exif()
    made[0x0112], made[0x010E] = 6, "a picture"
    return made


OTHER = [Image.fromarray(PIXELS[::-1].copy())]
PICTURES = [
    *(picture("PNG", mode) for mode in ("RGB", "RGBA", "L", "LA", "P", "1", "I;16")),
    picture("PNG", "P", transparency=3),
    picture("PNG", exif=exif(), dpi=(72, 72)),
    *(picture("JPEG", mode, **more) for mode in ("RGB", "L", "CMYK") for more in ({}, {"progressive": True}, {"exif": exif()})),
    picture("JPEG", comment=b"no comment", quality=20, restart_marker_blocks=1),
    picture("GIF", "P"),
    picture("GIF", "P", save_all=True, append_images=OTHER),
    *(
        picture("TIFF", mode, compression=how)
        for mode in ("RGB", "L", "1", "F")
        for how in (None, "tiff_lzw", "tiff_adobe_deflate")
    ),
    picture("TIFF", compression="jpeg"),
    picture("TIFF", "1", compression="group4"),
    picture("TIFF", exif=exif(), save_all=True, append_images=OTHER),
    *(picture("WEBP", lossless=lossless) for lossless in (False, True)),
    picture("WEBP", save_all=True, append_images=OTHER),
    picture("WEBP", "RGBA", exif=exif()),
    *(picture("BMP", mode) for mode in ("RGB", "L", "P", "1")),
    *(picture("PPM", mode) for mode in ("RGB", "L", "1", "I;16")),
]


@tried(200)
@given(content=mutated(PICTURES))
def test_pictures(folder, content):
    file = written(folder, "a.png", content)
    fine(size_of, file)
    read = fine(read_image, file)
    if read is not None:
        assert (read.mode, min(read.size) > 0) == ("RGB", True)
        assert ImageInput((8, 8), crop="squash").image(read).shape == (3, 8, 8)


IDS = [picture("PNG", mode) for mode in ("L", "P", "1", "I;16")]


@tried(60)
@given(content=mutated(IDS))
def test_masks_and_label_maps(folder, content):
    place = folder / "masks"
    file = written(place, "a.png", content)
    fine(FromFile, file)
    fine(read_mask, file)
    written(folder, "pictures/a.png", PICTURES[0])
    box = from_function(lambda rows: rows.mean((2, 3)), multi_label=True, size=(8, 8))
    task = fine(Files, box, str(folder / "pictures"), masks=str(place))
    if task is not None:
        task.remarks()
        fine(task.__getitem__, 0)


# --- recordings --------------------------------------------------------------------------------------------------------


def recording(kind, subtype=None, channels=1):
    made = io.BytesIO()
    soundfile.write(made, NOISE.normal(0, 0.1, (1000, channels)), 8000, format=kind, subtype=subtype)
    return made.getvalue()


RECORDINGS = [recording("WAV", subtype) for subtype in ("PCM_16", "PCM_24", "PCM_U8", "FLOAT", "DOUBLE", "ULAW", "IMA_ADPCM")]
RECORDINGS += [recording(kind) for kind in ("FLAC", "OGG", "MP3", "AIFF", "AU", "CAF", "W64", "RF64")]
RECORDINGS += [recording("WAV", channels=2), recording("OGG", "OPUS")]


@tried(120)
@given(content=mutated(RECORDINGS), rate=st.sampled_from([8000, 11025, 48000]))
def test_recordings(folder, content, rate):
    sound = fine(read_sound, written(folder, "a.wav", content), rate)
    if sound is not None:
        assert (sound.wave.shape[0], bool(torch.isfinite(sound.wave).all())) == (1, True)
        assert sound.wave.abs().max() <= 1


# --- arrays ------------------------------------------------------------------------------------------------------------


def saved(save, *arrays, **named):
    made = io.BytesIO()
    save(made, *arrays, **named)
    return made.getvalue()


ARRAYS = [saved(np.save, array) for array in (PIXELS, PIXELS / 255, np.zeros((2, 8, 8), bool), np.array(["a"]), np.float16(3))]
ARRAYS += [saved(np.save, np.asfortranarray(PIXELS)), saved(np.save, np.zeros(3, [("a", "f4"), ("b", "i2")]))]
ARRAYS += [saved(save, segments=np.eye(8, dtype=int)) for save in (np.savez, np.savez_compressed)]
ARRAYS += [saved(np.savez, a=PIXELS, b=PIXELS), saved(np.savez)]


@tried(150)
@given(content=mutated(ARRAYS), suffix=st.sampled_from([".npy", ".npz"]))
def test_arrays(folder, content, suffix):
    file = written(folder, f"a{suffix}", content)
    fine(FromFile, file)
    read_segments(file, torch.Size([8, 8]))
    for kind in (ImageInput((8, 8)), ImageInput((8, 8), channels=2), WaveInput(8000)):
        x = fine(kind.read, file)
        if x is not None:
            fine(kind.check, x)


# --- texts -------------------------------------------------------------------------------------------------------------


@tried(60)
@given(content=mutated([GOOD.encode(), GOOD.encode("utf-16"), GOOD.replace("\n", "\r\n").encode("utf-8-sig")]))
def test_textgrids(folder, content):
    pytest.importorskip("tgt")
    fine(read_annotation, written(folder, "a.TextGrid", content))


@tried(60)
@given(content=mutated([b"cat\ndog\n", "猫\nété\n".encode(), b"\xef\xbb\xbfa good film\n", b"age,income\n3,4\n"]))
def test_lists_texts_and_tables(folder, content):
    file = written(folder, "a.txt", content)
    fine(class_names, str(file))
    fine(listed, str(file), ["cat", "dog"])
    fine(TextInput(("[MASK]", "a", "good", "film"), mask=0).read, file)
    fine(TableInput(("age", "income")).read, file)


COCO = {
    "images": [{"id": 1, "file_name": "1.png", "width": 16, "height": 12}],
    "categories": [{"id": 17, "name": "cat"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 17, "bbox": [2, 2, 8, 8], "segmentation": [[2, 2, 10, 2, 10, 10, 2, 10]]},
        {"id": 2, "image_id": 1, "category_id": 17, "iscrowd": 1, "segmentation": {"size": [12, 16], "counts": [20, 30, 142]}},
        {"id": 3, "image_id": 1, "category_id": 17, "segmentation": {"size": [12, 16], "counts": "d0n0^4"}},
    ],
}


@tried(60)
@given(content=mutated([json.dumps(COCO).encode()]))
def test_coco_lists(folder, content):
    written(folder, "coco/images/val/1.png", PICTURES[0])
    written(folder, "coco/annotations/instances_val.json", content)
    box = from_function(lambda rows: rows.mean((2, 3)), multi_label=True, size=(8, 8), classes=["cat", "dog", "bird"])
    task = fine(Coco, box, str(folder / "coco"))
    if task is not None and fine(len, task):
        fine(task.__getitem__, 0)


# --- weights -----------------------------------------------------------------------------------------------------------

NETWORK = nn.Linear(2, 2)


def pth():
    made = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(NETWORK.state_dict(), made)
    return made.getvalue()


HEAD = {"classes": ["a", "b"], "backbone": "lite0", "fingerprint": "x", "trained_on": []}
SAFETENSORS = [
    safetensors(dict(NETWORK.state_dict())),
    safetensors(dict(NETWORK.state_dict()), {"voc_head": json.dumps(HEAD)}),
    safetensors({"a": torch.zeros(2, dtype=torch.bfloat16)}, {"sound_model": json.dumps({"front": {"rate": 8000}})}),
]


@tried(100)
@given(content=mutated(SAFETENSORS))
def test_safetensors(folder, content):
    file = written(folder, "a.safetensors", content)
    fine(load_weights, nn.Linear(2, 2), str(file))
    fine(LinearHead.load, file)
    fine(SoundModel.load, file)


@tried(60)
@given(content=mutated([pth()]))
def test_pickled_weights(folder, content):
    fine(load_weights, nn.Linear(2, 2), str(written(folder, "a.pth", content)))


# --- what an earlier run left ------------------------------------------------------------------------------------------


def explanation():
    """The two files of an explanation."""
    torch.manual_seed(0)
    made = Explanation(torch.rand(32, 32), 0, 0.5, 1, 0.1, segments=torch.eye(32).long(), x=torch.rand(3, 32, 32), kind="image")
    with TemporaryDirectory() as folder:
        made.save(Path(folder, "made"), config={}, black_box="")
        return [Path(folder, f"made{suffix}").read_bytes() for suffix in (".json", ".npz")]


FACTS, MAPS = explanation()


@tried(120)
@given(facts=mutated([FACTS]), arrays=mutated([MAPS]), broken=st.booleans())
def test_saved_explanations(folder, facts, arrays, broken):
    written(folder, "again.json", facts if broken else FACTS)
    written(folder, "again.npz", MAPS if broken else arrays)
    again = fine(Explanation.load, folder / "again")
    if again is not None:
        assert repr(again)


ROWS = "\r\n".join(
    [
        ",".join([*COLUMNS, "fidelity", "iou"]),
        "files,a,dax,tests,,grid,0,20,0,cat,0.5,20,0,0.1,0.05,100,ok,,0.5,0.25",
        'files,b,lime,tests,,grid,0,20,1,"dog, or ""wolf""",0.5,20,0,0.1,0.05,100,failed,"no, none",,',
        "",
    ]
).encode()


@tried(60)
@given(content=mutated([ROWS]))
def test_rows(folder, content):
    rows = fine(Rows, written(folder, "rows.csv", content), [*COLUMNS, "fidelity", "iou"])
    if rows is not None:
        rows.add({"task": "files", "case": "c", "explainer": "dax", "status": "ok"})
        fine(rows.table)
        rows.forget({("c", "dax")})


LEFT = {
    "rows.csv": ROWS,
    "metrics.json": b'{"iou": {"higher_is_better": true}, "explainers": {"dax": {"needs_gradients": false}}}',
    ".hydra/overrides.yaml": b"- q=20\n- input=a.png\n",
    ".hydra/config.yaml": b"paper_table: 2\n",
    "explanations/a__dax.json": FACTS,
    "explanations/a__dax.npz": MAPS,
    "explanations/a__dax.png": PICTURES[0],
    "explanations/inputs/a.png": PICTURES[0],
}


@tried(4, shrunk=False)
@given(files=st.fixed_dictionaries({name: mutated([content]) for name, content in LEFT.items()}))
def test_reports(folder, files):
    for name, content in files.items():
        written(folder / "report", name, content)
    fine(write_report, folder / "report")


@pytest.fixture(scope="module")
def finished(folder):
    """The files of a run that is done, by name."""
    place = folder / "done"
    written(folder, "one/a.png", PICTURES[0])
    benchmark(place, folder / "one").run()
    names = ("rows.csv", "metrics.json", "explanations/a__random.json", "explanations/a__random.npz")
    return {name: (place / name).read_bytes() for name in names}


def benchmark(place, pictures):
    box = QuarterBox()
    return Benchmark(Files(box, str(pictures)), {"random": Random(box)}, {}, place, CsvRun())


@tried(2, shrunk=False)
@given(data=st.data())
def test_resumed_runs(folder, finished, data):
    place = folder / "resumed"
    broken = data.draw(st.sampled_from(sorted(finished)))
    for name, content in finished.items():
        written(place, name, data.draw(mutated([content])) if name == broken else content)
    fine(benchmark(place, folder / "one").run)


# --- the command line --------------------------------------------------------------------------------------------------

KEYS = [
    "input",
    "q",
    "seed",
    "target",
    "limit",
    "lam1",
    "segmenter",
    "segmenter.rows",
    "explainer",
    "explainer.q",
    "loss",
    "task",
]
KEYS += [
    "task.root",
    "black_box",
    "black_box.classes",
    "black_box.size",
    "metrics",
    "methods",
    "comparison",
    "explainers",
    "logger",
]
KEYS += [
    "+segmenter",
    "~metrics.iou",
    "++explainer.x",
    "mosaic.others",
    "perturber.fill",
    "trainer.max_epochs",
    "kind",
    "max_queries",
]
KEYS += ["experiment", "size", "device", "optim._target_", "segmenter._target_", "+metric@metrics.x", "masks", "ids", "ceiling"]
VALUES = [
    "",
    "null",
    "1",
    "-1",
    "1e999",
    "nan",
    "true",
    "[1,2]",
    "[]",
    "{}",
    "{a:1}",
    "${q}",
    "${",
    "${nope}",
    "${oc.env:NOPE}",
    "a b",
]
VALUES += [
    "'",
    '"',
    "''",
    "\\",
    "grid",
    "lime",
    "v1",
    "shapes",
    "cat,dog",
    "../x",
    "~",
    "(1)",
    "a=b",
    "猫",
    "\x00",
    "[" * 30,
    "???",
    "a,,b",
]
VALUES += [
    "{_target_:os.getcwd}",
    "[{_target_:1}]",
    "{_partial_:true}",
    "choice(1,2)",
    "range(3)",
    "${q:}",
    "${segmenter}",
    "${.}",
    "9" * 60,
]


@tried(12, shrunk=False)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.sampled_from(KEYS), st.text(string.printable, max_size=6)),
            st.one_of(st.sampled_from(VALUES), st.text(max_size=6)),
        ).map("=".join),
        min_size=1,
        max_size=3,
    )
)
def test_command_lines(arguments):
    try:
        with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            cfg = compose(
                "config", [one for one in with_short_cuts(arguments) if one != "task=files" or "input=" in str(arguments)]
            )
        check_values(cfg)
        nodes: dict[str, Any] = {"segmenter": cfg.segmenter, "perturber": cfg.perturber, "logger": cfg.logger}
        nodes |= {where: node for where, node in explainer_nodes(cfg).values()} | {
            f"metrics.{k}": v for k, v in cfg.metrics.items()
        }
        for where, node in nodes.items():
            build(node, where, _partial_=True)
    except USER_ERRORS as error:
        told = one_line(error)
    else:
        told = "it works"
    assert is_one_line(told), told


# --- models behind a file or a wire, and the store of answers ---------------------------------------------------------

STORED = [number.to_bytes(16, "big") for number in range(200)]
URL = "http://127.0.0.1/v2/models/m"
SCORES = np.linspace(0, 1, 6, dtype=np.float32).reshape(3, 2)
V2 = {
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 3, 4, 4]}],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}],
}
OWN_ANSWER = json.dumps({"predictions": [{"id": str(i), "scores": row.tolist()} for i, row in enumerate(SCORES)]}).encode()
V2_HEAD = {"outputs": [{"name": "y", "datatype": "FP32", "shape": [3, 2]}]}
V2_JSON = json.dumps({"outputs": [{**V2_HEAD["outputs"][0], "data": SCORES.ravel().tolist()}]}).encode()
V2_BINARY = json.dumps({"outputs": [{**V2_HEAD["outputs"][0], "parameters": {"binary_data_size": 24}}]}).encode()


def onnx_file() -> bytes:
    """A mean over places, then a softmax."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [helper.make_node("ReduceMean", ["x", "axes"], ["m"], keepdims=0), helper.make_node("Softmax", ["m"], ["y"])]
    axes = helper.make_tensor("axes", onnx.TensorProto.INT64, [2], [2, 3])
    value = helper.make_tensor_value_info
    graph = helper.make_graph(nodes, "g", [value("x", kind, ["n", 3, 8, 8])], [value("y", kind, ["n", 3])], [axes])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()


@pytest.fixture(scope="module")
def store_file(folder):
    store = Store(folder / "whole")
    store.write(STORED, torch.rand(200, 3), seconds=1.0)
    store.close()
    return store.path.read_bytes()


@tried(40)
@given(data=st.data())
def test_onnx_files(folder, data):
    file = written(folder, "net.onnx", data.draw(mutated([onnx_file()])))
    box = fine(onnx_model, str(file), device="cpu")
    if box is not None and np.prod(box.input.shape) < 1e6:
        fine(box, torch.full((2, *box.input.shape), 0.5))


@tried(60)
@given(data=st.data())
def test_files_of_a_store(folder, store_file, data):
    with TemporaryDirectory(dir=folder) as place:
        written(Path(place), "answers.sqlite", data.draw(mutated([store_file])))
        store = fine(Store, place)
        if store is not None:
            fine(store.read, STORED)
            fine(store.write, [b"new" + bytes(13)], torch.ones(1, 3), 0.0)
            store.close()
        fine(rescue, place)
        again = Store(place)
        assert set(again.read(STORED).keys()) <= set(STORED)
        again.close()


@tried(150)
@given(
    body=mutated([OWN_ANSWER, V2_JSON, V2_BINARY + SCORES.tobytes()]),
    head=st.sampled_from([None, str(len(V2_BINARY)), "-1", "x"]),
)
def test_answers_of_servers(body, head):
    own = Own("http://127.0.0.1/predict", Form(rows="json"), Pixels(), (3, 4, 4))
    v2 = OpenInference(URL, Form(), Pixels(), V2, binary=True)
    for codec in (own, v2):
        request = codec.request(np.zeros((3, 3, 4, 4), np.float32))
        table = fine(codec.scores, request, 3, body, {} if head is None else {"inference-header-content-length": head})
        assert table is None or (len(table) == 3 and np.isfinite(table).all())


@tried(100)
@given(metadata=mutated([json.dumps(V2).encode()]))
def test_metadata_of_servers(metadata):
    try:
        told = json.loads(metadata)
    except ValueError:
        return
    fine(OpenInference, URL, Form(), Pixels(), told, binary=False)


# --- small inputs that once failed -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("segmenter=null", "segmenter=null is no choice: choose one of case, colour_clusters"),
        ("+metric@metrics.x=1", "is no choice: choose one of deletion"),
        ("hydra/launcher=1", "is no choice"),
        ("segmenter=[1,2]", "is no choice: choose one of case"),
        ("=nan", "=nan can't be read: wanted key=value"),
        ("+=grid", "+=grid can't be read: wanted key=value"),
    ],
)
def test_a_group_that_is_given_no_name(argument, told):
    with pytest.raises(InputError, match=re.escape(told)):
        with_short_cuts([argument])


def test_line_breaks_and_control_characters_are_not_repeated():
    assert str(InputError("cat\n\x1b[2Jdog")) == "cat \\x1b[2Jdog"
    assert is_one_line(one_line(ValueError("a\u2028b\x07")))


def test_lists_that_a_spreadsheet_saved_begin_without_its_mark(tmp_path):
    file = written(tmp_path, "a.txt", b"\xef\xbb\xbfcat\n")
    assert (class_names(str(file)), listed(str(file), ["cat"])) == (("cat",), ["cat"])


def test_numbers_beyond_float32(tmp_path):
    with pytest.raises(InputError, match="NaN or infinite"):
        WaveInput(8000).read(written(tmp_path, "a.npy", saved(np.save, np.full(9, 1e300))))


def test_a_single_number_is_no_recording(tmp_path):
    with pytest.raises(InputError, match="input of a single number, wanted"):
        WaveInput(8000).read(written(tmp_path, "a.npy", saved(np.save, np.float32(3))))


def test_a_table_with_more_cells_than_names(tmp_path):
    with pytest.raises(InputError, match="more cells in its row than in its header"):
        TableInput(("age",)).read(written(tmp_path, "a.csv", b"age\n3,4\n"))


def test_rows_with_more_cells_than_names_are_reported(tmp_path):
    written(tmp_path, "rows.csv", ROWS.replace(b"target_name,score", b"target_name score"))
    assert write_report(tmp_path).is_file()


def test_rows_that_are_no_text_are_set_aside(tmp_path):
    file = written(tmp_path, "rows.csv", b"\x80" + ROWS)
    assert Rows(file, list(COLUMNS)).done == set()
    assert (tmp_path / "rows_1.csv").read_bytes() == b"\x80" + ROWS


@pytest.mark.parametrize("content", [b"\xb4", b"- &a [x, x]\n- &b [*a, *a]\n- [*b, *b]\n", b"{", b"[" * 5000])
def test_what_a_run_left_that_is_no_yaml_or_json(tmp_path, content):
    for name in ("metrics.json", ".hydra/overrides.yaml", ".hydra/config.yaml"):
        written(tmp_path, name, content)
    written(tmp_path, "rows.csv", ROWS)
    assert write_report(tmp_path).is_file()


@pytest.mark.parametrize("content", [b"\xbd", b"[]", b'{"explainers": 7}'])
def test_a_run_goes_on_where_its_facts_are_damaged(folder, finished, content):
    for name, kept in finished.items():
        written(folder / "facts", name, kept)
    written(folder / "facts", "metrics.json", content)
    assert benchmark(folder / "facts", folder / "one").run()
    assert "random" in json.loads((folder / "facts" / "metrics.json").read_text(encoding="utf-8"))["explainers"]


def test_weights_whose_pickle_is_damaged(tmp_path):
    content = bytearray(pth())
    place = content.find(b"ctorch._utils")
    content[place : place + 1] = b"t"  # pops what is not there
    with pytest.raises(InputError, match="can't be read as a state dict"):
        load_weights(nn.Linear(2, 2), str(written(tmp_path, "a.pth", bytes(content))))


@pytest.mark.parametrize("argument", ["--" + "x" * 300, "x" * 300 + "=..", "x" * 300 + "/a=[1]", "model=" + "x" * 300, "x\0=.."])
def test_words_that_no_file_can_have_as_its_name(argument):
    """Hydra refuses some of them later."""
    with suppress(InputError):
        with_short_cuts([argument])
