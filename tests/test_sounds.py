"""Recordings: how they are read, what is refused, and what a mask keeps of them."""

import logging

import numpy as np
import pytest
import soundfile
import torch
from scipy.signal import get_window

from dax_lightning.errors import InputError
from dax_lightning.inputs import LogMel, SpectrogramInput, WaveInput
from dax_lightning.inputs.sound import read_sound, split_wave, write_sound
from dax_lightning.types import Sound

RATE = 16000
FRONT = LogMel(rate=RATE, window=512, hop=256, bands=40)


def tone(hertz, seconds=1.0, rate=RATE, height=0.5):
    return height * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate)


def written(path, wave, rate=RATE, **more):
    soundfile.write(path, wave, rate, **more)
    return path


def loudest_hertz(wave, rate=RATE):
    return np.fft.rfftfreq(len(wave), 1 / rate)[np.abs(np.fft.rfft(wave)).argmax()]


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 96000, 192000])
def test_any_rate_is_read_as_the_same_sound(tmp_path, rate):
    wave = read_sound(written(tmp_path / "a.wav", tone(440, rate=rate), rate), RATE).wave
    assert wave.shape == (1, RATE)
    assert loudest_hertz(wave[0].numpy()) == pytest.approx(440, abs=1)
    assert wave[0, 1000:-1000].abs().max() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(("ending", "more"), [("wav", {}), ("flac", {}), ("ogg", {}), ("mp3", {"format": "MP3"})])
def test_formats(tmp_path, ending, more):
    wave = read_sound(written(tmp_path / f"a.{ending}", tone(1000), **more), RATE).wave[0].numpy()
    assert loudest_hertz(wave) == pytest.approx(1000, abs=2)
    assert np.abs(wave[2000:-2000]).max() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_bit_depths(tmp_path, subtype):
    wave = read_sound(written(tmp_path / "a.wav", tone(440), subtype=subtype), RATE).wave[0].numpy()
    assert np.abs(wave - tone(440)).max() < (0.01 if subtype == "PCM_U8" else 1e-4)


def test_stereo_is_mixed_for_a_mono_model(tmp_path):
    both = np.stack([tone(440), np.zeros(RATE)], 1)
    wave = WaveInput(RATE).read(written(tmp_path / "a.wav", both))
    assert wave.shape == (1, RATE)
    assert wave.abs().max().item() == pytest.approx(0.25, abs=0.01)


def test_a_stereo_model_gets_both_channels_and_refuses_others(tmp_path):
    kind = WaveInput(RATE, channels=2)
    both = np.stack([tone(440), tone(880)], 1)
    x = kind.read(written(tmp_path / "two.wav", both))
    assert [loudest_hertz(channel.numpy()) for channel in x] == pytest.approx([440, 880], abs=1)
    with pytest.raises(InputError, match="has 1 channels, the model takes 2: give one with 2"):
        kind.read(written(tmp_path / "one.wav", tone(440)))


def unreadable(path):
    path.write_bytes(b"RIFF, but nothing else")
    return path


def empty(path):
    path.write_bytes(b"")
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path, "does not exist: give the path of a wav, flac, ogg or mp3 file"),
        (unreadable, r"can't be read \(.*\): it is damaged or of another format; m4a, aac, wma and others need `ffmpeg"),
        (empty, "is empty: it has no bytes"),
        (lambda path: written(path, np.zeros(0)), "has 0 samples: wanted 0.05 s of sound or more"),
        (lambda path: written(path, np.array([0.5])), "has 1 samples: wanted 0.05 s of sound or more"),
        (lambda path: written(path, np.zeros(RATE)), "is silent throughout: there is nothing to explain"),
        (lambda path: written(path, np.stack([tone(440), -tone(440)], 1)), "is silent as the mean of its channels, each undoes"),
        (lambda path: written(path, np.full(RATE, np.nan), subtype="FLOAT"), "holds NaN or infinite samples: write it again"),
    ],
)
def test_what_can_not_be_explained_is_refused_in_one_line(tmp_path, make, message):
    with pytest.raises(InputError, match=message) as caught:
        read_sound(make(tmp_path / "a.wav"), RATE)
    assert "\n" not in str(caught.value)


