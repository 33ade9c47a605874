"""Train a linear head over VOC's classes: ``python scripts/train_voc_head.py --backbone lite0 --root DIR --out FILE``."""

import argparse
import sys
from collections.abc import Sequence

from dax_lightning.errors import InputError
from dax_lightning.training.voc_head import FOLDS, train_voc_head


def main(arguments: Sequence[str]) -> int:
    """Train, print the accuracies and write the head; 0 when it is there, 2 when something was missing."""
    parser = argparse.ArgumentParser(prog="train_voc_head.py", description="A linear VOC head on a frozen backbone.")
    parser.add_argument("--backbone", choices=("lite0", "vit_tiny"), default="lite0")
    parser.add_argument("--root", required=True, help="the folder that holds VOCdevkit/")
    parser.add_argument("--out", required=True, help="the .safetensors file to write")
    parser.add_argument("--weights", help="the backbone's local file, for vit_tiny")
    parser.add_argument("--exclude", help="a text file of case keys that will be evaluated: they only measure the head")
    parser.add_argument("--image-set", default="val")
    parser.add_argument("--year", type=int, default=2012)
    parser.add_argument("--crops", type=int, default=8, help="with the object and without, a photograph")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    given = vars(parser.parse_args(arguments))
    out = given.pop("out")
    try:
        made = train_voc_head(**given)
        made.head.save(out)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    classes = ", ".join(made.head.classes)
    print(f"{made.head.backbone}: {made.photographs} photographs, {made.crops} crops, {classes}; l2={made.l2:g}")
    print(f"{FOLDS} folds of these photographs: {made.folds}")
    print(f"held out: {made.held_out or 'nothing (give --exclude FILE)'}")
    print(f"written: {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
