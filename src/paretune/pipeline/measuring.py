"""Stage 6: replies on disk to a measured front."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import numpy as np

from paretune.core.job import Replies
from paretune.core.record import Prompt
from paretune.core.results import Cost, KnownFront, RunResult, to_json
from paretune.core.tradeoff import TradeOff
from paretune.evaluation.box import Box, frozen_box
from paretune.evaluation.measure import measure
from paretune.evaluation.replies import Constraint, MethodReplies, PointReplies, ReplyTable
from paretune.pipeline.config import RunConfig
from paretune.pipeline.folder import RunFolder, Sealed
from paretune.pipeline.personal import UserTask
from paretune.pipeline.records import QUARANTINE, read_test_prompts
from paretune.pipeline.replies import REPLIES, read_replies
from paretune.pipeline.rewards import has_own_judges, read_normalizer, reward_configs
from paretune.pipeline.sweep import MethodPlan
from paretune.pipeline.tasks import ReplyTask, RoundTask, TrainTask
from paretune.pipeline.user_results import user_result
from paretune.pipeline.worlds import world_of
from paretune.safety.files import write_json

FRONT = "front.json"


def measure_run(
    config: RunConfig, run: RunFolder, plans: Sequence[MethodPlan], failed: Mapping[str, str]
) -> RunResult:
    """Measure every method and write ``6-front/front.json``.

    Args:
        config: of the run.
        run: its folder.
        plans: the reference first, then the methods.
        failed: task to what went wrong.
    """
    reference, *methods = (_replies_of(config, plan, failed) for plan in plans)
    prompts = read_test_prompts(config, run)
    box = box_of(config, run)
    users = [task for plan in plans for task in plan.users]
    result = measure(
        run.name,
        config.axes,
        box,
        [as_text(p) for p in prompts],
        methods,
        rng=np.random.default_rng([config.seed, 6]),
        reference=reference,
        known=_known_front(config, plans),
        n_resamples=config.evaluate.resamples,
        n_samples=config.evaluate.samples,
        notes=[*_notes(config, run), *_trained_once(plans), *_not_measured(users, failed)],
        facts=_facts(config, run),
    )
    asked = tuple(user_result(config, box, task) for task in users if task.id not in failed)
    result = replace(result, personalization=asked)
    replies = [task.sealed.identity for plan in plans for task in (*plan.replies, *plan.users)]
    inputs = {"evaluate": config.evaluate.model_dump(), "replies": replies, "failed": dict(failed)}
    with Sealed(run.stage(6), inputs, is_replaced=True).writing() as (folder, _):
        write_json(folder / FRONT, to_json(result))
    return result


def _replies_of(config: RunConfig, plan: MethodPlan, failed: Mapping[str, str]) -> MethodReplies:
    mine = [t for t in (*plan.policies, *plan.replies) if t.id in failed]
    points = []
    for tradeoff, task, words in zip(plan.tradeoffs, plan.replies, plan.descriptions, strict=True):
        if task.id not in failed:
            columns = read_replies(task.sealed.path / REPLIES, config.objectives)
            asked = _constraints(config, plan, task)
            points.append(PointReplies(tradeoff, words, ReplyTable(**columns), asked))
    problem = f"{mine[0].id}: {failed[mine[0].id]}" if mine else None
    return MethodReplies(plan.name, points, _cost(plan, failed), problem)


def _constraints(config: RunConfig, plan: MethodPlan, task: ReplyTask) -> tuple[Constraint, ...]:
    """What the policy that answers was to reach, if a single constrained one answers."""
    steering = task.steering
    used = [p for p, w in zip(steering.policies, steering.weights, strict=True) if w != 0]
    training = [t for t in plan.policies if isinstance(t, TrainTask)]
    goals = {job.id: (t, job.goal) for t in training for job in t.jobs if job.goal is not None}
    if len(used) != 1 or used[0] not in goals:
        return ()
    train, goal = goals[used[0]]
    floors: dict[str, float] = (train.sealed.manifest or {})["facts"]["floors"][used[0]]
    asked = [Constraint(goal.primary, "preference", None, goal.slope)]
    for column in goal.secondary:
        unit: Any = "reward" if goal.reward_floors[column] is not None else "preference"
        floor = floors[config.objectives[column]]
        is_own = isinstance(train.jobs[0].source, Replies)
        asked.append(Constraint(column, unit, floor, goal.slope, is_own))
    return tuple(asked)


def _cost(plan: MethodPlan, failed: Mapping[str, str]) -> Cost:
    def facts(task: Any) -> dict[str, Any]:
        return dict((task.sealed.manifest or {}).get("facts", {}))

    done = [t for t in plan.policies if t.id not in failed]
    training = [t for t in done if isinstance(t, TrainTask)]
    trained = [facts(t) for t in training]
    answered = [facts(t) for t in plan.replies if t.id not in failed]
    replied = [*(facts(t) for t in done if isinstance(t, RoundTask)), *answered]
    return Cost(
        train_seconds=sum(f["seconds"] for f in trained),
        train_tokens=sum(f["tokens"] for f in trained),
        reply_seconds=sum(f["seconds"] for f in replied),
        reply_tokens=sum(f["tokens"] for f in replied),
        policies=sum(len(t.jobs) for t in training),
        tradeoffs=len(plan.tradeoffs),
        answer_seconds=sum(f["seconds"] for f in answered),
        answer_tokens=sum(f["tokens"] for f in answered),
    )


def box_of(config: RunConfig, run: RunFolder) -> Box:
    """The frame of hypervolume, frozen once stage 2 is made.

    Raises:
        InputError: if an objective has no room: a constant reward cannot be traded.
    """
    if config.evaluate.box is not None:
        bounds = (config.evaluate.box.low, config.evaluate.box.high)
        return frozen_box(config.axes, bounds=bounds)
    if world_of(config) is not None:
        n = len(config.objectives)
        return frozen_box(config.axes, bounds=([0.0] * n, [1.0] * n))
    return frozen_box(config.axes, normalizer=read_normalizer(config, run, "judges"))


def _known_front(config: RunConfig, plans: Sequence[MethodPlan]) -> KnownFront | None:
    world = world_of(config)
    if world is None:
        return None
    asked: dict[TradeOff, None] = {}
    for plan in plans[1:]:
        asked.update(dict.fromkeys(plan.tradeoffs))
    return world.known_front(tuple(asked), config.evaluate.part)


def _not_measured(users: Sequence[UserTask], failed: Mapping[str, str]) -> list[str]:
    """A method whose users could not be asked keeps its other results."""
    return [
        f"{task.method}: users were not asked: {failed[task.id]}"
        for task in users
        if task.id in failed
    ]


def _trained_once(plans: Sequence[MethodPlan]) -> list[str]:
    """Which methods share policies or rounds: the cost of each is what it would be alone."""
    notes = []
    for plan in plans:
        owners = [t.method for t in plan.policies if t.method != plan.name]
        notes += [
            f"{plan.name} plans {owners.count(owner)} of its trainings and rounds as {owner} does: "
            "they ran once, and the cost of each method is what it would be alone."
            for owner in dict.fromkeys(owners)
        ]
    return notes


def as_text(prompt: Prompt) -> str:
    """A prompt as results show it: a conversation with a line a turn."""
    if isinstance(prompt, str):
        return prompt
    return "\n".join(f"{m.role}: {m.content}" for m in prompt)


def _notes(config: RunConfig, run: RunFolder) -> list[str]:
    notes: list[str] = []
    facts: dict[str, Any] = {}
    for number in (1, 2, 3):
        facts |= (Sealed(run.stage(number), {}).manifest or {}).get("facts", {})
    if world_of(config) is not None:
        notes.append("The embedded world's exact rewards judge the replies.")
    elif has_own_judges(config):
        judged = ", ".join(n for n in config.objectives if n in config.evaluate.rewards)
        notes.append(f"Replies are judged by rewards that no method trained on ({judged}).")
        others = [n for n in config.objectives if n not in config.evaluate.rewards]
        if others:
            notes.append(
                f"The rewards of the training data also judge {', '.join(others)}: "
                "over-optimization is invisible there."
            )
    else:
        notes.append(
            "The rewards that selected the training data also judge the replies: over-optimization "
            "of a reward is invisible here (set evaluate.rewards)."
        )
    for name, accuracy in facts.get("accuracy", {}).items():
        notes.append(
            f"Reward model {name} orders {accuracy:.1%} of held-out pairs as labelled (chance 50%)."
        )
    for key, what in (("cut_prompts", "prompts lost their beginning"),
                      ("cut_responses", "responses lost their end")):  # fmt: skip
        if facts.get(key):
            notes.append(f"{facts[key]} training {what} to fit the token limits.")
    if left_out := {**facts.get("skipped", {}), **facts.get("cut", {})}:
        reasons = ", ".join(f"{n} {why}" for why, n in left_out.items())
        notes.append(
            f"{sum(left_out.values())} of {facts['rows_read']} rows are not used ({reasons}): "
            f"1-records/{QUARANTINE} holds them."
        )
    return notes


def _facts(config: RunConfig, run: RunFolder) -> dict[str, str]:
    names = ("paretune", "torch", "transformers", "peft", "moocore", "numpy")
    sources = {
        n: r.model_dump(exclude_defaults=True) for n, r in reward_configs(config, "judges").items()
    }
    return {
        "seed": str(config.seed),
        "judges": "the world" if config.data.world else str(sources),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        **{name: version(name) for name in names},
    }
