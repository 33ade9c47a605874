import inspect
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra.utils import get_class, instantiate
from omegaconf import OmegaConf
from PIL import Image
from torch import nn
from torchvision.datasets import VOCSegmentation

import dax_lightning.run.config  # noqa: F401 -- the resolvers of the configuration
from dax_lightning.black_box import BlackBox, ImageInput, from_function, from_torch
from dax_lightning.errors import InputError
from dax_lightning.inputs import SpectrogramInput
from dax_lightning.tasks import Files, Photo, Shapes, Task, Voc, shape_scene, shapes_classifier
from dax_lightning.tasks.base import safe_keys
from dax_lightning.tasks.scenes import SHAPES
from dax_lightning.tasks.shapes import CLASSES, _trained
from dax_lightning.tasks.voc import CLASSES as VOC_CLASSES
from dax_lightning.types import Case

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data"
IDS = ["2007_000001", "2007_000002", "2007_000003", "2007_000004"]


def rgb_box(size=(16, 16), classes=("red", "green", "blue"), **more) -> BlackBox:
    """Scores are the mean of each colour."""
    return from_function(lambda rows: rows.mean((2, 3)), multi_label=True, size=size, classes=list(classes), **more)


def imagenet_box() -> BlackBox:
    """1000 scores that rise with the id, whatever the picture."""
    linear = nn.Linear(3, 1000)
    nn.init.zeros_(linear.weight)
    linear.bias.data = torch.arange(1000) / 1000
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear)
    return from_torch(net, ImageInput((32, 32)), (0.0,) * 3, (1.0,) * 3, tuple(f"class {i}" for i in range(1000)))


def wrong(match: str, make, *args, **kwargs) -> None:
    with pytest.raises(InputError, match=match) as raised:
        make(*args, **kwargs)
    assert "\n" not in str(raised.value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, colour in ((10, "red"), (2, "lime"), (1, "blue")):
        Image.new("RGB", (20, 20), colour).save(tmp_path / f"photo{number}.png")
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / ".hidden.png").write_text("no picture")
    return tmp_path


@pytest.mark.parametrize("file", sorted((ROOT / "conf" / "task").glob("*.yaml")), ids=lambda file: file.stem)
def test_yaml_has_the_parameters_and_their_defaults(file):
    conf = OmegaConf.load(file)
    top = OmegaConf.create({**dict.fromkeys(("target", "limit", "input", "masks", "ids", "data")), "only": "all", "task": conf})
    values: Any = OmegaConf.to_container(top.task, resolve=True)
    cls = get_class(values.pop("_target_"))
    values.pop("defaults", None)
    values = {name: instantiate(value) if isinstance(value, dict) else value for name, value in values.items()}
    given = {name: p.default for name, p in inspect.signature(cls).parameters.items() if name != "black_box"}
    assert values == given
    assert issubclass(cls, Task)


def test_shapes_yaml_of_the_black_box():
    values = dict(OmegaConf.load(ROOT / "conf" / "black_box" / "shapes.yaml"))
    assert values.pop("_target_") == "dax_lightning.tasks.shapes.shapes_classifier"
    assert values == {name: p.default for name, p in inspect.signature(shapes_classifier).parameters.items()}


def test_instantiated_with_a_black_box():
    box = rgb_box()
    task = instantiate({"_target_": "dax_lightning.tasks.Photo", "photograph": "coffee", "limit": None}, black_box=box)
    assert task.black_box is box
    assert task.keys() == ["coffee"]


@pytest.mark.parametrize("photograph", ["chelsea", "coffee", "astronaut", "rocket", "camera"])
def test_photo(photograph):
    box = rgb_box()
    case = Photo(box, photograph)[0]
    assert case.x.shape == (3, 16, 16)
    assert case.x.std() > 0.05
    assert box.queries == 1
    assert case.target == int(case.x.mean((1, 2)).argmax())


def test_shared_parameters_refused():
    wrong("limit=0: it must be at least 1", Photo, rgb_box(), limit=0)
    wrong("target=3 is no class .* ids 0 to 2", Photo, rgb_box(), target=3)
    wrong("pink", Photo, rgb_box(), target="pink")


