"""Tables of exact problems: a row a method, the same on the terminal and on the page."""

from __future__ import annotations

from collections.abc import Sequence

from paretune.core.truth import MethodTruth, ProblemTruth
from paretune.reporting.table import Table
from paretune.reporting.wording import NOTHING, percent

COLUMNS = {
    "claim": "Whether the method does what it is known to do: its tolerance, or its documented "
    "gap, held at every trade-off. A dash: nothing is claimed here.",
    "to its aim": "Total variation to the policy that the method is known to converge to, the "
    "largest over trade-offs and contexts; 0 is the same policy, 1 another one altogether.",
    "to the optimum": "Total variation to the best policy of the weighted sum under the same KL "
    "penalty, the largest over trade-offs and contexts.",
    "values off": "Largest distance to that policy's expected values on one objective, as a share "
    "of the range of single replies.",
    "hypervolume": "Of the method's expected values, as a share of what any number of policies "
    "attains, in the box from the worst to the best of the known front.",
    "utility": "Chebyshev utility of single replies at the trade-off that was asked for, averaged, "
    "as a share of the best.",
    "floor missed": "Largest amount by which a policy that is asked for one objective alone stays "
    "below the problem's floor of another, in preference probability.",
}
"""Column to what it means."""


def truth_table(problem: ProblemTruth) -> Table:
    """What each method reached on a problem.

    Args:
        problem: measured.

    Returns:
        A row a method; columns without any entry are left out, and notes say what did not hold
        and what was skipped.
    """
    rows = [(method.name, *cells(method)) for method in problem.methods]
    names = ("method", *COLUMNS)
    keep = [0, *(i for i in range(1, len(names)) if any(row[i] != NOTHING for row in rows))]
    return Table(
        tuple(names[i] for i in keep),
        tuple(tuple(row[i] for i in keep) for row in rows),
        tuple(notes(problem)),
    )


def cells(method: MethodTruth) -> tuple[str, ...]:
    """The entries of one method, in the order of :data:`COLUMNS`."""
    return (
        "broken" if method.broken else "holds" if method.is_claimed else NOTHING,
        distance(method.to_aim),
        distance(method.to_optimum),
        distance(method.value_gap),
        percent(method.hypervolume),
        percent(method.utility),
        distance(method.missed),
    )


def notes(problem: ProblemTruth) -> list[str]:
    """Claims that did not hold, and methods that are not defined."""
    found = [f"{m.name}: {sentence}" for m in problem.methods for sentence in m.broken]
    reasons: dict[str, list[str]] = {}
    for name, why in problem.skipped.items():
        reasons.setdefault(why, []).append(name)
    return found + [f"not defined ({why}): {', '.join(names)}" for why, names in reasons.items()]


def distance(value: float | None) -> str:
    """A distance that may be nothing but rounding.

    Example:
        >>> distance(0.0), distance(3e-16), distance(2.4e-5), distance(0.25), distance(None)
        ('0', '<1e-12', '2e-05', '0.250', '–')
    """
    if value is None:
        return NOTHING
    if value == 0:
        return "0"
    if value < 1e-12:
        return "<1e-12"
    return f"{value:.3f}" if value >= 0.0005 else f"{value:.0e}"


def tally(problems: Sequence[ProblemTruth]) -> tuple[int, int]:
    """Claims that held, and claims in all."""
    claimed = [m for problem in problems for m in problem.methods if m.is_claimed]
    return sum(not method.broken for method in claimed), len(claimed)
