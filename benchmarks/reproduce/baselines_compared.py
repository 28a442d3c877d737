"""Claims about fronts and costs, read from comparisons of all methods on the embedded world."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from baselines_fronts import (
    QUALITY,
    Comparison,
    Floats,
    judged,
    quality_cells,
    quality_table,
    seeds_told,
    summed_up,
    too_few,
    verdict_of,
)
from fspo_numbers import Gap, gap, listed, signed
from pagetext import half_width, interval, table
from section import Section

from paretune.core.results import MethodResult, RunResult

BUDGETS = """\
CPU seconds, replies that a method learns from included, evaluation and the search for settings \
not. MORLHF here learns from its own replies without a critic (RLOO), the source's by PPO with \
one. Budgets are the comparison's (steps, replies a step, batch), so the ratio says what these \
budgets cost, as the source's says of its own."""


def ric_against_soups(found: Sequence[Comparison]) -> Section:
    """Claim of RiC's abstract on fronts."""
    return _better(
        found, "ric", ["rewarded_soups"],
        "RiC reaches better fronts than Rewarded Soups", "RiC (arXiv:2402.10207), abstract",
        "Soups average experts trained by DPO; the source's are trained by PPO on rewards. "
        "Settings are the search's, and need not be those of the section on RiC's online stage.",
    )  # fmt: skip


def modpo_against_dpo(found: Sequence[Comparison]) -> Section:
    """Claim of MODPO on fronts."""
    return _better(
        found, "modpo", ["rewarded_soups", "dpo-weighted", "dpo-mixed"],
        "MODPO's front lies above DPO soups and DPO with weighted losses",
        "MODPO (arXiv:2310.03708), experiments",
        "Same pairs, steps and base. `dpo-weighted`: losses weighted by the trade-off; "
        "`dpo-mixed`: each label drawn from one objective.",
    )  # fmt: skip


def ham_against_ric(found: Sequence[Comparison]) -> Section:
    """Claim of HaM."""
    return _better(
        found, "ham", ["ric"], "HaM reaches a larger hypervolume than RiC",
        "HaM (arXiv:2412.05469), experiments",
        "The numbers of the source could not be read, only the direction. Both learn from the same "
        "scored responses; HaM sees no reply of its own. Judged by hypervolume, as the claim says.",
        ["hypervolume"],
    )  # fmt: skip


def panacea_against(found: Sequence[Comparison]) -> Section:
    """Claim of Panacea."""
    return _better(
        found, "panacea", ["rewarded_soups", "dpo-weighted"],
        "Panacea is better than Rewarded Soups and than a model for each trade-off",
        "Panacea (arXiv:2402.02030), experiments",
        "One adapter for all trade-offs, shifted in one direction; `dpo-weighted` trains a model "
        "for each with the same losses. What both converge to on tables is in section 8.",
    )  # fmt: skip


def _better(
    found: Sequence[Comparison],
    first: str,
    seconds: Sequence[str],
    claim: str,
    where: str,
    how: str,
    measures: Sequence[str] = QUALITY,
) -> Section:
    cells = quality_cells(found, first, seconds, measures)
    has = [c for c in found if any(c.has(first, s) for s in seconds)]
    body = [how]
    if cells:
        body.append(quality_table(found, first, seconds, cells))
    verdict = verdict_of(cells, min((c.seeds for c in has), default=0))
    return Section(claim, where, summed_up(cells, has), verdict, "\n\n".join(body))


