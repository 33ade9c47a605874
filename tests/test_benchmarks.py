"""Tables from rows of finished runs: what they say is known by hand."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from benchmarks import beside, carriers, differences, forest, results
from dax_lightning.types import Explanation


@pytest.fixture
def folders(tmp_path):
    """Two methods on three cases; the third has the first method alone, and only its second metric."""
    shared = {"task": "voc", "black_box": "lite0", "seed": 0, "status": "ok", "queries": 9}
    lines = {
        "one": [("a", "dax", 0.5, 0.9), ("b", "dax", 0.7, 0.8), ("c", "dax", None, 0.1)],
        "two": [("a", "lime", 0.4, 0.2), ("b", "lime", 0.4, 0.5)],
    }
    for name, rows in lines.items():
        (tmp_path / name).mkdir()
        table = pd.DataFrame(rows, columns=pd.Index(["case", "explainer", "iou", "insertion"])).assign(**shared)
        table.to_csv(tmp_path / name / "rows.csv", index=False)
    return [str(tmp_path / name) for name in lines]


def test_differences_are_paired_on_the_cases_that_both_have(folders, capsys):
    differences.main("dax", "iou", "insertion", *folders)
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines[0] == "**lite0**, seed 0"
    assert lines[-1] == "| lime | 0.400 | 0.600 | +0.200 [+0.100, +0.300] | 2 | 0.350 | 0.850 | +0.500 [+0.300, +0.700] | 2 |"


def test_a_carrier_is_found_where_the_map_points_at_it_and_best_where_its_iou_is_the_highest(tmp_path):
    (tmp_path / "cough_inhale").mkdir()
    rows = pd.DataFrame(
        {
            "task": "cough",
            "case": list("abcd"),
            "explainer": "dax",
            "status": ["ok", "ok", "unfaithful", "failed"],
            "pointing_time": [1.0, 0.4, 0.6, None],
            "iou_time": [0.5, 0.1, 0.3, None],
            "iou_time_best": [0.6, 0.2, 0.4, None],
            "iou_time_inhale": [0.5, 0.1, 0.3, None],
            "iou_time_cough": [0.1, 0.4, None, None],
        }
    )
    rows.to_csv(tmp_path / "cough_inhale" / "rows.csv", index=False)
    line = carriers.table([str(tmp_path / "cough_inhale")])[-1].split(" | ")
    assert line[0] == "| inhale"
    assert line[1].startswith("2 of 3: 67 % [")
    assert line[2].startswith("1 of 3: 33 % [")
    assert line[3].startswith("2 of 3: 67 % [")
    assert line[4].startswith("0.300 [")
    assert line[5:] == ["0.400 [0.200, 0.600]", "3", "1 |"]


def test_a_forest_has_a_dot_for_each_method_that_has_all_metrics(folders, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(forest, "save", lambda figure, path: drawn.append(figure) or path)
    forest.main(str(tmp_path / "forest.png"), "dax", "iou", "insertion", *folders)
    iou, insertion = drawn[0].axes
    assert (iou.get_title("left"), [label.get_text() for label in iou.get_yticklabels()]) == (
        "IoU at mean + 1 std, dax − it",
        ["lime"],
    )
    dots = [line.get_xdata()[0] for axes in (iou, insertion) for line in axes.lines if line.get_marker() == "o"]
    assert dots == pytest.approx([0.2, 0.5])


def test_a_forest_wants_metrics_and_the_rows_of_one_black_box(folders, tmp_path):
    rows = pd.read_csv(f"{folders[1]}/rows.csv").assign(black_box="vit_tiny")
    rows.to_csv(f"{folders[1]}/rows.csv", index=False)
    with pytest.raises(SystemExit, match="lite0, vit_tiny"):
        forest.main(str(tmp_path / "forest.png"), "dax", "iou", *folders)
    with pytest.raises(SystemExit, match="wanted metrics, of iou"):
        forest.main(str(tmp_path / "forest.png"), "dax", *folders)
    with pytest.raises(SystemExit, match=r"that have deletion: no rows\.csv"):
        forest.main(str(tmp_path / "forest.png"), "dax", "iou", "deletion", folders[0])


def test_methods_stand_side_by_side(tmp_path):
    made = {name: Explanation(torch.eye(8), target=0, score=0.9, queries=400, seconds=0.1) for name in ("dax", "lime")}
    figure = beside.draw(np.full((8, 8, 3), 0.5), made, "cat")
    assert [text.get_text() for text in figure.texts][3:] == ["DAX-Mosaic", "400 queries", "LIME", "400 queries"]
    with Image.open(beside.write(figure, tmp_path / "beside.webp")) as picture:
        assert picture.format == "WEBP"


def test_a_readme_without_a_place_for_the_table_is_refused():
    with pytest.raises(SystemExit, match="wanted a README with the lines"):
        results.with_table("# nothing here")
