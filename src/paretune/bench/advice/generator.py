"""Replies composed from parts, with one knob of three positions for each axis.

A reply is a pure function of the seed, its number and the request: rows can be made in any order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar, final

import numpy as np
import numpy.typing as npt

from paretune.bench.advice.parts import (
    ANSWER,
    DIGITS,
    FACT,
    FIGURE,
    IMAGES,
    INSULT_ADJECTIVES,
    INSULT_NOUNS,
    PART,
    REFUSAL,
    fact_values,
    part_words,
    true_values,
)
from paretune.bench.advice.requests import Request
from paretune.bench.advice.scorers import AXES, ROOM
from paretune.functional.draws import hash_keys, uniform

T = TypeVar("T")
N_KNOBS = len(AXES)
_N_UNIFORMS = 48
FRAGMENTS = ("then .", "because .", "with .", "rather .", "best .", "like .", "people .", "how .")
_SAFETY_FIRST, _FIGURES_FIRST = 0.2, 0.7


def draws(seed: int, purpose: int, numbers: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Uniform numbers of replies, rows in the order of their numbers.

    Args:
        seed: of the data.
        purpose: what the replies are for; two purposes share no draw.
        numbers: ``(N,)`` integers >= 0.

    Returns:
        ``(N, 48)`` in [0, 1).
    """
    keys = hash_keys(seed, purpose, np.atleast_1d(np.asarray(numbers)))
    return np.stack([uniform(keys, stream) for stream in range(_N_UNIFORMS)], axis=1)


def knobs_of(row: Sequence[float]) -> tuple[int, ...]:
    """Positions 0, 1 or 2 of the six knobs in the order of ``AXES``, independent and uniform."""
    return tuple(int(3 * u) for u in row[:N_KNOBS])


def compose(request: Request, knobs: Sequence[int], row: Sequence[float]) -> str:
    """A reply with given positions of the knobs.

    Two things cannot all be had, and a coin decides what gives way: on an unsafe request every part
    is a hit of the lexicon, and :data:`~paretune.bench.advice.scorers.ROOM` is not room enough for
    everything. Repeated and broken sentences (coherence) stay within the room as well.

    Args:
        request: what is answered.
        knobs: six positions in {0, 1, 2}, as ``AXES``; 2 = as good as can be.
        row: 48 uniform numbers, of which the first six are left to the knobs.
    """
    return _draft(request, knobs, iter(row[N_KNOBS:])).text()


@final
@dataclass
class _Draft:
    """Sentences of a reply by kind, in the order of writing, while it is composed."""

    refusal: list[str] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    facts: list[str] = field(default_factory=list)
    figures: list[str] = field(default_factory=list)
    insult: list[str] = field(default_factory=list)
    answer: list[str] = field(default_factory=list)
    noise: list[tuple[float, str]] = field(default_factory=list)

    def sentences(self) -> list[str]:
        return [
            *self.refusal, *self.parts, *self.facts, *self.figures, *self.insult, *self.answer,
        ]  # fmt: skip

    def n_words(self) -> int:
        noise = (text for _, text in self.noise)
        return sum(len(text.split()) for text in (*self.sentences(), *noise))

    def text(self) -> str:
        said = self.sentences()
        for place, text in self.noise:
            said.insert(int(place * (len(said) + 1)), text)
        return " ".join(said)


def _draft(request: Request, knobs: Sequence[int], u: Iterator[float]) -> _Draft:
    helpful, correct, harmless, coherent, creative, factual = knobs
    topic, draft = request.topic, _Draft()
    n_parts = (0, 1, len(request.asked))[helpful]
    hits = 2 - harmless
    # Every number is drawn whether it is needed or not, so that knobs do not shift the others.
    is_safety_first = next(u) < _SAFETY_FIRST
    if request.is_unsafe and is_safety_first and harmless:
        n_parts = min(n_parts, hits)
    kinds = _pick(request.asked, n_parts, [next(u) for _ in request.asked])
    words = [_choose(part_words(topic, kind), next(u)) for kind in request.asked]
    draft.parts = [
        PART[kind].format(topic=topic, word=word)
        for kind, word in zip(request.asked, words, strict=True)
        if kind in kinds
    ]
    if request.is_unsafe:
        if harmless == 2 or (harmless == 1 and n_parts):
            draft.refusal = [REFUSAL]
        hits -= n_parts + (not draft.refusal)
    noun, how = _choose(INSULT_NOUNS, next(u)), _choose(INSULT_ADJECTIVES, next(u))
    if hits > 0:
        draft.insult = [f"you {how} {noun} ." if hits > 1 else f"you {noun} ."]
    draft.facts = _facts(topic, factual, [next(u) for _ in range(6)])
    images = _pick(IMAGES, 3, [next(u) for _ in range(3)])
    draft.figures = [FIGURE.format(topic=topic, image=image) for image in images]
    draft.figures = draft.figures[: (0, 1, 3)[creative]]
    wrong = DIGITS[(int(request.question.gold) + 1 + int(9 * next(u))) % 10]
    if correct != 1:
        draft.answer = [ANSWER.format(value=request.question.gold if correct else wrong)]
    _make_room(draft, 2 * (2 - coherent), u)
    if not draft.sentences():
        draft.facts = _facts(topic, factual, [0.9, *(next(u) for _ in range(5))])
    _add_noise(draft, coherent, [next(u) for _ in range(6)])
    return draft


def _facts(topic: str, factual: int, u: Sequence[float]) -> list[str]:
    """One true (2) or one false (0) statement; one of each or nothing (1)."""
    if factual == 1 and u[0] < 0.5:
        return []
    which, other = _pick((0, 1, 2), 2, u[1:3])
    true = FACT[which].format(topic=topic, value=true_values(topic)[which])
    lies = [value for value in fact_values(other) if value != true_values(topic)[other]]
    false = FACT[other].format(topic=topic, value=_choose(lies, u[3]))
    if factual != 1:
        return [true] if factual else [false]
    return [true, false] if u[4] < 0.5 else [false, true]


def _make_room(draft: _Draft, reserved: int, u: Iterator[float]) -> None:
    """Drop sentences until the draft and ``reserved`` words of noise are within the room."""
    coins = [next(u) for _ in range(4)]
    if draft.n_words() + reserved > ROOM and len(draft.facts) == 2:
        draft.facts = []  # says as much about truth as one of each
    for coin in coins:
        if draft.n_words() + reserved <= ROOM:
            return
        for least in (1, 0):
            lists = [full for full in (draft.figures, draft.parts) if len(full) > least]
            if lists:
                lists[0 if coin < _FIGURES_FIRST else -1].pop()
                break


def _add_noise(draft: _Draft, coherent: int, u: Sequence[float]) -> None:
    """One broken sentence (1); the same broken one twice (0)."""
    broken = _choose(FRAGMENTS, u[0])
    draft.noise = [(place, broken) for place in u[1 : 3 - coherent]]


def _choose(items: Sequence[T], u: float) -> T:
    return items[int(u * len(items))]


def _pick(items: Sequence[T], n: int, u: Sequence[float]) -> list[T]:
    """``n`` different items in random order."""
    left = list(items)
    return [left.pop(int(v * len(left))) for v in u[:n]]
