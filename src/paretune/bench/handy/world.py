"""Handy: a small language world whose whole Pareto front is known."""

from __future__ import annotations

import functools
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, final, get_args

import numpy as np
import numpy.typing as npt

from paretune.bench.handy.behavior import BEHAVIOR, BehaviorPolicy
from paretune.bench.handy.rewards import AXES, read_content, reply_rewards, reward_table
from paretune.bench.handy.text import OBJECTS, PHRASINGS, STEPS, Request, every_reply
from paretune.core.objective import Objectives
from paretune.core.record import Comparison, Record, Response
from paretune.core.rewards import RewardMatrix
from paretune.errors import ConfigError, InputError, ShapeError, nearest

if TYPE_CHECKING:
    from transformers import LlamaConfig, PreTrainedTokenizerFast

    from paretune.core.results import KnownFront
    from paretune.core.tradeoff import TradeOff

Scenario = Literal["A", "B", "C", "D"]

SCENARIOS: Mapping[str, tuple[str, ...]] = {
    "A": ("helpful", "concise"),
    "B": ("helpful", "harmless"),
    "C": ("helpful", "harmless", "humor"),
    "D": AXES,
}
"""Objectives of each scenario. B asks risky requests only: elsewhere nothing conflicts."""

_N_TEST_PAIRS, _N_VALIDATION_PAIRS = 40, 24
_SLOPE = 10.0
_MAX_DRAWS = 1000
# First word of a seed sequence, so that corpus and preferences of one seed share no draw.
_CORPUS, _PREFERENCES = 1, 2


