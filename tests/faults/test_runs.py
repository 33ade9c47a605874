"""A process that is killed, a store that is torn, shared or full: the same map, or one line and the store intact."""

import shutil

import pytest
import torch

from benchmarks.faults import changed, explained, full, killed, shared, skewed, torn

HARMLESS = [killed, skewed, torn, changed]


@pytest.fixture(scope="module")
def wanted(tmp_path_factory) -> torch.Tensor:
    return explained(tmp_path_factory.mktemp("alone"))


@pytest.mark.parametrize("fault", HARMLESS, ids=lambda fault: fault.__name__)
def test_the_map_is_the_undisturbed_runs(fault, wanted, tmp_path):
    run = fault(3, wanted, tmp_path)
    assert run.survived, run
    assert (run.lost, run.wrong) == (0, False)
    assert "\n" not in run.error


def test_two_processes_share_a_store(wanted, tmp_path):
    run = shared(0, wanted, tmp_path)
    assert run.survived
    assert run.lost == 0


def test_a_run_that_asks_all_again_would_be_seen(wanted, tmp_path):
    """Plants the fault that the table is to find: a store that is gone."""
    explained(tmp_path)
    shutil.rmtree(tmp_path / "store")
    run = skewed(0, wanted, tmp_path)
    assert run.lost > 100


@pytest.mark.slow
@pytest.mark.parametrize("fault", [*HARMLESS, shared, full], ids=lambda fault: fault.__name__)
def test_ten_times(fault, wanted, tmp_path):
    for number in range(10):
        folder = tmp_path / str(number)
        folder.mkdir()
        try:
            run = fault(number, wanted, folder)
        except OSError as error:
            pytest.skip(f"no disk can be mounted here: {error}")
        assert run.survived
        assert (run.lost, run.wrong) == (0, False)
