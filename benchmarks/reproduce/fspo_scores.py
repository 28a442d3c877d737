"""What the runs on the world say, number by number and seed by seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
from fspo_numbers import (
    ALL,
    MOVED,
    YARDSTICKS,
    Floats,
    Gap,
    gain_floor,
    gaps,
    holm,
    middle,
    pooled,
)
from fspo_world import WorldRun, each

from paretune.core.results import PointResult

BASE = "linear"
BROKEN = 0.5
"""Share of malformed replies from which a policy counts as broken."""
Key = tuple[str, str, str]


@final
@dataclass(frozen=True)
class World:
    """All runs on the embedded world.

    Args:
        runs: scenario -> one run a seed.
    """

    runs: Mapping[str, Sequence[WorldRun]]

    @property
    def scenarios(self) -> tuple[str, ...]:
        """In the order of the page."""
        return tuple(self.runs)

    @cached_property
    def methods(self) -> tuple[str, ...]:
        """Scalarizers, the weighted sum first."""
        first = next(iter(self.runs.values()))[0]
        return tuple(m.name for m in first.result.methods)

    @property
    def seeds(self) -> int:
        """Seeds of every scenario."""
        return min(len(found) for found in self.runs.values())

    @cached_property
    def values(self) -> dict[Key, Floats]:
        """``(seeds,)`` by scenario, method and name of the measure."""
        return {
            (scenario, method, measure.name): each(found, method, measure.number)
            for scenario, found in self.runs.items()
            for method in self.methods
            for measure in (*ALL, MOVED)
        }

    @cached_property
    def gaps(self) -> dict[Key, tuple[Gap, bool]]:
        """Every other scalarizer less the weighted sum, and whether all together leave it."""
        names = {measure.name for measure in YARDSTICKS}
        return gaps({k: v for k, v in self.values.items() if k[2] in names}, BASE)

    @cached_property
    def pooled(self) -> dict[tuple[str, str], tuple[Gap, bool]]:
        """The same over all scenarios, by method and yardstick; judged together."""
        found = {
            (method, measure.name): self.over_all(method, measure.name)
            for method in self.methods
            if method != BASE
            for measure in YARDSTICKS
        }
        kept = holm([g.chance for g in found.values()])
        return {k: (g, is_kept) for (k, g), is_kept in zip(found.items(), kept, strict=True)}

    def over_all(self, method: str, measure: str) -> Gap:
        """A method less the weighted sum, mean over scenarios."""
        return pooled(
            [
                self.values[s, method, measure] - self.values[s, BASE, measure]
                for s in self.scenarios
            ]
        )

    def beyond(self, sign: int) -> list[Key]:
        """Scenario, method and yardstick that beat (1) or lose to (-1) the weighted sum, Holm."""
        return [k for k, (g, is_kept) in self.gaps.items() if is_kept and sign * g.mean > 0]

    def beyond_on_all(self, sign: int) -> list[tuple[str, str]]:
        """Method and yardstick that do so in the mean over scenarios."""
        return [k for k, (g, is_kept) in self.pooled.items() if is_kept and sign * g.mean > 0]

    def costs(self, method: str) -> list[str]:
        """Measures in which a method loses to the weighted sum, one by one in the mean.

        Gains are claimed strictly, among all; a cost counts as soon as chance alone is unlikely.
        """
        alone = [y for (m, y), (g, _) in self.pooled.items() if m == method and _is_loss(g)]
        kept = [y for _, m, y in self.beyond(-1) if m == method]
        return list(dict.fromkeys([*alone, *kept]))

    def axes(self, scenario: str) -> tuple[str, ...]:
        """Objectives of a scenario."""
        return self.runs[scenario][0].result.objectives

    def broken_corners(self, scenario: str, method: str = BASE) -> dict[str, Floats]:
        """Objective -> ``(seeds,)`` malformed share of the policy trained for it alone."""
        found = {}
        for row, axis in enumerate(self.axes(scenario)):
            shares = []
            for run in self.runs[scenario]:
                points = next(m for m in run.result.methods if m.name == method).points
                corner = next(p for p in points if p.tradeoff[row] == 1)
                shares.append(corner.collapse.malformed or 0.0)
            found[axis] = np.array(shares)
        return found


def _is_loss(found: Gap) -> bool:
    return found.is_beyond_chance and found.mean < 0


def is_broken(point: PointResult) -> bool:
    """Whether most replies of a policy are malformed."""
    return (point.collapse.malformed or 0.0) >= BROKEN


def one_for_all(run: WorldRun, method: str) -> tuple[float, float, float, float]:
    """Mean Chebyshev utility over users of every trade-off of a run.

    Returns:
        The policy of the even trade-off for everybody, every user's own policy, and both once more
        for the users alone whose own policy is not broken.
    """
    found = next(m for m in run.result.methods if m.name == method)
    served = run.served[method]
    even = found.points.index(middle(found))
    is_whole = np.array([not is_broken(p) for p in found.points])
    one, own = served[even], served.diagonal()
    kept = [float(x[is_whole].mean()) if is_whole.any() else np.nan for x in (one, own)]
    return float(one.mean()), float(own.mean()), kept[0], kept[1]


def corner_gain(run: WorldRun, method: str) -> float:
    """Percent: smallest gain over the reference, mean over the policies of single objectives."""
    found = next(m for m in run.result.methods if m.name == method)
    corners = [p for p in found.points if max(p.tradeoff) == 1]
    return 100 * float(np.mean([gain_floor(run.result, p) for p in corners]))


def middle_wins(run: WorldRun, method: str) -> Floats:
    """``(M,)`` share of the even policy's replies that beat the reference's, a tie half."""
    found = next(m for m in run.result.methods if m.name == method)
    return run.wins[method][found.points.index(middle(found))]


def fallen(run: WorldRun, method: str) -> Floats:
    """``(5,)`` shares of what a method's policies did to objectives they give weight to.

    Returns:
        Policies with such an objective below the reference; below it even at the upper end of its
        interval; by more than a tenth of the range; by as much, of the policies that are not
        broken (NaN if all are); and the first for the even trade-off.
    """
    found = next(m for m in run.result.methods if m.name == method)
    assert run.result.reference is not None
    base = np.array([m.value for m in run.result.reference.points[0].means])
    rows = []
    for point in found.points:
        wanted = np.array(point.tradeoff) > 0
        means = np.array([m.value for m in point.means])[wanted]
        highs = np.array([m.high for m in point.means])[wanted]
        below = [(means < base[wanted]).any(), (highs < base[wanted]).any(),
                 (means < base[wanted] - 0.1).any()]  # fmt: skip
        rows.append(below)
    even = rows[found.points.index(middle(found))][0]
    whole = [r[2] for r, p in zip(rows, found.points, strict=True) if not is_broken(p)]
    severe = np.mean(whole) if whole else np.nan
    return np.array([*np.mean(rows, axis=0), severe, float(even)])
