"""Runs whose data, rewards and base come from files and from nothing, not from the world."""

import json

import numpy as np
import pytest

from paretune.errors import ConfigError, DataError, InputError
from paretune.pipeline.checking import check_run
from paretune.pipeline.config import parse_config
from paretune.pipeline.folder import Sealed
from paretune.pipeline.rewards import read_normalizer, read_rewards
from paretune.pipeline.run import execute
from paretune.safety.files import read_json

WORDS = ["red", "green", "blue", "warm", "cold", "slow", "fast", "old"]


def pairs(n, seed=0):
    """Comparisons where the first axis likes long replies and the second short ones."""
    rng = np.random.default_rng(seed)
    for number in range(n):
        a, b = (" ".join(rng.choice(WORDS, size)) for size in rng.choice(8, 2, replace=False) + 1)
        is_longer = 1 if len(a.split()) > len(b.split()) else -1
        labels = {"long": is_longer, "short": -is_longer}
        yield {"prompt": f"Say {number}:", "response_a": a, "response_b": b, "labels": labels}


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def config(tmp_path, **changes):
    values = {
        "name": "files",
        "objectives": ["long", "short"],
        "data": {"path": write(tmp_path / "pairs.jsonl", pairs(60)), "plain_prompts": True},
        "base": {
            "build": {
                "hidden": 32, "layers": 1, "heads": 2, "feed_forward": 64, "max_positions": 128,
                "vocabulary": 300,
            },
            "train": {"learning_rate": 3e-3, "epochs": 1, "batch_size": 16},
        },
        "tradeoffs": {"grid": 1},
        "methods": [{"method": "dpo"}, {"method": "pareto_hqd", "k": 8, "steps": 2, "stages": 1}],
        "train": {"epochs": 1, "batch_size": 16, "max_response_tokens": 64},
        "generate": {"max_new_tokens": 8},
        "evaluate": {"resamples": 100, "samples": 1},
        "workers": 1,
    }  # fmt: skip
    return parse_config(values | changes)


def test_base_rewards_and_judges_from_nothing(tmp_path):
    train = {"learning_rate": 3e-3, "epochs": 6, "batch_size": 8}
    mine = {"trained": {"half": "first", "train": train}}
    judge = {"trained": {"half": "second", "train": train}}
    run_config = config(
        tmp_path,
        rewards={"long": mine, "short": mine},
        evaluate={
            "resamples": 100, "samples": 1, "rewards": {"long": judge, "short": judge},
        },
    )  # fmt: skip
    finished = execute(run_config, tmp_path / "runs" / "files")
    assert finished.failed == {}
    run = finished.run
    facts = Sealed(run.stage(2), {}).manifest["facts"]
    assert sorted(facts["accuracy"]) == [
        "judges-long", "judges-short", "rewards-long", "rewards-short",
    ]  # fmt: skip
    # Length is easy to learn: a reward model that learned nothing would stay at a half.
    assert min(facts["accuracy"].values()) > 0.6
    rewards, judges = read_rewards(run_config, run), read_rewards(run_config, run, "judges")
    assert not np.allclose(rewards.values, judges.values)
    words = np.array([len(t.split()) for t in texts_of(run)])
    assert np.corrcoef(rewards.column("long"), words)[0, 1] > 0.5
    assert np.corrcoef(rewards.column("short"), words)[0, 1] < -0.5
    box = read_normalizer(run_config, run, "judges")
    assert finished.result.low == box.low
    assert any("no method trained on" in note for note in finished.result.notes)


def texts_of(run):
    lines = (run.stage(1) / "train.jsonl").read_text().splitlines()
    return [r["text"] for line in lines for r in json.loads(line)["responses"]]


