import hashlib
import logging
import pickle
import random
import re
import sys
import threading
from dataclasses import fields, replace
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
import segment_anything
import torch
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, TwoWayTransformer
from segment_anything.modeling import Sam as SamNetwork
from skimage import data, transform

from dax_lightning.errors import InputError
from dax_lightning.segment.sam import ADDRESS, CHECKPOINTS, Download, Sam, fetch, masks_to_partition

CONF = Path(__file__).parents[1] / "conf" / "segmenter" / "sam.yaml"
SMALL = np.asarray(transform.resize(data.astronaut()[:400, 50:450], (64, 48), anti_aliasing=True))
PHOTO = torch.from_numpy(SMALL).float().permute(2, 0, 1).clamp(0, 1)
WIDTH, SIDE = 16, 64


def tiny_sam(checkpoint=None):
    """Segment Anything of 64 x 64 pixels and 16 channels, built like the real ones."""
    if checkpoint is not None:
        raise ValueError("the package loads the weights itself")
    encoder = ImageEncoderViT(
        img_size=SIDE,
        patch_size=16,
        embed_dim=WIDTH,
        depth=1,
        num_heads=2,
        out_chans=WIDTH,
        use_rel_pos=True,
        window_size=14,
        global_attn_indexes=(0,),
    )
    prompts = PromptEncoder(WIDTH, (SIDE // 16, SIDE // 16), (SIDE, SIDE), mask_in_chans=4)
    transformer = TwoWayTransformer(depth=1, embedding_dim=WIDTH, num_heads=2, mlp_dim=16)
    decoder = MaskDecoder(transformer_dim=WIDTH, transformer=transformer, iou_head_depth=2, iou_head_hidden_dim=16)
    return SamNetwork(encoder, prompts, decoder)


@pytest.fixture(autouse=True)
def sandbox(monkeypatch, tmp_path):
    """A tiny network in the place of vit_b, an empty cache, no proxy between the tests and their server."""
    monkeypatch.setitem(segment_anything.sam_model_registry, "vit_b", tiny_sam)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    file = tmp_path_factory.mktemp("weights") / "tiny.pth"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)  # this one finds several masks
        torch.save(tiny_sam().state_dict(), file)
    return file


def of(**settings):
    """A Sam; settings of its Download stand beside its own."""
    download = {field.name: settings.pop(field.name) for field in fields(Download) if field.name in settings}
    return Sam(download=Download(**download), **settings)


def sam(**settings):
    return of(points_per_side=4, pred_iou_thresh=0, stability_score_thresh=0, min_size=10, **settings)


def digest(file):
    return hashlib.sha256(file.read_bytes()).hexdigest()


# masks_to_partition


def masks_of(*pictures):
    return torch.tensor([[[mark == "#" for mark in row] for row in picture.split()] for picture in pictures])


def picture_of(partition):
    return " ".join("".join(map(str, row)) for row in partition.tolist())


BIG, SMALLER = "####.. ####.. ####..", "...##. ...##. ......"
HIDDEN = "......  .##... ......"


def test_smaller_masks_lie_on_top_in_any_order():
    for order in ([BIG, SMALLER, HIDDEN], [HIDDEN, SMALLER, BIG], [SMALLER, HIDDEN, BIG]):
        assert picture_of(masks_to_partition(masks_of(*order))) == "000113 022113 000033"


def test_of_masks_of_one_size_the_later_lies_on_top():
    assert picture_of(masks_to_partition(masks_of("###. ....", ".### ...."))) == "0111 2222"


def test_left_over_pixels_are_one_segment_a_connected_piece():
    assert picture_of(masks_to_partition(masks_of(".#. .#. .#."))) == "102 102 102"
    assert picture_of(masks_to_partition(masks_of(".# #."))) == "10 02"  # corners don't connect


def test_a_mask_in_pieces_is_one_segment():
    assert picture_of(masks_to_partition(masks_of("##### .....", "..#.. ..#.."))) == "00100 22133"


def test_a_mask_wholly_covered_is_no_segment():
    assert picture_of(masks_to_partition(masks_of("##..", ".#..", "#..."))) == "1022"


def test_no_masks_are_one_segment():
    assert picture_of(masks_to_partition(torch.zeros(0, 2, 3, dtype=torch.bool), min_size=99)) == "000 000"


def test_masks_that_cover_all_leave_nothing_over():
    assert picture_of(masks_to_partition(masks_of("##", ".#"))) == "01"
    assert picture_of(masks_to_partition(masks_of("## ##"))) == "00 00"


def test_a_hole_below_min_size_joins_the_mask_around_it():
    ring = "##### #...# #####"
    assert picture_of(masks_to_partition(masks_of(ring), min_size=3)) == "00000 01110 00000"
    assert picture_of(masks_to_partition(masks_of(ring), min_size=4)) == "00000 00000 00000"


def test_a_small_piece_joins_where_the_border_is_longest():
    left, right = "##....  ##.... ##....", "...###  ..#### ..####"
    # the hole in row 0, column 2 touches the left mask with one side and the right mask with two
    assert picture_of(masks_to_partition(masks_of(left, right), min_size=1)) == "112000 110000 110000"
    assert picture_of(masks_to_partition(masks_of(left, right), min_size=2)) == "110000 110000 110000"


def test_of_equal_borders_the_first_in_reading_order_wins():
    assert picture_of(masks_to_partition(masks_of("##...", "...##"), min_size=2)) == "00011"


def test_a_small_piece_of_a_mask_leaves_its_mask():
    assert picture_of(masks_to_partition(masks_of("#####", ".##.."), min_size=2)) == "11100"


def test_small_pieces_grow_together_the_smallest_first():
    # sizes 1, 2, 4: the 1 joins the 2, which is then large enough to stay
    assert picture_of(masks_to_partition(masks_of("#......", ".##....", "...####"), min_size=3)) == "1110000"
    # sizes 1, 2, 4 with 4 wanted: 1 + 2 is still too small and joins the 4
    assert picture_of(masks_to_partition(masks_of("#......", ".##....", "...####"), min_size=4)) == "0000000"


def test_small_pieces_only_end_as_one_segment():
    assert picture_of(masks_to_partition(masks_of("#.#. .#.#"), min_size=9)) == "0000 0000"


@pytest.mark.parametrize("min_size", [1, 4, 30])
def test_any_masks_give_a_partition_whose_pieces_are_large_enough(min_size):
    generator = torch.Generator().manual_seed(min_size)
    masks = torch.rand(12, 20, 30, generator=generator) > torch.rand(12, 1, 1, generator=generator)
    before = masks.clone()
    partition = masks_to_partition(masks, min_size)
    sizes = partition.flatten().bincount()
    assert torch.equal(masks, before)
    assert partition.dtype == torch.int64
    assert sizes.sum() == 600
    assert sizes.min() >= min_size
    assert len(sizes) > 1


# the segmenter, with a tiny network


def test_sam_gives_a_partition_and_leaves_everything_else_alone(checkpoint):
    x = PHOTO.clone()
    states = torch.get_rng_state(), random.getstate(), pickle.dumps(np.random.get_state())
    segments = sam(checkpoint=checkpoint)(x)
    assert segments.shape == (64, 48)
    assert segments.dtype == torch.int64
    assert segments.unique().tolist() == list(range(int(segments.max()) + 1))
    assert segments.max() >= 1
    assert segments.flatten().bincount().min() >= 10
    assert torch.equal(x, PHOTO)
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1:] == (random.getstate(), pickle.dumps(np.random.get_state()))


