"""The report of a comparison: what is known of the numbers by hand or by scipy is what the page says."""

import base64
import json
import math
from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from matplotlib.figure import Figure
from PIL import Image
from scipy import stats
from skimage.data import chelsea

from dax_lightning.errors import InputError
from dax_lightning.inputs import ImageInput
from dax_lightning.plots.canvas import as_uri
from dax_lightning.plots.charts import Chart, Line, draw_chart, draw_forest, look
from dax_lightning.plots.means import mean_charts
from dax_lightning.plots.panel import draw_panel
from dax_lightning.report import write_report, write_summary
from dax_lightning.report.comparison import cost_pictures, differences, overviews
from dax_lightning.report.known import Known, read_known
from dax_lightning.report.paper import paper_table
from dax_lightning.report.parts import compares, parts_of
from dax_lightning.report.thumbs import CASES, SIDE, extremes, grid
from dax_lightning.stats.intervals import bootstrap_interval, bootstrap_means, ends
from dax_lightning.stats.paired import EXACT, holm, paired_differences, sign_flip_p
from dax_lightning.stats.tables import typed
from dax_lightning.types import Explanation
from tests.test_report import EVIL, Page, assert_self_contained, row, write_run

PANEL = base64.b64decode(as_uri(Figure(figsize=(1, 1))).split(",")[1])  # any picture
SAID = {"iou": True, "deletion": False, "sparseness": None}
METHODS = ("dax", "lime", "gradcam")
JOBS = (("cnn", 100), ("vit", 100), ("vit", 300))


def worth(method, case, seed=0, share=0.13):
    """IoU of the method-th best on a case; cases differ more than methods do, as in truth."""
    own = np.random.default_rng([method, case, seed]).normal(0, 0.05)
    shared = np.random.default_rng(case).normal(0, 0.1)
    return float(np.round(np.clip(0.6 - share * method + own + shared, 0.01, 0.99), 4))


def make_comparison(folder, methods=METHODS, cases=5, size=16, overrides=None, panel: bytes | None = PANEL, q=100, box="vit"):
    """A run of ``methods`` (the first is the best) with everything that a run leaves."""
    rows = []
    for (m, name), case in product(enumerate(methods), range(cases)):
        value = worth(m, case, q, 0.4 / len(methods))
        facts = {"black_box": box, "iou": value, "deletion": round(1 - value, 4), "sparseness": 0.5, "q": q}
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
    rng = np.random.default_rng([int(case[1:]), *method.encode()])
    y, x = np.mgrid[:size, :size] / size
    blob = np.exp(-((x - rng.random()) ** 2 + (y - rng.random()) ** 2) / 0.05)
    Image.fromarray((np.stack([blob, x, y], -1) * 255).astype(np.uint8)).save(place / "inputs" / f"{case}.png")
    share, k = np.linspace(0, 1, 21), np.linspace(0, 3, 13)
    curves = {"deletion": curve(share, 0.9 * np.exp(-3 * share * value), "share removed", "probability")}
    curves |= {"iou": curve(k, value * np.exp(-((k - 1) ** 2)), "k", "IoU")}
    made = Explanation(torch.tensor(blob * value + rng.random((size, size)) * (1 - value)), 281, 0.9, 100, 2.5)
    made.save(place / f"{case}__{method}", curves=curves)
    if panel is None:  # one of its own
        Image.fromarray(rng.integers(0, 256, (8, 32, 3), dtype=np.uint8)).save(place / f"{case}__{method}.png")
    else:
        (place / f"{case}__{method}.png").write_bytes(panel)


def curve(x, y, x_name="x", y_name="y"):
    return {"x": list(map(float, x)), "y": list(map(float, y)), "x_name": x_name, "y_name": y_name}


def values(**methods):
    """Typed rows: a method's values case by case, NaN where it failed."""
    rows = [
        {"task": "t", "case": f"c{n}", "explainer": name, "status": "failed" if math.isnan(v) else "ok", "iou": v}
        for name, found in methods.items()
        for n, v in enumerate(found)
    ]
    return typed(pd.DataFrame(rows))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_comparison(tmp_path_factory.mktemp("comparison"))


