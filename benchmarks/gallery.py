"""DAX-Mosaic on photographs that come with scikit-image, a column each: photograph, and map with the region's outline.

Run: python -m benchmarks.gallery PICTURE.webp
"""

import sys
from pathlib import Path

import numpy as np
import skimage.data
import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from PIL import Image

from benchmarks.beside import write
from benchmarks.common import make_explainer
from dax_lightning.black_box import lite0
from dax_lightning.plots.canvas import GREY, NAMED, SIGNED, axes_at, show, style
from dax_lightning.plots.maps import photograph

NAMES = ("chelsea", "coffee", "rocket", "astronaut", "clock", "camera", "coins")
SIDE, GAP, TOP = 1.9, 0.08, 0.32  # inches


def main(picture: str) -> None:
    box = lite0(crop="squash")
    explainer = make_explainer(box)
    figure = Figure(figsize=(len(NAMES) * (SIDE + GAP) + GAP, TOP + 2 * (SIDE + GAP)))
    for place, name in enumerate(NAMES):
        x = box.input.prepare(Image.fromarray(getattr(skimage.data, name)()).convert("RGB"))
        made, seen, left = explainer.explain(x), photograph(x), GAP + place * (SIDE + GAP)
        axes = axes_at(figure, left, TOP, SIDE, SIDE)
        show(axes, seen)
        axes.set_title(f"{box.class_name(made.target)[:22]} {made.score:.2f}", loc="left", pad=4, **style(9, GREY))
        below = axes_at(figure, left, TOP + SIDE + GAP, SIDE, SIDE)
        show(below, 0.4 * seen.mean(2, keepdims=True) + 0.6 * coloured(made.saliency))
        if made.region is not None and made.region.any():
            below.contour(made.region.numpy().astype(float), levels=[0.5], colors=NAMED, linewidths=1.4)
        print(name, box.class_name(made.target), f"{made.score:.3f}", f"fidelity {made.notes['fidelity']:.2f}", made.warnings)
    print(write(figure, Path(picture)))


def coloured(saliency: torch.Tensor, brightest: float = 1.0) -> np.ndarray:
    """A map in two colours about zero; what lies over this quantile of its size has the strongest."""
    most = saliency.abs().quantile(brightest).item() or 1.0
    return colormaps[SIGNED](0.5 + saliency.numpy().clip(-most, most) / (2 * most))[..., :3]


if __name__ == "__main__":
    main(*sys.argv[1:])
