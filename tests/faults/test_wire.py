"""A server that spoils its answers: the run's answers are the undisturbed server's bit for bit, or one line ends it."""

import pytest

from benchmarks.faults import AFTER, BEFORE, FAULTS, Outcome, row, run_once, wire_outcomes

ORDERED = [fault for fault in FAULTS if fault != "rows out of order"]  # without ids, the order is trusted


@pytest.mark.parametrize(("form", "fault"), [*(("own", fault) for fault in FAULTS), *(("v2", fault) for fault in ORDERED)])
def test_answers_are_the_undisturbed_servers_bit_for_bit(form, fault):
    run = run_once(fault, form=form, batches=2)
    assert run.injected > 0
    assert run.survived, run.error
    assert (run.paid_twice > 0) == (fault != "rows out of order")  # these are put right without asking again


@pytest.mark.parametrize("fault", ORDERED)
def test_a_server_that_never_answers_rightly_ends_the_run_with_one_line(fault):
    run = run_once(fault, batches=1, share=1.0)
    assert (run.survived, run.wrong, run.lost) == (False, False, 32)
    assert run.error.startswith("http://127.0.0.1:")
    assert run.error.endswith(" tries")
    assert "\n" not in run.error
    told = {"500": "500", "429": "429", "time-out": "timeout=0.4", "lost connection": "lost the connection"}
    told |= {"cut body": "lost the connection", "malformed JSON": "no whole JSON", "NaN": "NaN", "wrong number of rows": "7 rows"}
    assert told[fault] in run.error


def test_a_wrong_answer_would_be_seen():
    """Plants the fault that the table is to find: rows out of order, without ids to tell."""
    run = run_once("rows out of order", batches=2, ids="nowhere")
    assert run.wrong
    assert not run.survived


def test_a_row_of_the_table():
    runs = [Outcome("500", 3, True, 0, 24), Outcome("500", 1, False, 64, 8, "http://h answered 500, after 8 tries")]
    assert row(runs) == "| 500 | 4 | 1 of 2 | 64 | 32 |"
    assert {*BEFORE, *AFTER} == set(FAULTS)


@pytest.mark.slow
def test_no_run_gives_a_wrong_answer():
    for runs in wire_outcomes(seeds=20):
        assert not any(run.wrong for run in runs)
        assert sum(run.survived for run in runs) >= 17, runs[0].fault
