"""A random forest in place of LIME's linear model, on log-odds.

Bolaños et al., "Benchmarking Time-localized Explanations for Audio Classification Models", Interspeech 2025, found such
surrogates ahead of linear ones.
"""

import warnings
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float
from sklearn.ensemble import RandomForestRegressor
from sklearn.metrics import r2_score
from torch import Tensor

from dax_lightning.black_box.base import BlackBox
from dax_lightning.errors import InputError
from dax_lightning.explainers.surrogate.base import Fitted, SegmentSurrogate
from dax_lightning.game.base import TargetSpace
from dax_lightning.game.subsets import Perturber
from dax_lightning.segment.base import Segmenter

with warnings.catch_warnings():
    warnings.filterwarnings(
        "ignore", "The set_(bad|over|under) function", PendingDeprecationWarning
    )  # shap's own use of matplotlib
    import shap

_FEW = 30  # trees; with as many, the chance that a copy is in the bag of every tree is one in a million


class Forest(SegmentSurrogate):
    """A weighted random forest learns the answers; a place's saliency is its segment's Shapley value in the forest at the input.

    The values are those of Tree SHAP (Lundberg et al. 2020), exact for the trees. They share out the forest's answer to the input
    minus its mean answer. So a segment that matters only beside others gets its part.

    ``notes["surrogate_r2"]`` is the weighted R² of the trees on the copies they were not grown from (out of bag).

    Args:
        black_box: what is explained.
        segmenter: parts the input.
        perturber: makes the copies.
        q: copies, the input included.
        targets: the scale of the answers: ``log_odds`` or ``probability``.
        trees: how many; at least 30, so that each copy is out of the bag of some of them.
        leaf: fewest copies in a leaf.
        seed: of all randomness.

    Example:
        >>> from dax_lightning.black_box import from_function
        >>> from dax_lightning.segment.grid import Grid
        >>> box = from_function(lambda rows: rows[:, :2, :4, :4].mean((2, 3)), size=(8, 8), multi_label=True)
        >>> forest = Forest(box, Grid(2, 2), Perturber(fill="zeros"), q=100, targets="probability", trees=30)
        >>> made = forest.explain(torch.ones(3, 8, 8), target=0)  # the answer is the light in the top left quarter
        >>> [round(abs(value), 1) for value in made.saliency[4, ::4].tolist()], made.saliency[0, 0].item() > 0.2
        ([0.0, 0.0], True)
    """

    name: ClassVar[str] = "forest"

    def __init__(
        self,
        black_box: BlackBox,
        segmenter: Segmenter | None = None,
        perturber: Perturber | None = None,
        q: int = 1000,
        targets: TargetSpace = "log_odds",
        trees: int = 100,
        leaf: int = 5,
        seed: int = 0,
    ):
        super().__init__(black_box, segmenter, perturber, q, targets, seed)
        if trees < _FEW or leaf < 1:
            raise InputError(f"explainer.trees={trees}, leaf={leaf}: wanted at least {_FEW} trees and 1 copy a leaf")
        self.trees, self.leaf = trees, leaf

    def _fit(
        self, kept: Bool[Tensor, "n j"], values: Float[Tensor, " n"], weight: Float[Tensor, " n"], generator: torch.Generator
    ) -> Fitted:
        seed = int(torch.randint(2**31, (1,), generator=generator))
        return weighted_forest(kept, values, weight, self.trees, self.leaf, seed)


def weighted_forest(
    kept: Bool[Tensor, "n j"], values: Float[Tensor, " n"], weight: Float[Tensor, " n"], trees: int, leaf: int, seed: int
) -> Fitted:
    """Grow the forest, and share out its answer to the row that keeps everything.

    Args:
        kept: which segments each copy kept.
        values: the answers.
        weight: closeness of each copy.
        trees: how many.
        leaf: fewest copies in a leaf.
        seed: of the trees' bags.

    Example:
        >>> kept = torch.rand(200, 2, generator=torch.Generator().manual_seed(0)) < 0.5
        >>> fitted = weighted_forest(kept, (kept[:, 0] & kept[:, 1]).float(), torch.ones(200), trees=50, leaf=1, seed=0)
        >>> bool((fitted.importance > 0.3).all()), abs(fitted.importance.sum().item() - 0.75) < 0.1  # both, or nothing: 3/4
        (True, True)
    """
    rows, answers, weights = kept.numpy().astype(np.float32), values.double().numpy(), weight.double().numpy()
    forest = RandomForestRegressor(trees, min_samples_leaf=leaf, oob_score=True, random_state=seed, n_jobs=1)
    forest.fit(rows, answers, sample_weight=weights)
    shares = shap.TreeExplainer(forest, feature_perturbation="tree_path_dependent").shap_values(np.ones_like(rows[:1]))
    r2 = r2_score(answers, forest.oob_prediction_, sample_weight=weights)
    return Fitted(torch.from_numpy(np.asarray(shares)[0]).float(), float(r2))
