"""The run.yaml that ``paretune init`` writes; options of a method come from its own fields."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields
from typing import Any

import yaml

from paretune.methods import method_class

_HEAD = """\
# A run: paretune check FILE, then paretune run FILE. The same command continues a run.
name: my-run
seed: 0

# What people want, in order; larger is better on every axis.
objectives: [helpful, concise]

# The embedded world has data, rewards and a known front. For your own data, instead:
#   data: {path: records.jsonl}
# One line a record: {"prompt": "...", "responses": [{"text": "...", "scores": {"helpful": 0.7,
# "concise": 0.2}}, ...]} or {"prompt": "...", "response_a": "...", "response_b": "...",
# "labels": {"helpful": 1, "concise": -1}}; `paretune ls formats` lists the others.
data: {world: handy, scenario: A, pairs: 2000}

# Where rewards come from; a world brings its own. For your own data one of these an objective:
# rewards:
#   helpful: {column: helpful}               # scores in the records
#   concise: {function: rewards.py:concise}  # def concise(prompt, response) -> float
#   harmless: {model: path/or/hub-id, logit: 0, sign: 1}
#   honest: {trained: {}}                    # a reward model trained on your comparisons

# The base: a world trains its own. For your own model:
# base: {path: path/or/hub-id}

# Trade-offs: every weight a multiple of 1/grid, or a list such as [{helpful: .7, concise: .3}].
tradeoffs: {grid: 10}

methods:
"""

_TAIL = """
train:
  learning_rate: 5.0e-4
  epochs: 2
  batch_size: 32
  # lora: {rank: 16, alpha: 32}   # adapters instead of full fine-tuning

generate: {max_new_tokens: 64, temperature: 1.0, top_p: 1.0}

evaluate: {draws: 4}
"""


def run_yaml(method: str) -> str:
    """The text of a run.yaml for a method, its options written out with their defaults.

    Raises:
        ConfigError: if there is no such method.
    """
    cls: Any = method_class(method)
    lines = [f"  - method: {method}"]
    for field in fields(cls):
        if field.default is MISSING:
            continue
        shown = _yaml(field.default)
        # A None default means "decided from the data": shown, but only as a comment.
        lines.append(f"    {'# ' if field.default is None else ''}{field.name}: {shown}")
    if method != "dpo":
        lines.append("  - method: dpo            # compare with loss-weighted DPO")
        lines.append("    tradeoffs: {grid: 4}")
    return _HEAD + "\n".join(lines) + "\n" + _TAIL


def _yaml(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return str(list(value))
    text = str(value)
    # YAML reads an empty text as null, and some words as other things.
    return json.dumps(value) if isinstance(value, str) and yaml.safe_load(text) != value else text
