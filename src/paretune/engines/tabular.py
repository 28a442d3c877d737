"""The exact engine: policies on a table of contexts and actions, trained to convergence.

The same jobs, rules and losses as for a language model, without sampling noise, step sizes or a
budget: what a method converges to is what it means. A context stands for a prompt, an action for
a response of one token.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from paretune.core.adapter import TradeOffEmbedding, told_numbers
from paretune.core.job import (
    BASE,
    ConditionedRows,
    PairOrder,
    Pool,
    Replies,
    Shown,
    TrainingJob,
    group_jobs,
    order_jobs,
)
from paretune.core.online import OnlineGoal
from paretune.core.policy import Steering
from paretune.core.record import PreferenceData, prompt_text
from paretune.core.rewards import Normalizer, RewardMatrix
from paretune.engines.conditioned_table import at_tradeoff, fit_conditioned
from paretune.engines.constrained_table import constrained_policy, fit_policies
from paretune.engines.goal_cells import goal_cells
from paretune.engines.margins import pair_margins
from paretune.engines.minimize import minimize
from paretune.engines.online_table import online_policy
from paretune.engines.rewarded_table import rewarded_policies
from paretune.engines.table_pairs import TablePairs, fit_scalarized
from paretune.engines.table_policy import Table, TanhNetwork, best_of_n_logps
from paretune.engines.table_rounds import TableReplies, draw_replies
from paretune.errors import InputError, ShapeError
from paretune.functional.divergences import combine
from paretune.functional.draws import told_keys
from paretune.functional.mixing import average_parameters, mix_logps
from paretune.functional.pairing import (
    comparison_keys,
    comparisons_from_scores,
    label_from_rewards,
)
from paretune.functional.scalarize import chebyshev, linear
from paretune.functional.scalarized_loss import ScalarizedLoss


@final
@dataclass(frozen=True)
class TabularEngine:
    """Runs the jobs of a plan and steers between the policies.

    Every job is minimized with L-BFGS on all its data until no entry of the gradient exceeds
    ``tolerance``; ``settings`` such as steps and learning rates say nothing here, except that the
    steps of a constrained job tell how often its reference moves. Where the infimum lies at
    infinity (a table fine-tuned on few actions, labels without noise) the result is the first
    policy that flat. Constrained jobs imitate the exact policy of their goal; those of a group do
    so together on the backbone of the network, each with an output layer of its own whatever its
    kind of head. So do rewarded jobs, which minimize one loss. Online jobs find the exact policy of
    their goal by its natural gradient, and imitate it likewise.

    Args:
        model: turns parameters into policies; its start is the reference.
        data: rows and comparisons; a prompt is a context, a text an action.
        action_of: ``(N,)`` int64 action of each response, in [0, A).
        rewards: ``(S, A, M)`` of every cell; needed by rounds and by best of n.
        seed: of the keys of pair rules and of the replies of rounds.
        tolerance: largest entry of the gradient of the mean loss at the end, > 0.

    Raises:
        ShapeError: if the columns do not fit the table.
    """

    model: Table | TanhNetwork
    data: PreferenceData
    action_of: npt.NDArray[np.int64]
    rewards: Tensor | None = None
    seed: int = 0
    tolerance: float = 1e-7

    def __post_init__(self) -> None:
        n_contexts, n_actions = self.model.ref_logps.shape
        if self.data.n_prompts != n_contexts:
            raise ShapeError(f"table: found {self.data.n_prompts} prompts, expected {n_contexts}")
        if self.action_of.shape != (len(self.data.texts),):
            raise ShapeError(
                f"table: found action_of {self.action_of.shape}, expected {(len(self.data.texts),)}"
            )
        if self.rewards is not None and self.rewards.shape[:2] != (n_contexts, n_actions):
            raise ShapeError(
                f"table: found rewards {tuple(self.rewards.shape)}, expected "
                f"({n_contexts}, {n_actions}, M)"
            )

    def train(self, jobs: Sequence[TrainingJob]) -> dict[str, Tensor]:
        """Parameters ``(D,)`` of every job of a plan, by id.

        Raises:
            ConfigError: if the plan does not hold together (see :func:`order_jobs`).
            InputError: if a job has no data, or asks for what a table does not define.
            RunError: if a job does not converge.
        """
        trained = {BASE: self.model.start()}
        for group in group_jobs([job for wave in order_jobs(jobs) for job in wave]):
            trained.update(zip((j.id for j in group), self._train(group, trained), strict=True))
        del trained[BASE]
        return trained

    def steered(
        self,
        trained: Mapping[str, Tensor],
        steering: Steering,
        contexts: Sequence[int] | None = None,
    ) -> Tensor:
        """The policy that answers for a trade-off, exactly: no reply is sampled.

        Args:
            trained: parameters by job id, as :meth:`train` returns them.
            steering: from ``Method.steer``.
            contexts: rows of the table that are asked; ``None`` for all.

        Returns:
            ``(len(contexts), A)`` log-probabilities, in nats.

        Raises:
            InputError: if a conditioned prompt is no context of the table, or candidates are to be
                rated without ``rewards``.
        """
        asked = list(range(self.data.n_prompts)) if contexts is None else list(contexts)
        start = self.model.start()
        parameters = [start if p == BASE else trained[p] for p in steering.policies]
        if steering.kind == "merge":
            states = [{"parameters": p} for p in parameters]
            logps = self.model.logps(average_parameters(states, steering.weights)["parameters"])
        elif steering.kind == "mix":
            logps = self._mixed(steering, torch.stack([*map(self.model.logps, parameters)]))
        else:
            weights = steering.tradeoff.weights
            own = parameters[0]
            if steering.told is not None:
                own = own.view(-1, start.numel())[steering.told]
            logps = self.model.logps(at_tradeoff(own, weights, start.numel()))
        rows = asked
        if steering.condition is not None:
            prompts = [prompt_text(self.data.prompts[s]) for s in asked]
            rows = [self._context(steering.condition(p, self._normalizer)) for p in prompts]
        logps = logps[rows]
        if steering.candidates == 1:
            return logps
        return best_of_n_logps(logps, self._utility(steering)[asked], steering.candidates)

    def _mixed(self, steering: Steering, logps: Tensor) -> Tensor:
        """``(S, A)`` the mixture of policies ``(K, S, A)``."""
        if steering.divergence == "reverse_kl":
            return mix_logps(logps, steering.weights)
        ref, exact = self.model.ref_logps, steering.is_normalized
        return combine(ref, logps, steering.weights, steering.divergence, steering.alpha, exact)

    def _train(self, jobs: Sequence[TrainingJob], trained: Mapping[str, Tensor]) -> list[Tensor]:
        """Parameters of one job, or of all jobs of a group."""
        job = jobs[0]
        if job.head is not None and job.head.kind == "state":
            # With nothing shared that moves, each is trained alone.
            held = replace(self, model=self.model.held())
            alone = [replace(j, group=None, head=None) for j in jobs]
            return [parameters for j in alone for parameters in held._train([j], trained)]
        if job.kind == "constrained":
            targets = [self._target(job, trained) for job in jobs]
            names = " and ".join(job.id for job in jobs)
            return fit_policies(self.model, targets, trained[job.start], self.tolerance, names)
        if job.group is not None and job.kind != "rewarded":
            raise InputError(
                f"job {job.id!r}: found group {job.group!r}, expected none: on a table only "
                "constrained and rewarded jobs are trained together"
            )
        data, action_of = self._source(job, trained)
        start = trained[job.start]
        if job.kind == "rewarded":
            return rewarded_policies(jobs, self.model, data, action_of, start, self.tolerance)
        if job.online is not None:
            return [self._online(job, job.online, start)]
        if job.kind == "sft":
            if isinstance(job.adapter, TradeOffEmbedding):
                start = start.repeat(len(job.adapter.tradeoffs))
            return [minimize(self._sft(job, data, action_of), start, self.tolerance, job.id)]
        pairs = self._pairs(job, data, action_of, trained)
        if job.adapter is not None:
            return [fit_conditioned(job, pairs, start, self.tolerance)]
        if isinstance(job.step_loss, ScalarizedLoss):
            return [fit_scalarized(job.step_loss, pairs, start, self.tolerance, job.id)]
        if job.loss is None:
            raise InputError(f"job {job.id!r}: found a pairwise job without a loss, expected one")
        return [minimize(pairs.mean(job.loss), start, self.tolerance, job.id)]

    def _target(self, job: TrainingJob, trained: Mapping[str, Tensor]) -> Tensor:
        """The policy that a constrained job asks for."""
        if job.goal is None or job.condition is not None:
            raise InputError(
                f"job {job.id!r}: found a condition or no goal, expected a constrained job with a "
                "goal and no condition"
            )
        data, action_of = self._source(job, trained)
        ref = self.model.ref_logps
        cells = goal_cells(job.goal, data, action_of, ref.shape, self.seed)
        names = cells.table.names
        steps = job.settings.get("steps")
        found = constrained_policy(
            job.goal, cells, ref, names, None if steps is None else int(steps)
        )
        return found.logps

    def _online(self, job: TrainingJob, goal: OnlineGoal, start: Tensor) -> Tensor:
        if self.rewards is None:
            raise InputError(f"job {job.id!r}: found own replies and no rewards of the cells")
        rewards = self.rewards
        if goal.is_standardized:
            scores = Normalizer.fit(self.data.rewards).standardize(rewards.numpy())
            rewards = torch.as_tensor(scores)
        target = online_policy(goal, rewards, self.model.logps(start), job.id)
        return fit_policies(self.model, [target], start, self.tolerance, job.id)[0]

    def _sft(
        self, job: TrainingJob, data: PreferenceData, action_of: npt.NDArray[np.int64]
    ) -> Callable[[Tensor], Tensor]:
        text_of = data.prompt_of * self.model.ref_logps.shape[1] + action_of
        rule: Any = job.rows
        found = rule(replace(Pool.of(data), text_of=text_of))
        rows = found.index if isinstance(found, ConditionedRows) else found
        if len(rows) == 0:
            raise InputError(f"job {job.id!r}: its row rule chose none of {len(text_of)} rows")
        contexts = data.prompt_of[rows]
        if job.condition is not None:
            is_told = isinstance(found, ConditionedRows)
            given = found.given if is_told else data.rewards.values[rows]
            prompts = [prompt_text(data.prompts[s]) for s in contexts]
            normalizer = self._normalizer
            told = [job.condition(p, g, normalizer) for p, g in zip(prompts, given, strict=True)]
            contexts = np.array([self._context(text) for text in told])
        told, n_told = np.zeros(len(rows), dtype=np.int64), 1
        if isinstance(job.adapter, TradeOffEmbedding):
            # Told by a vector of its own, a trade-off has a table of its own.
            told, n_told = told_numbers(job.adapter, found.given), len(job.adapter.tradeoffs)
        # Rows of a table repeat, so their counts are all that matters.
        share = torch.zeros(n_told, *self.model.ref_logps.shape, dtype=self.model.ref_logps.dtype)
        share.index_put_(
            (torch.as_tensor(told), torch.as_tensor(contexts), torch.as_tensor(action_of[rows])),
            torch.tensor(1 / len(rows), dtype=share.dtype),
            accumulate=True,
        )

        def mean_loss(parameters: Tensor) -> Tensor:
            logps = torch.stack([*map(self.model.logps, parameters.view(n_told, -1))])
            return -(share * logps).sum()

        return mean_loss

    def _pairs(
        self,
        job: TrainingJob,
        data: PreferenceData,
        action_of: npt.NDArray[np.int64],
        trained: Mapping[str, Tensor],
    ) -> TablePairs:
        """The preference pairs of a job."""
        if job.condition is not None or isinstance(job.source, Shown):
            raise InputError(
                f"job {job.id!r}: found prompts that are rewritten, expected none: a table has no "
                "text"
            )
        rule: Any = job.rows
        order: PairOrder = rule(data.labels, comparison_keys(data.n_comparisons, self.seed))
        if len(order.index) == 0:
            raise InputError(
                f"job {job.id!r}: its pair rule kept none of {data.n_comparisons} comparisons"
            )
        if job.margins is None:
            return TablePairs.of(self.model, data, action_of, order)
        ref = self.model.ref_logps
        gained = {e: self.model.logps(trained[e]) - ref for e in job.margins.experts}
        log_ratios = {e: table.numpy()[data.prompt_of, action_of] for e, table in gained.items()}
        margins = pair_margins(job.margins, data, order, log_ratios)
        return TablePairs.of(self.model, data, action_of, order, margins)

    def _source(
        self, job: TrainingJob, trained: Mapping[str, Tensor]
    ) -> tuple[PreferenceData, npt.NDArray[np.int64]]:
        """The rows of a job with the action of each: the table's own, or replies drawn for it."""
        if not isinstance(job.source, Replies):
            return self.data, self.action_of
        if self.rewards is None:
            raise InputError(f"job {job.id!r}: found replies and no rewards of the cells")
        found = self._replies(job.source, trained)
        prompt_of, action_of = found.prompt_of, found.action_of
        scores = self.rewards.numpy()[prompt_of, action_of]
        # Replies to the same prompt are compared; a row rule needs no comparison.
        groups = found.asked if job.kind == "pairwise" else np.arange(len(action_of))
        first, second = comparisons_from_scores(scores, groups)
        data = PreferenceData(
            prompts=self.data.prompts,
            texts=tuple(str(a) for a in action_of),
            prompt_of=prompt_of,
            rewards=RewardMatrix(self.data.rewards.objectives, scores),
            first=first,
            second=second,
            labels=label_from_rewards(scores[first] - scores[second]),
            rounds=found.rounds,
        )
        if not job.source.with_offline:
            return data, action_of
        return _joined(self.data, data), np.concatenate([self.action_of, action_of])

    def _replies(self, source: Replies, trained: Mapping[str, Tensor]) -> TableReplies:
        policies = {job_id: self.model.logps(trained[job_id]) for job_id in source.of}
        condition = source.condition
        if condition is None:
            every = np.arange(self.data.n_prompts)
            return draw_replies(source, policies, every, self.seed, lambda job_id, asked: asked)

        def told(job_id: str, asked: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
            prompts = [prompt_text(self.data.prompts[s]) for s in asked]
            keys = told_keys(self.seed, job_id, len(asked))
            texts = [condition(p, k, self._normalizer) for p, k in zip(prompts, keys, strict=True)]
            return np.array([self._context(text) for text in texts])

        # Contexts without a row are prompts that tell something already.
        plain = np.unique(self.data.prompt_of)
        return draw_replies(source, policies, plain, self.seed, told)

    def _context(self, text: str) -> int:
        if text not in self._contexts:
            raise InputError(f"table: found the conditioned prompt {text!r}, expected a context")
        return self._contexts[text]

    @functools.cached_property
    def _contexts(self) -> dict[str, int]:
        """The first context of each text."""
        last_first = reversed(list(enumerate(self.data.prompts)))
        return {prompt_text(prompt): row for row, prompt in last_first}

    @functools.cached_property
    def _normalizer(self) -> Normalizer:
        return Normalizer.fit(self.data.rewards)

    def _utility(self, steering: Steering) -> Tensor:
        """``(S, A)`` how candidates are rated, with the statistics of the run's records."""
        if self.rewards is None:
            raise InputError("table: best of n found no rewards of the cells")
        normalizer = self._normalizer
        rewards, weights = self.rewards.numpy(), steering.tradeoff.weights
        if steering.utility == "linear":
            return torch.as_tensor(linear(normalizer.standardize(rewards), weights))
        low, high = np.asarray(normalizer.low), np.asarray(normalizer.high)
        unit = (rewards - low) / np.where(high > low, high - low, 1.0)
        return torch.as_tensor(chebyshev(unit, weights))


def _joined(data: PreferenceData, more: PreferenceData) -> PreferenceData:
    """The rows and comparisons of both, on the contexts of the first."""
    n = len(data.texts)
    counts = [np.ones(d.n_comparisons) if d.multiplicity is None else d.multiplicity
              for d in (data, more)]  # fmt: skip
    values = np.concatenate([data.rewards.values, more.rewards.values])
    assert more.rounds is not None
    return PreferenceData(
        prompts=data.prompts,
        texts=data.texts + more.texts,
        prompt_of=np.concatenate([data.prompt_of, more.prompt_of]),
        rewards=RewardMatrix(data.rewards.objectives, values),
        first=np.concatenate([data.first, more.first + n]),
        second=np.concatenate([data.second, more.second + n]),
        labels=np.concatenate([data.labels, more.labels]),
        multiplicity=np.concatenate(counts),
        rounds=np.concatenate([np.zeros(n, dtype=np.int64), more.rounds]),
    )
