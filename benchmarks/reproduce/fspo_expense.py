"""Whether an objective pays for another: policies below the reference on what they are to raise."""

from __future__ import annotations

import numpy as np
from fspo_numbers import Floats, listed
from fspo_scores import World, fallen
from pagetext import interval, table
from section import Section


def _over_seeds(column: Floats) -> str:
    """Without seeds that say nothing."""
    known = column[~np.isnan(column)]
    return interval(known, 0) if known.size else "-"


def section(world: World) -> Section:
    """The claim of Sec. 3.6 on Pareto efficiency."""
    rows, by_method = [], {}
    for method in world.methods:
        pooled = []
        for scenario, runs in world.runs.items():
            found = 100 * np.array([fallen(run, method) for run in runs])
            pooled.append(found)
            rows.append([scenario, method, *(_over_seeds(column) for column in found.T)])
        by_method[method] = np.mean([np.nanmean(found, axis=0) for found in pooled], axis=0)
    columns = ["scenario", "scalarizer", "below", "below its interval", "by more than .1",
               "the same, none broken", "even trade-off"]  # fmt: skip
    means = [[m, *(f"{x:.0f}" for x in found)] for m, found in by_method.items()]
    severe, whole = ({m: found[i] for m, found in by_method.items()} for i in (2, 3))
    least, most = min(severe, key=severe.__getitem__), max(severe, key=severe.__getitem__)
    body = (
        "Share of policies, in percent, with an objective of positive weight whose mean reward is "
        "lower than the reference's: at all, by more than the policy's bootstrap interval, by "
        "more than a tenth of the range; the same among the policies that still write well-formed "
        "replies; the last column is the even trade-off's policy alone, in percent of seeds. No "
        "scalarizer of the report mentions the reference, so none has a reason to stay above it; "
        "a floor does (`mopo`).\n\n"
        f"{table(columns, rows, 2)}\n\nMean over scenarios:\n\n"
        + table(["scalarizer", *columns[2:]], means)
    )
    even = {m: found[4] for m, found in by_method.items()}
    verdict = "does not hold: with every scalarizer some objective falls by more than .1"
    if not any(severe.values()):
        verdict = "holds"
    elif not any(whole.values()):
        verdict = "holds only if: policies do not break"
    elif min(whole.values()) == 0:
        safe = [m for m, x in whole.items() if not x]
        verdict = f"holds only if: the scalarizer is {listed(safe)}, and policies do not break"
    return Section(
        "An improvement in one dimension does not come at the expense of the others",
        "Sec. 3.6",
        f"policies that push an objective of positive weight more than .1 below the reference: "
        f"{severe[least]:.0f} % ({least}) to {severe[most]:.0f} % ({most}), without broken ones "
        f"{min(whole.values()):.0f} to {max(whole.values()):.0f} %; even trade-offs with "
        f"an objective below it: {min(even.values()):.0f} to {max(even.values()):.0f} %",
        verdict,
        body,
    )
