"""Every explainer on every kind of input: photographs, 1 and 12 channels, spectrograms, waves, texts, table rows."""

from functools import partial

import pytest
import torch

from dax_lightning.black_box import ImageInput, from_torch
from dax_lightning.errors import InputError
from dax_lightning.explainers.base import KINDS as KNOWN
from dax_lightning.explainers.dax import CnnStudent, CounterfactualLoss, Dax, Learner, SparseLoss, Training, lightning_trainer
from dax_lightning.explainers.dax.dame import Dame
from dax_lightning.explainers.gradient.saliency import Gradient, InputXGradientMap, IntegratedGradientsMap, SmoothGrad
from dax_lightning.explainers.masking.hsic import Hsic
from dax_lightning.explainers.masking.occlusion import Occlusion
from dax_lightning.explainers.masking.rise import Rise
from dax_lightning.explainers.masking.sobol import Sobol
from dax_lightning.explainers.mosaic import MosaicDax
from dax_lightning.explainers.rivals.mosaic import LimeOnMosaic, RidgeOnMosaic, RiseOnMosaic
from dax_lightning.explainers.shapley.kernel_shap import KernelShap
from dax_lightning.explainers.shapley.partition import PartitionShap
from dax_lightning.explainers.shapley.shapiq import Shapley
from dax_lightning.explainers.surrogate.forest import Forest
from dax_lightning.explainers.surrogate.greedy import Greedy
from dax_lightning.explainers.surrogate.lime import Lime
from dax_lightning.explainers.surrogate.student import StudentLime, StudentRise
from dax_lightning.game.subsets import Perturber
from dax_lightning.segment.grid import Grid
from dax_lightning.segment.mosaic import Mosaic
from dax_lightning.segment.time import Time
from dax_lightning.segment.tokens import Tokens
from dax_lightning.testing import KINDS, HalvesModel, ToyBox, toy_box, toy_input
from dax_lightning.types import Sound
from tests.contract.test_explainers import EXPLAINERS, class_of

QUICK = Training(lightning_trainer(max_epochs=6))
SHORT = Training(lightning_trainer(max_epochs=2))
ON_SEGMENTS = {
    "lime": Lime,
    "shap": KernelShap,
    "shapley": Shapley,
    "forest": partial(Forest, trees=30),
    "greedy": Greedy,
    "student_lime": partial(StudentLime, training=QUICK),
}
ON_MOSAICS = {
    "dax": MosaicDax,
    "ridge_mosaic": RidgeOnMosaic,
    "lime_mosaic": LimeOnMosaic,
    "rise_mosaic": RiseOnMosaic,
}
WITH_SPACE = {
    "dax_v1": partial(Dax, loss=SparseLoss(), training=SHORT),
    "dax_v2": partial(Dax, loss=CounterfactualLoss(), training=SHORT),
    "dame": partial(Dame, training=SHORT),
}
ZEROS = Perturber(fill="zeros")
RATES = {"recording": 8000, "(time,)": 100}


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def parts_of(kind):
    """A segmenter and a mosaic for a toy."""
    if kind in ("tokens", "table row"):
        return Tokens(), Mosaic(Tokens(), [], [])
    if kind == "(time,)":
        return Time(10), Mosaic(Time(10), [Time(6)], [])
    return Grid(4, 4), Mosaic(Grid(4, 4), [Grid(2, 3)], [])


def explained(make, kind, parts, target):
    box = toy_box(kind)
    made = make(box, parts, Perturber(fill="zeros", weight="uniform"), q=200).explain(toy_input(kind), target)
    assert made.queries == box.seen == box.queries
    return made


def finds_the_halves(make, kind, parts):
    """The map of either class is higher on its own half, and has the input's own places."""
    for target, sign in ((0, 1), (1, -1)):
        made = explained(make, kind, parts, target)
        saliency = made.saliency
        assert saliency.shape == toy_input(kind).shape[1:]
        half = len(saliency) // 2
        assert sign * (saliency[:half].mean() - saliency[half:].mean()) > 0
    assert torch.equal(explained(make, kind, parts, 1).saliency, saliency)


@pytest.mark.parametrize("name", ON_SEGMENTS)
def test_methods_on_segments_find_the_halves(name, kind):
    finds_the_halves(ON_SEGMENTS[name], kind, parts_of(kind)[0])


@pytest.mark.parametrize("name", ON_MOSAICS)
def test_methods_on_mosaics_find_the_halves(name, kind):
    finds_the_halves(ON_MOSAICS[name], kind, parts_of(kind)[1])


@pytest.mark.parametrize("name", WITH_SPACE)
def test_the_papers_dax_takes_what_has_space(name, kind):
    """That their masks find a truth is tested on photographs (test_explainers.py)."""
    if KINDS[kind].has_space:
        made = explained(WITH_SPACE[name], kind, parts_of(kind)[0], 0)
        assert made.saliency.shape == toy_input(kind).shape[1:]
        assert made.saliency.max() > made.saliency.min()
        assert torch.equal(explained(WITH_SPACE[name], kind, parts_of(kind)[0], 0).saliency, made.saliency)
    else:
        with pytest.raises(InputError, match=rf"takes image, spectrogram, wave, and this model takes a {KINDS[kind].kind}"):
            WITH_SPACE[name](toy_box(kind))


