"""Models with an oddity that real models have: they are explained rightly, or refused with what to declare."""

import multiprocessing
import pickle
import re
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from dax_lightning import explain
from dax_lightning.black_box import BlackBox, FunctionModel, ImageInput, from_factory, from_function, from_torch
from dax_lightning.errors import BudgetExceeded, InputError, ModelError
from dax_lightning.explainers.gradient.saliency import SmoothGrad
from dax_lightning.explainers.masking.occlusion import Occlusion
from dax_lightning.explainers.masking.rise import Rise
from dax_lightning.explainers.random import Random
from dax_lightning.explainers.shapley.kernel_shap import KernelShap
from dax_lightning.explainers.surrogate.lime import Lime
from dax_lightning.inputs.spectrogram import SpectrogramInput
from dax_lightning.run.config import build
from dax_lightning.testing import QuarterBox, QuarterModule
from tests.conftest import untyped
from tests.test_conf import composed

X = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def share(rows):
    """Brightness of the top left quarter."""
    return rows[:, :, :4, :4].mean((1, 2, 3))


def probabilities(rows):
    return torch.stack([share(rows), 1 - share(rows)], 1)


def one_logit(rows):
    return (8 * share(rows) - 4)[:, None]


def many_labels(rows):
    """Three independent logits: a quarter each."""
    return torch.stack([8 * rows[:, :, a : a + 4, b : b + 4].mean((1, 2, 3)) - 4 for a, b in ((0, 0), (0, 4), (4, 0))], 1)


def box_of(function, **more) -> BlackBox:
    return from_function(function, **{"size": (8, 8), **more})


# --- the caller's memory, and the module's flags ---


@pytest.mark.parametrize("layout", ["torch", "numpy", "numpy_channels_last"])
def test_a_function_that_writes_into_its_rows_changes_neither_the_callers_rows_nor_later_answers(layout):
    def blackens(rows):
        answer = probabilities(torch.as_tensor(rows if layout != "numpy_channels_last" else rows.transpose(0, 3, 1, 2)).clone())
        rows[:] = 0
        return answer

    box, x = box_of(blackens, rows=layout), X.clone()
    for _ in range(2):
        assert torch.allclose(box(x), probabilities(X))
    assert torch.equal(x, X)


def test_a_module_that_writes_into_its_rows_leaves_the_callers():
    box, x = from_torch(nn.Sequential(nn.Threshold(2.0, 0.0, inplace=True), nn.Flatten()), size=8), X.clone()
    box(x)
    assert torch.equal(x, X)


def test_maps_of_a_function_that_mirrors_in_place_are_those_of_one_that_does_not():
    def mirrors(rows):
        rows[:] = rows.flip(-1)
        return probabilities(rows)

    maps = [Rise(box_of(f), q=60).explain(X[0], 0).saliency for f in (mirrors, lambda rows: probabilities(rows.flip(-1)))]
    assert torch.equal(*maps)


class Net(nn.Module):
    """Dropout and a batch norm: other answers while training."""

    def __init__(self):
        super().__init__()
        self.norm, self.drop, self.last = nn.BatchNorm2d(3), nn.Dropout(0.5), nn.Linear(192, 2)

    def forward(self, rows):
        return self.last(self.drop(self.norm(rows).flatten(1))).softmax(1)

    def method(self, rows):
        return self(rows)


NET = Net()


def by_global(rows):
    return NET(rows)


def reaching(net):
    """The same module, given in each way that people give one."""
    held = {"net": net}
    return [
        net,
        net.forward,
        net.method,
        lambda rows: net(rows),
        lambda rows: held["net"](rows),
        partial(lambda net, rows: net(rows), net),
        Holder(net),
        Holder(net).ask,
    ]


class Holder:
    def __init__(self, net):
        self.net = net

    def __call__(self, rows):
        return self.net(rows)

    ask = __call__


@pytest.mark.parametrize("way", range(9))
def test_modules_answer_in_evaluation_mode_and_are_left_as_they_were(way):
    net = NET if way == 8 else Net()
    net.train()
    net.drop.eval()  # a flag of its own
    function = by_global if way == 8 else reaching(net)[way]
    state = {name: value.clone() for name, value in net.state_dict().items()}
    box = box_of(function)
    answers = [box(X), box(X)]
    assert [part.training for part in (net, net.norm, net.drop)] == [True, True, False]
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    net.eval()
    assert torch.equal(answers[0], answers[1])
    assert torch.allclose(answers[0], net(X))


