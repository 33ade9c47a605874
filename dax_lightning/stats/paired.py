"""Differences between methods on the same cases, with intervals, and p-values corrected for their number."""

from functools import lru_cache

import numpy as np
import pandas as pd
from jaxtyping import Float

from dax_lightning.errors import InputError
from dax_lightning.stats.intervals import bootstrap_interval, bootstrap_means, ends
from dax_lightning.stats.tables import by_case

DRAWS = 9999  # random sign flips; with the observed one, p is never below 1 / 10,000
EXACT = 13  # up to so many cases all 2^n sign flips are tried (8,192, no more than DRAWS)


def paired_differences(rows: pd.DataFrame, metric: str, against: str) -> pd.DataFrame:
    """Compare every explainer with one of them over the cases that both explained.

    Args:
        rows: :func:`dax_lightning.stats.tables.typed` rows of one black box in one setting; a case's seeds are averaged first.
        metric: the column compared.
        against: the explainer that is subtracted.

    Returns:
        a line an other explainer, in order of appearance: ``explainer``; ``n``, the cases both have; ``difference``, the mean of
        its value minus the value of ``against``; ``low`` and ``high``, its 95 % bootstrap interval over those cases; ``p`` of
        :func:`sign_flip_p`; ``p_holm``, :func:`holm` over these lines. What can't be known (n < 2) is NaN.

    Raises:
        InputError: ``against`` is not among the explainers.

    Example:
        >>> from dax_lightning.stats.tables import typed
        >>> rows = pd.DataFrame({"case": list("abab"), "explainer": ["dax", "dax", "lime", "lime"], "iou": [0.5, 0.7, 0.4, 0.2]})
        >>> paired_differences(typed(rows), "iou", against="lime")[["explainer", "n", "difference", "p"]].round(2).values.tolist()
        [['dax', 2, 0.3, 0.5]]
    """
    values = by_case(rows, metric)
    if against not in values:
        raise InputError(f"no rows of {against} to compare with: there are {', '.join(values.columns) or 'none'}")
    others = [name for name in values.columns if name != against]
    lines = [_line(name, np.asarray(values[name] - values[against], float)) for name in others]
    table = pd.DataFrame(lines, columns=pd.Index(["explainer", "n", "difference", "low", "high", "p"]))
    return table.assign(p_holm=holm(np.asarray(table["p"], float)))


def drops(rows: pd.DataFrame, others: pd.DataFrame, metric: str) -> pd.DataFrame:
    """How far every explainer's mean falls from some cases to other ones.

    Args:
        rows: :func:`dax_lightning.stats.tables.typed` rows.
        others: those of other cases, each drawn for itself in the bootstrap.
        metric: the column compared.

    Returns:
        a line an explainer that both have: ``explainer``, ``drop``, and its 95 % bootstrap interval ``drop_low``, ``drop_high``.

    Example:
        >>> from dax_lightning.stats.tables import typed
        >>> rows = typed(pd.DataFrame({"case": ["a", "b"], "explainer": "dax", "iou": [0.5, 0.7]}))
        >>> drops(rows, typed(pd.DataFrame({"case": ["c"], "explainer": "dax", "iou": [0.4]})), "iou").round(2).values.tolist()
        [['dax', 0.2, nan, nan]]
    """
    first, second = by_case(rows, metric), by_case(others, metric)
    lines = []
    for name in (name for name in first if name in second):
        means = [table[name].mean() for table in (first, second)]
        drawn = [bootstrap_means(np.asarray(table[name].dropna(), float), seed=n) for n, table in enumerate((first, second))]
        low, high = ends(drawn[0] - drawn[1])
        lines.append((name, means[0] - means[1], low, high))
    return pd.DataFrame(lines, columns=pd.Index(["explainer", "drop", "drop_low", "drop_high"]))


def holm(p: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
    """Correct p-values for their number, step down (Holm 1979); NaN stay so and are not counted.

    Example:
        >>> holm(np.array([0.01, 0.04, 0.03])).round(3).tolist()
        [0.03, 0.06, 0.06]
    """
    order = np.argsort(p)  # NaN last
    left = np.maximum(np.isfinite(p).sum() - np.arange(len(p)), 1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * left), 1)
    return adjusted


def sign_flip_p(differences: Float[np.ndarray, " n"]) -> float:
    """Two-sided p of the paired randomisation test: how often does flipping signs bring a mean as far from 0?

    It tests the mean that is reported, and bears the ties and zeros of metrics such as the pointing game, which Wilcoxon's
    signed-rank test throws away. Exact up to 13 cases, else by 9,999 random flips. NaN for fewer than two cases.

    Example:
        >>> sign_flip_p(np.array([0.2, 0.3, 0.1]))  # 2 of the 8 flips: none and all
        0.25
    """
    if len(differences) < 2:
        return float("nan")
    flips = _flips(len(differences))
    observed = abs(differences.sum()) - 1e-12 * np.abs(differences).sum()  # a tie must not be lost to rounding
    reached = int((np.abs(flips @ differences) >= observed).sum())
    return reached / len(flips) if len(differences) <= EXACT else (reached + 1) / (len(flips) + 1)


@lru_cache(maxsize=4)
def _flips(n: int) -> Float[np.ndarray, "draws n"]:
    if n <= EXACT:
        return 1.0 - 2 * (np.arange(2**n)[:, None] >> np.arange(n) & 1)
    return np.random.default_rng(0).choice([-1.0, 1.0], (DRAWS, n))


def _line(name: str, differences: Float[np.ndarray, " n"]) -> dict[str, str | int | float]:
    known = differences[np.isfinite(differences)]
    low, high = bootstrap_interval(known)
    mean = float(known.mean()) if len(known) else float("nan")
    return {"explainer": name, "n": len(known), "difference": mean, "low": low, "high": high, "p": sign_flip_p(known)}
