"""Users: who they are, which part of an experiment sees them, and what they are in words.

A user is a trade-off for ever. Every label of a user comes from that one trade-off, so that users
differ from each other and never from themselves.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.special import gammaincinv

from paretune.core.objective import Objectives
from paretune.core.tradeoff import TradeOff
from paretune.core.user import Part, User, Utility
from paretune.errors import ConfigError, InputError, ShapeError
from paretune.functional.draws import hash_keys, uniform

# Names of what is drawn: no two purposes share a draw.
_WEIGHTS, _SPLIT, _MIXTURE = 30, 31, 32

# Trade-offs enter files. Special functions may differ in the last bits between libraries.
_DIGITS = 12

# Weights this close are the same in words.
_ALIKE = 0.05

SHARES: Mapping[Part, float] = {"train": 0.8, "validation": 0.1, "test": 0.1}


def draw_users(
    n: int,
    n_objectives: int,
    seed: int,
    part: Part = "train",
    alphas: Sequence[float] = (0.2, 0.5, 2.0),
    utility: Utility = "linear",
    first: int = 0,
) -> tuple[User, ...]:
    r"""Users whose trade-offs are Dirichlet draws, from peaked to balanced.

    Each user draws a concentration from ``alphas`` and then a trade-off from the symmetric
    Dirichlet distribution, both from a hash of (seed, number of the user): more users, or others
    beside them, change nobody.

    Args:
        n: how many, >= 0.
        n_objectives: M, >= 1.
        seed: any integer.
        part: of the experiment they belong to; :func:`split_users` divides them later.
        alphas: concentrations, > 0; small ones give users who want one thing.
        utility: of all of them.
        first: number of the first user, >= 0; ids are ``user-<number>``.

    Returns:
        ``n`` users with distinct ids.

    Raises:
        ConfigError: if a number is out of range.

    Source:
        Diversity across users, consistency inside each: Singh et al. 2025, "FSPO: Few-Shot
        Preference Optimization of Synthetic Preference Data". The mixture of concentrations is
        the multi-objective FSPO report's.

    Example:
        >>> many, few = draw_users(50, 4, seed=0), draw_users(2, 4, seed=0)
        >>> few == many[:2], round(sum(few[0].tradeoff.weights), 9)
        (True, 1.0)
    """
    if n < 0 or n_objectives < 1 or first < 0:
        raise ConfigError(
            f"users: found n {n}, n_objectives {n_objectives} and first {first}, "
            "expected n >= 0, n_objectives >= 1, first >= 0"
        )
    if not alphas or not all(0 < a < np.inf for a in alphas):
        raise ConfigError(f"users: found alphas {tuple(alphas)}, expected numbers > 0")
    numbers = np.arange(first, first + n)
    keys = hash_keys(seed, _WEIGHTS, numbers)
    alpha = np.asarray(alphas, dtype=np.float64)[(uniform(keys) * len(alphas)).astype(np.int64)]
    # Half a step above 0: a gamma variate of 0 for every objective would be no trade-off.
    draws = np.stack([uniform(keys, 1 + i) + 2.0**-54 for i in range(n_objectives)], axis=1)
    variates = gammaincinv(alpha[:, None], draws)
    weights = np.round(variates / variates.sum(axis=1, keepdims=True), _DIGITS)
    return tuple(
        User(f"user-{number}", TradeOff(tuple(row)), utility, part)
        for number, row in zip(numbers.tolist(), weights.tolist(), strict=True)
    )


def probe_users(
    n_objectives: int, utility: Utility = "linear", part: Part = "test"
) -> tuple[User, ...]:
    """The users at the corners of the simplex, who want one objective each, and the even one.

    Example:
        >>> [user.tradeoff.weights for user in probe_users(2)]
        [(1.0, 0.0), (0.0, 1.0), (0.5, 0.5)]
    """
    corners = [TradeOff.only(i, n_objectives) for i in range(n_objectives)]
    named = [(f"probe-{i}", corner) for i, corner in enumerate(corners)]
    named.append(("probe-even", TradeOff.even(n_objectives)))
    return tuple(User(name, tradeoff, utility, part) for name, tradeoff in named)


def interpolated_users(
    users: Sequence[User], n: int, seed: int, part: Part = "test"
) -> tuple[User, ...]:
    """Users between two others: convex mixtures of the trade-offs of two drawn users.

    Args:
        users: whom to mix, at least two; all with one utility.
        n: how many, >= 0.
        seed: of the pairs and of the shares, which are uniform in [0, 1].
        part: of the experiment the mixtures belong to.

    Returns:
        ``n`` users, ``between-<number>``.

    Raises:
        ConfigError: if there are fewer than two users or ``n`` is negative.
        InputError: if their utilities differ.
    """
    if len(users) < 2 or n < 0:
        raise ConfigError(f"users: found {len(users)} to mix into {n}, expected 2 or more, n >= 0")
    kinds = {user.utility for user in users}
    if len(kinds) > 1:
        raise InputError(f"users: found utilities {sorted(kinds)} to mix, expected one")
    keys = hash_keys(seed, _MIXTURE, np.arange(n))
    one = (uniform(keys, 0) * len(users)).astype(np.int64)
    # One of the others, so that nobody is mixed with themselves.
    other = (one + 1 + (uniform(keys, 1) * (len(users) - 1)).astype(np.int64)) % len(users)
    weights = np.array([user.tradeoff.weights for user in users])
    share = uniform(keys, 2)[:, None]
    mixed = np.round(share * weights[one] + (1 - share) * weights[other], _DIGITS)
    return tuple(
        User(f"between-{i}", TradeOff(tuple(row)), users[0].utility, part)
        for i, row in enumerate(mixed.tolist())
    )


def split_users(
    users: Sequence[User], seed: int = 0, shares: Mapping[Part, float] = SHARES
) -> tuple[User, ...]:
    """The same users, each in one part of the experiment.

    Users are ranked by a hash of (seed, id) and the ranking is cut, so that the parts have the
    sizes asked for and do not depend on the order of the users.

    Args:
        users: with distinct ids.
        seed: of the ranking.
        shares: part -> share of the users, >= 0, sum 1.

    Returns:
        The users in their order, with their ``part`` set. Sizes are rounded; a part with a
        positive share has at least one user.

    Raises:
        InputError: if an id is repeated, or there are fewer users than parts.
        ConfigError: if the shares are no division of 1.

    Example:
        >>> users = split_users(draw_users(20, 2, seed=0))
        >>> [sum(user.part == part for user in users) for part in SHARES]
        [16, 2, 2]
    """
    ids = [user.id for user in users]
    if len(set(ids)) != len(ids):
        raise InputError("users: found an id twice, expected distinct ids")
    if min(shares.values(), default=-1) < 0 or abs(sum(shares.values()) - 1) > 1e-6:
        raise ConfigError(f"users: found shares {dict(shares)}, expected numbers >= 0 with sum 1")
    parts = [part for part, share in shares.items() if share > 0]
    if len(users) < len(parts):
        raise InputError(f"users: found {len(users)} for {len(parts)} parts, expected one each")
    sizes = _sizes(len(users), [shares[part] for part in parts])
    digests = [int(hashlib.sha256(i.encode()).hexdigest()[:16], 16) for i in ids]
    order = np.argsort(hash_keys(seed, _SPLIT, np.array(digests, dtype=np.uint64)), kind="stable")
    part_of = dict(zip(order.tolist(), np.repeat(parts, sizes).tolist(), strict=True))
    return tuple(dataclasses.replace(user, part=part_of[i]) for i, user in enumerate(users))


def tradeoff_of(weights: Mapping[str, float] | Sequence[float], objectives: Objectives) -> TradeOff:
    """A trade-off from any non-negative weights: they are divided by their sum.

    Args:
        weights: by name, where a missing name weighs 0, or one an objective in their order.
        objectives: of the run.

    Raises:
        ConfigError: if a name is unknown, a weight is negative or not finite, or all are 0.
        ShapeError: if there is not one weight an objective.

    Example:
        >>> tradeoff_of({"concise": 2, "helpful": 6}, Objectives.of("helpful", "concise")).weights
        (0.75, 0.25)
    """
    if isinstance(weights, Mapping):
        values = np.zeros(len(objectives))
        for name, weight in weights.items():
            values[objectives.index(name)] = weight
    else:
        values = np.asarray(weights, dtype=np.float64)
    if values.shape != (len(objectives),):
        raise ShapeError(f"weights: found {values.size}, expected {len(objectives)}")
    if not np.isfinite(values).all() or (values < 0).any() or not values.sum() > 0:
        raise ConfigError(
            f"weights: found {values.tolist()}, expected numbers >= 0 and one above 0"
        )
    return TradeOff(tuple((values / values.sum()).tolist()))


def description_of(tradeoff: TradeOff, objectives: Objectives) -> str:
    """What somebody with this trade-off wants, in a sentence.

    The two or three objectives that weigh most are named, those within 0.05 of each other as
    alike only when all are, and the one that weighs least. Underscores become spaces.

    Raises:
        ShapeError: if there is not one weight an objective.

    Example:
        >>> names = Objectives.of("helpful", "harmless", "concise", "humor")
        >>> description_of(TradeOff((0.5, 0.1, 0.4, 0.0)), names)
        'This user cares most about helpful, then concise, and least about humor.'
        >>> description_of(TradeOff((1.0, 0.0, 0.0, 0.0)), names)
        'This user cares about helpful and nothing else.'
    """
    if len(tradeoff) != len(objectives):
        raise ShapeError(f"description: found {len(tradeoff)} weights, expected {len(objectives)}")
    names = [name.replace("_", " ") for name in objectives]
    weights = tradeoff.array
    order = np.argsort(-weights, kind="stable")
    if weights[order[1:]].sum() < _ALIKE:
        return f"This user cares about {names[order[0]]} and nothing else."
    if np.ptp(weights) < _ALIKE:
        return f"This user cares about {', '.join(names[:-1])} and {names[-1]} alike."
    if len(names) == 2:
        return f"This user cares more about {names[order[0]]} than about {names[order[1]]}."
    # The smallest is told at the end; a third one only if it weighs nearly as much as the second.
    largest = [i for i in order[:3] if i != order[-1] and weights[i] >= _ALIKE]
    if len(largest) == 3 and weights[largest[2]] < 0.75 * weights[largest[1]]:
        largest.pop()
    told = ", then ".join(names[i] for i in largest)
    return f"This user cares most about {told}, and least about {names[order[-1]]}."


def _sizes(n: int, shares: Sequence[float]) -> list[int]:
    """Whole sizes with sum n, at least 1 each, next to the shares."""
    sizes = [max(1, int(n * share)) for share in shares]
    while sum(sizes) != n:
        step = 1 if sum(sizes) < n else -1
        missing = [step * (n * share - size) for share, size in zip(shares, sizes, strict=True)]
        may = [i for i, size in enumerate(sizes) if size + step >= 1]
        sizes[max(may, key=missing.__getitem__)] += step
    return sizes
