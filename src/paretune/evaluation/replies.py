"""What evaluation reads: replies with their rewards, a table a policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
import numpy.typing as npt

from paretune.core.results import Cost
from paretune.core.tradeoff import TradeOff
from paretune.errors import InputError, NotScoredError, ShapeError


@final
@dataclass(frozen=True)
class ReplyTable:
    """Replies of one policy to the evaluation prompts.

    Args:
        prompt_of: ``(N,)`` integers, which evaluation prompt each reply answers.
        texts: N replies.
        rewards: ``(N, M)`` raw rewards, every cell scored.
        well_formed: ``(N,)`` bool, whether the grammar of the prompts' world accepts the reply;
            ``None`` where there is no grammar.

    Raises:
        InputError: if the table is empty.
        ShapeError: if the columns do not fit together.
        NotScoredError: if a reward is NaN or infinite.
    """

    prompt_of: npt.NDArray[np.int64]
    texts: Sequence[str]
    rewards: npt.NDArray[np.float64]
    well_formed: npt.NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        n = len(self.texts)
        if n == 0:
            raise InputError("replies: found none, expected at least one reply a prompt")
        if self.rewards.ndim != 2 or len(self.rewards) != n or self.rewards.shape[1] == 0:
            raise ShapeError(f"replies: rewards have shape {self.rewards.shape}, expected ({n}, M)")
        for name in ("prompt_of", "well_formed"):
            column = getattr(self, name)
            if column is not None and column.shape != (n,):
                raise ShapeError(f"replies: {name} has shape {column.shape}, expected ({n},)")
        holes = np.argwhere(~np.isfinite(self.rewards))
        if len(holes):
            row, objective = holes[0]
            raise NotScoredError(
                f"replies: {len(holes)} of {self.rewards.size} rewards are not finite, expected "
                f"every reply scored; the first is reply {row} (prompt {self.prompt_of[row]}), "
                f"objective {objective}"
            )

    def __len__(self) -> int:
        return len(self.texts)


@final
@dataclass(frozen=True)
class Constraint:
    """What a constrained policy was to reach on one objective.

    Args:
        column: of the objective.
        unit: ``preference`` over the reference's replies, or ``reward``.
        floor: ``None`` for the primary objective.
        slope: label log-odds per unit of reward; ``None``: the larger reward is preferred.
        is_over_reference: whether the floor was asked for over the reference's replies, which it
            is measured against; otherwise over the responses of the records.
    """

    column: int
    unit: Literal["preference", "reward"]
    floor: float | None
    slope: float | None = None
    is_over_reference: bool = True


@final
@dataclass(frozen=True)
class PointReplies:
    """Replies of one policy, and the trade-off it answered for.

    Args:
        tradeoff: the trade-off that was asked for.
        policy: what answered, in words.
        table: the replies.
        constraints: of a constrained policy.
    """

    tradeoff: TradeOff
    policy: str
    table: ReplyTable
    constraints: tuple[Constraint, ...] = ()


@final
@dataclass(frozen=True)
class MethodReplies:
    """Everything one method said.

    Args:
        name: the method, unique in the run.
        points: one entry a trade-off.
        cost: what it cost.
        failed: the error when the method failed; then ``points`` may be short or empty.
    """

    name: str
    points: Sequence[PointReplies]
    cost: Cost
    failed: str | None = None
