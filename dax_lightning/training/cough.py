"""Training a classifier of coughs."""

import logging
from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Int
from torch import Tensor

from dax_lightning.black_box.torch.sound import SoundModel
from dax_lightning.errors import InputError
from dax_lightning.inputs.sound import LogMel, exactly
from dax_lightning.tasks.cough import CLASSES, CoughSet, Recording, Split
from dax_lightning.training.sound import Schedule, accuracy, trained_model
from dax_lightning.types import Sound

FRONT = LogMel(rate=16000, window=640, hop=320, bands=40)
SCHEDULE = Schedule(epochs=20, lr=5e-3, batch_size=16, mixing=0.0, masks=0)
_log = logging.getLogger(__name__)


def train_cough(
    root: str,
    recordings: str | None = None,
    carrier: str = "cough",
    split: Split | None = None,
    front: LogMel | None = None,
    schedule: Schedule | None = None,
    seed: int = 0,
    device: str = "auto",
) -> SoundModel:
    """A bi-directional LSTM that tells positive from negative recordings; see :class:`CoughSet`.

    Args:
        root: a folder with TextGrids.
        recordings: a folder with recordings and their ``labels.csv``; ``None``: synthetic ones.
        carrier: the event type that tells them apart.
        split: which recordings are held out; their accuracy is in ``facts["accuracy"]``, of ``facts["recordings"]``.
        front: how recordings become spectrograms; ``None``: 40 bands at 16 kHz, a frame each 20 ms.
        schedule: how it learns.
        seed: of all randomness of the training.
        device: cpu, cuda or auto.

    Raises:
        InputError: as for :class:`CoughSet`, no labels, or recordings of one label alone.
    """
    known, front = CoughSet(root, recordings, carrier, split or Split()), front or FRONT
    if not known.labelled:
        raise InputError(f"recordings={recordings} holds no labels.csv: training wants one with the columns stem and label")
    trained, labels = _heard(known, known.trained, front.rate)
    held, held_labels = _heard(known, known.held, front.rate)
    if len(set(labels.tolist())) < 2 or not held:
        raise InputError(
            f"{len(trained)} recordings to train on, {int(labels.sum())} of them positive, and {len(held)} held out: wanted both "
            "labels and some held out"
        )
    samples = round(known.split.seconds * front.rate)
    rows = torch.stack([front(exactly(sound, samples).wave[0]) for sound in trained])
    made = trained_model("blstm", front, CLASSES, rows, labels, schedule or SCHEDULE, seed, device)
    facts = {
        "carrier": carrier,
        "held_out": known.split.held_out,
        "split_seed": known.split.seed,
        "seed": seed,
        "recordings": len(held),
        "accuracy": accuracy(made, [front(sound.wave[0]) for sound in held], held_labels),
    }
    return replace(made, facts=facts)


def _heard(known: CoughSet, wanted: Sequence[Recording], rate: int) -> tuple[list[Sound], Int[Tensor, " n"]]:
    """The recordings whose label is known, and their labels. One log line says how many can't be used."""
    sounds, labels, skipped = [], [], []
    for one in wanted:
        try:
            if one.positive is None:
                raise InputError(f"recording {one.name} has no label")
            sounds.append(known.sound(one, rate))
            labels.append(int(one.positive))
        except InputError as error:
            skipped.append(str(error))
    if skipped:
        _log.warning("%d recordings skipped, such as: %s", len(skipped), skipped[0])
    return sounds, torch.tensor(labels, dtype=torch.long)
