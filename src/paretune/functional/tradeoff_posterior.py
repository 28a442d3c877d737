"""What a person's answers say about the trade-off that the person wants."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, final

import numpy as np
import numpy.typing as npt

from paretune.core.question import ANSWERS, Answer, Answered, Option, Question
from paretune.core.tradeoff import TradeOff
from paretune.core.user import Utility
from paretune.errors import InputError, NotScoredError, ShapeError
from paretune.functional.particles import Particles, Prior, particles

Floats = npt.NDArray[np.float64]

_VERSION = 1


@final
@dataclass(frozen=True)
class Estimate:
    """What is known of a person.

    Args:
        tradeoff: mean weights.
        low: ``(M,)`` lower ends of the credible intervals, each objective on its own.
        high: ``(M,)`` upper ends.
        utility: kind -> probability.
        temperature: mean noise of the answers, in units of utility.
        entropy: of the taste (kind and weights), in nats; ``log(n_tastes)`` before any answer.
        n_effective: tastes still in play, :math:`1/\\sum p^2`.
    """

    tradeoff: TradeOff
    low: tuple[float, ...]
    high: tuple[float, ...]
    utility: Mapping[Utility, float]
    temperature: float
    entropy: float
    n_effective: float


@final
@dataclass(frozen=True)
class Best:
    """What to serve, of what is there.

    Args:
        index: row of the rewards.
        utility: its expected utility.
        loss: expected share of the person's best attainable utility that is lost by it, in [0, 1].
    """

    index: int
    utility: float
    loss: float


@final
@dataclass(frozen=True)
class TradeOffPosterior:
    r"""Beliefs about one person's trade-off; an answer makes new beliefs.

    :math:`P(\theta \mid a_{1..n}) \propto P(\theta)\prod_t P(a_t \mid q_t, \theta)` over the
    particles :math:`\theta` of the prior: kind of utility, weights on the simplex, noise. The state
    is the list of answers and nothing else, so that the same answers in any order mean the same,
    contradictions end as noise, and there is no error of approximation that grows with the
    answers. The resolution is the lattice's: steps of 0.01 in a weight for two objectives, 0.04 for
    three and 0.11 for five.

    Args:
        n_objectives: M, >= 2.
        answers: given so far.
        prior: before the first answer.

    Raises:
        InputError: if there are fewer than two objectives: nothing to trade.
        ShapeError: if an answer has another number of objectives.

    Source:
        Chajewska, Koller and Parr 2000, "Making rational decisions using adaptive utility
        elicitation": a density over utilities, updated by answers; here on a lattice, with noisy
        answers and "same" (Davidson 1970).

    Example:
        >>> brief, full = Option("brief", (0.2, 1.0)), Option("full", (0.9, 0.1))
        >>> posterior = TradeOffPosterior(2).observe(Question(brief, full), "second")
        >>> [round(w, 2) for w in posterior.estimate().tradeoff.weights]
        [0.74, 0.26]
        >>> TradeOffPosterior.from_json(posterior.to_json()) == posterior
        True
    """

    n_objectives: int
    answers: tuple[Answered, ...] = ()
    prior: Prior = field(default_factory=Prior)

    def __post_init__(self) -> None:
        object.__setattr__(self, "answers", tuple(self.answers))
        if not isinstance(self.n_objectives, int) or self.n_objectives < 2:
            raise InputError(
                f"posterior: found {self.n_objectives!r} objectives, expected at least 2"
            )
        for number, answered in enumerate(self.answers):
            found = len(answered.question.first.rewards)
            if found != self.n_objectives:
                raise ShapeError(
                    f"answer {number}: found {found} rewards, expected {self.n_objectives}"
                )

    @property
    def particles(self) -> Particles:
        """The persons that are possible."""
        return particles(self.n_objectives, self.prior)

    @functools.cached_property
    def chances(self) -> Floats:
        """``(F * W, T)`` probabilities of the particles: tastes x noises, sum 1.

        Raises:
            InputError: if no particle can have given these answers, which takes a prior where
                nobody ever says "same".
        """
        shape = self.particles.n_tastes, self.particles.n_noises
        logs = np.zeros(shape)
        if self.answers:
            sides = [(a.question.first.rewards, a.question.second.rewards) for a in self.answers]
            first, second = zip(*sides, strict=True)
            every = self.particles.answer_log_chances(first, second)
            said = [ANSWERS.index(a.answer) for a in self.answers]
            logs = every[:, range(len(said)), said].sum(axis=1).reshape(shape)
        if not np.isfinite(logs.max()):
            raise InputError(
                'posterior: found answers "same", expected none: the prior has same = 0 only'
            )
        scaled = np.exp(logs - logs.max())
        chances: Floats = scaled / scaled.sum()
        chances.flags.writeable = False
        return chances

    @property
    def taste_chances(self) -> Floats:
        """``(F * W,)`` probabilities of the tastes, whatever the noise."""
        return np.asarray(self.chances.sum(axis=1))

    def observe(self, question: Question, answer: Answer) -> TradeOffPosterior:
        """Beliefs after one answer more.

        Asking the same again and hearing the same counts as new evidence; the choosers of
        :mod:`paretune.functional.next_question` do not ask twice.

        Args:
            question: with the sides as they were shown.
            answer: ``first``, ``second`` or ``same``.

        Raises:
            InputError: if the answer is none of them.
            ShapeError: if the question has another number of objectives.
        """
        return replace(self, answers=(*self.answers, Answered(question, answer)))

    def estimate(self, level: float = 0.9) -> Estimate:
        """What is known now, in numbers to show.

        Args:
            level: probability of each credible interval, in (0, 1): as much is cut off above it as
                below it.

        Raises:
            InputError: if the level is out of range.
        """
        if not 0 < level < 1:
            raise InputError(f"estimate: found level {level}, expected a number in (0, 1)")
        known, kinds = self.particles, self.particles.utilities
        p = self.taste_chances
        by_kind = p.reshape(len(kinds), -1)
        of_weights = by_kind.sum(axis=0)
        mean = of_weights @ known.weights
        ends = [_quantiles(w, of_weights, (1 - level) / 2) for w in known.weights.T]
        return Estimate(
            tradeoff=TradeOff(tuple((mean / mean.sum()).tolist())),
            low=tuple(low for low, _ in ends),
            high=tuple(high for _, high in ends),
            utility=dict(zip(kinds, by_kind.sum(axis=1).tolist(), strict=True)),
            temperature=float(self.chances.sum(axis=0) @ known.temperature),
            entropy=entropy(p),
            n_effective=float(1 / (p @ p)),
        )

    def best(self, rewards: npt.ArrayLike) -> Best:
        r"""Which of the available trade-offs to serve.

        The one that loses least, in expectation over the tastes:
        :math:`E[(u^* - u_k) / u^*]` with the best attainable :math:`u^* = \max_k u_k`. A plain mean
        of utilities would give most say to those tastes that find everything good.

        Args:
            rewards: ``(K, M)`` mean unit rewards, for instance of the points of a front, whose own
                uncertainty is not considered.

        Returns:
            Ties go to the first row.

        Raises:
            NotScoredError: if there is no row or a reward is missing.
            ShapeError: if the columns are not one an objective.
        """
        values = self._measured(rewards)
        u = self.particles.rate(values)
        # Equal losses differ in their last digits.
        losses = np.round(self.taste_chances @ shares_lost(u), 12)
        index = int(losses.argmin())
        return Best(index, float(self.taste_chances @ u[:, index]), float(losses[index]))

    def best_of_tastes(self, rewards: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """``(F * W,)`` the row that each taste would choose; raises as :meth:`best`."""
        return np.asarray(self.particles.rate(self._measured(rewards)).argmax(axis=1))

    def to_json(self) -> str:
        """The answers and the prior; :meth:`from_json` reads them back."""
        answers = [
            {
                "prompt": a.question.prompt,
                "first": [a.question.first.id, a.question.first.rewards],
                "second": [a.question.second.id, a.question.second.rewards],
                "answer": a.answer,
            }
            for a in self.answers
        ]
        content = {
            "version": _VERSION,
            "n_objectives": self.n_objectives,
            "prior": asdict(self.prior),
            "answers": answers,
        }
        return json.dumps(content)

    @classmethod
    def from_json(cls, text: str) -> TradeOffPosterior:
        """Beliefs that :meth:`to_json` wrote.

        Raises:
            InputError: if the text is something else.
        """
        try:
            content = json.loads(text)
            if content["version"] != _VERSION:
                raise InputError(f"found version {content['version']}, expected {_VERSION}")
            told = content["prior"]
            prior = Prior(
                tuple(told["utilities"]), tuple(told["temperatures"]), tuple(told["same"]),
                told["steps"],
            )  # fmt: skip
            answers = tuple(_answered(row) for row in content["answers"])
            return cls(content["n_objectives"], answers, prior)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"posterior: found a text that is none ({error!r}), expected what to_json wrote"
            ) from error

    def _measured(self, rewards: npt.ArrayLike) -> Floats:
        values = np.asarray(rewards, dtype=np.float64)
        if values.ndim != 2 or values.shape[1] != self.n_objectives:
            raise ShapeError(
                f"available trade-offs: found rewards of shape {values.shape}, "
                f"expected (K, {self.n_objectives})"
            )
        if not len(values) or not np.isfinite(values).all():
            raise NotScoredError(
                "available trade-offs: found none, or a reward that is not scored, expected at "
                "least one row of numbers"
            )
        return values


def shares_lost(utilities: npt.ArrayLike) -> Floats:
    """Share of the best attainable utility that each choice loses.

    Args:
        utilities: ``(..., K)`` of K choices, in [0, 1].

    Returns:
        ``(..., K)`` in [0, 1]. Where nothing has a positive utility, as can be outside the unit
        box, the loss itself.

    Example:
        >>> shares_lost([0.5, 0.4, 0.0])
        array([0. , 0.2, 1. ])
    """
    u = np.asarray(utilities, dtype=np.float64)
    best = u.max(axis=-1, keepdims=True)
    shares: Floats = np.clip((best - u) / np.where(best > 0, best, 1.0), 0.0, 1.0)
    return shares


def entropy(chances: Floats) -> float:
    """Entropy of probabilities, in nats.

    Example:
        >>> round(entropy(np.array([0.5, 0.5, 0.0])), 4)
        0.6931
    """
    kept = chances[chances > 0]
    return float(-(kept * np.log(kept)).sum())


def _quantiles(values: Floats, chances: Floats, tail: float) -> tuple[float, float]:
    """Values that leave at most ``tail`` below and above."""
    order = np.argsort(values, kind="stable")
    below = np.cumsum(chances[order])
    # The last digits of a sum must not move an end by a cell.
    at = np.searchsorted(below, (tail + 1e-12, 1 - tail - 1e-12))
    low, high = values[order[np.minimum(at, len(order) - 1)]]
    return float(low), float(high)


def _answered(row: Any) -> Answered:
    first, second = (
        Option(name, tuple(rewards)) for name, rewards in (row["first"], row["second"])
    )
    return Answered(Question(first, second, row["prompt"]), row["answer"])
