"""The report's research question on the embedded world: scalarizers at equal budget."""

from __future__ import annotations

import numpy as np
from fspo_dpo import one_number_gap
from fspo_numbers import ALL, WORST_GAIN, YARDSTICKS, Gap, gap, listed, several, signed
from fspo_scores import BASE, BROKEN, World, corner_gain, middle_wins, one_for_all
from fspo_world import SHAPE
from pagetext import interval, table
from section import Section

HOW = """\
2,000 logged comparisons with a label of 1 or -1 an objective, one policy a trade-off, {seeds} \
seeds; all scalarizers see the same pairs, steps and prompts. In percent of the best that any \
policy could reach, computed exactly: `hypervolume` of mean rewards, `E[min]` (per reply the \
smallest reward, best policy), `Chebyshev` (per reply, what a user of the trade-off gets where the \
worst weighted shortfall decides, mean over trade-offs). `Worst gain`, `mean gain`: smallest and \
mean gain over the reference at the even trade-off, in percent of a reward's range. `Control`: \
rank correlation of weight and mean reward over trade-offs, mean over objectives and the `worst` \
of them, 0 where nothing varies. `Malformed` and `collapsed` replies over all trade-offs; `CPU s` \
to train all policies, with other work on the machine."""
DIFFERENCES = """\
Less the weighted sum, paired by seed, in points of percent. `*`: the 95 % t interval excludes 0, \
which about {expected:.1f} of the {n} scenario by scenario would do by chance; `**`: also when all \
of them are judged together (Holm). `All`: mean over scenarios, with the chance that is within \
each, judged together among themselves."""
WINS = """\
Even trade-off: how often a reply is better than the reference's to the same prompt, in percent, \
a tie counting half."""


def sections(world: World) -> list[Section]:
    """Scalarizers against the weighted sum, and trade-offs against one number for all."""
    return [aligns(world), one_size(world)]


def aligns(world: World) -> Section:
    """The research question."""
    better, worse = world.beyond(1), world.beyond(-1)
    n = len(world.gaps)
    exact = one_number_gap()
    parts = [
        HOW.format(seeds=world.seeds),
        f"With labels of 1 and -1 the weighted sum of logistic losses *is* one number a pair: "
        f"DPO with the label softened to the pair's mean label, equal to {exact:.0e} on random "
        "margins. Comparing scalarizers with it compares them with one number.",
        *(_absolute(world, s) for s in world.scenarios),
        DIFFERENCES.format(expected=0.05 * n, n=several(n, "difference")),
        _differences(world),
        WINS,
        *(_wins(world, s) for s in world.scenarios),
        _broken(world),
    ]
    largest = max(world.pooled, key=lambda k: world.pooled[k][0].mean)
    up_all, down_all = (len(world.beyond_on_all(sign)) for sign in (1, -1))
    return Section(
        "Scalarization aligns a model better with many-sided preferences than one number",
        "Research question, Sec. 1; Abstract",
        f"mean over scenarios: of {len(world.pooled)} comparisons with the weighted sum {up_all} "
        f"are better and {down_all} worse beyond chance, largest {named(('', *largest))} "
        f"{signed(*_of(world.pooled[largest]))} points; scenario by scenario, of {n}: "
        f"{len(better)} better and {len(worse)} worse",
        verdict(world),
        "\n\n".join(parts),
    )


def verdict(world: World) -> str:
    """From what stays beyond chance, first in the mean over scenarios."""
    gains: dict[str, list[str]] = {}
    for method, measure in world.beyond_on_all(1):
        size = signed(world.pooled[method, measure][0], 1).rstrip(" *")
        gains.setdefault(method, []).append(f"{short(measure)} {size} points")
    told = [f"{method} ({listed(sizes)}{_cost(world, method)})" for method, sizes in gains.items()]
    if told:
        return f"holds only if: the scalarizer is {'; '.join(told)}"
    places = world.beyond(1)
    if places:
        return f"holds only if: {listed(map(named, places))}; nothing in the mean over scenarios"
    return "does not hold: no scalarizer is better than the weighted sum beyond chance"


def _cost(world: World, method: str) -> str:
    costs = world.costs(method)
    return f", less {listed(map(short, costs))}" if costs else ""


def named(key: tuple[str, str, str]) -> str:
    """A comparison in words; without a scenario it is of the mean.

    Example:
        >>> named(("B", "stch", "E[min], %"))
        'stch in E[min] on B'
    """
    scenario, method, measure = key
    return f"{method} in {short(measure)}" + (f" on {scenario}" if scenario else "")


def short(measure: str) -> str:
    """Name of a measure in a sentence."""
    return {"Chebyshev, %": "Chebyshev utility"}.get(measure, measure.removesuffix(", %"))


def _of(found: tuple[Gap, bool]) -> tuple[Gap, int, bool]:
    return found[0], 1, found[1]


