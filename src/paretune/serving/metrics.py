"""Counts of a server, as Prometheus reads them."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import final


@final
@dataclass
class Metrics:
    """Counts since the server began; safe from any thread."""

    requests: int = 0
    refusals: int = 0
    failures: int = 0
    prompt_tokens: int = 0
    reply_tokens: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def asked(self, replies: int, prompt_tokens: int) -> None:
        """A request was taken."""
        with self._lock:
            self.requests += 1
            self.prompt_tokens += prompt_tokens * replies

    def answered(self, tokens: int) -> None:
        """Its replies have ended."""
        with self._lock:
            self.reply_tokens += tokens

    def refused(self) -> None:
        """A request was refused."""
        with self._lock:
            self.refusals += 1

    def failed(self) -> None:
        """A request was taken, and could not be answered."""
        with self._lock:
            self.failures += 1

    def text(self, at_work: int) -> str:
        """The exposition format.

        Args:
            at_work: replies that are decoded or wait.
        """
        rows = [
            ("requests_total", "counter", "Requests taken", self.requests),
            ("refusals_total", "counter", "Requests refused", self.refusals),
            ("failures_total", "counter", "Requests that failed here", self.failures),
            ("prompt_tokens_total", "counter", "Tokens of prompts", self.prompt_tokens),
            ("reply_tokens_total", "counter", "Tokens of replies", self.reply_tokens),
            ("replies_at_work", "gauge", "Replies decoded or waiting", at_work),
        ]
        return "".join(
            f"# HELP paretune_{name} {told}\n# TYPE paretune_{name} {kind}\nparetune_{name} {n}\n"
            for name, kind, told, n in rows
        )
