"""The bootstrap's numbers are those of five plain lines, and nobody else draws."""

import re

import numpy as np
import pytest

from dax_lightning.stats.intervals import bootstrap_interval, bootstrap_means, ends
from tests.conftest import ROOT


def plainly(values, seed=0):
    generator = np.random.default_rng(seed)
    means = [values[generator.integers(0, len(values), len(values))].mean(0) for _ in range(1000)]
    return np.percentile(means, (2.5, 97.5), axis=0)


def test_interval_is_that_of_a_plain_bootstrap():
    values = np.random.default_rng(5).normal(size=37)
    assert bootstrap_interval(values) == tuple(plainly(values))
    assert tuple(ends(bootstrap_means(values, seed=1))) == tuple(plainly(values, seed=1))


def test_curves_are_drawn_whole_by_the_same_draws():
    curves = np.random.default_rng(6).normal(size=(12, 5))
    assert ends(bootstrap_means(curves)) == pytest.approx(plainly(curves))
    assert bootstrap_interval(curves[:, 3]) == pytest.approx(ends(bootstrap_means(curves))[:, 3])
    assert np.isnan(ends(bootstrap_means(curves[:1]))).all()


def test_only_one_file_bootstraps():
    files = [path for room in ("dax_lightning", "benchmarks", "scripts") for path in (ROOT / room).rglob("*.py")]
    drawing = [path.name for path in files if re.search(r"97\.5|\.multinomial\(", path.read_text(encoding="utf-8"))]
    assert drawing == ["intervals.py"]
