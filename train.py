"""Explain predictions: ``python train.py [task=...] [segmenter=...] [loss=mosaic|v1|v2|v3] [q=...]``; README.md tells more."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from dax_lightning.benchmark import Benchmark
from dax_lightning.cli import (
    USER_ERRORS,
    build,
    check_values,
    config_of,
    explainer_nodes,
    idle_settings,
    labels,
    one_line,
    usable,
    with_short_cuts,
)
from dax_lightning.errors import InputError

CONF = str(Path(__file__).resolve().parent / "conf")
CODES = [0]  # of this command's jobs


def explain(cfg: DictConfig) -> bool:
    """Build all parts, then explain every case; true if none failed."""
    check_values(cfg)
    folder = Path(HydraConfig.get().runtime.output_dir)
    metrics = {name: build(node, f"metrics.{name}") for name, node in cfg.metrics.items()}
    logger = build(cfg.logger, "logger")
    nodes = explainer_nodes(cfg)
    for line in idle_settings(cfg, nodes, HydraConfig.get().overrides.task):
        print(f"warning: {line}", file=sys.stderr)
    partial = {
        name: build(node, key, _partial_=True) for name, (key, node) in nodes.items()
    }  # a typo costs no loading of weights
    black_box = build(cfg.black_box, "black_box")
    explainers = usable(partial, black_box)
    for explainer in explainers.values():
        explainer.prepare()
    task = build(cfg.task, "task", black_box=black_box)
    settings = {name: labels(cfg, nodes[name][1]) for name in explainers}
    configs = {name: config_of(cfg, nodes[name][1]) for name in explainers}
    done = Benchmark(task, explainers, metrics, folder, logger, settings, configs).run()
    picture = next((folder / "explanations").glob("*.png"), "none, no case was explained")
    print(f"picture: {picture}\nreport:  {folder / 'report.html'}")
    return done


@hydra.main(version_base="1.3", config_path=CONF, config_name="config")
def main(cfg: DictConfig) -> None:
    """One job: a user's mistake is one line, and the other jobs of a multirun go on."""
    try:
        CODES.append(0 if explain(cfg) else 1)
    except USER_ERRORS as error:
        fail(error)


def fail(error: BaseException) -> None:
    """Say what was wrong, in one line."""
    print(f"error: {one_line(error)}", file=sys.stderr)
    CODES.append(2)


def run(arguments: Sequence[str]) -> int:
    """The whole command; gives its exit code: 0 all cases explained, 1 some failed, 2 the user's input was wrong."""
    CODES[:] = [0]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come here, so that they can be told in one line
    try:
        sys.argv[1:] = with_short_cuts(arguments)
        main()
    except USER_ERRORS as error:
        fail(error)
    except OSError as error:
        what = f"{error.filename or 'a file'} can't be written or read ({error.strerror or error})"
        fail(InputError(f"{what}: set hydra.run.dir, with -m hydra.sweep.dir, to a folder that can"))
    return max(CODES)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
