"""JSON lines: strict reading that never stops at a bad line, and atomic writing."""

from __future__ import annotations

import gzip
import json
import math
import os
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from paretune.core.record import Record, prompt_json
from paretune.data.rows import Fault, Row, shown

MAX_LINE_BYTES = 16 * 1024 * 1024
"""A longer line is reported, not read: the memory for one row is bounded."""

_BOM = b"\xef\xbb\xbf"
_GZIP = b"\x1f\x8b"


class _RepeatedKey(ValueError):
    """An object names a key twice."""


def read_jsonl(path: Path, name: str, max_line_bytes: int = MAX_LINE_BYTES) -> Iterator[Row]:
    """The rows of a JSON lines file, plain or gzip (told by content, not by name).

    A line that cannot be parsed is a row with a fault. Blank lines are no rows; line numbers
    count them. CRLF ends and a byte order mark at the start of the file are fine.

    Args:
        path: an existing file.
        name: what to call the file in messages.
        max_line_bytes: longer lines become a fault.
    """
    line = 0
    try:
        with _open(path) as stream:
            while raw := stream.readline(max_line_bytes + 1):
                line += 1
                if len(raw) > max_line_bytes:
                    _skip_to_newline(stream, raw)
                    long = f"found over {max_line_bytes} bytes, expected a shorter line"
                    yield Row(name, line, faults=(Fault("row", "line too long", long),), raw=raw)
                    continue
                raw = raw.removeprefix(_BOM) if line == 1 else raw
                if raw.strip():
                    yield _row(name, line, raw)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        fault = Fault(
            "file", "damaged gzip data", f"found {error}, expected a complete file", is_fatal=True
        )
        yield Row(name, line + 1, faults=(fault,))


def parse_line(raw: bytes) -> dict[str, Any] | Fault:
    """One line as an object, or what is wrong with it."""
    try:
        value = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique_keys)
    except UnicodeDecodeError as error:
        found = f"found byte 0x{raw[error.start]:02x} at column {error.start + 1}"
        return Fault("row", "invalid UTF-8", f"{found}, expected UTF-8 text")
    except json.JSONDecodeError as error:
        if raw.startswith(_BOM):
            return Fault("row", "byte order mark", "found one inside the file, expected '{'")
        ends_early = error.pos >= len(error.doc.rstrip()) or "Unterminated" in error.msg
        kind = "line ends early" if ends_early else "not JSON"
        return Fault("row", kind, f"found {error.msg} at column {error.colno}, expected an object")
    except _RepeatedKey as error:
        return Fault("row", "repeated key", f"found {error} twice, expected it once")
    except RecursionError:
        return Fault("row", "nested too deep", "found too many brackets, expected a flat object")
    except ValueError as error:
        return Fault("row", "number too large", f"found {error}, expected a number of double size")
    if not isinstance(value, dict):
        return Fault("row", "not an object", f"found {shown(value)}, expected one object a line")
    return value


def record_json(record: Record) -> dict[str, Any]:
    """A record as plain JSON values in the native schema; NaN becomes ``null``."""
    content: dict[str, Any] = {
        "prompt": prompt_json(record.prompt),
        "responses": [
            {
                "text": r.text,
                **({"scores": _numbers(r.scores)} if r.scores else {}),
                **({"count": r.count} if r.count > 1 else {}),
            }
            for r in record.responses
        ],
    }
    if record.comparisons:
        content["comparisons"] = [
            {
                "first": c.first,
                "second": c.second,
                "labels": _numbers(c.labels),
                **({"weights": _numbers(c.weights)} if c.weights else {}),
            }
            for c in record.comparisons
        ]
    return content


def write_records(path: str | Path, records: Iterable[Record]) -> int:
    """Write records as JSON lines so that the file is either complete or not there.

    The bytes depend on the records only. The reader gives the same records back, except that
    equal prompts come back joined.

    Args:
        path: the file to make or replace; a name that ends in ``.gz`` is compressed.
        records: may be a generator.

    Returns:
        The number of records written.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, staging = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            n_records = _write_lines(file, records, compress=target.suffix == ".gz")
            file.flush()
            os.fsync(file.fileno())
        os.replace(staging, target)
    except BaseException:
        Path(staging).unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)
    return n_records


def _write_lines(file: IO[bytes], records: Iterable[Record], *, compress: bool) -> int:
    # A fixed time and no file name in the gzip header: equal records give equal bytes.
    stream = gzip.GzipFile("", "wb", fileobj=file, mtime=0) if compress else file
    n_records = 0
    for record in records:
        text = json.dumps(record_json(record), ensure_ascii=False, allow_nan=False)
        stream.write(text.encode("utf-8") + b"\n")
        n_records += 1
    if compress:
        stream.close()
    return n_records


def _sync_folder(folder: Path) -> None:
    """Make the rename durable, where the system lets a folder be opened."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _numbers(values: Mapping[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else float(value) for name, value in values.items()}


@contextmanager
def _open(path: Path) -> Iterator[IO[bytes]]:
    with path.open("rb") as file:
        is_gzip = file.read(2) == _GZIP
        file.seek(0)
        yield gzip.GzipFile(fileobj=file) if is_gzip else file  # type: ignore[misc]


def _skip_to_newline(stream: IO[bytes], raw: bytes) -> None:
    while raw and not raw.endswith(b"\n"):
        raw = stream.readline(1 << 20)


def _row(name: str, line: int, raw: bytes) -> Row:
    parsed = parse_line(raw.rstrip(b"\r\n"))
    if isinstance(parsed, Fault):
        return Row(name, line, faults=(parsed,), raw=raw)
    return Row(name, line, parsed, raw=raw)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        keys = [key for key, _ in pairs]
        raise _RepeatedKey(shown(next(key for key in keys if keys.count(key) > 1)))
    return value
