"""Rows of one or several files with the same prompt become one record."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import final

from paretune.core.record import Comparison, Prompt, Record, Response, prompt_key


@final
@dataclass
class PromptJoin:
    """Collects records and joins those with an equal prompt, in order of first sight.

    Nothing is lost by joining. A response is joined with one of an *earlier row* that has the
    same text when no score of the two disagrees; a comparison with one of the same two responses
    when the two label different objectives. What disagrees stays side by side.

    With a budget, what is kept of data that outgrow it is a sample of whole prompts: a prompt
    stays while the hash of its text is below a share, which is halved as often as needed. So the
    sample depends on no seed and no order, and every row of a prompt that is in it counts.

    Args:
        budget: bytes that the records may take, about; ``None`` = all there are.
        share: of the prompts, in ``records()``.
    """

    budget: int | None = None
    share: float = field(default=1.0, init=False)
    _held: int = field(default=0, init=False)
    _rows: dict[Prompt, Record | _Joined] = field(default_factory=dict)
    _seen: set[bytes] = field(default_factory=set)

    def is_repeated(self, record: Record) -> bool:
        """True if a row with the same content came before; remembers this one."""
        key = _digest(record)
        known = key in self._seen
        self._seen.add(key)
        return known

    def add(self, record: Record) -> None:
        """One more row."""
        if self.budget is None:
            self._join(record)
        elif _place(record.prompt) < self.share:
            self._join(record)
            self._held += _cost(record)
            while self._held > self.budget and len(self._rows) > 1:
                self._halve()

    def _join(self, record: Record) -> None:
        known = self._rows.get(record.prompt)
        if known is None:
            # Most prompts come once: the builder is made only for the others.
            self._rows[record.prompt] = record
            return
        if isinstance(known, Record):
            known = self._rows[record.prompt] = _Joined.of(known)
        known.add(record)

    def _halve(self) -> None:
        self.share /= 2
        lowest = min(self._rows, key=_place)
        for prompt in [p for p in self._rows if p != lowest and _place(p) >= self.share]:
            del self._rows[prompt]
        self._held = sum(map(_cost, self.records()))

    def records(self) -> Iterator[Record]:
        """One record a prompt."""
        for prompt, joined in self._rows.items():
            yield joined if isinstance(joined, Record) else joined.record(prompt)


@final
@dataclass
class _Joined:
    """Responses and comparisons of one prompt, growing."""

    responses: list[Response] = field(default_factory=list)
    comparisons: list[Comparison] = field(default_factory=list)
    by_text: dict[str, list[int]] = field(default_factory=dict)
    by_ends: dict[tuple[int, int], list[int]] = field(default_factory=dict)

    @classmethod
    def of(cls, record: Record) -> _Joined:
        joined = cls()
        joined.add(record)
        return joined

    def add(self, record: Record) -> None:
        place: list[int] = []
        for response in record.responses:
            place.append(self._place(response, taken=place))
        for c in record.comparisons:
            self._compare(replace(c, first=place[c.first], second=place[c.second]))

    def record(self, prompt: Prompt) -> Record:
        return Record(prompt, tuple(self.responses), tuple(self.comparisons))

    def _place(self, response: Response, taken: list[int]) -> int:
        """Index of the response; two responses of one row never share one."""
        known = self.by_text.setdefault(response.text, [])
        for index in known:
            old = self.responses[index]
            if index not in taken and not _disagree(old.scores, response.scores):
                both = {**old.scores, **response.scores}
                count = old.count + response.count
                self.responses[index] = replace(old, scores=both, count=count)
                return index
        known.append(len(self.responses))
        self.responses.append(response)
        return known[-1]

    def _compare(self, comparison: Comparison) -> None:
        ends = comparison.first, comparison.second
        if ends[::-1] in self.by_ends:
            comparison = _turned(comparison)
            ends = ends[::-1]
        known = self.by_ends.setdefault(ends, [])
        for index in known:
            old = self.comparisons[index]
            is_apart = old.labels.keys().isdisjoint(comparison.labels)
            if is_apart and old.weights == comparison.weights:
                both = {**old.labels, **comparison.labels}
                self.comparisons[index] = replace(old, labels=both)
                return
        known.append(len(self.comparisons))
        self.comparisons.append(comparison)


def _place(prompt: Prompt) -> float:
    """A point of [0, 1) from other bits than those that split prompts into train and test."""
    return int(prompt_key(prompt)[8:], 16) / 2**32


def _cost(record: Record) -> int:
    """Bytes of a record in memory, about: texts, and the objects around them."""
    prompt = record.prompt
    texts = len(prompt) if isinstance(prompt, str) else sum(len(turn.content) for turn in prompt)
    texts += sum(len(response.text) for response in record.responses)
    return texts + 500 * (1 + len(record.responses) + len(record.comparisons))


def _digest(record: Record) -> bytes:
    """Sixteen bytes that tell the content of a record; texts are hashed without a copy as repr."""
    prompt = record.prompt
    turns = [("", prompt)] if isinstance(prompt, str) else [(t.role, t.content) for t in prompt]
    texts = [*(content for _, content in turns), *(r.text for r in record.responses)]
    rest = (
        isinstance(prompt, str),
        [role for role, _ in turns],
        [len(text) for text in texts],
        [(sorted(r.scores.items()), r.count) for r in record.responses],
        [
            (c.first, c.second, sorted(c.labels.items()), sorted(c.weights.items()))
            for c in record.comparisons
        ],
    )
    digest = hashlib.blake2b(repr(rest).encode("utf-8"), digest_size=16)
    for text in texts:
        digest.update(text.encode("utf-8"))
    return digest.digest()


def _disagree(one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    return any(other.get(name, score) != score for name, score in one.items())


def _turned(comparison: Comparison) -> Comparison:
    # 0.0 - x and not -x: a tie stays +0.
    labels = {name: 0.0 - label for name, label in comparison.labels.items()}
    return Comparison(comparison.second, comparison.first, labels, comparison.weights)
