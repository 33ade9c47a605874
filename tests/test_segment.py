import logging
import pickle
import random
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from lime.wrappers.scikit_image import SegmentationAlgorithm
from omegaconf import OmegaConf
from PIL import Image
from skimage import data, transform

from dax_lightning.errors import InputError, check_count, check_number
from dax_lightning.segment.base import Segmenter
from dax_lightning.segment.cache import cache_folder, whole_file
from dax_lightning.segment.file import FromFile
from dax_lightning.segment.grid import Grid
from dax_lightning.segment.image import ColourClusters, Felzenszwalb, Quickshift, Slic, rgb8

CONF = Path(__file__).parents[1] / "conf" / "segmenter"
SMALL = np.asarray(transform.resize(data.chelsea()[:300, :300], (64, 64), anti_aliasing=True))
PHOTO8 = (SMALL * 255).round().astype(np.uint8)
PHOTO = torch.from_numpy(PHOTO8 / 255).float().permute(2, 0, 1)
HALVES = torch.cat([torch.full((3, 24, 12), 0.1), torch.full((3, 24, 12), 0.9)], dim=2)

SEGMENTERS = {
    "quickshift": Quickshift(kernel_size=2, max_dist=20),
    "slic": Slic(n_segments=12),
    "felzenszwalb": Felzenszwalb(min_size=20),
    "colour_clusters": ColourClusters(n_clusters=5),
    "grid": Grid(rows=3, columns=5),
}


@pytest.fixture(params=[*SEGMENTERS, "file"])
def segmenter(request, tmp_path):
    if request.param == "file":
        np.save(tmp_path / "map.npy", np.arange(64 * 64).reshape(64, 64) // 500 * 3 - 4)
        return FromFile(tmp_path / "map.npy")
    return SEGMENTERS[request.param]


def assert_partition(segments, space):
    assert segments.shape == space
    assert segments.dtype == torch.int64
    assert segments.device.type == "cpu"
    assert segments.unique().tolist() == list(range(int(segments.max()) + 1))
    assert segments.max() >= 1


def test_every_segmenter_gives_a_partition_and_leaves_everything_else_alone(segmenter):
    x = PHOTO.clone()
    states = torch.get_rng_state(), random.getstate(), pickle.dumps(np.random.get_state())
    segments = segmenter(x)
    assert_partition(segments, (64, 64))
    assert torch.equal(x, PHOTO)
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1] == random.getstate()
    assert states[2] == pickle.dumps(np.random.get_state())


def test_every_segmenter_gives_the_same_twice_whatever_ran_before_and_when_pickled(segmenter):
    first = segmenter(PHOTO)
    torch.manual_seed(5)
    np.random.seed(5)
    segmenter(PHOTO.flip(1))
    assert torch.equal(segmenter(PHOTO), first)
    assert torch.equal(pickle.loads(pickle.dumps(segmenter))(PHOTO), first)


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_every_segmenter_takes_any_number_of_channels(segmenter, channels):
    assert_partition(segmenter(PHOTO.mean(0, keepdim=True).repeat(channels, 1, 1)), (64, 64))


def test_every_segmenter_takes_inputs_that_need_gradients_or_are_double(segmenter):
    assert torch.equal(segmenter(PHOTO.double().requires_grad_()), segmenter(PHOTO))


@pytest.mark.parametrize("name", ["quickshift", "slic", "felzenszwalb", "colour_clusters"])
def test_colour_segmenters_find_two_halves(name):
    segments = SEGMENTERS[name](HALVES)
    assert not set(segments[:, :12].unique().tolist()) & set(segments[:, 12:].unique().tolist())


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(4, 4), r"shape \(4, 4\); wanted \(channels, height, width\)"),
        (torch.zeros(1, 3, 4, 4), r"shape \(1, 3, 4, 4\)"),
        (torch.zeros(0, 4, 4), r"shape \(0, 4, 4\)"),
        (torch.zeros(3, 0, 4), r"shape \(3, 0, 4\)"),
        (torch.tensor([[[0.0, torch.nan]]]), "1 values of the input are NaN or infinite"),
        (torch.tensor([[[torch.inf, -torch.inf]]]), "2 values of the input are NaN or infinite"),
        (torch.tensor([[[0.0, 255.0]]]), r"from 0 to 255; wanted \[0, 1\]: divide"),
        (torch.tensor([[[-1.0, 1.0]]]), "from -1 to 1; wanted"),
    ],
)
def test_every_segmenter_refuses_a_wrong_input(segmenter, x, message):
    with pytest.raises(InputError, match=message) as caught:
        segmenter(x)
    assert "\n" not in str(caught.value)


