"""Numbers as words: one way to write each kind of number, on the page and on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from paretune.core.results import Interval

NOTHING = "–"
"""Shown where there is no number."""


def number(value: float | None) -> str:
    """Three decimals below 10, fewer above.

    Example:
        >>> number(0.6823), number(-3.2), number(41.25), number(1234.5), number(None)
        ('0.682', '-3.200', '41.2', '1,234', '–')
    """
    if value is None:
        return NOTHING
    size = abs(value)
    return f"{value:,.{3 if size < 10 else 1 if size < 1000 else 0}f}"


def between(found: Interval | None) -> str:
    """The interval alone.

    Example:
        >>> between(Interval(0.682, 0.67, 0.694))
        '[0.670, 0.694]'
    """
    return "" if found is None else f"[{number(found.low)}, {number(found.high)}]"


def estimate(found: Interval | None) -> str:
    """A number with its interval."""
    return NOTHING if found is None else f"{number(found.value)} {between(found)}"


def percent(share: float | None) -> str:
    """A share as a whole percentage; what is not nothing is not written as 0.

    Example:
        >>> percent(0.864), percent(0.004), percent(0.0), percent(0.998), percent(None)
        ('86%', '<1%', '0%', '99.8%', '–')
    """
    if share is None:
        return NOTHING
    if 0 < share < 0.005:
        return "<1%"
    # 99.8 % of an optimum is not the optimum.
    digits = 1 if 0.995 <= share < 1 else 0
    return f"{100 * share:.{digits}f}%"


def count(n: float) -> str:
    """A number of things with at most three digits.

    Example:
        >>> count(950), count(88_000), count(1_450_000), count(2.1e9)
        ('950', '88 k', '1.4 M', '2.1 B')
    """
    for size, sign in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if n >= size:
            short = n / size
            return f"{short:.1f} {sign}" if short < 10 else f"{short:.0f} {sign}"
    return f"{n:.0f}"


def seconds(duration: float) -> str:
    """A duration in the units a person would use.

    Example:
        >>> seconds(1.49), seconds(16.4), seconds(60.2), seconds(125), seconds(11_520)
        ('1.5 s', '16 s', '1 min', '2 min 5 s', '3 h 12 min')
    """
    if duration < 9.95:
        return f"{duration:.1f} s"
    whole = round(duration)
    if whole < 60:
        return f"{whole} s"
    size, big, small = (60, "min", "s") if whole < 3600 else (3600, "h", "min")
    rest = whole % size if size == 60 else whole % size // 60
    return f"{whole // size} {big}" + (f" {rest} {small}" if rest else "")


def weight(value: float) -> str:
    """One weight of a trade-off, as short as it can be.

    Example:
        >>> weight(0.7), weight(1 / 3), weight(1.0)
        ('0.7', '0.33', '1')
    """
    return f"{value:.2f}".rstrip("0").rstrip(".")


def weights(objectives: Sequence[str], tradeoff: Sequence[float]) -> str:
    """A trade-off with the names of its objectives.

    Example:
        >>> weights(("helpful", "concise"), (0.7, 0.3))
        'helpful 0.7, concise 0.3'
    """
    pairs = zip(objectives, tradeoff, strict=True)
    return ", ".join(f"{name} {weight(value)}" for name, value in pairs)


def listing(names: Sequence[str]) -> str:
    """Names in a sentence.

    Example:
        >>> listing(["a"]), listing(["a", "b", "c"])
        ('a', 'a, b and c')
    """
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def several(n: int, thing: str, plural: str | None = None) -> str:
    """A count with its noun.

    Example:
        >>> several(1, "method"), several(1200, "reply", "replies")
        ('1 method', '1,200 replies')
    """
    return f"{n:,} {thing if n == 1 else plural or thing + 's'}"
