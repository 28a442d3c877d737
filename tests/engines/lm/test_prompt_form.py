"""Conversations in the form a tokenizer takes, and where replies begin."""

from __future__ import annotations

from typing import Any

import pytest

from paretune.bench.handy import Handy
from paretune.core.record import Message
from paretune.core.shots import FewShot
from paretune.core.user import Shot
from paretune.engines.lm.encode import Encoder
from paretune.engines.lm.prompt_form import keeps_prefix, prompt_for, reply_ids
from paretune.functional.few_shot_prompt import few_shot_prompt

CHAT = (
    "{% for m in messages %}{% if m.role == 'system' %}w30 {{ m.content }} "
    "{% elif m.role == 'user' %}<user> {{ m.content }} "
    "{% else %}<bot> {{ m.content }} w39 <eos> {% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<bot> {% endif %}"
)
REFUSING = CHAT.replace("w30 {{ m.content }} ", "{{ raise_exception('no system') }}")
LOSING = CHAT.replace("w30 {{ m.content }} ", "")
# Opens the last turn with a block that it strips from a finished one, as reasoning models do.
THINKING = CHAT.replace("<bot> {% endif %}", "<bot> w31 {% endif %}")
TURNS = (Message("system", "w5"), Message("user", "w6"), Message("assistant", "w7"),
         Message("user", "w8"))  # fmt: skip
FOLDED = (Message("user", "w5\n\nw6"), *TURNS[2:])


@pytest.mark.parametrize(
    ("template", "expected"), [(CHAT, TURNS), (REFUSING, FOLDED), (LOSING, FOLDED)]
)
def test_system_turns_survive_any_template(lab: Any, template: str, expected: Any) -> None:
    encoder = Encoder(lab.tokenizer(template), 64, 64)
    prompt = prompt_for(encoder, TURNS)
    assert prompt == expected
    assert encoder.encode_prompts([prompt])[0].lengths[0] >= 4


def test_without_a_template_a_conversation_is_text(lab: Any) -> None:
    for encoder in (Encoder(lab.tokenizer(), 64, 64), Encoder(lab.tokenizer(CHAT), 64, 64, True)):
        text = prompt_for(encoder, TURNS)
        assert text == "w5\n\nUser:\nw6\n\nAssistant:\nw7\n\nUser:\nw8\n\nAssistant:\n"
        assert keeps_prefix(encoder, text, "w9")


@pytest.mark.parametrize("layout", ["inline", "dialogue"])
@pytest.mark.parametrize("template", [CHAT, REFUSING, None])
def test_a_conversation_begins_with_its_prompt(lab: Any, template: Any, layout: Any) -> None:
    encoder = Encoder(lab.tokenizer(template), 512, 64)
    shots = [Shot("ann", f"w{i}", "w6 w7", "w8") for i in range(10, 14)]
    prompt = prompt_for(encoder, few_shot_prompt(shots, "w9 w10", FewShot(layout=layout)))
    assert keeps_prefix(encoder, prompt, "w11 w12")
    ids = reply_ids(encoder, prompt, "w11 w12")
    assert ids == encoder.encode_responses(["w11 w12"])[0][0].tolist()
    assert ids == ([11, 12, 2] if template is None else [11, 12, 39, 2])


def test_a_template_that_rewrites_the_prompt(lab: Any) -> None:
    """Then a reply is encoded by itself, with the end token."""
    encoder = Encoder(lab.tokenizer(THINKING), 64, 64)
    assert not keeps_prefix(encoder, TURNS, "w11")
    assert reply_ids(encoder, TURNS, "w11") == [11, 2]
    assert encoder.encode_responses(["w11"])[0][0].tolist() == [11, 2]


def test_the_embedded_world_takes_few_shot_prompts() -> None:
    encoder = Encoder(Handy("A").tokenizer(), 128, 60)
    reply = "wipe the lamp ."
    shot = Shot("ann", "how do i clean the lamp ?", reply, "sorry , i can not help with that .")
    for layout in ("inline", "dialogue"):
        turns = few_shot_prompt([shot], "how do i paint the door ?", FewShot(layout=layout))
        prompt = prompt_for(encoder, turns)
        assert isinstance(prompt, tuple) and prompt[0].role == "user"
        assert keeps_prefix(encoder, prompt, reply)
        assert reply_ids(encoder, prompt, reply) == encoder.encode_responses([reply])[0][0].tolist()
        told = encoder.decode([encoder.encode_prompts([prompt])[0][0]])[0]
        assert "how do i clean the lamp ?" in told and reply in told
        assert told.endswith("how do i paint the door ?")