def test_rounding_at_the_ends_of_the_range_is_let_through():
    assert_partition(Grid()(torch.tensor([-1e-6, 1 + 1e-6]).repeat(1, 8, 4)), (8, 8))


@pytest.mark.parametrize("name", ["quickshift", "slic", "felzenszwalb", "colour_clusters"])
def test_one_segment_is_refused_with_a_remedy(name):
    others = {"quickshift": Quickshift(), "felzenszwalb": Felzenszwalb(min_size=64), "colour_clusters": ColourClusters()}
    one = {"slic": Slic(n_segments=2), **others}[name]
    with pytest.raises(
        InputError,
        match=rf"{type(one).__name__} found 1 segment in an input of 8 x 8.*try Grid.. .segmenter=grid on the command line",
    ):
        one(torch.full((3, 8, 8), 0.5))


@pytest.mark.parametrize("as_float", [False, True])
@pytest.mark.parametrize("photo", [data.chelsea(), data.coffee(), data.astronaut()], ids=["chelsea", "coffee", "astronaut"])
def test_quickshift_is_lime_s(photo, as_float):
    photo = np.ascontiguousarray(photo[100:196, 150:230])
    lime = SegmentationAlgorithm("quickshift", kernel_size=4, max_dist=200, ratio=0.2, random_seed=7)
    wanted = lime(photo / 255 if as_float else photo)
    segments = Quickshift()(torch.from_numpy(photo / 255).float().permute(2, 0, 1))
    assert len(np.unique(wanted)) > 2
    assert (segments.numpy() == wanted).all()


@pytest.mark.parametrize(
    ("ours", "name", "settings"),
    [
        (Slic(n_segments=20, compactness=5, sigma=1), "slic", {"n_segments": 20, "compactness": 5, "sigma": 1, "start_label": 0}),
        (Felzenszwalb(scale=50, sigma=0.3, min_size=9), "felzenszwalb", {"scale": 50, "sigma": 0.3, "min_size": 9}),
        (Quickshift(kernel_size=2, max_dist=9, ratio=0.7), "quickshift", {"kernel_size": 2, "max_dist": 9, "ratio": 0.7}),
    ],
)
def test_every_setting_arrives_in_scikit_image(ours, name, settings):
    assert (ours(PHOTO).numpy() == SegmentationAlgorithm(name, **settings)(PHOTO8)).all()


def test_like_colours_are_one_cluster_wherever_they_lie():
    stripes = torch.tensor([0.1, 0.9, 0.5, 0.12, 0.88, 0.52]).repeat_interleave(8).expand(3, 24, -1)
    ids = ColourClusters(n_clusters=3, sigma=0)(stripes)[0, ::8].tolist()
    assert ids[:3] == ids[3:]
    assert len(set(ids)) == 3


def test_clusters_are_no_more_than_the_colours_that_can_be_told_apart():
    tones = torch.tensor([0.2, 0.8, 0.5]).repeat(3, 8, 4)
    segments = ColourClusters(n_clusters=20, sigma=0)(tones)
    assert segments.max() == 2
    assert len(ColourClusters(n_clusters=20, sigma=1)(PHOTO).unique()) == 20


