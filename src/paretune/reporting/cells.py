"""The table of methods on the page: numbers with bars, and what is possible beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from paretune.core.results import Interval, MethodResult, RunResult
from paretune.reporting import shares
from paretune.reporting.glossary import GLOSSARY
from paretune.reporting.wording import NOTHING, between, number, percent


@final
@dataclass(frozen=True)
class Bar:
    """A bar from 0 to 1 with its interval, in percent of its width.

    Args:
        value: end of the bar.
        low: start of the interval.
        width: length of the interval.
        limit: the best possible, if known.
    """

    value: float
    low: float
    width: float
    limit: float | None


@final
@dataclass(frozen=True)
class Cell:
    """One cell of the table of methods.

    Args:
        text: the number.
        below: a second, smaller line.
        bar: for a number with an interval.
        is_best: whether no method of the run has a better one.
    """

    text: str
    below: str = ""
    bar: Bar | None = None
    is_best: bool = False


@final
@dataclass(frozen=True)
class Row:
    """One row of the table of methods.

    Args:
        name: a method, the reference policy, or a limit.
        cells: one a column.
        failed: why the method failed; empty when it did not.
    """

    name: str
    cells: tuple[Cell, ...]
    failed: str = ""


def method_cells(result: RunResult) -> tuple[list[str], list[Row], list[Row]]:
    """The table of methods of a run.

    Args:
        result: a measured run.

    Returns:
        Columns that some row has something to say in, rows of the reference policy and the
        methods, and rows of what no method can exceed.
    """
    methods = [] if result.reference is None else [("reference policy", result.reference)]
    methods += [(method.name, method) for method in result.methods]
    found = [_cells(result, method) for _, method in methods]
    limits = _limits(result)
    every = [*found, *limits.values()]
    columns = [c for c in GLOSSARY if any(c in row and row[c].text != NOTHING for row in every)]

    def row(name: str, cells: Mapping[str, Cell], failed: str = "") -> Row:
        return Row(name, tuple(cells[column] for column in columns), failed)

    return (
        columns,
        [row(n, cells, m.failed or "") for (n, m), cells in zip(methods, found, strict=True)],
        [row(name, cells) for name, cells in limits.items()],
    )


def bar_percent(value: float) -> float:
    """A share as percent of a bar, cut to its ends."""
    return round(100 * min(max(value, 0.0), 1.0), 2)


def _cells(result: RunResult, method: MethodResult) -> dict[str, Cell]:
    known = result.known
    steers = [NOTHING if rho is None else f"{rho:.2f}" for rho in method.controllability]
    ceiling = shares.of_ceiling(result, method)
    malformed = shares.malformed(method)
    limit = shares.ceiling(result, method) or (known.hypervolume if known else None)
    return {
        "points": Cell(str(len(method.points))),
        "hypervolume": _measured(result, method, "hypervolume", limit),
        "of limit": Cell(
            percent(shares.of_attainable(result, method)),
            "" if ceiling is None else f"of {len(method.points)}: {percent(ceiling)}",
        ),
        "E[min]": _measured(result, method, "utility_min", known.utility_min if known else None),
        "of best": Cell(percent(shares.of_best_reply(result, method))),
        "Chebyshev": _measured(
            result, method, "utility_chebyshev", known.utility_chebyshev if known else None
        ),
        "steers": Cell(NOTHING if set(steers) == {NOTHING} else "\n".join(steers)),
        "distance": Cell(number(method.distance.value if method.distance else None)),
        "gap": Cell(percent(method.largest_gap if method is not result.reference else None)),
        "collapsed": Cell(
            percent(shares.collapsed(method)),
            "" if malformed is None else f"malformed {percent(malformed)}",
        ),
    }


def _limits(result: RunResult) -> dict[str, dict[str, Cell]]:
    """What no method can exceed: with as many policies as were measured, and with any number."""
    known, blank = result.known, dict.fromkeys(GLOSSARY, Cell(NOTHING))
    if known is None:
        return {}
    sizes = sorted({len(m.points) for m in result.methods} & set(known.ceilings))
    finite = {
        f"best {k} policies": blank
        | {
            "points": Cell(str(k)),
            "hypervolume": Cell(number(known.ceilings[k])),
            "of limit": Cell(percent(known.ceilings[k] / known.hypervolume)),
        }
        for k in sizes
    }
    any_number = blank | {
        "hypervolume": Cell(number(known.hypervolume)),
        "of limit": Cell("100%"),
        "E[min]": Cell(number(known.utility_min)),
        "Chebyshev": Cell(number(known.utility_chebyshev)),
    }
    return {**finite, "best possible": any_number}


def _measured(result: RunResult, method: MethodResult, name: str, limit: float | None) -> Cell:
    found: Interval | None = getattr(method, name)
    if found is None:
        return Cell(NOTHING)
    others = [getattr(m, name).value for m in result.methods if getattr(m, name) is not None]
    low, value, high = (bar_percent(v) for v in (found.low, found.value, found.high))
    end = None if limit is None else bar_percent(limit)
    return Cell(
        number(found.value),
        between(found),
        Bar(value, low, round(max(high - low, 0.8), 2), end),
        found.value == max(others, default=None) and method in result.methods,
    )
