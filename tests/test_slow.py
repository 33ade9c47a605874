"""What takes minutes on the real black box: ``make test-slow``."""

import subprocess

import pandas as pd
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image

from benchmarks import bench
from dax_lightning import MosaicDax, Photo, lite0
from dax_lightning.explainers.base import Explainer, Found
from dax_lightning.metrics.localisation import pointing, top_share
from dax_lightning.run.config import build, explainer_nodes
from dax_lightning.run.loggers import CsvRun
from dax_lightning.run.runner import Benchmark
from dax_lightning.tasks import Shapes
from dax_lightning.tasks.shapes import shapes_classifier
from dax_lightning.types import Case, Explanation
from tests.conftest import ROOT
from tests.test_conf import composed

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("seed", [0, 1])
def test_the_default_map_lies_on_the_cat(seed):
    """On the whole photograph, of which the cat is three quarters."""
    black_box = lite0(crop="squash")
    case = Photo(black_box)[0]
    with Image.open(ROOT / "tests" / "data" / "chelsea_cat.png") as drawn:
        truth = black_box.input.labels(drawn.convert("L")) > 127
    made = MosaicDax(black_box, seed=seed).explain(case.x, case.target)
    assert not made.warnings
    assert pointing(made.saliency, truth) > 0.9
    assert top_share(made.saliency, truth) > 0.8
    assert top_share(-made.saliency, truth) < 0.75  # what counts least is not the cat
    assert made.region is not None
    assert truth[made.region].float().mean() > 0.9


class Oracle(Explainer):
    """Its map is the truth, and for another class the rest."""

    name = "oracle"

    def explain_case(self, case: Case, target: int | None = None) -> Explanation:
        assert case.truth is not None
        self.truth = case.truth if target in (None, case.target) else ~case.truth
        return super().explain_case(case, target)

    def _explain(self, x, target, generator, segments):
        return Found(self.truth.float(), score=self.black_box(x[None])[0, target].item())


@pytest.fixture(scope="module")
def on_drawings(tmp_path_factory) -> pd.DataFrame:
    """Mean of each metric (columns) by each method (rows) over drawings of shapes, by the harness itself."""
    folder = tmp_path_factory.mktemp("shapes")
    box = shapes_classifier()
    cfg = composed(
        "task=shapes",
        "comparison=gradient_free",
        "q=200",
        "device=cpu",
        "trainer.enable_progress_bar=false",
        f"methods=[{METHODS}]",
    )
    explainers = {name: build(node, where, black_box=box) for name, (where, node) in explainer_nodes(cfg).items()}
    files = (ROOT / "conf" / "metric").glob("*.yaml")
    left_out = ("detected", "time", "audible", "own_power")  # a drawing's columns are no time
    metrics = {file.stem: instantiate(OmegaConf.load(file)) for file in files if not any(part in file.stem for part in left_out)}
    Benchmark(Shapes(box, n=8), {"oracle": Oracle(box), **explainers}, metrics, folder, CsvRun()).run()
    rows = pd.read_csv(folder / "rows.csv")
    assert set(rows["status"]) <= {"ok", "unfaithful"}
    directed = [name for name, metric in metrics.items() if metric.higher_is_better is not None]
    return pd.DataFrame({name: rows.groupby("explainer")[name].mean() for name in directed})


METHODS = "random,occlusion,rise,shap,lime,hsic,sobol,forest,dax_v1,dax_v2,rise_mosaic,dax"
LOWER = {"deletion", "deletion_paper", "iou_wrong_label", "randomisation"}


def test_the_harness_finds_the_truth_on_drawings(on_drawings):
    print(on_drawings.round(3).to_string())
    assert on_drawings["iou_best"]["oracle"] == pytest.approx(1)
    for name in set(on_drawings) - {"iou_wrong_label"}:  # there a map at random is at chance, and low is good
        ordered = on_drawings[name].dropna().sort_values(ascending=name not in LOWER)
        assert ordered["random"] == ordered.iloc[0], f"{name}: {ordered.index[0]} is under random"


def test_the_benchmark_times_all_methods_side_by_side(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["bench", "100", "--rounds", "1"])
    bench.main()
    lines = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    ratios = {line[0].strip("| "): float(line[1]) for line in lines if line[1].replace(".", "").isdigit()}
    assert {"LIME", "lime", "captum Lime", "DAX V1", "DAX-Mosaic", "the model"} <= set(ratios)
    assert all(0.8 < ratios[name] < 50 for name in bench.OURS)
    assert ratios["in all"] > ratios["the model"]


def test_the_gpu_check_runs_without_a_gpu(tmp_path):
    done = subprocess.run(["scripts/gpu_check.sh", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "| EfficientNet-Lite0 | 60 |" in done.stdout
    assert (tmp_path / "gpu.md").read_text().count("\n|") >= 8
