"""The method: networks, losses, data, training, and the explainer made of them."""

from dax_lightning.dax.explainer import Dax, Training
from dax_lightning.dax.losses import CounterfactualLoss, SparseLoss
from dax_lightning.dax.mosaic import MosaicDax
from dax_lightning.dax.networks import CnnStudent, MaskNetwork, MlpStudent

__all__ = ["CnnStudent", "CounterfactualLoss", "Dax", "MaskNetwork", "MlpStudent", "MosaicDax", "SparseLoss", "Training"]
