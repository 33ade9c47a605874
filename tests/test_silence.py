"""Nothing sends anything home: a job and each engine run in a process that notes every address that is looked up or called."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

GUARD = """
import socket
def noted(*args, **more):
    with open({log!r}, "a") as log:
        log.write(f"{{args[-1] if isinstance(args[0], socket.socket) else args[0]}}\\n")
    raise OSError("no network here")
for name in ("connect", "connect_ex", "sendto"):
    setattr(socket.socket, name, noted)
for name in ("getaddrinfo", "gethostbyname", "create_connection"):
    setattr(socket, name, noted)
"""
END = """
import sys, time
time.sleep(1)  # for what runs beside it
assert not sys.modules.get("openvino_telemetry")
"""
ENGINE = """
import torch
from dax_lightning import from_torch
box = from_torch(torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3), torch.nn.Flatten(), torch.nn.Linear(72, 2)), 8, engine="{engine}")
assert box(torch.rand(2, 3, 8, 8)).shape == (2, 2)
"""
JOB = """
from dax_lightning.run.main import run
command = "task=shapes task.n=1 black_box=callable black_box.function=tests.functions.quarters black_box.size=[32,32]"
assert run(command.split() + ["segmenter=grid", "q=40", "device=cpu", "hydra.run.dir={folder}"]) in (0, 3)
"""


def told_home(code: str, folder: Path) -> list[str]:
    """What a process that runs this code, and all processes that it starts, wanted to reach; and files left at home."""
    log, home = folder / "addresses", folder / "home"
    log.touch()
    home.mkdir()
    (folder / "sitecustomize.py").write_text(GUARD.format(log=str(log)))  # every Python process begins with it
    path = f"{folder}:{ROOT}"
    environment = {"PATH": os.defpath, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "HOME": str(home)}
    done = subprocess.run(
        [sys.executable, "-c", code + END], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return [*log.read_text().splitlines(), *(one.name for one in home.iterdir() if not one.name.startswith("."))]


@pytest.mark.parametrize("engine", ["torch", "openvino", "openvino_bf16"])
def test_engines_are_silent(engine, tmp_path):
    if engine != "torch":
        pytest.importorskip("openvino")
    assert told_home(ENGINE.format(engine=engine), tmp_path) == []


def test_a_job_is_silent(tmp_path):
    assert told_home(JOB.format(folder=tmp_path / "run"), tmp_path) == []


def test_the_guard_hears_what_a_child_process_sends(tmp_path):
    child = (
        "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import urllib.request as u; u.urlopen(\"http://a.b\")'])"
    )
    assert told_home(child, tmp_path) != []
