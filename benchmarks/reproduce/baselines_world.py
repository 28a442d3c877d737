"""Rewards-in-Context on the embedded world: with and without online stage, both ranges of wishes.

    OMP_NUM_THREADS=1 python benchmarks/reproduce/baselines_world.py SEEDS RUNS

makes the runs, about two minutes of CPU each; the page reads what is there.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from baselines_fronts import Comparison, Floats
from fspo_world import AXES, is_finished, measured

from paretune.bench.handy import Handy
from paretune.core.record import PreferenceData
from paretune.core.rewards import Normalizer, RewardMatrix
from paretune.pipeline.config import RunConfig, parse_config
from paretune.pipeline.folder import RunFolder
from paretune.pipeline.run import load_result, stored_config

SCENARIOS = ("A", "B")
PAIRS = 2000
_TRAIN = {"steps": 450, "learning_rate": 1e-3}
_PROMPTS = {"A": 480, "B": 240}
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "ric": {},
    "ric-normals": {"range_from": "gauss"},
    "ric-offline": {"iterations": 0},
    "ric-offline-normals": {"iterations": 0, "range_from": "gauss"},
}
"""With one online stage and without; wishes in the range of the data or of standard normals."""


def ric_config(scenario: str, seed: int) -> RunConfig:
    """One run of all variants; they share what is the same of their training."""
    methods = []
    for label, options in VARIANTS.items():
        is_online = options.get("iterations", 1) > 0
        asked = {"prompts": _PROMPTS[scenario]} if is_online else {}
        methods.append({"method": "ric", "label": label, **_TRAIN, **asked, **options})
    return parse_config({
        "name": f"reproduce-ric-{scenario}-{seed}",
        "seed": seed,
        "objectives": AXES[scenario],
        "data": {"world": "handy", "scenario": scenario, "pairs": PAIRS},
        "tradeoffs": {"grid": 5},
        "methods": methods,
        "train": {"learning_rate": 5e-4, "epochs": 2, "batch_size": 32},
        "generate": {"max_new_tokens": 64},
        "evaluate": {"draws": 4},
        "workers": 1,
    })  # fmt: skip


def make_runs(seeds: int, runs: Path, scenarios: Sequence[str] = SCENARIOS) -> None:
    """Every scenario with every seed; runs are kept in ``runs`` and continued."""
    # Seed by seed: whatever ends early has both scenarios.
    for seed in range(seeds):
        for scenario in scenarios:
            config = ric_config(scenario, seed)
            measured(config, RunFolder(runs / config.name))


def read_runs(runs: Path, scenarios: Sequence[str] = SCENARIOS) -> list[Comparison]:
    """What is finished of :func:`make_runs`, one entry a scenario that has any."""
    found = []
    for scenario in scenarios:
        done = []
        for path in sorted(runs.glob(f"reproduce-ric-{scenario}-*")):
            run, seed = RunFolder(path), int(path.name.rsplit("-", 1)[1])
            if is_finished(run) and stored_config(run) == ric_config(scenario, seed):
                done.append(load_result(run))
        if done:
            found.append(Comparison(scenario, tuple(done)))
    return found


def training_rewards(scenario: str, n_pairs: int = PAIRS) -> tuple[Normalizer, Floats]:
    """Statistics and ``(N, M)`` z-scores of the responses that seed 0 learns from."""
    world = Handy(scenario)
    data = PreferenceData.from_records(world.preferences(n_pairs, 0), world.objectives)
    prompts = [str(data.prompts[i]) for i in data.prompt_of]
    rewards = world.score_many(prompts, data.texts)
    normalizer = Normalizer.fit(RewardMatrix(world.objectives, rewards))
    return normalizer, normalizer.standardize(rewards)


if __name__ == "__main__":
    make_runs(int(sys.argv[1]), Path(sys.argv[2]))
