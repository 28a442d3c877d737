"""Methods of comparisons on the embedded world, one number a seed, and what seeds can decide."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import numpy.typing as npt
from fspo_numbers import Gap, gap, holm, listed, several, signed
from pagetext import interval, table

from paretune.core.results import MethodResult, RunResult
from paretune.evaluation.comparison import seed_values
from paretune.functional.indicators import hypervolume
from paretune.pipeline.folder import RunFolder
from paretune.pipeline.run import load_result

Floats = npt.NDArray[np.float64]

QUALITY = ("hypervolume", "E[min]")
"""Measures of a front: of its mean rewards, and of the smallest reward of each reply."""
MIN_SEEDS = 3
"""With two, chance agrees with itself every other time."""


@final
@dataclass(frozen=True)
class Comparison:
    """The seeds of one comparison that are measured.

    Args:
        name: of its folder.
        runs: one a seed.
    """

    name: str
    runs: tuple[RunResult, ...]

    @property
    def scenario(self) -> str:
        """What a sentence calls it: ``A`` of ``compare-a``."""
        return self.name.removeprefix("compare-").upper()

    @property
    def seeds(self) -> int:
        """How many."""
        return len(self.runs)

    @property
    def objectives(self) -> tuple[str, ...]:
        """Names."""
        return self.runs[0].objectives

    def has(self, *names: str) -> bool:
        """Whether every seed measured these methods; one that failed anywhere is not there."""
        return all(
            any(m.name == name and m.failed is None for m in run.methods)
            for run in self.runs
            for name in names
        )

    def each(self, name: str, number: Callable[[RunResult, MethodResult], float]) -> Floats:
        """``(seeds,)`` one number of a method."""
        pairs = [(r, next(m for m in r.methods if m.name == name)) for r in self.runs]
        return np.array([number(run, method) for run, method in pairs], dtype=np.float64)

    def cost(self, name: str, measure: str) -> Floats:
        """``(seeds,)`` of one of the measures that comparisons report."""

        def number(run: RunResult, method: MethodResult) -> float:
            value = seed_values(run, method)[measure]
            return float("nan") if value is None else value

        return self.each(name, number)

    def shared(self, names: Sequence[str]) -> list[tuple[float, ...]]:
        """Trade-offs that every one of some methods served in every seed."""
        plans = [
            {p.tradeoff for p in m.points} for r in self.runs for m in r.methods if m.name in names
        ]
        return sorted(set.intersection(*plans))

    def quality(
        self, name: str, measure: str, tradeoffs: Sequence[tuple[float, ...]] | None = None
    ) -> Floats:
        """``(seeds,)`` percent of what is attainable.

        Args:
            name: of a method.
            measure: one of :data:`QUALITY`.
            tradeoffs: its policies that count, by trade-off; ``None``: all.
        """
        return self.each(name, lambda run, m: _share_reached(run, m, measure, tradeoffs))


def _share_reached(
    run: RunResult,
    method: MethodResult,
    measure: str,
    tradeoffs: Sequence[tuple[float, ...]] | None,
) -> float:
    points = [p for p in method.points if tradeoffs is None or p.tradeoff in tradeoffs]
    assert run.known and points
    if measure == "E[min]":
        return 100 * max(p.utility_min.value for p in points) / run.known.utility_min
    low, high = np.asarray(run.low), np.asarray(run.high)
    unit = (np.array([[m.value for m in p.means] for p in points]) - low) / (high - low)
    reached = float(hypervolume(unit, np.zeros(low.size), np.ones(low.size)))
    return 100 * reached / run.known.hypervolume


def read_comparisons(folders: Sequence[Path]) -> list[Comparison]:
    """What is measured so far of some comparisons; those without any seed are left out."""
    found = []
    for folder in folders:
        places = sorted(folder.glob("seed-*"), key=lambda p: int(p.name.removeprefix("seed-")))
        done = [p for p in places if (p / "6-front" / "front.json").is_file()]
        if done:
            found.append(Comparison(folder.name, tuple(load_result(RunFolder(p)) for p in done)))
        else:
            print(f"{folder}: no seed is measured, left out", file=sys.stderr)
    return found


def decidable(found: Sequence[Comparison]) -> list[Comparison]:
    """Comparisons with enough seeds for a verdict; all of them where none has.

    One that has only begun would leave every claim open.
    """
    return [c for c in found if c.seeds >= MIN_SEEDS] or list(found)


@final
@dataclass(frozen=True)
class Cell:
    """One difference of two methods.

    Args:
        place: measure and scenario, ``E[min] on A``, and against what, ``E[min] on A against x``.
        gap: over seeds.
        is_kept: beyond chance among all differences of its section.
    """

    place: str
    gap: Gap
    is_kept: bool

    @property
    def what(self) -> str:
        """Measure and scenario."""
        return self.place.partition(" against ")[0]

    @property
    def against(self) -> str:
        """The second method; empty where there is none to choose from."""
        return self.place.partition(" against ")[2]

    @property
    def sign(self) -> int:
        """1 better, -1 worse, 0 within chance."""
        return int(np.sign(self.gap.mean)) if self.is_kept else 0


def judged(gaps: Mapping[str, Gap]) -> list[Cell]:
    """Differences of one section, judged together.

    Example:
        >>> up, none = gap([3.0, 5.0, 4.0], [1.0, 1.0, 1.0]), gap([0.0, 1.0], [1.0, 0.0])
        >>> [cell.sign for cell in judged({"A": up, "B": none})]
        [0, 0]
        >>> judged({"A": up})[0].sign
        1
    """
    kept = holm([found.chance for found in gaps.values()])
    return [Cell(place, g, k) for (place, g), k in zip(gaps.items(), kept, strict=True)]


def verdict_of(cells: Sequence[Cell], seeds: int) -> str:
    """A verdict on "the first is better" from the differences.

    Args:
        cells: first less second, larger is better.
        seeds: behind them; of several comparisons the fewest.

    Example:
        >>> up, down, none = Gap(2.0, 0.5, 1e-4), Gap(-1.0, 0.3, 1e-4), Gap(2.0, 3.0, 0.2)
        >>> verdict_of(judged({"A": up}), 2)
        'not decided: 2 seeds are too few'
        >>> verdict_of(judged({"A": up}), 5), verdict_of(judged({"A": up, "B": down}), 5)
        ('holds', 'holds only if: judged by A; worse by B')
        >>> two = {"E on A against x": up, "H on A against x": up, "E on A against y": none}
        >>> verdict_of(judged(two), 5)
        'holds only if: judged by E on A (1 of 2) and H on A'
        >>> verdict_of(judged({"B": down}), 5)
        'does not hold: worse by B'
        >>> verdict_of(judged({"A": none, "B": down}), 5)
        'does not hold: worse by B, better nowhere beyond chance'
        >>> verdict_of(judged({"A": none}), 5)
        'not decided: no difference beyond chance over 5 seeds'
    """
    up, down = (sum(c.sign == sign for c in cells) for sign in (1, -1))
    if too_few(seeds):
        return too_few(seeds)
    if not up and not down:
        return f"not decided: no difference beyond chance over {several(seeds, 'seed')}"
    if up == len(cells):
        return "holds"
    worse = f"worse by {_counted(cells, -1)}" if down else ""
    if up:
        return f"holds only if: judged by {_counted(cells, 1)}" + (f"; {worse}" if worse else "")
    return f"does not hold: {worse}" + (
        ", better nowhere beyond chance" if down < len(cells) else ""
    )


def too_few(seeds: int) -> str:
    """A verdict where seeds are too few for any, or empty.

    Example:
        >>> too_few(0), too_few(2), too_few(5)
        ('not decided: not measured yet', 'not decided: 2 seeds are too few', '')
    """
    if seeds == 0:
        return "not decided: not measured yet"
    verb = "is" if seeds == 1 else "are"
    return "" if seeds >= MIN_SEEDS else f"not decided: {several(seeds, 'seed')} {verb} too few"


def quality_cells(
    found: Sequence[Comparison],
    first: str,
    seconds: Sequence[str],
    measures: Sequence[str] = QUALITY,
) -> list[Cell]:
    """One method less each of some others, on every comparison that has both.

    Args:
        found: comparisons.
        first: name of a method.
        seconds: names of others.
        measures: of :data:`QUALITY`.
    """
    gaps = {}
    for c in found:
        names, tradeoffs = _served(c, first, seconds)
        for second in names[1:]:
            for m in measures:
                values = (c.quality(name, m, tradeoffs) for name in (first, second))
                gaps[place(m, c, second)] = gap(*values)
    return judged(gaps)


def quality_table(
    found: Sequence[Comparison], first: str, seconds: Sequence[str], cells: Sequence[Cell]
) -> str:
    """Every method on both yardsticks, and the first less each of the others."""
    told = {cell.place: cell for cell in cells}
    rows = []
    for c in found:
        names, tradeoffs = _served(c, first, seconds)
        for name in names:
            row = [c.scenario, name, str(len(tradeoffs)), str(c.seeds)]
            for m in QUALITY:
                row.append(interval(c.quality(name, m, tradeoffs), 1))
                cell = told.get(place(m, c, name))
                row.append(signed(cell.gap, 1, cell.is_kept) if cell else "")
            rows.append(row)
    columns = ["scenario", "method", "policies", "seeds"]
    for m in QUALITY:
        columns += [f"{m}, %", f"{first} less this"]
    return table(columns, rows, 2)


def _served(
    c: Comparison, first: str, seconds: Sequence[str]
) -> tuple[list[str], list[tuple[float, ...]]]:
    """Methods of a section that a comparison has, the first first, and what all of them served."""
    if not c.has(first):
        return [], []
    names = [first, *(name for name in seconds if c.has(name))]
    return names, c.shared(names)


def place(measure: str, c: Comparison, second: str) -> str:
    """Where a difference to another method was measured, and on what."""
    return f"{measure} on {c.scenario} against {second}"


def summed_up(cells: Sequence[Cell], found: Sequence[Comparison]) -> str:
    """The differences, for the summary: each of those to one method, or how many are what.

    Args:
        cells: differences.
        found: comparisons behind them.

    Example:
        >>> near, far = Gap(2.0, 3.0, 0.2), Gap(-1.0, 0.3, 1e-4)
        >>> summed_up(judged({"E on A against x": near, "E on B against x": far}), [])
        'E +2.0 ± 3.0 (A), -1.0 ± 0.3 ** (B) points; no seed'
        >>> summed_up(judged({"E on A against x": near, "E on A against y": far}), [])
        'of 2 differences 0 better and 1 worse beyond chance, -1.0 to +2.0 points; no seed'
    """
    if not cells:
        return "not measured yet"
    if len({c.against for c in cells}) == 1:
        by_measure: dict[str, list[str]] = {}
        for c in cells:
            measure, _, scenario = c.what.partition(" on ")
            told = f"{signed(c.gap, 1, c.is_kept)} ({scenario})"
            by_measure.setdefault(measure, []).append(told)
        all_told = "; ".join(f"{m} {', '.join(told)}" for m, told in by_measure.items())
        return f"{all_told} points; {seeds_told(found)}"
    better, worse = (sum(c.sign == sign for c in cells) for sign in (1, -1))
    means = [c.gap.mean for c in cells]
    return (
        f"of {len(cells)} differences {better} better and {worse} worse beyond chance, "
        f"{min(means):+.1f} to {max(means):+.1f} points; {seeds_told(found)}"
    )


def seeds_told(found: Sequence[Comparison]) -> str:
    """On how many seeds something stands.

    Example:
        >>> seeds_told([])
        'no seed'
    """
    by_count: dict[int, list[str]] = {}
    for c in found:
        by_count.setdefault(c.seeds, []).append(c.scenario)
    told = (f"{several(n, 'seed')} on {listed(names)}" for n, names in by_count.items())
    return ", ".join(told) or "no seed"


def _counted(cells: Sequence[Cell], sign: int) -> str:
    """Measures by which the first is better (worse), and against how many where not all."""
    told = []
    for what in dict.fromkeys(c.what for c in cells):
        signs = [c.sign for c in cells if c.what == what]
        n = signs.count(sign)
        if n:
            told.append(what if n == len(signs) else f"{what} ({n} of {len(signs)})")
    return listed(told)
