"""The errors of paretune.

::

    ParetuneError
    ├── InputError (ValueError)        bad input: exit code 2
    │   ├── ConfigError                a run.yaml or an option
    │   ├── DataError                  rows of a data file; carries every problem found
    │   ├── ShapeError                 an array of the wrong shape
    │   └── NotScoredError             a computation met an unscored (NaN) cell
    ├── RunError (RuntimeError)        a run went wrong: exit code 1
    └── Interrupted                    stopped on request, resumable: exit code 75

A message has four parts: what is wrong, what was found, what was expected, where.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


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
        problems: every problem as ``file:line: field: reason``, in file order.
    """

    def __init__(self, message: str, problems: Sequence[str] = ()) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join([message, *(f"  {p}" for p in self.problems)]))


class ShapeError(InputError):
    """An array has the wrong shape."""


class NotScoredError(InputError):
    """A computation needs a reward that was never measured."""


class RunError(ParetuneError, RuntimeError):
    """A run failed for a reason that is not the user's input."""


class Interrupted(ParetuneError):
    """The run was asked to stop and can be resumed by the same command."""

    exit_code = 75


def nearest(name: str, known: Iterable[str]) -> str:
    """End of a message about an unknown name: the nearest known one, and all of them."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    return f"{hint}; known: {', '.join(names) or 'none'}"
