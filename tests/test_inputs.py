"""What an input is: each kind's shape, range, reading and showing."""

import pickle

import numpy as np
import pytest
import torch
from PIL import Image, ImageChops

from dax_lightning.errors import InputError
from dax_lightning.inputs import ImageInput, Input, SpectrogramInput, TableInput, TextInput, WaveInput

WORDS = ("[MASK]", "a", "good", "film", "plot")
TEXT = TextInput(WORDS, mask=0, unknown=0)
TABLE = TableInput(("age", "income"), lows=(0.1, 0), highs=(120, 1e6))
EXAMPLES = {  # one of each kind, with an input of its own
    "image": (ImageInput((8, 9)), torch.rand(3, 8, 9)),
    "spectrogram": (SpectrogramInput(6, 7, low=-80, high=0), -80 * torch.rand(1, 6, 7)),
    "wave": (WaveInput(100, 50), 2 * torch.rand(1, 50) - 1),
    "text": (TEXT, torch.tensor([[1.0, 2.0, 3.0]])),
    "table": (TABLE, torch.tensor([[0.1, 1e6]])),
}


def wrong(match: str, make, *args, **kwargs) -> None:
    with pytest.raises(InputError, match=match) as raised:
        make(*args, **kwargs)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("kind", EXAMPLES)
def test_every_kind(kind):
    made, x = EXAMPLES[kind]
    assert (made.kind, made.has_space) == (kind, kind not in ("text", "table"))
    made.check(x)
    assert pickle.loads(pickle.dumps(made)) == made
    assert made.show(x).convert("L").getextrema()[0] < 255  # something is drawn
    assert made.low < made.high
    for bad, told in (
        (x[None], "input of shape"),
        (torch.full_like(x, torch.nan), "NaN"),
        (torch.full_like(x, 2e6), "values from"),
        (torch.full_like(x, -90.0), "values from"),
    ):
        wrong(told, made.check, bad)


@pytest.mark.parametrize("kind", ["spectrogram", "wave"])
def test_arrays_are_read_with_and_without_the_channel(tmp_path, kind):
    made, x = EXAMPLES[kind]
    for array in (x.numpy(), x[0].numpy().astype(np.float64)):
        np.save(tmp_path / "x.npy", array)
        assert torch.equal(made.read(tmp_path / "x.npy"), x)
        assert torch.equal(made.prepare(array), x)
    np.save(tmp_path / "x.npy", x[0, :4].numpy())
    wrong("input of shape .*, wanted", made.read, tmp_path / "x.npy")
    (tmp_path / "x.npy").write_text("no array")
    wrong("is no array of NumPy", made.read, tmp_path / "x.npy")
    np.save(tmp_path / "x.npy", np.array(["word"]))
    wrong("wanted real numbers", made.read, tmp_path / "x.npy")
    np.savez(tmp_path / "x.npz", x, x)
    wrong("holds 2 arrays", made.read, tmp_path / "x.npz")
    wrong("does not exist", made.read, tmp_path / "none.npy")
    wrong("type list, wanted a path", made.prepare, [1.0])


def test_any_length():
    assert SpectrogramInput(6).shape == (1, 6, None)
    SpectrogramInput(6).check(torch.rand(1, 6, 3))
    wrong(r"wanted \(1, 6, any\)", SpectrogramInput(6).check, torch.rand(1, 5, 3))
    wrong("is empty", WaveInput(10).check, torch.zeros(1, 0))


def test_a_loud_band_is_light_and_low_bands_are_at_the_bottom():
    x = torch.zeros(1, 4, 5)
    x[0, 0, 1], x[0, 3] = 1, 0.5
    light = np.asarray(SpectrogramInput(4).show(x).convert("L"))
    assert light.shape == (4, 5)
    assert np.unravel_index(light.argmax(), light.shape) == (3, 1)
    assert light[0].min() > light[1:3].max()


def test_a_wave_is_a_line_in_one_piece():
    wave = WaveInput(1000)
    x = torch.sin(torch.arange(3000) / 50)[None]
    dark = np.asarray(wave.show(x).convert("L")) < 255
    assert dark.shape == (256, 1024)
    assert dark.any(0).all()
    middle = [column.nonzero()[0].mean() for column in dark.T]
    samples = x[0, torch.linspace(0, 2999, 1024).long()].numpy()
    assert np.corrcoef(middle, samples)[0, 1] < -0.99  # rows count from the top
    assert np.asarray(wave.show(torch.ones(1, 3)).convert("L"))[0].max() < 255  # the highest value is at the top


def test_sixteen_bit_sound(tmp_path):
    np.save(tmp_path / "x.npy", np.array([-32768, 0, 16384], np.int16))
    assert WaveInput(8000).read(tmp_path / "x.npy").tolist() == [[-1.0, 0.0, 0.5]]


