"""Find my trade-off: how many questions it takes, with simulated users.

    OMP_NUM_THREADS=1 python benchmarks/ask.py [--users 1000] [--scenarios A,B,C] [--out FILE]

Users with a known trade-off answer questions about pairs of replies of the embedded world that
nothing dominates; what is served is one of the policies of its exact front. Every question is about
another prompt, and the rewards of the replies are the same for every prompt of a kind, so that a
pair may be asked about again. Nothing is trained. Prints Markdown.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
from machine import machine_note

from paretune.bench import Handy
from paretune.bench.handy.rewards import reward_table
from paretune.core.question import Answer, Option, Question, every_question
from paretune.core.user import Utility
from paretune.functional.answer_model import answer_log_chances, utilities
from paretune.functional.dominance import non_dominated
from paretune.functional.next_question import choose_question, information_gain
from paretune.functional.particles import Particles, particles
from paretune.functional.simplex import dirichlet
from paretune.functional.tradeoff_posterior import TradeOffPosterior, shares_lost

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

N_QUESTIONS = 12
SHOWN = (0, 1, 2, 4, 6, 8, 10, 12)
TARGET_AT, TARGET = 8, 0.05
STOPS = (0.05, 0.02)
UTILITIES: tuple[Utility, ...] = ("linear", "chebyshev")
# 0.1 is the noise of the labels of the embedded world; 0.02 and 0.25 are no level of the prior,
# and neither is how readily users say "same".
NOISES, SAME = (0.02, 0.1, 0.25), 0.5
AT_ONCE = 256


@dataclass(frozen=True)
class World:
    """One scenario: what may be asked, what can be served, who might be asking."""

    scenario: str

    @cached_property
    def available(self) -> Floats:
        """``(K, M)`` rewards of the policies that can be served."""
        return np.array(Handy(self.scenario).known_front().replies)  # type: ignore[arg-type]

    @cached_property
    def questions(self) -> tuple[Floats, Floats]:
        """``(Q, M)`` rewards of the two replies of each question."""
        world = Handy(self.scenario)  # type: ignore[arg-type]
        tables = [reward_table(is_risky, world.objectives) for is_risky in (False, True)]
        if self.scenario == "B":
            tables = tables[1:]
        elif np.array_equal(*tables):
            tables = tables[:1]
        fronts = [np.unique(table[non_dominated(table)], axis=0) for table in tables]
        pairs = np.array([pair for f in fronts for pair in itertools.combinations(f, 2)])
        return pairs[:, 0], pairs[:, 1]

    @cached_property
    def known(self) -> Particles:
        """The particles."""
        return particles(self.available.shape[1])

    @cached_property
    def answers(self) -> npt.NDArray[np.float32]:
        """``(P, Q, 3)`` chances of every answer of every particle; single precision for speed."""
        logs = self.known.answer_log_chances(*self.questions)
        return np.exp(logs).astype(np.float32)

    @cached_property
    def tastes(self) -> Floats:
        """``(F * W, K)`` utility of what is available to each taste."""
        return self.known.rate(self.available)


@dataclass(frozen=True)
class Users:
    """Simulated users of one scenario, cell after cell."""

    weights: Floats
    cell: Ints
    lost: Floats
    answers: Floats

    @staticmethod
    def draw(world: World, n: int, rng: np.random.Generator) -> Users:
        """``n`` users for each kind of utility and noise, weights uniform on the simplex."""
        weights, lost, answers = [], [], []
        for kind, noise in itertools.product(UTILITIES, NOISES):
            w = np.array([t.weights for t in dirichlet(world.available.shape[1], n, rng)])
            first, second = (utilities(side, w, kind) for side in world.questions)
            weights.append(w)
            lost.append(shares_lost(utilities(world.available, w, kind)))
            answers.append(np.exp(answer_log_chances(first - second, noise, SAME)))
        cell = np.repeat(np.arange(len(weights)), n)
        return Users(np.concatenate(weights), cell, np.concatenate(lost), np.concatenate(answers))


# Chances (U, P) of states of knowledge to the questions (U,) they ask.
Chooser = Callable[[World, npt.NDArray[np.float32]], Ints]


def by_information(group: Callable[[World], Ints]) -> Chooser:
    """Ask what tells most about the group of the taste."""

    def choose(world: World, chances: npt.NDArray[np.float32]) -> Ints:
        group_of = np.repeat(group(world), world.known.n_noises)
        # Rounded: the chances are single, and equal gains must not be chosen between by luck.
        return np.round(information_gain(chances, world.answers, group_of), 5).argmax(axis=1)

    return choose


CHOOSERS: dict[str, Chooser | None] = {
    "best": by_information(lambda world: world.tastes.argmax(axis=1)),
    "weights": by_information(lambda world: np.arange(world.known.n_tastes)),
    "random": None,
}
"""About which policy is best for the user; about the weights; any question at all."""


def ask(world: World, users: Users, chooser: Chooser | None, rng: np.random.Generator) -> Floats:
    """``(N_QUESTIONS + 1, N, 3)`` for every user: share of utility lost, the same as the posterior
    expects it, and cosine error of the weights."""
    n, known = len(users.cell), world.known
    log_answers = np.log(np.maximum(world.answers, 1e-30))
    loss_of_taste = shares_lost(world.tastes)
    # Who gave the same answers is in the same state: one row of counts each.
    asked = np.zeros((n, world.answers.shape[1] * 3), np.uint8)
    found = np.zeros((N_QUESTIONS + 1, n, 3))
    for step in range(N_QUESTIONS + 1):
        question = np.zeros(n, np.int64)
        states, state_of = np.unique(asked, axis=0, return_inverse=True)
        order = np.argsort(state_of, kind="stable")
        starts = np.searchsorted(state_of[order], np.arange(len(states) + 1))
        for at in range(0, len(states), AT_ONCE):
            some = states[at : at + AT_ONCE]
            mine = order[starts[at] : starts[at + len(some)]]
            row = state_of[mine] - at
            chances = posteriors(some, log_answers)
            tastes = chances.reshape(len(some), known.n_tastes, -1).sum(axis=2)
            losses = tastes @ loss_of_taste
            pick = losses.argmin(axis=1)
            of_weights = tastes.reshape(len(some), len(known.utilities), -1).sum(axis=1)
            mean = (of_weights @ known.weights)[row]
            w = users.weights[mine]
            found[step, mine, 0] = users.lost[mine, pick[row]]
            found[step, mine, 1] = losses.min(axis=1)[row]
            norms = np.linalg.norm(mean, axis=1) * np.linalg.norm(w, axis=1)
            found[step, mine, 2] = 1 - (mean * w).sum(axis=1) / norms
            if chooser is not None and step < N_QUESTIONS:
                question[mine] = chooser(world, chances)[row]
        if chooser is None:
            question = rng.integers(world.answers.shape[1], size=n)
        chance = users.answers[np.arange(n), question]
        answer = (rng.random((n, 1)) > chance.cumsum(axis=1)[:, :2]).sum(axis=1)
        asked[np.arange(n), 3 * question + answer] += 1
    return found


def posteriors(
    states: npt.NDArray[np.uint8], log_answers: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """``(U, P)`` chances of the particles after the counted answers."""
    flat = log_answers.reshape(len(log_answers), -1)
    used = np.flatnonzero(states.any(axis=0))
    logs = states[:, used].astype(np.float32) @ flat[:, used].T
    chances = np.exp(logs - logs.max(axis=1, keepdims=True))
    return np.asarray(chances / chances.sum(axis=1, keepdims=True))


def rows(world: World, users: Users, found: dict[str, Floats]) -> Iterable[str]:
    """Lines of the tables of one scenario."""
    cells = list(itertools.product(UTILITIES, NOISES))
    for number, (kind, noise) in enumerate(cells):
        for name, result in found.items():
            mine = result[:, users.cell == number]
            lost = [
                f"{100 * np.median(mine[s, :, 0]):.1f} / {100 * mine[s, :, 0].mean():.1f}"
                for s in SHOWN
            ]
            cosine = [f"{np.median(mine[s, :, 2]):.3f}" for s in (2, 4, 8, 12)]
            within = f"{100 * (mine[TARGET_AT, :, 0] <= TARGET).mean():.0f} %"
            told = f"{100 * mine[TARGET_AT, :, 1].mean():.1f}"
            cells_ = [world.scenario, kind, f"{noise:g}", name, *lost, told, within, *cosine]
            yield "| " + " | ".join(cells_) + " |"


def stop_rows(world: World, users: Users, result: Floats) -> Iterable[str]:
    """When to stop: by the loss that is still expected."""
    for number, (kind, noise) in enumerate(itertools.product(UTILITIES, NOISES)):
        mine = result[:, users.cell == number]
        cells = [world.scenario, kind, f"{noise:g}"]
        for bound in STOPS:
            is_over = mine[:, :, 1] <= bound
            is_over[-1] = True
            at = is_over.argmax(axis=0)
            lost = mine[at, np.arange(len(at)), 0]
            share = (mine[:, :, 1] > bound).all(axis=0).mean()
            cells += [f"{np.median(at):.0f}", f"{100 * lost.mean():.1f}", f"{100 * share:.0f} %"]
        yield "| " + " | ".join(cells) + " |"


def odd_rows(n: int) -> Iterable[str]:
    """People the model did not expect, through the functions that a program calls."""
    world = World("A")
    options = [Option(str(i), tuple(row)) for i, row in enumerate(world.available)]
    says: dict[str, Callable[[Question, np.random.Generator], Answer]] = {
        "wants the first objective, never errs": lambda q, _: (
            "first" if q.first.rewards[0] > q.second.rewards[0] else "second"
        ),
        'always "same"': lambda q, _: "same",
        "always the left reply": lambda q, _: "first",
        "tosses a coin": lambda q, rng: "first" if rng.random() < 0.5 else "second",
    }
    for name, say in says.items():
        known, rng = [], np.random.default_rng(0)
        for person in range(n):
            posterior = TradeOffPosterior(2)
            for prompt in range(TARGET_AT):
                asked = every_question(options, str(prompt))
                following = choose_question(posterior, asked, world.available, seed=person)
                assert following is not None
                question = following.question
                posterior = posterior.observe(question, say(question, rng))
            found = posterior.estimate()
            w, low, high = found.tradeoff.weights[0], found.low[0], found.high[0]
            loss = posterior.best(world.available).loss
            known.append([w, high - low, found.temperature, 100 * loss])
        mean = np.mean(known, axis=0)
        numbers = [f"{mean[0]:.2f} ± {np.std(known, axis=0)[0]:.2f}"]
        numbers += [f"{mean[1]:.2f}", f"{mean[2]:.2f}", f"{mean[3]:.1f} %"]
        yield "| " + " | ".join([name, *numbers]) + " |"


def table_head(*columns: str) -> list[str]:
    """First two lines of a Markdown table."""
    return ["| " + " | ".join(columns) + " |", "| --- " * len(columns) + "|"]


def main() -> None:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=1000, help="a cell (1000)")
    parser.add_argument("--scenarios", default="A,B,C", help="with commas (A,B,C)")
    parser.add_argument("--choosers", default="best,random", help="best, weights, random")
    parser.add_argument("--seed", type=int, default=0, help="of users and answers")
    parser.add_argument("--odd", type=int, default=25, help="odd people of each kind (25)")
    parser.add_argument("--out", type=Path, help="also write the table to this file")
    asked = parser.parse_args()
    numbers = [f"{s}" for s in SHOWN] + [f"told at {TARGET_AT}", f"within {TARGET:.0%}"]
    cosines = [f"cos {s}" for s in (2, 4, 8, 12)]
    lines = table_head("world", "utility", "noise", "asks about", *numbers, *cosines)
    columns = [f"{what} ({100 * b:g} %)" for b in STOPS for what in ("asked", "lost", "not yet")]
    stops = table_head("world", "utility", "noise", *columns)
    for scenario in asked.scenarios.split(","):
        world, found = World(scenario), {}
        users = Users.draw(world, asked.users, np.random.default_rng(asked.seed))
        for name in asked.choosers.split(","):
            start = time.process_time()
            found[name] = ask(world, users, CHOOSERS[name], np.random.default_rng(asked.seed + 1))
            spent = time.process_time() - start
            print(f"{scenario} {name}: {spent:.0f} CPU s", file=sys.stderr)
        lines += rows(world, users, found)
        stops += stop_rows(world, users, next(iter(found.values())))
    odd = table_head("who", "weight of the first", "90 % interval", "noise", "expected loss")
    odd += odd_rows(asked.odd)
    lines += ["", *stops, "", *odd, "", machine_note("cpu")]
    table = "\n".join(lines)
    print(table)
    if asked.out:
        asked.out.write_text(table + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
