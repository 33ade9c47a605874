"""The method: networks, losses, data, training, and the explainer made of them."""

from dax_lightning.explainers.dax.data import Split
from dax_lightning.explainers.dax.explainer import Dax, Learner
from dax_lightning.explainers.dax.losses import CounterfactualLoss, SparseLoss
from dax_lightning.explainers.dax.module import Optim
from dax_lightning.explainers.dax.networks import CnnStudent, MaskNetwork, MlpStudent
from dax_lightning.explainers.dax.training import Training, lightning_trainer

__all__ = [
    "CnnStudent",
    "CounterfactualLoss",
    "Dax",
    "Learner",
    "MaskNetwork",
    "MlpStudent",
    "Optim",
    "SparseLoss",
    "Split",
    "Training",
    "lightning_trainer",
]
