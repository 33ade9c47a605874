"""The gradient methods against autograd by hand, captum and pytorch-grad-cam; and a module that nobody touched."""

import copy
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from captum.attr import GuidedBackprop, LayerGradCam
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models import VisionTransformer as TorchvisionVit

from dax_lightning.black_box import ImageInput, from_function, from_torch
from dax_lightning.errors import BudgetExceeded, InputError, ModelError
from dax_lightning.explainers.gradient.cam import GradCam, GradCamPlusPlus, GuidedGradCam, candidates, guide, on_grid
from dax_lightning.explainers.gradient.saliency import (
    Gradient,
    InputXGradientMap,
    IntegratedGradientsMap,
    SmoothGrad,
    check_channels,
)

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
METHODS = [Gradient, InputXGradientMap, SmoothGrad, IntegratedGradientsMap, GradCam, GradCamPlusPlus, GuidedGradCam]
CAMS = METHODS[4:]
ROWS = {SmoothGrad: 26, IntegratedGradientsMap: 51}


class Net(nn.Module):
    """Two convolutions with rectifiers in place; it remembers how many rows each call brought."""

    def __init__(self, rectifier: Any = nn.ReLU):
        super().__init__()
        self.conv1, self.act1 = nn.Conv2d(3, 6, 3, 2, 1), rectifier(inplace=True)
        self.conv2, self.bn2, self.act2 = nn.Conv2d(6, 8, 3, 2, 1), nn.BatchNorm2d(8), rectifier(inplace=True)
        self.fc = nn.Linear(8, 3)
        self.calls = []

    def features(self, x):
        return self.act2(self.bn2(self.conv2(self.act1(self.conv1(x)))))

    def forward(self, x):
        self.calls.append(len(x))
        return self.fc(self.features(x).mean((2, 3)))