def test_sam_is_its_mask_generator_and_the_partition(checkpoint, tmp_path):
    network = tiny_sam().eval()
    network.load_state_dict(torch.load(checkpoint, weights_only=True))
    settings = {"points_per_side": 4, "pred_iou_thresh": 0.0, "stability_score_thresh": 0.0}
    photo = (PHOTO * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    found = segment_anything.SamAutomaticMaskGenerator(network, **settings).generate(photo)
    wanted = masks_to_partition(torch.tensor(np.array([record["segmentation"] for record in found])), 10)
    assert len(found) > 1
    assert torch.equal(sam(checkpoint=checkpoint, cache_dir=tmp_path)(PHOTO), wanted)


def test_sam_takes_grey_and_gives_the_same_twice(checkpoint, tmp_path):
    grey = PHOTO.mean(0, keepdim=True)
    first = sam(checkpoint=checkpoint, cache_dir=tmp_path / "a")(grey)
    assert torch.equal(sam(checkpoint=checkpoint, cache_dir=tmp_path / "b")(grey), first)


def test_segments_are_cached_by_input_settings_and_weights(checkpoint, tmp_path, monkeypatch):
    kept = tmp_path / "cache" / "dax_lightning" / "segments"
    first = sam(checkpoint=checkpoint)(PHOTO)
    copy = tmp_path / "copy.pth"
    copy.write_bytes(checkpoint.read_bytes())
    with monkeypatch.context() as patch:
        patch.setattr(torch, "load", lambda *_, **__: pytest.fail("the model was loaded again"))
        assert torch.equal(sam(checkpoint=checkpoint)(PHOTO), first)
        assert torch.equal(sam(checkpoint=copy)(PHOTO), first)  # where the weights lie doesn't matter
        assert torch.equal(sam(sha256=digest(checkpoint), allowed=False)(PHOTO), first)  # nor if they are still there
    assert len(list(kept.iterdir())) == 1
    replace(sam(checkpoint=checkpoint), min_size=9)(PHOTO)
    assert len(list(kept.iterdir())) == 2
    torch.manual_seed(10)
    torch.save(tiny_sam().state_dict(), copy)
    sam(checkpoint=copy)(PHOTO)
    assert len(list(kept.iterdir())) == 3


def test_the_cache_knows_all_that_changes_segments_and_nothing_else(checkpoint):
    changed = [{}, {"model_type": "vit_l"}, {"sha256": "0" * 64}, {"checkpoint": checkpoint}, {"points_per_side": 31}]
    changed += [{"pred_iou_thresh": 0.5}, {"stability_score_thresh": 0.5}, {"min_size": 1}]
    assert len({of(**settings)._fingerprint() for settings in changed}) == len(changed)
    same = [
        {},
        {"allowed": False},
        {"url": "https://mirror/sam.pth"},
        {"cache_dir": "elsewhere"},
        {"sha256": CHECKPOINTS["vit_b"][1]},
    ]
    assert len({of(**settings)._fingerprint() for settings in same}) == 1


def test_sam_pickles_without_its_model(checkpoint, tmp_path):
    segmenter = sam(checkpoint=checkpoint, cache_dir=tmp_path / "a")
    first = segmenter(PHOTO)
    pickled = pickle.dumps(segmenter)
    assert len(pickled) < 2000
    assert pickle.loads(pickled) == segmenter
    assert torch.equal(pickle.loads(pickled)(PHOTO), first)


def test_no_mask_good_enough_says_what_to_try(checkpoint):
    strict = Sam(points_per_side=2, pred_iou_thresh=1, stability_score_thresh=1, checkpoint=checkpoint)
    with pytest.raises(InputError, match=r"Sam found 1 segment in an input of 64 x 48.*lower pred_iou_thresh"):
        strict(PHOTO)


def test_sam_refuses_a_wrong_input_before_it_loads_anything():
    with pytest.raises(InputError, match="NaN"):
        sam(allowed=False)(torch.full((3, 8, 8), torch.nan))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model_type": "vit_x"}, "segmenter.model_type='vit_x'; wanted one of vit_b, vit_l, vit_h"),
        (
            {"checkpoint": "away.pth"},
            "no SAM checkpoint at away.pth; segmenter.checkpoint must name a file such as sam_vit_b_01ec64",
        ),
        ({"url": "ftp://host/file"}, "segmenter.download.url='ftp://host/file'; wanted an address that begins with https"),
        ({"url": "http:///file"}, "wanted an address"),
        ({"sha256": "01ec64"}, "segmenter.download.sha256='01ec64'; wanted 64 hexadecimal digits"),
        ({"points_per_side": 0}, "segmenter.points_per_side=0; wanted a whole number"),
        ({"pred_iou_thresh": 1.1}, "segmenter.pred_iou_thresh=1.1; wanted a finite number at least 0 and at most 1"),
        ({"stability_score_thresh": -0.1}, "segmenter.stability_score_thresh=-0.1"),
        ({"min_size": 0}, "segmenter.min_size=0"),
        ({"device": "gpu"}, "device='gpu': wanted cpu, cuda"),
        ({"device": "meta"}, "device='meta': wanted cpu, cuda"),
        ({"device": "cuda:99"}, r"device='cuda:99', but \d+ CUDA devices were found"),
    ],
)
def test_a_wrong_setting_is_refused_at_construction(settings, message):
    with pytest.raises(InputError, match=message):
        of(**settings)


