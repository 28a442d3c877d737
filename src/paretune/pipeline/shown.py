"""Prompts that show pairs: what a few-shot job trains on, and how its policy is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, final, get_args

import numpy as np
import numpy.typing as npt

from paretune.core.job import Shown
from paretune.core.objective import Objectives
from paretune.core.policy import Steering
from paretune.core.record import PreferenceData, Prompt
from paretune.core.rewards import RewardMatrix
from paretune.core.shots import Examples, FewShot
from paretune.core.tradeoff import TradeOff
from paretune.core.user import Part, User
from paretune.engines.lm.encode import Encoder, Ragged
from paretune.engines.lm.few_shot import Visits, encode_visits, visits_of
from paretune.engines.lm.job_data import JobData
from paretune.engines.lm.shot_budget import Asked, fit_shots, words_of
from paretune.errors import InputError
from paretune.functional.draws import hash_keys, uniform
from paretune.functional.few_shot_prompt import description_prefix
from paretune.functional.shots import deal_comparisons, shots_for_weights
from paretune.functional.users import draw_users

# Names of what is drawn: no two purposes share a draw.
_HELD_OUT, _BANK = 51, 52

_HELD_OUT_SHARE = 0.1
"""Of users and of training prompts, for validation and once more for tests: both are new there."""

_LEAST_USERS = 10

LEAST_TEST_USERS = 40
"""New users that personalization is measured on, where a tenth of the training users are fewer:
intervals are over users, and a handful of them says nothing."""

LEAST_TEST_PAIRS = 16
"""Comparisons each of them is asked at least, so that eight others that tell something are left to
be shown."""


@final
@dataclass(frozen=True)
class Asking:
    """Users and the comparisons each of them is asked.

    Args:
        data: comparisons of the training records, rewards in the unit range.
        users: of one part.
        examples: rows of ``users`` and of the comparisons.
    """

    data: PreferenceData
    users: tuple[User, ...]
    examples: Examples


def in_unit_range(data: PreferenceData) -> PreferenceData:
    """The same data with rewards in [0, 1], as the utility of users wants them."""
    values = data.rewards.values
    low, high = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
    unit = (values - low) / np.where(high > low, high - low, 1.0)
    return data.with_rewards(RewardMatrix(data.rewards.objectives, unit))


def comparisons_of(data: PreferenceData, part: Part, seed: int) -> npt.NDArray[np.int64]:
    """Rows of the comparisons on prompts of a part; no prompt is in two of them."""
    draws = uniform(hash_keys(seed, _HELD_OUT, np.arange(data.n_prompts)))
    band = (draws / _HELD_OUT_SHARE).astype(np.int64)[data.prompt_of[data.first]]
    bands: dict[Part, npt.NDArray[np.bool_]] = {
        "test": band == 0, "validation": band == 1, "train": band > 1
    }  # fmt: skip
    return np.flatnonzero(bands[part])


def asking(
    data: PreferenceData,
    source: Shown,
    part: Part,
    seed: int,
    comparisons: npt.NDArray[np.int64] | None = None,
) -> Asking:
    """Users of a part with comparisons of their own: new users, and new prompts, but in training.

    Args:
        data: rewards in the unit range.
        source: how many users, and what they are asked.
        part: ``train`` users are asked on prompts of their own; ``validation`` and ``test`` users
            are others, a tenth as many (of ``test`` at least 40, each asked 16 comparisons or
            more).
        seed: of the run.
        comparisons: that are dealt; ``None``: those on prompts of the part.

    Raises:
        InputError: if there are fewer comparisons than a user is asked.
    """
    fewer = max(_LEAST_USERS, round(source.users * _HELD_OUT_SHARE))
    n = {"train": source.users, "validation": fewer, "test": max(fewer, LEAST_TEST_USERS)}[part]
    first = {"train": 0, "validation": source.users, "test": source.users + fewer}[part]
    users = draw_users(
        n, len(data.rewards.objectives), seed, part, utility=source.utility, first=first
    )
    if comparisons is None:
        comparisons = comparisons_of(data, part, seed)
    least = LEAST_TEST_PAIRS if part == "test" else 0
    hand = min(max(source.pairs_per_user, least), len(comparisons))
    if hand < 2:
        raise InputError(
            f"shots: found {len(comparisons)} comparisons on prompts for {part} users, expected at "
            "least two: give more data"
        )
    dealt = deal_comparisons(n, len(comparisons), hand, seed + first)
    examples = Examples(dealt.user_of, comparisons[dealt.comparison_of])
    return Asking(data, users, examples)


def check_asking(data: PreferenceData, source: Shown, seed: int) -> None:
    """Make the questions of all users, and forget them.

    Raises:
        InputError: if the data have too few comparisons for users of any part, or all that are held
            out are on one prompt, so that none could be shown beside another.
    """
    for part in get_args(Part):
        asking(data, source, part, seed)
        rows = comparisons_of(data, part, seed)
        if len(np.unique(data.prompt_of[data.first[rows]])) < 2:
            raise InputError(
                f"shots: found {len(rows)} comparisons for {part} users on one prompt, expected at "
                "least two prompts: no pair is shown to a question on its own prompt; give more "
                "data"
            )


def shot_encoder(
    encoder: Encoder, prompts: FewShot, longest: int | None, objectives: Objectives
) -> Encoder:
    """An encoder with room for shots, and for the description where the policy writes one.

    Args:
        encoder: of the run.
        prompts: with their token budget.
        longest: positions of the model; ``None`` = no limit.
        objectives: what descriptions speak of.
    """
    budget, room = prompts.max_prompt_tokens, description_tokens(encoder, prompts, objectives)
    if longest is not None:
        budget = max(1, min(budget, longest - encoder.max_response_tokens - room))
    return encoder.with_limits(budget, encoder.max_response_tokens)


def visits(
    encoder: Encoder, asked: Asking, prompts: FewShot, seed: int, epochs: int = 1, **more: Any
) -> Visits:
    """The prompts of users, each epoch with shots of its own."""
    return visits_of(
        encoder, asked.data, asked.users, asked.examples, prompts, seed=seed,
        epochs=range(epochs), **more,
    )  # fmt: skip


def shown_data(
    data: PreferenceData,
    encoder: Encoder,
    source: Shown,
    seed: int,
    reference: Any,
    *,
    is_imitation: bool = False,
) -> JobData:
    """What a few-shot job trains on: visits of training users, validated on new ones.

    Args:
        data: the run's training records, rewarded and labelled.
        encoder: with room for shots.
        source: of the job.
        seed: of the run.
        reference: maps encoded visits to ``(N,)`` reference log-probabilities; ``None`` where the
            job needs none.
        is_imitation: responses are imitated: where policies describe their users, descriptions
            belong to the responses.
    """
    unit = in_unit_range(data)
    made = visits(encoder, asking(unit, source, "train", seed), source.prompts, seed, source.epochs)
    if is_imitation:
        texts = tuple(
            f"{prefix} {text}" if prefix else text
            for text, prefix in zip(
                made.data.texts, np.repeat(np.array(made.prefixes, dtype=object), 2), strict=True
            )
        )
        rows = replace(made.data, texts=texts)
        names = made.data.rewards.objectives
        longer = encoder.max_response_tokens + description_tokens(encoder, source.prompts, names)
        roomy = encoder.with_limits(encoder.max_prompt_tokens, longer)
        responses, n_cut = roomy.encode_responses(texts)
        encoded, _ = encode_visits(encoder, replace(made, prefixes=("",) * len(made)))
        encoded = replace(encoded, responses=responses, cut_responses=n_cut)
        return JobData(rows, encoded, np.full(len(texts), np.nan), visits=source.epochs)
    encoded, n_described = encode_visits(encoder, made)
    held_out = visits(encoder, asking(unit, source, "validation", seed), source.prompts, seed)
    held_out_encoded, _ = encode_visits(encoder, held_out)
    described = None
    if n_described.any():
        described = replace(
            encoded,
            prompts=made.prompt_ids,
            responses=Ragged.of(
                [encoded.prompts[v][-int(n) :].tolist() for v, n in enumerate(n_described)]
            ),
            prompt_of=np.arange(len(made)),
        )
    return JobData(
        made.data,
        encoded,
        reference(encoded),
        described,
        source.description_weight,
        JobData(held_out.data, held_out_encoded, reference(held_out_encoded)),
        source.epochs,
    )


def shown_prompts(
    steering: Steering, prompts: Sequence[Prompt], bank: PreferenceData, encoder: Encoder, seed: int
) -> Ragged:
    """Ids of prompts that show stored comparisons, labelled by a trade-off.

    Every prompt shows comparisons of its own, none on the prompt itself.

    Args:
        steering: with shots.
        prompts: S of them.
        bank: the run's training records, rewarded and labelled.
        encoder: with room for shots.
        seed: of the run.

    Raises:
        InputError: if a prompt alone is too long.
    """
    assert steering.shots is not None
    unit = in_unit_range(bank)
    settings, user = steering.shots, User("asked", steering.tradeoff, steering.utility)
    keys = hash_keys(seed, _BANK, np.arange(len(prompts)))
    asked = [
        Asked(
            user,
            prompt,
            shots_for_weights(
                unit, steering.tradeoff, settings.n_shots[1], int(key >> np.uint64(33)), prompt,
                steering.utility, min_gap=settings.min_gap,
            ),
        )
        for prompt, key in zip(prompts, keys, strict=True)
    ]  # fmt: skip
    fitted = fit_shots(encoder, asked, settings, bank.rewards.objectives)
    long = [n for n, prompt in enumerate(fitted.prompts) if prompt is None]
    if long:
        raise InputError(
            f"prompt {long[0]}: found more than {encoder.max_prompt_tokens} tokens without any "
            "shot, expected room for the question"
        )
    return fitted.ids


def description_tokens(encoder: Encoder, prompts: FewShot, objectives: Objectives) -> int:
    """Room that a description needs before the answer, twice the longest; 0 where none is written.

    What a policy writes may be longer than what it learned from.
    """
    if prompts.description != "generate":
        return 0
    n = len(objectives)
    tradeoffs = [TradeOff.even(n), *(TradeOff.only(i, n) for i in range(n))]
    texts = [description_prefix(words_of(User("any", t), objectives)) for t in tradeoffs]
    ids, _ = encoder.encode_responses(texts)
    return 2 * int(ids.lengths.max())
