import io
import pickle
import re
import socket
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage
import timm
import torch
import torchvision
from PIL import Image, ImageDraw
from safetensors.torch import save_file
from timm.data.transforms_factory import create_transform
from torch import nn

from dax_lightning.black_box import BlackBox, ImageInput, from_function, from_torch, lite0, timm_model, torchvision_model
from dax_lightning.errors import BudgetExceeded, InputError, ModelError
from dax_lightning.testing import QuarterBox
from tests import functions
from tests.conftest import untyped

HALF = (0.5, 0.5, 0.5)
NAMES = ["tabby", "Egyptian cat", "crane", "Crane", "espresso"]


def box_of(function, **more) -> BlackBox:
    return from_function(function, size=(8, 8), **more)


def rows(n: int, size: int = 8) -> torch.Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(n))


def five(x: torch.Tensor) -> torch.Tensor:
    return torch.full((len(x), 5), 0.2)


def refused(match: str, make, *args, kind: type[InputError] = InputError, **more) -> str:
    with pytest.raises(kind, match=match) as raised:
        make(*args, **more)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.fixture(scope="module")
def lite() -> BlackBox:
    return lite0(device="cpu")


@pytest.fixture(scope="module")
def chelsea() -> Image.Image:
    return Image.fromarray(skimage.data.chelsea())


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No network, and no cache that could take its place."""

    def unreachable(*_, **__):
        raise socket.gaierror("there is no\nnetwork")

    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    monkeypatch.setattr(socket.socket, "connect", unreachable)
    monkeypatch.setattr(time, "sleep", lambda _: None)  # between the hub's attempts
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))


# --- the contract of the door ---


@pytest.mark.parametrize("batch_size", [1, 3, 7, 64])
def test_every_row_is_counted_and_batches_change_nothing(batch_size):
    seen = []
    box = box_of(lambda x: seen.append(len(x)) or functions.quarters(x), batch_size=batch_size)
    got = box(rows(7))
    assert torch.equal(got, functions.quarters(rows(7)))
    assert (box.queries, sum(seen), max(seen)) == (7, 7, min(7, batch_size))
    box(rows(2))
    assert box.queries == 9


def test_rows_of_a_call_that_broke_off_are_counted():
    box = box_of(functions.nans, batch_size=4)
    refused("NaN", box, rows(7), kind=ModelError)
    assert box.queries == 4  # the first batch was answered, the second not asked


def test_seconds_are_those_in_the_model():
    box = box_of(lambda x: torch.linalg.inv(torch.rand(400, 400)).sum() * 0 + functions.quarters(x))
    assert box.seconds == 0
    box(rows(1))
    assert box.seconds > 0


def test_no_gradients_even_if_asked_for():
    graphs = []
    box = box_of(lambda x: graphs.append(torch.is_grad_enabled()) or functions.quarters(x))
    assert not box(rows(2).requires_grad_()).requires_grad
    assert graphs == [False]
    module = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    assert not from_torch(module, ImageInput((8, 8)), HALF, HALF, None)(rows(2).requires_grad_()).requires_grad
    assert all(p.requires_grad for p in module.parameters())  # the user's module is not frozen


def test_module_is_in_eval_mode():
    module = nn.Sequential(nn.Dropout(0.9), nn.Flatten(), nn.Linear(192, 3))
    box = from_torch(module.train(), ImageInput((8, 8)), HALF, HALF, None)
    assert torch.equal(box(rows(4)), box(rows(4)))


@pytest.mark.parametrize("shape", [(1, 3, 9, 8), (1, 1, 8, 8), (3, 8, 8), (1, 3, 8, 8, 8)])
def test_rows_of_another_shape_are_refused_before_asking(shape):
    box = QuarterBox(8)
    refused(re.escape(f"shape {shape[1:]}, wanted (3, 8, 8)"), box, torch.zeros(shape))
    assert box.seen == box.queries == 0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_and_empty_input_are_refused_before_asking(value):
    box, x = QuarterBox(8), rows(2)
    x[1, 0, 3, 3] = value
    refused("NaN or infinite values: replace", box, x)
    refused("no rows: give at least one", box, rows(0))
    assert box.seen == 0


def test_budget_refuses_before_asking():
    box = QuarterBox(8)
    box(rows(5))
    with box.budget(4):
        box(rows(3))
        refused("may not be asked 2 more rows .*raise budget= or lower q=", box, rows(2), kind=BudgetExceeded)
        box(rows(1))
    assert box.seen == box.queries == 9
    with box.budget(None):
        box(rows(70))
    box(rows(70))  # and no limit is left behind


# --- what a model may answer ---


def test_logits_go_through_a_softmax():
    wanted = (20 * functions.quarters(rows(3)) - 5).softmax(1)
    assert torch.allclose(box_of(functions.logits, outputs="logits")(rows(3)), wanted)


def test_logits_declared_as_probabilities_are_recognised():
    refused("not probabilities, they look like logits: say outputs=logits", box_of(functions.logits), rows(3))


def test_probabilities_declared_as_logits_are_recognised():
    told = "are probabilities already .*say outputs=probabilities"
    refused(told, box_of(functions.quarters, outputs="logits"), rows(3), kind=ModelError)


def test_scores_of_independent_classes_are_fine():
    box = box_of(lambda x: torch.full((len(x), 3), 0.9), multi_label=True)
    assert box(rows(2)).tolist() == [[pytest.approx(0.9)] * 3] * 2


def test_rounding_is_no_reason_to_refuse():
    got = box_of(lambda x: torch.tensor([[1.0004, -0.0004]]).half().repeat(len(x), 1))(rows(2))
    assert got.dtype == torch.float32
    assert got.tolist() == [[1, 0]] * 2


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (lambda x: functions.quarters(x) * float("nan"), "NaN or infinite scores: check its weights"),
        (lambda x: functions.quarters(x) / 0, "NaN or infinite scores"),
        (lambda x: functions.quarters(x)[0], r"shape \(3,\) for 4 rows, wanted \(4, classes\)"),
        (lambda x: functions.quarters(x)[..., None], r"shape \(4, 3, 1\) for 4 rows"),
        (lambda x: functions.quarters(x)[:1], r"shape \(1, 3\) for 4 rows"),
        (lambda x: torch.zeros(len(x), 0), r"shape \(4, 0\)"),
        (lambda _: None, r"returned NoneType, wanted a table of \(4, classes\) scores"),
        (lambda _: "cat", "returned str, wanted a table"),
        (lambda x: ["cat"] * len(x), "returned list, wanted a table"),
        (lambda _: {"cat": 1.0}, "returned dict with cat, wanted a table"),
        (lambda _: [[0.1, 0.9], [0.5]], "returned list, wanted a table"),
        (lambda x: np.array([["a", "b"]] * len(x)), "returned ndarray, wanted a table"),
        (lambda _: 0.5, r"shape \(\) for 4 rows"),
    ],
)
def test_what_is_no_table_of_scores_is_told(answer, told):
    refused(told, box_of(answer), rows(4), kind=ModelError)


def test_lists_and_arrays_of_numbers_are_tables():
    for answer in (lambda x: [[0.25, 0.75]] * len(x), lambda x: np.full((len(x), 2), 0.5)):
        assert box_of(answer)(rows(3)).shape == (3, 2)


def test_a_varying_class_count_is_refused():
    box = box_of(functions.varying, batch_size=4)
    assert box(rows(4)).shape == (4, 5)
    refused(r"shape \(3, 4\) for 3 rows, wanted \(3, 5\)", box, rows(3), kind=ModelError)


def test_class_names_must_be_as_many_as_classes():
    for names, told in (
        (["a", "b"], "classes= has 2 names, the model answers 3 scores: give one name a score, in the order of the scores"),
        (["a"], "classes= has 1 name, the model answers 3 scores"),
    ):
        refused(told, box_of(functions.quarters, classes=names), rows(1), kind=ModelError)
    told = "has 3 names, the model answers 1 score: a single score takes one name, of what it speaks for, or two, of which the"
    refused(told, box_of(lambda x: x.mean((1, 2, 3)), classes=["a", "b", "c"]), rows(1), kind=ModelError)


def test_a_function_that_fails_is_named_with_what_it_was_given():
    told = r"function boom failed on torch rows of shape \(2, 3, 8, 8\): RuntimeError: out of luck"
    refused(told, box_of(functions.boom), rows(2), kind=ModelError)


# --- classes by name ---


@pytest.mark.parametrize(
    ("wanted", "found"), [(1, 1), ("1", 1), (" 4 ", 4), ("Egyptian cat", 1), ("egyptian CAT ", 1), ("espresso", 4)]
)
def test_targets_by_id_text_and_name(wanted, found):
    box = box_of(five, classes=NAMES)
    assert box.target(wanted) == found
    assert box.class_name(found) == NAMES[found]
    assert box.queries == 0


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (5, "target=5 is no class .*5 classes, ids 0 to 4"),
        ("5", "target=5 is no class"),
        (-1, "target=-1 is no class"),
        ("--1", "'--1' is not a class name"),
        ("²", "not a class name"),
        ("CRANE", r"names the classes \[2, 3\]: give one of these ids"),
        ("Egyptain cat", "is not a class name .*did you mean 'Egyptian cat'"),
        ("zebra", "'zebra' is not a class name of this black box: give its id"),
        ("", "'' is not a class name"),
    ],
)
def test_wrong_targets_are_told(wanted, told):
    refused(told, box_of(five, classes=NAMES).target, wanted)


def test_names_that_contain_the_word_are_suggested_first():
    box = box_of(five, classes=["shovel", "Shetland sheepdog", "bighorn, bighorn sheep, cimarron", "steep", "shower cap"])
    refused("did you mean 'bighorn, bighorn sheep, cimarron' or 'Shetland sheepdog' or 'steep'", box.target, "sheep")


def test_without_names_only_ids():
    box = box_of(functions.quarters)
    told = r"target='cat': this black box has no class names: give an id, or the names by classes=\[...\]"
    refused(told, box.target, "cat")
    refused("target=-1 is no class .*ids start at 0", box.target, -1)
    assert (box.target(2), box.class_name(2), box.queries) == (2, "2", 0)


def test_without_names_the_first_answer_tells_that_a_target_is_none():
    box = box_of(functions.quarters)
    assert box.target(3) == 3
    refused("target=3 is no class .*3 classes, ids 0 to 2", box, rows(1))
    assert box(rows(1)).shape == (1, 3)
    refused("target=3 is no class", box.target, 3)
    assert box.target(2) == 2


def test_class_names_from_a_file(tmp_path):
    (tmp_path / "names.txt").write_text("Katze\n\nKaffee, schwarz\nÄhre\n", encoding="utf-8")
    box = box_of(functions.quarters, classes=str(tmp_path / "names.txt"))
    assert box.classes == ("Katze", "Kaffee, schwarz", "Ähre")
    (tmp_path / "names.txt").write_bytes(b"\xff\xfe\x00\x99")
    for name in ("none.txt", "names.txt", "."):
        refused("can't be read as a text file with one class name a line", box_of, five, classes=str(tmp_path / name))


# --- any Python function ---


@pytest.mark.parametrize("path", ["tests.functions.quarters", "tests.functions:quarters"])
def test_function_by_dotted_path(path):
    box = box_of(path)
    assert torch.equal(box(rows(3)), functions.quarters(rows(3)))
    assert box.fingerprint == box_of(functions.quarters).fingerprint != box_of(functions.logits).fingerprint


@pytest.mark.parametrize(
    ("layout", "function"),
    [("numpy", functions.reds_of_numpy), ("numpy_channels_last", functions.reds_of_channels_last)],
)
def test_functions_get_the_layout_they_ask_for(layout, function):
    x = rows(3)
    assert torch.allclose(box_of(function, rows=layout)(x)[:, 0], x[:, 0].mean((1, 2)))
    refused("wanted .n, .* got Tensor", box_of(function), x, kind=ModelError)


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("tests.no_such_module.f", "can't be imported .*wanted package.module:function, on PYTHONPATH or in the working folder"),
        ("tests.functions.none", "can't be imported .*has no attribute 'none'"),
        ("quarters", "black_box.function=quarters can't be imported"),
        ("", "can't be imported"),
        ("tests.functions.number", "is a int, wanted a function"),
    ],
)
def test_paths_to_no_function_are_told(path, told):
    refused(told, box_of, path)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"size": [8]}, r"size=\[8\]: wanted pixels, a whole number or \[height,width\]"),
        ({"size": "224"}, "size='224': wanted pixels, a whole number"),
        ({"size": 2.5}, "size=2.5: wanted pixels, a whole number"),
        ({"size": [8, 0]}, r"size=\(8, 0\).* sizes are 1 or more"),
        ({"channels": 0}, "channels=0: wanted 1 .greyscale., 3 .RGB. or more"),
        ({"batch_size": 0}, "batch_size=0: it must be at least 1"),
    ],
)
def test_wrong_settings_are_told(wrong, told):
    with untyped():
        refused(told, from_function, functions.quarters, **{"size": (8, 8), **wrong})


# --- geometry ---


def theirs(input: ImageInput, photograph: Image.Image) -> torch.Tensor:
    """timm's own preparation for evaluation, without the normalisation."""
    plain: Any = {"mean": (0, 0, 0), "std": (1, 1, 1)}
    transform: Any = create_transform((3, *input.size), interpolation=input.interpolation, crop_pct=input.crop_pct, **plain)
    return transform(photograph)


