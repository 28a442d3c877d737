"""ParetoHqD and its ablations on the embedded world, a few small runs a scenario and seed.

Runs are kept and continued, seed by seed, so that those of the first seeds can be read early::

    OMP_NUM_THREADS=1 python benchmarks/reproduce/paretohqd_world.py SEEDS RUNS
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from fspo_world import is_finished, measured

from paretune.cli.quickstart import quickstart_config
from paretune.core.results import RunResult
from paretune.pipeline.config import RunConfig, parse_config
from paretune.pipeline.folder import RunFolder

Runs = dict[str, list[RunResult]]
"""Scenario to the result of each seed."""

SCENARIOS = ("A", "B")
SHAPE = {
    "A": "helpful and concise, convex front of single replies",
    "B": "helpful and harmless, front of single replies with a dent",
}
DRAWS = {"A": 4, "B": 8}
STAGE_2_PROMPTS = {"A": 480, "B": 240}
GRID, FEW = 4, 2
"""Five trade-offs; three for the numbers of rows and layers."""
K = 100
SIZES = (30, K, 300, 1000)
STEPS, BATCH = 200, 8
RAY, LINEAR, BOTH = "ray", "weighted-sum", "stages-1-2"
SOUPS = "soups-aggressive"
EVERY, LAYERS = "every-row", "layers-5k"
_ONE: dict[str, Any] = {"method": "pareto_hqd", "stages": 1}
_EVEN = "even"


def rows(k: int) -> str:
    """Label of a number of rows."""
    return f"rows-{k}"


def main_methods(scenario: str) -> list[dict[str, Any]]:
    """The method, its ablations, and a soup whose experts were trained too far."""
    return [
        {**_ONE, "label": RAY},
        {**_ONE, "label": LINEAR, "select": "linear", "pool": "all"},
        {"method": "pareto_hqd", "label": BOTH, "stage2_prompts": STAGE_2_PROMPTS[scenario]},
        {"method": "rewarded_soups", "label": SOUPS, "beta": 0.1},
    ]


def size_methods(scenario: str) -> list[dict[str, Any]]:
    """Numbers of rows and layers."""
    few: dict[str, Any] = {**_ONE, "tradeoffs": {"grid": FEW}}
    return [
        *({**few, "label": rows(k), "k": k} for k in SIZES),
        {**few, "label": LAYERS, "min_rows": 5 * K},
        # Every trade-off would get the same policy.
        {**_ONE, "label": EVERY, "select": "full", "tradeoffs": _EVEN},
    ]


def cost_methods(scenario: str) -> list[dict[str, Any]]:
    """What the paper compares costs with, as small as it can be priced."""
    return [
        {"method": "morlhf", "tradeoffs": _EVEN},
        {"method": "ric", "prompts": STAGE_2_PROMPTS[scenario], "steps": 450,
         "learning_rate": 3e-3, "tradeoffs": _EVEN},
    ]  # fmt: skip


KINDS: dict[str, Callable[[str], list[dict[str, Any]]]] = {
    "main": main_methods,
    "sizes": size_methods,
    "cost": cost_methods,
}


@final
@dataclass(frozen=True)
class World:
    """Finished runs.

    Args:
        main: method, ablations, soup.
        sizes: numbers of rows and layers.
        cost: MORLHF and RiC at one trade-off; on one scenario and seed.
    """

    main: Runs = field(default_factory=dict)
    sizes: Runs = field(default_factory=dict)
    cost: Runs = field(default_factory=dict)


def config(kind: str, scenario: str, seed: int) -> RunConfig:
    """Of one run."""
    values: dict[str, Any] = quickstart_config(scenario, GRID, 1, seed)
    even = [dict.fromkeys(values["objectives"], 0.5)]
    methods = KINDS[kind](scenario)
    for method in methods:
        if method.get("tradeoffs") == _EVEN:
            method["tradeoffs"] = even
    values |= {
        "name": f"paretohqd-{kind}-{scenario}-{seed}",
        "methods": methods,
        "evaluate": {"draws": DRAWS[scenario]},
    }
    return parse_config(values)


def wanted(seeds: int) -> list[tuple[str, str, int]]:
    """Kind, scenario and seed of every run, in the order in which they are made."""
    found = []
    for seed in range(seeds):
        found += [("main", scenario, seed) for scenario in SCENARIOS]
        found += [("sizes", scenario, seed) for scenario in SCENARIOS]
        found += [("cost", "A", 0)] if seed == 0 else []
    return found


def world_runs(seeds: int, runs: Path, is_made: bool = True) -> World:
    """Every run, made or continued unless it is finished.

    Args:
        seeds: of each kind, from 0.
        runs: folder of the runs.
        is_made: whether what is missing is made; otherwise it is left out, with the seeds after
            it.
    """
    world = World({}, {}, {})
    stopped = set()
    for kind, scenario, seed in wanted(seeds):
        asked = config(kind, scenario, seed)
        folder = RunFolder(runs / asked.name)
        if not is_made and not is_finished(folder):
            stopped.add((kind, scenario))
        if (kind, scenario) not in stopped:
            found: Runs = getattr(world, kind)
            found.setdefault(scenario, []).append(measured(asked, folder))
    return world


if __name__ == "__main__":
    world_runs(int(sys.argv[1]), Path(sys.argv[2]))