def test_clipped_and_too_loud_recordings_are_told(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        clipped = read_sound(written(tmp_path / "clipped.wav", np.clip(tone(440, height=3), -1, 1)), RATE)
        loud = read_sound(written(tmp_path / "loud.wav", tone(440, height=4), subtype="FLOAT"), RATE)
        one_side = np.stack([np.clip(tone(440, height=3), -1, 1), tone(440)], 1)
        read_sound(written(tmp_path / "left.wav", one_side), RATE)
    assert "clipped.wav is clipped: " in caplog.text
    assert "left.wav is clipped: " in caplog.text
    assert "loud.wav is clipped" not in caplog.text
    assert "loud.wav has samples up to 4: it is scaled down to 1" in caplog.text
    assert clipped.wave.abs().max() <= 1
    assert loud.wave.abs().max() == 1


def hour(file, minute):
    with soundfile.SoundFile(file, "w", 8000, 1) as written_to:
        for _ in range(60):
            written_to.write(minute)
    return file


def test_of_an_hour_the_first_half_minute_is_explained_and_alone_is_read(tmp_path, caplog, monkeypatch):
    file = hour(tmp_path / "hour.wav", tone(440, seconds=60, rate=8000))
    asked, read = [], soundfile.SoundFile.read
    monkeypatch.setattr(
        soundfile.SoundFile, "read", lambda own, frames, **more: asked.append(frames) or read(own, frames, **more)
    )
    with caplog.at_level(logging.WARNING):
        sound = read_sound(file, 8000)
    assert sound.seconds == 30
    assert asked == [30 * 8000]
    assert "hour.wav lasts 3600 s: its first 30 s are explained; `ffmpeg -ss 30 -t 30 -i FILE part.wav` cuts" in caplog.text


def test_an_hour_that_begins_with_silence_is_not_called_silent_throughout(tmp_path):
    file = hour(tmp_path / "hour.wav", np.r_[np.zeros(30 * 8000), tone(440, seconds=30, rate=8000)])
    with pytest.raises(InputError, match="is silent in its first 30 s: cut out a part that is heard"):
        read_sound(file, 8000)


def test_a_model_of_a_fixed_length_gets_it(tmp_path):
    file = written(tmp_path / "a.wav", tone(440, seconds=0.5))
    assert WaveInput(RATE, samples=RATE).read(file).shape == (1, RATE)
    assert WaveInput(RATE, samples=RATE // 4).read(file).shape == (1, RATE // 4)
    assert SpectrogramInput(40, 63, FRONT.floor, FRONT.top, FRONT).read(file).shape == (1, 40, 63)


# the front end


def test_a_sine_of_amplitude_1_is_0_db_at_its_band_and_a_tenth_is_minus_20():
    x = FRONT(torch.from_numpy(tone(1000, height=1)).float())[0]
    middle = x[:, 10:-10]
    band = int(middle.mean(1).argmax())
    assert FRONT.centres[band].item() == pytest.approx(1000, abs=60)
    assert middle[band].mean().item() == pytest.approx(0, abs=1)
    assert FRONT(torch.from_numpy(tone(1000, height=0.1)).float())[0, band, 10].item() == pytest.approx(-20, abs=1)


def test_the_spectrogram_is_that_of_plain_numpy():
    wave = torch.rand(4000, generator=torch.Generator().manual_seed(0)) - 0.5
    padded = np.pad(wave.numpy(), 256)
    frames = np.stack([padded[n : n + 512] for n in range(0, len(padded) - 511, 256)])
    power = np.abs(np.fft.rfft(frames * get_window("hann", 512), axis=1) / 128) ** 2
    assert FRONT.power(wave).numpy() == pytest.approx(FRONT.bank.numpy() @ power.T, rel=1e-3, abs=1e-9)


def test_bands_are_triangles_that_cover_all_between_the_first_and_the_last():
    bank, hertz = FRONT.bank, torch.linspace(0, RATE / 2, 257)
    inside = (hertz >= FRONT.centres[0]) & (hertz <= FRONT.centres[-1])
    assert bank.sum(0)[inside] == pytest.approx(1, abs=1e-4)  # neighbours overlap to 1
    assert (bank.max(1).values > 0.3).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hop": 2000}, "a hop of at most half the window"),
        ({"window": 512, "hop": 257}, "a hop of at most half the window"),
        ({"lowest": 9000.0}, "wanted 0 <= lowest < highest <= 8000"),
        ({"floor": 20.0}, "wanted the lower first"),
        ({"bands": 1}, "wanted 2 or more each"),
    ],
)
def test_a_wrong_front_end_is_refused(settings, message):
    with pytest.raises(InputError, match=message):
        LogMel(**{"rate": RATE, **settings})


# what a mask keeps


def test_kept_and_removed_add_up_and_keep_their_loudness():
    wave = torch.from_numpy(tone(500) + tone(4000)).float()
    x = FRONT(wave)[0]
    low = (FRONT.centres < 1500).float()[:, None].expand_as(x)
    kept, removed = FRONT.split(wave, low)
    assert (kept + removed - wave).abs().max() < 1e-6
    assert loudest_hertz(kept.numpy()) == pytest.approx(500, abs=2)
    assert loudest_hertz(removed.numpy()) == pytest.approx(4000, abs=2)
    assert kept[2000:-2000].abs().max().item() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("over", [0, 1, 100, 200, 240, 250, 255])
def test_no_part_is_louder_at_its_end_whatever_the_length(over):
    """Past the last frame's middle, samples lie under the tail of its window alone."""
    wave = torch.rand(20 * FRONT.hop + over, generator=torch.Generator().manual_seed(0)) - 0.5
    mask = torch.zeros_like(FRONT(wave)[0])
    mask[: len(mask) // 2] = 1
    kept, removed = FRONT.split(wave, mask)
    assert (kept + removed - wave).abs().max() < 1e-6
    assert max(part.abs().max() for part in (kept, removed)) < 1


def test_a_mask_that_keeps_all_keeps_the_wave():
    wave = torch.rand(5000, generator=torch.Generator().manual_seed(1)) - 0.5
    kept, removed = FRONT.split(wave, torch.ones_like(FRONT(wave)[0]))
    assert (kept - wave).abs().max() < 1e-5
    assert removed.abs().max() < 1e-5


def test_a_wave_is_cut_without_a_click():
    kept, removed = split_wave(torch.ones(1, RATE), (torch.arange(RATE) >= RATE // 2).float(), RATE)
    assert (kept + removed == 1).all()
    assert kept.diff().abs().max() < 0.02


def test_what_is_written_is_neither_clipped_nor_rounded(tmp_path):
    sound = Sound(torch.tensor([[0.1, -1.7, 1.3, 0.0]]), RATE)
    write_sound(tmp_path / "a.wav", sound)
    assert soundfile.read(tmp_path / "a.wav", dtype="float32")[0].tolist() == sound.wave[0].tolist()
