"""The normalizer of a run stays the one it started with."""

from __future__ import annotations

import math

from paretune.core.objective import Objectives
from paretune.core.rewards import Normalizer
from paretune.errors import InputError


def frozen_normalizer(
    saved: Normalizer, fitted: Normalizer, objectives: Objectives, is_forced: bool = False
) -> Normalizer:
    """The saved normalizer, once the data agrees with it.

    Two means and standard deviations put two tables of rewards on two scales, which then look
    alike and cannot be compared (the same raw reward became 0.01 or -0.74 in published tables).

    Args:
        saved: the statistics that the run started with.
        fitted: the statistics of the training rewards as they are now.
        objectives: names for the message.
        is_forced: take the saved statistics although they differ.

    Returns:
        ``saved``.

    Raises:
        InputError: if a mean or a standard deviation differs by more than 1e-6 of the standard
            deviation, unless forced.

    Example:
        >>> one, other = (Normalizer((m,), (2.0,), (0.0,), (1.0,), 9) for m in (0.0, 1.0))
        >>> frozen_normalizer(one, other, Objectives.of("helpful"), is_forced=True).mean
        (0.0,)
    """
    rows = zip(objectives, saved.mean, saved.std, fitted.mean, fitted.std, strict=True)
    for name, mean, std, new_mean, new_std in rows:
        if is_forced or math.hypot(mean - new_mean, std - new_std) <= 1e-6 * std:
            continue
        raise InputError(
            f"normalizer of {name}: the training rewards have mean {new_mean:g} and std "
            f"{new_std:g}, expected mean {mean:g} and std {std:g} as saved with the run; "
            "start a new run, or force the saved ones"
        )
    return saved