def _absolute(world: World, scenario: str) -> str:
    rows = [
        [m, *(interval(world.values[scenario, m, c.name], c.digits) for c in ALL)]
        for m in world.methods
    ]
    head = f"Scenario {scenario} ({SHAPE[scenario]}: {', '.join(world.axes(scenario))})"
    return f"{head}:\n\n{table(['scalarizer', *(c.name for c in ALL)], rows)}"


def _differences(world: World) -> str:
    rows = []
    for scenario in world.scenarios:
        for method in world.methods:
            if method == BASE:
                continue
            found = [world.gaps[scenario, method, m.name] for m in YARDSTICKS]
            rows.append([scenario, method, *(signed(g, 1, is_kept) for g, is_kept in found)])
    for method in world.methods:
        if method != BASE:
            found = [world.pooled[method, m.name] for m in YARDSTICKS]
            rows.append(["all", method, *(signed(g, 1, is_kept) for g, is_kept in found)])
    return table(["scenario", "scalarizer", *(m.name for m in YARDSTICKS)], rows, 2)


def _wins(world: World, scenario: str) -> str:
    rows = []
    for method in world.methods:
        found = 100 * np.array([middle_wins(run, method) for run in world.runs[scenario]])
        rows.append([method, *(interval(column, 1) for column in found.T),
                     interval(found.min(axis=1), 1)])  # fmt: skip
    columns = [f"scenario {scenario}", *world.axes(scenario), "worst of a seed"]
    return table(columns, rows)


def _broken(world: World) -> str:
    """Which policies of a single objective write no replies any more."""
    found = [
        f"{axis} on {scenario} ({100 * shares.mean():.0f} %)"
        for scenario in world.scenarios
        for axis, shares in world.broken_corners(scenario).items()
        if shares.mean() >= BROKEN
    ]
    if not found:
        return "No policy of a single objective is broken."
    return (
        "Policies trained for one objective alone whose replies are mostly malformed "
        f"(weighted sum; with one objective there is little to scalarize): {listed(found)}. "
        "They count in every column but `E[min]`, `worst gain` and `mean gain`."
    )


def one_size(world: World) -> Section:
    """One objective, one policy, one trade-off each."""
    rows, personal, whole, balance = [], {}, {}, {}
    for scenario, runs in world.runs.items():
        found = np.array([one_for_all(run, BASE) for run in runs])
        even = world.values[scenario, BASE, WORST_GAIN.name]
        corner = np.array([corner_gain(run, BASE) for run in runs])
        personal[scenario] = gap(found[:, 1], found[:, 0])
        whole[scenario] = gap(found[:, 3], found[:, 2])
        balance[scenario] = gap(even, corner)
        rows.append([
            scenario, interval(found[:, 0]), interval(found[:, 1]), signed(personal[scenario], 3),
            signed(whole[scenario], 3), interval(corner, 1), interval(even, 1),
            signed(balance[scenario], 1),
        ])  # fmt: skip
    columns = [
        "scenario", "one for all", "one each", "each less all", "the same, none broken",
        "worst gain, one objective", "worst gain, even", "even less one objective",
    ]  # fmt: skip
    body = (
        "Weighted sum, the same runs. `One for all`: the policy of the even trade-off serves the "
        "users of all trade-offs of the run; `one each`: everybody is served the policy trained "
        "for the own trade-off; per-reply Chebyshev utility, mean over users. `None broken`: "
        f"without the users whose own policy writes {100 * BROKEN:.0f} % malformed replies or "
        "more. `Worst gain`: smallest gain over the reference in percent of a reward's range, of "
        "policies trained for a single objective and of the even one. `*`: beyond chance over "
        "seeds.\n\n" + table(columns, rows)
    )
    return Section(
        "One number for all neglects objectives and serves everybody the same",
        "Sec. 1",
        f"smallest gain, even trade-off less single objectives: {_by_scenario(balance, 1)}; own "
        f"policy less one for all: {_by_scenario(personal, 3)}",
        _one_size_verdict(balance, personal, whole),
        body,
    )


def _one_size_verdict(
    balance: dict[str, Gap], personal: dict[str, Gap], whole: dict[str, Gap]
) -> str:
    if not all(up(g) for g in balance.values()):
        return "does not hold: an even trade-off is not better balanced beyond chance everywhere"
    if all(up(g) for g in personal.values()):
        return "holds"
    where = [s for s, g in whole.items() if up(g)]
    if len(where) == len(whole):
        return "holds only if: policies of single objectives do not break"
    if where:
        return (
            "holds only if: balance is meant; a policy of their own helps users beyond chance on "
            f"{listed(where)} alone, without the broken ones"
        )
    return "holds only if: balance is meant; no gain from a policy for each user beyond chance"


def up(found: Gap) -> bool:
    """Larger beyond chance."""
    return found.mean > 0 and found.is_beyond_chance


def _by_scenario(found: dict[str, Gap], digits: int) -> str:
    return ", ".join(f"{s} {signed(g, digits)}" for s, g in found.items())
