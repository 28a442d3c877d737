"""A grid of policies for other servers: none twice, none misnamed, a command that starts them."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from paretune.cli.main import app
from paretune.pipeline.run import execute

LORA = {"lora": {"rank": 12, "alpha": 16}, "learning_rate": 2e-2}
METHODS = [
    {"method": "rewarded_soups", "train": LORA},
    {"method": "dpo", "train": LORA},
    {"method": "dpo", "label": "whole"},
]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run called tiny."""
    from paretune.pipeline.config import parse_config

    values: dict[str, Any] = {
        "name": "tiny", "objectives": ["helpful", "concise"],
        "data": {"world": "handy", "scenario": "A", "pairs": 48},
        "base": {"corpus": 256, "train": {"learning_rate": 4e-3, "epochs": 1, "batch_size": 32}},
        "tradeoffs": {"grid": 2}, "methods": METHODS,
        "train": {"learning_rate": 5e-4, "epochs": 1, "batch_size": 16},
        "generate": {"max_new_tokens": 8},
        "evaluate": {"prompts": 6, "resamples": 100, "samples": 1}, "workers": 1,
    }  # fmt: skip
    folder = tmp_path_factory.mktemp("a folder")
    assert execute(parse_config(values), folder / "tiny").failed == {}
    return folder


def export(runs: Path, monkeypatch: pytest.MonkeyPatch, *words: str) -> Any:
    """The command in the folder of the runs, as somebody who types short paths."""
    monkeypatch.chdir(runs)
    return CliRunner().invoke(app, ["export", "tiny", *words])


def vllm_words(told: Any) -> list[str]:
    """What a shell makes of the printed command."""
    (line,) = (line for line in told.output.splitlines() if "vllm serve" in line)
    return shlex.split(line.partition("next:")[2])


def test_a_policy_is_written_once_under_the_tradeoff_it_answers_for(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = export(runs, monkeypatch, "dpo", "--grid", "4", "--method", "dpo")
    assert told.exit_code == 0, told.output
    assert sorted(p.name for p in (runs / "dpo").iterdir()) == ["0-1", "0.5-0.5", "1-0"]
    assert "3 of kind adapter" in told.output and "5 trade-offs were asked for" in told.output
    for folder, said in (("0-1", "helpful 0, concise 1"), ("0.5-0.5", "helpful 0.5, concise 0.5")):
        assert f"# tiny: {said}" in (runs / "dpo" / folder / "README.md").read_text()
    words = vllm_words(told)
    modules = [json.loads(word) for word in words[words.index("--lora-modules") + 1 :]]
    assert {m["name"]: Path(m["path"]).name for m in modules} == {
        "tiny@0,1": "0-1", "tiny@0.5,0.5": "0.5-0.5", "tiny@1,0": "1-0"
    }  # fmt: skip
    assert all(Path(m["path"], "adapter_model.safetensors").exists() for m in modules)
    told = export(runs, monkeypatch, "again", "--grid", "4", "--method", "dpo", "--json")
    assert {k: json.loads(told.output)[k] for k in ("n", "asked")} == {"n": 3, "asked": 5}


def test_the_command_makes_room_for_merged_ranks_and_finds_the_base_from_anywhere(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = export(runs, monkeypatch, "soups", "--grid", "2", "--method", "rewarded_soups")
    assert told.exit_code == 0, told.output
    words = vllm_words(told)
    config = json.loads((runs / "soups" / "0.5-0.5" / "adapter_config.json").read_text())
    assert config["r"] == 24, "two of 12"
    assert words[words.index("--max-lora-rank") + 1] == "32"
    base = Path(words[2])
    assert base.is_absolute() and (base / "config.json").exists()
    assert str(base) == config["base_model_name_or_path"]
    card = (runs / "soups" / "1-0" / "README.md").read_text()
    assert f"base_model: {base}" in card and f"from_pretrained({str(base)!r})" in card


def test_whole_models_are_no_grid_of_adapters(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(runs.iterdir())
    told = export(runs, monkeypatch, "out", "--grid", "2", "--method", "whole")
    assert "--grid: found whole models of whole, expected adapters" in str(told.exception)
    assert set(runs.iterdir()) == before
    told = export(runs, monkeypatch, "out", "--grid", "2", "--method", "whole", "--merge")
    assert told.exit_code == 0 and "3 of kind model" in told.output
    assert "vllm" not in told.output
    assert (runs / "out" / "0.5-0.5" / "model.safetensors").exists()
