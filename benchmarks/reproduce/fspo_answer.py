"""The report's research question in plain words, with sentences that the numbers choose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from fspo_aligns import named, short, up
from fspo_budget import Budget
from fspo_fonseca import dent_gains
from fspo_numbers import (
    MEAN_GAIN,
    MOVED,
    WORST_GAIN,
    YARDSTICKS,
    Gap,
    gap,
    holm,
    listed,
    several,
    signed,
)
from fspo_scores import BASE, BROKEN, World, corner_gain, one_for_all
from fspo_taste import LOWER_IS_BETTER, ONE_LABEL, against, column, scores
from fspo_users import Found, is_above

QUESTION = """\
> Can scalarization improve the alignment of language models with many-sided preferences by \
modeling and balancing competing objectives within FSPO?"""


def answer(budget: Budget, world: World | None, users: Found, parameters: int) -> str:
    """Paragraphs of the answer, the question first."""
    parts = [QUESTION]
    if world is None:
        parts.append("Language models were left out when this page was made.")
    else:
        parts += [headline(world), at_once(world), which(world)]
    parts += [few_shot(budget), of_users(users)]
    if world is not None:
        parts.append(limits(world, parameters))
    return "\n\n".join(parts)


def headline(world: World) -> str:
    """Scalarizers against the weighted sum."""
    better, worse = world.beyond_on_all(1), world.beyond_on_all(-1)
    where = f"in the mean over {several(len(world.scenarios), 'scenario')}"
    if better:
        start = "**In part.**" if worse else "**Yes, somewhat.**"
        first = f"better than the weighted sum of its losses {where}: {_sized(world, better)}"
        if worse:
            first += f"; worse: {_sized(world, worse)}"
    elif worse:
        start = "**Not by a cleverer scalarizer.**"
        first = (
            "none better than the weighted sum of its losses beyond chance, and some worse, "
            f"{where}: {_sized(world, worse)}"
        )
    else:
        start = "**No difference that chance cannot explain.**"
        first = f"none better or worse than the weighted sum of its losses beyond chance, {where}"
    n, up_, down = len(world.gaps), world.beyond(1), world.beyond(-1)
    second = f"Scenario by scenario, of {several(n, 'comparison')} "
    second += f"{len(up_)} are better" + (f" ({_grouped(up_)})" if up_ else "")
    second += f" and {len(down)} worse" + (f" ({_grouped(down)})" if down else "")
    second_part = _moved(world, [m for m, measure in better if measure == WORST_GAIN.name])
    return (
        f"{start} Of the report's scalarizers at equal budget, {first}.{second_part} {second} "
        "beyond chance. The weighted sum is itself one number a pair here: with labels of 1 and -1 "
        "it is DPO with a softened label."
    )


def _moved(world: World, balanced: Sequence[str]) -> str:
    """What balance costs, and whether it is bought by staying near the reference."""

    def smaller(name: str) -> dict[str, Gap]:
        found = {m: world.over_all(m, name) for m in balanced}
        return {m: g for m, g in found.items() if g.is_beyond_chance and g.mean < 0}

    cost, moved = smaller(MEAN_GAIN.name), smaller(MOVED.name)
    if not cost:
        return ""
    told = ", ".join(f"{m} {signed(g, 1).rstrip(' *')}" for m, g in cost.items())
    text = f" The price of balance is a smaller mean gain over the objectives ({told} points)"
    if moved:
        still = ", ".join(f"{m} {signed(g, 1).rstrip(' *')}" for m, g in moved.items())
        text += (
            f"; in part it is staying near the reference, for rewards change less in either "
            f"direction ({still} points)"
        )
    return f"{text}."


def _sized(world: World, keys: Sequence[tuple[str, str]]) -> str:
    """Comparisons of the mean with their sizes, by measure."""
    told = []
    for measure in dict.fromkeys(name for _, name in keys):
        sizes = [
            f"{method} {signed(world.pooled[method, measure][0], 1).rstrip(' *')}"
            for method, name in keys
            if name == measure
        ]
        told.append(f"in {short(measure)} {listed(sizes)} points")
    return listed(told)


def _grouped(keys: Sequence[tuple[str, str, str]]) -> str:
    """How often each scalarizer is among comparisons, with the worlds.

    Example:
        >>> _grouped([("A", "stch", "x"), ("B", "stch", "x"), ("A", "mirror", "x")])
        'stch 2 on A and B, mirror 1 on A'
    """
    names = list(dict.fromkeys(method for _, method, _ in keys))
    told = []
    for name in names:
        own = [scenario for scenario, method, _ in keys if method == name]
        told.append(f"{name} {len(own)} on {listed(sorted(set(own)))}")
    return ", ".join(told)


def at_once(world: World) -> str:
    """Several objectives against one, and a policy each against one for all."""
    balance, personal, whole = {}, {}, {}
    for scenario, runs in world.runs.items():
        corner = np.array([corner_gain(run, BASE) for run in runs])
        balance[scenario] = gap(world.values[scenario, BASE, WORST_GAIN.name], corner)
        found = np.array([one_for_all(run, BASE) for run in runs])
        personal[scenario] = gap(found[:, 1], found[:, 0])
        whole[scenario] = gap(found[:, 3], found[:, 2])
    many = _where(balance)
    first = (
        "Training for several objectives at once is better balanced than for one "
        f"{_on(many, world)}: the objective that is worst off ends "
        f"{_span(balance, many)} % of a reward's range higher."
        if many
        else "Training for several objectives at once is not better balanced than for one beyond "
        "chance."
    )
    floors = [s for s in world.scenarios if world.values[s, BASE, WORST_GAIN.name].mean() < 0]
    if floors:
        first += f" It still ends below the reference on {listed(floors)}."
    own, own_whole = _where(personal), _where(whole)
    less = [s for s, g in personal.items() if g.is_beyond_chance and g.mean < 0]
    if len(own) == len(personal):
        second = "A policy for every trade-off serves users better than one for all."
    elif less:
        second = (
            f"A policy for every trade-off serves users *worse* than one for all on {listed(less)}"
        )
        second += (
            f"; without the policies that broke it is better on {listed(own_whole)}."
            if own_whole else ", and not beyond chance better without those that broke."
        )  # fmt: skip
    elif own:
        second = (
            f"A policy for every trade-off serves users better than one for all on {listed(own)}."
        )
    else:
        second = (
            "A policy for every trade-off serves users no better than one for all beyond chance"
        )
        second += f", but for {listed(own_whole)} without broken ones." if own_whole else "."
    return f"{first} {second}"


def _where(found: Mapping[str, Gap]) -> list[str]:
    return [s for s, g in found.items() if up(g)]


def _on(some: Sequence[str], world: World) -> str:
    if len(some) == len(world.scenarios):
        return "in every scenario"
    return f"on {listed(some)} (not beyond chance elsewhere)"


def _span(found: Mapping[str, Gap], some: Sequence[str]) -> str:
    values = [found[s].mean for s in some]
    low, high = (f"{x:.0f}" for x in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def which(world: World) -> str:
    """Which scalarizer when."""
    told = []
    for measure in YARDSTICKS:
        means = {
            m: float(np.mean([world.values[s, m, measure.name].mean() for s in world.scenarios]))
            for m in world.methods
        }
        best = max(means, key=means.__getitem__)
        lead = means[best] - means[BASE]
        is_sure = (best, measure.name) in world.beyond_on_all(1)
        sure = "beyond chance among all" if is_sure else "not beyond chance among all"
        rest = "" if best == BASE else f" ({lead:+.1f} points, {sure})"
        told.append(f"by {short(measure.name)} {best}{rest}")
    gaining = list(dict.fromkeys(m for m, _ in world.beyond_on_all(1)))
    clean = [m for m in gaining if not world.costs(m)]
    advice = (
        "the weighted sum: nothing beats it once all comparisons are judged together, it is "
        "simple, and batches add up"
    )
    if clean:
        sizes = _sized(world, [k for k in world.beyond_on_all(1) if k[0] in clean])
        largest = max(world.pooled[k][0].mean for k in world.beyond_on_all(1) if k[0] in clean)
        word = "better" if largest >= 2 else "a little better"
        advice = f"{listed(clean)}, {word} in the mean ({sizes}) and worse by no yardstick"
    if costly := [m for m in gaining if m not in clean]:
        if not clean:
            advice = "the weighted sum"
        advice += f"; where balance counts most {listed(costly)}, at the price of " + listed(
            dict.fromkeys(short(y) for m in costly for y in world.costs(m))
        )
    elif not clean and world.beyond(1):
        advice = "the weighted sum first, and another after measuring: gains are not general"
    return (
        f"Which scalarizer when: best in the mean over scenarios {listed(told)}. From these "
        f"numbers we would take {advice}. {_dented(world)} A promise that no objective falls "
        "asks for floors, which no scalarizer gives."
    )


def _dented(world: World) -> str:
    """What a dent is to Chebyshev's forms, in theory and here."""
    theory = (
        "Where the front of losses has a dent, Chebyshev and its smooth form reach inside and the "
        "weighted sum does not (section on fronts that are not convex)"
    )
    found = dent_gains(world)
    if found is None:
        return f"{theory}."
    if not found:
        return f"{theory}; on the world's dent, scenario B, neither gains beyond chance."
    told = ", ".join(f"{named(('', *key))} {signed(g, 1).rstrip(' *')}" for key, g in found.items())
    return f"{theory}; so on the world's dent, scenario B, one by one and more than on A: {told}."


