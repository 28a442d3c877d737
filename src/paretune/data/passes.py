"""One pass through the rows of one source: use, skip, cut or report each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, final

from paretune.data.counts import RowCounts
from paretune.data.fields import RowCheck, Wanted
from paretune.data.files import read_rows
from paretune.data.formats import detect, marks_text, shape_of
from paretune.data.joining import PromptJoin
from paretune.data.judging import Verdict, judge
from paretune.data.rows import Fault, Row, shown
from paretune.data.shapes import Shape
from paretune.data.sources import DataSource, RowRules

BAD_ROW = "bad row: "
REPEATED = "repeats an earlier row"
MAX_PROBLEMS = 10_000
"""Kept of each source, all are counted: a large file of bad rows must not fill the memory."""
_MAX_NAMES, _MAX_NAME, _MAX_PLACES = 1000, 200, 5
"""Names remembered for messages, their characters, and places of each, for the same reason."""

LeaveOut = Callable[[Row, Sequence[str]], None]
"""Hears of every row that is not used, and why."""


@final
class Sightings:
    """How many rows show each of some things, and where the first of them are."""

    def __init__(self) -> None:
        self._rows: Counter[str] = Counter()
        self._places: dict[str, list[str]] = {}

    def add(self, what: str, where: str) -> None:
        """One more row."""
        if what not in self._places and len(self._places) >= _MAX_NAMES:
            return
        self._rows[what] += 1
        places = self._places.setdefault(what, [])
        if len(places) < _MAX_PLACES:
            places.append(where)

    def found(self) -> list[tuple[str, int, str]]:
        """What was seen, in order, with its number of rows and the first places in words."""
        return [
            (what, n, ", ".join(self._places[what]) + ", ..." * (n > _MAX_PLACES))
            for what, n in sorted(self._rows.items())
        ]


@final
class SourcePass:
    """One way through the rows of one source, with the account of what became of each.

    Args:
        source: where the rows come from.
        wanted: which labels and scores are taken.
        rules: what to do with rows of doubtful use.
        leave_out: hears of every row that is not used.
    """

    def __init__(
        self, source: DataSource, wanted: Wanted, rules: RowRules, leave_out: LeaveOut
    ) -> None:
        self.source, self.wanted, self.rules = source, wanted, rules
        self._leave_out = leave_out
        self.problems: list[str] = []
        self.n_problems = 0
        self.is_broken = False
        self.is_limited = False
        self.names: set[str] = set()
        self._n_read = self._n_used = self._n_truncated = 0
        self._skipped: Counter[str] = Counter()
        self._cut: Counter[str] = Counter()
        self._omitted: Counter[str] = Counter()
        self._unknown, self._notes, self._repeated = Sightings(), Sightings(), Sightings()
        self._shapes: dict[str, Shape] = {}

    @property
    def counts(self) -> RowCounts:
        return RowCounts(
            self._n_read, self._n_used, dict(self._skipped), dict(self._cut), dict(self._omitted)
        )

    def run(self, join: PromptJoin) -> None:
        for row in self._limited(read_rows(self.source)):
            is_row = not any(fault.is_fatal for fault in row.faults)
            self._n_read += is_row
            faults = list(row.faults) or self._read(row, join)
            if faults:
                self._report(f"{row.where}: {fault}" for fault in faults)
                self.is_broken |= not is_row
                self._skipped.update([f"{BAD_ROW}{faults[0].kind}"] * is_row)
                if is_row:
                    self._leave_out(row, [str(fault) for fault in faults])
        if not self._n_read and not self.n_problems:
            self._fail("file: no rows, found an empty file, expected at least one row")
        for objective, name in self.source.labels.items():
            if self._n_used and name not in self.names:
                named = ", ".join(sorted(self.names)) or "none"
                self._fail(
                    f"labels: found no {name!r} in any row for objective {objective!r}, "
                    f"expected one of: {named}"
                )

    def warnings(self) -> Iterator[str]:
        path = self.source.path
        unknown = self._unknown.found()
        for key, n, places in unknown[:20]:
            yield f"{path}: unknown field {shown(key)} in {n} rows, ignored: {places}"
        if len(unknown) > 20:
            yield f"{path}: {len(unknown) - 20} more unknown fields, ignored"
        for note, n, places in self._notes.found():
            yield f"{path}: {note} in {n} rows, kept: {places}"
        for _, n, places in self._repeated.found():
            became = "skipped" if self.rules.repeated == "skip" else "used"
            yield f"{path}: {n} rows repeat an earlier row, {became}: {places}"
        if self._n_truncated:
            limit = self.rules.response_chars
            yield f"{path}: {self._n_truncated} responses shortened to {limit} characters"
        if self.is_limited:
            yield f"{path}: limit of {self.source.limit} rows reached, the rest was not read"

    def covers(self, objective: str) -> bool:
        """True if a row of the source has a label or score of the objective."""
        return {self.wanted.objective or self.wanted.columns[objective]} <= self.names and (
            self.wanted.objective in (None, objective)
        )

    def _limited(self, rows: Iterator[Row]) -> Iterator[Row]:
        for row in rows:
            if self.source.limit is not None and self._n_read >= self.source.limit:
                self.is_limited = True
                return
            yield row

    def _read(self, row: Row, join: PromptJoin) -> list[Fault]:
        """Use, skip or cut a row, or return what is wrong with it."""
        value = _renamed(row.value, self.source.columns)
        shape = self._shape(row.file, value)
        if shape is None:
            keys = ", ".join(shown(key) for key in list(value)[:12]) or "no field"
            detail = f"found {keys}, expected {marks_text()}, or names of columns for them"
            return [Fault("row", "unknown format", detail)]
        check = RowCheck(self.wanted)
        record = shape.parse(value, check)
        if len(self.names) < _MAX_NAMES:
            self.names |= {name for name in check.names if len(name) <= _MAX_NAME}
        for key in value.keys() - shape.marks - shape.known - check.names:
            self._unknown.add(key[:_MAX_NAME], row.where)
        if check.faults:
            return self._named(check.faults)
        verdict = judge(record, self.rules, shape)
        if verdict.faults:
            return self._named(verdict.faults)
        for note in check.notes:
            self._notes.add(note, row.where)
        return self._settle(row, verdict, join)

    def _settle(self, row: Row, verdict: Verdict, join: PromptJoin) -> list[Fault]:
        if verdict.record is None:
            (self._cut if verdict.is_cut else self._skipped)[verdict.reason] += 1
            self._leave_out(row, [verdict.reason])
            return []
        if join.is_repeated(verdict.record):
            self._repeated.add(REPEATED, row.where)
            if self.rules.repeated == "error":
                return [Fault("row", REPEATED, "found it twice, expected distinct rows")]
            if self.rules.repeated == "skip":
                self._skipped[REPEATED] += 1
                self._leave_out(row, [REPEATED])
                return []
        self._omitted.update(verdict.omitted)
        self._n_truncated += verdict.truncated
        self._n_used += 1
        join.add(verdict.record)
        return []

    def _shape(self, file: str, value: Mapping[str, Any]) -> Shape | None:
        """The shape of a file: as asked, or that of its first row that has one."""
        if file not in self._shapes:
            asked = self.source.format
            shape = detect(value) if asked == "auto" else shape_of(asked)
            if shape is None:
                return None
            self._shapes[file] = shape
            if shape.needs_objective and self.wanted.objective is None:
                self._fail(
                    "objective: found none for chosen and rejected replies, expected the "
                    "objective that they were judged on"
                )
        return self._shapes[file]

    def _fail(self, problem: str) -> None:
        self._report([f"{self.source.path}: {problem}"])
        self.is_broken = True

    def _report(self, problems: Iterable[str]) -> None:
        for problem in problems:
            self.n_problems += 1
            if len(self.problems) < MAX_PROBLEMS:
                self.problems.append(problem)

    def _named(self, faults: list[Fault]) -> list[Fault]:
        """Faults with the names of the user's columns."""
        columns = self.source.columns
        if not columns:
            return faults
        named = []
        for fault in faults:
            root = fault.field.split(".")[0].split("[")[0]
            at = columns.get(root, root) + fault.field[len(root) :]
            named.append(Fault(at, fault.kind, fault.detail, fault.is_fatal))
        return named


def _renamed(row: Mapping[str, Any], columns: Mapping[str, str]) -> Mapping[str, Any]:
    """The row with the names of the format instead of the user's columns."""
    if not columns:
        return row
    back = {theirs: ours for ours, theirs in columns.items()}
    kept = {key: value for key, value in row.items() if key not in columns}
    return {back.get(key, key): value for key, value in kept.items()} | {
        ours: row[theirs] for theirs, ours in back.items() if theirs in row
    }
