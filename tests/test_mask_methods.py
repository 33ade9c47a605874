"""Occlusion, RISE, HSIC and Sobol against plain numpy, captum and scipy, on the rows that the model really saw."""

import re

import numpy as np
import pytest
import torch
from captum.attr import Occlusion as CaptumOcclusion
from scipy.stats import sobol_indices
from skimage.transform import resize

from dax_lightning.black_box import BlackBox, FunctionModel, ImageInput, from_function
from dax_lightning.errors import InputError
from dax_lightning.explainers.masking.base import check_fill
from dax_lightning.explainers.masking.hsic import Hsic, bandwidth, hsic
from dax_lightning.explainers.masking.occlusion import Occlusion
from dax_lightning.explainers.masking.rise import Rise, smooth_masks
from dax_lightning.explainers.masking.sobol import Sobol, design, total_order
from tests.conftest import HeldAnswers

METHODS = [Occlusion, Rise, Hsic, Sobol]
QUARTERS = {"top left": (0, 0), "top right": (0, 1), "bottom left": (1, 0), "bottom right": (1, 1)}
SIZE = (21, 35)  # cells of 3 x 5 places: up-sampling leaves the value of a cell at its middle
ONES = torch.ones(3, *SIZE)  # with fill=zeros the rows that the model sees are the masks themselves


