"""DAX-Mosaic: many partitions, a few masks with students, one map."""

from dax_lightning.explainers.mosaic.explainer import MosaicDax

__all__ = ["MosaicDax"]
