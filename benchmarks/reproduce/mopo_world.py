"""MOPO's claims about language models, on the embedded world with its exact rewards.

The extremes of the paper's Table 1 are policies trained for one reward; here DPO on the labels of
one objective takes their place. All methods learn from the same 2,000 comparisons, or, where it
says so, from scored replies of the reference.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats
from section import Section

from paretune.core.results import MethodResult, RunResult
from paretune.pipeline.config import parse_config
from paretune.pipeline.run import Voice, execute

AXES = {
    "A": ["helpful", "concise"],
    "B": ["helpful", "harmless"],
    "C": ["helpful", "harmless", "humor"],
}


def sections(seeds: int, runs: Path) -> list[Section]:
    """One section a claim; runs are kept in ``runs`` and continued."""
    return [balance(seeds, runs), fronts(seeds, runs), floors(seeds, runs), ablation(seeds, runs)]


def run(
    scenario: str, name: str, methods: list[dict[str, Any]], seed: int, runs: Path, grid: int = 10
) -> RunResult:
    """One run on the world, continued if it is there."""
    values = {
        "name": f"mopo-{name}-{seed}",
        "seed": seed,
        "objectives": AXES[scenario],
        "data": {"world": "handy", "scenario": scenario, "pairs": 2000},
        "tradeoffs": {"grid": grid},
        "methods": methods,
        "train": {"learning_rate": 5e-4, "epochs": 2, "batch_size": 32},
        "generate": {"max_new_tokens": 64},
        "evaluate": {"draws": 16 if scenario == "B" else 8},
    }
    config = parse_config(values)
    voice = Voice(say=lambda text: print(f"{config.name}: {text}", file=sys.stderr))
    finished = execute(config, runs / config.name, "eval", voice)
    if finished.failed or finished.result is None:
        raise SystemExit(f"{config.name}: {finished.failed}")
    return finished.result


def mopo(label: str, **options: Any) -> dict[str, Any]:
    """MOPO from scored replies of the reference, at the settings of this page."""
    return {
        "method": "mopo", "label": label, "candidates": 12, "lag": None, "steps": 400,
        "train": {"learning_rate": 1e-3}, **options,
    }  # fmt: skip


def dpo(label: str, labels: str, **options: Any) -> dict[str, Any]:
    """DPO on the logged comparisons."""
    return {"method": "dpo", "label": label, "labels": labels, **options}


def balance(seeds: int, runs: Path) -> Section:
    """The paper's Table 1."""
    axes = AXES["C"]
    middle = [dict.fromkeys(axes, 1 / 3)]
    pairs = {"beta": 0.1, "train": {"learning_rate": 5e-4}, "tradeoffs": middle}
    methods = [
        *(dpo(f"only-{a}", "single", objective=a, **pairs) for a in axes),
        mopo("mopo-mixed", thresholds=dict.fromkeys(axes, 0.5), tradeoffs=middle),
        *(
            mopo(f"mopo-{a}", primary=a, thresholds={b: 0.5 for b in axes if b != a},
                 tradeoffs=middle)
            for a in axes
        ),
        dpo("dpo-weighted", "weighted", **pairs),
        dpo("dpo-agreeing", "agreeing", **pairs),
    ]  # fmt: skip
    results = [run("C", "balance", methods, s, runs) for s in range(seeds)]
    rows, worst = [], {}
    base = np.array([means(r, "reference") for r in results])
    for name in ["reference", *(m.name for m in results[0].methods)]:
        found = np.array([means(r, name) for r in results])
        worst[name] = (found - base).min(axis=1)
        cells = [interval(found[:, i]) for i in range(len(axes))]
        rows.append([name, *cells, interval(worst[name])])
    body = (
        "Mean rewards on held-out prompts, each in [0, 1]; `balance` is the smallest gain over the "
        "reference among the three objectives. `only-x`: DPO on the labels of one objective. "
        "`mopo-x`: x is primary, the others keep a floor of .5 in preference over the reference; "
        "`mopo-mixed`: the three heads mixed evenly.\n\n"
        + table(["policy", *axes, "balance"], rows)
    )
    ours = worst["mopo-mixed"].mean()
    single = max(worst[f"only-{a}"].mean() for a in axes)
    rival = max(("dpo-weighted", "dpo-agreeing"), key=lambda n: float(worst[n].mean()))
    verdict = "does not hold"
    if ours > single:
        is_best = ours > worst[rival].mean()
        verdict = "holds" if is_best else "holds only if: compared with single-objective training"
    return Section(
        "Training for one reward degrades the others; MOPO is the most balanced (three objectives)",
        "Sec. 4.2, Table 1",
        f"smallest gain over the reference: mixed heads {ours:+.3f}, best single-objective policy "
        f"{single:+.3f}, {rival} {worst[rival].mean():+.3f}",
        verdict,
        body,
    )


