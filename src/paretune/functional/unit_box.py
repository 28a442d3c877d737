"""Raw rewards in a box: 0 at its lower corner, 1 at its upper one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def unit_rewards(
    rewards: npt.ArrayLike, low: Sequence[float], high: Sequence[float], *, is_clipped: bool = True
) -> npt.NDArray[np.float64]:
    """Rewards ``(..., M)`` in the frozen box of a run.

    Args:
        rewards: raw.
        low: raw reward that maps to 0, ``(M,)``.
        high: raw reward that maps to 1, ``(M,)``, above ``low``.
        is_clipped: what lies outside is moved to the edge.

    Example:
        >>> unit_rewards([[3.0, -1.0]], (1.0, 0.0), (5.0, 1.0))
        array([[0.5, 0. ]])
    """
    bottom = np.asarray(low, dtype=np.float64)
    scaled = (np.asarray(rewards, dtype=np.float64) - bottom) / (np.asarray(high) - bottom)
    return np.asarray(np.clip(scaled, 0.0, 1.0) if is_clipped else scaled)
