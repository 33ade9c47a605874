"""Networks in files: ONNX, torch.export and TorchScript answer and are explained as the network itself is."""

import json
import pickle
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
import torch
from skimage.data import chelsea
from torch import nn

from dax_lightning import MosaicDax, explain, from_model, from_torch, lite0
from dax_lightning.black_box import BlackBox, exported_model, onnx_model
from dax_lightning.black_box.onnx import Graph
from dax_lightning.errors import InputError, ModelError
from dax_lightning.inputs import WaveInput
from dax_lightning.serve import app, background
from tests.nets import small, to_onnx, to_pt2, to_script

NORMAL: dict[str, Any] = {"mean": [0.5, 0.4, 0.3], "std": [0.25, 0.5, 0.25]}
X = torch.rand(7, 3, 64, 64, generator=torch.Generator().manual_seed(0))


class Bytes(nn.Module):
    """A network of bytes, channels last, as TensorFlow's are."""

    def __init__(self):
        super().__init__()
        self.net = small()

    def forward(self, rows):
        return self.net(rows.permute(0, 3, 1, 2).float() / 255)


WAVE = "(float[N,1000] x) => (float[N,1] loud) { a = Mul(x, x) loud = ReduceMean <axes=[1]> (a) }"
FLAT = "(float[N,12] x) => (float[N,12] y) { y = Neg(x) }"
TWO = "(float[N,3,8,8] rows, float[N,3,8,8] other) => (float[N,3,8,8] y) { y = Add(rows, other) }"


def written(graph: str, file: Path) -> Path:
    """A graph in ONNX's own text."""
    onnx.save(onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["": 17]> net {graph}'), file)
    return file


def ends_in(operator: str, source: Path, file: Path) -> Path:
    """The network with one more step, and a flattening after it."""
    model = onnx.load(source)
    before = model.graph.output[0].name
    steps = [onnx.helper.make_node(operator, [before], ["made"]), onnx.helper.make_node("Flatten", ["made"], ["flat"], axis=1)]
    model.graph.node.extend(steps)
    model.graph.output[0].name = "flat"
    onnx.save(model, file)
    return file


def two_outputs(source: Path, file: Path) -> Path:
    """The network with its channels' means as a first output."""
    model = onnx.load(source)
    model.graph.node.append(onnx.helper.make_node("GlobalAveragePool", [model.graph.input[0].name], ["features"]))
    features = onnx.helper.make_tensor_value_info("features", onnx.TensorProto.FLOAT, ["n", 3, 1, 1])
    outputs = [features, *model.graph.output]
    del model.graph.output[:]
    model.graph.output.extend(outputs)
    onnx.save(model, file)
    return file


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    folder, x = tmp_path_factory.mktemp("nets"), X[:4]
    to_onnx(small(), folder / "net.onnx", x)
    to_onnx(small(), folder / "fixed.onnx", x, free=False)
    to_pt2(small(), folder / "net.pt2", x)
    to_pt2(small(), folder / "fixed.pt2", x, free=False)
    to_script(small(), folder / "net.ts", x)
    to_onnx(small(1), folder / "column.onnx", x)
    ends_in("Softmax", folder / "net.onnx", folder / "softmax.onnx")
    ends_in("Sigmoid", folder / "net.onnx", folder / "sigmoids.onnx")
    ends_in("Sigmoid", folder / "column.onnx", folder / "one.onnx")
    to_pt2(small(last=nn.Sigmoid()), folder / "sigmoids.pt2", x)
    to_script(small(last=nn.Softmax(1)), folder / "softmax.pt", x)
    to_onnx(Bytes(), folder / "bytes.onnx", torch.zeros(4, 64, 64, 3, dtype=torch.uint8))
    two_outputs(folder / "net.onnx", folder / "both.onnx")
    return folder


def refused(match: str, make, *args, **more) -> str:
    with pytest.raises(InputError, match=match) as told:
        make(*args, **more)
    assert "\n" not in str(told.value)
    return str(told.value)


def logits(net: nn.Module, x=X) -> torch.Tensor:
    with torch.no_grad():
        return net(x)


# --- the same network, the same answers, the same map ---


@pytest.mark.parametrize("name", ["net.onnx", "fixed.onnx", "net.pt2", "fixed.pt2", "net.ts"])
def test_one_network_one_map(files, name):
    mine = from_torch(small(), 64, **NORMAL)
    box = from_model(files / name, **NORMAL, **({"size": 64} if name == "net.ts" else {}))
    assert box.input == mine.input
    assert torch.allclose(box(X), mine(X), atol=1e-5)
    maps = [MosaicDax(one, q=200).explain(chelsea(), 0).saliency for one in (mine, box)]
    assert maps[0].std() > 0.05
    assert (maps[0] - maps[1]).abs().max() < 1e-3


def test_an_onnx_file_without_an_output_is_told(tmp_path):
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    x = helper.make_tensor_value_info("x", kind, ["n", 3, 8, 8])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), tmp_path / "none.onnx")
    refused("none.onnx has no output", onnx_model, str(tmp_path / "none.onnx"))


