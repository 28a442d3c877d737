"""Rows that are left out, kept as they stood: nothing is lost in silence."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from paretune.data.rows import Row

MAX_BYTES = 10_000
"""Of one row; its file and line tell where the rest is."""


def quarantine_line(row: Row, problems: Sequence[str]) -> bytes:
    r"""One JSON line about a row that is not used.

    Bytes that are no UTF-8 are written as the escapes ``\udc80`` to ``\udcff``, which no text
    holds, so that :func:`quarantined_bytes` gives back every byte.

    Args:
        row: as it was read.
        problems: why it is not used.

    Example:
        >>> line = quarantine_line(Row("a.jsonl", 3, raw=b"caf\xe9\n"), ["row: invalid UTF-8"])
        >>> quarantined_bytes(json.loads(line))
        b'caf\xe9'
    """
    # A row of a table has no line of its own.
    raw = row.raw.rstrip(b"\r\n") or json.dumps(row.value, default=str).encode()
    entry: dict[str, Any] = {
        "file": row.file,
        "line": row.line,
        "problems": list(problems),
        "raw": raw[:MAX_BYTES].decode("utf-8", "surrogateescape"),
    }
    if len(raw) > MAX_BYTES:
        entry["cut"] = True
    return json.dumps(entry).encode() + b"\n"


def quarantined_bytes(entry: Mapping[str, Any]) -> bytes:
    """A row as it stood, from a line of the quarantine file; the start of it where it was cut."""
    return str(entry["raw"]).encode("utf-8", "surrogateescape")
