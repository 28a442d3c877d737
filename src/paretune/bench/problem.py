"""A problem on which every policy can be computed: contexts, actions, and what objectives want."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from paretune.bench.comparisons import Seen, against_others, label_ways, seen_preferences
from paretune.bench.fronts import Floats, known_front
from paretune.core.objective import Objectives
from paretune.core.record import PreferenceData
from paretune.core.results import KnownFront
from paretune.core.rewards import RewardMatrix
from paretune.core.tradeoff import TradeOff
from paretune.errors import ConfigError, ShapeError
from paretune.functional.closed_form import kl_regularized_optimum
from paretune.functional.constrained import ConstrainedOptimum, constrained_optimum
from paretune.functional.feasibility import Verdict, check_floors
from paretune.functional.robust import RobustOptimum, robust_optimum
from paretune.functional.simplex import lattice

_PARTS = {1: 1, 2: 10, 3: 4}
"""Trade-offs are multiples of 1 over these, by the number of objectives; of 1/2 with more."""


@final
@dataclass(frozen=True, eq=False)
class Problem:
    r"""Contexts, actions, a reference policy, and what the objectives want.

    Objectives want rewards, whose labels are Bradley-Terry with log-odds ``slope`` times the
    margin, or they are known by the comparisons that were ``seen`` and by nothing else. Contexts
    are evenly likely.

    Args:
        objectives: names of the M axes.
        rewards: ``(S, A, M)`` float64, every cell known; ``None`` where comparisons are all there
            is.
        ref_logps: ``(S, A)`` float64 log-probabilities of the reference, in nats; finite.
        slope: label log-odds per unit of reward, > 0; not read without rewards.
        seen: the comparisons, each counting once; empty where rewards define them.
        behavior: ``(S, A)`` float64 probabilities of compared responses and of their opponents,
            every one > 0; ``None`` = uniform. Not read with ``seen``.
        floors: ``(M,)`` what the bench asks of each objective while another one is primary, in
            preference probability; empty: nothing.
        beta: strength of the KL penalty of weighted optima, > 0, in units of ``values`` per nat.
        tau: the same of constrained optima, in preference probability per nat.
        hidden: units of the small network that policies are on this problem; ``None``: policies
            are full tables.
        name: of a named problem.
        about: one sentence.

    Raises:
        ShapeError: if the shapes do not agree.
        ConfigError: if there is nothing that objectives want, or a number is out of range.
    """

    objectives: Objectives
    rewards: Tensor | None
    ref_logps: Tensor
    slope: float = 1.0
    seen: tuple[Seen, ...] = ()
    behavior: Tensor | None = None
    floors: tuple[float, ...] = ()
    beta: float = 0.5
    tau: float = 0.1
    hidden: int | None = None
    name: str = ""
    about: str = ""

    def __post_init__(self) -> None:
        expected = (*self.ref_logps.shape, len(self.objectives))
        if self.rewards is not None and self.rewards.shape != expected:
            raise ShapeError(
                f"problem: found rewards {tuple(self.rewards.shape)}, expected {expected}"
            )
        if self.behavior is not None and self.behavior.shape != self.ref_logps.shape:
            raise ShapeError(
                f"problem: found behavior {tuple(self.behavior.shape)}, expected {expected[:2]}"
            )
        if (self.rewards is None) == (not self.seen):
            found = "both" if self.seen else "neither"
            raise ConfigError(f"problem: found {found}, expected rewards or seen comparisons")
        for name in ("slope", "beta", "tau"):
            if not getattr(self, name) > 0:
                raise ConfigError(
                    f"problem: found {name} {getattr(self, name)}, expected a number > 0"
                )
        if len(self.floors) not in (0, len(self.objectives)):
            raise ShapeError(
                f"problem: found {len(self.floors)} floors, expected {len(self.objectives)}"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """(S, A)."""
        n_contexts, n_actions = self.ref_logps.shape
        return n_contexts, n_actions

    @property
    def action_of(self) -> npt.NDArray[np.int64]:
        """``(S * A,)`` action of each row of :meth:`data`."""
        n_contexts, n_actions = self.shape
        return np.tile(np.arange(n_actions, dtype=np.int64), n_contexts)

    @property
    def behavior_policy(self) -> Tensor:
        """``(S, A)`` probabilities of compared responses: as given, or as seen."""
        if self.behavior is not None:
            return self.behavior
        if not self.seen:
            return torch.full_like(self.ref_logps, 1 / self.shape[1])
        count = torch.zeros_like(self.ref_logps)
        for context, first, second, _ in self.seen:
            count[context, first] += 1
            count[context, second] += 1
        return count / count.sum(-1, keepdim=True)

    @cached_property
    def preferences(self) -> Tensor:
        """``(M, S, A, A)`` probability that the first action is preferred to the second.

        NaN where two actions were never compared; 1/2 on the diagonal.
        """
        if self.rewards is None:
            return self._seen[0]
        margins = self.rewards[:, :, None, :] - self.rewards[:, None, :, :]
        return torch.sigmoid(self.slope * margins).movedim(-1, 0)

    @cached_property
    def expected_preferences(self) -> Tensor:
        r"""``(S, A, M)`` probability to be preferred to a reply of the behavior policy.

        Opponents are other actions. Of comparisons that were seen it is the mean label, and 0 for
        an action that was never compared: what nobody compared is not preferred.

        Source:
            Agnihotri et al. 2025 (MOPO), :math:`\bar p_k(y|x)`; that an action does not meet
            itself is ours, as in a pool of candidates.
        """
        if self.rewards is None:
            return self._seen[1]
        return against_others(self.preferences, self.behavior_policy)

    @property
    def values(self) -> Tensor:
        """``(S, A, M)`` what policies are measured by: rewards, or else expected preferences."""
        return self.expected_preferences if self.rewards is None else self.rewards

    def data(self, slope: float | None = None, *, is_compared: bool = True) -> PreferenceData:
        r"""Every cell as a response, and every comparison in exact proportion.

        With rewards each two actions of a context appear once for each way to label them, counted
        by its probability: objective i prefers the first with probability
        :math:`\sigma(\text{slope}\,\Delta r_i)`, independently of the others. A mean over these
        comparisons is an expectation over Bradley-Terry labels, without noise.

        Args:
            slope: of the labels, > 0, instead of the problem's; not read without rewards.
            is_compared: False leaves the comparisons out, whose number grows with A squared.

        Returns:
            ``S * A`` responses and, with rewards, ``S * A (A - 1) / 2 * 2^M`` comparisons; their
            multiplicities are A squared times the probability of both actions under the behavior
            policy, so they sum to 1 for each two actions where it is uniform.

        Raises:
            ConfigError: if ``slope`` is not positive.
        """
        n_contexts, n_actions = self.shape
        first = second = np.zeros(0, dtype=np.int64)
        labels, counts = np.zeros((0, len(self.objectives))), np.zeros(0)
        if is_compared and self.seen:
            columns = np.array([row[:3] for row in self.seen], dtype=np.int64).T
            first, second = columns[0] * n_actions + columns[1:]
            labels, counts = np.array([row[3] for row in self.seen]), np.ones(len(first))
        elif is_compared and self.rewards is not None:
            first, second, labels, counts = label_ways(
                self.rewards.numpy(),
                self.behavior_policy.numpy(),
                self.slope if slope is None else slope,
            )
        return PreferenceData(
            prompts=tuple(f"context {s}" for s in range(n_contexts)),
            texts=tuple(f"action {a}" for a in self.action_of),
            prompt_of=np.repeat(np.arange(n_contexts, dtype=np.int64), n_actions),
            rewards=RewardMatrix(self.objectives, self._cells()),
            first=first,
            second=second,
            labels=labels,
            multiplicity=counts,
        )

    def optimum(self, tradeoff: TradeOff, beta: float | None = None) -> Tensor:
        """``(S, A)`` log-probabilities of the best policy for a weighted sum under a KL penalty.

        Args:
            tradeoff: weights of the values.
            beta: strength of the penalty, > 0; ``None`` takes the problem's.
        """
        weights = torch.as_tensor(tradeoff.array)
        return kl_regularized_optimum(
            self.ref_logps, self.values, weights, self.beta if beta is None else beta
        )

    def constrained(
        self,
        primary: int,
        floors: Sequence[float | None] | None = None,
        tau: float | None = None,
    ) -> ConstrainedOptimum:
        """Best policy for one objective while the others keep a floor, in preference probability.

        Args:
            primary: column of the objective that is maximized.
            floors: ``(M,)``, ``None`` where there is none; the primary's own is not read. As a
                whole ``None``: the problem's.
            tau: strength of the KL penalty, > 0; ``None`` takes the problem's.

        Returns:
            The optimum; its constraints are in the order of the other objectives with a floor.

        Raises:
            InfeasibleError: if no policy keeps the floors.
        """
        return constrained_optimum(*self._program(primary, floors, tau))

    def robust(
        self,
        primary: int,
        radius: float,
        floors: Sequence[float | None] | None = None,
        tau: float | None = None,
    ) -> RobustOptimum:
        """Best policy whose floors hold in the worst case of a KL ball around the reference.

        Args:
            primary: column of the objective that is maximized.
            radius: of the ball, >= 0 nats.
            floors: as in :meth:`constrained`.
            tau: as in :meth:`constrained`.

        Raises:
            InfeasibleError: if no policy keeps the floors.
        """
        return robust_optimum(*self._program(primary, floors, tau), radius)

    def verdict(self, primary: int, floors: Sequence[float | None] | None = None) -> Verdict:
        """Whether some policy keeps the floors of :meth:`constrained`, and what is possible."""
        _, _, secondary, numbers, _ = self._program(primary, floors, None)
        return check_floors(secondary.numpy(), numbers.numpy())

    @cached_property
    def known_front(self) -> KnownFront:
        """What policies attain on average, and what single replies offer, in ``values``."""
        return known_front(self.values.numpy(), self.tradeoffs)

    @property
    def front_box(self) -> tuple[Floats, Floats]:
        """``(M,)`` worst and ``(M,)`` best of the front of expected values, on each objective."""
        hull = np.array(self.known_front.hull)
        return hull.min(axis=0), hull.max(axis=0)

    @property
    def tradeoffs(self) -> list[TradeOff]:
        """What the bench asks for: 11 trade-offs of two objectives, 15 of three."""
        n_objectives = len(self.objectives)
        return lattice(n_objectives, _PARTS.get(n_objectives, 2))

    def _program(
        self, primary: int, floors: Sequence[float | None] | None, tau: float | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, float]:
        """Reference, primary, secondary, floors and tau of a constrained goal."""
        wanted = self.floors if floors is None else floors
        numbers = {i: b for i, b in enumerate(wanted) if i != primary and b is not None}
        table = self.expected_preferences
        return (
            self.ref_logps,
            table[..., primary],
            table[..., list(numbers)],
            torch.tensor(list(numbers.values()), dtype=torch.float64),
            self.tau if tau is None else tau,
        )

    def _cells(self) -> Floats:
        if self.rewards is None:
            n_contexts, n_actions = self.shape
            return np.full((n_contexts * n_actions, len(self.objectives)), np.nan)
        return np.asarray(self.rewards.reshape(-1, len(self.objectives)).numpy())

    @cached_property
    def _seen(self) -> tuple[Tensor, Tensor]:
        return seen_preferences(self.seen, (*self.shape, len(self.objectives)))