@pytest.fixture(scope="module")
def page(run):
    return Page(write_report(run))


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """Two black boxes, one of them with two q."""
    folder = tmp_path_factory.mktemp("sweep")
    for n, (box, q) in enumerate(JOBS):
        make_comparison(folder / str(n), METHODS[:2], 2, overrides=["task=photo", f"black_box={box}", f"q={q}"], q=q, box=box)
    return folder


# paired differences


@pytest.mark.parametrize(
    ("p", "wanted"),
    [  # worked by hand: the smallest times m, the next times m - 1, …, never below the one before, never above 1
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.9, 0.8], [1.0, 1.0]),
        ([0.02, math.nan, 0.03], [0.04, math.nan, 0.04]),
        ([], []),
    ],
)
def test_holm_by_hand(p, wanted):
    assert holm(np.array(p, float)) == pytest.approx(wanted, nan_ok=True)


@pytest.mark.parametrize("n", [5, EXACT, EXACT + 27])
def test_sign_flips_are_scipys_permutation_test(n):
    differences = np.random.default_rng(n).normal(0.25, 0.5, n).round(2)
    theirs = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", vectorized=True, n_resamples=2**13 if n <= EXACT else 9999, rng=1
    )
    assert sign_flip_p(differences) == pytest.approx(theirs.pvalue, abs=1e-12 if n <= EXACT else 0.01)


def test_sign_flips_of_no_difference_and_of_one_case():
    assert sign_flip_p(np.zeros(40)) == 1
    assert math.isnan(sign_flip_p(np.array([0.3])))
    assert sign_flip_p(np.full(40, 0.1)) == pytest.approx(1e-4)


def test_sign_flips_keep_their_level():
    rng = np.random.default_rng(0)
    found = np.array([sign_flip_p(rng.normal(size=20)) for _ in range(400)])
    assert (found < 0.05).mean() == pytest.approx(0.05, abs=0.025)


def test_differences_are_over_the_cases_that_both_explained():
    rows = values(lime=[0.1, 0.2, 0.3, math.nan], dax=[0.3, 0.2, math.nan, 0.9], rise=[0.0, 0.1, 0.2, 0.3])
    table = paired_differences(rows, "iou", against="lime").set_index("explainer")
    assert table["n"].to_dict() == {"dax": 2, "rise": 3}
    assert table["difference"].to_dict() == pytest.approx({"dax": 0.1, "rise": -0.1})
    assert table.loc["rise", ["low", "high"]].tolist() == pytest.approx([-0.1, -0.1])
    assert table["p"].to_dict() == pytest.approx({"dax": 1.0, "rise": 0.25})
    assert table["p_holm"].to_dict() == pytest.approx({"dax": 1.0, "rise": 0.5})


def test_differences_of_seeds_are_averaged_within_a_case_first():
    rows = pd.concat([values(lime=[0.1, 0.2], dax=[0.2, 0.5]).assign(seed=seed) for seed in (0, 1)])
    assert paired_differences(rows, "iou", "lime")["n"].tolist() == [2]


def test_pairing_sees_what_separate_intervals_hide():
    cases = np.random.default_rng(0).normal(0.5, 0.3, 30)
    (line,) = paired_differences(values(lime=cases, dax=cases + 0.02), "iou", "lime").to_dict("records")
    assert (line["low"], line["high"], line["p"]) == pytest.approx((0.02, 0.02, 1e-4))


def test_a_reference_that_is_not_there_is_named():
    with pytest.raises(InputError, match="no rows of shap to compare with: there are dax"):
        paired_differences(values(dax=[0.1]), "iou", "shap")


# what is known of metrics and methods


def test_best_follows_the_direction_and_needs_enough_cases():
    groups = pd.DataFrame({"iou": [0.9, 0.5, 0.7, 0.7], "iou_n": [10, 40, 40, 36]})
    assert Known({"iou": True}).best(groups, "iou") == [2, 3]
    assert Known({"iou": False}).best(groups, "iou") == [1]
    assert Known().best(groups, "iou") == []


