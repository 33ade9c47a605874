"""Train a classifier of sound: ``python scripts/train_sound.py esc10|cough --root DIR --out FILE``."""

import argparse
import sys
from collections.abc import Sequence

from dax_lightning.black_box.torch.sound import Architecture
from dax_lightning.errors import InputError
from dax_lightning.tasks.textgrids import EVENT_TYPES
from dax_lightning.training.cough import train_cough
from dax_lightning.training.sound import train_esc10

SIZES: dict[str, Architecture] = {"small": "lite0", "paper": "resnet50"}


def main(arguments: Sequence[str]) -> int:
    """Train, print the held-out accuracy and write the model; 0 when it is there, 2 when something was missing."""
    parser = argparse.ArgumentParser(prog="train_sound.py", description="A classifier of sound, with its front end.")
    tasks = parser.add_subparsers(dest="task", required=True)
    esc10 = tasks.add_parser("esc10", help="ten classes of sound")
    esc10.add_argument("--root", required=True, help="ESC-50's folder, with meta/ and audio/")
    esc10.add_argument("--fold", type=int, default=5, help="held out")
    esc10.add_argument("--size", choices=SIZES, default="small", help="EfficientNet-Lite0, or the paper's ResNet-50")
    cough = tasks.add_parser("cough", help="coughs, positive or negative")
    cough.add_argument("--root", required=True, help="a folder with TextGrids")
    cough.add_argument("--recordings", help="a folder with the recordings and labels.csv (stem,label); without it synthetic ones")
    cough.add_argument("--carrier", choices=EVENT_TYPES, default="cough", help="the event type that tells positive from negative")
    for one in (esc10, cough):
        one.add_argument("--out", required=True, help="the .safetensors file to write")
        one.add_argument("--seed", type=int, default=0)
        one.add_argument("--device", default="auto")
    given = parser.parse_args(arguments)
    try:
        if given.task == "esc10":
            made = train_esc10(given.root, SIZES[given.size], given.fold, seed=given.seed, device=given.device)
        else:
            made = train_cough(given.root, given.recordings, given.carrier, seed=given.seed, device=given.device)
        made.save(given.out)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    told = ", ".join(f"{name} {value:.3f}" if name == "accuracy" else f"{name} {value}" for name, value in made.facts.items())
    print(f"{made.architecture}, held out: {told}")
    print(f"written: {given.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
