"""A linear head on a frozen backbone: the same numbers as the backbone's own features give, and honest training."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression

from dax_lightning.black_box import ImageInput, lite0
from dax_lightning.black_box.torch.heads import LinearHead, backbone_box, features, voc_head
from dax_lightning.errors import InputError
from dax_lightning.tasks.voc import CLASSES, Voc
from dax_lightning.training.voc_head import cuts, folds, logistic_regression, train_voc_head
from scripts.train_voc_head import main

CAT, DOG = CLASSES.index("cat"), CLASSES.index("dog")
WEIGHTS = "vit_tiny/vit_tiny_patch16_224.safetensors"


@pytest.fixture(scope="module")
def lite():
    return lite0(device="cpu")


def head_for(box, backbone="lite0", count=3):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(count, box.module.num_features, generator=generator) / 10
    return LinearHead(weight, torch.arange(float(count)), ("background", "cat", "dog")[:count], backbone, box.fingerprint)  # pyright: ignore[reportArgumentType]


def pooled(box, x):
    """What reaches the backbone's last linear layer, caught on its way."""
    caught = []
    hook = box.module.get_classifier().register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0]))
    box(x)
    hook.remove()
    return torch.cat(caught)


@pytest.mark.parametrize("backbone", ["lite0", "vit_tiny"])
def test_the_head_reads_what_the_backbone_hands_its_own_classifier(backbone, request, tmp_path):
    weights = None if backbone == "lite0" else str(request.getfixturevalue("data") / WEIGHTS)
    box = backbone_box(backbone, weights, device="cpu")
    x = torch.rand(3, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    expected = pooled(box, x)
    assert torch.allclose(features(box, x), expected, atol=1e-5)
    head = head_for(box, backbone)
    head.save(tmp_path / "head.safetensors")
    made = voc_head(str(tmp_path / "head.safetensors"), backbone, weights, device="cpu")
    assert made.classes == ("background", "cat", "dog")
    assert made.input == box.input
    assert torch.allclose(made(x), (expected @ head.weight.T + head.bias).softmax(1), atol=1e-5)
    assert (made.queries, made.fingerprint != box.fingerprint) == (3, True)


def test_the_same_head_is_the_same_file(lite, tmp_path):
    for name in "ab":
        head_for(lite).save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    again = LinearHead.load(tmp_path / "a")
    assert torch.equal(again.weight, head_for(lite).weight)


def test_refused(lite, tmp_path):
    (tmp_path / "text.safetensors").write_text("no head")
    save_file({"weight": torch.ones(2, 2)}, tmp_path / "other.safetensors")
    head = head_for(lite)
    head.save(tmp_path / "head.safetensors")
    LinearHead(head.weight, head.bias, head.classes, "lite0", "0" * 16).save(tmp_path / "old.safetensors")
    for file, told in {
        "none": "does not exist: scripts/train_voc_head.py makes",
        "text": "is no head",
        "other": "is no head .*linear_head",
        "old": "was trained on lite0 with weights 0000000000000000, not on lite0 with",
    }.items():
        with pytest.raises(InputError, match=told) as raised:
            voc_head(str(tmp_path / f"{file}.safetensors"), device="cpu")
        assert "\n" not in str(raised.value)
    with pytest.raises(InputError, match="lite0 brings its own"):
        voc_head(str(tmp_path / "head.safetensors"), weights="file.pth")
    with pytest.raises(InputError, match="can't be written"):
        head.save(tmp_path / "text.safetensors" / "head.safetensors")
    head.save(tmp_path / "new" / "folder" / "head.safetensors")
    assert LinearHead.load(tmp_path / "new" / "folder" / "head.safetensors").classes == head.classes


def test_a_head_of_another_backbone_is_refused(lite, data, tmp_path):
    head_for(lite).save(tmp_path / "head.safetensors")
    with pytest.raises(InputError, match=r"was trained on lite0 .*, not on vit_tiny"):
        voc_head(str(tmp_path / "head.safetensors"), "vit_tiny", str(data / WEIGHTS), device="cpu")


@pytest.mark.parametrize("l2", [0.01, 1.0])
def test_logistic_regression_is_sklearns(l2):
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1, 2], [50, 20, 10])
    x = (rng.normal(size=(80, 6)) + label[:, None] * rng.normal(size=6)) * rng.uniform(0.1, 30, 6)
    weight, bias = logistic_regression(torch.tensor(x).float(), torch.tensor(label), 3, l2)
    scaled = (x - x.mean(0)) / x.std(0)
    theirs = LogisticRegression(C=1 / (80 * l2), class_weight="balanced", tol=1e-9, max_iter=5000).fit(scaled, label)
    ours = (torch.tensor(x).float() @ weight.T + bias).softmax(1)
    assert np.allclose(ours.numpy(), theirs.predict_proba(scaled), atol=1e-3)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Twelve photographs of 96x96: half a cat (red stripes), half a dog (red squares), each on the left over noise."""
    root = tmp_path_factory.mktemp("voc")
    base = root / "VOCdevkit" / "VOC2012"
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (base / name).mkdir(parents=True)
    keys = [f"2007_{number:06}" for number in range(12)]
    (base / "ImageSets" / "Segmentation" / "val.txt").write_text("\n".join(keys))
    for number, key in enumerate(keys):
        photograph(base, key, number)
    (root / "exclude.txt").write_text("\n".join(keys[:4]))
    return root


def photograph(base: Path, key: str, number: int, inverted: bool = False) -> None:
    rng = np.random.default_rng(number)
    pixels = rng.integers(90, 160, (96, 96, 3)).repeat(1, 0).astype(np.uint8)
    y, x = np.mgrid[:96, :96] // 4
    pattern = (x % 2 if number % 2 else (x + y) % 2).astype(bool)
    mask = np.zeros((96, 96), np.uint8)
    mask[16:80, 8:56] = DOG if number % 2 else CAT
    pixels[(mask > 0) & pattern], pixels[(mask > 0) & ~pattern] = (250, 0, 0), (120, 0, 0)
    Image.fromarray(255 - pixels if inverted else pixels).save(base / "JPEGImages" / f"{key}.jpg", quality=95)
    Image.fromarray(mask).save(base / "SegmentationClass" / f"{key}.png")


def test_crops_hold_what_their_label_says(root):
    image = Image.open(root / "VOCdevkit" / "VOC2012" / "JPEGImages" / "2007_000001.jpg")
    mask = Image.open(root / "VOCdevkit" / "VOC2012" / "SegmentationClass" / "2007_000001.png")
    found = list(cuts(image, mask, "key", ImageInput((32, 32)), 6, np.random.default_rng(0)))
    assert [kind for *_, kind in found] == [0, 1] + [1] * 6 + [2] * 6
    for picture, label, kind in found:
        red = ((picture[0] - picture[1]) > 0.3).float().mean()  # no noise is so red
        assert red < 0.02 if kind == 2 else red >= 0.08
        assert label == (0 if kind == 2 else DOG)
    dotted = np.array(mask)
    dotted[::8, ::8] = CAT  # no part is without a cat
    mask = Image.fromarray(dotted)
    both = cuts(image, mask, "key", ImageInput((32, 32)), 6, np.random.default_rng(0))
    assert [kind for *_, kind in both] == [0, 1]


def test_trained_on_what_is_not_excluded_alone(root, capsys, tmp_path):
    arguments = ["--root", str(root), "--exclude", str(root / "exclude.txt"), "--crops", "1", "--device", "cpu", "--out"]
    assert main([*arguments, str(tmp_path / "a.safetensors")]) == 0
    told = capsys.readouterr().out
    assert "lite0: 8 photographs" in told
    assert "held out: 1.000 of 4 photographs, 1.000 of 4 background crops" in told
    base = root / "VOCdevkit" / "VOC2012"
    photograph(base, "2007_000000", 0, inverted=True)
    assert main([*arguments, str(tmp_path / "b.safetensors")]) == 0
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    box = voc_head(str(tmp_path / "a.safetensors"), device="cpu")
    assert box.classes == ("background", "cat", "dog")
    assert Voc(box, str(root)).keys() == [f"2007_{number:06}" for number in range(4)]  # it was not trained on these
    (tmp_path / "trained.txt").write_text("2007_000007")
    with pytest.raises(InputError, match=r"that the black box was not trained on \(8 were left out\)"):
        Voc(box, str(root), ids=str(tmp_path / "trained.txt"))


def test_folds_never_part_a_photograph():
    photographs = torch.arange(40) // 4
    fold = folds(photographs, seed=0)
    assert all(len(fold[photographs == number].unique()) == 1 for number in range(10))
    assert fold.bincount().tolist() == [8] * 5


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"root": "nowhere"}, "not laid out as VOCdevkit"),
        ({"exclude": "none.txt"}, "exclude=none.txt can't be read"),
        ({"crops": 0}, "wanted 1 or more crops"),
        ({"weights": "x.pth"}, "lite0 brings its own"),
    ],
)
def test_training_refused(root, arguments, told):
    with pytest.raises(InputError, match=told):
        train_voc_head(**{"backbone": "lite0", "root": str(root), "device": "cpu", **arguments})


def test_script_says_what_is_missing(tmp_path, capsys):
    assert main(["--root", str(tmp_path), "--out", str(tmp_path / "head.safetensors")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: task.root=")
    assert error.count("\n") == 1
