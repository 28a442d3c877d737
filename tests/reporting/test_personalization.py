"""Tables of personalization."""

from __future__ import annotations

from dataclasses import replace

import pytest

from paretune.core.personalization import CellResult, PersonalizationResult, WinResult
from paretune.core.results import Interval
from paretune.reporting.personalization import (
    COLUMNS,
    cell_table,
    meanings_shown,
    personalization_cells,
    personalization_sentence,
    personalization_table,
    steering_table,
    user_panels,
    user_tables,
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


def test_every_table_has_a_title_and_the_first_one_is_of_pairs() -> None:
    assert [title for title, _ in user_tables([FSPO, BARE])] == [
        "Own pairs", "Seen and new", "Whose reply users like better", "Who wants more gets more"
    ]  # fmt: skip
    assert [title for title, _ in user_tables([BARE])] == ["Own pairs"]
    assert user_tables([]) == []


def test_panels_explain_every_column_and_keep_long_names() -> None:
    long = replace(FSPO, name="a method whose name the terminal has to cut")
    cells, replies, steering = user_panels([long])
    assert [panel.rows[0].name for panel in (cells, steering)] == [long.name] * 2
    assert replies.rows[0].name == f"{long.name} / reference"
    assert (replies.first, cells.first) == ("policy / opponent", "method")
    won = replies.rows[0].cells[0]
    assert (won.text, won.below) == ("0.868", "[0.844, 0.891]")
    assert [cell.text for cell in steering.rows[0].cells] == ["0.91", "–", "0.500", "concise (75%)"]
    assert dict(replies.columns)["helpful"] == COLUMNS["by one objective"]
    assert dict(steering.columns)["concise"] == COLUMNS["steers"]
    assert dict(cells.columns)["seen user, new prompt"] == COLUMNS["seen"]
    assert all(meaning for panel in (cells, replies, steering) for _, meaning in panel.columns)


def test_only_what_is_shown_is_explained() -> None:
    assert list(meanings_shown([BARE])) == ["own pairs"]
    found = meanings_shown([FSPO])
    assert {"own − other", "pairs shown", "/ reference", "missed most"} <= set(found)
    assert "/ described" not in found
