"""Constrained jobs on a language model: one objective maximized, the others above their floors.

The policies of a group share the backbone; each has its head, its multipliers, its floors and its
reference. Everything that a step depends on is a buffer of the module that trains, so whatever
saves the module saves the state of the constraints with it.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from paretune.core.constrained import ConstrainedGoal
from paretune.core.job import TrainingJob
from paretune.engines.lm.batches import batch_schedule, by_tokens, row_lengths
from paretune.engines.lm.checkpoints import Checkpoints, checkpoint_step
from paretune.engines.lm.constraint_state import ConstraintState
from paretune.engines.lm.forward import autocast
from paretune.engines.lm.heads import HeadedScorer
from paretune.engines.lm.job_data import JobCost, JobData
from paretune.engines.lm.processes import n_processes
from paretune.engines.lm.resumable import Resumable
from paretune.engines.lm.settings import TrainSettings
from paretune.engines.lm.trainer import (
    Batch,
    Progress,
    arithmetic,
    run_training,
)
from paretune.errors import InfeasibleError, InputError
from paretune.functional.goal_table import GoalTable, goal_table, require_floors
from paretune.safety.files import write_bytes

_PER_ROW = 4
"""Responses of a prompt that share a row, at most: they share its encoding."""

_TOKENS = 8192
"""Padded tokens of a batch when all rows are scored."""

LOG = "multipliers.jsonl"


def train_constrained(
    jobs: Sequence[TrainingJob],
    inputs: JobData,
    model: Any,
    pad_id: int,
    settings: TrainSettings,
    folder: Path,
    progress: Progress | None = None,
    checkpoints: Checkpoints | None = None,
) -> tuple[HeadedScorer, JobCost]:
    """Train constrained jobs in place; see :func:`paretune.engines.lm.jobs.train_jobs`.

    A checkpoint holds the state of the constraints, so that a resumed run repeats an uninterrupted
    one bit for bit.
    """
    started = time.process_time()
    if n_processes() > 1:
        raise InputError(
            f"constrained jobs: found {n_processes()} processes, expected one: the multipliers "
            "follow the batches of a single process"
        )
    goals = [trainable_goal(job) for job in jobs]
    if len({(goal.labels, goal.slope, goal.lag) for goal in goals}) > 1:
        raise InputError("group: found goals with several labels or lags, expected one of each")
    tables = [goal_table(goal, inputs.data, settings.seed) for goal in goals]
    states = []
    for job, goal, table in zip(jobs, goals, tables, strict=True):
        states.append(ConstraintState(goal, table))
        try:
            # What is solved for needs no other check.
            states[-1].solve() if goal.updates == "dual" else require_floors(goal, table)
        except InfeasibleError as error:
            raise InfeasibleError(f"job {job.id}: {error}", error.verdict) from error
    entry = _rows_of_entries(tables[0], goals[0])
    row = tables[0].row[np.where(entry < 0, entry[:, :1], entry)]
    # A pair is one row; of a pool, the batch size counts responses.
    if goals[0].labels in ("pool", "table"):
        size = max(1, settings.batch_size // entry.shape[1])
        settings = replace(settings, batch_size=size)
    lengths = row_lengths(inputs.encoded, row)
    per_step = settings.accumulate
    steps = settings.n_steps(len(row))
    schedule = batch_schedule(lengths, settings.batch_size, steps * per_step, settings.seed)
    heads = [job.head for job in jobs]
    policies = HeadedScorer(
        model, heads, inputs.encoded, row, pad_id, settings.seed, settings.compile
    )
    pursuit = Resumable(policies, states)
    real = inputs.encoded.responses.lengths[row] * (entry >= 0)
    step_of = _Steps(
        pursuit, [job.id for job in jobs], inputs, pad_id, settings,
        _log_of(folder, checkpoints), per_step, steps,
        float(np.mean([real[batch].sum() for batch in schedule])),
    )  # fmt: skip

    def build(rows: npt.NDArray[np.int64]) -> Batch:
        return {
            "rows": policies.pack(inputs.encoded, row[rows], pad_id),
            # An array stays on the CPU, where the weights are made: no wait for a GPU.
            "entries": entry[rows].ravel(),
        }

    with step_of:
        run_training(
            pursuit, schedule, build, step_of.loss, settings,
            folder=folder, progress=progress, checkpoints=checkpoints,
        )  # fmt: skip
    if checkpoints is not None:
        shutil.copy(checkpoints.folder / LOG, folder / LOG)
    tokens = int(sum(lengths[batch].sum() for batch in schedule))
    used = len(np.unique(row[np.concatenate(schedule)]))
    floors = {
        job.id: dict(zip(state.table.names, state.state.floors.tolist(), strict=True))
        for job, state in zip(jobs, states, strict=True)
    }
    return policies, JobCost(time.process_time() - started, tokens, steps, used, floors)


def _log_of(folder: Path, checkpoints: Checkpoints | None) -> Path:
    """The log of multipliers: with checkpoints it lies beside them, cut where the newest ends."""
    folder.mkdir(parents=True, exist_ok=True)
    if checkpoints is None:
        return folder / LOG
    log = checkpoints.folder / LOG
    log.parent.mkdir(parents=True, exist_ok=True)
    newest = checkpoints.newest()
    step = 0 if newest is None else checkpoint_step(newest)
    lines = log.read_text(encoding="utf-8").splitlines(keepends=True) if log.exists() else []
    # A kill may have torn the last line; steps are in order, so the first later one ends the rest.
    kept = (line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step)
    write_bytes(log, "".join(kept).encode())
    return log


@final
class _Steps:
    """The loss of a step, with what happens between steps: refreshes and the log."""

    def __init__(
        self, pursuit: Resumable, names: Sequence[str], inputs: JobData, pad_id: int,
        settings: TrainSettings, log: Path, per_step: int, steps: int, tokens: float,
    ) -> None:  # fmt: skip
        self._pursuit, self._names, self._inputs = pursuit, names, inputs
        self._pad_id, self._settings, self._path = pad_id, settings, log
        self._per_step, self._steps, self._tokens = per_step, steps, tokens
        self._file: TextIO | None = None
        self._seen = -1

    def __enter__(self) -> _Steps:
        self._file = self._path.open("a", encoding="utf-8")
        return self

    def __exit__(self, *problem: object) -> None:
        assert self._file is not None
        self._file.close()

    @property
    def _states(self) -> list[ConstraintState]:
        return list(self._pursuit.states)  # type: ignore[arg-type]

    @property
    def _lag(self) -> int | None:
        """Steps between refreshes; ``None`` where the run ends before the first that matters."""
        lag = self._states[0].goal.lag
        return None if lag is None or lag >= self._steps else lag

    def loss(self, model: Any, batch: Batch) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Weighted imitation by every policy.

        Divided by the mean number of tokens of a batch: by its own, short responses would count
        more than long ones of the same prompt, because batches are sorted by length.
        """
        step = batch["number"] // self._per_step
        is_step = step != self._seen
        if is_step:
            self._seen = step
            self._between(step)
        entries = torch.from_numpy(batch["entries"])
        is_real = entries >= 0
        weights, metrics = [], {}
        for name, state in zip(self._names, self._states, strict=True):
            w, facts = state.weigh(entries[is_real], is_step)
            weights.append(
                torch.zeros(len(entries), dtype=torch.float64).masked_scatter(is_real, w)
            )
            if is_step:
                self._log(step, name, facts | {"is_refreshed": self._is_refresh(step)})
            for objective, value, multiplier in zip(
                state.table.names, facts["values"], facts["multipliers"], strict=True
            ):
                metrics[f"{name}/value/{objective}"] = torch.tensor(value)
                metrics[f"{name}/multiplier/{objective}"] = torch.tensor(multiplier)
            metrics[f"{name}/ess"] = torch.tensor(facts["ess"])
        logps = model(batch["rows"])
        u = torch.stack(weights).to(logps.device, logps.dtype)
        # The trainer scales a mean by the batch's share of its step; this is a sum.
        return -(u * logps).sum() / (self._tokens * batch["share"]), metrics

    def _between(self, step: int) -> None:
        """Move the references, where it is time to."""
        is_refresh = self._is_refresh(step)
        if is_refresh or (step == 0 and self._lag is not None):
            for state, logps in zip(self._states, self._logps(), strict=True):
                if is_refresh:
                    state.refresh(logps)
                else:
                    state.start_logps.copy_(logps)

    def _is_refresh(self, step: int) -> bool:
        """Whether the references move before a step."""
        lag = self._lag
        return lag is not None and step > 0 and step % lag == 0

    @torch.no_grad()
    def _logps(self) -> list[Tensor]:
        """``(E,)`` log-probabilities of all entries under each policy, in float64."""
        encoded, policies = self._inputs.encoded, self._pursuit.policies
        rows = np.unique(self._states[0].table.row)
        device = next(policies.parameters()).device
        found = torch.full((policies.n_policies, len(encoded.responses)), torch.nan).double()
        was_training = policies.training
        policies.eval()
        for batch in by_tokens(row_lengths(encoded, rows[:, None]), _TOKENS):
            packed = policies.pack(encoded, rows[batch][:, None], self._pad_id).to(device)
            with autocast(device, arithmetic(self._settings, device)):
                found[:, torch.from_numpy(rows[batch])] = policies(packed).double().cpu()
        policies.train(was_training)
        return [
            logps[torch.from_numpy(state.table.row)]
            for logps, state in zip(found, self._states, strict=True)
        ]

    def _log(self, step: int, name: str, facts: Mapping[str, Any]) -> None:
        assert self._file is not None
        self._file.write(json.dumps({"step": step + 1, "job": name, **facts}) + "\n")


