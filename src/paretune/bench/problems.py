"""Named problems with a known answer, and the builders behind them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from paretune.bench.comparisons import Seen
from paretune.bench.problem import Problem
from paretune.core.objective import Objectives
from paretune.core.record import PreferenceData
from paretune.core.rewards import RewardMatrix
from paretune.core.tradeoff import TradeOff
from paretune.errors import ConfigError, nearest

_BOTH, _CONFLICT, _REVERSED = (1.0, 1.0), (1.0, -1.0), (-1.0, 1.0)
_EVERY = ((0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1))

Pairs = tuple[tuple[int, int, tuple[float, float]], ...]

STRUCTURES: dict[str, tuple[str, Pairs, tuple[float, float]]] = {
    "d1": (
        "Both objectives agree on one order, 1 before 2 before 3.",
        ((0, 1, _BOTH), (1, 2, _BOTH), (0, 2, _BOTH)),
        (0.25, 0.25),
    ),
    "d2": (
        "Actions 1 and 2 both beat 3 and were never compared with each other.",
        ((0, 2, _BOTH), (1, 2, _BOTH)),
        (0.5, 0.5),
    ),
    "d3b": (
        "The objectives disagree on the two best actions.",
        ((0, 1, _CONFLICT), (0, 2, _BOTH), (1, 2, _BOTH)),
        (2 / 3, 2 / 3),
    ),
    "d3c": (
        "The best action of the primary objective is the worst of the other.",
        ((0, 1, _CONFLICT), (0, 2, _CONFLICT), (1, 2, _BOTH)),
        (0.55, 2 / 3),
    ),
    "d4": (
        "Every action beats every other as often as it loses, the objectives always disagree.",
        tuple((a, b, _CONFLICT) for a, b in _EVERY),
        (0.45, 0.45),
    ),
    "d5": (
        "Actions 1 and 2 tie on both objectives; action 3 was never seen.",
        ((0, 1, _CONFLICT), (1, 0, _CONFLICT)),
        (0.45, 0.45),
    ),
}
"""Sentence, comparisons (first action, second, labels) and floors of each preference structure."""


def structure(name: str) -> Problem:
    """One of the preference structures: three actions, two objectives, comparisons only.

    Args:
        name: key of :data:`STRUCTURES`.

    Source:
        Agnihotri et al. 2025 (MOPO), Sec. 4.1. The data sets are reconstructed: the text at hand
        describes them in words.

    Example:
        >>> structure("d3b").expected_preferences[0].T
        tensor([[1.0000, 0.5000, 0.0000],
                [0.5000, 1.0000, 0.0000]], dtype=torch.float64)
    """
    about, comparisons, floors = STRUCTURES[name]
    seen: tuple[Seen, ...] = tuple((0, a, b, labels) for a, b, labels in comparisons)
    return Problem(
        Objectives.of("primary", "secondary"), None, _uniform(1, 3), seen=seen,
        floors=floors, beta=0.1, about=about,
    )  # fmt: skip


def motivating_problem(which: Literal["a", "b"], slope: float = 1.0) -> Problem:
    r"""The two reward sets that motivate constrained goals: eight contexts, 21 actions each.

    With x and y on even grids of [0, 1], ``a`` is :math:`r_1 = 4 - 8(y - .15 - .3x)^2,
    r_2 = 4 - 8(y - .85)^2` and ``b`` is :math:`r_1 = 4y^2(1 + x/2), r_2 = 4(1-y)^2(1.5 - x/2)`,
    whose front of single replies has a dent.

    Args:
        which: reward set.
        slope: label log-odds per unit of reward, > 0.

    Source:
        Agnihotri et al. 2025 (MOPO), App. A.1. Its functions are not printed in the text at hand;
        these have the described shape.
    """
    x, y = np.linspace(0, 1, 8)[:, None], np.linspace(0, 1, 21)
    if which == "a":
        rewards = [
            4 - 8 * (y - 0.15 - 0.3 * x) ** 2,
            np.broadcast_to(4 - 8 * (y - 0.85) ** 2, (8, 21)),
        ]
        about = "Two peaks along a line of replies: a front that bulges outward."
    else:
        rewards = [4 * y**2 * (1 + x / 2), 4 * (1 - y) ** 2 * (1.5 - x / 2)]
        about = "Only the ends of a line of replies are good: single replies have a dented front."
    return Problem(
        Objectives.of("first", "second"), torch.as_tensor(np.stack(rewards, axis=-1)),
        _uniform(8, 21), slope, floors=(0.45, 0.45), beta=0.1, tau=0.02, about=about,
    )  # fmt: skip


def motivating_data(
    problem: Problem, name: Literal["d1", "d2", "dcap", "dmix"], tradeoff: TradeOff
) -> PreferenceData:
    r"""One of the four data sets that a single-objective method could be trained on.

    Args:
        problem: with rewards on two objectives.
        name: ``d1`` and ``d2`` have the labels of one objective; ``dcap`` only the comparisons on
            which both agree; ``dmix`` has one label drawn from the weighted reward.
        tradeoff: of ``dmix``.

    Returns:
        Every comparison in exact proportion. ``d1`` and ``d2`` have no label on the other
        objective; ``dcap`` and ``dmix`` the common label on both.

    Source:
        Agnihotri et al. 2025 (MOPO), Sec. 2.
    """
    if name == "dmix":
        weights = torch.as_tensor(tradeoff.array)
        one = dataclasses.replace(
            problem, objectives=Objectives.of("mixed"), floors=(),
            rewards=(problem.values @ weights)[..., None],
        )  # fmt: skip
        data = one.data()
        rewards = RewardMatrix(problem.objectives, problem.data(is_compared=False).rewards.values)
        labels = np.repeat(data.labels, 2, axis=1)
        return dataclasses.replace(data, rewards=rewards, labels=labels)
    data = problem.data()
    if name == "dcap":
        kept = np.flatnonzero(data.labels[:, 0] == data.labels[:, 1])
        assert data.multiplicity is not None
        return dataclasses.replace(
            data, first=data.first[kept], second=data.second[kept], labels=data.labels[kept],
            multiplicity=data.multiplicity[kept],
        )  # fmt: skip
    labels = data.labels.copy()
    labels[:, 1 if name == "d1" else 0] = np.nan
    return dataclasses.replace(data, labels=labels)


def random_problem(
    n_contexts: int = 3,
    n_actions: int = 6,
    n_objectives: int = 2,
    seed: int = 0,
    levels: int | None = None,
) -> Problem:
    """Standard normal rewards and a random reference; no structure to exploit.

    Args:
        n_contexts: S, >= 1.
        n_actions: A, >= 2.
        n_objectives: M, >= 1.
        seed: of rewards and reference.
        levels: > 1: rewards are rounded to so many values from -1 to 1, so that replies tie.

    Example:
        >>> random_problem(n_objectives=3).rewards.shape
        torch.Size([3, 6, 3])
    """
    generator = np.random.default_rng(seed)
    rewards = generator.normal(size=(n_contexts, n_actions, n_objectives))
    logits = torch.as_tensor(generator.normal(size=(n_contexts, n_actions)))
    if levels is not None:
        steps = (levels - 1) / 2
        rewards = np.round(np.clip(rewards, -1, 1) * steps) / steps
    return Problem(
        Objectives(tuple(f"objective_{i}" for i in range(n_objectives))),
        torch.as_tensor(rewards),
        torch.log_softmax(logits, dim=-1),
        beta=0.25,
        about=f"Random rewards of {n_actions} replies in {n_contexts} contexts.",
    )


def front_problem(
    shape: Literal["convex", "nonconvex"], n_actions: int = 2000, seed: int = 0
) -> Problem:
    r"""One context, two objectives, and a cloud of actions below a front of single actions.

    The front is :math:`(x^p, (1-x)^p)` with :math:`p = 1/2` (convex attainable set: the quarter
    circle) or :math:`p = 2` (a dent); an action lies at a share of it that is uniform in [0, 1].
    The reference is uniform.

    Args:
        shape: of the front.
        n_actions: A, >= 2.
        seed: of the cloud.

    Example:
        >>> bool((front_problem("convex").rewards ** 2).sum(-1).max() <= 1)
        True
    """
    power = {"convex": 0.5, "nonconvex": 2.0}[shape]
    about = {
        "convex": "A cloud of replies below a quarter circle.",
        "nonconvex": "A cloud of replies below a front that is dented inward.",
    }[shape]
    generator = np.random.default_rng(seed)
    x, share = generator.random((2, n_actions))
    rewards = share[:, None] * np.stack([x**power, (1 - x) ** power], axis=1)
    return Problem(
        Objectives.of("left", "right"),
        torch.as_tensor(rewards[None]),
        _uniform(1, n_actions),
        slope=4.0,
        beta=0.05,
        tau=0.02,
        about=about,
    )


def _asking(make: Callable[[], Problem], floor: float, **more: Any) -> Problem:
    """A problem with one floor for every objective."""
    problem = make()
    return dataclasses.replace(problem, floors=(floor,) * len(problem.objectives), **more)


_NAMED: dict[str, Callable[[], Problem]] = {
    **{name: partial(structure, name) for name in STRUCTURES},
    "motivating-a": partial(motivating_problem, "a"),
    "motivating-b": partial(motivating_problem, "b"),
    "random-2": partial(_asking, partial(random_problem, seed=14), 0.72),
    "random-3": partial(_asking, partial(random_problem, n_objectives=3, seed=4), 0.6),
    "random-4": partial(_asking, partial(random_problem, 2, 8, n_objectives=4, seed=8), 0.58),
    "random-ties": partial(_asking, partial(random_problem, 4, seed=14, levels=3), 0.67),
    "random-network": partial(
        _asking, partial(random_problem, seed=14), 0.72, hidden=2,
        about="The same as random-2, answered by small networks instead of tables.",
    ),
    "front-convex": partial(_asking, partial(front_problem, "convex", 200), 0.45),
    "front-nonconvex": partial(_asking, partial(front_problem, "nonconvex", 200), 0.45),
}  # fmt: skip


def problem_names() -> tuple[str, ...]:
    """Names of all problems, in the order of the bench."""
    return tuple(_NAMED)


def problem(name: str) -> Problem:
    """One named problem.

    Raises:
        ConfigError: if the name is unknown; the message proposes the nearest.

    Example:
        >>> problem("d1").shape
        (1, 3)
    """
    if name not in _NAMED:
        raise ConfigError(f"unknown problem {name!r}{nearest(name, _NAMED)}")
    return dataclasses.replace(_NAMED[name](), name=name)


def problems() -> dict[str, Problem]:
    """Every named problem."""
    return {name: problem(name) for name in _NAMED}


def chosen(names: Iterable[str]) -> list[Problem]:
    """Some problems by name, in the order of the bench; all of them for no name.

    Raises:
        ConfigError: if a name is unknown.
    """
    wanted = {name: problem(name) for name in names}
    return [wanted[name] for name in _NAMED if name in wanted] or list(problems().values())


def _uniform(n_contexts: int, n_actions: int) -> Tensor:
    return torch.full((n_contexts, n_actions), -np.log(n_actions), dtype=torch.float64)