def test_clusters_go_by_lab_and_by_the_smoothed_photograph():
    rng = torch.Generator().manual_seed(0)
    noisy = (HALVES + 0.3 * torch.randn(3, 24, 24, generator=rng)).clamp(0, 1)
    sharp, smooth = (ColourClusters(n_clusters=2, sigma=sigma)(noisy) for sigma in (0, 3))
    wrong = [min((found[:, :11] != bit).sum() + (found[:, 13:] == bit).sum() for bit in (0, 1)) for found in (sharp, smooth)]
    assert wrong[1] == 0 < wrong[0]
    three = torch.tensor([[0, 55, 0], [0, 255, 0], [255, 255, 0]]).T.reshape(3, 1, 3) / 255  # in RGB, the first two are nearer
    ids = ColourClusters(n_clusters=2, sigma=0)(three)[0].tolist()
    assert ids[1] == ids[2] != ids[0]


def test_a_cluster_that_loses_all_its_places_is_left_out():
    x = torch.rand(3, 1, 21, generator=torch.Generator().manual_seed(16306))
    assert_partition(ColourClusters(n_clusters=9, sigma=0)(x), (1, 21))
    assert len(ColourClusters(n_clusters=9, sigma=0)(x).unique()) == 8


def test_of_a_large_input_some_places_make_the_clusters_and_all_are_told():
    # 120 000 places: every second row and column makes the clusters
    tones = torch.tensor([0.1, 0.5, 0.9, 0.5]).repeat_interleave(100).expand(3, 300, -1).clone()
    tones[:, 1::2, 1::2] += 0.05
    segments = ColourClusters(n_clusters=3, sigma=0)(tones)
    assert_partition(segments, (300, 400))
    assert [len(segments[:, i : i + 100].unique()) for i in (0, 100, 200, 300)] == [1, 1, 1, 1]
    assert segments[0, 100] == segments[0, 399] != segments[0, 0] != segments[0, 250]


def test_grid_by_hand():
    wanted = [[0, 0, 1, 1, 2], [0, 0, 1, 1, 2], [3, 3, 4, 4, 5]]
    assert Grid(rows=2, columns=3)(torch.zeros(1, 3, 5)).tolist() == wanted


@pytest.mark.parametrize(("h", "w"), [(8, 8), (9, 17), (63, 64)])
def test_grid_cells_differ_by_at_most_one_row_and_column(h, w):
    segments = Grid()(torch.zeros(1, h, w))
    assert_partition(segments, (h, w))
    assert segments.max() == 63
    sizes = segments.flatten().bincount()
    assert sizes.min() >= (h // 8) * (w // 8)
    assert sizes.max() <= -(-h // 8) * -(-w // 8)


def test_grid_too_fine_for_the_input_says_what_fits():
    with pytest.raises(InputError, match=r"8 x 8 does not fit an input of 4 x 20 pixels: try rows=4, columns=8"):
        Grid()(torch.zeros(1, 4, 20))


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        (Quickshift, {"kernel_size": 0.5}, "segmenter.kernel_size=0.5; wanted a finite number at least 1"),
        (Quickshift, {"max_dist": 0}, "segmenter.max_dist=0; wanted a finite number above 0"),
        (Quickshift, {"max_dist": float("nan")}, "segmenter.max_dist=nan"),
        (Quickshift, {"ratio": 1.5}, "segmenter.ratio=1.5; wanted a finite number at least 0 and at most 1"),
        (Slic, {"n_segments": 1}, "segmenter.n_segments=1; wanted a whole number of at least 2"),
        (Slic, {"compactness": 0}, "segmenter.compactness=0"),
        (Slic, {"sigma": -1}, "segmenter.sigma=-1"),
        (Felzenszwalb, {"scale": 0}, "segmenter.scale=0"),
        (Felzenszwalb, {"sigma": float("inf")}, "segmenter.sigma=inf"),
        (Felzenszwalb, {"min_size": 0}, "segmenter.min_size=0"),
        (ColourClusters, {"n_clusters": 1}, "segmenter.n_clusters=1; wanted a whole number of at least 2"),
        (ColourClusters, {"sigma": -1}, "segmenter.sigma=-1"),
        (Grid, {"rows": 0}, "segmenter.rows=0"),
        (Grid, {"rows": 1, "columns": 1}, "a grid of 1 x 1 is a single segment"),
    ],
)
def test_a_wrong_setting_is_refused_at_construction(make, settings, message):
    with pytest.raises(InputError, match=message):
        make(**settings)


