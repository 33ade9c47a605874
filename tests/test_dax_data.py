"""Copies at the networks' resolution, the scale of the answers, and what is asked, stored and served."""

import math

import pytest
import torch
import torch.nn.functional as F

from dax_lightning.black_box import from_function
from dax_lightning.errors import InputError
from dax_lightning.explainers.dax.data import PerturbationDataModule, PooledCopies, Serving, Split, Targets
from dax_lightning.game.base import check_space, game_of, log_odds
from dax_lightning.game.fill import filled, painted
from dax_lightning.game.subsets import Perturber, level_of
from dax_lightning.segment.grid import Grid
from dax_lightning.testing import QuarterBox

FILLS = ["zeros", "segment_mean", "image_mean", "blur"]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def scene(height, width, count=7, seed=0):
    """An input, a ragged partition, and a few rows of kept segments."""
    x = torch.rand(3, height, width, generator=generator(seed))
    segments = torch.randint(count, (height, width), generator=generator(seed + 1)).unique(return_inverse=True)[1]
    kept = torch.rand(5, int(segments.max()) + 1, generator=generator(seed + 2)) < 0.5
    kept[0] = True
    return x, segments, kept


def module_of(black_box=None, q=60, seed=0, x=None, **settings):
    size = (black_box := black_box or QuarterBox()).input.shape[-1] or 32
    x = torch.rand(3, size, size, generator=generator(9)) if x is None else x
    perturber = settings.pop("perturber", Perturber(fill="zeros"))
    game = game_of(black_box, x, Grid(4, 4)(x), perturber)
    return PerturbationDataModule(game, perturber, target=0, q=q, generator=generator(seed), serving=Serving(**settings))


@pytest.fixture
def served(quarter_box):
    module = module_of(quarter_box, resolution=16)
    module.setup()
    return module


# --- pooling -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize(("height", "width", "resolution"), [(32, 32, 8), (24, 36, 12), (16, 16, 16), (12, 12, 28), (6, 20, 10)])
def test_pooled_copies_are_the_painted_copies_average_pooled(fill, height, width, resolution):
    x, segments, kept = scene(height, width)
    background = filled(x, segments, fill)
    pool = PooledCopies(x, background, segments, resolution)
    copies, share = pool(kept)
    size = (min(resolution, height), min(resolution, width))
    assert pool.size == size
    really_painted = painted(x, background, segments, kept)
    torch.testing.assert_close((copies + 1) / 2, F.adaptive_avg_pool2d(really_painted, size), atol=1e-5, rtol=1e-5)
    really_kept = F.adaptive_avg_pool2d(kept[:, segments][:, None].float(), size)
    torch.testing.assert_close(share, really_kept, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("height", "width", "resolution"), [(30, 30, 7), (11, 17, 5), (224, 224, 28), (29, 31, 28)])
