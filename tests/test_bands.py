"""Pictures of any number of bands, and of other ranges than [0, 1]."""

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from skimage.data import chelsea
from torch import nn

from dax_lightning import ImageInput, MosaicDax, explain, from_function, from_torch
from dax_lightning.errors import InputError
from dax_lightning.tasks import Files
from tests.nets import small

BANDS = 12
FIELD = slice(8, 28), slice(36, 60)  # where band 7 is high


def reflectances() -> np.ndarray:
    """Twelve bands of 64 x 64 pixels, 0 to 10000, of type uint16; a field is high in band 7 alone."""
    values = np.random.default_rng(0).integers(800, 1200, (BANDS, 64, 64)).astype(np.uint16)
    values[(7, *FIELD)] = 9000
    return values


def vegetation(rows):
    """How bright band 7 is, squared: a mean over places says less than they do."""
    share = (6 * (rows[:, 7] / 10000).square().mean((1, 2))).clamp(0, 1)
    return torch.stack([share, 1 - share], 1)


def satellite() -> ImageInput:
    return ImageInput((64, 64), BANDS, low=0, high=10000)


def box_of(input, channels=BANDS):
    return from_function(vegetation, size=input, channels=channels, classes=["field", "other"])


@pytest.mark.parametrize("ending", ["npy", "tif", "last.tif"])
def test_reflectances_of_a_file_keep_their_values(tmp_path, ending):
    values, file = reflectances(), tmp_path / f"scene.{ending}"
    if ending == "npy":
        np.save(file, values)
    else:
        last = ending.startswith("last")
        tifffile.imwrite(file, np.moveaxis(values, 0, 2) if last else values, planarconfig="contig" if last else None)
    x = Files(box_of(satellite()), str(file), target="field")[0].x
    assert np.array_equal(x.numpy(), values)


def test_twelve_bands_are_explained_by_the_field(tmp_path):
    np.save(tmp_path / "scene.npy", reflectances())
    box = box_of(satellite())
    for method, q in (("dax", 300), ("lime", 300), ("rise", 300)):
        map = explain(box, tmp_path / "scene.npy", "field", method, q=q).saliency
        inside = torch.zeros(64, 64, dtype=torch.bool)
        inside[FIELD] = True
        assert map[inside].mean() > map[~inside].mean() + map.std(), method


@pytest.mark.parametrize("channels", [1, 3, 4, 12])
def test_any_number_of_channels_is_explained_and_shown(channels):
    input = ImageInput((48, 64), channels, low=-1, high=3)
    x = -1 + 4 * torch.rand(input.shape, generator=torch.Generator().manual_seed(0))
    made = MosaicDax(from_torch(small(channels=channels), input), q=100).explain(x, 0)
    assert made.saliency.shape == (48, 64)
    assert made.saliency.std() > 0
    assert input.show(x).size == (64, 48)
    assert np.asarray(input.show(torch.full(input.shape, 3.0))).min() == 255
    assert np.asarray(input.show(torch.full(input.shape, -1.0))).max() == 0


def test_a_photograph_is_scaled_to_the_range():
    plain, scaled = ImageInput((64, 64)), ImageInput((64, 64), low=-1, high=1)
    assert torch.allclose(scaled.prepare(chelsea()), 2 * plain.prepare(chelsea()) - 1, atol=1e-6)
    assert torch.allclose(scaled.image(Image.fromarray(chelsea())), 2 * plain.prepare(chelsea()) - 1, atol=1e-6)


def test_the_same_network_on_scaled_rows_has_nearly_the_same_map():  # other values, other random copies
    net = nn.Sequential(nn.Identity(), small())
    bytes_, shares = ImageInput((64, 64), high=255), ImageInput((64, 64))
    maps = [
        MosaicDax(box, q=200).explain(chelsea(), 0).saliency
        for box in (from_torch(net, shares), from_torch(net, bytes_, mean=0.0, std=255.0))
    ]
    assert maps[0].std() > 0.01
    assert torch.corrcoef(torch.stack([one.flatten() for one in maps]))[0, 1] > 0.9


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (np.full((12, 64, 64), 12000, np.uint16), r"values from 12000 to 12000, wanted \[0, 10000\]: declare .*high=12000"),
        (np.full((12, 64, 64), -3.0), r"values from -3 to -3, wanted \[0, 10000\]: declare their range, low=-3"),
        (np.full((12, 64, 64), np.nan), "NaN or infinite"),
        (np.zeros((5, 64, 64), np.uint16), r"shape \(5, 64, 64\), wanted 12 channels"),
    ],
)
def test_what_does_not_fit_is_told(values, told):
    with pytest.raises(InputError, match=told):
        satellite().prepare(values)


def test_files_that_do_not_fit_are_told(tmp_path):
    (tmp_path / "x.tif").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"x\.tif can't be read as a TIFF"):
        satellite().read(tmp_path / "x.tif")
    with pytest.raises(InputError, match="low=1, high=0: wanted two finite numbers, the lower first"):
        ImageInput((8, 8), low=1, high=0)


def test_black_is_the_lowest_value_where_zero_is_outside():
    assert ImageInput((2, 2), low=5, high=9).neutral(torch.zeros(3, 2, 2)).unique().tolist() == [5]
    assert ImageInput((2, 2), low=-1, high=1).neutral(torch.ones(3, 2, 2)).unique().tolist() == [0]


def test_a_larger_scene_is_cut_as_a_photograph_is():
    large = np.repeat(np.repeat(reflectances(), 2, 1), 2, 2)
    x = satellite().prepare(large)
    assert x.shape == (12, 64, 64)
    assert x[7].max() > 8000
    assert x.max() <= 10000
