"""What an explanation costs beside the model's own forwards: ours and other libraries' on one photograph and one network.

A round times bare forwards of q rows and then every method in turn, so that other load on the machine affects all alike. A cell
is the median over rounds of a method's wall time over the bare forwards of its round. Memory is the peak over the loaded model,
of a process that does nothing else. The last tables say where the time of DAX-Mosaic and of DAX V1 goes.

Run: python -m benchmarks.bench [q ...] [--rounds N] [--engine openvino] [--methods "DAX V1,DAX-Mosaic"]
"""

import argparse
import cProfile
import importlib
import json
import pstats
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from functools import partial
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import bare_seconds, compose_config, make_explainer
from dax_lightning.black_box import BlackBox
from dax_lightning.run.config import build
from dax_lightning.segment.image import Quickshift
from dax_lightning.tasks import Photo
from dax_lightning.types import Case

OURS = {  # name → what the command line would say
    "LIME": ["explainer=lime"],
    "RISE": ["explainer=rise"],
    "KernelSHAP": ["explainer=shap"],
    "Partition": ["explainer=shap_partition"],
    "DAX V1": ["loss=v1"],
    "DAX V2": ["loss=v2"],
    "DAX-Mosaic": [],
}
THEIRS = {"LIME": ("lime", "captum Lime"), "RISE": ("xaitk-saliency RISE",), "KernelSHAP": ("captum KernelShap",)}
THEIRS |= {"Partition": ("shap Partition",)}
MOST = {"xaitk-saliency RISE": 1000}  # queries; a round of 4000 by it alone would take as long as by four others
STEPS = {  # method → function → what it does
    "DAX-Mosaic": {
        "_partitions": "partitions and outlines",
        "copies": "painting copies",
        "_imitate": "profile and ridge",
        "averaged": "averages",
        "region_of": "region",
    },
    "DAX V1": {
        "_parts": "partition",
        "copies": "painting copies",
        "_run_stage": "training",
        "<method 'run_backward' of 'torch._C._EngineBase' objects>": "of it: gradients",
    },
}


def methods(box: BlackBox, case: Case) -> dict[str, Callable[[int], Any]]:
    """Each explains the photograph with so many rows at most."""

    def ours(settings: list[str], q: int) -> Any:
        return make_explainer(box, *settings, f"q={q}").explain(case.x, case.target)

    names = [name for ours_ in OURS for name in (ours_, *THEIRS.get(ours_, ()))]
    made: dict[str, Callable[[int], Any]] = {name: partial(ours, settings) for name, settings in OURS.items()}
    made |= {
        "lime": partial(_lime, box, case),
        "captum Lime": partial(_captum, "Lime", box, case),
        "captum KernelShap": partial(_captum, "KernelShap", box, case),
        "shap Partition": partial(_shap, box, case),
        "xaitk-saliency RISE": partial(_xaitk, box, case),
    }
    missing = set() if find_spec("xaitk_saliency") else {"xaitk-saliency RISE"}  # make bench installs it
    return {name: made[name] for name in names if name not in missing}


def _answers(box: BlackBox, rows: np.ndarray) -> np.ndarray:
    """Of rows with channels last."""
    return box(torch.from_numpy(np.ascontiguousarray(rows.transpose(0, 3, 1, 2))).float()).numpy()


def _lime(box: BlackBox, case: Case, q: int) -> Any:
    from lime.lime_image import LimeImageExplainer

    segments = Quickshift()(case.x).numpy()
    image = case.x.permute(1, 2, 0).double().numpy()
    return LimeImageExplainer(random_state=0).explain_instance(
        image,
        partial(_answers, box),
        labels=(case.target,),
        top_labels=None,  # pyright: ignore[reportArgumentType]
        num_samples=q,
        batch_size=box.batch_size,
        segmentation_fn=lambda _: segments,
    )


def _captum(name: str, box: BlackBox, case: Case, q: int) -> Any:
    import captum.attr

    method = getattr(captum.attr, name)(box)
    segments = Quickshift()(case.x)[None, None]
    mean = case.x.mean((1, 2), keepdim=True)[None].expand(1, *case.x.shape)
    return method.attribute(
        case.x[None], mean, case.target, feature_mask=segments, n_samples=q, perturbations_per_eval=box.batch_size
    )


def _shap(box: BlackBox, case: Case, q: int) -> Any:
    from shap import Explainer, maskers

    image = case.x.permute(1, 2, 0).numpy()
    masker: Any = maskers.Image("blur(11,11)", image.shape)
    explainer: Any = Explainer(partial(_answers, box), masker)
    return explainer(image[None], max_evals=q, batch_size=box.batch_size, outputs=[case.target], silent=True)