def test_directions_are_read_and_a_broken_file_is_told(tmp_path):
    (tmp_path / "metrics.json").write_text(
        '{"iou": {"higher_is_better": true}, "x": {"higher_is_better": null}, "explainers": {"g": {"needs_gradients": true}}}'
    )
    assert read_known([tmp_path]) == Known({"iou": True}, frozenset("g"))
    for broken in ("{", "[1]", '{"iou": 3}'):
        (tmp_path / "metrics.json").write_text(broken)
        assert "can’t be read" in read_known([tmp_path]).doubt


# parts


def test_parts_are_boxes_by_settings_with_seeds_together():
    rows = [row(explainer=e, black_box=b, seed=s, q=q) for e, b, s, q in product("ab", ("cnn", "vit"), (0, 1), (10, 20))]
    parts = parts_of(typed(pd.DataFrame(rows)))
    assert [part.title for part in parts] == ["cnn · q=10", "cnn · q=20", "vit · q=10", "vit · q=20"]
    assert all(len(part.rows) == 4 and part.methods == ["a", "b"] for part in parts)
    assert compares(parts)


def test_a_method_without_q_is_compared_within_its_job():
    rows = [
        row(explainer=e, q="" if e == "gradient" else q, setting=f"q={q}") for e, q in product(("lime", "gradient"), (10, 20))
    ]
    assert [part.methods for part in parts_of(typed(pd.DataFrame(rows)))] == [["lime", "gradient"]] * 2


# curves


def test_mean_curves_average_cases_and_bridge_other_x():
    rows = [{"case": c, "explainer": "dax", "curves": {"deletion": found}} for c, found in (
        ("a", curve([0, 0.5, 1], [1, 0.5, 0])), ("b", curve([0, 0.5], [0, 1])), ("b", curve([0, 0.5], [0, 0])))]  # fmt: skip
    (chart,) = mean_charts(rows, "vit")
    (line,) = chart.lines
    assert np.interp([0, 0.5, 1], line.x, line.y) == pytest.approx([0.5, 0.5, 0.25])  # b: 0, 0.5 and then it stays
    assert (line.low <= line.y + 1e-12).all()
    assert (line.high >= line.y - 1e-12).all()


def test_bands_are_the_interval_of_the_mean():
    found = np.random.default_rng(0).normal(3, 2, (400, 1))
    assert ends(bootstrap_means(found))[:, 0] == pytest.approx(
        found.mean() + np.array([-1.96, 1.96]) * found.std() / 20, abs=0.03
    )


@pytest.mark.parametrize("broken", [{"x": [0, 1]}, curve([0, 1], [1]), curve([1, 0], [1, 1]), curve([0, 1], [1, math.nan]), 3])
def test_broken_curves_are_left_out(broken):
    rows = [{"case": "a", "explainer": "dax", "curves": {"deletion": broken, "iou": curve([0, 1], [0.2, 0.4])}}]
    assert [chart.title for chart in mean_charts(rows, "")] == ["iou"]


# charts


def test_lines_differ_in_more_than_colour():
    seen = [tuple(map(str, look(k).values())) for k in range(24)]
    assert len(set(seen)) == 24


@pytest.mark.parametrize(("lines", "axes"), [(3, 1), (12, 12)])
def test_chart_holds_every_line_with_its_name(lines, axes):
    x = np.array([100.0, 1000.0, 3000.0])
    chart = Chart("iou", "queries", "iou", [Line(f"m{n}", x, x * 0 + n, x * 0 + n - 1, x * 0 + n + 1) for n in range(lines)])
    figure = draw_chart(chart)
    assert len(figure.axes) == axes
    words = {text.get_text() for a in figure.axes for text in [*a.texts, a.title, *a.get_children()] if hasattr(text, "get_text")}
    assert {f"m{n}" for n in range(lines)} <= words | {a.get_title(loc="left") for a in figure.axes}
    assert len({a.get_ylim() for a in figure.axes}) == 1  # one scale, so that axes can be compared


