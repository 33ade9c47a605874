"""The default photograph with the default settings: does the map lie on the cat, for every seed?

The truth was drawn by hand (tests/data/chelsea_cat.png). Two views: the default crop, which shows little but the cat, and
the whole photograph squashed to the model's size.
Run: python -m benchmarks.cat
"""

from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image

from benchmarks.common import ROOT, make_explainer, make_task
from dax_lightning.inputs.image import ImageInput
from dax_lightning.metrics.localisation import iou, pointing, top_share
from dax_lightning.plots.panel import draw_panel

SEEDS = range(5)


def main() -> None:
    print("| view | seed | top 10 % on the cat | the cat's share of the view | pointing | IoU at mean + 0 std | fidelity |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for crop in ("center", "squash"):
        shares = [measure(crop, seed) for seed in SEEDS]
        print(f"| {crop} | mean ± std over seeds | {np.mean(shares):.3f} ± {np.std(shares, ddof=1):.3f} | | | | |", flush=True)


def measure(crop: str, seed: int) -> float:
    task = make_task(f"black_box.crop={crop}")
    case, box = task[0], task.black_box
    with Image.open(ROOT / "tests" / "data" / "chelsea_cat.png") as drawn:
        truth = cast(ImageInput, box.input).labels(drawn.convert("L")) > 127
    made = make_explainer(box, f"black_box.crop={crop}", f"seed={seed}").explain(case.x, case.target)
    share = top_share(made.saliency, truth)
    numbers = [share, truth.float().mean().item(), pointing(made.saliency, truth), iou(made.saliency, truth, k=0.0)]
    print(f"| {crop} | {seed} | {' | '.join(f'{v:.3f}' for v in numbers)} | {made.notes['fidelity']:.2f} |", flush=True)
    picture = Path("outputs", f"cat_{crop}_{seed}.png")
    draw_panel(case.x, made, picture, target_name=box.class_name(case.target), title=f"cat, seed {seed}", truth=truth)
    return share


if __name__ == "__main__":
    main()