def _xaitk(box: BlackBox, case: Case, q: int) -> Any:
    ClassifyImage: Any = importlib.import_module("smqtk_classifier").ClassifyImage
    rise: Any = importlib.import_module("xaitk_saliency.impls.gen_image_classifier_blackbox_sal.rise")

    class Box(ClassifyImage):
        def get_labels(self) -> list[str]:
            return [str(number) for number in range(1000)]

        def classify_images(self, img_iter: Iterable[np.ndarray]) -> Any:
            labels, images = self.get_labels(), iter(img_iter)
            while batch := list(islice(images, box.batch_size)):
                yield from (dict(zip(labels, row, strict=True)) for row in _answers(box, np.stack(batch) / 255))

        def get_config(self) -> dict[str, Any]:
            return {}

    image = (case.x.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    return rise.RISEStack(n=q, s=7, p1=0.5, seed=0)(image, Box())


def setting(engine: str) -> tuple[BlackBox, Case]:
    """The default black box and photograph."""
    box = build(compose_config(f"black_box.engine={engine}").black_box, "black_box")
    case = Photo(box)[0]
    bare_seconds(box, case, 64)  # warm
    return box, case


def times(engine: str, counts: list[int], rounds: int, wanted: list[str]) -> dict[str, dict[int, float]]:
    """Wall time over the bare forwards of the same round, medians."""
    box, case = setting(engine)
    ratios: dict[str, dict[int, float]] = {}
    runs = {name: run for name, run in methods(box, case).items() if not wanted or name in wanted}
    for run in runs.values():
        run(100)  # what is imported at the first call isn't counted
    for q in counts:
        taken: dict[str, list[float]] = {}
        for number in range(rounds):
            before = bare_seconds(box, case, q)
            spent = {name: _seconds(run, q) for name, run in runs.items() if q <= MOST.get(name, q)}
            bare = (before + bare_seconds(box, case, q)) / 2
            for name, seconds in spent.items():
                taken.setdefault(name, []).append(seconds / bare)
            print(f"q={q} round {number + 1} of {rounds}: bare {bare:.2f} s", file=sys.stderr, flush=True)
        for name, values in taken.items():
            ratios.setdefault(name, {})[q] = statistics.median(values)
    return ratios


def _seconds(run: Callable[[int], Any], q: int) -> float:
    start = time.perf_counter()
    run(q)
    return time.perf_counter() - start


def memory(engine: str, name: str, q: int) -> float:
    """MB over the loaded model at the peak; in this process nothing else ran."""
    box, case = setting(engine)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = _peak()
    methods(box, case)[name](q)
    return (_peak() - before) / 1024


def _peak() -> int:
    """The most memory that was resident, in KiB; 5 in ``clear_refs`` sets it to what is."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def _memory_of(engine: str, name: str, q: int) -> float:
    command = [sys.executable, "-m", "benchmarks.bench", str(q), "--engine", engine, "--memory", name]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def profile(engine: str, method: str, q: int) -> dict[str, float]:
    """Seconds that DAX-Mosaic or V1 spends in each of its steps."""
    box, case = setting(engine)
    explainer, profiler = make_explainer(box, *OURS[method], f"q={q}"), cProfile.Profile()
    profiler.enable()
    made = explainer.explain(case.x, case.target)
    profiler.disable()
    found: Any = pstats.Stats(profiler)
    steps = STEPS[method]
    if missing := set(steps) - {function for _, _, function in found.stats}:
        raise SystemExit(f"error: {method} has no step {', '.join(sorted(missing))} any more: see STEPS")
    spent = dict.fromkeys(steps.values(), 0.0)
    for (_, _, function), (_, _, _, seconds, _) in found.stats.items():
        if function in steps:
            spent[steps[function]] += seconds
    return {**spent, "the model": made.seconds_black_box, "in all": made.seconds}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("q", type=int, nargs="*", default=[250, 1000, 4000])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--engine", default="torch")
    parser.add_argument("--methods", default="")
    parser.add_argument("--memory")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    if given.memory:
        print(json.dumps(memory(given.engine, given.memory, given.q[0])))
        return
    wanted = given.methods.split(",") if given.methods else []
    ratios, ends = times(given.engine, given.q, given.rounds, wanted), sorted({given.q[0], given.q[-1]})
    print(f"Wall time over bare forwards, engine={given.engine}, {torch.get_num_threads()} threads, medians of {given.rounds}\n")
    heads = [f"q = {q}" for q in given.q] + [f"MB over the model, q = {q}" for q in ends]
    print(f"| method | {' | '.join(heads)} |\n| --- |{' --- |' * len(heads)}")
    for name, values in ratios.items():
        cells = [f"{values[q]:.2f}" if q in values else "–" for q in given.q]
        cells += [f"{_memory_of(given.engine, name, q):.0f}" if q in values else "–" for q in ends]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    for method in STEPS:
        print(f"\n{method}, seconds a step\n\n| step | {' | '.join(f'q = {q}' for q in given.q)} |")
        print(f"| --- |{' --- |' * len(given.q)}")
        spent = [profile(given.engine, method, q) for q in given.q]
        for step in spent[0]:
            print(f"| {step} | {' | '.join(f'{each[step]:.2f}' for each in spent)} |", flush=True)


if __name__ == "__main__":
    main()
