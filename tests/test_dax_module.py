"""Networks, their joint training, and what an explanation keeps of it."""

import inspect
import os
import signal
from functools import partial

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from hydra import compose, initialize_config_dir
from lightning_utilities.core.rank_zero import rank_zero_only
from pytorch_lightning.callbacks import TQDMProgressBar
from torch import nn

from dax_lightning import progress
from dax_lightning.errors import InputError
from dax_lightning.explainers.dax import (
    CnnStudent,
    CounterfactualLoss,
    Dax,
    Learner,
    MaskNetwork,
    MlpStudent,
    Optim,
    SparseLoss,
    Split,
    Training,
    lightning_trainer,
)
from dax_lightning.explainers.dax.data import Batch
from dax_lightning.explainers.dax.module import DaxModule
from dax_lightning.game.subsets import Perturber
from dax_lightning.run.config import build
from dax_lightning.segment.grid import Grid
from dax_lightning.testing import QuarterBox, QuarterModel, ToyBox
from tests.conftest import ROOT

TERMS = {CounterfactualLoss: {"total", "mse", "counterfactual"}, SparseLoss: {"total", "mse", "l1", "kl"}}
QUICK = {"max_epochs": 4, "split": Split(batch_size=16), "lr_student": 0.005}
PLAIN = Split()
NOTHING = {"lr_mask": 1e-12, "lr_student": 1e-12}  # learning rates with which nothing is learned


class NoiseModel(QuarterModel):
    """Answers that are different for every row and follow nothing that can be learned."""

    def scores(self, x):
        noise = (x.double() * torch.arange(x[0].numel()).view(x.shape[1:])).sum((1, 2, 3)).mul(997).sin().abs().float()
        return torch.stack([noise, 1 - noise, torch.zeros_like(noise)], 1)


class Spy(nn.Module):
    """A student that keeps what it is shown."""

    def __init__(self, student):
        super().__init__()
        self.student, self.seen = student, []

    def forward(self, masked):
        self.seen.append(masked.detach().clone())
        return self.student(masked)


def dax_of(black_box=None, q=100, training=None, trainer=None, **settings):
    told, loss = training_of(trainer=trainer, **(training or {})), settings.pop("loss", None)
    return Dax(black_box or QuarterBox(), Grid(4, 4), Perturber(fill="zeros"), loss, Learner(**settings), told, q)


def training_of(max_epochs=2, split=PLAIN, patience=5, trainer=None, **optim):
    trainer = lightning_trainer(**{"max_epochs": max_epochs, "accelerator": "cpu", **(trainer or {})})
    return Training(trainer, Optim(**optim), split, patience)