def test_a_function_rewards_and_scores_make_comparisons(tmp_path):
    code = "def long(prompt: str, response: str) -> float:\n    return len(response.split())\n\n\n"
    code += "def short(prompt: str, response: str) -> float:\n    return -len(response.split())\n"
    (tmp_path / "mine.py").write_text(code)
    rows = [
        {"prompt": r["prompt"], "responses": [{"text": r["response_a"]}, {"text": r["response_b"]}]}
        for r in pairs(40)
    ]
    run_config = config(
        tmp_path,
        data={"path": write(tmp_path / "records.jsonl", rows), "plain_prompts": True},
        rewards={n: {"function": f"{tmp_path / 'mine.py'}:{n}"} for n in ("long", "short")},
    )
    finished = execute(run_config, tmp_path / "runs" / "files")
    assert finished.failed == {}
    with np.load(finished.run.stage(3) / "comparisons.npz") as stored:
        first, labels = stored["first"], stored["labels"]
    assert len(first) > 20
    assert set(np.unique(labels)) == {-1.0, 1.0}
    assert (labels[:, 0] == -labels[:, 1]).all()
    assert any("also judge the replies" in note for note in finished.result.notes)


def test_a_column_cannot_judge_replies(tmp_path):
    with pytest.raises(ConfigError, match="long, short is only a column"):
        execute(config(tmp_path), tmp_path / "runs" / "files")
    assert not (tmp_path / "runs").exists()


def test_a_changed_data_file_is_refused(tmp_path):
    code = "def f(prompt: str, response: str) -> float:\n    return len(response)\n"
    (tmp_path / "mine.py").write_text(code)
    rewards = {n: {"function": f"{tmp_path / 'mine.py'}:f"} for n in ("long", "short")}
    execute(config(tmp_path, rewards=rewards), tmp_path / "runs" / "files", "data")
    facts = [tmp_path / "runs" / "files" / name for name in ("run.json", "status.json")]
    before = [read_json(path) for path in facts]
    changed = config(tmp_path, rewards=rewards, workers=2)
    write(tmp_path / "pairs.jsonl", pairs(61))
    with pytest.raises(ConfigError, match="content"):
        execute(changed, tmp_path / "runs" / "files", "data")
    assert [read_json(path) for path in facts] == before


def test_fewer_rows_than_k_is_refused_with_both_numbers(tmp_path):
    code = "def f(prompt: str, response: str) -> float:\n    return len(response)\n"
    (tmp_path / "mine.py").write_text(code)
    rewards = {n: {"function": f"{tmp_path / 'mine.py'}:f"} for n in ("long", "short")}
    few = config(tmp_path, rewards=rewards, methods=[{"method": "pareto_hqd", "k": 5000}])
    with pytest.raises(InputError, match=r"pareto_hqd/stage-1-0-1: .*k=5000"):
        execute(few, tmp_path / "runs" / "files")
    assert not (tmp_path / "runs" / "files" / "4-policies").exists()


def test_too_few_rows_to_split_is_refused(tmp_path):
    one = write(tmp_path / "one.jsonl", list(pairs(1)))
    code = "def f(prompt: str, response: str) -> float:\n    return 1.0 * len(response)\n"
    (tmp_path / "mine.py").write_text(code)
    rewards = {n: {"function": f"{tmp_path / 'mine.py'}:f"} for n in ("long", "short")}
    with pytest.raises(DataError, match="prompt"):
        execute(config(tmp_path, data={"path": one}, rewards=rewards), tmp_path / "runs" / "files")


def test_check_counts_the_conflicts_of_reward_functions(tmp_path):
    code = "def long(prompt: str, response: str) -> float:\n    return len(response.split())\n\n\n"
    code += "def short(prompt: str, response: str) -> float:\n    return -len(response.split())\n"
    (tmp_path / "mine.py").write_text(code)
    rows = [
        {"prompt": r["prompt"], "responses": [{"text": r["response_a"]}, {"text": r["response_b"]}]}
        for r in pairs(40)
    ]
    summary, _ = check_run(
        config(
            tmp_path,
            data={"path": write(tmp_path / "records.jsonl", rows), "plain_prompts": True},
            rewards={n: {"function": f"{tmp_path / 'mine.py'}:{n}"} for n in ("long", "short")},
        )
    )
    text = summary.to_markdown()
    assert "100.0 % conflict" in text
    assert "no label or score" not in text
