"""Folding batch norms and padding: the same answers, or the module as it was."""

import pytest
import timm
import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import nn

from dax_lightning.black_box.torch.fold import folded


class NormFirst(nn.Module):
    """Its parts run in another order than they are defined in."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)

    def forward(self, x):
        return self.conv(self.norm(x)).mean((2, 3))


def shaken(module):
    generator = torch.Generator().manual_seed(0)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.get_buffer("running_mean").copy_(torch.randn(part.num_features, generator=generator) / 4)
            part.get_buffer("running_var").copy_(0.5 + torch.rand(part.num_features, generator=generator))
    return module.eval()


def norms(module):
    return sum(isinstance(part, nn.BatchNorm2d) for part in module.modules())


def test_answers_stay_and_batch_norms_go():
    module = shaken(timm.create_model("tf_efficientnet_lite0", num_classes=5))
    made = folded(module, (3, 64, 64))
    rows = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    assert norms(module) > norms(made) == 0
    assert torch.allclose(module(rows), made(rows), atol=1e-4)


def test_a_module_that_runs_its_parts_in_another_order_stays_as_it_is():
    module = shaken(NormFirst())
    assert folded(module, (3, 8, 8)) is module


@pytest.mark.parametrize("side", [31, 32, 64])
def test_convolutions_pad_themselves_and_no_bit_of_an_answer_changes(side):
    module = timm.create_model("tf_efficientnet_lite0", num_classes=5).eval()
    without = nn.Sequential(
        *[Conv2dSame(3, 3, kernel, stride) for kernel, stride in ((3, 2), (5, 2), (3, 1), (2, 2))], nn.Flatten()
    )
    rows = torch.rand(3, 3, side, side, generator=torch.Generator().manual_seed(1))
    for net in (module, without):
        made = folded(net, (3, side, side))
        assert count(net, Conv2dSame) > count(made, Conv2dSame) == 0
        assert torch.allclose(net(rows), made(rows), atol=1e-5)
    assert torch.equal(without(rows), folded(without, (3, side, side))(rows))


def test_a_dilated_convolution_that_can_not_pad_itself_stays():
    net = nn.Sequential(Conv2dSame(3, 3, 2, dilation=3), nn.Flatten())
    rows = torch.rand(2, 3, 9, 9)
    assert torch.equal(net(rows), folded(net, (3, 9, 9))(rows))
    assert count(folded(net, (3, 9, 9)), Conv2dSame) == 1


def count(module, kind):
    return sum(type(part) is kind for part in module.modules())
