"""Drawn objects on textured backgrounds: a toy whose answer is known, with a classifier trained on it in seconds."""

import copy
import math
from collections.abc import Callable, Collection, Sequence
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from dax_lightning.black_box import BlackBox, ImageInput, from_torch
from dax_lightning.device import one_thread
from dax_lightning.errors import InputError
from dax_lightning.tasks.base import Only, Task
from dax_lightning.tasks.imagenet import meanings
from dax_lightning.tasks.scenes import SHAPES, Scene, check_drawing, draw, shape_scene
from dax_lightning.types import Case

CLASSES = (*SHAPES, "nothing")


class Shapes(Task):
    """Drawings of one object each, with its mask as ``truth`` and the true partition as ``segments``.

    ``Case.wrong`` is the most probable of the other shapes that the black box knows by name.

    Args:
        black_box: the model whose answers are explained; :func:`shapes_classifier` knows these objects.
        n: how many drawings; the classes take turns.
        seed: of the drawings.
        size: pixels a side.
        target: see :class:`Task`.
        limit: see :class:`Task`.
        only: see :class:`Task`.

    Raises:
        InputError: no drawing asked for, too small a size, a seed out of range, or no such target.

    Example:
        >>> from dax_lightning.black_box import from_function
        >>> task = Shapes(from_function(lambda rows: rows.mean((2, 3)), multi_label=True, size=(64, 64)), n=6, target=0)
        >>> task.keys()
        ['disc_0', 'square_1', 'triangle_2', 'cross_3', 'ring_4', 'disc_5']
    """

    name = "shapes"
    knows_classes = True

    def __init__(
        self,
        black_box: BlackBox,
        n: int = 40,
        seed: int = 0,
        size: int = 64,
        target: int | str | None = None,
        limit: int | None = None,
        only: Only = "all",
    ):
        if n < 1:
            raise InputError(f"task.n={n}: it must be at least 1 drawing")
        check_drawing(seed, size)
        self.seed, self.size = seed, size
        super().__init__(black_box, [f"{SHAPES[i % len(SHAPES)]}_{i}" for i in range(n)], target, limit, only)

    def scene(self, index: int) -> Scene:
        """The drawing behind ``task[index]``, before the black box's view."""
        self._look(index + 1)
        return self._draw(self._picked[index])

    def _draw(self, number: int) -> Scene:
        return shape_scene(self.seed, number, self.size)

    def _case(self, index: int) -> Case:
        scene = self._draw(index)
        x, truth, segments = as_seen(scene, self._view)
        target = self._chosen(x)
        others = {i for name, ids in self._named.items() if name != SHAPES[scene.label] for i in ids}
        wrong = self._most_probable(x, others - {target})
        return Case(self._keys[index], x, target, truth=truth, segments=segments, wrong=wrong)

    def _own_classes(self, index: int, case: Case) -> Collection[int] | None:
        return self._named.get(SHAPES[index % len(SHAPES)])

    @property
    def _named(self) -> dict[str, tuple[int, ...]]:
        classes = self.black_box.classes or ()
        return meanings(SHAPES, classes, len(classes))


def as_seen(scene: Scene, input: ImageInput) -> tuple[Float[Tensor, "c h w"], Bool[Tensor, "h w"], Int[Tensor, "h w"]]:
    """A drawing, its object and its partition (ids 0 to j - 1), as a black box with this view sees them.

    Example:
        >>> x, truth, segments = as_seen(shape_scene(seed=0, index=0), ImageInput((32, 32)))
        >>> x.shape, segments.shape
        (torch.Size([3, 32, 32]), torch.Size([32, 32]))
    """
    x = input.image(Image.fromarray((scene.x * 255).round().byte().permute(1, 2, 0).numpy()))
    truth, segments = (input.labels(Image.fromarray(part.byte().numpy())) for part in (scene.truth, scene.segments))
    return x, truth.bool(), segments.unique(return_inverse=True)[1]


def shapes_classifier(
    seed: int = 0, size: int = 64, drawings: int = 800, epochs: int = 15, batch_size: int = 64, device: str = "cpu"
) -> BlackBox:
    """A small network trained on the drawings, in seconds and the same each time; its score is the share of the object seen.

    It learns on copies with random segments or squares removed (black, blurred, their mean or the picture's). Its answer is the
    object's class by the share of the object that is still there, ``nothing`` by the rest. So an explanation should find the
    object and no other place.

    Args:
        seed: of its drawings, weights and batches; none of its drawings is one of :class:`Shapes`.
        size: pixels a side.
        drawings: how many it learns from.
        epochs: passes over them.
        batch_size: rows a call of the black box.
        device: cpu, cuda or auto.

    Raises:
        InputError: no drawings or no epochs, a size under 32, or no such device.

    Example:
        >>> box = shapes_classifier(drawings=64, epochs=1)  # far too few to be any good
        >>> box.classes
        ('disc', 'square', 'triangle', 'cross', 'ring', 'nothing')
    """
    if drawings < 1 or epochs < 1:
        raise InputError(f"black_box.drawings={drawings}, black_box.epochs={epochs}: both must be at least 1")
    check_drawing(seed, size)
    module = copy.deepcopy(_trained(seed, size, drawings, epochs))  # the cached one stays on the CPU
    return from_torch(module, size, classes=CLASSES, batch_size=batch_size, device=device)


