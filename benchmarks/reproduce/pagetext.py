"""Numbers and tables of a page in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from scipy import stats


def interval(values: npt.ArrayLike, digits: int = 3) -> str:
    """Mean and half of a 95 % t interval over the values, one a seed.

    Example:
        >>> interval([1.0, 2.0, 3.0], 1), interval([0.5])
        ('2.0 ± 2.5', '0.500')
    """
    found = np.asarray(values, dtype=np.float64)
    center = f"{found.mean():.{digits}f}"
    return center if found.size < 2 else f"{center} ± {half_width(found):.{digits}f}"


def half_width(values: npt.ArrayLike) -> float:
    """Half of a 95 % t interval; 0 for a single value.

    Example:
        >>> round(half_width([1.0, 2.0, 3.0]), 3)
        2.484
    """
    found = np.asarray(values, dtype=np.float64)
    if found.size < 2:
        return 0.0
    return float(stats.t.ppf(0.975, found.size - 1) * stats.sem(found))


def numbers(values: Iterable[float], digits: int = 3) -> list[str]:
    """Cells of a table; no negative zero."""
    return [f"{round(float(value), digits) + 0.0:.{digits}f}" for value in values]


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], n_words: int = 1) -> str:
    """A Markdown table whose first ``n_words`` columns are words, the others numbers."""
    rule = ["---"] * n_words + ["---:"] * (len(columns) - n_words)
    escaped = ([cell.replace("|", "\\|") for cell in cells] for cells in (columns, rule, *rows))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in escaped)
