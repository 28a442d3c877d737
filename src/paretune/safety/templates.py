"""Chat templates are programs that come with a tokenizer: run in a sandbox, for a limited time.

The sandbox is that of transformers: a template reaches no attribute that leads to Python, and
changes nothing that it is given.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator, Mapping, Sequence
from types import FrameType
from typing import Any

from paretune.errors import InputError

SECONDS = 10.0
"""For one conversation; real templates need less than a thousandth of a second."""

LARGEST_TEMPLATE, LARGEST_TEXT = 1 << 20, 1 << 26
"""Characters of a template, and of what it makes of a conversation."""


def render_chat(
    tokenizer: Any, messages: Sequence[Mapping[str, Any]], *, add_generation_prompt: bool = False
) -> str:
    """A conversation as the text that the template of a tokenizer makes of it.

    The time is limited in the main thread only, where Python delivers signals; tasks run there.

    Args:
        tokenizer: of Hugging Face, with a chat template.
        messages: turns with ``role`` and ``content``.
        add_generation_prompt: end with what opens a reply.

    Raises:
        InputError: if the template refuses the conversation, is no template, takes too long or
            makes too much of it.
    """
    template = getattr(tokenizer, "chat_template", None)
    if isinstance(template, str) and len(template) > LARGEST_TEMPLATE:
        raise InputError(
            f"chat template: found {len(template):,} characters, expected at most "
            f"{LARGEST_TEMPLATE:,}"
        )
    try:
        with _limited(SECONDS):
            text = tokenizer.apply_chat_template(
                list(messages), tokenize=False, add_generation_prompt=add_generation_prompt
            )
    except _TooSlow as error:
        raise InputError(
            f"chat template: found no text after {SECONDS:g} s, expected one at once: it may be "
            "made to never end"
        ) from error
    except Exception as error:
        # Whatever a template raises is about the template or the conversation.
        raise InputError(
            f"chat template: found {type(error).__name__} ({str(error)[:200]}), expected a "
            f"template that takes the turns {', '.join(str(m.get('role')) for m in messages)}"
        ) from error
    if len(text) > LARGEST_TEXT:
        raise InputError(
            f"chat template: found {len(text):,} characters made of one conversation, expected at "
            f"most {LARGEST_TEXT:,}"
        )
    return str(text)


class _TooSlow(BaseException):
    """Not an ``Exception``: no filter of a template swallows it."""


@contextlib.contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """End the block with :class:`_TooSlow` when the time is over."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise _TooSlow

    try:
        old = signal.signal(signal.SIGALRM, stop)
    except ValueError:  # not the main thread
        yield
        return
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
