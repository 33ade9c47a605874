"""The charts of a recording agree on where a second is."""

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from dax_lightning.inputs import LogMel, WaveInput, log_mel_input
from dax_lightning.plots.sounds import Recording
from dax_lightning.types import Explanation, Sound

RATE = 8000
FRONT = LogMel(rate=RATE, window=800, hop=400, bands=20)  # 50 ms a frame


@pytest.mark.parametrize("kind", [log_mel_input(FRONT), WaveInput(RATE)], ids=["spectrogram", "wave"])
def test_a_tone_from_second_1_to_second_2_is_drawn_there_in_every_chart(kind):
    at = torch.arange(3 * RATE) / RATE
    inside = (at >= 1) & (at < 2)
    sound = Sound((torch.sin(at * 2 * torch.pi * 500) * inside)[None], RATE)
    x = kind.of_sound(sound)
    middles = torch.arange(x.shape[-1]) * kind.step
    truth = ((middles >= 1) & (middles < 2)).expand(x.shape[1:])
    made = Explanation(truth.float(), 0, 1.0, 1, 0.0, x=x, sound=sound, step=kind.step, hertz=kind.hertz)
    figure = Figure(figsize=(10, 9))
    Recording(made, truth).draw(figure, 0.0)
    wave, *spectra, over_time = [axes for axes in figure.axes if axes.get_position().width > 0.5]
    for axes in (wave, *spectra, over_time):
        assert axes.get_xlim() == (0, 3)
    assert loud(wave.collections[0]) == pytest.approx((1, 2), abs=0.01)
    curve = np.asarray(over_time.lines[0].get_xydata())
    assert span(curve[curve[:, 1] > curve[:, 1].max() / 2, 0]) == pytest.approx((1, 2), abs=0.06)
    band = corners(over_time.collections[0])[:, 0]
    assert span(band) == pytest.approx((1, 2), abs=0.03)
    for axes in spectra[:2]:
        red = corners(axes.collections[0])[:, 0]
        assert span(red) == pytest.approx((1, 2), abs=0.03)
    for axes in spectra[:1]:
        picture = axes.images[0]
        left, right, *_ = picture.get_extent()
        dark = np.asarray(picture.get_array())[..., 1].min(0) < 0.5
        edges = np.linspace(left, right, len(dark) + 1)
        assert (edges[:-1][dark].min(), edges[1:][dark].max()) == pytest.approx((1, 2), abs=0.09)  # a window's half sees more


def test_the_region_is_a_bar_in_place_of_the_threshold():
    x, named = torch.randn(1, 20, 60), torch.zeros(20, 60).bool()
    named[3, 20:40] = True
    made = Explanation(torch.randn(20, 60), 0, 1.0, 1, 0.0, region=named, x=x, kind="spectrogram", step=0.05)
    figure = Figure(figsize=(10, 9))
    Recording(made, None).draw(figure, 0.0)
    over_time = [axes for axes in figure.axes if axes.get_position().width > 0.5][-1]
    assert "yellow bar: region" in over_time.get_title(loc="left")
    assert len(over_time.lines) == 1
    assert span(corners(over_time.collections[0])[:, 0]) == pytest.approx((0.975, 1.975))


def corners(filled):
    return np.asarray(filled.get_paths()[0].vertices)


def span(values):
    return values.min(), values.max()


def loud(filled):
    at = corners(filled)
    return span(at[np.abs(at[:, 1]) > 0.5, 0])