def test_names_in_an_onnx_file_that_are_no_text_are_told(tmp_path):
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    x, y = (helper.make_tensor_value_info(name, kind, ["many", 3, 8, 8]) for name in "xy")
    nodes = [helper.make_node("Relu", ["x"], ["between"]), helper.make_node("Relu", ["between"], ["y"])]
    graph = helper.make_graph(nodes, "g", [x], [y])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()
    for name in (b"many", b"between"):
        (tmp_path / "odd.onnx").write_bytes(made.replace(name, name[:-1] + b"\x89"))
        refused("odd.onnx has a name that is no UTF-8", onnx_model, str(tmp_path / "odd.onnx"))


@pytest.mark.slow
def test_one_network_one_map_of_lite0(tmp_path):
    mine: Any = lite0(device="cpu")
    x, normal = torch.rand(2, 3, 224, 224), {"mean": 0.5, "std": 0.5}
    to_onnx(mine.module, tmp_path / "lite0.onnx", x)
    to_pt2(mine.module, tmp_path / "lite0.pt2", x)
    view = {"input": mine.input, **normal}
    boxes = [mine, *(from_model(tmp_path / name, device="cpu", **view) for name in ("lite0.onnx", "lite0.pt2"))]
    with background(app(lite0(device="cpu"), "lite0")) as address:
        wired = [from_model(f"{address}/{path}", size=mine.input) for path in ("predict", "v2/models/lite0")]
        before = 0
        maps = [MosaicDax(box, q=300).explain(chelsea(), 285).saliency for box in boxes]
        for box in wired:
            maps.append(MosaicDax(box, q=300).explain(chelsea(), 285).saliency)
            counted = httpx.get(f"{address}/rows").json()["rows"]
            assert box.queries == counted - before == 300
            before = counted
    largest = [(one - maps[0]).abs().max().item() for one in maps[1:]]
    print(f"largest differences of the map, onnx, pt2, predict, v2: {largest}; the map reaches {maps[0].abs().max():.3g}")
    assert max(largest) < 1e-3


@pytest.mark.parametrize("name", ["net.onnx", "net.pt2", "net.ts"])
def test_a_box_of_a_file_pickles(files, name):
    box = from_model(files / name, **({"size": 64} if name == "net.ts" else {}))
    again = pickle.loads(pickle.dumps(box))
    assert torch.equal(again(X), box(X))
    assert again.fingerprint == box.fingerprint


def test_a_fixed_batch_is_filled_up_and_the_copies_are_not_counted(files):
    box: Any = onnx_model(str(files / "fixed.onnx"), batch_size=3)
    assert box.model.layout.batch == 4
    assert torch.allclose(box(X), logits(small()).softmax(1), atol=1e-5)
    assert box.queries == 7


def test_bytes_channels_last(files):
    box: Any = onnx_model(str(files / "bytes.onnx"))
    assert (box.input.shape, box.input.low, box.input.high, box.model.layout.dtype) == ((3, 64, 64), 0, 255, "uint8")
    whole = (X * 255).round()
    assert torch.allclose(box(whole), logits(small(), whole / 255).softmax(1), atol=1e-5)
    shown = box.input.prepare(chelsea())
    assert shown.max() > 200
    assert explain(box, chelsea(), 0, "lime", q=100).saliency.std() > 0