def quarter(image, name):
    (row, column), (height, width) = QUARTERS[name], (s // 2 for s in image.shape[-2:])
    return image[..., row * height : (row + 1) * height, column * width : (column + 1) * width]


def wavy(rows):
    """Answers that depend on all places, for and against, and not in a straight line."""
    weight = torch.sin(torch.arange(rows[0].numel()).view(rows.shape[1:]) / 37.0)
    first = torch.tanh(3 * (rows * weight).sum((1, 2, 3)) / weight.abs().sum())
    return torch.softmax(torch.stack([3 * first, -first, torch.zeros_like(first)], 1), 1)


class Spy:
    """A black box that keeps the rows and answers it gave, and the most rows it was handed at once."""

    def __init__(self, function, size=SIZE):
        self.rows, self.given, self.most, spy = [], [], 0, self

        class Box(BlackBox):
            def __call__(self, x):
                spy.most = max(spy.most, len(x))
                return super().__call__(x)

        def kept(rows):
            self.rows.append(rows.clone())
            self.given.append(function(rows))
            return self.given[-1]

        self.box = Box(FunctionModel(kept), ImageInput(size), batch_size=16)

    def masks(self):
        """Masks and answers to class 0, without row 0."""
        return torch.cat(self.rows)[1:, 0].double().numpy(), torch.cat(self.given)[1:, 0].double().numpy()


def scaled(answers, targets):
    return np.log(answers / (1 - answers)) if targets == "log_odds" else answers


@pytest.mark.parametrize("method", METHODS)
def test_no_answer_is_held_as_a_part_of_a_batchs(method):
    """A view of the target's column would hold the answers of all classes."""
    box = HeldAnswers(wavy, SIZE, batch_size=16)
    method(box, q=300).explain(ONES, 0)
    assert len(box.held) > 10
    assert max(box.held) <= 2


@pytest.mark.parametrize("name", QUARTERS)
@pytest.mark.parametrize("method", METHODS)
def test_the_quarter_that_counts_is_found(method, name):
    def light(rows):
        share = 0.8 * quarter(rows, name).mean((1, 2, 3))
        return torch.stack([share, 1 - share], 1)

    saliency = method(from_function(light, size=SIZE), q=400).explain(ONES, 0).saliency
    means = {other: quarter(saliency, other).mean().item() for other in QUARTERS}
    assert max(means, key=lambda other: means[other]) == name
    assert quarter(saliency, name).max() == saliency.max()


@pytest.mark.parametrize("method", METHODS)
def test_rows_come_in_batches_however_many_and_are_the_same_for_every_target(method):
    spy = Spy(wavy)
    method(spy.box, q=300).explain(ONES, 0)
    first, spy.rows = torch.cat(spy.rows), []
    method(spy.box, q=300).explain(ONES, 1)
    assert torch.equal(torch.cat(spy.rows), first)
    assert torch.equal(first[0], ONES)
    assert spy.most == 16


@pytest.mark.parametrize("q", [60, 300, 1000])
@pytest.mark.parametrize("method", METHODS)
def test_rows_needed_are_the_rows_asked_and_no_more_than_q(method, q):
    explainer = method(from_function(wavy, size=SIZE), q=q)
    needed = explainer.rows_needed(ONES)
    assert explainer.explain(ONES, 0).queries == needed <= q
    if method in (Rise, Hsic):
        assert needed == q
    if method is Sobol:
        assert q - needed < 51


@pytest.mark.parametrize("targets", ["probability", "log_odds"])
@pytest.mark.parametrize("method", METHODS)
def test_answers_that_differ_by_rounding_alone_give_no_pattern(method, targets):
    def noisy(rows):
        first = 0.3 + 1e-7 * torch.sin(1e4 * rows.mean((1, 2, 3)))
        return torch.stack([first, 1 - first], 1)

    saliency = method(from_function(noisy, size=SIZE), q=200, targets=targets).explain(ONES, 0).saliency
    assert saliency.max() - saliency.min() < 1e-5


def test_fills_that_need_segments_are_refused():
    check_fill("blur")
    with pytest.raises(InputError, match="fill=segment_mean: choose one of zeros, image_mean, blur"):
        check_fill("segment_mean")


@pytest.mark.parametrize("method", METHODS)
def test_fill_shows_where_nothing_is_kept(method):
    x = torch.rand(3, *SIZE, generator=torch.Generator().manual_seed(1))
    seen = {}
    for fill in ("zeros", "image_mean"):
        spy = Spy(wavy)
        method(spy.box, q=200, fill=fill).explain(x, 0)
        seen[fill] = torch.cat(spy.rows)[1:].double()
    shown = (seen["zeros"] / x)[:, :1]  # the masks, the same for both
    mean = x.double().mean((1, 2)).view(1, 3, 1, 1)
    assert torch.allclose(seen["image_mean"], shown * x + (1 - shown) * mean, atol=1e-5)
    assert shown.min() < 0.02


@pytest.mark.parametrize("method", METHODS)
def test_too_few_rows_are_named(method):
    with pytest.raises(InputError, match="q=2 rows"):
        method(from_function(wavy, size=SIZE), q=2)


# Occlusion


@pytest.mark.parametrize("targets", ["probability", "log_odds"])
@pytest.mark.parametrize(("fill", "value"), [("zeros", 0), ("image_mean", None)])
@pytest.mark.parametrize(("window", "stride"), [(5, 3), (4, 4), (3, 1), (9, 5)])
def test_occlusion_is_captums(window, stride, fill, value, targets):
    x = torch.rand(3, 9, 12, generator=torch.Generator().manual_seed(1))
    value = x.mean((1, 2)).view(1, 3, 1, 1).expand(1, 3, 9, 12) if value is None else value
    theirs = CaptumOcclusion(lambda rows: torch.from_numpy(scaled(wavy(rows).double().numpy(), targets)))
    expected = theirs.attribute(x[None], (3, window, window), (3, stride, stride), baselines=value, target=1)[0, 0]
    box = from_function(wavy, size=(9, 12))
    ours = Occlusion(box, window=window, stride=stride, fill=fill, targets=targets).explain(x, 1).saliency
    assert torch.allclose(ours, expected.float(), atol=2e-6)
    assert np.ptp(ours.numpy()) > 3e-3


@pytest.mark.parametrize(
    ("size", "q"), [((224, 224), 1000), ((224, 224), 50), ((384, 384), 1000), ((21, 28), 60), ((28, 21), 100)]
)
def test_stride_is_the_smallest_that_fits(size, q):
    box, x = from_function(wavy, size=size), torch.ones(3, *size)
    window = min(size) // 7
    needed = [Occlusion(box, q=10**6, window=window, stride=s).rows_needed(x) for s in range(1, window + 1)]
    fitting = [n for n in needed if n <= q]
    if fitting:
        assert Occlusion(box, q=q, window=window).rows_needed(x) == fitting[0] == max(fitting)
    else:
        with pytest.raises(InputError, match=f"wanted q={needed[-1]}"):
            Occlusion(box, q=q, window=window).rows_needed(x)


@pytest.mark.parametrize("size", [(32, 32), (16, 100), (9, 12), (8, 8)])
@pytest.mark.parametrize("q", [50, 80, 1000])
def test_windows_by_default_fit_and_cover_all(size, q):
    spy = Spy(wavy, size)
    made = Occlusion(spy.box, q=q).explain(torch.ones(3, *size), 0)
    removed = 1 - spy.masks()[0]
    assert removed.sum(0).min() >= 1
    assert 16 <= made.queries <= q
    area = removed.sum((1, 2)).max()
    assert area == np.prod(made.notes["window"]) == -(-size[0] // 7) * -(-size[1] // 7)


def test_occlusion_of_what_speaks_against_the_target_is_negative(quarter_box):
    saliency = Occlusion(quarter_box).explain(torch.full((3, 32, 32), 0.6), 0).saliency
    assert saliency[2:12, 2:12].min() > 0
    assert saliency[20:30, 20:30].max() < 0
    assert saliency[20:30, 2:12].abs().max() < 1e-6


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"q": 12}, r"q=12 rows for so small a window and stride: wanted q=13"),
        ({"q": 40, "window": 3, "stride": 1}, r"wanted q=71"),
        ({"window": 3, "stride": 4}, r"stride=4 would leave gaps between windows of 3"),
        ({"window": 10}, r"window=10 for an input of 9 x 12"),
        ({"window": 0}, r"window=0"),
        ({"stride": 0}, r"stride=0"),
    ],
)
def test_windows_that_do_not_fit_are_named(settings, message):
    spy = Spy(wavy, size=(9, 12))
    with pytest.raises(InputError, match=message):
        Occlusion(spy.box, **{"window": 3, **settings}).explain(torch.ones(3, 9, 12), 0)
    assert not spy.rows