PHOTOGRAPHS = {
    "landscape": lambda: skimage.data.chelsea(),
    "portrait": lambda: skimage.data.chelsea().transpose(1, 0, 2).copy(),
    "wide": lambda: skimage.data.coffee()[150:257, :599],
    "square": lambda: skimage.data.astronaut(),
    "small": lambda: skimage.data.astronaut()[100:161, 200:243],
}


@pytest.mark.parametrize("name", PHOTOGRAPHS)
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_view_is_timms_own(name, interpolation, lite):
    input = ImageInput(lite.input.size, crop_pct=lite.input.crop_pct, interpolation=interpolation)
    photograph = Image.fromarray(PHOTOGRAPHS[name]())
    off = (input.image(photograph) - theirs(input, photograph)).abs()
    assert (off <= 2 / 255).float().mean() > 0.999


@pytest.mark.parametrize("width", range(300, 330))
def test_view_is_timms_own_at_every_width(width):
    input, photograph = ImageInput((32, 32), crop_pct=0.9), Image.fromarray(skimage.data.chelsea()[:240, :width])
    assert ((input.image(photograph) - theirs(input, photograph)).abs() <= 2 / 255).float().mean() > 0.999


def test_view_of_lite0_is_its_config(lite):
    assert lite.input == ImageInput((224, 224), 3, 0.875, "center", "bicubic")
    assert lite0(device="cpu", crop="squash").input.crop == "squash"


