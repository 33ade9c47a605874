"""Coughs: synthetic along annotations, or real; the task, the windowed network and its training."""
# pyright: reportOptionalMemberAccess=false, reportOptionalSubscript=false

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from dax_lightning.black_box import from_function
from dax_lightning.black_box.torch.sound import Blstm, SoundModel, sound_model
from dax_lightning.errors import InputError
from dax_lightning.inputs import LogMel, SpectrogramInput
from dax_lightning.metrics import IoU, OverTime
from dax_lightning.tasks import Cough
from dax_lightning.tasks.cough import CoughSet, Split, read_labels
from dax_lightning.tasks.cough_sounds import VOICES, WHEEZE, synthetic
from dax_lightning.tasks.textgrids import Annotation, Event
from dax_lightning.training.cough import train_cough
from dax_lightning.training.sound import Schedule
from dax_lightning.types import Explanation
from scripts.train_sound import main
from tests.test_textgrids import textgrid

RATE = 8000
FRONT = LogMel(rate=RATE, window=320, hop=160, bands=24)
KINDS = [(0.0, 0.4, "silence"), (0.4, 0.8, "inhale"), (0.8, 1.1, "compress"), (1.1, 1.5, "cough"), (1.5, 2.0, "noise")]
NAMES = [f"r{number:03}" for number in range(160)]
SPLIT = Split(held_out=0.4, seconds=3.0)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Recordings of 2 s with the same five events, each file's a little later; one without a cough, one of 20 s."""
    folder = tmp_path_factory.mktemp("cough") / "set" / "annotation"
    folder.mkdir(parents=True)
    for number, name in enumerate(NAMES):
        moved = [(max(0, start - number / 500), end - number / 500, label) for start, end, label in KINDS]
        (folder / f"{name}.TextGrid").write_text(textgrid(moved, end=2), encoding="utf-8")
    (folder / "nothing.TextGrid").write_text(textgrid([(0, 1, "noise"), (1, 2, "inhale")]), encoding="utf-8")
    (folder / "alone.TextGrid").write_text(textgrid([(0, 2, "cough")]), encoding="utf-8")
    (folder / "long.TextGrid").write_text(textgrid([(0, 10, "noise"), (10, 20, "cough")]), encoding="utf-8")
    return str(folder.parent.parent)


def box(classes=("negative", "positive")):
    """Positive where the wheeze's band is louder at its loudest than the bands above it by over 4 dB."""

    def scores(rows):
        inside = (FRONT.centres >= WHEEZE[0]) & (FRONT.centres < WHEEZE[1])
        loud = torch.sigmoid(rows[:, 0, inside].amax((1, 2)) - rows[:, 0, FRONT.centres > 3000].amax((1, 2)) - 4)
        return torch.stack([1 - loud, loud], 1)

    return from_function(scores, SpectrogramInput(24, None, FRONT.floor, FRONT.top, FRONT), classes=classes)


# synthetic recordings

SAID = Annotation(Path("one.TextGrid"), 2.0, tuple(Event(kind, start, end) for start, end, kind in KINDS))


def during(wave, kind):
    start, end = next((s, e) for s, e, label in KINDS if label == kind)
    return wave[round(start * RATE) : round(end * RATE)]


@pytest.mark.parametrize("carrier", ["cough", "inhale", "compress", "noise", "silence"])
def test_a_positive_recording_differs_in_the_carriers_time_alone_and_in_one_band(carrier):
    without, with_it = (synthetic(SAID, RATE, kind).wave[0] for kind in (None, carrier))
    added = with_it - without
    for kind in VOICES:
        if kind not in (carrier, "throatclear"):
            assert (during(added, kind) == 0).all()
    power = torch.fft.rfft(during(added, carrier)).abs().square()
    hertz = torch.fft.rfftfreq(len(during(added, carrier)), 1 / RATE)
    assert power[(hertz > 0.8 * WHEEZE[0]) & (hertz < 1.2 * WHEEZE[1])].sum() > 0.95 * power.sum()
    assert added.square().mean() > 0


