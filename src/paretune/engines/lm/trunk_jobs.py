"""Many policies for the price of one: K small heads trained together on a frozen trunk.

The trunk is run once (:mod:`paretune.engines.lm.trunk`). A step then takes the states of its
rows, moves them by all heads in one product, and passes them through the frozen output layer. A
head trains as if it were alone: its own rows, its own order of them, its own clipping; only the
number of steps is that of the largest job.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import silu
from transformers import TrainerCallback

from paretune.core.job import BASE, Pool, TrainingJob
from paretune.engines.lm.batches import batch_schedule, row_lengths, sort_window
from paretune.engines.lm.checkpoints import Checkpoints
from paretune.engines.lm.encode import Encoded
from paretune.engines.lm.job_data import JobCost, JobData
from paretune.engines.lm.pairs import pair_rows
from paretune.engines.lm.processes import n_processes
from paretune.engines.lm.resumable import Resumable
from paretune.engines.lm.settings import TrainSettings
from paretune.engines.lm.state_head import StateHead, save_head, start_factors
from paretune.engines.lm.trainer import Progress, arithmetic, run_training
from paretune.engines.lm.trunk import Trunk, read_trunk
from paretune.engines.lm.trunk_loss import HeadLosses, JobRows, step_states
from paretune.errors import InputError
from paretune.functional.linear_logps import linear_logps


@final
@dataclass(frozen=True)
class TrunkBatch:
    """The rows of a step of K jobs, as places in the states of the trunk.

    Args:
        places: ``(G, R)`` int64 rows of the states: G = 1 where all jobs take the same responses,
            else G = K, with short jobs filled up.
        targets: ``(G, R)`` int64 predicted ids.
        slots: ``(G, R)`` int64 in [0, U]: which response of the job each target belongs to; U =
            none, a filler.
        n_slots: U.
        takes: of each job, ``(B, C)`` slots of its rows.
        columns: of each job, numbers that travel with its rows.
    """

    places: Tensor
    targets: Tensor
    slots: Tensor
    n_slots: int
    takes: tuple[Tensor, ...]
    columns: tuple[Mapping[str, Tensor], ...]

    def to(self, device: torch.device | str) -> TrunkBatch:
        """The same batch on a device."""
        if self.slots.device == torch.device(device):
            return self
        return TrunkBatch(
            self.places.to(device), self.targets.to(device), self.slots.to(device), self.n_slots,
            tuple(take.to(device) for take in self.takes),
            tuple({k: v.to(device) for k, v in c.items()} for c in self.columns),
        )  # fmt: skip


@final
class StateHeads(nn.Module):
    """K heads on one trunk, from a batch to the log-probabilities of its responses.

    Args:
        trunk: its states and output layer; nothing of it moves.
        n_policies: K.
        rank: of every head.
        seed: of their start, the same for each.
    """

    quantization_method = None

    def __init__(self, trunk: Trunk, n_policies: int, rank: int, seed: int) -> None:
        super().__init__()
        # In a tuple: these are no parameters of this module, and belong to no checkpoint.
        self._trunk = (trunk,)
        weight = trunk.weight
        dtype = torch.promote_types(weight.dtype, torch.float32)
        inner, outer = start_factors(weight.shape[1], rank, seed, dtype)
        self.inner = nn.Parameter(inner.repeat(n_policies, 1, 1).to(weight.device))
        self.outer = nn.Parameter(outer.repeat(n_policies, 1, 1).to(weight.device))

    def forward(self, batch: TrunkBatch) -> Tensor:
        """``(K, U)`` log-probability of each response under each policy, nats."""
        trunk, (k, rank, width) = self._trunk[0], self.inner.shape
        places = batch.places.flatten().to(trunk.states.device)
        states = trunk.states.index_select(0, places).to(self.inner.device)
        states = states.to(self.inner.dtype).view(*batch.places.shape, width)
        if len(states) == 1:
            # One product for all heads: a broadcast one would copy the states K times.
            inside = (states[0] @ self.inner.view(k * rank, width).T).view(-1, k, rank)
            inside = inside.transpose(0, 1)
        else:
            inside = states @ self.inner.transpose(1, 2)
        moved = states + (silu(inside) @ self.outer.transpose(1, 2)).to(states.dtype)
        each = linear_logps(
            moved.view(-1, width).to(trunk.weight.dtype), trunk.weight,
            batch.targets.expand(k, -1).reshape(-1), trunk.bias,
        )  # fmt: skip
        sums = each.new_zeros(k, batch.n_slots + 1)
        sums = sums.scatter_add(1, batch.slots.expand(k, -1), each.view(k, -1))
        return sums[:, : batch.n_slots]

    def alone(self, policy: int) -> StateHead:
        """One of the heads, as a module of its own."""
        return StateHead(self.inner[policy].detach().clone(), self.outer[policy].detach().clone())

    def save(self, base: str, tokenizer: Any, folders: Sequence[Path]) -> None:
        """Write every policy by itself.

        Args:
            base: what the trunk is called.
            tokenizer: of all policies.
            folders: one a policy, made when missing.
        """
        for policy, folder in enumerate(folders):
            save_head(self.alone(policy), base, folder)
            tokenizer.save_pretrained(folder)


@final
class ClipEachHead(TrainerCallback):
    """Scales the gradient of every head by itself down to a norm.

    Args:
        heads: that train.
        most: the norm, > 0.
    """

    def __init__(self, heads: StateHeads, most: float) -> None:
        self._heads, self._most = heads, most

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Before an optimizer step."""
        gradients = [p.grad for p in self._heads.parameters() if p.grad is not None]
        squares = sum((g.flatten(1) ** 2).sum(1) for g in gradients)
        # The same small number as torch's own clipping: alone or together, the same step.
        factor = (self._most / (torch.as_tensor(squares).sqrt() + 1e-6)).clamp(max=1.0)
        for gradient in gradients:
            gradient *= factor[:, None, None]


