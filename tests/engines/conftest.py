from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from paretune.core.constrained import ConstrainedGoal
from paretune.core.objective import Objectives
from paretune.core.record import PreferenceData
from paretune.core.rewards import RewardMatrix

STRUCTURES = {
    "D1": [(0, 1, 1, 1), (1, 2, 1, 1), (0, 2, 1, 1)],
    "D2": [(0, 2, 1, 1), (1, 2, 1, 1)],
    "D3b": [(0, 1, 1, -1), (0, 2, 1, 1), (1, 2, 1, 1)],
    "D3c": [(0, 1, 1, -1), (0, 2, 1, -1), (1, 2, 1, 1)],
    "D4": [(i, j, 1, -1) for i in range(3) for j in range(3) if i != j],
    "D5": [(0, 1, 1, -1), (1, 0, 1, -1)],
}
"""First and second action, and their labels on the primary and the secondary objective."""


@pytest.fixture
def compared() -> Callable[..., PreferenceData]:
    """Comparisons of the actions of one context, by rows or by the name of a structure."""

    def build(rows: Any, n_actions: int = 3, counts: Any = None) -> PreferenceData:
        columns = np.array(STRUCTURES.get(rows, rows) if isinstance(rows, str) else rows, float)
        return PreferenceData(
            prompts=("context",),
            texts=tuple(f"action {a}" for a in range(n_actions)),
            prompt_of=np.zeros(n_actions, dtype=np.int64),
            rewards=RewardMatrix(Objectives.of("p", "q"), np.full((n_actions, 2), np.nan)),
            first=columns[:, 0].astype(np.int64),
            second=columns[:, 1].astype(np.int64),
            labels=columns[:, 2:],
            multiplicity=None if counts is None else np.array(counts, dtype=float),
        )

    return build


@pytest.fixture
def goal() -> Callable[..., ConstrainedGoal]:
    """A goal for objective 0 with a floor for objective 1, without lag."""

    def build(threshold: float | None = None, **more: Any) -> ConstrainedGoal:
        options = {"lag": None, "labels": "table", "tau": 0.1, **more}
        floors = options.pop("reward_floors", (None, None))
        return ConstrainedGoal(0, (None, threshold), floors, **options)

    return build


@pytest.fixture
def uniform() -> Tensor:
    """One context, three actions."""
    return torch.full((1, 3), 1 / 3, dtype=torch.float64).log()
