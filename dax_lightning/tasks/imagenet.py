"""Which of a black box's classes mean an object of PASCAL VOC or COCO."""

from collections.abc import Iterable
from typing import Any

IMAGENET: dict[str, Any] = {  # ids among ImageNet's 1000 that are this COCO class and no other; the rest of COCO has no clear one
    "bicycle": (444, 671),
    "car": (436, 468, 511, 609, 627, 656, 661, 751, 817),
    "motorcycle": (665, 670),
    "airplane": (404, 895),
    "bus": (654, 779, 874),
    "train": (466, 547, 565, 705, 820),
    "truck": (555, 569, 675, 717, 864, 867),
    "boat": (472, 484, 510, 554, 576, 625, 628, 724, 780, 814, 871, 914),
    "traffic light": (920,),
    "parking meter": (704,),
    "bench": (703,),
    "bird": (*range(7, 25), *range(80, 101), *range(127, 147)),
    "cat": range(281, 286),
    "dog": range(151, 269),
    "horse": (339,),
    "sheep": (348, 349),
    "cow": (345, 346, 347),
    "elephant": (101, 385, 386),
    "bear": (294, 295, 296, 297),
    "zebra": (340,),
    "backpack": (414,),
    "umbrella": (879,),
    "handbag": (748,),
    "tie": (457, 906),
    "skis": (795,),
    "sports ball": (429, 430, 522, 574, 722, 768, 805, 852, 890),
    "tennis racket": (752,),
    "bottle": (440, 720, 737, 898, 907),
    "wine glass": (572, 966),
    "cup": (504, 968),
    "spoon": (910,),
    "bowl": (659, 809),
    "banana": (954,),
    "apple": (948,),
    "orange": (950,),
    "broccoli": (937,),
    "hot dog": (934,),
    "pizza": (963,),
    "chair": (423, 559, 765),
    "couch": (831,),
    "potted plant": (738,),
    "bed": (564,),
    "dining table": (532,),
    "toilet": (861,),
    "tv": (664, 782, 851),
    "laptop": (620, 681),
    "mouse": (673,),
    "remote": (761,),
    "keyboard": (508,),
    "cell phone": (487,),
    "microwave": (651,),
    "oven": (827,),
    "toaster": (859,),
    "sink": (896,),
    "refrigerator": (760,),
    "clock": (409, 530, 892),
    "vase": (883,),
    "teddy bear": (850,),
    "hair drier": (589,),
}
ALIASES = {  # VOC's words for COCO's
    "aeroplane": "airplane",
    "diningtable": "dining table",
    "motorbike": "motorcycle",
    "pottedplant": "potted plant",
    "sofa": "couch",
    "tvmonitor": "tv",
}


def meanings(names: Iterable[str], classes: tuple[str, ...] | None, count: int) -> dict[str, tuple[int, ...]]:
    """For each of the names that a black box knows, the ids of its classes that mean it.

    Args:
        names: VOC's or COCO's.
        classes: the black box's class names, if it has any.
        count: how many classes it has; 1000 are taken for ImageNet's.

    Example:
        >>> meanings(["sofa", "dog", "person"], ("Dog", "person"), 2)
        {'dog': (0,), 'person': (1,)}
        >>> meanings(["sofa", "person"], None, 1000)
        {'sofa': (831,)}
    """
    if count == 1000:
        found = {name: IMAGENET.get(ALIASES.get(name, name), ()) for name in names}
    else:
        own = {name.lower(): (index,) for index, name in reversed(list(enumerate(classes or ())))}
        found = {name: own.get(name.lower(), ()) for name in names}
    return {name: tuple(ids) for name, ids in found.items() if ids}
