"""Recordings: read at any rate, turned into log-mel spectrograms, and split by a mask into what is kept and what is removed."""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Complex, Float
from torch import Tensor

from dax_lightning.errors import InputError
from dax_lightning.types import Sound

SOUNDS = (".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif", ".opus", ".au", ".caf")
LONGEST = 30.0  # seconds of a recording that are explained
FASTEST = 768_000  # samples a second; what records bats has 500,000
MOST_SAMPLES = 2**26  # of all channels together, in what is read: 256 MiB, half a minute of 46 channels at 48 kHz
_SHORTEST = 0.05  # seconds of a recording: in less there is nothing to tell apart
_FADE = 0.005  # seconds over which a wave is faded in and out where a mask has an edge
_CLIPPED = 0.001  # share of samples at full scale that is told
_LEFT = 1e-4  # of a peak: what rounding leaves of channels that undo each other
_log = logging.getLogger(__name__)


def read_sound(path: str | Path, rate: int, channels: int = 1, seconds: float | None = None) -> Sound:
    """A recording in a file, resampled and of so many channels. Only what is used is read, however long the file is.

    Args:
        path: what libsndfile reads: wav, flac, ogg, mp3, aiff and others, 8 to 32 bits or float.
        rate: samples a second that are wanted.
        channels: 1: the mean of all channels of the file; more: as many as the file must have.
        seconds: most that is read; ``None``: 30. Of a longer recording the first part is taken, and the log says so.

    Raises:
        InputError: missing, unreadable, empty or under 0.05 s, silent throughout, NaN in it, over 768 kHz, over 2^26 samples in
            what is read, or another number of channels.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_sound(Path(folder, "a.wav"), Sound(torch.rand(1, 800) / 2, 8000))
        ...     read_sound(f"{folder}/a.wav", rate=16000).wave.shape
        torch.Size([1, 1600])
    """
    file, most = Path(path).expanduser(), seconds or LONGEST
    if not file.is_file():
        raise InputError(f"recording {file} does not exist: give the path of a wav, flac, ogg or mp3 file")
    with _opened(file) as source:
        found, taken = source.samplerate, math.ceil(most * source.samplerate)
        if found > FASTEST or taken * source.channels > MOST_SAMPLES:
            told = f"{source.channels} channels of {found:,} samples a second"
            raise InputError(
                f"recording {file} declares {told}: resample it, such as by `ffmpeg -i FILE -ar 48000 -ac 1 out.wav`"
            )
        longer = source.frames > taken + 0.1 * found
        if longer:
            lasts = source.frames / found
            start = min(most, lasts - most)  # of the part that follows, or of the last one
            _log.warning(
                "%s lasts %.4g s: its first %.3g s are explained; `ffmpeg -ss %.3g -t %.3g -i FILE part.wav` cuts out others",
                file.name, lasts, most, max(0.0, start), most,
            )  # fmt: skip
        wave = source.read(min(taken, source.frames) if source.frames > 0 else taken, dtype="float32", always_2d=True).T
    if wave.shape[1] < _SHORTEST * found:
        raise InputError(f"recording {file} has {wave.shape[1]} samples: wanted {_SHORTEST:g} s of sound or more")
    if not np.isfinite(wave).all():
        raise InputError(f"recording {file} holds NaN or infinite samples: write it again, such as by `ffmpeg -i FILE out.wav`")
    if channels not in (1, len(wave)):
        raise InputError(f"recording {file} has {len(wave)} channels, the model takes {channels}: give one with {channels}")
    tops = np.abs(wave).max(1, keepdims=True)
    full = np.abs(wave) >= np.where(tops > 1, tops, 0.999)
    clipped = (full[:, 1:] & full[:, :-1]).mean(1).max()  # one sample alone is a peak
    if clipped > _CLIPPED:
        _log.warning("%s is clipped: %.1f %% of its samples are at full scale", file.name, 100 * clipped)
    if not wave.any():
        where = (
            f"in its first {most:.0f} s: cut out a part that is heard" if longer else "throughout: there is nothing to explain"
        )
        raise InputError(f"recording {file} is silent {where}")
    wave = wave.mean(0, keepdims=True) if channels == 1 else wave
    peak = np.abs(wave).max()
    if peak <= _LEFT * tops.max():
        raise InputError(f"recording {file} is silent as the mean of its channels, each undoes the others: give one of them")
    if peak > 1:
        _log.warning("%s has samples up to %.3g: it is scaled down to 1", file.name, peak)
        wave = wave / peak
    return Sound(torch.from_numpy(resampled(wave, found, rate)), rate)


