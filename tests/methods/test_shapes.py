"""The contract carries every shape of method that is known; each fake here is one of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest

from paretune.core.job import Replies, TrainingJob, order_jobs
from paretune.core.method import Method
from paretune.core.policy import Steering, nearest_tradeoff
from paretune.core.tradeoff import TradeOff
from paretune.errors import ConfigError
from paretune.functional.losses import dpo_loss, weighted_dpo_loss
from paretune.functional.pairing import keep_labelled, order_by_objective
from paretune.functional.select import select_all


def pairwise(name: str, tradeoff: TradeOff, **more: object) -> TrainingJob:
    rows = partial(keep_labelled, weights=tradeoff.weights)
    loss = partial(weighted_dpo_loss, beta=0.1, weights=tradeoff.weights)
    return TrainingJob(name, "pairwise", tradeoff, rows, loss, **more)  # type: ignore[arg-type]


def experts(n_objectives: int) -> list[TrainingJob]:
    return [
        TrainingJob(
            f"expert-{i}",
            "pairwise",
            TradeOff.only(i, n_objectives),
            partial(order_by_objective, index=i),
            partial(dpo_loss, beta=0.1),
        )
        for i in range(n_objectives)
    ]


def scores_in_prompt(prompt: str, rewards: np.ndarray) -> str:
    return f"{prompt} {' '.join(f'<{i}> {r:.1f}' for i, r in enumerate(rewards))}"


def weights_in_prompt(prompt: str, weights: tuple[float, ...]) -> str:
    return scores_in_prompt(prompt, np.array(weights))


class Fake(Method):
    paper = "arXiv:0000.00000"
    needs = ("pairs",)


@dataclass(frozen=True)
class OnePolicyATradeOff(Fake):
    def plan(self, n_objectives: int, tradeoffs: Sequence[TradeOff]) -> list[TrainingJob]:
        return [pairwise(f"p-{t.slug}", t) for t in dict.fromkeys(tradeoffs)]

    def steer(self, tradeoff: TradeOff, trained: Sequence[TradeOff]) -> Steering:
        served = nearest_tradeoff(tradeoff, trained)
        return Steering("pick", (f"p-{served.slug}",), (1.0,), served)


@dataclass(frozen=True)
class Merged(Fake):
    kind = "merge"

    def plan(self, n_objectives: int, tradeoffs: Sequence[TradeOff]) -> list[TrainingJob]:
        return experts(n_objectives)

    def steer(self, tradeoff: TradeOff, trained: Sequence[TradeOff]) -> Steering:
        ids = tuple(f"expert-{i}" for i in range(len(tradeoff)))
        return Steering(self.kind, ids, tradeoff.weights, tradeoff)


@dataclass(frozen=True)
class Mixed(Merged):
    kind = "mix"


@dataclass(frozen=True)
class Conditioned(Fake):
    def plan(self, n_objectives: int, tradeoffs: Sequence[TradeOff]) -> list[TrainingJob]:
        center = TradeOff.even(n_objectives)
        offline = TrainingJob("offline", "sft", center, select_all, condition=scores_in_prompt)
        replies = Replies(("offline",), prompts=100)
        online = TrainingJob(
            "online", "sft", center, select_all, source=replies, start="offline",
            condition=scores_in_prompt,
        )  # fmt: skip
        return [offline, online]

    def steer(self, tradeoff: TradeOff, trained: Sequence[TradeOff]) -> Steering:
        rewrite = partial(weights_in_prompt, weights=tradeoff.weights)
        return Steering("condition", ("online",), (1.0,), tradeoff, condition=rewrite)


@dataclass(frozen=True)
class Group(OnePolicyATradeOff):
    def plan(self, n_objectives: int, tradeoffs: Sequence[TradeOff]) -> list[TrainingJob]:
        return [pairwise(f"p-{t.slug}", t, group="heads") for t in dict.fromkeys(tradeoffs)]


@dataclass(frozen=True)
class Rounds(Fake):
    def plan(self, n_objectives: int, tradeoffs: Sequence[TradeOff]) -> list[TrainingJob]:
        center, jobs = (
            TradeOff.even(n_objectives),
            [pairwise("round-0", TradeOff.even(n_objectives))],
        )
        for i in range(1, 4):
            source = Replies((f"round-{i - 1}", "base"), prompts=10, per_prompt=2)
            jobs.append(pairwise(f"round-{i}", center, source=source, start=f"round-{i - 1}"))
        return jobs

    def steer(self, tradeoff: TradeOff, trained: Sequence[TradeOff]) -> Steering:
        return Steering("pick", ("round-3",), (1.0,), TradeOff.even(len(tradeoff)))


SHAPES = [OnePolicyATradeOff, Merged, Mixed, Conditioned, Group, Rounds]


@pytest.mark.parametrize("shape", SHAPES)
def test_shape_passes(shape: type[Method], check_contract: Callable[..., None]) -> None:
    check_contract(shape())


def test_rounds_run_one_after_the_other() -> None:
    waves = order_jobs(Rounds().plan(2, []))
    assert [[job.id for job in wave] for wave in waves] == [[f"round-{i}"] for i in range(4)]


class ServesWhatIsNotTrained(OnePolicyATradeOff):
    def steer(self, tradeoff: TradeOff, trained: Sequence[TradeOff]) -> Steering:
        return Steering("pick", (f"p-{tradeoff.slug}",), (1.0,), tradeoff)


class PlansByTheOrderOfASet(Merged):
    def plan(self, n_objectives: int, tradeoffs: Sequence[TradeOff]) -> list[TrainingJob]:
        return [pairwise(f"p-{t.slug}-{id(tradeoffs)}", t) for t in tradeoffs]


class HidesASetting(Merged):
    def plan(self, n_objectives: int, tradeoffs: Sequence[TradeOff]) -> list[TrainingJob]:
        job = experts(n_objectives)[0]
        return [TrainingJob(job.id, "pairwise", job.tradeoff, job.rows, lambda batch: batch.chosen)]


class TrainsTwice(OnePolicyATradeOff):
    def plan(self, n_objectives: int, tradeoffs: Sequence[TradeOff]) -> list[TrainingJob]:
        return [pairwise(f"p-{i}", t) for i, t in enumerate(tradeoffs)]


class NeedsWhatIsNotPlanned(Rounds):
    def plan(self, n_objectives: int, tradeoffs: Sequence[TradeOff]) -> list[TrainingJob]:
        return super().plan(n_objectives, tradeoffs)[1:]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (ServesWhatIsNotTrained, AssertionError),
        (PlansByTheOrderOfASet, AssertionError),
        (HidesASetting, TypeError),
        (TrainsTwice, AssertionError),
        (NeedsWhatIsNotPlanned, ConfigError),
    ],
)
def test_the_contract_catches(
    fault: type[Method], error: type[Exception], check_contract: Callable[..., None]
) -> None:
    with pytest.raises(error):
        check_contract(fault())
