"""A run of several explainers and metrics: shared answers, kept explanations, honest counts."""

import csv
import json

import pytest
import torch

from dax_lightning.black_box import BlackBox
from dax_lightning.errors import InputError
from dax_lightning.explainers.masking.rise import Rise
from dax_lightning.explainers.random import Random
from dax_lightning.explainers.surrogate.lime import Lime
from dax_lightning.game.subsets import Perturber
from dax_lightning.metrics import Deletion, IoU, IoUWrongLabel, sanity
from dax_lightning.run.config import usable
from dax_lightning.run.loggers import CsvRun
from dax_lightning.run.runner import Benchmark
from dax_lightning.segment.grid import Grid
from dax_lightning.tasks import Task
from dax_lightning.testing import QuarterBox, QuarterTorchBox, toy_box
from dax_lightning.types import Case

CONFIG = {"task": {}, "black_box": {}, "explainer": {"q": 100}}


class Quarters(Task):
    """The same noise twice, its truth the top left quarter."""

    name = "quarters"

    def __init__(self, box):
        super().__init__(box, ["a", "b"], None, None)

    def _case(self, index):
        x = 0.5 + 0.5 * torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(index))
        truth = torch.zeros(32, 32, dtype=torch.bool)
        truth[:16, :16] = True
        return Case(self._keys[index], x, 0, truth, wrong=1)


def explainers_of(box, *names):
    parts = {"segmenter": Grid(4, 4), "perturber": Perturber(fill="zeros"), "q": 100}
    made = {
        "lime": Lime(box, **parts),
        "lime_log_odds": Lime(box, targets="log_odds", **parts),
        "rise": Rise(box, q=100),
        "random": Random(box),
    }
    return {name: made[name] for name in names or made}


def run(folder, box, explainers, config=CONFIG, **metrics):
    """Run it; the rows by (case, explainer)."""
    configs = {name: config for name in explainers}
    Benchmark(Quarters(box), explainers, metrics or {"iou": IoU()}, folder, CsvRun(), {}, configs).run()
    with (folder / "rows.csv").open() as file:
        return {(row["case"], row["explainer"]): row for row in csv.DictReader(file)}


def test_explainers_of_a_case_share_answers_and_rows_tell_what_each_needs_alone(tmp_path):
    box = QuarterBox()
    rows = run(tmp_path, box, explainers_of(box))
    assert {name: row["queries"] for (case, name), row in rows.items() if case == "a"} == {
        "lime": "100",
        "lime_log_odds": "100",
        "rise": "100",
        "random": "1",
    }
    assert box.seen == 2 * (100 + 1 + 99)  # LIME's copies once, the input alone for RISE and random, RISE's masks
    assert float(rows["a", "lime_log_odds"]["seconds_black_box"]) > 0


@pytest.mark.parametrize(
    ("names", "metrics", "shared"),
    [(["lime"], {"iou": IoU()}, False), (["lime"], {"wrong": IoUWrongLabel()}, True), (["lime", "rise"], {"iou": IoU()}, True)],
)
def test_rows_are_hashed_only_where_an_answer_may_be_wanted_twice(tmp_path, monkeypatch, names, metrics, shared):
    box, seen = QuarterBox(), []
    monkeypatch.setattr(BlackBox, "_remembered", _counting(BlackBox._remembered, seen))
    run(tmp_path, box, explainers_of(box, *names), **metrics)
    assert bool(seen) == shared


def _counting(method, seen):
    def counted(self, x, bank):
        seen.append(len(x))
        return method(self, x, bank)

    return counted


def test_what_metrics_ask_is_counted_apart(tmp_path):
    box = QuarterBox()
    rows = run(tmp_path, box, explainers_of(box, "lime"), deletion=Deletion(steps=10), wrong=IoUWrongLabel())
    assert (rows["a", "lime"]["queries"], rows["a", "lime"]["metric_queries"]) == ("100", "111")
    facts = json.loads((tmp_path / "explanations" / "a__lime.json").read_text())
    assert len(facts["curves"]["deletion"]["x"]) == 11


def test_a_new_metric_measures_the_maps_that_are_there(tmp_path):
    first = run(tmp_path, QuarterBox(), explainers_of(QuarterBox(), "lime"))
    box = QuarterBox()
    again = run(tmp_path, box, explainers_of(box, "lime", "random"), iou=IoU(), iou_mean=IoU(0.0))
    assert box.seen == 2  # random's score of each case
    assert again["a", "lime"]["iou"] == first["a", "lime"]["iou"]
    assert again["a", "lime"]["iou_mean"] != ""
    assert (tmp_path / "rows_1.csv").is_file()
    assert set(json.loads((tmp_path / "metrics.json").read_text())["explainers"]) == {"lime", "random"}


