"""The pins: conda's are the lock's, and the lock holds all that pyproject.toml leads to, at versions that satisfy it."""

import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, distribution

import pytest
from omegaconf import OmegaConf
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LINES = [line for line in (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
PINS = {canonicalize_name(pin.name): pin for pin in map(Requirement, LINES)}
STANDS_FOR = {
    "opencv-python": canonicalize_name("opencv-python-headless")
}  # the same module cv2, without needing libGL from the system
DIRECT = [*PROJECT["dependencies"], *(line for lines in PROJECT["optional-dependencies"].values() for line in lines)]


def test_every_pin_is_exact_and_there_once():
    assert len(PINS) == len(LINES)
    for pin in PINS.values():
        assert [part.operator for part in pin.specifier] == ["=="], pin
        assert "*" not in str(pin.specifier), pin
        assert pin.url is None, pin


def test_torch_is_the_one_that_was_asked_for():
    assert version("torch") == "2.14.1"
    assert version("torchvision") == "0.29.1"


def test_conda_has_the_same_pins():
    conda = OmegaConf.to_container(OmegaConf.load(ROOT / "environment.yml"))
    assert isinstance(conda, dict)
    assert conda["dependencies"][:2] == ["python=3.11", "pip"]
    assert conda["dependencies"][2:] == [{"pip": LINES}]


@pytest.mark.parametrize("line", DIRECT)
def test_the_lock_satisfies_pyproject(line):
    wanted = Requirement(line)
    if wanted.name != PROJECT["name"]:  # the extra dev names the other extras
        assert wanted.specifier.contains(version(wanted.name), prereleases=True)


def test_dev_holds_every_extra():
    """So the lock, made for dev, is right for all of them."""
    own = next(extra for extra in map(Requirement, PROJECT["optional-dependencies"]["dev"]) if extra.name == PROJECT["name"])
    assert own.extras == set(PROJECT["optional-dependencies"]) - {"dev"}


def test_the_lock_is_complete_and_holds_no_strays():
    """It is installed with ``--no-deps``, so what it lacks is nowhere."""
    names = set()
    for wanted in closure():
        name = canonical(wanted)
        assert name in PINS, f"{wanted} has no pin"
        assert wanted.specifier.contains(version(name), prereleases=True), f"{wanted}, but {PINS[name]}"
        names.add(name)
    assert {name for name, pin in PINS.items() if pin.marker is None or pin.marker.evaluate()} == names


def version(name: str) -> str:
    return next(iter(PINS[canonicalize_name(name)].specifier)).version


def canonical(wanted: Requirement) -> NormalizedName:
    name = canonicalize_name(wanted.name)
    return STANDS_FOR.get(name, name)


def closure() -> Iterator[Requirement]:
    """All that pyproject.toml leads to on this machine, by what the installed packages say they need."""
    waiting = [Requirement(line) for line in DIRECT]
    seen = set()
    while waiting:
        wanted = waiting.pop()
        if wanted.name == PROJECT["name"]:
            continue
        yield wanted
        if f"{wanted.name}{sorted(wanted.extras)}" not in seen:
            seen.add(f"{wanted.name}{sorted(wanted.extras)}")
            waiting += needs(wanted)


def needs(wanted: Requirement) -> Sequence[Requirement]:
    try:
        lines = distribution(canonical(wanted)).requires or []
    except PackageNotFoundError:  # of another platform, or an environment made by hand
        return []
    found = [Requirement(line) for line in lines]
    return [
        each for each in found if each.marker is None or any(each.marker.evaluate({"extra": e}) for e in ("", *wanted.extras))
    ]


def test_the_package_imports_without_its_extras():
    extras = [line for name, lines in PROJECT["optional-dependencies"].items() if name != "dev" for line in lines]
    named = {Requirement(line).name for line in extras} - {Requirement(line).name for line in PROJECT["dependencies"]}
    modules = ["sklearn" if name == "scikit-learn" else name.replace("-", "_") for name in named]
    wanted = "dax_lightning, dax_lightning.explainers.dax, dax_lightning.run.config"
    code = f"""
import sys
from importlib.metadata import Distribution, PackageNotFoundError
real = Distribution.from_name
def from_name(name):
    if name in {named}:
        raise PackageNotFoundError(name)
    return real(name)
Distribution.from_name = from_name
sys.modules.update(dict.fromkeys({modules}))
import {wanted}
"""
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert made.returncode == 0, made.stderr