def test_without_segment_anything_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "segment_anything", None)
    with pytest.raises(InputError, match=r"pip install 'dax-lightning\[sam\]'"):
        Sam()


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("evil"),))


def spoil(name, file):
    if name == "text":
        file.write_text("not weights")
    elif name == "empty":
        file.touch()
    elif name == "list":
        torch.save([torch.zeros(2)], file)
    elif name == "code":
        torch.save({"weights": Evil()}, file)
    elif name == "other network":
        torch.save({"weight": torch.zeros(2)}, file)
    else:
        torch.save(tiny_sam().state_dict(), file)
        file.write_bytes(file.read_bytes()[:3000])


@pytest.mark.parametrize("name", ["text", "empty", "list", "code", "other network", "cut"])
def test_a_checkpoint_that_is_none_is_told_in_one_line(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    spoil(name, tmp_path / "bad.pth")
    with pytest.raises(
        InputError, match=r"bad.pth is no SAM checkpoint of size vit_b \(.*segmenter.model_type=vit_b\|"
    ) as caught:
        sam(checkpoint=tmp_path / "bad.pth")(PHOTO)
    assert "\n" not in str(caught.value)
    assert not Path("evil").exists()


def test_a_given_checkpoint_is_checked_against_a_given_digest(checkpoint):
    sam(checkpoint=checkpoint, sha256=digest(checkpoint).upper()).prepare()
    with pytest.raises(InputError, match=r"tiny.pth has SHA-256 [0-9a-f]{64}, wanted 0000"):
        sam(checkpoint=checkpoint, sha256="0" * 64)(PHOTO)


# downloads, from a server on the loopback address


class Handler(BaseHTTPRequestHandler):
    server: "Server"  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self):
        self.server.asked.append(self.path)
        body = self.server.body
        if self.path in self.server.leads:
            self.send_response(302)
            self.send_header("Location", self.server.leads[self.path])
            self.end_headers()
            return
        if self.path == "/away.pth":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if self.path == "/cut.pth" else body)

    def log_message(self, format, *args):
        pass


