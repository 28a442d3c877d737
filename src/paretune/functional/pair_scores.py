"""From scores of two texts to a signed label: how much better the first is on each axis."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_LEAST, _QUANTILE = 0.05, 0.9

# Labels enter files; a quotient that should be a half is one.
_DIGITS = 12


def pair_scales(differences: npt.ArrayLike, least: npt.ArrayLike = _LEAST) -> Floats:
    """Differences that count as a full preference, one an axis.

    Nine in ten pairs lie within; an axis that hardly moves is not blown up. The scales belong to
    the data set: they come from training pairs and serve all others.

    Args:
        differences: ``(P, M)`` scores of the first texts minus those of the second, NaN where one
            of them has none; P >= 1.
        least: of a scale, one for all or ``(M,)``, > 0; 0.05 suits scores in the unit range.

    Returns:
        ``(M,)``, >= ``least``.

    Source:
        The multi-objective FSPO report: the larger of 0.05 and the 90th percentile of the absolute
        difference.

    Example:
        >>> pair_scales([[0.0, 0.01], [-0.5, 0.01], [1.0, 0.0]])
        array([0.9 , 0.05])
    """
    size = np.abs(np.asarray(differences, dtype=np.float64))
    known = ~np.isnan(size).all(axis=0)
    found = np.zeros(size.shape[1])
    found[known] = np.nanquantile(size[:, known], _QUANTILE, axis=0)
    return np.asarray(np.maximum(least, found))


def pair_scores(differences: npt.ArrayLike, scales: npt.ArrayLike) -> Floats:
    """Labels of pairs in [-1, 1]: 1 = the first text is clearly better, 0 = rated as equal.

    Args:
        differences: ``(P, M)`` scores of the first texts minus those of the second.
        scales: ``(M,)`` of :func:`pair_scales`.

    Returns:
        ``(P, M)``; swapping the texts changes the sign and nothing else.

    Source:
        The multi-objective FSPO report rates from 0 (no preference) to 1; negative values, for
        pairs whose second text is better on an axis, are its odd extension.

    Example:
        >>> pair_scores([[0.5, -2.0]], [2.0, 1.0])
        array([[ 0.25, -1.  ]])
    """
    ratios = np.asarray(differences, dtype=np.float64) / np.asarray(scales)
    return np.asarray(np.round(np.clip(ratios, -1.0, 1.0), _DIGITS))
