"""What may change between a stop and going on, and the refusal of everything else."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Sequence

from paretune.errors import ConfigError, RunError, nearest
from paretune.pipeline.folder import RunFolder, versions
from paretune.pipeline.job_checkpoints import checkpoint_folder
from paretune.pipeline.tasks import Task, TrainTask
from paretune.safety.files import read_json
from paretune.safety.manifest import differences, differences_in_words, read_manifest

CHANGEABLE = (
    "learning_rate", "schedule", "warmup_steps", "steps", "epochs", "weight_decay", "adam_beta2",
    "max_grad_norm", "skip_nonfinite", "versions",
)  # fmt: skip
"""Settings that a training which goes on really takes over. Others decide which rows are left."""


def require_changeable(names: Collection[str]) -> frozenset[str]:
    """The names, if every one of them can be changed.

    Raises:
        ConfigError: naming those that can.
    """
    for name in names:
        if name not in CHANGEABLE:
            raise ConfigError(
                f"--allow-change {name}: found a setting that a training cannot change half-way, "
                f"expected some of these{nearest(name, CHANGEABLE)}"
            )
    return frozenset(names)


def require_same_versions(run: RunFolder, allowed: Collection[str]) -> None:
    """Refuse to go on with other libraries than the run began with: the sums would differ.

    Raises:
        ConfigError: with every version, then and now.
    """
    try:
        then = dict(read_json(run.path / "run.json"))["versions"]
    except (RunError, KeyError, TypeError, ValueError):
        return  # damaged: it is written again, and each checkpoint has versions of its own
    changed = differences(then, versions())
    if changed and "versions" not in allowed:
        raise ConfigError(
            f"{run.path}: found other versions than the run began with "
            f"({differences_in_words(changed)}), expected the same; go on all the same with "
            "--allow-change versions, or give the run another name"
        )


def check_begun(
    tasks: Sequence[Task], allowed: Collection[str], say: Callable[[str], None]
) -> None:
    """Refuse what was begun with other settings, before anything is made; tell what is kept.

    Raises:
        ConfigError: if a folder, or a checkpoint, follows from other settings.
    """
    kept = []
    for task in tasks:
        is_done = task.sealed.is_done()
        if not isinstance(task, TrainTask):
            continue
        checkpoints = task.checkpoints()
        if is_done:
            # A kill may have come between sealing the policy and removing them.
            shutil.rmtree(checkpoint_folder(task.sealed), ignore_errors=True)
            continue
        if checkpoints is not None:
            checkpoints.check()
            kept += _taken_over(task, allowed)
    for line in kept:
        say(line)
    if allowed:
        done = [t.id for t in tasks if isinstance(t, TrainTask) and t.sealed.is_done()]
        say(f"changed settings: {len(done)} finished trainings are kept as they are")


def _taken_over(task: TrainTask, allowed: Collection[str]) -> list[str]:
    """What a stopped training goes on with, where that differs from what it began with."""
    checkpoints = task.checkpoints()
    newest = checkpoints.newest() if checkpoints and allowed else None
    if checkpoints is None or newest is None:
        return []
    begun = (read_manifest(newest) or {}).get("identity")
    changed = differences(begun, dict(checkpoints.identity))
    if not changed:
        return []
    return [f"{task.id}: goes on from {newest.name} with {differences_in_words(changed)}"]
