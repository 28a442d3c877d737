"""Stages 4 and 5: from methods and trade-offs to tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, final

from paretune.core.description import describe
from paretune.core.job import BASE, Pool, Replies, TrainingJob, order_jobs
from paretune.core.policy import Steering
from paretune.core.record import PreferenceData
from paretune.core.tradeoff import TradeOff
from paretune.errors import InputError
from paretune.functional.pairing import comparison_keys
from paretune.pipeline.config import MethodConfig, RunConfig
from paretune.pipeline.folder import RunFolder, Sealed
from paretune.pipeline.meaning import REFERENCE
from paretune.pipeline.rewards import has_own_judges, reward_configs
from paretune.pipeline.tasks import ReplyTask, RoundTask, Task, TrainTask, round_folder

_REPLY_WEIGHT = 0.3
"""Cost of generating a reply, in units of training on one row."""


@final
@dataclass(frozen=True)
class MethodPlan:
    """One method of a run as tasks.

    Args:
        name: of the method in the results.
        tradeoffs: what it is evaluated for.
        policies: tasks that train, rounds included.
        replies: one task a trade-off.
        descriptions: what answers at each trade-off, in words.
    """

    name: str
    tradeoffs: tuple[TradeOff, ...]
    policies: tuple[Task, ...]
    replies: tuple[ReplyTask, ...]
    descriptions: tuple[str, ...]


def plan_run(
    config: RunConfig, run: RunFolder, n_rows: tuple[int, int], n_prompts: int, above: str
) -> list[MethodPlan]:
    """Every method of a run as tasks, the reference policy first.

    Args:
        config: of the run.
        run: its folder.
        n_rows: training responses and comparisons, for progress.
        n_prompts: evaluation prompts.
        above: identity of stage 3, which every job follows from.
    """
    return [
        _plan_reference(config, run, n_prompts, above),
        *(_plan_method(config, run, m, n_rows, n_prompts, above) for m in config.methods),
    ]


def _plan_reference(config: RunConfig, run: RunFolder, n_prompts: int, above: str) -> MethodPlan:
    even = TradeOff.even(len(config.objectives))
    steering = Steering("pick", (BASE,), (1.0,), even)
    task = _reply_task(config, run, REFERENCE, steering, even, {}, n_prompts, above)
    return MethodPlan(REFERENCE, (even,), (), (task,), (BASE,))


def _plan_method(
    config: RunConfig,
    run: RunFolder,
    method: MethodConfig,
    n_rows: tuple[int, int],
    n_prompts: int,
    above: str,
) -> MethodPlan:
    built = config.build_method(method)
    tradeoffs = config.tradeoffs_of(method)
    settings = config.train_of(method)
    jobs = built.plan(len(config.objectives), tradeoffs)
    sealed: dict[str, Sealed] = {}
    tasks: list[Task] = []
    for wave in order_jobs(jobs):
        for job in wave:
            needs = [f"{method.name}/{n}" for n in job.needs if n != BASE]
            if isinstance(job.source, Replies):
                rounds = _round_tasks(config, run, method.name, job.source, sealed, tasks)
                needs += [r.id for r in rounds]
            inputs = {
                "above": above,
                "job": describe(job),
                "settings": asdict(settings),
                "needs": {n: sealed[n].identity for n in job.needs if n != BASE},
                "seed": config.seed,
            }
            sealed[job.id] = Sealed(run.policy(method.name, job.id), inputs)
            weight = _train_weight(job, settings, n_rows)
            tasks.append(
                TrainTask(method.name, job, settings, sealed[job.id], tuple(needs), weight)
            )
    replies: list[ReplyTask] = []
    descriptions: list[str] = []
    for tradeoff in tradeoffs:
        steering = built.steer(tradeoff, tradeoffs)
        replies.append(
            _reply_task(config, run, method.name, steering, tradeoff, sealed, n_prompts, above)
        )
        descriptions.append(in_words(steering))
    return MethodPlan(
        method.name, tuple(tradeoffs), tuple(tasks), tuple(replies), tuple(descriptions)
    )


def in_words(steering: Steering) -> str:
    """What answers: ``expert-0``, or ``merge(expert-0:0.3, expert-1:0.7)``."""
    if len(steering.policies) == 1:
        text = steering.policies[0]
    else:
        parts = zip(steering.policies, steering.weights, strict=True)
        text = f"{steering.kind}({', '.join(f'{p}:{w:g}' for p, w in parts)})"
    return text if steering.candidates == 1 else f"best of {steering.candidates} from {text}"


def _round_tasks(
    config: RunConfig,
    run: RunFolder,
    method: str,
    source: Replies,
    sealed: dict[str, Sealed],
    tasks: list[Task],
) -> list[RoundTask]:
    """One task for each job that replies; shared by all jobs with the same source."""
    rounds: list[RoundTask] = []
    for job_id in source.of:
        path = round_folder(run, method, job_id, source)
        known = [t for t in tasks if t.sealed.path == path]
        if known:
            rounds += [t for t in known if isinstance(t, RoundTask)]
            continue
        inputs = {
            "policy": sealed[job_id].identity,
            "source": describe(source),
            "generate": config.generate.model_dump(),
            "seed": config.seed,
        }
        weight = _REPLY_WEIGHT * source.prompts * source.per_prompt
        task = RoundTask(
            method, job_id, source, Sealed(path, inputs), (f"{method}/{job_id}",), weight
        )
        tasks.append(task)
        rounds.append(task)
    return rounds


def _reply_task(
    config: RunConfig,
    run: RunFolder,
    method: str,
    steering: Steering,
    tradeoff: TradeOff,
    sealed: dict[str, Sealed],
    n_prompts: int,
    above: str,
) -> ReplyTask:
    inputs: dict[str, Any] = {
        "above": above,
        "steering": describe(steering),
        "policies": {p: sealed[p].identity for p in steering.policies if p != BASE},
        "generate": config.generate.model_dump(),
        "prompts": config.evaluate.prompts,
        "draws": config.evaluate.draws,
        "judges": {
            name: reward.model_dump()
            for name, reward in reward_configs(config, "judges").items()
            if has_own_judges(config)
        },
        "seed": config.seed,
    }
    return ReplyTask(
        method,
        steering,
        run.stage(4) / method,
        Sealed(run.stage(5) / method / tradeoff.slug, inputs),
        tuple(f"{method}/{p}" for p in steering.policies if p != BASE),
        _REPLY_WEIGHT * n_prompts * config.evaluate.draws * steering.candidates,
    )


def _train_weight(job: TrainingJob, settings: Any, n_rows: tuple[int, int]) -> float:
    mine = settings.with_job(job.settings)
    rows = n_rows[0] if job.kind == "sft" else n_rows[1]
    return float(mine.n_steps(rows) * mine.batch_size * (1 if job.kind == "sft" else 2))


def check_rows(plans: Sequence[MethodPlan], data: PreferenceData, seed: int) -> None:
    """Ask every job that learns from the run's own records which rows it would take.

    Raises:
        InputError: naming the job, if its rule refuses the data or leaves nothing.
    """
    for plan in plans:
        for task in plan.policies:
            if isinstance(task, TrainTask):
                check_job(task.id, task.job, data, task.settings.seed + seed)


def check_job(name: str, job: TrainingJob, data: PreferenceData, seed: int) -> None:
    """Ask one job which rows it would take; jobs that learn from replies are left alone.

    Args:
        name: what the message calls the job.
        job: of a plan.
        data: the run's training records, rewarded and labelled.
        seed: of the job's training.

    Raises:
        InputError: if its rule refuses the data or leaves nothing.
    """
    if isinstance(job.source, Replies):
        return
    try:
        if job.kind == "sft":
            taken = len(job.rows(Pool.of(data)))  # type: ignore[call-arg, arg-type]
        else:
            keys = comparison_keys(data.n_comparisons, seed)
            taken = len(job.rows(data.labels, keys).index)  # type: ignore[call-arg, arg-type, union-attr]
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    if not taken:
        raise InputError(
            f"{name}: found no row that it could learn from among {len(data.texts)} "
            f"responses and {data.n_comparisons} comparisons"
        )
