"""Methods over seeds: one number a seed, intervals over them, and who is better how surely."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from paretune.core.comparison_results import MEASURES, Duel, MethodComparison, SettingTried
from paretune.core.interval import Interval
from paretune.core.results import KnownFront, MethodResult, RunResult
from paretune.errors import InputError
from paretune.functional.statistics import crossed_means, share_above, t_interval

Floats = npt.NDArray[np.float64]
Criterion = Literal["both", "hypervolume", "utility_min"]

YARDSTICKS = ("hypervolume", "utility_min")
"""Expected rewards and single replies: what duels and searches look at."""


def seed_values(run: RunResult, method: MethodResult) -> dict[str, float | None]:
    """Every measure of a method that did not fail, on one seed.

    Args:
        run: of the seed, with the method's reference policy and known front.
        method: one of the run's.

    Returns:
        One entry a measure of :data:`~paretune.core.comparison_results.MEASURES`, and
        ``steers.<objective>``; ``None`` where a number is not defined.
    """
    assert method.hypervolume and method.utility_min and method.utility_chebyshev
    known = run.known
    most = known.ceilings.get(len(method.points)) if known else None
    volume, worst = method.hypervolume.value, method.utility_min.value
    asked = {p.tradeoff for m in run.methods for p in m.points}
    # A mean over fewer trade-offs than the run's is another number; its share of the best is not.
    is_whole = asked == {p.tradeoff for p in method.points}
    chebyshev = method.utility_chebyshev.value
    cost, n_replies = method.cost, sum(p.n_replies for p in method.points)
    # Replies that a method learns from are part of its training.
    learning = cost.train_seconds + cost.reply_seconds - cost.answer_seconds
    values: dict[str, float | None] = {
        "hypervolume": volume,
        "hypervolume_share": _ratio(volume, known.hypervolume if known else None),
        "ceiling_share": _ratio(volume, most),
        "ceiling": _ratio(most, known.hypervolume if known else None),
        "utility_min": worst,
        "utility_min_share": _ratio(worst, known.utility_min if known else None),
        "utility_chebyshev": chebyshev if is_whole else None,
        "utility_chebyshev_share": _ratio(chebyshev, _best_chebyshev(known, method)),
        "short": _share(method, "short"),
        "loop": _share(method, "loop"),
        "repeats": _share(method, "repeats"),
        "collapsed": _share(method, "total"),
        "malformed": _share(method, "malformed"),
        "train_seconds": learning,
        "train_seconds_each": _ratio(learning, cost.tradeoffs),
        "train_tokens": float(cost.train_tokens),
        "policies": float(cost.policies),
        "reply_cost": _ratio(_ratio(cost.answer_seconds, n_replies), _reference_seconds(run)),
        "reply_tokens": _ratio(cost.answer_tokens, n_replies),
    }
    assert values.keys() == MEASURES.keys()
    steers = zip(run.objectives, method.controllability, strict=True)
    return values | {f"steers.{name}": rho for name, rho in steers}


def setting_tried(
    run: RunResult, name: str, options: Mapping[str, Any], criterion: Criterion
) -> SettingTried:
    """What a setting reached in the search.

    Args:
        run: of the search.
        name: of the setting among the run's methods.
        options: that were set.
        criterion: ``both``: the mean of the hypervolume and ``E[min]``, each as a share of what is
            possible; or one of the two.
    """
    method = next(m for m in run.methods if m.name == name)
    seconds = method.cost.train_seconds + method.cost.reply_seconds
    if method.failed is not None:
        return SettingTried(dict(options), None, seconds=seconds, failed=method.failed)
    values = seed_values(run, method)
    volume, worst = (_best_known(values, measure) for measure in YARDSTICKS)
    scores = {"both": (volume + worst) / 2, "hypervolume": volume, "utility_min": worst}
    return SettingTried(
        dict(options), scores[criterion], volume, worst, values["collapsed"], values["malformed"],
        seconds,
    )  # fmt: skip


def best_setting(tried: Sequence[SettingTried]) -> int | None:
    """Place of the largest score; the earlier one of equals; ``None`` when every setting failed."""
    scored = [n for n, setting in enumerate(tried) if setting.score is not None]
    return max(scored, key=lambda n: (tried[n].score, -n), default=None)


def over_seeds(
    runs: Sequence[RunResult],
    name: str,
    method: str,
    chosen: Mapping[str, Any],
    tried: Sequence[SettingTried] = (),
) -> MethodComparison:
    """One method over the seeds, with Student's intervals.

    Args:
        runs: one a seed, each with the method.
        name: of the method in the runs.
        method: which method it is.
        chosen: options that the seeds ran.
        tried: settings of the search.

    Returns:
        The comparison; without intervals if the method failed on any seed.
    """
    found = [next(m for m in run.methods if m.name == name) for run in runs]
    failed = [(n, m.failed) for n, m in enumerate(found) if m.failed is not None]
    rows = [
        {} if m.failed is not None else seed_values(run, m)
        for run, m in zip(runs, found, strict=True)
    ]
    measures = (*MEASURES, *(f"steers.{objective}" for objective in runs[0].objectives))
    values = {measure: tuple(row.get(measure) for row in rows) for measure in measures}
    problem = None
    if failed:
        problem = f"failed on {len(failed)} of {len(runs)} seeds, first: {failed[0][1]}"
    return MethodComparison(
        name=name,
        method=method,
        points=max(len(m.points) for m in found),
        tried=tuple(tried),
        chosen=dict(chosen),
        values=values,
        intervals={} if failed else _intervals(values),
        failed=problem,
    )


def duels(
    resampled: Mapping[str, Mapping[str, Floats]], n_resamples: int, rng: np.random.Generator
) -> tuple[Duel, ...]:
    """How surely each method beats each other one, over seeds and prompts.

    Args:
        resampled: method to yardstick to ``(S, R)``: its number for each seed on the same R
            resamples of the prompts.
        n_resamples: resamples of seeds and prompts together, >= 1.
        rng: draws them, the same for all methods.

    Returns:
        Every ordered pair of different methods, once a yardstick.

    Raises:
        InputError: if methods have other numbers of seeds or resamples.
    """
    shapes = {found[m].shape for found in resampled.values() for m in YARDSTICKS}
    if len(shapes) > 1:
        raise InputError(f"duels: found shapes {sorted(shapes)}, expected one (S, R) for all")
    names, made = list(resampled), []
    if len(names) < 2:
        return ()
    for measure in YARDSTICKS:
        stacked = np.stack([resampled[name][measure] for name in names], axis=-1)
        means = crossed_means(stacked, n_resamples, rng)
        made += [
            Duel(measure, names[i], names[j], share_above(means[:, i], means[:, j]))
            for i, j in permutations(range(len(names)), 2)
        ]
    return tuple(made)


def _intervals(values: Mapping[str, tuple[float | None, ...]]) -> dict[str, Interval]:
    """Of the measures that every seed has."""
    return {
        measure: t_interval([v for v in numbers if v is not None])
        for measure, numbers in values.items()
        if len(numbers) > 1 and all(v is not None for v in numbers)
    }


def _best_known(values: Mapping[str, float | None], measure: str) -> float:
    """A share of what is possible; of the box, which ends at 1, where that is not known."""
    share, plain = values[f"{measure}_share"], values[measure]
    found = plain if share is None else share
    assert found is not None
    return found


def _reference_seconds(run: RunResult) -> float | None:
    """CPU seconds of a reply of the reference policy."""
    if run.reference is None:
        return None
    n_replies = sum(p.n_replies for p in run.reference.points)
    return _ratio(run.reference.cost.answer_seconds, n_replies)


def _share(method: MethodResult, cause: str) -> float | None:
    """Mean over replies of a share that is known a point."""
    found = [getattr(point.collapse, cause) for point in method.points]
    if any(share is None for share in found):
        return None
    return float(np.average(found, weights=[point.n_replies for point in method.points]))


def _best_chebyshev(known: KnownFront | None, method: MethodResult) -> float | None:
    """Mean over a method's trade-offs of the largest utility; ``None`` where one is unknown."""
    best = dict(known.best_chebyshev) if known else {}
    found = [best.get(point.tradeoff) for point in method.points]
    return None if None in found else float(np.mean(np.array(found, dtype=np.float64)))


def _ratio(found: float | None, most: float | None) -> float | None:
    return None if found is None or not most else found / most
