"""Perturbed copies: what stays, what fills, what it costs."""

import numpy as np
import pytest
import torch
from lime.lime_image import LimeImageExplainer

from dax_lightning.errors import InputError
from dax_lightning.perturb import Perturber, closeness, filled, painted

X = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(1))
SEGMENTS = (torch.arange(64) // 16).view(8, 8)  # four stripes


def copies(perturber, n, seed=0):
    batches = list(perturber(X, SEGMENTS, n, torch.Generator().manual_seed(seed)))
    return tuple(torch.cat([getattr(b, name) for b in batches]) for name in ("inputs", "kept", "weight"))


def test_copy_0_is_the_input_and_the_others_follow_their_kept_row():
    inputs, kept, weight = copies(Perturber(fill="zeros", batch_size=5), 40)
    assert torch.equal(inputs[0], X)
    assert kept[0].all()
    assert weight[0] == 1
    for row, stays in zip(inputs, kept, strict=True):
        place = stays[SEGMENTS]
        assert torch.equal(row[:, place], X[:, place])
        assert not row[:, ~place].any()


def test_batch_size_changes_no_copy():
    for small, large in zip(copies(Perturber(batch_size=3), 50), copies(Perturber(batch_size=64), 50), strict=True):
        assert torch.equal(small, large)


def test_fills_by_hand():
    assert torch.equal(filled(X, SEGMENTS, "zeros"), torch.zeros_like(X))
    assert torch.allclose(filled(X, SEGMENTS, "image_mean")[:, 3, 3], X.mean((1, 2)))
    assert torch.allclose(filled(X, SEGMENTS, "segment_mean")[:, 0, 0], X[:, :2].mean((1, 2)), atol=1e-6)
    assert torch.allclose(filled(torch.full_like(X, 0.3), SEGMENTS, "blur"), torch.full_like(X, 0.3), atol=1e-6)
    blurred = filled(X, SEGMENTS, "blur", blur_sigma=0.3)
    assert blurred.std() < 0.5 * X.std()


@pytest.mark.parametrize(("share", "highest"), [(0.2, None), (0.8, None), (0.2, 0.8)])
def test_kept_share(share, highest):
    kept = copies(Perturber(kept_share=share, kept_share_max=highest), 4000)[1][1:].float()
    assert kept.mean().item() == pytest.approx(share if highest is None else 0.5, abs=0.02)
    independent = share * (1 - share) / 4  # variance of the share of four segments
    assert (kept.mean(1).var() > 1.3 * independent) == (highest is not None)


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
    """A billion copies would fill any memory: the first batch comes at once because the others are not made yet."""
    batches = Perturber(batch_size=8)(X, SEGMENTS, 10**9, torch.Generator())
    assert len(next(batches).inputs) == 8


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fill": "snow"}, "fill=snow: choose one of zeros, segment_mean"),
        ({"weight": "heavy"}, "weight=heavy: choose one of lime"),
        ({"kept_share": 0.0}, "kept_share=0.0: it is a chance"),
        ({"kept_share": 1.0}, "kept_share=1.0: it is a chance"),
        ({"kept_share": 0.6, "kept_share_max": 0.5}, "kept_share_max=0.5"),
        ({"blur_sigma": 0.0}, "blur_sigma=0.0"),
        ({"batch_size": 0}, "batch_size=0"),
    ],
)
def test_bad_settings(settings, message):
    import jaxtyping

    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        with pytest.raises(InputError, match=message):
            Perturber.__post_init__(_raw(settings))
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


def _raw(settings):
    """A Perturber with these values, past the type checks that only tests have."""
    made = object.__new__(Perturber)
    for name, value in {**vars(Perturber()), **settings}.items():
        object.__setattr__(made, name, value)
    return made


def test_one_segment_and_no_copies_are_refused():
    with pytest.raises(InputError, match="one single segment"):
        list(Perturber()(X, torch.zeros(8, 8, dtype=torch.long), 5, torch.Generator()))
    with pytest.raises(InputError, match="q=0 copies"):
        list(Perturber()(X, SEGMENTS, 0, torch.Generator()))