def test_only_is_refused_where_nobody_knows_what_is_there(folder):
    for make in (Photo, lambda *args, **more: Files(args[0], str(folder), **more)):
        for only in ("correct", "wrong"):
            wrong(f"only={only}: task=(photo|files) does not know what is in its pictures", make, rgb_box(), only=only)
    assert Files(rgb_box(), str(folder), only="all").keys() == ["photo1", "photo2", "photo10"]


class Colours(Task):
    """Plain pictures; the picture's own class is its key's."""

    name = "colours"
    knows_classes = True

    def __init__(self, black_box, keys, **more):
        self.looked = []
        super().__init__(black_box, map(self.look, keys), None, **{"limit": None, **more})

    def look(self, key):
        self.looked.append(key)
        return key

    def _case(self, index):
        if self._keys[index].startswith("bad"):
            raise InputError("a bad file")
        x = torch.zeros(3, 16, 16)
        x[int(self._keys[index][1])] = 1
        return Case(self._keys[index], x, self._chosen(x))

    def _own_classes(self, index, case):
        return None if self._keys[index].startswith("?") else [int(self._keys[index][0])]


KEYS = ["00", "01", "11", "?2", "bad", "22", "20", "12"]  # own class, and the one that the black box will say


@pytest.mark.parametrize(
    ("only", "left"), [("all", KEYS), ("correct", ["00", "11", "bad", "22"]), ("wrong", ["01", "bad", "20", "12"])]
)
def test_only(only, left):
    task = Colours(rgb_box(), KEYS, only=only)
    assert len(task) == len(left)
    assert task.keys() == left
    assert [task[left.index(key)].key for key in left if key != "bad"] == [key for key in left if key != "bad"]
    wrong("a bad file", task.__getitem__, left.index("bad"))
    assert task[-1].key == left[-1]
    with pytest.raises(IndexError):
        task[len(left)]


@pytest.mark.parametrize(("only", "looked", "queries"), [("all", 2, 0), ("correct", 3, 2), ("wrong", 5, 3)])
def test_no_case_is_looked_at_beyond_the_limit(only, looked, queries):
    box = rgb_box()
    task = Colours(box, KEYS, only=only, limit=2)
    assert len(task.keys()) == 2
    assert len(task.looked) == looked
    assert box.queries == queries  # 01 and 11 are the same pixels


def test_cases_stream():
    task = Colours(rgb_box(), KEYS, only="correct")
    assert task.looked == []
    assert next(iter(task)).key == "00"
    assert task.looked == ["00"]
    assert task[1].key == "11"
    assert task.looked == ["00", "01", "11"]


def test_nothing_left_is_said():
    wrong(r"only=wrong leaves no case of task=colours \(2 looked at\)", Colours(rgb_box(), KEYS[::2][:1] * 2, only="wrong").keys)


def test_target_by_name_costs_no_row():
    box = rgb_box()
    assert Photo(box, target="Blue")[0].target == 2
    assert box.queries == 0


def test_files_in_natural_order_with_python_protocols(folder):
    task = Files(rgb_box(), str(folder))
    assert task.keys() == ["photo1", "photo2", "photo10"]
    assert [case.target for case in task] == [2, 1, 0]
    assert len(task) == 3
    assert task[-1].key == "photo10"
    with pytest.raises(IndexError):
        task[3]
    task.keys().clear()
    assert len(task) == 3


def test_files_one_glob_and_limit(folder):
    assert Files(rgb_box(), str(folder / "photo2.png")).keys() == ["photo2"]
    assert Files(rgb_box(), str(folder / "photo1*.*")).keys() == ["photo1", "photo10"]
    assert Files(rgb_box(), str(folder), limit=2).keys() == ["photo1", "photo2"]
    (folder / "a[1].png").write_bytes((folder / "photo1.png").read_bytes())
    assert Files(rgb_box(), str(folder / "a[1].png")).keys() == ["a_1"]


