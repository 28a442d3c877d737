"""What reaches a terminal: no sign that it would obey, and no secret, whoever wrote the text."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from paretune.cli import main as cli
from paretune.cli.console import Console, say_failures, tell, tell_json

ESCAPES = "\x1b[31mred\x1b]0;title\x07\x9b2J\x08\x00\r\u202eabc\u2066"
FORBIDDEN = "\x1b\x07\x9b\x08\x00\r\u202e\u2066"
CANARY = "sk-canary-0123456789abcdef"


def is_safe(text: str) -> bool:
    return not set(FORBIDDEN) & set(text) and CANARY not in text


@pytest.fixture
def run_cli(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., tuple[int, str]]]:
    """Exit code of a command and all that it printed."""
    mask, hook = os.umask(0o022), sys.excepthook

    def run(*words: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["paretune", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        said = capsys.readouterr()
        return int(stop.value.code or 0), said.out + said.err

    yield run
    os.umask(mask)
    sys.excepthook = hook


def config(folder: Path, rows: str, **changes: object) -> Path:
    path = folder / "run.yaml"
    (folder / "rows\x1b[2J.jsonl").write_text(rows)
    values = {
        "name": "r", "objectives": ["wit", "tact"],
        "data": {"path": str(folder / "rows\x1b[2J.jsonl")}, "base": {"build": {}},
        "methods": [{"method": "dpo"}],
        "rewards": {"wit": {"trained": {}}, "tact": {"trained": {}}},
    }  # fmt: skip
    path.write_text(yaml.safe_dump(values | changes))
    return path


PROMPTS = {"prompt": ESCAPES, "response_a": ESCAPES, "response_b": "b", "labels": {ESCAPES: 1}}


@pytest.mark.parametrize("verb", ["check", "run"])
@pytest.mark.parametrize(
    "rows",
    [
        json.dumps({ESCAPES: 1}),
        json.dumps(PROMPTS),
        json.dumps(PROMPTS | {"labels": {"wit": ESCAPES}}),
        json.dumps(PROMPTS | {"labels": {"wit": 1, "tact": -1}, "prompt": [{"role": ESCAPES}]}),
        f'{{"prompt": {ESCAPES}',
    ],
)
def test_rows_of_a_file(
    run_cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str, rows: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, said = run_cli(verb, config(tmp_path, rows))
    assert code == 2 and "rows" in said
    assert is_safe(said), repr(said)


def test_a_configuration_and_its_options(
    run_cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)
    path = config(tmp_path, "", name=ESCAPES, seed=ESCAPES)
    for words in (
        ("check", path),
        ("check", tmp_path / ESCAPES.replace("\x00", "")),
        ("check", path, "--set", f"a.{ESCAPES}=1"),
        ("check", path, "--set", f"name={CANARY}"),
        ("check", path, "--set", f"data.path=https://me:{CANARY}@host/rows"),
        ("check", path, "--set", f"{CANARY}"),
        ("run", path, "--set", f"methods.0.method={CANARY}"),
    ):
        code, said = run_cli(*words)
        assert code == 2 and said.startswith("paretune: "), said
        assert is_safe(said), repr(said)


def test_everything_that_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.say(ESCAPES)
    console.step(ESCAPES, 1, 2)
    say_failures({f"dpo/{ESCAPES}": ESCAPES})
    tell(f"one\ttwo\n{ESCAPES}")
    tell_json({ESCAPES: ESCAPES})
    said = capsys.readouterr()
    assert is_safe(said.out + said.err)
    assert "one\ttwo\nred" in said.out
    assert json.loads(said.out.splitlines()[-1]) == {ESCAPES: ESCAPES}


def test_a_crash_of_ours_is_told_like_everything_else() -> None:
    code = (
        "import sys; from paretune.cli import main as m\n"
        f"def crash(): raise KeyError({ESCAPES!r} + {CANARY[:9]!r} + {CANARY[9:]!r})\n"
        "m.app = lambda: crash()\n"
        "class E(Exception):\n    def __str__(self): return chr(27) + '[31m'\n"
        "if len(sys.argv) > 1:\n    def crash(): raise E\n"
        "m.main()"
    )
    env = {**os.environ, "MY_API_KEY": CANARY}
    for more in ([], ["x"]):
        command = [sys.executable, "-c", code, *more]
        done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
        assert done.returncode == 1 and "Traceback" in done.stderr
        assert is_safe(done.stderr), repr(done.stderr)


@pytest.mark.parametrize("name", ["[red]", "[/nothing]", "[link=x]a"])
def test_a_progress_bar_takes_no_orders(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """rich reads marks of its own in brackets, and refuses an end without a beginning."""
    import io

    out = io.StringIO()
    monkeypatch.setattr(sys, "stderr", out)
    monkeypatch.setattr(out, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    console = Console()
    with console.closing():
        console.watch(0.5, 1, 2, f"dpo/{name}\x1b]0;title\x07")
    assert name in out.getvalue() and "title" not in out.getvalue()
