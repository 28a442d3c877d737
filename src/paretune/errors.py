"""The errors of paretune.

::

    ParetuneError
    ├── InputError (ValueError)        bad input: exit code 2
    │   ├── ConfigError                a run.yaml or an option
    │   ├── DataError                  rows of a data file; carries every problem found
    │   ├── ScoringError               a scorer failed on a response; carries its row
    │   ├── InfeasibleError            floors that no policy meets; carries the verdict
    │   ├── BusyError                  another process is at work where this one should
    │   ├── ShapeError                 an array of the wrong shape
    │   └── NotScoredError             a computation met an unscored (NaN) cell
    ├── RunError (RuntimeError)        a run went wrong: exit code 1
    │   └── AllFailedError             every method of a run failed
    └── Interrupted                    stopped on request, resumable: exit code 75

A message has four parts: what is wrong, what was found, what was expected, where.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any


class ParetuneError(Exception):
    """Root of every error raised on purpose."""

    exit_code = 1


class InputError(ParetuneError, ValueError):
    """The user gave something that cannot be used."""

    exit_code = 2


class ConfigError(InputError):
    """A configuration key, value or option is wrong."""


class DataError(InputError):
    """Rows of a data file are wrong.

    Args:
        message: what is wrong in one line.
        problems: every problem as ``file:line: field: reason``, in file order; all are kept in
            ``problems``, the first :attr:`shown` are part of the text.
        notes: what else there is to know, at the end of the text.
    """

    shown = 100

    def __init__(
        self, message: str, problems: Sequence[str] = (), notes: Sequence[str] = ()
    ) -> None:
        self.problems, self.notes = tuple(problems), tuple(notes)
        lines = [message, *(f"  {p}" for p in self.problems[: self.shown])]
        if len(self.problems) > self.shown:
            lines.append(f"  and {len(self.problems) - self.shown} more")
        super().__init__("\n".join([*lines, *(f"  note: {note}" for note in self.notes)]))


class ScoringError(InputError):
    """A scorer failed on a response.

    Args:
        scorer: which scorer, as the user named it.
        row: index of the response that was being scored; ``None`` when a batch failed as a whole.
        reason: what was found and what was expected.
    """

    def __init__(self, scorer: str, row: int | None, reason: str) -> None:
        self.scorer, self.row, self.reason = scorer, row, reason
        place = scorer if row is None else f"{scorer}, row {row}"
        super().__init__(f"{place}: {reason}")


class InfeasibleError(InputError):
    """Floors that no policy meets.

    Args:
        message: which floors, and what can be reached instead.
        verdict: what :func:`paretune.functional.feasibility.check_floors` found; callers that know
            the names of the objectives say it again with them.
    """

    def __init__(self, message: str, verdict: Any = None) -> None:
        self.verdict = verdict
        super().__init__(message)


class BusyError(InputError):
    """Another process is at work in a folder that has one writer."""


class ShapeError(InputError):
    """An array has the wrong shape."""


class NotScoredError(InputError):
    """A computation needs a reward that was never measured."""


class RunError(ParetuneError, RuntimeError):
    """A run failed for a reason that is not the user's input."""


class AllFailedError(RunError):
    """Every method of a run failed, so that nothing is left to measure."""


class Interrupted(ParetuneError):
    """The run was asked to stop and can be resumed by the same command."""

    exit_code = 75


def nearest(name: str, known: Iterable[str]) -> str:
    """End of a message about an unknown name: the nearest known one, and all of them."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return f"{hint}; known: {', '.join(names) or 'none'}"
