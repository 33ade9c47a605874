"""Tables from rows of finished runs: what they say is known by hand."""

import pandas as pd
import pytest

from benchmarks import differences


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
