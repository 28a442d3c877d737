"""Whether an objective pays for another: policies below the reference on what they are to raise."""

from __future__ import annotations

import numpy as np
from fspo_scores import World, fallen
from pagetext import interval, table
from section import Section


def section(world: World) -> Section:
    """The claim of Sec. 3.6 on Pareto efficiency."""
    rows, by_method = [], {}
    for method in world.methods:
        pooled = []
        for scenario, runs in world.runs.items():
            found = 100 * np.array([fallen(run, method) for run in runs])
            pooled.append(found)
            rows.append([scenario, method, *(interval(column, 0) for column in found.T)])
        by_method[method] = np.mean([found.mean(axis=0) for found in pooled], axis=0)
    columns = ["scenario", "scalarizer", "below", "below its interval", "by more than .1",
               "even trade-off"]  # fmt: skip
    means = [[m, *(f"{x:.0f}" for x in found)] for m, found in by_method.items()]
    severe = {m: found[2] for m, found in by_method.items()}
    least, most = min(severe, key=severe.__getitem__), max(severe, key=severe.__getitem__)
    body = (
        "Share of policies, in percent, with an objective of positive weight whose mean reward is "
        "lower than the reference's: at all, by more than the policy's bootstrap interval, by "
        "more than a tenth of the range; the last column is the even trade-off's policy alone, in "
        "percent of seeds. No scalarizer of the report mentions the reference, so none has a "
        "reason to stay above it; a floor does (`mopo`).\n\n"
        f"{table(columns, rows, 2)}\n\nMean over scenarios:\n\n"
        + table(["scalarizer", *columns[2:]], means)
    )
    even = {m: found[3] for m, found in by_method.items()}
    verdict = "does not hold: every scalarizer lets some objective fall by more than .1"
    if not any(severe.values()):
        verdict = "holds"
    elif min(severe.values()) == 0:
        safe = ", ".join(m for m, x in severe.items() if not x)
        verdict = f"holds only if: the scalarizer is {safe}"
    return Section(
        "An improvement in one dimension does not come at the expense of the others",
        "Sec. 3.6",
        f"policies that push an objective of positive weight more than .1 below the reference: "
        f"{severe[least]:.0f} % ({least}) to {severe[most]:.0f} % ({most}); even trade-offs with "
        f"an objective below it: {min(even.values()):.0f} to {max(even.values()):.0f} %",
        verdict,
        body,
    )
