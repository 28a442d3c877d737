"""Two runs that look like real ones: replies drawn from known fronts, measured for real."""

from __future__ import annotations

import numpy as np
import pytest

from paretune.core.comparison_results import ComparisonResult, MethodComparison, SettingTried
from paretune.core.objective import Objectives
from paretune.core.results import Cost, KnownFront, RunResult
from paretune.core.tradeoff import TradeOff
from paretune.evaluation.box import frozen_box
from paretune.evaluation.comparison import duels, over_seeds
from paretune.evaluation.measure import measure
from paretune.evaluation.replies import MethodReplies, PointReplies, ReplyTable
from paretune.functional.indicators import attainable_hypervolume, ceilings, non_dominated
from paretune.functional.scalarize import chebyshev
from paretune.functional.simplex import lattice

BREVITY = [(0.349, 1.0), (0.567, 0.818), (0.753, 0.636), (0.921, 0.455), (1.0, 0.045)]
CAUTION = [
    (0.0, 1.0), (0.12, 0.71), (0.22, 0.55), (0.31, 0.45), (0.4, 0.37), (0.48, 0.31),
    (0.56, 0.26), (0.64, 0.22), (0.72, 0.19), (0.8, 0.17), (0.88, 0.15), (0.97, 0.12), (1.0, 0.0),
]  # fmt: skip
STEPS = ("wipe the lamp .", "rinse the lamp .", "dry the lamp .", "polish the lamp .")


def make_run(name: str, axes: tuple[str, ...], front: list[tuple[float, ...]], seed: int):
    """Methods that differ in how sharply and how noisily they answer along a known front."""
    rng = np.random.default_rng(seed)
    objectives, replies = Objectives(axes), np.array(front)
    prompts = [f"how do i polish the lamp number {i} ?" for i in range(60)]
    grid = lattice(len(axes), 10 if len(axes) == 2 else 3)
    styles = {"rewarded_soups": (0.5, 0.18, 0.2), "dpo": (0.22, 0.08, 0.1),
              "modpo": (0.12, 0.06, 0.08), "pareto_hqd": (0.03, 0.02, 0.03)}  # fmt: skip
    methods = [
        MethodReplies(
            method,
            [
                PointReplies(t, f"{method}-{t.slug}", answer(rng, replies, t, prompts, *style))
                for t in grid
            ],
            Cost(16.4 if method == "pareto_hqd" else 60.2, 1_450_000, 2.2, 88_000,
                 2 if method == "rewarded_soups" else len(grid), len(grid)),
        )
        for method, style in styles.items()
    ]  # fmt: skip
    even = TradeOff.even(len(axes))
    reference = MethodReplies(
        "reference",
        [PointReplies(even, "base", answer(rng, replies, even, prompts, 2.0, 0.3, 0.02))],
        Cost(27.7, 1_450_000, 0.2, 8_000, 1, 1),
    )
    hull = replies if len(axes) != 2 or name == "brevity" else replies[[0, -2, -1]]
    best_chebyshev = tuple(
        (t.weights, float(chebyshev(replies, t.weights).max())) for t in grid
    )  # fmt: skip
    known = KnownFront(
        replies=tuple(map(tuple, replies[non_dominated(replies)].tolist())),
        hull=tuple(map(tuple, hull.tolist())),
        hypervolume=attainable_hypervolume(replies),
        ceilings={k + 1: float(c) for k, c in enumerate(ceilings(hull, 11))}
        if len(axes) == 2
        else {},
        utility_min=float(replies.min(axis=1).max()),
        utility_chebyshev=float(np.mean([best for _, best in best_chebyshev])),
        best_chebyshev=best_chebyshev,
    )
    return measure(
        name, objectives, frozen_box(objectives, bounds=([0] * len(axes), [1] * len(axes))),
        prompts, methods, rng=rng, reference=reference, known=known, n_resamples=200, n_samples=3,
        notes=("Replies are judged by the rewards that also selected the training data.",),
        facts={"seed": str(seed), "torch": "2.13.0", "base parameters": "232,512"},
    )  # fmt: skip


def answer(rng, front, tradeoff, prompts, temperature, noise, malformed) -> ReplyTable:
    """Two replies a prompt: a soft choice along the front, less what noise takes away."""
    prompt_of = np.repeat(np.arange(len(prompts)), 2)
    score = 1 - ((1 - front) * tradeoff.array / max(tradeoff.weights)).max(axis=1)
    odds = np.exp((score + front @ tradeoff.array) / temperature)
    chosen = rng.choice(len(front), size=len(prompt_of), p=odds / odds.sum())
    rewards = np.clip(
        front[chosen] - rng.exponential(noise, (len(prompt_of), front.shape[1])), 0, 1
    )
    broken = rng.random(len(prompt_of)) < malformed
    rewards[broken] = 0
    texts = [
        "sorry , i with with with with that" if bad
        else " ".join(("it takes some time to polish the lamp .", *STEPS[: 1 + c % 4]))
        for bad, c in zip(broken, chosen, strict=True)
    ]  # fmt: skip
    return ReplyTable(prompt_of, texts, rewards, ~broken)


@pytest.fixture(scope="session")
def runs() -> list[RunResult]:
    """Scenario A, where every front reply is supported, and B, where few are."""
    return [
        make_run("brevity", ("helpful", "concise"), BREVITY, 0),
        make_run("caution", ("helpful", "harmless"), CAUTION, 1),
    ]


@pytest.fixture(scope="session")
def run_of_three() -> RunResult:
    """Three objectives: pairwise panels."""
    direction = np.array([t.weights for t in lattice(3, 6)])
    front = direction / np.linalg.norm(direction, axis=1, keepdims=True)
    return make_run("three", ("helpful", "concise", "humour"), front.tolist(), 2)


@pytest.fixture(scope="session")
def compared() -> tuple[ComparisonResult, list[RunResult]]:
    """Three seeds of scenario A; one method failed, one was searched."""
    seeds = [make_run("brevity", ("helpful", "concise"), BREVITY, n) for n in (0, 1, 2)]
    tried = (
        SettingTried({"beta": 0.1}, 0.61, 0.7, 0.52, 0.0, 0.2, 12.0),
        SettingTried({"beta": 0.5}, 0.72, 0.8, 0.64, 0.0, 0.1, 13.0),
        SettingTried({"beta": 9.0}, None, seconds=1.0, failed="diverged"),
    )
    names = [m.name for m in seeds[0].methods]
    methods = [
        over_seeds(seeds, name, name, {"beta": 0.5}, tried if name == "dpo" else ())
        for name in names
    ]
    failed = MethodComparison("sft", "sft", 11, (), {}, {}, {}, "failed on 1 of 3 seeds: x|y")
    rng = np.random.default_rng(0)
    made = {
        m.name: {y: np.array([[v] for v in m.values[y]]) for y in ("hypervolume", "utility_min")}
        for m in methods
    }
    result = ComparisonResult(
        name="brevity compared", objectives=seeds[0].objectives, seeds=(0, 1, 2),
        runs=("seed-0", "seed-1", "seed-2"), methods=(*methods, failed),
        duels=duels(made, 500, rng), duels_from="3 seeds", shares_of="what is attainable",
        criterion="both", budget=4, n_prompts=60, notes=("A note.",), facts={"torch": "2"},
        seconds={"search": 26.0, "training": 700.0, "replies": 9.0},
    )  # fmt: skip
    return result, seeds
