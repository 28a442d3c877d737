"""The same command gives the same bits; saves cost little."""

from rig import costs
from rig.subjects import MINI, WORLD
from rig.trials import broken


def test_the_same_command_twice(rig):
    assert broken(costs.repeated(rig, MINI, 1)) == []


def test_results_are_forced_to_the_disk(rig):
    assert broken([costs.syncs(rig, MINI)]) == []


def test_saves_take_less_than_a_twentieth(rig):
    assert broken([costs.save_share(rig, WORLD)]) == []
