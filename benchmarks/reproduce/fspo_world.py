"""The scalarizers on the embedded world: the same pairs, the same steps, one policy a trade-off.

Every scenario compares the same scalarizers at the same trade-offs; seeds draw the world's
comparisons, the base, the order of batches and the replies.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt

from paretune.core.results import MethodResult, RunResult
from paretune.core.tradeoff import TradeOff
from paretune.evaluation.personalization import TIE
from paretune.pipeline.config import parse_config
from paretune.pipeline.folder import RunFolder
from paretune.pipeline.replies import REPLIES, read_replies
from paretune.pipeline.run import Voice, execute

Floats = npt.NDArray[np.float64]

AXES = {
    "A": ["helpful", "concise"],
    "B": ["helpful", "harmless"],
    "C": ["helpful", "harmless", "humor"],
    "D": ["helpful", "harmless", "concise", "humor"],
}
SHAPE = {
    "A": "two objectives, convex front of single replies",
    "B": "two objectives, front of single replies with a dent",
    "C": "three objectives",
    "D": "four objectives",
}
SCALARIZERS: Mapping[str, dict[str, Any]] = {
    "linear": {"scalarizer": "linear"},
    "chebyshev": {"scalarizer": "chebyshev"},
    "stch": {"scalarizer": "stch"},
    "pareto_hv": {"scalarizer": "pareto_hv"},
    "mirror": {"scalarizer": "mirror"},
}
"""What the report compares: weighted sum, two forms of Chebyshev, Algorithm 1, learned weights."""


@final
@dataclass(frozen=True)
class WorldRun:
    """One scenario with one seed.

    Args:
        result: what the run measured.
        wins: method -> ``(K, M)`` share of replies that beat the reference's reply to the same
            prompt on each objective, a tie counting half.
    """

    result: RunResult
    wins: Mapping[str, Floats]


def world_runs(
    seeds: int, runs: Path, scenarios: Sequence[str] = tuple(AXES), workers: int = 0
) -> dict[str, list[WorldRun]]:
    """Every scenario with every seed; runs are kept in ``runs`` and continued."""
    return {s: [world_run(s, seed, runs, workers) for seed in range(seeds)] for s in scenarios}


def tradeoffs_of(axes: Sequence[str]) -> Any:
    """Five points of an edge, or the corners and the middle."""
    if len(axes) == 2:
        return {"grid": 4}
    corners = [{axis: 1.0} for axis in axes]
    return [*corners, {axis: 1 / len(axes) for axis in axes}]


def world_run(scenario: str, seed: int, runs: Path, workers: int = 0) -> WorldRun:
    """One run, or what is missing of it."""
    axes = AXES[scenario]
    values = {
        "name": f"fspo-{scenario}-{seed}",
        "seed": seed,
        "objectives": axes,
        "data": {"world": "handy", "scenario": scenario, "pairs": 2000},
        "tradeoffs": tradeoffs_of(axes),
        "methods": [
            {
                "method": "scalarized_dpo", "label": name, "beta": 0.1,
                "is_length_normalized": False, **options,
            }
            for name, options in SCALARIZERS.items()
        ],
        "train": {"learning_rate": 5e-4, "epochs": 2, "batch_size": 32},
        "generate": {"max_new_tokens": 64},
        "evaluate": {"draws": 8 if scenario == "B" else 4},
        "workers": workers,
    }  # fmt: skip
    config = parse_config(values)
    voice = Voice(say=lambda text: print(f"{config.name}: {text}", file=sys.stderr))
    finished = execute(config, runs / config.name, "eval", voice)
    if finished.failed or finished.result is None:
        raise SystemExit(f"{config.name}: {finished.failed}")
    return WorldRun(finished.result, _wins(finished.run, finished.result, axes))


def _wins(run: RunFolder, result: RunResult, axes: Sequence[str]) -> dict[str, Floats]:
    def rewards(method: str, tradeoff: TradeOff) -> Floats:
        found = read_replies(run.stage(5) / method / tradeoff.slug / REPLIES, axes)
        return np.asarray(found["rewards"], dtype=np.float64)

    reference = rewards("reference", TradeOff.even(len(axes)))
    return {
        m.name: np.array([
            _share(rewards(m.name, TradeOff(p.tradeoff)) - reference) for p in m.points
        ])
        for m in result.methods
    }  # fmt: skip


def _share(differences: Floats) -> Floats:
    ties = np.abs(differences) < TIE
    return np.asarray(np.where(ties, 0.5, differences > 0).mean(axis=0))


def each(
    found: Sequence[WorldRun], name: str, number: Callable[[RunResult, MethodResult], float | None]
) -> Floats:
    """``(seeds,)`` one number of a method in every run; NaN where it is not defined."""
    values = []
    for one in found:
        method = next(m for m in one.result.methods if m.name == name)
        value = number(one.result, method)
        values.append(np.nan if value is None else value)
    return np.array(values)


if __name__ == "__main__":
    # Runs alone, without the page: python benchmarks/reproduce/fspo_world.py SEEDS RUNS WORKERS
    world_runs(int(sys.argv[1]), Path(sys.argv[2]), workers=int(sys.argv[3]))
