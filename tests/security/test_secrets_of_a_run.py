"""Canaries in the environment, at a judge and on the command line: no file and no line has them."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from paretune.errors import ConfigError, InputError, ScoringError
from paretune.pipeline.config import load_config
from paretune.scoring.function import FunctionScorer

SECRETS = {
    "HF_TOKEN": "hf_canary0123456789abcdef",
    "OPENAI_API_KEY": "sk-canary-0123456789abcdef",
    "JUDGE_KEY": "canary+judge/0123456789==",
    "WANDB_API_KEY": "canary-wandb-0123456789",
}
MAIN = "from paretune.cli.main import main; main()"


def command(verb: str, folder: Path, *more: str) -> Any:
    words = [sys.executable, "-c", MAIN, verb, str(folder / "run.yaml"), *more]
    env = {**os.environ, **SECRETS, "OMP_NUM_THREADS": "1"}
    return subprocess.run(words, env=env, capture_output=True, text=True, cwd=folder, check=False)


def config(folder: Path, **judge: Any) -> Path:
    """A run of seconds on data of its own, judged where a judge is given."""
    (folder / "f.py").write_text("def f(prompt, response):\n    return len(response)\n")
    (folder / "g.py").write_text("def g(prompt, response):\n    return -response.count('a')\n")
    rows = (
        {"prompt": f"Say {i}:", "response_a": "a" * (i % 5), "response_b": "a b c d e"[i % 4 :]}
        for i in range(1, 30)
        if i % 5
    )
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = {"path": "rows.jsonl", "test_share": 0.3} | ({"judge": judge} if judge else {})
    build = {"hidden": 8, "layers": 1, "heads": 2, "feed_forward": 8, "vocabulary": 260}
    values = {
        "name": "r",
        "objectives": ["wit", "tact"],
        "data": data,
        "base": {"build": build, "train": {"steps": 1}},
        "rewards": {"wit": {"function": "f.py:f"}, "tact": {"function": "g.py:g"}},
        "tradeoffs": {"grid": 1},
        "methods": [{"method": "rewarded_soups"}],
        "train": {"steps": 1, "batch_size": 4},
        "generate": {"max_new_tokens": 4},
        "evaluate": {"resamples": 100, "samples": 1},
        "workers": 1,
    }
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def secrets_in(text: str | bytes) -> list[str]:
    content = text.encode() if isinstance(text, str) else text
    return [name for name, value in SECRETS.items() if value.encode() in content]


def longer_is_better(question: dict[str, Any], n: int) -> str:
    """A judge of its own mind, the same in both orders."""
    text = question["messages"][0]["content"]
    first, second = re.findall(r" response [AB] begins\]\n(.*?)\n\[", text, re.S)
    return f'{{"score": {max(-3, min(3, len(first) - len(second)))}}}'


@pytest.mark.parametrize("verb", ["data", pytest.param("run", marks=pytest.mark.slow)])
def test_a_run_keeps_them_and_belongs_to_its_user(
    tmp_path: Path, judge_server: Any, verb: str
) -> None:
    judge_server.answer = longer_is_better
    config(tmp_path, base_url=judge_server.url, model="m", key_env="JUDGE_KEY")
    done = command(verb, tmp_path, "--set", "seed=1")
    assert done.returncode == 0, done.stderr
    assert judge_server.keys == {f"Bearer {SECRETS['JUDGE_KEY']}"}
    assert not secrets_in(done.stdout + done.stderr)
    written = list((tmp_path / "runs").rglob("*"))
    expected = {"run.json", "run.yaml", "status.json", "judge.jsonl"}
    expected |= {"front.json", "report.html", "README.md"} if verb == "run" else set()
    assert expected <= {f.name for f in written}
    for path in written:
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path
        assert path.is_dir() or not secrets_in(path.read_bytes()), path


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize(
    "option",
    [
        "name={}", "data.judge.model={}", "data.judge.base_url=http://me:{}@127.0.0.1/v1",
        "data.judge.base_url=http://127.0.0.1/v1?key={}", "data.judge.key_env={}",
        "data.judge.api_key={}", "data.path=https://host/rows?token={}", "base.path=a/{}", "{}",
        "{}=1", "methods.0.label={}", "methods.0.{}=1", "seed={}",
    ],
)  # fmt: skip
def test_none_is_taken_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, option: str
) -> None:
    for variable, value in SECRETS.items():
        monkeypatch.setenv(variable, value)
    path = config(tmp_path)
    with pytest.raises(ConfigError) as caught:
        load_config(path, [option.format(SECRETS[name])])
    if option not in ("{}", "{}=1"):  # told through the command line, which hides them
        assert not secrets_in(str(caught.value))


def test_a_refused_command_leaves_nothing_behind(tmp_path: Path) -> None:
    config(tmp_path)
    done = command("run", tmp_path, "--set", f"data.judge.model={SECRETS['HF_TOKEN']}")
    assert done.returncode == 2 and "HF_TOKEN holds" in done.stderr
    assert not secrets_in(done.stdout + done.stderr)
    assert {f.name for f in tmp_path.iterdir()} == {"run.yaml", "rows.jsonl", "f.py", "g.py"}


def test_what_a_reward_says_of_its_own_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client library may repeat its key or its address in an error."""
    monkeypatch.setenv("OPENAI_API_KEY", SECRETS["OPENAI_API_KEY"])
    file = tmp_path / "mine.py"
    file.write_text(
        "import os\nKEY = os.environ['OPENAI_API_KEY']\n"
        "def wit(prompt, response):\n    raise ValueError(f'GET https://a/?key={KEY}&n=1 {KEY}')\n"
    )
    with pytest.raises(ScoringError, match=r"\?key=\*\*\*&n=1 \*\*\*") as caught:
        FunctionScorer("wit", file, "wit").score(["a"], ["b"])
    assert not secrets_in(str(caught.value))
    file.write_text(file.read_text() + "raise ValueError(KEY)\n")
    with pytest.raises(InputError, match="expected a file that runs") as caught:
        FunctionScorer("wit", file, "wit")
    assert not secrets_in(str(caught.value))
