"""A sweep's page: its best setting is marked, and its settings are drawn against its metrics."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from dax_lightning.plots.canvas import RED
from dax_lightning.plots.parallel import Coordinate, draw_parallel
from dax_lightning.report import write_summary
from dax_lightning.report.known import Known
from dax_lightning.report.sweep import settings_picture

LINES = [Coordinate("q", ["100", "1000", "10"]), Coordinate("s", ["slic", "grid", "slic"])]
LINES += [Coordinate("iou", [0.2, 0.6, np.nan], up=True), Coordinate("deletion", [0.1, 0.3, 0.2], up=False)]


def drawn(lines, by):
    """The heights of each line on the axes, by its colour."""
    (axes,) = draw_parallel(lines, by).axes
    paths = [line for line in axes.lines if line.get_linestyle() == "-" and len(np.asarray(line.get_xdata())) == len(lines)]
    return {to_hex(path.get_color()): np.asarray(path.get_ydata(), float) for path in paths if len(lines) > 2}


def test_lines_run_through_their_values_and_up_is_better():
    found = drawn(LINES, by=2)
    assert len(found) == 3
    assert found[RED] == pytest.approx([1, 0, 1, 0])  # the largest q, the second name, the best IoU, the worst deletion
    (gap,) = [heights for heights in found.values() if np.isnan(heights[2])]
    assert gap == pytest.approx([0, 1, np.nan, 0.5], nan_ok=True)  # q=10 is the lowest; 0.2 lies in the middle
    (other,) = [heights for colour, heights in found.items() if colour != RED and not np.isnan(heights[2])]
    assert other == pytest.approx([0.5, 1, 0, 1])  # 100 is half-way from 10 to 1000: the axis is logarithmic


def test_the_best_of_a_metric_that_is_to_be_low_is_the_lowest():
    assert drawn(LINES, by=3)[RED] == pytest.approx([0.5, 1, 0, 1])


def test_what_does_not_vary_and_too_few_settings_are_not_drawn():
    groups = pd.DataFrame({"overrides": ["lam3=1", "lam3=2", "lam3=3"], "q": 9.0, "iou": [0.1, 0.3, 0.2], "seconds": 1.0})
    made = settings_picture(groups, ["iou"], Known({"iou": True}))
    assert made is not None
    assert made.name == "lam3 against iou, seconds"
    assert settings_picture(groups.head(2), ["iou"], Known({"iou": True})) is None
    assert settings_picture(groups.assign(overrides="lam3=1"), ["iou"], Known({"iou": True})) is None
    assert settings_picture(groups, ["sparseness"], Known()) is None


@pytest.fixture
def sweep(tmp_path):
    for job, (lam, iou) in enumerate(((0.1, 0.2), (0.5, 0.6), (1.0, 0.4))):
        folder = tmp_path / str(job)
        (folder / ".hydra").mkdir(parents=True)
        (folder / ".hydra" / "overrides.yaml").write_text(f"- task=voc\n- lam3={lam}\n", encoding="utf-8")
        (folder / "metrics.json").write_text('{"iou": {"higher_is_better": true}}', encoding="utf-8")
        rows = [f"voc,{case},dax,ok,9,1,{iou + more}" for case, more in (("a", 0.1), ("b", -0.1))]
        (folder / "rows.csv").write_text(
            "\n".join(["task,case,explainer,status,queries,seconds,iou", *rows, ""]), encoding="utf-8"
        )
    return tmp_path


def test_the_page_marks_the_best_setting_and_draws_all(sweep):
    page = write_summary(sweep).read_text(encoding="utf-8")
    best = re.findall(r'<td class="num best">([\d.]+)', page)
    assert best == ["0.600"]
    assert re.search(r'<h2 id="settings">Settings against metrics</h2>', page)
    assert 'alt="lam3 against iou, seconds"' in page
    assert "<dt>Search</dt>" not in page


def test_the_page_tells_what_a_search_found(sweep):
    found = {"metric": "iou", "with_a_value": 3, "value": 0.6, "job": 1, "overrides": ["lam3=0.5"]}
    (sweep / "best.json").write_text(json.dumps(found), encoding="utf-8")
    assert "best iou 0.6 of 3 jobs with a value: job 1, lam3=0.5" in write_summary(sweep).read_text(encoding="utf-8")
    (sweep / "best.json").write_text("{", encoding="utf-8")
    assert "<dt>Search</dt>" not in write_summary(sweep).read_text(encoding="utf-8")


def test_answers_that_are_wrong_have_no_best(sweep):
    for job in range(3):
        file = sweep / str(job) / ".hydra" / "overrides.yaml"
        file.write_text(f"- task=voc\n- only={'wrong' if job else 'correct'}\n- lam3={job}\n", encoding="utf-8")
    assert 'class="num best"' not in write_summary(sweep).read_text(encoding="utf-8")
