"""``attribute`` in the hands of Captum's and Quantus's metrics, on a network that looks at the top left quarter alone."""

import pytest
import torch
from captum.metrics import infidelity, sensitivity_max
from torch import nn

from dax_lightning.black_box import ImageInput, from_torch
from dax_lightning.errors import InputError
from dax_lightning.explainers.dax import Dax, Optim, Split, Training, lightning_trainer
from dax_lightning.explainers.masking.rise import Rise
from dax_lightning.explainers.random import Random
from dax_lightning.game.subsets import Perturber
from dax_lightning.segment.grid import Grid
from tests import pages

CHANCE = 0.25  # the quarter's share of the picture


def quarter_net():
    """Logits of "bright" and "dark" from the mean of the top left quarter; a real module with gradients."""
    net = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 2))
    weight = torch.zeros(2, 3, 2, 2)
    weight[0, :, 0, 0] = 2.0  # 6 times the quarter's mean
    net[2].weight.data, net[2].bias.data = weight.flatten(1), torch.tensor([0.0, 2.0])
    return net


@pytest.fixture(scope="module")
def inputs():
    return 0.5 + 0.5 * torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def box():
    return from_torch(quarter_net(), ImageInput((32, 32)), (0.0,) * 3, (1.0,) * 3, ("bright", "dark"))


@pytest.fixture(scope="module")
def dax(box):
    training = Training(lightning_trainer(max_epochs=8), Optim(0.05, 0.005), Split(batch_size=32), device="cpu")
    return Dax(box, Grid(4, 4), Perturber(fill="zeros"), training=training, q=200)


@pytest.fixture(scope="module")
def maps(dax, box, inputs):
    """Attributions of the class "bright", by explainer."""
    return {"dax": dax.attribute(inputs, target=0), "random": Random(box).attribute(inputs, target=0)}


def in_quarter(maps):
    return (maps[..., :16, :16].sum((1, 2, 3)) / maps.sum((1, 2, 3))).tolist()


def blocks(inputs):
    """One 8 x 8 block of each row is taken away: what is taken, and what is left."""
    where = torch.randint(4, (len(inputs), 2), generator=torch.Generator().manual_seed(0)) * 8
    taken = torch.zeros_like(inputs)
    for row, (y, x) in enumerate(where.tolist()):
        taken[row, :, y : y + 8, x : x + 8] = inputs[row, :, y : y + 8, x : x + 8]
    return taken, inputs - taken


# --- Captum ------------------------------------------------------------------------------------------------------------


def test_captums_infidelity_by_hand(box, inputs, maps):
    def everything(rows):
        return rows, torch.zeros_like(rows)

    made = infidelity(box, everything, inputs, maps["random"], target=0, n_perturb_samples=1)
    change = box(inputs)[:, 0] - box(torch.zeros_like(inputs))[:, 0]
    by_hand = ((inputs * maps["random"]).sum((1, 2, 3)) - change) ** 2
    torch.testing.assert_close(made, by_hand)


def test_captums_infidelity_is_lower_for_dax_than_for_noise(box, inputs, maps):
    scores = {
        name: infidelity(box, blocks, inputs, attributions, target=0, n_perturb_samples=40, normalize=True)
        for name, attributions in maps.items()
    }
    truth = torch.zeros_like(inputs)
    truth[..., :16, :16] = 1
    floor = infidelity(box, blocks, inputs, truth, target=0, n_perturb_samples=40, normalize=True)
    assert (floor < scores["dax"]).all()
    assert (scores["dax"] < 0.85 * scores["random"]).all()


def test_captums_sensitivity_by_hand(box, inputs):
    def darker(rows):
        return 0.9 * rows

    random = Random(box)
    made = sensitivity_max(random.attribute, inputs, darker, n_perturb_samples=1, target=0)
    before, after = random.attribute(inputs, target=0), random.attribute(0.9 * inputs, target=0)
    by_hand = (before - after).flatten(1).norm(dim=1) / before.flatten(1).norm(dim=1)
    torch.testing.assert_close(made, by_hand)
    same = sensitivity_max(random.attribute, inputs, lambda rows: rows, n_perturb_samples=2, target=0)
    assert same.tolist() == [0, 0]


def test_captums_own_perturbation_leaves_the_range_and_that_of_the_page_does_not(box, inputs):
    with pytest.raises(InputError, match=r"wanted \[0, 1\]"):
        sensitivity_max(Random(box).attribute, torch.ones_like(inputs), n_perturb_samples=1, target=0)
    (block,) = (block for block in pages.blocks("docs/outputs.md", "python") if "sensitivity_max" in block)
    space: dict = {"Rise": Rise, "model": box, "x": torch.ones_like(inputs[0])}
    exec(block.replace("target=281", "target=0"), space)
    assert space["worst"].item() > 0


def test_captum_runs_dax_itself(dax, inputs):
    def brighter(rows):
        return (rows * 1.001).clamp(max=1)

    made = sensitivity_max(dax.attribute, inputs[:1], brighter, n_perturb_samples=1, target=0)
    assert made.shape == (1,)
    assert 0 < made.item() < 1  # the same picture a shade brighter: another seed, much the same map


# --- Quantus -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def quantus():
    return pytest.importorskip("quantus", reason="Quantus is a development dependency")


def scored(metric, explainer, inputs):
    """Quantus calls ``attribute`` itself, on the torch module's inputs; the truth is the top left quarter."""

    def explain_func(inputs, targets, **_):
        return explainer.attribute(torch.as_tensor(inputs).float(), torch.as_tensor(targets)).mean(1, keepdim=True).numpy()

    truth = torch.zeros(len(inputs), 1, *inputs.shape[2:])
    truth[..., :16, :16] = 1
    return metric(
        model=quarter_net(),
        x_batch=inputs.numpy(),
        y_batch=torch.zeros(len(inputs), dtype=torch.long).numpy(),
        s_batch=truth.numpy(),
        explain_func=explain_func,
    )


@pytest.mark.parametrize("name", ["RelevanceMassAccuracy", "RelevanceRankAccuracy"])
def test_quantus_scores_dax_above_noise(quantus, name, box, dax, inputs):
    metric = getattr(quantus, name)
    plain = {"abs": False, "normalise": False, "disable_warnings": True, "display_progressbar": False}
    found = scored(metric(**plain), dax, inputs)
    assert min(found) > max(CHANCE, *scored(metric(**plain), Random(box), inputs))


def test_quantus_mass_is_ours_by_hand(quantus, dax, inputs, maps):
    metric = quantus.RelevanceMassAccuracy(abs=False, normalise=False, disable_warnings=True, display_progressbar=False)
    assert scored(metric, dax, inputs) == pytest.approx(in_quarter(maps["dax"]), abs=1e-5)