@lru_cache(maxsize=4)
def _trained(seed: int, size: int, drawings: int, epochs: int) -> nn.Module:
    rngs = [np.random.default_rng([seed, index, 1]) for index in range(drawings)]  # the 1: no drawing of a task is among them
    scenes = [draw(rng, index % len(SHAPES), size) for index, rng in enumerate(rngs)]
    label = torch.tensor([scene.label for scene in scenes])
    return learned(_network, scenes, torch.stack([scene.truth for scene in scenes]), label, len(CLASSES), epochs, seed)


def learned(
    network: Callable[[], nn.Module],
    scenes: Sequence[Scene],
    evidence: Bool[Tensor, "n h w"],
    label: Int[Tensor, " n"],
    classes: int,
    epochs: int,
    seed: int,
) -> nn.Module:
    """A network trained on copies of drawings with pieces removed, in eval mode; the same each time.

    What it is to answer is the drawing's ``label`` as far as the ``evidence`` is still there, the last class for the rest.

    Args:
        network: makes it; ``seed`` decides its weights.
        scenes: the drawings.
        evidence: the places of each drawing that count.
        label: class of each drawing.
        classes: how many there are.
        epochs: passes over the drawings.
        seed: of weights and batches.
    """
    x, segments = (torch.stack([getattr(scene, part) for scene in scenes]) for part in ("x", "segments"))
    with torch.random.fork_rng(devices=[]), torch.enable_grad(), one_thread():
        torch.manual_seed(seed)
        module = network()
        optimizer = torch.optim.AdamW(module.parameters(), weight_decay=0.01)
        steps = math.ceil(len(scenes) / _ROWS) * epochs
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=steps)
        for batch in (rows for _ in range(epochs) for rows in torch.randperm(len(scenes)).split(_ROWS)):
            copies, share = _copies(x[batch], evidence[batch], segments[batch])
            answer = functional.one_hot(label[batch], classes) * share[:, None]
            answer[:, -1] += 1 - share
            loss = functional.cross_entropy(module(copies), answer)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return module.eval()


class _Colourfulness(nn.Module):
    """How far each place is from grey, at half the size: the network need not learn that all colours are alike."""

    def forward(self, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 1 half_h half_w"]:
        return functional.avg_pool2d(x.amax(1, keepdim=True) - x.amin(1, keepdim=True), 5, 2, 2)


def _network() -> nn.Sequential:
    layers = [_Colourfulness(), *block(1, 16, 5, 2), *block(16, 32, 3, 1), *block(32, 64, 3, 2), *block(64, 64, 3, 1)]
    return nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(64, len(CLASSES)))


def block(inputs: int, outputs: int, kernel: int, stride: int) -> list[nn.Module]:
    """Convolution, batch norm, ReLU."""
    return [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]


def _copies(
    x: Float[Tensor, "n 3 h w"], truth: Bool[Tensor, "n h w"], segments: Int[Tensor, "n h w"]
) -> tuple[Float[Tensor, "n 3 h w"], Float[Tensor, " n"]]:
    """Turned copies with some of their pieces removed, and the share of the truth that is left in each."""
    if torch.rand(()) < 0.4:  # squares instead of the true segments, for segmenters that don't know them
        ticks = (torch.arange(x.shape[-1]) + torch.randint(8, ())) // torch.randint(6, 14, ())
        segments = (ticks[:, None] * (ticks.max() + 1) + ticks).expand_as(truth)
    chance = torch.rand(len(x), 1) * 1.5  # a third of the copies stay whole
    kept = (torch.rand(len(x), int(segments.max()) + 1) < chance).gather(1, segments.flatten(1)).view_as(truth)
    fill = _FILLS[int(torch.randint(len(_FILLS), ()))](x, segments)
    share = (kept & truth).sum((1, 2)) / truth.sum((1, 2))
    return torch.where(kept[:, None], x, fill).rot90(int(torch.randint(4, ())), (2, 3)), share


def _segment_mean(x: Float[Tensor, "n 3 h w"], segments: Int[Tensor, "n h w"]) -> Float[Tensor, "n 3 h w"]:
    place = segments.flatten(1)[:, None].expand(-1, 3, -1)
    zeros = torch.zeros(len(x), 3, int(segments.max()) + 1)
    counts = zeros.scatter_add(2, place, torch.ones_like(x).flatten(2)).clamp(min=1)
    return (zeros.scatter_add(2, place, x.flatten(2)) / counts).gather(2, place).view_as(x)


def _blur(x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
    return functional.interpolate(functional.avg_pool2d(x, 8), x.shape[2:], mode="bilinear")


_ROWS = 32  # of a training step
_FILLS = (  # what is left where a piece is removed
    lambda x, _: torch.zeros_like(x),
    lambda x, _: x.mean((2, 3), keepdim=True).expand_as(x),
    _segment_mean,
    lambda x, _: _blur(x),
)
