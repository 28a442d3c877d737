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

from paretune.cli.quickstart import quickstart_config
from paretune.core.job import Pool
from paretune.core.results import MethodResult, RunResult
from paretune.functional.front_targets import select_targets
from paretune.functional.indicators import hypervolume
from paretune.functional.simplex import lattice
from paretune.functional.statistics import t_interval
from paretune.pipeline.comparisons import read_materials
from paretune.pipeline.config import parse_config
from paretune.pipeline.folder import RunFolder
from paretune.pipeline.run import Voice, execute

BUDGET: dict[str, Any] = {"steps": 450, "batch_size": 16, "learning_rate": 4e-3, "rows": 655}
OURS: dict[str, Any] = {"method": "front_imitation", "k": 50, **BUDGET}
VARIANTS: dict[str, dict[str, Any]] = {
    "expected": {**OURS},
    "per reply": {**OURS, "yardstick": "per_reply"},
    "expected, k = 10": {**OURS, "k": 10},
    "expected, k = 100": {**OURS, "k": 100},
    "expected, k = 400": {**OURS, "k": 400},
    "expected, vectors start at .1": {**OURS, "scale": 0.1},
    "expected, vectors start at 0": {**OURS, "scale": 0.0},
    "expected, learning rate 1e-3": {**OURS, "learning_rate": 1e-3},
    "expected, 150 steps": {**OURS, "steps": 150},
    "expected, 1,200 steps": {**OURS, "steps": 1200},
}
ALONE = "a policy for each trade-off, the same steps in all"
RAY = "ParetoHqD stage 1: a policy a trade-off on the 100 rows nearest to the ray"
DPO = "one full DPO run, even weights (for the cost)"


def methods(scenario: str) -> list[dict[str, Any]]:
    """Entries of a run: the variants, the targets one by one, two of others."""
    first, second = quickstart_config(scenario, 10, 0, 0)["objectives"]  # type: ignore[misc]
    entries = [{**v, "label": f"v{i}"} for i, v in enumerate(VARIANTS.values())]
    for i in range(11):
        alone = {"tradeoffs": [{first: i / 10, second: 1 - i / 10}], "steps": 41, "label": f"a{i}"}
        entries.append({**OURS, **alone})
    entries.append({"method": "pareto_hqd", "stages": 1, "label": "ray"})
    even = [{first: 0.5, second: 0.5}]
    pairs = {"train": {"learning_rate": 4e-4}, "beta": 0.25, "tradeoffs": even}
    return [*entries, {"method": "dpo", "label": "dpo", **pairs}]


def run_seed(scenario: str, seed: int, runs: Path) -> RunResult:
    """One run of one scenario, continued if it is there already."""
    values = quickstart_config(scenario, 10, 0, seed)
    values |= {"name": f"front-{scenario}-{seed}", "methods": methods(scenario)}
    config = parse_config(values)
    voice = Voice(say=lambda text: print(f"{config.name}: {text}", file=sys.stderr))
    finished = execute(config, runs / config.name, "eval", voice)
    if finished.failed or finished.result is None:
        raise SystemExit(f"{config.name}: {finished.failed}")
    return finished.result


def promised(scenario: str, seed: int, runs: Path) -> float:
    """Hypervolume that the targets themselves would have."""
    values = quickstart_config(scenario, 10, 0, seed)
    values |= {"name": f"front-{scenario}-{seed}", "methods": methods(scenario)}
    config = parse_config(values)
    data = read_materials(config, RunFolder(runs / config.name), _base(runs, config)).job_data.data
    pool = Pool.of(data)
    grid = [t.weights for t in lattice(2, 10)]
    rows = select_targets(pool, tradeoffs=grid, k=50, n=655, yardstick="expected")
    means = pool.rewards[rows.index].reshape(len(grid), 655, -1).mean(axis=1)
    return float(hypervolume(means, np.zeros(2)))


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
    ceiling, optimum = known.ceilings[11], known.utility_min
    found = [{m.name: m for m in result.methods} for result in results]
    lines = [
        "| variant | hypervolume, % of the ceiling of 11 points | E[min], % of the optimum | "
        "malformed % | collapsed % | CPU s to train, all trade-offs |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for i, name in enumerate(VARIANTS):
        lines.append(row(name, ceiling, optimum, [numbers(f[f"v{i}"]) for f in found]))
    alone = [together([f[f"a{i}"] for i in range(11)]) for f in found]
    lines.append(row(ALONE, ceiling, optimum, alone))
    lines.append(row(RAY, ceiling, optimum, [numbers(f["ray"]) for f in found]))
    lines.append(row(DPO, ceiling, optimum, [numbers(f["dpo"]) for f in found]))
    data = interval([100 * promised(scenario, s, runs) / ceiling for s in range(len(results))], 1)
    return "\n".join(lines) + f"\n\nThe targets themselves would have {data} % (k = 50)."


def main() -> None:
    """Run every scenario and seed; print, and write when asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--scenarios", default="A,B")
    parser.add_argument("--runs", type=Path, default=Path("runs/front"))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    parts = [
        "# Front imitation: what it needs\n\n"
        f"Made by `OMP_NUM_THREADS=1 python benchmarks/front_imitation.py --seeds {args.seeds}` on "
        f"{date.today().isoformat()}, {platform.machine()}: mean ± half of a 95 % t interval over "
        f"{args.seeds} seeds (own base, corpus, comparisons and order), 11 trade-offs, held-out "
        "prompts, temperature 1. How it works: [explanation](../explanation/front-imitation.md)."
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
