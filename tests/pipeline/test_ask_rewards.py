"""New replies are rewarded as those of the evaluation were."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from paretune.bench.handy import Handy
from paretune.errors import ConfigError
from paretune.pipeline.ask import open_scores
from paretune.pipeline.config import parse_config
from paretune.pipeline.folder import open_run
from paretune.pipeline.records import PROMPTS
from paretune.pipeline.replies import REPLIES
from paretune.pipeline.rewards import scorers
from paretune.pipeline.run import stored_config
from paretune.safety.files import write_json
from paretune.scoring.score import score_responses
from paretune.serving.reward_route import Rewards

WORLD = Handy("A")
N_PROMPTS = 24


@pytest.fixture
def run(tmp_path: Path, write_run: Any) -> Path:
    path: Path = write_run(tmp_path / "runs" / "tiny")
    return path


def test_rewards_are_those_that_were_measured(run: Path) -> None:
    opened = open_run(run)
    score = open_scores(stored_config(opened), opened)
    prompts = WORLD.test_prompts[:N_PROMPTS]
    for method in ("rewarded_soups", "dpo"):
        with (run / "5-replies" / method / "0.75-0.25" / REPLIES).open() as file:
            rows = [json.loads(line) for line in file]
        for row in rows:
            (found,) = score(prompts[row["prompt"]], [row["reply"]])
            assert dict(zip(("helpful", "concise"), found, strict=True)) == row["rewards"]


def test_scores_that_came_with_the_data_reward_nothing_new(run: Path) -> None:
    opened, config = open_run(run), stored_config(open_run(run))
    data = config.data.model_copy(update={"world": None})
    with pytest.raises(ConfigError, match="cannot reward new replies"):
        open_scores(config.model_copy(update={"data": data}), opened)


def with_rewards(run: Path, reward: dict[str, Any], judges: dict[str, Any]) -> Any:
    """The configuration of the run as if its data were a file, with rewards of its own."""
    values = json.loads(stored_config(open_run(run)).model_dump_json())
    values["data"] |= {"world": None, "path": "x.jsonl"}
    values["base"] = {"path": "x"}
    values["rewards"] = {"helpful": reward, "concise": reward}
    values["evaluate"]["rewards"] = judges
    return parse_config(values)


def test_functions_reward_as_they_measured(run: Path, tmp_path: Path) -> None:
    (tmp_path / "rewards.py").write_text(
        "def words(prompt, response):\n    return len(response.split()) - len(prompt) / 10\n"
        "def judged(prompt, response):\n    return len(response) + 100 * isinstance(prompt, list)\n"
    )
    said = [{"role": "user", "content": "Hi"}]
    write_json(run / "1-records" / PROMPTS, [said] + ["Why?"] * N_PROMPTS)
    trained, judged = ({"function": f"{tmp_path}/rewards.py:{n}"} for n in ("words", "judged"))
    score = open_scores(with_rewards(run, trained, {"concise": judged}), open_run(run))
    # What judges replies, which is not what trained the policies.
    assert score("ab", ["one two", "three"]).tolist() == [[1.8, 7.0], [0.8, 5.0]]
    # A conversation that was measured is one here, too.
    assert score("user: Hi", ["one two"])[0, 1] == 107.0


def test_a_model_rewards_in_any_thread_as_in_a_batch(run: Path, tmp_path: Path) -> None:
    from transformers import LlamaForSequenceClassification

    config = WORLD.base_config()
    config.num_labels = 1
    torch.manual_seed(0)
    LlamaForSequenceClassification(config).save_pretrained(tmp_path / "judge")
    WORLD.tokenizer().save_pretrained(tmp_path / "judge")
    judge = {"model": str(tmp_path / "judge")}
    changed = with_rewards(run, judge, {})
    prompts = list(WORLD.test_prompts[:6])
    replies = ["sand it .", "sand the lamp . wipe it .", "please ask an expert first ."] * 2
    expected = score_responses(prompts, replies, scorers(changed, open_run(run), "judges"))
    assert expected.std() > 1e-3
    rewards = Rewards(lambda: open_scores(changed, open_run(run)))
    with ThreadPoolExecutor(3) as threads:
        found = list(threads.map(lambda row: rewards.rate(row[0], [row[1]])[0],
                                 zip(prompts, replies, strict=True)))  # fmt: skip
    assert np.allclose(found, expected, atol=1e-5)
