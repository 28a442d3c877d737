"""SIGKILL at any instant, the same command again: the same result."""

import pytest
from rig import kills
from rig.subjects import LONG, MINI, SWEEP
from rig.trials import broken


def test_at_any_time(rig):
    trials = kills.uniform_kills(rig, MINI, 3)
    assert len(trials) == 3 and broken(trials) == []


def test_with_dropout_accumulation_and_several_jobs(rig):
    assert broken(kills.uniform_kills(rig, SWEEP, 1)) == []


def test_inside_saves(rig):
    trials = kills.save_kills(rig, MINI, 4)
    assert len(trials) == 4 and broken(trials) == []


def test_between_saves_at_rows_of_the_log(rig):
    trials = kills.log_kills(rig, MINI, 4)
    assert len(trials) == 4 and broken(trials) == []


def test_in_states_of_a_checkpoint(rig):
    trials = kills.write_order(rig, MINI, most=3)
    assert len(trials) == 3 and broken(trials) == []


@pytest.mark.slow
def test_ten_times_in_one_run(rig):
    trial = kills.many_kills(rig, LONG, 0.17)
    assert broken([trial]) == []
