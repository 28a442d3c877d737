"""What ParetoHqD costs beside reinforcement learning, conditioning and soups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from fspo_numbers import listed, several
from pagetext import interval, table
from paretohqd_scores import TUNED, Floats, is_complete, making, names_of, of, span
from paretohqd_source import HQD, MORLHF, OF_MORLHF, OF_RIC, SOUPS
from paretohqd_world import BOTH, RAY, Runs, World
from paretohqd_world import SOUPS as SOUPS_HERE
from section import Section

from paretune.core.results import RunResult

MANY_POLICIES = HQD.trainings
Costs = Mapping[str, Mapping[str, tuple[Floats, float, float]]]
"""Scenario and method to CPU seconds a seed, policies, and trade-offs served."""


def sections(world: World, comparison: Runs, folder: Path | None) -> list[Section]:
    """One, or none where nothing to compare with was run.

    Args:
        world: own runs, read where there is no comparison.
        comparison: finished seeds of the comparison of all methods.
        folder: of the comparison.
    """
    return [cost(world, comparison, folder)] if comparison or world.cost else []


def cost(world: World, comparison: Runs, folder: Path | None) -> Section:
    """CPU seconds until methods can answer."""
    found, said = _costs(world, comparison, folder)
    rows = [
        [scenario, name, interval(seconds, 0), f"{policies:.0f}", f"{served:.0f}",
         *(interval(price(name, seconds, served, n), 1) for n in (1, MANY_POLICIES))]
        for scenario, methods in found.items()
        for name, (seconds, policies, served) in methods.items()
    ]  # fmt: skip
    shares = shares_of(found)
    paper = [
        ["ParetoHqD", f"{HQD.hours}", "11", f"{HQD.hours / 11:.1f}"],
        ["MORLHF", f"{MORLHF.hours}", "5", f"{MORLHF.hours / 5:.1f}"],
        ["Rewarded Soups", f"{SOUPS.hours}", "2", f"{SOUPS.hours / 2:.1f}"],
        ["RiC", f"{HQD.hours / OF_RIC:.0f}, by the 42 %", "1", f"{HQD.hours / OF_RIC:.0f}"],
    ]
    parts = [
        "CPU seconds of training and of the replies that are trained on, one thread, other work "
        "on the machine; rewards are exact programs here and cost nothing. `Policies` that were "
        "trained, stages counted apart; trade-offs `served`. For 1 and for 11 trade-offs: in "
        "proportion where each has a policy of its own, the same where one policy (RiC) or one for "
        "each objective (soups) serve all. " + said,
        table(["scenario", "method", "CPU s", "policies", "served", "for 1", "for 11"], rows, 2),
        "ParetoHqD's share of the time of others, both stages where measured, in percent: equal "
        "numbers of trade-offs, 11 against 5 as the paper counts MORLHF, and one preference alone "
        "(paired by seed):",
        table(
            ["against", "scenario", "11 against 11", "11 against 5", "1 against 1"],
            [[name, scenario, *(interval(100 * x, 1) for x in three)]
             for name, of_scenario in shares.items() for scenario, three in of_scenario.items()],
            2,
        ),
        "The paper's GPU hours (trainings as we read them: those of soups and of MORLHF then cost "
        "the same each):",
        table(["method", "GPU hours", "trainings", "GPU hours a training"], paper),
        f"Its share of MORLHF, {100 * HQD.hours / MORLHF.hours:.2f} %, sets 11 trade-offs against "
        f"5: for a trade-off it is {100 * HQD.hours * 5 / 11 / MORLHF.hours:.1f} %, better than "
        "claimed. All such shares are choices of budget: steps, replies a step, rows.",
    ]  # fmt: skip
    return Section(
        "GPU time is 2.5 % of MORLHF's and 42 % of RiC's",
        "Main table; key findings",
        "; ".join(
            f"{name}, % of its CPU time: " + ", ".join(
                f"{s} {interval(100 * three[0], 0)} (11 trade-offs each), "
                f"{interval(100 * three[2], 0)} (one each)" for s, three in found.items()
            )
            for name, found in shares.items()
        ) if shares else "baselines not measured",
        cost_verdict(shares),
        "\n\n".join(parts),
    )  # fmt: skip


Shares = Mapping[str, Mapping[str, tuple[Floats, Floats, Floats]]]
"""Rival and scenario to ParetoHqD's share of its time by seed: 11 against 11, 11 against 5, 1
against 1."""


def shares_of(found: Costs) -> Shares:
    """From seconds of each method."""
    shares: dict[str, dict[str, tuple[Floats, Floats, Floats]]] = {}
    for scenario, methods in found.items():
        ours = TUNED["two"] if TUNED["two"] in methods else TUNED["one"]
        for name in (TUNED["morlhf"], TUNED["ric"], TUNED["soups"]):
            if ours in methods and name in methods:
                pairs = ((MANY_POLICIES, MANY_POLICIES), (MANY_POLICIES, MORLHF.trainings), (1, 1))
                three = [
                    _paired(_prices(ours, methods, mine), _prices(name, methods, theirs))
                    for mine, theirs in pairs
                ]
                shares.setdefault(name, {})[scenario] = (three[0], three[1], three[2])
    return shares


def price(name: str, seconds: Floats, served: float, n: int) -> Floats:
    """``(seeds,)`` CPU seconds that ``n`` trade-offs cost.

    Example:
        >>> ours = price("pareto_hqd-stage-1", np.array([10.0]), served=5, n=11)
        >>> ours.tolist(), price("ric", np.array([10.0]), served=5, n=11).tolist()
        ([22.0], [10.0])
    """
    return seconds if name in (TUNED["ric"], TUNED["soups"]) else seconds / served * n


def _prices(name: str, methods: Mapping[str, tuple[Floats, float, float]], n: int) -> Floats:
    seconds, _, served = methods[name]
    return price(name, seconds, served, n)


def _paired(mine: Floats, theirs: Floats) -> Floats:
    """Ratios by seed; of means where the seeds are not the same."""
    if mine.size == theirs.size:
        return mine / theirs
    return np.array([mine.mean() / theirs.mean()])


def _costs(world: World, comparison: Runs, folder: Path | None) -> tuple[Costs, str]:
    """Scenario and method to CPU seconds a seed, policies, trade-offs served."""
    if comparison:
        names = [TUNED[n] for n in ("one", "two", "soups", "morlhf", "ric")]
        part = [s for s in comparison if not is_complete(folder, s)]
        said = "From the comparison of all methods, each at its best of four settings"
        counts = (f"{s}: {several(len(r), 'seed')}" for s, r in comparison.items())
        said += f" ({', '.join(counts)})"
        said += f"; not finished yet: {listed(part)}." if part else "."
        return {s: _priced(runs, names, {}) for s, runs in comparison.items()}, said
    own = {RAY: TUNED["one"], BOTH: TUNED["two"], SOUPS_HERE: TUNED["soups"]}
    found = {s: _priced(runs, list(own), own) for s, runs in world.main.items()}
    for scenario, runs in world.cost.items():
        found.setdefault(scenario, {}).update(_priced(runs, ["morlhf", "ric"], {}))
    return found, (
        "The comparison of all methods was not finished when this page was made: ParetoHqD and "
        "soups are from the runs above, MORLHF (40 steps of 128 replies) and RiC (450 steps, one "
        "online round) from a run of one seed at the even trade-off."
    )


def _priced(
    runs: Sequence[RunResult], names: Sequence[str], renamed: Mapping[str, str]
) -> dict[str, tuple[Floats, float, float]]:
    found = {}
    for name in names_of(runs, names):
        methods = [m for m in (of(run, name) for run in runs) if m is not None]
        seconds = np.array([making(m.cost) for m in methods])
        one = methods[0].cost
        found[renamed.get(name, name)] = (seconds, float(one.policies), float(one.tradeoffs))
    return found


def cost_verdict(shares: Shares) -> str:
    """Both claims, for eleven trade-offs each and for one each."""
    rivals = [shares.get(TUNED[n], {}).values() for n in ("morlhf", "ric")]
    if not all(rivals):
        return "not decided: baselines not measured"
    rl, ric = ([100 * float(three[0].mean()) for three in found] for found in rivals)
    if max(rl) <= 100 * OF_MORLHF and max(ric) <= 100 * OF_RIC:
        return "holds"
    alone = [100 * float(three[2].mean()) for three in rivals[1]]
    said = (
        f"{span(rl)} % of MORLHF's time at equal numbers of trade-offs; of RiC's {span(ric)} % for "
        f"11 trade-offs, {span(alone)} % for one"
    )
    if max(rl) < 100 and max(ric) < 100:
        return f"holds only if: cheaper is meant, not by how much; {said}"
    cheap = "cheaper than MORLHF, not by as much: " if max(rl) < 100 else ""
    return f"does not hold: {cheap}{said}"