def test_text(tmp_path):
    (tmp_path / "x.txt").write_text("a  good\nfilm 猫", encoding="utf-8")
    x = TEXT.read(tmp_path / "x.txt")
    assert x.tolist() == [[1, 2, 3, 0]]
    assert TEXT.decode(x) == ["a", "good", "film", "[MASK]"]
    assert (TEXT.low, TEXT.high, TEXT.shape) == (0, 4, (1, None))
    assert ImageChops.difference(TEXT.show(x[:, :2]), TEXT.show(x[:, 1:3])).getbbox() is not None
    assert TEXT.show(torch.ones(1, 200)).width < 800  # long texts are broken into lines
    wrong("word '猫' is not among the 5", TextInput(WORDS, mask=0).read, tmp_path / "x.txt")
    wrong("ids that are no whole numbers", TEXT.check, torch.tensor([[0.5]]))
    (tmp_path / "x.txt").write_bytes(b"\xff\xfe\xff")
    wrong("can't be read as text", TEXT.read, tmp_path / "x.txt")
    (tmp_path / "x.txt").write_text("")
    wrong("is empty", TEXT.read, tmp_path / "x.txt")


def test_table(tmp_path):
    file = tmp_path / "x.csv"
    file.write_text("income,name,age\n2e3,Ada,36\n")
    assert TABLE.read(file).tolist() == [[36.0, 2000.0]]
    wrong("feature age is 121, wanted", TABLE.check, torch.tensor([[121.0, 0.0]]))
    for text, told in (
        ("age,income\n", "holds 0 rows"),
        ("age,income\n1,2\n3,4\n", "holds 2 rows"),
        ("age\n1\n", "lacks the column income"),
        ("age,income\n1,much\n", "has 'much' in column income"),
        ("age,income\n1\n", "has None in column income"),
        ("age,income\n1,nan\n", "NaN"),
    ):
        file.write_text(text)
        wrong(told, TABLE.read, file)
    wrong("can't be read as a table", TABLE.read, tmp_path)
    free = TableInput(("a",))
    free.check(torch.tensor([[-1e9]]))
    data = torch.tensor([[1.0, 5.0], [2.0, 4.0]])
    assert TableInput.of(data) == TableInput(("x0", "x1"), (1.0, 4.0), (2.0, 5.0), (1.5, 4.5))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: SpectrogramInput(0), "mels=0"),
        (lambda: SpectrogramInput(4, low=1), "low=1, high=1"),
        (lambda: WaveInput(0), "rate=0"),
        (lambda: WaveInput(1, 0), "samples=0"),
        (lambda: TextInput(("a",), 0), "vocabulary of 1 tokens"),
        (lambda: TextInput(("a", "a"), 0), "vocabulary of 2 tokens, 1 distinct"),
        (lambda: TextInput(WORDS, mask=5), "mask=5: wanted an id of the vocabulary, 0 to 4"),
        (lambda: TableInput(()), "wanted one or more features"),
        (lambda: TableInput(("a", "a")), "each name once"),
        (lambda: TableInput(("a",), (0, 1)), "one number for each of 1 features"),
        (lambda: TableInput(("a",), (2,), (1,)), "smallest value lies above"),
        (lambda: TableInput.of(torch.zeros(0, 2)), "data of 0 rows"),
    ],
)
def test_refused(make, told):
    wrong(told, make)


def test_an_input_is_one_of_its_kind():
    assert all(isinstance(made, Input) for made, _ in EXAMPLES.values())
    assert not WaveInput(1).fits((1, 2, 3))


def test_what_says_nothing_and_what_networks_see():
    for made, x in EXAMPLES.values():
        made.check(made.neutral(x))
        unit = made.unit(x)
        assert unit.shape == x.shape
        assert unit.min() >= 0
        assert unit.max() <= 1
    spectrogram, _ = EXAMPLES["spectrogram"]
    assert spectrogram.neutral(torch.zeros(1, 6, 7)).unique().tolist() == [-80]  # 0 would be the loudest sound
    assert TextInput(WORDS, mask=4).neutral(torch.zeros(1, 2)).tolist() == [[4, 4]]
    table = TableInput(("a", "b", "c"), (0, -torch.inf, 3), (10, torch.inf, torch.inf))
    assert table.neutral(torch.ones(1, 3)).tolist() == [[0, 0, 3]]
    assert table.unit(torch.tensor([[2.0, 0.0, 9.0]]))[0, :2].tolist() == pytest.approx([0.2, 0.5])
    assert TableInput.of(torch.tensor([[1.0], [2.0], [9.0]])).neutral(torch.ones(1, 1)).item() == 4


