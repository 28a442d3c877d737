"""What personalization is worth, as tables: the same on the terminal and on the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from paretune.core.personalization import PersonalizationResult
from paretune.core.results import Interval
from paretune.reporting.cells import Bar, Cell, Row, bar_percent
from paretune.reporting.plain import one_line
from paretune.reporting.table import NAME_WIDTH, Table
from paretune.reporting.wording import NOTHING, between, estimate, number, percent, several

COLUMNS = {
    "own pairs": "How often the policy prefers what a new user prefers, when the prompt shows "
    "pairs of that user; 0.5 is guessing. Below it the 95% interval over users.",
    "other's pairs": "The same questions with the pairs of somebody else in the prompt.",
    "own − other": "What a user's own pairs are worth: the evidence that the policy does what "
    "this user wants, and not what most users want. An interval above 0 means that the draw of "
    "users cannot explain it.",
    "pairs shown": "With so many pairs of the user in the prompt.",
    "new user, new prompt": "Users and prompts that were both kept out of training.",
    "seen": "Users, or prompts, that the policy was trained on.",
    "wins": "How often users like the policy's reply better than another reply to the same "
    "prompt, by their own utility; a tie counts half.",
    "steers": "Rank correlation, across users, of how much an objective weighs for them and how "
    "much of it they get; 1 means that whoever wants more gets more.",
    "worst": "What is left of full marks on the objective that a user misses most, as it weighs "
    "for that user; averaged over users.",
    "missed most": "The objective that is it for most users, and for how many of them.",
    "by one objective": "Wins by that reward alone, whatever a user wants.",
    "/ reference": "Against the reference policy on the same prompt, with the same pairs.",
    "/ zero-shot": "Against the policy itself when the prompt says nothing about the user.",
    "/ described": "Against the policy itself when the prompt tells in words what the user wants, "
    "and shows no pair.",
}
"""Column, or opponent, to what it means."""

_SEEN, _REPLIES = "Seen and new", "Whose reply users like better"
_STEERING = "Who wants more gets more"

_CELLS = {
    (True, True): "new user, new prompt",
    (True, False): "new user, seen prompt",
    (False, True): "seen user, new prompt",
    (False, False): "seen user, seen prompt",
}


def column_meaning(column: str) -> str:
    """What a column of :func:`personalization_cells` means.

    Example:
        >>> column_meaning("8 pairs")
        'With so many pairs of the user in the prompt.'
    """
    return COLUMNS.get(column, COLUMNS["pairs shown"])


def meanings_shown(results: Sequence[PersonalizationResult]) -> dict[str, str]:
    """Column to what it means, for the columns that some result fills."""
    rules = {
        "own pairs": True,
        "other's pairs": any(r.other for r in results),
        "own − other": any(r.gap for r in results),
        "pairs shown": any(r.by_shots for r in results),
        "new user, new prompt": any(r.cells for r in results),
        "seen": any(r.cells for r in results),
        "wins": any(r.wins for r in results),
        "by one objective": any(r.wins for r in results),
        **{f"/ {win.opponent}": True for r in results for win in r.wins},
        "steers": any(r.controllability for r in results),
        "worst": any(r.worst_weighted for r in results),
        "missed most": any(r.worst_share for r in results),
    }
    return {column: COLUMNS[column] for column, is_shown in rules.items() if is_shown}


def personalization_sentence(result: PersonalizationResult) -> str:
    """The finding about one policy, in a sentence or two."""
    name, own = one_line(result.name, NAME_WIDTH), percent(result.own.value)
    users = several(result.n_users, "new user")
    said = f"{name}: shown their own pairs, it prefers what {users} prefer in {own} of cases"
    if result.other is None or result.gap is None:
        return f"{said}. Nobody else's pairs were shown, so that this may be common taste."
    gap = result.gap
    other, points = percent(result.other.value), f"{round(100 * gap.value):+d} points"
    told = f"{said}, shown somebody else's in {other}"
    if gap.low > 0:
        return f"{told}: {points} for knowing who asks."
    if gap.high < 0:
        return f"{told}: {points}, so that a user's own pairs mislead it."
    return f"{told}: {points}, which the draw of users may explain."


def personalization_table(results: Sequence[PersonalizationResult]) -> Table:
    """How often policies agree with new users: a row a method.

    Args:
        results: measured on the same users.

    Returns:
        With own pairs, with somebody else's, the difference, and by the number of pairs shown;
        columns without any entry are left out.
    """
    shots = _numbers(results)
    columns = ("method", "own pairs", "other's pairs", "own − other", *map(_shown, shots))
    rows = tuple(
        (
            one_line(result.name, NAME_WIDTH),
            estimate(result.own),
            estimate(result.other),
            NOTHING if result.gap is None else _signed(result.gap),
            *(number(_value(result.by_shots.get(n))) for n in shots),
        )
        for result in results
    )
    notes = tuple(dict.fromkeys(note for result in results for note in result.notes))
    return _without_empty(Table(columns, rows, notes))


def cell_table(results: Sequence[PersonalizationResult]) -> Table | None:
    """Seen and new users on seen and new prompts; ``None`` where that was not measured."""
    rows = []
    for result in results:
        found = {(c.is_new_user, c.is_new_prompt): c for c in result.cells}
        if found:
            told = (estimate(found[k].accuracy) if k in found else NOTHING for k in _CELLS)
            rows.append((one_line(result.name, NAME_WIDTH), *told))
    table = Table(("method", *_CELLS.values()), tuple(rows))
    return _without_empty(table) if rows else None


def win_table(results: Sequence[PersonalizationResult]) -> Table | None:
    """How often users like a reply better than its opponent's; ``None`` without replies."""
    rows = tuple(
        (
            f"{one_line(result.name, NAME_WIDTH)} / {win.opponent}",
            estimate(win.rate),
            *(NOTHING if found is None else number(found.value) for found in win.by_objective),
        )
        for result in results
        for win in result.wins
    )
    objectives = results[0].objectives if results else ()
    return Table(("policy / opponent", "wins", *objectives), rows) if rows else None


