"""What is disturbed: a sweep of ours, and the same kind of training as users of plain TRL write it.

A subject knows its files and its command; the trials know nothing of either.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

Result = dict[str, str]
"""What a run gave: name to a hash, without anything that a clock decides."""


class Subject(ABC):
    """A training that is disturbed."""

    target: str
    """What the fork server runs."""
    made: str
    """Folder, below the working folder, in which all it makes lies."""

    @abstractmethod
    def write_inputs(self, folder: Path) -> None:
        """What a user has before the first command."""

    @abstractmethod
    def preparations(self) -> list[list[str]]:
        """Commands that are not disturbed, so that trials are short: the base."""

    @abstractmethod
    def command(self, again: bool) -> list[str]:
        """Its command, or the one that a user types after it was disturbed."""

    @abstractmethod
    def result(self, folder: Path) -> Result:
        """What it gave."""

    @abstractmethod
    def checkpoints(self, folder: Path) -> list[Path]:
        """Checkpoints, the oldest first."""

    @abstractmethod
    def is_save(self, path: str) -> bool:
        """Whether a path, below ``made``, belongs to a checkpoint or to a sealed result."""


@final
@dataclass(frozen=True)
class Trl(Subject):
    """Plain TRL: DPOTrainer with LoRA, a checkpoint every five steps.

    Args:
        options: of the script, on top of its own.
        later: options that only the second command has: what a user changed in between.
    """

    options: tuple[str, ...] = ()
    later: tuple[str, ...] = ()
    target = "trl"
    made = "out"

    def write_inputs(self, folder: Path) -> None:
        """Preference pairs."""
        write_rows(folder / "pairs.jsonl", trl_pairs(100))

    def preparations(self) -> list[list[str]]:
        """The base."""
        return [["--make-base"]]

    def command(self, again: bool) -> list[str]:
        """The script; after a disturbance with ``resume_from_checkpoint=True``."""
        return [*self.options, *(["--resume", *self.later] if again else [])]

    def result(self, folder: Path) -> Result:
        """The weights. Its log is looked at apart: it is never equal after a resume."""
        return _hashes(folder, ["final/adapter_model.safetensors"])

    def checkpoints(self, folder: Path) -> list[Path]:
        """As the library finds them: by name."""
        return _by_step((folder / "out").glob("checkpoint-*"))

    def is_save(self, path: str) -> bool:
        """Any file of a checkpoint."""
        return path.startswith("/checkpoint-")


@final
@dataclass(frozen=True)
class Paretune(Subject):
    """A run of ours.

    Args:
        settings: the run.yaml.
        verb: of the command.
        options: of the command.
    """

    settings: str
    verb: str = "eval"
    options: tuple[str, ...] = ()
    target = "paretune"
    made = "runs"

    def write_inputs(self, folder: Path) -> None:
        """The configuration, and files that it may name."""
        (folder / "run.yaml").write_text(self.settings)
        (folder / "rewards.py").write_text(_REWARDS)
        write_rows(folder / "pairs.jsonl", own_pairs(60))

    def preparations(self) -> list[list[str]]:
        """The base, which runs share."""
        return [["data", "run.yaml", "--runs", "runs", "--set", "name=other"]]

    def command(self, again: bool) -> list[str]:
        """Always the same."""
        return [self.verb, "run.yaml", "--runs", "runs", *self.options]

    def result(self, folder: Path) -> Result:
        """Every file that is a result, and the log: one row a step."""
        run = folder / "runs" / "tiny"
        made = _hashes(run, [
            "4-policies/**/*.safetensors", "5-replies/**/replies.jsonl",
            "2-rewards/*.np*", "3-comparisons/*.np*", "1-records/*.jsonl",
        ])  # fmt: skip
        logs = run.glob("4-policies/*/[!.]*/metrics.jsonl")
        for file in (run / "6-front" / "front.json", *sorted(logs)):
            if file.is_file():
                content = json.dumps(_timeless(read_rows(file)), sort_keys=True)
                made[file.relative_to(run).as_posix()] = _sha256(content.encode())
        return made

    def checkpoints(self, folder: Path) -> list[Path]:
        """Of the job that was being trained."""
        found = (folder / "runs" / "tiny" / "4-policies").rglob("checkpoint-*")
        return _by_step(p for p in found if p.is_dir())

    def is_save(self, path: str) -> bool:
        """Checkpoints and whatever is staged to be sealed."""
        return bool(re.match(r"/tiny/.*(/checkpoint-\d|staging)", path))


def read_rows(path: Path) -> list[Any]:
    """JSON values one after another; none where there is no file."""
    text, rows = path.read_text().strip() if path.exists() else "", []
    while text:
        try:
            row, end = json.JSONDecoder().raw_decode(text)
        except json.JSONDecodeError:
            row, end = {"torn": text.partition("\n")[0]}, len(text.partition("\n")[0])
        rows.append(row)
        text = text[end:].lstrip()
    return rows


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def trl_pairs(n: int) -> list[dict[str, Any]]:
    """Pairs as TRL reads them."""
    draw = random.Random(0)
    return [
        {"prompt": _say(draw, 4), "chosen": _say(draw, 5), "rejected": _say(draw, 5)}
        for _ in range(n)
    ]


def own_pairs(n: int) -> list[dict[str, Any]]:
    """Comparisons as we read them: one axis likes long replies, the other short ones."""
    draw, rows = random.Random(0), []
    for k in range(n):
        a, b = draw.sample(range(1, 9), 2)
        labels = {"long": 1 if a > b else -1, "short": 1 if a < b else -1}
        texts = {"response_a": _say(draw, a), "response_b": _say(draw, b)}
        rows.append({"prompt": f"Say {k}:", **texts, "labels": labels})
    return rows


def _say(draw: random.Random, n: int) -> str:
    words = ("the", "cat", "sat", "on", "a", "mat", "and", "then", "two", "dogs", "ran", "away")
    return " ".join(draw.choice(words) for _ in range(n))


def _timeless(value: Any) -> Any:
    """JSON values without those that a clock decided."""
    if isinstance(value, dict):
        return {
            k: _timeless(v) for k, v in value.items()
            if k not in ("time", "updated", "pid") and "seconds" not in k
        }  # fmt: skip
    return [_timeless(v) for v in value] if isinstance(value, list) else value


def _hashes(folder: Path, patterns: list[str]) -> Result:
    files = {f for pattern in patterns for f in folder.glob(pattern) if f.is_file()}
    # What is hidden is work in progress.
    names = {f.relative_to(folder).as_posix(): f for f in files}
    return {n: _sha256(f.read_bytes()) for n, f in sorted(names.items()) if "/." not in f"/{n}"}


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _by_step(found: Any) -> list[Path]:
    whole = [p for p in found if re.fullmatch(r"checkpoint-\d+", p.name)]
    return sorted(whole, key=lambda p: (p.parent.stat().st_mtime, int(p.name.split("-")[1])))


_HEAD = """
name: tiny
objectives: [helpful, concise]
data: {world: handy, scenario: A, pairs: 60}
base:
  corpus: 256
  train: {learning_rate: 4.0e-3, epochs: 1, batch_size: 32}
