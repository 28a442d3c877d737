"""Tables and differences of runs on the world, for the ParetoHqD page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from fspo_numbers import (
    CHEBYSHEV,
    COLLAPSED,
    CONTROL,
    HYPERVOLUME,
    MALFORMED,
    SMALLEST,
    Gap,
    Measure,
    gap,
    listed,
    several,
    signed,
)
from fspo_world import is_finished
from pagetext import interval, table
from paretohqd_world import SHAPE, Runs

from paretune.core.results import Cost, MethodResult, RunResult
from paretune.pipeline.compare import RESULT
from paretune.pipeline.folder import RunFolder
from paretune.pipeline.run import load_result

Floats = npt.NDArray[np.float64]

YARDSTICKS = (HYPERVOLUME, SMALLEST, CHEBYSHEV)
ALL = (*YARDSTICKS, CONTROL, COLLAPSED, MALFORMED)
HOW = """\
In percent of the best that any policy could reach, computed exactly: `hypervolume` of mean \
rewards; `E[min]`: per reply the smallest reward, best policy; `Chebyshev`: per reply, what a user \
of the trade-off gets where the worst weighted shortfall decides, mean over trade-offs. `Control`: \
rank correlation of weight and mean reward, mean over objectives."""
TUNED = {
    "one": "pareto_hqd-stage-1",
    "two": "pareto_hqd-stages-1-2",
    "soups": "rewarded_soups",
    "morlhf": "morlhf",
    "ric": "ric",
    "sft": "sft",
}
"""Names of the comparison's methods."""


def of(result: RunResult, name: str) -> MethodResult | None:
    """A method of a run; ``None`` where it is missing or failed."""
    found = (m for m in result.methods if m.name == name and m.failed is None)
    return next(found, None)


def values(runs: Sequence[RunResult], name: str, measure: Measure) -> Floats:
    """``(seeds,)`` one number a run that holds the method."""
    pairs = ((run, of(run, name)) for run in runs)
    return np.array([measure.number(run, method) for run, method in pairs if method is not None])


def names_of(runs: Sequence[RunResult], names: Sequence[str]) -> list[str]:
    """Those that every run holds."""
    return [name for name in names if runs and all(of(run, name) is not None for run in runs)]


def absolute(
    found: Runs, names: Sequence[str], measures: Sequence[Measure] = ALL, said: str = ""
) -> str:
    """A table a scenario; methods that a run lacks are left out."""
    parts = []
    for scenario, runs in found.items():
        kept = names_of(runs, names)
        rows = [[n, *(interval(values(runs, n, m), m.digits) for m in measures)] for n in kept]
        if rows:
            head = f"Scenario {scenario} ({SHAPE[scenario]}), {said}{several(len(runs), 'seed')}:"
            parts += [head, table(["method", *(m.name for m in measures)], rows)]
    return "\n\n".join(parts)


def between(
    found: Runs, first: str, second: str, measures: Sequence[Measure] = YARDSTICKS
) -> dict[tuple[str, str], Gap]:
    """First less second by scenario and measure, paired by seed."""
    return {
        (scenario, m.name): gap(values(runs, first, m), values(runs, second, m))
        for scenario, runs in found.items()
        if len(names_of(runs, (first, second))) == 2
        for m in measures
    }


def differences(found: Mapping[tuple[str, str], Gap], head: str = "scenario") -> str:
    """A table of differences, a row a scenario."""
    columns = list(dict.fromkeys(measure for _, measure in found))
    rows = [
        [scenario, *(signed(found[scenario, c], 1) for c in columns)]
        for scenario in dict.fromkeys(scenario for scenario, _ in found)
    ]
    return table([head, *columns], rows)


def keys(found: Mapping[tuple[str, str], Gap], sign: int) -> list[tuple[str, str]]:
    """Scenario and measure of what is larger (1), smaller (-1) or neither (0) beyond chance."""
    return [key for key, g in found.items() if g.is_beyond_chance * np.sign(g.mean) == sign]


def beyond(found: Mapping[tuple[str, str], Gap], sign: int) -> list[str]:
    """What is larger (1), smaller (-1) or neither (0) beyond chance, in words.

    Example:
        >>> sure, unsure = Gap(1.0, 0.5, 0.01), Gap(1.0, 2.0, 0.3)
        >>> found = {("A", "E[min], %"): sure, ("B", "E[min], %"): sure, ("C", "x"): unsure}
        >>> beyond(found, 1), beyond(found, 0)
        (['E[min] on A and B'], ['x on C'])
    """
    where: dict[str, list[str]] = {}
    for scenario, measure in keys(found, sign):
        where.setdefault(measure, []).append(scenario)
    return [f"{short(measure)} on {listed(scenarios)}" for measure, scenarios in where.items()]


def is_idle(found: Mapping[tuple[str, str], Gap]) -> bool:
    """Whether nothing differs in any seed."""
    return all(g.mean == 0 and not g.half > 0 for g in found.values())


def short(measure: str) -> str:
    """Name of a measure in a sentence.

    Example:
        >>> short("Chebyshev, %"), short("E[min], %")
        ('Chebyshev utility', 'E[min]')
    """
    return {"Chebyshev, %": "Chebyshev utility"}.get(measure, measure.removesuffix(", %"))


def span(values: Sequence[float], digits: int = 0) -> str:
    """From the least to the most.

    Example:
        >>> span([3.2, 1.9, 2.5]), span([2.0, 2.2]), span([1.25], 1)
        ('2 to 3', '2', '1.2')
    """
    low, high = (f"{value:.{digits}f}" for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def told(found: Mapping[tuple[str, str], Gap], measure: str) -> str:
    """Differences of one measure over scenarios, in a sentence."""
    said = [f"{s} {signed(g, 1)}" for (s, m), g in found.items() if m == measure]
    return f"{short(measure)} {', '.join(said)}"


def comparison_runs(folder: Path | None) -> Runs:
    """The seeds of a comparison of all methods that are finished, by scenario.

    Args:
        folder: that holds ``compare-a`` and ``compare-b``; ``None`` for none.
    """
    found: Runs = {}
    for scenario in SHAPE if folder is not None else ():
        place = Path(folder or "") / f"compare-{scenario.lower()}"
        done = [RunFolder(p) for p in sorted(place.glob("seed-*")) if is_finished(RunFolder(p))]
        if done:
            found[scenario] = [load_result(run) for run in done]
    return found


def is_complete(folder: Path | None, scenario: str) -> bool:
    """Whether a comparison of all methods is finished."""
    return bool(folder and (folder / f"compare-{scenario.lower()}" / RESULT).exists())


def chosen(folder: Path | None, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Scenario and method to the setting that a finished comparison chose."""
    found: dict[str, dict[str, str]] = {}
    for scenario in SHAPE:
        if folder is None or not is_complete(folder, scenario):
            continue
        told = json.loads((folder / f"compare-{scenario.lower()}" / RESULT).read_text())
        found[scenario] = {
            m["name"]: ", ".join(f"{k.split('.')[-1]} {v}" for k, v in m["chosen"].items())
            for m in told["methods"]
            if m["name"] in names and m["chosen"]
        }
    return found


def making(cost: Cost) -> float:
    """CPU seconds until a method can answer: training, and the replies that it trains on."""
    return float(cost.train_seconds + cost.reply_seconds - cost.answer_seconds)
