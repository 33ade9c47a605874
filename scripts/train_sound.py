"""Train a classifier of sound: ``python scripts/train_sound.py --root DIR --out FILE``."""

import argparse
import sys
from collections.abc import Sequence

from dax_lightning.black_box.torch.sound import Architecture
from dax_lightning.errors import InputError
from dax_lightning.training.sound import train_esc10

SIZES: dict[str, Architecture] = {"small": "lite0", "paper": "resnet50"}


def main(arguments: Sequence[str]) -> int:
    """Train, print the held-out accuracy and write the model; 0 when it is there, 2 when something was missing."""
    parser = argparse.ArgumentParser(prog="train_sound.py", description="A classifier of sound, with its front end.")
    parser.add_argument("--root", required=True, help="ESC-50's folder, with meta/ and audio/")
    parser.add_argument("--out", required=True, help="the .safetensors file to write")
    parser.add_argument("--fold", type=int, default=5, help="held out")
    parser.add_argument("--size", choices=SIZES, default="small", help="EfficientNet-Lite0, or the paper's ResNet-50")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    given = parser.parse_args(arguments)
    try:
        made = train_esc10(given.root, SIZES[given.size], given.fold, seed=given.seed, device=given.device)
        made.save(given.out)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(
        f"{made.architecture}: {made.facts['accuracy']:.3f} of {made.facts['clips']} held-out clips (fold {made.facts['fold']})"
    )
    print(f"written: {given.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