def train_on_trunk(
    jobs: Sequence[TrainingJob],
    inputs: JobData,
    model: Any,
    pad_id: int,
    settings: TrainSettings,
    folder: Path,
    progress: Progress | None = None,
    checkpoints: Checkpoints | None = None,
) -> tuple[Any, JobCost]:
    """Train the heads of jobs; see :func:`paretune.engines.lm.jobs.train_jobs`.

    Returns:
        What writes the policies with a tokenizer, one folder a job; and the cost: tokens are those
        that the trunk read, once for all jobs.

    Raises:
        InputError: if the jobs do not fit on one trunk, or a rule leaves no row.
        RunError: if training diverges.
    """
    rank = _check_group(jobs, inputs)
    settings = settings.with_job(jobs[0].settings)
    started = time.process_time()
    work = [_job_rows(job, inputs, settings.seed) for job in jobs]
    needed = np.unique(np.concatenate([w.rows.ravel() for w in work]))
    trunk = read_trunk(
        model, inputs.encoded, needed, pad_id,
        dtype=arithmetic(settings, next(model.parameters()).device),
        memory=settings.trunk_memory_gb * 1e9, folder=folder,
    )  # fmt: skip
    work = [replace(w, columns=w.columns | {"reference": trunk.logps[w.rows]}) for w in work]
    heads = StateHeads(trunk, len(jobs), rank, settings.seed)
    states = step_states(jobs, len(inputs.data.rewards.objectives))
    steps = settings.n_steps(max(len(w.rows) for w in work))
    build = _Builder(work, inputs.encoded, trunk, settings, steps)
    clip = [ClipEachHead(heads, settings.max_grad_norm)] if settings.max_grad_norm else []
    run_training(
        Resumable(heads, states),
        [np.array([step]) for step in range(steps)], build, HeadLosses(jobs, work, states),
        # What the trunk would need has been done; clipping over all heads would tie them.
        replace(
            settings, accumulate=1, max_grad_norm=0.0, activation_checkpointing=False
        ),
        folder=folder, progress=progress, checkpoints=checkpoints, callbacks=clip,
    )  # fmt: skip
    used = len(np.unique(np.sort(np.concatenate([w.rows[r] for w, r in build.used()])), axis=0))
    save = partial(heads.save, str(model.config.name_or_path))
    return save, JobCost(time.process_time() - started, trunk.tokens, steps, used)


def _check_group(jobs: Sequence[TrainingJob], inputs: JobData) -> int:
    """The rank that all heads have."""
    name = f"job {jobs[0].id}" if jobs[0].group is None else f"group {jobs[0].group!r}"
    kinds = {None if job.head is None else (job.head.kind, job.head.rank) for job in jobs}
    if len(kinds) > 1 or any(kind is None or kind[1] < 1 for kind in kinds):
        raise InputError(
            f"{name}: found heads {sorted(map(str, kinds))}, expected 'state' with one rank >= 1 "
            "for all: they are trained in one product"
        )
    if jobs[0].kind not in ("pairwise", "sft"):
        raise InputError(
            f"{name}: found jobs of kind {jobs[0].kind!r}, expected pairwise or sft: others need "
            "more of a policy than a head on a frozen trunk has"
        )
    if jobs[0].start != BASE:
        raise InputError(
            f"{name}: found start {jobs[0].start!r}, expected {BASE!r}: heads belong to the base"
        )
    if inputs.described is not None or inputs.validation is not None:
        raise InputError(
            f"{name}: found descriptions or validation pairs, expected none on a frozen trunk"
        )
    if n_processes() > 1:
        raise InputError(
            f"{name}: found {n_processes()} processes, expected one: after the trunk has been run, "
            "little work is left to share"
        )
    return next(job.head.rank for job in jobs if job.head is not None)


