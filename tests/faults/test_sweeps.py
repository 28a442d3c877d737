"""A sweep on worker processes survives its driver, its workers and its jobs."""

import random

import pytest
from rig import sweeps
from rig.subjects import POOL
from rig.trials import broken


def test_a_killed_driver_leaves_nobody_behind_and_nothing_lost(rig):
    assert broken([sweeps.killed_sweep(rig, POOL, 1, random.Random(0))]) == []


def test_a_job_that_always_crashes_leaves_the_others_alone(rig):
    assert broken([sweeps.crashing_job(rig, POOL)]) == []


@pytest.mark.slow
def test_killed_workers_and_a_job_that_diverges(rig):
    assert broken(sweeps.killed_workers(rig, POOL, 3, random.Random(1))) == []
    assert broken([sweeps.diverging_job(rig, POOL)]) == []