def few_shot(budget: Budget) -> str:
    """Users by their pairs, no language model."""
    found = scores(budget)
    personal = gap(column(found, BASE, "own, %"), column(found, BASE, "other, %"))
    less = against(found, ONE_LABEL)
    kept = dict(zip(less, holm([g.chance for g in less.values()]), strict=True))
    better = [n for n, m in less if kept[n, m] and m == "own, %" and less[n, m].mean > 0]
    worse = [n for n, m in less if kept[n, m] and m == "own, %" and less[n, m].mean < 0]
    balanced = [n for n, m in less if kept[n, m] and m == LOWER_IS_BETTER and less[n, m].mean < 0]
    first = (
        f"Few-shot users, without a language model: a user's own pairs are worth "
        f"{signed(personal, 1).rstrip(' *')} points of accuracy more than somebody else's"
        if up(personal)
        else "Few-shot users, without a language model: own pairs are worth no more than somebody "
        "else's beyond chance"
    )
    second = f"more accurate than FSPO's one label is {listed(better)}" if better else (
        "no scalarizer is more accurate than FSPO's one label beyond chance"
    )  # fmt: skip
    if worse:
        second += f", {listed(worse)} {'are' if len(worse) > 1 else 'is'} less"
    third = f"; better balanced {'are' if len(balanced) > 1 else 'is'} {listed(balanced)}" if (
        balanced
    ) else "; none is better balanced"  # fmt: skip
    return f"{first}; {second}{third}."


