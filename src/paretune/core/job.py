"""Training jobs: one model to train, described and not run.

A plan is a list of jobs. The fields carry every shape a method needs:

====================================  ==================================================
one policy per trade-off              one job a trade-off
experts merged or mixed               one job an objective; ``Method.steer`` combines them
one conditioned policy                one job with ``condition`` set
several policies on one backbone      jobs with the same ``group``, each with its ``head``
one objective, the others floored     ``kind="constrained"`` with a ``goal``
losses of a whole step combined       ``step_loss`` in place of ``loss``
prompts that show a user's pairs      ``source=Shown(...)``
margins of the other objectives       ``margins=Margins(...)``
responses weighed by their rewards    ``kind="rewarded"`` with a ``step_loss`` of all policies
one policy, trade-off by a vector      ``adapter=TradeOffEmbedding(...)``, rows told theirs
one policy, trade-off in its adapter  ``adapter=TradeOffAdapter(...)``, pairs of every objective
rounds on replies of earlier jobs     ``source=Replies(...)``, ``start=<earlier job>``
====================================  ==================================================
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, final

import numpy as np
import numpy.typing as npt

from paretune.core.adapter import TradeOffAdapter, TradeOffEmbedding
from paretune.core.constrained import ConstrainedGoal
from paretune.core.online import OnlineGoal
from paretune.core.record import PreferenceData
from paretune.core.rewards import Normalizer
from paretune.core.shots import FewShot
from paretune.core.tradeoff import TradeOff
from paretune.core.user import Utility
from paretune.errors import ConfigError

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
"""Ids become folders: none of them leads out of its own."""

BASE = "base"
"""Id of the reference policy: the frozen start of every job."""


@final
@dataclass(frozen=True)
class Pool:
    """What a row rule may look at.

    Args:
        rewards: ``(N, M)`` float64, NaN where not scored.
        prompt_of: ``(N,)`` int64 prompt of each response.
        text_of: ``(N,)`` int64; two rows with the same number hold the same text.
        rounds: ``(N,)`` int64 where each response is from: 0 = the run's records, i = the i-th
            job that replied; ``None`` = the records.
        prompts: the P texts of the prompts, all turns of a conversation; empty where they are not
            known.
    """

    rewards: npt.NDArray[np.float64]
    prompt_of: npt.NDArray[np.int64]
    text_of: npt.NDArray[np.int64]
    rounds: npt.NDArray[np.int64] | None = None
    prompts: tuple[str, ...] = ()

    @classmethod
    def of(cls, data: PreferenceData) -> Pool:
        """The pool of a data set: its responses in their order."""
        numbers: dict[str, int] = {}
        text_of = [numbers.setdefault(text, len(numbers)) for text in data.texts]
        texts = np.asarray(text_of, dtype=np.int64)
        prompts = tuple(
            prompt if isinstance(prompt, str) else "\n".join(turn.content for turn in prompt)
            for prompt in data.prompts
        )
        return cls(data.rewards.values, data.prompt_of, texts, data.rounds, prompts)


@final
@dataclass(frozen=True)
class PairOrder:
    """Comparisons turned into preference pairs.

    Args:
        index: ``(Q,)`` int64 rows of the comparisons that are used.
        flipped: ``(Q,)`` bool, True where the second response is the chosen one.
    """

    index: npt.NDArray[np.int64]
    flipped: npt.NDArray[np.bool_]


@final
@dataclass(frozen=True)
class ConditionedRows:
    """Rows of a conditioned policy, where a row may come several times with different prompts.

    Args:
        index: ``(Q,)`` int64 rows of the pool, in training order.
        given: ``(Q, D)`` float64 what the condition tells each row's prompt.
        is_ordered: where the trade-off is told by a vector: whether the order is part of the rule,
            so that steps take the rows as they come. Else every epoch has a random order.
    """

    index: npt.NDArray[np.int64]
    given: npt.NDArray[np.float64]
    is_ordered: bool = False

    def __len__(self) -> int:
        return len(self.index)


RowRule = Callable[[Pool], "npt.NDArray[np.int64] | ConditionedRows"]
"""Which responses an SFT job trains on: pool in, rows out (in training order)."""

Condition = Callable[[str, npt.NDArray[np.float64], Normalizer], str]
"""Rewrites a prompt for a conditioned policy.

