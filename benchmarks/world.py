"""Every method on the embedded world, several seeds, against the exactly known front.

    OMP_NUM_THREADS=1 python benchmarks/world.py --seeds 3 --out docs/world.md

Each seed draws its own base model, corpus, comparisons and training order. Prints a Markdown table
a scenario: mean over seeds with a 95 % t interval, as a share of what is attainable.
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
from paretune.core.results import MethodResult, RunResult
from paretune.functional.statistics import t_interval
from paretune.pipeline.config import parse_config
from paretune.pipeline.run import Voice, execute

PAIRS: dict[str, Any] = {"beta": 0.25, "train": {"learning_rate": 4e-4}, "tradeoffs": {"grid": 5}}
HEADS: dict[str, Any] = {"steps": 400, "lag": None, "train": {"learning_rate": 1e-3}}
METHODS: list[dict[str, Any]] = [
    {"method": "sft"},
    {"method": "best_of_n", "n": 4},
    {"method": "rewarded_soups", "beta": 0.5, "train": {"learning_rate": 2e-4}},
    {"method": "dpo", "label": "dpo-weighted", "labels": "weighted", **PAIRS},
    {"method": "dpo", "label": "dpo-mixed", "labels": "mixed", **PAIRS},
    {"method": "dpo", "label": "dpo-agreeing", "labels": "agreeing", **PAIRS},
    {"method": "pareto_hqd", "label": "pareto_hqd-stage-1", "stages": 1},
    {"method": "pareto_hqd", "label": "pareto_hqd-stages-1-2", "stage2_prompts": 480},
    {"method": "pareto_hqd", "label": "pareto_hqd-linear", "stages": 1, "select": "linear",
     "pool": "all"},
    {"method": "mopo", "label": "mopo-logged", **HEADS},
    {"method": "mopo", "label": "mopo-own-replies", "candidates": 12, **HEADS},
]  # fmt: skip


def run_seed(scenario: str, seed: int, runs: Path) -> RunResult:
    """One run of one scenario, continued if it is there already."""
    values = quickstart_config(scenario, 10, 0, seed)
    values |= {"name": f"world-{scenario}-{seed}", "methods": METHODS}
    config = parse_config(values)
    voice = Voice(say=lambda text: print(f"{config.name}: {text}", file=sys.stderr))
    finished = execute(config, runs / config.name, "eval", voice)
    if finished.failed or finished.result is None:
        raise SystemExit(f"{config.name}: {finished.failed}")
    return finished.result


def table(results: list[RunResult]) -> str:
    """A row a method: means over seeds with intervals."""
    known = results[0].known
    assert known is not None and known.utility_min is not None
    lines = [
        "| method | hypervolume, % of attainable | E[min], % of optimum | Chebyshev | steers | "
        "collapsed % | malformed % | CPU s to train |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for place in range(len(results[0].methods)):
        seeds = [result.methods[place] for result in results]
        steers = [
            interval([m.controllability[i] or 0.0 for m in seeds], 2)
            for i in range(len(results[0].objectives))
        ]
        cells = [
            seeds[0].name,
            interval([100 * value(m, "hypervolume") / known.hypervolume for m in seeds], 1),
            interval([100 * value(m, "utility_min") / known.utility_min for m in seeds], 1),
            interval([value(m, "utility_chebyshev") for m in seeds], 3),
            " / ".join(steers),
            interval([100 * mean(m, "total") for m in seeds], 1),
            interval([100 * mean(m, "malformed") for m in seeds], 1),
            interval([m.cost.train_seconds for m in seeds], 0),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


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


def main() -> None:
    """Run every scenario and seed; print, and write when asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--scenarios", default="A,B")
    parser.add_argument("--runs", type=Path, default=Path("runs/world"))
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    parts = [
        "# Methods on the embedded world\n\n"
        f"Made by `OMP_NUM_THREADS=1 python benchmarks/world.py --seeds {args.seeds}` on "
        f"{date.today().isoformat()}, {platform.machine()}: mean ± half of a 95 % t interval over "
        f"{args.seeds} seeds (own base, corpus, comparisons and order); 11 trade-offs, `dpo` 6."
    ]
    for scenario in args.scenarios.split(","):
        results = [run_seed(scenario, seed, args.runs) for seed in range(args.seeds)]
        axes = " and ".join(results[0].objectives)
        parts.append(f"## Scenario {scenario}: {axes}\n\n{table(results)}")
    text = "\n\n".join(parts) + "\n"
    print(text)
    if args.out:
        args.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
