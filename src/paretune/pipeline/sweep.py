"""Stages 4 and 5: from methods and trade-offs to tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

from paretune.core.description import describe
from paretune.core.job import BASE, Pool, Replies, Shown, TrainingJob, group_jobs, order_jobs
from paretune.core.policy import Steering
from paretune.core.record import PreferenceData
from paretune.core.shots import FewShot
from paretune.core.tradeoff import TradeOff
from paretune.engines.rewarded_rows import rewarded_calibration, rewarded_rows
from paretune.errors import InputError
from paretune.functional.goal_table import check_goal
from paretune.functional.pairing import comparison_keys
from paretune.pipeline.config import MethodConfig, RunConfig
from paretune.pipeline.folder import RunFolder, Sealed
from paretune.pipeline.job_inputs import round_folder
from paretune.pipeline.meaning import REFERENCE
from paretune.pipeline.personal import UserTask
from paretune.pipeline.rewards import has_own_judges, reward_configs
from paretune.pipeline.shown import check_asking
from paretune.pipeline.tasks import ReplyTask, RoundTask, Task, TrainTask
from paretune.pipeline.user_questions import MOST_REPLIES, MOST_VISITS, measured

Made = dict[str, TrainTask | RoundTask]
"""Trainings and rounds of a run, by all that they follow from."""

_REPLY_WEIGHT = 0.3
"""Cost of generating a reply, in units of training on one row."""

_USERS_WEIGHT = 0.3 * (8 * MOST_VISITS * 4 + 3 * MOST_REPLIES)
"""Of eight ways to ask for pairs, two responses under two policies, and of three who reply."""


@final
@dataclass(frozen=True)
class MethodPlan:
    """One method of a run as tasks.

    Args:
        name: of the method in the results.
        tradeoffs: what it is evaluated for.
        policies: tasks that train, rounds included; those that an earlier method of the run plans
            alike are that method's.
        replies: one task a trade-off.
        descriptions: what answers at each trade-off, in words.
        users: of a few-shot method, the task that asks its policy on behalf of new users.
    """

    name: str
    tradeoffs: tuple[TradeOff, ...]
    policies: tuple[Task, ...]
    replies: tuple[ReplyTask, ...]
    descriptions: tuple[str, ...]
    users: tuple[UserTask, ...] = ()


def plan_run(
    config: RunConfig,
    run: RunFolder,
    n_rows: tuple[int, int],
    n_prompts: int,
    above: str,
    allowed: frozenset[str] = frozenset(),
) -> list[MethodPlan]:
    """Every method of a run as tasks, the reference policy first.

    Two methods that plan the same training, or the same replies to learn from, share it.

    Args:
        config: of the run.
        run: its folder.
        n_rows: training responses and comparisons, for progress.
        n_prompts: evaluation prompts.
        above: identity of stage 3, which every job follows from.
        allowed: settings in which finished and stopped trainings may differ from ``config``.
    """
    made: Made = {}
    return [
        _plan_reference(config, run, n_prompts, above),
        *(
            _plan_method(config, run, m, n_rows, n_prompts, above, made, allowed)
            for m in config.methods
        ),
    ]


def _plan_reference(config: RunConfig, run: RunFolder, n_prompts: int, above: str) -> MethodPlan:
    even = TradeOff.even(len(config.objectives))
    steering = Steering("pick", (BASE,), (1.0,), even)
    task = _reply_task(config, run, REFERENCE, steering, even, {}, {}, n_prompts, above)
    return MethodPlan(REFERENCE, (even,), (), (task,), (BASE,))


def _plan_method(
    config: RunConfig,
    run: RunFolder,
    method: MethodConfig,
    n_rows: tuple[int, int],
    n_prompts: int,
    above: str,
    made: Made,
    allowed: frozenset[str],
) -> MethodPlan:
    built = config.build_method(method)
    tradeoffs = config.tradeoffs_of(method)
    settings = config.train_of(method)
    jobs = built.plan(len(config.objectives), tradeoffs)
    sealed: dict[str, Sealed] = {}
    folders: dict[str, Path] = {}
    tasks: list[Task] = []
    for together in group_jobs([job for wave in order_jobs(jobs) for job in wave]):
        first = together[0]
        needs = [_task_id(sealed[n]) for n in first.needs if n != BASE]
        rounds: dict[str, RoundTask] = {}
        if isinstance(first.source, Replies):
            source = first.source
            rounds = _round_tasks(config, run, method.name, source, above, sealed, folders, made)
            tasks += [r for r in rounds.values() if r not in tasks]
            needs += [r.id for r in rounds.values()]
        inputs: dict[str, Any] = {
            "above": above,
            "job": describe(_nameless(first) if first.group is None else together),
            "settings": settings.identity(),
            "needs": {n: sealed[n].identity for n in first.needs if n != BASE},
            "seed": config.seed,
        }
        if first.online is not None:
            inputs["max_new_tokens"] = config.generate.max_new_tokens
        path = run.policy(method.name, first.group or first.id)
        place = Sealed(path, inputs).or_kept(allowed)
        weight = _train_weight(first, settings, n_rows)
        needed = {n: folders[n] for n in first.needs if n != BASE and n in folders}
        task = TrainTask(
            method.name,
            tuple(together),
            needed,
            settings,
            place,
            tuple(dict.fromkeys(needs)),
            weight,
            {n: r.sealed.path for n, r in rounds.items()},
            allowed,
        )
        owner = made.setdefault(place.identity, task)
        assert isinstance(owner, TrainTask)
        sealed |= dict.fromkeys(task.folders, owner.sealed)
        folders |= dict(zip(task.folders, owner.folders.values(), strict=True))
        tasks += [owner] if owner not in tasks else []
    replies: list[ReplyTask] = []
    descriptions: list[str] = []
    for tradeoff in tradeoffs:
        steering = built.steer(tradeoff, tradeoffs)
        replies.append(
            _reply_task(
                config, run, method.name, steering, tradeoff, sealed, folders, n_prompts, above
            )
        )
        descriptions.append(in_words(steering))
    users = [
        _user_task(config, run, reply, job, sealed, folders, above)
        for reply in replies[:1]
        for job in jobs
        if reply.steering.shots is not None and reply.steering.policies == (job.id,)
        if isinstance(job.source, Shown)
    ]
    return MethodPlan(
        method.name, tuple(tradeoffs), tuple(tasks), tuple(replies), tuple(descriptions),
        tuple(users),
    )  # fmt: skip


def in_words(steering: Steering) -> str:
    """What answers: ``expert-0``, ``merge(expert-0:0.3, expert-1:0.7)``, ``panacea(0.3, 0.7)``."""
    used = [(p, w) for p, w in zip(steering.policies, steering.weights, strict=True) if w != 0]
    is_told = steering.condition is not None or steering.shots is not None
    if steering.kind == "condition" and not is_told:
        text = f"{used[0][0]}({', '.join(f'{w:g}' for w in steering.tradeoff.weights)})"
    elif len(used) == 1:
        text = used[0][0]
    else:
        text = f"{steering.kind}({', '.join(f'{p}:{w:g}' for p, w in used)})"
    return text if steering.candidates == 1 else f"best of {steering.candidates} from {text}"


def _round_tasks(
    config: RunConfig,
    run: RunFolder,
    method: str,
    source: Replies,
    above: str,
    sealed: dict[str, Sealed],
    folders: dict[str, Path],
    made: Made,
) -> dict[str, RoundTask]:
    """One task for each job that replies; shared by all jobs with the same source."""
    rounds: dict[str, RoundTask] = {}
    for job_id in source.of:
        inputs = {
            "policy": above if job_id == BASE else sealed[job_id].identity,
            "source": describe(replace(source, of=())),
            "generate": config.generate.model_dump(),
            "seed": config.seed,
        }
        place = Sealed(round_folder(run, method, job_id, source), inputs)
        weight = _REPLY_WEIGHT * source.prompts * source.per_prompt
        needs = () if job_id == BASE else (_task_id(sealed[job_id]),)
        task = RoundTask(method, job_id, folders.get(job_id), source, place, needs, weight)
        owner = made.setdefault(place.identity, task)
        assert isinstance(owner, RoundTask)
        rounds[job_id] = owner
    return rounds


def _task_id(sealed: Sealed) -> str:
    """Id of the task that makes a policy, of whichever method it is."""
    return f"{sealed.path.parent.name}/{sealed.path.name}"


def _nameless(job: TrainingJob) -> TrainingJob:
    """The job without its id, which changes nothing; but floors are told by it."""
    return job if job.goal is not None else replace(job, id="")


def _reply_task(
    config: RunConfig,
    run: RunFolder,
    method: str,
    steering: Steering,
    tradeoff: TradeOff,
    sealed: dict[str, Sealed],
    folders: dict[str, Path],
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
        {p: folders[p] for p in steering.policies if p != BASE},
        Sealed(run.stage(5) / method / tradeoff.slug, inputs),
        tuple(dict.fromkeys(_task_id(sealed[p]) for p in steering.policies if p != BASE)),
        _REPLY_WEIGHT * n_prompts * config.evaluate.draws * steering.candidates,
    )


def _user_task(
    config: RunConfig,
    run: RunFolder,
    reply: ReplyTask,
    job: TrainingJob,
    sealed: dict[str, Sealed],
    folders: dict[str, Path],
    above: str,
) -> UserTask:
    """Whoever is served, users are asked for by their own trade-offs."""
    assert isinstance(job.source, Shown)
    reference = job.source.reference
    inputs: dict[str, Any] = {
        "above": above,
        "shots": describe(reply.steering.shots),
        "source": describe(job.source),
        "policy": sealed[job.id].identity,
        "reference": BASE if reference == BASE else sealed[reference].identity,
        "measured": measured(),
        **{name: reply.sealed.inputs[name] for name in ("generate", "prompts", "judges", "seed")},
    }
    path = run.stage(5) / reply.method / "users"
    needs = [_task_id(sealed[n]) for n in (job.id, reference) if n != BASE]
    return UserTask(
        reply.method, reply.steering, job, folders[job.id], folders.get(reference),
        Sealed(path, inputs), tuple(needs), _USERS_WEIGHT * _prompt_weight(job.source.prompts),
    )  # fmt: skip


def _train_weight(job: TrainingJob, settings: Any, n_rows: tuple[int, int]) -> float:
    mine = settings.with_job(job.settings)
    is_paired = job.kind == "pairwise"
    rows = n_rows[1] if is_paired else n_rows[0]
    # An own reply is drawn, read by the reference, and trained on.
    per_row = 2.0 if is_paired or job.online is not None else 1.0
    if isinstance(job.source, Shown):
        rows = job.source.users * job.source.pairs_per_user * job.source.epochs
        per_row *= _prompt_weight(job.source.prompts)
    return float(mine.n_steps(rows) * mine.batch_size * per_row)


def _prompt_weight(shots: FewShot) -> float:
    """Cost of a row whose prompt shows pairs, in rows without: two responses a pair."""
    return 1.0 + 2.0 * shots.n_shots[1]


def check_rows(plans: Sequence[MethodPlan], data: PreferenceData, seed: int) -> None:
    """Ask every job that learns from the run's own records which rows it would take.

    Args:
        plans: of the run.
        data: the run's training records, rewarded and labelled.
        seed: of the run.

    Raises:
        InputError: naming the job, if its rule refuses the data or leaves nothing.
    """
    for plan in plans:
        for task in plan.policies:
            if isinstance(task, TrainTask):
                for job in task.jobs:
                    name = f"{plan.name}/{job.id}"
                    check_job(name, job, data, task.settings.seed + seed, seed)


def check_job(
    name: str, job: TrainingJob, data: PreferenceData, seed: int, run_seed: int = 0
) -> None:
    """Ask one job which rows it would take; jobs that learn from replies are left alone.

    Args:
        name: what the message calls the job.
        job: of a plan.
        data: the run's training records, rewarded and labelled.
        seed: of the job's training.
        run_seed: of the run, which deals comparisons to users.

    Raises:
        InputError: if its rule refuses the data or leaves nothing.
    """
    try:
        if job.online is not None:
            from paretune.engines.lm.online import check_online

            check_online(job, data.n_prompts)
            return
        if job.goal is not None:
            from paretune.engines.lm.constrained import trainable_goal

            trainable_goal(job)
        if isinstance(job.source, Shown):
            check_asking(data, job.source, run_seed)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    if isinstance(job.source, Replies | Shown):
        return
    rule: Any = job.rows
    try:
        if job.goal is not None:
            taken = check_goal(job.goal, data, seed)
        elif job.kind == "sft":
            taken = len(rule(Pool.of(data)))
        elif job.kind == "rewarded":
            rows = rewarded_rows([job], Pool.of(data))
            rewarded_calibration([job], data, rows)
            taken = len(rows)
        else:
            order = rule(data.labels, comparison_keys(data.n_comparisons, seed))
            index, taken = order.index, len(order.index)
            if job.margins is not None and not job.margins.experts:
                from paretune.engines.margins import pair_margins

                pair_margins(job.margins, data, order, {})
            if job.adapter is not None:
                from paretune.engines.lm.conditioned_pairs import conditioned_step_loss

                conditioned_step_loss(job)
            elif job.step_loss is not None and job.step_loss.weights is None:
                from paretune.engines.lm.pairs import users_weights

                users_weights(job, data, index)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    if not taken:
        raise InputError(
            f"{name}: found no row that it could learn from among {len(data.texts)} "
            f"responses and {data.n_comparisons} comparisons"
        )
