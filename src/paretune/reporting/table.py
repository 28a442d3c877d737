"""Tables of a run: the rows the terminal prints, and the same as Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from paretune.core.results import MethodResult, RunResult
from paretune.reporting import shares
from paretune.reporting.plain import markdown, one_line
from paretune.reporting.wording import NOTHING, count, estimate, number, percent, seconds

NAME_WIDTH = 24

_NUMBER = re.compile(r"(\*\*)?(?:(?!\]\()[^\\`<>|*\x00-\x1f])*(\*\*)?")
"""No tag, bar, code or link comes of it: numbers, intervals in brackets, the best in bold."""


@final
@dataclass(frozen=True)
class Table:
    """Rows of text under headings.

    Args:
        columns: headings; the first column is a name, all others are numbers.
        rows: one text a column.
        notes: lines to print below, such as why a method failed.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def markdown(self) -> str:
        """A Markdown table, aligned so that it reads well as plain text too."""
        cells = [
            tuple(markdown(column) for column in self.columns),
            *((markdown(name), *map(_cell, others)) for name, *others in self.rows),
        ]
        # A rule of one sign would be no rule.
        widths = [max(2, *map(len, column)) for column in zip(*cells, strict=True)]
        rule = ["-" * widths[0], *("-" * (w - 1) + ":" for w in widths[1:])]
        lines = [_line(row, widths) for row in (cells[0], rule, *cells[1:])]
        return "\n".join([*lines, *("\n" + markdown(note) for note in self.notes)]) + "\n"


def method_table(result: RunResult) -> Table:
    """What each method reached: a row a method, the reference first, what is possible last.

    Args:
        result: a measured run.

    Returns:
        K is the number of points. ``of limit`` is the hypervolume as a share of what any number
        of policies can reach and, second, of what K policies can; in brackets, ``E[min]`` as a
        share of the best single reply's. Columns without any entry are left out; about 110
        characters wide with two objectives.
    """
    rows = [] if result.reference is None else [_quality(result, result.reference, "reference")]
    rows += [_quality(result, method) for method in result.methods]
    rows += _limits(result)
    failed = tuple(
        f"{one_line(m.name, NAME_WIDTH)} failed: {one_line(m.failed, 200)}"
        for m in result.methods
        if m.failed is not None
    )
    columns = (
        "method", "K", "hypervolume", "of limit", "E[min]", "Chebyshev", "steers", "collapse",
        "malformed",
    )  # fmt: skip
    return _without_empty(Table(columns, tuple(rows), failed))


def floor_table(result: RunResult) -> Table | None:
    """What constrained policies were to keep and what they kept; ``None`` where there is none."""
    # A policy that answers for every trade-off is told of once.
    rows = tuple(
        dict.fromkeys(
            (
                f"{one_line(method.name, NAME_WIDTH)}: {one_line(point.policy, NAME_WIDTH)}",
                c.objective,
                c.unit,
                NOTHING if c.floor is None else f">= {number(c.floor)}",
                f"{number(c.found.value)} [{number(c.found.low)}, {number(c.found.high)}]",
                c.verdict,
            )
            for method in result.methods
            for point in method.points
            for c in point.constraints
        )
    )
    columns = ("policy", "objective", "measured as", "floor", "found", "verdict")
    return Table(columns, rows) if rows else None


def cost_table(result: RunResult) -> Table:
    """What each method cost: CPU seconds to train and to answer, tokens trained on, policies.

    Args:
        result: a measured run.

    Returns:
        :data:`~paretune.reporting.glossary.COSTS` says what the columns mean. ``rounds`` is left
        out where no method learns from replies; about 100 characters wide.
    """
    methods = [*([result.reference] if result.reference else []), *result.methods]
    has_rounds = any(shares.rounds(m) for m in methods)
    columns = ["policies", "training", "tokens", "rounds", "a trade-off", "answers", "a reply"]
    rows = []
    for m in methods:
        ratio = shares.reply_ratio(result, m)
        is_trained = m.cost.policies > 0
        cells = {
            "policies": str(m.cost.policies) if is_trained else NOTHING,
            "training": seconds(m.cost.train_seconds) if is_trained else NOTHING,
            "tokens": count(m.cost.train_tokens) if is_trained else NOTHING,
            "rounds": seconds(shares.rounds(m)) if shares.rounds(m) else NOTHING,
            "a trade-off": _seconds(shares.per_tradeoff(m)) if is_trained else NOTHING,
            "answers": seconds(m.cost.answer_seconds or m.cost.reply_seconds),
            "a reply": NOTHING if ratio is None else f"{ratio:.1f} x",
        }
        name = "reference" if m is result.reference else one_line(m.name, NAME_WIDTH)
        rows.append((name, *(cells[c] for c in columns if has_rounds or c != "rounds")))
    return Table(("method", *(c for c in columns if has_rounds or c != "rounds")), tuple(rows))


def _quality(result: RunResult, method: MethodResult, name: str | None = None) -> tuple[str, ...]:
    steers = [NOTHING if rho is None else f"{rho:.2f}" for rho in method.controllability]
    limits = [shares.of_attainable(result, method), shares.of_ceiling(result, method)]
    known = [percent(share) for share in limits if share is not None]
    utility = number(method.utility_min.value if method.utility_min else None)
    of_best = shares.of_best_reply(result, method)
    return (
        one_line(name or method.name, NAME_WIDTH),
        str(len(method.points)),
        "failed" if method.failed is not None else estimate(method.hypervolume),
        ", ".join(known) or NOTHING,
        utility if of_best is None else f"{utility} ({percent(of_best)})",
        number(method.utility_chebyshev.value if method.utility_chebyshev else None),
        NOTHING if set(steers) == {NOTHING} else " ".join(steers),
        percent(shares.collapsed(method)),
        percent(shares.malformed(method)),
    )


def _limits(result: RunResult) -> list[tuple[str, ...]]:
    """What no method can exceed: with as many policies as were trained, and with any number."""
    known, blank = result.known, (NOTHING,) * 5
    if known is None:
        return []
    sizes = sorted({len(m.points) for m in result.methods} & set(known.ceilings))
    rows = [
        (f"best {k} policies", str(k), number(known.ceilings[k]),
         percent(known.ceilings[k] / known.hypervolume), *blank)
        for k in sizes
    ]  # fmt: skip
    return [
        *rows,
        ("best possible", NOTHING, number(known.hypervolume), "100%", number(known.utility_min),
         number(known.utility_chebyshev), *blank[2:]),
    ]  # fmt: skip


def _without_empty(table: Table) -> Table:
    keep = [
        i
        for i in range(len(table.columns))
        if any(row[i] != NOTHING for row in table.rows) or i < 3
    ]
    return Table(
        tuple(table.columns[i] for i in keep),
        tuple(tuple(row[i] for i in keep) for row in table.rows),
        table.notes,
    )


def _seconds(duration: float | None) -> str:
    return NOTHING if duration is None else seconds(duration)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = zip(cells, widths, strict=True)
    padded = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
    return f"| {' | '.join(padded)} |"


def _cell(text: str) -> str:
    """A cell of numbers as it is; what others named is escaped."""
    return text if _NUMBER.fullmatch(text) else markdown(text)
