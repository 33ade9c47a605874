"""A recording from its file to a report that plays it, and a classifier of sound from training to a black box."""

import re
from functools import partial

import numpy as np
import pytest
import soundfile
import torch

from dax_lightning import Explanation, explain
from dax_lightning.black_box import from_function
from dax_lightning.black_box.torch.sound import SoundModel, sound_model
from dax_lightning.errors import InputError
from dax_lightning.explainers.surrogate.lime import Lime
from dax_lightning.game.subsets import Perturber
from dax_lightning.inputs import LogMel, WaveInput, log_mel_input
from dax_lightning.metrics import IoU
from dax_lightning.run.loggers import CsvRun
from dax_lightning.run.runner import Benchmark
from dax_lightning.segment.time import Tiles
from dax_lightning.tasks import Esc10, Files, Mixture
from dax_lightning.testing import QuarterBox
from dax_lightning.training.sound import Schedule, train_esc10
from tests.test_esc10 import FRONT, RATE, box, root, tone  # noqa: F401 -- root is a fixture

WAVE = from_function(
    lambda rows: torch.stack([rows[..., : rows.shape[-1] // 2].square().mean((1, 2)), torch.zeros(len(rows))], 1),
    WaveInput(RATE),
    multi_label=True,
)


@pytest.fixture
def clip(tmp_path):
    """Half a second of a low tone, then half a second of a high one."""
    soundfile.write(tmp_path / "clip.flac", np.concatenate([tone(300, 0.5), tone(2500, 0.5)]), RATE)
    return tmp_path / "clip.flac"


def explained(folder, clip, black_box):
    lime = Lime(black_box, perturber=Perturber(fill="zeros"), q=100)
    run = Benchmark(Files(black_box, str(clip), target=0), {"lime": lime}, {"iou": IoU()}, folder, CsvRun())
    assert run.run()
    return folder / "explanations"


@pytest.mark.parametrize("black_box", [box(), WAVE], ids=["spectrogram", "wave"])
def test_a_run_leaves_what_the_map_keeps_and_removes(tmp_path, clip, black_box):
    folder = explained(tmp_path / "run", clip, black_box)
    whole, kept, removed = (
        soundfile.read(folder / f"clip__{told}.wav", dtype="float32") for told in ("input", "lime__kept", "lime__removed")
    )
    assert whole[1] == kept[1] == RATE
    assert np.abs(kept[0] + removed[0] - whole[0]).max() < 1e-6
    half = len(whole[0]) // 2
    share = np.square(kept[0][:half]).sum() / np.square(kept[0]).sum()
    assert share > 0.9  # both models hear the first half
    assert (folder / "inputs" / "clip.png").is_file()


def test_the_report_plays_all_three(tmp_path, clip):
    explained(tmp_path / "run", clip, box())
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert len(re.findall(r'<audio controls preload="metadata" src="data:audio/ogg;base64,', page)) == 3


def test_a_long_recording_is_linked(tmp_path):
    soundfile.write(tmp_path / "long.wav", tone(300, 25), RATE)
    explained(tmp_path / "run", tmp_path / "long.wav", box())
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert re.findall(r'<audio controls preload="metadata" src="([^"]*)"', page) == [
        f"explanations/long__{told}.wav" for told in ("input", "lime__kept", "lime__removed")
    ]


def test_cases_that_are_folded_away_play_their_files(tmp_path):
    (tmp_path / "clips").mkdir()
    for number in range(4):
        soundfile.write(tmp_path / "clips" / f"{number}.wav", tone(300 + 200 * number, 1), RATE)
    explained(tmp_path / "run", tmp_path / "clips", box())
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    players = re.findall(r'<audio controls preload="metadata" src="([^"]*)"', page)
    assert [address.startswith("data:audio/ogg") for address in players] == [True] * 9 + [False] * 3
    assert all((tmp_path / "run" / address).is_file() for address in players[9:])


def test_explain_takes_a_path_and_knows_the_recording(clip, tmp_path):
    made = explain(box(), clip, target="low", method="lime", q=100)
    assert made.sound is not None
    assert made.sound.seconds == 1
    assert made.step == pytest.approx(0.01)
    first, second = made.saliency[:, :50].mean(), made.saliency[:, 50:].mean()
    assert first > second
    made.save(tmp_path / "a")
    again = Explanation.load(tmp_path / "a")
    assert again.hertz == pytest.approx(made.hertz)
    assert again.saliency.equal(made.saliency)


def test_a_fill_for_spectrograms_is_refused_for_others(clip):
    lime = Lime(WAVE, perturber=Perturber(fill="noise_floor"), q=50)
    with pytest.raises(InputError, match="fill=noise_floor is for spectrograms, the model takes a wave"):
        lime.explain(clip, 0)


def test_the_noise_floor_is_what_each_band_has_when_it_is_quiet(clip):
    lime = Lime(box(), perturber=Perturber(fill="noise_floor"), q=100)
    assert lime.explain(clip, "low").saliency[:, :50].mean() > 0


# training


@pytest.fixture(scope="module")
def trained(root):  # noqa: F811
    front = LogMel(rate=RATE, window=320, hop=160, bands=24)
    return train_esc10(root, "blstm", fold=5, front=front, schedule=Schedule(epochs=30, lr=0.02, batch_size=4, mixing=0.0))


def test_a_trained_model_tells_two_tones_apart_and_says_how_well(trained):
    assert trained.facts["clips"] == 4
    assert trained.facts["accuracy"] == 1
    assert trained.classes == ("high", "low")


def test_the_file_holds_all_that_a_recording_needs(trained, tmp_path):
    trained.save(tmp_path / "model.safetensors")
    heard = sound_model(str(tmp_path / "model.safetensors"), device="cpu")
    assert heard.input == log_mel_input(trained.front)
    soundfile.write(tmp_path / "low.wav", tone(300, 1), RATE)
    x = heard.input.prepare(tmp_path / "low.wav")
    with torch.no_grad():
        alone = trained.module((x[None] - trained.mean) / trained.std).softmax(1)
    assert heard(x[None]).numpy() == pytest.approx(alone.numpy(), abs=1e-5)
    assert heard(x[None])[0].argmax() == 1
    assert SoundModel.load(tmp_path / "model.safetensors").facts == heard.facts == trained.facts


@pytest.mark.parametrize("task", [Esc10, partial(Mixture, pairs=4)])
def test_clips_that_a_model_was_trained_on_are_refused(trained, tmp_path, root, task):  # noqa: F811 -- the fixture
    trained.save(tmp_path / "model.safetensors")
    heard = sound_model(str(tmp_path / "model.safetensors"), device="cpu")
    assert len(task(heard, root, fold=5)) > 0
    with pytest.raises(
        InputError, match=r"task.fold=1: the model was trained on its clips, and fold 5 was held out: task.fold=5"
    ):
        task(heard, root, fold=1)


@pytest.mark.parametrize(
    ("content", "message"), [(None, "does not exist: `make sound data=DIR` trains"), (b"no model", "is no model of sound")]
)
def test_a_file_that_is_no_model_is_told(tmp_path, content, message):
    file = tmp_path / "model.safetensors"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError, match=message):
        sound_model(str(file))


# what goes wrong


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("nope.ogg", "nope.ogg does not exist: give a recording, a folder of them"),
        ("", r"is a folder without recordings: .* \(m4a, aac and wma need `ffmpeg -i FILE out.wav` first\)"),
    ],
)
def test_what_is_no_recording_is_called_so(tmp_path, given, message):
    (tmp_path / "a.m4a").write_bytes(b"any")
    with pytest.raises(InputError, match=message):
        Files(box(), str(tmp_path / given))


def test_a_recording_for_a_model_of_photographs_names_one_of_sound(clip):
    with pytest.raises(InputError, match="for a recording give a model of sound, such as black_box=esc10_resnet"):
        explain(QuarterBox(), clip)


def test_a_segmenter_that_does_not_suit_names_one_that_does(clip, tmp_path):
    with pytest.raises(InputError, match=r"a wave has time alone, try Time\(\) \(segmenter=time"):
        Lime(WAVE, Tiles(), q=50).explain(clip, 0)
    soundfile.write(tmp_path / "short.wav", tone(300, 0.05), RATE)
    with pytest.raises(InputError, match=r"found 1 segment .*segmenter=time segmenter.seconds=0.05"):
        Lime(WAVE, q=50).explain(tmp_path / "short.wav", 0)