def test_a_torch_box_leaves_the_users_module_alone():
    net = Net().train()
    box = from_torch(net, size=8, outputs="probabilities")
    assert torch.equal(box(X), box(X))
    assert net.norm.training
    kept = box(X)
    assert not torch.equal(net(X), net(X))  # dropout still works, and its norm has learned
    assert torch.equal(box(X), kept)
    assert box.fingerprint != from_torch(net, size=8, outputs="probabilities").fingerprint


# --- one column, several labels ---


@pytest.mark.parametrize("flat", [True, False])
def test_a_single_logit_is_two_classes(flat):
    box = box_of(lambda rows: one_logit(rows).flatten() if flat else one_logit(rows), outputs="logits", classes=["bright"])
    p = one_logit(X).sigmoid()
    assert torch.allclose(box(X), torch.cat([1 - p, p], 1))
    assert torch.allclose(box(X[:1]), torch.cat([1 - p, p], 1)[:1])  # (1,) or a number
    assert box.classes == ("not bright", "bright")
    assert (box.target("bright"), box.target("not bright")) == (1, 0)


def test_a_single_probability_is_two_classes_with_the_names_of_both():
    box = box_of(share, classes=["dark", "bright"])
    assert torch.allclose(box(X), torch.stack([1 - share(X), share(X)], 1))
    assert (box.class_name(0), box.class_name(1)) == ("dark", "bright")
    plain = box_of(lambda rows: share(rows).squeeze())
    assert plain(X[:1]).shape == (1, 2)  # a number for one row
    with pytest.raises(InputError, match="2 classes, ids 0 to 1"):
        plain.target(2)


def test_several_labels_are_sigmoids_of_their_own():
    box = box_of(many_labels, outputs="logits", multi_label=True, classes=["a", "b", "c"])
    assert torch.allclose(box(X), many_labels(X).sigmoid())
    given = box_of(lambda rows: many_labels(rows).sigmoid(), multi_label=True)
    assert torch.allclose(given(X), many_labels(X).sigmoid())


BRIGHT = torch.cat([X, torch.zeros(9, 3, 8, 8), torch.ones(9, 3, 8, 8)])  # answers from 0.02 to 0.98


@pytest.mark.parametrize(
    ("function", "declared", "told"),
    [
        (lambda rows: many_labels(rows).sigmoid(), {}, "say multi_label=true .* if each class is its own yes or no"),
        (one_logit, {}, "they look like logits: say outputs=logits .black_box.outputs=logits on"),
        (many_labels, {"multi_label": True}, "they look like logits: say outputs=logits .black_box.outputs=logits on"),
        (lambda rows: one_logit(rows).sigmoid(), {"outputs": "logits"}, "say outputs=probabilities"),
        (
            lambda rows: many_labels(rows).sigmoid(),
            {"outputs": "logits", "multi_label": True},
            "look like probabilities: say outputs=probabilities",
        ),
        (probabilities, {"outputs": "logits"}, "probabilities already .*: say outputs=probabilities"),
    ],
)
def test_what_does_not_fit_its_declaration_is_refused_with_the_right_one(function, declared, told):
    with pytest.raises(ModelError, match=told) as raised:
        box_of(function, **declared)(BRIGHT)
    assert "\n" not in str(raised.value)
    assert ("multi_label" in str(raised.value)) == ("multi_label" in told)


def test_a_module_that_ends_in_a_sigmoid_returns_no_logits():
    with pytest.raises(InputError, match=r"ends in Sigmoid, .* say outputs=probabilities"):
        from_torch(nn.Sequential(nn.Flatten(), nn.Sequential(nn.Linear(192, 1), nn.Sigmoid())), size=8)


def test_gradients_of_a_single_logit_speak_for_its_class_and_against_the_other():
    module = nn.Sequential(nn.Flatten(), nn.Linear(192, 1))
    box = from_torch(module, size=8, classes=["bright"])
    maps = [explain(box, X[0], name, method="input_x_gradient") for name in ("bright", "not bright")]
    assert torch.allclose(maps[0].saliency, (X[0] * next(module[1].parameters()).detach().view(3, 8, 8)).sum(0), atol=1e-6)
    assert torch.allclose(maps[0].saliency, -maps[1].saliency)
    assert [made.score for made in maps] == pytest.approx([box(X[:1])[0, 1].item(), box(X[:1])[0, 0].item()])