@pytest.mark.parametrize("value", [10.0, True, None, "many", 1])
def test_a_count_is_a_whole_number(value):
    with pytest.raises(InputError, match=f"segmenter.rows={value!r}; wanted a whole number of at least 2"):
        check_count("segmenter.rows", value, least=2)


@pytest.mark.parametrize("value", [True, None, "much", float("nan"), float("inf"), -0.1])
def test_a_number_is_finite_and_in_its_range(value):
    with pytest.raises(InputError, match=f"segmenter.ratio={value!r}; wanted a finite number at least 0"):
        check_number("segmenter.ratio", value, least=0)


def test_checks_take_what_is_right():
    check_count("rows", 1, least=1)
    check_number("ratio", 1, least=0, most=1)
    check_number("sigma", 0.0, least=0)


LABELS = np.array([[4, 4, 9], [0, 4, 9]])
WANTED = [[1, 1, 2], [0, 1, 2]]


def write(path, labels):
    """Write a label map in the format its name asks for."""
    if path.suffix == ".npy":
        np.save(path, labels)
    elif path.name.startswith("saved"):  # as types.Explanation.save does
        np.savez_compressed(path, saliency=np.zeros((2, 3), np.float32), segments=labels)
    elif path.suffix == ".npz":
        np.savez(path, anything=labels)
    else:
        picture = Image.fromarray(labels.astype(np.uint16 if "16" in path.name else np.uint8))
        if "palette" in path.name:
            picture.putpalette([x % 256 for x in range(768)])
        picture.save(path)
    return path


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "saved.npz", "a.png", "A.PNG", "a16.png", "palette.png"])
def test_label_maps_are_read(tmp_path, name):
    assert FromFile(write(tmp_path / name, LABELS))(torch.zeros(3, 2, 3)).tolist() == WANTED
    assert FromFile(str(tmp_path / name))(torch.zeros(1, 2, 3)).tolist() == WANTED


def test_paths_may_begin_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "a.npy", LABELS)
    assert FromFile("~/a.npy")(torch.zeros(3, 2, 3)).tolist() == WANTED


def test_a_label_map_of_true_and_false_is_two_segments(tmp_path):
    assert FromFile(write(tmp_path / "a.npy", LABELS > 4))(torch.zeros(3, 2, 3)).tolist() == [[0, 0, 1], [0, 0, 1]]


def bad_map(name, folder):
    path = folder / name
    if name == "colours.png":
        Image.fromarray(np.zeros((2, 3, 3), np.uint8)).save(path)
    elif name == "grey_alpha.png":
        Image.new("LA", (3, 2)).save(path)
    elif name == "broken.png":
        good = write(folder / "good.png", np.arange(64 * 64).reshape(64, 64) % 251).read_bytes()
        path.write_bytes(good[: len(good) // 2])
    elif name.startswith("text"):
        path.write_text("0,1,2\n")
    elif name == "cut.npy":
        path.write_bytes(write(folder / "good.npy", LABELS).read_bytes()[:-8])
    elif name == "cut.npz":
        path.write_bytes(write(folder / "good.npz", LABELS).read_bytes()[:-30])
    elif name == "is_npy.npz":
        path.write_bytes(write(folder / "good.npy", LABELS).read_bytes())
    elif name == "objects.npy":
        np.save(path, np.array([[{}, 1]], dtype=object), allow_pickle=True)
    elif name == "two.npz":
        np.savez(path, a=LABELS, b=LABELS)
    elif name == "empty.npy":
        path.touch()
    else:
        arrays = {"float.npy": LABELS / 2, "cube.npy": LABELS[None], "no_pixels.npy": LABELS[:0]}
        np.save(path, arrays[name])
    return path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("colours.png", r"picture in colour or with transparency \(RGB\); wanted one whole number a pixel"),
        ("grey_alpha.png", r"\(LA\); wanted one whole number"),
        ("broken.png", "can't be read"),
        ("text.png", "can't be read"),
        ("text.npy", "can't be read"),
        ("text.npz", "can't be read"),
        ("cut.npy", "can't be read"),
        ("cut.npz", "can't be read"),
        ("is_npy.npz", "can't be read"),
        ("objects.npy", "can't be read"),
        ("empty.npy", "can't be read"),
        ("two.npz", r"holds arrays \['a', 'b'\]; wanted one array"),
        ("float.npy", r"holds float64 of shape \(2, 3\); wanted whole numbers"),
        ("cube.npy", r"of shape \(1, 2, 3\); wanted whole numbers of shape \(height, width\)"),
        ("no_pixels.npy", r"of shape \(0, 3\)"),
        ("text.csv", r"ends in .csv; wanted .npy, .npz or .png"),
    ],
)
def test_bad_label_maps_are_refused_at_construction_in_one_line(tmp_path, name, message):
    with pytest.raises(InputError, match=message) as caught:
        FromFile(bad_map(name, tmp_path))
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


