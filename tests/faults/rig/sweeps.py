"""Sweeps on worker processes: the driver or a worker dies, a job crashes or diverges."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from dataclasses import replace
from pathlib import Path

from rig.processes import Child
from rig.subjects import Paretune
from rig.trials import Rig, Trial, judge, last_line


def killed_sweep(rig: Rig, subject: Paretune, kills: int, draw: random.Random) -> Trial:
    """One sweep whose driver is killed again and again, alone: its workers must end themselves."""
    folder, done = rig.fresh(subject), 0
    while True:
        child = rig.start(subject, folder, again=done > 0)
        if done == kills:
            break
        _until_workers(child, folder)
        time.sleep(draw.uniform(0.2, 1.5))
        child.signal(signal.SIGKILL)
        if child.wait().code == 0:
            break
        done += 1
    ended = child.wait()
    found = judge(ended, subject.result(folder), rig.whole(subject).result)
    outcome, is_kept = f"{found} after {done} kills", found == "exact" and done > 0
    rig.drop(folder)
    return Trial("driver killed", outcome, is_kept, last_line(ended.output))


def killed_workers(rig: Rig, subject: Paretune, n: int, draw: random.Random) -> list[Trial]:
    """One worker is killed; the run ends, or the same command ends it, as if nothing had been."""
    times = [draw.uniform(0.1, 1.0) for _ in range(n)]

    def trial(after: float) -> Trial:
        folder = rig.fresh(subject)
        child = rig.start(subject, folder)
        _until_workers(child, folder)
        time.sleep(after)
        workers = workers_of(child.pid)
        if workers:
            os.kill(workers[-1], signal.SIGKILL)
        ended = child.wait()
        first = judge(ended, subject.result(folder), rig.whole(subject).result)
        if first != "exact":
            ended = rig.run(subject, folder, again=True)
        then = judge(ended, subject.result(folder), rig.whole(subject).result)
        rig.drop(folder)
        outcome = "exact in the same run" if first == "exact" else f"{first}, then {then}"
        return Trial(f"worker killed after {after:.2f} s", outcome, then == "exact" and
                     first in ("exact", "error"), last_line(ended.output))  # fmt: skip

    return rig.each("killed workers", trial, times)


def crashing_job(rig: Rig, subject: Paretune) -> Trial:
    """Every job of one method kills its process: the other method is whole, and told apart."""
    folder = rig.fresh(subject)
    below = str(folder / "runs" / "tiny" / "4-policies" / "rewarded_soups")
    ended = rig.run(subject, folder, environment={"FAULTS_BELOW": below})
    return _others(rig, subject, folder, "a job that always crashes", ended.code, ended.output)


def diverging_job(rig: Rig, subject: Paretune) -> Trial:
    """One method has a learning rate of 1e30: the other is whole, and told apart."""
    old = "train: {lora: {rank: 2, alpha: 4, dropout: 0.1}}"
    assert old in subject.settings
    bad = replace(
        subject, settings=subject.settings.replace(old, old[:-1] + ", learning_rate: 1.0e+30}")
    )
    folder = rig.fresh(bad)
    ended = rig.run(bad, folder)
    return _others(rig, subject, folder, "a job that diverges", ended.code, ended.output)


def _others(
    rig: Rig, subject: Paretune, folder: Path, what: str, code: int | None, said: str
) -> Trial:
    found, expected = subject.result(folder), rig.whole(subject).result
    names = [n for n in expected if "/sft/" in n]
    lost = [n for n in names if found.get(n) != expected[n]]
    status = json.loads((folder / "runs" / "tiny" / "status.json").read_text())
    is_named = "rewarded_soups" in said and any("rewarded_soups" in t for t in status["failed"])
    outcome = f"exit {code}, {len(names) - len(lost)} of {len(names)} files of the others equal"
    rig.drop(folder)
    line = next((s for s in said.splitlines() if "rewarded_soups/" in s), last_line(said))
    return Trial(what, outcome, code == 1 and not lost and is_named, line.strip()[:300])


def workers_of(driver: int) -> list[int]:
    """Worker processes of a run: children of a child of it, in its group."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[2]) == driver:
                parents[int(entry.name)] = int(fields[1])
    return sorted(pid for pid, parent in parents.items() if parents.get(parent) == driver)


def _until_workers(child: Child, folder: Path) -> None:
    deadline = time.monotonic() + 120
    while not child.has_ended() and time.monotonic() < deadline:
        if workers_of(child.pid) and any((folder / "runs/tiny/4-policies").glob("*/*")):
            return
        time.sleep(0.05)
