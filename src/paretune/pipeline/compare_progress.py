"""Progress of several runs as one, with the time that all of them still need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from paretune.pipeline.config import RunConfig
from paretune.pipeline.folder import RunFolder
from paretune.pipeline.run import Voice
from paretune.pipeline.sweep import plan_run
from paretune.pipeline.worlds import world_of
from paretune.safety.manifest import MANIFEST

_ROWS_OF_FILES = 4000
"""Rows that files are taken to hold before they are read: only shares matter."""
_PROMPTS_OF_FILES = 200


@final
@dataclass(frozen=True)
class Weight:
    """Rough cost of what a run still has to do, in rows of training.

    Args:
        base: of its base, if it is trained.
        tasks: of its policies and replies.
    """

    base: float
    tasks: float

    @property
    def total(self) -> float:
        """Both."""
        return self.base + self.tasks


def weight_left(config: RunConfig, run: RunFolder) -> Weight:
    """What a run still has to do; no data are read.

    Args:
        config: of the run.
        run: its folder, which need not exist.
    """
    world = world_of(config)
    if world is None:
        rows, n_prompts = (_ROWS_OF_FILES, _ROWS_OF_FILES // 2), _PROMPTS_OF_FILES
    else:
        rows, n_prompts = (2 * config.data.pairs, config.data.pairs), len(world.test_prompts)
    n_prompts = min(n_prompts, config.evaluate.prompts or n_prompts)
    plans = plan_run(config, run, rows, n_prompts, "")
    tasks = {t.id: t for p in plans for t in (*p.policies, *p.replies, *p.users)}
    left = [t.weight for t in tasks.values() if not (t.sealed.path / MANIFEST).exists()]
    has_base = config.base.path is not None or run.stage(3).exists()
    return Weight(0.0 if has_base else _base_weight(config), sum(left))


def _base_weight(config: RunConfig) -> float:
    train = config.base.train
    rows = config.base.corpus if config.data.world else _ROWS_OF_FILES
    return float(train.n_steps(rows) * train.batch_size)


@final
class Progress:
    """How much of all runs is done, of what was left when it was made.

    Args:
        weights: run to what it still has to do.
        voice: hears the share of all of them.
    """

    def __init__(self, weights: dict[str, Weight], voice: Voice) -> None:
        self._weights, self._voice = weights, voice
        self._done = dict.fromkeys(weights, 0.0)
        self._whole = sum(weight.total for weight in weights.values()) or 1.0

    def of_run(self, name: str) -> Voice:
        """The voice of one run: what it says, and its progress as a share of everything."""
        weight = self._weights[name]

        def step(what: str, done: int, total: int) -> None:
            if what == "base":
                share = done / max(1, total)
                self._move(name, weight.base * share, done, total, f"{name}/base")

        def watch(share: float, done: int, total: int, running: str) -> None:
            self._move(name, weight.base + weight.tasks * share, done, total, f"{name}/{running}")

        def say(text: str) -> None:
            self._voice.say(f"{name}: {text}")

        return Voice(say, step, watch)

    def finish(self, name: str) -> None:
        """A run is done, now or earlier."""
        self._done[name] = self._weights[name].total

    def _move(self, name: str, reached: float, done: int, total: int, running: str) -> None:
        self._done[name] = max(self._done[name], reached)
        if self._voice.watch is not None:
            share = min(1.0, sum(self._done.values()) / self._whole)
            self._voice.watch(share, done, total, running)
