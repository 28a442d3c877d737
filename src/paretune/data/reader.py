"""Files in, records out, nothing lost: ``rows read = used + skipped + cut``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

from paretune.core.objective import Objectives
from paretune.core.record import Record
from paretune.data.counts import RowCounts
from paretune.data.fields import Wanted
from paretune.data.joining import PromptJoin
from paretune.data.passes import SourcePass
from paretune.data.sources import DataSource, OnBad, RowRules
from paretune.errors import ConfigError, DataError, nearest


@final
@dataclass(frozen=True)
class ReadResult:
    """What was read.

    Args:
        records: one a distinct prompt, in order of first sight.
        counts: rows of all sources together.
        by_source: path of each source and its rows, in the order given.
        problems: bad rows that were skipped, as ``file:line: field: reason``.
        warnings: sentences about things that are used but look wrong.
    """

    records: tuple[Record, ...]
    counts: RowCounts
    by_source: tuple[tuple[str, RowCounts], ...]
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def read_records(
    source: DataSource,
    objectives: Objectives,
    *,
    on_bad: OnBad = "error",
    rules: RowRules | None = None,
) -> ReadResult:
    """The records of one source; :func:`read_all` with a single entry."""
    return read_all([source], objectives, on_bad=on_bad, rules=rules)


def read_all(
    sources: Sequence[DataSource],
    objectives: Objectives,
    *,
    on_bad: OnBad = "error",
    rules: RowRules | None = None,
) -> ReadResult:
    """The records of several sources, those with equal prompts joined.

    Every row of every source is looked at before anything is said, so that one error names all
    bad rows. Rows are streamed: apart from the result only one row is in memory.

    Args:
        sources: at least one; an objective that a file does not hold is not scored there.
        objectives: which labels and scores are taken.
        on_bad: ``error`` refuses the data when a row is bad, ``skip`` leaves bad rows out and
            counts them by what was wrong.
        rules: what to do with rows that are readable but of doubtful use.

    Returns:
        The records, with the account of all rows.

    Raises:
        ConfigError: if a source names an objective that the run does not have.
        DataError: if rows are bad (``on_bad="error"``), a file cannot be read to its end, or no
            row is left; ``problems`` holds every bad row as ``file:line: field: reason``.
    """
    if on_bad not in ("error", "skip"):
        raise ConfigError(f"on_bad: unknown value {on_bad!r}{nearest(on_bad, ('error', 'skip'))}")
    if not sources:
        raise ConfigError("data: found no source, expected at least one file")
    join = PromptJoin()
    passes = [
        SourcePass(source, wanted(source, objectives), rules or RowRules()) for source in sources
    ]
    for one in passes:
        one.run(join)
    problems = tuple(problem for one in passes for problem in one.problems)
    counts = sum((one.counts for one in passes), RowCounts())
    if problems and (on_bad == "error" or any(one.is_broken for one in passes)):
        names = ", ".join(one.source.path for one in passes if one.problems)
        raise DataError(f"{names}: {len(problems)} problems in {counts.read} rows read", problems)
    records = tuple(join.records())
    if not records:
        raise DataError(_nothing_left(counts, sources), problems)
    warnings = tuple(warning for one in passes for warning in one.warnings())
    warnings += tuple(_uncovered(passes, objectives))
    by_source = tuple((one.source.path, one.counts) for one in passes)
    return ReadResult(records, counts, by_source, problems, warnings)


def wanted(source: DataSource, objectives: Objectives) -> Wanted:
    """What a run takes out of a source.

    Raises:
        ConfigError: if the source names an objective that the run does not have.
    """
    for name in (*source.labels, *([source.objective] if source.objective else [])):
        objectives.index(name)
    columns = {name: source.labels.get(name, name) for name in objectives}
    return Wanted(columns, source.objective, source.turns)


def _uncovered(passes: Sequence[SourcePass], objectives: Objectives) -> Iterator[str]:
    """A remark for each objective that no source says anything about."""
    names = sorted(set().union(*(one.names for one in passes)))
    for objective in objectives:
        if not any(one.covers(objective) for one in passes):
            hint = nearest(objective, names[:12])
            yield f"objective {objective!r} has no label or score in any source{hint}"


def _nothing_left(counts: RowCounts, sources: Sequence[DataSource]) -> str:
    names = ", ".join(source.path for source in sources)
    reasons = {**counts.skipped, **counts.cut}
    found = ", ".join(f"{n} {reason}" for reason, n in reasons.items())
    return f"{names}: no row is left of {counts.read} read ({found}), expected at least one"
