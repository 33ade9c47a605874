"""ESC-10's clips with noise around them, and two at once: on a small set in ESC-50's layout."""
# pyright: reportOptionalMemberAccess=false, reportOptionalSubscript=false, reportOptionalOperand=false, reportOperatorIssue=false

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from dax_lightning.black_box import from_function, from_torch
from dax_lightning.errors import InputError
from dax_lightning.inputs import LogMel, WaveInput, log_mel_input
from dax_lightning.metrics import IoU, LayerMass, LayerShare, OverTime
from dax_lightning.metrics.faithfulness import empty
from dax_lightning.tasks import Esc10, Mixture
from dax_lightning.tasks.esc10 import Noise
from dax_lightning.types import Explanation

RATE = 8000
FRONT = LogMel(rate=RATE, window=256, hop=80, bands=24)
HERTZ = {"low": 300, "high": 2500}
QUIET = Noise(shortest=0.5, longest=1.0, snr=30.0)


def tone(hertz, seconds):
    return 0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two classes of clips of 2 s: a tone for the first second, and digital silence."""
    folder = tmp_path_factory.mktemp("esc")
    (folder / "audio").mkdir()
    (folder / "meta").mkdir()
    rows = []
    for fold in (1, 5):
        for name, hertz in HERTZ.items():
            for take in "AB":
                file = f"{fold}-{name}-{take}.wav"
                wave = np.concatenate([tone(hertz, 1), np.zeros(RATE)])
                soundfile.write(folder / "audio" / file.replace(".wav", ".ogg" if take == "B" else ".wav"), wave, RATE)
                rows.append({"filename": file, "fold": fold, "category": name, "esc10": "True"})
    rows.append({"filename": "1-other-A.wav", "fold": 1, "category": "other", "esc10": "False"})
    with (folder / "meta" / "esc50.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)
    return str(folder)


def loud_in(rows, low, high):
    """The energy between two frequencies, as a share of all."""
    power = (rows[:, 0] / 10 * np.log(10)).exp()
    inside = (FRONT.centres >= low) & (FRONT.centres < high)
    return power[:, inside].sum((1, 2)) / power.sum((1, 2)).clamp_min(1e-9)


def box(classes=("low", "high")):
    def scores(rows):
        low = loud_in(rows, 0, 1000)
        return torch.stack([low, 1 - low], 1)

    return from_function(scores, log_mel_input(FRONT), classes=classes)


def test_a_clip_stands_between_two_noises_and_its_time_is_the_truth(root):
    task = Esc10(box(), root, noise=QUIET)
    assert len(task) == 4
    case = task[0]
    assert case.sound is not None
    during = case.truth[0]
    assert during.sum().item() == pytest.approx(200, abs=1)  # frames of 10 ms
    start = int(during.nonzero()[0])
    assert 50 <= start <= 100
    assert 50 <= len(during) - start - 200 <= 101
    assert case.x.shape[-1] == len(during)
    wave = case.sound.wave[0]
    noise, clip = wave[: (start - 1) * 80].std(), wave[(start + 1) * 80 : (start + 99) * 80].std()
    assert 20 * torch.log10(clip / noise).item() == pytest.approx(30, abs=1)


def test_the_audible_part_is_known_beside_the_clip(root):
    case = Esc10(box(), root, noise=QUIET)[0]
    assert case.layers["audible"][0].sum().item() == pytest.approx(100, abs=3)
    assert (case.layers["audible"] <= case.truth).all()


def test_the_same_noise_each_time_and_another_for_each_clip(root):
    first, again = Esc10(box(), root, noise=QUIET), Esc10(box(), root, noise=QUIET)
    assert first[1].x.equal(again[1].x)
    assert first[0].x.shape != first[1].x.shape
    assert not Esc10(box(), root, noise=Noise(0.5, 1.0, 30.0, seed=1))[1].x.equal(first[1].x)


def test_target_and_wrong_class_are_those_of_the_list(root):
    for case in Esc10(box(("high", "low")), root, noise=QUIET):
        assert ["high", "low"][case.target] in case.key
        assert case.wrong == 1 - case.target
    assert len(Esc10(box(), root, noise=QUIET, only="correct")) == 4
    with pytest.raises(InputError, match="only=wrong leaves no case"):
        len(Esc10(box(), root, noise=QUIET, only="wrong"))


def test_a_wave_model_gets_waves(root):
    heard = from_function(lambda rows: torch.full((len(rows), 2), 0.5), WaveInput(RATE), classes=("low", "high"))
    case = Esc10(heard, root, noise=QUIET)[0]
    assert case.x.shape == case.sound.wave.shape
    assert case.truth.sum() == 2 * RATE


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _: Esc10(box(), None), "task=esc10 has no data: give data=DIR"),
        (lambda root: Esc10(box(), root + "/audio"), "holds no meta/esc50.csv"),
        (lambda root: Esc10(box(), root, fold=3), "task.fold=3: no clip; choose one of 1, 5"),
        (lambda root: Esc10(box(("low", "dog")), root), "does not know high: give a model of ESC-10's classes"),
        (lambda root: Mixture(box(), root, pairs=0), "task.pairs=0: wanted 1 to 4, the pairs of two classes in fold 5"),
        (lambda root: Mixture(box(), root, pairs=5), "task.pairs=5: wanted 1 to 4"),
        (lambda _: Noise(2.0, 1.0), "task.noise.shortest=2, task.noise.longest=1: wanted seconds"),
    ],
)
def test_what_is_missing_is_told(root, make, message):
    with pytest.raises(InputError, match=message):
        make(root)


def test_a_mixture_holds_two_classes_and_knows_whose_power_is_where(root):
    task = Mixture(box(), root, pairs=3)
    assert len(task) == 6
    for case in task:
        own = case.layers["own_power"]
        other = next(c for c in task if c.key.split("_")[0] == case.key.split("_")[0] and c.key != case.key)
        assert case.x.equal(other.x)
        assert (case.target, case.wrong) == (other.wrong, other.target)
        assert own.min() >= 0
        assert own.max() <= 1
        band = int((FRONT.centres - HERTZ[case.key.split("_")[1]]).abs().argmin())
        assert own[band][case.truth[band]].mean() > 0.95
        assert own[band][~case.truth[band]].mean() < 0.5
        assert 0.55 < case.truth[0].float().mean() < 0.75  # each lasts a second, 20 to 60 % of it beside the other


def test_no_pair_of_clips_is_mixed_twice(root):
    task = Mixture(box(), root, pairs=4)
    assert len({frozenset(task.content(index).values()) for index in range(len(task))}) == 4


def explained(saliency):
    return Explanation(saliency, target=0, score=1.0, queries=1, seconds=0.0)


def test_a_mixture_is_made_from_both_clips(root):
    """A run notices when one of them changes."""
    task = Mixture(box(), root, pairs=3, limit=2)
    first, second = (task.content(index) for index in range(2))
    assert first == second
    assert first.keys() == {"file", "other"}
    assert first["file"] != first["other"]
    assert all(b"" < data in {file.read_bytes() for file in (Path(root) / "audio").iterdir()} for data in first.values())


def test_maps_that_follow_the_power_score_higher_than_those_that_do_not(root):
    for case in Mixture(box(), root, pairs=2):
        own = case.layers["own_power"]
        for metric in (LayerMass(), LayerShare()):
            assert metric(case, explained(own)) > 0.8
            assert metric(case, explained(1 - own)) < metric(case, explained(own)) - 0.3
        assert LayerMass()(case, explained(torch.zeros_like(own))) == pytest.approx(own.mean().item(), abs=1e-6)


def test_over_time_the_map_is_summed_over_frequency(root):
    case = Esc10(box(), root, noise=QUIET)[0]
    one_band = torch.zeros(case.x.shape[1:])
    one_band[3] = case.truth[3].float()
    assert OverTime(IoU(0.0))(case, explained(one_band)) == 1
    assert IoU(0.0)(case, explained(one_band)) < 0.1
    audible = OverTime(IoU(0.0), layer="audible")(case, explained(one_band))
    assert audible == pytest.approx(0.5, abs=0.03)
    assert OverTime(IoU(0.0), layer="nothing")(case, explained(one_band)) is None


@pytest.mark.parametrize("kind", [log_mel_input(FRONT, frames=300), WaveInput(RATE, samples=3 * RATE, channels=2)])
def test_models_of_a_fixed_length_and_of_two_channels_are_asked_too(root, kind):
    """The recording is cut, or followed by silence, and given twice to a stereo model."""
    model = from_function(lambda rows: torch.ones(len(rows), 2), kind, classes=("low", "high"), multi_label=True)
    for case in (Esc10(model, root, noise=QUIET)[0], Mixture(model, root, pairs=2)[1]):
        assert case.x.shape == tuple(kind.shape)
        assert case.sound.wave.shape[1] == pytest.approx(3 * RATE, abs=100)
        assert case.truth.any()
        assert all(layer.shape == case.truth.shape for layer in case.layers.values())
        kept, removed = kind.split(case.sound, case.truth.float())
        assert torch.allclose(
            kept.wave + removed.wave, case.sound.wave.mean(0) if len(kept.wave) == 1 else case.sound.wave, atol=1e-5
        )


def test_a_model_without_a_normalisation_hears_silence_where_all_is_deleted():
    x = torch.zeros(1, 24, 50)
    assert (empty(x, box()) == FRONT.floor).all()
    normal = from_torch(torch.nn.Flatten(), log_mel_input(FRONT), mean=(-30.0,), std=(20.0,))
    assert (empty(x, normal) == -30).all()


def test_a_list_without_its_columns_is_told(tmp_path):
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "esc50.csv").write_text("filename,fold\na.wav,1\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"esc50.csv has no column category, esc10: wanted ESC-50's own list"):
        Esc10(box(), str(tmp_path))
