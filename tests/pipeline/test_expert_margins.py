"""MODPO on a language model, from records to a front, with both kinds of margins."""

import json

import pytest

from paretune.pipeline.replies import REPLIES, read_replies
from paretune.pipeline.run import execute
from paretune.safety.files import read_json

METHODS = [
    {"method": "rewarded_soups"},
    {"method": "modpo", "label": "of-scores"},
    {"method": "modpo", "label": "of-experts", "margins": "policies"},
    {
        "method": "modpo", "label": "of-adapters", "margins": "policies",
        "tradeoffs": [{"concise": 0.7, "helpful": 0.3}],
        "train": {"lora": {"rank": 2, "alpha": 4}},
    },
]  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    from paretune.pipeline.config import parse_config

    values = {
        "name": "tiny",
        "objectives": ["helpful", "concise"],
        "data": {"world": "handy", "scenario": "A", "pairs": 48},
        "base": {"corpus": 256, "train": {"learning_rate": 4e-3, "epochs": 1, "batch_size": 32}},
        "tradeoffs": {"grid": 2},
        "methods": METHODS,
        "train": {"learning_rate": 5e-4, "epochs": 1, "batch_size": 16},
        "generate": {"max_new_tokens": 12},
        "evaluate": {"prompts": 12, "resamples": 100, "samples": 1},
        "workers": 1,
    }
    return execute(parse_config(values), tmp_path_factory.mktemp("runs") / "tiny")


def test_both_kinds_of_margins_run_to_a_front(finished):
    assert finished.failed == {}
    policies = {m.name: [p.policy for p in m.points] for m in finished.result.methods}
    assert policies["of-scores"] == ["modpo-0-1", "modpo-0.5-0.5", "modpo-1-0"]
    assert policies["of-experts"] == ["expert-1", "modpo-0.5-0.5", "expert-0"]
    assert policies["of-adapters"] == ["modpo-0.3-0.7"]


def test_corners_answer_as_the_experts_of_rewarded_soups(finished):
    replies, names = finished.run.stage(5), ("helpful", "concise")
    for corner in ("0-1", "1-0"):
        given = [
            read_replies(replies / name / corner / REPLIES, names)["texts"]
            for name in ("rewarded_soups", "of-experts", "of-scores")
        ]
        assert given[0] == given[1] == given[2]


def test_the_two_kinds_of_margins_train_different_policies(finished):
    manifests = [
        read_json(finished.run.policy(name, "modpo-0.5-0.5") / "manifest.json")
        for name in ("of-scores", "of-experts")
    ]
    losses = [manifest["facts"]["last_loss"] for manifest in manifests]
    assert losses[0] != losses[1]
    assert list(manifests[1]["inputs"]["needs"]) == ["expert-0", "expert-1"]


def test_an_expert_of_another_base_is_refused(finished):
    from paretune.core.tradeoff import TradeOff
    from paretune.errors import InputError
    from paretune.methods.modpo import MODPO
    from paretune.pipeline.expert_margins import with_experts
    from paretune.pipeline.run import stored_config
    from paretune.pipeline.tasks import Context, Place

    run = finished.run
    (base,) = (run.path.parent / "bases").glob("[!.]*")
    place = Place(stored_config(run), run, str(base))
    job = MODPO(margins="policies").plan(2, [TradeOff((0.5, 0.5))])[-1]
    own = {f"expert-{i}": run.policy("rewarded_soups", f"expert-{i}") for i in (0, 1)}
    here = Context(place)
    inputs = with_experts(place, here, job, own)
    assert set(inputs.experts) == {"expert-0", "expert-1"} and len(here.expert_logps) == 2
    assert with_experts(place, here, job, own).experts["expert-0"] is inputs.experts["expert-0"]

    other = run.path / "other"
    other.mkdir()
    for file in own["expert-1"].glob("*.json"):
        (other / file.name).write_text(file.read_text())
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "vocab_size": 7}))
    with pytest.raises(
        InputError, match=r"modpo-0\.5-0\.5: margins: found policies of different bases"
    ):
        with_experts(place, here, job, {**own, "expert-1": other})
