"""Pieces of time, tiles and onsets."""

import pytest
import torch

from dax_lightning.errors import InputError
from dax_lightning.inputs import ImageInput, LogMel, SpectrogramInput, WaveInput, log_mel_input
from dax_lightning.segment.default import Default, mosaic_for, mosaic_on, segmenter_for
from dax_lightning.segment.image import Quickshift
from dax_lightning.segment.mosaic import Mosaic
from dax_lightning.segment.time import Onsets, Tiles, Time

FRONT = LogMel(rate=8000, window=256, hop=80, bands=24)  # 10 ms a frame
MEL, WAVE = log_mel_input(FRONT), WaveInput(8000)


@pytest.mark.parametrize(("kind", "shape", "each"), [(MEL, (1, 24, 100), 20), (WAVE, (1, 8000), 1600)])
def test_a_piece_is_as_long_as_it_says_whatever_the_rate(kind, shape, each):
    segments = Time(seconds=0.2).on(kind)(torch.zeros(shape))
    assert segments.shape == shape[1:]
    assert segments.flatten(0, -2)[0].bincount().tolist() == [each] * 5 if segments.ndim == 2 else [each] * 5
    assert segments.max() == 4


def test_tiles_part_time_and_bands():
    segments = Tiles(seconds=0.5, bands=3).on(MEL)(torch.zeros(1, 24, 100))
    assert segments.unique().tolist() == list(range(6))
    assert segments.flatten().bincount().tolist() == [8 * 50] * 6
    assert (segments[:8, :50] == 0).all()
    assert (segments[16:, 50:] == 5).all()


@pytest.mark.parametrize("kind", [MEL, WAVE])
def test_onsets_lie_where_the_sound_begins_and_ends(kind):
    wave = torch.zeros(8000)
    wave[2400:5600] = torch.sin(torch.arange(3200) / 3)
    x = FRONT(wave) if kind is MEL else wave[None]
    unit = kind.unit(x)
    segments = Onsets(pieces=3).on(kind)(unit).flatten(0, -2) if kind is MEL else Onsets(pieces=3).on(kind)(unit)[None]
    edges = segments[0].diff().nonzero()[:, 0] * kind.step
    assert edges.tolist() == pytest.approx([0.3, 0.7], abs=0.06)


def test_a_rate_that_is_not_known_is_told():
    with pytest.raises(InputError, match="a segmenter in seconds for an input whose rate is not known"):
        Time(seconds=0.2)(torch.zeros(1, 100))
    with pytest.raises(InputError, match=r"segmenter.seconds=0.0; wanted a finite number above 0"):
        Time(seconds=0.0)
    with pytest.raises(InputError, match=r"5 tiles above each other for 4 bands: try bands=4"):
        Tiles(bands=5, step=0.1)(torch.zeros(1, 4, 20))


def test_the_default_follows_the_kind_of_input():
    assert Default().on(ImageInput((64, 64))) == Quickshift()
    assert Default().on(MEL) == Time(seconds=0.2, step=0.01)
    assert segmenter_for(SpectrogramInput(24)) == Quickshift()
    assert len(mosaic_for(MEL)(torch.rand(1, 24, 200))) == 6
    assert len(mosaic_for(WAVE)(torch.rand(1, 16000))) == 5
    assert mosaic_on(Mosaic(Time(4), [], []), MEL)(torch.rand(1, 24, 200)).max() == 3
    with pytest.raises(InputError, match="segmenter=default is chosen by the kind of input"):
        Default()(torch.rand(3, 8, 8))
