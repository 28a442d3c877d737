"""Floors on held-out prompts: how often a policy is preferred to the reference, what it earns."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from paretune.core.results import ConstraintResult
from paretune.evaluation.replies import Constraint, ReplyTable
from paretune.evaluation.resample import interval, means_over_replies
from paretune.functional.preference_table import preferred

Floats = npt.NDArray[np.float64]


def preferred_to(
    replies: ReplyTable, reference: ReplyTable, column: int, slope: float | None = None
) -> Floats:
    r"""``(N,)`` how likely each reply is preferred to a reply of the reference to its prompt.

    The mean over the reference's replies to the same prompt of :math:`\sigma(s\,\Delta r)`, or of
    1, 1/2, 0 for a larger, an equal, a smaller reward.

    Args:
        replies: of the policy.
        reference: of the reference policy, at least one reply to each of these prompts.
        column: of the objective.
        slope: label log-odds per unit of reward; ``None`` for certain labels.
    """
    order = np.argsort(reference.prompt_of, kind="stable")
    theirs = reference.rewards[order, column]
    n_prompts = int(max(replies.prompt_of.max(), reference.prompt_of.max())) + 1
    counts = np.bincount(reference.prompt_of, minlength=n_prompts)
    starts = np.cumsum(counts) - counts
    # Every (reply, opponent) of a prompt, side by side.
    many = counts[replies.prompt_of]
    reply = np.repeat(np.arange(len(replies)), many)
    opponent = starts[replies.prompt_of][reply] + np.arange(len(reply))
    opponent -= (np.cumsum(many) - many)[reply]
    chance = preferred(replies.rewards[reply, column] - theirs[opponent], slope)
    return np.asarray(np.bincount(reply, chance, len(replies)) / many)


def measure_constraints(
    constraints: tuple[Constraint, ...],
    replies: ReplyTable,
    reference: ReplyTable,
    names: tuple[str, ...],
    draws: npt.NDArray[np.int64],
) -> tuple[ConstraintResult, ...]:
    """Every constraint of a policy, with intervals over prompts.

    Args:
        constraints: of its goal.
        replies: of the policy.
        reference: of the reference policy.
        names: of all objectives.
        draws: ``(B, S)`` how often each prompt occurs in each resample.
    """
    found = []
    for constraint in constraints:
        column = constraint.column
        if constraint.unit == "reward":
            values = replies.rewards[:, column]
        else:
            values = preferred_to(replies, reference, column, constraint.slope)
        resampled = means_over_replies(values[:, None], replies.prompt_of, draws)[:, 0]
        estimate = interval(float(values.mean()), resampled)
        is_other = not constraint.is_over_reference and constraint.floor is not None
        is_other = is_other and constraint.unit == "preference"
        unit = "preference (floor: over the records)" if is_other else constraint.unit
        found.append(ConstraintResult(names[column], unit, constraint.floor, estimate))
    return tuple(found)