def test_the_size_may_be_given_where_the_file_leaves_it_open(tmp_path):
    net = nn.Sequential(nn.Conv2d(3, 4, 3, stride=4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    sides = {2: torch.export.Dim("h", min=8), 3: torch.export.Dim("w", min=8)}
    torch.export.save(
        torch.export.export(net, (X[:2],), dynamic_shapes=({0: torch.export.Dim("n"), **sides},)), tmp_path / "any.pt2"
    )
    refused(r"any.pt2 takes images of any size: say which, such as size=\[224,224\]", from_model, tmp_path / "any.pt2")
    assert from_model(tmp_path / "any.pt2", size=[48, 32]).input.shape == (3, 48, 32)


def test_a_setting_that_contradicts_the_file_is_told(files):
    refused("height 32 was given, and net.onnx takes 64", from_model, files / "net.onnx", size=32)
    refused("channels 1 was given, and net.pt2 takes 3", from_model, files / "net.pt2", channels=1)
    refused("mean=2.0 for rows in", from_model, files / "net.pt2", mean=2.0, std=1.0)
    refused("wanted one value, or one each", from_model(files / "net.pt2", mean=[0.1, 0.2], std=1.0), X)
    refused("sise is no setting of black_box=onnx: it has output, size", from_model, files / "net.onnx", sise=3)
    refused(r"size=\[1, 2, 3\].*wanted pixels", from_model, files / "net.ts", size=[1, 2, 3])


def test_a_size_that_torchscript_does_not_take_is_told(tmp_path):
    to_script(nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 2)), tmp_path / "flat.ts", X[:1])
    with pytest.raises(ModelError, match=r"flat.ts failed on float32 rows of shape \(7, 3, 32, 32\).*set size="):
        from_model(tmp_path / "flat.ts", size=32)(X[:, :, :32, :32])


def test_waves_and_pixels_in_a_row(tmp_path):
    written(WAVE, tmp_path / "wave.onnx")
    box = onnx_model(str(tmp_path / "wave.onnx"), input=WaveInput(8000, 1000), outputs="probabilities")
    waves = torch.rand(3, 1, 1000)
    assert torch.allclose(box(waves)[:, 1], waves.square().mean((1, 2)), atol=1e-6)
    written(FLAT, tmp_path / "flat.onnx")
    assert onnx_model(str(tmp_path / "flat.onnx"), size=2).input.shape == (3, 2, 2)
    assert onnx_model(str(tmp_path / "flat.onnx")).input.kind == "table"
    refused(r"size=\[5, 5\] of 1 channels are 25 values, flat.onnx takes 12", onnx_model, str(tmp_path / "flat.onnx"), size=5)


# --- what the scores are ---


@pytest.mark.parametrize(
    ("name", "read", "several"),
    [
        ("softmax.onnx", "probabilities", False),
        ("sigmoids.onnx", "sigmoid", True),
        ("one.onnx", "probabilities", False),
        ("sigmoids.pt2", "sigmoid", True),
        ("softmax.pt", "probabilities", False),
    ],
)
def test_the_last_step_tells_what_scores_are_and_the_user_has_the_last_word(files, name, read, several):
    more = {"size": 64} if name.endswith(".pt") else {}
    box = from_model(files / name, **more)
    (told,) = box.remarks
    assert re.fullmatch(
        rf"{name} ends in (Softmax|Sigmoid): its scores are read as {read}; black_box.outputs= says otherwise", told
    )
    assert (box.outputs, box.multi_label) == ("probabilities", several)
    own = small(1 if name == "one.onnx" else 3)
    plain = logits(own)
    wanted = plain.softmax(1) if "softmax" in name else plain.sigmoid()
    assert torch.allclose(box(X)[:, -wanted.shape[1] :], wanted, atol=1e-5)
    other = from_model(files / name, outputs="logits", multi_label=True, **more)
    assert (other.outputs, other.remarks) == ("logits", ())


def test_a_file_without_a_last_step_of_that_kind_is_of_logits(files):
    assert [(from_model(files / name).outputs, from_model(files / name).remarks) for name in ("net.onnx", "net.pt2")] == [
        ("logits", ())
    ] * 2


def test_sigmoid_is_short_for_probabilities_of_independent_classes():
    net = small(last=nn.Sigmoid())
    short, long = from_torch(net, 64, outputs="sigmoid"), from_torch(net, 64, outputs="probabilities", multi_label=True)
    assert (short.outputs, short.multi_label) == ("probabilities", True)
    assert torch.equal(short(X), long(X))


@pytest.mark.parametrize("name", ["one.onnx", "torch"])
def test_a_map_of_what_a_picture_is_not(files, name):
    """A sigmoid p speaks for class 1, 1 - p for class 0: the maps in log-odds are each other's negative."""
    net = small(1, last=nn.Sigmoid())
    box = (
        from_torch(net, 64, outputs="probabilities", classes=["cat"])
        if name == "torch"
        else from_model(files / name, classes=["cat"])
    )
    assert box.classes == ("not cat", "cat")
    maps = [MosaicDax(box, q=200).explain(chelsea(), target).saliency for target in ("not cat", "cat")]
    assert maps[1].std() > 0.01
    assert torch.allclose(maps[0], -maps[1], atol=1e-3 * maps[1].abs().max().item() + 1e-4)