def ric_cost(found: Sequence[Comparison]) -> Section:
    """Claim of RiC's abstract on cost."""
    has = [c for c in found if c.has("ric", "morlhf")]
    ratios = [c.cost("ric", "train_seconds") / c.cost("morlhf", "train_seconds") for c in has]
    # One policy for all trade-offs against one for each: where would a tenth be reached?
    needed = [
        10 * c.cost("ric", "train_seconds") / c.cost("morlhf", "train_seconds_each") for c in has
    ]
    rows = [
        [c.scenario, str(c.seeds), *_seconds(c, "ric"), *_seconds(c, "morlhf"),
         _points(c, "morlhf"), interval(100 * ratio, 1), interval(n, 1)]
        for c, ratio, n in zip(has, ratios, needed, strict=True)
    ]  # fmt: skip
    columns = ["scenario", "seeds", "RiC, CPU s", "RiC, tokens", "MORLHF, CPU s",
               "MORLHF, tokens", "trade-offs", "RiC / MORLHF, %", "a tenth from"]  # fmt: skip
    body = [
        f"{BUDGETS} `A tenth from`: number of trade-offs from which RiC, whose one policy serves "
        "all, costs a tenth of MORLHF, which trains one for each."
    ]
    if has:
        body.append(table(columns, rows))
    return Section(
        "RiC costs about 10 % of what MORLHF costs",
        "RiC (arXiv:2402.10207), abstract: GPU hours",
        ", ".join(
            f"{interval(100 * r, 1)} % at {_points(c, 'morlhf')} trade-offs ({c.scenario})"
            for c, r in zip(has, ratios, strict=True)
        ) + f"; {seeds_told(has)}" if has else "not measured yet",
        tenth_verdict(needed, [int(_points(c, "morlhf")) for c in has]),
        "\n\n".join(body),
    )  # fmt: skip


def tenth_verdict(needed: Sequence[Floats], trained: Sequence[int]) -> str:
    """From the number of trade-offs at which a tenth is reached, one array a comparison.

    Args:
        needed: ``(seeds,)`` numbers.
        trained: trade-offs that the expensive method trained for.

    Example:
        >>> import numpy as np
        >>> tenth_verdict([np.array([5.0, 5.2, 5.1])], [6])
        'holds'
        >>> tenth_verdict([np.array([9.0, 9.2, 9.1])], [6])
        'holds only if: there are 10 trade-offs or more'
        >>> tenth_verdict([np.array([9.0])], [6])
        'not decided: 1 seed is too few'
    """
    few = too_few(min((n.size for n in needed), default=0))
    if few:
        return few
    tops = [float(n.mean() + half_width(n)) for n in needed]
    if all(top <= n for top, n in zip(tops, trained, strict=True)):
        return "holds"
    return f"holds only if: there are {int(np.ceil(max(tops)))} trade-offs or more"


def modpo_cost(found: Sequence[Comparison]) -> Section:
    """Claim of MODPO's Table 1."""
    has = [c for c in found if c.has("modpo", "morlhf")]
    each = "train_seconds_each"
    ratios = [c.cost("morlhf", each) / c.cost("modpo", each) for c in has]
    rows = [
        [c.scenario, str(c.seeds), interval(c.cost("modpo", each), 1),
         interval(c.cost("morlhf", each), 1), interval(r, 2)]
        for c, r in zip(has, ratios, strict=True)
    ]  # fmt: skip
    columns = ["scenario", "seeds", "MODPO, CPU s", "MORLHF, CPU s", "MORLHF / MODPO"]
    body = [f"A model. {BUDGETS} The source: 4.0 against 13.8 GPU hours (safety), 9.4 against 34.0 "
            "(long answers), 3.4 and 3.6 times."]  # fmt: skip
    if has:
        body.append(table(columns, rows))
    told = ", ".join(
        f"{interval(r, 2)} times ({c.scenario})" for c, r in zip(has, ratios, strict=True)
    )
    return Section(
        "A MODPO model costs 3.4 times less than one of MORLHF",
        "MODPO (arXiv:2310.03708), Table 1",
        f"{told}; {seeds_told(has)}" if has else "not measured yet",
        times_verdict(ratios, 3.4),
        "\n\n".join(body),
    )


def times_verdict(ratios: Sequence[Floats], said: float) -> str:
    """Whether something is ``said`` times cheaper, or at least cheaper.

    Example:
        >>> import numpy as np
        >>> times_verdict([np.array([3.5, 3.9, 3.6])], 3.4)
        'holds'
        >>> times_verdict([np.array([2.0, 2.2, 2.1])], 3.4)
        'holds only if: cheaper is meant, 1.9 times or more'
        >>> times_verdict([np.array([0.5, 0.6, 0.5])], 3.4)
        'does not hold: 0.5 times at these budgets'
    """
    few = too_few(min((r.size for r in ratios), default=0))
    if few:
        return few
    low = min(float(r.mean() - half_width(r)) for r in ratios)
    high = min(float(r.mean() + half_width(r)) for r in ratios)
    if high >= said and low > 1:
        return "holds"
    if low > 1:
        return f"holds only if: cheaper is meant, {low:.1f} times or more"
    if high < 1:
        return f"does not hold: {min(float(r.mean()) for r in ratios):.1f} times at these budgets"
    return "not decided: equal within the seeds' interval"


