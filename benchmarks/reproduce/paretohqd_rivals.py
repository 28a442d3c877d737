"""ParetoHqD against soups, reinforcement learning and conditioning: front, collapse, cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from fspo_numbers import COLLAPSED, HYPERVOLUME, MALFORMED, listed
from pagetext import half_width, interval, table
from paretohqd_scores import (
    TUNED,
    Floats,
    absolute,
    names_of,
    of,
    span,
    values,
)
from paretohqd_source import HQD, MORLHF, SOUPS
from paretohqd_world import BOTH, GRID, RAY, Runs, World
from paretohqd_world import SOUPS as SOUPS_HERE
from section import Section

from paretune.core.results import RunResult
from paretune.functional.indicators import hypervolume

TWICE = 1.8
"""From here on a ratio is about 2."""
MANY = 30.0
"""Percent of replies that the paper finds collapsed with its baselines."""
WIDENED = 0.05


def sections(world: World, comparison: Runs) -> list[Section]:
    """In the order of the page; what was not run is left out.

    Args:
        world: own runs.
        comparison: finished seeds of the comparison of all methods.
    """
    if not world.main:
        return []
    return [twice(world.main, comparison), collapse(world.main, comparison)]


def ratios(runs: Sequence[RunResult], first: str, second: str) -> tuple[Floats, Floats]:
    """``(seeds,)`` ratio of hypervolumes, in the box of the world and in one of the means.

    The second box is what is usual where no front is known: from the worst to the best mean of
    both methods, widened by 5 %.
    """
    known, own = [], []
    for run in runs:
        methods = of(run, first), of(run, second)
        if methods[0] is None or methods[1] is None:
            continue
        known.append(HYPERVOLUME.number(run, methods[0]) / HYPERVOLUME.number(run, methods[1]))
        means = [np.array([[m.value for m in p.means] for p in x.points]) for x in methods if x]
        low, high = np.concatenate(means).min(axis=0), np.concatenate(means).max(axis=0)
        wide = WIDENED * (high - low)
        own.append(np.divide(*(hypervolume(m, low - wide, high + wide) for m in means)))
    return np.array(known), np.array(own)


def pairs_of(main: Runs, comparison: Runs) -> list[tuple[str, str, Sequence[RunResult], str, str]]:
    """Scenario, what soups, runs, ours, theirs."""
    found: list[tuple[str, str, Sequence[RunResult], str, str]] = []
    groups = (
        ("over-trained", main, (RAY, BOTH), SOUPS_HERE),
        ("tuned", comparison, (TUNED["one"], TUNED["two"]), TUNED["soups"]),
    )
    for kind, found_runs, names, theirs in groups:
        found += [
            (scenario, kind, runs, ours, theirs)
            for scenario, runs in found_runs.items()
            for ours in names
            if len(names_of(runs, (ours, theirs))) == 2
        ]
    return found


def twice(main: Runs, comparison: Runs) -> Section:
    """The headline: hypervolume .7526 against .3605."""
    rows, by_kind = [], dict[str, list[tuple[str, Floats]]]()
    for scenario, kind, runs, ours, theirs in pairs_of(main, comparison):
        known, own = ratios(runs, ours, theirs)
        rows.append([
            scenario, kind, ours, str(len(known)), interval(values(runs, ours, HYPERVOLUME), 1),
            interval(values(runs, theirs, HYPERVOLUME), 1), interval(known, 2), interval(own, 2),
        ])  # fmt: skip
        by_kind.setdefault(kind, []).append((f"{ours} on {scenario}", known))
    said = (
        f"Paper: {HQD.hypervolume} against {SOUPS.hypervolume} for Rewarded Soups, "
        f"{HQD.hypervolume / SOUPS.hypervolume:.2f} times, reference point and scale not known. "
        "Here the box is the world's, reference 0, in percent of what is attainable. "
        f"`Over-trained`: {GRID + 1} trade-offs, soups of experts trained at the learning rate "
        "and steps of the run and beta .1. `Tuned`: the comparison of all methods, 11 trade-offs, "
        "each method with the best of four settings. `Other box`: from the worst to the best mean "
        f"of the two methods, widened by {100 * WIDENED:.0f} %, as one would choose where no "
        "front is known: the same policies, another ratio."
    )
    columns = ["scenario", "soups", "ParetoHqD", "seeds", "ParetoHqD, %", "soups, %", "ratio",
               "ratio, other box"]  # fmt: skip
    return Section(
        "Hypervolume is about twice that of Rewarded Soups",
        "Main table",
        "; ".join(
            f"{kind}: " + ", ".join(f"{name} {interval(r, 2)}" for name, r in found)
            for kind, found in by_kind.items()
        ) or "not measured",
        twice_verdict({k: [r for _, r in found] for k, found in by_kind.items()}),
        f"{said}\n\n{table(columns, rows, 3)}" + missing(comparison),
    )  # fmt: skip


def twice_verdict(by_kind: Mapping[str, Sequence[Floats]]) -> str:
    """From ratios against each kind of soups: the interval must lie above 1, the mean near 2."""
    if not by_kind:
        return "not decided: not measured"
    means = {kind: [float(r.mean()) for r in found] for kind, found in by_kind.items()}
    said = {kind: f"{kind} soups ({span(m, 2)} times)" for kind, m in means.items()}
    near = [kind for kind, m in means.items() if min(m) >= TWICE]
    if len(near) == len(means):
        return "holds"
    if near:
        others = listed([said[kind] for kind in means if kind not in near])
        return f"holds only if: compared with {listed([said[k] for k in near])}; not with {others}"
    larger = all(r.mean() - half_width(r) > 1 for found in by_kind.values() for r in found)
    head = "larger everywhere, not twice: " if larger else ""
    return f"does not hold: {head}against {listed(list(said.values()))}"


def missing(comparison: Runs) -> str:
    """A sentence where the comparison of all methods was not there."""
    if comparison:
        return ""
    return (
        "\n\nThe comparison of all methods was not finished when this page was made, so tuned "
        "baselines are missing here."
    )


def collapse(main: Runs, comparison: Runs) -> Section:
    """7 % against 30 %."""
    measures = (COLLAPSED, MALFORMED)
    names = [TUNED[n] for n in ("one", "two", "soups", "morlhf", "ric")]
    bases = {s: _references(runs) for s, runs in main.items()}
    own = {s: _means(runs, (RAY, BOTH, SOUPS_HERE)) for s, runs in main.items()}
    tuned = {s: _means(runs, names) for s, runs in comparison.items()}
    parts = [
        f"Paper: {HQD.collapsed} % against {SOUPS.collapsed} % (Rewarded Soups) and "
        f"{MORLHF.collapsed} % (MORLHF). `Collapsed`: fewer than 3 words, a loop, or mostly "
        "repeated 4-grams, thresholds ours because the paper's are not known; `malformed`: the "
        "world's grammar refuses the reply, which is stricter. Mean over trade-offs. "
        "Before any training "
        + "; ".join(f"{c:.1f} % collapsed and {m:.1f} % malformed on {s}"
                    for s, (c, m) in bases.items()) + ".",
        absolute(main, (RAY, BOTH, SOUPS_HERE), measures),
    ]  # fmt: skip
    if tuned:
        parts += ["The comparison, each method with the best of four settings:",
                  absolute(comparison, names, measures)]  # fmt: skip
    groups = [("", main, (RAY, BOTH, SOUPS_HERE)), ("tuned, ", comparison, names)]
    said = [
        f"{s}, {kind}" + ", ".join(
            f"{n} {interval(values(r, n, COLLAPSED), 1)}" for n in names_of(r, asked)
        )
        for kind, found, asked in groups
        for s, r in found.items()
    ]  # fmt: skip
    return Section(
        "Few replies collapse (7 %), with all baselines more than 30 %",
        "Main table; key findings",
        f"collapsed, %: {'; '.join(said)}",
        collapse_verdict(own, tuned),
        "\n\n".join(parts) + missing(comparison),
    )


Shares = Mapping[str, Mapping[str, tuple[float, float]]]
"""Scenario and method to percent of replies that collapsed, and that are malformed."""


def _means(runs: Sequence[RunResult], names: Sequence[str]) -> dict[str, tuple[float, float]]:
    return {
        n: (float(values(runs, n, COLLAPSED).mean()), float(values(runs, n, MALFORMED).mean()))
        for n in names_of(runs, names)
    }


def collapse_verdict(own: Shares, tuned: Shares) -> str:
    """Whether everybody else breaks, only who is trained too far, or nobody.

    Args:
        own: with soups that were trained too far.
        tuned: the comparison of all methods; may be empty.
    """
    names = {RAY, BOTH, TUNED["one"], TUNED["two"]}
    ours = [v[0] for found in (own, tuned) for s in found.values() for n, v in s.items()
            if n in names]  # fmt: skip
    rivals = [v[0] for s in tuned.values() for n, v in s.items() if n not in names]
    broken = [v for s in own.values() for n, v in s.items() if n not in names]
    collapsed, malformed = ([v[i] for v in broken] for i in (0, 1))
    few = f"ParetoHqD's replies collapse in {span(ours, 1)} %"
    if max(ours) > HQD.collapsed:
        return f"does not hold: {few}"
    if rivals and min(rivals) > MANY:
        return "holds"
    far = (
        f"of replies of soups trained too far {span(collapsed, 1)} % collapse and "
        f"{span(malformed, 1)} % are malformed"
    )
    after = f"those of tuned baselines in {span(rivals, 1)} %" if rivals else ""
    if min(collapsed) > MANY:
        return "holds only if: baselines are trained too far; " + "; ".join(
            filter(None, (far, after))
        )
    return "does not hold: few is right, but not many: " + ", ".join(
        filter(None, (few, after, far))
    )


def _references(runs: Sequence[RunResult]) -> tuple[float, float]:
    found = [(COLLAPSED.number(r, r.reference), MALFORMED.number(r, r.reference))
             for r in runs if r.reference]  # fmt: skip
    return tuple(np.mean(found, axis=0).tolist()) if found else (np.nan, np.nan)
