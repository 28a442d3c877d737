"""Signals end a run in order: exit code 75, and the same command ends it exactly."""

from rig import stops
from rig.subjects import MINI, SLOW, SWEEP
from rig.trials import broken


def test_at_any_time(rig):
    trials = stops.signals_at_times(rig, MINI, 3)
    assert len(trials) == 3 and broken(trials) == []


def test_while_files_are_written_in_every_stage(rig):
    trials = stops.signals_at_calls(rig, SWEEP, 3)
    assert len(trials) == 3 and broken(trials) == []


def test_the_second_signal_ends_a_long_step_at_once(rig):
    assert broken([stops.second_signal(rig, SLOW)]) == []
