"""Numbers of the runs on the world, one a seed, and what seeds can say about differences."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt
from pagetext import half_width
from scipy import stats

from paretune.core.results import MethodResult, PointResult, RunResult

Floats = npt.NDArray[np.float64]
Number = Callable[[RunResult, MethodResult], float]
LEVEL = 0.05


@final
@dataclass(frozen=True)
class Measure:
    """One column of a table.

    Args:
        name: heading.
        number: of a method in a run; NaN where it is not defined.
        digits: to print.
    """

    name: str
    number: Number
    digits: int


@final
@dataclass(frozen=True)
class Gap:
    """A paired difference over seeds.

    Args:
        mean: over seeds.
        half: half of a 95 % t interval; NaN with fewer than two seeds.
        chance: two-sided p of the paired t test; 1 with fewer than two seeds.
    """

    mean: float
    half: float
    chance: float

    @property
    def is_beyond_chance(self) -> bool:
        """Whether the interval excludes 0: once in twenty so by chance alone."""
        return self.chance < LEVEL


def gap(first: npt.ArrayLike, second: npt.ArrayLike) -> Gap:
    """First minus second, paired by seed.

    Example:
        >>> found = gap([3.0, 5.0, 4.0], [1.0, 1.0, 1.0])
        >>> round(found.mean, 3), round(found.half, 3), round(found.chance, 4)
        (3.0, 2.484, 0.0351)
        >>> gap([1.0, 1.0], [1.0, 1.0]).chance
        1.0
    """
    values = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    half, mean = half_width(values), float(values.mean())
    if values.size < 2:
        return Gap(mean, float("nan"), 1.0)
    error = float(stats.sem(values))
    if error == 0:
        return Gap(mean, half, 1.0 if mean == 0 else 0.0)
    return Gap(mean, half, float(2 * stats.t.sf(abs(mean) / error, values.size - 1)))


def pooled(strata: Sequence[npt.ArrayLike]) -> Gap:
    """Mean of the means of several sets of paired differences, a set a scenario.

    Scenarios are what they are, and seeds repeat them: chance is only within each.

    Args:
        strata: differences over seeds, one array a scenario.

    Source:
        Satterthwaite 1946, "An Approximate Distribution of Estimates of Variance Components".

    Example:
        Twice the same set: the same mean, an error smaller by root 2, twice the freedom.

        >>> found = pooled([[1.0, 3.0, 2.0], [1.0, 3.0, 2.0]])
        >>> round(found.mean, 3), round(found.half, 3)
        (2.0, 1.133)
    """
    sets = [np.asarray(values, dtype=np.float64) for values in strata]
    mean = float(np.mean([values.mean() for values in sets]))
    if min(values.size for values in sets) < 2:
        return Gap(mean, float("nan"), 1.0)
    variances = np.array([values.var(ddof=1) / values.size for values in sets]) / len(sets) ** 2
    error = float(np.sqrt(variances.sum()))
    if error == 0:
        return Gap(mean, 0.0, 1.0 if mean == 0 else 0.0)
    freedom = variances.sum() ** 2 / sum(
        v**2 / (values.size - 1) for v, values in zip(variances, sets, strict=True)
    )
    half = float(stats.t.ppf(1 - LEVEL / 2, freedom) * error)
    return Gap(mean, half, float(2 * stats.t.sf(abs(mean) / error, freedom)))


def unpaired(first: npt.ArrayLike, second: npt.ArrayLike) -> Gap:
    """First minus second where seeds of one have nothing to do with those of the other.

    Source:
        Welch 1947, "The Generalization of 'Student's' Problem".

    Example:
        >>> found = unpaired([2.0, 4.0, 3.0], [1.0, 1.0, 1.0])
        >>> round(found.mean, 3), round(found.half, 3)
        (2.0, 2.484)
    """
    half = pooled([first, -np.asarray(second, dtype=np.float64)])
    return Gap(2 * half.mean, 2 * half.half, half.chance)


def holm(chances: Sequence[float], level: float = LEVEL) -> list[bool]:
    """Which of several differences stay beyond chance when they are judged together.

    Source:
        Holm 1979, "A Simple Sequentially Rejective Multiple Test Procedure".

    Example:
        .01 is below .05 / 3, .03 is not below .05 / 2, and nothing after it counts.

        >>> holm([0.03, 0.01, 0.04])
        [False, True, False]
    """
    kept = [False] * len(chances)
    for rank, row in enumerate(np.argsort(chances, kind="stable").tolist()):
        if chances[row] >= level / (len(chances) - rank):
            break
        kept[row] = True
    return kept


def share(found: float | None, best: float | None) -> float:
    """Percent of what is attainable; NaN where one is unknown.

    Example:
        >>> share(0.3, 0.6), share(None, 1.0)
        (50.0, nan)
    """
    if found is None or best is None:
        return float("nan")
    return 100 * found / best


def middle(method: MethodResult) -> PointResult:
    """The policy of the even trade-off."""
    return next(p for p in method.points if np.ptp(p.tradeoff) < 1e-9)


def gains(result: RunResult, point: PointResult) -> Floats:
    """``(M,)`` mean rewards of a policy less the reference's."""
    assert result.reference is not None
    base = result.reference.points[0].means
    return np.array([p.value - r.value for p, r in zip(point.means, base, strict=True)])


