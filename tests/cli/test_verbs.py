import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from paretune.cli.main import app
from paretune.methods import build, method_names
from paretune.pipeline.config import load_config

RECIPES = Path(__file__).parents[2] / "recipes"
VERBS = ["quickstart", "init", "ls", "check", "run", "data", "train", "eval", "report", "bench"]
VERBS += ["env", "compare", "doctor", "serve", "ask", "export"]


def paretune(*words, cwd=None):
    """The installed command, as a user types it."""
    command = [sys.executable, "-m", "paretune.cli.main", *map(str, words)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def test_help_names_every_verb_and_loads_nothing_heavy():
    probe = (
        "import sys; from paretune.cli import main; "
        "print([m for m in ('torch', 'transformers', 'numpy', 'matplotlib') if m in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True
    )
    assert found.stdout.strip() == "[]"
    out = CliRunner().invoke(app, ["--help"]).output
    assert all(verb in out for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb):
    result = CliRunner().invoke(app, [verb, "--help"])
    assert result.exit_code == 0
    assert verb in result.output


def test_ls_names_every_method_with_its_paper():
    from paretune.methods import load_methods

    rows = json.loads(CliRunner().invoke(app, ["ls", "methods", "--json"]).output)
    assert {r["method"]: r["paper"] for r in rows} == {
        name: cls.paper for name, cls in load_methods().items()
    }


@pytest.mark.parametrize("method", method_names())
def test_init_writes_a_file_that_reads_as_the_defaults(tmp_path, method):
    assert CliRunner().invoke(app, ["init", str(tmp_path), "--method", method]).exit_code == 0
    config = load_config(tmp_path / "run.yaml")
    assert config.build_method(config.methods[0]) == build(method, {})


@pytest.mark.parametrize(
    "method", ["dpo", "pareto_hqd", "rewarded_soups", "best_of_n", "sft", "mopo"]
)
def test_init_writes_a_file_that_check_accepts(tmp_path, method):
    assert CliRunner().invoke(app, ["init", str(tmp_path), "--method", method]).exit_code == 0
    result = CliRunner().invoke(app, ["check", str(tmp_path / "run.yaml")])
    assert result.exit_code == 0, result.output
    assert "2000 comparisons" in result.output
    assert "next:   paretune run" in result.output


def test_init_writes_nothing_over(tmp_path):
    assert paretune("init", tmp_path).returncode == 0
    (tmp_path / "run.yaml").write_text("mine")
    again = paretune("init", tmp_path)
    assert again.returncode == 2
    assert "nothing is written over" in again.stderr
    assert (tmp_path / "run.yaml").read_text() == "mine"


def test_a_place_that_cannot_be_written_is_bad_input(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "run.yaml").write_text(TINY)
    for words in (["init", "file"], ["run", "run.yaml", "--runs", "file"]):
        found = paretune(*words, cwd=tmp_path)
        assert found.returncode == 2, found.stderr
        assert "paretune: file" in found.stderr and "expected a place to write" in found.stderr
        assert "Traceback" not in found.stderr
    assert (tmp_path / "file").read_text() == "mine"


def test_check_reports_every_bad_row_with_its_place(tmp_path):
    rows = [
        {"prompt": "p", "response_a": "a", "response_b": "b", "labels": {"helpful": 1}},
        {"prompt": "p", "response_a": "a", "response_b": "b", "labels": {"helpful": 7}},
        {"prompt": "p", "response_a": 3, "response_b": "b", "labels": {"helpful": 1}},
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    (tmp_path / "run.yaml").write_text(
        "name: x\nobjectives: [helpful, harmless]\ndata: {path: rows.jsonl}\n"
        "base: {build: {}}\nmethods: [{method: sft}]\n"
        "rewards: {helpful: {trained: {}}, harmless: {trained: {}}}\n"
    )
    found = paretune("check", "run.yaml", cwd=tmp_path)
    assert found.returncode == 2
    assert "rows.jsonl:2:" in found.stderr
    assert "rows.jsonl:3:" in found.stderr
    assert "Traceback" not in found.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x\nobjectivs: [a]\n", "did you mean 'objectives'?"),
        ("name: [", "not YAML"),
        (
            "name: x\nobjectives: [a, b]\ndata: {path: missing.jsonl}\nbase: {build: {}}\n"
            "methods: [{method: sft}]\nrewards: {a: {trained: {}}, b: {trained: {}}}\n",
            "missing.jsonl",
        ),
        (
            "name: x\nobjectives: [a, b]\ndata: {path: rows.jsonl}\nbase: {path: empty}\n"
            "methods: [{method: sft}]\nrewards: {a: {trained: {}}, b: {trained: {}}}\n",
            "tokenizer",
        ),
        (
            "name: x\nobjectives: [a, b]\ndata: {path: rows.jsonl}\nbase: {build: {}}\n"
            "methods: [{method: sft}]\n",
            "cannot reward new replies",
        ),
    ],
)
def test_bad_input_is_exit_code_2_and_one_message(tmp_path, text, message):
    (tmp_path / "empty").mkdir()
    row = {"prompt": "p", "response": "r", "scores": {"a": 1, "b": 0}}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    (tmp_path / "run.yaml").write_text(text)
    for verb in ("check", "run"):
        found = paretune(verb, "run.yaml", cwd=tmp_path)
        assert found.returncode == 2, found.stderr
        assert message in found.stderr
        assert "Traceback" not in found.stderr
    assert not list((tmp_path / "runs").glob("*/?-*"))


