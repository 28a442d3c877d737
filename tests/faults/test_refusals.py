"""What would give another result in silence is refused."""

import pytest
from rig import refusals
from rig.subjects import DIVERGING, FILES, MINI, OVERFLOWING
from rig.trials import broken


def test_changes_between_a_kill_and_the_same_command(rig):
    trials = refusals.changes(rig, FILES, ("a row edited", "learning rate x10", "accumulation x2"))
    assert len(trials) == 3 and broken(trials) == []


def test_a_second_process_in_the_folder(rig):
    assert broken([refusals.second_writer(rig, MINI)]) == []


@pytest.mark.parametrize("subject", [DIVERGING, OVERFLOWING], ids=["diverging", "overflowing"])
def test_numbers_that_are_none_are_never_sealed(rig, subject):
    assert broken([refusals.divergence(rig, subject)]) == []