# --- ONNX ---


def test_the_first_of_several_outputs_is_said_and_another_can_be_named(files):
    first, named = (onnx_model(str(files / "both.onnx"), output=name) for name in (None, "linear"))
    assert first.remarks == (
        "both.onnx has 2 outputs, features, linear: the first is explained; black_box.output= names another",
    )
    assert named.remarks == ()
    assert torch.allclose(named(X), logits(small()).softmax(1), atol=1e-5)
    refused(
        "both.onnx has no output score: choose output=.* among features, linear", onnx_model, str(files / "both.onnx"), "score"
    )


@pytest.mark.parametrize(
    ("key", "text"),
    [("classes", '["cat", "dog", "none"]'), ("names", "{0: 'cat', 1: 'dog', 2: 'none'}"), ("labels", "cat\ndog\nnone")],
)
def test_class_names_of_the_metadata(files, tmp_path, key, text):
    model = onnx.load(files / "net.onnx")
    onnx.helper.set_model_props(model, {key: text})
    onnx.save(model, tmp_path / "named.onnx")
    assert onnx_model(str(tmp_path / "named.onnx")).classes == ("cat", "dog", "none")
    assert onnx_model(str(tmp_path / "named.onnx"), classes=["a", "b", "c"]).classes == ("a", "b", "c")
    onnx.helper.set_model_props(model, {key: '["cat"]'})
    onnx.save(model, tmp_path / "named.onnx")
    assert onnx_model(str(tmp_path / "named.onnx")).classes is None


@pytest.mark.parametrize("name", ["net.onnx", "both.onnx", "sigmoids.onnx", "bytes.onnx"])
def test_the_graph_is_that_of_onnx(files, name):
    whole = onnx.load(files / name, load_external_data=False).graph
    steps = {made: (node.op_type, node.input[0] if node.input else "") for node in whole.node for made in node.output}
    weights = {pair.value for one in whole.initializer for pair in one.external_data if pair.key == "location"}
    found = Graph.of(files / name)
    assert (dict(found.steps), set(found.weights)) == (steps, weights)


def test_the_fingerprint_covers_the_weights_beside_the_file(files, tmp_path):
    for name in ("net.onnx", "net.onnx.data"):
        (tmp_path / name).write_bytes((files / name).read_bytes())
    before = onnx_model(str(tmp_path / "net.onnx")).fingerprint
    assert before == onnx_model(str(files / "net.onnx")).fingerprint
    content = bytearray((tmp_path / "net.onnx.data").read_bytes())
    content[3] ^= 1
    (tmp_path / "net.onnx.data").write_bytes(content)
    assert onnx_model(str(tmp_path / "net.onnx")).fingerprint != before


def test_files_that_are_no_onnx_are_told(tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"no model")
    refused("x.onnx can't be read as ONNX", from_model, tmp_path / "x.onnx")
    refused("model file .*none.onnx does not exist: give the path of an .onnx file", from_model, tmp_path / "none.onnx")
    (tmp_path / "folder.onnx").mkdir()
    refused("folder.onnx is a folder, wanted an .onnx file", from_model, tmp_path / "folder.onnx")
    file = written(TWO, tmp_path / "two.onnx")
    refused(r"two.onnx has 2 inputs \(rows, other\), wanted one", from_model, file)


def test_without_onnxruntime_the_extra_is_named(files, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    refused(re.escape("black_box=onnx needs onnxruntime: pip install 'dax-lightning[onnx]'"), from_model, files / "net.onnx")


# --- torch.export and TorchScript: nothing is unpickled ---


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, file: Path):
        self.file = file

    def __reduce__(self):
        return (Path.touch, (self.file,))


