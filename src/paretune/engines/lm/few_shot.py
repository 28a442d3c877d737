"""Few-shot prompts in tokens: what fits, and the training data of visits.

A *visit* is an example (a user and a comparison) in one epoch; it has a prompt of its own, because
every epoch shows other pairs of the user.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt

from paretune.core.record import PreferenceData, Prompt
from paretune.core.rewards import RewardMatrix
from paretune.core.shots import Examples, FewShot
from paretune.core.user import Shot, User
from paretune.engines.lm.encode import Encoded, Encoder, Ragged
from paretune.engines.lm.prompt_form import keeps_prefix, text_ids
from paretune.engines.lm.shot_budget import Asked, Fitted, fit_shots, ragged_of, rows_of, words_of
from paretune.errors import InputError
from paretune.functional.few_shot_prompt import description_prefix
from paretune.functional.shots import (
    check_shots,
    draw_shots,
    is_usable,
    joint_prompts,
    orient,
    shots_of,
)
from paretune.functional.utility import example_gaps

Ints = npt.NDArray[np.int64]


@final
@dataclass(frozen=True)
class FewShotCounts:
    """What became of the visits.

    Args:
        asked: visits asked for.
        undecided: left out because the user prefers neither response.
        too_long: left out because the query alone does not fit.
        shortened: visits that lost a shot or more to the token budget.
        dropped: shots lost.
        n_shots: shots in a prompt -> how many of the remaining visits have that many.
    """

    asked: int
    undecided: int
    too_long: int
    shortened: int
    dropped: int
    n_shots: Mapping[int, int]

    @classmethod
    def of(cls, n_asked: int, decided: Sequence[Asked], fitted: Fitted) -> FewShotCounts:
        """Counts of ``n_asked`` visits, of which those of ``decided`` were made."""
        fits = [prompt is not None for prompt in fitted.prompts]
        kept = fitted.kept[fits]
        drawn = np.array([len(a.shots) for a in decided], dtype=np.int64)[fits]
        return cls(
            n_asked,
            n_asked - len(decided),
            len(fits) - sum(fits),
            int((kept < drawn).sum()),
            int((drawn - kept).sum()),
            dict(sorted(Counter(kept.tolist()).items())),
        )


@final
@dataclass(frozen=True)
class Visits:
    """Few-shot prompts with the two responses of their comparison, as data of a pairwise job.

    Args:
        data: V prompts, each with its two responses, the one its user prefers first (rows ``2v``
            and ``2v + 1``), and one comparison: labels with the signs of that order, and the
            user's trade-off as ``weights``.
        prompt_ids: V prompts as ids, none longer than the budget.
        example_of: ``(V,)`` rows of the examples.
        epoch_of: ``(V,)``.
        n_shots: ``(V,)`` pairs in the prompt.
        gaps: ``(V,)`` how much better the first response is to the user, > 0.
        prefixes: how each reply begins before it answers (the description, where the policy is to
            write it); empty texts otherwise.
        keeps_prefix: whether the template leaves a prompt as it is when the reply follows.
        counts: what was left out.
    """

    data: PreferenceData
    prompt_ids: Ragged
    example_of: Ints
    epoch_of: Ints
    n_shots: Ints
    gaps: npt.NDArray[np.float64]
    prefixes: tuple[str, ...]
    keeps_prefix: bool
    counts: FewShotCounts

    def __len__(self) -> int:
        return len(self.example_of)


def visits_of(
    encoder: Encoder,
    data: PreferenceData,
    users: Sequence[User],
    examples: Examples,
    settings: FewShot,
    *,
    seed: int,
    epochs: Sequence[int] = (0,),
    pool: Examples | None = None,
    pool_data: PreferenceData | None = None,
    shown_by: Ints | None = None,
) -> Visits:
    """Prompts and pairs for training on, or measuring with, a user's examples.

    Args:
        encoder: of the model; its ``max_prompt_tokens`` bounds the budget as well.
        data: comparisons with labels, and unit rewards where a user is a Chebyshev one.
        users: rows that ``user_of`` means; one without a description gets the template's.
        examples: what is asked.
        settings: how a prompt is made. ``n_shots=(k, k)`` measures with k shots.
        seed: of the shots.
        epochs: each example is visited once in each; visits of an epoch stand together.
        pool: examples that may be shown; ``None``: ``examples``.
        pool_data: the data of the pool's comparisons; ``None``: ``data``.
        shown_by: ``(E,)`` user whose pairs, weights and description a query sees; ``None``: its
            own. Labels, order and ``weights`` stay those of its own user.

    Returns:
        The visits that can be asked, in the order of (epoch, example).

    Raises:
        InputError: if none is left.
        NotScoredError, ShapeError: as :func:`~paretune.functional.utility.example_gaps`.
    """
    bank, source = pool_data or data, pool or examples
    gaps = example_gaps(data, users, examples)
    shown_gaps = gaps if pool is None and pool_data is None else example_gaps(bank, users, source)
    decided = np.flatnonzero(is_usable(gaps))
    example_of = np.tile(decided, len(epochs)).astype(np.int64)
    epoch_of = np.repeat(np.asarray(epochs, dtype=np.int64), len(decided))
    prompt_of, pool_prompt_of = joint_prompts(data, bank)
    may_show = is_usable(shown_gaps, settings.min_gap)
    drawn = draw_shots(
        examples, example_of, epoch_of, prompt_of, settings.n_shots, seed, source, may_show,
        shown_by, pool_prompt_of,
    )  # fmt: skip
    seen = examples.user_of if shown_by is None else shown_by
    seen_users = [users[int(u)] for u in seen[example_of]]
    shots = _Shots(bank, users, source, orient(shown_gaps, settings.label_noise, seed))
    asked = [
        Asked(user, _query(data, comparison), shots.of(user, row))
        for user, comparison, row in zip(
            seen_users, examples.comparison_of[example_of].tolist(), drawn.tolist(), strict=True
        )
    ]
    fitted = fit_shots(encoder, asked, settings, data.rewards.objectives)
    stays = [v for v, prompt in enumerate(fitted.prompts) if prompt is not None]
    counts = FewShotCounts.of(len(examples) * len(epochs), asked, fitted)
    if not stays:
        raise InputError(
            f"few shots: found no visit of {counts.asked} to ask ({counts.undecided} without a "
            f"preference, {counts.too_long} whose query alone has more than "
            f"{settings.max_prompt_tokens} tokens), expected at least one"
        )
    rows = example_of[stays]
    prefixes = [""] * len(stays)
    if settings.description == "generate":
        names = data.rewards.objectives
        prefixes = [description_prefix(words_of(seen_users[v], names)) for v in stays]
    prompts = [prompt for prompt in fitted.prompts if prompt is not None]
    own = [users[int(u)] for u in examples.user_of[rows]]
    pairs = _pairs(data, prompts, own, examples.comparison_of[rows], gaps[rows] < 0)
    return Visits(
        pairs,
        ragged_of([fitted.ids[v] for v in stays]),
        rows,
        epoch_of[stays],
        fitted.kept[stays],
        np.abs(gaps[rows]),
        tuple(prefixes),
        keeps_prefix(encoder, prompts[0], pairs.texts[0]),
        counts,
    )


def encode_visits(encoder: Encoder, visits: Visits) -> tuple[Encoded, Ints]:
    """Ids of visits for training, and where the description ends a prompt.

    A description that the policy is to write (``prefixes``) is put at the end of the prompt, so
    that a response is the answer alone: its log-probability is conditional on the description and
    has no token of it.

    Args:
        encoder: the one the visits were made with.
        visits: V of them.

    Returns:
        The ids of V prompts and 2V responses, and ``(V,)`` how many of the last ids of each
        prompt are the description's: what a description loss is taken on.
    """
    numbers: dict[str, int] = {}
    texts = [
        f" {text}" if visits.prefixes[row // 2] else text
        for row, text in enumerate(visits.data.texts)
    ]
    rows = [numbers.setdefault(text, len(numbers)) for text in texts]
    distinct, _ = encoder.encode_responses(list(numbers))
    is_cut = distinct.lengths == encoder.max_response_tokens
    eos = int(encoder.tokenizer.eos_token_id)
    cut = {n for n in np.flatnonzero(is_cut).tolist() if distinct[n][-1] != eos}
    prefix_of = {text: text_ids(encoder, text) for text in dict.fromkeys(visits.prefixes)}
    written = [prefix_of[text] for text in visits.prefixes]
    prompts = [
        np.concatenate([row, np.asarray(more, dtype=np.int32)])
        for row, more in zip(rows_of(visits.prompt_ids), written, strict=True)
    ]
    encoded = Encoded(
        ragged_of(prompts),
        ragged_of([distinct[n] for n in rows]),
        visits.data.prompt_of,
        cut_responses=sum(n in cut for n in rows),
    )
    return encoded, np.array([len(ids) for ids in written], dtype=np.int64)


@final
class _Shots:
    """Shots of pool rows, each made once."""

    def __init__(
        self,
        data: PreferenceData,
        users: Sequence[User],
        pool: Examples,
        is_flipped: npt.NDArray[np.bool_],
    ) -> None:
        self._of = (data, users, pool, is_flipped)
        self._made: dict[int, Shot] = {}

    def of(self, user: User, rows: Sequence[int]) -> tuple[Shot, ...]:
        for row in rows:
            if row >= 0 and row not in self._made:
                self._made[row] = shots_of(*self._of, [row])[0]
        shots = tuple(self._made[row] for row in rows if row >= 0)
        check_shots(user, shots)
        return shots


def _query(data: PreferenceData, comparison: int) -> Prompt:
    return data.prompts[int(data.prompt_of[data.first[comparison]])]


def _pairs(
    data: PreferenceData,
    prompts: Sequence[Prompt],
    users: Sequence[User],
    comparison_of: Ints,
    is_flipped: npt.NDArray[np.bool_],
) -> PreferenceData:
    """One comparison a visit, the response its user prefers first."""
    first, second = data.first[comparison_of], data.second[comparison_of]
    chosen, rejected = np.where(is_flipped, second, first), np.where(is_flipped, first, second)
    rows = np.stack([chosen, rejected], axis=1).ravel()
    n = len(prompts)
    return PreferenceData(
        tuple(prompts),
        tuple(data.texts[row] for row in rows.tolist()),
        np.repeat(np.arange(n), 2),
        RewardMatrix(data.rewards.objectives, data.rewards.values[rows]),
        np.arange(0, 2 * n, 2),
        np.arange(1, 2 * n, 2),
        np.where(is_flipped, -1.0, 1.0)[:, None] * data.labels[comparison_of],
        None if data.multiplicity is None else data.multiplicity[comparison_of],
        weights=np.array([user.tradeoff.weights for user in users]),
    )
