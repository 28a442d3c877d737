"""Signals: an orderly stop, and the same command again."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from pathlib import Path

from rig.processes import Child, Ended
from rig.subjects import Subject
from rig.trials import Rig, Trial, again_equals, last_line

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
STOPPED = 75
BOUND = 10.0
"""Seconds from a signal to the end: a step and a save take a tenth, on a loaded machine more."""


def signals_at_times(
    rig: Rig, subject: Subject, n: int, numbers: Sequence[signal.Signals] = SIGNALS
) -> list[Trial]:
    """Signals at times spread over the run, each number in turn."""
    cpu = rig.whole(subject).cpu

    def trial(k: int) -> Trial:
        folder, number = rig.fresh(subject), numbers[k % len(numbers)]
        at = (k + 0.5) / n * 0.9 * cpu  # near its end it may be over before
        child = rig.start(subject, folder)
        if not child.work(at):
            rig.drop(folder)
            return Trial(f"{number.name} after {at:.2f} s", "was over before", True)
        started = time.monotonic()
        child.signal(number)
        ended = child.wait()
        words = f"{number.name} after {at:.2f} s"
        return _judged(rig, subject, folder, words, ended, time.monotonic() - started)

    return rig.each(f"signals to {subject.target}", trial, range(n))


def signals_at_calls(rig: Rig, subject: Subject, n: int) -> list[Trial]:
    """Signals while files are written, spread over all stages and inside saves."""
    calls = rig.whole(subject).calls

    def trial(k: int) -> Trial:
        folder, number = rig.fresh(subject), SIGNALS[k % 3]
        call = calls[int((k + 0.5) / n * 0.97 * len(calls))]
        how = rig.injection(subject, folder, how="before", call=call.index, number=number)
        ended = rig.run(subject, folder, how=how)
        words = f"{number.name} at call {call.index}: {call.kind} {call.path}"
        return _judged(rig, subject, folder, words, ended, 0.0)

    return rig.each(f"signals to {subject.target} in calls", trial, range(n))


def _judged(
    rig: Rig, subject: Subject, folder: Path, words: str, ended: Ended, seconds: float
) -> Trial:
    again = again_equals(rig, subject, folder, words)
    is_kept = again.is_kept and ended.code == STOPPED and seconds <= BOUND
    late = f" after {seconds:.0f} s" if seconds > BOUND else ""
    # 130 is what a KeyboardInterrupt that nobody catches ends with.
    cut = ended.code == 130 or (ended.code or 0) < 0
    first = "cut short" if cut else f"exit {ended.code}{' half-way' if ended.code == 0 else ''}"
    outcome = f"{first}{late}, then {again.outcome}"
    return Trial(words, outcome, is_kept, last_line(ended.output), seconds)


def second_signal(rig: Rig, subject: Subject) -> Trial:
    """Two signals to a step that takes long: the second one ends the process at once.

    Args:
        rig: that sends them.
        subject: whose optimizer steps take many seconds.
    """
    folder = rig.fresh(subject)
    child = rig.start(subject, folder)
    _until_training(child, folder)
    time.sleep(1.0)
    child.signal(signal.SIGTERM)
    time.sleep(1.5)
    was_at_work = not child.has_ended()
    started = time.monotonic()
    child.signal(signal.SIGTERM)
    ended = child.wait()
    seconds = time.monotonic() - started
    is_kept = was_at_work and ended.code == STOPPED and seconds < 2
    rig.drop(folder)
    return Trial(
        "second SIGTERM",
        f"exit {ended.code} in {seconds:.2f} s",
        is_kept,
        last_line(ended.output),
        seconds,
    )


def _until_training(child: Child, folder: Path) -> None:
    deadline = time.monotonic() + 60
    while not child.has_ended() and time.monotonic() < deadline:
        if any((folder / "runs" / "tiny").glob("4-policies/*/.*")):
            return
        time.sleep(0.05)
