"""Policies that are heads on a frozen trunk, for every method with one policy a trade-off."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from paretune.core.job import Head, TrainingJob
from paretune.core.policy import Steering
from paretune.core.tradeoff import TradeOff
from paretune.functional.between import between
from paretune.methods._fields import check


def check_heads(method: str, rank: int, learning_rate: float) -> None:
    """Refuse options of heads that are out of range.

    Raises:
        ConfigError: naming the method and the option.
    """
    check(rank >= 1, f"{method}.head_rank", rank, "at least 1")
    is_fine = 0 < learning_rate < math.inf
    check(is_fine, f"{method}.head_learning_rate", learning_rate, "a finite number > 0")


def on_trunk(
    jobs: Sequence[TrainingJob], group: str, rank: int, learning_rate: float
) -> list[TrainingJob]:
    """The jobs as heads of one group.

    Args:
        jobs: from the base, of one kind.
        group: name of the group.
        rank: of every head.
        learning_rate: of the heads: small networks take larger steps than a whole model.
    """
    return [
        replace(
            job,
            group=group,
            head=Head("state", rank),
            settings={**job.settings, "learning_rate": learning_rate},
        )
        for job in jobs
    ]


def steer_on_trunk(
    tradeoff: TradeOff, trained: Sequence[TradeOff], name: Callable[[TradeOff], str]
) -> Steering:
    """A trained policy for a trained trade-off, a mixture of its neighbors for any other.

    Mixing heads on one trunk is exact and costs no more than one of them.

    Args:
        tradeoff: asked for.
        trained: that were planned.
        name: job of a trained trade-off.
    """
    found = between(tradeoff, trained)
    if len(found) == 1:
        served = found[0][0]
        return Steering("pick", (name(served),), (1.0,), served)
    policies, shares = zip(*((name(t), share) for t, share in found), strict=True)
    return Steering("mix", policies, shares, tradeoff)
