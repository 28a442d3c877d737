"""The report's research question in plain words, with sentences that the numbers choose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from fspo_aligns import named, up
from fspo_budget import Budget
from fspo_numbers import SMALLEST, YARDSTICKS, Gap, gap, holm, listed, signed
from fspo_scores import BASE, BROKEN, World, corner_gain, one_for_all
from fspo_taste import LOWER_IS_BETTER, ONE_LABEL, against, column, scores
from fspo_users import Found

QUESTION = """\
> Can scalarization improve the alignment of language models with many-sided preferences by \
modeling and balancing competing objectives within FSPO?"""


def answer(budget: Budget, world: World | None, users: Found, parameters: int) -> str:
    """Paragraphs of the answer, the question first."""
    parts = [QUESTION]
    if world is None:
        parts.append("Language models were left out when this page was made.")
    else:
        parts += [headline(world), several(world), which(world)]
    parts += [few_shot(budget), of_users(users)]
    if world is not None:
        parts.append(limits(world, parameters))
    return "\n\n".join(parts)


def headline(world: World) -> str:
    """Scalarizers against the weighted sum."""
    better, worse, n = world.beyond(1), world.beyond(-1), len(world.gaps)
    of = f"of {n} comparisons on {len(world.scenarios)} worlds"
    if not better and not worse:
        return (
            "**No difference that chance cannot explain.** At equal budget no other scalarizer of "
            "the report aligned the model better or worse than the weighted sum of its losses, "
            f"{of}; with labels of 1 and -1 that is DPO with one softened number a pair."
        )
    if not better:
        return (
            "**Not by a cleverer scalarizer.** At equal budget none of the others aligned the "
            "model better than the weighted sum of its losses beyond chance, which with labels of "
            f"1 and -1 is DPO with one softened number a pair; {of} {len(worse)} were worse "
            f"({_grouped(worse)})."
        )
    verb = "**Mostly.**" if len(better) > n / 2 else "**In places.**"
    tail = f"and worse in {len(worse)} ({_grouped(worse)})" if worse else "and never worse"
    largest = max(better, key=lambda k: world.gaps[k][0].mean)
    return (
        f"{verb} At equal budget a scalarizer other than the weighted sum aligned the model "
        f"better beyond chance in {len(better)} {of} ({_grouped(better)}) {tail}. The largest "
        f"gain is {signed(world.gaps[largest][0], 1)} points of percent, {named(largest)}."
    )


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


def several(world: World) -> str:
    """Several objectives against one, and a policy each against one for all."""
    balance, personal, whole = {}, {}, {}
    for scenario, runs in world.runs.items():
        corner = np.array([corner_gain(run, BASE) for run in runs])
        balance[scenario] = gap(world.values[scenario, BASE, "worst gain"], corner)
        found = np.array([one_for_all(run, BASE) for run in runs])
        personal[scenario] = gap(found[:, 1], found[:, 0])
        whole[scenario] = gap(found[:, 3], found[:, 2])
    many = _where(balance)
    first = (
        "Training for several objectives at once is better balanced than for one "
        f"{_on(many, world)}: the objective that is worst off ends "
        f"{_span(balance, many)} of the reward range higher."
        if many
        else "Training for several objectives at once is not better balanced than for one beyond "
        "chance."
    )
    floors = [s for s in world.scenarios if world.values[s, BASE, "worst gain"].mean() < 0]
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
        return "on every world"
    return f"on {listed(some)}, not beyond chance on the others,"


def _span(found: Mapping[str, Gap], some: Sequence[str]) -> str:
    values = [found[s].mean for s in some]
    low, high = (f"{x:.2f}" for x in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def which(world: World) -> str:
    """Which scalarizer when."""
    told, leaders = [], set()
    for measure in YARDSTICKS:
        means = {
            m: float(np.mean([world.values[s, m, measure.name].mean() for s in world.scenarios]))
            for m in world.methods
        }
        best = max(means, key=means.__getitem__)
        leaders.add(best)
        lead = means[best] - means[BASE]
        kept = [k for k in world.beyond(1) if k[1:] == (best, measure.name)]
        rest = "" if best == BASE else f" ({lead:+.1f} points, beyond chance on {len(kept)} worlds)"
        told.append(f"by {measure.name.removesuffix(', %')} {best}{rest}")
    never_worse = {m for m in world.methods if m != BASE} - {k[1] for k in world.beyond(-1)}
    gaining = sorted(never_worse & {k[1] for k in world.beyond(1)})
    advice = "the weighted sum first: it is never beaten beyond chance, simplest and cheapest"
    if gaining:
        advice = f"{listed(gaining)} where balance counts: at least once better, never worse"
    elif world.beyond(1):
        advice = "the weighted sum first, and another one only after measuring: each also lost"
    return (
        f"Which scalarizer when: best on average over the worlds {listed(told)}. From these "
        f"numbers we would take {advice}. Only a single reply for a user with a worst-case "
        "taste asks for Chebyshev's form by its definition (section on dents); a promise that no "
        "objective falls asks for floors, which no scalarizer gives (section on the expense of "
        "others)."
    )


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
        f"{signed(personal, 1)} points of accuracy more than somebody else's"
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
    told = []
    for name, each in found.items():
        own = np.array([100 * one.own.value for one in each])
        other = np.array([100 * one.other.value if one.other else np.nan for one in each])
        told.append(f"{name} {signed(gap(own, other), 1)}")
    works = [n for n, each in found.items() if all(o.gap and o.gap.low > 0 for o in each)]
    verdict = f"above 0 over users with every seed for {listed(works)}" if works else (
        "with no scalarizer above 0 over users with every seed"
    )  # fmt: skip
    return (
        "Few-shot users of language models: own less somebody else's pairs, points of accuracy: "
        f"{', '.join(told)}; {verdict}."
    )


def limits(world: World, parameters: int) -> str:
    """What the answer is worth."""
    widths = [g.half for g, _ in world.gaps.values()]
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
        f"Limits: {size} on an embedded world of cooking requests with exact programs as rewards, "
        f"{run.n_prompts} evaluation prompts, {world.seeds} seeds: differences under about "
        f"{np.median(widths):.0f} points could not have been seen. One learning rate, one beta and "
        "two passes for all, tuned for none; labels say which is better, not by how much, so "
        f"weak preferences do not occur. `{SMALLEST.name.removesuffix(', %')}` and `Chebyshev` "
        "rate single replies, hypervolume their means."
    )
    if broken:
        text += (
            f" Policies trained for one objective alone mostly write malformed replies for "
            f"{listed(broken)}, which weighs on all averages over trade-offs."
        )
    return text + " None of this is evidence about large language models."
