"""Steering: how a trade-off enters a reply."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, final

import numpy as np
import numpy.typing as npt

from paretune.core.constrained import Divergence
from paretune.core.rewards import Normalizer
from paretune.core.shots import FewShot
from paretune.core.tradeoff import TradeOff
from paretune.errors import ConfigError

SteeringKind = Literal["pick", "merge", "mix", "condition"]


@final
@dataclass(frozen=True)
class Steering:
    """What answers for one trade-off.

    Args:
        kind: ``pick`` one policy; ``merge`` parameters of several by ``weights``; ``mix`` their
            log-probabilities at decoding; ``condition`` one policy through its prompt.
        policies: job ids, or ``base``.
        weights: one number a policy; for ``pick`` and ``condition`` simply ``(1.0,)``.
        tradeoff: the trade-off that is really served (a method that trained on a grid serves the
            nearest trained one).
        candidates: replies drawn a prompt, of which the best by ``utility`` is given; 1 = plain
            sampling.
        utility: how candidates are rated, ``linear`` weighted sum of z-scores or ``chebyshev``, and
            by which utility the trade-off orders the pairs of ``shots``.
        condition: for ``condition``: rewrites a prompt: (text, statistics of the training rewards)
            to text.
        told: for ``condition``: number of the trade-off that the policy is told, of those that it
            was trained to be told; ``None`` where the trade-off is told otherwise.
        shots: for ``condition``: prompts that show pairs which the trade-off labels.
        divergence: for ``mix``: the one that every policy is optimal for, against ``base``.
        alpha: parameter of ``alpha``, in (0, 1).
        is_normalized: for ``mix``: solve for the normalizer; False drops it, an approximation but
            for the reverse KL.
    """

    kind: SteeringKind
    policies: tuple[str, ...]
    weights: tuple[float, ...]
    tradeoff: TradeOff
    candidates: int = 1
    utility: Literal["linear", "chebyshev"] = "linear"
    condition: Callable[[str, Normalizer], str] | None = None
    told: int | None = None
    shots: FewShot | None = None
    divergence: Divergence = "reverse_kl"
    alpha: float = 0.5
    is_normalized: bool = True

    def __post_init__(self) -> None:
        if len(self.policies) != len(self.weights) or not self.policies:
            raise ConfigError(
                f"steering: {len(self.policies)} policies with {len(self.weights)} weights"
            )
        if self.kind in ("pick", "condition") and len(self.policies) != 1:
            raise ConfigError(f"steering: {self.kind} takes one policy, found {self.policies}")
        if self.candidates < 1:
            raise ConfigError(f"steering: candidates must be >= 1, found {self.candidates}")


def nearest_tradeoff(wanted: TradeOff, trained: Sequence[TradeOff]) -> TradeOff:
    """The trained trade-off with the smallest Euclidean distance; ties go to the earlier one.

    Raises:
        ConfigError: if nothing was trained or the number of objectives differs.
    """
    if not trained:
        raise ConfigError("steering: no trade-off was trained")
    grid: npt.NDArray[np.float64] = np.array([t.weights for t in trained])
    if grid.shape[1] != len(wanted):
        raise ConfigError(f"steering: {len(wanted)} weights, expected {grid.shape[1]}")
    distance = np.round(np.linalg.norm(grid - wanted.array, axis=1), 9)
    return trained[int(distance.argmin())]


def serves_any(steer: Callable[[TradeOff], Steering], tradeoffs: Sequence[TradeOff]) -> bool:
    """Whether what lies between trade-offs is served as it is, not by the nearest of them.

    Args:
        steer: of one method.
        tradeoffs: that it trained for; with fewer than two, nothing lies between.

    Example:
        >>> ends = TradeOff((1, 0)), TradeOff((0, 1))
        >>> serves_any(lambda t: Steering("merge", ("a", "b"), t.weights, t), ends)
        True
        >>> serves_any(lambda t: Steering("pick", ("a",), (1,), nearest_tradeoff(t, ends)), ends)
        False
    """
    if len(tradeoffs) < 2:
        return True
    pairs = zip(tradeoffs[0].weights, tradeoffs[1].weights, strict=True)
    between = TradeOff(tuple(0.618 * a + 0.382 * b for a, b in pairs))
    return steer(between).tradeoff == between
