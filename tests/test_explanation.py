"""An explanation shows itself, and comes back from its files as it was, whatever kind of input it is of."""

import json
import pickle
from dataclasses import replace

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from dax_lightning.errors import InputError
from dax_lightning.explainers.random import Random
from dax_lightning.metrics import IoURegion
from dax_lightning.plots.kinds import draw
from dax_lightning.plots.maps import region
from dax_lightning.plots.panel import draw_panel
from dax_lightning.testing import KINDS as KINDS_OF_TOYS
from dax_lightning.testing import toy_box, toy_input
from dax_lightning.types import Case, Explanation
from tests.test_report import EVIL, Page


def made(shape=(3, 8, 8), **more):
    generator = torch.Generator().manual_seed(0)
    saliency = torch.rand(shape[1:], generator=generator) - 0.3
    facts = {"x": torch.rand(shape, generator=generator), "target_name": "cat"} | more
    return Explanation(saliency, target=3, score=0.9, queries=10, seconds=0.25, **facts)


def shown(axes):
    return np.asarray(axes.get_images()[0].get_array())


KINDS = {
    "image": made(),
    "grey": made((1, 8, 8)),
    "bands": made((12, 8, 8)),
    "spectrogram": made((1, 6, 20), kind="spectrogram"),
    "wave": made((1, 300)),
    "text": made((1, 4), kind="text", labels=("a", "good", "$film$", "猫")),
    "table": made((1, 25), labels=tuple(f"f{n}" for n in range(25))),
}


@pytest.fixture(autouse=True)
def backend():
    matplotlib.use("Agg")
    yield
    plt.close("all")


@pytest.mark.parametrize("explanation", KINDS.values(), ids=KINDS.keys())
def test_every_kind_is_drawn_shown_saved_and_read(explanation, tmp_path):
    assert draw_panel(explanation.x, explanation, tmp_path / "a.png", target_name="cat", title="a").stat().st_size > 1000
    assert explanation.plot().get_title() == "cat 0.900"
    assert explanation._repr_html_().count("<img") == 1
    explanation.save(tmp_path / "a__dax")
    again = Explanation.load(tmp_path / "a__dax")
    for name in ("saliency", "x"):
        assert torch.equal(getattr(again, name), getattr(explanation, name))
    for name in ("target", "target_name", "score", "kind", "labels", "seconds"):
        assert getattr(again, name) == getattr(explanation, name)
    assert repr(pickle.loads(pickle.dumps(explanation))) == repr(explanation)


def test_repr_is_one_short_line():
    assert repr(made()) == "Explanation(target=3 'cat', score=0.900, map=(8, 8), queries=10, seconds=0.2)"
    assert repr(made(warnings=("a", "b"), notes={"unfaithful": True})).endswith("seconds=0.2, unfaithful, 2 warnings)")


def test_the_method_stands_before_the_class(tmp_path):
    explained = made(method="lime")
    assert repr(explained).startswith("Explanation(method=lime, target=3 'cat'")
    assert explained.plot().get_title() == "lime · cat 0.900"
    assert "<div>lime  ·  cat 0.900  ·  10 queries" in explained._repr_html_()
    explained.save(tmp_path / "a")
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["method"] == "lime"
    assert Explanation.load(tmp_path / "a").method == "lime"
    assert Random(toy_box("RGB")).explain(toy_input("RGB"), target=1).method == "random"


def test_an_unfaithful_map_says_so_in_red():
    doubted, good = made(method="dax", notes={"unfaithful": True}), made(method="dax", notes={"unfaithful": False})
    assert doubted.plot().get_title() == "unfaithful · dax · cat 0.900"
    assert "unfaithful" in doubted._repr_html_()
    red, black = (to_rgba(explained.plot().title.get_color()) for explained in (doubted, good))
    assert red[0] > 0.5 > max(red[1:3])
    assert max(black[:3]) < 0.2


def test_pictures_keep_their_shape_in_axes_of_any_shape():
    for kind, aspect in (("image", 1.0), ("grey", 1.0), ("spectrogram", "auto"), ("wave", "auto")):
        left, right = Figure(figsize=(9, 3)).subplots(1, 2)
        assert KINDS[kind].plot(right).get_aspect() == aspect, kind
        assert left.get_aspect() == "auto"


def test_two_explanations_are_compared_and_hashed(tmp_path):
    explained = made()
    explained.save(tmp_path / "a")
    again = Explanation.load(tmp_path / "a")
    assert explained == explained
    assert again != explained
    assert len({explained, again, explained}) == 2


@pytest.mark.parametrize("ending", ["", ".npz", ".json"])
def test_folders_are_made_and_endings_are_taken_off(tmp_path, ending):
    stem = f"{tmp_path}/new/folder/cat.1__dax{ending}"
    made().save(stem)
    assert sorted(file.name for file in (tmp_path / "new" / "folder").iterdir()) == ["cat.1__dax.json", "cat.1__dax.npz"]
    assert torch.equal(Explanation.load(stem).saliency, made().saliency)


def test_pixels_are_saved_as_bytes_and_come_back_bit_for_bit(tmp_path):
    pixels = torch.randint(0, 256, (3, 64, 64), generator=torch.Generator().manual_seed(0))
    made((3, 64, 64), x=pixels.float() / 255).save(tmp_path / "pixels")
    with np.load(tmp_path / "pixels.npz") as arrays:
        assert arrays["x"].dtype == np.uint8
    assert (Explanation.load(tmp_path / "pixels").x == pixels.float() / 255).all()


