"""How good each of several replies is, of which the best is given."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from paretune.core.policy import Steering
from paretune.core.rewards import Normalizer
from paretune.functional.scalarize import chebyshev


def candidate_utility(
    steering: Steering, normalizer: Normalizer, rewards: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """``(R,)`` how good candidates are for the steering's trade-off.

    ``linear`` weighs z-scores; ``chebyshev`` takes the worst weighted shortfall in the unit range
    of the training rewards.

    Args:
        steering: names the trade-off and the utility.
        normalizer: statistics of the training rewards.
        rewards: ``(R, M)`` of the candidates, raw.
    """
    weights = steering.tradeoff.array
    if steering.utility == "linear":
        return normalizer.standardize(rewards) @ weights
    low, high = np.asarray(normalizer.low), np.asarray(normalizer.high)
    span = np.where(high > low, high - low, 1.0)
    return chebyshev((rewards - low) / span, steering.tradeoff.weights)