Called with the text of the prompt, what it is told ``(D,)`` and the statistics of the training
rewards. What a prompt is told are the rewards of the row, unless the row rule says otherwise."""

PairRule = Callable[[npt.NDArray[np.float64], npt.NDArray[np.uint64]], PairOrder]
"""Which comparisons a pairwise job trains on and which side is chosen.

Called with the labels ``(P, M)`` in [-1, 1] (NaN = not labelled) and one random 64-bit key a
comparison ``(P,)``, a hash of (seed, comparison): all randomness of a rule comes from the keys."""


@final
@dataclass(frozen=True)
class Offline:
    """The rows of the run's own records."""


@final
@dataclass(frozen=True)
class Replies:
    """Rows sampled from earlier jobs of the plan and scored with the run's rewards.

    Args:
        of: ids of the jobs that reply, each on the same prompts.
        prompts: how many training prompts are drawn without replacement (all when fewer exist).
        per_prompt: replies a prompt and job.
        temperature: sampling temperature, > 0.
        top_p: nucleus mass in (0, 1].
        with_offline: also hand the run's own records to the row rule.
        condition: rewrites the prompt of each reply for a conditioned policy: (prompt text, random
            64-bit key of the reply, statistics of the training rewards) to prompt text.
    """

    of: tuple[str, ...]
    prompts: int
    per_prompt: int = 1
    temperature: float = 1.0
    top_p: float = 1.0
    with_offline: bool = False
    condition: Callable[[str, np.uint64, Normalizer], str] | None = None


@final
@dataclass(frozen=True)
class Margins:
    """What a pairwise loss is told of all objectives, besides the labels of a pair.

    Args:
        experts: ids of the jobs whose implicit rewards are the margins, one an objective; empty =
            differences of the records' rewards.
        betas: strength of the KL penalty of each expert, > 0: its implicit reward is that many
            times its log-ratio.
        is_calibrated: bring the margins to Bradley-Terry units (label log-odds) by the labels.
    """

    experts: tuple[str, ...] = ()
    betas: tuple[float, ...] = ()
    is_calibrated: bool = True


@final
@dataclass(frozen=True)
class Shown:
    """The run's own comparisons, each asked by a user whose other pairs the prompt shows.

    Args:
        prompts: how pairs are shown.
        users: how many are drawn for training, >= 1; a tenth as many for validation.
        pairs_per_user: comparisons each of them is asked, >= 1.
        epochs: visits of every comparison, each with shots of its own, >= 1.
        utility: how users rate.
        reference: id of the job whose policy is the reference, with the same prompts.
        description_weight: of the likelihood of descriptions, where the policy writes them, >= 0.
    """

    prompts: FewShot
    users: int = 400
    pairs_per_user: int = 8
    epochs: int = 1
    utility: Utility = "linear"
    reference: str = BASE
    description_weight: float = 0.0


@final
@dataclass(frozen=True)
class Head:
    """What the policies of a group do not share.

    Args:
        kind: ``lm_head``: an output layer of its own; ``adapter``: a low-rank update of the
            shared one; ``state``: a low-rank network on the last hidden states, with everything
            that the policies share frozen.
        rank: of the update, >= 1; not read with ``lm_head``.
    """

    kind: Literal["lm_head", "adapter", "state"] = "lm_head"
    rank: int = 16


