"""SIGKILL at every kind of instant, and the same command again."""

from __future__ import annotations

import signal
from collections.abc import Sequence

from rig.injector import Call, How
from rig.subjects import Subject
from rig.trials import Rig, Trial, again_equals, judge, last_line


def uniform_kills(rig: Rig, subject: Subject, n: int) -> list[Trial]:
    """Kills at ``n`` times that are spread evenly over the run, in its own processor time."""
    cpu = rig.whole(subject).cpu

    def trial(k: int) -> Trial:
        folder, at = rig.fresh(subject), (k + 0.5) / n * cpu
        child = rig.start(subject, folder)
        child.work(at)
        child.kill_group()
        child.wait()
        return again_equals(rig, subject, folder, f"killed after {at:.2f} s")

    return rig.each(f"kills of {subject.target}", trial, range(n))


def save_kills(rig: Rig, subject: Subject, n: int) -> list[Trial]:
    """Kills at ``n`` calls inside saves: before one, in the middle of its bytes, after it."""
    inside = [call for save in rig.whole(subject).saves(subject) for call in save]
    chosen = [inside[k * len(inside) // n] for k in range(n)]
    hows: Sequence[How] = ("before", "tear", "after")
    points = [(call, hows[k % 3]) for k, call in enumerate(chosen)]
    return kills_at(rig, subject, f"kills inside saves of {subject.target}", points)


def write_order(rig: Rig, subject: Subject, most: int = 0) -> list[Trial]:
    """Every state in which the second checkpoint can be found: killed before each new file.

    Args:
        rig: that kills.
        subject: that is killed.
        most: states that are tried, spread evenly; 0 = all.
    """
    saves = rig.whole(subject).saves(subject)
    second = next(s for s in saves[1:] if any("/checkpoint-" in call.path for call in s))
    states = [call for call in second if call.kind in ("open", "rename", "mkdir")]
    if most:
        states = [states[k * len(states) // most] for k in range(min(most, len(states)))]
    what = f"write-order states of {subject.target}"
    return kills_at(rig, subject, what, [(call, "before") for call in states])


def log_kills(rig: Rig, subject: Subject, n: int) -> list[Trial]:
    """Kills at ``n`` rows of the log, between two saves: in the middle of a row, and after one."""
    rows = [c for c in rig.whole(subject).calls if c.path.endswith("metrics.jsonl")]
    writes = [call for call in rows if call.kind == "write"]
    hows: Sequence[How] = ("after", "tear")
    points = [(writes[int((k + 0.5) * len(writes) / n)], hows[k % 2]) for k in range(n)]
    return kills_at(rig, subject, f"kills at log rows of {subject.target}", points)


def kills_at(
    rig: Rig, subject: Subject, what: str, points: Sequence[tuple[Call, How]]
) -> list[Trial]:
    """Kills at chosen calls."""

    def trial(point: tuple[Call, How]) -> Trial:
        call, how = point
        folder = rig.fresh(subject)
        injection = rig.injection(subject, folder, how=how, call=call.index)
        ended = rig.run(subject, folder, how=injection)
        words = f"killed {how} call {call.index}: {call.kind} {call.path}"
        if ended.code != -signal.SIGKILL:
            return Trial(words, f"not killed ({ended.code})", False, last_line(ended.output))
        return again_equals(rig, subject, folder, words)

    return rig.each(what, trial, points)


def many_kills(rig: Rig, subject: Subject, uptime: float, most: int = 10) -> Trial:
    """One run killed again and again, each time after the same uptime.

    Args:
        rig: that kills.
        subject: that is killed.
        uptime: processor time from a start to its kill, as a share of the whole run's.
        most: kills; then it may finish.
    """
    cpu = uptime * rig.whole(subject).cpu
    folder, kills = rig.fresh(subject), 0
    for kills in range(most + 1):
        child = rig.start(subject, folder, again=kills > 0)
        if kills == most or not child.work(cpu):
            break
        child.kill_group()
        child.wait()
    ended = child.wait()
    found = judge(ended, subject.result(folder), rig.whole(subject).result)
    rig.drop(folder)
    is_kept = found == "exact" and kills > 0
    return Trial(
        "kills in one run", f"{found} after {kills} kills", is_kept, last_line(ended.output)
    )
