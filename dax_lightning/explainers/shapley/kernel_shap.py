"""SHAP as the DAX paper compares it: KernelSHAP over segments, by the shap library."""

import warnings
from typing import ClassVar

import numpy as np
import torch

from dax_lightning.explainers.shapley.base import Payoff, SegmentShapley

with warnings.catch_warnings():  # shap's plots, which nothing here draws, make their colours the old way
    warnings.filterwarnings("ignore", "The set_(bad|over|under) function", PendingDeprecationWarning)
    from shap import KernelExplainer


class KernelShap(SegmentShapley):
    """Shapley values of the segments by KernelSHAP (Lundberg and Lee 2017, A Unified Approach to Interpreting Model Predictions).

    Small and large sets of segments are asked first, by Shapley's kernel; a weighted linear regression then shares the difference
    between the input's answer and that of the empty set out among the segments. Nothing is selected or shrunk (``l1_reg`` is
    off), so where ``q`` allows all 2^j sets the values are exact.

    Args:
        black_box: what is explained.
        segmenter: parts the input; its segments are the players.
        perturber: fills the removed segments; only its fill is used.
        q: rows, those of the input and of the empty set included; fewer are asked where 2^j is fewer,
            and at times where it is just more.
        targets: the scale of the answers that are shared out: ``probability`` or ``log_odds``.
        seed: of the sets that are drawn.

    Example:
        >>> from dax_lightning.black_box import from_function
        >>> from dax_lightning.game.subsets import Perturber
        >>> from dax_lightning.segment.grid import Grid
        >>> box = from_function(lambda rows: rows[:, :, :2].mean((2, 3)), size=(4, 4), multi_label=True)
        >>> made = KernelShap(box, Grid(2, 2), Perturber(fill="zeros"), q=16).explain(torch.ones(3, 4, 4), target=0)
        >>> [round(value, 3) for value in made.saliency[::2, ::2].flatten().tolist()], made.queries
        ([0.5, 0.5, 0.0, 0.0], 16)
    """

    name: ClassVar[str] = "shap"

    def _values(self, payoff: Payoff, generator: torch.Generator) -> np.ndarray:
        """The library draws from numpy's global randomness, which is seeded for each explanation."""
        explainer = KernelExplainer(payoff, np.zeros((1, payoff.players)))
        with warnings.catch_warnings():  # a least-squares solution is taken instead: fewer rows than it takes, by bad luck
            warnings.filterwarnings("ignore", "Linear regression equation is singular", UserWarning)
            return explainer.shap_values(np.ones(payoff.players), nsamples=self.q - 2, l1_reg=False, silent=True)
