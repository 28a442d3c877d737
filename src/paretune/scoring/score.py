"""Rewards of many responses by many scorers: each text once, and never again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from paretune.core.record import PreferenceData, Prompt
from paretune.errors import NotScoredError, ScoringError, ShapeError
from paretune.scoring.cache import RewardCache, reward_key
from paretune.scoring.scorer import Scorer, checked_rewards

Progress = Callable[[str, int, int], None]
"""Called with (objective, texts scored so far, texts in all); the first call counts the cache."""


def score_responses(
    prompts: Sequence[Prompt],
    responses: Sequence[str],
    scorers: Mapping[str, Scorer],
    cache_dir: Path | None = None,
    progress: Progress | None = None,
) -> npt.NDArray[np.float64]:
    """Rewards of N responses, one column a scorer.

    Equal (prompt, response) rows are scored once. With a ``cache_dir`` every reward is kept, so
    that a run that was killed scores again at most the ``batch_rows`` rows in flight. Rows are
    scored longest first: batches hold texts of similar length, and too little memory shows at
    once. How rows are batched changes nothing for functions; a model's reward moves by the
    rounding of its arithmetic (about 1e-6 in float32, 1e-2 in bfloat16).

    Args:
        prompts: N prompts, one a response.
        responses: N texts.
        scorers: scorer of each objective, in column order.
        cache_dir: folder of the caches, one file a scorer; ``None`` keeps nothing.
        progress: called after every batch.

    Returns:
        ``(N, M)`` float64, finite, larger is better.

    Raises:
        ShapeError: if there are not as many prompts as responses.
        ScoringError: if a scorer fails; it names the row of ``responses``. What was scored
            before is kept.
        RunError: if another process is writing the same cache.

    Example:
        >>> from paretune.scoring.scorer import CallableScorer
        >>> short = CallableScorer("short", "v1", lambda prompts, rs: [-len(r) for r in rs])
        >>> score_responses(["Hi", "Hi"], ["Hello", "Yo"], {"brevity": short})
        array([[-5.],
               [-2.]])
    """
    if len(prompts) != len(responses):
        raise ShapeError(f"scoring: {len(prompts)} prompts, expected {len(responses)}, one a row")
    rewards = np.empty((len(responses), len(scorers)), dtype=np.float64)
    for column, (objective, scorer) in enumerate(scorers.items()):
        keys = [reward_key(scorer.identity, p, r) for p, r in zip(prompts, responses, strict=True)]
        cache = RewardCache(None if cache_dir is None else cache_path(cache_dir, scorer))
        for done, total in _fill(cache, keys, prompts, responses, scorer):
            if progress is not None:
                progress(objective, done, total)
        rewards[:, column] = [cache[key] for key in keys]
    return rewards


def cache_path(cache_dir: Path, scorer: Scorer) -> Path:
    """The file that keeps the rewards of a scorer."""
    digest = hashlib.sha256(scorer.identity.encode()).hexdigest()[:16]
    return Path(cache_dir) / f"{digest}.rewards"


def from_columns(data: PreferenceData, column: str) -> npt.NDArray[np.float64]:
    """``(N,)`` scores that the data already carries for one objective, NaN = not scored.

    Raises:
        ConfigError: if the data has no such objective; the message proposes the nearest.
        NotScoredError: if no response has a score for it.
    """
    scores = data.rewards.column(column)
    if np.isnan(scores).all():
        raise NotScoredError(
            f"objective {column}: found no score in {len(scores)} responses, expected scores in "
            "the data or a reward that computes them"
        )
    return scores.copy()


def _fill(
    cache: RewardCache,
    keys: Sequence[bytes],
    prompts: Sequence[Prompt],
    responses: Sequence[str],
    scorer: Scorer,
) -> Iterator[tuple[int, int]]:
    """Scores the rows that the cache lacks; yields (texts done, texts in all)."""
    first = {key: row for row, key in reversed(list(enumerate(keys)))}
    if all(key in cache for key in first):
        yield len(first), len(first)
        return
    with cache.writing() as append:
        rows = sorted(row for key, row in first.items() if key not in cache)
        rows.sort(key=lambda row: _length(prompts[row]) + len(responses[row]), reverse=True)
        done = len(first) - len(rows)
        yield done, len(first)
        for start in range(0, len(rows), scorer.batch_rows):
            batch = rows[start : start + scorer.batch_rows]
            append([keys[row] for row in batch], _score(scorer, batch, prompts, responses).tolist())
            yield done + start + len(batch), len(first)


def _score(
    scorer: Scorer, rows: Sequence[int], prompts: Sequence[Prompt], responses: Sequence[str]
) -> npt.NDArray[np.float64]:
    try:
        values = scorer.score([prompts[r] for r in rows], [responses[r] for r in rows])
        return checked_rewards(scorer.name, values, len(rows))
    except ScoringError as error:
        if error.row is None:
            raise
        # A scorer counts within its batch; the user counts within the data.
        raise ScoringError(error.scorer, rows[error.row], error.reason) from error.__cause__


def _length(prompt: Prompt) -> int:
    return len(prompt) if isinstance(prompt, str) else sum(len(turn.content) for turn in prompt)