class Server(HTTPServer):
    asked: list[str]
    body: bytes
    leads: dict[str, str]

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/"


@pytest.fixture
def server(checkpoint):
    with Server(("127.0.0.1", 0), Handler) as running:
        running.asked, running.body, running.leads = [], checkpoint.read_bytes(), {}
        thread = threading.Thread(target=partial(running.serve_forever, poll_interval=0.01))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def nowhere():
    """An address on which nobody listens."""
    with Server(("127.0.0.1", 0), Handler) as soon_closed:
        return soon_closed.url


def test_the_checkpoint_is_downloaded_once(server, checkpoint, tmp_path):
    settings = {"url": server.url + "tiny.pth", "sha256": digest(checkpoint)}
    segments = sam(**settings)(PHOTO)
    assert torch.equal(segments, sam(checkpoint=checkpoint, cache_dir=tmp_path / "other")(PHOTO))
    sam(**settings)(PHOTO.flip(2))
    sam(**settings, allowed=False).prepare()
    assert server.asked == ["/tiny.pth"]
    folder = tmp_path / "cache" / "dax_lightning"
    assert sorted(file.name for file in folder.iterdir()) == ["segments", "tiny.pth"]
    assert (folder / "tiny.pth").read_bytes() == checkpoint.read_bytes()


def test_a_downloaded_checkpoint_that_was_damaged_is_downloaded_again(server, checkpoint, tmp_path):
    settings = {"url": server.url + "tiny.pth", "sha256": digest(checkpoint), "cache_dir": tmp_path}
    (tmp_path / "tiny.pth").write_text("damaged")
    with pytest.raises(InputError, match=r"tiny.pth has another SHA-256 than wanted, and segmenter.download.allowed=false"):
        sam(**settings, allowed=False).prepare()
    sam(**settings).prepare()
    assert digest(tmp_path / "tiny.pth") == digest(checkpoint)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("tiny.pth", r"failed \(SHA256 hash of downloaded file .* expected .*0000.* but got [0-9a-f]{64}. Deleted download"),
        ("cut.pth", r"failed \(.*\d+ bytes read, \d+ more expected"),
        ("away.pth", r"failed \(404 Client Error: Not Found"),
    ],
)
def test_a_bad_download_leaves_nothing_and_one_line(server, tmp_path, name, reason):
    with pytest.raises(InputError, match=reason) as caught:
        sam(url=server.url + name, sha256="0" * 64, cache_dir=tmp_path).prepare()
    assert list(tmp_path.iterdir()) == []
    assert_says_how_to_go_on(str(caught.value), server.url + name, tmp_path / name)


