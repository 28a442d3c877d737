"""Taste: the smallest problem of few-shot personalization, without a language model.

A response is how much it has of each objective, a user is a trade-off, and a policy sees pairs of
a user and then prefers one of two responses. Nothing but the pairs says who is asking, so that a
policy that learned to read them is right more often with a user's own pairs than with somebody
else's. It tests the data and the losses, and is no evidence about language models.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from paretune.core.user import User
from paretune.errors import ConfigError
from paretune.functional.build_scalarizer import ScalarizerName, build_scalarizer
from paretune.functional.draws import hash_keys, uniform
from paretune.functional.scalarized_loss import ScalarizedLoss
from paretune.functional.shots import deal_comparisons, draw_shots, is_usable, orient, other_users
from paretune.functional.users import draw_users

Floats = npt.NDArray[np.float64]

# Names of what is drawn; levels of a reward; comparisons that all users are dealt from.
_RESPONSES, _LEVELS, _COMPARISONS = 40, 3, 2000
_MIN_GAP = 0.05


@final
@dataclass(frozen=True)
class Taste:
    """What a policy is trained on.

    Args:
        n_train: users it is trained with.
        n_new: users it never saw.
        n_objectives: M.
        pairs_per_user: pairs of each user.
        n_queries: of a new user's pairs, how many are asked; the others may be shown.
        n_shots: pairs in a prompt.
        epochs: passes over the pairs of the users it is trained with.
        batch_size: pairs a step.
        learning_rate: of Adam.
        beta: slope of the loss.
        scalarizer: how the losses of the objectives become one; weights are those of each user.
        options: of the scalarizer, by name.
        labels: ``signed``: on every objective how much better the user's choice is, worse if
            negative; ``clip``: the same, and 0 where it is worse; ``choice``: one label, 1, for
            the choice as a whole.
        shows_own: False trains with the pairs of somebody else, which tell nothing: a control.
        seed: of everything.

    Raises:
        ConfigError: for an unknown scalarizer or option, or one that combines gradients.
    """

    n_train: int = 400
    n_new: int = 100
    n_objectives: int = 6
    pairs_per_user: int = 24
    n_queries: int = 8
    n_shots: int = 8
    epochs: int = 12
    batch_size: int = 256
    learning_rate: float = 3e-3
    beta: float = 2.0
    scalarizer: ScalarizerName = "linear"
    options: Mapping[str, float | str] = field(default_factory=lambda: MappingProxyType({}))
    labels: Literal["signed", "clip", "choice"] = "signed"
    shows_own: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if self.loss.scalarizer.needs_gradients:
            raise ConfigError(
                f"taste: found scalarizer {self.scalarizer!r}, expected one of losses alone"
            )

    @property
    def loss(self) -> ScalarizedLoss:
        """What training descends; users bring their weights."""
        return ScalarizedLoss(
            build_scalarizer(self.scalarizer, self.options), None, beta=self.beta,
            score_mode="clip" if self.labels == "clip" else "signed",
        )  # fmt: skip


@final
@dataclass(frozen=True)
class TasteMargins:
    """Margins on the queries of new users, > 0 where the policy agrees with the user.

    Args:
        users: the new users.
        user_of: ``(V,)`` their row for each query.
        own: ``(V,)`` with the user's own shots.
        other: ``(V,)`` with the shots of another new user.
        by_shots: number of shots -> ``(V,)``.
        even: ``(V,)`` of a policy that weighs all objectives alike.
        oracle: ``(V,)`` of one that knows the trade-off.
        labels: ``(V, M)`` in [-1, 1], how much better the user's choice is on each objective.
    """

    users: tuple[User, ...]
    user_of: npt.NDArray[np.int64]
    own: Floats
    other: Floats
    by_shots: Mapping[int, Floats]
    even: Floats
    oracle: Floats
    labels: Floats


@final
class SetPolicy(nn.Module):
    """Shots in any order to a direction in the space of rewards: a network on sets.

    Source:
        Zaheer et al. 2017, "Deep Sets", Eq. 4, with a mean for the sum.
    """

    def __init__(self, n_objectives: int, width: int = 64) -> None:
        super().__init__()
        self.each = nn.Sequential(
            nn.Linear(n_objectives, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
        )
        self.all = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, n_objectives))

    def forward(self, shots: Tensor, is_shown: Tensor, query: Tensor) -> Tensor:
        """``(B,)`` margins from shots ``(B, N, M)``, which are there ``(B, N)``, and queries."""
        shown = is_shown[:, :, None].to(shots)
        mean = (self.each(shots) * shown).sum(1) / shown.sum(1).clamp(min=1)
        return (self.all(mean) * query).sum(1)


def measure_taste(taste: Taste = Taste()) -> TasteMargins:
    """Train a policy on some users and ask it about others.

    Args:
        taste: sizes, training and seed.

    Returns:
        What it prefers on the queries of new users.
    """
    pairs = _Pairs(taste)
    policy = _train(taste, pairs)
    new = np.flatnonzero(pairs.examples.user_of >= taste.n_train)
    place = np.arange(len(new)) % taste.pairs_per_user
    usable = is_usable(pairs.gaps)
    asked, kept = new[(place < taste.n_queries) & usable[new]], new[place >= taste.n_queries]
    may_show = np.isin(np.arange(len(usable)), kept) & is_usable(pairs.gaps, _MIN_GAP)
    others = pairs.examples.user_of.copy()
    others[new] = taste.n_train + other_users(
        pairs.examples.user_of[new] - taste.n_train, taste.n_new, taste.seed
    )
    epoch = np.zeros(len(asked), np.int64)

    def margins(n: int, shown_by: npt.NDArray[np.int64] | None = None) -> Floats:
        rows = pairs.draw(asked, epoch, n, may_show, shown_by)
        with torch.no_grad():
            return policy(*pairs.inputs(rows, asked)).numpy().astype(np.float64)

    query = pairs.oriented[asked]
    users = pairs.users[taste.n_train :]
    user_of = pairs.examples.user_of[asked] - taste.n_train
    return TasteMargins(
        users,
        user_of,
        margins(taste.n_shots),
        margins(taste.n_shots, others),
        {n: margins(n) for n in sorted({0, 2, 4, taste.n_shots})},
        query.mean(axis=1),
        (query * pairs.weights[pairs.examples.user_of[asked]]).sum(axis=1),
        query,
    )


@final
class _Pairs:
    """Every user's pairs, as differences of rewards with the user's choice first."""

    def __init__(self, taste: Taste) -> None:
        n_users = taste.n_train + taste.n_new
        n_comparisons = max(_COMPARISONS, taste.pairs_per_user)
        self.seed = taste.seed
        self.users = draw_users(n_users, taste.n_objectives, taste.seed)
        self.weights = np.array([user.tradeoff.weights for user in self.users])
        cells = hash_keys(
            taste.seed, _RESPONSES,
            np.arange(2 * n_comparisons)[:, None], np.arange(taste.n_objectives)[None, :],
        )  # fmt: skip
        rewards = np.floor(uniform(cells) * _LEVELS) / (_LEVELS - 1)
        differences = rewards[:n_comparisons] - rewards[n_comparisons:]
        self.examples = deal_comparisons(n_users, n_comparisons, taste.pairs_per_user, taste.seed)
        raw = differences[self.examples.comparison_of]
        self.gaps = (raw * self.weights[self.examples.user_of]).sum(axis=1)
        self.oriented = np.where(orient(self.gaps)[:, None], -raw, raw)
        self.prompt_of = np.arange(n_comparisons)

    def draw(
        self,
        visits: npt.NDArray[np.int64],
        epochs: npt.NDArray[np.int64],
        n: int,
        may_show: npt.NDArray[np.bool_],
        shown_by: npt.NDArray[np.int64] | None = None,
    ) -> npt.NDArray[np.int64]:
        return draw_shots(
            self.examples, visits, epochs, self.prompt_of, (n, n), self.seed,
            is_shown=may_show, shown_by=shown_by,
        )  # fmt: skip

    def inputs(
        self, rows: npt.NDArray[np.int64], visits: npt.NDArray[np.int64]
    ) -> tuple[Tensor, Tensor, Tensor]:
        shots = torch.tensor(self.oriented[rows], dtype=torch.float32)
        query = torch.tensor(self.oriented[visits], dtype=torch.float32)
        return shots, torch.from_numpy(rows >= 0), query


def _train(taste: Taste, pairs: _Pairs) -> SetPolicy:
    """The policy after some epochs."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(taste.seed)
        policy = SetPolicy(taste.n_objectives)
    optimizer = torch.optim.Adam(policy.parameters(), lr=taste.learning_rate)
    visits = np.flatnonzero((pairs.examples.user_of < taste.n_train) & is_usable(pairs.gaps))
    may_show = is_usable(pairs.gaps, _MIN_GAP)
    weights = torch.tensor(pairs.weights[pairs.examples.user_of], dtype=torch.float32)
    owners = pairs.examples.user_of
    shown_by = None if taste.shows_own else other_users(owners, len(pairs.users), taste.seed)
    order = np.random.default_rng(taste.seed)
    loss = taste.loss
    state = loss.scalarizer.start(taste.n_objectives)
    for epoch in range(taste.epochs):
        epochs = np.full(len(visits), epoch)
        rows = pairs.draw(visits, epochs, taste.n_shots, may_show, shown_by)
        for batch in np.array_split(
            order.permutation(len(visits)), -(-len(visits) // taste.batch_size)
        ):
            at = visits[batch]
            inputs = pairs.inputs(rows[batch], at)
            labels = torch.ones_like(inputs[2]) if taste.labels == "choice" else inputs[2]
            step = loss.step_at(policy(*inputs), labels, weights[at])
            optimizer.zero_grad()
            loss.scalarizer(step, state).loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            state = loss.scalarizer.advance(step, state)
    return policy
