"""Truths: what methods reach on problems whose every answer is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, final

from paretune.core.results import KnownFront

Numbers = tuple[float, ...]
Policy = tuple[Numbers, ...]
"""``(S, A)`` probabilities of the actions of each context."""


@final
@dataclass(frozen=True)
class TruthPoint:
    """What answers for one trade-off, and how far it is from the exact answers.

    Args:
        tradeoff: ``(M,)`` that was asked for.
        policy: ``(S, A)``.
        values: ``(M,)`` expected values of the policy.
        to_optimum: total variation to the best policy of the weighted sum under the problem's KL
            penalty, the largest over contexts, in [0, 1].
        value_gap: largest distance to that policy's values on one objective, as a share of the
            range of single replies.
        aim: ``(S, A)`` the policy that the method claims to converge to; ``None`` where it claims
            none.
        aim_values: ``(M,)`` its expected values.
        to_aim: total variation to it.
        nats: KL divergence from the reference, the largest over contexts.
        utility: expected Chebyshev utility of a reply at the trade-off, in [0, 1].
        missed: largest amount by which a floor of the problem is missed, >= 0, in preference
            probability; ``None`` off the corners, where there is no primary objective.
    """

    tradeoff: Numbers
    policy: Policy
    values: Numbers
    to_optimum: float
    value_gap: float
    aim: Policy | None
    aim_values: Numbers | None
    to_aim: float | None
    nats: float
    utility: float
    missed: float | None


@final
@dataclass(frozen=True)
class MethodTruth:
    """One method on one problem.

    Args:
        name: of the method with its mode.
        claim: what it is known to do, in a sentence.
        points: one a trade-off.
        hypervolume: of the points, as a share of what any number of policies attains; ``None``
            where the front has no area.
        utility: mean utility of the points, as a share of the best.
        is_claimed: whether anything is claimed on this problem.
        broken: claims that did not hold, a sentence each.
        seconds: it took.
    """

    name: str
    claim: str
    points: tuple[TruthPoint, ...]
    hypervolume: float | None
    utility: float | None
    is_claimed: bool = True
    broken: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def to_optimum(self) -> float:
        """Largest total variation to the optimum over the trade-offs."""
        return max(point.to_optimum for point in self.points)

    @property
    def value_gap(self) -> float:
        """Largest distance to the optimum's values over the trade-offs."""
        return max(point.value_gap for point in self.points)

    @property
    def to_aim(self) -> float | None:
        """Largest total variation to what it claims, over the trade-offs."""
        found = [point.to_aim for point in self.points if point.to_aim is not None]
        return max(found) if found else None

    @property
    def missed(self) -> float | None:
        """Largest amount by which a floor is missed at a corner."""
        found = [point.missed for point in self.points if point.missed is not None]
        return max(found) if found else None


@final
@dataclass(frozen=True)
class ProblemTruth:
    """One problem: what is known of it, and what each method reached.

    Args:
        name: of the problem.
        about: one sentence.
        objectives: names, ``(M,)``.
        measured_in: what values are.
        reference: ``(S, A)`` the reference policy.
        reference_values: ``(M,)`` its expected values.
        cells: ``(S, A, M)`` values of single replies.
        preferences: ``(S, A, M)`` expected preference probabilities, which floors are about.
        floors: ``(M,)``, or none.
        known: the known front, in values.
        optimum: ``(K, S, A)`` best policies of the trade-offs under the KL penalty.
        optimum_values: ``(K, M)``.
        methods: in the order of the bench.
        skipped: methods that are not defined here, and why.
    """

    name: str
    about: str
    objectives: tuple[str, ...]
    measured_in: Literal["reward", "preference"]
    reference: Policy
    reference_values: Numbers
    cells: tuple[Policy, ...]
    preferences: tuple[Policy, ...]
    floors: Numbers
    known: KnownFront
    optimum: tuple[Policy, ...]
    optimum_values: tuple[Numbers, ...]
    methods: tuple[MethodTruth, ...] = ()
    skipped: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)