def steering_table(results: Sequence[PersonalizationResult]) -> Table | None:
    """Whether users get more of what they want more of; ``None`` without replies."""
    rows = []
    for result in results:
        if not result.controllability and result.worst_weighted is None:
            continue
        told = [
            # + 0.0: what rounds to nothing has no sign.
            NOTHING if rho is None else f"{round(rho, 2) + 0.0:.2f}"
            for rho in result.controllability
        ]
        told += [NOTHING] * (len(result.objectives) - len(told))
        name, missed = one_line(result.name, NAME_WIDTH), _most_missed(result)
        rows.append((name, *told, estimate(result.worst_weighted), missed))
    objectives = results[0].objectives if results else ()
    columns = ("method", *objectives, "worst", "missed most")
    return Table(columns, tuple(rows)) if rows else None


def personalization_cells(
    results: Sequence[PersonalizationResult],
) -> tuple[list[str], list[Row]]:
    """:func:`personalization_table` for the page: numbers with bars, the best in bold.

    Args:
        results: measured on the same users.

    Returns:
        Columns, and a row a method.
    """
    shots = _numbers(results)
    columns = ["own pairs", "other's pairs", "own − other", *map(_shown, shots)]
    best_own = max((r.own.value for r in results), default=None)
    best_gap = max((r.gap.value for r in results if r.gap is not None), default=None)
    rows = [
        Row(
            result.name,
            (
                _measured(result.own, result.own.value == best_own),
                _measured(result.other),
                _gap(result.gap, best_gap),
                *(_measured(result.by_shots.get(n)) for n in shots),
            ),
        )
        for result in results
    ]
    keep = [
        i
        for i in range(len(columns))
        if i == 0 or any(row.cells[i].text != NOTHING for row in rows)
    ]
    kept = [Row(row.name, tuple(row.cells[i] for i in keep)) for row in rows]
    return [columns[i] for i in keep], kept


@final
@dataclass(frozen=True)
class UserTable:
    """One of the tables beside the first, for the page.

    Args:
        title: what it answers.
        first: heading of the names.
        columns: headings after it, each with what it means.
        rows: numbers with their intervals below.
    """

    title: str
    first: str
    columns: tuple[tuple[str, str], ...]
    rows: tuple[Row, ...]


def user_tables(results: Sequence[PersonalizationResult]) -> list[tuple[str, Table]]:
    """Every table of personalization that says something, with its title, for the terminal."""
    if not results:
        return []
    tables = {
        "Own pairs": personalization_table(results),
        _SEEN: cell_table(results),
        _REPLIES: win_table(results),
        _STEERING: steering_table(results),
    }
    return [(title, table) for title, table in tables.items() if table is not None]


def user_panels(results: Sequence[PersonalizationResult]) -> list[UserTable]:
    """The tables of :func:`user_tables` after the first, for the page."""
    of_objective = {_REPLIES: "by one objective", _STEERING: "steers", _SEEN: "seen"}
    # The terminal cuts long names; here they stand in full.
    full = {one_line(r.name, NAME_WIDTH): r.name for r in results}
    panels = []
    for title, table in user_tables(results)[1:]:
        columns = tuple(
            (name, COLUMNS.get(name, COLUMNS[of_objective[title]])) for name in table.columns[1:]
        )
        rows = []
        for name, *told in table.rows:
            method, slash, opponent = name.rpartition(" / ")
            shown = f"{full[method]} / {opponent}" if slash and name not in full else full[name]
            rows.append(Row(shown, tuple(map(_as_cell, told))))
        panels.append(UserTable(title, table.columns[0], columns, tuple(rows)))
    return panels


def _as_cell(text: str) -> Cell:
    """A number with its interval below it."""
    value, bracket, interval = text.partition(" [")
    return Cell(value, f"[{interval}") if bracket else Cell(text)


def _numbers(results: Sequence[PersonalizationResult]) -> list[int]:
    return sorted({n for result in results for n in result.by_shots})


def _shown(n: int) -> str:
    return several(n, "pair")


def _value(found: Interval | None) -> float | None:
    return None if found is None else found.value


def _signed(gap: Interval) -> str:
    return f"{gap.value:+.3f} {between(gap)}"


def _most_missed(result: PersonalizationResult) -> str:
    if not result.worst_share:
        return NOTHING
    at = max(range(len(result.worst_share)), key=result.worst_share.__getitem__)
    return f"{result.objectives[at]} ({percent(result.worst_share[at])})"


def _measured(found: Interval | None, is_best: bool = False) -> Cell:
    if found is None:
        return Cell(NOTHING)
    low, value, high = (bar_percent(v) for v in (found.low, found.value, found.high))
    bar = Bar(value, low, round(max(high - low, 0.8), 2), None)
    return Cell(number(found.value), between(found), bar, is_best)


def _gap(gap: Interval | None, best: float | None) -> Cell:
    if gap is None:
        return Cell(NOTHING)
    return Cell(f"{gap.value:+.3f}", between(gap), is_best=gap.value == best and gap.low > 0)


def _without_empty(table: Table) -> Table:
    keep = [
        i
        for i in range(len(table.columns))
        if i < 2 or any(row[i] != NOTHING for row in table.rows)
    ]
    rows = tuple(tuple(row[i] for i in keep) for row in table.rows)
    return Table(tuple(table.columns[i] for i in keep), rows, table.notes)