def test_squash_keeps_all_of_the_photograph():
    pixels = np.zeros((40, 120, 3), np.uint8)
    pixels[:, :30], pixels[:, 90:] = 255, 128
    seen = ImageInput((20, 20), crop="squash", interpolation="nearest").image(Image.fromarray(pixels))
    assert seen[0, 10, :5].eq(1).all()
    assert seen[0, 10, 15:].eq(128 / 255).all()


def test_greyscale_view():
    assert ImageInput((8, 8), channels=1).image(Image.new("RGB", (9, 9), (255, 0, 0))).unique().item() == pytest.approx(76 / 255)


@pytest.mark.parametrize("size", [(451, 300), (300, 451), (1000, 97)])
@pytest.mark.parametrize("crop", ["center", "squash"])
def test_labels_are_cut_as_the_image_is(size, crop):
    input, picture = ImageInput((224, 224), crop_pct=0.875, crop=crop), Image.new("L", size)
    corners = (size[0] * 0.42, size[1] * 0.3, size[0] * 0.53, size[1] * 0.8)
    ImageDraw.Draw(picture).rectangle(corners, fill=255)
    seen, labels = input.image(picture.convert("RGB"))[0] > 0.5, input.labels(picture)
    assert set(labels.unique().tolist()) == {0, 255}
    for axis in (0, 1):
        ends = [torch.where(part.any(axis))[0][[0, -1]] for part in (seen, labels == 255)]
        assert (ends[0] - ends[1]).abs().max() <= 1 + 224 // min(size)  # one pixel of the photograph at most


