"""COCO in both of its layouts, against outlines that were filled by hand and by another library."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.path import Path as Outline
from PIL import Image
from pycocotools import mask
from timm.data.imagenet_info import ImageNetInfo

from dax_lightning.black_box import ImageInput, from_function
from dax_lightning.errors import InputError
from dax_lightning.tasks import Coco
from dax_lightning.tasks.coco import InView
from dax_lightning.tasks.coco_files import NAMES
from dax_lightning.tasks.imagenet import ALIASES, IMAGENET, meanings
from dax_lightning.tasks.voc import CLASSES as VOC_CLASSES
from tests.conftest import ROOT

BOX = {"cat": [(2, 4), (22, 4), (22, 26), (2, 26)], "dog": [(30, 10), (56, 10), (56, 40), (30, 40)]}  # corners x, y
SIZE = (60, 40)  # of the photographs
MIDDLES = np.stack(np.meshgrid(np.arange(480), np.arange(480)), -1).reshape(-1, 2) + 0.5  # of pixels


def box_of(classes=("cat", "dog", "cow"), size=(40, 60), **more):
    """Scores are the mean of each colour: the reddest photograph is a cat."""
    return from_function(
        lambda rows: rows.mean((2, 3)), multi_label=True, size=size, classes=None if classes is None else list(classes), **more
    )


def filled(name, size=(40, 60)):
    (left, top), _, (right, bottom), _ = BOX[name]
    mask = torch.zeros(size, dtype=torch.bool)
    mask[top:bottom, left:right] = True
    return mask


def yolo_line(name):
    points = " ".join(f"{x / SIZE[0]:.6f} {y / SIZE[1]:.6f}" for x, y in BOX[name])
    return f"{NAMES.index(name)} {points}\n"


@pytest.fixture
def yolo(tmp_path):
    """a: a cat and a dog; b: a cat alone; c: without a label file; d: a cat and a dog, greener."""
    for folder in ("images", "labels"):
        (tmp_path / folder / "train2017").mkdir(parents=True)
    for name, colour in zip("abcd", ("red", "red", "red", "lime"), strict=True):
        Image.new("RGB", SIZE, colour).save(tmp_path / "images/train2017" / f"{name}.png")
    for name in "ad":
        (tmp_path / "labels/train2017" / f"{name}.txt").write_text(yolo_line("cat") + yolo_line("dog"))
    (tmp_path / "labels/train2017/b.txt").write_text(yolo_line("cat"))
    return tmp_path


def official(folder: Path, *more: dict) -> Path:
    """One photograph with the same cat and dog, and more annotations."""
    for name in ("annotations", "val2017"):
        (folder / name).mkdir()
    Image.new("RGB", SIZE, "red").save(folder / "val2017" / "a.png")
    outline = [{"category_id": i, "segmentation": [[v for p in BOX[n] for v in p]]} for i, n in ((17, "cat"), (18, "dog"))]
    content = {
        "images": [{"id": 5, "file_name": "a.png", "width": SIZE[0], "height": SIZE[1]}],
        "categories": [{"id": 17, "name": "cat"}, {"id": 18, "name": "dog"}, {"id": 21, "name": "cow"}],
        "annotations": [{"image_id": 5, "iscrowd": 0, **annotation} for annotation in (*outline, *more)],
    }
    (folder / "annotations" / "instances_val2017.json").write_text(json.dumps(content))
    return folder


def test_a_case_for_each_class_of_a_photograph_of_several(yolo):
    task = Coco(box_of(), str(yolo))
    assert task.keys() == ["a_cat", "a_dog", "d_cat", "d_dog"]
    for case, name in zip(task, ("cat", "dog"), strict=False):
        assert case.truth is not None
        assert torch.equal(case.truth, filled(name))
        assert (case.target, case.wrong, case.ignore) == (("cat", "dog").index(name), 2, None)


def test_a_case_is_its_photograph_and_its_outlines(yolo):
    before = [Coco(box_of(), str(yolo)).content(index) for index in range(4)]
    assert before[0]["file"] == (yolo / "images/train2017/a.png").read_bytes()
    (yolo / "labels/train2017/d.txt").write_text(yolo_line("cat") + yolo_line("dog").replace("0.5", "0.6"))
    after = [Coco(box_of(), str(yolo)).content(index) for index in range(4)]
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, True, False, False]


def test_the_truth_is_cut_as_the_photograph_is(yolo):
    box = box_of(size=ImageInput((20, 20), crop_pct=0.5))  # the middle 20x20 pixels at their own scale
    cases = {case.key: case for case in Coco(box, str(yolo))}
    truth = cases["a_dog"].truth
    assert truth is not None
    assert torch.equal(truth, filled("dog")[10:30, 20:40])


def test_what_is_out_of_view_is_no_case(yolo):
    with pytest.raises(InputError, match=r"shows 2 of the 3 COCO classes .* lower task.in_view.min_share"):
        Coco(box_of(size=(40, 40)), str(yolo), in_view=InView(min_share=0.4))
    assert len(Coco(box_of(), str(yolo), in_view=InView(min_share=0.17))) == 4
    with pytest.raises(InputError, match="shows 2"):
        Coco(box_of(), str(yolo), in_view=InView(min_share=0.2))  # the cat covers 18 %


def test_photographs_of_a_single_thing_where_they_are_asked_for(yolo):
    assert Coco(box_of(), str(yolo), in_view=InView(min_classes=1)).keys() == ["a_cat", "a_dog", "b_cat", "d_cat", "d_dog"]
    assert Coco(box_of(), str(yolo), in_view=InView(min_share=0.2, min_classes=1)).keys() == ["a_dog", "d_dog"]
    greener = Coco(
        box_of(), str(yolo), in_view=InView(min_share=0.2, min_score=0.1, min_classes=1)
    )  # where red is none, a dog is seen
    assert greener.keys() == ["d_dog"]
    with pytest.raises(InputError, match="shows 3 of the 3 COCO classes"):
        Coco(box_of(), str(yolo), in_view=InView(min_classes=3))
    with pytest.raises(InputError, match="min_classes=0: wanted 1 or more"):
        Coco(box_of(), str(yolo), in_view=InView(min_classes=0))


def test_min_score_leaves_classes_that_the_black_box_sees(yolo):
    with pytest.raises(InputError, match="shows 2"):
        Coco(box_of(), str(yolo), in_view=InView(min_score=0.1))  # red photographs are no dogs at all


def test_both_layouts_say_the_same(yolo, tmp_path_factory):
    theirs = Coco(box_of(), str(official(tmp_path_factory.mktemp("official"))))
    assert theirs.keys() == ["a_cat", "a_dog"]
    for ours, other in zip(Coco(box_of(), str(yolo)), theirs, strict=False):
        assert ours.truth is not None
        assert other.truth is not None
        assert torch.equal(ours.truth, other.truth)
        assert torch.equal(ours.x, other.x)
        assert (ours.target, ours.wrong) == (other.target, other.wrong)


def test_a_crowd_is_ignored_and_its_class_is_not_wrong(tmp_path):
    crowded = np.zeros((40, 60), np.uint8)
    crowded[30:36, 2:29], crowded[10:12, 30:33] = 1, 1  # the second part lies on the dog
    flat = crowded.T.ravel()  # runs go down the columns
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff(np.array([0, *edges, flat.size])).tolist()
    crowd = {"category_id": 18, "iscrowd": 1, "segmentation": {"size": [40, 60], "counts": runs}}
    cow = {"category_id": 21, "iscrowd": 1, "segmentation": {"size": [40, 60], "counts": runs}}
    cat, dog = Coco(box_of(), str(official(tmp_path, crowd, cow)))
    assert cat.ignore is None
    assert dog.ignore is not None
    assert torch.equal(dog.ignore, torch.from_numpy(crowded).bool() & ~filled("dog"))
    assert (cat.wrong, dog.wrong) == (None, None)  # a cow is there too, though nobody says where each is


def test_a_class_of_which_an_object_is_nowhere_gives_no_case(tmp_path):
    lost = {"category_id": 18, "segmentation": {"size": [40, 60], "counts": "PPYo1"}}  # cut off, and no box
    cow = {"category_id": 21, "segmentation": [[0.0, 30.0, 20.0, 30.0, 20.0, 39.0, 0.0, 39.0]]}
    task = Coco(box_of((*"ab", "cat", "dog", "cow"), outputs="probabilities"), str(official(tmp_path, lost, cow)))
    assert task.keys() == ["a_cat", "a_cow"]


def test_compressed_masks_are_read(tmp_path):
    wanted = np.zeros((40, 60), np.uint8)
    wanted[30:36, 3:29] = wanted[31, 40] = 1
    packed = {**mask.encode(np.asfortranarray(wanted)), "size": [40, 60]}
    cow = {"category_id": 21, "segmentation": {**packed, "counts": packed["counts"].decode()}}
    cases = {case.key: case for case in Coco(box_of(), str(official(tmp_path, cow)))}
    truth = cases["a_cow"].truth
    assert truth is not None
    assert np.array_equal(truth.numpy(), wanted)


OUTLINE = [[20, 30, 60, 30, 60, 90, 20, 90]]
BOXED = {"image_id": 1, "category_id": 17, "bbox": [0, 0, 2, 2]}
ODD = {  # annotations that can't be used, and what is said of them
    "no class": ({"id": 9, "image_id": 1, "category_id": 99, "segmentation": OUTLINE}, "of a class that is not listed"),
    "no image": ({"id": 9, "image_id": 99, "category_id": 17, "segmentation": OUTLINE}, "of an image that is not listed"),
    "text": ("annotation", "that are no objects"),
    "far": ({**BOXED, "segmentation": [[0, 0, 1e300, 0, 0, 1e300]]}, "without a mask"),
    "nan": ({**BOXED, "segmentation": [[0, 0, float("nan"), 0, 0, 1]]}, "without a mask"),
    "boxes": ({**BOXED, "segmentation": [[0, 0, 9, 9]]}, "without a mask"),
    "null": ({**BOXED, "segmentation": None}, "without a mask"),
    "none": (BOXED, "without a mask"),
}


def two_photographs(folder: Path, content: dict) -> str:
    for name in ("annotations", "val2017"):
        (folder / name).mkdir()
    for name in ("1.jpg", "2.jpg"):
        Image.new("RGB", (160, 120), "red").save(folder / "val2017" / name)
    (folder / "annotations" / "instances_val2017.json").write_text(json.dumps(content))
    return str(folder)


def plain(*more, text_ids=False, **without) -> dict:
    annotations = [
        {"id": 10 * i + j, "image_id": str(i) if text_ids else i, "category_id": 17 + j, "segmentation": OUTLINE}
        for i in (1, 2)
        for j in (0, 1)
    ]
    images = [{"id": i, "file_name": f"{i}.jpg", "width": 160, "height": 120} for i in (1, 2)]
    for image in images:
        image.update(without)
    names = [{"id": 17, "name": "cat"}, {"id": "18", "name": "dog"}]
    return {"images": images, "categories": names, "annotations": [*annotations, *more]}


@pytest.mark.parametrize("odd", ODD)
def test_what_cannot_be_used_is_left_out_and_counted(tmp_path, caplog, odd):
    annotation, told = ODD[odd]
    task = Coco(box_of(size=(120, 160)), two_photographs(tmp_path, plain(annotation)))
    assert task.keys() == ["1_cat", "1_dog", "2_cat", "2_dog"]
    (record,) = caplog.records
    assert f"1 annotations {told}" in record.getMessage()
    case = task[0]
    assert case.truth is not None
    assert int(case.truth.sum()) == 40 * 60
    assert (0 if case.ignore is None else int(case.ignore.sum())) == (4 if "without" in told else 0)


def test_ids_as_text_and_sizes_that_are_missing(tmp_path_factory, caplog):
    for content in (plain(text_ids=True), plain(width=None), plain(height="120"), plain(width=0)):
        task = Coco(box_of(size=(120, 160)), two_photographs(tmp_path_factory.mktemp("odd"), content))
        assert task.keys() == ["1_cat", "1_dog", "2_cat", "2_dog"]
    assert not caplog.records


def test_ids_that_are_equal_as_numbers_are_the_same(tmp_path_factory, caplog):
    """As pandas writes a column of whole numbers that once had a gap."""
    for change in (float, lambda i: f"{i:012d}", lambda i: f"{i}.0"):
        for of, key in (("annotations", "image_id"), ("annotations", "category_id"), ("images", "id"), ("categories", "id")):
            content = plain()
            for thing in content[of]:
                thing[key] = change(int(thing[key]))
            task = Coco(box_of(size=(120, 160)), two_photographs(tmp_path_factory.mktemp("odd"), content))
            assert task.keys() == ["1_cat", "1_dog", "2_cat", "2_dog"]
    assert not caplog.records


@pytest.mark.parametrize("again", [{}, {"id": 1.0}, {"id": 7}, {"file_name": "2.jpg"}], ids=["same", "float", "file", "id"])
def test_an_image_that_is_listed_twice_counts_once(tmp_path, caplog, again):
    content = plain({"image_id": 7, "category_id": 17, "segmentation": [[80, 30, 90, 30, 90, 40, 80, 40]]})
    content["images"].append({**content["images"][0], **again})
    task = Coco(box_of(size=(120, 160)), two_photographs(tmp_path, content))
    assert task.keys() == ["1_cat", "1_dog", "2_cat", "2_dog"]
    assert "1 images that are listed twice" in caplog.text
    truth = task[0].truth
    assert truth is not None
    assert int(truth.sum()) == 40 * 60 + (10 * 10 if "7" in str(again) else 0)  # what either id has


def test_annotations_that_are_null_are_none(tmp_path):
    with pytest.raises(InputError, match="no photograph of"):
        Coco(box_of(size=(120, 160)), two_photographs(tmp_path, {**plain(), "annotations": None}))


@pytest.mark.parametrize("written", [True, False])
def test_a_mask_of_another_size_costs_no_case(tmp_path, caplog, written):
    """Its box is left out of the truth, as that of an object without a mask."""
    packed = {"size": [60, 80], "counts": [0, 60 * 80]}
    content = plain({**BOXED, "segmentation": packed}, width=160 if written else None)
    task = Coco(box_of(size=(120, 160)), two_photographs(tmp_path, content))
    assert task.keys() == ["1_cat", "1_dog", "2_cat", "2_dog"]
    assert "1 annotations with a mask of another size than their image (their boxes are left out" in caplog.text
    case = task[0]
    assert case.truth is not None
    assert case.ignore is not None
    assert (int(case.truth.sum()), int(case.ignore.sum())) == (40 * 60, 4)


def test_images_and_classes_that_cannot_be_used(tmp_path_factory, caplog):
    content = plain()
    content["images"].append({"id": 3})
    content["categories"].append({"id": 3})
    root = two_photographs(tmp_path_factory.mktemp("odd"), content)
    assert len(Coco(box_of(size=(120, 160)), root)) == 4
    (record,) = caplog.records
    assert "1 classes without an id or a name, 1 images without an id or a file name" in record.getMessage()
    content["annotations"] = []
    with pytest.raises(InputError, match="no photograph of"):
        Coco(box_of(), two_photographs(tmp_path_factory.mktemp("odd"), content))


def test_the_shared_oddities(tmp_path_factory):
    files = sorted((ROOT.parent / "shared" / "cases" / "coco").glob("*.json"))
    if not files:
        pytest.skip("the shared cases are missing")
    for file in files:
        root = two_photographs(tmp_path_factory.mktemp("odd"), json.loads(file.read_text()))
        assert len(Coco(box_of(size=(120, 160)), root)) == 4, file.name


def test_only_correct_or_wrong_and_no_further_than_the_limit(yolo):
    assert Coco(box_of(), str(yolo), only="correct").keys() == ["a_cat", "d_dog"]
    assert Coco(box_of(), str(yolo), only="wrong").keys() == ["a_dog", "d_cat"]
    box = box_of()
    assert Coco(box, str(yolo), only="correct", limit=1).keys() == ["a_cat"]
    assert box.queries == 1


def imagenet_box(rising=True):
    scores = torch.arange(1000).float() if rising else torch.arange(1000).flip(0).float()
    return from_function(lambda rows: (scores / 1000).expand(len(rows), -1).softmax(1), size=(40, 60))


def test_over_imagenet_the_most_probable_of_the_group(yolo):
    cat, dog = Coco(imagenet_box(), str(yolo), limit=2)
    assert (cat.target, dog.target) == (285, 268)
    assert cat.wrong == dog.wrong == max(i for name, ids in IMAGENET.items() if name not in BOX for i in ids)
    assert Coco(imagenet_box(rising=False), str(yolo), limit=1)[0].target == 281
    assert Coco(imagenet_box(), str(yolo), target=7)[0].target == 7


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("15 0.5 0.5 0.2 0.2", "4 numbers after the class"),  # a box, not a polygon
        ("80 0 0 1 0 1 1", "tuple index out of range"),
        ("-1 0 0 1 0 1 1", "class -1"),
        ("15 0 0 7 0 1 nan", "outside"),
        ("cat 0 0 1 0 1 1", "invalid literal"),
    ],
)
def test_one_bad_label_file_fails_alone(yolo, text, told):
    (yolo / "labels/train2017/a.txt").write_text(text)
    task = Coco(box_of(), str(yolo))
    assert task.keys() == ["a", "d_cat", "d_dog"]
    with pytest.raises(InputError, match=told) as raised:
        task[0]
    assert "a.txt holds no YOLO polygons" in str(raised.value)
    assert task[1].key == "d_cat"


def test_an_outline_of_another_picture_is_refused(tmp_path):
    root = official(tmp_path)
    Image.new("RGB", (40, 60)).save(root / "val2017" / "a.png")
    with pytest.raises(InputError, match="is 40x60 pixels, its outlines are drawn in 60x40"):
        Coco(box_of(), str(root))[0]


def test_refused(yolo, tmp_path_factory):
    with pytest.raises(InputError, match=r"has no root: give task\.root=DIR"):
        Coco(box_of())
    with pytest.raises(InputError, match=r"neither annotations/instances_SET.json \(COCO\) nor labels/SET"):
        Coco(box_of(), str(yolo / "images"))
    with pytest.raises(InputError, match="image_set=val2017: choose one of train2017"):
        Coco(box_of(), str(yolo), "val2017")
    with pytest.raises(InputError, match="min_share=2"):
        Coco(box_of(), str(yolo), in_view=InView(min_share=2.0))
    with pytest.raises(InputError, match="shows 2 of the 0 COCO classes"):
        Coco(box_of(None), str(yolo))
    root = official(tmp_path_factory.mktemp("broken"))
    (root / "annotations" / "instances_val2017.json").write_text('{"images": [{}]}')
    with pytest.raises(InputError, match="is no COCO instances file"):
        Coco(box_of(), str(root))


def test_imagenet_ids_are_what_their_names_say():
    """Every id but the birds' and the dogs' by its name; of these, the first and the last of each stretch."""
    info = ImageNetInfo()
    named = {name: {info.index_to_description(i).split(",")[0] for i in ids} for name, ids in IMAGENET.items()}
    for name, expected in EXPECTED.items():
        assert named.pop(name) == set(expected.split("; ")), name
    assert set(named) == {"bird", "dog"}
    stretches = {"bird": "cock great_grey_owl black_grouse black_swan white_stork albatross", "dog": "Chihuahua Mexican_hairless"}
    edges = {"bird": (7, 24, 80, 100, 127, 146), "dog": (151, 268)}
    for name, ids in edges.items():
        assert [info.index_to_description(i).split(",")[0].replace(" ", "_") for i in ids] == stretches[name].split()
        assert all(i in IMAGENET[name] for i in ids)
        assert not any(i in IMAGENET[name] for i in (ids[0] - 1, ids[-1] + 1))
    everything = [i for ids in IMAGENET.values() for i in ids]
    assert len(everything) == len(set(everything))  # no class means two things
    assert set(IMAGENET) <= set(NAMES)
    assert set(ALIASES) <= set(VOC_CLASSES)
    assert set(ALIASES.values()) <= set(NAMES)


def test_meanings():
    assert meanings(["tvmonitor", "person"], None, 1000) == {"tvmonitor": (664, 782, 851)}
    assert meanings(["tv", "cat"], ("A", "Cat", "cat"), 3) == {"cat": (1,)}
    assert meanings(["tv"], None, 5) == {}


def test_real_polygons_as_another_library_fills_them(data):
    root = data / "coco128-seg"
    box = from_function(
        lambda rows: torch.ones(len(rows), 80) / 80, size=ImageInput((480, 480), crop="squash"), classes=list(NAMES)
    )
    task = Coco(box, str(root), limit=12)
    assert len(task) == 12
    for case in task:
        stem, name = case.key.split("_", 1)
        lines = [line.split() for line in (root / "labels/train2017" / f"{stem}.txt").read_text().splitlines()]
        wanted = NAMES.index(name.replace("_", " "))
        polygons = [np.array(line[1:], float).reshape(-1, 2) * 480 for line in lines if int(line[0]) == wanted]
        theirs = np.any([Outline(points).contains_points(MIDDLES).reshape(480, 480) for points in polygons], 0)
        assert case.truth is not None
        ours = case.truth.numpy()
        assert (ours & theirs).sum() / (ours | theirs).sum() > 0.9, case.key
        assert case.target == wanted


EXPECTED = {
    "bicycle": "bicycle-built-for-two; mountain bike",
    "car": "beach wagon; cab; convertible; jeep; limousine; minivan; Model T; racer; sports car",
    "motorcycle": "moped; motor scooter",
    "airplane": "airliner; warplane",
    "bus": "minibus; school bus; trolleybus",
    "train": "bullet train; electric locomotive; freight car; passenger car; steam locomotive",
    "truck": "fire engine; garbage truck; moving van; pickup; tow truck; trailer truck",
    "boat": "canoe; catamaran; container ship; fireboat; gondola; lifeboat; liner; pirate; schooner; speedboat; trimaran; yawl",
    "traffic light": "traffic light",
    "parking meter": "parking meter",
    "bench": "park bench",
    "cat": "tabby; tiger cat; Persian cat; Siamese cat; Egyptian cat",
    "horse": "sorrel",
    "sheep": "ram; bighorn",
    "cow": "ox; water buffalo; bison",
    "elephant": "tusker; Indian elephant; African elephant",
    "bear": "brown bear; American black bear; ice bear; sloth bear",
    "zebra": "zebra",
    "backpack": "backpack",
    "umbrella": "umbrella",
    "handbag": "purse",
    "tie": "bow tie; Windsor tie",
    "skis": "ski",
    "sports ball": "baseball; basketball; croquet ball; golf ball; ping-pong ball; rugby ball; soccer ball; tennis ball; "
    "volleyball",
    "tennis racket": "racket",
    "bottle": "beer bottle; pill bottle; pop bottle; water bottle; wine bottle",
    "wine glass": "goblet; red wine",
    "cup": "coffee mug; cup",
    "spoon": "wooden spoon",
    "bowl": "mixing bowl; soup bowl",
    "banana": "banana",
    "apple": "Granny Smith",
    "orange": "orange",
    "broccoli": "broccoli",
    "hot dog": "hotdog",
    "pizza": "pizza",
    "chair": "barber chair; folding chair; rocking chair",
    "couch": "studio couch",
    "potted plant": "pot",
    "bed": "four-poster",
    "dining table": "dining table",
    "toilet": "toilet seat",
    "tv": "monitor; screen; television",
    "laptop": "laptop; notebook",
    "mouse": "mouse",
    "remote": "remote control",
    "keyboard": "computer keyboard",
    "cell phone": "cellular telephone",
    "microwave": "microwave",
    "oven": "stove",
    "toaster": "toaster",
    "sink": "washbasin",
    "refrigerator": "refrigerator",
    "clock": "analog clock; digital clock; wall clock",
    "vase": "vase",
    "teddy bear": "teddy",
    "hair drier": "hand blower",
}