@final
@dataclass(frozen=True)
class TrainingJob:
    """One model to train.

    Args:
        id: unique in the plan, a valid file name.
        kind: ``sft`` maximizes the likelihood of chosen rows; ``pairwise`` minimizes ``loss`` on
            preference pairs; ``constrained`` pursues ``goal``; ``rewarded`` minimizes ``step_loss``
            on responses and their rewards, for all policies of a group at once; ``online`` pursues
            the rewards of its own replies.
        tradeoff: the trade-off the job is for (a corner for an expert, the center for a policy
            that serves all).
        rows: which data the job trains on: a :data:`RowRule` for ``sft``, a :data:`PairRule` for
            ``pairwise``; ``None`` for ``constrained``, which reads them off the goal's labels.
        loss: for ``pairwise``: function of a ``PairBatch`` that returns one loss a pair, usually
            a ``functools.partial`` of one in ``functional/losses.py``; ``None`` otherwise.
        step_loss: for ``pairwise``, in place of ``loss``: a ``ScalarizedLoss``, which combines the
            losses of all pairs of a step at once; for ``rewarded``: a loss of all policies.
        margins: for ``pairwise``: what the loss is told of all objectives.
        goal: for ``constrained``: what is maximized, and under which floors.
        online: for ``online``: which rewards of its own replies are maximized, and how.
        source: where the rows come from.
        start: id of the job whose parameters are the start; :data:`BASE` for the reference.
        settings: hyper-parameters of the training that this job fixes (``steps``,
            ``batch_size``, ``learning_rate``, ...); the run's settings fill the rest.
        group: jobs with the same group are trained together on one backbone, and differ in kind
            of goal and in head only.
        head: of a job in a group.
        condition: rewrites the prompts of an ``sft`` job.
        adapter: where the trade-off enters. A ``TradeOffAdapter``, for ``pairwise``: it is trained,
            whatever else the run trains; each batch draws a trade-off, sets it and weighs the
            objectives of ``step_loss`` by it. A ``TradeOffEmbedding``, for ``sft`` with a rule that
            tells every row its trade-off: it is trained with all that the run trains.
    """

    id: str
    kind: Literal["sft", "pairwise", "constrained", "rewarded", "online"]
    tradeoff: TradeOff
    rows: RowRule | PairRule | None = None
    loss: Callable[[Any], Any] | None = None
    step_loss: Any = None
    margins: Margins | None = None
    goal: ConstrainedGoal | None = None
    online: OnlineGoal | None = None
    source: Offline | Replies | Shown = Offline()
    start: str = BASE
    settings: Mapping[str, float | int | str] = field(default_factory=dict)
    group: str | None = None
    head: Head | None = None
    condition: Condition | None = None
    adapter: TradeOffAdapter | TradeOffEmbedding | None = None

    @property
    def needs(self) -> tuple[str, ...]:
        """Ids of the jobs that must be finished before this one, in a fixed order."""
        jobs = list(self.source.of) if isinstance(self.source, Replies) else []
        if isinstance(self.source, Shown) and self.source.reference != BASE:
            jobs.append(self.source.reference)
        if self.margins is not None:
            jobs += self.margins.experts
        if self.start != BASE:
            jobs.append(self.start)
        return tuple(dict.fromkeys(jobs))


def group_jobs(jobs: Sequence[TrainingJob]) -> list[list[TrainingJob]]:
    """Jobs that are trained as one, in their order: those of a group, every other by itself.

    Raises:
        ConfigError: if jobs of a group differ in kind, start or source: they share a backbone.
    """
    together: dict[tuple[bool, str], list[TrainingJob]] = {}
    for job in jobs:
        key = (False, job.id) if job.group is None else (True, job.group)
        together.setdefault(key, []).append(job)
    for group in together.values():
        first = group[0]
        if any((j.kind, j.start, j.source) != (first.kind, first.start, first.source)
               for j in group):  # fmt: skip
            raise ConfigError(
                f"plan: found group {first.group!r} with jobs of several kinds, starts or sources, "
                "expected one of each: they share a backbone"
            )
    return list(together.values())


def order_jobs(jobs: Sequence[TrainingJob]) -> list[list[TrainingJob]]:
    """Jobs in waves: every job of a wave needs only jobs of earlier waves.

    Raises:
        ConfigError: if an id is no file name or repeated, a job needs an unplanned one, or jobs
            wait in a circle.
    """
    for name in (name for job in jobs for name in (job.id, job.group) if name is not None):
        if not _FILE_NAME.fullmatch(name):
            raise ConfigError(
                f"plan: found {name!r:.80} as the id of a job or group, expected a file name of "
                "letters, digits and ._-"
            )
    known = {job.id for job in jobs}
    if len(known) != len(jobs) or BASE in known:
        raise ConfigError(f"plan: ids must be unique and not {BASE!r}: {[j.id for j in jobs]}")
    for job in jobs:
        for need in job.needs:
            if need not in known and need != BASE:
                raise ConfigError(f"plan: job {job.id!r} needs {need!r}, which is not planned")
    waves: list[list[TrainingJob]] = []
    done: set[str] = {BASE}
    left = list(jobs)
    while left:
        wave = [job for job in left if set(job.needs) <= done]
        if not wave:
            raise ConfigError(f"plan: jobs wait for each other: {[j.id for j in left]}")
        waves.append(wave)
        done |= {job.id for job in wave}
        left = [job for job in left if job.id not in done]
    return waves
