"""Front imitation on the embedded world: what it reaches, and which of its parts it needs.

    OMP_NUM_THREADS=1 python benchmarks/front_imitation.py --seeds 3 --out PAGE

Every variant sees the same records, base and prompts; each seed has its own. Prints the Markdown
of docs/reproduce/front_imitation.md: mean over seeds with a 95 % t interval, as a share of what so
many policies can reach at most.
"""

from __future__ import annotations

import argparse
import platform
import sys
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from paretune.core.adapter import TradeOffEmbedding, told_numbers
from paretune.core.job import Pool
from paretune.core.results import MethodResult, RunResult
from paretune.functional.front_targets import select_targets
from paretune.functional.indicators import hypervolume
from paretune.functional.simplex import lattice
from paretune.functional.statistics import t_interval
from paretune.pipeline.comparisons import read_materials
from paretune.pipeline.config import RunConfig, parse_config
from paretune.pipeline.folder import RunFolder
from paretune.pipeline.run import Voice, execute

BUDGET: dict[str, Any] = {"steps": 450, "batch_size": 16, "learning_rate": 5e-3, "rows": 655}
OURS: dict[str, Any] = {"method": "front_imitation", "k": 50, **BUDGET}
VARIANTS: dict[str, dict[str, Any]] = {
    "expected": {},
    "per reply": {"yardstick": "per_reply"},
    "expected, k = 10": {"k": 10},
    "expected, k = 100": {"k": 100},
    "expected, k = 400": {"k": 400},
    "expected, vectors start at 0": {"scale": 0.0},
    "expected, learning rate 1e-3": {"learning_rate": 1e-3},
    "expected, 150 steps": {"steps": 150},
    "expected, 300 steps": {"steps": 300},
    "expected, 1,200 steps": {"steps": 1200},
}
OF_PROMPTS: dict[str, dict[str, Any]] = {
    "expected": {},
    "expected, all prompts one group": {"groups": 1},
    "expected, at most 2 groups": {"groups": 2},
    "expected, at most 8 groups": {"groups": 8},
    "per reply": {"yardstick": "per_reply"},
    "per reply, all prompts one group": {"yardstick": "per_reply", "groups": 1},
    "expected, 66 trade-offs": {"tradeoffs": {"grid": 10}, "rows": 110},
}
ALONE = "a policy for each trade-off, the same steps in all"
RAY = "ParetoHqD stage 1: a policy a trade-off on the 100 rows nearest to the ray"
DPO = "one full DPO run, even weights (for the cost)"
AXES = {
    "A": ["helpful", "concise"],
    "B": ["helpful", "harmless"],
    "C": ["helpful", "harmless", "humor"],
}


def variants(scenario: str) -> dict[str, dict[str, Any]]:
    """What is tried; with three objectives the prompts are of two kinds."""
    return OF_PROMPTS if scenario == "C" else VARIANTS


def methods(scenario: str) -> list[dict[str, Any]]:
    """Entries of a run: the variants, and for two objectives the targets one by one and others."""
    axes = AXES[scenario]
    tried = enumerate(variants(scenario).values())
    entries: list[dict[str, Any]] = [{**OURS, **v, "label": f"v{i}"} for i, v in tried]
    even = [{axis: 1 / len(axes) for axis in axes}]
    pairs = {"train": {"learning_rate": 4e-4}, "beta": 0.25, "tradeoffs": even}
    entries.append({"method": "dpo", "label": "dpo", **pairs})
    if scenario == "C":
        return entries
    for i in range(11):
        mix = {axes[0]: i / 10, axes[1]: 1 - i / 10}
        entries.append({**OURS, "tradeoffs": [mix], "steps": 41, "label": f"a{i}"})
    return [*entries, {"method": "pareto_hqd", "stages": 1, "label": "ray"}]


def config_of(scenario: str, seed: int) -> RunConfig:
    """The run of one scenario and seed."""
    is_c = scenario == "C"
    return parse_config({
        "name": f"front-{scenario}-{seed}",
        "seed": seed,
        "objectives": AXES[scenario],
        "data": {"world": "handy", "scenario": scenario, "pairs": 3000 if is_c else 2000},
        "tradeoffs": {"grid": 4 if is_c else 10},
        "methods": methods(scenario),
        "train": {"learning_rate": 5e-4, "epochs": 2, "batch_size": 32},
        "generate": {"max_new_tokens": 64},
        "evaluate": {"draws": 4 if is_c else 8},
    })  # fmt: skip


def run_seed(scenario: str, seed: int, runs: Path) -> RunResult:
    """One run of one scenario, continued if it is there already."""
    config = config_of(scenario, seed)
    voice = Voice(say=lambda text: print(f"{config.name}: {text}", file=sys.stderr))
    finished = execute(config, runs / config.name, "eval", voice)
    if finished.failed or finished.result is None:
        raise SystemExit(f"{config.name}: {finished.failed}")
    return finished.result


