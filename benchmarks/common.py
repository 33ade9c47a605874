"""Shared by the benchmarks: objects with the command line's defaults, and means with 95 % intervals."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra import compose, initialize_config_dir

from dax_lightning.black_box import BlackBox
from dax_lightning.explainers.base import Explainer
from dax_lightning.run.config import build
from dax_lightning.stats.intervals import bootstrap_interval
from dax_lightning.tasks import Task
from dax_lightning.types import Case

ROOT = Path(__file__).parents[1]


def compose_config(*overrides: str) -> Any:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("config", ["trainer.enable_progress_bar=false", *overrides])


def make_task(*overrides: str) -> Task:
    cfg = compose_config(*overrides)
    return build(cfg.task, "task", black_box=build(cfg.black_box, "black_box"))


def make_explainer(black_box: BlackBox, *overrides: str) -> Explainer:
    return build(compose_config(*overrides).explainer, "explainer", black_box=black_box)


def interval(values: list[float], digits: int = 3) -> str:
    low, high = bootstrap_interval(np.asarray(values, float))
    return f"{np.mean(values):.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def bare_seconds(black_box: BlackBox, case: Case, rows: int) -> float:
    """Seconds that the black box alone takes for ``rows`` copies of the input."""
    batch = case.x.expand(black_box.batch_size, *case.x.shape).contiguous()
    black_box(batch)  # warm
    start = time.perf_counter()
    left = rows
    with torch.no_grad():
        while left > 0:
            black_box(batch[:left])
            left -= len(batch)
    return time.perf_counter() - start
