"""Where the checkpoints of a training lie, what they follow from, and its log lines beside them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING

from paretune.engines.lm.settings import TrainSettings
from paretune.pipeline.folder import Sealed, is_allowed, versions
from paretune.safety.ledger import keep_rows

if TYPE_CHECKING:
    from paretune.engines.lm.checkpoints import Checkpoints

Say = Callable[[str], None]

METRICS = "metrics.jsonl"
"""Log lines of a training, in the folder of what it made."""

CHECKPOINTS = ".checkpoints"
"""End of the names of folders that hold the checkpoints of a job."""


def silent(text: str) -> None:
    """Says nothing."""


def checkpoint_folder(sealed: Sealed) -> Path:
    """Where the checkpoints of a training lie: hidden, beside the folder it makes."""
    return sealed.path.with_name(f".{sealed.path.name}{CHECKPOINTS}")


def checkpoints_of(
    sealed: Sealed, settings: TrainSettings, allowed: Collection[str] = (), say: Say = silent
) -> Checkpoints | None:
    """Checkpoints of a training, beside the folder it makes and of these very inputs.

    Args:
        sealed: the folder.
        settings: say how often; with neither minutes nor steps there are none.
        allowed: settings that may differ from those it began with.
        say: hears of damage.
    """
    from paretune.engines.lm.checkpoints import Checkpoints
    from paretune.engines.lm.processes import n_processes

    minutes, steps = settings.checkpoint_minutes, settings.checkpoint_steps
    if not minutes and not steps:
        return None
    return Checkpoints(
        checkpoint_folder(sealed), minutes, steps,
        {**sealed.described, "versions": versions(), "processes": n_processes()},
        lambda key: is_allowed(key, allowed), say,
    )  # fmt: skip


def training_log(folder: Path, checkpoints: Checkpoints | None) -> Path:
    """Where log lines go: beside the checkpoints while there are some, cut where they end.

    A job that goes on repeats the steps after its newest checkpoint, and logs them again.
    """
    if checkpoints is None:
        return folder / METRICS
    log = checkpoints.folder / METRICS
    log.parent.mkdir(parents=True, exist_ok=True)
    newest = checkpoints.newest()
    step = 0 if newest is None else int(newest.name.rpartition("-")[2])
    keep_rows(log, lambda row: row.get("step", 0) <= step)
    return log
