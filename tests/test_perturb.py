"""Perturbed copies: what stays, what fills, what it costs."""

import numpy as np
import pytest
import torch
from lime.lime_image import LimeImageExplainer
from scipy.ndimage import gaussian_filter1d

from dax_lightning.errors import InputError
from dax_lightning.game.base import Game, game_of
from dax_lightning.game.fill import blurred, filled, painted
from dax_lightning.game.subsets import Perturber, closeness
from dax_lightning.testing import QuarterBox
from tests.conftest import HeldAnswers, untyped

X = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(1))
SEGMENTS = (torch.arange(64) // 16).view(8, 8)  # four stripes


def copies(perturber, n, seed=0):
    game = game_of(QuarterBox(8), X, SEGMENTS, perturber)
    kept = perturber.draw(n, game.level, torch.Generator().manual_seed(seed))
    return game.copies(kept), kept, perturber.closeness(kept, game.level)


def test_copy_0_is_the_input_and_the_others_follow_their_kept_row():
    inputs, kept, weight = copies(Perturber(fill="zeros"), 40)
    assert torch.equal(inputs[0], X)
    assert kept[0].all()
    assert weight[0] == 1
    for row, stays in zip(inputs, kept, strict=True):
        place = stays[SEGMENTS]
        assert torch.equal(row[:, place], X[:, place])
        assert not row[:, ~place].any()


def test_fills_by_hand():
    assert torch.equal(filled(X, SEGMENTS, "zeros"), torch.zeros_like(X))
    assert torch.allclose(filled(X, SEGMENTS, "image_mean")[:, 3, 3], X.mean((1, 2)))
    assert torch.allclose(filled(X, SEGMENTS, "segment_mean")[:, 0, 0], X[:, :2].mean((1, 2)), atol=1e-6)
    assert torch.allclose(filled(torch.full_like(X, 0.3), SEGMENTS, "blur"), torch.full_like(X, 0.3), atol=1e-6)
    soft = filled(X, SEGMENTS, "blur", blur_sigma=0.3)
    assert soft.std() < 0.5 * X.std()


def test_a_long_wave_is_blurred_as_a_library_does():
    x = torch.rand(2, 8000, generator=torch.Generator().manual_seed(0))
    whole = gaussian_filter1d(x.numpy(), 0.05 * 8000, mode="mirror", radius=1200)
    assert blurred(x, 0.05).numpy() == pytest.approx(whole, abs=1e-4)


@pytest.mark.parametrize(("share", "highest"), [(0.2, None), (0.8, None), (0.2, 0.8)])
def test_kept_share(share, highest):
    kept = copies(Perturber(kept_share=share, kept_share_max=highest), 4000)[1][1:].float()
    assert kept.mean().item() == pytest.approx(share if highest is None else 0.5, abs=0.02)
    independent = share * (1 - share) / 4  # variance of the share of four segments
    assert (kept.mean(1).var() > 1.3 * independent) == (highest is not None)


@pytest.mark.parametrize("partitions", [1, 3])
@pytest.mark.parametrize("n", [9, 10])
def test_pairs_keep_what_the_other_lost(partitions, n):
    level = torch.arange(partitions).repeat_interleave(6)
    kept = Perturber(kept_share=0.3, kept_share_max=0.7, pairs=True).subsets(n, level, torch.Generator().manual_seed(0))
    assert kept.shape == (n, len(level))
    firsts, seconds = kept[0::2][: n // 2], kept[1::2]
    assert not (firsts & seconds).any()
    assert ((firsts | seconds).sum(1) == 6).all()  # together all segments of one partition
    assert {level[row].unique().numel() for row in firsts | seconds} == {1}
    assert len({tuple(row.tolist()) for row in firsts}) > 1


@pytest.mark.parametrize("pairs", [False, True])
def test_the_first_copies_are_those_of_fewer_queries(pairs):
    level = torch.arange(3).repeat_interleave(20)
    few, many = (Perturber(pairs=pairs).draw(q, level, torch.Generator().manual_seed(0)) for q in (90, 200))
    assert torch.equal(few, many[:90])


def test_weights_are_limes():
    """The same rows through lime's own distance and kernel."""
    import sklearn.metrics

    kept = torch.rand(30, 7, generator=torch.Generator().manual_seed(0)) < 0.5
    kept[0] = True
    distance = sklearn.metrics.pairwise_distances(kept.numpy().astype(float), np.ones((1, 7)), metric="cosine").ravel()
    kernel = LimeImageExplainer(kernel_width=0.25).base.kernel_fn
    assert closeness(kept, torch.zeros(7, dtype=torch.long)).numpy() == pytest.approx(kernel(distance), abs=1e-6)


def test_copies_are_limes():
    """The same row of kept segments, painted by lime: segments that go become their mean colour."""
    image, segments = X.permute(1, 2, 0).numpy().astype(float), SEGMENTS.numpy()
    seen = []

    def classifier(rows):
        seen.extend(rows)
        return np.full((len(rows), 2), 0.5)

    kept, _ = LimeImageExplainer(random_state=0).data_labels(
        image, lime_fill(image, segments), segments, classifier, num_samples=10
    )
    ours = painted(X, filled(X, SEGMENTS, "segment_mean"), SEGMENTS, torch.from_numpy(kept).bool())
    assert np.stack(seen).transpose(0, 3, 1, 2) == pytest.approx(ours.numpy(), abs=1e-6)


def lime_fill(image, segments):
    fudged = image.copy()
    for s in np.unique(segments):
        fudged[segments == s] = [image[segments == s][:, c].mean() for c in range(3)]
    return fudged


def test_copies_are_streamed():
    """As many copies as the black box takes at a time are made at once, and no answer is held as a part of a batch's."""
    sizes = []

    def box():
        return HeldAnswers(lambda rows: rows.flatten(1)[:, :3].softmax(1), (8, 8), batch_size=8)

    class Watched(Game):
        def copies(self, kept):
            sizes.append(len(kept))
            return super().copies(kept)

    answers = Watched(box(), X, SEGMENTS, torch.zeros_like(X))(torch.ones(20, 4).bool())
    assert sizes == [8, 8, 4]
    assert answers.untyped_storage().nbytes() == answers.numel() * 4
    one = Game(box(), X, SEGMENTS, torch.zeros_like(X))(torch.ones(20, 4).bool(), only=1)
    assert torch.equal(one, answers[:, 1:2])
    assert one.untyped_storage().nbytes() == 20 * 4
    asked = box()
    Game(asked, X, SEGMENTS, torch.zeros_like(X))(torch.ones(80, 4).bool())
    assert len(asked.held) == 10
    assert max(asked.held) <= 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fill": "snow"}, "fill=snow: choose one of zeros, segment_mean"),
        ({"weight": "heavy"}, "weight=heavy: choose one of lime"),
        ({"kept_share": 0.0}, "kept_share=0.0: it is a chance"),
        ({"kept_share": 1.0}, "kept_share=1.0: it is a chance"),
        ({"kept_share": 0.6, "kept_share_max": 0.5}, "kept_share_max=0.5"),
        ({"blur_sigma": 0.0}, "blur_sigma=0.0"),
        ({"blur_sigma": float("inf")}, "blur_sigma=inf"),
    ],
)
def test_bad_settings(settings, message):
    with untyped(), pytest.raises(InputError, match=message):
        Perturber(**settings)


def test_one_segment_and_no_copies_are_refused():
    with pytest.raises(InputError, match="one single segment"):
        Perturber().draw(5, torch.zeros(1, dtype=torch.long), torch.Generator())
    with pytest.raises(InputError, match="q=0 copies"):
        Perturber().draw(0, torch.zeros(4, dtype=torch.long), torch.Generator())
