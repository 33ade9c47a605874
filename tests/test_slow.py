"""What takes minutes on the real black box: ``make test-slow``."""

import pytest
from PIL import Image

from dax_lightning import Dax, Photo, lite0
from dax_lightning.metrics.localisation import pointing, top_share
from tests.conftest import ROOT

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("seed", [0, 1])
def test_the_default_map_lies_on_the_cat(seed):
    """On the whole photograph, of which the cat is three quarters."""
    black_box = lite0(crop="squash")
    case = Photo(black_box)[0]
    with Image.open(ROOT / "tests" / "data" / "chelsea_cat.png") as drawn:
        truth = black_box.view.labels(drawn.convert("L")) > 127
    made = Dax(black_box, seed=seed).explain(case.x, case.target)
    assert not made.warnings
    assert pointing(made.saliency, truth) > 0.9
    assert top_share(made.saliency, truth) > 0.8
    assert top_share(1 - made.saliency, truth) < 0.75  # what the mask leaves out is not the cat
