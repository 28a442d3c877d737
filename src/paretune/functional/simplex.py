"""The simplex of trade-offs: even grids, representatives and random draws."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from paretune.core.policy import nearest_tradeoff
from paretune.core.tradeoff import TradeOff
from paretune.errors import ConfigError


def lattice(n_objectives: int, denominator: int) -> list[TradeOff]:
    """Every trade-off whose weights are multiples of ``1 / denominator``.

    Args:
        n_objectives: M, >= 1.
        denominator: H, >= 1; 10 gives steps of 0.1.

    Returns:
        ``(H + M - 1) choose (M - 1)`` trade-offs in ascending order of their weights: 11 for two
        objectives and 10, from the corner of the last objective to the corner of the first.

    Raises:
        ConfigError: if a number is below 1.

    Source:
        Das and Dennis 1998, simplex lattice design.

    Example:
        >>> [t.weights for t in lattice(2, 2)]
        [(0.0, 1.0), (0.5, 0.5), (1.0, 0.0)]
    """
    if n_objectives < 1 or denominator < 1:
        raise ConfigError(
            f"lattice: found {n_objectives} objectives and denominator {denominator}, "
            "expected both >= 1"
        )
    return [
        TradeOff(tuple(part / denominator for part in parts))
        for parts in _compositions(denominator, n_objectives)
    ]


def representatives(tradeoffs: Sequence[TradeOff]) -> list[TradeOff]:
    """The trade-off nearest to each corner, then the one nearest to the center.

    Args:
        tradeoffs: at least one; all with the same number of objectives.

    Returns:
        At most M + 1 of ``tradeoffs``, each once; ties go to the earlier one.

    Raises:
        ConfigError: if there is no trade-off.

    Source:
        The M + 1 representatives of ParetoHqD, arXiv:2504.16628; the source does not say how they
        are found.

    Example:
        >>> [t.weights for t in representatives(lattice(2, 10))]
        [(1.0, 0.0), (0.0, 1.0), (0.5, 0.5)]
    """
    if not tradeoffs:
        raise ConfigError("representatives: found no trade-off, expected at least one")
    n_objectives = len(tradeoffs[0])
    corners = [TradeOff.only(i, n_objectives) for i in range(n_objectives)]
    wanted = [*corners, TradeOff.even(n_objectives)]
    return list(dict.fromkeys(nearest_tradeoff(w, tradeoffs) for w in wanted))


def spread(tradeoffs: Sequence[TradeOff], n: int) -> list[TradeOff]:
    """So many trade-offs, far from each other: the first corner, then always the farthest.

    Args:
        tradeoffs: at least ``n`` different ones, all with the same number of objectives.
        n: >= 1.

    Returns:
        ``n`` of ``tradeoffs``, in their order; ties go to the earlier one.

    Raises:
        ConfigError: if there are not so many.

    Source:
        Gonzalez 1985, "Clustering to minimize the maximum intercluster distance".

    Example:
        >>> [t.weights for t in spread(lattice(2, 10), 3)]
        [(0.0, 1.0), (0.5, 0.5), (1.0, 0.0)]
    """
    known = list(dict.fromkeys(tradeoffs))
    if not 1 <= n <= len(known):
        raise ConfigError(f"spread: found {n} of {len(known)} trade-offs, expected 1 to all")
    points = np.array([t.weights for t in known])
    chosen = [known.index(nearest_tradeoff(TradeOff.only(0, points.shape[1]), known))]
    while len(chosen) < n:
        gaps = np.linalg.norm(points[:, None] - points[chosen], axis=-1).min(1)
        # Equal distances differ in their last digits.
        chosen.append(int(np.round(gaps, 9).argmax()))
    return [known[i] for i in sorted(chosen)]


def dirichlet(
    n_objectives: int, n: int, generator: np.random.Generator, concentration: float = 1.0
) -> list[TradeOff]:
    """Random trade-offs.

    Args:
        n_objectives: M, >= 1.
        n: how many, >= 0.
        generator: where the randomness comes from.
        concentration: > 0; 1 is uniform on the simplex, more gathers at the center, less at the
            corners.

    Returns:
        ``n`` trade-offs.

    Raises:
        ConfigError: if ``concentration`` is not positive.
    """
    if not concentration > 0:
        raise ConfigError(f"dirichlet: found concentration {concentration}, expected > 0")
    draws = generator.dirichlet((concentration,) * n_objectives, size=n)
    return [TradeOff(tuple(row)) for row in draws]


def _compositions(total: int, parts: int) -> Iterator[tuple[int, ...]]:
    """Ways to write ``total`` as an ordered sum of ``parts`` numbers >= 0, ascending."""
    if parts == 1:
        yield (total,)
        return
    for first in range(total + 1):
        for rest in _compositions(total - first, parts - 1):
            yield (first, *rest)