# --- precision and wrapping ---


@dataclass
class Output:
    logits: Any


@pytest.mark.parametrize(
    "wrap",
    [
        lambda table: (table, None),
        lambda table: [table, {"hidden": 1}],
        lambda table: {"loss": None, "logits": table},
        lambda table: {"anything": table},
        Output,
        lambda table: [row for row in table],
        lambda table: table.numpy(),
    ],
)
def test_scores_are_found_in_what_they_are_wrapped_in(wrap):
    assert torch.equal(box_of(lambda rows: wrap(probabilities(rows)))(X), probabilities(X))
    assert torch.equal(box_of(lambda rows: wrap(probabilities(rows)))(X[:1]), probabilities(X)[:1])


class Wrapped(nn.Module):
    """A small network with a batch norm that answers as research models do."""

    def __init__(self, wrap):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
        self.wrap = wrap

    def forward(self, rows):
        return self.wrap(self.net(rows))


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_wrapped_scores_of_modules_have_gradients_and_engines(engine):
    pytest.importorskip("openvino")
    plain = from_torch(Wrapped(lambda table: table), size=8)
    box = from_torch(Wrapped(lambda table: (table, None)), size=8, engine=engine)
    assert torch.allclose(box(X), plain(X), atol=1e-5)
    maps = [explain(each, X[0], 1, method="gradient").saliency for each in (box, plain)]
    assert torch.equal(*maps)


@pytest.mark.parametrize("default", [torch.float32, torch.float64])
@pytest.mark.parametrize(("dtype", "close"), [(torch.float16, 0.02), (torch.bfloat16, 0.05), (torch.float64, 1e-5)])
def test_modules_of_other_precision_under_any_default(dtype, close, default):
    net = Wrapped(lambda table: table)
    plain = from_torch(net, size=8)
    with torch.no_grad():
        wanted = plain(X)
    torch.set_default_dtype(default)
    try:
        box, again = from_torch(net.to(dtype), size=8, mean=(0.0, 0.0, 0.0), std=(1.0,) * 3), from_torch(net, size=8)
        assert box(X).dtype == torch.float32
        assert torch.allclose(again(X.to(dtype)), wanted, atol=close)
        assert explain(again, X[0], 1, method="gradient").saliency.isfinite().all()
        assert torch.allclose(box_of(lambda rows: probabilities(rows).tolist())(X), probabilities(X))
        made = explain(QuarterBox(8), X[0].double().numpy(), 0, method="rise", q=60)
    finally:
        torch.set_default_dtype(torch.float32)
    assert made.saliency.isfinite().all()


# --- targets ---

NUMBERS = ("1", "10", "2")  # ImageFolder's order


@pytest.mark.parametrize(("wanted", "found"), [(1, 1), ("2", 2), ("10", 1), ("id:0", 0), ("id:1", 1), (np.int64(1), 1)])
def test_class_names_that_are_numbers(wanted, found):
    assert box_of(many_labels, classes=NUMBERS).target(wanted) == found


def test_a_number_that_is_a_name_and_another_class_s_id_is_refused_with_both_readings():
    told = re.escape("target='1' is the name of class 0 and the id of class 1 ('10'): write target=id:0 or target=id:1")
    with pytest.raises(InputError, match=told):
        box_of(many_labels, classes=NUMBERS).target("1")


def test_an_exact_name_wins_over_other_spellings():
    assert box_of(many_labels, classes=("crane", "Crane", "id:0")).target("crane") == 0
    assert box_of(many_labels, classes=("crane", "Crane", "id:0")).target("id:0") == 2


@pytest.mark.parametrize("wanted", [np.int32(1), np.uint8(1), np.array(1), torch.tensor(1)])
def test_whole_numbers_of_any_kind_are_ids(wanted):
    box = QuarterBox(8)
    assert box.target(wanted) == 1
    assert Random(box).explain(X[0], wanted).target == 1
    assert Random(box).attribute(X, wanted).shape == X.shape


@pytest.mark.parametrize("wanted", [1.0, np.float32(1), torch.tensor(1.5), True, np.bool_(True)])
def test_other_numbers_are_no_targets(wanted):
    box = QuarterBox(8)
    for ask in (box.target, partial(Random(box).explain, X[0]), partial(Random(box).attribute, X)):
        with pytest.raises(InputError, match=r"wanted a class id .a whole number. or a class name"):
            ask(wanted)
    assert box.seen == 0


