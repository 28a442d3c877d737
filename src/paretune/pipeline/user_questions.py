"""What users are asked to measure personalization: pairs in several ways, and prompts to answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
import numpy.typing as npt

from paretune.core.job import Shown
from paretune.core.record import PreferenceData, Prompt
from paretune.core.shots import Examples, FewShot
from paretune.core.user import Shot
from paretune.engines.lm.encode import Encoder, Ragged
from paretune.engines.lm.few_shot import Visits, visits_of
from paretune.engines.lm.shot_budget import Asked, fit_shots
from paretune.errors import InputError
from paretune.functional.draws import hash_keys
from paretune.functional.shots import draw_shots, is_usable, orient, other_users, shots_of
from paretune.functional.utility import example_gaps
from paretune.pipeline.shown import (
    LEAST_TEST_PAIRS,
    LEAST_TEST_USERS,
    Asking,
    asking,
    comparisons_of,
)

Ints = npt.NDArray[np.int64]

MOST_VISITS = 400
"""Pairs that are asked in each way; with more, a draw of them."""

SHOTS = (0, 2, 4, 8)
"""Numbers of pairs shown that are compared."""

PROMPTS_PER_USER = 4
MOST_REPLIES = 400
"""New users, in their order, answer this many prompts together at most."""

OWN, OTHER = "own", "other"
CELLS = {"seen_prompt": (True, False), "seen_user": (False, True), "seen_both": (False, False)}
"""Condition to whether users and prompts are new; ``own`` is new on new."""

# Names of what is drawn: no two purposes share a draw.
_SAMPLE, _PROMPT = 53, 54


def measured() -> dict[str, Any]:
    """What the answers follow from besides the run's settings."""
    return {
        "visits": MOST_VISITS,
        "shots": SHOTS,
        "prompts": PROMPTS_PER_USER,
        "replies": MOST_REPLIES,
        "users": LEAST_TEST_USERS,
        "pairs": LEAST_TEST_PAIRS,
    }


def with_shots(n: int) -> str:
    """Name of the condition with ``n`` pairs shown."""
    return f"shots_{n}"


@final
@dataclass(frozen=True)
class Condition:
    """Pairs that are asked in one way.

    Args:
        queries: examples, the rows that ``visits.example_of`` means.
        visits: those of them that can be asked.
    """

    queries: Examples
    visits: Visits


def pair_conditions(
    data: PreferenceData,
    encoder: Encoder,
    source: Shown,
    settings: FewShot,
    seed: int,
    numbers: Sequence[int] = SHOTS,
) -> dict[str, Condition]:
    """The same pairs asked in several ways, and pairs of the other three cells.

    New users show pairs on prompts that were held out, seen users pairs of their training; what is
    asked is on a new or on a seen prompt.

    Args:
        data: the run's training records, rewards in the unit range.
        encoder: with room for shots.
        source: of the training job: its users, and what they were asked.
        settings: of the prompts as they are served.
        seed: of the run.
        numbers: of pairs shown.

    Returns:
        ``own``: new users on new prompts with their own pairs, as many as are served; ``other``:
        the same questions with the pairs of somebody else; ``shots_<n>``: with ``n`` pairs, but
        for the number that is served, which is ``own``; and the cells of :data:`CELLS`.

    Raises:
        InputError: if there are too few comparisons.
    """
    new, seen = (asking(data, source, part, seed) for part in ("test", "train"))
    queries = _sample(new.examples, seed)
    others = other_users(queries.user_of, len(new.users), seed)

    def ask(asked: Asking, queries: Examples, form: FewShot, **more: Any) -> Condition:
        made = visits_of(
            encoder, data, asked.users, queries, form, seed=seed, pool=asked.examples, **more
        )
        return Condition(queries, made)

    served = settings.n_shots[1]
    form = replace(settings, n_shots=(served, served))
    found = {OWN: ask(new, queries, form), OTHER: ask(new, queries, form, shown_by=others)}
    for n in numbers:
        if n != served:
            found[with_shots(n)] = ask(new, queries, replace(settings, n_shots=(n, n)))
    for name, (is_new_user, is_new_prompt) in CELLS.items():
        rows = comparisons_of(data, "test" if is_new_prompt else "train", seed)
        part = "test" if is_new_user else "train"
        cell = asking(data, source, part, seed, rows)
        found[name] = ask(new if is_new_user else seen, _sample(cell.examples, seed), form)
    return found