def test_forest_fills_only_what_holm_lets_stand():
    table = pd.DataFrame(
        [
            {"explainer": "a", "difference": 0.2, "low": 0.1, "high": 0.3, "p_holm": 0.01},
            {"explainer": "b", "difference": 0.1, "low": 0.0, "high": 0.2, "p_holm": 0.2},
        ]
    )
    (axes,) = draw_forest([("iou − lime", True, table)], ["a", "lime", "b"]).axes
    dots = {np.asarray(line.get_ydata())[0]: line for line in axes.lines if line.get_marker() == "o"}
    assert {place: dot.get_markerfacecolor() != "white" for place, dot in dots.items()} == {0: True, 2: False}
    assert [np.asarray(dots[n].get_xdata())[0] for n in (0, 2)] == [0.2, 0.1]
    assert axes.get_xlabel() == "better →"


# pictures


def test_grid_lays_each_map_over_its_own_input(run):
    rows = [{**r, "job": ""} for r in typed(pd.read_csv(run / "rows.csv", dtype=str)).to_dict("records")]
    made = grid(run, rows, "iou", "vit", up=True)
    assert made is not None
    means = {case: np.mean([worth(m, case, 100, 0.4 / 3) for m in range(3)]) for case in range(5)}
    assert made.cases == [f"c{case:02}" for case in sorted(means, key=lambda c: means[c], reverse=True)]
    assert list(made.lines) == list(METHODS)
    assert len({thumb.picture for thumbs in made.lines.values() for thumb in thumbs}) == 15
    assert made.lines["dax"][0].value == pytest.approx(worth(0, int(made.cases[0][1:]), 100, 0.4 / 3))
    assert decode(made.inputs[0]).size == (SIDE, SIDE)


def test_grid_needs_inputs_and_bears_missing_maps(tmp_path):
    run = make_comparison(tmp_path, cases=2)
    (run / "explanations" / "c00__dax.npz").unlink()
    (run / "explanations" / "c01__dax.npz").write_text("broken")
    rows = [{**r, "job": ""} for r in typed(pd.read_csv(run / "rows.csv", dtype=str)).to_dict("records")]
    made = grid(run, rows, "iou", "", up=True)
    assert made is not None
    assert [thumb.picture for thumb in made.lines["dax"]] == [None, None]
    for file in (run / "explanations" / "inputs").iterdir():
        file.unlink()
    assert grid(run, rows, "iou", "", up=True) is None


@pytest.mark.parametrize(("up", "best"), [(True, "c2"), (False, "c1")])
def test_extremes_follow_the_direction(tmp_path, up, best):
    rows = [{**r, "job": ""} for r in values(dax=[0.5, 0.1, 0.9, 0.4, math.nan]).to_dict("records")]
    found = {e.rank: e.case for e in extremes(tmp_path, rows, "iou", [], up=up)["dax"]}
    assert found == {"best": best, "median": "c0" if up else "c3", "worst": "c1" if up else "c2"}


def decode(uri):
    from io import BytesIO

    return Image.open(BytesIO(base64.b64decode(uri.split(",")[1])))


# the paper's numbers


def test_paper_stands_beside_ours_in_the_papers_unit():
    rows = values(lime=[0.2, 0.4], dax_v2=[0.3, math.nan])
    made = paper_table(2, parts_of(rows.assign(black_box="vit")))
    assert made is not None
    lines = {method: (printed, ours) for method, printed, ours in made.rows}
    assert made.ours == ["iou % vit"]
    assert lines["LIME"] == (["29.2 (10.9)", ".32", "26.8 (11.4)", ".40"], [pytest.approx(30)])
    assert lines["DAX-V2"][1] == [pytest.approx(30)]
    assert math.isnan(lines["RISE"][1][0])