def of_users(found: Found) -> str:
    """Users of language models, or that there are none."""
    if not found:
        return (
            "Few-shot users of language models, the title of the report, were not run when this "
            "page was made."
        )
    told, works = [], []
    for name, each in found.items():
        own = np.array([100 * one.own.value for one in each])
        other = np.array([100 * one.other.value if one.other else np.nan for one in each])
        less = gap(own, other)
        size = signed(less, 1).rstrip(" *")
        if is_above(less):
            works.append(name)
        told.append(f"{name} {size} ({several(len(each), 'seed')})")
    verdict = f"above 0 for {listed(works)}" if works else "with no scalarizer above 0"
    return (
        "Few-shot users of language models: own less somebody else's pairs, points of accuracy: "
        f"{', '.join(told)}; {verdict}."
    )


def limits(world: World, parameters: int) -> str:
    """What the answer is worth."""
    widths = np.array([g.half for g, _ in world.gaps.values()])
    broken = [
        f"{axis} on {s}"
        for s in world.scenarios
        for axis, shares in world.broken_corners(s).items()
        if shares.mean() >= BROKEN
    ]
    run = next(iter(world.runs.values()))[0].result
    size = f"a transformer of {parameters / 1e6:.1f} million parameters" if parameters else (
        "a small transformer"
    )  # fmt: skip
    text = (
        f"Limits: {size} on an embedded world of how-to requests (113 words) with exact programs "
        f"as rewards, {run.n_prompts} evaluation prompts, {world.seeds} seeds: a difference in "
        f"one scenario is known to ± {np.median(widths):.1f} points in the median and to ± "
        f"{widths.max():.0f} at worst. "
        "One learning rate, one beta and two passes for all, tuned for none; labels say which is "
        "better, not by how much, so weak preferences do not occur. `E[min]` and the Chebyshev "
        "utility rate single replies, hypervolume their means. The worst gain became a yardstick "
        "after the first runs of scenario C had been seen, and so did the measure of how near a "
        "policy stays to the reference: what rests on these two alone is exploratory."
    )
    if broken:
        text += (
            f" Policies trained for one objective alone mostly write malformed replies for "
            f"{listed(broken)}, which weighs on all averages over trade-offs."
        )
    return text + " None of this is evidence about large language models."
