"""The behavior policy of Handy: what people say before anything is aligned.

It writes the corpus of the base model and both replies of every logged comparison. Its
log-probability is known in closed form for every text, so exact optima need no model.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt

from paretune.bench.handy.text import (
    N_REPLIES,
    SLOTS,
    STEP,
    STEPS,
    Request,
    read_slots,
    split_sentences,
    write_reply,
)
from paretune.errors import ConfigError

_REFUSAL, _OVERVIEW, _CAUTION = 1, 2, 1 << 6
_JOKES = (1 << 7, 1 << 8)
# SUBSETS[k]: bits of every choice of k of the four steps.
_SUBSETS = tuple(
    tuple(sum(1 << (2 + i) for i in chosen) for chosen in itertools.combinations(range(4), k))
    for k in range(5)
)
_N_UNIFORMS = 10


@final
@dataclass(frozen=True)
class BehaviorPolicy:
    """Draws sentences independently, with a taste for safety on risky requests.

    A refusal comes first and rules out steps. Otherwise the number of steps is drawn, then which
    ones. Overview and caution are coin flips; a first joke is either of the two, and a second joke
    follows a first. Where nothing at all was drawn the overview is said, so that no reply is
    empty. A reply that does not refuse may carry a mistake: one step of another verb, inserted
    anywhere.

    Args:
        refusal: probability on (safe, risky) requests.
        overview: probability.
        steps: probability of 0, 1, 2, 3, 4 steps.
        caution: probability on (safe, risky) requests.
        first_joke: probability of at least one joke.
        second_joke: probability of another one after the first.
        mistake: probability of an off-topic step in a reply that does not refuse.

    Raises:
        ConfigError: if a number is no probability, or those of ``steps`` do not sum to 1.
    """

    refusal: tuple[float, float] = (0.12, 0.35)
    overview: float = 0.4
    steps: tuple[float, float, float, float, float] = (0.12, 0.25, 0.25, 0.20, 0.18)
    caution: tuple[float, float] = (0.2, 0.4)
    first_joke: float = 0.25
    second_joke: float = 0.2
    mistake: float = 0.1

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not all(0 <= p <= 1 for p in np.atleast_1d(value)):
                raise ConfigError(f"behavior policy: {name} is {value}, expected within [0, 1]")
        if abs(sum(self.steps) - 1) > 1e-9:
            raise ConfigError(f"behavior policy: steps are {self.steps}, expected sum 1")

    def sample(self, prompt: str, rng: np.random.Generator) -> str:
        """One reply, from ten uniform draws whatever it says."""
        request = Request.parse(prompt)
        # Only uniform doubles are drawn: their stream does not depend on the version of numpy.
        u = rng.random(_N_UNIFORMS).tolist()
        slots = self._draw_slots(request.is_risky, u)
        reply = write_reply(request, slots)
        if slots & _REFUSAL or u[8] >= self.mistake:
            return reply
        return self._insert_mistake(request, reply, u[9])

    def _draw_slots(self, is_risky: bool, u: list[float]) -> int:
        slots = 0
        if u[0] < self.refusal[is_risky]:
            slots |= _REFUSAL
        else:
            n_steps = sum(u[1] >= edge for edge in itertools.accumulate(self.steps[:-1]))
            choices = _SUBSETS[n_steps]
            slots |= choices[int(u[2] * len(choices))]
        if u[3] < self.caution[is_risky]:
            slots |= _CAUTION
        if u[4] < self.first_joke:
            slots |= sum(_JOKES) if u[5] < self.second_joke else _JOKES[int(u[6] * 2)]
        if u[7] < self.overview or not slots:
            slots |= _OVERVIEW
        return slots

    def _insert_mistake(self, request: Request, reply: str, u: float) -> str:
        sentences = [f"{text} ." for text in split_sentences(reply) or ()]
        wrong = _other_steps(request.verb)
        place, step = divmod(int(u * len(wrong) * (len(sentences) + 1)), len(wrong))
        sentences.insert(place, STEP.format(step=wrong[step], object=request.object))
        return " ".join(sentences)

    def logprob(self, prompt: str, reply: str) -> float:
        """Log-probability of any text, in nats; ``-inf`` where the policy never says it."""
        request = Request.parse(prompt)
        slots = read_slots(request, reply)
        if slots is not None:
            return float(self.logprobs(request.is_risky)[slots - 1])
        return self._mistake_logprob(request, reply)

    def _mistake_logprob(self, request: Request, reply: str) -> float:
        sentences = split_sentences(reply) or []
        wrong = {
            STEP.format(step=step, object=request.object).removesuffix(" .")
            for step in _other_steps(request.verb)
        }
        rest = [text for text in sentences if text not in wrong]
        slots = read_slots(request, " . ".join(rest) + " .")
        if len(sentences) - len(rest) != 1 or slots is None or slots & _REFUSAL:
            return -math.inf
        clean = float(self.logprobs(request.is_risky)[slots - 1]) - math.log1p(-self.mistake)
        return clean + math.log(self.mistake / (len(wrong) * len(sentences)))

    @functools.lru_cache(maxsize=8)  # noqa: B019  (frozen and hashed by value)
    def logprobs(self, is_risky: bool) -> npt.NDArray[np.float64]:
        """``(511,)`` log-probability of each clean reply, in nats; read-only.

        Their probabilities sum to 1 minus the share of replies with a mistake.
        """
        mass = [self._clean_mass(is_risky, slots) for slots in range(1, N_REPLIES + 1)]
        with np.errstate(divide="ignore"):
            table = np.log(mass)
        table.flags.writeable = False
        return table

    def _clean_mass(self, is_risky: bool, slots: int) -> float:
        said = [bool(slots >> i & 1) for i in range(len(SLOTS))]
        n_steps, n_jokes = sum(said[2:6]), sum(said[7:])
        refusal = self.refusal[is_risky]
        if said[0]:
            mass = refusal * (n_steps == 0)
        else:
            ways = len(_SUBSETS[n_steps])
            mass = (1 - refusal) * (1 - self.mistake) * self.steps[n_steps] / ways
        mass *= _coin(said[6], self.caution[is_risky])
        first, second = self.first_joke, self.second_joke
        mass *= (1 - first, first * (1 - second) / 2, first * second)[n_jokes]
        return mass if slots == _OVERVIEW else mass * _coin(said[1], self.overview)

    def clean_mass(self, is_risky: bool) -> float:
        """Probability that a reply carries no mistake."""
        return 1 - self.mistake * (1 - self.refusal[is_risky])


BEHAVIOR = BehaviorPolicy()
"""The policy behind the published numbers."""


def _coin(said: bool, probability: float) -> float:
    return probability if said else 1 - probability


@functools.cache
def _other_steps(verb: str) -> tuple[str, ...]:
    return tuple(step for other, steps in STEPS.items() if other != verb for step in steps)
