"""How a person answers: utilities of two replies, and the chance of each answer."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from paretune.core.user import Utility
from paretune.errors import InputError, ShapeError

Floats = npt.NDArray[np.float64]


def utilities(rewards: npt.ArrayLike, weights: npt.ArrayLike, utility: Utility) -> Floats:
    r"""What many replies are worth to many users of one kind.

    :func:`~paretune.functional.scalarize.linear`, :math:`w \cdot z`, or
    :func:`~paretune.functional.scalarize.chebyshev`,
    :math:`1 - \max_i \frac{w_i}{\max_j w_j}(1 - z_i)`, for every pair of a user and a reply.

    Args:
        rewards: ``(N, M)`` unit rewards, all known.
        weights: ``(K, M)`` rows on the simplex.
        utility: which of the two.

    Returns:
        ``(K, N)``, in [0, 1] for unit rewards.

    Raises:
        ShapeError: if the numbers of objectives differ.

    Example:
        >>> utilities([[1.0, 0.5]], [[0.25, 0.75]], "chebyshev")
        array([[0.5]])
    """
    z, w = np.asarray(rewards, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    if z.ndim != 2 or w.ndim != 2 or z.shape[1] != w.shape[1]:
        raise ShapeError(
            f"utilities: found rewards of shape {z.shape} and weights of shape {w.shape}, "
            "expected (N, M) and (K, M)"
        )
    if utility == "linear":
        return np.asarray(w @ z.T)
    shares = w / w.max(axis=1, keepdims=True)
    # Objective by objective: the array of all shortfalls would be M times as large.
    worst = np.full((len(w), len(z)), -np.inf)
    for share, reward in zip(shares.T, z.T, strict=True):
        np.maximum(worst, np.outer(share, 1 - reward), out=worst)
    return 1 - worst


def answer_log_chances(
    gaps: npt.ArrayLike, temperature: npt.ArrayLike, same: npt.ArrayLike
) -> Floats:
    r"""Log-probabilities that a person says first, second or same.

    With :math:`\pi = \exp(u / \tau)` of each reply

    .. math:: P(\text{first}) = \frac{\pi_1}{\pi_1 + \pi_2 + \nu\sqrt{\pi_1 \pi_2}}, \qquad
        P(\text{same}) = \frac{\nu\sqrt{\pi_1 \pi_2}}{\pi_1 + \pi_2 + \nu\sqrt{\pi_1 \pi_2}},

    a softmax of :math:`(\Delta/2\tau, -\Delta/2\tau, \log\nu)` with the gap
    :math:`\Delta = u_1 - u_2`. Davidson's ties keep Luce's axiom: whoever does choose, chooses with
    the odds :math:`\exp(\Delta/\tau)` of Bradley and Terry, whatever :math:`\nu` is. Under Rao and
    Kupper's threshold those odds change with the threshold, so that a person's indecision would
    pass for a taste.

    Args:
        gaps: utility of the first less that of the second, any shape.
        temperature: :math:`\tau` > 0 in units of utility; small = always sure.
        same: :math:`\nu` >= 0; two replies of one utility are called the same with probability
            :math:`\nu / (2 + \nu)`, 0 gives Bradley and Terry's model. All broadcast.

    Returns:
        ``(..., 3)`` nats, in the order of :data:`~paretune.core.question.ANSWERS`; ``-inf`` for
        same where ``same`` is 0.

    Raises:
        InputError: if a temperature or ``same`` is out of range.

    Source:
        Bradley and Terry 1952, "Rank analysis of incomplete block designs"; Davidson 1970, "On
        extending the Bradley-Terry model to accommodate ties in paired comparison experiments",
        with utilities for the logarithms of its worths.

    Example:
        >>> np.exp(answer_log_chances([0.0, np.log(4)], temperature=1.0, same=1.0)).round(4)
        array([[0.3333, 0.3333, 0.3333],
               [0.5714, 0.1429, 0.2857]])
    """
    tau, nu = np.asarray(temperature, dtype=np.float64), np.asarray(same, dtype=np.float64)
    if not (tau > 0).all() or not (nu >= 0).all():
        raise InputError(
            f"answers: found temperatures from {tau.min():g} and same from {nu.min():g}, "
            "expected > 0 and >= 0"
        )
    half = np.asarray(gaps, dtype=np.float64) / (2 * tau)
    with np.errstate(divide="ignore"):
        first, level = np.broadcast_arrays(half, np.log(nu))
    # Twice as fast as to reduce a last axis of three, and the same to the last digit.
    total = np.logaddexp(np.logaddexp(first, -first), level)
    return np.asarray(np.stack([first, -first, level], axis=-1) - total[..., None])