def test_labels_are_never_mixed():
    ids = np.random.default_rng(0).choice([0, 7, 255], (50, 70)).astype(np.uint8)
    assert set(ImageInput((32, 32)).labels(Image.fromarray(ids)).unique().tolist()) == {0, 7, 255}


# --- EfficientNet-Lite0 ---


def test_lite0_knows_a_cat(lite, chelsea):
    answer = lite(lite.input.image(chelsea)[None])
    assert answer.shape == (1, 1000)
    assert answer.sum().item() == pytest.approx(1, abs=1e-4)
    assert int(answer.argmax()) in range(281, 286)
    assert answer[0, 281:286].sum() > 0.8
    cup = lite.input.image(Image.fromarray(skimage.data.coffee()))
    assert lite.class_name(int(lite(cup[None]).argmax())) in ("espresso", "cup")


def test_lite0_targets_by_name(lite):
    assert lite.target("Egyptian cat") == lite.target("285") == 285
    refused("did you mean .*Egyptian cat", lite.target, "Egyptian cta")
    refused("target=1000 is no class .*ids 0 to 999", lite.target, 1000)


def test_lite0_is_normalised_by_half(lite, chelsea):
    x = lite.input.image(chelsea)[None]
    with torch.no_grad():
        by_hand = lite.module(x * 2 - 1).softmax(1)
        imagenet = lite.module((x - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / 0.225).softmax(1)
    assert torch.allclose(lite(x), by_hand, atol=1e-6)
    assert not torch.allclose(lite(x), imagenet, atol=1e-2)


def test_fingerprint_is_that_of_the_weights(lite):
    again = lite0(device="cpu")
    assert again.fingerprint == lite.fingerprint
    weights = next(again.module.parameters()).data
    weights[0, 0, 0, 0] += 1e-3
    assert from_torch(again.module, lite.input, HALF, HALF, None).fingerprint != lite.fingerprint


def test_pickles(lite):
    again, x = pickle.loads(pickle.dumps(lite)), rows(1, 224)
    assert torch.equal(again(x), lite(x))


# --- timm ---


def test_timm_with_local_weights(data, chelsea):
    file = data / "vit_tiny" / "vit_tiny_patch16_224.safetensors"
    box: Any = timm_model("vit_tiny_patch16_224", str(file), device="cpu")
    assert (box.input.crop_pct, box.model.mean.flatten().tolist(), box.model.std.flatten().tolist()) == (
        0.9,
        [0.5] * 3,
        [0.5] * 3,
    )
    assert int(box(box.input.image(chelsea)[None]).argmax()) in range(281, 286)
    assert box.target("Egyptian cat") == 285


def test_timm_classes_of_your_own(tmp_path):
    torch.save(timm.create_model("test_resnet").state_dict(), tmp_path / "w.pth")
    names = [f"class {i}" for i in range(1000)]
    assert timm_model("test_resnet", str(tmp_path / "w.pth"), names, device="cpu").target("class 7") == 7


def test_unknown_models_are_told_with_the_nearest():
    told = "no model of timm: did you mean .*vit_tiny_patch16_224.*timm.list_models"
    refused(told, timm_model, "vit_tiny_patch16_242")
    refused(
        "black_box.model=squeezenet1_2 is no classifier of torchvision: did you mean .*squeezenet1_1",
        torchvision_model,
        "squeezenet1_2",
    )


def spoilt(name: str, state: dict[str, torch.Tensor]) -> bytes:
    whole, other = io.BytesIO(), io.BytesIO()
    torch.save(state, whole)
    torch.save({"fc.weight": torch.zeros(2, 2)}, other)
    return {
        "random": np.random.default_rng(0).bytes(5000),
        "empty": b"",
        "truncated": whole.getvalue()[: len(whole.getvalue()) // 2],
        "another": other.getvalue(),
        "code": pickle.dumps(Path("evil")),
    }[name]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("random", "can't be read as a state dict"),
        ("empty", "can't be read as a state dict"),
        ("truncated", "can't be read as a state dict"),
        ("code", r"can't be read as a state dict \(.*\): wanted .safetensors, or a .pth by torch.save.module.state_dict"),
        ("another", "does not fit"),
    ],
)
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_unreadable_weights_are_told(tmp_path, name, told, suffix):
    state = timm.create_model("test_resnet").state_dict()
    file = tmp_path / f"weights.{suffix}"
    file.write_bytes(spoilt(name, state))
    if suffix == "safetensors" and name == "another":
        save_file({"fc.weight": torch.zeros(2, 2)}, file)
    if suffix == "safetensors" and name == "truncated":
        save_file(state, file)
        file.write_bytes(file.read_bytes()[:-1000])
    message = refused(told, timm_model, "test_resnet", str(file))
    assert str(file) in message
    assert "weights_only" not in message  # torch's advice: run the code in the file