@pytest.mark.parametrize("spoil", ["a__lime.json", "a__lime.npz"])
def test_an_explanation_that_was_cut_off_is_made_again(tmp_path, spoil):
    first = run(tmp_path, QuarterBox(), explainers_of(QuarterBox(), "lime"))
    (tmp_path / "rows.csv").unlink()
    file = tmp_path / "explanations" / spoil
    file.write_bytes(file.read_bytes()[:40])
    box = QuarterBox()
    assert run(tmp_path, box, explainers_of(box, "lime"))["a", "lime"]["iou"] == first["a", "lime"]["iou"]
    assert box.seen == 100


def test_another_setting_or_another_model_wants_another_folder_even_for_new_metrics(tmp_path):
    run(tmp_path, QuarterBox(), explainers_of(QuarterBox(), "lime"))
    other = {**CONFIG, "explainer": {"q": 50}}
    with pytest.raises(InputError, match=r"explainer\.q=100, now it is 50: give another folder"):
        run(tmp_path, QuarterBox(), explainers_of(QuarterBox(), "lime"), other, iou_mean=IoU(0.0))
    box = QuarterBox()
    box.model.fingerprint = "retrained"  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(InputError, match=r"weights=quarter, now it is retrained"):
        run(tmp_path, box, explainers_of(box, "lime"), iou_mean=IoU(0.0))


def test_rows_of_another_task_want_another_folder(tmp_path):
    run(tmp_path, QuarterBox(), explainers_of(QuarterBox(), "random"))
    file = tmp_path / "rows.csv"
    file.write_text(file.read_text().replace("quarters,", "shapes,"))
    with pytest.raises(InputError, match=r"holds rows of task=shapes, now it is quarters: give another folder"):
        run(tmp_path, QuarterBox(), explainers_of(QuarterBox(), "random"))


class Offline(Random):
    """Its helper on another machine does not answer for the first case."""

    def _explain(self, x, target, generator, segments):
        if x.mean() < 0.7485:
            raise ConnectionError("no route to host")
        return super()._explain(x, target, generator, segments)


def test_an_explainer_that_can_not_connect_costs_one_row(tmp_path):
    box = QuarterBox()
    means = [case.x.mean().item() for case in Quarters(box)]
    assert (means[0] < 0.7485) != (means[1] < 0.7485)
    rows = run(tmp_path, box, {"offline": Offline(box), "random": Random(box)})
    assert sorted(rows[case, "offline"]["status"] for case in "ab") == ["failed", "ok"]
    assert any("no route to host" in row["error"] for row in rows.values())
    assert [rows[case, "random"]["status"] for case in "ab"] == ["ok", "ok"]


def test_methods_share_the_answers_of_the_shuffled_model_too(tmp_path, monkeypatch):
    box = QuarterTorchBox()
    asked = []
    other = QuarterTorchBox()
    monkeypatch.setattr(sanity, "_shuffled_box", lambda _box, _seed: other)
    scores = other.model.scores
    monkeypatch.setattr(other.model, "scores", lambda rows: asked.append(len(rows)) or scores(rows))
    run(tmp_path, box, explainers_of(box, "lime", "lime_log_odds"), randomisation=sanity.Randomisation())
    assert sum(asked) == 2 * 100


def test_of_several_those_that_need_gradients_are_left_out_with_a_word(capsys):
    from functools import partial

    from dax_lightning.explainers.gradient.saliency import Gradient

    several = {"gradient": partial(Gradient), "random": partial(Random)}
    assert list(usable(several, QuarterBox())) == ["random"]
    assert "gradient is left out: gradients are wanted" in capsys.readouterr().out
    assert list(usable(several, QuarterTorchBox())) == ["gradient", "random"]
    with pytest.raises(InputError, match="gradients are wanted"):
        usable({"gradient": partial(Gradient)}, QuarterBox())
    with pytest.raises(InputError, match="cells=0"):
        usable({"random": partial(Random, cells=0)}, QuarterBox())


def test_of_several_those_that_take_no_waves_are_left_out_with_a_word(capsys):
    from functools import partial

    several = {"rise": partial(Rise), "random": partial(Random)}
    assert list(usable(several, toy_box("(time,)"))) == ["random"]
    assert "rise is left out: explainer=rise takes image, spectrogram, and this model takes a wave" in capsys.readouterr().out
    with pytest.raises(InputError, match="this model takes a wave"):
        usable({"rise": partial(Rise)}, toy_box("(time,)"))
