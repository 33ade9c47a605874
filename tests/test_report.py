import math
from html.parser import HTMLParser
from importlib.resources import files
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import colormaps
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from dax_lightning.errors import InputError
from dax_lightning.plots.canvas import NAMED, RED, SIGNED, axes_at, printable
from dax_lightning.plots.curves import draw_curves, strip
from dax_lightning.plots.maps import photograph, region, salient
from dax_lightning.plots.panel import _map, draw_panel
from dax_lightning.report import write_report, write_summary
from dax_lightning.report.gallery import A_CASE, PICTURES
from dax_lightning.stats.intervals import bootstrap_interval
from dax_lightning.stats.tables import read_rows, summarise, typed
from dax_lightning.types import Explanation

EVIL = '<script>alert("1")</script>'
VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """What a page holds: its tags, its words, its tables as lists of cells."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.words, self.tables, self.open = [], [], [], []
        self.source = path.read_text(encoding="utf-8")
        self.feed(self.source)
        assert self.open == []
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.open += [] if tag in VOID else [tag]
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append([])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" in self.open:
            return
        self.words.append(data)
        if {"td", "th"} & set(self.open) and data.strip():
            self.tables[-1][-1][-1].append(data.strip())

    def table(self, n):
        """Rows of the n-th table as {column: [texts of the cell]}."""
        head, *body = self.tables[n]
        return [dict(zip([" ".join(c) for c in head], row, strict=True)) for row in body]

    def images(self, alt):
        return [attrs for tag, attrs in self.tags if tag == "img" and alt in attrs["alt"]]


def row(case="cat", explainer="dax", **more):
    facts = {"task": "photo", "case": case, "explainer": explainer, "loss": "v2", "segmenter": "quickshift", "seed": 0, "q": 100}
    facts |= {"target": 281, "target_name": "tabby", "score": 0.9, "queries": 100, "seconds": 2.5, "seconds_black_box": 1.5}
    return facts | {"peak_mb": 10, "status": "ok", "error": ""} | more


def write_run(folder, rows, overrides=None):
    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(folder / "rows.csv", index=False)
    if overrides is not None:
        (folder / ".hydra").mkdir()
        (folder / ".hydra" / "overrides.yaml").write_text("".join(f"- {item}\n" for item in overrides) or "[]\n")
    return folder


def add_files(folder, case, explainer="dax", warnings=(), colour="#808080"):
    stem = folder / "explanations" / f"{case}__{explainer}"
    stem.parent.mkdir(exist_ok=True)
    Explanation(torch.eye(4), 281, 0.9, 100, 2.5, warnings=warnings).save(stem)
    Image.new("RGB", (40, 10), colour).save(stem.parent / (stem.name + ".png"))


def make_run(folder):
    """Three cases by two explainers, one case failed and one unfaithful, names and errors that would break a page."""
    rows = [row("a", iou=0.2, fidelity=0.8), row("b", iou=0.6, fidelity=-0.1, status="unfaithful", seconds=3.5)]
    rows += [row(EVIL, iou=0.5, fidelity=0.7), row("d", status="failed", error='<img src="http://x/y.png"> & worse', queries="")]
    rows += [row(c, "rise", loss="", queries=900, seconds=9.0, iou=v) for c, v in (("a", 0.3), ("b", 0.4), (EVIL, 0.1))]
    write_run(folder, rows, ["task=photo", "q=100"])
    for case, warnings in (("a", ()), ("b", ("the student learned <nothing>: try q=6000",))):
        add_files(folder, case, warnings=warnings)
    add_files(folder, "a", "rise")
    return folder


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path / "run")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return Page(write_report(make_run(tmp_path_factory.mktemp("run"))))


def colour_at(share):
    """The colour of signed maps at a share of their scale."""
    return (np.array(colormaps[SIGNED](share)[:3]) * 255).round()


def explained(saliency, **more):
    return Explanation(saliency, target=0, score=0.5, queries=10, seconds=1.0, **more)


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def drawn(tmp_path, x, explanation, title="a · dax", target_name="cat", **more: Any):
    return pixels(draw_panel(x, explanation, tmp_path / "deep" / "p.png", title=title, target_name=target_name, **more))


# the panel


def test_panel_warning_is_a_red_banner_on_the_picture(tmp_path):
    x, saliency = torch.rand(3, 8, 8), torch.rand(8, 8)
    red = (np.array(to_rgb(RED)) * 255).round()
    plain = drawn(tmp_path, x, explained(saliency))
    warned = drawn(tmp_path, x, explained(saliency, warnings=("nothing learned: " + "try more copies " * 20,)))
    assert not (plain == red).all(-1).any()
    where = (warned == red).all(-1)
    assert where.any(0).mean() > 0.9  # across the page
    assert where.any(1).nonzero()[0].max() < warned.shape[0] / 3  # above the pictures
    assert len(warned) > len(plain)


def test_panel_depends_on_what_it_shows_and_on_nothing_else(tmp_path):
    x, saliency, truth = torch.rand(3, 8, 8), torch.rand(8, 8), torch.eye(8) > 0
    first = drawn(tmp_path, x, explained(saliency))
    assert np.array_equal(first, drawn(tmp_path, x, explained(saliency)))
    assert not np.array_equal(first, drawn(tmp_path, x, explained(saliency.flip(0))))
    assert not np.array_equal(first, drawn(tmp_path, x, explained(saliency), truth=truth))
    assert len(drawn(tmp_path, x, explained(saliency), masks=[saliency] * 3)) > len(first)


def test_panel_outlines_the_region_and_has_two_colours_about_zero(tmp_path):
    x, saliency, region = torch.full((3, 8, 8), 0.5), torch.rand(8, 8), torch.zeros(8, 8).bool()
    region[2:6, 2:6] = True
    plain, named = (drawn(tmp_path, x, explained(saliency, region=where)) for where in (None, region))
    yellow = (np.array(to_rgb(NAMED)) * 255).round()
    assert ((named == yellow).all(-1)).sum() > 50
    assert not (plain == yellow).all(-1).any()
    signed = drawn(tmp_path, x, explained(saliency - 0.5))
    assert len(np.unique(signed.reshape(-1, 3), axis=0)) > 10
    assert not np.array_equal(signed, plain)  # its zero is white, red is above and blue below
    low, high = (colour_at(end) for end in (0.0, 1.0))
    assert [(np.abs(signed.astype(int) - end).max(-1) < 12).any() for end in (low, high)].count(True) >= 1


@pytest.mark.parametrize("shape", [(1, 6, 9), (2, 6, 9), (4, 9, 3), (1, 5, 400), (1, 50), (3, 1, 1)])
def test_panel_draws_every_shape(tmp_path, shape):
    saliency = torch.rand(shape[1:])
    drawn(tmp_path, torch.randn(shape), explained(saliency), truth=saliency > 0.5, title="$x_{$ 猫 \n", target_name="$\\frac$")


@pytest.mark.parametrize("value", [0.0, 0.3, -1e8, math.nan])
def test_panel_of_a_flat_map_keeps_nothing(tmp_path, value):
    saliency = torch.full((4, 4), value)
    drawn(tmp_path, torch.rand(3, 4, 4), explained(saliency))
    assert not salient(saliency.double().numpy())[0].any()


def test_panel_refuses_shapes_that_do_not_fit(tmp_path):
    with pytest.raises(InputError, match=r"the map has shape \(4, 4\) and the input \(8, 8\)"):
        drawn(tmp_path, torch.rand(3, 8, 8), explained(torch.rand(4, 4)))
    with pytest.raises(InputError, match=r"shape \(3, 2, 2, 2\) can't be drawn"):
        drawn(tmp_path, torch.rand(3, 2, 2, 2), explained(torch.rand(2, 2, 2)))
    with pytest.raises(InputError, match=r"give one .* an epoch"):
        strip([], 10)


def test_a_nearly_binary_map_over_half_the_picture_still_shows_its_region():
    binary = np.zeros((8, 8))
    binary[:5] = 1
    where, told = region(binary)
    assert where.sum() == 40
    assert "above its mean" in told
    where, told = region(np.arange(64.0).reshape(8, 8))
    assert where.sum() == salient(np.arange(64.0).reshape(8, 8))[0].sum()
    assert "above mean + 1 std" in told
    assert not region(np.ones((8, 8)))[0].any()


def test_salient_region_is_above_mean_plus_one_std():
    saliency = np.arange(10.0).reshape(2, 5)
    where, threshold = salient(saliency)
    assert threshold == pytest.approx(4.5 + math.sqrt(8.25))  # of 0..9
    assert where.ravel().tolist() == [False] * 8 + [True] * 2


def test_map_has_a_bar_with_its_real_values():
    figure = Figure()
    axes, bar = axes_at(figure, 0, 0, 1, 1), axes_at(figure, 2, 0, 1, 1)
    _map(figure, axes, bar, np.array([[0.003, 0.02], [np.nan, 0.01]]))
    assert bar.get_ylim() == pytest.approx((0.003, 0.02))


def test_zero_is_in_the_middle_of_a_signed_maps_bar():
    figure = Figure()
    axes, bar = axes_at(figure, 0, 0, 1, 1), axes_at(figure, 2, 0, 1, 1)
    _map(figure, axes, bar, np.array([[-0.003, 0.02], [np.nan, 0.0]]))
    assert bar.get_ylim() == pytest.approx((-0.02, 0.02))


def test_photograph_keeps_colours_and_averages_other_channels():
    x = torch.rand(3, 2, 2)
    assert np.allclose(photograph(x), x.permute(1, 2, 0))
    two = torch.rand(2, 2, 2)
    assert np.allclose(photograph(two)[..., 1], two.mean(0))
    assert photograph(torch.randn(1, 5, 5) * 90).min() >= 0


def test_printable_is_one_short_line_the_font_can_draw():
    assert printable("a\nb 猫\t" + "x" * 500, 10) == "a b □ xxx…"


# curves and masks


def test_curves_hold_the_history():
    history = [{"epoch": 0, "train_mse": 0.4, "val_mse": 0.5, "fidelity": 0.1}]
    history += [{"epoch": 1, "train_mse": 0.2, "val_mse": 0.3, "fidelity": 0.6}]
    figure = draw_curves(history)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["mse", "fidelity"]
    lines = {line.get_label(): np.asarray(line.get_ydata()).tolist() for line in figure.axes[0].lines}
    assert lines == {"training": [0.4, 0.2], "validation": [0.5, 0.3]}
    assert np.asarray(figure.axes[1].lines[0].get_ydata()).tolist() == [0.1, 0.6]


@pytest.mark.parametrize(
    ("history", "message"), [([{"loss": 1}], "no epoch"), ([{"epoch": 1, "loss": None}], "no number to draw")]
)
def test_curves_without_numbers_are_refused(history, message):
    with pytest.raises(InputError, match=message):
        draw_curves(history)


def test_film_strip_keeps_first_and_last():
    film = strip([np.full((3, 4), n / 24) for n in range(25)], 10)
    assert len(film.tiles) == 10
    assert (film.tiles[0].max(), film.tiles[-1].max()) == (0, 1)


# numbers


def test_summary_equals_pandas_by_hand(run):
    table = summarise(typed(read_rows(run)), ["explainer"], ["iou", "fidelity"]).set_index("explainer")
    raw = pd.read_csv(run / "rows.csv")
    done = raw[raw.status != "failed"].groupby("explainer")
    assert table.iou.to_dict() == pytest.approx(done.iou.mean().to_dict())
    assert table.seconds.to_dict() == pytest.approx(done.seconds.mean().to_dict())
    assert table[["cases", "failed", "unfaithful", "iou_n", "fidelity_n"]].loc["dax"].tolist() == [4, 1, 1, 3, 3]
    assert table.loc["dax", "iou_low"] <= table.loc["dax", "iou"] <= table.loc["dax", "iou_high"]


def test_interval_of_many_is_the_normal_one():
    values = np.random.default_rng(3).normal(5, 2, 400)
    low, high = bootstrap_interval(values)
    half = 1.96 * values.std() / 20
    assert (values.mean() - low, high - values.mean()) == pytest.approx((half, half), rel=0.12)
    assert bootstrap_interval(values) == (low, high)


def test_seeds_of_one_case_are_no_more_cases():
    rows = typed(pd.DataFrame([row("a", seed=s, iou=v) for s, v in enumerate((0.1, 0.5, 0.9))]))
    (line,) = summarise(rows, ["explainer"], ["iou"]).to_dict("records")
    assert (line["rows"], line["cases"], line["iou_n"]) == (3, 1, 1)
    assert line["iou"] == pytest.approx(0.5)
    assert math.isnan(line["iou_low"])


@pytest.mark.parametrize("names", [["007", "08"], ["NA", "null"]])
def test_odd_names_stay_as_they_are(tmp_path, names):
    write_run(tmp_path, [row(name) for name in names])
    assert read_rows(tmp_path)["case"].tolist() == names


@pytest.mark.parametrize(
    ("content", "message"), [(None, "no rows.csv"), ("", "is no table"), ("task,case\na,b\n", "no column explainer, status")]
)
def test_unusable_rows_are_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "rows.csv").write_text(content)
    with pytest.raises(InputError, match=message):
        write_report(tmp_path)


# the page


def assert_self_contained(page):
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "embed", "base", "form"}
    for tag, attrs in page.tags:
        assert not [name for name in attrs if name.startswith("on") or name in ("srcset", "style", "action")]
        assert attrs.get("href", "#").startswith("#")
        assert ("src" in attrs) == (tag == "img")
        assert attrs.get("src", "data:image/").startswith("data:image/")


def test_page_fetches_nothing_and_names_are_only_text(page):
    assert_self_contained(page)
    assert EVIL in page.text
    assert '<img src="http://x/y.png"> & worse' in page.text
    style = page.source[page.source.index("<style>") : page.source.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style


def test_page_tables_hold_the_numbers(page):
    dax, rise = page.table(0)
    assert (dax["explainer"], rise["explainer"], rise["loss"]) == (["dax"], ["rise"], ["–"])
    assert (dax["cases"], dax["failed"], dax["unfaithful"]) == (["4"], ["1"], ["1"])
    low, high = bootstrap_interval(np.array([0.5, 0.2, 0.6]))  # in the order of the cases' names
    assert dax["iou"] == ["0.433", f"{low:.3f} to {high:.3f}", "n = 3"]
    assert (dax["queries"], rise["queries"], rise["seconds"]) == (["100"], ["900"], ["9.0"])
    assert rise["fidelity"] == ["–"]
    assert page.table(1) == [{"case": ["d"], "explainer": ["dax"], "error": ['<img src="http://x/y.png"> & worse']}]


def test_one_case_has_no_interval(tmp_path):
    (line,) = Page(write_report(write_run(tmp_path, [row(iou=0.4321)]))).table(0)
    assert line["iou"] == ["0.432", "–"]


def test_page_says_what_failed_and_what_must_not_be_trusted(page):
    top = page.text[: page.text.index("What was run")]
    assert "1 of 7 rows failed" in top
    assert "1 of 7 explanations are unfaithful" in top
    assert "the student learned <nothing>: try q=6000 b (dax)" in top
    assert page.text.count("the student learned <nothing>") == 2  # and beside its picture
    assert [attrs for tag, attrs in page.tags if tag == "figure" and attrs.get("class") == "distrust"]
    assert "task=photo q=100" in page.text


def test_pictures_come_best_median_worst_and_side_by_side(page):
    order = [
        page.text.index(words) for words in ("Best b mean IoU 0.500", f"Median {EVIL} mean IoU 0.300", "Worst a mean IoU 0.250")
    ]
    assert order == sorted(order)
    assert len(page.images("of a side by side")) == 1
    assert len(page.images("input, map, overlay")) == 3
    assert "No readable picture was left" in page.text  # of the evil case


def test_pictures_that_find_no_room_are_counted(tmp_path):
    cases = [f"c{n}" for n in range(PICTURES + 5)]
    run = write_run(tmp_path, [row(case) for case in cases])
    add_files(run, "c0")
    page = Page(write_report(run))
    assert "5 pictures are not shown" in page.text
    assert f"{PICTURES - 3} more cases" in page.text


def test_page_has_a_cost_chart_only_for_several_groups(tmp_path, page):
    assert len(page.images("against queries")) == 1
    assert not Page(write_report(write_run(tmp_path, [row("a", iou=0.1), row("b", iou=0.2)]))).images("against queries")


def test_training_curves_come_from_the_explanation_itself(run):
    history = [{"epoch": n, "train_mse": 1 / (n + 1), "val_mse": 2 / (n + 1), "fidelity": 0.4 * n} for n in range(2)]
    for case, said in (("a", history), ("b", "nonsense")):
        Explanation(torch.eye(4), 281, 0.9, 100, 2.5, notes={"history": said}).save(run / "explanations" / f"{case}__dax")
    assert len(Page(write_report(run)).images("loss terms")) == 1


@pytest.mark.parametrize("rows", [[], [row("a", status="failed", error="boom", score="", queries="", seconds="")]])
def test_page_without_one_explained_case(tmp_path, rows):
    write_run(tmp_path, rows or [row()])
    if not rows:
        (tmp_path / "rows.csv").write_text(",".join(row()) + "\n")
    page = Page(write_report(tmp_path))
    assert_self_contained(page)
    assert ("boom" if rows else "nothing was explained") in page.text


def test_a_case_name_cannot_reach_another_folder(tmp_path):
    run = write_run(tmp_path, [row("../secret"), row("x" * 999)])
    (run / "explanations").mkdir()
    Image.new("RGB", (4, 4)).save(run / "secret__dax.png")
    assert not Page(write_report(run)).images("")


def test_broken_files_are_told_and_do_not_stop_the_page(run):
    for suffix in (".png", ".json", ".npz"):
        (run / "explanations" / f"a__dax{suffix}").write_text("{")
    page = Page(write_report(run))
    assert "its .json can’t be read" in page.text
    assert len(page.images("input, map, overlay")) == 2


def test_page_is_the_same_when_written_again(run):
    assert write_report(run).read_bytes() == write_report(run).read_bytes()


def test_template_is_where_the_package_finds_it():
    assert files("dax_lightning.report").joinpath("page.html.j2").is_file()


# a sweep


@pytest.fixture
def sweep(tmp_path):
    """Two settings by two seeds; job 10 ended before it left a row."""
    folder = tmp_path / "sweep"
    for n, (lam, seed) in enumerate([(0.1, 0), (0.1, 1), (0.5, 0), (0.5, 1)]):
        rows = [row(case, seed=seed, iou=value + lam + 0.2 * seed) for case, value in (("a", 0.1), ("b", 0.3))]
        write_run(folder / str(n), rows, ["task=photo", f"lam3={lam}", f"seed={seed}"])
        add_files(folder / str(n), "a", colour=f"#{60 * n:02x}0000")
    (folder / "10" / ".hydra").mkdir(parents=True)
    (folder / "10" / ".hydra" / "overrides.yaml").write_text("- task=photo\n- lam3=<0.9>\n- seed=0\n")
    (folder / "not a job").mkdir()
    return folder


def test_sweep_is_gathered_into_one_table(sweep):
    write_summary(sweep)
    table = pd.read_csv(sweep / "summary.csv")
    assert list(table.columns[:4]) == ["job", "overrides", "task", "case"]
    assert table.job.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert table.overrides[2] == "task=photo lam3=0.1 seed=1"
    assert table.iou.tolist() == pytest.approx([0.2, 0.4, 0.4, 0.6, 0.6, 0.8, 0.8, 1.0])


def test_sweep_page_compares_jobs_and_settings(sweep):
    page = Page(write_summary(sweep))
    assert_self_contained(page)
    jobs, settings = page.table(0), page.table(1)
    assert [(*j["job"], *j["overrides"], j["iou"][0]) for j in jobs] == [
        ("0", "lam3=0.1 seed=0", "0.300"),
        ("1", "lam3=0.1 seed=1", "0.500"),
        ("2", "lam3=0.5 seed=0", "0.700"),
        ("3", "lam3=0.5 seed=1", "0.900"),
    ]
    assert [(*s["overrides"], s["iou"][0], *s["cases"], *s["rows"]) for s in settings] == [
        ("lam3=0.1", "0.400", "2", "4"),
        ("lam3=0.5", "0.800", "2", "4"),
    ]
    assert "1 job ended early or left no rows. job 10 task=photo lam3=<0.9> seed=0 : no rows.csv" in page.text
    assert "Overrides of all task=photo" in page.text
    assert len(page.images("of a side by side")) == 1
    sources = [image["src"] for image in page.images("overlay and salient region of a")]
    assert len(set(sources)) == len(sources) == 4  # each job's own file


def test_sweep_with_no_row_at_all_still_has_a_page(tmp_path):
    (tmp_path / "0").mkdir()
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "rows.csv").write_text("")
    page = Page(write_summary(tmp_path))
    assert "2 jobs ended early or left no rows" in page.text
    assert "is no table" in page.text
    assert (tmp_path / "summary.csv").read_text().startswith("job,overrides,")


def test_sweep_folder_without_jobs_is_refused(tmp_path):
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(InputError, match=r"no jobs in .* multirun"):
            write_summary(folder)


def test_one_case_cannot_fill_the_page(tmp_path):
    for n in range(A_CASE + 2):
        write_run(tmp_path / str(n), [row("a"), row("b")], [f"lam3={n}"])
    assert "4 pictures are not shown" in Page(write_summary(tmp_path)).text