def test_a_missing_label_map_is_refused_at_construction(tmp_path):
    with pytest.raises(InputError, match=r"no label map at .*away.npy; path .segmenter.path on the command line. must name"):
        FromFile(tmp_path / "away.npy")


def test_a_label_map_of_another_size_names_both_sizes(tmp_path):
    with pytest.raises(InputError, match=r"has 2 x 3 pixels, the input has 3 x 2 \(height x width\): resize"):
        FromFile(write(tmp_path / "a.npy", LABELS))(torch.zeros(3, 3, 2))


def test_a_label_map_of_one_label_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"FromFile found 1 segment .*more than one label"):
        FromFile(write(tmp_path / "a.npy", np.ones((2, 3), int)))(torch.zeros(3, 2, 3))


def test_rgb8_by_hand():
    assert rgb8(torch.tensor([[[0.2]], [[0.4]], [[1.0]]])).tolist() == [[[51, 102, 255]]]
    assert rgb8(torch.tensor([[[0.2]]])).tolist() == [[[51, 51, 51]]]
    assert rgb8(torch.tensor([[[0.2]], [[0.4]]])).tolist() == [[[76, 76, 76]]]  # 0.3 of 255 is 76.5, to the even


def test_cache_folder_follows_xdg_then_home(monkeypatch, tmp_path):
    assert cache_folder(tmp_path) == tmp_path
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "dax_lightning"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "dax_lightning"
    assert cache_folder("~/mine") == tmp_path / "mine"