def test_files_tell_when_and_of_which_input(tmp_path):
    facts = []
    for name, x in (("a", torch.zeros(3, 8, 8)), ("b", torch.zeros(3, 8, 8)), ("c", torch.ones(3, 8, 8))):
        made(x=x).save(tmp_path / name, black_box="abc")
        facts.append(json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8")))
    a, b, c = facts
    assert a["input_sha256"] == b["input_sha256"] != c["input_sha256"]
    assert a["saved"][:2] == "20"
    assert a["black_box"] == "abc"
    assert "x" not in a


def test_a_picture_with_its_map_and_the_map_alone():
    image = KINDS["image"]
    own = Figure().subplots()
    assert image.plot(own) is own
    assert shown(own).shape == (8, 8, 3)
    alone = Explanation(image.saliency, 3, 0.9, 10, 0.25).plot(Figure().subplots())
    assert shown(alone).shape == (8, 8)
    assert alone.get_title() == "class 3 0.900"


def test_low_bands_are_at_the_bottom():
    x, saliency = torch.zeros(1, 4, 6), torch.zeros(4, 6)
    x[0, 0] = saliency[0] = 1  # the lowest band
    drawn = draw(Figure().subplots(), Explanation(saliency, 0, 0.9, 1, 0.1, x=x, kind="spectrogram"))
    pixels = shown(drawn)
    assert pixels[-1].sum() > pixels[0].sum()


def test_words_and_bars_show_sign_and_strength():
    values = torch.tensor([0.1, -0.5, 1.0])
    text = draw(Figure().subplots(), Explanation(values, 0, 0.9, 1, 0.1, kind="text", labels=("a", "bad", "good")))
    patches = {word.get_text(): word.get_bbox_patch() for word in text.texts}
    grounds = {word: to_rgba(patch.get_facecolor()) for word, patch in patches.items() if patch}
    assert grounds["good"][3] > grounds["bad"][3] > grounds["a"][3] > 0
    assert grounds["good"][:3] == grounds["a"][:3] != grounds["bad"][:3]
    row = Explanation(values, 0, 0.9, 1, 0.1, x=torch.tensor([[4.0, 5.0, 6.0]]), labels=("age", "tax", "rent"))
    table = draw(Figure().subplots(), row)
    assert [label.get_text() for label in table.get_yticklabels()] == ["rent = 6", "tax = 5", "age = 4"]
    assert [bar.get_width() for bar in table.containers[0]] == pytest.approx([1.0, -0.5, 0.1])


def test_wrong_number_of_labels_is_told():
    with pytest.raises(InputError, match=r"2 labels for a map of shape \(3,\): give one label a place"):
        draw(Figure().subplots(), Explanation(torch.rand(3), 0, 0.9, 1, 0.1, labels=("a", "b")))


def test_names_in_a_notebook_are_only_text(tmp_path):
    page = tmp_path / "page.html"
    page.write_text(made(target_name=EVIL, warnings=(EVIL,))._repr_html_(), encoding="utf-8")
    found = Page(page)
    assert {tag for tag, _ in found.tags} == {"div", "img"}
    assert found.text.count("alert") == 2
    assert "10 queries · 0.2 s" in found.text


@pytest.mark.parametrize("kind", KINDS_OF_TOYS)
def test_explainers_hand_over_the_input_and_its_words(kind):
    box, x = toy_box(kind), toy_input(kind)
    found = Random(box).explain(x, target=1)
    assert found.x is not None
    assert torch.equal(found.x, x)
    assert (found.kind, found.target_name) == (box.input.kind, box.class_name(1))
    assert found.labels == box.input.places(x)
    assert bool(found.labels) == (not box.input.has_space)
    draw(Figure().subplots(), found)


def test_the_region_that_a_method_names_is_saved_kept_and_shown(tmp_path):
    named = torch.tensor([[True, False], [False, False]])
    made = Explanation(torch.tensor([[4.0, 3.0], [1.0, 0.0]]), target=0, score=0.9, queries=1, seconds=0.1, region=named)
    made.save(tmp_path / "a")
    again = Explanation.load(tmp_path / "a").region
    assert again is not None
    assert again.equal(named)
    where, told = region(made.saliency.numpy(), named.numpy())
    assert where.tolist() == named.tolist()
    assert told == "Region that the method names\n= 25% of the area"
    assert region(made.saliency.numpy())[0].tolist() == [[True, False], [False, False]]
    x = torch.ones(3, 2, 2)
    drawn = draw_panel(x, made, tmp_path / "named.png", target_name="a", title="b").read_bytes()
    assert drawn != draw_panel(x, replace(made, region=~named), tmp_path / "other.png", target_name="a", title="b").read_bytes()
    assert IoURegion()(Case("a", x, 0, ~named), made) == 0
    assert IoURegion()(Case("a", x, 0, ~named), replace(made, region=~named)) == 1
    assert IoURegion()(Case("a", x, 0, named), replace(made, region=None)) == 1  # above mean + 1 std
    assert IoURegion()(Case("a", x, 0, named), replace(made, region=torch.ones_like(named))) == 0.25
