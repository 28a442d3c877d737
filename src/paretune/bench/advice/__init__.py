"""Advice: a language world with six axes, for data of many users with different tastes."""

from __future__ import annotations

from paretune.bench.advice.requests import PARTS, Request
from paretune.bench.advice.scorers import AXES, SCORERS
from paretune.bench.advice.tokenizer import FEW_SHOT_WORDS
from paretune.bench.advice.world import Advice

__all__ = ["AXES", "FEW_SHOT_WORDS", "PARTS", "SCORERS", "Advice", "Request"]
