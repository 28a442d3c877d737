"""Handy: a language world with known rewards, data, tokenizer and Pareto front."""

from __future__ import annotations

from paretune.bench.handy.behavior import BehaviorPolicy
from paretune.bench.handy.rewards import AXES
from paretune.bench.handy.text import Request
from paretune.bench.handy.world import SCENARIOS, Handy

__all__ = ["AXES", "SCENARIOS", "BehaviorPolicy", "Handy", "Request"]
