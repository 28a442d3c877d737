"""How much the ParetoHqD page may measure without a language model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True)
class Budget:
    """Sizes of the measurements on rewards alone.

    Args:
        seeds: repetitions of everything random, >= 1.
        rows: scored responses of a cloud.
        k: responses a trade-off.
        dialogues: scored responses of a cloud of the size of HH-RLHF.
        draws: directions drawn to measure a share of the simplex.
    """

    seeds: int = 5
    rows: int = 20_000
    k: int = 100
    dialogues: int = 290_000
    draws: int = 200_000

    @classmethod
    def tiny(cls) -> Budget:
        """Enough to see that everything runs, in seconds."""
        return cls(2, 1000, 20, 4000, 4000)
