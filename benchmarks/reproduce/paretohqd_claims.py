"""Preference rays, the second stage, few rows and few layers, on the embedded world."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from fspo_numbers import CHEBYSHEV, HYPERVOLUME, SMALLEST, Gap, gap, middle, signed
from pagetext import interval, table
from paretohqd_budget import Budget
from paretohqd_scores import (
    ALL,
    HOW,
    TUNED,
    YARDSTICKS,
    absolute,
    between,
    beyond,
    chosen,
    differences,
    is_idle,
    names_of,
    of,
    short,
    told,
    values,
)
from paretohqd_selection import ALL_ROWS, CLOUDS, FEWEST, measured
from paretohqd_selection import RAY as DEEP
from paretohqd_verdicts import Gaps, layers_verdict, rows_verdict, stage_verdict, verdict
from paretohqd_world import (
    BATCH,
    BOTH,
    EVERY,
    FEW,
    GRID,
    LAYERS,
    LINEAR,
    RAY,
    SIZES,
    STAGE_2_PROMPTS,
    STEPS,
    K,
    Runs,
    World,
    rows,
)
from section import Section

from paretune.core.results import PointResult, RunResult


def sections(
    budget: Budget, world: World, comparison: Runs, folder: Path | None = None
) -> list[Section]:
    """In the order of the page; sections without a run are left out."""
    found = []
    if world.main:
        found += [policies(world.main), second_stage(world.main, comparison, folder)]
    if world.sizes:
        found += [few_rows(world.sizes)]
    return [*found, few_layers(budget, world.sizes)]


def policies(runs: Runs) -> Section:
    """The ablation of the preference direction, trained."""
    found = between(runs, RAY, LINEAR)
    return Section(
        "Policies of preference rays beat those of weighted sums",
        "Key design 1; ablation of the preference direction",
        f"ray less weighted sum, points: {_all_told(found)}",
        verdict(found, "no difference in its favor beyond chance"),
        "\n\n".join([
            f"{GRID + 1} trade-offs, one stage, k = {K}, {STEPS} steps of {BATCH}; rays choose "
            "among the fewest layers that hold k responses, weighted sums among all. " + HOW,
            absolute(runs, (RAY, LINEAR)),
            "Ray less weighted sum, paired by seed (`*`: beyond chance):",
            differences(found),
            "Mean rewards at each trade-off, mean over seeds:",
            *(_tradeoffs(scenario, r, (RAY, LINEAR)) for scenario, r in runs.items()),
            "Trade-offs that select the same responses share a policy, and weighted sums select "
            "the ends of a front again and again. The dent of section 1 is symmetric, so there "
            "the even weights select both ends, and the mixture of both earns much; on B one end "
            "has the larger sum and gets the even weights too, so by means weighted sums lose as "
            "well. They choose among all responses here; within the layers alone they were not "
            "trained.",
        ]),
    )  # fmt: skip


def _tradeoffs(scenario: str, runs: Sequence[RunResult], names: Sequence[str]) -> str:
    weights = [p.tradeoff for p in runs[0].methods[0].points]
    table_rows = []
    for name in names_of(runs, names):
        methods = [m for m in (of(run, name) for run in runs) if m is not None]
        means = np.mean([[[x.value for x in p.means] for p in m.points] for m in methods], axis=0)
        table_rows.append([name, *(f"({', '.join(f'{x:.2f}' for x in point)})" for point in means)])
    heads = [f"{w[0]:g} / {w[1]:g}" for w in weights]
    return table([f"{scenario}: {' / '.join(runs[0].objectives)}", *heads], table_rows)


def _all_told(found: Gaps) -> str:
    measures = dict.fromkeys(measure for _, measure in found)
    return "; ".join(told(found, measure) for measure in measures)


def second_stage(runs: Runs, comparison: Runs, folder: Path | None = None) -> Section:
    """Whether stage 2 pays."""
    found = between(runs, BOTH, RAY)
    parts = [
        f"The same first stage; then the policies of both corners and of the even trade-off reply "
        f"to {STAGE_2_PROMPTS['A']} (A) and {STAGE_2_PROMPTS['B']} (B) training prompts, and each "
        f"policy goes on with the {K // 2} replies nearest to its ray.",
        absolute(runs, (RAY, BOTH)),
        "Both stages less the first alone, paired by seed:",
        differences(found),
    ]
    tuned = between(comparison, TUNED["two"], TUNED["one"])
    if tuned:
        parts += [
            "In the comparison of all methods, each with its own best of four settings, 11 "
            "trade-offs:",
            differences(tuned),
        ]
        settings = chosen(folder, (TUNED["one"], TUNED["two"]))
        if settings:
            parts.append(
                "Settings chosen: "
                + "; ".join(
                    f"{scenario} " + ", ".join(f"{name} {said}" for name, said in methods.items())
                    for scenario, methods in settings.items()
                )
                + ". The second stage takes half of k. Where both have the same settings, the "
                "stage is all that differs; elsewhere its gain is that of the stage and of "
                "another k."
            )
    parts.append(
        "The replies of three policies are all that the second stage can choose from, so the "
        "trade-offs between them are trained on the tails of their neighbors."
    )
    return Section(
        "A second stage on own replies mitigates overfitting and improves the front",
        "Key design 3; ablation of the stages",
        f"both stages less the first, points, {K} and {K // 2} rows: {_all_told(found)}"
        + (f"; settings searched: {_all_told(tuned)}" if tuned else ""),
        stage_verdict(found, tuned),
        "\n\n".join(parts),
    )


def few_rows(runs: Runs) -> Section:
    """A hundred responses a trade-off."""
    names = [rows(k) for k in SIZES]
    found = {
        name: between(runs, name, rows(K), YARDSTICKS[:2]) for name in names if name != rows(K)
    }
    every = {key: g for s, r in runs.items() for key, g in _less_every(s, r).items()}
    passes = ", ".join(f"{STEPS * BATCH / k:.1f}" for k in SIZES)
    return Section(
        "A hundred responses a trade-off suffice, and all responses do worse",
        "Key design 2; ablation of the full dataset",
        "; ".join(
            f"{short(m.name)}, %, at k = {', '.join(map(str, SIZES))}: " + ", ".join(
                f"{scenario} " + " / ".join(interval(values(r, n, m), 0) for n in names)
                for scenario, r in runs.items()
            )
            for m in YARDSTICKS[:2]
        ),
        rows_verdict(found, every),
        "\n\n".join([
            f"{FEW + 1} trade-offs, one stage, always {STEPS} steps of {BATCH}: {passes} passes "
            f"over k = {', '.join(map(str, SIZES))} responses. The layers are the fewest that hold "
            "k, so more responses are also worse ones.",
            absolute(runs, names),
            f"Less k = {K}, paired by seed:",
            _against_k(found),
            "The even trade-off alone, and one policy of all responses, at the same steps "
            "(`smallest`: per reply, in percent of the best policy's; `reference`: not trained):",
            *(_middles(scenario, r, names) for scenario, r in runs.items()),
            f"k = {K} less all responses, even trade-off, points of percent: {_all_told(every)}. "
            "Fewer steps than one pass over all responses, so they move little from where the "
            "policy started; a longer training, as the paper's, was not made.",
        ]),
    )  # fmt: skip


def _against_k(found: Mapping[str, Gaps]) -> str:
    table_rows = []
    for name, gaps in found.items():
        for scenario in dict.fromkeys(s for s, _ in gaps):
            cells = [signed(gaps[scenario, m.name], 1) for m in YARDSTICKS[:2]]
            table_rows.append([name, scenario, *cells])
    return table(["rows", "scenario", *(m.name for m in YARDSTICKS[:2])], table_rows, 2)


def _middles(scenario: str, runs: Sequence[RunResult], names: Sequence[str]) -> str:
    axes = runs[0].objectives
    table_rows = []
    for name in ["reference", EVERY, *names]:
        points = [_even(run, name) for run in runs]
        if any(point is None for point in points):
            continue
        kept = [point for point in points if point is not None]
        best = [run.known.utility_min if run.known else None for run in runs]
        smallest = [100 * p.utility_min.value / (b or np.nan)
                    for p, b in zip(kept, best, strict=True)]  # fmt: skip
        means = [interval([p.means[i].value for p in kept]) for i in range(len(axes))]
        table_rows.append([name, *means, interval(smallest, 1)])
    return table([f"scenario {scenario}", *axes, "smallest, %"], table_rows)


def _less_every(scenario: str, runs: Sequence[RunResult]) -> dict[tuple[str, str], Gap]:
    """The paper's number of rows less all rows at the even trade-off, points of percent."""
    pairs = [(_even(run, rows(K)), _even(run, EVERY), run) for run in runs]
    kept = [(k, e, run) for k, e, run in pairs if k is not None and e is not None]
    if not kept:
        return {}
    found = {}
    for i, objective in enumerate(runs[0].objectives):
        two = zip(*((100 * k.means[i].value, 100 * e.means[i].value) for k, e, _ in kept),
                  strict=True)  # fmt: skip
        found[scenario, f"mean {objective}"] = gap(*(list(side) for side in two))
    best = [run.known.utility_min if run.known and run.known.utility_min else np.nan
            for _, _, run in kept]  # fmt: skip
    smallest = [[100 * p[side].utility_min.value / b for p, b in zip(kept, best, strict=True)]
                for side in (0, 1)]  # fmt: skip
    found[scenario, "smallest reward of a reply"] = gap(*smallest)
    return found


