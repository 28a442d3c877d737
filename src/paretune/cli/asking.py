"""What a person sees who is asked in a terminal: two replies, and what the answers say."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from paretune.reporting.plain import one_line, printable

_SIDE_BY_SIDE = 100
"""Columns of a terminal from which on two replies stand beside each other."""

_BAR = 30


def question_text(asked: Mapping[str, Any], number: int, width: int) -> str:
    """A question with its two replies, as lines of at most ``width`` columns.

    Args:
        asked: the question as the server tells it.
        number: of the question, from 1.
        width: of the terminal.

    Example:
        >>> asked = {"prompt": "Why?", "first": {"reply": "No."}, "second": {"reply": "Well."}}
        >>> print(question_text(asked, 3, 40))
        3. Why?
        <BLANKLINE>
        1| No.
        <BLANKLINE>
        2| Well.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    head = Table.grid()
    head.add_row(Text(f"{number}. {printable(asked['prompt'])}", overflow="fold"))
    first, second = (Text(printable(asked[s]["reply"]), overflow="fold") for s in _SIDES)
    sides = Table.grid()
    if width >= _SIDE_BY_SIDE:
        half = (width - 9) // 2
        for columns in (3, half, 3, half):
            sides.add_column(width=columns)
        sides.add_row("1| ", first, "2| ", second)
    else:
        sides.add_column(width=3)
        sides.add_column(width=max(8, width - 3))
        sides.add_row("1| ", first)
        sides.add_row("", "")
        sides.add_row("2| ", second)
    # Plain text, whatever the terminal can: no color, no link, no markup of a reply comes through.
    page = Console(file=io.StringIO(), width=width, color_system=None, force_terminal=False)
    page.print(head)
    page.print()
    page.print(sides)
    lines: str = page.file.getvalue()  # type: ignore[attr-defined]
    return "\n".join(line.rstrip() for line in lines.splitlines()).rstrip()


def estimate_text(told: Mapping[str, Any]) -> str:
    """What is known of a person: a bar an objective, then what would be served.

    Args:
        told: where the person stands, as the server tells it.

    Example:
        >>> known = {"tradeoff": {"brief": 0.5}, "low": {"brief": 0.2}, "high": {"brief": 0.8}}
        >>> known |= {"utility": {"linear": 0.5, "chebyshev": 0.5}, "loss": 0.1}
        >>> served = {"tradeoff": {"brief": 0.5}, "method": "dpo"}
        >>> print(estimate_text({"estimate": known, "served": served}))
        brief  ......=========#=========.....  0.50 [0.20, 0.80]
        served: dpo at brief 0.5; expected to lose 10 % of the best there is for you
    """
    known, served = told["estimate"], told["served"]
    names = {name: one_line(name, 24) for name in known["tradeoff"]}
    wide = max(map(len, names.values()))
    lines = [
        f"{short:<{wide}}  {_bar(known['tradeoff'][n], known['low'][n], known['high'][n])}  "
        f"{known['tradeoff'][n]:.2f} [{known['low'][n]:.2f}, {known['high'][n]:.2f}]"
        for n, short in names.items()
    ]
    loss = f"{100 * known['loss']:.2g} %"
    lines.append(
        f"served: {served_text(served)}; expected to lose {loss} of the best there is for you"
    )
    return "\n".join(lines)


def served_text(served: Mapping[str, Any]) -> str:
    """A method at one of its measured trade-offs.

    Example:
        >>> served_text({"tradeoff": {"helpful": 0.75, "brief": 0.25}, "method": "dpo"})
        'dpo at helpful 0.75, brief 0.25'
    """
    at = ", ".join(f"{one_line(name, 24)} {w:.3g}" for name, w in served["tradeoff"].items())
    return f"{served['method']} at {at}"


def reason_text(
    asked_at: tuple[str, str], objectives: tuple[str, ...], gain: float, method: str
) -> str:
    """Why a question is asked: what its answer is expected to tell, and what the replies are.

    Args:
        asked_at: trade-offs of the two replies, as weights between dashes.
        objectives: in the order of the weights.
        gain: nats.
        method: that gave the replies.

    Example:
        >>> print(reason_text(("1-0", "0-1"), ("helpful", "brief"), 0.231, "dpo"))
        Its answer is expected to tell more than any other (0.23 of at most 1.1 nats) about which
        measured trade-off of dpo is best for you.
        1 was given at helpful 1, brief 0; 2 at helpful 0, brief 1.
    """
    first, second = (
        ", ".join(f"{name} {w}" for name, w in zip(objectives, at.split("-"), strict=True))
        for at in asked_at
    )
    return (
        f"Its answer is expected to tell more than any other ({gain:.2f} of at most 1.1 nats) "
        f"about which\nmeasured trade-off of {method} is best for you.\n"
        f"1 was given at {first}; 2 at {second}."
    )


_SIDES = ("first", "second")


def _bar(mean: float, low: float, high: float) -> str:
    """``.`` where the weight hardly is, ``=`` where it may be, ``#`` for the mean."""
    cell = [min(_BAR - 1, int(value * _BAR)) for value in (low, mean, high)]
    signs = ["=" if cell[0] <= n <= cell[2] else "." for n in range(_BAR)]
    signs[cell[1]] = "#"
    return "".join(signs)
