"""Conversations in the form a tokenizer takes, and where its replies begin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from paretune.core.record import Message, Prompt, prompt_json
from paretune.engines.lm.encode import Encoder
from paretune.errors import InputError
from paretune.functional.few_shot_prompt import plain_prompt, without_system
from paretune.safety.templates import render_chat

_UNCUT = 1 << 30


def prompt_for(encoder: Encoder, messages: Sequence[Message]) -> Prompt:
    """A conversation in the form that an encoder's tokenizer takes.

    Messages where the chat template knows system turns; the system turn at the beginning of the
    first user turn where it refuses or loses them; text where there is no template.
    """
    return form_of(encoder)[0](messages)


def keeps_prefix(encoder: Encoder, prompt: Prompt, reply: str) -> bool:
    """Whether the ids of a conversation with its reply begin with the ids of the prompt.

    Templates that strip or add blocks in earlier turns break this. Responses are then encoded by
    themselves with an end token, as :meth:`Encoder.encode_responses` does.
    """
    ids, rest = _whole(encoder, prompt, reply)
    return rest[: len(ids)] == ids


def reply_ids(encoder: Encoder, prompt: Prompt, reply: str) -> list[int]:
    """Ids of a reply to a prompt, with its end token, uncut.

    The whole conversation minus the prompt, where the template :func:`keeps_prefix`; otherwise
    the reply by itself and the end token.
    """
    ids, whole = _whole(encoder, prompt, reply)
    eos = int(encoder.tokenizer.eos_token_id)
    body = whole[len(ids) :] if whole[: len(ids)] == ids else text_ids(encoder, reply)
    return [*(body[: body.index(eos)] if eos in body else body), eos]


def form_of(encoder: Encoder) -> tuple[Callable[[Sequence[Message]], Prompt], Encoder]:
    """What makes a prompt of messages, and an encoder of the same kind that cuts nothing."""
    probe = "probe"
    is_plain = encoder.prompt_text(probe) == probe
    measure = Encoder(encoder.tokenizer, _UNCUT, _UNCUT, plain=is_plain)
    if is_plain:
        return plain_prompt, measure
    try:
        text = encoder.prompt_text((Message("system", probe), Message("user", "question")))
    except InputError:
        return without_system, measure
    return (tuple if probe in text else without_system), measure


def text_ids(encoder: Encoder, text: str) -> list[int]:
    """Ids of a text by itself, no mark added."""
    if not text:
        return []
    out: Any = encoder.tokenizer(text, add_special_tokens=False, return_attention_mask=False)
    return list(out["input_ids"])


def _whole(encoder: Encoder, prompt: Prompt, reply: str) -> tuple[list[int], list[int]]:
    """Ids of a prompt, and of the conversation with the reply in it."""
    measure = form_of(encoder)[1]
    ids = measure.encode_prompts([prompt])[0][0].tolist()
    if isinstance(prompt, str) and encoder.prompt_text(prompt) == prompt:
        joint = measure.encode_prompts([prompt + reply])[0][0].tolist()
        return ids, joint
    turns = prompt_json(prompt)
    messages = [{"role": "user", "content": turns}] if isinstance(turns, str) else turns
    text = render_chat(encoder.tokenizer, [*messages, {"role": "assistant", "content": reply}])
    return ids, text_ids(encoder, text)