def test_missing_weights_are_told(tmp_path):
    for make, model in ((timm_model, "test_resnet"), (torchvision_model, "squeezenet1_1")):
        refused("none.pth does not exist: give the path of a .safetensors or .pth file", make, model, str(tmp_path / "none.pth"))


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize(("make", "model"), [(timm_model, "test_resnet"), (torchvision_model, "squeezenet1_1")])
def test_without_a_network_one_line_names_the_key(make, model):
    refused(
        f"weights of {model} could not be downloaded .*give a local file as weights=FILE .black_box.weights=FILE", make, model
    )


# --- torchvision ---


@pytest.fixture(scope="module")
def squeeze_file(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("weights") / "squeezenet.pth"
    torch.manual_seed(0)
    torch.save(torchvision.models.squeezenet1_1(weights=None).state_dict(), file)
    return file


def test_torchvision_is_prepared_as_its_weights_say(squeeze_file, chelsea):
    box = torchvision_model("squeezenet1_1", str(squeeze_file), device="cpu")
    weights = torchvision.models.SqueezeNet1_1_Weights.DEFAULT
    assert box.classes == tuple(weights.meta["categories"])
    assert box.target("Egyptian cat") == 285
    module = torchvision.models.squeezenet1_1(weights=None)
    module.load_state_dict(torch.load(squeeze_file, weights_only=True))
    with torch.no_grad():
        wanted = module.eval()(weights.transforms()(chelsea)[None]).softmax(1)
    assert torch.allclose(box(box.input.image(chelsea)[None]), wanted, atol=1e-4)
    assert box.outputs == "logits"


# --- devices ---


def test_a_missing_gpu_is_told(monkeypatch, squeeze_file):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    refused("device='cuda', but 0 CUDA devices were found: set device=cpu", lite0, device="cuda")
    refused("device='cuda:1', but 0", torchvision_model, "squeezenet1_1", str(squeeze_file), device="cuda:1")
    refused("device='tpu': wanted cpu, cuda, cuda:N or auto", lite0, device="tpu")
    assert torchvision_model("squeezenet1_1", str(squeeze_file), device="auto").device.type == "cpu"


def test_weights_with_classes_of_your_own(tmp_path):
    """A network that was fine-tuned on five classes, in both libraries."""
    names = ["dog", "cat", "horse", "sheep", "cow"]
    for make, module in (
        (timm_model, timm.create_model("mobilenetv3_small_050", num_classes=5)),
        (torchvision_model, torchvision.models.get_model("mobilenet_v3_small", num_classes=5)),
    ):
        torch.save(module.state_dict(), tmp_path / "five.pth")
        name = "mobilenetv3_small_050" if make is timm_model else "mobilenet_v3_small"
        box = make(name, str(tmp_path / "five.pth"), classes=names, device="cpu")
        assert box(torch.rand(1, *box.input.shape)).shape == (1, 5)
        assert box.target("sheep") == 3


def test_an_inner_budget_does_not_lift_an_outer_one():
    box = QuarterBox()
    with box.budget(3):
        with box.budget(None):
            pass
        with pytest.raises(BudgetExceeded), box.budget(10):
            box(torch.rand(4, 3, 32, 32))


def test_a_synonym_names_a_class_where_no_whole_name_does():
    box = QuarterBox(classes=("ram, tup", "ram", "crane, bird"))
    assert [box.target(name) for name in ("Tup", "ram", "ram, tup", "bird")] == [0, 1, 0, 2]


def test_wrong_crops_are_told():
    refused(r"crop_pct=1.5.* in \(0, 1\]", ImageInput, (8, 8), crop_pct=1.5)
    refused("interpolation=cubic: choose one of nearest, bilinear", ImageInput, (8, 8), interpolation="cubic")