@pytest.mark.parametrize("number", [2, 3, 4, 5, 6, 7, 8, 9])
def test_every_line_of_the_paper_has_all_its_columns(number):
    made = paper_table(number, [])
    assert made is not None
    assert {len(printed) for _, printed, _ in made.rows} == {len(made.columns)}


def right_and_wrong_parts():
    right, wrong = values(lime=[0.5, 0.7, 0.6], rise=[0.3, 0.5, 0.4]), values(lime=[0.2, 0.2], rise=[0.3, 0.3])
    both = [rows.assign(black_box="vit", setting=f"only={only}") for rows, only in ((wrong, "wrong"), (right, "correct"))]
    return parts_of(pd.concat(both, ignore_index=True))


def test_wrong_cases_stand_beside_the_papers_with_their_drop():
    made = paper_table(9, right_and_wrong_parts())
    assert made is not None
    lines = {method: (printed, ours) for method, printed, ours in made.rows}
    assert made.ours == ["iou % vit", "drop of iou % vit"]
    assert lines["LIME"] == (["16.6", "10.2"], [pytest.approx(20), pytest.approx(40)])


def test_drop_from_right_to_wrong_has_an_interval_over_both():
    parts = right_and_wrong_parts()
    (made,) = overviews(parts, ["iou"])
    assert made.settings == ["only=wrong", "only=correct", "only=correct minus only=wrong"]
    lime, rise = (made.lines[name][2] for name in ("lime", "rise"))
    assert (lime[""], rise[""]) == (pytest.approx(0.4), pytest.approx(0.1))
    assert 0.3 <= lime["_low"] < 0.4 < lime["_high"] <= 0.5  # the wrong ones don't vary: the right ones' interval, moved
    assert overviews(parts[:1], ["iou"]) == []


def test_a_cost_that_some_cases_could_not_pay_is_not_drawn(monkeypatch):
    drawn = []
    monkeypatch.setattr(
        "dax_lightning.report.comparison.draw_chart", lambda *charts: drawn.extend(charts) or Figure(figsize=(1, 1))
    )
    sizes = {100: [math.nan, 0.9], 300: [0.4, 0.6], 1000: [0.5, 0.7]}
    rows = [values(shap=found).assign(black_box="vit", setting=f"q={q}", queries=float(q)) for q, found in sizes.items()]
    cost_pictures(parts_of(pd.concat(rows, ignore_index=True)), ["iou"])
    assert drawn[0].lines[0].x.tolist() == [300, 1000]


def test_no_map_of_a_wrong_answer_is_best():
    wrong, right = right_and_wrong_parts()
    known = Known({"iou": True})
    assert [made.title for made in differences(wrong, ["iou"], known, drawn=False)] == ["minus lime"]
    assert [made.title for made in differences(right, ["iou"], known, drawn=False)] == ["minus lime", "minus the best"]


def test_paper_is_shown_only_where_the_configuration_asks(tmp_path, page):
    assert "not measured here" not in page.text
    run = make_comparison(tmp_path, methods=("rise",), cases=1)
    (run / ".hydra" / "config.yaml").write_text(yaml.safe_dump({"paper_table": 3}))
    found = Page(write_report(run))
    assert "Table III" in found.text
    assert "(ResNet-101, ViT-B/16 on VOC 2012; not measured here)" in found.text


# the page


def test_page_of_a_comparison_marks_the_best_and_who_needs_gradients(page):
    assert_self_contained(page)
    lines = {line["explainer"][0]: line for line in page.table(1)}
    assert list(lines) == list(METHODS)
    assert lines["gradcam"]["explainer"] == ["gradcam", "∇"]
    assert page.source.count('class="num best"') == 2  # iou and deletion; sparseness has no direction
    start = page.source.index(">dax<", page.source.index('id="results"'))
    assert 'class="num best">' + lines["dax"]["iou"][0] in page.source[start : start + 1500]
    assert "lower is better for deletion" in page.text
    assert "by the metrics" in page.text