tradeoffs: {grid: 1}
generate: {max_new_tokens: 12}
evaluate: {prompts: 12, resamples: 100, samples: 1}
"""

_REWARDS = """
def long(prompt, response):
    return float(len(response.split()))


def short(prompt, response):
    return -float(len(response.split()))
"""

SAVES = "checkpoint_steps: 5"

SWEEP = Paretune(f"""{_HEAD}
methods:
  - method: rewarded_soups
    train: {{lora: {{rank: 2, alpha: 4, dropout: 0.1}}}}
  - method: sft
    train: {{accumulate: 2}}
train: {{learning_rate: 5.0e-4, steps: 24, batch_size: 8, {SAVES}}}
workers: 1
""")
"""Two adapters trained with dropout, one model whose gradients are accumulated, their replies."""

POOL = Paretune(SWEEP.settings.replace("workers: 1", "workers: 2"))
"""The same on two worker processes."""

MINI = Paretune(f"""{_HEAD}
methods:
  - method: sft
    train: {{lora: {{rank: 2, alpha: 4, dropout: 0.1}}}}
train: {{learning_rate: 5.0e-4, steps: 12, batch_size: 8, {SAVES}}}
workers: 1
""")
"""One short job: for faults at every single call."""

FILES = Paretune(f"""
name: tiny
objectives: [long, short]
data: {{path: pairs.jsonl, plain_prompts: true}}
rewards: {{long: {{function: "rewards.py:long"}}, short: {{function: "rewards.py:short"}}}}
base:
  build: {{hidden: 32, layers: 1, heads: 2, feed_forward: 64, max_positions: 128, vocabulary: 300}}
  train: {{learning_rate: 3.0e-3, epochs: 1, batch_size: 16}}
tradeoffs: {{grid: 1}}
methods:
  - method: rewarded_soups
train: {{learning_rate: 5.0e-4, steps: 24, batch_size: 8, max_response_tokens: 64, {SAVES}}}
generate: {{max_new_tokens: 8}}
evaluate: {{resamples: 100, samples: 1}}
workers: 1
""")
"""Data and rewards from files that a user may change in between."""

WORLD = Paretune(
    """
name: tiny
objectives: [helpful, concise]
data: {world: handy, scenario: A, pairs: 1000}
base: {corpus: 512}
methods:
  - method: sft
train: {steps: 60, checkpoint_steps: 10}
workers: 1
""",
    verb="train",
)
"""A job of the embedded world at its default size: for what a save costs."""

DIVERGING = replace(
    MINI, settings=MINI.settings.replace("5.0e-4", "1.0e+30").replace(SAVES, SAVES[:-1] + "1")
)
"""A learning rate that no training survives, and a checkpoint at every step."""

LONG = replace(MINI, settings=MINI.settings.replace("steps: 12", "steps: 200"))
"""A job with time for many kills."""

OVERFLOWING = replace(DIVERGING, settings=DIVERGING.settings.replace("1.0e+30", "1.0e+39"))
"""Parameters that are infinite after the first step, whose loss was fine."""

SLOW = replace(MINI, settings=MINI.settings.replace("steps: 12", "steps: 4, accumulate: 1000"))
"""Optimizer steps of many seconds."""

TRL = Trl()

TRL_DIVERGING = Trl(options=("--learning-rate", "1e30"))

TRL_LONG = Trl(options=("--steps", "120"))

TRL_OVERFLOWING = Trl(options=("--learning-rate", "1e39"))

TRL_JIT = Trl(options=("--jit", "--steps", "200"))
"""With the library's own answer to SIGTERM, which comes after three seconds."""
