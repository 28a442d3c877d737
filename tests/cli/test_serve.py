"""serve: what it prints leads to the page and to the API, and shows no key that was given."""

from __future__ import annotations

import contextlib
import re
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from paretune.cli.main import app


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What ``paretune serve`` prints, without a model behind it; and the keys of its server."""
    import paretune.pipeline.folder
    import paretune.pipeline.serve
    import paretune.serving.app
    import paretune.serving.connections

    keys: list[str] = []
    service = SimpleNamespace(
        result=SimpleNamespace(name="tiny", objectives=("helpful", "harmless")),
        wishes=SimpleNamespace(default="soups"),
        scheduler=SimpleNamespace(close=lambda seconds: True),
    )
    opened = contextlib.nullcontext(SimpleNamespace(getsockname=lambda: ("", 4321)))
    for module, name, value in (
        (paretune.pipeline.folder, "open_run", lambda run: run),
        (paretune.pipeline.serve, "open_service", lambda *args, **how: service),
        (paretune.serving.app, "build_app", lambda made, key: keys.append(key)),
        (paretune.serving.connections, "open_socket", lambda host, port: opened),
        (paretune.serving.connections, "listening", lambda *args, **how: None),
        (paretune.serving.connections, "run_until_told", lambda *args: None),
    ):
        monkeypatch.setattr(module, name, value)
    monkeypatch.delenv("PARETUNE_API_KEY", raising=False)

    def run(*more: str) -> tuple[str, str]:
        done = CliRunner().invoke(app, ["serve", "runs/tiny", *more])
        assert done.exit_code == 0, done.output
        return done.stdout, keys[-1]

    return run


def test_the_page_opens_with_the_key_that_was_made_up(printed: Any) -> None:
    shown, key = printed()
    assert f"result: http://127.0.0.1:4321/#key={key}\n" in shown
    assert "http://127.0.0.1:4321/v1" in shown and "next:" in shown
    assert re.fullmatch(r"[\w-]{20,}", key) and printed()[1] != key


def test_a_key_that_was_given_is_not_shown(printed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARETUNE_API_KEY", "a-canary-of-the-test")
    shown, key = printed("--host", "::")
    assert key == "a-canary-of-the-test" and key not in shown
    assert "result: http://[::]:4321/   (the page asks for the key)" in shown