def rewritten(source: Path, file: Path, change) -> Path:
    """The archive with each entry changed; entries whose change is ``None`` stay out."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as new:
        for name in old.namelist():
            content = change(name.partition("/")[2], old.read(name))
            if content is not None:
                new.writestr(name, content)
    return file


def edited(place: str, edit):
    def change(name, content):
        if name != place:
            return content
        node = json.loads(content)
        edit(node)
        return json.dumps(node).encode()

    return change


def test_an_archive_that_is_only_rewritten_still_answers(files, tmp_path):
    box = exported_model(str(rewritten(files / "net.pt2", tmp_path / "same.pt2", lambda _, content: content)))
    assert torch.allclose(box(X), logits(small()).softmax(1), atol=1e-5)


def test_pickled_files_are_refused_and_never_unpickled(tmp_path):
    torch.save(small(), tmp_path / "whole.pt")
    torch.save(small().state_dict(), tmp_path / "weights.pth")
    (tmp_path / "old.pth").write_bytes(pickle.dumps(Evil(tmp_path / "ran")))
    for name in ("whole.pt", "weights.pth", "old.pth"):
        told = refused(
            rf"{name} is pickled, and unpickling runs whatever code is in it: save it by torch.export.save",
            from_model,
            tmp_path / name,
        )
        assert "black_box.factory=package.module:function" in told
    (tmp_path / "text.pt").write_text("text", encoding="utf-8")
    refused("text.pt can't be read .* wanted a .pt2 file by torch.export.save", from_model, tmp_path / "text.pt")
    with zipfile.ZipFile(tmp_path / "other.pt2", "w") as archive:
        archive.writestr("a/b", "")
    refused("is an archive of something else", from_model, tmp_path / "other.pt2")
    assert not (tmp_path / "ran").exists()


def test_what_torch_export_would_unpickle_or_run_is_refused(files, tmp_path):
    evil, model, mark = pickle.dumps(Evil(tmp_path / "ran")), "models/model.json", tmp_path / "ran"

    def node(graph) -> dict:
        return graph["graph_module"]["graph"]["nodes"][0]

    def values(graph) -> dict:
        return graph["graph_module"]["graph"]["tensor_values"]

    def signature(graph) -> dict:
        return graph["graph_module"]["module_call_graph"][0]["signature"]

    tree = '[1, {"type": "collections.defaultdict", "context": "{}", "children_spec": []}]'

    def weights(config) -> dict:
        return next(iter(config["config"].values()))

    cases: list[tuple[str, Any]] = [
        ("pickled objects .*sample_inputs", lambda name, content: evil if name.startswith("data/sample_inputs") else content),
        ("a pickled object", edited("data/weights/model_weights_config.json", lambda c: weights(c).update(use_pickle=True))),
        ("a pickled object", edited("data/constants/model_constants_config.json", lambda c: c["config"].update(
            x={"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None}))),
        ("the operator torch.os.system", edited(model, lambda g: node(g).update(target="torch.os.system"))),
        ("the name", edited(model, lambda g: node(g).update(name="x=1;import os"))),
        ("the size", edited(model, lambda g: values(g)["input"]["sizes"][0]["as_expr"].update(expr_str="eval(chr(49))"))),
        ("the size", edited(model, lambda g: values(g)["input"]["sizes"][0]["as_expr"].update(expr_str="exit()"))),
        ("an input or output that is no tensor", edited(model, lambda g: signature(g).update(out_spec=tree))),
    ]  # fmt: skip
    for place, (told, change) in enumerate(cases):
        file = rewritten(files / "net.pt2", tmp_path / f"evil{place}.pt2", change)
        assert file.read_bytes() != (files / "net.pt2").read_bytes()
        refused(f"evil{place}.pt2 holds {told}.*could run any code", from_model, file)
    assert not mark.exists()


def test_guards_in_a_file_are_not_run(files, tmp_path):
    mark = tmp_path / "ran"
    guard = f"__import__('pathlib').Path({str(mark)!r}).touch() is None"
    box = exported_model(
        str(
            rewritten(files / "net.pt2", tmp_path / "g.pt2", edited("models/model.json", lambda g: g.update(guards_code=[guard])))
        )
    )
    assert box(X).shape == (7, 3)
    assert not mark.exists()


def test_a_box_of_any_of_them_in_one_line(files):
    assert isinstance(from_model(files / "net.onnx"), BlackBox)
    assert from_model("numpy:square", size=4, channels=1, multi_label=True).input.shape == (1, 4, 4)
    assert from_model("http://localhost:1/predict", size=8).input.shape == (3, 8, 8)  # it is asked later


def test_scores_are_those_of_the_torch_module_in_half_and_double(tmp_path):
    net = small().double()
    to_pt2(net, tmp_path / "double.pt2", X[:2].double())
    box: Any = from_model(tmp_path / "double.pt2")
    assert box.model.layout.dtype == "float64"
    assert np.allclose(box(X), logits(net, X.double()).softmax(1), atol=1e-6)
