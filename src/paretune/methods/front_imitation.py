"""Front imitation: the best responses for every trade-off, imitated by one policy told which."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal, final

from paretune.core.adapter import TradeOffEmbedding
from paretune.core.job import TrainingJob
from paretune.core.method import Method, Needs
from paretune.core.policy import Steering, nearest_tradeoff
from paretune.core.tradeoff import TradeOff
from paretune.errors import ConfigError
from paretune.functional.front_targets import select_targets
from paretune.methods._fields import check, check_choices

_JOB = "front"


@final
@dataclass(frozen=True)
class FrontImitation(Method):
    r"""One policy for the whole front, from scored responses, for the price of one training.

    For each trade-off :math:`w` a target: the distribution :math:`q` over the scored responses that
    serves it best by the user's yardstick, no response more than :math:`N/k` times its share. With
    shortfalls :math:`s` (ideal minus reward, in the unit of the range)

    - ``expected``: :math:`\min_q \max_i w_i E_q[s_i]`, a linear program. Where two extreme kinds of
      reply, mixed, do better on average than any single reply, the target mixes them.
    - ``per_reply``: :math:`\min_q E_q[\max_i w_i s_i]`: every single reply is the best compromise.

    Each group of prompts whose words promise like rewards keeps its share of every target. One
    policy imitates all targets. It is told the trade-off by a vector that is added to the embedding
    of every token, not by its prompt. Serves the nearest trained trade-off.

    What holds, on tables: the policy of a trade-off is its target in every context that has rows,
    and the target's mean reward the best that the data allow by the yardstick. What does not:
    within a group, prompts whose responses are poor have little say; the mean of ``expected`` is
    over prompts too, so its mixture may be between groups, one served and one refused; nothing
    better than the best responses of the data is ever imitated, because no reply is drawn.

    Source: ours. What it takes from others: the ray from the ideal and imitation of selected rows
    from ParetoHqD (arXiv:2504.16628), one conditioned policy from Rewards-in-Context
    (arXiv:2402.10207). What it found: rows selected by distance to a ray are not the best ones by
    either yardstick; one policy learns from the rows of all trade-offs what they have in common.

    Args:
        yardstick: what a trade-off wants: ``expected`` rewards, which mixtures may earn, or
            ``per_reply`` utility.
        k: fewest responses that share a target, >= 1. More responses generalize better and are
            worse; it should be a percent or so of the data.
        rows: training rows of each trade-off, >= 1, which follow its target.
        steps: optimizer steps, >= 1; ``None`` takes the run's.
        batch_size: rows a step, >= 1; ``None`` takes the run's.
        learning_rate: peak, > 0; ``None`` takes the run's. The vectors start at random and want a
            high one.
        scale: length of the vectors at the start, in mean lengths of the token embeddings, >= 0.
            Start large models at .1 or less.
        groups: of prompts whose words promise like rewards, at most, >= 1. Each keeps its share of
            every target, so that prompts where objectives conflict are not left out.
        range_quantile: the ideal and the worst corner are these quantiles of the rewards, in
            [0, 0.5); 1e-4 withstands outliers of large data.
    """

    yardstick: Literal["expected", "per_reply"] = "expected"
    k: int = 100
    rows: int = 480
    steps: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    scale: float = 1.5
    groups: int = 4
    range_quantile: float = 0.0
    paper: ClassVar[str] = "ours"
    needs: ClassVar[tuple[Needs, ...]] = ("scores",)

    def __post_init__(self) -> None:
        check_choices(self, "front_imitation")
        at = "front_imitation."
        for name in ("k", "rows", "groups"):
            check(getattr(self, name) >= 1, at + name, getattr(self, name), "an integer >= 1")
        for name in ("steps", "batch_size"):
            value = getattr(self, name)
            check(value is None or value >= 1, at + name, value, "an integer >= 1 or nothing")
        rate, scale, quantile = self.learning_rate, self.scale, self.range_quantile
        is_fine = rate is None or 0 < rate < math.inf
        check(is_fine, at + "learning_rate", rate, "a finite number > 0 or nothing")
        check(0 <= scale < math.inf, at + "scale", scale, "a finite number >= 0")
        check(0 <= quantile < 0.5, at + "range_quantile", quantile, "a number in [0, 0.5)")

    def plan(self, n_objectives: int, tradeoffs: Sequence[TradeOff]) -> list[TrainingJob]:
        if n_objectives < 2:
            raise ConfigError(
                f"front_imitation: found {n_objectives} objective, expected at least 2: with one "
                "there is no trade-off to tell (methods for one objective: dpo, sft)"
            )
        known = tuple(t.weights for t in dict.fromkeys(tradeoffs))
        settings: dict[str, float | int | str] = {}
        for name in ("steps", "batch_size", "learning_rate"):
            if getattr(self, name) is not None:
                settings[name] = getattr(self, name)
        return [
            TrainingJob(
                id=_JOB,
                kind="sft",
                tradeoff=TradeOff.even(n_objectives),
                rows=partial(
                    select_targets,
                    tradeoffs=known,
                    k=self.k,
                    n=self.rows,
                    yardstick=self.yardstick,
                    groups=self.groups,
                    range_quantile=self.range_quantile,
                ),
                settings=settings,
                adapter=TradeOffEmbedding(known, self.scale),
            )
        ]

    def steer(self, tradeoff: TradeOff, trained: Sequence[TradeOff]) -> Steering:
        known = list(dict.fromkeys(trained))
        served = nearest_tradeoff(tradeoff, known)
        return Steering("condition", (_JOB,), (1.0,), served, told=known.index(served))


METHOD = FrontImitation
