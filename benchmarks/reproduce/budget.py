"""How much a page may measure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True)
class Budget:
    """Sizes of the measurements on tables.

    Args:
        seeds: repetitions of everything random, >= 1.
        steps: of Algorithm 1 on a preference structure.
        lag_steps: of Algorithm 1 in the ablation of lag and relaxation.
        pairs: labelled pairs of the motivating example.
        instances: random tables that are solved exactly.
        noisy_instances: random tables on which Algorithm 1 runs.
        draws: repetitions of cheap draws.
    """

    seeds: int = 4
    steps: int = 20_000
    lag_steps: int = 2000
    pairs: int = 40_000
    instances: int = 20
    noisy_instances: int = 2
    draws: int = 2000

    @classmethod
    def tiny(cls) -> Budget:
        """Enough to see that everything runs, in seconds."""
        return cls(2, 60, 12, 4000, 2, 1, 200)
