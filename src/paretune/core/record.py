"""Records: one line of a data file, and the columns that many lines become."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

import numpy as np
import numpy.typing as npt

from paretune.core.rewards import RewardMatrix
from paretune.errors import ShapeError


@final
@dataclass(frozen=True)
class Message:
    """One turn of a conversation.

    Args:
        role: ``system``, ``user`` or ``assistant``.
        content: the text of the turn.
    """

    role: str
    content: str


Prompt = str | tuple[Message, ...]


def prompt_json(prompt: Prompt) -> str | list[dict[str, str]]:
    """A prompt as plain JSON values: text, or a list of ``{"role", "content"}``."""
    if isinstance(prompt, str):
        return prompt
    return [{"role": m.role, "content": m.content} for m in prompt]


def prompt_text(prompt: Prompt) -> str:
    """What a condition rewrites: a text, or the last turn of a conversation."""
    return prompt if isinstance(prompt, str) else prompt[-1].content


def with_prompt_text(prompt: Prompt, text: str) -> Prompt:
    """The prompt with another :func:`prompt_text`."""
    if isinstance(prompt, str):
        return text
    return (*prompt[:-1], Message(prompt[-1].role, text))


def prompt_key(prompt: Prompt) -> str:
    """Sixteen hex digits that identify a prompt, the same on every machine."""
    text = json.dumps(prompt_json(prompt), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


@final
@dataclass(frozen=True)
class Response:
    """One candidate reply of a record.

    Args:
        text: the reply.
        scores: reward per objective name; a missing name means not scored.
        count: how often it was given, >= 1; rows that repeat it are joined into one.
    """

    text: str
    scores: Mapping[str, float] = field(default_factory=dict)
    count: int = 1


@final
@dataclass(frozen=True)
class Comparison:
    """Two responses of one record and what is known about which is better.

    Args:
        first: index of a response.
        second: index of another response.
        labels: per objective name in [-1, 1]: 1 = the first is better, -1 = the second is,
            0 = a tie; a missing name means not labelled.
        weights: trade-off of the user who compared, per objective name, >= 0 with sum 1 (a missing
            name weighs 0); empty = nobody's.
    """

    first: int
    second: int
    labels: Mapping[str, float]
    weights: Mapping[str, float] = field(default_factory=dict)


@final
@dataclass(frozen=True)
class Record:
    """A prompt, candidate responses, and comparisons between them.

    Args:
        prompt: text, or the turns of a conversation.
        responses: at least one.
        comparisons: may be empty; then pairs are made from scores.
    """

    prompt: Prompt
    responses: tuple[Response, ...]
    comparisons: tuple[Comparison, ...] = ()


@final
@dataclass(frozen=True)
class PreferenceData:
    """Records as columns: what every engine and selection rule reads.

    The same object describes a language data set and an exact table (there a prompt is a
    context and a text is an action), so that one loss drives both.

    Args:
        prompts: S distinct prompts.
        texts: N responses.
        prompt_of: ``(N,)`` int64, row of ``prompts`` that each response answers.
        rewards: ``(N, M)``, NaN where not scored.
        first: ``(P,)`` int64, row of the first response of each comparison.
        second: ``(P,)`` int64, row of the second.
        labels: ``(P, M)`` in [-1, 1], 1 = the first is better, NaN = not labelled.
        multiplicity: ``(P,)`` how often each comparison counts, > 0; ``None`` = once. Exact
            tables use it to hold expectations.
        counts: ``(N,)`` int64 how often each response was given, >= 1; ``None`` = once.
        weights: ``(P, M)`` trade-off of the user who is behind each comparison, rows on the
            simplex, NaN = nobody's; ``None`` = nobody's for all of them.
        rounds: ``(N,)`` int64 where each response is from: 0 = the run's records, i = the i-th
            job that replied; ``None`` = the records.

    Raises:
        ShapeError: if the columns do not fit together.
    """

    prompts: tuple[Prompt, ...]
    texts: tuple[str, ...]
    prompt_of: npt.NDArray[np.int64]
    rewards: RewardMatrix
    first: npt.NDArray[np.int64]
    second: npt.NDArray[np.int64]
    labels: npt.NDArray[np.float64]
    multiplicity: npt.NDArray[np.float64] | None = None
    counts: npt.NDArray[np.int64] | None = None
    weights: npt.NDArray[np.float64] | None = None
    rounds: npt.NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        n, p, m = len(self.texts), len(self.first), len(self.rewards.objectives)
        expected = {
            "prompt_of": (self.prompt_of.shape, (n,)),
            "rewards": (self.rewards.values.shape, (n, m)),
            "second": (self.second.shape, (p,)),
            "labels": (self.labels.shape, (p, m)),
        }
        if self.multiplicity is not None:
            expected["multiplicity"] = (self.multiplicity.shape, (p,))
        if self.counts is not None:
            expected["counts"] = (self.counts.shape, (n,))
        if self.weights is not None:
            expected["weights"] = (self.weights.shape, (p, m))
        if self.rounds is not None:
            expected["rounds"] = (self.rounds.shape, (n,))
        for name, (found, wanted) in expected.items():
            if found != wanted:
                raise ShapeError(f"{name}: found shape {found}, expected {wanted}")

    @property
    def n_prompts(self) -> int:
        """S, the number of distinct prompts."""
        return len(self.prompts)

    @property
    def n_comparisons(self) -> int:
        """P, the number of comparisons."""
        return len(self.first)

    @property
    def margins(self) -> npt.NDArray[np.float64]:
        """``(P, M)`` reward of the first minus reward of the second, NaN where not scored."""
        return self.rewards.values[self.first] - self.rewards.values[self.second]

    def with_rewards(self, rewards: RewardMatrix) -> PreferenceData:
        """The same rows with other rewards; labels of other objectives are dropped.

        Raises:
            ShapeError: if comparisons have users' weights and the objectives change.
        """
        old, new = self.rewards.objectives, rewards.objectives
        if self.weights is not None and old.names != new.names:
            raise ShapeError(
                f"weights: found objectives {list(new)}, expected {list(old)}: users weigh these"
            )
        labels = np.full((self.n_comparisons, len(new)), np.nan)
        for column, name in enumerate(new):
            if name in old.names:
                labels[:, column] = self.labels[:, old.index(name)]
        return PreferenceData(
            self.prompts, self.texts, self.prompt_of, rewards,
            self.first, self.second, labels, self.multiplicity, self.counts, self.weights,
            self.rounds,
        )  # fmt: skip

    @classmethod
    def from_records(cls, records: Sequence[Record], objectives: Sequence[str]) -> PreferenceData:
        """Columns from records; equal prompts are joined, every response keeps its own row."""
        from paretune.core.objective import Objectives

        names = Objectives(tuple(objectives))
        rows: dict[Prompt, int] = {}
        texts: list[str] = []
        prompt_of: list[int] = []
        scores: list[list[float]] = []
        counts: list[int] = []
        first: list[int] = []
        second: list[int] = []
        labels: list[list[float]] = []
        weights: list[list[float]] = []
        nan = float("nan")
        for record in records:
            row, start = rows.setdefault(record.prompt, len(rows)), len(texts)
            for response in record.responses:
                texts.append(response.text)
                prompt_of.append(row)
                counts.append(response.count)
                scores.append([response.scores.get(name, nan) for name in names])
            for comparison in record.comparisons:
                first.append(start + comparison.first)
                second.append(start + comparison.second)
                labels.append([comparison.labels.get(name, nan) for name in names])
                absent = 0.0 if comparison.weights else nan
                weights.append([comparison.weights.get(name, absent) for name in names])
        shape = (-1, len(names))
        of_users = np.asarray(weights, dtype=np.float64).reshape(shape)
        return cls(
            tuple(rows),
            tuple(texts),
            np.asarray(prompt_of, dtype=np.int64),
            RewardMatrix(names, np.asarray(scores, dtype=np.float64).reshape(shape)),
            np.asarray(first, dtype=np.int64),
            np.asarray(second, dtype=np.int64),
            np.asarray(labels, dtype=np.float64).reshape(shape),
            counts=np.asarray(counts, dtype=np.int64),
            weights=None if np.isnan(of_users).all() else of_users,
        )