PIXELS = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
VIEW = ImageInput((16, 20))


def close(x: torch.Tensor, other: torch.Tensor, most: float = 1 / 255) -> bool:
    return x.shape == other.shape and (x - other).abs().max().item() <= most


def test_a_picture_in_any_form_is_the_same_input(tmp_path):
    picture = Image.fromarray(PIXELS)
    picture.save(tmp_path / "photo.png")
    wanted = VIEW.image(picture)
    for source in (tmp_path / "photo.png", str(tmp_path / "photo.png"), picture, Image.open(tmp_path / "photo.png"), PIXELS):
        assert torch.equal(VIEW.prepare(source), wanted)
    assert torch.equal(VIEW.prepare(torch.from_numpy(PIXELS).permute(2, 0, 1)), wanted)
    assert torch.equal(VIEW.prepare(wanted), wanted)  # what is an input already
    assert torch.equal(VIEW.prepare(wanted.double().numpy()), wanted)
    floats = PIXELS / 255
    assert close(VIEW.prepare(floats), wanted)
    assert close(VIEW.prepare(PIXELS.astype(np.uint16) * 257), wanted)
    assert close(VIEW.prepare(torch.tensor(floats).permute(2, 0, 1).bfloat16()), wanted, 0.02)
    assert torch.equal(VIEW.prepare(PIXELS.astype(int)), wanted)
    clear = np.dstack([PIXELS, np.zeros((40, 60), np.uint8)])
    assert VIEW.prepare(clear).min() == 1  # nothing is seen of it but the white page
    assert close(VIEW.prepare(clear / 255), torch.ones(3, 16, 20))


def test_grey_pictures_and_grey_models():
    grey = PIXELS[..., 0]
    wanted = VIEW.image(Image.fromarray(grey))
    for source in (grey, grey[..., None], grey[None]):
        assert torch.equal(VIEW.prepare(source), wanted)
    assert close(VIEW.prepare(grey / 255), wanted)
    one = ImageInput((28, 28), channels=1)
    picture = Image.fromarray(PIXELS)
    assert one.prepare(picture).shape == (1, 28, 28)
    assert torch.equal(one.prepare(PIXELS), one.image(picture))
    assert close(one.prepare(PIXELS / 255), one.image(picture), 2 / 255)
    digit = torch.rand(28, 28)
    assert torch.equal(one.prepare(digit), digit[None])
    assert one.prepare(picture).shape == one.shape


def test_many_channels_from_arrays(tmp_path):
    twelve = ImageInput((8, 10), channels=12)
    bands = np.random.default_rng(1).random((16, 20, 12)).astype(np.float32)
    wanted = twelve.prepare(bands)
    assert wanted.shape == (12, 8, 10)
    alone = ImageInput((8, 10), channels=1)
    assert torch.equal(wanted[5], alone.prepare(bands[..., 5])[0])  # channels don't mix
    assert torch.equal(twelve.prepare(bands.transpose(2, 0, 1)), wanted)
    np.save(tmp_path / "x.npy", bands)
    np.savez(tmp_path / "x.npz", x=bands.transpose(2, 0, 1))
    assert torch.equal(twelve.read(tmp_path / "x.npy"), wanted)
    assert torch.equal(twelve.prepare(str(tmp_path / "x.npz")), wanted)
    assert twelve.show(wanted).size == (10, 8)
    wrong(r"wanted 12 channels: give an array of \(12, H, W\)", twelve.prepare, Image.fromarray(PIXELS))
    assert twelve.suffixes == (".npy", ".npz", ".tif", ".tiff")
    assert ".jpg" in VIEW.suffixes


@pytest.mark.parametrize(
    ("source", "told"),
    [
        (torch.rand(2, 3, 16, 20), "of 2 images.*give them one by one"),
        (torch.rand(1, 3, 16, 20), r"give x\[0\]"),
        (PIXELS.astype(float), r"from 0 to 255, wanted \[0, 1\]: divide by 255"),
        (PIXELS / 255 - 0.5, r"wanted \[0, 1\]"),
        (np.full((40, 60, 3), np.nan), "NaN"),
        (PIXELS.astype(int) * 2, "integers from 0 to 510, wanted 0 to 255"),
        (np.zeros((40, 60, 5)), "wanted 3 channels"),
        (np.zeros((0, 60, 3)), "is empty"),
        (np.array(["x"]), "wanted real numbers"),
        (PIXELS.astype(complex), "wanted real numbers"),
        ([1, 2], "type list, wanted a path, a PIL image, a NumPy array or a tensor"),
        (None, "type NoneType, wanted a path"),
        (3.0, "type float"),
        ("none.png", "does not exist"),
    ],
)
def test_what_is_no_picture(source, told):
    wrong(told, VIEW.prepare, source)