# --- fingerprints ---


def scaled(by):
    return lambda rows: probabilities(rows * by)


def with_default(by):
    def answer(rows, by=by):
        return probabilities(rows * by)

    return answer


@pytest.mark.parametrize("make", [scaled, with_default, lambda by: partial(lambda by, rows: rows * by, by), Holder])
@pytest.mark.parametrize(
    "values",
    [
        (0.5, 0.25),
        (torch.ones(3, 1, 1), torch.zeros(3, 1, 1)),
        (np.ones((3, 1, 1)), np.zeros((3, 1, 1))),
        ([{"a": np.ones(2)}], [{"a": np.zeros(2)}]),
        ({"x", "y"}, {"x", "z"}),
    ],
)
def test_a_function_is_known_by_what_it_holds(make, values):
    prints = [FunctionModel(make(value)).fingerprint for value in (*values, values[0])]
    assert prints[0] == prints[2] != prints[1]


def test_a_module_in_a_closure_is_known_by_its_weights():
    net, other = Net(), Net()
    other.load_state_dict(net.state_dict())
    prints = [FunctionModel(reaching(each)[3]).fingerprint for each in (net, other)]
    other.last.bias.data += 1
    assert prints[0] == prints[1] != FunctionModel(reaching(other)[3]).fingerprint


SOURCE = """
import numpy as np
{line}
def helper(rows): return rows.mean((2, 3)) * {factor}
def answer(rows): return helper(rows)
"""


def test_a_function_is_known_by_its_modules_source_and_globals(tmp_path, monkeypatch):
    prints = {}
    for name, line, factor in (("a", "", 1), ("b", "", 2), ("c", "W = 1", 1), ("d", "", 1)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine_to_ask.py").write_text(SOURCE.format(line=line, factor=factor))
        monkeypatch.chdir(tmp_path / name)
        sys.modules.pop("mine_to_ask", None)
        with monkeypatch.context() as paths:
            paths.setattr(sys, "path", list(sys.path))
            prints[name] = box_of("mine_to_ask:answer", multi_label=True).fingerprint
            assert str(tmp_path / name) in sys.path  # for what it imports later
    sys.modules.pop("mine_to_ask", None)
    assert prints["a"] == prints["d"]
    assert len({prints[name] for name in "abc"}) == 3


def test_a_fingerprint_may_be_given():
    assert box_of(probabilities, fingerprint="version 3").fingerprint == "version 3"


# --- weights and factories ---


def three_classes():
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 3))


WRAPPERS = {
    "plain": lambda state: state,
    "model": lambda state: {"model": state, "epoch": 3},
    "state_dict": lambda state: {"state_dict": {f"model.{k}": v for k, v in state.items()}},
    "parallel": lambda state: {"model": {f"module.{k}": v for k, v in state.items()}},
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_weights_are_found_in_what_training_scripts_write(tmp_path, wrapper):
    module = three_classes()
    torch.save(WRAPPERS[wrapper](module.state_dict()), tmp_path / "weights.pth")
    wanted = from_torch(module, size=8)(X)
    for path in ("tests.test_models:three_classes", "tests.test_models.three_classes"):
        assert torch.equal(from_factory(path, str(tmp_path / "weights.pth"), size=8, device="cpu")(X), wanted)
    save_file(module.state_dict(), tmp_path / "weights.safetensors")
    assert torch.equal(from_factory(path, str(tmp_path / "weights.safetensors"), size=8, device="cpu")(X), wanted)


def test_factories_that_make_no_module_are_told():
    with pytest.raises(InputError, match=r"black_box.factory=tests.test_models:box_of failed when called without arguments"):
        from_factory("tests.test_models:box_of")
    with pytest.raises(InputError, match=r"black_box.factory=builtins:dict made a dict, wanted a torch.nn.Module"):
        from_factory("builtins:dict")


# --- threads and processes ---


def test_threads_share_a_box_and_each_has_its_own_count_and_budget():
    box, together = QuarterBox(8), threading.Barrier(4)

    def work(number):
        together.wait()
        made = Rise(box, q=100 + number).again(budget=100 + number).explain(X[0], 0)
        with box.budget(10):
            for _ in range(10):
                box(X[:1])
            with pytest.raises(BudgetExceeded):
                box(X[:1])
        return made

    def bank(_):
        with box.bank():
            return box(X)

    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(work, range(4)))
        asked = box.seen
        list(pool.map(bank, range(4)))
    assert [each.queries for each in made] == [100, 101, 102, 103]
    assert asked == 100 + 101 + 102 + 103 + 4 * 10
    assert box.queries == asked + 4 * 5 >= box.seen
    assert torch.equal(made[0].saliency, Rise(QuarterBox(8), q=100).explain(X[0], 0).saliency)
    box(X.repeat(30, 1, 1, 1))  # no budget is left
    seen = box.seen
    box(X)
    box(X)
    assert box.seen == seen + 10  # and no bank


