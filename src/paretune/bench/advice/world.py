"""Advice: a small language world of six axes, for synthetic users with different tastes."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, final

import numpy as np
import numpy.typing as npt

from paretune.bench.advice.generator import compose, draws, knobs_of
from paretune.bench.advice.requests import PARTS, Part, Request, split
from paretune.bench.advice.scorers import AXES, content_scores, read_content, score_text
from paretune.core.objective import Objectives
from paretune.core.record import Comparison, Prompt, Record, Response
from paretune.core.rewards import RewardMatrix
from paretune.errors import ConfigError, InputError, ShapeError, nearest
from paretune.functional.draws import hash_keys, uniform
from paretune.functional.pair_scores import pair_scales, pair_scores

if TYPE_CHECKING:
    from transformers import LlamaConfig, PreTrainedTokenizerFast

    from paretune.core.results import KnownFront
    from paretune.core.tradeoff import TradeOff

_SCALE_PAIRS = 2000
_ATTEMPTS = 64
# What is drawn: corpus, preferences and scales of one seed share no draw.
_CORPUS, _PREFERENCES, _SCALES = 40, 41, 44
_ASKED = 1000


@final
@dataclass(frozen=True)
class Advice:
    """Requests, replies, scores and data on some of the six axes.

    Everything is a function of the objectives and the seeds, row by row: record 7 of 10 is record 7
    of 10,000. Generating data needs neither torch nor transformers.

    Args:
        axes: some of :data:`~paretune.bench.advice.scorers.AXES`, in the order wanted.
        seed: of the split into training, validation and test requests.

    Raises:
        ConfigError: if an axis is unknown or comes twice, or there is only one.

    Example:
        >>> world = Advice(("helpfulness", "creativity"))
        >>> len(world.train_prompts), len(world.validation_prompts), len(world.test_prompts)
        (1200, 150, 150)
        >>> prompt = "tell me about tea , give a reason and a tip . what is 2 plus 3 ?"
        >>> world.score(prompt, "tea is like a song . answer : 5 .")
        array([0.        , 0.33333333])
    """

    axes: tuple[str, ...] = AXES
    seed: int = 0

    def __post_init__(self) -> None:
        for name in self.axes:
            if name not in AXES:
                raise ConfigError(f"Advice: unknown objective {name!r}{nearest(str(name), AXES)}")
        if len(self.axes) < 2 or len(set(self.axes)) != len(self.axes):
            raise ConfigError(
                f"Advice: found objectives {list(self.axes)}, expected two or more different ones"
            )

    @property
    def objectives(self) -> Objectives:
        """Axes of the world; every score lies in [0, 1]."""
        return Objectives(tuple(self.axes))

    @property
    def train_prompts(self) -> tuple[str, ...]:
        """Prompts of 80 in 100 of the choices of topic and parts."""
        return self.prompts("train")

    @property
    def validation_prompts(self) -> tuple[str, ...]:
        """Prompts for choosing settings; never trained on."""
        return self.prompts("validation")

    @property
    def test_prompts(self) -> tuple[str, ...]:
        """Prompts of choices of topic and parts that are never seen in training."""
        return self.prompts("test")

    def prompts(self, part: Part) -> tuple[str, ...]:
        """Prompts of one part of the split.

        Raises:
            ConfigError: if there is no such part.
        """
        if part not in PARTS:
            raise ConfigError(f"Advice: unknown part {part!r}{nearest(str(part), PARTS)}")
        return tuple(request.text for request in split(self.seed)[part])

    @property
    def scales(self) -> npt.NDArray[np.float64]:
        """``(M,)`` differences that count as a full preference, from training pairs of the seed."""
        return _scales(self.seed)[self._columns]

    @property
    def _columns(self) -> list[int]:
        return [AXES.index(name) for name in self.axes]

    def is_well_formed(self, prompt: Prompt, reply: str) -> bool:
        """Whether every sentence is known, said once and within the room."""
        return score_text(prompt, reply)[AXES.index("coherence")] == 1.0

    def score(self, prompt: Prompt, reply: str) -> npt.NDArray[np.float64]:
        """``(M,)`` scores of one reply, in [0, 1].

        Raises:
            InputError: if the prompt does not end with a request of the world.
        """
        return np.asarray(self.score_many([prompt], [reply])[0])

    def score_many(
        self, prompts: Sequence[Prompt], replies: Sequence[str]
    ) -> npt.NDArray[np.float64]:
        """Scores of many replies.

        Args:
            prompts: N prompts that end with a request of the world; few-shot prompts do.
            replies: N texts, of any kind.

        Returns:
            ``(N, M)`` float64 in [0, 1], columns in the order of :attr:`objectives`.

        Raises:
            InputError: if a prompt does not end with a request of the world.
            ShapeError: if there are not as many prompts as replies.
        """
        if len(prompts) != len(replies):
            raise ShapeError(
                f"Advice scores: found {len(prompts)} prompts and {len(replies)} replies, "
                "expected one prompt a reply"
            )
        rows = [score_text(prompt, reply) for prompt, reply in zip(prompts, replies, strict=True)]
        return np.array(rows, dtype=np.float64).reshape(-1, len(AXES))[:, self._columns]

    def reward_matrix(self, prompts: Sequence[Prompt], replies: Sequence[str]) -> RewardMatrix:
        """:meth:`score_many` with its column names."""
        return RewardMatrix(self.objectives, self.score_many(prompts, replies))

    def corpus(self, n: int, seed: int = 0) -> list[tuple[str, str]]:
        """Prompts and replies for the base model, the same whatever the axes.

        Args:
            n: rows.
            seed: of the draws.
        """
        _require_count("corpus", n)
        rows = draws(seed, _CORPUS, np.arange(n)).tolist()
        return [
            (request.text, compose(request, knobs_of(row), row))
            for request, row in zip(self._asked("train", n, seed, _CORPUS), rows, strict=True)
        ]

    def preferences(
        self, n: int, seed: int = 0, part: Part = "train", n_replies: int = 2
    ) -> list[Record]:
        r"""Records with a comparison of their first two replies.

        Labels are signed strengths, :math:`s_d = clip((q_d(a) - q_d(b)) / scale_d, -1, 1)`: what a
        user with weights ``w`` prefers is the sign of :math:`w \cdot s`.

        Args:
            n: records.
            seed: of the draws.
            part: whose prompts are asked.
            n_replies: different texts of a record, in [2, 16]; all of them are scored.
        """
        _require_count("preferences", n)
        if not 2 <= n_replies <= 16:
            raise InputError(f"Advice preferences: found {n_replies} replies, expected 2 to 16")
        purpose = _PREFERENCES + PARTS.index(part)
        texts = list(_distinct(self._asked(part, n, seed, purpose), seed, purpose, n_replies))
        names, scales = self.objectives.names, self.scales
        records = []
        for request, replies in texts:
            scores = self.score_many([request.text] * n_replies, replies)
            labels = pair_scores(scores[0] - scores[1], scales).tolist()
            responses = tuple(
                Response(text, dict(zip(names, row, strict=True)))
                for text, row in zip(replies, scores.tolist(), strict=True)
            )
            comparison = Comparison(0, 1, dict(zip(names, labels, strict=True)))
            records.append(Record(request.text, responses, (comparison,)))
        return records

    def _asked(self, part: Part, n: int, seed: int, purpose: int) -> list[Request]:
        requests = split(self.seed)[part]
        where = uniform(hash_keys(seed, _ASKED + purpose, np.arange(n))) * len(requests)
        return [requests[i] for i in where.astype(np.int64).tolist()]

    def known_front(
        self, tradeoffs: Sequence[TradeOff] = (), part: Literal["validation", "test"] = "test"
    ) -> KnownFront:
        """What can be reached on the evaluation prompts, exactly.

        Args:
            tradeoffs: trade-offs of the run, over which the best Chebyshev utility is averaged.
            part: which prompts.
        """
        from paretune.bench.advice.front import advice_front

        unsafe = [request.is_unsafe for request in split(self.seed)[part]]
        return advice_front(self.objectives, sum(unsafe) / len(unsafe), tuple(tradeoffs))

    def tokenizer(self) -> PreTrainedTokenizerFast:
        """A word-level tokenizer that knows few-shot prompts and system turns as well."""
        from paretune.bench.advice.tokenizer import build_tokenizer

        return build_tokenizer()

    def base_config(self) -> LlamaConfig:
        """The shape of the base model: a small Llama with room for few-shot prompts."""
        from paretune.bench.advice.tokenizer import build_config

        return build_config()


def _distinct(
    requests: Sequence[Request], seed: int, purpose: int, n_replies: int
) -> Iterator[tuple[Request, list[str]]]:
    """Different replies to each request: the first ones among the numbered draws of its row."""
    first = np.arange(len(requests))[:, None] * _ATTEMPTS + np.arange(n_replies)
    rows = draws(seed, purpose, first.ravel()).reshape(*first.shape, -1).tolist()
    for number, (request, mine) in enumerate(zip(requests, rows, strict=True)):
        replies = dict.fromkeys(compose(request, knobs_of(row), row) for row in mine)
        for attempt in range(n_replies, _ATTEMPTS):
            if len(replies) == n_replies:
                break
            row = draws(seed, purpose, number * _ATTEMPTS + attempt)[0].tolist()
            replies[compose(request, knobs_of(row), row)] = None
        assert len(replies) == n_replies, "replies of 48 random numbers were equal 48 times"
        yield request, list(replies)


@functools.lru_cache(maxsize=16)
def _scales(seed: int) -> npt.NDArray[np.float64]:
    """``(6,)`` scales of the world with this seed."""
    asked = Advice(seed=seed)._asked("train", _SCALE_PAIRS, seed, _SCALES)
    scores = np.array(
        [
            [content_scores(request, read_content(request, text)) for text in texts]
            for request, texts in _distinct(asked, seed, _SCALES, 2)
        ]
    )
    scales = pair_scales(scores[:, 0] - scores[:, 1])
    scales.flags.writeable = False
    return scales


def _require_count(what: str, n: int) -> None:
    if n < 0:
        raise InputError(f"Advice {what}: found n = {n}, expected at least 0 rows")
