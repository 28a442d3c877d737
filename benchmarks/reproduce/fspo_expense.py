"""Whether an objective pays for another: policies below the reference on what they are to raise."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from fspo_numbers import Floats, listed
from fspo_scores import World, fallen
from pagetext import interval, table
from section import Section


def _over_seeds(column: Floats) -> str:
    """Without seeds that say nothing."""
    known = column[~np.isnan(column)]
    return interval(known, 0) if known.size else "-"


def _range(values: Iterable[float]) -> str:
    """Smallest to largest, one number if they are alike.

    Example:
        >>> _range([1.2, 2.6]), _range([1.2, 1.3])
        ('1 to 3', '1')
    """
    found = list(values)
    low, high = (f"{x:.0f}" for x in (min(found), max(found)))
    return low if low == high else f"{low} to {high}"


def section(world: World) -> Section:
    """The claim of Sec. 3.6 on Pareto efficiency."""
    found = {
        (scenario, method): 100 * np.array([fallen(run, method) for run in runs])
        for scenario, runs in world.runs.items()
        for method in world.methods
    }
    rows = [[*key, *(_over_seeds(column) for column in values.T)] for key, values in found.items()]
    by_method = {
        method: np.mean([np.nanmean(found[s, method], axis=0) for s in world.scenarios], axis=0)
        for method in world.methods
    }
    columns = ["scenario", "scalarizer", "below", "below its interval", "by more than .1",
               "the same, none broken", "even trade-off"]  # fmt: skip
    means = [[m, *(f"{x:.0f}" for x in shares)] for m, shares in by_method.items()]
    severe, whole = ({m: x[i] for m, x in by_method.items()} for i in (2, 3))
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
    even = {m: x[4] for m, x in by_method.items()}
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
        f"{_range(whole.values())} %; even trade-offs with "
        f"an objective below it: {_range(even.values())} %",
        verdict,
        body,
    )
