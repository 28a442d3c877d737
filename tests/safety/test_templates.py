"""Chat templates in a sandbox: what they may do, for how long, and how their faults are told."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from paretune.errors import InputError
from paretune.safety import templates
from paretune.safety.templates import render_chat

TURNS = [{"role": "user", "content": "hello"}]
PLAIN = "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{% endfor %}"


class Tokenizer(PreTrainedTokenizerBase):
    """The chat part of a tokenizer."""

    def __init__(self, template: str) -> None:
        super().__init__()
        self.chat_template = template


def render(template: str, **options: Any) -> str:
    return render_chat(Tokenizer(template), TURNS, **options)


def test_a_conversation_becomes_text() -> None:
    assert render(PLAIN) == "[user]hello"
    opened = PLAIN + "{% if add_generation_prompt %}[bot]{% endif %}"
    assert render(opened) == "[user]hello"
    assert render(opened, add_generation_prompt=True) == "[user]hello[bot]"


@pytest.mark.parametrize(
    "template",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% for a in range(99999) %}{% set b = range(99999) | sum %}{% endfor %}",
    ],
)
def test_a_template_that_does_not_end_is_ended(
    monkeypatch: pytest.MonkeyPatch, template: str
) -> None:
    monkeypatch.setattr(templates, "SECONDS", 0.2)
    before = signal.getsignal(signal.SIGALRM)
    started = time.monotonic()
    with pytest.raises(InputError, match=r"chat template: found no text after 0\.2 s"):
        render(template)
    assert time.monotonic() - started < 5
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    assert signal.getsignal(signal.SIGALRM) is before


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{% for i in range(10**9) %}x{% endfor %}", "OverflowError"),
        ("{{ raise_exception('no system turn') }}", "TemplateError .no system turn."),
        ("{{ messages[", "TemplateSyntaxError"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "SecurityError"),
        ("{{ messages.append(1) }}", "SecurityError"),
        ("{{ nothing.at_all }}", "UndefinedError"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "RecursionError"),
    ],
)
def test_what_a_template_may_not_do_is_an_error_of_the_input(template: str, message: str) -> None:
    with pytest.raises(InputError, match=f"chat template: found {message}.*takes the turns user"):
        render(template)


def test_sizes_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "LARGEST_TEXT", 100)
    assert render("{{ 'a' * 100 }}") == "a" * 100
    with pytest.raises(InputError, match="found 101 characters made of one conversation"):
        render("{{ 'a' * 101 }}")
    monkeypatch.setattr(templates, "LARGEST_TEMPLATE", len(PLAIN))
    assert render(PLAIN)
    with pytest.raises(InputError, match=f"found {len(PLAIN) + 1} characters, expected at most"):
        render(PLAIN + " ")


def test_the_alarm_of_others_comes_back() -> None:
    def mine(*_: object) -> None:
        raise AssertionError

    old = signal.signal(signal.SIGALRM, mine)
    try:
        render(PLAIN)
        assert signal.getsignal(signal.SIGALRM) is mine
    finally:
        signal.signal(signal.SIGALRM, old)


def test_other_threads_render_too() -> None:
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(render(PLAIN)))
    thread.start()
    thread.join(10)
    assert found == ["[user]hello"]


def test_a_stop_goes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal that ends the process is no fault of the template."""

    class Stop(BaseException): ...

    def stop(*_: object) -> None:
        raise Stop

    old = signal.signal(signal.SIGUSR2, stop)
    timer = threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGUSR2))
    try:
        timer.start()
        with pytest.raises(Stop):
            render("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}")
    finally:
        signal.signal(signal.SIGUSR2, old)
        timer.join()
