"""paretune: align language models along the whole Pareto front, and measure it.

Names load on first use, so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOME = {
    "Objectives": "paretune.core.objective",
    "TradeOff": "paretune.core.tradeoff",
    "TradeOffPosterior": "paretune.functional.tradeoff_posterior",
    "Record": "paretune.core.record",
    "Response": "paretune.core.record",
    "Comparison": "paretune.core.record",
    "Message": "paretune.core.record",
    "PreferenceData": "paretune.core.record",
    "RewardMatrix": "paretune.core.rewards",
    "Normalizer": "paretune.core.rewards",
    "TrainingJob": "paretune.core.job",
    "Method": "paretune.core.method",
    "Steering": "paretune.core.policy",
    "RunResult": "paretune.core.results",
    "ParetuneError": "paretune.errors",
}
__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'paretune' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
