"""Tables of personalization."""

from __future__ import annotations

from dataclasses import replace

import pytest

from paretune.core.personalization import CellResult, PersonalizationResult, WinResult
from paretune.core.results import Interval
from paretune.reporting.personalization import (
    cell_table,
    personalization_cells,
    personalization_sentence,
    personalization_table,
    steering_table,
    win_table,
)

OWN, OTHER, GAP = (
    Interval(0.868, 0.844, 0.891),
    Interval(0.75, 0.721, 0.78),
    Interval(0.118, 0.08, 0.15),
)
FSPO = PersonalizationResult(
    "fspo", ("helpful", "concise"), 100, OWN, OTHER, GAP, {0: OTHER, 8: OWN},
    (CellResult(True, True, OWN, 100, 800), CellResult(False, True, OTHER, 400, 90)),
    (WinResult("reference", OWN, (OTHER, OWN), "users", 100, 800),),
    (0.91, None), Interval(0.5, 0.4, 0.6), (0.25, 0.75), ("Judged by programs.",),
)  # fmt: skip
BARE = PersonalizationResult("dpo", ("helpful", "concise"), 100, OTHER)


def test_a_row_a_method() -> None:
    table = personalization_table([FSPO, BARE])
    assert table.columns == ("method", "own pairs", "other's pairs", "own − other", "0 pairs",
                             "8 pairs")  # fmt: skip
    assert table.rows == (
        ("fspo", "0.868 [0.844, 0.891]", "0.750 [0.721, 0.780]", "+0.118 [0.080, 0.150]",
         "0.750", "0.868"),
        ("dpo", "0.750 [0.721, 0.780]", "–", "–", "–", "–"),
    )  # fmt: skip
    assert table.notes == ("Judged by programs.",)
    lines = table.markdown().splitlines()[:4]
    assert {len(line) for line in lines} == {len(lines[0])} and len(lines[0]) <= 120
    assert personalization_table([BARE]).columns == ("method", "own pairs")


def test_cells_of_the_page_say_the_same() -> None:
    columns, rows = personalization_cells([FSPO, BARE])
    assert columns == ["own pairs", "other's pairs", "own − other", "0 pairs", "8 pairs"]
    own, other, gap = rows[0].cells[:3]
    assert (own.text, own.below, own.is_best) == ("0.868", "[0.844, 0.891]", True)
    assert own.bar is not None
    assert (own.bar.value, own.bar.low, own.bar.width) == (86.8, 84.4, 4.7)
    assert (gap.text, gap.bar, gap.is_best) == ("+0.118", None, True)
    assert not other.is_best and not rows[1].cells[0].is_best
    assert [cell.text for cell in rows[1].cells[1:]] == ["–"] * 4
    # A gain that the draw of users may explain is no best one.
    lucky = replace(FSPO, gap=Interval(0.118, -0.01, 0.2))
    assert not personalization_cells([lucky])[1][0].cells[2].is_best


def test_four_cells_wins_and_steering() -> None:
    cells = cell_table([FSPO, BARE])
    assert cells is not None
    assert cells.columns == ("method", "new user, new prompt", "seen user, new prompt")
    assert cells.rows == (("fspo", "0.868 [0.844, 0.891]", "0.750 [0.721, 0.780]"),)
    wins = win_table([FSPO, BARE])
    assert wins is not None and wins.columns == ("policy / opponent", "wins", "helpful", "concise")
    assert wins.rows == (("fspo / reference", "0.868 [0.844, 0.891]", "0.750", "0.868"),)
    steering = steering_table([FSPO, BARE])
    assert steering is not None
    assert steering.rows == (("fspo", "0.91", "–", "0.500 [0.400, 0.600]", "concise (75%)"),)
    for table in (cell_table, win_table, steering_table):
        assert table([BARE]) is None and table([]) is None


@pytest.mark.parametrize(
    ("gap", "end"),
    [
        (GAP, "shown somebody else's in 75%: +12 points for knowing who asks."),
        (Interval(0.02, -0.01, 0.05), ": +2 points, which the draw of users may explain."),
        (Interval(-0.05, -0.1, -0.01), ": -5 points, so that a user's own pairs mislead it."),
    ],
)
def test_the_finding_in_a_sentence(gap: Interval, end: str) -> None:
    said = personalization_sentence(replace(FSPO, gap=gap))
    assert said.startswith(
        "fspo: shown their own pairs, it prefers what 100 new users prefer in 87%"
    )
    assert said.endswith(end)
    assert personalization_sentence(BARE).endswith("so that this may be common taste.")


def test_a_name_cannot_break_the_table() -> None:
    hostile = replace(FSPO, name="\x1b[31ma|b\n<img>")
    text = personalization_table([hostile]).markdown()
    assert "\x1b" not in text and r"a\|b \<img\>" in text
