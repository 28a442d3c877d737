"""Text that others wrote."""

import pytest

from paretune.reporting.plain import one_line, printable


@pytest.mark.parametrize(
    "raw, shown",
    [
        ("\x1b[2J\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;new title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link", "link"),
        ("\x9b31mcsi of one byte", "csi of one byte"),
        ("bell\x07 back\x08 nul\x00 del\x7f", "bell back nul del"),
        ("over\rwritten", "overwritten"),
        ("left \u202eright", "left right"),
        ("half \ud83d sign", "half \ufffd sign"),
        ("kept\n\tlines and ünïcode 字 👍🏽", "kept\n\tlines and ünïcode 字 👍🏽"),
    ],
)
def test_control_characters_are_dropped(raw: str, shown: str) -> None:
    assert printable(raw) == shown
    printable(raw).encode("utf-8")


def test_one_line_is_cut_where_it_ends() -> None:
    assert one_line("abcdef", 6) == "abcdef"
    assert one_line("abcdefg", 6) == "abcde…"
