"""What a request wants, as a trade-off: weights, floors on the measured front, or a known user."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

from paretune.core.results import PointResult, RunResult
from paretune.core.tradeoff import TradeOff
from paretune.errors import ConfigError, nearest
from paretune.serving.answers import ServedMethod
from paretune.serving.people import UnknownUserError
from paretune.serving.protocol import Wanted

Learned = Callable[[str, str], TradeOff | None]
"""Measured trade-off of a method that is best for a stored user; ``None`` = no such user."""


@final
@dataclass(frozen=True)
class Wish:
    """A trade-off, and where it came from.

    Args:
        method: that answers.
        tradeoff: that was asked for.
        source: ``preference``, ``model``, ``at_least``, ``user`` or ``default``.
    """

    method: str
    tradeoff: TradeOff
    source: str


@final
class Wishes:
    """Reads wishes in the words of one run.

    Args:
        result: what the run measured.
        methods: that are served.
        default: the one that answers where none is named.
        learned: trade-offs of stored users.
    """

    def __init__(
        self, result: RunResult, methods: Mapping[str, ServedMethod], default: str,
        learned: Learned = lambda user, method: None,
    ) -> None:  # fmt: skip
        self._result, self._methods, self.default = result, methods, default
        self._learned = learned

    def read(self, wanted: Wanted) -> Wish:
        """The wish of a request.

        Raises:
            ConfigError: if a name is unknown, or the weights are no trade-off.
            LookupError: if the model is unknown.
            UnknownUserError: if the user is.
        """
        name, sign, weights = wanted.model.partition("@")
        method = self._method(name)
        if sign:
            if wanted.preference is not None or wanted.at_least is not None or wanted.user:
                raise ConfigError(
                    f"model: found {wanted.model!r} with another wish beside it, expected one"
                )
            return Wish(method, self._of_name(weights), "model")
        if wanted.preference is not None:
            return Wish(method, self._named(wanted.preference, wanted.normalize), "preference")
        if wanted.at_least is not None:
            return Wish(method, self._above(method, wanted.at_least), "at_least")
        if wanted.user is not None:
            found = self._learned(wanted.user, method)
            if found is None:
                raise UnknownUserError(
                    f"user: found {wanted.user!r}, expected one who has answered"
                )
            return Wish(method, found, "user")
        return Wish(method, TradeOff.even(len(self._result.objectives)), "default")

    def place(self, method: str, tradeoff: TradeOff) -> dict[str, Any]:
        """Where the measured point nearest to a trade-off lies on the front."""
        points = self._methods[method].points
        if not points:
            return {}
        near = min(points, key=lambda p: _distance(p.tradeoff, tradeoff.weights))
        names = self._result.objectives
        return {
            "tradeoff": dict(zip(names, near.tradeoff, strict=True)),
            "is_exact": _distance(near.tradeoff, tradeoff.weights) < 1e-9,
            "rewards": {
                n: {"mean": m.value, "low": m.low, "high": m.high}
                for n, m in zip(names, near.means, strict=True)
            },
            "dominated": near.dominated,
        }

    def _method(self, name: str) -> str:
        if name == self._result.name:
            return self.default
        run, _, method = name.partition("/")
        if run == self._result.name and method in self._methods:
            return method
        known = [self._result.name, *(f"{self._result.name}/{m}" for m in self._methods)]
        raise LookupError(f"model: found {name!r}{nearest(name, known)}")

    def _of_name(self, text: str) -> TradeOff:
        parts = text.split(",")
        try:
            weights = tuple(float(part) for part in parts)
        except ValueError:
            weights = ()
        if len(weights) != len(self._result.objectives):
            names = ",".join(self._result.objectives)
            raise ConfigError(f"model: found @{text}, expected @ and the weights of {names}")
        return TradeOff(weights)

    def _named(self, given: Mapping[str, float], is_normalized: bool) -> TradeOff:
        self._require_known(given)
        total = sum(given.values())
        if is_normalized and total > 0:
            given = {name: weight / total for name, weight in given.items()}
        return TradeOff(tuple(float(given.get(n, 0.0)) for n in self._result.objectives))

    def _above(self, method: str, floors: Mapping[str, float]) -> TradeOff:
        """The measured point that keeps the floors and is best in the rest, in the unit box."""
        self._require_known(floors)
        names = self._result.objectives
        rest = [n for n, name in enumerate(names) if name not in floors]
        kept = [
            point for point in self._methods[method].points
            if all(point.means[names.index(n)].value >= floor for n, floor in floors.items())
        ]  # fmt: skip
        if not kept:
            best = {
                n: max(p.means[names.index(n)].value for p in self._methods[method].points)
                for n in floors
            }
            asked = ", ".join(f"{n} >= {v:g}" for n, v in floors.items())
            reached = ", ".join(f"{n} {v:.3g}" for n, v in best.items())
            raise ConfigError(
                f"at_least: found {asked}, which no measured point of {method} keeps, expected "
                f"floors on the front (highest means, each by itself: {reached})"
            )
        return TradeOff(max(kept, key=lambda p: self._unit(p, rest)).tradeoff)

    def _unit(self, point: PointResult, columns: list[int]) -> float:
        low, high = self._result.low, self._result.high
        return sum((point.means[i].value - low[i]) / ((high[i] - low[i]) or 1.0) for i in columns)

    def _require_known(self, given: Mapping[str, float]) -> None:
        for name in given:
            if name not in self._result.objectives:
                raise ConfigError(
                    f"objective: found {name!r}{nearest(name, self._result.objectives)}"
                )


def _distance(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    return sum((a - b) ** 2 for a, b in zip(one, other, strict=True))
