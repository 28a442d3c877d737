from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from paretune.bench import truth
from paretune.cli.main import app
from paretune.core.truth import MethodTruth
from paretune.errors import ConfigError


def call(*words: str):
    return CliRunner().invoke(app, ["bench", *words])


def test_world_prints_the_known_front() -> None:
    front = json.loads(call("world", "A", "--json").stdout)
    assert front["hypervolume"] == pytest.approx(0.79375, abs=1e-4)
    assert len(front["replies"]) == 5
    assert "attainable hypervolume" in call("world").stdout


def test_tables_prints_measures_and_draws(tmp_path) -> None:
    words = ["--problem", "random-2", "--problem", "d4", "--method", "best_of_n", "--method", "sft"]
    found = call("tables", *words, "--out", str(tmp_path))
    assert found.exit_code == 0, found.output
    lines = found.stdout.splitlines()
    assert [line.split(":")[0] for line in lines if line.startswith(("d4", "random"))] == [
        "d4", "random-2"
    ]  # fmt: skip
    row = next(line for line in lines if line.startswith("| sft"))
    assert [cell.strip() for cell in row.strip("|").split("|")][:3] == ["sft", "holds", "0"]
    assert lines[-2].startswith("result: 3 methods on 2 problems: 4 of 4 claims held.")
    assert lines[-1].startswith("next:")
    assert {p.name for p in tmp_path.iterdir()} == {"d4.png", "random-2.png", "tables.html"}
    page = (tmp_path / "tables.html").read_text("utf-8")
    assert "paretune bench tables --problem random-2 --problem d4" in page


def test_json_holds_every_policy(tmp_path) -> None:
    found = call("tables", "--problem", "d1", "--method", "sft", "--out", str(tmp_path), "--json")
    (problem,) = json.loads(found.stdout)
    assert problem["name"] == "d1" and problem["floors"] == [0.25, 0.25]
    (method,) = problem["methods"]
    assert len(method["points"]) == 11
    assert sum(method["points"][0]["policy"][0]) == pytest.approx(1)


def test_a_method_that_is_defined_nowhere_draws_nothing(tmp_path) -> None:
    found = call("tables", "--problem", "d1", "--method", "best_of_n", "--out", str(tmp_path / "x"))
    assert found.exit_code == 0 and "nothing was measured" in found.stdout
    assert not (tmp_path / "x").exists()


def test_a_broken_claim_is_exit_code_1(tmp_path, monkeypatch) -> None:
    def broken(*args, **more) -> MethodTruth:
        found = measured(*args, **more)
        return MethodTruth(**{**vars(found), "broken": ("found 1, expected 0",)})

    measured = truth.measure_method
    monkeypatch.setattr(truth, "measure_method", broken)
    found = call("tables", "--problem", "d1", "--method", "sft", "--out", str(tmp_path))
    assert found.exit_code == 1
    assert "0 of 1 claim held" in found.stdout and "sft: found 1, expected 0" in found.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--problem", "randm-2"), "unknown problem 'randm-2' (did you mean 'random-2'?)"),
        (("--method", "dpo mixd"), "unknown method 'dpo mixd' (did you mean 'dpo mixed'?)"),
    ],
)
def test_unknown_names_propose_the_nearest(words, message, tmp_path) -> None:
    found = call("tables", *words, "--out", str(tmp_path / "x"))
    assert isinstance(found.exception, ConfigError) and found.exception.exit_code == 2
    assert message in str(found.exception)
    assert not (tmp_path / "x").exists()