def test_modules_are_in_evaluation_mode_in_every_thread():
    net = Net().train()
    box = box_of(lambda rows: net(rows))
    wanted = box(X)
    with ThreadPoolExecutor(4) as pool:
        assert all(torch.equal(got, wanted) for got in pool.map(lambda _: box(X), range(40)))
    assert net.training


def explained(explainer):
    return explainer.explain(X[0], 0).saliency.numpy()


def test_boxes_and_explainers_pickle_and_spawn():
    both = [Rise(box, q=60) for box in (box_of(probabilities), from_torch(QuarterModule(8), ImageInput((8, 8))))]
    for explainer in both:
        with explainer.black_box.budget(500), explainer.black_box.bank():
            again = pickle.loads(pickle.dumps(explainer))
            assert np.array_equal(explained(again), explained(explainer))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert all(np.array_equal(*pair) for pair in zip(pool.map(explained, both), map(explained, both), strict=True))


def test_a_module_of_the_working_folder_by_the_command_lines_settings(tmp_path, monkeypatch):
    (tmp_path / "net_of_mine.py").write_text("from torch import nn\nnet = lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 1))")
    module = nn.Sequential(nn.Flatten(), nn.Linear(192, 1))
    torch.save({"model": {f"module.{k}": v for k, v in module.state_dict().items()}}, tmp_path / "weights.pt")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    own = ["black_box=module", "black_box.factory=net_of_mine:net", "black_box.weights=weights.pt", "black_box.size=[8,8]"]
    box = build(composed(*own, "black_box.classes=[cat]", "device=cpu").black_box, "black_box")
    assert torch.equal(box(X)[:, 1:], module(X).detach().sigmoid())
    assert box.classes == ("not cat", "cat")


# --- what a torch module can't take, and what is no module ---


