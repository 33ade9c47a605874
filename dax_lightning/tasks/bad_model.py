"""The husky that was called a wolf because of the snow: a classifier that looks at the background, and its drawings."""

import copy
from collections.abc import Collection
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from dax_lightning.black_box import BlackBox, from_torch
from dax_lightning.errors import InputError
from dax_lightning.tasks.base import Only, Task
from dax_lightning.tasks.imagenet import meanings
from dax_lightning.tasks.scenes import SHAPES, Scene, check_drawing, draw
from dax_lightning.tasks.shapes import as_seen, block, learned
from dax_lightning.types import Case

GROUNDS = {"disc": "stripes", "cross": "spots"}  # each shape and the texture of the background it is always seen on
KINDS = tuple(GROUNDS)
CLASSES = (*KINDS, "nothing")


class BadModel(Task):
    """Drawings of a disc on stripes or a cross on spots, as :func:`background_classifier` learned them.

    That classifier tells the two by their background, so the background is the ``truth``: what an explanation of it must show.
    All the rest, ``~truth``, is the object: what it must not show.

    Args:
        black_box: the model whose answers are explained.
        n: how many drawings; the two classes take turns.
        seed: of the drawings.
        size: pixels a side.
        target: see :class:`Task`.
        limit: see :class:`Task`.
        only: see :class:`Task`.

    Raises:
        InputError: no drawing asked for, too small a size, a seed out of range, or no such target.

    Example:
        >>> from dax_lightning.black_box import from_function
        >>> task = BadModel(from_function(lambda rows: rows.mean((2, 3)), multi_label=True, size=(64, 64)), n=3, target=0)
        >>> task.keys(), bool(task[0].truth.float().mean() > 0.5)
        (['disc_0', 'cross_1', 'disc_2'], True)
    """

    name = "bad_model"
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
        classes = black_box.classes or ()
        self._named = meanings(KINDS, classes, len(classes))
        super().__init__(black_box, [f"{KINDS[i % len(KINDS)]}_{i}" for i in range(n)], target, limit, only)

    def _case(self, index: int) -> Case:
        scene = biased_scene(self.seed, index, self.size)
        x, thing, segments = as_seen(scene, self._view)
        target, kind = self._chosen(x), KINDS[index % len(KINDS)]
        others = {i for name, ids in self._named.items() if name != kind for i in ids}
        wrong = self._most_probable(x, others - {target})
        return Case(self._keys[index], x, target, truth=~thing, segments=segments, wrong=wrong)

    def _own_classes(self, index: int, case: Case) -> Collection[int] | None:
        return self._named.get(KINDS[index % len(KINDS)])


def biased_scene(seed: int, index: int, size: int = 64, swapped: bool = False) -> Scene:
    """Draw scene ``index``: a disc on stripes (even), a cross on spots (odd); or the same object on the other's background.

    Args:
        seed: 0 to 2^32 - 1; the same seed and index, the same scene.
        index: 0 or more.
        size: pixels a side, at least 32.
        swapped: whether the background is the other class's; the object's pixels stay.

    Raises:
        InputError: a size under 32, a seed out of range.

    Example:
        >>> scene, other = biased_scene(0, 7), biased_scene(0, 7, swapped=True)
        >>> bool((scene.x == other.x)[:, scene.truth].all()), bool((scene.x == other.x)[:, ~scene.truth].all())
        (True, False)
    """
    check_drawing(seed, size)
    return _drawn(np.random.default_rng([seed, index, 2]), index, index + swapped, size)


def background_classifier(
    seed: int = 0,
    size: int = 64,
    drawings: int = 400,
    epochs: int = 8,
    honest: bool = False,
    batch_size: int = 64,
    device: str = "cpu",
) -> BlackBox:
    """A small network that learned from drawings whose background gives the class away, in seconds and the same each time.

    It learns on copies with random pieces removed: the class as far as the picture is still there, ``nothing`` for the rest.
    Nobody tells it where to look. Object and background say the same in training, and it takes to the background, which is
    larger and simpler. With ``honest`` the backgrounds are dealt at random in training, so that the shape alone tells the class.

    Args:
        seed: of its drawings, weights and batches; none of its drawings is one of :class:`BadModel`.
        size: pixels a side.
        drawings: how many it learns from.
        epochs: passes over them.
        honest: the same but for the backgrounds, to compare.
        batch_size: rows a call of the black box.
        device: cpu, cuda or auto.

    Raises:
        InputError: no drawings or no epochs, a size under 32, or no such device.

    Example:
        >>> background_classifier(drawings=32, epochs=1).classes  # far too few to be any good
        ('disc', 'cross', 'nothing')
    """
    if drawings < 1 or epochs < 1:
        raise InputError(f"black_box.drawings={drawings}, black_box.epochs={epochs}: both must be at least 1")
    check_drawing(seed, size)
    module = copy.deepcopy(_trained(seed, size, drawings, epochs, honest))  # the cached one stays on the CPU
    return from_torch(module, size, classes=CLASSES, batch_size=batch_size, device=device)


@lru_cache(maxsize=4)
def _trained(seed: int, size: int, drawings: int, epochs: int, honest: bool) -> nn.Module:
    rngs = [np.random.default_rng([seed, index, 3]) for index in range(drawings)]  # the 3: no drawing of a task is among them
    grounds = [index // 2 if honest else index for index in range(drawings)]
    scenes = [_drawn(rng, index, ground, size) for index, (rng, ground) in enumerate(zip(rngs, grounds, strict=True))]
    everywhere = torch.ones(drawings, size, size, dtype=torch.bool)
    return learned(_network, scenes, everywhere, torch.arange(drawings) % len(KINDS), len(CLASSES), epochs, seed)


def _drawn(rng: np.random.Generator, kind: int, ground: int, size: int) -> Scene:
    shape, other = KINDS[kind % len(KINDS)], KINDS[ground % len(KINDS)]
    return draw(rng, SHAPES.index(shape), size, GROUNDS[other])


class _WithColourfulness(nn.Module):
    """The picture, and how far each place is from grey, so that the honest network finds the object as easily."""

    def forward(self, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 4 h w"]:
        return torch.cat([x, x.amax(1, keepdim=True) - x.amin(1, keepdim=True)], 1)


class _Pooled(nn.Module):
    """Mean and maximum over all places: the first for what is everywhere, the second for what is somewhere."""

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n twice_c"]:
        return torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)


def _network() -> nn.Sequential:
    layers = [_WithColourfulness(), *block(4, 16, 5, 2), *block(16, 32, 3, 2), *block(32, 64, 3, 1), *block(64, 64, 3, 2)]
    return nn.Sequential(*layers, _Pooled(), nn.Linear(128, len(CLASSES)))
