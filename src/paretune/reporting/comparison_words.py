"""What a comparison found, in sentences made from its numbers."""

from __future__ import annotations

from paretune.core.comparison_results import ComparisonResult, MethodComparison
from paretune.reporting.comparison_tables import YARDSTICKS, plus_minus, shown_measure
from paretune.reporting.plain import one_line
from paretune.reporting.wording import listing, percent, seconds, several

SURE = 0.95
"""From this probability on, one method is said to beat another."""

_TITLES = {
    "hypervolume": "On average rewards (hypervolume)",
    "utility_min": "In single replies (E[min])",
}
_POSSIBLE = {"hypervolume": "of what is attainable", "utility_min": "of the optimum"}


def what_was_compared(result: ComparisonResult) -> str:
    """The comparison in two sentences."""
    return (
        f"{several(len(result.methods), 'method')} on {listing(result.objectives)}, each trained "
        f"and measured on {several(len(result.seeds), 'seed')} of the same base, data, generation "
        f"settings and {several(result.n_prompts, 'prompt')}. Every method could try up to "
        f"{several(result.budget, 'setting')} on validation prompts and a seed of their own; ± is "
        "half of a 95 % t interval over seeds."
    )


def findings(result: ComparisonResult) -> list[str]:
    """Who leads on each yardstick and how surely, what was cheapest, what failed."""
    said = [text for y in YARDSTICKS if (text := _leader(result, y)) is not None]
    leaders = {y: leader(result, y) for y in YARDSTICKS}
    names = {m.name for m in leaders.values() if m is not None}
    if len(names) == 1 and len(result.methods) > 1:
        said.append(f"Both yardsticks name {names.pop()}.")
    elif len(names) == 2:
        said.append(
            "The yardsticks disagree: averages reward a policy that answers now one way, now the "
            "other; a reader of one reply gains nothing from that."
        )
    if (text := _price(result)) is not None:
        said.append(text)
    said += [f"{one_line(m.name, 40)} is left out: {m.failed}" for m in result.methods if m.failed]
    return [one_line(text, 600) for text in said]


def leader(result: ComparisonResult, yardstick: str) -> MethodComparison | None:
    """The method with the largest mean; ``None`` when all failed."""
    measure = shown_measure(result, yardstick)
    found = [m for m in result.methods if measure in m.intervals]
    return max(found, key=lambda m: m.intervals[measure].value, default=None)


def rivals(result: ComparisonResult, yardstick: str) -> list[tuple[str, float]]:
    """Methods that the leader does not surely beat, and how surely it does, closest first."""
    best = leader(result, yardstick)
    if best is None:
        return []
    found = [
        (d.second, d.probability)
        for d in result.duels
        if d.measure == yardstick and d.first == best.name and d.probability < SURE
    ]
    return sorted(found, key=lambda pair: pair[1])


def _leader(result: ComparisonResult, yardstick: str) -> str | None:
    best = leader(result, yardstick)
    if best is None:
        return None
    measure = shown_measure(result, yardstick)
    reached = plus_minus(best.intervals[measure], 100, 1)
    possible = _POSSIBLE[yardstick] if measure.endswith("_share") else "of the box"
    text = f"{_TITLES[yardstick]} {best.name} leads with {reached} % {possible}"
    close = rivals(result, yardstick)
    n_others = sum(d.measure == yardstick and d.first == best.name for d in result.duels)
    if not n_others:
        return f"{text}."
    if not close:
        return (
            f"{text}, ahead of every other method with at least {percent(SURE)} probability"
            f"{_few_seeds(result)}."
        )
    names = listing([f"{name} ({percent(p)})" for name, p in close])
    return f"{text}; seeds and prompts cannot tell it from {names}."


def _few_seeds(result: ComparisonResult) -> str:
    """Said where so few seeds could agree by chance."""
    n = len(result.seeds)
    if 0.5**n <= 1 - SURE:
        return ""
    return (
        f" over these seeds; but between equals {n} seeds agree by chance in 1 of {2 ** (n - 1)} "
        "cases"
    )


def _price(result: ComparisonResult) -> str | None:
    """The cheapest training, and the cheapest within five points of each leader."""
    priced = {
        m.name: m.intervals["train_seconds"].value
        for m in result.methods
        if "train_seconds" in m.intervals and m.intervals["train_seconds"].value > 0
    }
    if len(priced) < 2:
        return None
    low, high = min(priced, key=priced.__getitem__), max(priced, key=priced.__getitem__)
    return (
        f"Training cost from {seconds(priced[low])} of CPU ({low}) to {seconds(priced[high])} "
        f"({high}) for all trade-offs, the search not counted."
    )