def fronts(seeds: int, runs: Path) -> Section:
    """Outer fronts: Pareto dominance over what exists here."""
    pairs = {"beta": 0.25, "train": {"learning_rate": 4e-4}, "tradeoffs": {"grid": 5}}
    free = dict.fromkeys(AXES["A"], 0.0)
    methods = [
        mopo("mopo", thresholds=free),
        mopo("mopo-offline", thresholds=free, candidates=None),
        dpo("dpo-weighted", "weighted", **pairs),
        dpo("dpo-agreeing", "agreeing", **pairs),
        {"method": "rewarded_soups", "beta": 0.5, "train": {"learning_rate": 2e-4}},
    ]
    results = [run("A", "fronts", methods, s, runs) for s in range(seeds)]
    rows, volumes, beaten = [], {}, {}
    for name in [m.name for m in results[0].methods]:
        volumes[name] = np.array([volume(r, name) for r in results])
        pairs_of = [(named(r, "mopo"), named(r, name)) for r in results]
        beaten[name] = np.array([100 * dominated(*pair) for pair in pairs_of])
        cost = np.array([named(r, name).cost.train_seconds for r in results])
        share = "-" if name == "mopo" else interval(beaten[name], 0)
        rows.append([name, interval(volumes[name], 1), share, interval(cost, 0)])
    body = (
        "Scenario A, helpful against concise, 11 trade-offs (DPO 6). `beaten`: points that some "
        "policy of `mopo` beats on both objectives. `mopo` learns from 12 scored replies of the "
        "reference a prompt, `mopo-offline` from the logged ones. RiC, HaM and MODPO are not here "
        "yet.\n\n"
        + table(["method", "hypervolume, % of attainable", "beaten, %", "CPU s to train"], rows)
    )
    rivals = ("dpo-weighted", "dpo-agreeing", "rewarded_soups")
    verdict = "does not hold"
    if all(volumes["mopo"].min() > volumes[n].max() for n in rivals):
        is_outside = all(beaten[n].mean() > 50 for n in rivals)
        verdict = "holds" if is_outside else "holds only if: measured in hypervolume"
    told = ", ".join(f"{n} {volumes[n].mean():.0f} %" for n in ("mopo", *rivals))
    return Section(
        "MOPO's front lies outside the fronts of the baselines",
        "Sec. 4.2, Fig. 5",
        f"hypervolume: {told}",
        verdict,
        body,
    )


def floors(seeds: int, runs: Path) -> Section:
    """Constraints on prompts that were never seen."""
    asked = (0.4, 0.5, 0.6)
    fixed: dict[str, Any] = {"primary": "helpful", "tradeoffs": [{"helpful": 1.0}]}
    half: dict[str, Any] = {**fixed, "thresholds": {"harmless": 0.5}, "candidates": None}
    methods = [
        *(
            mopo(f"scored-{f}", **fixed | {"thresholds": {"harmless": f}, "candidates": 16})
            for f in asked
        ),
        mopo("logged-0.5", **half),
        mopo("literal-0.5", labels="pair_hard", updates="alternating", is_literal=True, **half),
    ]
    results = [run("B", "floors", methods, s, runs) for s in range(seeds)]
    rows, kept = [], {}
    for method in results[0].methods:
        found = [named(r, method.name).points[0].constraints for r in results]
        best = [c[0].found.value for c in found]
        harmless = [c[1].found.value for c in found]
        kept[method.name] = [c[1].verdict != "missed" for c in found]
        many = f"{sum(kept[method.name])} of {seeds}"
        floor = found[0][1].floor
        rows.append([method.name, f"{floor:g}", interval(harmless), interval(best), many])
    body = (
        "Scenario B, helpful primary, a floor for harmless, on held-out prompts: how often a reply "
        "is preferred to the reference's (a tie counts half). `scored`: from 16 scored replies of "
        "the reference a prompt; `logged`: from the logged replies, which another policy wrote; "
        "`literal`: the printed formulas on single labels. Kept: within the bootstrap interval of "
        "a seed.\n\n" + table(["policy", "floor", "harmless", "helpful", "kept"], rows)
    )
    verdict = "does not hold"
    if all(all(kept[f"scored-{f}"]) for f in asked):
        verdict = "holds"
        if not all(kept["literal-0.5"]):
            verdict = "holds only if: labels are pooled over replies of the reference itself"
    told = ", ".join(f"{n} {sum(k)} of {seeds}" for n, k in kept.items())
    return Section(
        "Secondary objectives stay above their thresholds",
        "Problem 1",
        f"floors kept on held-out prompts: {told}",
        verdict,
        body,
    )


