"""Rewards-in-Context: one policy that is told the rewards it should get."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, ClassVar, Literal, final

from paretune.core.job import Replies, TrainingJob
from paretune.core.method import Method, Needs
from paretune.core.policy import Steering
from paretune.core.tradeoff import TradeOff
from paretune.errors import ConfigError
from paretune.functional.desired_rewards import RangeFrom, Rule
from paretune.functional.reward_filter import Keep, select_rounds, select_scored
from paretune.functional.reward_prompt import ask_goal, ask_tradeoff, tell_rewards
from paretune.methods._fields import check, check_choices

_ONLINE_ONLY = (
    "prompts", "replies_per_prompt", "keep", "quantile", "max_records", "online_steps",
    "online_rate", "temperature", "top_p",
)  # fmt: skip


@final
@dataclass(frozen=True)
class RewardsInContext(Method):
    r"""Fine-tuning on prompts that tell the rewards of their responses; one policy serves all.

    Offline, every scored response is imitated after a prompt that ends with its z-scores,
    ``<rm1_score> 0.7 <rm2_score> -1.2``. Online, the policy replies to prompts that ask for random
    goals near the best corner; the better replies, told what they *got*, and the better records
    train it further. A trade-off is served by asking for the rewards that it wishes.

    What holds: it trains one policy whatever the number of trade-offs, takes any trade-off
    afterwards, and with enough data and capacity a prompt that tells rewards draws from the
    training responses with these rewards, exactly. What does not: a trade-off is served as well as
    its wish is met by the data. Where objectives conflict, the wish of a balanced trade-off
    (0.71 of both ranges with ``p=2``) lies outside the data, and what a policy does there is
    extrapolation: in a toy a policy that was fine-tuned for the balanced trade-off alone got
    (.25, .23) where this got (.24, .07). Weight 0 asks for the *worst* of an objective. No
    constraint keeps it near the reference.

    Reading the told numbers takes training. On the embedded world (scenario A, 3,000 pairs, rate
    1e-3, one seed, five trade-offs) the rank correlations of weight and reward were .3 and .3 after
    120 offline steps, .7 and .9 after 600, .9 and .7 after 2,000, where a weight of 0 left at most
    .03 of its objective; the hypervolume was .17, .26 and .18, so more control was not more front.

    Source: Yang et al. 2024 and its published code. Differences: goals lie in the range of the
    training rewards, not in that of a normal distribution (``range_from="gauss"`` is the code's);
    scores are rounded only when they are written; prompts of a round are distinct, and the same in
    every round; repeats of a reply to one prompt count once; no reply is dropped for its text (the
    code drops those with five dots or three smileys, and none may be empty); the first stage takes
    the steps and
    the learning rate of the run (the code: 20,000 steps at 1.41e-4 from the base model), and the
    online stage its epochs over what is left (the code: 4,000 steps at 1e-5).

    Args:
        iterations: online stages, 0 to 2.
        rule: from a trade-off to rewards: ``norm`` is the source's; ``linf`` and ``linear`` are
            rules of its code. See :func:`~paretune.functional.desired_rewards.desired_share`.
        p: of ``norm``, >= 1: 1 asks for the objective with the largest weight alone, a large p for
            much of everything.
        range_from: the rewards that are asked for lie between the 0.1 % and 99.9 % quantiles of
            the training rewards (``data``), or within about 4.2 standard deviations (``gauss``).
        limit: z-scores beyond it are written as it, > 0; the tokenizers of the built-in worlds
            know numbers up to 4.4.
        marker: text that ends every prompt to open the reply, such as ``"\\n\\nAssistant:"``: the
            rewards go before it. Empty where a chat template opens the reply.
        steps: optimizer steps of the offline stage, >= 1; ``None`` takes the run's epochs.
        learning_rate: peak of the offline stage, > 0; ``None`` takes the run's.
        prompts: training prompts that each round asks, >= 1; all where there are fewer.
        replies_per_prompt: goals that each prompt is asked for in a round, >= 1; more than one
            makes up for few prompts.
        keep: which replies and records train further: ``quantile`` is the source's, at or above a
            quantile of their own round on *any* objective; ``pareto`` takes the fewest Pareto
            layers that hold a share ``1 - quantile`` of the round.
        quantile: in [0, 1).
        max_records: of the run's own records that pass the filter, as many are kept, >= 0.
        online_steps: optimizer steps of each online stage, >= 1; ``None`` takes the run's epochs.
        online_rate: learning rate of the online stages as a share of the offline one's, > 0; it
            stays constant. The code's is 1e-5 / 1.41e-4.
        temperature: of the replies of a round, > 0.
        top_p: nucleus of the replies of a round, in (0, 1].
    """

    iterations: Literal[0, 1, 2] = 1
    rule: Rule = "norm"
    p: float = 2.0
    range_from: RangeFrom = "data"
    limit: float = 4.4
    marker: str = ""
    steps: int | None = None
    learning_rate: float | None = None
    prompts: int = 20_000
    replies_per_prompt: int = 1
    keep: Keep = "quantile"
    quantile: float = 0.7
    max_records: int = 10_000
    online_steps: int | None = None
    online_rate: float = 0.07
    temperature: float = 0.7
    top_p: float = 0.9
    paper: ClassVar[str] = "arXiv:2402.10207"
    needs: ClassVar[tuple[Needs, ...]] = ("scores",)

    def __post_init__(self) -> None:
        check_choices(self, "ric")
        at = "ric."
        for name in ("steps", "online_steps"):
            value = getattr(self, name)
            check(value is None or value >= 1, at + name, value, "an integer >= 1 or nothing")
        for name in ("prompts", "replies_per_prompt"):
            check(getattr(self, name) >= 1, at + name, getattr(self, name), "an integer >= 1")
        check(self.max_records >= 0, at + "max_records", self.max_records, "an integer >= 0")
        check(1 <= self.p < math.inf, at + "p", self.p, "a finite number >= 1")
        for name in ("limit", "learning_rate", "online_rate", "temperature"):
            value = getattr(self, name)
            is_fine = (value is None and name == "learning_rate") or (
                value is not None and 0 < value < math.inf
            )
            check(is_fine, at + name, value, "a finite number > 0")
        check(0 <= self.quantile < 1, at + "quantile", self.quantile, "a number in [0, 1)")
        check(0 < self.top_p <= 1, at + "top_p", self.top_p, "a number in (0, 1]")
        for f in fields(self):
            value, why = getattr(self, f.name), None
            if f.name in _ONLINE_ONLY and self.iterations == 0:
                why = "iterations 0"
            if f.name == "p" and self.rule != "norm":
                why = f"rule {self.rule!r}"
            expected = f"the default {f.default!r} (not read with {why})"
            check(why is None or value == f.default, at + f.name, value, expected)

    def plan(self, n_objectives: int, tradeoffs: Sequence[TradeOff]) -> list[TrainingJob]:
        if n_objectives < 2:
            raise ConfigError(
                f"ric: found {n_objectives} objective, expected at least 2: with one there is no "
                "trade-off to ask for; sft or dpo take one objective"
            )
        jobs = [self._job(0, n_objectives, rows=select_scored, settings=self._settings(self.steps))]
        better = partial(
            select_rounds, keep=self.keep, quantile=self.quantile, max_records=self.max_records
        )
        settings = {
            **self._settings(self.online_steps),
            "learning_rate_factor": self.online_rate,
            "schedule": "constant",
        }
        for number in range(1, self.iterations + 1):
            more = {"source": self._replies(number), "start": _job_id(number - 1)}
            jobs.append(self._job(number, n_objectives, rows=better, settings=settings, **more))
        return jobs

    def steer(self, tradeoff: TradeOff, trained: Sequence[TradeOff]) -> Steering:
        condition = partial(
            ask_tradeoff,
            weights=tradeoff.weights,
            rule=self.rule,
            p=self.p,
            range_from=self.range_from,
            limit=self.limit,
            marker=self.marker,
        )
        last = _job_id(self.iterations)
        return Steering("condition", (last,), (1.0,), tradeoff, condition=condition)

    def _job(self, number: int, n_objectives: int, **more: Any) -> TrainingJob:
        condition = partial(tell_rewards, limit=self.limit, marker=self.marker)
        center = TradeOff.even(n_objectives)
        return TrainingJob(_job_id(number), "sft", center, condition=condition, **more)

    def _replies(self, number: int) -> Replies:
        """Replies of all rounds so far: each goes on counting in the later ones."""
        return Replies(
            of=tuple(_job_id(earlier) for earlier in range(number)),
            prompts=self.prompts,
            per_prompt=self.replies_per_prompt,
            temperature=self.temperature,
            top_p=self.top_p,
            with_offline=True,
            condition=partial(
                ask_goal, range_from=self.range_from, limit=self.limit, marker=self.marker
            ),
        )

    def _settings(self, steps: int | None) -> dict[str, float | int | str]:
        settings: dict[str, Any] = {"steps": steps, "learning_rate": self.learning_rate}
        return {name: value for name, value in settings.items() if value is not None}


def _job_id(number: int) -> str:
    return f"online-{number}" if number else "offline"


METHOD = RewardsInContext
