"""Student first and DAME: what they learn, what they cost, and that they share their questions with the others."""

import colorsys

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from torch import nn

from dax_lightning.errors import InputError
from dax_lightning.explainers.dax import Dax, Learner, MaskNetwork, MlpStudent, Optim, SparseLoss, Training, lightning_trainer
from dax_lightning.explainers.dax.dame import ChannelMasks, Dame, half_in_hsv, hsv
from dax_lightning.explainers.dax.module import DaxModule, answers
from dax_lightning.explainers.surrogate.forest import Forest
from dax_lightning.explainers.surrogate.lime import Lime
from dax_lightning.explainers.surrogate.student import Open, StudentLime, StudentRise
from dax_lightning.game.subsets import Perturber, closeness
from dax_lightning.segment.grid import Grid
from dax_lightning.testing import QuarterBox

QUICK = Training(lightning_trainer(max_epochs=8), device="cpu")
PARTS = {"segmenter": Grid(4, 4), "perturber": Perturber(fill="zeros"), "q": 200}


def test_methods_on_the_same_copies_ask_only_once(noisy_image):
    box = QuarterBox()
    made = [
        Dax(box, training=QUICK, **PARTS),
        Dame(box, training=QUICK, **PARTS),
        StudentLime(box, training=QUICK, **PARTS),
        StudentRise(box, training=QUICK, **PARTS),
        Lime(box, **PARTS),
        Forest(box, **PARTS),
    ]
    with box.bank():
        queries = [explainer.explain(noisy_image, target).queries for explainer in made for target in (0, 1)]
    assert queries == [200] * 12
    assert box.seen == 200


@pytest.mark.parametrize("method", [StudentLime, StudentRise])
def test_the_student_tells_how_well_it_learned(method, noisy_image):
    made = method(QuarterBox(), training=QUICK, **PARTS).explain(noisy_image, 0)
    assert made.notes["fidelity"] > 0.5
    assert not made.notes["unfaithful"]
    doubted = method(QuarterBox(), training=QUICK, learner=Learner(min_fidelity=1.1), **PARTS).explain(noisy_image, 0)
    assert doubted.notes["unfaithful"]
    assert "the student learned too little: its R² on held-out copies is 0." in doubted.warnings[0]


class Pair(nn.Module):
    """A student that answers what two segments, at opposite corners, say together."""

    def __init__(self, channels, size):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, masked):
        shown = masked[:, -1]  # the share of each cell that was kept
        return self.bias + 4 * shown[:, 0, 0] * shown[:, -1, -1]


def test_student_lime_is_a_weighted_ridge_of_the_students_answers(noisy_image):
    unchanged = Training(lightning_trainer(max_epochs=1), Optim(lr_student=1e-30), device="cpu")
    made = StudentLime(QuarterBox(), training=unchanged, learner=Learner(student=Pair), copies=8000, **PARTS).explain(
        noisy_image, 0
    )
    kept = torch.rand(8000, 16, generator=torch.Generator().manual_seed(1)) < 0.5
    weight = closeness(kept, torch.zeros(16, dtype=torch.long)).double().numpy()
    answers = 4.0 * (kept[:, 0] & kept[:, 15]).double().numpy()
    weighted, alike = (Ridge().fit(kept.numpy(), answers, sample_weight=w).coef_ for w in (weight, None))
    assert np.abs(weighted - alike).max() > 0.15
    assert np.allclose(made.saliency[::8, ::8].flatten().numpy(), weighted, atol=0.08)


def test_student_rise_is_the_mean_answer_behind_its_masks():
    torch.manual_seed(0)
    module = DaxModule(Open(), MlpStudent(4, (8, 8)), SparseLoss()).eval()
    copies, kept = torch.rand(5, 3, 8, 8) * 2 - 1, torch.rand(5, 1, 8, 8)
    assert torch.equal(answers(module, copies, kept), module.student(torch.cat([copies, kept], 1)).detach())


@pytest.mark.parametrize(
    ("method", "wrong", "message"),
    [
        (StudentLime, {"copies": 2}, "copies=2"),
        (Learner, {"average_epochs": 0}, "average_epochs=0"),
        (Learner, {"resolution": 3}, "resolution=3"),
    ],
)
def test_bad_settings_are_named(method, wrong, message):
    with pytest.raises(InputError, match=message):
        method(**wrong) if method is Learner else method(QuarterBox(), **wrong)


# --- DAME ---


def test_hsv_is_colorsys():
    copies = torch.rand(2, 3, 3, 4, generator=torch.Generator().manual_seed(0)) * 2 - 1
    made = (hsv(copies) + 1) / 2
    pixels = [values.permute(0, 2, 3, 1).reshape(-1, 3) for values in (made, (copies + 1) / 2)]
    for pixel, expected in zip(*pixels, strict=True):
        assert torch.allclose(pixel, torch.tensor(colorsys.rgb_to_hsv(*expected.tolist())), atol=1e-5)


def test_about_half_of_a_batch_changes_its_colours_and_grey_inputs_none():
    torch.manual_seed(0)
    copies = torch.rand(400, 3, 2, 2) * 2 - 1
    changed = (half_in_hsv(copies) != copies).flatten(1).any(1)
    assert 150 < changed.sum() < 250
    grey = torch.rand(4, 1, 2, 2)
    assert torch.equal(half_in_hsv(grey), grey)


def test_each_channel_has_a_mask_of_its_own(noisy_image):
    torch.manual_seed(0)
    masks = ChannelMasks([MaskNetwork(3) for _ in range(3)], with_mean=True)(torch.rand(2, 3, 28, 28))
    assert not torch.allclose(masks[:, 0], masks[:, 1])
    assert torch.allclose(masks[:, 3], masks[:, :3].mean(1))
    made = Dame(QuarterBox(), training=QUICK, **PARTS).explain(noisy_image, 0)
    assert len(set(made.notes["channels"])) == 3
