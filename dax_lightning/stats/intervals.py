"""The one bootstrap: how far a mean over cases can be trusted."""

import numpy as np
from jaxtyping import Float

DRAWS = 1000
ENDS = (2.5, 97.5)  # percentiles of a 95 % interval


def bootstrap_interval(values: Float[np.ndarray, " n"], draws: int = DRAWS, seed: int = 0) -> tuple[float, float]:
    """Give the 95 % interval of the mean by the percentile bootstrap; NaN, NaN for fewer than two values.

    Example:
        >>> low, high = bootstrap_interval(np.array([0.2, 0.4, 0.6, 0.8]))
        >>> 0.2 <= low < 0.5 < high <= 0.8
        True
    """
    low, high = ends(bootstrap_means(values, draws, seed))
    return float(low), float(high)


def bootstrap_means(
    values: Float[np.ndarray, "n *points"], draws: int = DRAWS, seed: int = 0
) -> Float[np.ndarray, "draws *points"]:
    """Give means of samples drawn with replacement; NaN for fewer than two values.

    Args:
        values: one number a case, or one curve a case. Curves are drawn whole.
        draws: number of samples.
        seed: of the draws.

    Example:
        >>> bootstrap_means(np.array([0.2, 0.4]), draws=3).shape, bootstrap_means(np.eye(2), draws=3).shape
        ((3,), (3, 2))
    """
    n = len(values)
    if n < 2:
        return np.full((draws, *values.shape[1:]), np.nan)
    picked = np.random.default_rng(seed).integers(0, n, (draws, n))
    if values.ndim == 1:
        return values[picked].mean(1)
    counts = np.stack([np.bincount(sample, minlength=n) for sample in picked])  # values[picked] of long curves fills the memory
    return np.tensordot(counts / n, values, 1)


def ends(means: Float[np.ndarray, "draws *points"]) -> Float[np.ndarray, "2 *points"]:
    """Give the ends of the 95 % interval of bootstrapped means, at each point for itself.

    Example:
        >>> ends(np.arange(201.0)).tolist()
        [5.0, 195.0]
    """
    return np.percentile(means, ENDS, axis=0)
