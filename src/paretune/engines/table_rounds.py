"""Replies of a round on a table: drawn from exact policies, plain or told what to get."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt
from torch import Tensor

from paretune.core.description import identity
from paretune.core.job import Replies
from paretune.engines.table_policy import nucleus

Rows = npt.NDArray[np.int64]


@final
@dataclass(frozen=True)
class TableReplies:
    """Replies of all jobs of a source, one after the other.

    Args:
        prompt_of: ``(R,)`` context of the prompt.
        action_of: ``(R,)`` action.
        asked: ``(R,)`` number of the prompt; a context stands for many.
        rounds: ``(R,)`` which job replied, from 1.
    """

    prompt_of: Rows
    action_of: Rows
    asked: Rows
    rounds: Rows


def draw_replies(
    source: Replies,
    policies: Mapping[str, Tensor],
    contexts: Rows,
    seed: int,
    told: Callable[[str, Rows], Rows],
) -> TableReplies:
    """Replies of every job of a source.

    A context stands for many prompts, so the prompts of a round are spread evenly over the
    contexts, at least one each, whatever their number.

    Args:
        source: who replies, how often and how.
        policies: job to ``(S, A)`` log-probabilities, in nats.
        contexts: rows of the table that are asked.
        seed: of the run. The draws are keyed by the source, so that all jobs that name it get the
            same replies.
        told: the context in which a job really answers, from the job and the ``(R,)`` contexts it
            is asked in.
    """
    n_prompts = max(1, source.prompts // len(contexts))
    asked = np.repeat(np.arange(len(contexts) * n_prompts), source.per_prompt)
    generator = np.random.default_rng([seed, int(identity(source), 16)])
    actions = []
    for policy in source.of:
        logps = nucleus(policies[policy], source.temperature, source.top_p)
        edges = logps.exp().cumsum(-1).numpy()[told(policy, contexts[asked // n_prompts])]
        draws = generator.random(len(asked)) * edges[:, -1]
        actions.append((draws[:, None] < edges).argmax(axis=1))
    n_jobs = len(source.of)
    rounds = np.repeat(np.arange(1, n_jobs + 1), len(asked))
    asked = np.tile(asked, n_jobs)
    return TableReplies(contexts[asked // n_prompts], np.concatenate(actions), asked, rounds)
