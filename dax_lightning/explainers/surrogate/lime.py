"""LIME for images (Ribeiro, Singh and Guestrin, "Why Should I Trust You?", KDD 2016)."""

import warnings
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge, lars_path
from torch import Tensor

from dax_lightning.black_box.base import BlackBox
from dax_lightning.errors import InputError
from dax_lightning.explainers.surrogate.base import Fitted, SegmentSurrogate
from dax_lightning.game.base import TargetSpace
from dax_lightning.game.subsets import Perturber
from dax_lightning.segment.base import Segmenter


class Lime(SegmentSurrogate):
    """A weighted linear model of the answers: each segment's coefficient, signed, is its place's saliency.

    ``notes["surrogate_r2"]`` is the linear model's weighted R² on the copies it was fitted to, as the authors' package ``lime``
    reports it.

    Args:
        black_box: what is explained.
        segmenter: parts the input.
        perturber: makes the copies; its ``kept_share``, fill and kernel are those of ``lime`` by default.
        q: copies, the input included.
        targets: the scale of the answers: ``probability`` as in the paper, or ``log_odds``.
        alpha: weight of the ridge penalty.
        features: at most so many segments, chosen by the lasso (the paper's K-LASSO), get a coefficient, the others 0;
            ``null``: all, as ``lime`` does for images.
        seed: of all randomness.

    Example:
        >>> from dax_lightning.black_box import from_function
        >>> from dax_lightning.segment.grid import Grid
        >>> box = from_function(lambda rows: rows[:, :2, :4, :4].mean((2, 3)), size=(8, 8), multi_label=True)
        >>> lime = Lime(box, Grid(2, 2), Perturber(fill="zeros"), q=100)
        >>> made = lime.explain(torch.ones(3, 8, 8), target=0)  # the answer is the light in the top left quarter
        >>> [round(abs(value), 1) for value in made.saliency[::4, ::4].flatten().tolist()], made.queries  # shrunk by the ridge
        ([0.9, 0.0, 0.0, 0.0], 100)
    """

    name: ClassVar[str] = "lime"

    def __init__(
        self,
        black_box: BlackBox,
        segmenter: Segmenter | None = None,
        perturber: Perturber | None = None,
        q: int = 1000,
        targets: TargetSpace = "probability",
        alpha: float = 1.0,
        features: int | None = None,
        seed: int = 0,
    ):
        super().__init__(black_box, segmenter, perturber, q, targets, seed)
        check_ridge(alpha, features)
        self.alpha, self.features = alpha, features

    def _fit(
        self, kept: Bool[Tensor, "n j"], values: Float[Tensor, " n"], weight: Float[Tensor, " n"], generator: torch.Generator
    ) -> Fitted:
        return weighted_ridge(kept, values, weight, self.alpha, self.features)


def weighted_ridge(
    kept: Bool[Tensor, "n j"],
    values: Float[Tensor, " n"],
    weight: Float[Tensor, " n"],
    alpha: float = 1.0,
    features: int | None = None,
) -> Fitted:
    """The linear model that minimises ``Σ w (y - b - a·kept)² + alpha ‖a‖²``; its intercept is not penalised.

    Args:
        kept: which segments each copy kept.
        values: the answers.
        weight: closeness of each copy.
        alpha: weight of the penalty, 0 or more.
        features: most segments with a coefficient; see :class:`Lime`.

    Example:
        >>> kept = torch.tensor([[True, True], [True, False], [False, True], [False, False]])
        >>> fitted = weighted_ridge(kept, torch.tensor([3.0, 2.0, 1.0, 0.0]), torch.ones(4), alpha=0.0)
        >>> [round(value, 6) for value in fitted.importance.tolist()], round(fitted.r2, 6)
        ([2.0, 1.0], 1.0)
    """
    rows, answers, weights = kept.double().numpy(), values.double().numpy(), weight.double().numpy()
    chosen = np.arange(rows.shape[1]) if features is None else k_lasso(rows, answers, weights, features)
    coefficients = torch.zeros(rows.shape[1])
    if len(chosen) == 0:
        return Fitted(coefficients, 0.0)
    model = Ridge(alpha=alpha).fit(rows[:, chosen], answers, sample_weight=weights)
    coefficients[torch.from_numpy(chosen)] = torch.from_numpy(model.coef_).float()
    return Fitted(coefficients, float(model.score(rows[:, chosen], answers, sample_weight=weights)))


def k_lasso(rows: NDArray, answers: NDArray, weights: NDArray, features: int) -> NDArray:
    """The columns with a coefficient at the last step of the lasso's path that has no more than ``features`` of them.

    Args:
        rows: (n, j) design.
        answers: (n,) values.
        weights: (n,) weights.
        features: most columns, at least 1.

    Returns:
        Column numbers, ascending.

    Example:
        >>> rows = np.array([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
        >>> k_lasso(rows, rows @ [1.0, 2.0], np.ones(4), 1).tolist()
        [1]
    """
    root = np.sqrt(weights)
    design = (rows - np.average(rows, axis=0, weights=weights)) * root[:, None]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=ConvergenceWarning)  # the path ends early where columns are alike
        path = lars_path(design, (answers - np.average(answers, weights=weights)) * root, method="lasso")[2]
    steps = np.flatnonzero(np.count_nonzero(path, axis=0) <= features)
    return np.flatnonzero(path[:, steps[-1]])


def check_ridge(alpha: float, features: int | None) -> None:
    """Raise an InputError unless ``alpha`` and ``features`` make a linear model."""
    if not alpha >= 0:
        raise InputError(f"explainer.alpha={alpha}: a penalty's weight is 0 or more; lime's is 1")
    if features is not None and features < 1:
        raise InputError(f"explainer.features={features}: wanted at least 1 segment, or null for all")
