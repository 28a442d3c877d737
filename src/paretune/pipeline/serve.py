"""From the folder of a measured run to a server: what is on disk, checked, and nothing trained."""

from __future__ import annotations

import queue
import secrets
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from paretune.core.policy import Steering
from paretune.core.record import Prompt
from paretune.core.results import RunResult
from paretune.core.tradeoff import TradeOff
from paretune.engines.lm.row_sampling import Sampling
from paretune.errors import ConfigError, RunError, nearest
from paretune.pipeline.ask import open_scores, people_of
from paretune.pipeline.base import existing_base
from paretune.pipeline.config import RunConfig
from paretune.pipeline.folder import RunFolder, Sealed
from paretune.pipeline.replies import load_steered, positions_of
from paretune.pipeline.rewards import read_normalizer, scorers
from paretune.pipeline.run import load_result, stored_config
from paretune.pipeline.sweep import MethodPlan, plan_run
from paretune.pipeline.tasks import TrainTask
from paretune.safety.manifest import find_problems
from paretune.scoring.score import score_responses
from paretune.serving.answers import Answers, ServedMethod
from paretune.serving.app import Service
from paretune.serving.candidates import Candidates, Rate
from paretune.serving.reward_route import Rewards
from paretune.serving.scheduler import TOKENS, Asked, Ended, Scheduler, Token
from paretune.serving.wishes import Wishes
from paretune.serving.words import Words

_NO_LIMIT = 1 << 20
"""Positions of a model whose config names none."""


def open_service(
    run: RunFolder,
    method: str | None = None,
    *,
    rows: int = 64,
    waiting: int = 256,
    tokens: int = TOKENS,
) -> Service:
    """A service of a measured run.

    Args:
        run: its folder.
        method: that answers where a request names none; default: the run's method of the largest
            hypervolume that can be served.
        rows: replies decoded together, at most.
        waiting: replies that may wait, at most.
        tokens: of prompts and replies that are kept for the rows, at most.

    Raises:
        ConfigError: if the run is not measured, or the method is unknown or cannot be served.
        RunError: if a policy is missing or damaged.
    """
    from paretune.engines.lm.forward import autocast, fast_dtype
    from paretune.engines.lm.models import base_config, pick_device
    from paretune.pipeline.comparisons import new_encoder

    config, result = stored_config(run), load_result(run)
    base = existing_base(config, run)
    methods = served_methods(config, run, result)
    if not methods:
        raise ConfigError(f"{run.path}: found no method that can be served, expected one")
    if method is not None and method not in methods:
        raise ConfigError(f"--method: found {method!r}{nearest(method, methods)}")
    load = partial(load_steered, base=base, quantize=config.quantize)
    answers = Answers(methods, base, load, config.quantize)
    encoder = new_encoder(config, base)
    positions = positions_of(base_config(base)) or _NO_LIMIT
    words = Words(encoder, read_normalizer(config, run), positions)
    device = pick_device()
    scheduler = Scheduler(
        answers.load, int(encoder.tokenizer.eos_token_id), encoder.pad_id, rows=rows,
        waiting=waiting, tokens=tokens, autocast=lambda: autocast(device, fast_dtype(device)),
    )  # fmt: skip
    default = method or best_method(result, methods)
    people = people_of(config, run, result, default)
    wishes = Wishes(result, methods, default, people.learned)
    limit = config.generate.max_new_tokens
    made = Service(
        result, answers, wishes, words, scheduler, limit, lambda: secrets.randbits(31), people,
        Rewards(partial(open_scores, config, run)),
        Candidates(partial(_open_rate, config, run), words.normalizer),
        config.generate.temperature, config.generate.top_p,
    )  # fmt: skip
    _try(made)
    return made


def _try(service: Service) -> None:
    """A first token: what cannot be served is told now, and the first client need not wait."""
    heard: queue.SimpleQueue[Token | Ended] = queue.SimpleQueue()
    method = service.wishes.default
    answer = service.answers.answer(method, TradeOff.even(len(service.result.objectives)))
    prompt = np.array([service.words.encoder.tokenizer.eos_token_id], dtype=np.int32)
    asked = Asked(answer.model, answer.rows, prompt, Sampling(0.0), 1, heard.put, mix=answer.mix)
    service.scheduler.ask([asked])
    while isinstance(event := heard.get(), Token):
        pass
    if event.reason == "error":
        service.scheduler.close(0)
        raise ConfigError(f"{method}: {event.problem}; choose another with --method")


def served_methods(config: RunConfig, run: RunFolder, result: RunResult) -> dict[str, ServedMethod]:
    """Methods of a run whose replies can be decoded as they are asked for."""
    above = (Sealed(run.stage(3), {}).manifest or {}).get("identity", "")
    plans = {plan.name: plan for plan in plan_run(config, run, (1, 1), 1, above)}
    measured = {m.name: m for m in result.methods if m.failed is None}
    found = {}
    for method in config.methods:
        plan, built = plans[method.name], config.build_method(method)
        if method.name not in measured:
            continue
        steer = partial(_steer, built, plan.tradeoffs)
        sample = steer(plan.tradeoffs[0])
        if sample.shots is not None:
            continue  # whose pairs the prompt would show is not known
        folders = _folders(plan)
        for folder in folders.values():
            _require_intact(folder)
        found[method.name] = ServedMethod(method.name, measured[method.name].points, steer, folders)
    return found


def _steer(built: Any, trained: Sequence[TradeOff], tradeoff: TradeOff) -> Steering:
    steering: Steering = built.steer(tradeoff, trained)
    return steering


def _folders(plan: MethodPlan) -> dict[str, Path]:
    """Policies of a method by job: its own, and those that another method trained for it."""
    found: dict[str, Path] = {}
    for reply in plan.replies:
        found |= reply.policies
    for task in plan.policies:
        if isinstance(task, TrainTask):
            found |= {job: path for job, path in task.folders.items() if job in found}
    return found


def _require_intact(folder: Path) -> None:
    sealed = next((p for p in (folder, folder.parent) if (p / "manifest.json").exists()), None)
    if sealed is None:
        raise RunError(f"{folder}: found no policy, expected a trained one; run the run again")
    if problems := find_problems(sealed):
        raise RunError(f"{'; '.join(problems)}: damaged; run the run again to make it again")


def best_method(result: RunResult, methods: Mapping[str, ServedMethod]) -> str:
    """The method of the largest hypervolume, of those that answer with one reply if there are."""

    def rank(name: str) -> tuple[bool, float]:
        volume = next(m for m in result.methods if m.name == name).hypervolume
        steering = methods[name].steer(TradeOff.even(len(result.objectives)))
        return steering.candidates == 1, -1.0 if volume is None else volume.value

    return max(methods, key=rank)


def _open_rate(config: RunConfig, run: RunFolder) -> Rate:
    """What rates candidates as the evaluation of the run did."""
    found = scorers(config, run, "rewards")

    def rate(prompt: Prompt, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        return score_responses([prompt] * len(texts), texts, found)

    return rate
