from __future__ import annotations

import pytest

from paretune.core.objective import Objectives
from paretune.core.record import Message
from paretune.core.shots import FewShot
from paretune.core.tradeoff import TradeOff
from paretune.core.user import Shot
from paretune.errors import ConfigError, InputError, ShapeError
from paretune.functional.few_shot_prompt import (
    GENERATE,
    INSTRUCTION,
    ROLE,
    description_prefix,
    few_shot_prompt,
    plain_prompt,
    split_generated,
    weights_line,
    without_system,
)

SHOTS = tuple(Shot("ann", f"q{i}", f"good{i}", f"bad{i}") for i in range(3))
TWO = Objectives.of("helpful", "short_form")


def test_inline_ends_with_the_question() -> None:
    system, turn = few_shot_prompt(SHOTS[:2], "why?", FewShot())
    assert system == Message("system", ROLE) and turn.role == "user"
    assert turn.content == (
        "## Example 1\n### Question\nq0\n### Preferred response\ngood0\n### Other response\nbad0"
        "\n\n## Example 2\n### Question\nq1\n### Preferred response\ngood1\n### Other response\n"
        f"bad1\n\n{INSTRUCTION}\n\n### Question\nwhy?"
    )


def test_without_shots_there_is_no_instruction() -> None:
    assert few_shot_prompt((), "why?", FewShot())[-1].content == "### Question\nwhy?"


def test_as_a_dialogue_the_user_asks_and_is_answered() -> None:
    found = few_shot_prompt(SHOTS[:2], "why?", FewShot(layout="dialogue"))
    assert [m.role for m in found] == ["system", "user", "assistant", "user", "assistant", "user"]
    assert [m.content for m in found[1:]] == ["q0", "good0", "q1", "good1", "why?"]
    assert not any("bad" in m.content for m in found)


@pytest.mark.parametrize("layout", ["inline", "dialogue"])
def test_turns_of_the_query_are_kept(layout: str) -> None:
    query = (
        Message("system", "Be kind."), Message("user", "hi"), Message("assistant", "hello"),
        Message("user", "why?"),
    )  # fmt: skip
    found = few_shot_prompt(SHOTS[:1], query, FewShot(layout=layout))  # type: ignore[arg-type]
    assert found[0] == Message("system", f"{ROLE}\n\nBe kind.")
    assert found[-3:-1] == query[1:3]
    assert found[-1].content.endswith("why?")
    assert sum(m.role == "system" for m in found) == 1


def test_a_query_must_end_with_the_user() -> None:
    for query in ((Message("user", "a"), Message("assistant", "b")), ()):
        with pytest.raises(InputError, match="expected one of the user"):
            few_shot_prompt((), query, FewShot())


def test_shots_with_turns() -> None:
    turns = (Message("system", "s"), Message("user", "a"), Message("assistant", "b"),
             Message("user", "c"))  # fmt: skip
    shot = Shot("ann", turns, "good", "bad")
    inline = few_shot_prompt([shot], "why?", FewShot())[-1].content
    assert "### Question\nUser: a\nAssistant: b\nUser: c\n### Preferred response" in inline
    dialogue = few_shot_prompt([shot], "why?", FewShot(layout="dialogue"))
    assert [m.content for m in dialogue[1:]] == ["a", "b", "c", "good", "why?"]
    single = Shot("ann", (Message("user", "a"),), "good", "bad")
    assert "### Question\na\n" in few_shot_prompt([single], "why?", FewShot())[-1].content


class TestSystem:
    tradeoff = TradeOff((0.674, 0.326))

    def test_weights_and_description(self) -> None:
        settings = FewShot(shows_weights=True, description="given")
        found = few_shot_prompt((), "why?", settings, TWO, self.tradeoff, "Likes it short.")
        line = "What counts for this user: helpful 0.65, short form 0.35."
        assert found[0].content == f"{ROLE}\n{line}\nLikes it short."

    def test_nothing_is_shown_unasked(self) -> None:
        found = few_shot_prompt((), "why?", FewShot(), TWO, self.tradeoff, "Likes it short.")
        assert found[0].content == ROLE

    def test_who_writes_the_description(self) -> None:
        generate = FewShot(description="generate")
        assert few_shot_prompt((), "why?", generate)[0].content == f"{ROLE}\n{GENERATE}"

    def test_what_is_missing_is_refused(self) -> None:
        with pytest.raises(ConfigError, match="no weights to show"):
            few_shot_prompt((), "why?", FewShot(shows_weights=True), TWO)
        with pytest.raises(ConfigError, match="no description to give"):
            few_shot_prompt((), "why?", FewShot(description="given"))
        with pytest.raises(ShapeError, match="found 3, expected 2"):
            weights_line(TradeOff((0.5, 0.25, 0.25)), TWO)


def test_a_template_without_system_turns() -> None:
    turns = [Message("system", "s"), Message("user", "a"), Message("assistant", "b"),
             Message("user", "c")]  # fmt: skip
    found = without_system(turns)
    assert [m.content for m in found] == ["s\n\na", "b", "c"]
    assert [m.role for m in found] == ["user", "assistant", "user"]
    assert len(turns) == 4 and turns[1].content == "a", "the given turns are not changed"


def test_plain_text_goes_on_where_the_reply_begins() -> None:
    text = plain_prompt(few_shot_prompt(SHOTS[:1], "why?", FewShot(layout="dialogue")))
    assert text == f"{ROLE}\n\nUser:\nq0\n\nAssistant:\ngood0\n\nUser:\nwhy?\n\nAssistant:\n"


class TestGenerated:
    def test_there_and_back(self) -> None:
        reply = description_prefix("Likes it\nshort.") + " Yes.\nResponse: not this one."
        assert split_generated(reply) == ("Likes it short.", "Yes.\nResponse: not this one.")

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("User description: a.\n\n  Response:\nYes.", ("a.", "Yes.")),
            ("User description: a. Response: Yes.", ("a.", "Yes.")),
            ("User description: a and b", ("a and b", "")),
            ("Response: Yes.", (None, "Yes.")),
            ("Yes.\nResponse: that is my answer.", (None, "Yes.\nResponse: that is my answer.")),
            ("  Yes. ", (None, "Yes.")),
            ("", (None, "")),
        ],
    )
    def test_what_policies_write(self, text: str, expected: tuple[str | None, str]) -> None:
        assert split_generated(text) == expected