@pytest.fixture
def copies():
    return torch.rand(6, 3, 28, 28, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture
def batch(copies):
    random = torch.Generator().manual_seed(1)
    kept = torch.rand(6, 1, 28, 28, generator=random)
    return Batch(copies, kept, torch.randn(6, generator=random), torch.rand(6, generator=random) + 0.5)


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


# --- networks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"place": 0}, {"centred": False}, {"kernel": 7, "hidden": 32, "place": 0}])
@pytest.mark.parametrize("size", [(28, 28), (9, 40)])
def test_mask_is_in_0_1_and_one_a_copy(settings, size):
    mask = MaskNetwork(3, **settings)(torch.randn(4, 3, *size))
    assert mask.shape == (4, 1, *size)
    assert mask.min() > 0
    assert mask.max() < 1
    assert mask.std() > 0


@pytest.mark.parametrize("centred", [True, False])
def test_centred_logits_have_mean_zero_in_every_copy(copies, centred):
    network = MaskNetwork(3, centred=centred)
    dict(network.named_parameters())["net.2.bias"].data.fill_(3.0)
    dict(network.named_parameters())["place"].data.normal_()
    means = network(copies).logit().mean((1, 2, 3))
    assert (means.abs() < 1e-4).all() == centred
    assert centred or means.min() > 1


@pytest.mark.parametrize("place", [0, 14])
def test_only_a_place_map_tells_places_apart(copies, place):
    network = MaskNetwork(3, place=place, centred=False)
    if network.place is not None:
        network.place.data.normal_()
    shifted = network(copies.roll((5, 3), (2, 3)))[..., 7:-2, 5:-2]  # two 3 x 3 kernels see two cells to each side
    expected = network(copies).roll((5, 3), (2, 3))[..., 7:-2, 5:-2]
    assert torch.allclose(shifted, expected, atol=1e-5) == (place == 0)


def test_a_mask_depends_on_its_own_copy_alone(copies):
    network = MaskNetwork(3)
    torch.testing.assert_close(network(copies)[2:3], network(copies[2:3]))


@pytest.mark.parametrize("student", [MlpStudent, CnnStudent])
@pytest.mark.parametrize("size", [(28, 28), (4, 4), (12, 31)])
def test_students_give_one_score_a_copy(student, size):
    network = student(channels=4, size=size).eval()
    masked = torch.randn(5, 4, *size)
    scores = network(masked)
    assert scores.shape == (5,)
    assert scores.std() > 0
    torch.testing.assert_close(network(masked[1:2]), scores[1:2])


def test_too_many_poolings_are_named():
    with pytest.raises(InputError, match=r"3 poolings leave nothing of 4x4 cells"):
        CnnStudent(channels=3, size=(4, 4), widths=(8, 8, 8))


@pytest.mark.parametrize("make", [partial(MaskNetwork, kernel=4), partial(MaskNetwork, place=-1), partial(MaskNetwork, hidden=0)])
def test_bad_mask_networks_are_named(make):
    with pytest.raises(InputError, match="mask_network"):
        make(3)


# --- the module --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [CounterfactualLoss(ceiling=None), SparseLoss()])
@pytest.mark.parametrize("student", [MlpStudent, CnnStudent])
def test_gradient_reaches_every_part_of_both_networks(batch, loss, student):
    module = DaxModule(MaskNetwork(3, centred=False), student(channels=4, size=(28, 28)), loss)
    module.terms(batch)[0]["total"].backward()
    parts = dict(module.named_parameters())
    assert {name.split(".")[0] for name in parts} == {"mask_network", "student"}
    assert not [name for name, part in parts.items() if part.grad is None or not part.grad.any()]


@pytest.mark.parametrize("sees_kept", [True, False])
def test_v2_shows_the_student_the_mask_and_its_complement(batch, sees_kept):
    spy = Spy(MlpStudent(channels=3 + sees_kept, size=(28, 28)))
    module = DaxModule(MaskNetwork(3), spy, CounterfactualLoss(), sees_kept=sees_kept)
    mask = module(batch.copies)
    whole = torch.cat([batch.copies, batch.kept], 1) if sees_kept else batch.copies
    module.terms(batch)
    kept, rest = spy.seen
    torch.testing.assert_close(kept, whole * mask)
    torch.testing.assert_close(rest, whole * (1 - mask))


@pytest.mark.parametrize("loss", [SparseLoss(), CounterfactualLoss(lam3=0.0)])
def test_without_its_term_the_student_is_never_asked_about_the_complement(batch, loss):
    spy = Spy(MlpStudent(channels=4, size=(28, 28)))
    module = DaxModule(MaskNetwork(3), spy, loss)
    module.terms(batch)
    (kept,) = spy.seen
    torch.testing.assert_close(kept, torch.cat([batch.copies, batch.kept], 1) * module(batch.copies))


def test_terms_are_the_losss_own_on_the_students_answers(batch):
    module = DaxModule(MaskNetwork(3), MlpStudent(channels=4, size=(28, 28)), CounterfactualLoss()).eval()
    mask = module(batch.copies)
    kept, rest = (module.score(batch.copies, batch.kept, part) for part in (mask, 1 - mask))
    terms, answers = module.terms(batch)
    torch.testing.assert_close(answers, kept)
    torch.testing.assert_close(module.answers(batch.copies, batch.kept), kept)
    torch.testing.assert_close(terms, CounterfactualLoss()(kept, rest, batch.teacher, mask, batch.weight))


def test_only_probabilities_pass_a_sigmoid(batch):
    mask, student = MaskNetwork(3), MlpStudent(channels=4, size=(28, 28)).eval()
    scores = {s: DaxModule(mask, student, SparseLoss(), space=s).eval().terms(batch)[1] for s in ("log_odds", "probability")}
    torch.testing.assert_close(scores["log_odds"].sigmoid(), scores["probability"])


@pytest.mark.parametrize(("name", "kind"), [("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)])
def test_each_network_has_its_own_learning_rate(name, kind):
    module = DaxModule(
        MaskNetwork(3), MlpStudent(4, (28, 28)), SparseLoss(), optim=Optim(0.3, 0.2, weight_decay=0.1, optimizer=name)
    )
    made = module.configure_optimizers()
    assert type(made) is kind
    mask, student = made.param_groups
    assert (mask["lr"], mask["weight_decay"], student["lr"], student["weight_decay"]) == (0.3, 0.0, 0.2, 0.1)
    assert {id(p) for p in mask["params"]} == {id(p) for p in module.mask_network.parameters()}
    assert {id(p) for p in student["params"]} == {id(p) for p in module.student.parameters()}
    assert name == "adamw" or (student["momentum"], student["nesterov"]) == (0.9, True)


# --- training ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [CounterfactualLoss(), SparseLoss()])
def test_history_has_every_term_each_epoch(noisy_image, loss):
    made = dax_of(loss=loss, training={"max_epochs": 3}).explain(noisy_image, 0)
    named = {f"{stage}_{term}" for stage in ("train", "val") for term in TERMS[type(loss)]}
    assert [set(epoch) for epoch in made.notes["history"]] == [named | {"epoch", "fidelity"}] * 3
    assert [epoch["epoch"] for epoch in made.notes["history"]] == [0, 1, 2]
    assert made.notes["fidelity"] == made.notes["history"][-1]["fidelity"]
    for epoch in made.notes["history"]:
        weights = {"mse": 1.0, "counterfactual": -0.5, "l1": 0.001, "kl": 0.02}
        for stage in ("train", "val"):
            total = sum(weight * epoch.get(f"{stage}_{term}", 0) for term, weight in weights.items())
            assert epoch[f"{stage}_total"] == pytest.approx(total, abs=1e-5)


def test_history_is_this_epochs_and_fidelity_that_of_the_held_out_copies(noisy_image):
    made = dax_of(training={"max_epochs": 2, "lr_mask": 1e-12, "lr_student": 1e-12}).explain(noisy_image, 0)
    first, second = made.notes["history"]
    for name in ("val_total", "val_mse", "fidelity"):  # nothing moves, and validation has no dropout
        assert first[name] == pytest.approx(second[name], abs=1e-6)
    moving = dax_of().explain(noisy_image, 0).notes["history"]
    assert all(moving[0][name] != moving[1][name] for name in ("val_total", "train_total", "fidelity"))


def test_an_epoch_that_ends_early_tells_its_own_means(noisy_image):
    """Three steps an epoch; the second one ends after its first step."""
    portions = {"split": Split(batch_size=30)}
    whole, cut = (
        dax_of(training=portions, trainer=more).explain(noisy_image, 0).notes["history"] for more in ({}, {"max_steps": 4})
    )
    assert len(whole) == len(cut) == 2
    assert cut[0]["train_total"] == whole[0]["train_total"]
    assert cut[1]["train_total"] not in (cut[0]["train_total"], whole[1]["train_total"])


def test_one_mask_an_epoch_and_the_last_is_the_map(noisy_image):
    made = dax_of(training={"max_epochs": 3}).explain(noisy_image, 0)
    assert made.epochs is not None
    assert made.notes["epochs"] == len(made.notes["history"]) == 3
    assert made.epochs.shape == (3, 28, 28)
    assert not torch.equal(made.epochs[0], made.epochs[1])
    torch.testing.assert_close(made.saliency, enlarged(made.epochs[-1]))


def test_average_epochs_is_the_mean_of_the_last_masks(noisy_image):
    last, two, many = (dax_of(q=64, training={"max_epochs": 3}, average_epochs=n).explain(noisy_image, 0) for n in (1, 2, 100))
    assert two.epochs is not None
    assert last.epochs is not None
    assert torch.equal(two.epochs, last.epochs)
    torch.testing.assert_close(two.saliency, enlarged(last.epochs[1:].mean(0)))
    torch.testing.assert_close(many.saliency, enlarged(last.epochs.mean(0)))
    assert not torch.allclose(two.saliency, last.saliency)


@pytest.mark.parametrize("patience", [1, 3])
def test_training_stops_when_the_held_out_loss_no_longer_falls(noisy_image, patience):
    made = dax_of(q=64, training={"max_epochs": 20, "patience": patience, **NOTHING}).explain(noisy_image, 0)
    assert made.notes["epochs"] == 1 + patience


def test_training_goes_on_while_it_learns(noisy_image):
    assert dax_of(training={"max_epochs": 4, "patience": 1}).explain(noisy_image, 0).notes["epochs"] == 4


@pytest.mark.parametrize("student", [MlpStudent, partial(CnnStudent, widths=(8, 8), hidden=32)], ids=["mlp", "cnn"])
def test_students_of_probabilities_learn_too(noisy_image, student):
    made = dax_of(q=150, targets="probability", student=student, training=QUICK).explain(noisy_image, 0)
    history = made.notes["history"]
    assert history[-1]["train_mse"] < history[0]["train_mse"]
    assert made.notes["fidelity"] > 0.3
    assert 0 <= made.score <= 1


def test_sgd_learns_too(noisy_image):
    made = dax_of(q=150, training={**QUICK, "optimizer": "sgd", "lr_student": 0.01}).explain(noisy_image, 0)
    assert made.notes["fidelity"] > 0.3


def test_map_is_the_same_whatever_the_thread_count_which_is_left_as_it_was(noisy_image):
    before = torch.get_num_threads()
    try:
        maps = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            maps.append(dax_of().explain(noisy_image, 0).saliency)
            assert torch.get_num_threads() == threads
        assert torch.equal(*maps)
    finally:
        torch.set_num_threads(before)


def test_training_has_one_thread_and_gives_the_others_back_after_an_error(noisy_image, monkeypatch):
    counted = []

    def fail(*_):
        counted.append(torch.get_num_threads())
        raise RuntimeError("planted")

    before = torch.get_num_threads()
    monkeypatch.setattr(DaxModule, "training_step", fail)
    try:
        torch.set_num_threads(2)
        with pytest.raises(RuntimeError, match="planted"):
            dax_of().explain(noisy_image, 0)
        assert torch.get_num_threads() == 2
        assert counted == [1]
    finally:
        torch.set_num_threads(before)


def test_gradients_switched_off_outside_do_not_matter(noisy_image):
    with torch.no_grad():
        made = dax_of().explain(noisy_image, 0)
    assert torch.equal(made.saliency, dax_of().explain(noisy_image, 0).saliency)


# --- Lightning's Trainer ------------------------------------------------------------------------------------------------


CLUSTER = {
    "SLURM_NTASKS": "4",
    "SLURM_JOB_ID": "17",
    "SLURM_JOB_NAME": "train",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "0",
    "RANK": "1",
    "LOCAL_RANK": "1",
    "WORLD_SIZE": "4",
    "PL_TRAINER_MAX_EPOCHS": "1",
    "PL_TRAINER_PRECISION": "bf16-true",
    "PL_TRAINER_GRADIENT_CLIP_VAL": "1e-9",
    "PL_TRAINER_DEVICES": "4",
}


def test_variables_of_a_cluster_change_nothing(noisy_image, monkeypatch):
    alone = dax_of().explain(noisy_image, 0).saliency
    for name, value in CLUSTER.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(rank_zero_only, "rank", 1)  # what Lightning takes from them when it is imported
    assert torch.equal(dax_of().explain(noisy_image, 0).saliency, alone)
    assert getattr(rank_zero_only, "rank") == 1  # noqa: B009
    assert {name: os.environ.get(name) for name in CLUSTER} == CLUSTER


def test_settings_of_the_trainer_are_lightnings(noisy_image):
    class Counts(pl.Callback):
        starts = 0

        def on_train_start(self, trainer, pl_module):
            self.starts += 1
            assert self.starts == 1, "one callback an explanation"
            told.append((trainer.gradient_clip_val, trainer.accumulate_grad_batches, type(trainer.accelerator).__name__))

    told = []
    dax = dax_of(trainer={"gradient_clip_val": 0.5, "accumulate_grad_batches": 2, "callbacks": Counts()})
    for _ in range(2):
        dax.explain(noisy_image, 0)
    assert told == [(0.5, 2, "CPUAccelerator")] * 2


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: training_of(trainer={"accelerator": "abacus"}), "trainer: Lightning refuses its settings: .*accelerator"),
        (lambda: training_of(trainer={"precision": "x"}), "trainer: Lightning refuses its settings: Precision 'x'"),
        (lambda: training_of(trainer={"devices": 2}), r"trainer.devices=2, .*one explanation trains on one device"),
        (lambda: training_of(max_epochs=0), "trainer.max_epochs=0: it must be at least 1"),
        (lambda: training_of(patience=0), "training.patience=0"),
        (lambda: Optim(lr_mask=0.0), "optim.lr_mask=0.0: it must be positive"),
        (lambda: Optim(weight_decay=-1.0), "optim.weight_decay=-1.0: wanted 0 or more"),
        (lambda: Split(val_share=1.0), r"training.split.val_share=1.0: wanted a share in \(0, 1\)"),
        (lambda: Split(batch_size=0), "training.split.batch_size=0"),
    ],
)
def test_what_cannot_train_is_told_before_anything_is_asked(make, told):
    with pytest.raises(InputError, match=told):
        make()


def test_a_limit_within_the_first_epoch_is_told(noisy_image):
    with pytest.raises(InputError, match=r"training ended before its first epoch: raise trainer\.max_steps"):
        dax_of(training={"split": Split(batch_size=8)}, trainer={"max_steps": 1}).explain(noisy_image, 0)


@pytest.mark.parametrize(("device", "index"), [("auto", 0), ("cuda", 0), ("cuda:1", 1)])
def test_a_gpu_is_lightnings_with_the_same_index(monkeypatch, device, index):
    class Spy(pl.Trainer):
        def __init__(self, **settings):
            super().__init__(**settings)
            made.append(self.strategy.root_device)

    made = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr("lightning_fabric.accelerators.cuda.num_cuda_devices", lambda: 2)
    Training(partial(Spy, accelerator="auto", devices=1), device=device)
    Training(partial(Spy, accelerator="gpu", devices=[1]), device="cpu")
    Training(partial(Spy, accelerator="cpu", devices=1), device=device)
    assert made == [torch.device("cuda", index), torch.device("cuda", 1), torch.device("cpu")]


def test_ctrl_c_in_training_stays_ctrl_c(noisy_image, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(DaxModule, "training_step", interrupted)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        dax_of().explain(noisy_image, 0)
    assert signal.getsignal(signal.SIGINT) is handler


def test_the_configuration_trains_as_the_classes_do_by_themselves():
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        made = build(compose("config", ["device=cpu"]).training, "training")
        faster = build(compose("config", ["trainer.max_epochs=7"]).training, "training")
    plain = Training(device="cpu")
    unset = inspect.signature(pl.Trainer).parameters
    told = {name: value for name, value in made.trainer.keywords.items() if value != unset[name].default}
    assert told == {k: v for k, v in plain.trainer.keywords.items() if k != "accelerator"} | {"enable_progress_bar": True}
    assert (made.split, made.patience, made.device) == (plain.split, plain.patience, "cpu")
    assert made.optim == plain.optim
    assert faster.trainer.keywords["max_epochs"] == 7


# --- progress ----------------------------------------------------------------------------------------------------------


def test_without_a_terminal_training_tells_its_steps_in_lines(monkeypatch, noisy_image, capfd):
    monkeypatch.setattr(progress, "EVERY", 0.0)
    made = dax_of(q=100, training={"max_epochs": 3, "split": Split(batch_size=10)}).explain(noisy_image, 0)
    lines = [line for line in capfd.readouterr().err.splitlines() if "training" in line]
    steps = 3 * 9  # of the 100 copies 10 are held out
    assert made.notes["epochs"] == 3
    assert [line.split(",")[0] for line in lines] == [f"  training: {step} of {steps}" for step in range(1, steps + 1)]


def test_a_training_of_unknown_length_tells_its_steps_alone(monkeypatch, noisy_image, capfd):
    monkeypatch.setattr(progress, "EVERY", 0.0)
    dax_of(training={"max_epochs": -1, "patience": 1, **NOTHING}).explain(noisy_image, 0)
    lines = [line for line in capfd.readouterr().err.splitlines() if "training" in line]
    assert lines[:2] == ["  training: 1", "  training: 2"]


def test_where_a_person_watches_training_has_a_bar_unless_it_is_unwanted(monkeypatch, noisy_image, capfd):
    monkeypatch.setattr(progress, "watched", lambda: True)
    dax_of().explain(noisy_image, 0)
    shown = capfd.readouterr().err
    assert "training:" in shown
    assert "queries:" in shown
    dax_of(trainer={"enable_progress_bar": False}).explain(noisy_image, 0)
    assert "training" not in capfd.readouterr().err


def test_a_bar_of_lightnings_own_takes_its_place(monkeypatch, noisy_image, capfd):
    monkeypatch.setattr(progress, "EVERY", 0.0)
    dax_of(trainer={"callbacks": [TQDMProgressBar()]}).explain(noisy_image, 0)
    out, err = capfd.readouterr()
    assert "Epoch 1" in out + err
    assert "training:" not in err


# --- doubts ------------------------------------------------------------------------------------------------------------


def test_a_student_that_learned_nothing_is_said_with_its_r2_and_what_to_try(noisy_image):
    made = dax_of(ToyBox(NoiseModel()), q=600, training={"max_epochs": 3}).explain(noisy_image, 0)
    assert made.notes["fidelity"] < 0.1
    (warning,) = made.warnings
    assert f"R² on held-out copies is {made.notes['fidelity']:.2f}, under 0.1" in warning
    for advice in ("perturber.kept_share=", "q=1800", "segmenter"):
        assert advice in warning
    assert "log_odds" not in warning  # it is what was used


def test_the_threshold_of_doubt_is_a_setting(noisy_image):
    trusting, doubting = (dax_of(training=QUICK, min_fidelity=f).explain(noisy_image, 0) for f in (0.3, 1.0))
    assert trusting.notes["fidelity"] == doubting.notes["fidelity"] > 0.3
    assert trusting.warnings == ()
    assert "under 1," in doubting.warnings[0]


def test_too_few_held_out_copies_to_tell_are_a_doubt_too(noisy_image):
    one = Split(val_share=0.01)  # held-out copy has no variance to explain
    made = dax_of(q=16, training={"max_epochs": 1, "split": one}).explain(noisy_image, 0)
    assert made.notes["fidelity"] is None
    assert len(made.warnings) == 1


# --- the paper's choices -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["v1", "v2"])
def test_the_papers_preset_runs_and_stays_finite(noisy_image, loss):
    chosen = ["experiment=paper", f"loss={loss}", "optim.optimizer=sgd"]
    small = ["segmenter=grid", "q=100", "trainer.max_epochs=2", "training.split.batch_size=16", "device=cpu"]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = compose("config", [*chosen, *small])
    assert (cfg.explainer.learner.targets, cfg.explainer.learner.sees_kept, cfg.mask_network.place) == ("probability", False, 0)
    made = build(cfg.explainer, "explainer", black_box=QuarterBox()).explain(noisy_image, 0)
    assert made.notes["epochs"] == 2
    assert all(torch.isfinite(torch.tensor(list(epoch.values()))).all() for epoch in made.notes["history"])
    assert 0 < made.saliency.min() <= made.saliency.max() < 1


def enlarged(mask):
    return F.interpolate(mask[None, None], size=(32, 32), mode="bilinear", align_corners=False)[0, 0]
