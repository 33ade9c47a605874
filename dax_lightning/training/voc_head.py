"""Training a linear head over VOC's classes and background on a frozen backbone, from a handful of photographs."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, Int
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional

from dax_lightning.black_box.torch.heads import Backbone, LinearHead, backbone_box, features
from dax_lightning.device import one_thread
from dax_lightning.errors import InputError
from dax_lightning.inputs.image import ImageInput
from dax_lightning.inputs.image_file import read_image
from dax_lightning.tasks.voc import CLASSES, VOID, largest, listed, pairs, read_mask

L2 = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # penalties that cross-validation chooses from
FOLDS = 5
_TRIES = 100  # random crops looked at for each that is wanted


@dataclass(frozen=True)
class Accuracy:
    """Shares of right answers.

    Args:
        photographs: how many whole photographs were asked about.
        right: the share of them whose largest object's class was the answer.
        crops: how many crops without an object were asked about.
        background: the share of them that were called background.
    """

    photographs: int
    right: float
    crops: int
    background: float

    def __str__(self) -> str:
        return f"{self.right:.3f} of {self.photographs} photographs, {self.background:.3f} of {self.crops} background crops"


@dataclass(frozen=True)
class Trained:
    """A head and how good it is.

    Args:
        head: trained on all photographs that were not left out.
        photographs: how many these are.
        crops: how many pictures were cut from them.
        l2: the penalty that cross-validation chose.
        folds: cross-validated accuracy; a little optimistic, since ``l2`` was chosen by it.
        held_out: accuracy on the excluded photographs; ``None`` where there are none.
    """

    head: LinearHead
    photographs: int
    crops: int
    l2: float
    folds: Accuracy
    held_out: Accuracy | None


@dataclass
class _Rows:
    """Features of crops; ``kind`` 0: a whole photograph, 1: a part with the object, 2: one without."""

    features: list[Tensor] = field(default_factory=list)
    label: list[int] = field(default_factory=list)
    kind: list[int] = field(default_factory=list)
    photograph: list[int] = field(default_factory=list)


def train_voc_head(
    backbone: Backbone,
    root: str,
    weights: str | None = None,
    exclude: str | None = None,
    image_set: str = "val",
    year: int = 2012,
    crops: int = 8,
    seed: int = 0,
    device: str = "auto",
) -> Trained:
    """A head for a backbone, trained on photographs and their masks. The result is deterministic.

    Multinomial logistic regression with an L2 penalty and balanced classes. A photograph gives its whole view, plain and
    mirrored, and random squares, up to ``crops`` of each of two sorts. The first sort holds the object, on a tenth of the square
    or more, and no other class. Its side is at least half of the photograph's shorter side. The second sort holds no object:
    it is background.

    Args:
        backbone: lite0 or vit_tiny.
        root: the folder that holds ``VOCdevkit/``.
        weights: the backbone's local file, see :func:`~dax_lightning.black_box.torch.heads.voc_head`.
        exclude: a text file of case keys, one a line. These photographs are held out: they only measure the head.
        image_set: which list of ``ImageSets/Segmentation/``.
        year: part of the folder's name.
        crops: with the object and without, a photograph.
        seed: of the crops and of the folds.
        device: cpu, cuda or auto.

    Raises:
        InputError: data or weights are missing, too few photographs are left, or no crop is background.
    """
    known = pairs(root, image_set, year)
    left_out = set() if exclude is None else set(listed(exclude, known, "exclude"))
    if crops < 1 or len(known) - len(left_out) < FOLDS:
        raise InputError(
            f"crops={crops}, and {len(known) - len(left_out)} photographs are left to train on: wanted 1 or more crops and at "
            f"least {FOLDS} photographs"
        )
    box = backbone_box(backbone, weights, device=device)
    training, held_out = _Rows(), _Rows()
    view = cast(ImageInput, box.input)  # all backbones take photographs
    for number, (key, (image, mask)) in enumerate(known.items()):
        cut = cuts(read_image(image), read_mask(mask), key, view, crops, np.random.default_rng([seed, number]))
        pictures, labels, kinds = zip(*cut, strict=True)
        rows = held_out if key in left_out else training
        rows.features.append(features(box, torch.stack(pictures)))
        rows.label += labels
        rows.kind += kinds
        rows.photograph += [number] * len(labels)
    return _trained(training, held_out, backbone, box.fingerprint, seed, tuple(key for key in known if key not in left_out))


def logistic_regression(
    x: Float[Tensor, "n d"], label: Int[Tensor, " n"], count: int, l2: float
) -> tuple[Float[Tensor, "k d"], Float[Tensor, " k"]]:
    """Weight and bias of multinomial logistic regression. The penalty is on standardised features, the result on raw ones.

    Minimises the mean cross-entropy of balanced classes plus ``l2 / 2`` times the sum of squared weights.

    Args:
        x: features.
        label: 0 to ``count`` - 1, each present.
        count: classes.
        l2: strength of the penalty, over 0.

    Example:
        >>> weight, bias = logistic_regression(torch.tensor([[0.0], [1.0], [2.0], [3.0]]), torch.tensor([0, 0, 1, 1]), 2, 0.01)
        >>> (torch.tensor([[1.0], [2.0]]) @ weight.T + bias).argmax(1).tolist()
        [0, 1]
    """
    mean, std = x.double().mean(0), x.double().std(0, correction=0).clamp(min=1e-6)
    scaled, share = (x.double() - mean) / std, label.bincount(minlength=count)[label].double()
    parameters = torch.zeros(count, x.shape[1] + 1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([parameters], max_iter=500, line_search_fn="strong_wolfe", tolerance_change=1e-10)

    def loss() -> Tensor:
        optimizer.zero_grad()
        each = functional.cross_entropy(scaled @ parameters[:, :-1].T + parameters[:, -1], label, reduction="none")
        total = (each / share).sum() / count + l2 / 2 * parameters[:, :-1].square().sum()
        total.backward()
        return total

    with torch.enable_grad(), one_thread():
        optimizer.step(loss)  # pyright: ignore[reportArgumentType] -- LBFGS takes a closure that gives a tensor
    found = parameters.detach()
    weight = found[:, :-1] / std
    return weight.float(), (found[:, -1] - weight @ mean).float()


def cuts(
    picture: Image.Image, mask: Image.Image, key: str, input: ImageInput, crops: int, rng: np.random.Generator
) -> Iterator[tuple[Tensor, int, int]]:
    """The pictures that one photograph gives: the whole, the whole mirrored, and random crops.

    Args:
        picture: the photograph.
        mask: VOC's class of each pixel.
        key: the photograph's name, for errors.
        input: what the black box takes.
        crops: most crops with the object, and most without.
        rng: the source of randomness.

    Returns:
        Picture of the black box's size, its VOC class, and its kind. Kind 0: the whole photograph; 1: the object fills a tenth
        or more and no other class is there; 2: no object, so the class is background.
    """
    own = largest(input.labels(mask), key)
    yield input.image(picture), own, 0
    yield input.image(ImageOps.mirror(picture)), own, 1
    whole = ImageInput(input.size, input.channels, 1.0, "squash", input.interpolation)
    labels = np.asarray(mask)
    for kind, (low, high) in ((1, (0.5, 1.0)), (2, (0.25, 0.8))):
        found = (place for _ in range(_TRIES * crops) if _fits(labels, place := _square(rng, picture.size, low, high), own, kind))
        for place, _ in zip(found, range(crops), strict=False):
            part = picture.crop(place)
            yield whole.image(ImageOps.mirror(part) if rng.random() < 0.5 else part), own if kind == 1 else 0, kind


def _square(rng: np.random.Generator, size: tuple[int, int], low: float, high: float) -> tuple[int, int, int, int]:
    side = int(min(size) * rng.uniform(low, high))
    left, top = (int(rng.integers(0, length - side + 1)) for length in size)
    return left, top, left + side, top + side


def _fits(labels: np.ndarray, place: tuple[int, int, int, int], own: int, kind: int) -> bool:
    left, top, right, bottom = place
    part = labels[top:bottom, left:right]
    if kind == 2:
        return not part.any()  # no void either: it is an object's rim
    return bool((part == own).mean() >= 0.1 and np.isin(part, (0, own, VOID)).all())


def _trained(training: _Rows, held_out: _Rows, backbone: Backbone, fingerprint: str, seed: int, keys: tuple[str, ...]) -> Trained:
    present = sorted({0, *training.label})
    if 0 not in training.label or len(present) < 3:
        raise InputError(
            f"the photographs show {len(present) - 1} classes, with {training.label.count(0)} crops without an object: wanted "
            "two classes or more, and a crop of background"
        )
    x, label = torch.cat(training.features), torch.tensor([present.index(number) for number in training.label])
    fold = folds(torch.tensor(training.photograph), seed)
    answers = {l2: _cross_validated(x, label, fold, len(present), l2) for l2 in L2}
    weight = 1 / label.bincount()[label]
    l2 = min(L2, key=lambda l2: (functional.cross_entropy(answers[l2], label, reduction="none") * weight).sum().item())
    found = logistic_regression(x, label, len(present), l2)
    head = LinearHead(*found, tuple(CLASSES[i] for i in present), backbone, fingerprint, keys)
    left_out = _accuracy(answers[l2], label, training.kind)
    return Trained(head, len(set(training.photograph)), len(label), l2, left_out, _held_out(held_out, head))


def _held_out(rows: _Rows, head: LinearHead) -> Accuracy | None:
    if not rows.label:
        return None
    names = [head.classes.index(CLASSES[i]) if CLASSES[i] in head.classes else -1 for i in rows.label]
    return _accuracy(torch.cat(rows.features) @ head.weight.T + head.bias, torch.tensor(names), rows.kind)


def folds(photograph: Int[Tensor, " n"], seed: int) -> Int[Tensor, " n"]:
    """The fold of each crop, 0 to :data:`FOLDS` - 1. All crops of a photograph are in the same fold.

    Args:
        photograph: number of the photograph that each crop was cut from.
        seed: of the order in which photographs go to folds.

    Example:
        >>> one, same, other = folds(torch.tensor([4, 4, 9]), seed=0).tolist()
        >>> one == same != other
        True
    """
    names, place = photograph.unique(return_inverse=True)
    return (torch.randperm(len(names), generator=torch.Generator().manual_seed(seed)) % FOLDS)[place]


def _cross_validated(
    x: Float[Tensor, "n d"], label: Int[Tensor, " n"], fold: Int[Tensor, " n"], count: int, l2: float
) -> Float[Tensor, "n k"]:
    """Scores of each row by a head that was trained on the other folds."""
    scores = torch.empty(len(x), count)
    for number in range(FOLDS):
        weight, bias = logistic_regression(x[fold != number], label[fold != number], count, l2)
        scores[fold == number] = x[fold == number] @ weight.T + bias
    return scores


def _accuracy(scores: Float[Tensor, "n k"], label: Int[Tensor, " n"], kinds: list[int]) -> Accuracy:
    right, kind = (scores.argmax(1) == label).float(), torch.tensor(kinds)
    whole, background = right[kind == 0], right[kind == 2]
    return Accuracy(len(whole), whole.mean().item(), len(background), background.mean().item() if len(background) else 0.0)
