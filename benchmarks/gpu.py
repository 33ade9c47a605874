"""How long an explanation takes where the model is fast: rows a second, seconds an explanation, what is not the model's.

EfficientNet-Lite0 and ViT-B/16 with random weights, since only time is looked at; the photograph that comes with scikit-image.
Then k photographs one by one and side by side (``explain_many``).

Run: python -m benchmarks.gpu [--small]
"""

import argparse
import statistics
import time

import timm
import torch

from benchmarks.common import bare_seconds
from dax_lightning.black_box import BlackBox, from_torch, lite0
from dax_lightning.explainers.mosaic import MosaicDax
from dax_lightning.tasks import Photo
from dax_lightning.types import Case

MEAN = STD = (0.5, 0.5, 0.5)


def boxes(small: bool, batch_size: int) -> dict[str, BlackBox]:
    """On a GPU where there is one."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    name = "vit_tiny_patch16_224" if small else "vit_base_patch16_224"
    vit = timm.create_model(name, pretrained=False).eval().to(device)
    return {
        "EfficientNet-Lite0": lite0(device=device, batch_size=batch_size),
        name: from_torch(vit, size=224, mean=MEAN, std=STD, outputs="logits", batch_size=batch_size),
    }


def one(box: BlackBox, case: Case, q: int, rounds: int) -> tuple[float, float, float]:
    """Rows a second of bare forwards, seconds an explanation, and the share of it that is not the model's; medians."""
    bare, whole, outside = [], [], []
    for _ in range(rounds):
        bare.append(q / bare_seconds(box, case, q))
        made = MosaicDax(box, q=q).explain(case.x, case.target)
        whole.append(made.seconds)
        outside.append(1 - made.seconds_black_box / made.seconds)
    return statistics.median(bare), statistics.median(whole), statistics.median(outside)


def many(box: BlackBox, case: Case, q: int, k: int) -> tuple[float, float]:
    """Seconds for k photographs one by one, and side by side."""
    inputs, explainer = [case.x.roll(8 * place, 2) for place in range(k)], MosaicDax(box, q=q)
    start = time.perf_counter()
    for x in inputs:
        explainer.explain(x, case.target)
    middle = time.perf_counter()
    explainer.explain_many(inputs, case.target, workers=4)
    return middle - start, time.perf_counter() - middle


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--small", action="store_true")
    small = parser.parse_args().small
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    counts, ks, rounds = ((60, 120), (1, 2), 1) if small else ((1000, 4000), (1, 4, 16), 5)
    made, case = boxes(small, batch_size=32 if small else 256), Photo(lite0(device="cpu"), target="tabby, tabby cat")[0]
    print(f"{card}\n\n| model | q | rows a second, bare | seconds an explanation | share outside the model |")
    print("| --- | --- | --- | --- | --- |")
    for name, box in made.items():
        one(box, case, 60, 1)  # warm
        for q in counts:
            rows, seconds, outside = one(box, case, q, rounds)
            print(f"| {name} | {q} | {rows:.0f} | {seconds:.2f} | {outside:.2f} |", flush=True)
    print(f"\n| k, q = {counts[0]} | seconds one by one | side by side |\n| --- | --- | --- |")
    for k in ks:
        alone, together = many(made["EfficientNet-Lite0"], case, counts[0], k)
        print(f"| {k} | {alone:.2f} | {together:.2f} |", flush=True)


if __name__ == "__main__":
    main()
