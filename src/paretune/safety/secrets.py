"""Secrets of the environment and of addresses: never in a message, a file or a configuration."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

_NAME = re.compile("key|token|secret|passw|credential", re.IGNORECASE)
_SHORTEST = 8
"""Characters; a shorter value would be found by chance in any text."""

_USER = re.compile(r"(?<=://)[^/\s@'\"]+@")
_QUERY = re.compile(r"(?<=[?&])([\w.-]*(?:key|token|secret|passw|sig)[\w.-]*=)[^&#\s'\"]+", re.I)

Key = tuple[str | int, ...]


def without_secrets(text: str) -> str:
    """Text in which ``***`` stands for everything that is known to be secret.

    That is what an environment variable holds whose name says so (``HF_TOKEN``,
    ``OPENAI_API_KEY``), the user of an address and a key in its query.

    Example:
        >>> without_secrets("GET https://me:pw@host/v1?api_key=abc&n=1")
        'GET https://***@host/v1?api_key=***&n=1'
    """
    for value in sorted(_environment(), key=len, reverse=True):
        text = text.replace(value, "***")
    return _QUERY.sub(r"\1***", _USER.sub("***@", text))


def find_secrets(values: Any, key: Key = ()) -> Iterator[tuple[Key, str]]:
    """Where a configuration holds a secret: it would be written into every run.

    Args:
        values: plain values, nested as they like.
        key: where they are.

    Returns:
        Key and message of each; the message does not repeat it.
    """
    if isinstance(values, dict):
        for name, value in values.items():
            problems = list(find_secrets(str(name), key))
            yield from problems or find_secrets(value, (*key, name))
    elif isinstance(values, list):
        for n, value in enumerate(values):
            yield from find_secrets(value, (*key, n))
    elif isinstance(values, str):
        names = [name for value, name in _environment().items() if value in values]
        if names:
            yield key, f"found what the environment variable {names[0]} holds, expected no secret"
        elif _USER.search(values):
            yield key, "found a user name or password in the address, expected an address without"
        elif _QUERY.search(values):
            yield key, "found '?' and a key in the address, expected an address without"


def _environment() -> dict[str, str]:
    """Secret to the variable that holds it; the path of a key file is no secret."""
    return {
        value: name
        for name, value in os.environ.items()
        if _NAME.search(name) and len(value) >= _SHORTEST and not os.path.exists(value)
    }
