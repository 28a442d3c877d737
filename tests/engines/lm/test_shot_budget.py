"""What fits a prompt: whole shots are dropped, the oldest first; the query is never cut."""

from __future__ import annotations

from typing import Any

import pytest

from paretune.core.objective import Objectives
from paretune.core.record import Message, Prompt
from paretune.core.shots import FewShot
from paretune.core.tradeoff import TradeOff
from paretune.core.user import Shot, User
from paretune.engines.lm.encode import Encoder
from paretune.engines.lm.shot_budget import Asked, fit_shots, rows_of
from paretune.functional.few_shot_prompt import INSTRUCTION

CHAT = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ m.content }} {% elif m.role == 'user' %}"
    "<user> {{ m.content }} {% else %}<bot> {{ m.content }} <eos> {% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<bot>{% endif %}"
)
NAMES = Objectives.of("good", "short")
USER = User("ann", TradeOff((0.5, 0.5)))


def words(n: int) -> str:
    return " ".join(["w9"] * n)


def shots(n: int, size: int) -> tuple[Shot, ...]:
    """Shots whose blocks have ``size`` words, numbered by the first word of their prompt."""
    # 3 words of '## Example i', 2 + 3 + 3 of the headings.
    return tuple(Shot("ann", f"w{10 + i}", "w6", words(size - 13)) for i in range(n))


def texts(prompt: Prompt | None) -> str:
    assert prompt is not None
    return prompt if isinstance(prompt, str) else "\n".join(m.content for m in prompt)


# 999 tokens with eight shots of 116: 71 for everything else, 57 of them without the instruction.
QUERY = words(71 - len(INSTRUCTION.split()) - 9 - 2 - 2)


@pytest.mark.parametrize(("budget", "kept"), [(999, 8), (998, 7), (700, 5), (300, 1), (60, 0)])
def test_whole_shots_are_dropped_the_oldest_first(lab: Any, budget: int, kept: int) -> None:
    encoder = Encoder(lab.tokenizer(CHAT), 4096, 64)
    asked = [Asked(USER, QUERY, shots(8, 116))]
    whole = fit_shots(encoder, asked, FewShot(), NAMES)
    assert len(whole.ids[0]) == 999 and whole.kept.tolist() == [8]

    found = fit_shots(encoder, asked, FewShot(max_prompt_tokens=budget), NAMES)
    assert found.kept.tolist() == [kept]
    assert len(found.ids[0]) == (71 + 116 * kept if kept else 71 - len(INSTRUCTION.split()))
    text = texts(found.prompts[0])
    assert text.endswith(f"### Question\n{QUERY}"), "the query is always last, and whole"
    shown = [i for i in range(8) if f"### Question\nw{10 + i}\n" in text]
    assert shown == list(range(8 - kept, 8))
    assert text.count("### Other response") == kept == text.count(words(103))
    assert text.count(INSTRUCTION) == (kept > 0)
    assert rows_of(encoder.encode_prompts([found.prompts[0]])[0])[0].tolist() == (
        found.ids[0].tolist()
    )


def test_a_query_that_is_too_long_alone_is_left_out(lab: Any) -> None:
    encoder = Encoder(lab.tokenizer(CHAT), 4096, 64)
    asked = [Asked(USER, words(90), shots(2, 20)), Asked(USER, "w9", shots(2, 20))]
    found = fit_shots(encoder, asked, FewShot(max_prompt_tokens=80), NAMES)
    assert found.prompts[0] is None and len(found.ids[0]) == 0
    assert found.kept.tolist() == [0, 2]


def test_the_encoder_bounds_the_budget_as_well(lab: Any) -> None:
    asked = [Asked(USER, "w9", shots(8, 50))]
    found = fit_shots(Encoder(lab.tokenizer(CHAT), 150, 64), asked, FewShot(), NAMES)
    assert found.kept.tolist() == [2] and len(found.ids[0]) <= 150


@pytest.mark.parametrize("layout", ["inline", "dialogue"])
@pytest.mark.parametrize("template", [CHAT, None])
def test_no_shot_is_dropped_that_fits(lab: Any, layout: str, template: str | None) -> None:
    """Every budget: what was kept fits, and one more would not."""
    encoder = Encoder(lab.tokenizer(template), 4096, 64)
    asked = [Asked(USER, "w9 w8", tuple(s for n in (14, 40, 22, 90) for s in shots(1, n)))]
    sizes = [
        len(fit_shots(encoder, [Asked(USER, "w9 w8", asked[0].shots[4 - k :])],
                      FewShot(layout=layout), NAMES).ids[0])
        for k in range(5)
    ]  # fmt: skip
    for budget in range(sizes[0], sizes[4] + 2, 3):
        settings = FewShot(layout=layout, max_prompt_tokens=budget)  # type: ignore[arg-type]
        found = fit_shots(encoder, asked, settings, NAMES)
        assert found.kept[0] == max(k for k in range(5) if sizes[k] <= budget)


def test_weights_and_descriptions_count(lab: Any) -> None:
    settings = FewShot(shows_weights=True, description="given", max_prompt_tokens=60)
    encoder = Encoder(lab.tokenizer(CHAT), 4096, 64)
    told = User("ann", TradeOff((1.0, 0.0)), description=words(12))
    asked = [Asked(told, "w9", shots(1, 20)), Asked(USER, "w9", shots(1, 20))]
    found = fit_shots(encoder, asked, settings, NAMES)
    system = found.prompts[0][0]  # type: ignore[index]
    assert isinstance(system, Message)
    assert "good 1.00, short 0.00" in system.content and words(12) in system.content
    assert "good and short alike" in found.prompts[1][0].content  # type: ignore[index, union-attr]
    assert found.kept.tolist() == [0, 0] and max(map(len, rows_of(found.ids))) <= 60
