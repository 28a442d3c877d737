"""doctor: what a run folder holds, and what going on with it would do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from paretune.cli.console import Console, prepare, tell, tell_json
from paretune.cli.options import JsonOption, QuietOption, RunArg

if TYPE_CHECKING:
    from paretune.pipeline.doctor import Diagnosis


def doctor(run: RunArg, json: JsonOption = False, quiet: QuietOption = False) -> None:
    """Read every byte of a run folder: what is intact, what is damaged, what resume will do.

    Changes nothing. Ends with 1 if something is damaged.
    """
    prepare()
    from paretune.pipeline.doctor import diagnose, runs_in, sealed_summary

    opened = runs_in(run)
    found = []
    with Console(quiet).closing() as console:
        for one in opened:
            name = f"reading {one.name}"
            found.append(diagnose(one, lambda done, total, n=name: console.step(n, done, total)))
    if json:
        tell_json(found[0].to_json() if len(found) == 1 else [one.to_json() for one in found])
    else:
        for one, diagnosis in zip(opened, found, strict=True):
            _show(diagnosis, sealed_summary(one))
    if not all(one.is_healthy for one in found):
        raise typer.Exit(1)


def _show(found: Diagnosis, summary: dict[str, tuple[int, int, int]]) -> None:
    from paretune.reporting.table import Table

    tell(f"{found.run}: {found.state}")
    if summary:
        rows = tuple(
            (stage, f"{folders:,}", f"{files:,}", _size(size), _health(found, stage))
            for stage, (folders, files, size) in summary.items()
        )
        tell("\n" + Table(("stage", "sealed", "files", "size", "every byte"), rows).markdown())
    for path, problems in found.damaged.items():
        tell(f"\ndamaged: {path}")
        for problem in problems:
            tell(f"  {problem}")
    for stopped in found.stopped:
        for problem in stopped.damaged:
            tell(f"damaged checkpoint: {problem}")
    for task, problem in found.failed.items():
        tell(f"failed: {task}: {problem}")
    for left in found.leftovers:
        tell(f"half-written, never used: {left}")
    for aside in found.set_aside:
        tell(f"set aside earlier: {aside}")
    tell("\nthe same command would:")
    for action in found.actions:
        tell(f"  - {action}")
    healthy = "every byte is as it was sealed" if found.is_healthy else "damaged, see above"
    is_done = found.state == "done" and found.is_healthy
    following = "report" if is_done else "run"
    tell(f"\nresult: {healthy}\nnext:   paretune {following} {found.run}")


def _health(found: Diagnosis, stage: str) -> str:
    damaged = sum(1 for path in found.damaged if path.split("/")[0] == stage)
    return f"{damaged} damaged" if damaged else "intact"


def _size(size: int) -> str:
    value = float(size)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"
