"""What a job of a language model reads, and what it cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

import numpy as np
import numpy.typing as npt

from paretune.core.record import PreferenceData
from paretune.core.rewards import Normalizer
from paretune.engines.lm.encode import Encoded, Encoder


@final
@dataclass(frozen=True)
class OwnReplies:
    """How a policy is asked and rewarded while it trains.

    Args:
        encoder: of the run; the prompts of the job's data are in its ids.
        reward: numbers of the prompts ``(R,)`` and R replies to their rewards ``(R, M)``, larger
            is better, finite.
        normalizer: statistics of the training rewards.
        max_new_tokens: a reply is cut here, >= 1.
        rows: replies drawn together, at most.
    """

    encoder: Encoder
    reward: Callable[[npt.NDArray[np.int64], Sequence[str]], npt.NDArray[np.float64]]
    normalizer: Normalizer
    max_new_tokens: int = 64
    rows: int = 512


@final
@dataclass(frozen=True)
class JobData:
    """What a job trains on, encoded.

    Args:
        data: prompts, texts, rewards and comparisons.
        encoded: their token ids, row for row.
        ref_logps: ``(N,)`` log-probability of each response under the reference policy, nats;
            NaN where it was not needed.
        described: descriptions of users as responses to the prompts without them, one a prompt;
            ``None`` = no policy writes any.
        description_weight: of their likelihood beside the loss of the pairs.
        validation: pairs that the job is validated on, never trained on.
        visits: epochs that ``data`` holds already, so that it is gone through once; 0 = none.
        experts: ``ref_logps`` under the experts of the job's margins instead, by id.
        own: how replies of the policy itself are drawn and rewarded, for online jobs.
    """

    data: PreferenceData
    encoded: Encoded
    ref_logps: npt.NDArray[np.float64]
    described: Encoded | None = None
    description_weight: float = 0.0
    validation: JobData | None = None
    visits: int = 0
    experts: Mapping[str, npt.NDArray[np.float64]] = field(default_factory=dict)
    own: OwnReplies | None = None


@final
@dataclass(frozen=True)
class JobCost:
    """What a job cost.

    Args:
        seconds: CPU seconds of the training process.
        tokens: tokens that went through training steps, padding left out.
        steps: optimizer steps.
        rows: distinct rows trained on.
        floors: of constrained jobs: job to objective to the floor at the end.
    """

    seconds: float
    tokens: int
    steps: int
    rows: int
    floors: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
