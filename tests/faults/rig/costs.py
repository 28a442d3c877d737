"""What nothing disturbs: equal results of equal commands, logs, what saves cost."""

from __future__ import annotations

import statistics
import time

from rig.subjects import Paretune, Subject, Trl, read_rows
from rig.trials import Rig, Trial, judge, last_line


def repeated(rig: Rig, subject: Subject, n: int, like: Subject | None = None) -> list[Trial]:
    """The same command in other folders, compared with itself or with one that must be alike."""
    expected = rig.whole(like or subject).result

    def trial(k: int) -> Trial:
        folder = rig.fresh(subject)
        ended = rig.run(subject, folder)
        outcome = judge(ended, subject.result(folder), expected)
        rig.drop(folder)
        return Trial(f"run {k + 2}", outcome, outcome == "exact", last_line(ended.output))

    return rig.each(f"repetitions of {subject.target}", trial, range(n))


def trl_log(rig: Rig, subject: Trl) -> Trial:
    """Rows of TRL's log after one kill between two checkpoints: every step should have one."""
    folder = rig.fresh(subject)
    expected_folder = rig.fresh(subject)
    rig.run(subject, expected_folder)
    expected = read_rows(expected_folder / "log.jsonl")
    child = rig.start(subject, folder)
    while len(read_rows(folder / "log.jsonl")) < 23 and not child.has_ended():
        time.sleep(0.005)
    child.kill_group()
    child.wait()
    rig.run(subject, folder, again=True)
    found = read_rows(folder / "log.jsonl")
    steps = {row["step"] for row in found}
    last, right = found[-1]["num_tokens"], expected[-1]["num_tokens"]
    for used in (folder, expected_folder):
        rig.drop(used)
    outcome = (
        f"{len(found)} rows for {len(steps)} steps, the token counter ends at {last:,.0f} "
        f"instead of {right:,.0f}"
    )
    return Trial("log after a kill", outcome, found == expected)


def syncs(rig: Rig, subject: Subject) -> Trial:
    """Files that were forced to the disk."""
    calls = rig.whole(subject).calls
    n = sum(call.kind == "fsync" for call in calls)
    made = len({call.path for call in calls if call.kind == "open"})
    return Trial("fsync", f"{n} fsync for {made} files written", n > 0)


def saves_of(rig: Rig, subject: Paretune) -> list[float]:
    """Seconds of each checkpoint, from its first call to its last."""
    groups = rig.whole(subject).saves(subject)
    saves = [g for g in groups if any(c.kind == "rename" and "/checkpoint-" in c.path for c in g)]
    return [save[-1].time - save[0].time for save in saves]


def save_share(rig: Rig, subject: Paretune, interval: float = 300.0) -> Trial:
    """Share of the training time that saves take at the default interval of five minutes."""
    seconds = saves_of(rig, subject)
    share = max(seconds) / interval
    outcome = (
        f"{statistics.median(seconds):.3f} s a save (the longest of {len(seconds)}: "
        f"{max(seconds):.3f} s), at most {share:.2%} of five minutes"
    )
    return Trial("saves", outcome, share < 0.05, "", max(seconds))