class Lambda(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.fixture
def x():
    return torch.rand(3, 16, 16)


@pytest.fixture
def net():
    made: Any = Net()
    made.bn2.running_mean.uniform_(-0.3, 0.3)
    made.bn2.running_var.uniform_(0.05, 0.2)
    made.bn2.weight.data.uniform_(0.5, 2)
    return made.eval()


def boxed(module, size=16, **more) -> Any:
    return from_torch(module, ImageInput((size, size)), MEAN, STD, ("a", "b", "c"), **more)


def normalised(x):
    return (x - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def by_hand(module, x, target):
    """Gradient of the score with respect to the input in [0, 1]."""
    row = x[None].clone().requires_grad_()
    module(normalised(row))[0, target].backward()
    return row.grad[0]


@pytest.mark.parametrize(("channels", "reduce"), [("absmax", lambda g: g.abs().amax(0)), ("abs_sum", lambda g: g.abs().sum(0))])
def test_gradient_is_autograds(net, x, channels, reduce):
    made = Gradient(boxed(net), channels).explain(x, 1)
    torch.testing.assert_close(made.saliency, reduce(by_hand(copy.deepcopy(net), x, 1)))
    assert made.score == pytest.approx(net(normalised(x[None])).softmax(1)[0, 1].item(), abs=1e-6)


def test_input_x_gradient_is_the_signed_product(net, x):
    made = InputXGradientMap(boxed(net)).explain(x, 2)
    torch.testing.assert_close(made.saliency, (x * by_hand(copy.deepcopy(net), x, 2)).sum(0))


def test_integrated_gradients_are_complete_and_follow_the_path(x):
    module = nn.Sequential(nn.Conv2d(3, 5, 3), nn.Softplus(), nn.Flatten(), nn.Linear(980, 3))
    made = IntegratedGradientsMap(boxed(module), baseline=0.25).explain(x, 0)
    start = torch.full_like(x, 0.25)
    gained = (module(normalised(x[None])) - module(normalised(start[None])))[0, 0]
    torch.testing.assert_close(made.saliency.sum(), gained, atol=1e-4, rtol=1e-4)
    middles = [start + (x - start) * (k + 0.5) / 200 for k in range(200)]
    slope = torch.stack([by_hand(module, middle, 0) for middle in middles]).mean(0)
    torch.testing.assert_close(made.saliency, ((x - start) * slope).sum(0), atol=1e-4, rtol=1e-3)


def test_smoothgrad_averages_signed_gradients_of_copies_as_noisy_as_said():
    x = torch.zeros(3, 16, 16)
    x[:, :, 8:] = 0.8  # the range
    module = Lambda(lambda rows: torch.stack([(rows**2).sum((1, 2, 3)) / 2, rows.sum((1, 2, 3))], 1))  # gradient: the row
    box = from_torch(module, ImageInput((16, 16)), (0.0,) * 3, (1.0,) * 3, None)
    once = SmoothGrad(box, n=1, sigma=0.5, channels="sum").explain(x, 0).saliency - x.sum(0)
    assert once.std().item() == pytest.approx(0.5 * 0.8 * math.sqrt(3), rel=0.15)
    often = SmoothGrad(box, n=400, sigma=0.5, channels="sum").explain(x, 0).saliency - x.sum(0)
    assert often.std().item() == pytest.approx(0.5 * 0.8 * math.sqrt(3 / 400), rel=0.15)  # unsigned, zeros would end at 0.32
    assert torch.equal(SmoothGrad(box, n=3).explain(x, 1).saliency, torch.ones(16, 16))
    torch.testing.assert_close(SmoothGrad(box, n=3, sigma=0.0).explain(x, 0).saliency, x[0])


def test_gradcam_is_the_formula_and_captums(net, x):
    features = net.features(normalised(x[None])).detach()[0]
    weight = net.fc.weight[1].detach() / 16  # d score / d feature, the same at all 16 places
    box = boxed(net)
    made = GradCam(box).explain(x, 1)
    expected = torch.stack([weight[d] * features[d] for d in range(8)]).sum(0).clamp(min=0)
    expected = F.interpolate(expected[None, None], (16, 16), mode="bilinear")[0, 0]
    assert made.notes["layer"] == "act2"
    assert expected.max() > 0
    torch.testing.assert_close(made.saliency, expected)
    conv2: Any = LayerGradCam(box.module, box.module.conv2).attribute(normalised(x[None]), target=1, relu_attributions=True)
    named = GradCam(box, layer="conv2").explain(x, 1).saliency  # before the rectifier in place
    torch.testing.assert_close(named, LayerGradCam.interpolate(conv2, (16, 16), "bilinear")[0, 0].detach())
    assert not torch.allclose(named, made.saliency)


def test_gradcam_pp_is_equation_19(net, x):
    head = nn.Sequential(nn.Flatten(), nn.Linear(128, 12), nn.ReLU(), nn.Linear(12, 3))
    module = nn.Sequential(net.conv1, net.act1, net.conv2, net.bn2, net.act2, head)
    features = net.features(normalised(x[None])).detach().requires_grad_()
    (g,) = torch.autograd.grad(head(features)[0, 2], features)
    cam = torch.zeros(4, 4)
    for a, slope in zip(features[0].detach(), g[0], strict=True):
        alpha = slope**2 / (2 * slope**2 + slope**3 * a.sum())
        cam += torch.where(slope > 0, alpha * slope, 0.0).sum() * a
    made = GradCamPlusPlus(boxed(module), layer="4").explain(x, 2)
    torch.testing.assert_close(made.saliency, F.interpolate(cam.relu()[None, None], (16, 16), mode="bilinear")[0, 0])


@pytest.mark.parametrize("method", [GradCam, GradCamPlusPlus])
def test_pytorch_grad_cam_agrees_but_for_its_scale(net, x, method):
    library = pytest.importorskip("pytorch_grad_cam")
    targets = pytest.importorskip("pytorch_grad_cam.utils.model_targets")
    net.fc.weight.data *= 1000  # its guard against 0 is 1e-6: small beside the squared gradients of this module only
    row = normalised(x[None])
    with {GradCam: library.GradCAM, GradCamPlusPlus: library.GradCAMPlusPlus}[method](copy.deepcopy(net), []) as cam:
        cam.target_layers = [cam.model.act2]
        cam.activations_and_grads = type(cam.activations_and_grads)(cam.model, cam.target_layers, None)
        expected = torch.from_numpy(cam(row, [targets.ClassifierOutputTarget(1)])[0])
    saliency = method(boxed(net)).explain(x, 1).saliency
    at_nodes = F.interpolate(saliency[None, None], (16, 16), mode="bilinear")[0, 0]
    scaled = (at_nodes - at_nodes.min()) / (at_nodes.max() - at_nodes.min())
    torch.testing.assert_close(scaled, expected, atol=2e-2, rtol=0)


def test_guided_backpropagation_is_captums_and_reaches_relu6(net, x):
    with pytest.warns(UserWarning, match="Setting backward hooks"):
        expected = GuidedBackprop(net).attribute(normalised(x[None]).requires_grad_(), target=1)[0]
    expected = expected / torch.tensor(STD).view(3, 1, 1)
    cam = GradCam(boxed(net)).explain(x, 1).saliency
    made = GuidedGradCam(boxed(net), channels="sum").explain(x, 1)
    torch.testing.assert_close(made.saliency, (expected * cam).sum(0))
    assert made.notes["rectifiers"] == 2
    six = Net(nn.ReLU6).eval()
    six.load_state_dict(net.state_dict())
    assert six.features(normalised(x[None])).max() < 6  # below 6 the two are the same function
    again = GuidedGradCam(boxed(six), channels="sum").explain(x, 1)
    torch.testing.assert_close(again.saliency, made.saliency)
    assert not torch.allclose(again.saliency, (by_hand(six, x, 1) * cam).sum(0), atol=1e-3)  # the plain gradient is another


@pytest.mark.parametrize("rectify", [F.relu, F.relu6, F.relu_, torch.relu, lambda v: v.clone().clamp_(0, 6)])
def test_functional_rectifiers_are_guided_and_clamps_left_alone(rectify):
    v = torch.tensor([1.0, 2.0, -1.0], requires_grad=True)
    score = (rectify(v * 1) * torch.tensor([1.0, -1.0, 1.0])).sum()
    guided = guide(score)
    assert torch.autograd.grad(score, v)[0].tolist() == [1, -1 + guided, 0]


def tiny_vit(**more) -> Any:
    vit: Any = VisionTransformer(img_size=32, patch_size=8, embed_dim=16, depth=2, num_heads=2, num_classes=3, **more)
    nn.init.normal_(vit.head.weight)
    return vit.eval()


@pytest.mark.parametrize("more", [{}, {"reg_tokens": 4, "class_token": True}], ids=["class token", "registers"])
def test_vit_tokens_become_the_grid(more):
    vit, x = tiny_vit(**more), torch.rand(3, 32, 32)
    made = GradCam(boxed(vit, 32)).explain(x, 1)
    assert (made.notes["layer"], made.notes["grid"]) == ("blocks.1.norm1", [4, 4])
    tokens = []
    with torch.enable_grad():
        handle = vit.blocks[1].norm1.register_forward_hook(lambda *seen: tokens.append(seen[2]))
        (slope,) = torch.autograd.grad(vit(normalised(x[None]))[0, 1], tokens)
        handle.remove()
    prefix = 1 + more.get("reg_tokens", 0)
    weight = slope[0, prefix:].mean(0)
    grid = torch.zeros(4, 4)
    for k in range(16):
        grid[k // 4, k % 4] = tokens[0][0, prefix + k].detach() @ weight
    torch.testing.assert_close(made.saliency, F.interpolate(grid.relu()[None, None], (32, 32), mode="bilinear")[0, 0])
    assert torch.equal(GradCam(boxed(vit, 32), layer="blocks.1.norm1").explain(x, 1).saliency, made.saliency)


def test_layer_is_found_in_other_transformers():
    x = torch.rand(3, 32, 32)
    pooled = tiny_vit(global_pool="avg", class_token=False)
    assert GradCam(boxed(pooled, 32)).explain(x, 1).notes["layer"] == "norm"
    vit: Any = TorchvisionVit(32, 8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=3)
    nn.init.normal_(vit.heads.head.weight)
    found = GradCamPlusPlus(boxed(vit, 32)).explain(x, 1).notes
    assert (found["layer"], found["grid"]) == ("encoder.layers.encoder_layer_1.ln_1", [4, 4])


def test_patches_behind_the_last_attention_have_no_influence():
    made = GradCam(boxed(tiny_vit(), 32), layer="blocks.1").explain(torch.rand(3, 32, 32), 1)
    assert made.saliency.any().item() is False
    assert "same for all" in made.warnings[0]


def test_transformer_has_nothing_to_guide():
    vit, x = tiny_vit(), torch.rand(3, 32, 32)
    made = GuidedGradCam(boxed(vit, 32), channels="sum").explain(x, 0)
    cam = GradCam(boxed(vit, 32)).explain(x, 0).saliency
    torch.testing.assert_close(made.saliency, (by_hand(copy.deepcopy(vit), x, 0) * cam).sum(0), atol=1e-6, rtol=1e-4)
    assert made.notes["rectifiers"] == 0


def test_attention_is_no_candidate():
    names = candidates(tiny_vit())
    assert "blocks.1.attn" in names
    assert not any(name.startswith("blocks.1.attn.") for name in names)


def test_places_are_told_from_channels():
    placed: Any = on_grid
    assert placed(torch.arange(12.0).view(1, 3, 2, 2), (8, 8))[:, 0, 1].tolist() == [1, 5, 9]
    assert placed(torch.arange(12.0).view(1, 2, 2, 3), (8, 8))[:, 0, 1].tolist() == [3, 4, 5]
    assert placed(torch.rand(1, 5, 4, 7), (224, 128)) is None
    assert placed(torch.rand(1, 5, 7, 4), (224, 128)).shape == (5, 7, 4)
    assert placed(torch.rand(1, 25, 5), (64, 64), [(4, 4)]).shape == (5, 4, 4)  # nine tokens before: the patches' grid tells
    assert placed(torch.rand(1, 40, 5), (224, 224), [(2, 2)]).shape == (5, 6, 6)


def test_lite0_is_guided_through_its_relu6():
    box = boxed(timm_module("tf_efficientnet_lite0"), 64)
    x = torch.rand(3, 64, 64)
    made = GuidedGradCam(box).explain(x, 1)
    assert (made.notes["layer"], made.notes["grid"], made.queries) == ("bn2", [2, 2], 1)
    assert made.notes["rectifiers"] == sum(isinstance(m, nn.ReLU6) for m in box.module.modules()) > 30
    assert made.saliency.max() > 0


def timm_module(name):
    return __import__("timm").create_model(name, num_classes=3).eval()


def test_folded_batch_norms_change_nothing(net, x):
    folded = copy.deepcopy(net)
    folded.conv2, folded.bn2 = fuse_conv_bn_eval(folded.conv2, folded.bn2), nn.Identity()
    for method in CAMS:
        plain, fused = (method(boxed(module)).explain(x, 1) for module in (net, folded))
        assert plain.notes == fused.notes
        torch.testing.assert_close(plain.saliency, fused.saliency)


@pytest.mark.parametrize("method", METHODS)
def test_module_is_left_as_it_was(net, x, method):
    box = boxed(net)
    net = box.module  # the one that runs
    net.conv1.requires_grad_(False)
    net.act1.train()
    net.fc.weight.grad = torch.full_like(net.fc.weight, 7)

    def state():
        flags = {name: p.requires_grad for name, p in net.named_parameters()}
        slopes = {name: None if p.grad is None else p.grad.sum().item() for name, p in net.named_parameters()}
        hooks = [len(h) for m in net.modules() for h in (m._forward_hooks, m._forward_pre_hooks, m._backward_hooks)]
        return {name: m.training for name, m in net.named_modules()}, flags, slopes, hooks

    before, weights = state(), copy.deepcopy(net.state_dict())
    made = method(box).explain(x, 1)
    assert state() == before
    assert all(torch.equal(value, weights[name]) for name, value in net.state_dict().items())
    assert not made.saliency.requires_grad
    assert torch.equal(method(box).explain(x, 1).saliency, made.saliency)


@pytest.mark.parametrize("method", METHODS)
def test_hooks_go_when_the_module_fails(x, method):
    box = boxed(nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3)))
    box.module[2].forward = lambda _: 1 / 0
    with pytest.raises(ModelError, match="ZeroDivisionError"):
        method(box).explain(x, 1)
    assert all(not m._forward_hooks for m in box.module.modules())


@pytest.mark.parametrize("method", METHODS)
def test_rows_are_those_the_module_saw(net, x, method):
    box = boxed(net)
    explainer, calls = method(box), box.module.calls
    calls.clear()
    made = explainer.explain(x, 1)
    assert made.queries == sum(calls) == explainer.rows_needed(x) == ROWS.get(method, 1)
    assert max(calls) <= 8  # memory: never all noisy copies or steps at once
    explainer = method(box).again(budget=ROWS.get(method, 1))
    assert explainer.explain(x, 1).queries == made.queries
    with pytest.raises(BudgetExceeded):
        explainer.explain(x, None)


@pytest.mark.parametrize("method", METHODS)
def test_only_noise_depends_on_the_seed(net, x, method):
    first, second = (method(boxed(net), seed=seed).explain(x, 1).saliency for seed in (0, 1))
    assert torch.equal(first, second) == method.deterministic
    assert not torch.allclose(first, method(boxed(net)).explain(x, 0).saliency)


@pytest.mark.parametrize("method", METHODS)
def test_box_without_a_module_is_refused(method):
    asked = []
    box = from_function(lambda rows: asked.append(rows) or rows.mean((2, 3)).softmax(1), size=(16, 16))
    with pytest.raises(InputError, match="gradients are wanted"):
        method(box)
    assert asked == []


@pytest.mark.parametrize("method", METHODS)
def test_unknown_class_is_named_after_the_first_answer(x, method):
    box = from_torch(Net().eval(), ImageInput((16, 16)), MEAN, STD, None)
    with pytest.raises(InputError, match=r"target=3 is no class.*ids 0 to 2"):
        method(box).explain(x, 3)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("looks", [True, False])
def test_constant_module_gives_a_flat_map(x, method, looks):
    module = Net().eval()
    module.fc.weight.data.zero_()
    if not looks:
        conv = module.conv1
        module = nn.Sequential(conv, Lambda(lambda rows: torch.tensor([[1.0, 2.0, 3.0]]).repeat(len(rows), 1)))
    made = method(boxed(module)).explain(x, 1)
    assert made.saliency.max() == made.saliency.min()
    assert "same for all" in made.warnings[0]


def test_probabilities_are_differentiated_as_they_are(net, x):
    soft = nn.Sequential(net, nn.Softmax(1))
    made = Gradient(boxed(soft, outputs="probabilities")).explain(x, 1)
    torch.testing.assert_close(made.saliency, by_hand(soft, x, 1).abs().amax(0))
    assert made.score == pytest.approx(soft(normalised(x[None]))[0, 1].item(), abs=1e-6)
    assert made.notes["scores"] == "probabilities"


@pytest.mark.parametrize("method", CAMS)
def test_unknown_layer_names_near_ones(net, method):
    with pytest.raises(InputError, match=r"layer=covn2 is no layer of Net: did you mean.*conv2"):
        method(boxed(net), layer="covn2")


def test_layers_without_places_are_named(net, x):
    with pytest.raises(InputError, match="layer=fc gives nothing of the kind: wanted"):
        GradCam(boxed(net), layer="fc").explain(x, 1)
    with pytest.raises(InputError, match="no layer of the module gives a map"):
        GradCam(boxed(nn.Sequential(nn.Flatten(), nn.Linear(768, 3)))).explain(x, 1)
    numbered = nn.Sequential(nn.Conv2d(3, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert GradCam(boxed(numbered), layer=0).explain(x, 1).notes["layer"] == "0"  # `layer=0` is a number in YAML
    with pytest.raises(InputError, match=r"layer=1 gives \(1, 3, 1, 1\)"):
        GradCam(boxed(numbered), layer=1).explain(x, 1)


@pytest.mark.parametrize(
    ("method", "values", "message"),
    [
        (SmoothGrad, {"n": 0}, "n=0"),
        (SmoothGrad, {"sigma": -0.1}, "sigma=-0.1"),
        (IntegratedGradientsMap, {"steps": 0}, "steps=0"),
        (IntegratedGradientsMap, {"baseline": 1.5}, "baseline=1.5"),
    ],
)
def test_bad_values_are_named(net, method, values, message):
    with pytest.raises(InputError, match=message):
        method(boxed(net), **values)


def test_unknown_channels_are_named():
    with pytest.raises(InputError, match="channels=max: choose one of absmax, abs_sum, sum"):
        check_channels("max")
