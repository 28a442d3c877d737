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
from safetensors import safe_open

from paretune.core.results import MethodResult, RunResult
from paretune.core.tradeoff import TradeOff
from paretune.evaluation.personalization import TIE
from paretune.functional.scalarize import chebyshev
from paretune.pipeline.config import RunConfig, parse_config
from paretune.pipeline.folder import RunFolder
from paretune.pipeline.replies import REPLIES, read_replies
from paretune.pipeline.run import Voice, execute, load_result, stored_config
from paretune.safety.files import read_json

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
        served: method -> ``(K, K)`` Chebyshev utility, averaged over replies, of every policy (row)
            for a user of every trade-off (column).
    """

    result: RunResult
    wins: Mapping[str, Floats]
    served: Mapping[str, Floats]


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
    run = RunFolder(runs / config.name)
    return _read(run, measured(config, run), axes)


def measured(config: RunConfig, run: RunFolder) -> RunResult:
    """What a run measured; it is made, or continued, unless it is finished.

    A finished run is read whatever version of the library made it, if it was asked the same: a
    later version may know settings that it did not.
    """
    if is_finished(run):
        asked = stored_config(run).model_copy(update={"workers": config.workers})
        if asked == config:
            return load_result(run)
    voice = Voice(say=lambda text: print(f"{config.name}: {text}", file=sys.stderr))
    finished = execute(config, run.path, "eval", voice)
    if finished.failed or finished.result is None:
        raise SystemExit(f"{config.name}: {finished.failed}")
    return finished.result


def n_parameters(runs: Path) -> int:
    """Parameters of the language model that the runs start from; 0 where none is stored."""
    for file in sorted(runs.glob("bases/*/model.safetensors")):
        with safe_open(file, "np") as tensors:
            return sum(int(np.prod(tensors.get_slice(k).get_shape())) for k in list(tensors.keys()))
    return 0


def is_finished(run: RunFolder) -> bool:
    """Whether a run ended without a failure."""
    status = run.path / "status.json"
    if not status.exists():
        return False
    found = read_json(status)
    return found["state"] == "done" and not found.get("failed")


def _read(run: RunFolder, result: RunResult, axes: Sequence[str]) -> WorldRun:
    """What is asked of the replies themselves."""

    def rewards(method: str, tradeoff: TradeOff) -> Floats:
        found = read_replies(run.stage(5) / method / tradeoff.slug / REPLIES, axes)
        return np.asarray(found["rewards"], dtype=np.float64)

    reference = rewards("reference", TradeOff.even(len(axes)))
    wins, served = {}, {}
    for method in result.methods:
        tradeoffs = [point.tradeoff for point in method.points]
        replies = [rewards(method.name, TradeOff(t)) for t in tradeoffs]
        wins[method.name] = np.array([_share(found - reference) for found in replies])
        served[method.name] = np.array(
            [[chebyshev(found, t).mean() for t in tradeoffs] for found in replies]
        )
    return WorldRun(result, wins, served)


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
