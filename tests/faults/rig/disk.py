"""A disk that is full, files that may not grow, calls that fail one by one."""

from __future__ import annotations

import errno
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rig.injector import Call, How
from rig.processes import Ended
from rig.subjects import Subject
from rig.trials import Rig, Trial, again_equals, last_line, says_why

_TOLD = re.compile(
    r"(?P<path>\S*/\S+): disk full: found .*(bytes free|ulimit).*, expected ([\d,]+ bytes|room)"
)
_PLACE = re.compile(r"\S*/\S+: (disk full|found No space left)")


def tells_disk_full(ended: Ended) -> bool:
    """Whether a person is told the path, what was needed and what is free."""
    return _TOLD.search(ended.output) is not None and "Traceback" not in ended.output


def file_limits(rig: Rig, subject: Subject, limits: Sequence[int]) -> list[Trial]:
    """No file may be larger; afterwards it may."""

    def trial(limit: int) -> Trial:
        folder = rig.fresh(subject)
        ended = rig.run(subject, folder, file_limit=limit)
        return _then(rig, subject, folder, f"files of at most {limit:,} bytes", ended)

    return rig.each(f"file limits of {subject.target}", trial, limits)


def full_disks(rig: Rig, subject: Subject, sizes: Sequence[int]) -> list[Trial]:
    """A small disk of its own, then a larger one with what was kept.

    Args:
        rig: that makes them; needs the right to mount.
        subject: that fills them.
        sizes: kB that are free besides the base.
    """

    def trial(size: int) -> Trial:
        folder = rig.fresh(subject)
        with mounted(folder / subject.made, size) as grow:
            ended = rig.run(subject, folder)
            grow()
            return _then(rig, subject, folder, f"disk with {size:,} kB left", ended)

    return rig.each(f"full disks of {subject.target}", trial, sizes)


def can_mount(work: Path) -> bool:
    """Whether a disk in memory can be mounted here."""
    try:
        with mounted(work / "probe", 64):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


@contextmanager
def mounted(place: Path, free: int) -> Iterator[object]:
    """A disk in memory over a folder, with its files and ``free`` kB more; yields what grows it."""
    place.mkdir(parents=True, exist_ok=True)
    files = [f for f in place.rglob("*") if f.is_file()]
    size = free + sum(4 + 4 * (f.stat().st_size // 4096) for f in files)
    copy = place.with_name("copy")
    shutil.copytree(place, copy)
    options = ["-t", "tmpfs", "-o", f"size={size}k", "none", str(place)]
    try:
        subprocess.run(["mount", *options], check=True, capture_output=True)
        try:
            shutil.copytree(copy, place, dirs_exist_ok=True)
            shutil.rmtree(copy)
            bigger = ["mount", "-o", "remount,size=256m", str(place)]
            yield lambda: subprocess.run(bigger, check=True, capture_output=True)
        finally:
            subprocess.run(["umount", "-l", str(place)], check=True, capture_output=True)
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def failing_calls(
    rig: Rig, subject: Subject, number: int, how: How = "fail", most: int = 0
) -> list[Trial]:
    """Each call that changes a file fails once (or from it on), then the command is typed again.

    The first end must be exact, or a message of ours; the second one must be exact.

    Args:
        rig: that lets them fail.
        subject: that makes them.
        number: of the error.
        how: ``fail`` or ``fail_from``.
        most: calls that are tried, spread evenly; 0 = all.
    """
    calls = rig.whole(subject).calls
    if most:
        calls = tuple(calls[k * len(calls) // most] for k in range(min(most, len(calls))))
    name = errno.errorcode[number]

    def trial(call: Call) -> Trial:
        folder = rig.fresh(subject)
        injection = rig.injection(subject, folder, how=how, call=call.index, number=number)
        ended = rig.run(subject, folder, how=injection)
        words = f"{name} {'from' if how == 'fail_from' else 'at'} call {call.index}: " \
                f"{call.kind} {call.path}"  # fmt: skip
        if ended.code == 0:
            first = "went on" if subject.result(folder) == rig.whole(subject).result else "WRONG"
        elif says_why(ended) and (number != errno.ENOSPC or _PLACE.search(ended.output)):
            first = "told"
        else:
            first = f"exit {ended.code}, not told why"
        again = again_equals(rig, subject, folder, words)
        outcome = f"{first}, then {again.outcome}"
        is_kept = again.is_kept and first in ("went on", "told")
        said = last_line(ended.output) if first != "went on" else again.said
        return Trial(words, outcome, is_kept, said)

    return rig.each(f"{name} in calls of {subject.target}", trial, calls)


def _then(rig: Rig, subject: Subject, folder: Path, words: str, ended: Ended) -> Trial:
    again = again_equals(rig, subject, folder, words)
    if ended.code == 0:
        first = "was not full"
    else:
        first = "told" if tells_disk_full(ended) else "not told why"
    outcome = f"{first}, then {again.outcome}"
    is_kept = again.is_kept and first == "told"
    return Trial(words, outcome, is_kept, last_line(ended.output))