# RISE


@pytest.mark.parametrize("targets", ["probability", "log_odds"])
@pytest.mark.parametrize("kept_share", [0.5, 0.2])
def test_rise_is_five_plain_lines(kept_share, targets):
    spy = Spy(wavy)
    ours = Rise(spy.box, q=400, kept_share=kept_share, targets=targets).explain(ONES, 0).saliency.numpy()
    masks, answers = spy.masks()
    total = np.zeros(SIZE)
    for mask, answer in zip(masks, scaled(answers, targets), strict=True):
        total += answer * mask
    expected = total / len(masks) / masks.mean(0)
    assert np.allclose(ours, expected, atol=1e-5)
    assert np.ptp(ours) > 1e-2
    assert abs(masks.mean() - kept_share) < 0.02


def test_places_that_no_mask_shows_get_the_mean_answer():
    spy = Spy(wavy)
    ours = Rise(spy.box, q=4, kept_share=0.1).explain(ONES, 0).saliency.numpy()
    masks, answers = spy.masks()
    unseen = masks.max(0) == 0
    assert unseen.any()
    assert np.allclose(ours[unseen], answers.mean(), atol=1e-6)


@pytest.mark.parametrize("size", [(21, 28), (20, 33)])
def test_rise_masks_are_the_papers(size):
    generator = torch.Generator().manual_seed(0)
    grid, shift = (torch.rand(6, 7, 7, generator=generator) < 0.5).float(), torch.rand(6, 2, generator=generator)
    cell = [int(np.ceil(side / 7)) for side in size]
    for mask, cells, (down, right) in zip(smooth_masks(grid, shift, size), grid.numpy(), shift.tolist(), strict=True):
        whole = np.asarray(resize(cells, (8 * cell[0], 8 * cell[1]), order=1, mode="edge", anti_aliasing=False))
        top, left = int(down * cell[0]), int(right * cell[1])
        assert np.allclose(mask.numpy(), whole[top : top + size[0], left : left + size[1]], atol=1e-5)


# HSIC