def test_page_shows_differences_with_the_best_method_that_needs_no_gradients(page):
    assert "vit: minus lime" in page.text
    assert "vit: minus the best without gradients" in page.text
    lime, best = page.table(2), page.table(3)
    assert list(lime[0]) == ["explainer", "iou − lime", "deletion − lime"]
    assert list(best[0]) == ["explainer", "iou − dax", "deletion − dax"]
    wanted = np.mean([worth(0, case, 100, 0.4 / 3) - worth(1, case, 100, 0.4 / 3) for case in range(5)])
    assert lime[0]["iou − lime"][0] == f"{wanted:+.3f}"
    assert lime[1]["iou − lime"] == ["–"]
    assert lime[0]["iou − lime"][2].endswith("n = 5")
    assert len(page.images("differences")) == 2


def test_page_has_curves_grid_and_extremes(page):
    assert {image["alt"] for image in page.images("against")} >= {"deletion, vit against share removed", "iou, vit against k"}
    assert [image["alt"] for image in page.images("c00 by")][:3] == [f"c00 by {name}" for name in METHODS]
    assert not page.images("case of lime")  # all are in the grid


def test_no_picture_is_twice_on_a_page(tmp_path):
    page = Page(write_report(make_comparison(tmp_path, cases=3 * CASES, panel=None)))
    sources = [image["src"] for image in page.images("")]
    assert len(set(sources)) == len(sources)
    assert len(page.images("case of lime")) + len(page.images("case of dax")) > 0


def test_pictures_then_a_table_with_the_best_first_and_every_link_leads_somewhere(tmp_path):
    run = make_comparison(tmp_path, methods=("lime", "rise", "dax"), cases=2)
    rows = pd.read_csv(run / "rows.csv")
    rows["iou"] = rows["iou"].where(rows["explainer"] != "dax", 0.99)
    rows.to_csv(run / "rows.csv", index=False)
    page = Page(write_report(run))
    assert [line["explainer"] for line in page.table(1)] == [["dax"], ["lime"], ["rise"]]
    assert page.source.index("<img") < page.source.index('<h2 id="results">')
    links = [attrs["href"] for tag, attrs in page.tags if tag == "a"]
    assert len(links) > 4
    assert {link[1:] for link in links} <= {attrs.get("id") for _, attrs in page.tags}
    for word in ("map", "region", "Fidelity"):
        assert f"<b>{word}</b>" in page.source


def test_page_tells_when_and_with_what_it_was_made(tmp_path):
    run = make_comparison(tmp_path, cases=1)
    made = Explanation(torch.eye(16), 281, 0.9, 100, 2.5, x=torch.zeros(3, 16, 16))
    made.save(run / "explanations" / "c00__dax", versions={"torch": "9.8.7"}, black_box="5e98", file_sha256="f11e" * 16)
    said = json.loads((run / "explanations" / "c00__dax.json").read_text(encoding="utf-8"))
    text = Page(write_report(run)).text
    seen = f"SHA-256 of the input as the model saw it c00 {said['input_sha256'][:16]}"
    for words in (said["saved"][:10], "torch 9.8.7", "Model fingerprint vit 5e98", "File SHA-256 c00 f11ef11ef11ef11e", seen):
        assert words in text
    assert "Queries 300, as if each method ran alone" in text
    assert "Only methods with a student are checked" in text


def test_the_numbers_are_in_tables_beside_the_page(tmp_path):
    run = make_comparison(tmp_path, cases=5)
    write_report(run)
    rows = typed(pd.read_csv(run / "rows.csv", dtype=str, keep_default_na=False))
    means = pd.read_csv(run / "means.csv")
    assert len(means) == len(METHODS) * len(SAID)
    for name in METHODS:
        own = np.asarray(rows.loc[rows["explainer"] == name, "iou"], float)
        line = means.loc[(means["explainer"] == name) & (means["metric"] == "iou")].iloc[0]
        assert (line["task"], line["black_box"], line["n"]) == ("photo", "vit", 5)
        assert [line["mean"], line["low"], line["high"]] == pytest.approx([own.mean(), *bootstrap_interval(own)])
    pairs = pd.read_csv(run / "differences.csv")
    assert len(pairs) == 2 * 2 * 2  # two are subtracted, of two others, by two metrics with a direction
    for against in ("dax", "lime"):
        wanted = paired_differences(rows, "iou", against)
        found = pairs.loc[(pairs["minus"] == against) & (pairs["metric"] == "iou"), list(wanted)].reset_index(drop=True)
        pd.testing.assert_frame_equal(found, wanted, check_dtype=False)