def _even(run: RunResult, name: str) -> PointResult | None:
    if name == "reference":
        return run.reference.points[0] if run.reference else None
    method = of(run, name)
    return middle(method) if method else None


def few_layers(budget: Budget, runs: Runs) -> Section:
    """How many layers the top few are."""
    clouds = measured(budget)
    columns = ("means", "E[min]", "Chebyshev", "distinct")
    on_clouds = {
        (name, c): gap(clouds[name, DEEP][c], clouds[name, FEWEST][c])
        for name in CLOUDS
        for c in columns[:3]
    }
    against_all = {
        (name, c): gap(clouds[name, DEEP][c], clouds[name, ALL_ROWS][c])
        for name in CLOUDS
        for c in columns[:3]
    }
    table_rows = [
        [name, label, *(interval(clouds[name, label][c], 2 if c == "distinct" else 1)
                        for c in columns)]
        for name in CLOUDS for label in (FEWEST, DEEP, ALL_ROWS)
    ]  # fmt: skip
    parts = [
        "The paper takes the top few layers. Two rules: the fewest that hold k responses, and the "
        f"fewest that hold {5 * budget.k} of {budget.rows:,}. Rewards alone, as in section 1:",
        table(["front", "layers", *columns], table_rows, 2),
        f"Layers of 5 k less fewest: {_all_told(on_clouds)}. Layers of 5 k less all rows, by "
        f"distance to the ray alone: {_all_told(against_all)}.",
    ]
    found = between(runs, LAYERS, rows(K), (HYPERVOLUME, SMALLEST, CHEBYSHEV))
    if found:
        parts += [
            "On the world rewards are discrete and many replies share one, so a layer holds "
            f"hundreds. {FEW + 1} trade-offs:"
            + (
                " both rules select the same responses, so nothing differs and nothing is tested."
                if is_idle(found)
                else ""
            ),
            absolute(runs, (rows(K), LAYERS), ALL),
            f"Layers of {5 * K} less fewest, paired by seed:",
            differences(found),
        ]
    parts.append(
        "The distance to the ray ignores dominance: once more layers are in, a dominated reply on "
        "the ray beats a better one beside it. But where a thin continuous front has few "
        "responses, the fewest layers give neighboring trade-offs the same rows (`distinct`). The "
        "default is the fewest; `min_rows` asks for more."
    )
    wins = beyond(on_clouds, 1)
    return Section(
        "Responses of the top few layers are the ones to learn from",
        "Key design 2",
        "rewards alone, points of the means' hypervolume: layers of 5 k less all rows "
        f"{_only(against_all, 'means')}; layers of 5 k less fewest {_only(on_clouds, 'means')}"
        + (f"; world {_all_told(found)}" if found and not is_idle(found) else ""),
        layers_verdict(wins, found),
        "\n\n".join(parts),
    )


def _only(found: Gaps, measure: str) -> str:
    return told(found, measure).removeprefix(f"{short(measure)} ")
