"""What must be refused: other data or settings, a second writer, numbers that are none."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from rig.subjects import Paretune, Trl
from rig.trials import Rig, Trial, judge, last_line
from safetensors.numpy import load_file

Change = Callable[[Path], None]


def _edit_row(folder: Path) -> None:
    lines = (folder / "pairs.jsonl").read_text().splitlines()
    lines[3] = lines[3].replace("the", "dogs").replace("cat", "mat").replace("a ", "two ")
    (folder / "pairs.jsonl").write_text("\n".join(lines) + "\n")


def _add_row(folder: Path) -> None:
    lines = (folder / "pairs.jsonl").read_text().splitlines()
    row = json.loads(lines[0]) | {"prompt": "Say more:"}
    (folder / "pairs.jsonl").write_text("\n".join([*lines, json.dumps(row)]) + "\n")


def _replace(old: str, new: str) -> Change:
    def change(folder: Path) -> None:
        path = folder / "run.yaml"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return change


OURS: Mapping[str, tuple[Change, tuple[str, ...]]] = {
    "a row edited": (_edit_row, ("pairs.jsonl", "data", "rows", "sha256")),
    "a row added": (_add_row, ("pairs.jsonl", "data", "rows", "sha256")),
    "learning rate x10": (
        _replace("learning_rate: 5.0e-4", "learning_rate: 5.0e-3"), ("learning_rate",)
    ),
    "batch size x2": (_replace("batch_size: 8", "batch_size: 16"), ("batch_size",)),
    "accumulation x2": (_replace("steps: 24", "steps: 24, accumulate: 2"), ("accumulate",)),
    "another seed": (_replace("workers: 1", "workers: 1\nseed: 7"), ("seed",)),
}  # fmt: skip
"""Change to a run that was killed, and names of which the refusal must hold one."""

THEIRS: Mapping[str, tuple[Change | None, tuple[str, ...]]] = {
    "a row edited": (_edit_row, ()),
    "a row added": (_add_row, ()),
    "learning rate x10": (None, ("--learning-rate", "1e-2")),
    "batch size x2": (None, ("--batch", "8")),
    "accumulation x2": (None, ("--accumulate", "2")),
}
"""Change, and options of the second command."""


def changes(rig: Rig, subject: Paretune, which: Sequence[str] = tuple(OURS)) -> list[Trial]:
    """Changes between a kill and the same command: refused, with what differs; nothing is lost."""
    killed = _killed(rig, subject)

    def trial(what: str) -> Trial:
        change, names = OURS[what]
        folder = rig.copy(killed)
        kept = {p: (folder / p).read_text() for p in ("run.yaml", "pairs.jsonl")}
        change(folder)
        ended = rig.run(subject, folder, again=True)
        named = ended.code == 2 and any(name in ended.output for name in names)
        for path, text in kept.items():
            (folder / path).write_text(text)
        again = rig.run(subject, folder, again=True)
        then = judge(again, subject.result(folder), rig.whole(subject).result)
        rig.drop(folder)
        first = "refused with the difference" if named else f"exit {ended.code}"
        return Trial(
            what, f"{first}, then {then}", named and then == "exact", last_line(ended.output)
        )

    return rig.each("changes of paretune", trial, which)


def trl_changes(rig: Rig, subject: Trl, which: Sequence[str] = tuple(THEIRS)) -> list[Trial]:
    """The same changes between a kill and ``resume_from_checkpoint=True``."""
    killed = _killed(rig, subject)

    def trial(what: str) -> Trial:
        change, later = THEIRS[what]
        folder = rig.copy(killed)
        if change is not None:
            change(folder)
        ended = rig.run(replace(subject, later=later), folder, again=True)
        is_same = subject.result(folder) == rig.whole(subject).result
        rig.drop(folder)
        if ended.code != 0:
            return Trial(what, "error", False, last_line(ended.output))
        warned = " (with a warning)" if "batch_size" in ended.output else ""
        effect = "change ignored" if is_same else "another result"
        return Trial(what, f"exit 0, {effect}{warned}", False, last_line(ended.output))

    return rig.each("changes of trl", trial, which)


def _killed(rig: Rig, subject: Paretune | Trl) -> Path:
    saves = [
        s for s in rig.whole(subject).saves(subject) if any("/checkpoint-" in c.path for c in s)
    ]
    folder = rig.fresh(subject)
    injection = rig.injection(subject, folder, how="after", call=saves[1][-1].index)
    ended = rig.run(subject, folder, how=injection)
    if ended.code != -signal.SIGKILL:
        raise RuntimeError(f"found exit {ended.code}, expected a kill: {ended.output}")
    return folder


def second_writer(rig: Rig, subject: Paretune | Trl) -> Trial:
    """Two processes with the same command: the second is refused, the first goes on."""
    folder = rig.fresh(subject)
    first = rig.start(subject, folder)
    deadline = time.monotonic() + 60
    while not any((folder / subject.made).glob("*/status.json")) and not first.has_ended():
        if subject.target == "trl" or time.monotonic() > deadline:
            break
        time.sleep(0.02)
    elsewhere = folder.with_name(f"{folder.name}-second")
    elsewhere.symlink_to(folder)  # its own file for what it prints
    second = rig.start(subject, elsewhere)
    refused, ended = second.wait(), first.wait()
    elsewhere.unlink()
    found = judge(ended, subject.result(folder), rig.whole(subject).result)
    is_named = refused.code == 2 and f"process {first.pid} " in refused.output
    outcome = f"second: exit {refused.code}, first: {found}"
    is_kept = is_named and refused.seconds < 2 and found == "exact"
    said = last_line(refused.output)
    rig.drop(folder)
    return Trial("two at once", outcome, is_kept, said, refused.seconds)


def divergence(rig: Rig, subject: Paretune | Trl) -> Trial:
    """A learning rate of 1e30: an error, and nothing non-finite in any file."""
    folder = rig.fresh(subject)
    ended = rig.run(subject, folder)
    files = [p for p in folder.rglob("*.safetensors") if "bases" not in p.parts]
    bad = [p for p in files if not all(np.isfinite(v).all() for v in load_file(p).values())]
    outcome = f"exit {ended.code}, {len(bad)} files with non-finite numbers"
    said = next((s for s in ended.output.splitlines() if "diverged" in s), last_line(ended.output))
    is_kept = ended.code == 1 and not bad and "diverged" in ended.output
    if subject.target == "trl":
        rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        zeros = sum(float(row["loss"]) == 0 for row in rows)
        outcome += f", {zeros} of {len(rows)} log rows say loss 0"
    rig.drop(folder)
    return Trial("diverging", outcome, is_kept, said.strip()[:300])
