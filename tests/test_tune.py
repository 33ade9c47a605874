"""``hydra/sweeper=optuna``: what is searched, what a search leaves, how it goes on, and what it refuses."""

import json

import pytest

from dax_lightning.errors import InputError
from dax_lightning.run import main
from dax_lightning.run.tune import Search
from tests.conftest import untyped
from tests.test_cli import GRID, Command, photo, run, whole_run

__all__ = ["photo", "run", "whole_run"]
QUICK = [*GRID, "explainer=random", "hydra/sweeper=optuna", "tune.metric=queries"]
SEARCH = ["-m", "q=interval(20,500)"]


def overrides(folder, job):
    return (folder / str(job) / ".hydra" / "overrides.yaml").read_text(encoding="utf-8")


def jobs(folder):
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal())


def best(folder):
    return json.loads((folder / "best.json").read_text(encoding="utf-8"))


def counted(folder):
    """Rows that each job asked, by job."""
    lines = [line.split(",") for line in (folder / "summary.csv").read_text(encoding="utf-8").splitlines()]
    at = lines[0].index("queries")
    return {int(line[0]): int(line[at]) for line in lines[1:]}


@pytest.fixture
def counts(monkeypatch):
    """An explainer that asks q rows and needs no model: fewer are better, so the best job is known."""
    monkeypatch.setattr(
        main, "objective", lambda folder, _: float(overrides(folder.parent, folder.name).split("q=")[1].split()[0])
    )


@pytest.mark.usefixtures("counts")
def test_a_search_has_a_job_a_trial_and_names_the_best(run: Command, photo):
    assert run(photo, *SEARCH, "hydra.sweeper.n_trials=4", settings=QUICK) == 0, run.err + run.out
    assert jobs(run.folder) == [0, 1, 2, 3]
    told = {job: int(overrides(run.folder, job).split("q=")[1].split()[0]) for job in range(4)}
    found = best(run.folder)
    assert len(set(told.values())) == 4
    assert found["job"] == min(told, key=lambda job: told[job])
    assert (found["value"], found["metric"], found["higher_is_better"]) == (min(told.values()), "queries", False)
    assert found["overrides"] == [f"q={min(told.values())}"]
    assert f"best queries of 4 jobs: {min(told.values())}, job {found['job']}: q=" in run.out
    assert (run.folder / "summary.csv").is_file()
    assert (run.folder / "report.html").is_file()


def test_choices_alone_come_each_once(run: Command, photo):
    search = ["-m", "seed=0,1", "segmenter.rows=2,4"]
    settings = [one for one in QUICK if not one.startswith(("tune", "segmenter.rows"))]
    assert run(photo, *search, "tune.metric=seconds", settings=settings) == 0, run.err + run.out
    assert jobs(run.folder) == [0, 1, 2, 3]
    assert len({overrides(run.folder, job) for job in range(4)}) == 4


@pytest.mark.usefixtures("counts")
def test_a_search_goes_on_where_it_was(run: Command, photo):
    assert run(photo, *SEARCH, "hydra.sweeper.n_trials=2", settings=QUICK) == 0, run.err + run.out
    before = [overrides(run.folder, job) for job in (0, 1)]
    written = (run.folder / "0" / "rows.csv").stat().st_mtime_ns
    assert run(photo, *SEARCH, "hydra.sweeper.n_trials=4", settings=QUICK) == 0, run.err + run.out
    assert jobs(run.folder) == [0, 1, 2, 3]
    assert [overrides(run.folder, job) for job in (0, 1)] == before
    assert (run.folder / "0" / "rows.csv").stat().st_mtime_ns == written
    assert len({overrides(run.folder, job) for job in range(4)}) == 4  # and no suggestion twice
    assert best(run.folder)["jobs"] == 4


@pytest.mark.usefixtures("counts")
def test_a_job_that_was_stopped_is_run_again_first(run: Command, photo, monkeypatch):
    def stops(_cfg, folder):
        if folder.name == "1":
            raise KeyboardInterrupt
        return 0

    with monkeypatch.context() as patch:
        patch.setattr(main, "explain", stops)
        assert run(photo, *SEARCH, "hydra.sweeper.n_trials=3", settings=QUICK) == 130
    assert jobs(run.folder) == [0, 1]
    before = overrides(run.folder, 1)
    assert run(photo, *SEARCH, "hydra.sweeper.n_trials=3", settings=QUICK) == 0, run.err + run.out
    assert jobs(run.folder) == [0, 1, 2]
    assert overrides(run.folder, 1) == before
    assert (best(run.folder)["jobs"], best(run.folder)["with_a_value"]) == (3, 3)


def test_a_job_that_fails_does_not_end_the_search(run: Command, photo):
    assert run(photo, "-m", "limit=1,none,2", settings=QUICK) == 2, run.err + run.out
    assert jobs(run.folder) == [0, 1, 2]
    assert (best(run.folder)["jobs"], best(run.folder)["with_a_value"]) == (3, 2)
    assert "job 1: queries none: it failed" in run.out


def test_what_cannot_be_searched_is_told(run: Command, photo):
    search = ["-m", "q=20,30", photo]
    run.refused(
        "tune.metric=iou_bst is not measured: choose iou, pointing, top_share", *search, "tune.metric=iou_bst", settings=QUICK
    )
    more = ["+metric@metrics.sparseness=sparseness", "tune.metric=sparseness"]
    run.refused("tune.metric=sparseness has no better and worse", *search, *more, settings=QUICK)
    run.refused("has nothing to search: give values, such as lam3=", "-m", photo, settings=QUICK)
    run.refused(r"q=interval\(9,3\) is no range to search", "-m", "q=interval(9,3)", photo, settings=QUICK)
    assert run(*search, "hydra.sweeper.n_trials=1", settings=QUICK) == 0, run.err + run.out
    run.refused("run holds a search with searched values q: .*, now q: ", "-m", "q=20,40", photo, settings=QUICK)
    run.refused("run holds a search with tune.metric queries, now seconds", *search, "tune.metric=seconds", settings=QUICK)
    run.refused("run holds a search with settings .*now .*limit=1", *search, "limit=1", settings=QUICK)


def test_numbers_out_of_range_are_told():
    with pytest.raises(InputError, match=r"hydra\.sweeper\.n_trials=0: wanted 1 or more jobs"):
        Search(n_trials=0)
    with untyped(), pytest.raises(InputError, match=r"hydra\.sweeper\.n_jobs=no: wanted 1 or more jobs"):
        Search(n_jobs="no")  # pyright: ignore[reportArgumentType]
