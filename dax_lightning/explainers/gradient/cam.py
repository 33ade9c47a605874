"""Class activation maps: GradCAM, GradCAM++ and guided GradCAM, for convolutions and for tokens.

Why not a library: pytorch-grad-cam scales every map to [0, 1] and writes the weights' gradients. Captum's guided backpropagation
hooks ``nn.ReLU`` alone, so it is the plain gradient in a network of ReLU6. The tests compare with both where they are sound.
"""

import difflib
import math
import re
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from dax_lightning.black_box.base import BlackBox
from dax_lightning.errors import InputError
from dax_lightning.explainers.base import PLANES, Explainer, Found
from dax_lightning.explainers.gradient.saliency import Channels, TargetScores, check_channels, over_channels

_MOST_PREFIX = 16  # tokens before the patches: a class token, distillation, registers


@dataclass(frozen=True)
class Layer:
    """A layer as one forward and one backward pass left it; ``h``, ``w`` are its own grid.

    Args:
        name: in the module.
        activation: the layer's output.
        gradient: of the target's score with respect to it.
    """

    name: str
    activation: Float[Tensor, "d h w"]
    gradient: Float[Tensor, "d h w"]


def grad_cam(layer: Layer) -> Float[Tensor, "h w"]:
    """Activations weighted by their mean gradients, the positive part (Selvaraju et al. 2017, eq. 1 and 2); 0 or more.

    Example:
        >>> activation = torch.tensor([[[1.0, 2.0]], [[4.0, 0.0]]])
        >>> gradient = torch.tensor([[[1.0, 3.0]], [[-1.0, 0.0]]])
        >>> grad_cam(Layer("conv", activation, gradient)).tolist()
        [[0.0, 4.0]]
    """
    return _weighted(layer.activation, layer.gradient.mean((1, 2)))


def grad_cam_pp(layer: Layer) -> Float[Tensor, "h w"]:
    """GradCAM with each place's gradient weighted by its share in the class (Chattopadhyay et al. 2018, eq. 11 and 19).

    The share ``g² / (2 g² + g³ ΣA)`` is written ``1 / (2 + g ΣA)``, which needs no guard where ``g > 0``, the only places that
    count. The paper's ``A`` are rectified; where a layer's output is signed, ΣA adds its positive part, else the quotient has
    poles. 0 or more.

    Example:
        >>> activation, gradient = torch.tensor([[[1.0, 3.0]]]), torch.tensor([[[0.5, -1.0]]])
        >>> grad_cam_pp(Layer("conv", activation, gradient)).tolist()  # weight 0.5 / (2 + 0.5 * 4)
        [[0.125, 0.375]]
    """
    rising = layer.gradient.relu()
    share = 1 / (2 + rising * layer.activation.relu().sum((1, 2), keepdim=True))
    return _weighted(layer.activation, (share * rising).sum((1, 2)))


def _weighted(activation: Float[Tensor, "d h w"], weight: Float[Tensor, " d"]) -> Float[Tensor, "h w"]:
    return torch.einsum("d,dhw->hw", weight, activation).relu()


def on_grid(output: Tensor, size: tuple[int, int], grids: Iterable[tuple[int, int]] = ()) -> Float[Tensor, "d h w"] | None:
    """A layer's output for one row as a map, or ``None`` where it has no places.

    Args:
        output: (1, d, h, w) or (1, h, w, d), told apart by the aspect of the input; or tokens (1, t, d), whose last h·w are the
            patches, row by row, and those before a class token, registers and the like.
        size: (H, W) of the input.
        grids: (h, w) that other layers of the same module had; the largest that fits is the tokens', else the squarest guess.

    Example:
        >>> on_grid(torch.rand(1, 5, 7, 7), (224, 224)).shape, on_grid(torch.rand(1, 7, 7, 5), (224, 224)).shape
        (torch.Size([5, 7, 7]), torch.Size([5, 7, 7]))
        >>> on_grid(torch.rand(1, 197, 5), (224, 224)).shape, on_grid(torch.rand(1, 5, 1, 1), (224, 224))
        (torch.Size([5, 14, 14]), None)
    """
    if output.ndim == 4:
        return _channels_first(output[0], size)
    grid = _token_grid(output.shape[1], size, grids) if output.ndim == 3 else None
    return None if grid is None else output[0, -math.prod(grid) :].T.unflatten(1, grid)


