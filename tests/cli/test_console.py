"""What verbs print about results."""

from __future__ import annotations

from paretune.cli.console import show_users
from paretune.core.personalization import PersonalizationResult
from paretune.core.results import Interval, RunResult

OWN, OTHER = Interval(0.9, 0.85, 0.95), Interval(0.7, 0.6, 0.8)


def result(*found: PersonalizationResult) -> RunResult:
    return RunResult(
        "mine", ("a", "b"), (0.0, 0.0), (1.0, 1.0), "declared", None, (), personalization=found
    )


def test_users_are_shown_in_words_and_tables(capsys) -> None:
    gap = Interval(0.2, 0.1, 0.3)
    show_users(result(PersonalizationResult("fspo", ("a", "b"), 40, OWN, OTHER, gap)))
    out = capsys.readouterr().out
    assert "fspo: shown their own pairs, it prefers what 40 new users prefer in 90% of cases" in out
    assert "mine: users: own pairs" in out
    assert "| fspo   | 0.900 [0.850, 0.950] | 0.700 [0.600, 0.800] | +0.200 [0.100, 0.300] |" in out


def test_nothing_is_said_where_nobody_was_asked(capsys) -> None:
    show_users(result())
    assert capsys.readouterr().out == ""