def test_one_method_has_no_differences(tmp_path):
    run = make_comparison(tmp_path, methods=("dax",), cases=3)
    (run / "differences.csv").write_text("of an earlier run")
    write_report(run)
    assert not (run / "differences.csv").exists()
    assert len(pd.read_csv(run / "means.csv")) == len(SAID)


def test_a_photograph_by_25_methods_is_under_3_mb(tmp_path):
    cat = ImageInput((224, 224)).image(Image.fromarray(chelsea()))
    made = Explanation(torch.rand(224, 224, generator=torch.Generator().manual_seed(0)), 281, 0.9, 100, 2.5)
    draw_panel(cat, made, tmp_path / "cat.png", target_name="cat", title="cat")
    methods = tuple(f"m{n:02}" for n in range(25))
    run = make_comparison(tmp_path / "run", methods, cases=1, size=224, panel=(tmp_path / "cat.png").read_bytes())
    assert write_report(run).stat().st_size < 3e6


def test_names_in_a_legend_have_no_lines_to_the_data():
    x = np.array([100.0, 1000.0])
    (axes,) = draw_chart(Chart("iou", "queries", "iou", [Line(f"m{n}", x, x + n, x, x + 9) for n in range(4)])).axes
    assert [text.get_text() for text in axes.texts] == ["m3", "m2", "m1", "m0"]
    assert not [text for text in axes.texts if getattr(text, "arrow_patch", None)]


def test_many_single_points_are_rows_with_their_costs():
    charts = [
        Chart("iou", cost, "iou", [Line(f"m{n}", *np.array([[9.0 + n], [n], [n], [n]])) for n in range(9)]) for cost in "qs"
    ]
    value, *costs = draw_chart(*charts).axes
    assert [label.get_text() for label in value.get_yticklabels()] == [f"m{n}" for n in range(8, -1, -1)]
    assert [np.asarray(line.get_xdata())[0] for line in costs[1].lines] == [9.0 + n for n in range(8, -1, -1)]


def test_sweep_splits_boxes_and_settings(sweep):
    page = Page(write_summary(sweep))
    assert_self_contained(page)
    for box, q in JOBS:
        assert f"Results: {box} · q={q}" in page.text
    assert "Settings compared" in page.text
    table = next(page.table(n) for n in range(len(page.tables)) if page.tables[n][0][1:] == [["q=100"], ["q=300"]])
    wanted = np.mean([worth(0, case, 300, 0.4 / 2) for case in range(2)])
    assert table[0]["q=300"][0] == f"{wanted:.3f}"
    assert len(page.images("iou, vit against queries")) == 1


def test_comparison_of_evil_names_is_only_text(tmp_path):
    run = make_comparison(tmp_path, cases=2, box=EVIL, methods=("dax", "lime", "$x_{<b>"))
    page = Page(write_report(run))
    assert_self_contained(page)
    assert EVIL in page.text


def test_comparison_without_metrics_json_marks_nothing(tmp_path):
    run = make_comparison(tmp_path, cases=2)
    (run / "metrics.json").unlink()
    page = Page(write_report(run))
    assert 'class="num best"' not in page.source
    assert "minus the best" not in page.text
    assert "minus lime" in page.text  # IoU's difference needs no direction


def test_one_explainer_alone_is_no_comparison(tmp_path):
    page = Page(write_report(make_comparison(tmp_path, methods=("dax",), cases=2)))
    for words in ("Differences", "every method", "best, median and worst"):
        assert words not in page.text
    assert len(page.images("deletion, vit against share removed")) == 1