def mod_against_merging(found: Sequence[Comparison]) -> Section:
    """Claim of MOD's abstract."""
    has = [c for c in found if c.has("mod_decoding", "rewarded_soups")]
    more = {c.scenario: _percent_more(c) for c in has}
    rows = [
        [c.scenario, str(c.seeds), interval(_overall(c, "mod_decoding"), 3),
         interval(_overall(c, "rewarded_soups"), 3),
         interval(c.each("mod_decoding", _reference), 3),
         signed(gap(more[c.scenario], np.zeros(c.seeds)), 1)]
        for c in has
    ]  # fmt: skip
    columns = ["scenario", "seeds", "MOD", "merged", "reference", "MOD more, %"]
    body = [
        "Mean over objectives of the mean reward, rewards in [0, 1], at the even trade-off; where "
        "it was not asked for, mean over those nearest to it. Both serve experts of the same kind "
        "at the best of their settings. A percentage of a reward depends on where its 0 is, so "
        "sizes compare with the source's only roughly."
    ]
    if has:
        body.append(table(columns, rows))
    gaps = {name: gap(values, np.zeros(len(values))) for name, values in more.items()}
    told = ", ".join(f"{signed(g, 1)} % ({name})" for name, g in gaps.items())
    return Section(
        "MOD earns 12.8 % more reward than merging parameters at equal weights",
        "MOD (arXiv:2406.18853), abstract, three objectives",
        f"{told}; {seeds_told(has)}" if has else "not measured yet",
        percent_verdict(gaps, 12.8, min((c.seeds for c in has), default=0)),
        "\n\n".join(body),
    )


def percent_verdict(gaps: dict[str, Gap], said: float, seeds: int) -> str:
    """Whether a gain has the size that was said, or at least the sign.

    Example:
        >>> percent_verdict({"A": Gap(12.0, 2.0, 1e-3)}, 12.8, 5)
        'holds'
        >>> percent_verdict({"A": Gap(3.0, 1.0, 1e-3)}, 12.8, 5)
        'holds only if: a gain of 3.0 ± 1.0 % (A) is meant'
        >>> percent_verdict({"A": Gap(-3.0, 1.0, 1e-3)}, 12.8, 5)
        'does not hold: worse on A'
        >>> percent_verdict({"A": Gap(1.0, 2.0, 0.3)}, 12.8, 5)
        'not decided: whether there is a gain; at most 3.0 % (A)'
    """
    few = too_few(seeds)
    if few:
        return few
    cells = judged(gaps)
    up = [c for c in cells if c.sign > 0]
    if len(up) == len(cells) and all(g.mean + g.half >= said for g in gaps.values()):
        return "holds"
    if up:
        sizes = listed(f"{c.gap.mean:.1f} ± {c.gap.half:.1f} % ({c.place})" for c in up)
        return f"holds only if: a gain of {sizes} is meant"
    down = [c.place for c in cells if c.sign < 0]
    if down:
        return f"does not hold: worse on {listed(down)}"
    tops = listed(f"{g.mean + g.half:.1f} % ({name})" for name, g in gaps.items())
    return f"not decided: whether there is a gain; at most {tops}"


def _percent_more(c: Comparison) -> Floats:
    return 100 * (_overall(c, "mod_decoding") / _overall(c, "rewarded_soups") - 1)


def _overall(c: Comparison, name: str) -> Floats:
    def number(run: RunResult, method: MethodResult) -> float:
        spread = [float(np.ptp(p.tradeoff)) for p in method.points]
        # Grids without the even trade-off have several nearest, whose mean it is.
        even = [p for p, s in zip(method.points, spread, strict=True) if s < min(spread) + 1e-9]
        return float(np.mean([m.value for p in even for m in p.means]))

    return c.each(name, number)


def _reference(run: RunResult, method: MethodResult) -> float:
    assert run.reference is not None
    return float(np.mean([m.value for m in run.reference.points[0].means]))


def _seconds(c: Comparison, name: str) -> list[str]:
    tokens = c.cost(name, "train_tokens").mean()
    return [interval(c.cost(name, "train_seconds"), 0), f"{tokens / 1000:,.0f} k"]


def _points(c: Comparison, name: str) -> str:
    return str(max(len(m.points) for run in c.runs for m in run.methods if m.name == name))
