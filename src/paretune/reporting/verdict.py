"""What a run showed, in sentences: who leads, by how much, and whether the prompts can tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from paretune.core.results import Difference, MethodResult, RunResult
from paretune.reporting import shares
from paretune.reporting.wording import (
    between,
    estimate,
    listing,
    number,
    percent,
    seconds,
    several,
)


@final
@dataclass(frozen=True)
class Verdict:
    """The answer to one question about a run.

    Args:
        question: what was asked.
        winner: name of the method that answers it best.
        figure: its number.
        sentences: the number in context, and how sure the order is.
    """

    question: str
    winner: str
    figure: str
    sentences: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.question}: {self.winner}, {self.figure}. {' '.join(self.sentences)}"


def verdicts(result: RunResult) -> tuple[Verdict, ...]:
    """Who leads on average, who in single replies, and who trains cheapest.

    Args:
        result: a measured run.

    Returns:
        Nothing when every method failed.
    """
    methods = [m for m in result.methods if m.hypervolume is not None]
    if not methods:
        return ()
    found = [
        _leader(result, methods, "hypervolume", "Best front of averages"),
        _leader(result, methods, "utility_min", "Best single replies"),
    ]
    cheapest = _cheapest(methods)
    return (*found, *([cheapest] if cheapest else []))


def what_was_run(result: RunResult) -> str:
    """The run in one sentence or two."""
    asked = sorted({len(m.points) for m in result.methods if m.failed is None})
    points = f"{asked[0]} to {asked[-1]}" if len(asked) > 1 else str(asked[0]) if asked else "no"
    replies = sum(p.n_replies for m in result.methods for p in m.points)
    sentence = (
        f"{several(len(result.methods), 'method')} steered between "
        f"{listing(result.objectives)} with {points} trade-offs each; "
        f"{several(replies, 'reply', 'replies')} "
        f"to {several(result.n_prompts, 'prompt')}, rewarded and compared."
    )
    return sentence if result.known is None else f"{sentence} The best possible front is known."


def agreement(result: RunResult) -> str | None:
    """Whether the two yardsticks name the same method, and why they may not."""
    found = verdicts(result)
    if len(found) < 2 or len(result.methods) < 2:
        return None
    average, single = found[0].winner, found[1].winner
    if average == single:
        return f"Both yardsticks name {average}."
    return (
        f"The yardsticks disagree: {average} earns the better averages, {single} gives the better "
        "single replies. Averages reward a policy that answers now one way, now the other; a "
        "reader of one reply gains nothing from that."
    )


def _leader(result: RunResult, methods: list[MethodResult], measure: str, question: str) -> Verdict:
    best = max(methods, key=lambda m: getattr(m, measure).value)
    found = getattr(best, measure)
    return Verdict(
        question,
        best.name,
        number(found.value),
        (
            f"95% interval {between(found)}{_context(result, best, measure)}.",
            *_lead(result, best, measure),
            *_against_reference(result, best, measure),
        ),
    )


def _context(result: RunResult, method: MethodResult, measure: str) -> str:
    """The number beside what is possible."""
    if measure == "utility_min":
        share = shares.of_best_reply(result, method)
        return "" if share is None else f"; {percent(share)} of the best single reply"
    attainable, ceiling = shares.of_attainable(result, method), shares.of_ceiling(result, method)
    if attainable is None:
        return ""
    text = f"; {percent(attainable)} of what is attainable"
    if ceiling is None:
        return text
    policies = several(len(method.points), "policy", "policies")
    return f"{text} and {percent(ceiling)} of what {policies} can reach"


def _lead(result: RunResult, best: MethodResult, measure: str) -> tuple[str, ...]:
    """How far ahead, and which methods the prompts cannot tell from the best."""
    found = sorted(
        (d for d in result.differences if d.measure == measure and d.first == best.name),
        key=lambda d: d.value.value,
    )
    if not found:
        return ()
    close = [d for d in found if d.value.low <= 0]
    if close:
        return (_tie(close),)
    second = found[0]
    lead = f"Ahead of {second.second} by {estimate(second.value)}, more than chance in the prompts."
    other = next(m for m in result.methods if m.name == second.second)
    if measure == "hypervolume" and len(other.points) != len(best.points):
        lead += f" Unequal: {len(best.points)} points against {len(other.points)}."
    return (lead,)


def _tie(close: list[Difference]) -> str:
    names = listing([d.second for d in close])
    nearest = close[0]
    which = f" over {nearest.second}" if len(close) > 1 else ""
    return (
        f"These prompts cannot tell it from {names}: its lead{which} is {estimate(nearest.value)}, "
        f"and it is ahead in {percent(nearest.probability)} of the resamples."
    )


def _against_reference(result: RunResult, best: MethodResult, measure: str) -> tuple[str, ...]:
    """Said only when training did not help."""
    found = getattr(result.reference, measure, None)
    if found is None or found.value < getattr(best, measure).value:
        return ()
    return (f"No better than the reference policy, which reaches {estimate(found)}.",)


def _cheapest(methods: list[MethodResult]) -> Verdict | None:
    priced = [(cost, m) for m in methods if (cost := shares.per_tradeoff(m))]
    if len(priced) < 2:
        return None
    (low, best), (high, worst) = (f(priced, key=lambda p: p[0]) for f in (min, max))
    return Verdict(
        "Cheapest training",
        best.name,
        f"{seconds(low)} a trade-off",
        (
            f"{seconds(shares.learning(best))} of CPU for "
            f"{several(best.cost.tradeoffs, 'trade-off')}; "
            f"the dearest, {worst.name}, took {seconds(high)} a trade-off.",
        ),
    )