def write_half(path):
    with whole_file(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt


def test_a_file_half_written_leaves_the_old_one_and_nothing_else(tmp_path):
    (tmp_path / "a").write_text("old")
    with pytest.raises(KeyboardInterrupt):
        write_half(tmp_path / "a")
    assert [file.name for file in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_text() == "old"


CALLS: list[float] = []


@dataclass(frozen=True)
class Slow(Segmenter):
    """Cuts at a value, and writes down that it was called."""

    cut: float = 0.5
    folder: str | Path | None = None
    cached: ClassVar[bool] = True

    @property
    def cache_dir(self):
        return self.folder

    def _segment(self, x):
        CALLS.append(self.cut)
        return (x[0] > self.cut).long()


X = torch.tensor([[[0.1, 0.6, 0.9]]])


def calls_of(segmenter, x=X):
    CALLS.clear()
    return segmenter(x).tolist(), len(CALLS)


def test_segments_are_cached_by_content(tmp_path):
    assert calls_of(Slow(folder=tmp_path)) == ([[0, 1, 1]], 1)
    assert calls_of(Slow(folder=tmp_path), X.clone()) == ([[0, 1, 1]], 0)
    assert calls_of(Slow(folder=tmp_path), X.flip(2)) == ([[1, 1, 0]], 1)
    assert calls_of(Slow(0.7, folder=tmp_path)) == ([[0, 0, 1]], 1)
    assert calls_of(Slow(folder=tmp_path), X.reshape(1, 3, 1)) == ([[0], [1], [1]], 1)
    assert calls_of(Slow(folder=tmp_path), X.double()) == ([[0, 1, 1]], 1)
    assert calls_of(Slow(folder=tmp_path)) == ([[0, 1, 1]], 0)  # none of these took its place
    assert sorted({file.suffix for file in (tmp_path / "segments").iterdir()}) == [".npz"]


def test_cached_segments_of_a_turned_input_are_its_own(tmp_path):
    x = torch.tensor([[[0.1, 0.6], [0.2, 0.9]]])
    assert calls_of(Slow(folder=tmp_path), x) == ([[0, 1], [0, 1]], 1)
    assert calls_of(Slow(folder=tmp_path), x.mT) == ([[0, 0], [1, 1]], 1)  # same memory, other order


def write_npz(file, name, array):
    arrays: dict = {name: np.array(array)}
    np.savez(file, **arrays)


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "shape", "one", "gap", "name"])
def test_a_broken_cache_file_is_made_again(tmp_path, damage):
    Slow(folder=tmp_path)(X)
    (file,) = (tmp_path / "segments").iterdir()
    whole = file.read_bytes()
    if damage in ("cut", "empty", "text"):
        file.write_bytes({"cut": whole[:-30], "empty": b"", "text": b"text"}[damage])
    else:
        array = {"shape": [[0], [1]], "one": [[0, 0, 0]], "gap": [[0, 2, 2]], "name": [[0, 1, 1]]}[damage]
        name = "other" if damage == "name" else "segments"
        write_npz(file, name, array)
    assert calls_of(Slow(folder=tmp_path)) == ([[0, 1, 1]], 1)
    assert calls_of(Slow(folder=tmp_path)) == ([[0, 1, 1]], 0)


def test_a_cache_that_cant_be_written_is_only_a_warning(tmp_path, caplog):
    (tmp_path / "file").touch()
    with caplog.at_level(logging.WARNING):
        assert calls_of(Slow(folder=tmp_path / "file")) == ([[0, 1, 1]], 1)
    assert "segments are not cached" in caplog.text


def test_a_single_segment_is_not_cached(tmp_path):
    with pytest.raises(InputError, match="found 1 segment"):
        Slow(cut=2.0, folder=tmp_path)(X)
    assert list(tmp_path.iterdir()) == []


def test_a_segmenter_for_time_takes_one_axis():
    class Beats(Segmenter):
        axes: ClassVar[int | None] = 1

        def _segment(self, x):
            return torch.arange(x.shape[1]) // 2

    assert Beats()(torch.zeros(1, 5)).tolist() == [0, 0, 1, 1, 2]
    with pytest.raises(InputError, match=r"shape \(1, 5, 5\)"):
        Beats()(torch.zeros(1, 5, 5))


def test_a_segmenter_that_gives_another_shape_is_told():
    class Wrong(Segmenter):
        def _segment(self, x):
            return x[0, :1].long()

    with pytest.raises(ValueError, match=r"_segment gave shape \(1, 8\), wanted \(8, 8\)"):
        Wrong()(torch.zeros(3, 8, 8))


@pytest.mark.parametrize("name", ["quickshift", "slic", "felzenszwalb", "colour_clusters", "grid"])
def test_the_yaml_makes_the_class_with_its_defaults(name):
    made = instantiate(OmegaConf.load(CONF / f"{name}.yaml"))
    assert made == type(made)()


def test_the_yaml_for_files_wants_a_path(tmp_path):
    conf = OmegaConf.load(CONF / "file.yaml")
    assert OmegaConf.is_missing(conf, "path")
    assert instantiate(conf, path=str(write(tmp_path / "a.npy", LABELS))) == FromFile(str(tmp_path / "a.npy"))
