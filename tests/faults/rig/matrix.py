"""The full matrix: every fault, on plain TRL and on ours, and in words what it is."""

from __future__ import annotations

import errno
import random
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from rig import costs, damage, disk, kills, refusals, stops, sweeps
from rig.subjects import (
    DIVERGING,
    FILES,
    LONG,
    MINI,
    OVERFLOWING,
    POOL,
    SLOW,
    SWEEP,
    TRL,
    TRL_DIVERGING,
    TRL_JIT,
    TRL_LONG,
    TRL_OVERFLOWING,
    WORLD,
)  # fmt: skip
from rig.trials import Rig, Trial

Trials = Callable[[Rig], list[Trial]]


class Skipped(Exception):
    """A fault that cannot be made here, and why."""


@final
@dataclass(frozen=True)
class Row:
    """One fault.

    Args:
        fault: in words.
        ours: its trials on a run of ours.
        theirs: its trials on plain TRL; ``None`` = TRL has nothing of the kind.
    """

    fault: str
    ours: Trials
    theirs: Trials | None = None


def _disks(subject_sizes: Trials) -> Trials:
    def trials(rig: Rig) -> list[Trial]:
        if not disk.can_mount(rig.work):
            raise Skipped("mounting a disk in memory is not permitted here")
        return subject_sizes(rig)

    return trials


MATRIX = (
    Row("nothing: the same command in three folders",
        lambda rig: costs.repeated(rig, SWEEP, 2), lambda rig: costs.repeated(rig, TRL, 2)),
    Row("nothing: two worker processes instead of one",
        lambda rig: costs.repeated(rig, POOL, 2, like=SWEEP)),
    Row("SIGKILL at 25 times spread over the run",
        lambda rig: kills.uniform_kills(rig, SWEEP, 25),
        lambda rig: kills.uniform_kills(rig, TRL, 25)),
    Row("SIGKILL at 25 calls inside saves: before, in the middle, after",
        lambda rig: kills.save_kills(rig, SWEEP, 25), lambda rig: kills.save_kills(rig, TRL, 25)),
    Row("SIGKILL before each new name of a checkpoint (write order)",
        lambda rig: kills.write_order(rig, SWEEP), lambda rig: kills.write_order(rig, TRL)),
    Row("SIGKILL ten times in one run",
        lambda rig: [kills.many_kills(rig, LONG, 0.17)],
        lambda rig: [kills.many_kills(rig, TRL_LONG, 0.17)]),
    Row("the newest checkpoint: each file deleted, truncated, one bit flipped, half zeroed",
        lambda rig: damage.checkpoint_damage(rig, SWEEP),
        lambda rig: damage.checkpoint_damage(rig, TRL)),
    Row("sealed stages: each file deleted, truncated, one bit flipped, half zeroed",
        lambda rig: damage.stage_damage(rig, MINI)),
    Row("SIGTERM, SIGINT, SIGUSR1 at 20 times spread over the run",
        lambda rig: stops.signals_at_times(rig, SWEEP, 20),
        lambda rig: stops.signals_at_times(rig, TRL, 20)),
    Row("signals at 20 calls that write, over all stages "
        "(TRL: SIGTERM at 9 times, with `enable_jit_checkpoint`)",
        lambda rig: stops.signals_at_calls(rig, SWEEP, 20),
        lambda rig: stops.signals_at_times(rig, TRL_JIT, 9, [signal.SIGTERM])),
    Row("a second signal during a long step", lambda rig: [stops.second_signal(rig, SLOW)]),
    Row("disk full (a small disk of its own), then space",
        _disks(lambda rig: disk.full_disks(rig, SWEEP, [100, 500, 1500, 4000])),
        _disks(lambda rig: disk.full_disks(rig, TRL, [100, 500, 1500]))),
    Row("files may have 100 kB / 10 kB (`ulimit -f`), then not",
        lambda rig: disk.file_limits(rig, SWEEP, [100_000, 10_000]),
        lambda rig: disk.file_limits(rig, TRL, [100_000, 10_000])),
    Row("EIO at calls that change a file, one at a time",
        lambda rig: disk.failing_calls(rig, MINI, errno.EIO, most=rig.most_calls),
        lambda rig: disk.failing_calls(rig, TRL, errno.EIO, most=40)),
    Row("ENOSPC from such a call on",
        lambda rig: disk.failing_calls(rig, MINI, errno.ENOSPC, "fail_from", rig.most_calls),
        lambda rig: disk.failing_calls(rig, TRL, errno.ENOSPC, "fail_from", most=40)),
    Row("training diverges (learning rates 1e30 and 1e39, which overflows at once)",
        lambda rig: [refusals.divergence(rig, s) for s in (DIVERGING, OVERFLOWING)],
        lambda rig: [refusals.divergence(rig, s) for s in (TRL_DIVERGING, TRL_OVERFLOWING)]),
    Row("data or settings changed between a kill and the same command",
        lambda rig: refusals.changes(rig, FILES), lambda rig: refusals.trl_changes(rig, TRL)),
    Row("two processes in one folder",
        lambda rig: [refusals.second_writer(rig, SWEEP)],
        lambda rig: [refusals.second_writer(rig, TRL)]),
    Row("a sweep on two workers whose driver is killed ten times",
        lambda rig: [sweeps.killed_sweep(rig, POOL, 10, random.Random(0))]),
    Row("a worker killed during a sweep",
        lambda rig: sweeps.killed_workers(rig, POOL, 6, random.Random(1))),
    Row("a job that always crashes, a job that diverges",
        lambda rig: [sweeps.crashing_job(rig, POOL), sweeps.diverging_job(rig, POOL)]),
    Row("the log after a kill: one row a step",
        lambda rig: kills.log_kills(rig, SWEEP, 12), lambda rig: [costs.trl_log(rig, TRL)]),
    Row("what is forced to the disk",
        lambda rig: [costs.syncs(rig, SWEEP)], lambda rig: [costs.syncs(rig, TRL)]),
    Row("what saves cost, embedded world",
        lambda rig: [costs.save_share(rig, WORLD)]),
)  # fmt: skip
"""Every fault, in the order of the page."""
