"""Groups of prompts of which different rewards can be expected, read off their words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.cluster.vq import kmeans2

from paretune.errors import InputError

Floats = npt.NDArray[np.float64]

_WORDS = 500
_STRENGTHS = 10.0 ** np.arange(-1, 5)
_WORD = re.compile(r"\w+")
_CLEARLY = 0.95
"""Share of the mean's squared error that a prediction must stay under, to matter."""
_SURELY = 2.0
"""Standard errors by which it must be better: of six strengths, chance makes one better by some."""


def group_prompts(
    prompts: Sequence[str],
    rewards: npt.ArrayLike,
    prompt_of: npt.ArrayLike,
    most: int,
    seed: int = 0,
) -> npt.NDArray[np.int64]:
    """Prompts of one group are alike in the mean rewards that their words predict.

    Ridge regression of a prompt's mean rewards on the words that it has, at the strength with the
    least leave-one-out error, then k-means of the predictions. An objective that the words do not
    predict, out of sample, by 5 percent of the squared error and two standard errors, says nothing;
    when none is predicted all prompts are one group. (Of 50 prompts whose words say nothing, one in
    twenty makes groups all the same; of 200 next to none. Differences of a standard deviation are
    found from about 50 prompts on, those under a third of one never.) Words are found by what
    parts them: texts in scripts without spaces are one group.

    Args:
        prompts: P texts.
        rewards: ``(N, M)`` rewards of responses.
        prompt_of: ``(N,)`` prompt of each response.
        most: groups at most, >= 1.
        seed: of k-means.

    Returns:
        ``(P,)`` group of each prompt, numbered from 0 as they come. Prompts without a response are
        in the group that their words predict.

    Raises:
        InputError: if ``most`` < 1.

    Example:
        >>> prompts = [f"{verb} the {thing}" for verb in ("mow", "burn") for thing in "abcdefghij"]
        >>> rewards = [[0.5]] * 10 + [[0.0]] * 10
        >>> group_prompts(prompts, rewards, range(20), most=2).tolist() == [0] * 10 + [1] * 10
        True
    """
    if most < 1:
        raise InputError(f"prompt groups: found at most {most}, expected at least 1")
    values, owner = np.asarray(rewards, dtype=np.float64), np.asarray(prompt_of, dtype=np.int64)
    one = np.zeros(len(prompts), dtype=np.int64)
    if most == 1 or len(np.unique(owner)) < 3:
        return one
    words = _presence(prompts)
    predicted = _predicted(words, values, owner)
    different = np.unique(np.round(predicted, 9), axis=0)
    if len(different) == 1:
        return one
    n_groups = min(most, len(different))
    _, group_of = kmeans2(predicted, n_groups, minit="++", rng=np.random.default_rng(seed))
    _, first, numbers = np.unique(group_of, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[numbers], dtype=np.int64)


def _presence(prompts: Sequence[str]) -> Floats:
    """``(P, V)`` which of the commonest words each prompt has, centered."""
    found = [set(_WORD.findall(prompt.lower())) for prompt in prompts]
    counts = Counter(word for words in found for word in words)
    # A word of a single prompt tells nothing of others, one of all prompts nothing at all.
    useful = [w for w, n in counts.most_common() if 1 < n < len(prompts)][:_WORDS]
    columns = {word: i for i, word in enumerate(useful)}
    table = np.zeros((len(prompts), len(useful)))
    for row, words in enumerate(found):
        table[row, [columns[w] for w in words if w in columns]] = 1.0
    return np.asarray(table - table.mean(axis=0))


def _predicted(words: Floats, rewards: Floats, owner: npt.NDArray[np.int64]) -> Floats:
    """``(P, M)`` predicted mean rewards, in standard deviations of a response, less their mean."""
    n_prompts, n_objectives = len(words), rewards.shape[1]
    counts = np.bincount(owner, minlength=n_prompts)
    sums = np.stack([np.bincount(owner, r, n_prompts) for r in rewards.T], axis=1)
    known = counts > 0
    # The deviation of a constant may be a rounding error.
    spread = np.where(np.ptp(rewards, axis=0) > 0, rewards.std(axis=0), 1.0)
    means = sums[known] / counts[known, None] / spread
    wanted = means - means.mean(axis=0)
    # The mean of the known prompts is not shrunk: their words are measured from their own mean.
    x = words[known] - words[known].mean(axis=0)
    values, vectors = np.linalg.eigh(x.T @ x)
    values, rotated = np.clip(values, 0.0, None), x @ vectors
    # Leaving one out, the mean alone errs by this much.
    mean_error = (wanted * len(x) / (len(x) - 1)) ** 2
    best_error, best = np.full(wanted.shape, np.inf), np.zeros((x.shape[1], n_objectives))
    for strength in _STRENGTHS:
        shrunk = 1.0 / (values + strength)
        leverage = (rotated**2 * shrunk).sum(axis=1) + 1.0 / len(x)
        weights = shrunk[:, None] * (rotated.T @ wanted)
        error = ((wanted - rotated @ weights) / (1.0 - leverage)[:, None]) ** 2
        better = error.sum(axis=0) < best_error.sum(axis=0)
        best_error, best = np.where(better, error, best_error), np.where(better, weights, best)
    gain = mean_error - best_error
    is_clear = best_error.sum(axis=0) < _CLEARLY * mean_error.sum(axis=0)
    is_sure = gain.mean(axis=0) > _SURELY * gain.std(axis=0) / np.sqrt(len(x))
    return np.asarray((words @ (vectors @ best)) * (is_clear & is_sure))