def _channels_first(output: Float[Tensor, "a b c"], size: tuple[int, int]) -> Float[Tensor, "d h w"] | None:
    a, b, c = output.shape
    for slack in (0, max(size)):  # a stride that does not divide the input may cost one row of the grid or one column
        if _aspect((b, c), size, slack):
            return output
        if _aspect((a, b), size, slack):
            return output.permute(2, 0, 1)
    return None


def _aspect(grid: tuple[int, int], size: tuple[int, int], slack: int) -> bool:
    inside = grid[0] <= size[0] and grid[1] <= size[1] and math.prod(grid) > 1
    return inside and abs(grid[0] * size[1] - grid[1] * size[0]) <= slack


def _token_grid(tokens: int, size: tuple[int, int], grids: Iterable[tuple[int, int]]) -> tuple[int, int] | None:
    height = math.isqrt(tokens * size[0] // size[1])
    for grid in (*sorted(grids, key=math.prod, reverse=True), (height, height * size[1] // size[0])):
        if 1 < math.prod(grid) <= tokens <= math.prod(grid) + _MOST_PREFIX:
            return grid
    return None


@contextmanager
def outputs_of(layers: dict[str, nn.Module]) -> Iterator[list[tuple[str, Tensor]]]:
    """A list that fills, while a row goes through, with the (1, ...) outputs of these layers, in the order they end.

    What follows a layer gets a copy, so that an activation in place does not change what was kept. All hooks are gone afterwards.

    Example:
        >>> module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True))
        >>> with outputs_of({"conv": module[0]}) as kept:
        ...     _ = module(torch.ones(1, 1, 4, 4, requires_grad=True))
        >>> [(name, output.shape) for name, output in kept], len(module[0]._forward_hooks)
        ([('conv', torch.Size([1, 2, 2, 2]))], 0)
    """
    kept: list[tuple[str, Tensor]] = []
    with ExitStack() as hooks:
        for name, layer in layers.items():
            hooks.callback(layer.register_forward_hook(_keeper(kept, name)).remove)
        yield kept


def _keeper(kept: list[tuple[str, Tensor]], name: str) -> Any:
    def keep(_layer: nn.Module, _args: Any, output: Any) -> Tensor | None:
        if not isinstance(output, Tensor) or output.ndim not in (3, 4) or len(output) != 1 or not output.requires_grad:
            return None
        kept.append((name, output))
        return output.clone()

    return keep


def candidates(module: nn.Module) -> dict[str, nn.Module]:
    """The layers among which one is found: all but those inside attention, whose queries, keys and values are no features.

    Example:
        >>> list(candidates(nn.Sequential(nn.Linear(2, 2), nn.MultiheadAttention(2, 1))))
        ['0', '1']
    """
    layers = {name: layer for name, layer in module.named_modules() if name}
    attention = tuple(f"{name}." for name, layer in layers.items() if re.search("attention|attn", type(layer).__name__.lower()))
    return {name: layer for name, layer in layers.items() if not name.startswith(attention)}


def named(module: nn.Module, name: str) -> dict[str, nn.Module]:
    """The one layer of this name.

    Raises:
        InputError: there is none; near names are given.

    Example:
        >>> named(nn.Sequential(nn.Linear(2, 2)), "0")
        {'0': Linear(in_features=2, out_features=2, bias=True)}
    """
    layers = {known: layer for known, layer in module.named_modules() if known}
    if name not in layers:
        near = difflib.get_close_matches(name, layers, n=3, cutoff=0.5) or list(layers)[-3:]
        raise InputError(f"explainer.layer={name} is no layer of {type(module).__name__}: did you mean {', '.join(near)}?")
    return {name: layers[name]}


def guide(score: Tensor) -> int:
    """Let only positive gradients into every ReLU and ReLU6 that leads to ``score``, until its graph is gone.

    This is guided backpropagation (Springenberg et al. 2015). It acts on the graph, not on the modules, so a functional or
    in-place rectifier is guided as well, and nothing is left behind.

    Returns:
        How many rectifiers there are.

    Example:
        >>> x = torch.tensor([2.0, 3.0], requires_grad=True)
        >>> score = (F.relu6(x) * torch.tensor([1.0, -1.0])).sum()
        >>> guide(score), torch.autograd.grad(score, x)[0].tolist()
        (1, [1.0, 0.0])
    """
    rectifiers = [node for node in _graph(score.grad_fn) if _rectifies(node)]
    for node in rectifiers:
        node.register_prehook(lambda gradients: (gradients[0].clamp(min=0),))
    return len(rectifiers)


def _graph(root: Any) -> set[Any]:
    seen, todo = set(), [root]
    while todo:
        node = todo.pop()
        if node is not None and node not in seen:
            seen.add(node)
            todo.extend(following for following, _ in node.next_functions)
    return seen


def _rectifies(node: Any) -> bool:
    name = node.name()
    return name.startswith("ReluBackward") or (name.startswith("HardtanhBackward") and node._saved_min_val == 0)  # ReLU6


class ActivationMap(Explainer):
    """What the three maps have in common; one row goes through the module.

    The layer is found in that pass: the last outside attention whose output lies on a grid of the input's aspect and whose places
    the target's score depends on. In a convolutional network this is the last feature map before the pooling. In a ViT with a
    class token it is the last block's first norm: later values of the patches don't reach the class token.
    """

    needs_gradients: ClassVar[bool] = True
    kinds: ClassVar[tuple[str, ...]] = PLANES
    deterministic: ClassVar[bool] = True

    def __init__(self, black_box: BlackBox, layer: str | int | None = None, seed: int = 0):
        super().__init__(black_box, seed)
        self.layer = None if layer is None else str(layer)
        black_box.differentiable()
        self._layers()

    def rows_needed(self, x: Float[Tensor, "c *space"]) -> int:
        """See :class:`Explainer`."""
        return 1

    def _explain(
        self, x: Float[Tensor, "c h w"], target: int, generator: torch.Generator, segments: Int[Tensor, "h w"] | None
    ) -> Found:
        scores = TargetScores(self.black_box, target)
        row = x[None].requires_grad_()
        with outputs_of(self._layers()) as kept:
            score = scores(row)[0, target]
        layer = self._chosen(kept, score, (x.shape[1], x.shape[2]))
        saliency, notes = self._map(layer, score, row)
        facts = {"layer": layer.name, "grid": list(layer.activation.shape[1:]), "scores": self.black_box.outputs}
        return Found(saliency, scores.probability, notes={**facts, **notes})

    @abstractmethod
    def _map(self, layer: Layer, score: Tensor, row: Float[Tensor, "1 c h w"]) -> tuple[Float[Tensor, "h w"], dict[str, Any]]:
        """The map at the input's size, and notes; ``score`` still holds the graph to ``row``."""

    def _layers(self) -> dict[str, nn.Module]:
        module: nn.Module = self.black_box.module
        return candidates(module) if self.layer is None else named(module, self.layer)

    def _chosen(self, kept: list[tuple[str, Tensor]], score: Tensor, size: tuple[int, int]) -> Layer:
        grids = [(grid.shape[1], grid.shape[2]) for _, out in kept if out.ndim == 4 and (grid := on_grid(out, size)) is not None]
        placed = [(name, out) for name, out in kept if on_grid(out, size, grids) is not None]
        if not placed:
            raise InputError(self._no_layer(kept, size))
        slopes = torch.autograd.grad(score, [out for _, out in placed], retain_graph=True, materialize_grads=True)
        maps = []
        for (name, out), slope in zip(placed, slopes, strict=True):
            activation, gradient = (on_grid(part.detach().float().cpu(), size, grids) for part in (out, slope))
            if activation is not None and gradient is not None:
                maps.append(Layer(name, activation, gradient))
        return next((layer for layer in reversed(maps) if layer.gradient.any()), maps[-1])

    def _no_layer(self, kept: list[tuple[str, Tensor]], size: tuple[int, int]) -> str:
        wanted = f"wanted (1, d, h, w), or (1, tokens, d), on a grid of the aspect of the input's {size[0]}x{size[1]}"
        if self.layer is None:
            return f"no layer of the module gives a map: {wanted}; choose another explainer"
        came = tuple(kept[-1][1].shape) if kept else "nothing of the kind"
        return f"explainer.layer={self.layer} gives {came}: {wanted}; name another layer, or null to find one"


def resized(cam: Float[Tensor, "h w"], size: tuple[int, int]) -> Float[Tensor, "H W"]:
    """A map up-sampled bilinearly, its values as they were.

    Example:
        >>> resized(torch.full((2, 2), 3.0), (4, 4)).unique().tolist()
        [3.0]
    """
    return F.interpolate(cam[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]


class GradCam(ActivationMap):
    """GradCAM (Selvaraju et al. 2017): a layer's activations weighted by their mean gradients, in units of the score; 0 or more.

    Args:
        black_box: a torch module.
        layer: its name in the module (``layer4``, ``blocks.11.norm1``); ``None`` finds one, see :class:`ActivationMap`. ``notes``
            says which. Where the black box has folded a batch norm, its convolution gives what the batch norm gave.
        seed: changes nothing.

    Raises:
        InputError: the black box can only be queried, or has no such layer; when explaining: the layer has no map.

    Example:
        >>> from dax_lightning.black_box import from_torch, ImageInput
        >>> module = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
        >>> box = from_torch(module, ImageInput((8, 8)), (0.0,) * 3, (1.0,) * 3, None)
        >>> made = GradCam(box).explain(torch.rand(3, 8, 8), target=1)
        >>> made.notes["layer"], made.notes["grid"], made.queries
        ('1', [4, 4], 1)
    """

    name: ClassVar[str] = "gradcam"

    def _map(self, layer: Layer, score: Tensor, row: Float[Tensor, "1 c h w"]) -> tuple[Float[Tensor, "h w"], dict[str, Any]]:
        return resized(grad_cam(layer), (row.shape[2], row.shape[3])), {}


class GradCamPlusPlus(ActivationMap):
    """GradCAM++ (Chattopadhyay et al. 2018): only rising places weigh, see :func:`grad_cam_pp`; 0 or more.

    Args:
        black_box: a torch module.
        layer: as in :class:`GradCam`.
        seed: changes nothing.

    Raises:
        InputError: the black box can only be queried, or has no such layer; when explaining: the layer has no map.

    Example:
        >>> from dax_lightning.black_box import from_torch, ImageInput
        >>> module = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
        >>> box = from_torch(module, ImageInput((8, 8)), (0.0,) * 3, (1.0,) * 3, None)
        >>> GradCamPlusPlus(box, layer="0").explain(torch.rand(3, 8, 8), target=1).notes["layer"]
        '0'
    """

    name: ClassVar[str] = "gradcam_pp"

    def _map(self, layer: Layer, score: Tensor, row: Float[Tensor, "1 c h w"]) -> tuple[Float[Tensor, "h w"], dict[str, Any]]:
        return resized(grad_cam_pp(layer), (row.shape[2], row.shape[3])), {}


class GuidedGradCam(ActivationMap):
    """GradCAM times guided backpropagation (Selvaraju et al. 2017, section 3.2).

    ``notes["rectifiers"]`` counts the ReLUs that were guided; 0 of them (a ViT with GELU) leaves the plain gradient.

    Args:
        black_box: a torch module.
        layer: as in :class:`GradCam`.
        channels: how the channels become one map, see :func:`~dax_lightning.explainers.gradient.saliency.over_channels`.
        seed: changes nothing.

    Raises:
        InputError: the black box can only be queried, or has no such layer; when explaining: the layer has no map.

    Example:
        >>> from dax_lightning.black_box import from_torch, ImageInput
        >>> module = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
        >>> box = from_torch(module, ImageInput((8, 8)), (0.0,) * 3, (1.0,) * 3, None)
        >>> GuidedGradCam(box).explain(torch.rand(3, 8, 8), target=1).notes["rectifiers"]
        1
    """

    name: ClassVar[str] = "guided_gradcam"

    def __init__(
        self,
        black_box: BlackBox,
        layer: str | int | None = None,
        channels: Channels = "absmax",
        seed: int = 0,
    ):
        super().__init__(black_box, layer, seed)
        check_channels(channels)
        self.channels: Channels = channels

    def _map(self, layer: Layer, score: Tensor, row: Float[Tensor, "1 c h w"]) -> tuple[Float[Tensor, "h w"], dict[str, Any]]:
        cam = resized(grad_cam(layer), (row.shape[2], row.shape[3]))
        rectifiers = guide(score)
        (slope,) = torch.autograd.grad(score, row)
        return over_channels(slope[0] * cam, self.channels), {"rectifiers": rectifiers}
