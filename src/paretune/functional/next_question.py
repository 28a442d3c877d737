"""What to ask next: the question whose answer is expected to tell most."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt

from paretune.core.question import Question
from paretune.errors import InputError, ShapeError
from paretune.functional.draws import hash_keys, uniform
from paretune.functional.tradeoff_posterior import TradeOffPosterior

Floats = npt.NDArray[np.float64]

# Names of what is drawn.
_SIDES, _RANDOM = 40, 41

_QUESTIONS_AT_ONCE = 256
"""Questions whose answers are held in memory together."""


@final
@dataclass(frozen=True)
class NextQuestion:
    """A question to ask.

    Args:
        question: with the sides as they are to be shown.
        gain: what its answer is expected to tell, in nats.
    """

    question: Question
    gain: float


def information_gain(
    chances: npt.ArrayLike, answers: npt.ArrayLike, group_of: npt.NDArray[np.int64]
) -> Floats:
    r"""How much the answer to each question is expected to tell about a group of particles.

    The mutual information of the answer and the group :math:`g`,

    .. math:: I(a; g) = H\Big(\sum_g P(g) P(a \mid g)\Big) - \sum_g P(g)\,H\big(P(a \mid g)\big),

    which is by how much the entropy of :math:`P(g)` is expected to fall. What tells particles of
    one group apart is worth nothing: with a group a taste nothing is spent on learning how noisy
    the answers are, with a group a best trade-off nothing on tastes that are served alike.

    Args:
        chances: ``(U, P)`` probabilities of the particles for U persons, or ``(P,)`` for one.
        answers: ``(P, Q, 3)`` probabilities of the answers to Q questions.
        group_of: ``(P,)`` group of each particle.

    Returns:
        ``(U, Q)`` or ``(Q,)`` nats, in [0, log 3].

    Raises:
        ShapeError: if the numbers of particles differ.

    Source:
        Lindley 1956, "On a measure of the information provided by an experiment"; Houlsby et al.
        2011, "Bayesian active learning for classification and preference learning", Eq. 2, summed
        exactly and over groups of parameters.

    Example:
        >>> answers = np.array([[[0.8, 0.2, 0.0]], [[0.2, 0.8, 0.0]]])
        >>> information_gain([0.5, 0.5], answers, np.array([0, 1])).round(4)
        array([0.1927])
    """
    p, given = np.asarray(chances), np.asarray(answers)
    n_particles, *asked = given.shape
    if p.shape[-1] != n_particles or group_of.shape != (n_particles,):
        raise ShapeError(
            f"information: found chances of shape {p.shape}, {n_particles} particles with answers "
            f"and groups of shape {group_of.shape}, expected as many particles"
        )
    rows = np.atleast_2d(p)
    flat = given.reshape(n_particles, -1)
    said, explained = np.zeros((len(rows), flat.shape[1])), np.zeros((len(rows), asked[0]))
    for group in np.unique(group_of):
        members = np.flatnonzero(group_of == group)
        mine = rows[:, members]
        joint, share = mine @ flat[members], mine.sum(axis=1)
        said += joint
        explained += _minus_p_log_p(joint, asked[0]) - _minus_p_log_p(share)[:, None]
    gain = np.maximum(_minus_p_log_p(said, asked[0]) - explained, 0.0)
    return np.asarray(gain if p.ndim == 2 else gain[0])


def choose_question(
    posterior: TradeOffPosterior,
    questions: Sequence[Question],
    available: npt.ArrayLike | None = None,
    seed: int = 0,
) -> NextQuestion | None:
    """The question with the largest :func:`information_gain`.

    Args:
        posterior: what is known.
        questions: that may be asked.
        available: ``(K, M)`` mean unit rewards of the trade-offs that can be served: what is asked
            about is which of them is best. ``None``: about the weights and the kind of utility.
        seed: of the sides, which a hash of it and of the question decides: somebody who always
            picks the left reply says nothing about a taste.

    Returns:
        Ties go to the earlier question. ``None`` if all of them have been asked: a person who
        sees two replies again gives the answer again, which tells nothing.

    Raises:
        NotScoredError: if a trade-off that is available was not measured.
        ShapeError: if there is not one reward an objective.
    """
    open_ = _not_asked(posterior, questions)
    if not open_:
        return None
    known = posterior.particles
    tastes = np.arange(known.n_tastes)
    group = tastes if available is None else posterior.best_of_tastes(available)
    group_of, chances = np.repeat(group, known.n_noises), posterior.chances.ravel()
    gains = []
    for at in range(0, len(open_), _QUESTIONS_AT_ONCE):
        some = open_[at : at + _QUESTIONS_AT_ONCE]
        logs = known.answer_log_chances(
            [q.first.rewards for q in some], [q.second.rewards for q in some]
        )
        gains.append(information_gain(chances, np.exp(logs), group_of))
    # Equal gains differ in their last digits.
    every = np.round(np.concatenate(gains), 9)
    index = int(every.argmax())
    return NextQuestion(shown(open_[index], seed), float(every[index]))


def random_question(
    posterior: TradeOffPosterior, questions: Sequence[Question], seed: int = 0
) -> Question | None:
    """Any question that has not been asked, to compare with.

    Args:
        posterior: what is known; of it only what was asked counts.
        questions: that may be asked.
        seed: of the draw and of the sides.

    Returns:
        ``None`` if all have been asked.
    """
    open_ = _not_asked(posterior, questions)
    if not open_:
        return None
    draw = uniform(hash_keys(seed, _RANDOM, len(posterior.answers)))[0]
    return shown(open_[int(draw * len(open_))], seed)


def shown(question: Question, seed: int = 0) -> Question:
    """The question with its sides in the order of a coin: a hash of the seed and what is asked.

    Args:
        question: in any order of its sides; the result is the same for both.
        seed: for instance a number of the person.

    Example:
        >>> from paretune.core.question import Option
        >>> question = Question(Option("a", (0.0, 1.0)), Option("b", (1.0, 0.0)))
        >>> shown(question, seed=3) == shown(question.mirrored(), seed=3)
        True
    """
    digest = hashlib.sha256("\0".join(question.key).encode()).hexdigest()[:16]
    is_swapped = uniform(hash_keys(seed, _SIDES, np.array([int(digest, 16)], np.uint64)))[0] < 0.5
    wanted = question.key[-1 if is_swapped else -2]
    return question if question.first.id == wanted else question.mirrored()


def is_enough(
    posterior: TradeOffPosterior,
    available: npt.ArrayLike,
    following: NextQuestion | None,
    loss: float = 0.02,
    gain: float = 0.01,
) -> bool:
    """Whether to stop asking.

    Args:
        posterior: what is known.
        available: ``(K, M)`` mean unit rewards of the trade-offs that can be served.
        following: what would be asked next; ``None`` = nothing is left to ask.
        loss: stop when the best of them is expected to lose at most this share of the best
            attainable utility, in [0, 1].
        gain: stop when the next answer is expected to tell at most so many nats, >= 0.

    Raises:
        InputError: if a bound is negative.
        NotScoredError: if a trade-off that is available was not measured.
        ShapeError: if there is not one reward an objective.
    """
    if loss < 0 or gain < 0:
        raise InputError(f"stopping: found loss {loss} and gain {gain}, expected both >= 0")
    if following is None or following.gain <= gain:
        return True
    return posterior.best(available).loss <= loss


def _not_asked(posterior: TradeOffPosterior, questions: Sequence[Question]) -> list[Question]:
    asked = {answered.question.key for answered in posterior.answers}
    return [question for question in questions if question.key not in asked]


def _minus_p_log_p(p: Floats, n_sums: int = 0) -> Floats:
    """Terms of an entropy, in nats, summed for each of ``n_sums`` (0 = one by one)."""
    terms = -p * np.log(np.maximum(p, np.finfo(p.dtype).tiny))
    return terms.reshape(len(p), n_sums, -1).sum(axis=2) if n_sums else terms