def test_keys_are_unique_and_safe(tmp_path):
    for name in ("a/cat.png", "b/cat.PNG", "b/Cat.jpg", "b/my cat: 1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (9, 9)).save(tmp_path / name)
    keys = Files(rgb_box(), str(tmp_path / "**" / "*")).keys()
    assert len({key.lower() for key in keys}) == 4
    assert all(re.fullmatch(r"[\w.-]+", key) for key in keys)


def test_one_bad_file_fails_alone(folder):
    (folder / "photo5.jpg").write_text("no picture")
    task = Files(rgb_box(), str(folder))
    assert task.keys() == ["photo1", "photo2", "photo5", "photo10"]
    wrong("photo5.jpg .* is not an image", task.__getitem__, 2)
    assert task[3].target == 0


def test_files_refused(folder):
    (folder / "empty").mkdir()
    wrong("task=files has no input: give input=FILE", Files, rgb_box())
    wrong("does not exist: give an image file, a folder", Files, rgb_box(), str(folder / "none"))
    wrong(r"is a folder without images: wanted files ending in .*\.jpg", Files, rgb_box(), str(folder / "empty"))
    wrong("is a glob without images: wanted files ending in", Files, rgb_box(), str(folder / "*.gif"))


def test_a_name_of_many_bytes_is_cut_and_its_files_fit(tmp_path):
    names = ["猫" * 82, "猫" * 81 + "犬", "x" * 240, "é" * 50]  # the first two begin alike
    for name in names:
        Image.new("RGB", (9, 9)).save(tmp_path / f"{name}.png")
    keys = Files(rgb_box(), str(tmp_path)).keys()
    assert len({key.lower() for key in keys}) == 4
    assert max(len(f"{key}__{'m' * 100}.json".encode()) for key in keys) <= 255
    assert "é" * 50 in keys  # 100 bytes fit
    (tmp_path / "out").mkdir()
    for key in keys:
        (tmp_path / "out" / f"{key}__{'m' * 100}.json").touch()
    again = safe_keys([*names, *names])
    assert again[:4] == safe_keys(names)  # the same name, the same key
    assert len(set(again)) == 8


def test_a_glob_through_linked_folders_counts_a_file_once(folder):
    (folder / "more").mkdir()
    Image.new("RGB", (20, 20)).save(folder / "more" / "deep.png")
    (folder / "more" / "again").symlink_to(folder)  # a loop
    (folder / "alias").symlink_to(folder / "more")
    (folder / "more" / ".secret.png").write_text("no picture")
    task = Files(rgb_box(), str(folder / "**" / "*.png"))
    assert sorted(task.keys()) == ["deep", "photo1", "photo10", "photo2"]
    assert [file.parent.name for file in task.files if file.stem == "deep"] == ["more"]


def test_a_file_that_a_plain_glob_meets_through_two_folders_counts_once(folder):
    (folder / "b_more").mkdir()
    Image.new("RGB", (20, 20)).save(folder / "b_more" / "deep.png")
    (folder / "a_alias").symlink_to(folder / "b_more")
    task = Files(rgb_box(), str(folder / "*" / "*.png"))
    assert task.files == [folder / "b_more" / "deep.png"]


@pytest.mark.parametrize("pattern", ["", "*.png", "**/*.png"])
def test_a_link_to_a_file_counts_it_once(folder, pattern):
    files = Files(rgb_box(), str(folder)).files
    (folder / "again.png").symlink_to(folder / "photo2.png")
    assert Files(rgb_box(), str(folder / pattern)).files == [file for file in files if pattern == "" or file.suffix == ".png"]
    assert Files(rgb_box(), str(folder / "again.png")).keys() == ["again"]  # given alone, it is what was asked for


def test_pictures_may_share_a_mask_by_links(folder):
    masks = folder / "masks"
    masks.mkdir()
    Image.fromarray(SQUARE).save(folder / "shared.mask", "PNG")
    for name in ("photo1", "photo2", "photo10"):
        (masks / f"{name}.png").symlink_to(folder / "shared.mask")
    assert [case.truth is not None for case in Files(rgb_box((20, 20)), str(folder), str(masks))] == [True] * 3


def test_other_inputs_are_read_by_their_kind(tmp_path):
    np.save(tmp_path / "x.npy", np.linspace(0, 1, 20, dtype=np.float32).reshape(4, 5))
    (tmp_path / "notes.txt").write_text("no sound")
    box = from_function(lambda rows: torch.stack([rows.mean((1, 2, 3)), 1 - rows.mean((1, 2, 3))], 1), size=SpectrogramInput(4))
    (case,) = Files(box, str(tmp_path))
    assert case.x.shape == (1, 4, 5)
    wrong("masks=.* are for pictures, the black box takes a spectrogram", Files, box, str(tmp_path), str(tmp_path))
    wrong("task=photo has pictures, the black box takes a spectrogram: give input=FILE", Photo, box)


SQUARE = np.zeros((20, 20), np.uint8)
SQUARE[5:15, 5:15] = 1


@pytest.fixture
def masked(folder):
    """The folder of photographs, and a function that writes masks and makes the task."""

    def made(masks: dict[str, np.ndarray | Image.Image], **more) -> Files:
        place = folder / "masks"
        place.mkdir(exist_ok=True)
        for name, mask in masks.items():
            if isinstance(mask, Image.Image):
                mask.save(place / name)
            elif name.endswith(".npy"):
                np.save(place / name, mask)
            else:
                Image.fromarray(mask).save(place / name)
        return Files(rgb_box((20, 20)), str(folder), str(place), **more)

    return made


def palette(mask: np.ndarray) -> Image.Image:
    picture = Image.fromarray(mask).convert("P")
    picture.putdata(mask.ravel().tolist())
    return picture


def test_one_value_is_the_object_whatever_it_is(masked):
    for value in (1, 7, 255):
        masks = {"photo1.png": SQUARE * value, "photo2.npy": SQUARE * np.int64(value), "photo10.png": palette(SQUARE * value)}
        for case in masked(masks):
            assert case.truth is not None
            assert torch.equal(case.truth, torch.from_numpy(SQUARE).bool())
            assert case.ignore is None
    rim = SQUARE.copy()
    rim[0] = 255
    case = masked({"photo1.png": rim, "photo2.npy": SQUARE.astype(bool), "photo10.png": SQUARE.astype(bool)})[0]
    assert case.ignore is not None
    assert case.ignore.nonzero()[:, 0].unique().tolist() == [0]


def test_several_values_are_ids_of_classes(masked):
    mask = np.zeros((20, 20), np.uint8)
    mask[:5], mask[5:10], mask[-1] = 1, 2, 255
    task = masked({"photo1.png": mask, "photo2.png": mask, "photo10.png": mask})
    blue, green = task[0], task[1]  # the second and third class
    assert blue.truth is not None
    assert green.truth is not None
    assert blue.ignore is not None
    assert blue.truth.nonzero()[:, 0].unique().tolist() == [5, 6, 7, 8, 9]
    assert green.truth.nonzero()[:, 0].unique().tolist() == [0, 1, 2, 3, 4]
    assert blue.ignore.nonzero()[:, 0].unique().tolist() == [19]
    read = (
        r"no pixel of the target, class 0 \(red\); its values 1, 2 are read as ids of the model's classes: save masks of 0 and 1"
    )
    wrong(f"{read}, or give task.masks_are=object; where they are such ids, give target=ID", task.__getitem__, 2)
    assert task.remarks() == ["masks: class ids 1, 2; 255 is ignored"]
    grey = masked({"photo1.png": SQUARE * 99 + 1, "photo2.png": mask, "photo10.png": mask})
    wrong("its values 1, 100 are read .*task.masks_are=object; the model has 3 classes", grey.__getitem__, 0)


def test_values_of_a_data_set_are_the_object_where_that_is_said(masked):
    horse, cow = SQUARE * 13, SQUARE * 10
    horse[0] = 255
    masks = {"photo1.png": horse, "photo2.png": cow, "photo10.png": SQUARE}
    wrong(r"class 2 \(blue\); its value 13 is read as an id .*the model has 3 classes", masked(masks).__getitem__, 0)
    task = masked(masks, masks_are="object")
    assert task.remarks() == ["masks: one object, values 1, 10, 13; 255 is ignored"]
    for case in task:
        assert torch.equal(case.truth, torch.from_numpy(SQUARE).bool())
    assert task[0].ignore.nonzero()[:, 0].unique().tolist() == [0]


def test_one_value_is_an_id_where_that_is_said(masked):
    masks = {f"photo{n}.png": SQUARE for n in (1, 2, 10)}
    assert masked(masks).remarks() == ["masks: one object, value 1"]
    task = masked(masks, masks_are="classes")
    assert task.remarks() == ["masks: class ids 1"]
    assert task[1].truth.sum() == 100  # the green one
    wrong(r"class 2 \(blue\); its value 1 is read as an id of the model's classes", task.__getitem__, 0)


def test_the_share_that_a_centre_crop_leaves_out(tmp_path):
    for name, size in (("long", (60, 20)), ("square", (20, 20))):
        Image.new("RGB", size).save(tmp_path / f"{name}.jpg")
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.new("RGB", (20, 40)).save(tmp_path / "turned.jpg", exif=turned)
    (tmp_path / "unreadable.jpg").write_text("no picture")
    assert Files(rgb_box((10, 20)), str(tmp_path)).outside() == pytest.approx([1 / 3, 1 / 2, 0])
    assert Files(rgb_box(ImageInput((10, 20), crop="squash")), str(tmp_path)).outside() == [0, 0, 0]
    assert Photo(rgb_box((30, 30))).outside() == pytest.approx([1 - 300 / 451], abs=0.02)


def test_a_mask_is_cut_as_its_picture_is(folder):
    (folder / "masks").mkdir()
    for name in ("photo1", "photo2", "photo10"):
        Image.fromarray(SQUARE).save(folder / "masks" / f"{name}.png")
    case = Files(rgb_box(ImageInput((5, 10), crop_pct=0.5)), str(folder), str(folder / "masks" / "*.png"))[0]
    assert case.truth is not None
    view = ImageInput((5, 10), crop_pct=0.5, interpolation="nearest")
    assert torch.equal(case.truth, view.image(Image.fromarray(SQUARE * 255))[0] > 0.5)


def test_a_bad_mask_fails_alone(masked, folder):
    task = masked({"photo1.png": SQUARE, "photo2.png": SQUARE[:10], "photo10.png": Image.new("RGB", (20, 20))})
    assert task[0].truth is not None
    wrong("mask .*photo2.png is 20x10 pixels, its picture 20x20: give one of the picture's size", task.__getitem__, 1)
    wrong(r"^mask .*photo10.png is a colour picture \(RGB\): save it with one channel", task.__getitem__, 2)
    (folder / "masks" / "photo10.png").unlink()
    (folder / "masks" / "photo2.png").write_text("no picture")
    task = masked({"photo1.png": SQUARE})
    wrong("mask .*photo2.png is damaged", task.__getitem__, 1)
    wrong("photo10.png has no mask in masks=.*: wanted photo10.png or photo10.npy", task.__getitem__, 2)
    task = masked({"photo1.npy": SQUARE, "photo2.png": SQUARE * 0, "photo10.npy": SQUARE / 2})
    wrong("photo1.* have one name", task.__getitem__, 0)
    wrong(r"no pixel of the target, class 1 \(green\); it is empty", task.__getitem__, 1)
    wrong("photo10.npy holds no whole numbers", task.__getitem__, 2)


def test_masks_refused(folder):
    (folder / "masks").mkdir()
    wrong(
        "masks .* is a folder without images: wanted files ending in .png .npy",
        Files,
        rgb_box(),
        str(folder),
        str(folder / "masks"),
    )
    Image.fromarray(SQUARE).save(folder / "masks" / "other.png")
    told = "has no mask of any picture: wanted photo1.png or photo1.npy for photo1.png"
    wrong(told, Files, rgb_box(), str(folder), str(folder / "masks"))
    wrong("masks .*none does not exist", Files, rgb_box(), str(folder), str(folder / "none"))
    wrong("masks=m alone is not enough: .*give input=FILE", Files, rgb_box(), None, "m")


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    """Four images of 32x32: a dog beside a smaller cat in void, a cow, background only, a mask that is cut off."""
    base = tmp_path / "VOCdevkit" / "VOC2012"
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (base / name).mkdir(parents=True)
    (base / "ImageSets" / "Segmentation" / "val.txt").write_text("\n".join(IDS) + "\n")
    masks = np.zeros((4, 32, 32), np.uint8)
    masks[0, 4:20, 4:20], masks[0, 24:30, 24:30] = VOC_CLASSES.index("dog"), VOC_CLASSES.index("cat")
    masks[0, 22:24] = 255
    masks[[1, 3], :8] = VOC_CLASSES.index("cow")
    for key, mask in zip(IDS, masks, strict=True):
        Image.new("RGB", (32, 32), "lime").save(base / "JPEGImages" / f"{key}.jpg")
        picture = Image.fromarray(mask).convert("P")
        picture.putdata(mask.ravel().tolist())
        picture.save(base / "SegmentationClass" / f"{key}.png")
    cut = base / "SegmentationClass" / f"{IDS[3]}.png"
    cut.write_bytes(cut.read_bytes()[:-60])
    return tmp_path


def test_voc_truth_and_void(voc):
    task = Voc(rgb_box((32, 32)), str(voc))
    assert task.keys() == [IDS[0], IDS[1], IDS[3]]  # the third has no object
    case = task[0]
    dog, void = torch.zeros(32, 32, dtype=torch.bool), torch.zeros(32, 32, dtype=torch.bool)
    dog[4:20, 4:20], void[22:24] = True, True
    assert case.truth is not None
    assert case.ignore is not None
    assert torch.equal(case.truth, dog)
    assert torch.equal(case.ignore, void)
    assert case.target == 1  # no class in common: the greenest
    wrong(f"{IDS[3]}.png is missing or no picture of class ids", task.__getitem__, 2)


def test_voc_tells_the_files_of_a_case(voc):
    task, base = Voc(rgb_box((32, 32)), str(voc)), voc / "VOCdevkit" / "VOC2012"
    files = {"file": base / "JPEGImages" / f"{IDS[1]}.jpg", "mask": base / "SegmentationClass" / f"{IDS[1]}.png"}
    assert task.content(1) == {name: file.read_bytes() for name, file in files.items()}


def test_voc_cut_as_the_black_box_sees_it(voc):
    box = rgb_box(ImageInput((16, 16), crop_pct=0.5))  # the middle half, at the photograph's own scale
    case = Voc(box, str(voc))[0]
    assert case.truth is not None
    assert case.truth[:12, :12].all()
    assert case.truth.sum() == 144


def test_voc_targets(voc):
    task = Voc(rgb_box((32, 32), ["cow", "cat", "Dog"]), str(voc))
    assert [task[0].target, task[1].target] == [2, 0]
    box = imagenet_box()
    task = Voc(box, str(voc))
    assert [task[0].target, task[1].target] == [268, 347]  # last of each group, since scores rise with the id
    assert box.queries == 1  # both photographs are the same pixels
    assert Voc(box, str(voc), target=7)[0].target == 7


def test_voc_only_and_wrong_label(voc):
    box = rgb_box((32, 32), ["cow", "cat", "sheep"], outputs="probabilities")  # lime: always a cat
    cow = Voc(box, str(voc))[1]
    assert (cow.target, cow.wrong) == (0, 1)
    dog_and_cat = Voc(rgb_box((32, 32), ["background", "dog", "cat"]), str(voc))[0]
    assert (dog_and_cat.target, dog_and_cat.wrong) == (1, None)  # the cat is in the picture, background is no object
    assert Voc(rgb_box((32, 32), ["cat", "cow", "dog"]), str(voc), only="correct").keys() == [IDS[1], IDS[3]]  # lime: a cow
    assert Voc(rgb_box((32, 32), ["cat", "cow", "dog"]), str(voc), only="wrong").keys() == [IDS[0], IDS[3]]  # damaged: stays


def test_voc_wrong_explains_the_answer_that_was_given(voc):
    def box():
        return rgb_box((32, 32), ["cat", "cow", "dog"])  # lime: a cow

    assert Voc(box(), str(voc), limit=1)[0].target == 2
    assert Voc(box(), str(voc), only="wrong", limit=1)[0].target == 1
    assert Voc(box(), str(voc), only="wrong", limit=1, target="dog")[0].target == 2


def test_voc_only_and_wrong_label_over_imagenet(voc):
    def box(top):
        return from_function(
            lambda rows: 0.95005 * torch.eye(1000)[top] + torch.arange(1000).repeat(len(rows), 1) / 1e7, size=(32, 32)
        )

    dog, cow = (Voc(box(999), str(voc))[index] for index in (0, 1))
    assert (dog.target, dog.wrong) == (268, 349)  # not a cat, which is there too, nor a car: a sheep, the last of the animals
    assert (cow.target, cow.wrong) == (347, 349)
    assert Voc(box(160), str(voc))[1].wrong == 160  # a dog where there is a cow
    assert Voc(box(160), str(voc), only="correct").keys() == [IDS[0], IDS[3]]
    assert Voc(box(283), str(voc), only="correct").keys() == [IDS[3]]  # the cat is smaller than the dog
    assert Voc(box(283), str(voc), only="wrong").keys() == [IDS[0], IDS[1], IDS[3]]


def test_voc_ids(voc):
    ids = voc / "ids.txt"
    ids.write_text(f"{IDS[1]}\n\n{IDS[0]}\n{IDS[2]}\n")
    task = Voc(rgb_box(), str(voc), ids=str(ids))
    assert task.keys() == [IDS[1], IDS[0], IDS[2]]
    assert Voc(rgb_box(), str(voc), ids=str(ids), limit=1).keys() == [IDS[1]]
    wrong(f"{IDS[2]} has no object in the black box's view", task.__getitem__, 2)
    ids.write_text("2012_004242")
    wrong("names 2012_004242, which task.image_set lacks", Voc, rgb_box(), str(voc), ids=str(ids))
    ids.write_text("\n")
    wrong("is empty: wanted case keys such as 2007_000001", Voc, rgb_box(), str(voc), ids=str(ids))
    wrong("can't be read: wanted a text file", Voc, rgb_box(), str(voc), ids=str(voc / "none.txt"))


def test_voc_refused(voc):
    wrong("has no root: give task.root=DIR", Voc, rgb_box())
    wrong("not laid out as VOCdevkit/VOC2012/.*root is the folder that holds", Voc, rgb_box(), str(voc / "VOCdevkit"))
    wrong("VOC2007", Voc, rgb_box(), str(voc), year=2007)
    wrong("image_set=train: choose one of val", Voc, rgb_box(), str(voc), image_set="train")


def test_voc_on_real_data():
    root = DATA / "voc"
    if not root.is_dir():
        pytest.skip(f"no VOC data at {root}")
    view = ImageInput((32, 32), crop="squash")
    task = Voc(rgb_box(view), str(root), ids=str(root / "both_models_correct.txt"))
    assert len(task) == 108
    theirs = VOCSegmentation(root, image_set="val")
    for index in (0, 50, 107):
        photograph, mask = theirs[[Path(file).stem for file in theirs.images].index(task.keys()[index])]
        case, labels = task[index], view.labels(mask)
        assert case.truth is not None
        assert torch.equal(case.truth, (labels > 0) & (labels < 255))  # one class an image
        assert torch.allclose(case.x, view.image(photograph))


def test_scene_is_reproducible_and_known():
    for index in range(10):
        scene, again = shape_scene(3, index), shape_scene(3, index)
        assert torch.equal(scene.x, again.x)
        assert torch.equal(scene.segments, again.segments)
        assert scene.label == index % 5
        assert scene.x.min() >= 0
        assert scene.x.max() <= 1
        inside = set(scene.segments[scene.truth].tolist())
        assert not inside & set(scene.segments[~scene.truth].tolist())  # the object is a union of segments
        assert 2 <= len(inside) <= 4
        assert scene.segments.unique().tolist() == list(range(int(scene.segments.max()) + 1))
        assert 20 <= scene.segments.max() <= 44
        assert 0.04 < scene.truth.float().mean() < 0.25
    assert not torch.equal(shape_scene(3, 0).x, shape_scene(4, 0).x)
    assert shape_scene(0, 0, size=48).x.shape == (3, 48, 48)


def test_shapes_are_balanced_and_cut_by_the_view():
    task = Shapes(rgb_box((64, 64)), n=40, target=0)
    assert [sum(key.startswith(shape) for key in task.keys()) for shape in SHAPES] == [8] * 5  # noqa: SIM118
    scene, case = task.scene(7), task[7]
    assert torch.equal(case.x, scene.x)
    assert case.truth is not None
    assert case.segments is not None
    assert torch.equal(case.truth, scene.truth)
    assert torch.equal(case.segments, scene.segments)
    smaller = Shapes(rgb_box(ImageInput((40, 40), crop_pct=0.7)), n=3, target=0)[2]
    assert smaller.segments is not None
    assert smaller.segments.shape == (40, 40)
    assert smaller.segments.unique().tolist() == list(range(int(smaller.segments.max()) + 1))


def test_shapes_only_and_wrong_label():
    box = from_function(  # always the disc, then the ring
        lambda rows: torch.tensor([0.1, 0.5, 0.3, 0.1]).repeat(len(rows), 1),
        size=(64, 64),
        classes=["nothing", "disc", "ring", "x"],
    )
    assert [(case.target, case.wrong) for case in Shapes(box, n=2)] == [(1, 2), (1, 2)]
    assert [(case.target, case.wrong) for case in Shapes(box, n=2, target="ring")] == [(2, None), (2, 1)]
    assert Shapes(box, n=10, only="correct").keys() == ["disc_0", "disc_5"]
    ringed = Shapes(box, n=10, only="wrong")
    assert ringed.keys() == ["ring_4", "ring_9"]  # the box has no word for the others
    assert torch.equal(ringed.scene(1).x, shape_scene(0, 9).x)


def test_shapes_refused():
    wrong("task.n=0: it must be at least 1", Shapes, rgb_box(), n=0)
    wrong("size=8, .* 32 or more pixels", Shapes, rgb_box(), size=8)
    wrong("seed=-1", Shapes, rgb_box(), seed=-1)
    wrong("black_box.epochs=0: both must be at least 1", shapes_classifier, epochs=0)


def test_classifier_is_reproducible_and_leaves_global_state_alone():
    threads, before = torch.get_num_threads(), torch.get_rng_state()
    box = shapes_classifier(seed=5, drawings=40, epochs=1)
    _trained.cache_clear()
    again = shapes_classifier(seed=5, drawings=40, epochs=1)
    assert box.fingerprint == again.fingerprint != shapes_classifier(seed=6, drawings=40, epochs=1).fingerprint
    assert torch.equal(before, torch.get_rng_state())
    assert threads == torch.get_num_threads()
    again(torch.zeros(2, 3, 64, 64))
    assert (again.queries, box.queries) == (2, 0)
    assert pickle.loads(pickle.dumps(again)).fingerprint == box.fingerprint


def test_classifier_sees_the_object_and_nothing_else():
    box = shapes_classifier()
    assert box.classes == CLASSES
    scenes = [shape_scene(1, index) for index in range(200)]
    x, truth = torch.stack([s.x for s in scenes]), torch.stack([s.truth for s in scenes])[:, None]
    labels, rows = torch.tensor([s.label for s in scenes]), torch.arange(200)
    assert (box(x).argmax(1) == labels).float().mean() >= 0.97
    grey = x.mean((2, 3), keepdim=True)
    elsewhere = x.roll(1, 0)  # another picture's background, its object and all
    cases = {"grey": grey, "black": torch.zeros_like(x), "another": torch.where(truth.roll(1, 0), grey.roll(1, 0), elsewhere)}
    for name, rest in cases.items():
        assert (box(torch.where(truth, x, rest)).argmax(1) == labels).float().mean() >= 0.85, name
        assert box(torch.where(truth, rest, x))[rows, labels].mean() < 0.15, name
    halves = [torch.where(torch.isin(s.segments, s.segments[s.truth].unique()[::2]), s.x, grey[i]) for i, s in enumerate(scenes)]
    half = box(torch.stack(halves))[rows, labels].mean()
    assert 0.2 < half < 0.8  # a part of the object is a part of the score
