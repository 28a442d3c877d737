"""A full disk is told and costs nothing; a call that fails is told and costs nothing."""

import errno

import pytest
from rig import disk
from rig.subjects import MINI
from rig.trials import broken


def test_a_full_disk_is_told_and_the_same_command_ends_exactly(rig):
    if not disk.can_mount(rig.work):
        pytest.skip("mounting a disk in memory is not permitted here")
    trials = disk.full_disks(rig, MINI, [150])
    assert [t.outcome for t in trials] == ["told, then exact"]


def test_files_that_may_not_grow(rig):
    trials = disk.file_limits(rig, MINI, [10_000])
    assert [t.outcome for t in trials] == ["told, then exact"]


@pytest.mark.parametrize(
    ("number", "how"), [(errno.EIO, "fail"), (errno.ENOSPC, "fail"), (errno.ENOSPC, "fail_from")]
)
def test_calls_that_fail(rig, number, how):
    trials = disk.failing_calls(rig, MINI, number, how, most=3)
    assert len(trials) == 3 and broken(trials) == []