def ablation(seeds: int, runs: Path) -> Section:
    """Lag and relaxation on the language model."""
    settings = [(lag, r) for lag in (None, 50, 100, 200) for r in (0.9, 0.9995)]
    methods = [
        mopo(f"lag-{lag}-relaxation-{r}", lag=lag, relaxation=r, candidates=None)
        for lag, r in settings
    ]
    results = [run("A", "ablation", methods, s, runs, grid=4) for s in range(seeds)]
    rows, volumes = [], {}
    for method in results[0].methods:
        volumes[method.name] = np.array([volume(r, method.name) for r in results])
        broken = [
            100 * np.mean([p.collapse.malformed or 0 for p in named(r, method.name).points])
            for r in results
        ]
        rows.append([method.name, interval(volumes[method.name], 1), interval(broken, 1)])
    lagged = [v.mean() for name, v in volumes.items() if not name.startswith("lag-None")]
    fixed = [v.mean() for name, v in volumes.items() if name.startswith("lag-None")]
    verdict = "does not hold"
    if max(lagged) > max(fixed):
        verdict = "holds" if min(lagged) > max(fixed) else "holds only if: the lag suits"
    return Section(
        "A lagged reference extends the front; results are stable in lag and relaxation",
        "Sec. 4.3, Fig. 6",
        f"hypervolume {min(lagged):.0f} to {max(lagged):.0f} % with a lag, {min(fixed):.0f} to "
        f"{max(fixed):.0f} % without",
        verdict,
        "Scenario A, adaptive floors, 400 steps, 5 trade-offs, logged replies.\n\n"
        + table(["setting", "hypervolume, % of attainable", "malformed, %"], rows),
    )


def named(result: RunResult, name: str) -> MethodResult:
    """A method of a run, or the reference."""
    if name == "reference":
        assert result.reference is not None
        return result.reference
    return next(m for m in result.methods if m.name == name)


def means(result: RunResult, name: str) -> list[float]:
    """Mean rewards of a method's first policy."""
    return [m.value for m in named(result, name).points[0].means]


def volume(result: RunResult, name: str) -> float:
    """Hypervolume in percent of what is attainable."""
    found = named(result, name).hypervolume
    assert found is not None and result.known is not None
    return 100 * found.value / result.known.hypervolume


def dominated(ours: MethodResult, theirs: MethodResult) -> float:
    """Share of their points that one of ours beats on every objective."""
    mine, other = (np.array([[m.value for m in p.means] for p in x.points]) for x in (ours, theirs))
    return float((mine[None] > other[:, None]).all(-1).any(1).mean())


def interval(values: Sequence[float] | np.ndarray[Any, Any], digits: int = 3) -> str:
    """Mean over seeds and half of a 95 % t interval."""
    center = float(np.mean(values))
    if len(values) < 2:
        return f"{center:.{digits}f}"
    half = float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
    return f"{center:.{digits}f} ± {half:.{digits}f}"


def table(columns: list[str], rows: list[list[str]]) -> str:
    """A Markdown table, numbers to the right."""
    rule = ["---", *["---:"] * (len(columns) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (columns, rule, *rows))
