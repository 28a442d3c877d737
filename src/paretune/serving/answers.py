"""From a trade-off to the rows that answer for it: which model, and how its rows are steered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from paretune.core.policy import Steering, serves_any
from paretune.core.results import PointResult
from paretune.core.tradeoff import TradeOff
from paretune.engines.lm.one_copy import OneCopy
from paretune.engines.lm.row_policies import (
    OnePolicy,
    RowPolicies,
    RowSteering,
    row_policies,
    shares_rows,
)
from paretune.errors import ConfigError
from paretune.functional.divergences import combine

Load = Callable[[Steering, Mapping[str, Path]], Any]
"""A model for one steering of policies in folders, where rows cannot share one."""


@final
@dataclass(frozen=True)
class Model:
    """Names a model, and tells how it is made: nobody has to remember what was asked for.

    Args:
        name: equal for what is one model.
        method: whose policies it holds.
        steering: of the one policy that it is; ``None`` = all policies of the method, as rows.
    """

    name: str
    method: str = field(compare=False)
    steering: Steering | None = field(default=None, compare=False)


@final
@dataclass(frozen=True)
class Answer:
    """What answers one request.

    Args:
        model: that answers.
        rows: steering of each row.
        mix: logits of the rows to those of the mixture; ``None`` for one row.
        steering: in the words of the method, with the trade-off that is really served.
    """

    model: Model
    rows: tuple[RowSteering, ...]
    mix: Callable[[Tensor], Tensor] | None
    steering: Steering


@final
@dataclass(frozen=True)
class ServedMethod:
    """One method of a measured run.

    Args:
        name: in the results.
        points: what was measured, one entry a trade-off.
        steer: a trade-off to what answers for it.
        folders: of its policies, by job.
    """

    name: str
    points: tuple[PointResult, ...]
    steer: Callable[[TradeOff], Steering]
    folders: Mapping[str, Path]

    @property
    def serves_any(self) -> bool:
        """Whether what lies between measured trade-offs is served as it is, not by the nearest."""
        return serves_any(self.steer, [TradeOff(point.tradeoff) for point in self.points])


@final
class Answers:
    """How the methods of a run answer, and the models that do.

    Args:
        methods: of the run.
        base: path or hub id of its base.
        load: a model for one steering, where rows cannot share one.
        quantize: how a frozen base is loaded.
    """

    def __init__(
        self, methods: Mapping[str, ServedMethod], base: str, load: Load, quantize: str = "none"
    ) -> None:
        self.methods, self._base, self._load, self._quantize = methods, base, load, quantize
        self._shared: dict[str, bool] = {}
        self._copies = OneCopy()

    def answer(self, method: str, tradeoff: TradeOff) -> Answer:
        """What answers for a trade-off.

        Raises:
            ConfigError: if the method is unknown, or steers in a way that is not served.
        """
        steering = self.methods[method].steer(tradeoff)
        if steering.shots is not None:
            raise ConfigError(
                f"{method}: found steering by pairs in the prompt, expected another way: whose "
                "pairs they would be is not known"
            )
        told = RowSteering((1.0,), steering.told, steering.tradeoff.weights)
        used = {p: w for p, w in zip(steering.policies, steering.weights, strict=True) if w != 0}
        if steering.kind == "condition":
            return Answer(_one(method, steering), (told,), None, steering)
        if not self._is_shared(method):
            return Answer(_one(method, steering), (RowSteering(),), None, steering)
        jobs = list(self.methods[method].folders)
        if steering.kind == "mix":
            return _mixture(method, steering, jobs, used)
        weights = tuple(float(used.get(job, 0.0)) for job in jobs)
        return Answer(Model(method, method), (RowSteering(weights),), None, steering)

    def load(self, model: Model) -> RowPolicies:
        """A model; what it has in common with others that are loaded is in memory once.

        Raises:
            ConfigError: if its policies cannot answer together.
        """
        policies = self._load_one(model)
        self._copies.share(policies.model)
        return policies

    def _load_one(self, model: Model) -> RowPolicies:
        folders, steering = self.methods[model.method].folders, model.steering
        if steering is None:
            policies = row_policies(list(folders.values()), self._base, self._quantize)
            if policies is None:
                raise ConfigError(
                    f"{model.method}: found policies that share no rows, expected adapters"
                )
            return policies
        if steering.kind == "condition":
            # Not as it is loaded for one trade-off: that one would answer all requests.
            told = row_policies([folders[steering.policies[0]]], self._base, self._quantize)
            if told is not None:
                return told
        return OnePolicy(self._load(steering, folders))

    def _is_shared(self, method: str) -> bool:
        """Whether all policies of a method are rows of one model; looked at once."""
        if method not in self._shared:
            self._shared[method] = shares_rows(list(self.methods[method].folders.values()))
        return self._shared[method]


def _one(method: str, steering: Steering) -> Model:
    """A model for this steering alone; a policy that is told is one for all trade-offs."""
    name = steering.policies[0]
    if steering.kind != "condition":
        parts = zip(steering.policies, steering.weights, strict=True)
        name = f"{steering.kind}({','.join(f'{p}:{w!r}' for p, w in parts)})"
    return Model(f"{method}/{name}", method, steering)


def _mixture(method: str, steering: Steering, jobs: list[str], used: Mapping[str, float]) -> Answer:
    """A row for each policy, and for the base where the divergence reads it."""
    one_hot = {job: tuple(float(job == other) for other in jobs) for job in jobs}
    nothing = tuple(0.0 for _ in jobs)
    rows = [RowSteering(one_hot.get(p, nothing)) for p in used]
    if steering.divergence != "reverse_kl":
        rows.append(RowSteering(nothing))
    mix = partial(_mix, weights=tuple(used.values()), steering=steering)
    model = Model(method, method)
    return Answer(model, tuple(rows), mix if len(rows) > 1 else None, steering)


def _mix(logits: Tensor, *, weights: tuple[float, ...], steering: Steering) -> Tensor:
    """``(V,)`` of the mixture from ``(K, V)``; the reference's come last where they are needed."""
    if steering.divergence == "reverse_kl":
        return (torch.tensor(weights, device=logits.device)[:, None] * logits.float()).sum(0)
    precise = logits.double()[:, None]
    ways = (steering.divergence, steering.alpha, steering.is_normalized)
    return combine(precise[-1], precise[:-1], weights, *ways)[0]
