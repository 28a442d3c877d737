"""How many shots fit a prompt: whole ones are dropped, the oldest first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import numpy.typing as npt

from paretune.core.objective import Objectives
from paretune.core.record import Message, Prompt
from paretune.core.shots import FewShot
from paretune.core.user import Shot, User
from paretune.engines.lm.encode import Encoder, Ids, Ragged
from paretune.engines.lm.prompt_form import form_of
from paretune.functional.few_shot_prompt import few_shot_prompt, shot_block
from paretune.functional.users import description_of

Ints = npt.NDArray[np.int64]

# A shot may need fewer tokens inside a prompt than alone (merges at its ends), and more (marks of
# turns, its number): a first guess of what fits keeps too many, never too few.
_LESS, _MORE = 8, 32
# Prompts that are encoded at a time.
_AT_ONCE = 4096


@final
@dataclass(frozen=True)
class Fitted:
    """Prompts that fit the budget.

    Args:
        prompts: one a request, as the encoder takes them; ``None``: too long without any shot.
        ids: their ids; empty where the prompt is ``None``.
        kept: ``(V,)`` shots that stayed.
    """

    prompts: tuple[Prompt | None, ...]
    ids: Ragged
    kept: Ints


@final
@dataclass(frozen=True)
class Asked:
    """One prompt to be made.

    Args:
        user: who is behind it.
        query: what is asked.
        shots: pairs to show, the oldest first.
    """

    user: User
    query: Prompt
    shots: tuple[Shot, ...]


def fit_shots(
    encoder: Encoder, asked: Sequence[Asked], settings: FewShot, objectives: Objectives
) -> Fitted:
    """Prompts with as many shots as fit: whole ones are dropped, the oldest first.

    Nothing is cut inside a shot or a query. Shots are tokenized once to guess what fits; then the
    prompt itself is tokenized, and loses further shots until it fits.

    Args:
        encoder: of the model; the budget is the smaller of its ``max_prompt_tokens`` and that of
            the settings.
        asked: V prompts to make.
        settings: how a prompt is made.
        objectives: what the users weigh, by name.

    Returns:
        V prompts that fit exactly, and what they kept.
    """
    budget = min(settings.max_prompt_tokens, encoder.max_prompt_tokens)
    form, measure = form_of(encoder)
    sizes = _shot_sizes(encoder, asked, settings)
    kept = np.array([_guess(sizes[i], budget) for i in range(len(asked))], dtype=np.int64)
    prompts: list[Prompt | None] = [None] * len(asked)
    ids: list[Ids] = [np.zeros(0, np.int32)] * len(asked)
    waiting = list(range(len(asked)))
    while waiting:
        again = []
        for start in range(0, len(waiting), _AT_ONCE):
            some = waiting[start : start + _AT_ONCE]
            made = [form(_messages(asked[i], int(kept[i]), settings, objectives)) for i in some]
            encoded, _ = measure.encode_prompts(made)
            for i, prompt, row in zip(some, made, rows_of(encoded), strict=True):
                if len(row) <= budget:
                    prompts[i], ids[i] = prompt, row
                elif kept[i]:
                    kept[i] -= _to_drop(sizes[i][-int(kept[i]) :], len(row) - budget)
                    again.append(i)
        waiting = again
    return Fitted(tuple(prompts), ragged_of(ids), kept)


def words_of(user: User, objectives: Objectives) -> str:
    """A user in words: the user's own, or the template's."""
    if user.description is not None:
        return user.description
    return description_of(user.tradeoff, objectives)


def rows_of(ragged: Ragged) -> list[Ids]:
    """Its sequences as a list."""
    return [ragged[n] for n in range(len(ragged))]


def ragged_of(rows: Sequence[Ids]) -> Ragged:
    """Inverse of :func:`rows_of`, without a Python loop over tokens."""
    lengths = np.fromiter((len(row) for row in rows), np.int64, len(rows))
    flat = np.concatenate(rows) if rows else np.zeros(0, np.int32)
    return Ragged(flat.astype(np.int32), np.concatenate([[0], np.cumsum(lengths)]))


def _messages(
    asked: Asked, kept: int, settings: FewShot, objectives: Objectives
) -> tuple[Message, ...]:
    """The conversation with the last ``kept`` shots."""
    user, shots = asked.user, asked.shots[len(asked.shots) - kept :]
    described = words_of(user, objectives) if settings.description == "given" else None
    return few_shot_prompt(shots, asked.query, settings, objectives, user.tradeoff, described)


def _shot_sizes(encoder: Encoder, asked: Sequence[Asked], settings: FewShot) -> list[list[int]]:
    """Tokens of every shot by itself; equal shots are tokenized once."""
    numbers: dict[Shot, int] = {}
    rows = [[numbers.setdefault(shot, len(numbers)) for shot in a.shots] for a in asked]
    if settings.layout == "inline":
        texts = [shot_block(1, shot) for shot in numbers]
    else:
        texts = [f"{_asked_text(shot.prompt)}\n{shot.chosen}" for shot in numbers]
    lengths: list[int] = []
    for start in range(0, len(texts), _AT_ONCE):
        some: Any = encoder.tokenizer(
            texts[start : start + _AT_ONCE], add_special_tokens=False, return_attention_mask=False
        )
        lengths += [len(ids) for ids in some["input_ids"]]
    return [[lengths[n] for n in row] for row in rows]


def _asked_text(prompt: Prompt) -> str:
    if isinstance(prompt, str):
        return prompt
    return "\n".join(turn.content for turn in prompt if turn.role != "system")


def _guess(sizes: Sequence[int], budget: int) -> int:
    """Most of the last shots that may fit, if all else took no token."""
    total, kept = 0, 0
    for size in reversed(sizes):
        total += max(0, size - _LESS)
        if total > budget:
            break
        kept += 1
    return kept


def _to_drop(sizes: Sequence[int], excess: int) -> int:
    """Fewest of the first shots that may make up for ``excess`` tokens, at least one."""
    dropped = 0
    for size in sizes:
        if excess <= 0:
            break
        excess -= size + _MORE
        dropped += 1
    return dropped