class OneChannel(nn.Module):
    """A network whose first layer takes greyscale; built without arguments, as factories are."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(72, 3))

    def forward(self, rows):
        return self.net(rows)


def test_a_module_that_fails_on_its_rows_is_told_with_what_to_set():
    told = r"the module failed on rows of shape \(1, 3, 8, 8\): RuntimeError: .*: set size= or channels= \(black_box.size="
    for box in (from_torch(OneChannel(), size=8), from_torch(nn.Sequential(nn.Flatten(), nn.Linear(7, 3)), size=8)):
        with pytest.raises(ModelError, match=told) as raised:
            box(X[:1])
        assert "\n" not in str(raised.value)
        with pytest.raises(ModelError, match=told):
            explain(box, X[0], 1, method="gradient")


def test_a_module_that_refuses_its_size_by_an_error_of_its_own_is_told_at_its_first_rows():
    class Picky(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2))

        def forward(self, rows):
            raise AssertionError(f"height {rows.shape[2]} doesn't match 224")

    with pytest.raises(ModelError, match="AssertionError: height 8 doesn't match 224: set size="):
        from_torch(Picky(), size=8)(X[:1])


def test_greyscale_modules_by_channels():
    grey = X.mean(1, keepdim=True)
    assert from_torch(OneChannel(), size=8, channels=1)(grey).shape == (5, 3)
    assert from_factory("tests.test_models:OneChannel", size=8, channels=1, device="cpu")(grey).shape == (5, 3)


@pytest.mark.parametrize(
    ("thing", "told"),
    [
        (OneChannel().state_dict(), r"these are weights, wanted a torch module: build the network, then network.load_state_dict"),
        (OneChannel, r"OneChannel is a class, wanted a torch module: make one, such as OneChannel\(\)"),
        (probabilities, r"that is a function, wanted a torch module: from_function\(function, size=...\) takes functions"),
        ("resnet18", "that is a str, wanted a torch module"),
    ],
)
def test_what_is_no_module_is_told_with_what_to_do(thing, told):
    with untyped(), pytest.raises(InputError, match=told):
        from_torch(thing, size=8)


@pytest.mark.parametrize(
    ("mean", "std", "told"),
    [
        ((123.7, 116.3, 103.5), (58.4, 57.1, 57.4), r"mean=\(123.7, .* for rows in \[0, 1\]: divide mean and std by 255"),
        ((0.5, 0.5, float("nan")), (0.2, 0.2, 0.2), "divide mean and std by 255"),
        ((0.5, 0.5, 0.5), (0.2, 0.0, 0.2), r"std=\(0.2, 0.0, 0.2\): rows are divided by it, wanted over 0"),
        ((0.5, 0.5, 0.5), -1.0, "std=-1.0: rows are divided by it"),
        ((0.5, 0.5, 0.5), None, r"mean=\(0.5, 0.5, 0.5\) without std: give std= \(black_box.std= on the command line\) too"),
    ],
)
def test_a_mean_and_std_that_can_not_be_meant_are_refused(mean, std, told):
    with pytest.raises(InputError, match=told):
        from_torch(OneChannel(), size=8, mean=mean, std=std)


def test_a_mean_in_decibels_is_fine():
    module = nn.Sequential(nn.Flatten(), nn.Linear(32, 2))
    assert from_torch(module, SpectrogramInput(4, 8), mean=[-40.0], std=[20.0])(torch.full((2, 1, 4, 8), -30.0)).shape == (2, 2)


# --- scores that logits may be, and that look like probabilities ---

LOW = torch.rand(40, 3, 8, 8, generator=torch.Generator().manual_seed(1))
SQUASHED = "all of the model's scores lie in [0, 1], as probabilities do, and outputs=logits squashes them: if they are probabil"


@pytest.mark.parametrize(
    ("function", "multi_label", "say"),
    [
        (lambda rows: 0.4 + 0.1 * share(rows), False, "outputs=probabilities"),
        (lambda rows: 0.4 + 0.1 * rows.mean((2, 3)), True, "outputs=probabilities"),
        (lambda rows: 0.4 + 0.1 * rows.mean((2, 3)), False, "outputs=probabilities, multi_label=true"),
    ],
)
@pytest.mark.parametrize("method", ["lime", "rise", "occlusion", "shap", "smoothgrad"])
def test_probabilities_that_were_declared_as_logits_are_doubted(function, multi_label, say, method):
    class Ends(nn.Module):
        def forward(self, rows):
            return function(rows)

    box = from_torch(Ends(), size=8, multi_label=multi_label)
    grid = {"segments": torch.arange(64).view(8, 8) // 16} if method in ("lime", "shap") else {}
    explainer = {"lime": Lime, "rise": Rise, "occlusion": Occlusion, "shap": KernelShap, "smoothgrad": SmoothGrad}[method]
    many = {} if method == "smoothgrad" else {"q": 60}
    with box.bank():
        first, second = (explainer(box, **many).explain(LOW[0], 0, **grid).warnings for _ in range(2))  # the second from the bank
    assert first == second
    (told,) = [text for text in first if text.startswith(SQUASHED)]
    assert told.endswith(f"say {say}")


@pytest.mark.parametrize(
    ("function", "declared"),
    [
        (lambda rows: 8 * share(rows) - 4, {"outputs": "logits"}),  # on both sides of 0
        (lambda rows: 8 * rows.mean((2, 3)), {"outputs": "logits"}),
        (lambda rows: 0.5 + 0 * share(rows), {"outputs": "logits"}),  # always the same: a flat map says more
        (lambda rows: 0.4 + 0.1 * share(rows), {}),
    ],
)
def test_real_logits_and_declared_probabilities_are_not_doubted(function, declared):
    warned = explain(box_of(function, **declared), LOW[0], 0, method="rise", q=60).warnings
    assert not any("lie in [0, 1]" in text for text in warned)


def test_doubts_are_of_one_explanation_alone():
    box = box_of(lambda rows: 0.3 + 4 * share(rows), outputs="logits")
    assert explain(box, 0.1 * LOW[0], 0, method="rise", q=60).warnings
    assert not explain(box, 0.5 + 0.5 * LOW[0], 0, method="rise", q=60).warnings