def promised(scenario: str, seed: int, runs: Path) -> float:
    """Hypervolume that the targets themselves would have."""
    config = config_of(scenario, seed)
    data = read_materials(config, RunFolder(runs / config.name), _base(runs, config)).job_data.data
    pool, n = Pool.of(data), BUDGET["rows"]
    grid = [t.weights for t in lattice(2, 10)]
    rows = select_targets(pool, tradeoffs=grid, k=50, n=n, yardstick="expected", groups=4)
    order = told_numbers(TradeOffEmbedding(tuple(grid)), rows.given)
    means = [pool.rewards[rows.index[order == i]].mean(axis=0) for i in range(len(grid))]
    return float(hypervolume(np.array(means), np.zeros(2)))


def _base(runs: Path, config: Any) -> str:
    from paretune.pipeline.base import base_of

    return base_of(config, RunFolder(runs / config.name))


def row(name: str, ceiling: float, optimum: float, seeds: list[dict[str, float]]) -> str:
    """A line of the table."""

    def cell(key: str, scale: float, digits: int) -> str:
        return interval([scale * s[key] for s in seeds], digits)

    cells = [
        name,
        cell("hypervolume", 100 / ceiling, 1),
        cell("least", 100 / optimum, 1),
        cell("malformed", 100, 1),
        cell("collapsed", 100, 1),
        cell("seconds", 1, 1),
    ]
    return f"| {' | '.join(cells)} |"


def numbers(method: MethodResult) -> dict[str, float]:
    """What the table says of one method and seed."""
    return {
        "hypervolume": value(method, "hypervolume"),
        "least": value(method, "utility_min"),
        "malformed": mean(method, "malformed"),
        "collapsed": mean(method, "total"),
        "seconds": method.cost.train_seconds,
    }


def value(method: MethodResult, name: str) -> float:
    """An aggregate of a method."""
    return float(getattr(method, name).value)


def mean(method: MethodResult, name: str) -> float:
    """A share of broken replies, averaged over the points."""
    return float(np.mean([getattr(point.collapse, name) or 0.0 for point in method.points]))


def interval(values: list[float], digits: int) -> str:
    """Mean over seeds ± half of a 95 % t interval."""
    if len(values) < 2:
        return f"{values[0]:.{digits}f}"
    found = t_interval(values)
    return f"{found.value:.{digits}f} ± {found.high - found.value:.{digits}f}"


def together(parts: list[MethodResult]) -> dict[str, float]:
    """Several methods of one point each, as the front they are together."""
    points = np.array([[i.value for i in m.points[0].means] for m in parts])
    each = [numbers(m) for m in parts]
    return {
        "hypervolume": float(hypervolume(points, np.zeros(points.shape[1]))),
        "least": max(e["least"] for e in each),
        "malformed": float(np.mean([e["malformed"] for e in each])),
        "collapsed": float(np.mean([e["collapsed"] for e in each])),
        "seconds": sum(e["seconds"] for e in each),
    }


def table(scenario: str, results: list[RunResult], runs: Path) -> str:
    """A row a variant."""
    known = results[0].known
    assert known is not None and known.utility_min is not None
    optimum = known.utility_min
    ceiling = known.ceilings.get(11, known.hypervolume)
    of_what = "the ceiling of 11 points" if known.ceilings else "all mixtures"
    found = [{m.name: m for m in result.methods} for result in results]
    lines = [
        f"| variant | hypervolume, % of {of_what} | E[min], % of the optimum | "
        "malformed % | collapsed % | CPU s to train, all trade-offs |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for i, name in enumerate(variants(scenario)):
        lines.append(row(name, ceiling, optimum, [numbers(f[f"v{i}"]) for f in found]))
    dpo = row(DPO, ceiling, optimum, [numbers(f["dpo"]) for f in found])
    if scenario == "C":
        return "\n".join([*lines, dpo])
    alone = [together([f[f"a{i}"] for i in range(11)]) for f in found]
    lines.append(row(ALONE, ceiling, optimum, alone))
    lines.append(row(RAY, ceiling, optimum, [numbers(f["ray"]) for f in found]))
    data = interval([100 * promised(scenario, s, runs) / ceiling for s in range(len(results))], 1)
    return "\n".join([*lines, dpo, "", f"The targets themselves would have {data} % (k = 50)."])


def main() -> None:
    """Run every scenario and seed; print, and write when asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--scenarios", default="A,B,C")
    parser.add_argument("--runs", type=Path, default=Path("runs/front"))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    parts = [
        "# Front imitation: what it needs\n\n"
        f"Made by `OMP_NUM_THREADS=1 python benchmarks/front_imitation.py --seeds {args.seeds}` on "
        f"{date.today().isoformat()}, {platform.machine()}: mean ± half of a 95 % t interval over "
        f"{args.seeds} seeds (own base, corpus, comparisons and order), 11 trade-offs (15 of three "
        "objectives), held-out prompts, temperature 1. How it works: "
        "[explanation](../explanation/front-imitation.md)."
    ]
    for scenario in args.scenarios.split(","):
        results = [run_seed(scenario, seed, args.runs) for seed in range(args.seeds)]
        axes = " and ".join(results[0].objectives)
        parts.append(f"## Scenario {scenario}: {axes}\n\n{table(scenario, results, args.runs)}")
    text = "\n\n".join(parts) + "\n"
    print(text)
    if args.out:
        args.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