def _job_rows(job: TrainingJob, inputs: JobData, seed: int) -> JobRows:
    """Rows of a job; its reference is filled in when the trunk has been read."""
    if job.kind == "sft":
        rows = np.asarray(job.rows(Pool.of(inputs.data)), dtype=np.int64)[:, None]  # type: ignore[call-arg]
        found = JobRows(rows, {}, [])
    else:
        if job.margins is None or not job.margins.experts:
            # Nothing else is measured from the reference, so it need not be known yet.
            inputs = replace(inputs, ref_logps=np.zeros(len(inputs.data.texts)))
        pairs = pair_rows(job, inputs, seed)
        found = JobRows(pairs.rows, dict(pairs.columns), pairs.objectives)
    if not len(found.rows):
        raise InputError(
            f"job {job.id}: its rule left no row of {len(inputs.data.texts)} responses"
        )
    return found


@final
class _Builder:
    """Batches of the steps: of every job, the rows that it would meet alone."""

    def __init__(
        self, work: Sequence[JobRows], data: Encoded, trunk: Trunk, settings: TrainSettings,
        steps: int,
    ) -> None:  # fmt: skip
        self._work, self._data, self._trunk = work, data, trunk
        # Jobs of the same lengths share their schedule, so their steps share the states.
        known: dict[tuple[bytes, int], list[npt.NDArray[np.int64]]] = {}
        self._schedules = []
        for rows in (w.rows for w in work):
            lengths = row_lengths(data, rows)
            window = sort_window(rows)
            key = lengths.tobytes(), window
            if key not in known:
                parts = batch_schedule(
                    lengths, settings.batch_size, steps * settings.accumulate, settings.seed,
                    window,
                )  # fmt: skip
                known[key] = [
                    np.concatenate(parts[n : n + settings.accumulate])
                    for n in range(0, len(parts), settings.accumulate)
                ]
            self._schedules.append(known[key])

    def used(self) -> list[tuple[JobRows, npt.NDArray[np.int64]]]:
        """Of each job, the rows that its steps take."""
        return [
            (w, np.unique(np.concatenate(s)))
            for w, s in zip(self._work, self._schedules, strict=True)
        ]

    def __call__(self, step: npt.NDArray[np.int64]) -> dict[str, Any]:
        """The batch of a step."""
        picks = [schedule[int(step[0])] for schedule in self._schedules]
        rows = [w.rows[pick] for w, pick in zip(self._work, picks, strict=True)]
        distinct = [np.unique(r) for r in rows]
        is_shared = all(np.array_equal(distinct[0], d) for d in distinct)
        groups = distinct[:1] if is_shared else distinct
        n_slots = max(map(len, groups))
        parts = [self._tokens(d, n_slots) for d in groups]
        length = max(len(p[0]) for p in parts)
        fill = (0, 0, n_slots)
        columns = [
            torch.from_numpy(np.stack([_filled(p[n], length, fill[n]) for p in parts]))
            for n in range(3)
        ]
        dtype = torch.promote_types(self._trunk.weight.dtype, torch.float32)
        found = TrunkBatch(
            columns[0], columns[1], columns[2], n_slots,
            tuple(torch.from_numpy(np.searchsorted(d, r))
                  for d, r in zip(distinct, rows, strict=True)),
            tuple({name: torch.from_numpy(column[pick]).to(dtype)
                   for name, column in self._columns(w, pick)}
                  for w, pick in zip(self._work, picks, strict=True)),
        )  # fmt: skip
        return {"trunk": found}

    def _columns(self, work: JobRows, pick: npt.NDArray[np.int64]) -> Any:
        return (work.columns | {"tokens": self._data.responses.lengths[work.rows]}).items()

    def _tokens(
        self, responses: npt.NDArray[np.int64], n_slots: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Places, targets and slots of the tokens of some responses."""
        sizes = self._data.responses.lengths[responses]
        slot = np.repeat(np.arange(len(responses)), sizes)
        within = np.arange(len(slot)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        targets = self._data.responses.ids[self._data.responses.offsets[responses][slot] + within]
        return self._trunk.start[responses][slot] + within, targets.astype(np.int64), slot


def _filled(values: npt.NDArray[np.int64], length: int, fill: int) -> npt.NDArray[np.int64]:
    return np.concatenate([values, np.full(length - len(values), fill, dtype=np.int64)])
