"""Online jobs of a run: refused before anything is made, rewarded as the run says, trained once."""

import json

import pytest

from paretune.errors import ConfigError, InputError
from paretune.pipeline.checking import check_run
from paretune.pipeline.run import execute

METHOD = {"method": "morlhf", "steps": 2, "prompts": 4, "generations": 2}


def test_without_trl_nothing_is_made(tiny_config, tmp_path, monkeypatch):
    monkeypatch.setattr("paretune.engines.lm.online.version", lambda name: "0.9.1")
    with pytest.raises(ConfigError, match=r"found trl 0\.9\.1, expected 1\.16"):
        execute(tiny_config(methods=[METHOD]), tmp_path)
    assert not (tmp_path / "bases").exists()


def test_too_few_prompts_are_told_by_check(tiny_config):
    config = tiny_config(methods=[METHOD | {"prompts": 400}])
    with pytest.raises(InputError, match=r"morlhf/policy-0-1: job .* training prompts, expected"):
        check_run(config)


@pytest.mark.slow
def test_a_run_and_the_same_run_again(tiny_config, tmp_path):
    config = tiny_config(methods=[METHOD], train={"learning_rate": 5e-4})
    (method,) = execute(config, tmp_path / "tiny").result.methods
    # Three trade-offs, two steps of eight replies each.
    assert method.cost.policies == 3 and method.cost.train_tokens > 3 * 2 * 8
    slugs = ("0-1", "0.5-0.5", "1-0")
    policies = tmp_path / "tiny" / "4-policies" / "morlhf"
    logs = [policies / f"policy-{slug}" / "metrics.jsonl" for slug in slugs]
    lines = [line for log in logs for line in log.read_text().splitlines()]
    told = [line for line in map(json.loads, lines) if "kl" in line]
    assert len(told) >= len(slugs)
    # Rewards of the world are shares: z-scores would not be.
    assert all(0 <= line[f"reward/{name}"] <= 1 for line in told for name in config.objectives)
    before = [log.stat().st_mtime_ns for log in logs]
    execute(config, tmp_path / "tiny")
    assert [log.stat().st_mtime_ns for log in logs] == before, "trained again"
    shorter = config.generate.model_copy(update={"max_new_tokens": 6})
    with pytest.raises(ConfigError, match="other settings"):
        execute(config.model_copy(update={"generate": shorter}), tmp_path / "tiny")
