"""Damaged files are found, named and made good."""

from rig import damage
from rig.subjects import MINI
from rig.trials import broken


def test_of_the_newest_checkpoint(rig):
    trials = damage.checkpoint_damage(rig, MINI, every=5)
    assert len(trials) >= 5 and broken(trials) == []


def test_of_sealed_stages(rig):
    trials = damage.stage_damage(rig, MINI, every=13)
    assert len(trials) >= 5 and broken(trials) == []
