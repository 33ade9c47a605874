"""The steps of DAX-Mosaic on the default photograph as one picture: copies, map, average, region, what speaks against.

Run: python -m benchmarks.steps PICTURE.webp
"""

import sys
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from benchmarks.beside import write
from benchmarks.common import make_task
from benchmarks.gallery import coloured
from dax_lightning.explainers.base import seed_of
from dax_lightning.explainers.mosaic import MosaicDax
from dax_lightning.explainers.mosaic.last_copies import against
from dax_lightning.explainers.mosaic.region import region_of
from dax_lightning.game.base import ask, game_of
from dax_lightning.plots.canvas import GREY, NAMED, axes_at, show, style
from dax_lightning.plots.maps import photograph

SIDE, GAP, TOP = 1.9, 0.08, 0.3  # inches
Q = 1000
_BRIGHTEST = 0.99  # of a map's values: the student's own has few that are far larger than the others


def main(picture: str) -> None:
    task = make_task("black_box.crop=squash")
    case, box = task[0], task.black_box
    dax, generator = MosaicDax(box, q=Q), torch.Generator().manual_seed(seed_of(0, case.x))
    levels, outlined = dax._partitions(case.x, None)
    game = game_of(box, case.x, levels, dax.perturber)
    answers = ask(game, dax.perturber, case.target, dax.first, generator, classes=True)
    learned = dax._imitate(answers, levels)
    smooth = dax._average(learned, outlined)
    region = region_of(smooth)
    less = against(game, dax.perturber, case.target, Q - dax.first, region, outlined, dax.space, generator)
    if not torch.equal(dax.explain_case(case).saliency, smooth + less):
        raise SystemExit("these are not the steps of DAX-Mosaic any more")
    copies, seen = [photograph(each)[::2, ::2] for each in game.copies(answers.kept[1:5])], photograph(case.x)
    panels = {
        "1 ask: four of 900 copies": np.concatenate([np.concatenate(copies[:2], 1), np.concatenate(copies[2:], 1)]),
        "2 imitate: one ridge": coloured(learned.whole.saliency, _BRIGHTEST),
        "3 average": coloured(smooth, _BRIGHTEST),
        "4 name: the region": np.where(region.numpy()[..., None], seen, 0.88 + 0.1 * seen.mean(2, keepdims=True)),
        "5 doubt: speaks against": coloured(less, _BRIGHTEST),
    }
    figure = Figure(figsize=(len(panels) * (SIDE + GAP) + GAP, TOP + SIDE + GAP))
    for place, (title, pixels) in enumerate(panels.items()):
        axes = axes_at(figure, GAP + place * (SIDE + GAP), TOP, SIDE, SIDE)
        show(axes, pixels)
        axes.set_title(title, loc="left", pad=4, **style(9.5, GREY))
        if title.startswith("3"):
            axes.contour(region.numpy().astype(float), levels=[0.5], colors=NAMED, linewidths=1.2)
    print(write(figure, Path(picture)))


if __name__ == "__main__":
    main(*sys.argv[1:])
