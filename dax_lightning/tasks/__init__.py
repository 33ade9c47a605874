"""INPUT: what is explained, as the black box sees it."""

from dax_lightning.inputs.image_file import read_image
from dax_lightning.tasks.bad_model import BadModel, background_classifier, biased_scene
from dax_lightning.tasks.base import Only, Task
from dax_lightning.tasks.coco import Coco
from dax_lightning.tasks.cough import Cough
from dax_lightning.tasks.esc10 import Esc10, Mixture
from dax_lightning.tasks.files import Files, Photo
from dax_lightning.tasks.scenes import Scene, shape_scene
from dax_lightning.tasks.shapes import Shapes, shapes_classifier
from dax_lightning.tasks.voc import Voc

__all__ = [
    "BadModel",
    "Coco",
    "Cough",
    "Esc10",
    "Files",
    "Mixture",
    "Only",
    "Photo",
    "Scene",
    "Shapes",
    "Task",
    "Voc",
    "background_classifier",
    "biased_scene",
    "read_image",
    "shape_scene",
    "shapes_classifier",
]
