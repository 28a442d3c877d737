"""A user: what one person wants, and the pairs that show it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

from paretune.core.record import Prompt
from paretune.core.tradeoff import TradeOff
from paretune.errors import ConfigError

Utility = Literal["linear", "chebyshev"]
Part = Literal["train", "validation", "test"]


@final
@dataclass(frozen=True)
class User:
    """Somebody with a taste.

    Args:
        id: unique among the users of a run.
        tradeoff: what the objectives weigh for this user, for ever.
        utility: how the user rates a response: ``linear`` weighs its rewards, ``chebyshev`` looks
            at the worst weighted shortfall.
        part: which part of an experiment may see this user.
        description: the user in words; ``None`` = nobody wrote one.
    """

    id: str
    tradeoff: TradeOff
    utility: Utility = "linear"
    part: Part = "train"
    description: str | None = None

    def __post_init__(self) -> None:
        if not self.id:
            raise ConfigError("user: found an empty id, expected text")


@final
@dataclass(frozen=True)
class Shot:
    """A preference pair of one user, shown in a prompt.

    Args:
        user: id of the user whose pair it is.
        prompt: what was asked.
        chosen: the response the user preferred.
        rejected: the other one.
    """

    user: str
    prompt: Prompt
    chosen: str
    rejected: str