def trainable_goal(job: TrainingJob) -> ConstrainedGoal:
    """The goal of a job, if a language model can be trained for it.

    Raises:
        InputError: if the job has none, or asks for what only tables can do.
    """
    if job.goal is None:
        raise InputError(f"job {job.id}: a constrained job needs a goal")
    goal = job.goal
    if goal.updates == "dual" and (goal.radius > 0 or goal.is_literal):
        raise InputError(
            f"job {job.id}: found updates 'dual' with a radius or the literal formulas, expected "
            "'alternating' on a language model"
        )
    if goal.updates != "dual" and goal.divergence != "reverse_kl":
        raise InputError(
            f"job {job.id}: found divergence {goal.divergence!r} with updates {goal.updates!r}, "
            "expected updates 'dual'"
        )
    return goal


def _rows_of_entries(table: GoalTable, goal: ConstrainedGoal) -> npt.NDArray[np.int64]:
    """``(Q, C)`` entries that share a row, all of one group; -1 fills short rows."""
    group = table.group.numpy()
    sizes = np.bincount(group)
    width = int(min(_PER_ROW, sizes.max()))
    starts = np.cumsum(sizes) - sizes
    place = np.arange(len(group)) - starts[group]
    per_group = -(-sizes // width)
    first = np.cumsum(per_group) - per_group
    out = np.full((int(per_group.sum()), width), -1, dtype=np.int64)
    out[first[group] + place // width, place % width] = np.arange(len(group))
    return out
