"""What every method is known to do on exact problems: its tolerance, or its gap. The only place.

A claim is measured wherever it applies: ``paretune bench tables`` prints it beside the numbers and
the contract tests fail when one does not hold.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, final

from paretune.bench.problem import Problem
from paretune.errors import ConfigError, nearest

Aim = Literal["weighted", "first", "summed", "constrained", "responses", "cloned"]
Options = Callable[[Problem], Mapping[str, Any]]

CONVERGED = 1e-4
"""Total variation that the end of L-BFGS leaves (measured: up to 3e-5)."""
EXACT = 1e-6
"""Total variation that a policy which is solved for leaves."""


@final
@dataclass(frozen=True)
class Claim:
    r"""One method in one mode, and what it is known to reach.

    Distances are total variation, the largest over contexts and trade-offs. Claims about rewards
    are about problems that have them, because labels without noise push a preference loss to
    infinity.

    Args:
        name: of the method with its mode.
        method: name in the registry.
        says: one sentence.
        options: of the method, given the problem.
        aim: the policy it converges to. ``weighted``: the optimum of the weighted reward under
            the KL penalty; ``first``: the same of the first objective alone; ``summed``: the same
            of the sum of rewards, M times the strength of the even trade-off; ``constrained``:
            the constrained optima at the corners, their log-probabilities mixed between;
            ``responses``: the distribution of the responses; ``cloned``: that in proportion to a
            weighted sum of rewards.
        tolerance: to the aim.
        corners: tolerance to the weighted optimum at the corners; ``None``: no claim.
        gaps: its distance to the weighted optimum by problem, as measured: what is no optimum is
            neither hidden nor allowed to change unseen.
        slack: by which a gap may differ, for another platform, another version of a library,
            another seed of the draws.
        network_gap: (least, most) distance to its aim on networks, in place of ``tolerance``.
        most_nats: KL divergence from the reference.
        is_one_point: every trade-off gets the same policy.
        copies: of the comparisons, for methods that draw by comparison: rows wanted.
    """

    name: str
    method: str
    says: str
    options: Options = lambda problem: {}
    aim: Aim | None = None
    tolerance: float = CONVERGED
    corners: float | None = None
    gaps: Mapping[str, float] = field(default_factory=dict)
    slack: float = 0.005
    network_gap: tuple[float, float] | None = None
    most_nats: float | None = None
    is_one_point: bool = False
    copies: int = 0


def _kl(**more: Any) -> Options:
    """DPO sees rewards in units of the label noise, so its penalty is scaled by the slope."""

    def options(problem: Problem) -> Mapping[str, Any]:
        scale = 1.0 if problem.rewards is None else problem.slope
        return {"beta": problem.beta * scale, **more}

    return options


def _mopo(problem: Problem) -> Mapping[str, Any]:
    """No lag: with one the reference follows the policy, and the limit has no penalty."""
    has_rewards = problem.rewards is not None
    return {
        "tau": problem.tau,
        "thresholds": problem.floors,
        "lag": None,
        "labels": "pool" if has_rewards else "table",
        "slope": problem.slope if has_rewards else None,
    }


def _hqd(**more: Any) -> Options:
    """So few responses that the top layers of every problem leave a choice."""

    def options(problem: Problem) -> Mapping[str, Any]:
        n_contexts, n_actions = problem.shape
        return {"k": max(4, n_contexts * n_actions // 40), **more}

    return options


_BEST_OF_4 = math.log(4) - 3 / 4
_WEIGHTED = {
    "motivating-a": 0.185, "motivating-b": 0.571, "random-2": 0.138, "random-3": 0.154,
    "random-4": 0.255, "random-ties": 0.154, "random-network": 0.138, "front-convex": 0.261,
    "front-nonconvex": 0.438,
}  # fmt: skip
_STCH = {
    "motivating-a": 0.634, "motivating-b": 0.571, "random-2": 0.483, "random-3": 0.648,
    "random-4": 0.292, "random-ties": 0.5, "random-network": 0.483, "front-convex": 0.499,
    "front-nonconvex": 0.364,
}  # fmt: skip
# Where 25,000 draws are few for the pairs of a context, their noise is larger than the gap.
_MIXED = {name: gap for name, gap in _WEIGHTED.items() if not name.startswith("motivating")}
_CONDITIONED = {
    "motivating-a": 0.269, "motivating-b": 0.483, "random-2": 0.153, "random-3": 0.119,
    "random-4": 0.294, "random-ties": 0.116, "random-network": 0.164, "front-convex": 0.265,
    "front-nonconvex": 0.36,
}  # fmt: skip
_VOLUME = {
    "motivating-a": 0.621, "motivating-b": 0.876, "random-2": 0.74, "random-3": 0.724,
    "random-4": 0.827, "random-ties": 0.643, "random-network": 0.74, "front-convex": 0.832,
    "front-nonconvex": 0.85,
}  # fmt: skip
_SUMMED = {
    "motivating-a": 0.922, "motivating-b": 0.533, "random-2": 0.782, "random-3": 0.574,
    "random-4": 0.364, "random-ties": 0.731, "random-network": 0.782, "front-convex": 0.754,
    "front-nonconvex": 0.347,
}  # fmt: skip
_IMITATED = {
    "motivating-a": 0.665, "motivating-b": 1.0, "random-2": 0.998, "random-3": 0.983,
    "random-4": 0.837, "random-ties": 0.996, "random-network": 0.998, "front-convex": 0.725,
    "front-nonconvex": 0.995,
}  # fmt: skip
_BEST_LINEAR = {
    "motivating-a": 0.317, "motivating-b": 0.82, "random-2": 0.523, "random-3": 0.575,
    "random-4": 0.855, "random-ties": 0.615, "random-network": 0.523, "front-convex": 0.781,
    "front-nonconvex": 0.866,
}  # fmt: skip
_BEST_CHEBYSHEV = {
    "motivating-a": 0.32, "motivating-b": 0.997, "random-2": 0.764, "random-3": 0.575,
    "random-4": 0.855, "random-ties": 0.615, "random-network": 0.764, "front-convex": 0.781,
    "front-nonconvex": 0.888,
}  # fmt: skip

CLAIMS = (
    Claim(
        "rewarded_soups", "rewarded_soups",
        "exact where log-probabilities are linear in the parameters; misses on a network",
        _kl(), "weighted", corners=CONVERGED, network_gap=(0.05, 0.9),
    ),
    Claim(
        "morlhf", "morlhf",
        "the optimum of the weighted reward under the KL penalty, at every trade-off",
        lambda problem: {"beta": problem.beta, "is_standardized": False}, "weighted", EXACT,
        network_gap=(0.0, CONVERGED),
    ),
    Claim(
        "mod_decoding", "mod_decoding",
        "exact, whatever the policies can express: log-probabilities are mixed, not parameters",
        _kl(), "weighted", network_gap=(0.0, CONVERGED),
    ),
    Claim(
        "modpo", "modpo",
        "the optimum of the weighted reward everywhere, on networks as well",
        _kl(), "weighted", corners=CONVERGED,
    ),
    Claim(
        "modpo policies", "modpo",
        "the same with implicit rewards of experts, which need comparisons only",
        _kl(margins="policies"), "weighted", corners=CONVERGED,
    ),
    Claim(
        "mopo", "mopo",
        "the exact constrained optimum at every corner, an exact mixture between",
        _mopo, "constrained", EXACT, network_gap=(0.0, CONVERGED),
    ),
    Claim(
        "dpo single", "dpo",
        "the optimum of its objective, whatever the trade-off",
        _kl(labels="single", objective=0), "first", is_one_point=True,
    ),
    Claim(
        "dpo weighted", "dpo",
        "exact at the corners; between them another policy than the optimum",
        _kl(labels="weighted"), corners=CONVERGED,
        gaps=_WEIGHTED,
    ),
    Claim(
        "dpo mixed", "dpo",
        "in expectation the same as weighted losses, and as far from the optimum",
        _kl(labels="mixed"), corners=CONVERGED, gaps=_MIXED, slack=0.15, copies=25_000,
    ),
    Claim(
        "dpo summed", "dpo",
        "jumps from corner to corner where the heavier objective changes",
        _kl(labels="summed"), corners=CONVERGED,
        gaps=_SUMMED,
    ),
    Claim(
        "dpo agreeing", "dpo",
        "one point without control: the optimum of the sum of rewards, at full strength",
        _kl(labels="agreeing"), "summed", is_one_point=True,
    ),
    Claim(
        "scalarized_dpo stch", "scalarized_dpo",
        "exact at the corners; between them it lifts the objective that is worst off",
        _kl(scalarizer="stch"), corners=CONVERGED, gaps=_STCH,
    ),
    Claim(
        "panacea", "panacea",
        "one policy for all trade-offs, linear in them: a compromise that is exact nowhere",
        _kl(), gaps=_CONDITIONED,
    ),
    Claim(
        "panacea corners", "panacea",
        "drawn at the corners alone it is rewarded soups: exact on tables, not on a network",
        _kl(concentration=1e-4), "weighted", 3e-3, corners=1e-3, network_gap=(0.05, 0.9),
    ),
    Claim(
        "ham", "ham",
        "clones of the data that hold the largest volume; no penalty, and so no optimum to reach",
        gaps=_VOLUME,
    ),
    Claim(
        "ham warm-up", "ham",
        "before it spreads, it clones the data in proportion to the weighted sum of rewards",
        lambda problem: {"warm_up": 1.0}, "cloned",
    ),
    Claim(
        "pareto_hqd", "pareto_hqd",
        "imitates the responses nearest to the ray; no penalty, and so no optimum to reach",
        _hqd(stages=1), gaps=_IMITATED,
    ),
    Claim(
        "pareto_hqd stage 2", "pareto_hqd",
        "continues on the best replies of stage 1; their draw decides how far it goes",
        _hqd(stages=2, stage2_prompts=1000),
    ),
    Claim(
        "best_of_n", "best_of_n",
        "the best of 4 by weighted z-scores; within log 4 - 3/4 nats of the reference",
        gaps=_BEST_LINEAR, most_nats=_BEST_OF_4,
    ),
    Claim(
        "best_of_n chebyshev", "best_of_n",
        "the best of 4 by Chebyshev utility; within log 4 - 3/4 nats of the reference",
        lambda problem: {"utility": "chebyshev"}, gaps=_BEST_CHEBYSHEV, most_nats=_BEST_OF_4,
    ),
    Claim(
        "sft", "sft",
        "one point: the distribution of the responses", aim="responses", is_one_point=True,
    ),
)  # fmt: skip
"""In the order of the bench."""


def claims_of(methods: Iterable[str]) -> tuple[Claim, ...]:
    """The claims about some methods of the registry; a method without any gets a silent one.

    Args:
        methods: names in the registry.

    Example:
        >>> [claim.name for claim in claims_of(["best_of_n", "sft"])]
        ['best_of_n', 'best_of_n chebyshev', 'sft']
    """
    wanted = tuple(methods)
    known = [claim for claim in CLAIMS if claim.method in wanted]
    silent = sorted(set(wanted) - {claim.method for claim in CLAIMS})
    return (*known, *(Claim(name, name, "claims nothing") for name in silent))


def choose(claims: tuple[Claim, ...], names: Iterable[str]) -> tuple[Claim, ...]:
    """Claims by method, or by method and mode.

    Raises:
        ConfigError: for a name that is neither; the message proposes the nearest.

    Example:
        >>> [claim.name for claim in choose(CLAIMS, ["dpo mixed", "sft"])]
        ['dpo mixed', 'sft']
    """
    wanted = tuple(names)
    known = {claim.name for claim in claims} | {claim.method for claim in claims}
    for name in wanted:
        if name not in known:
            raise ConfigError(f"unknown method {name!r}{nearest(name, known)}")
    return tuple(c for c in claims if c.name in wanted or c.method in wanted)