def plain_hsic(column, answers):
    n = len(answers)
    distances = np.abs(answers[:, None] - answers)
    width = np.sort(distances[np.triu_indices(n, 1)])[(n * (n - 1) // 2 - 1) // 2]
    same, near, centre = column[:, None] == column, np.exp(-(distances**2) / (2 * width**2)), np.eye(n) - 1 / n
    return np.trace(same.astype(float) @ centre @ near @ centre) / (n - 1) ** 2


@pytest.mark.parametrize("targets", ["probability", "log_odds"])
def test_hsic_is_the_plain_one_with_diracs_kernel(targets):
    spy = Spy(wavy)
    made = Hsic(spy.box, q=250, targets=targets).explain(ONES, 0)
    masks, answers = spy.masks()
    cells = masks[:, 1::3, 2::5]
    assert set(np.unique(masks)) == {0, 1}
    assert np.array_equal(np.kron(cells, np.ones((1, 3, 5))), masks)
    expected = [[plain_hsic(cells[:, i, j], scaled(answers, targets)) for j in range(7)] for i in range(7)]
    assert np.allclose(made.saliency[1::3, 2::5], expected, rtol=1e-3, atol=1e-7)


def test_hsic_in_blocks_is_the_plain_one():
    generator = torch.Generator().manual_seed(0)
    kept = (torch.rand(600, 3, generator=generator) < 0.5).double()
    kept[:, 2] = 1
    answers = torch.rand(600, generator=generator).double() * (1 + kept[:, 0])
    expected = [plain_hsic(column, answers.numpy()) for column in kept.T.numpy()]
    assert np.allclose(hsic(kept, answers), expected, rtol=1e-6, atol=1e-12)
    assert expected[0] > 10 * expected[1]


def test_hsic_sees_a_change_of_spread_and_no_sign():
    generator = torch.Generator().manual_seed(0)
    kept = (torch.rand(900, 3, generator=generator) < 0.5).double()
    noise = torch.randn(900, generator=generator).double()
    spread, for_it = hsic(kept, noise * (1 + 4 * kept[:, 0])), hsic(kept, noise + 2 * kept[:, 1])
    assert spread.argmax() == 0
    assert torch.allclose(for_it, hsic(kept, -noise - 2 * kept[:, 1]))


def test_bandwidth_where_most_answers_are_equal_is_not_0():
    assert bandwidth(torch.tensor([1.0, 1.0, 1.0, 2.0])) == 0.5


# Sobol


def ishigami(rows):
    first, second, third = (2 * torch.pi * rows - torch.pi).T
    return torch.sin(first) + 7 * torch.sin(second) ** 2 + 0.1 * third**4 * torch.sin(first)


def test_sobol_indices_are_scipys_and_those_of_the_formula():
    n = 1024
    answers = ishigami(design(n, 3, seed=0))
    ours = total_order(answers, n)
    parts = {"f_A": answers[None, :n], "f_B": answers[None, n : 2 * n], "f_AB": answers[2 * n :].view(3, 1, n)}
    theirs = sobol_indices(func={name: part.numpy() for name, part in parts.items()}, n=n)
    assert np.allclose(ours, theirs.total_order, rtol=1e-6)
    assert np.allclose(ours, [0.5576, 0.4424, 0.2437], atol=0.02)  # Ishigami and Homma 1990, a = 7, b = 0.1


def test_sobol_finds_each_cells_share_of_the_variance():
    weight = torch.rand(7, 7, generator=torch.Generator().manual_seed(2))

    def weighed(rows):
        share = (rows[:, 0, 1::3, 2::5] * weight).sum((1, 2)) / weight.sum()
        return torch.stack([share, 1 - share], 1)

    found = Sobol(from_function(weighed, size=SIZE), q=4000).explain(ONES, 0).saliency
    expected = weight**2 / (weight**2).sum()
    assert np.corrcoef(found[1::3, 2::5].flatten(), expected.flatten())[0, 1] > 0.9
    assert found.min() >= 0


def test_sobol_designs_are_as_many_as_fit_and_another_seed_scrambles_anew():
    box = from_function(wavy, size=SIZE)
    assert [Sobol(box, q=q, cells=c).designs for q, c in ((1000, 8), (1000, 7), (52, 7), (102, 7), (103, 7))] == [15, 19, 1, 1, 2]
    with pytest.raises(InputError, match="one design takes q=52"):
        Sobol(box, q=51)
    assert not torch.equal(design(4, 3, seed=0), design(4, 3, seed=1))


def test_sobols_cells_are_bounded_as_segments_are():
    with pytest.raises(InputError, match=r"4225 segments: wanted at most 4096; lower explainer\.cells"):
        Sobol(from_function(wavy, size=SIZE), q=10_000, cells=65)
    Sobol(from_function(wavy, size=SIZE), q=10_000, cells=64)


@pytest.mark.parametrize("size", [(21, 35), (7, 9), (3, 3), (2, 40), (1, 12)])
@pytest.mark.parametrize("method", [Rise, Hsic, Sobol])
def test_more_cells_than_places_are_refused_and_what_is_proposed_works(method, size):
    box, cells = from_function(wavy, size=size), min(size) + 1
    with pytest.raises(InputError, match=f"cells={cells} for an input of {size[0]} x {size[1]}: wanted no more") as raised:
        method(box, q=700, cells=cells).explain(torch.ones(3, *size), 0)
    ((key, value),) = re.findall(r"; try explainer(\.cells)?=(\w+)$", str(raised.value))
    other = method(box, q=700, cells=int(value)) if key else {each.name: each for each in METHODS}[value](box)
    assert other.explain(torch.ones(3, *size), 0).saliency.shape == size
