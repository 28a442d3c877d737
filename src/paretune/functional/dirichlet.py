"""The Dirichlet distribution of trade-offs: draws that repeat, and exact expectations."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import gammaincinv, roots_jacobi

from paretune.errors import ConfigError
from paretune.functional.draws import Keys, uniform

Floats = npt.NDArray[np.float64]


def dirichlet_draws(keys: Keys, n_objectives: int, concentration: float = 1.0) -> Floats:
    r"""Trade-offs as functions of keys, in any order.

    Gamma variates by inversion, :math:`\lambda_i = g_i / \sum_j g_j`. A small concentration would
    make all of them underflow, so their logarithms are taken:
    :math:`\log g(\alpha) = \log g(\alpha + 1) + \log(u) / \alpha`.

    Args:
        keys: ``(P,)`` uint64, one a trade-off.
        n_objectives: M, >= 1.
        concentration: > 0; 1 is uniform on the simplex, more gathers at the center, less at the
            corners.

    Returns:
        ``(P, M)`` rows on the simplex.

    Raises:
        ConfigError: if a number is out of range.

    Source:
        Devroye 1986, "Non-uniform random variate generation", chapter IX, Sec. 3 and chapter XI,
        Sec. 4.

    Example:
        >>> draws = dirichlet_draws(np.arange(10_000, dtype=np.uint64), 2)
        >>> bool(abs(draws[:, 0].mean() - 0.5) < 0.01), bool(abs(draws[:, 0].var() - 1 / 12) < 0.01)
        (True, True)
    """
    _check(n_objectives, concentration)
    # Half a step above 0: no logarithm of it.
    chances = np.stack([uniform(keys, s) for s in range(2 * n_objectives)], axis=1) + 2.0**-54
    body, tail = chances[:, :n_objectives], chances[:, n_objectives:]
    logs = np.log(gammaincinv(concentration + 1, body)) + np.log(tail) / concentration
    variates = np.exp(logs - logs.max(axis=1, keepdims=True))
    rows: Floats = variates / variates.sum(axis=1, keepdims=True)
    return rows


def dirichlet_nodes(
    n_objectives: int, concentration: float = 1.0, order: int = 6
) -> tuple[Floats, Floats]:
    r"""Trade-offs and weights whose weighted sum is an expectation over the simplex.

    Objectives are broken off one by one: the share of objective i of what is left is Beta
    distributed, :math:`b_i \sim Beta(\alpha, (M - i)\alpha)` for :math:`i = 1..M-1`, and each share
    is integrated by Gauss and Jacobi. Exact for polynomials in the trade-off up to degree
    ``2 * order - 1``.

    Args:
        n_objectives: M, >= 1.
        concentration: > 0.
        order: nodes a share, >= 1.

    Returns:
        ``(Q, M)`` rows inside the simplex and ``(Q,)`` weights > 0 that sum to 1, with
        ``Q = order ** (M - 1)``.

    Raises:
        ConfigError: if a number is out of range.

    Source:
        Stick breaking of a Dirichlet variate; Stroud 1971, "Approximate calculation of multiple
        integrals", conical products.

    Example:
        >>> nodes, weights = dirichlet_nodes(2, order=2)
        >>> [round(float(weights @ nodes[:, 0] ** power), 6) for power in (1, 2, 3)]
        [0.5, 0.333333, 0.25]
    """
    _check(n_objectives, concentration)
    if order < 1:
        raise ConfigError(f"dirichlet: found order {order}, expected at least 1")
    left, weights = np.ones(1), np.ones(1)
    columns: list[Floats] = []
    for i in range(1, n_objectives):
        # On [-1, 1] the weight is (1 - x)^a (1 + x)^b, and the share is (1 + x) / 2.
        x, w = roots_jacobi(order, (n_objectives - i) * concentration - 1, concentration - 1)
        share = (1 + x) / 2
        columns = [np.repeat(column, order) for column in columns]
        columns.append(np.outer(left, share).ravel())
        left = np.outer(left, 1 - share).ravel()
        weights = np.outer(weights, w / w.sum()).ravel()
    return np.stack([*columns, left], axis=1), weights


def _check(n_objectives: int, concentration: float) -> None:
    if n_objectives < 1 or not 0 < concentration < np.inf:
        raise ConfigError(
            f"dirichlet: found {n_objectives} objectives and concentration {concentration}, "
            "expected at least 1 and a finite number > 0"
        )