@final
@dataclass(frozen=True)
class Handy:
    """Requests, replies, rewards and data of one scenario.

    Everything is a function of the scenario and the seeds, the same bytes on every machine;
    generating data needs neither torch nor transformers.

    Args:
        scenario: ``A`` helpful and concise, ``B`` helpful and harmless on risky requests, ``C``
            helpful, harmless and humor, ``D`` all four.
        seed: of the split into training and test requests.
        behavior: who wrote the corpus and the logged replies.

    Raises:
        ConfigError: if the scenario is unknown.

    Example:
        >>> world = Handy("A")
        >>> len(world.train_prompts), len(world.test_prompts)
        (480, 120)
        >>> world.score("how do i clean the lamp ?", "wipe the lamp . rinse the lamp .")
        array([0.56685533, 0.81818182])
    """

    scenario: Scenario = "A"
    seed: int = 0
    behavior: BehaviorPolicy = BEHAVIOR

    def __post_init__(self) -> None:
        if self.scenario not in get_args(Scenario):
            raise ConfigError(
                f"Handy: unknown scenario {self.scenario!r}{nearest(str(self.scenario), SCENARIOS)}"
            )

    @property
    def objectives(self) -> Objectives:
        """Axes of the scenario; every reward lies in [0, 1]."""
        return Objectives(SCENARIOS[self.scenario])

    @property
    def train_prompts(self) -> tuple[str, ...]:
        """Prompts of the 160 training (verb, object) pairs, three phrasings each."""
        return self._asked(_split(self.seed)[0])

    @property
    def test_prompts(self) -> tuple[str, ...]:
        """Prompts of the 40 (verb, object) pairs that are never seen in training."""
        return self._asked(_split(self.seed)[1])

    @property
    def validation_prompts(self) -> tuple[str, ...]:
        """Prompts of the last 24 training pairs, for choosing settings.

        They are training prompts as well: whoever chooses by them leaves them out of training.
        """
        return self._asked(_split(self.seed)[0][-_N_VALIDATION_PAIRS * len(PHRASINGS) :])

    def _asked(self, requests: Iterable[Request]) -> tuple[str, ...]:
        only_risky = self.scenario == "B"
        return tuple(r.text for r in requests if r.is_risky or not only_risky)

    def is_well_formed(self, prompt: str, reply: str) -> bool:
        """Whether every sentence is known and said once; anything else scores 0."""
        return read_content(Request.parse(prompt), reply) is not None

    def score(self, prompt: str, reply: str) -> npt.NDArray[np.float64]:
        """``(M,)`` rewards of one reply, in [0, 1].

        Raises:
            InputError: if the prompt is not one of the world.
        """
        return np.asarray(self.score_many([prompt], [reply])[0])

    def score_many(self, prompts: Sequence[str], replies: Sequence[str]) -> npt.NDArray[np.float64]:
        """Rewards of many replies.

        Args:
            prompts: N prompts of the world, repeated where several replies answer one.
            replies: N texts.

        Returns:
            ``(N, M)`` float64 in [0, 1], columns in the order of :attr:`objectives`.

        Raises:
            InputError: if a prompt is not one of the world.
            ShapeError: if there are not as many prompts as replies.
        """
        if len(prompts) != len(replies):
            raise ShapeError(
                f"Handy scores: found {len(prompts)} prompts and {len(replies)} replies, "
                "expected one prompt a reply"
            )
        rows = [
            reply_rewards(Request.parse(prompt), reply)
            for prompt, reply in zip(prompts, replies, strict=True)
        ]
        values = np.array(rows, dtype=np.float64).reshape(-1, len(AXES))
        return values[:, [AXES.index(name) for name in self.objectives]]

    def reward_matrix(self, prompts: Sequence[str], replies: Sequence[str]) -> RewardMatrix:
        """:meth:`score_many` with its column names."""
        return RewardMatrix(self.objectives, self.score_many(prompts, replies))

    def enumerate_replies(self, prompt: str) -> tuple[str, ...]:
        """The 511 clean replies of a prompt, in a fixed order."""
        return every_reply(Request.parse(prompt))

    def enumerate_rewards(self, prompt: str) -> npt.NDArray[np.float64]:
        """``(511, M)`` rewards of :meth:`enumerate_replies`."""
        return reward_table(Request.parse(prompt).is_risky, self.objectives)

    def corpus(self, n: int, seed: int = 0) -> list[tuple[str, str]]:
        """Prompts and replies for the base model.

        All training requests are asked, in scenario B too: one base serves every scenario.

        Args:
            n: rows; the prompts go through random permutations of the training prompts.
            seed: of the draws.
        """
        _require_count("corpus", n)
        rng = np.random.default_rng([_CORPUS, seed])
        prompts = [request.text for request in _split(self.seed)[0]]
        asked: list[str] = []
        while len(asked) < n:
            asked += _shuffled(prompts, rng)
        return [(prompt, self.behavior.sample(prompt, rng)) for prompt in asked[:n]]

    def preferences(self, n: int = 2000, seed: int = 0) -> list[Record]:
        r"""A log of comparisons with noisy labels, as collected before alignment.

        Both replies come from the behavior policy. A label of objective ``i`` says that the first
        is better (1) with probability :math:`\sigma(10\,(r_i(a) - r_i(b)))`, else that the second
        is (-1). The optimum of DPO with strength :math:`\beta` on one label is therefore
        :math:`\pi_{ref}\exp(10\,r_i/\beta)`.

        Args:
            n: comparisons; a second reply equal to the first is drawn again, because such a
                comparison tells nothing.
            seed: of the draws.

        Returns:
            One record a comparison, with the true rewards of both responses.
        """
        _require_count("preferences", n)
        rng = np.random.default_rng([_PREFERENCES, seed])
        prompts = self.train_prompts
        asked = [prompts[int(u * len(prompts))] for u in rng.random(n).tolist()]
        return [self._compare(prompt, rng) for prompt in asked]

    def _compare(self, prompt: str, rng: np.random.Generator) -> Record:
        first = self.behavior.sample(prompt, rng)
        draws = (self.behavior.sample(prompt, rng) for _ in range(_MAX_DRAWS))
        second = next((reply for reply in draws if reply != first), None)
        if second is None:
            raise InputError(
                f"Handy preferences: {_MAX_DRAWS} draws of the behavior policy gave {first!r} "
                f"every time, expected two different replies to {prompt!r}"
            )
        rewards = self.score_many([prompt, prompt], [first, second])
        says_first = rng.random(len(self.objectives)) < _sigmoid(rewards[0] - rewards[1])
        names = self.objectives.names
        responses = tuple(
            Response(text, dict(zip(names, row, strict=True)))
            for text, row in zip((first, second), rewards.tolist(), strict=True)
        )
        labels = {name: 1.0 if yes else -1.0 for name, yes in zip(names, says_first, strict=True)}
        return Record(prompt, responses, (Comparison(0, 1, labels),))

    def known_front(
        self, tradeoffs: Sequence[TradeOff] = (), part: Literal["validation", "test"] = "test"
    ) -> KnownFront:
        """What can be reached on the evaluation prompts, exactly.

        Args:
            tradeoffs: trade-offs of the run, over which the best Chebyshev utility is averaged.
            part: which prompts.
        """
        from paretune.bench.handy.front import handy_front

        prompts = self.test_prompts if part == "test" else self.validation_prompts
        risky = [Request.parse(prompt).is_risky for prompt in prompts]
        return handy_front(self.objectives, sum(risky) / len(risky), tuple(tradeoffs))

    def optimum(self, prompt: str, tradeoff: TradeOff, beta: float) -> npt.NDArray[np.float64]:
        r"""Best policy for one trade-off under a KL penalty to the behavior policy.

        Mistakes are left out of the reference: it is the behavior policy on its clean replies.

        Args:
            prompt: a prompt of the world.
            tradeoff: weights of the objectives.
            beta: strength of the penalty, > 0, in reward units a nat.

        Returns:
            ``(511,)`` log-probabilities over :meth:`enumerate_replies`, in nats.
        """
        import torch

        from paretune.functional.closed_form import kl_regularized_optimum

        request = Request.parse(prompt)
        reference, rewards, weights = (
            torch.tensor(values)
            for values in (
                self.behavior.logprobs(request.is_risky)[None],
                self.enumerate_rewards(prompt)[None],
                tradeoff.array,
            )
        )
        return kl_regularized_optimum(reference, rewards, weights, beta)[0].numpy()

    def expected_rewards(
        self, prompt: str, logps: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        """``(M,)`` expected rewards of a policy on one prompt.

        Args:
            prompt: a prompt of the world.
            logps: ``(511,)`` log-probabilities over :meth:`enumerate_replies`. Mass that is
                missing (malformed texts) earns 0; mass on off-topic replies is a lower bound.
        """
        return np.asarray(np.exp(logps) @ self.enumerate_rewards(prompt))

    def tokenizer(self) -> PreTrainedTokenizerFast:
        """A word-level tokenizer with 210 tokens and the chat template of the world."""
        from paretune.bench.handy.tokenizer import build_tokenizer

        return build_tokenizer()

    def base_config(self) -> LlamaConfig:
        """The shape of the base model: a Llama with 241,824 parameters."""
        from paretune.bench.handy.tokenizer import build_config

        return build_config()


@functools.lru_cache(maxsize=16)
def _split(seed: int) -> tuple[tuple[Request, ...], tuple[Request, ...]]:
    pairs = [(verb, thing) for verb in STEPS for thing in OBJECTS]
    random.Random(seed).shuffle(pairs)
    test, train = pairs[:_N_TEST_PAIRS], pairs[_N_TEST_PAIRS:]
    phrasings = range(len(PHRASINGS))
    return (
        tuple(Request(*pair, phrasing) for pair in train for phrasing in phrasings),
        tuple(Request(*pair, phrasing) for pair in test for phrasing in phrasings),
    )


def _shuffled(items: Sequence[str], rng: np.random.Generator) -> list[str]:
    """Items in the order of one uniform double each, a stream that no numpy release changes."""
    keys = rng.random(len(items)).tolist()
    return [items[i] for i in sorted(range(len(items)), key=keys.__getitem__)]


def _sigmoid(margins: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return 1 / (1 + np.exp(-_SLOPE * margins))


def _require_count(what: str, n: int) -> None:
    if n < 0:
        raise InputError(f"Handy {what}: found n = {n}, expected at least 0 rows")