def resampled(wave: Float[np.ndarray, "c time"], found: int, wanted: int) -> Float[np.ndarray, "c other"]:
    """The wave at another rate, by a polyphase filter, within [-1, 1].

    Example:
        >>> resampled(np.zeros((1, 441), np.float32), 44100, 22050).shape
        (1, 221)
    """
    if found == wanted:
        return np.ascontiguousarray(wave)
    from scipy.signal import resample_poly  # not at the top: photographs needn't wait a second for it

    shared = math.gcd(found, wanted)
    return np.ascontiguousarray(resample_poly(wave, wanted // shared, found // shared, axis=1).astype(np.float32)).clip(-1, 1)


def exactly(sound: Sound, samples: int) -> Sound:
    """The recording cut to so many samples, or followed by silence.

    Example:
        >>> exactly(Sound(torch.ones(1, 2), 8000), 3).wave.tolist()
        [[1.0, 1.0, 0.0]]
    """
    return Sound(F.pad(sound.wave, (0, samples - sound.wave.shape[1])), sound.rate)


def write_sound(path: Path, sound: Sound) -> None:
    """Write a recording; the ending says how: ``.wav`` as 32-bit floats, which neither clip nor round, ``.ogg`` compressed.

    Raises:
        OSError: the file can't be written.
    """
    import soundfile  # not at the top: photographs needn't wait for it

    subtype = "FLOAT" if path.suffix == ".wav" else None
    try:
        soundfile.write(path, sound.wave.T.numpy(), sound.rate, subtype=subtype)
    except soundfile.LibsndfileError as error:
        raise OSError(None, str(error), str(path)) from error


@contextmanager
def _opened(file: Path) -> Iterator:
    import soundfile

    if file.stat().st_size == 0:
        raise InputError(f"recording {file} is empty: it has no bytes")
    if file.suffix.lower() == ".raw":
        raise InputError(f"recording {file} is raw samples without a header: save it as wav, flac or ogg")
    try:
        with soundfile.SoundFile(file) as source:
            yield source
    except soundfile.LibsndfileError as error:
        raise InputError(
            f"recording {file} can't be read ({error.error_string.strip('. ')}): it is damaged or of another format; m4a, "
            "aac, wma and others need `ffmpeg -i FILE out.wav` first"
        ) from error


@dataclass(frozen=True)
class LogMel:
    """A log-mel spectrogram: the energy of mel bands over time, in decibel, where a sine of amplitude 1 is 0 dB.

    Args:
        rate: samples a second.
        window: samples of a frame; a Hann window.
        hop: samples from one frame to the next, at most half of ``window``: else what lies between frames is hardly heard.
        bands: number of mel bands.
        lowest: lowest frequency, in Hz.
        highest: highest frequency, in Hz; ``None``: half the rate.
        floor: what is quieter is set to this, in dB.
        top: what is louder is set to this, in dB.

    Raises:
        InputError: a setting is out of range.

    Example:
        >>> front = LogMel(rate=8000, window=256, hop=128, bands=20)
        >>> loud = front(0.9 * torch.sin(torch.arange(8000) / 8000 * 2 * math.pi * 1000))  # a second of 1 kHz
        >>> loud.shape, round(loud.max().item())
        (torch.Size([1, 20, 63]), 0)
    """

    rate: int = 22050
    window: int = 1024
    hop: int = 512
    bands: int = 128
    lowest: float = 0.0
    highest: float | None = None
    floor: float = -80.0
    top: float = 10.0

    def __post_init__(self) -> None:
        if min(self.rate, self.window, self.bands) < 2 or not 1 <= self.hop <= self.window / 2:
            raise InputError(
                f"front: rate={self.rate}, window={self.window}, hop={self.hop}, bands={self.bands}: wanted 2 or more each, "
                "and a hop of at most half the window"
            )
        if not 0 <= self.lowest < self.upper <= self.rate / 2:
            raise InputError(
                f"front: lowest={self.lowest:g}, highest={self.upper:g} Hz: wanted 0 <= lowest < highest <= {self.rate / 2:g}"
            )
        if not self.floor < self.top:
            raise InputError(f"front: floor={self.floor:g}, top={self.top:g} dB: wanted the lower first")

    @property
    def upper(self) -> float:
        """The highest frequency, in Hz."""
        return self.rate / 2 if self.highest is None else self.highest

    @property
    def step(self) -> float:
        """Seconds from one frame to the next."""
        return self.hop / self.rate

    def __call__(self, wave: Float[Tensor, " time"]) -> Float[Tensor, "1 mel frames"]:
        """The spectrogram, in [floor, top]."""
        return self.decibel(self.power(wave))

    def power(self, wave: Float[Tensor, " time"]) -> Float[Tensor, "mel frames"]:
        """The energy of each band and frame."""
        spectrum = self.spectrum(wave) / (self.window / 4)  # half of the window's sum: a sine of amplitude 1 has power 1
        return self.bank @ spectrum.abs().square()

    def decibel(self, power: Float[Tensor, "mel frames"]) -> Float[Tensor, "1 mel frames"]:
        """Energies on the scale of the spectrogram, in [floor, top]."""
        return (10 * power.clamp_min(1e-20).log10()).clamp(self.floor, self.top)[None]

    def spectrum(self, wave: Float[Tensor, " time"]) -> Complex[Tensor, "bins frames"]:
        """The complex short-time spectrum."""
        short = max(0, self.window - len(wave))  # a sound shorter than a frame is followed by silence
        return torch.stft(
            F.pad(wave, (0, short)), self.window, self.hop, window=torch.hann_window(self.window), pad_mode="constant",
            return_complex=True,
        )  # fmt: skip

    def split(self, wave: Float[Tensor, " time"], mask: Float[Tensor, "mel frames"]) -> tuple[Tensor, Tensor]:
        """What a mask keeps of a wave and what it removes, with the wave's own phase. The two add up to the wave.

        Args:
            wave: the recording.
            mask: how much of each band and frame is kept, 0 to 1.

        Returns:
            Two waves as long as the first.
        """
        longer = F.pad(wave, (0, self.window))  # else the last samples lie under a window's tail alone, and would be blown up
        spectrum, window = self.spectrum(longer), torch.hann_window(self.window)
        gain = self.gain(mask)
        last = gain[:, -1:].expand(-1, max(0, spectrum.shape[1] - gain.shape[1]))
        gain = torch.cat([gain, last], 1)[:, : spectrum.shape[1]]
        kept = torch.istft(spectrum * gain, self.window, self.hop, window=window, length=len(longer))[: len(wave)]
        return kept, wave - kept

    def gain(self, mask: Float[Tensor, "mel frames"]) -> Float[Tensor, "bins frames"]:
        """The mask on the bins of the spectrum: each takes the mean over the bands that it is part of.

        Bins beside all bands, over ``highest`` or under the first band, take the nearest band's.
        """
        share = self.bank.T.clone()  # (bins, mel)
        beside = share.sum(1) == 0
        nearest = (self.bins[beside, None] - self.edges[None, 1:-1]).abs().argmin(1)
        share[beside] = F.one_hot(nearest, self.bands).float()
        return (share / share.sum(1, keepdim=True)) @ mask

    @property
    def bank(self) -> Float[Tensor, "mel bins"]:
        """How much each bin of the spectrum adds to each band: triangles of height 1 on Slaney's mel scale."""
        return _bank(self)

    @property
    def centres(self) -> Float[Tensor, " mel"]:
        """The middle of each band, in Hz."""
        return self.edges[1:-1]

    @property
    def edges(self) -> Float[Tensor, " both"]:
        """Where the bands begin, culminate and end, in Hz: two more than there are bands."""
        low, high = (_mel(f) for f in (self.lowest, self.upper))
        return torch.tensor([_hertz(mel) for mel in np.linspace(low, high, self.bands + 2)], dtype=torch.float32)

    @property
    def bins(self) -> Float[Tensor, " bins"]:
        """The frequencies of the spectrum, in Hz."""
        return torch.linspace(0, self.rate / 2, self.window // 2 + 1)


def split_wave(
    wave: Float[Tensor, "c time"], mask: Float[Tensor, " time"], rate: int
) -> tuple[Float[Tensor, "c time"], Float[Tensor, "c time"]]:
    """What a mask over time keeps of a wave and what it removes. The two add up to the wave.

    The mask's edges are faded over 5 ms, so that no click is heard.

    Example:
        >>> kept, removed = split_wave(torch.ones(1, 100), (torch.arange(100) < 50).float(), rate=1000)
        >>> kept[0, [10, 90]].tolist(), bool((kept + removed == 1).all())
        ([1.0, 0.0], True)
    """
    width = 2 * max(1, round(_FADE * rate)) + 1
    edge = F.pad(mask[None, None], (width // 2, width // 2), mode="replicate")
    kept = wave * F.avg_pool1d(edge, width, 1)[0]
    return kept, wave - kept


@cache
def _bank(front: LogMel) -> Float[Tensor, "mel bins"]:
    low, middle, high = (edge[:, None] for edge in front.edges.unfold(0, 3, 1).T)
    return torch.minimum((front.bins - low) / (middle - low), (high - front.bins) / (high - middle)).clamp_min(0)


def _mel(hertz: float) -> float:
    """Slaney's mel scale: linear up to 1 kHz, logarithmic above."""
    return hertz * 3 / 200 if hertz < 1000 else 15 + 27 * math.log(hertz / 1000) / math.log(6.4)


def _hertz(mel: float) -> float:
    return mel * 200 / 3 if mel < 15 else 1000 * math.exp((mel - 15) * math.log(6.4) / 27)
