"""Every file of the newest checkpoint, and of every sealed stage, damaged in four ways."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

from rig.subjects import Paretune, Subject
from rig.trials import Rig, Trial, again_equals


def _flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def _zero(file: Path) -> None:
    content = file.read_bytes()
    half = len(content) // 2
    file.write_bytes(content[:half] + bytes(len(content) - half))


def _truncate(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


DAMAGES: Mapping[str, Callable[[Path], None]] = {
    "delete": Path.unlink, "truncate": _truncate, "flip one bit": _flip,
    "zero the second half": _zero,
}  # fmt: skip


def checkpoint_damage(rig: Rig, subject: Subject, every: int = 1) -> list[Trial]:
    """Damage the newest of several checkpoints, and go on.

    Args:
        rig: that tries it.
        subject: that was killed right after its second or third checkpoint.
        every: of all pairs of a file and a damage, one in so many.
    """
    whole = rig.whole(subject)
    saves = [s for s in whole.saves(subject) if any("/checkpoint-" in c.path for c in s)]
    last = saves[2 if subject.target == "trl" else 1][-1]
    killed = rig.fresh(subject)
    ended = rig.run(
        subject, killed, how=rig.injection(subject, killed, how="after", call=last.index)
    )
    checkpoints = subject.checkpoints(killed)
    if ended.code != -signal.SIGKILL or len(checkpoints) < 2:
        raise RuntimeError(f"found {checkpoints} after a kill, expected two checkpoints")
    newest = checkpoints[-1].relative_to(killed)
    files = sorted(f.relative_to(killed) for f in (killed / newest).rglob("*") if f.is_file())
    return _damage(rig, subject, killed, files, every)


def stage_damage(rig: Rig, subject: Paretune, every: int = 1) -> list[Trial]:
    """Damage a file of a finished run, and type the command again."""
    finished = rig.fresh(subject)
    rig.run(subject, finished)
    run = finished / "runs" / "tiny"
    stages = [p for p in run.glob("[1-6]-*") if p.is_dir()]
    files = sorted(
        f.relative_to(finished) for stage in stages for f in stage.rglob("*") if f.is_file()
    )
    return _damage(rig, subject, finished, files, every)


def _damage(rig: Rig, subject: Subject, source: Path, files: list[Path], every: int) -> list[Trial]:
    def trial(pair: tuple[Path, str]) -> Trial:
        file, how = pair
        folder = rig.copy(source)
        DAMAGES[how](folder / file)
        # The front is measured anew by every command: damage of it harms nobody.
        is_read = subject.target == "paretune" and "6-front" not in file.parts
        named = (file.name,) if is_read else ()
        return again_equals(rig, subject, folder, f"{how}: {file.as_posix()}", named)

    pairs = list(itertools.product(files, DAMAGES))[::every]
    what = "damaged checkpoints" if any("checkpoint" in f.as_posix() for f in files) else "stages"
    return rig.each(f"{what} of {subject.target}", trial, pairs)
