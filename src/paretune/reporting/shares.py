"""How much of what is possible a method reached, and other numbers read off results."""

from __future__ import annotations

from paretune.core.results import Interval, MethodResult, PointResult, RunResult
from paretune.functional.unit_box import unit_rewards


def of_attainable(result: RunResult, method: MethodResult) -> float | None:
    """Hypervolume as a share of what mixtures of the best replies reach, if that is known."""
    return _ratio(method.hypervolume, result.known.hypervolume if result.known else None)


def of_ceiling(result: RunResult, method: MethodResult) -> float | None:
    """Hypervolume as a share of the most that as many policies can reach, if that is known."""
    return _ratio(method.hypervolume, ceiling(result, method))


def ceiling(result: RunResult, method: MethodResult) -> float | None:
    """Largest hypervolume that as many policies as the method has points can reach."""
    return result.known.ceilings.get(len(method.points)) if result.known else None


def of_best_reply(result: RunResult, method: MethodResult) -> float | None:
    """Smallest-reward utility as a share of the best single reply's, if that is known."""
    return _ratio(method.utility_min, result.known.utility_min if result.known else None)


def collapsed(method: MethodResult) -> float | None:
    """Share of all replies that collapsed; ``None`` without a point."""
    return _mean(method, [point.collapse.total for point in method.points])


def malformed(method: MethodResult) -> float | None:
    """Share of all replies that the grammar refused; ``None`` without a grammar or a point."""
    found = [p.collapse.malformed for p in method.points if p.collapse.malformed is not None]
    return _mean(method, found) if len(found) == len(method.points) else None


def rounds(method: MethodResult) -> float:
    """Seconds of the replies that it learned from; 0 in results that do not tell them apart."""
    cost = method.cost
    return cost.reply_seconds - cost.answer_seconds if cost.answer_seconds else 0.0


def learning(method: MethodResult) -> float:
    """Seconds until it can answer: training, and the replies that it learned from."""
    return method.cost.train_seconds + rounds(method)


def per_tradeoff(method: MethodResult) -> float | None:
    """Seconds of learning for one trade-off."""
    n = method.cost.tradeoffs
    return learning(method) / n if n else None


def reply_ratio(result: RunResult, method: MethodResult) -> float | None:
    """Seconds of a reply to those of a reply of the reference policy, where both are known."""
    own, reference = (None if m is None else _a_reply(m) for m in (method, result.reference))
    return own / reference if own and reference else None


def unit(result: RunResult, rewards: tuple[float, ...]) -> tuple[float, ...]:
    """Raw rewards in the box of the run, clipped to [0, 1]."""
    return tuple(unit_rewards(rewards, result.low, result.high).tolist())


def values(point: PointResult) -> tuple[float, ...]:
    """Mean rewards of a point without their intervals."""
    return tuple(mean.value for mean in point.means)


def _ratio(found: Interval | None, most: float | None) -> float | None:
    return None if found is None or not most else found.value / most


def _a_reply(method: MethodResult) -> float | None:
    n = sum(point.n_replies for point in method.points)
    return method.cost.answer_seconds / n if n else None


def _mean(method: MethodResult, found: list[float]) -> float | None:
    """Mean over replies of a share known per point."""
    replies = [point.n_replies for point in method.points]
    if not replies:
        return None
    return sum(s * n for s, n in zip(found, replies, strict=True)) / sum(replies)
