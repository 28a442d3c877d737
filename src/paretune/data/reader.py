"""Files in, records out, nothing lost: ``rows read = used + skipped + cut``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, final

from paretune.core.objective import Objectives
from paretune.core.record import Record
from paretune.data.counts import RowCounts
from paretune.data.fields import Wanted
from paretune.data.joining import PromptJoin
from paretune.data.passes import BAD_ROW, SourcePass
from paretune.data.quarantine import quarantine_line
from paretune.data.rows import Row
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
        share: of the prompts that the records are; below 1 when a budget was outgrown.
    """

    records: tuple[Record, ...]
    counts: RowCounts
    by_source: tuple[tuple[str, RowCounts], ...]
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    share: float = 1.0


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
    budget: int | None = None,
    quarantine: IO[bytes] | None = None,
) -> ReadResult:
    """The records of several sources, those with equal prompts joined.

    Every row of every source is looked at before anything is said, so that one error names all
    bad rows. Rows are streamed: in memory are one row, the records, and about 120 bytes for every
    row that was used, by which repeated rows are known.

    Args:
        sources: at least one; an objective that a file does not hold is not scored there.
        objectives: which labels and scores are taken.
        on_bad: ``error`` refuses the data when a row is bad, ``skip`` leaves bad rows out and
            counts them by what was wrong.
        rules: what to do with rows that are readable but of doubtful use.
        budget: bytes that records may take, about; data that need more give a sample of their
            prompts. Every row is checked and counted all the same.
        quarantine: a file for every row that is not used, as it stood, a JSON line each.

    Returns:
        The records, with the account of all rows.

    Raises:
        ConfigError: if a source names an objective that the run does not have.
        DataError: if rows are bad (``on_bad="error"``), a file cannot be read to its end, or no
            row is left; ``problems`` holds every bad row as ``file:line: field: reason``, up to
            :data:`~paretune.data.passes.MAX_PROBLEMS` of each source.
    """
    if on_bad not in ("error", "skip"):
        raise ConfigError(f"on_bad: unknown value {on_bad!r}{nearest(on_bad, ('error', 'skip'))}")
    if not sources:
        raise ConfigError("data: found no source, expected at least one file")
    join = PromptJoin(budget)
    rules = rules or RowRules()

    def leave_out(row: Row, why: Sequence[str]) -> None:
        if quarantine is not None:
            quarantine.write(quarantine_line(row, why))

    passes = [SourcePass(s, wanted(s, objectives), rules, leave_out) for s in sources]
    for one in passes:
        one.run(join)
    problems = tuple(problem for one in passes for problem in one.problems)
    warnings = tuple(warning for one in passes for warning in one.warnings())
    counts = sum((one.counts for one in passes), RowCounts())
    if problems and (on_bad == "error" or any(one.is_broken for one in passes)):
        raise _refusal(passes, problems, warnings)
    records = tuple(join.records())
    if not records:
        raise DataError(_nothing_left(counts, sources), problems)
    warnings += tuple(_uncovered(passes, objectives))
    by_source = tuple((one.source.path, one.counts) for one in passes)
    return ReadResult(records, counts, by_source, problems, warnings, join.share)


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


def _refusal(
    passes: Sequence[SourcePass], problems: Sequence[str], warnings: Sequence[str]
) -> DataError:
    """The error about bad rows, with the account of those that are not refused."""
    names = ", ".join(one.source.path for one in passes if one.problems)
    counts = sum((one.counts for one in passes), RowCounts())
    n_problems = sum(one.n_problems for one in passes)
    left_out = {**counts.skipped, **counts.cut}
    others = [f"{n} {why}" for why, n in left_out.items() if not why.startswith(BAD_ROW)]
    notes = [*warnings, *([f"left out besides: {', '.join(others)}"] if others else [])]
    if not any(one.is_broken for one in passes):
        n_bad = sum(n for why, n in left_out.items() if why.startswith(BAD_ROW))
        notes.append(f"to leave the {n_bad} bad rows out, counted: --set data.on_bad=skip")
    return DataError(f"{names}: {n_problems} problems in {counts.read} rows read", problems, notes)


def _nothing_left(counts: RowCounts, sources: Sequence[DataSource]) -> str:
    names = ", ".join(source.path for source in sources)
    reasons = {**counts.skipped, **counts.cut}
    found = ", ".join(f"{n} {reason}" for reason, n in reasons.items())
    return f"{names}: no row is left of {counts.read} read ({found}), expected at least one"
