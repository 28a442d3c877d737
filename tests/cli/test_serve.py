"""serve: what it prints leads to the page and to the API, and shows no key that was given."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
from pathlib import Path
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


@pytest.mark.parametrize(
    "key", [" ", "canary ", "\tcanary", "can ary", "canäry", "canary\x7f", "🔑"]
)
def test_a_key_that_no_client_can_send_is_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("PARETUNE_API_KEY", key)
    done = CliRunner().invoke(app, ["serve", "nowhere"])
    told = str(done.exception)
    assert told.startswith("PARETUNE_API_KEY: found a blank, or a sign"), told
    assert "canary" not in told


@pytest.mark.parametrize("key", ["a-canary-of-the-test", ""])
def test_the_line_that_is_printed_asks_with_the_key(
    printed: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, key: str
) -> None:
    if key:
        monkeypatch.setenv("PARETUNE_API_KEY", key)
    shown, used = printed(*(["--host", "::"] if key else []))
    (line,) = (line for line in shown.splitlines() if "curl " in line)
    curl = tmp_path / "curl"  # in place of the real one: tells what the shell made of the line
    curl.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    curl.chmod(0o700)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-c", line.strip()], env=os.environ | {"PATH": path}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    words = done.stdout.splitlines()
    assert f"Authorization: Bearer {key or used}" in words
    at = "[::]" if key else "127.0.0.1"
    assert f"http://{at}:4321/v1/completions" in words
    body = {"model": "tiny", "prompt": "...", "preference": {"helpful": 1}}
    assert json.loads(words[words.index("-d") + 1]) == body
