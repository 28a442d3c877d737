"""Logs of a run's trainings, read back as curves."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from paretune.core.traces import Curve, FloorTrace, TrainingTrace
from paretune.errors import RunError
from paretune.pipeline.folder import RunFolder
from paretune.pipeline.job_checkpoints import CHECKPOINTS, METRICS
from paretune.safety.ledger import read_rows
from paretune.safety.manifest import read_manifest

Rows = Sequence[Mapping[str, Any]]

MULTIPLIERS = "multipliers.jsonl"
"""As constrained jobs call it; asking them would load a trainer."""


def read_traces(run: RunFolder, objectives: Sequence[str]) -> tuple[TrainingTrace, ...]:
    """What the trainings of a run wrote down, those that did not finish included.

    Args:
        run: its folder.
        objectives: of the run, in their order.

    Returns:
        By method and trade-off, the first objective's first. A log that is missing, damaged or of
        another version is left out: a report does without.
    """
    found: list[TrainingTrace] = []
    for folder in _trainings(run.stage(4)):
        try:
            manifest = read_manifest(folder) or {}
            found += _of_training(folder, manifest, objectives)
        except (RunError, OSError, LookupError, TypeError, ValueError, AttributeError):
            continue

    def place(trace: TrainingTrace) -> tuple[str, list[float], str]:
        return trace.method, [-w for w in trace.tradeoff or ()], trace.policy

    return tuple(sorted(found, key=place))


def _trainings(policies: Path) -> Iterator[Path]:
    """Folders with a log; of what is not finished, the folder that it would have."""
    logs = (log for name in (METRICS, MULTIPLIERS) for log in policies.glob(f"*/*/{name}"))
    for folder in sorted({log.parent for log in logs}):
        if folder.name.startswith("."):
            finished = folder.with_name(folder.name[1:].removesuffix(CHECKPOINTS))
            if folder.name.endswith(CHECKPOINTS) and not finished.exists():
                yield finished
        else:
            yield folder


def _of_training(
    folder: Path, manifest: Mapping[str, Any], objectives: Sequence[str]
) -> Iterator[TrainingTrace]:
    """One trace a job that has curves of its own, and one of what a group shares."""
    logs = folder if manifest else folder.with_name(f".{folder.name}{CHECKPOINTS}")
    described = manifest.get("inputs", {}).get("job", {})
    is_group = isinstance(described, list)
    jobs = described if is_group else [described]
    owners = {job["id"]: i for i, job in enumerate(jobs)} if is_group else {}
    curves = _curves(read_rows(logs / METRICS), objectives, owners)
    floors = _floors(read_rows(logs / MULTIPLIERS), manifest, jobs, objectives)
    method, n = folder.parent.name, len(objectives)
    if not is_group:
        own = next(iter(floors.values()), ())
        # Nobody's name but its own is in the log of one that trains alone.
        merged = {place: curve for part in curves.values() for place, curve in part.items()}
        yield TrainingTrace(method, folder.name, _tradeoff(jobs[0], n), merged, own)
        return
    if None in curves:
        yield TrainingTrace(method, folder.name, None, curves[None])
    for i, job in enumerate(jobs):
        if i in curves or job["id"] in floors:
            yield TrainingTrace(
                method, job["id"], _tradeoff(job, n), curves.get(i, {}), floors.get(job["id"], ())
            )


def _tradeoff(job: Mapping[str, Any], n_objectives: int) -> tuple[float, ...] | None:
    """That a job is trained for; one that is told its trade-off serves any."""
    is_told = job.get("adapter") is not None or job.get("condition") is not None
    if not job or is_told or job["source"].get("type") == "Shown":
        return None
    weights = job["tradeoff"]["weights"]
    return tuple(map(float, weights)) if len(weights) == n_objectives else None


def _curves(
    rows: Rows, objectives: Sequence[str], owners: Mapping[str, int]
) -> dict[int | None, dict[tuple[str, str], Curve]]:
    """Job to its curves; ``None`` to those that are nobody's own."""
    points: dict[tuple[int | None, str, str], list[tuple[int, float]]] = {}
    for row in rows:
        for key, value in row.items():
            if key != "step" and _is_number(value):
                points.setdefault(_place(key, objectives, owners), []).append((row["step"], value))
    found: dict[int | None, dict[tuple[str, str], Curve]] = {}
    for (owner, quantity, objective), values in points.items():
        found.setdefault(owner, {})[quantity, objective] = Curve.of(values)
    return found


def _place(
    key: str, objectives: Sequence[str], owners: Mapping[str, int]
) -> tuple[int | None, str, str]:
    """Owner, quantity and objective of ``owner/quantity/objective``, of which two may be missing.

    Owners are called by the name of their job or by its number.

    Example:
        >>> _place("head-1/gain/short", ["good", "short"], {"head-0": 0, "head-1": 1})
        (1, 'gain', 'short')
        >>> _place("0/loss/good", ["good"], {"a": 0}), _place("margin", ["good"], {})
        ((0, 'loss', 'good'), (None, 'margin', ''))
    """
    parts = key.split("/")
    objective = parts.pop() if len(parts) > 1 and parts[-1] in objectives else ""
    quantity, name = parts[-1], "/".join(parts[:-1])
    if name in owners:
        return owners[name], quantity, objective
    return (int(name) if name.isdigit() else None), quantity, objective


def _floors(
    rows: Rows,
    manifest: Mapping[str, Any],
    jobs: Sequence[Mapping[str, Any]],
    objectives: Sequence[str],
) -> dict[str, tuple[FloorTrace, ...]]:
    """Job to its floors; only a finished training tells which number is of which objective."""
    names: Mapping[str, Any] = manifest.get("facts", {}).get("floors", {})
    goals = {job["id"]: job["goal"] for job in jobs if job.get("goal")}
    found = {}
    for job, floors in names.items():
        own = [row for row in rows if row["job"] == job]
        rewards = goals[job]["reward_floors"]
        found[job] = tuple(
            _floor(own, n, name, rewards[objectives.index(name)] is not None)
            for n, name in enumerate(floors)
            if own
        )
    return found


def _floor(rows: Rows, n: int, objective: str, is_reward: bool) -> FloorTrace:
    def curve(name: str) -> Curve:
        return Curve.of(_points(rows, name, n))

    return FloorTrace(
        objective, "reward" if is_reward else "preference",
        curve("floors"), curve("values"), curve("averages"), curve("multipliers"),
        tuple(row["step"] for row in rows if row.get("is_refreshed")),
    )  # fmt: skip


def _points(rows: Rows, name: str, n: int) -> Iterable[tuple[int, float]]:
    for row in rows:
        if name in row and _is_number(row[name][n]):
            yield row["step"], row[name][n]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
