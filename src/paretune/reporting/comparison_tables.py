"""A comparison as tables: what each method reached, what broke, what it cost, who beats whom."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from paretune.core.comparison_results import ComparisonResult, MethodComparison
from paretune.core.interval import Interval
from paretune.reporting.plain import one_line
from paretune.reporting.table import Table
from paretune.reporting.wording import NOTHING, count, seconds

_WIDTH = 40
YARDSTICKS = {"hypervolume": "hypervolume", "utility_min": "E[min]"}
"""Measure of a duel to what a table calls it."""


def shown_measure(result: ComparisonResult, yardstick: str) -> str:
    """The measure that tells of a yardstick: the share of what is possible, if that is known."""
    share = f"{yardstick}_share"
    return share if any(share in m.intervals for m in result.methods) else yardstick


def quality_table(result: ComparisonResult) -> Table:
    """Both yardsticks with their intervals, best in bold; columns without an entry are left out."""
    columns: list[tuple[str, list[str]]] = [
        ("method", _names(result)),
        ("K", [str(m.points) for m in result.methods]),
    ]
    named = {
        "hypervolume_share": "hypervolume, % of attainable",
        "ceiling_share": "% of the best K policies",
        "utility_min_share": "E[min], % of optimum",
        "utility_chebyshev_share": "Chebyshev, % of optimum",
    }
    if shown_measure(result, "hypervolume") == "hypervolume":
        named = {
            "hypervolume": "hypervolume, % of the box",
            "utility_min": "E[min], % of the box",
            "utility_chebyshev": "Chebyshev, % of the box",
        }
    for measure, title in named.items():
        cells = _cells(result, measure, lambda found: plus_minus(found, 100, 1), max)
        columns.append((title, cells))
    for objective in result.objectives:
        name = f"steers.{objective}"
        title = f"steers {one_line(objective, 20)}"
        columns.append((title, _cells(result, name, lambda found: plus_minus(found, 1, 2))))
    return _table(columns, _failures(result))


def broken_table(result: ComparisonResult) -> Table:
    """Shares of replies that broke down, by cause, in percent."""
    named = {
        "collapsed": "collapsed %",
        "short": "too short %",
        "loop": "loops %",
        "repeats": "repeats %",
        "malformed": "malformed %",
    }
    columns = [("method", _names(result))]
    for measure, title in named.items():
        cells = _cells(result, measure, lambda found: plus_minus(found, 100, 1))
        columns.append((title, cells))
    return _table(columns)


def cost_table(result: ComparisonResult) -> Table:
    """Training in all and for each trade-off, what is stored, what a reply costs, the search."""

    def mean_of(measure: str, write: Callable[[float], str]) -> list[str]:
        return _cells(result, measure, lambda found: write(found.value))

    tried = [f"{max(1, len(m.tried))} of {result.budget}" for m in result.methods]
    searched = [seconds(m.search_seconds) if m.tried else NOTHING for m in result.methods]
    return _table(
        [
            ("method", _names(result)),
            ("training, CPU s", _cells(result, "train_seconds", _training)),
            ("CPU s a trade-off", mean_of("train_seconds_each", lambda v: f"{v:.1f}")),
            ("tokens trained on", mean_of("train_tokens", count)),
            ("policies stored", mean_of("policies", lambda v: f"{v:.0f}")),
            ("cost of a reply", mean_of("reply_cost", lambda v: f"{v:.1f} x")),
            ("tokens a reply", mean_of("reply_tokens", lambda v: f"{v:.0f}")),
            ("settings tried", tried),
            ("search, CPU", searched),
        ]
    )


def search_table(result: ComparisonResult) -> Table | None:
    """Every setting tried; ``None`` where nothing was searched."""
    rows = []
    for method in result.methods:
        best = dict(method.chosen)
        for setting in method.tried:
            told = ", ".join(f"{k} {v}" for k, v in setting.options.items()) or "as given"
            is_best = dict(setting.options) == best and method.chosen is not None
            rows.append(
                (
                    one_line(method.name, _WIDTH),
                    one_line(told, 80),
                    *(
                        NOTHING if value is None else f"{100 * value:.1f}"
                        for value in (
                            setting.score, setting.hypervolume, setting.utility_min,
                            setting.collapsed, setting.malformed,
                        )
                    ),
                    seconds(setting.seconds),
                    "failed" if setting.failed else "chosen" if is_best else "",
                )
            )  # fmt: skip
    columns = (
        "method", "setting", "score", "hypervolume %", "E[min] %", "collapsed %", "malformed %",
        "CPU", "",
    )  # fmt: skip
    return Table(columns, tuple(rows)) if rows else None


def duel_table(result: ComparisonResult, yardstick: str) -> Table | None:
    """In percent, how surely the method of a row is better than that of a column."""
    names = list(dict.fromkeys(d.first for d in result.duels))
    if not names:
        return None
    odds = {(d.first, d.second): d.probability for d in result.duels if d.measure == yardstick}
    rows = [
        (
            f"{n}. {one_line(row, _WIDTH)}",
            *(_odds(odds.get((row, column))) for column in names),
        )
        for n, row in enumerate(names, 1)
    ]
    return Table(("better than", *(str(n) for n in range(1, len(names) + 1))), tuple(rows))


def plus_minus(found: Interval, scale: float, digits: int) -> str:
    """Mean and half of its interval.

    Example:
        >>> plus_minus(Interval(0.8694, 0.8512, 0.8876), 100, 1)
        '86.9 ± 1.8'
    """
    half = (found.high - found.low) / 2
    return f"{scale * found.value:.{digits}f} ± {scale * half:.{digits}f}"


def _training(found: Interval) -> str:
    return plus_minus(found, 1, 0 if found.value >= 10 else 1)


def _odds(probability: float | None) -> str:
    if probability is None:
        return NOTHING
    text = f"{100 * probability:.0f}"
    # 99.9 % is not certain.
    text = ">99" if text == "100" and probability < 1 else text
    return "<1" if text == "0" and probability > 0 else text


def _names(result: ComparisonResult) -> list[str]:
    return [one_line(m.name, _WIDTH) for m in result.methods]


def _cells(
    result: ComparisonResult,
    measure: str,
    write: Callable[[Interval], str],
    best: Callable[[list[float]], float] | None = None,
) -> list[str]:
    found = [m.intervals.get(measure) for m in result.methods]
    values = [interval.value for interval in found if interval is not None]
    winner = best(values) if best is not None and len(values) > 1 else None
    return [_cell(interval, write, winner) for interval in found]


def _cell(found: Interval | None, write: Callable[[Interval], str], winner: float | None) -> str:
    if found is None:
        return NOTHING
    return f"**{write(found)}**" if found.value == winner else write(found)


def _failures(result: ComparisonResult) -> tuple[str, ...]:
    failed: list[MethodComparison] = [m for m in result.methods if m.failed is not None]
    return tuple(f"{one_line(m.name, _WIDTH)}: {one_line(str(m.failed), 300)}" for m in failed)


def _table(columns: Sequence[tuple[str, list[str]]], notes: tuple[str, ...] = ()) -> Table:
    """Columns as a table, without those that say nothing."""
    kept = [(t, cells) for t, cells in columns if any(cell != NOTHING for cell in cells)]
    rows = zip(*(cells for _, cells in kept), strict=True)
    return Table(tuple(title for title, _ in kept), tuple(rows), notes)
