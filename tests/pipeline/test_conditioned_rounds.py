"""Rounds that ask a conditioned policy: what each reply is told, and what is learned from it."""

from types import SimpleNamespace

import numpy as np
import pytest

from paretune.core.job import Replies
from paretune.core.record import Message
from paretune.core.rewards import Normalizer
from paretune.functional.reward_prompt import ask_goal, read_rewards
from paretune.pipeline.folder import Sealed
from paretune.pipeline.job_inputs import conditioned_prompts
from paretune.pipeline.replies import Drawn, read_replies
from paretune.pipeline.run import execute
from paretune.pipeline.tasks import Place, RoundTask
from paretune.safety.files import read_json

NAMES = ("helpful", "concise")
NORMALIZER = Normalizer((0.0, 0.0), (1.0, 1.0), (-2.0, -2.0), (2.0, 2.0), 9)


def asked(job_id="offline", seed=0, **more):
    source = Replies((job_id,), prompts=2, condition=ask_goal, **more)
    place = SimpleNamespace(config=SimpleNamespace(seed=seed))
    prompts = ["one", (Message("user", "two"), Message("user", "three"))]
    here = SimpleNamespace(normalizer=NORMALIZER)
    return conditioned_prompts(place, here, prompts, source, job_id)


def test_every_reply_is_asked_for_a_goal_of_its_own():
    first, second, third, fourth = asked(per_prompt=2)
    goals = [read_rewards(text) for text in (first, second)]
    assert [prompt for prompt, _ in goals] == ["one", "one"]
    assert goals[0][1] != goals[1][1] and all(max(goal) == 2.0 for _, goal in goals)
    # Of a conversation the last turn is told.
    assert third[0] == fourth[0] == Message("user", "two")
    assert read_rewards(third[1].content)[0] == "three"


def test_goals_follow_the_seed_and_the_policy():
    assert asked() == asked()
    assert asked() != asked(seed=1)
    assert asked() != asked(job_id="online-1")


def test_replies_are_paid_for_the_prompt_that_told_nothing(tmp_path, monkeypatch, tiny_config):
    """Scorers never see the tags, and every reply keeps the number of its prompt."""
    seen = {}

    def draw(model, encoder, prompts, steering, decoding, draws, **more):
        seen["asked"], seen["draws"] = prompts, draws
        texts = [f"reply {n}" for n in range(len(prompts))]
        return Drawn(np.arange(len(prompts)), texts, n_tokens=0, seconds=0.0)

    def score(drawn, prompts, scorers):
        seen["paid"] = [prompts[n] for n in drawn.prompt_of]
        return np.zeros((len(drawn.texts), 2))

    data = SimpleNamespace(prompts=("one", "two", "three"), n_prompts=3)
    here = SimpleNamespace(
        job_data=SimpleNamespace(data=data), encoder=None, normalizer=NORMALIZER,
        scorers=lambda role: {},
    )  # fmt: skip
    for name, fake in {
        "context": lambda place: here, "load_steered": lambda *more: None,
        "draw": draw, "score_drawn": score,
    }.items():  # fmt: skip
        monkeypatch.setattr(f"paretune.pipeline.tasks.{name}", fake)
    source = Replies(("offline",), prompts=3, per_prompt=2, condition=ask_goal)
    task = RoundTask("ric", "offline", None, source, Sealed(tmp_path / "r", {}), (), 1.0)
    task.perform(Place(tiny_config(), None, "base"), lambda done, total: None)
    plain = [read_rewards(text)[0] for text in seen["asked"]]
    assert plain == seen["paid"] == ["one", "one", "two", "two", "three", "three"]
    assert seen["draws"] == 1
    rows = read_replies(tmp_path / "r" / "replies.jsonl", NAMES)
    assert rows["prompt_of"].tolist() == [0, 0, 1, 1, 2, 2]
    assert rows["texts"] == [f"reply {n}" for n in range(6)]


@pytest.mark.slow
def test_a_run_with_two_rounds(tmp_path, tiny_config):
    methods = [{"method": "ric", "iterations": 2, "prompts": 10, "replies_per_prompt": 3}]
    config = tiny_config(methods=methods)
    finished = execute(config, folder := tmp_path / "tiny")
    assert not finished.failed
    assert [len(m.points) for m in finished.result.methods] == [3]
    policies = folder / "4-policies" / "ric"
    rounds = sorted(path.name.split("-")[0] for path in policies.glob("*.replies-*"))
    assert rounds == ["offline.replies", "online"]
    n_rows = []
    for path in sorted(policies.glob("*.replies-*")):
        found = read_replies(path / "replies.jsonl", NAMES)
        np.testing.assert_array_equal(found["prompt_of"], np.repeat(np.arange(10), 3))
        n_rows.append(len(found["texts"]))
    assert n_rows == [30, 30]
    offline, first, second = (
        read_json(policies / name / "manifest.json")["facts"]
        for name in ("offline", "online-1", "online-2")
    )
    # All scored responses; then fewer of them, and with the second round more replies.
    assert offline["rows"] > first["rows"] - 30 and first["rows"] <= second["rows"]