@final
@dataclass(frozen=True)
class Questions:
    """Prompts that users want answered.

    Args:
        user_of: ``(N,)`` row of the users.
        prompt_of: ``(N,)`` number of the prompt.
        asked: N users with their prompt and the pairs that it may show.
    """

    user_of: Ints
    prompt_of: Ints
    asked: tuple[Asked, ...]

    def ids(self, encoder: Encoder, settings: FewShot, data: PreferenceData) -> Ragged:
        """Ids of the prompts, with as many pairs as the settings say and fit.

        Raises:
            InputError: if a prompt alone is too long.
        """
        n = settings.n_shots[1]
        asked = [replace(a, shots=a.shots[:n]) for a in self.asked]
        fitted = fit_shots(encoder, asked, settings, data.rewards.objectives)
        long = [i for i, prompt in enumerate(fitted.prompts) if prompt is None]
        if long:
            raise InputError(
                f"prompt {self.prompt_of[long[0]]}: found more than {encoder.max_prompt_tokens} "
                "tokens without any shot, expected room for the question"
            )
        return fitted.ids


def reply_questions(
    asked: Asking, prompts: Sequence[Prompt], settings: FewShot, seed: int
) -> Questions:
    """A few evaluation prompts for each user, with pairs of the user to show.

    Args:
        asked: users, and the comparisons of theirs that may be shown.
        prompts: the evaluation prompts; each user asks distinct ones, drawn by hash.
        settings: how many pairs are shown, and which.
        seed: of the run.
    """
    each = min(PROMPTS_PER_USER, len(prompts))
    users = np.arange(min(len(asked.users), max(1, MOST_REPLIES // each)))
    keys = hash_keys(seed, _PROMPT, (users[:, None] * len(prompts) + np.arange(len(prompts))))
    prompt_of = np.argsort(keys, axis=1, kind="stable")[:, :each].ravel()
    user_of = np.repeat(users, each)
    gaps = example_gaps(asked.data, asked.users, asked.examples)
    numbers: dict[Prompt, int] = {}
    of_bank = _numbered(asked.data.prompts, numbers)[asked.data.prompt_of[asked.data.first]]
    on = _numbered([prompts[int(p)] for p in prompt_of], numbers)
    n = len(user_of)
    rows = draw_shots(
        Examples(user_of, np.arange(n)), np.arange(n), np.zeros(n, np.int64), on,
        (settings.n_shots[1], settings.n_shots[1]), seed, asked.examples,
        is_usable(gaps, settings.min_gap), None, of_bank,
    )  # fmt: skip
    flipped = orient(gaps, settings.label_noise, seed)
    made = []
    for user, prompt, row in zip(user_of.tolist(), prompt_of.tolist(), rows.tolist(), strict=True):
        shots: tuple[Shot, ...] = shots_of(asked.data, asked.users, asked.examples, flipped, row)
        made.append(Asked(asked.users[user], prompts[prompt], shots))
    return Questions(user_of, prompt_of, tuple(made))


def _sample(examples: Examples, seed: int) -> Examples:
    """At most :data:`MOST_VISITS` of them, in their order."""
    keys = hash_keys(seed, _SAMPLE, np.arange(len(examples)))
    rows = np.sort(np.argsort(keys, kind="stable")[:MOST_VISITS])
    return Examples(examples.user_of[rows], examples.comparison_of[rows])


def _numbered(prompts: Sequence[Prompt], numbers: dict[Prompt, int]) -> Ints:
    """Equal prompts have equal numbers."""
    found = [numbers.setdefault(prompt, len(numbers)) for prompt in prompts]
    return np.asarray(found, dtype=np.int64)
