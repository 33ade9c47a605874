"""DAX-Mosaic: copies of many partitions, one student, one map and the region that it names."""

from dax_lightning.explainers.mosaic.explainer import MosaicDax

__all__ = ["MosaicDax"]
