"""One photograph, several methods side by side: each one's map over the picture, and the region that it names.

The folder is that of a finished comparison on the default photograph:
python train.py black_box.crop=squash comparison=gradient_free methods=[dax,lime,shap,rise] q=400 hydra.run.dir=FOLDER

Run: python -m benchmarks.beside FOLDER PICTURE.webp [METHOD ...]
"""

import io
import sys
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from PIL import Image

from benchmarks.common import make_task
from dax_lightning.plots.canvas import DPI, GREY, axes_at, show, stretch, style
from dax_lightning.plots.maps import photograph, region
from dax_lightning.types import Explanation

NAMES = {"dax": "DAX-Mosaic", "lime": "LIME", "shap": "SHAP (KernelSHAP)", "rise": "RISE"}
SIDE, GAP, TOP = 1.9, 0.08, 0.55  # inches


def main(folder: str, picture: str, *methods: str) -> None:
    task = make_task("black_box.crop=squash")
    case = task[0]
    made = {name: Explanation.load(Path(folder, "explanations", f"{case.key}__{name}")) for name in methods or NAMES}
    print(write(draw(photograph(case.x), made, task.black_box.class_name(case.target)), Path(picture)))


def draw(seen: np.ndarray, made: dict[str, Explanation], target: str) -> Figure:
    """The photograph, then a column a method."""
    columns = len(made) + 1
    figure = Figure(figsize=(columns * (SIDE + GAP) + GAP, TOP + 2 * (SIDE + GAP)))
    show(axes_at(figure, GAP, TOP, SIDE, SIDE), seen)
    _title(figure, 0, "Photograph", f"answer: {target}")
    left, low = GAP / figure.get_figwidth(), 1 - (TOP + SIDE + 0.3) / figure.get_figheight()
    figure.text(
        left,
        low,
        "Above: the map.\nBelow: the region it names\n(LIME, SHAP, RISE:\nabove mean + 1 std).",
        va="top",
        **style(10, GREY),
    )
    for place, (name, explanation) in enumerate(made.items(), 1):
        saliency = explanation.saliency.numpy().astype(float)
        hot = colormaps["inferno"](stretch(saliency))[..., :3]
        named = None if explanation.region is None else explanation.region.numpy()
        shown = region(saliency, named)[0][..., None]
        x = GAP + place * (SIDE + GAP)
        show(axes_at(figure, x, TOP, SIDE, SIDE), 0.35 * seen + 0.65 * hot)
        show(axes_at(figure, x, TOP + SIDE + GAP, SIDE, SIDE), np.where(shown, seen, 0.88 + 0.1 * seen.mean(2, keepdims=True)))
        _title(figure, place, NAMES.get(name, name), f"{explanation.queries:,} queries")
    return figure


def _title(figure: Figure, place: int, first: str, second: str) -> None:
    left = (GAP + place * (SIDE + GAP)) / figure.get_figwidth()
    for text, down, made in ((first, 0.08, style(11, weight="bold")), (second, 0.3, style(9.5, GREY))):
        figure.text(left, 1 - down / figure.get_figheight(), text, va="top", **made)


def write(figure: Figure, path: Path) -> Path:
    """The figure as WebP."""
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=DPI, facecolor="white")
    with Image.open(drawn) as image:
        image.convert("RGB").save(path, "WEBP", quality=82, method=6)
    return path


if __name__ == "__main__":
    main(*sys.argv[1:])