def test_a_recording_is_made_again_by_its_name_and_seed():
    first = synthetic(SAID, RATE, "cough")
    assert first.wave.equal(synthetic(SAID, RATE, "cough").wave)
    for carrier in ("cough", None):
        assert not synthetic(SAID, RATE, carrier).wave.equal(synthetic(SAID, RATE, carrier, seed=1).wave)
    state = torch.random.get_rng_state()
    synthetic(SAID, RATE, None)
    assert torch.random.get_rng_state().equal(state)


def test_event_types_have_levels_and_spectra_of_their_own():
    wave = synthetic(SAID, RATE, None).wave[0]
    level = {kind: during(wave, kind).square().mean().log10().item() * 10 for _, _, kind in KINDS}
    assert level["cough"] > level["inhale"] + 3 > level["noise"] > level["silence"]
    high = {}
    for kind in level:
        power = torch.fft.rfft(during(wave, kind)).abs().square()
        high[kind] = (power[len(power) // 4 :].sum() / power.sum()).item()  # over 1 kHz
    assert high["inhale"] > 0.8 > high["cough"] > 0.3 > high["compress"]


# the task


def test_cases_are_held_out_positive_recordings_and_know_the_time_of_each_event(root):
    task = Cough(box(), root, split=SPLIT)
    known = CoughSet(root, split=SPLIT)
    assert not {one.name for one in known.trained} & {one.name for one in known.held}
    assert {one.name for one in (*known.trained, *known.held)} == set(NAMES)  # neither long, nor without other events
    assert set(task.keys()) == {one.name for one in known.held if one.positive}
    assert 0 < len(task) < len(known.held)
    for case in task:
        assert case.target == 1
        assert set(case.layers) == {"silence", "inhale", "compress", "cough", "noise"}
        assert (case.truth == (case.layers["cough"] > 0)).all()
        late = int(case.key[1:]) / 500
        at = case.truth[0].nonzero()[:, 0] * FRONT.step
        assert at.min().item() == pytest.approx(1.1 - late, abs=0.02)
        assert at.max().item() == pytest.approx(1.5 - late, abs=0.021)
        assert case.x.shape[-1] == case.truth.shape[-1] == 101
        assert case.sound.seconds == 2


def test_a_sum_of_all_layers_covers_the_annotated_time_once(root):
    case = Cough(box(), root, split=SPLIT)[0]
    assert torch.stack(list(case.layers.values())).sum(0).max() == 1


def test_the_carrier_is_a_value(root):
    case = Cough(box(), root, carrier="inhale", split=SPLIT)[0]
    assert (case.truth == (case.layers["inhale"] > 0)).all()


def test_metrics_of_event_types_have_no_value_where_the_type_is_not_heard(root):
    case = Cough(box(), root, split=SPLIT)[0]
    made = Explanation(case.layers["inhale"].clone(), target=1, score=1.0, queries=1, seconds=0.0)
    assert OverTime(IoU(), layer="inhale")(case, made) == 1
    assert OverTime(IoU(), layer="cough")(case, made) == 0
    assert OverTime(IoU(), layer="throatclear")(case, made) is None


def test_correct_are_recordings_that_the_model_takes_for_positive(root):
    assert Cough(box(), root, split=SPLIT, only="correct", limit=1)[0].target == 1
    deaf = from_function(
        lambda rows: torch.tensor([[0.9, 0.1]]).expand(len(rows), 2), box().input, classes=("negative", "positive")
    )
    with pytest.raises(InputError, match="only=correct leaves no case of task=cough"):
        len(Cough(deaf, root, split=SPLIT, only="correct"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _: Cough(box(), None), "task=cough has no data: give data=DIR"),
        (lambda root: Cough(box(), root, carrier="sneeze"), "task.carrier=sneeze: choose one of cough, throatclear"),
        (lambda root: Cough(box(), root, carrier="throatclear"), "of 163 annotations, 0 have throatclear beside other events"),
        (lambda root: Cough(box(("a", "b")), root), "does not know the classes negative and positive"),
        (lambda _: Split(held_out=1.0), "task.split.held_out=1, task.split.seconds=8: wanted a share over 0 and under 1"),
        (lambda _: Split(seconds=0.0), "task.split.seconds=0: wanted"),
        (
            lambda root: Cough(box(), root, recordings=root),
            "holds 0 recordings, none named as one of 163 annotations: wanted such as",
        ),
    ],
)
def test_what_is_missing_is_told(root, make, message):
    with pytest.raises(InputError, match=message):
        make(root)[0]


# real recordings


@pytest.fixture
def recordings(root, tmp_path):
    """Waves of all recordings but one, in a subfolder, one that was not annotated, and labels."""
    (tmp_path / "deep").mkdir()
    known = CoughSet(root, split=SPLIT)
    labels = ["stem,label"]
    for one in (*known.trained, *known.held):
        if one.name != NAMES[0]:
            file = tmp_path / "deep" / (f"{one.name}.flac" if one.name > "r080" else f"{one.name}.wav")
            soundfile.write(file, known.sound(one, RATE).wave[0].numpy(), RATE)
            labels.append(f"{one.name},{'p' if one.positive else 'n'}")
    soundfile.write(tmp_path / "stranger.wav", np.ones(100) / 2, RATE)
    (tmp_path / "labels.csv").write_text("\n".join(labels), encoding="utf-8")
    return tmp_path


def test_real_recordings_give_the_cases_that_synthetic_ones_gave(root, recordings, caplog):
    made, real = Cough(box(), root, split=SPLIT), Cough(box(), root, str(recordings), split=SPLIT)
    assert "skipped: 4 annotations without a recording, 1 recordings without an annotation" in caplog.text
    assert set(real.keys()) == set(made.keys()) - {NAMES[0]}
    for case in real:
        same = made[made.keys().index(case.key)]
        assert (case.x - same.x).abs().max() < 1
        assert (case.truth == same.truth).all()
        assert case.target == 1
    assert set(real.content(0)) == {"file", "mask"}


def test_recordings_without_a_label_are_counted(root, recordings, caplog):
    table = recordings / "labels.csv"
    table.write_text("\n".join(table.read_text(encoding="utf-8").splitlines()[:-3]), encoding="utf-8")
    CoughSet(root, str(recordings), split=SPLIT)
    assert re.search(r"skipped: 3 of \d+ recordings without a label in .*labels.csv", caplog.text)


def test_a_table_of_another_encoding_is_told(tmp_path):
    (tmp_path / "labels.csv").write_text("stem,label\né,p\n", encoding="latin-1")
    with pytest.raises(InputError, match=r"labels\.csv is no UTF-8: save it as such"):
        read_labels(tmp_path / "labels.csv")


def test_without_labels_each_held_out_recording_is_asked_about_its_top_class(root, recordings):
    (recordings / "labels.csv").unlink()
    real = Cough(box(), root, str(recordings), split=SPLIT)
    assert len(real) == len([one for one in CoughSet(root, split=SPLIT).held if one.name != NAMES[0]])
    case = real[0]
    assert case.target == int(box()(case.x[None])[0].argmax())
    with pytest.raises(InputError, match=r"only=correct: .* holds no labels.csv"):
        Cough(box(), root, str(recordings), split=SPLIT, only="correct")
    with pytest.raises(InputError, match=r"holds no labels\.csv: training wants one"):
        train_cough(root, str(recordings), split=SPLIT)


def test_a_recording_shorter_than_its_annotation_fails_alone(root, recordings):
    task = Cough(box(), root, str(recordings), split=SPLIT)
    file = next((recordings / "deep").glob(f"{task.keys()[0]}.*"))
    wave, rate = soundfile.read(file)
    soundfile.write(file, wave[: len(wave) // 2], rate)
    with pytest.raises(InputError, match=r"lasts 1.00 s, the last event of its annotation ends at .* s: give the recording"):
        task[0]
    assert task[1].target == 1


@pytest.mark.parametrize("content", ["name,label\na,p\n", "stem,label\na,maybe\n", "stem\na\n"])
def test_a_table_of_labels_that_is_none_is_told(tmp_path, content):
    (tmp_path / "labels.csv").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match="wanted the columns stem and label, and a label of 0, n, negative, 1, p, positive"):
        read_labels(tmp_path / "labels.csv")


# the network and its training


def test_the_network_hears_windows_of_51_frames_each_10_later():
    torch.manual_seed(0)
    network = Blstm(8, 2).eval()
    rows = torch.randn(2, 1, 8, 71)
    with torch.no_grad():
        by_hand = torch.stack([network.out(network.lstm(rows[:, 0, :, s : s + 51].mT)[0].mean(1)) for s in (0, 10, 20)]).mean(0)
        assert network(rows).allclose(by_hand, atol=1e-6)
        assert network(rows[..., :65]).equal(network(torch.cat([rows[..., :65], rows[..., 64:65].expand(-1, -1, -1, 6)], -1)))
        assert network(rows[..., :3]).shape == (2, 2)


QUICK = Schedule(epochs=30, lr=0.005, batch_size=8, mixing=0.0, masks=0)


def test_training_tells_positive_from_negative_and_is_saved_with_its_carrier(root, tmp_path):
    made = train_cough(root, carrier="cough", split=SPLIT, front=FRONT, schedule=QUICK, device="cpu")
    held = CoughSet(root, split=SPLIT).held
    assert (made.facts["carrier"], made.facts["recordings"], made.classes) == ("cough", len(held), ("negative", "positive"))
    assert made.facts["accuracy"] > 0.9
    made.save(tmp_path / "cough.safetensors")
    assert SoundModel.load(tmp_path / "cough.safetensors").facts == made.facts
    heard = sound_model(str(tmp_path / "cough.safetensors"), device="cpu")
    with pytest.raises(InputError, match=r"task.carrier=noise: the model learned to tell by cough: write task.carrier=cough"):
        Cough(heard, root, carrier="noise")
    for split in (Split(SPLIT.held_out + 0.1, seed=SPLIT.seed), Split(SPLIT.held_out, seed=SPLIT.seed + 1)):
        with pytest.raises(
            InputError, match=rf"the model was trained on some.*write task.split.held_out={SPLIT.held_out:g} task"
        ):
            Cough(heard, root, split=split)
    whole, part = (
        len(Cough(heard, root, split=Split(share, seed=SPLIT.seed))) for share in (SPLIT.held_out, SPLIT.held_out - 0.1)
    )
    assert 0 < part < whole
    right = sum(int(heard(case.x[None])[0].argmax()) == 1 for case in Cough(heard, root, split=SPLIT))
    assert right > 0.8 * len([one for one in held if one.positive])


def test_training_takes_real_recordings_and_leaves_out_what_it_cannot_read(root, recordings, caplog):
    known = CoughSet(root, str(recordings), split=SPLIT)
    known.trained[0].file.write_bytes(b"no sound")
    made = train_cough(root, str(recordings), split=SPLIT, front=FRONT, schedule=Schedule(epochs=1, mixing=0.0), device="cpu")
    assert made.facts["recordings"] == len(known.held)
    assert "1 recordings skipped, such as: recording" in caplog.text
    again = train_cough(root, str(recordings), split=SPLIT, front=FRONT, schedule=Schedule(epochs=1, mixing=0.0), device="cpu")
    assert all(a.equal(b) for a, b in zip(made.module.state_dict().values(), again.module.state_dict().values(), strict=True))


def test_training_wants_both_labels(root, recordings):
    table = recordings / "labels.csv"
    table.write_text(table.read_text(encoding="utf-8").replace(",n", ",p"), encoding="utf-8")
    with pytest.raises(InputError, match="wanted both labels"):
        train_cough(root, str(recordings), split=SPLIT, front=FRONT)


def test_the_script_says_what_is_missing(tmp_path, capsys):
    for arguments in (["cough", "--root", str(tmp_path)], ["esc10", "--root", str(tmp_path)]):
        assert main([*arguments, "--out", str(tmp_path / "a.safetensors")]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"error: task.root={tmp_path} holds no ")
        assert error.count("\n") == 1