def test_a_download_cut_off_is_taken_up_by_the_next_run(server, checkpoint, tmp_path):
    with pytest.raises(InputError, match="more expected"):
        fetch(server.url + "cut.pth", tmp_path / "cut.pth", digest(checkpoint))
    fetch(server.url + "whole.pth", tmp_path / "cut.pth", digest(checkpoint))
    assert (tmp_path / "cut.pth").read_bytes() == checkpoint.read_bytes()


def test_without_a_network_one_line_names_file_address_and_key(nowhere, tmp_path):
    with pytest.raises(InputError, match=r"failed .*refused") as caught:
        sam(url=nowhere + "sam.pth", cache_dir=tmp_path)(PHOTO)
    assert_says_how_to_go_on(str(caught.value), nowhere + "sam.pth", tmp_path / "sam.pth")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "url",
    [
        "http://mirror/sam.pth",
        "http://127.0.0.1.evil.org/sam.pth",
        "HTTP://mirror",
        "file:///etc/passwd",
        "https://mirror:x/",
        "//a",
    ],
)
def test_a_mirror_without_encryption_is_refused(url, tmp_path):
    with pytest.raises(InputError, match=r"^segmenter.download.url=.*; wanted .* begins with https://$"):
        sam(url=url)
    with pytest.raises(InputError, match=r"^the download's address=.*; wanted .* begins with https://$"):
        fetch(url, tmp_path / "a.pth", "0" * 64)


def test_a_password_in_an_address_is_refused_and_not_repeated():
    with pytest.raises(InputError, match=r"segmenter.download.url has a user or password in it") as caught:
        sam(url="https://me:hunter2@mirror/sam.pth")
    assert "hunter2" not in str(caught.value)


def test_a_redirect_is_followed_but_not_to_another_machine_in_the_clear(server, checkpoint, tmp_path):
    server.leads |= {"/a.pth": "/tiny.pth", "/b.pth": "http://192.0.2.1/tiny.pth", "/c.pth": "/c.pth"}
    fetch(server.url + "a.pth", tmp_path / "a.pth", digest(checkpoint))
    assert (tmp_path / "a.pth").read_bytes() == checkpoint.read_bytes()
    with pytest.raises(InputError, match=r"failed \(the address that it leads to='http://192.0.2.1/tiny.pth'; wanted"):
        fetch(server.url + "b.pth", tmp_path / "b.pth", digest(checkpoint))
    with pytest.raises(InputError, match="over 5 redirects"):
        fetch(server.url + "c.pth", tmp_path / "c.pth", digest(checkpoint))
    assert [file.name for file in tmp_path.glob("[abc].pth")] == ["a.pth"]


def test_a_download_that_is_too_large_is_given_up(server, checkpoint, tmp_path):
    size = checkpoint.stat().st_size
    with pytest.raises(InputError, match=rf"failed \({size:,} bytes, wanted at most {size - 1:,}\)"):
        fetch(server.url + "tiny.pth", tmp_path / "a.pth", digest(checkpoint), most=size - 1)
    assert not (tmp_path / "a.pth").exists()
    fetch(server.url + "tiny.pth", tmp_path / "a.pth", digest(checkpoint), most=size)


def test_without_leave_to_download_nothing_is_asked(server, tmp_path):
    with pytest.raises(InputError, match=r"is not there, and segmenter.download.allowed=false") as caught:
        sam(allowed=False, url=server.url + "tiny.pth", cache_dir=tmp_path).prepare()
    assert_says_how_to_go_on(str(caught.value), server.url + "tiny.pth", tmp_path / "tiny.pth")
    assert server.asked == []


def test_the_official_file_is_asked_for_by_default(tmp_path):
    for model_type, (name, sha256) in CHECKPOINTS.items():
        with pytest.raises(InputError) as caught:
            of(model_type=model_type, allowed=False, cache_dir=tmp_path).prepare()
        assert_says_how_to_go_on(str(caught.value), ADDRESS + name, tmp_path / name)
        assert re.fullmatch("[0-9a-f]{64}", sha256)


def test_a_folder_that_cant_be_written_is_told(server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"could not be made: the download from .* failed \(.*file"):
        sam(url=server.url + "tiny.pth", cache_dir=tmp_path / "file").prepare()


def assert_says_how_to_go_on(message, url, file):
    assert "\n" not in message
    assert all(part in message for part in (url, str(file), "segmenter.checkpoint=FILE"))


def test_loading_and_building_are_quiet(checkpoint, caplog, capsys):
    with caplog.at_level(logging.DEBUG):
        sam(checkpoint=checkpoint)(PHOTO)
    assert caplog.text == ""
    assert capsys.readouterr() == ("", "")
