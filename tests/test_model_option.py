"""``model=`` on the command line: what it means, what goes with it, and runs with files."""

import re
import shlex
from pathlib import Path

import numpy as np
import pandas
import pytest
import skops.io
import torch
from PIL import Image
from skimage.data import chelsea
from sklearn.linear_model import LogisticRegression
from torch import nn

from dax_lightning.black_box import from_torch
from dax_lightning.errors import InputError
from dax_lightning.run import main
from dax_lightning.run.config import with_short_cuts
from dax_lightning.scheme import KEYS, black_box_of
from dax_lightning.serve import app, background
from tests.nets import small, to_pt2, to_script
from tests.pages import blocks, commands
from tests.test_cli import photo, run, whole_run  # noqa: F401
from tests.test_conf import composed


@pytest.mark.parametrize(
    ("model", "kind", "value"),
    [
        ("net.onnx", "onnx", "net.onnx"),
        ("a b/NET.ONNX", "onnx", "a b/NET.ONNX"),
        ("net.pt2", "exported", "net.pt2"),
        ("net.ts", "exported", "net.ts"),
        ("net.pt", "exported", "net.pt"),
        ("net.pth", "exported", "net.pth"),
        ("digits.skops", "sklearn", "digits.skops"),
        ("digits.pkl", "sklearn", "digits.pkl"),
        ("hf:google/vit-base-patch16-224", "huggingface", "google/vit-base-patch16-224"),
        ("timm:resnet50", "timm", "resnet50"),
        ("torchvision:resnet50", "torchvision", "resnet50"),
        ("package.module:function", "callable", "package.module:function"),
        ("http://localhost:8000/predict", "http", "http://localhost:8000/predict"),
        ("https://host/net.onnx", "http", "https://host/net.onnx"),
    ],
)
def test_the_ending_or_the_scheme_chooses_the_black_box(model, kind, value):
    assert black_box_of(model) == (kind, KEYS[kind], value)
    settings = with_short_cuts([f"model={model}", "q=5"])
    assert settings == with_short_cuts([f"black_box={kind}", f"black_box.{KEYS[kind]}={value}", "q=5"])
    if kind != "http":
        assert composed(*settings).black_box[KEYS[kind]] == value


def test_a_folder_is_a_model_of_transformers(tmp_path):
    assert black_box_of("nets/vit/") == ("huggingface", "model", "nets/vit/")
    assert black_box_of(str(tmp_path)) == ("huggingface", "model", str(tmp_path))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["model=net.xyz"], "model=net.xyz is not known: wanted a file that ends in .onnx, .pt2, .ts, .pt or .skops, a folder"),
        (["model=resnet50"], "model=resnet50 is not known: .* timm:NAME"),
        (["model="], "model= names nothing: wanted a file"),
        (["model=w.safetensors"], "model=w.safetensors holds weights and no network: write black_box=timm"),
        (["model=net.onnx", "black_box=exported"], "model=net.onnx means black_box=onnx, not black_box=exported"),
        (["model=net.onnx", "black_box=lite0"], "model=net.onnx beside black_box=lite0, which has a model of its own"),
        (["model=a.onnx", "black_box.file=b.onnx"], "model=a.onnx and black_box.file=b.onnx name the model twice"),
        (["-m", "model=a.onnx,b.pt2"], "means black_box=onnx and exported: sweep models of one kind"),
    ],
)
def test_what_can_not_go_together_is_refused(arguments, told):
    with pytest.raises(InputError, match=told):
        with_short_cuts(arguments)


def test_a_black_box_of_the_same_kind_may_be_named():
    assert with_short_cuts(["black_box=onnx", "model=net.onnx"]) == ["black_box=onnx", "black_box.file=net.onnx"]
    assert with_short_cuts(["black_box=onnx", "model=net.bin"]) == ["black_box=onnx", "black_box.file=net.bin"]
    assert with_short_cuts(["model=resnet50", "black_box=timm"]) == ["black_box.model=resnet50", "black_box=timm"]


def test_models_of_one_kind_are_swept():
    assert with_short_cuts(["-m", "model=a.onnx,b (1).onnx"]) == ["-m", "black_box=onnx", "black_box.file=a.onnx,'b (1).onnx'"]


def test_names_stay_text(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a,b.onnx").touch()
    assert with_short_cuts(["-m", "model=a,b.onnx"])[2] == "black_box.file='a,b.onnx'"
    assert composed(*with_short_cuts(["model=my net (1).onnx"])).black_box.file == "my net (1).onnx"
    assert composed(*with_short_cuts(["model=${q}.onnx"])).black_box.file == "${q}.onnx"


def test_a_run_says_what_it_read_and_names_the_file_in_its_rows(run, photo, tmp_path):  # noqa: F811
    to_pt2(small(last=nn.Softmax(1)), tmp_path / "net.pt2", torch.rand(2, 3, 64, 64))
    assert run(photo, f"model={tmp_path / 'net.pt2'}", box=[]) == 0, run.err
    assert "net.pt2 ends in Softmax: its scores are read as probabilities; black_box.outputs= says otherwise\n" in run.out
    assert [row["black_box"] for row in run.rows()] == ["net.pt2"]


def test_a_wrong_model_is_one_line(run, photo, tmp_path):  # noqa: F811
    run.refused("model=net.xyz is not known: wanted a file", photo, "model=net.xyz", box=[])
    run.refused("model file .*none.onnx does not exist", photo, f"model={tmp_path / 'none.onnx'}", box=[])
    torch.save(small().state_dict(), tmp_path / "w.pth")
    run.refused("w.pth is pickled, and unpickling runs", photo, f"model={tmp_path / 'w.pth'}", box=[])


@pytest.mark.usefixtures("run")
def test_the_commands_of_the_page_on_black_boxes_run(tmp_path, monkeypatch, capsys):
    """Its Python blocks make the files, then each command that names one of them, or the server here, is run."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(chelsea()).save("my.jpg")
    page, space = "docs/black_boxes.md", {"__name__": "page"}
    making = [block for block in blocks(page, "python") if re.search(r"export|save|dump", block)]
    for block in making:
        exec(compile(re.sub(r"\bq=\d+", "q=60", block), page, "exec"), space)
    table = pandas.DataFrame(np.random.default_rng(0).random((30, 3)), columns=["a", "b", "c"])
    table.to_csv("rows.csv", index=False)
    table.iloc[[0]].to_csv("row.csv", index=False)
    skops.io.dump(LogisticRegression().fit(table.to_numpy(), table["a"] > 0.5), "table.skops")
    to_script(small(), tmp_path / "net.ts", torch.rand(1, 3, 64, 64))
    found = [line for line in commands(page) if re.search(r"(model|black_box\.file)=[^:]+( |$)", line.split("download")[0])]
    wired = [line for line in commands(page) if "127.0.0.1:8000" in line]
    ran = [line for line in found if "black_box.model=" not in line and "hf:" not in line]
    assert (len(ran), len(wired)) == (8, 2)
    monkeypatch.setenv("MY_TOKEN", "sesame")
    with background(app(from_torch(small(), 64), "model")) as address:
        for place, line in enumerate([*ran, *wired]):
            words = shlex.split(line.replace("http://127.0.0.1:8000", address))[1:]
            words += ["q=40", "device=cpu", f"hydra.run.dir={tmp_path / str(place)}"]
            assert main.run([word for word in words if word]) in (0, 3), (line, capsys.readouterr())
            assert (tmp_path / str(place) / "rows.csv").is_file(), line