def test_where_the_size_does_not_divide_a_cell_is_the_pixels_that_fall_into_it(height, width, resolution):
    x, segments, kept = scene(height, width)
    background = filled(x, segments, "segment_mean")
    copies, share = PooledCopies(x, background, segments, resolution)(kept)
    really_painted, really_kept = painted(x, background, segments, kept), kept[:, segments].float()
    for row in range(resolution):
        rows = [i for i in range(height) if i * resolution // height == row]
        for column in (0, resolution // 2, resolution - 1):
            columns = [i for i in range(width) if i * resolution // width == column]
            pixels = really_painted[:, :, rows][..., columns]
            torch.testing.assert_close((copies[:, :, row, column] + 1) / 2, pixels.mean((2, 3)), atol=1e-5, rtol=1e-5)
            part = really_kept[:, rows][..., columns].mean((1, 2))
            torch.testing.assert_close(share[:, 0, row, column], part, atol=1e-5, rtol=1e-5)


def test_nothing_and_everything_kept():
    x, segments, _ = scene(20, 20)
    pool = PooledCopies(x, torch.zeros_like(x), segments, 10)
    copies, share = pool(torch.stack([torch.ones(7, dtype=torch.bool), torch.zeros(7, dtype=torch.bool)]))
    torch.testing.assert_close(copies[0], F.avg_pool2d(x, 2) * 2 - 1)
    torch.testing.assert_close(share[0], torch.ones(1, 10, 10))
    assert (copies[1] == -1).all()
    assert not share[1].any()


# --- the scale of the answers ------------------------------------------------------------------------------------------


def test_log_odds_by_hand_and_kept_from_infinity():
    assert log_odds(torch.tensor([0.5, 0.9, 0.1])).tolist() == pytest.approx([0, math.log(9), -math.log(9)], abs=1e-5)
    ends = log_odds(torch.tensor([0.0, 1.0]))
    assert ends.tolist() == pytest.approx([-16.118, 16.118], abs=1e-3)


def test_log_odds_have_weighted_mean_0_and_std_1():
    probability, weight = torch.rand(50, generator=generator()), torch.rand(50, generator=generator(1)) + 0.1
    scaled = Targets.fit(log_odds(probability), weight)(log_odds(probability))
    share = weight / weight.sum()
    mean = (share * scaled).sum()
    assert mean.item() == pytest.approx(0, abs=1e-5)
    assert (share * (scaled - mean) ** 2).sum().sqrt().item() == pytest.approx(1, abs=1e-5)
    assert torch.equal(scaled.argsort(), probability.argsort())


def test_targets_by_hand():
    # log-odds log 3 and -log 3 with weights 3 and 1: mean log(3) / 2, std log(3) * sqrt(3) / 2
    targets = Targets.fit(log_odds(torch.tensor([0.75, 0.25])), torch.tensor([3.0, 1.0]))
    assert (targets.mean, targets.std) == pytest.approx((math.log(3) / 2, math.log(3) * 3**0.5 / 2))
    assert targets(torch.tensor([0.0])).item() == pytest.approx(-1 / 3**0.5)


def test_probabilities_stay_as_they_are():
    module = module_of(q=40, space="probability")
    module.setup()
    assert torch.equal(module.teacher, module.probability)


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_constant_answers_do_not_divide_by_zero(value):
    answers = log_odds(torch.full((5,), value))
    scaled = Targets.fit(answers, torch.ones(5))(answers)
    assert scaled.abs().max() < 2  # rounding of the mean over the least std


def test_unknown_scale_is_named():
    check_space("log_odds")
    with pytest.raises(InputError, match=r"explainer.targets=logodds: choose one of log_odds, probability"):
        check_space("logodds")


# --- the data module ---------------------------------------------------------------------------------------------------


def test_black_box_is_asked_q_rows_once(quarter_box):
    module = module_of(quarter_box, q=53)
    assert quarter_box.seen == 0
    module.setup()
    module.setup("fit")
    assert quarter_box.seen == quarter_box.queries == 53
    for _ in range(2):
        list(module.train_dataloader())
        list(module.val_dataloader())
    assert quarter_box.seen == 53
    assert len(module.probability) == len(module.kept) == len(module.weight) == 53


def test_stored_answers_are_the_black_boxs_to_the_painted_copies(served):
    copies = painted(served.x, torch.zeros_like(served.x), served.segments, served.kept)
    torch.testing.assert_close(served.probability, QuarterBox()(copies)[:, 0])
    torch.testing.assert_close(served.weight, Perturber().closeness(served.kept, level_of(served.segments, served.x)))
    assert served.score == pytest.approx(QuarterBox()(served.x[None])[0, 0].item())


@pytest.mark.parametrize(("q", "val_share", "held_out"), [(60, 0.1, 6), (60, 0.5, 30), (11, 0.9, 9), (3, 0.1, 1), (11, 0.99, 9)])
def test_split_is_by_copies_disjoint_and_always_trains_on_the_input(q, val_share, held_out):
    for seed in range(5):
        module = module_of(q=q, seed=seed, split=Split(val_share=val_share))
        module.setup()
        train, val = module.train_rows.tolist(), module.val_rows.tolist()
        assert sorted(train + val) == list(range(q))
        assert len(val) == held_out
        assert 0 in train
        assert module.kept[0].all()


def test_split_depends_on_the_seed_alone():
    rows = []
    for seed in (0, 0, 1):
        torch.rand(3)  # what ran before does not matter
        module = module_of(seed=seed)
        module.setup()
        rows.append(module.val_rows.tolist())
    assert rows[0] == rows[1] != rows[2]


def test_scale_and_weights_are_those_of_the_training_copies(served):
    train = served.train_rows
    assert served.targets == Targets.fit(log_odds(served.probability[train]), served.weight[train])
    batches = list(served.train_dataloader())
    teacher, weight = torch.cat([b.teacher for b in batches]), torch.cat([b.weight for b in batches])
    assert weight.mean().item() == pytest.approx(1, abs=1e-5)
    assert (weight * teacher).mean().item() == pytest.approx(0, abs=1e-5)
    assert (weight * teacher**2).mean().item() == pytest.approx(1, abs=1e-5)


def test_every_copy_is_served_once_with_its_own_answer(served):
    copies, kept = served.pool(served.kept)
    teacher, weight = served.targets(log_odds(served.probability)), served.weight / served.weight[served.train_rows].mean()
    for rows, loader in ((served.train_rows, served.train_dataloader()), (served.val_rows, served.val_dataloader())):
        found = []
        for batch in loader:
            for copy, share, answer, closeness in zip(*batch, strict=True):
                row = int((copies - copy).abs().amax((1, 2, 3)).argmin())
                torch.testing.assert_close((copy, share, answer, closeness), (copies[row], kept[row], teacher[row], weight[row]))
                found.append(row)
        assert sorted(found) == sorted(rows.tolist())


def test_batches_have_the_size_asked_for():
    module = module_of(q=60, split=Split(batch_size=25))
    module.setup()
    assert [len(b.teacher) for b in module.train_dataloader()] == [25, 25, 4]


def test_order_of_batches_depends_on_the_generator_alone():
    orders = []
    for seed in (0, 0, 1):
        torch.manual_seed(len(orders))  # the global state is another one each time
        module = module_of(seed=seed)
        module.setup()
        loader = module.train_dataloader()
        orders.append([torch.cat([b.teacher for b in loader]).tolist() for _ in range(2)])
    assert orders[0] == orders[1] != orders[2]
    first, second = orders[0]
    assert first != second  # shuffled anew each epoch
    assert sorted(first) == sorted(second)


def test_input_batch_is_the_whole_input(served):
    batch = served.input_batch()
    torch.testing.assert_close(batch.copies[0], F.avg_pool2d(served.x, 2) * 2 - 1)
    torch.testing.assert_close(batch.kept, torch.ones(1, 1, 16, 16))
    assert batch.teacher.item() == pytest.approx(served.targets(log_odds(torch.tensor([served.score]))).item())


def test_only_kept_rows_and_answers_are_stored():
    large = []
    for size in (32, 96):
        module = module_of(QuarterBox(size), q=400)
        module.setup()
        grown = {name: value for name, value in vars(module).items() if isinstance(value, torch.Tensor) and len(value) >= 300}
        assert {name: tuple(value.shape) for name, value in grown.items()} == {
            "kept": (400, 16),
            "weight": (400,),
            "probability": (400,),
            "teacher": (400,),
            "train_rows": (360,),
        }
        stored = tensors_in([vars(module), vars(module.pool)])
        large.append(sum(t.numel() for t in stored if t is not module.x and t is not module.segments))
    assert large[0] == large[1]  # nine times the pixels, not one number more
    assert large[1] < 400 * 3 * 32 * 32 / 10


def test_the_black_box_never_gets_more_rows_at_once_than_it_takes():
    calls = []
    box = from_function(lambda rows: calls.append(len(rows)) or QuarterBox()(rows), size=(32, 32), batch_size=16)
    module_of(box, q=50).setup()
    assert calls == [16, 16, 16, 2]


def tensors_in(places):
    return [value for place in places for value in place.values() if isinstance(value, torch.Tensor)]
