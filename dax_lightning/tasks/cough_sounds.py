"""Synthetic recordings along annotations of coughs: each event type has a spectrum and a level of its own."""

import hashlib
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from dax_lightning.tasks.textgrids import EVENT_TYPES, Annotation
from dax_lightning.types import Sound

ROOM = -65.0  # dB, the level between the events
WHEEZE = (2000.0, 2400.0)  # Hz, the band that the carrier has in positive recordings


@dataclass(frozen=True)
class Voice:
    """Noise of one band and envelope.

    Args:
        low: where the band begins, in Hz.
        high: where it ends, in Hz.
        level: its power, in dB, where a sine of amplitude 1 has -3.
        rise: seconds until it is loud.
        decay: seconds until it has fallen to 37 %.
        rasp: how often a second it swells; 0: it is steady.
    """

    low: float
    high: float
    level: float
    rise: float = 0.02
    decay: float = 10.0
    rasp: float = 0.0


VOICES = {
    "cough": Voice(150.0, 4500.0, -18.0, rise=0.005, decay=0.15),
    "throatclear": Voice(200.0, 2500.0, -22.0, rasp=45.0),
    "noise": Voice(50.0, 1500.0, -45.0, rise=0.05),
    "inhale": Voice(1200.0, 7000.0, -35.0, rise=0.1),
    "compress": Voice(70.0, 300.0, -38.0, rise=0.05),
    "silence": Voice(60.0, 500.0, -62.0, rise=0.05),
}


def synthetic(annotation: Annotation, rate: int, carrier: str | None, seed: int = 0) -> Sound:
    """A recording along an annotation, always the same for the same file name and seed.

    Levels, bands and decays vary from recording to recording, as those of people do. A positive recording differs from a negative
    one in one way: a band of noise around 2.2 kHz, a wheeze, lies over all events of the carrier.

    Args:
        annotation: its events and length.
        rate: samples a second.
        carrier: the event type that wheezes; ``None``: a negative recording.
        seed: of all that varies.

    Example:
        >>> from pathlib import Path
        >>> from dax_lightning.tasks.textgrids import Event
        >>> said = Annotation(Path("a.TextGrid"), 1.0, (Event("cough", 0.2, 0.5),))
        >>> quiet, loud = synthetic(said, 8000, None).wave[0].split(1600)[:2]
        >>> bool(loud.abs().max() > 20 * quiet.abs().max())
        True
    """
    generator = torch.Generator().manual_seed(seed_of(seed, "sound", annotation.file.stem))
    wheezes = torch.Generator().manual_seed(seed_of(seed, "wheeze", annotation.file.stem))
    gain = _around(0.0, 6.0, generator)
    voices = {kind: _varied(VOICES[kind], gain, generator) for kind in EVENT_TYPES}
    pitch = 1 + _around(0.0, 0.1, wheezes)
    wave = _band(round(annotation.seconds * rate), Voice(50.0, 2000.0, ROOM), rate, generator)
    for event in annotation.events:
        start, voice = round(event.start * rate), voices[event.kind]
        length = min(round(event.end * rate), len(wave)) - start
        if length < 2:
            continue
        envelope = _envelope(length, voice, rate)
        sound = _band(length, voice, rate, generator) * envelope
        if event.kind == carrier:
            sound += _band(length, replace(voice, low=WHEEZE[0] * pitch, high=WHEEZE[1] * pitch), rate, wheezes) * envelope
        wave[start : start + length] += sound
    return Sound(wave.clamp(-1, 1)[None], rate)


def seed_of(*parts: object) -> int:
    """A seed that depends on these and nothing else, below 2^63.

    Example:
        >>> seed_of(0, "a") == seed_of(0, "a") != seed_of(1, "a")
        True
    """
    return int.from_bytes(hashlib.sha256(" ".join(map(str, parts)).encode()).digest()[:8]) >> 1


def share_of(*parts: object) -> float:
    """A number in [0, 1) that depends on these and nothing else, even over all parts.

    Example:
        >>> 0 <= share_of(0, "a") < 1
        True
    """
    return seed_of(*parts) / 2**63


def _varied(voice: Voice, gain: float, generator: torch.Generator) -> Voice:
    """The voice of one person, in one room."""
    wider, longer, faster = (2 ** _around(0.0, 0.3, generator) for _ in range(3))
    return Voice(
        voice.low * wider,
        voice.high * wider,
        voice.level + gain + _around(0.0, 3.0, generator),
        voice.rise,
        voice.decay * longer,
        voice.rasp * faster,
    )


def _around(middle: float, most: float, generator: torch.Generator) -> float:
    return middle + most * (2 * torch.rand((), generator=generator).item() - 1)


def _band(length: int, voice: Voice, rate: int, generator: torch.Generator) -> Float[Tensor, " time"]:
    """Steady noise of a voice's band and level: slopes of 48 dB an octave."""
    spectrum = torch.fft.rfft(torch.randn(length, generator=generator))
    hertz = torch.fft.rfftfreq(length, 1 / rate).clamp_min(1)
    spectrum = spectrum / (1 + (voice.low / hertz) ** 16 + (hertz / voice.high) ** 16).sqrt()
    wave = torch.fft.irfft(spectrum, length)
    return wave * 10 ** (voice.level / 20) / wave.square().mean().sqrt().clamp_min(1e-9)


def _envelope(length: int, voice: Voice, rate: int) -> Float[Tensor, " time"]:
    """How loud the event is over its time; it fades in and out."""
    seconds = torch.arange(length) / rate
    swell = 1 - torch.cos(2 * torch.pi * voice.rasp * seconds) if voice.rasp else torch.ones(length)
    fade = ((length / rate - seconds) / 0.02).clamp(0, 1)
    return (1 - (-seconds / voice.rise).exp()) * (-seconds / voice.decay).exp() * swell * fade