@pytest.mark.parametrize("recipe", sorted(p.name for p in RECIPES.glob("*.yaml")))
def test_every_recipe_has_a_plan(recipe):
    words = ["run", str(RECIPES / recipe), "--dry-run"]
    words += {
        "hh_tiny.yaml": ["--set", "data.helpful=a", "--set", "data.harmless=b"],
        "d2t_sfres.yaml": ["--set", "data.path=a"],
    }.get(recipe, [])
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.exception
    assert "methods:" in result.output
    methods = yaml.safe_load((RECIPES / recipe).read_text(encoding="utf-8"))["methods"]
    assert methods and all(f"{m.get('label', m['method'])}: " in result.output for m in methods)


TINY = """\
name: tiny
objectives: [helpful, concise]
data: {world: handy, scenario: A, pairs: 48}
base: {corpus: 256}
tradeoffs: {grid: 2}
methods: [{method: rewarded_soups}, {method: pareto_hqd, k: 8, steps: 40, stages: 1}]
train: {epochs: 1, batch_size: 8}
generate: {max_new_tokens: 8}
evaluate: {prompts: 6, resamples: 100}
workers: 2
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_was_ended_goes_on_and_leaves_no_process(tmp_path, number):
    (tmp_path / "run.yaml").write_text(TINY)
    command = [sys.executable, "-m", "paretune.cli.main", "run", "run.yaml"]
    with (tmp_path / "stderr").open("w") as stderr:
        process = subprocess.Popen(command, cwd=tmp_path, stderr=stderr, start_new_session=True)
    policies = tmp_path / "runs" / "tiny" / "4-policies"
    deadline = time.monotonic() + 240
    while not list(policies.glob("*/*/manifest.json")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(number)
    process.wait(timeout=60)
    if number == signal.SIGTERM:
        assert process.returncode == 75
        assert "type the same command again" in (tmp_path / "stderr").read_text()
        status = json.loads((tmp_path / "runs" / "tiny" / "status.json").read_text())
        assert status["state"] == "interrupted"
    kept = {p: p.stat().st_mtime_ns for p in policies.glob("*/*/manifest.json")}
    with pytest.raises(ProcessLookupError):  # no worker outlives the command
        for _ in range(100):
            os.killpg(process.pid, 0)
            time.sleep(0.1)
    again = paretune("run", "run.yaml", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "result: runs/tiny/7-report/report.html" in again.stdout
    assert {p: p.stat().st_mtime_ns for p in kept} == kept


def test_a_wish_is_planned_and_misspelt_ones_are_refused(tmp_path):
    (tmp_path / "run.yaml").write_text(TINY)
    words = ["run", str(tmp_path / "run.yaml"), "--dry-run"]
    wish = ["--primary", "helpful", "--at-least", "concise=0.6"]
    result = CliRunner().invoke(app, [*words, *wish])
    assert result.exit_code == 0, result.exception
    assert "tiny-helpful-concise-0.6" in result.output
    assert "primary-0: constrained" in result.output
    assert "rewarded_soups" not in result.output
    for bad in (["--at-least", "concise=0.6"], ["--primary", "helpfull"],
                ["--primary", "helpful", "--at-least", "concise=2"]):  # fmt: skip
        found = paretune(*words, *bad)
        assert found.returncode == 2, found.stderr
        assert "expected" in found.stderr or "did you mean" in found.stderr
