"""Numbers that the paper reports, as its abstract and a public summary of it give them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True)
class Reported:
    """One row of its main table.

    Args:
        hypervolume: of unknown reference point and scale.
        collapsed: percent of replies.
        hours: of GPUs, for all its preferences.
        trainings: policies that we take the hours to have trained, stages not counted apart.
    """

    hypervolume: float
    collapsed: float
    hours: float
    trainings: int


HQD = Reported(0.7526, 7.03, 55.87, 11)
MORLHF = Reported(0.3777, 35.39, 2272.84, 5)
SOUPS = Reported(0.3605, 31.29, 923.68, 2)
OF_RIC = 0.42
"""GPU time as a share of RiC's."""
OF_MORLHF = 0.025
"""GPU time as a share of MORLHF's."""
ROWS, ROWS_2, STEPS, BATCH = 100, 50, 200, 8
