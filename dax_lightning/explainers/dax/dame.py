"""DAME, from which DAX grew: a mask for each channel of the input, and colour augmentation."""

from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float
from matplotlib.colors import rgb_to_hsv
from torch import Tensor, nn

from dax_lightning.explainers.dax.data import Batch, PerturbationDataModule
from dax_lightning.explainers.dax.explainer import Dax, Reading
from dax_lightning.explainers.dax.module import DaxModule, Recorder


class ChannelMasks(nn.Module):
    """A mask for each channel, each by a network of its own; their mean for the channel that tells what was removed, if any.

    Args:
        networks: one for each channel of the copies.
        with_mean: append the mean mask.

    Example:
        >>> from dax_lightning.explainers.dax import MaskNetwork
        >>> ChannelMasks([MaskNetwork(3) for _ in range(3)], with_mean=True)(torch.zeros(2, 3, 28, 28)).shape
        torch.Size([2, 4, 28, 28])
    """

    def __init__(self, networks: list[nn.Module], with_mean: bool):
        super().__init__()
        self.networks, self.with_mean = nn.ModuleList(networks), with_mean

    def forward(self, copies: Float[Tensor, "n c h w"]) -> Float[Tensor, "n m h w"]:
        """The masks of each copy, in (0, 1)."""
        masks = torch.cat([network(copies) for network in self.networks], 1)
        return torch.cat([masks, masks.mean(1, keepdim=True)], 1) if self.with_mean else masks


class ColourModule(DaxModule):
    """Shows the networks a random half of each batch in HSV instead of RGB; the teacher's answers stay.

    The augmentation is of what the networks see, so it costs no queries. Inputs of other than three channels stay as they are.
    """

    def training_step(self, batch: Batch) -> Tensor:
        """One step of all networks."""
        return super().training_step(batch._replace(copies=half_in_hsv(batch.copies)))


class Dame(Dax):
    """DAX with a mask for each input channel and colour augmentation; the map is the mean of the masks.

    ``notes["channels"]`` holds each channel's mean mask. The arguments are those of :class:`Dax`.

    Example:
        >>> from dax_lightning.black_box import from_function
        >>> from dax_lightning.game.subsets import Perturber
        >>> from dax_lightning.segment.grid import Grid
        >>> def top_left(rows):
        ...     share = rows[:, :, :16, :16].mean((1, 2, 3))
        ...     return torch.stack([share, 1 - share], 1)
        >>> box = from_function(top_left, size=(32, 32))
        >>> dame = Dame(box, Grid(4, 4), Perturber(fill="zeros"), q=200)
        >>> made = dame.explain(torch.ones(3, 32, 32), target=0)
        >>> made.queries, len(made.notes["channels"]), bool(made.saliency[:16, :16].mean() > made.saliency[16:].mean())
        (200, 3, True)
    """

    name: ClassVar[str] = "dame"
    module_type: ClassVar[type[DaxModule]] = ColourModule

    def _mask_network(self, channels: int) -> nn.Module:
        return ChannelMasks(
            [self.learner.mask_network(channels=channels) for _ in range(channels)], with_mean=self.learner.sees_kept
        )

    def _read(self, x: Tensor, data: PerturbationDataModule, module: DaxModule, recorder: Recorder) -> Reading:
        reading = super()._read(x, data, module, recorder)
        with torch.no_grad():
            masks = module(data.input_batch().copies.to(module.device))[0, : len(x)]
        return Reading(reading.saliency, {"channels": masks.mean((1, 2)).tolist()}, reading.epochs)


def half_in_hsv(copies: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """A random half of the copies (by torch's global randomness) as hue, saturation and value.

    Args:
        copies: values in [-1, 1]; other than three channels come back as they are.

    Example:
        >>> half_in_hsv(torch.zeros(4, 1, 2, 2)).shape
        torch.Size([4, 1, 2, 2])
    """
    if copies.shape[1] != 3:
        return copies
    chosen = torch.rand(len(copies)) < 0.5
    return torch.where(chosen.to(copies.device).view(-1, 1, 1, 1), hsv(copies), copies)


def hsv(copies: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
    """RGB in [-1, 1] as hue, saturation and value in [-1, 1].

    Example:
        >>> hsv(torch.tensor([1.0, -1.0, -1.0]).view(1, 3, 1, 1)).flatten().tolist()  # red: hue 0, full saturation and value
        [-1.0, 1.0, 1.0]
    """
    rgb = np.clip((copies.detach().cpu().double().numpy().transpose(0, 2, 3, 1) + 1) / 2, 0, 1)
    return torch.from_numpy(rgb_to_hsv(rgb).transpose(0, 3, 1, 2) * 2 - 1).to(copies)