@pytest.mark.parametrize("kind", RATES)
@pytest.mark.parametrize("name", ON_SEGMENTS | ON_MOSAICS | WITH_SPACE)
def test_what_a_map_of_sound_keeps_and_removes_adds_up(name, kind):
    """With the default parts of a sound, pieces of time; each row that the model saw is counted."""
    box = toy_box(kind)
    sound = Sound(torch.rand(1, 400 if kind == "(time,)" else 5000, generator=torch.Generator().manual_seed(0)) / 2, RATES[kind])
    made = (ON_SEGMENTS | ON_MOSAICS | WITH_SPACE)[name](box, perturber=ZEROS, q=200).explain(box.input.of_sound(sound), 0)
    assert made.queries == box.seen == box.queries
    kept, removed = box.input.split(sound, (made.saliency > made.saliency.mean()).float())
    assert torch.allclose(kept.wave + removed.wave, sound.wave, atol=1e-6)
    assert min(part.wave.abs().max() for part in (kept, removed)) > 0.05


BY_TILES = partial(StudentRise, segmenter=Grid(4, 4), training=QUICK)  # that its map finds a truth is tested on photographs


@pytest.mark.parametrize("make", [Rise, Occlusion, Hsic, Sobol, PartitionShap, BY_TILES])
def test_methods_of_planes_find_the_first_half_and_count_their_rows(make, kind):
    if len(KINDS[kind].shape) == 3:
        box, x = toy_box(kind), toy_input(kind)
        made = make(box, q=200).explain(x, 0)
        assert made.queries == box.seen == box.queries
        assert made.saliency.shape == x.shape[1:]
        half = x.shape[1] // 2
        assert make is BY_TILES or made.saliency[:half].mean() > made.saliency[half:].mean()
    else:
        with pytest.raises(InputError, match=r"takes image, spectrogram, and.*explainer=dax, lime or shap"):
            make(toy_box(kind))


@pytest.mark.parametrize("kind", RATES)
@pytest.mark.parametrize("make", [Gradient, SmoothGrad, IntegratedGradientsMap, InputXGradientMap])
def test_gradients_of_a_module_of_sound(make, kind):
    """The module's first class hears the first half of the time."""
    x = toy_input(kind)
    half = x.shape[-1] // 2
    module = FirstHalf(half)
    made = make(from_torch(module, KINDS[kind], classes=["first", "second"], device="cpu")).explain(x, 0)
    assert made.saliency.shape == x.shape[1:]
    assert made.saliency[..., :half].abs().mean() > 10 * made.saliency[..., half:].abs().mean()


@pytest.mark.parametrize("make", [IntegratedGradientsMap, InputXGradientMap])
def test_what_gradients_add_up_to_is_counted_from_silence(make):
    x, kind = toy_input("recording"), KINDS["recording"]
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(x.numel(), 2))
    made = make(from_torch(module, kind, classes=["a", "b"], device="cpu")).explain(x, 1)
    gained = (module(x[None]) - module(torch.full_like(x[None], kind.low)))[0, 1].item()
    assert made.saliency.sum().item() == pytest.approx(gained, rel=1e-3)


class FirstHalf(torch.nn.Module):
    def __init__(self, half):
        super().__init__()
        self.half = half

    def forward(self, rows):
        first = rows[..., : self.half].square().flatten(1).mean(1)
        return torch.stack([first, torch.zeros_like(first)], 1)


def test_every_explainer_says_which_kinds_it_takes():
    for name in EXPLAINERS:
        kinds = class_of(name).kinds
        assert kinds
        assert set(kinds) <= set(KNOWN)


def test_the_default_parts_fit_every_kind(kind):
    """Nothing but a black box and an input is given."""
    made = MosaicDax(toy_box(kind), q=200).explain(toy_input(kind), 0)
    assert made.saliency.shape == toy_input(kind).shape[1:]


def test_convolutions_with_pooling_need_two_axes():
    with pytest.raises(InputError, match=r"student\.widths"):
        Dax(toy_box("(time,)"), Time(10), ZEROS, learner=Learner(student=CnnStudent), training=QUICK, q=50).explain(
            toy_input("(time,)"), 0
        )


@pytest.mark.parametrize("side", [28, 32, 48, 60])
@pytest.mark.parametrize("channels", [1, 3])
def test_small_photographs_work_by_default(side, channels):
    """Quick shift finds a single segment in many of these; others don't."""
    from skimage.data import astronaut

    picture = torch.from_numpy(astronaut()[: 4 * side : 4, : 4 * side : 4] / 255).float().permute(2, 0, 1)[:channels]
    input = ImageInput((side, side), channels=channels)
    made = MosaicDax(ToyBox(HalvesModel(input), input), q=300).explain(picture, 0)
    assert made.saliency.shape == (side, side)


@pytest.mark.parametrize("name", [*ON_SEGMENTS, *ON_MOSAICS, *WITH_SPACE])
def test_too_many_segments_of_ones_own_are_told_before_any_query(name):
    """Tables of their square would fill the memory."""
    input = ImageInput((65, 65))
    box = ToyBox(HalvesModel(input), input)
    make = {**ON_SEGMENTS, **ON_MOSAICS, **WITH_SPACE}[name]
    with pytest.raises(InputError, match=r"^\d+ segments: wanted at most 4096; choose a coarser segmenter"):
        make(box, q=10_000).explain(torch.rand(3, 65, 65), 0, segments=torch.arange(65 * 65).view(65, 65))
    assert box.seen == 0


def test_too_many_segments_in_all_partitions_are_told_before_any_query():
    box = toy_box("RGB")
    for make in (MosaicDax, RidgeOnMosaic):
        with pytest.raises(InputError, match=r"5120 segments: wanted at most 4096; choose"):
            make(box, Mosaic(Grid(32, 32), [Grid(32, 32)] * 4, [])).explain(toy_input("RGB"), 0)
    assert box.seen == 0
