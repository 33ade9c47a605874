import json
import math
from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image
from scipy import stats

from dax_lightning.errors import InputError
from dax_lightning.report import write_report, write_summary
from dax_lightning.report.canvas import as_uri
from dax_lightning.report.charts import Chart, Line, draw_chart, draw_forest, look, spread
from dax_lightning.report.comparison import compare, cost_pictures
from dax_lightning.report.known import Known, read_known
from dax_lightning.report.means import bands, mean_charts
from dax_lightning.report.paired import EXACT, holm, paired_differences, sign_flip_p
from dax_lightning.report.paper import paper_table
from dax_lightning.report.parts import compares, parts_of
from dax_lightning.report.tables import summarise, typed
from dax_lightning.report.thumbs import SIDE, extremes, grid
from dax_lightning.types import Explanation
from tests.test_report import EVIL, Page, assert_self_contained, row, write_run

SAID = {"iou": True, "deletion": False, "sparseness": None}


def worth(method, case, seed=0):
    """IoU of a method on a case: known, and the methods' order is the order of their names' numbers."""
    return round(0.2 + 0.06 * method + 0.03 * (case % 5) + 0.02 * math.sin(7 * method + 3 * case + seed), 4)


def make_comparison(folder, methods=("dax", "lime", "gradcam"), cases=5, size=16, overrides=None, panel=None, q=100, boxes="vit"):
    """A run of ``methods`` (the first is the best) with everything that a run leaves."""
    rows = []
    for (m, name), case in product(enumerate(methods), range(cases)):
        value = worth(len(methods) - m, case, q)
        facts = {"black_box": boxes, "iou": value, "deletion": round(1 - value, 4), "sparseness": 0.5, "q": q}
        rows.append(row(f"c{case:02}", name, **facts, queries=q, seconds=q / 100 + m, metric_queries=7, loss=""))
        save(folder, f"c{case:02}", name, value, size, panel)
    write_run(folder, rows, overrides or ["task=photo"])
    said = {name: {"higher_is_better": up} for name, up in SAID.items()}
    explainers = {name: {"needs_gradients": name in ("gradcam", "gradient")} for name in methods}
    (folder / "metrics.json").write_text(json.dumps({**said, "explainers": explainers}))
    return folder


def save(folder, case, method, value, size, panel):
    place = folder / "explanations"
    (place / "inputs").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(int(case[1:]))
    y, x = np.mgrid[:size, :size] / size
    blob = np.exp(-((x - rng.random()) ** 2 + (y - rng.random()) ** 2) / 0.05)
    Image.fromarray((np.stack([blob, x, y], -1) * 255).astype(np.uint8)).save(place / "inputs" / f"{case}.png")
    noise = rng.random((size, size)) * (1 - value)
    share = np.linspace(0, 1, 6)
    deletion = {
        "x": share.tolist(),
        "y": (0.9 * (1 - share * value)).tolist(),
        "x_name": "share removed",
        "y_name": "probability",
    }
    k = np.linspace(0, 3, 7)
    sweep = {"x": k.tolist(), "y": (value * np.exp(-((k - 1) ** 2))).tolist(), "x_name": "k", "y_name": "IoU"}
    made = Explanation(torch.tensor(blob * value + noise), 281, 0.9, 100, 2.5)
    made.save(place / f"{case}__{method}", curves={"deletion": deletion, "iou": sweep})
    shown = panel or Image.new("RGB", (40, 10), "#808080")
    shown.save(place / f"{case}__{method}.png")