def gain_floor(result: RunResult, point: PointResult) -> float:
    """Smallest gain over the reference among the objectives."""
    return float(gains(result, point).min())


def control(method: MethodResult) -> Floats:
    """``(M,)`` rank correlation of weight and reward; 0 where the reward does not vary."""
    return np.array([0.0 if c is None else c for c in method.controllability])


def _hypervolume(result: RunResult, method: MethodResult) -> float:
    known = result.known.hypervolume if result.known else None
    return share(method.hypervolume.value if method.hypervolume else None, known)


def _smallest(result: RunResult, method: MethodResult) -> float:
    known = result.known.utility_min if result.known else None
    return share(method.utility_min.value if method.utility_min else None, known)


def _chebyshev(result: RunResult, method: MethodResult) -> float:
    known = result.known.utility_chebyshev if result.known else None
    return share(method.utility_chebyshev.value if method.utility_chebyshev else None, known)


HYPERVOLUME = Measure("hypervolume, %", _hypervolume, 1)
SMALLEST = Measure("E[min], %", _smallest, 1)
CHEBYSHEV = Measure("Chebyshev, %", _chebyshev, 1)
WORST_GAIN = Measure("worst gain, %", lambda r, m: 100 * gain_floor(r, middle(m)), 1)
YARDSTICKS = (HYPERVOLUME, SMALLEST, CHEBYSHEV, WORST_GAIN)
"""What scalarizers are judged by: percent of what can be reached, the last of a reward's range."""
MOVED = Measure("moved, %", lambda r, m: 100 * float(np.abs(gains(r, middle(m))).mean()), 1)
MEAN_GAIN = Measure("mean gain, %", lambda r, m: 100 * float(gains(r, middle(m)).mean()), 1)
CONTROL = Measure("control", lambda _, m: float(control(m).mean()), 2)
WORST_CONTROL = Measure("worst", lambda _, m: float(control(m).min()), 2)
MALFORMED = Measure(
    "malformed, %",
    lambda _, m: 100 * float(np.mean([p.collapse.malformed or 0.0 for p in m.points])),
    1,
)
COLLAPSED = Measure(
    "collapsed, %", lambda _, m: 100 * float(np.mean([p.collapse.total for p in m.points])), 1
)
SECONDS = Measure("CPU s", lambda _, m: m.cost.train_seconds, 0)
ALL = (*YARDSTICKS, MEAN_GAIN, CONTROL, WORST_CONTROL, MALFORMED, COLLAPSED, SECONDS)


def gaps(
    values: Mapping[tuple[str, str, str], Floats], base: str
) -> dict[tuple[str, str, str], tuple[Gap, bool]]:
    """Every method against one, by scenario, method and measure; with Holm's verdict on all.

    Args:
        values: ``(seeds,)`` by scenario, method and measure.
        base: the method they are compared with.
    """
    found = {
        key: gap(numbers, values[key[0], base, key[2]])
        for key, numbers in values.items()
        if key[1] != base
    }
    kept = holm([g.chance for g in found.values()])
    return {key: (g, is_kept) for (key, g), is_kept in zip(found.items(), kept, strict=True)}


def several(n: int, thing: str) -> str:
    """A count with its noun.

    Example:
        >>> several(1, "world"), several(4, "world")
        ('1 world', '4 worlds')
    """
    return f"{n} {thing}" + ("" if n == 1 else "s")


def signed(value: Gap, digits: int, is_kept: bool = False) -> str:
    """A difference with its interval; ``*`` beyond chance alone, ``**`` also among all.

    Example:
        >>> signed(Gap(1.25, 0.5, 0.01), 1), signed(Gap(-0.04, 0.5, 0.9), 1)
        ('+1.2 ± 0.5 *', '-0.0 ± 0.5')
        >>> signed(gap([1.0], [0.0]), 1)
        '+1.0'
    """
    if np.isnan(value.half):
        return f"{value.mean:+.{digits}f}"
    mark = " **" if is_kept else " *" if value.is_beyond_chance else ""
    return f"{value.mean:+.{digits}f} ± {value.half:.{digits}f}{mark}"


def listed(words: Iterable[str]) -> str:
    """Words in a row.

    Example:
        >>> listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])
        ('a', 'a and b', 'a, b and c')
    """
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last
