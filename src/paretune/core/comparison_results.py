"""Results of a comparison: every method over the same seeds, on both yardsticks.

Everything here round-trips through JSON with :func:`comparison_to_json` and
``ComparisonResult.from_json``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

from paretune.core.interval import Interval


@final
@dataclass(frozen=True)
class SettingTried:
    """One setting of a method in the search, on the validation prompts.

    Args:
        options: what was set; empty = as the recipe says.
        score: what settings are chosen by, larger is better; ``None`` when the setting failed.
        hypervolume: as a share of what is attainable, or of the box where that is not known.
        utility_min: ``E[min]`` as a share of its optimum, or as it is.
        collapsed: share of replies that collapsed.
        malformed: share of replies that the grammar refuses; ``None`` without a grammar.
        seconds: CPU seconds of training and replies.
        failed: the error when it failed.
    """

    options: Mapping[str, Any]
    score: float | None
    hypervolume: float | None = None
    utility_min: float | None = None
    collapsed: float | None = None
    malformed: float | None = None
    seconds: float = 0.0
    failed: str | None = None


@final
@dataclass(frozen=True)
class MethodComparison:
    """One method over the seeds.

    Args:
        name: in the recipe.
        method: which method it is.
        points: trade-offs measured, K.
        tried: settings of the search, in order; empty where nothing was searched.
        chosen: options of the setting that all seeds ran.
        values: measure to one number a seed, ``None`` where it is not defined. See
            :data:`MEASURES`.
        intervals: mean over seeds with its 95 % t interval, of the measures that every seed has.
        failed: the error when the method failed in the search or on any seed: then there are no
            intervals, since seeds that survive would flatter it.
    """

    name: str
    method: str
    points: int
    tried: tuple[SettingTried, ...]
    chosen: Mapping[str, Any]
    values: Mapping[str, tuple[float | None, ...]]
    intervals: Mapping[str, Interval]
    failed: str | None = None

    @property
    def search_seconds(self) -> float:
        """CPU seconds that its search cost."""
        return sum(setting.seconds for setting in self.tried)


@final
@dataclass(frozen=True)
class Duel:
    """Two methods on one yardstick.

    Args:
        measure: ``hypervolume`` or ``utility_min``.
        first: name of a method.
        second: name of another.
        probability: that the mean over seeds of ``first`` is larger; a tie counts half.
    """

    measure: str
    first: str
    second: str
    probability: float


@final
@dataclass(frozen=True)
class ComparisonResult:
    """Everything that a comparison measured.

    Args:
        name: of the comparison.
        objectives: names, ``(M,)``.
        seeds: of the runs, in order.
        runs: folder of each seed's run, beside the results.
        methods: one entry a method, in the order of the recipe.
        duels: every ordered pair of methods that did not fail, once a yardstick.
        duels_from: what was resampled for the duels, in words.
        shares_of: what hypervolume and ``E[min]`` are shares of, in words.
        criterion: what settings were chosen by.
        budget: most settings a method could try.
        n_prompts: evaluation prompts of each seed.
        notes: sentences a reader must know.
        facts: settings, versions, sizes: text to text.
        seconds: CPU seconds of all seeds and the search, by what they were for.
    """

    name: str
    objectives: tuple[str, ...]
    seeds: tuple[int, ...]
    runs: tuple[str, ...]
    methods: tuple[MethodComparison, ...]
    duels: tuple[Duel, ...]
    duels_from: str
    shares_of: str
    criterion: str
    budget: int
    n_prompts: int
    notes: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ComparisonResult:
        """Inverse of :func:`comparison_to_json`."""
        plain = {name: tuple(data[name]) for name in ("objectives", "seeds", "runs", "notes")}
        return cls(
            **{
                **data,
                **plain,
                "methods": tuple(_method(m) for m in data["methods"]),
                "duels": tuple(Duel(**d) for d in data["duels"]),
            }
        )


def comparison_to_json(result: ComparisonResult) -> dict[str, Any]:
    """A result as plain JSON values."""
    return dataclasses.asdict(result)


def _method(data: Mapping[str, Any]) -> MethodComparison:
    return MethodComparison(
        **{
            **data,
            "tried": tuple(SettingTried(**setting) for setting in data["tried"]),
            "values": {name: tuple(values) for name, values in data["values"].items()},
            "intervals": {name: Interval(**found) for name, found in data["intervals"].items()},
        }
    )


MEASURES: Mapping[str, str] = {
    "hypervolume": "hypervolume of the mean rewards in the unit box",
    "hypervolume_share": "hypervolume as a share of what mixtures of the best replies reach",
    "ceiling_share": "hypervolume as a share of the most that as many policies can reach",
    "ceiling": "the most that as many policies can reach, as a share of what mixtures reach",
    "utility_min": "best point's mean over replies of the smallest unit reward, E[min]",
    "utility_min_share": "E[min] as a share of the best policy's",
    "utility_chebyshev": "mean over all trade-offs of the run of the Chebyshev utility",
    "utility_chebyshev_share": "Chebyshev utility as a share of the best at the same trade-offs",
    "short": "share of replies with fewer than three words",
    "loop": "share of replies that loop",
    "repeats": "share of replies that repeat themselves",
    "collapsed": "share of replies that collapsed: short, loop or repeats",
    "malformed": "share of replies that the grammar refuses",
    "train_seconds": "CPU seconds of training, replies to learn from included",
    "train_seconds_each": "CPU seconds of training for each trade-off",
    "train_tokens": "tokens that went through training steps",
    "policies": "policies stored",
    "reply_cost": "CPU seconds a reply, in units of the reference policy's",
    "reply_tokens": "tokens generated a reply, dropped candidates included",
}
"""Measures of a method on one seed; ``steers.<objective>`` comes beside them: the rank correlation
of the weight of an objective and its mean reward."""
