import hashlib
import json
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest

from paretune.bench.handy import SCENARIOS, BehaviorPolicy, Handy
from paretune.bench.handy.text import Request
from paretune.core.record import PreferenceData
from paretune.core.tradeoff import TradeOff
from paretune.errors import ConfigError, InputError, ShapeError


def test_test_pairs_are_never_trained_on():
    world = Handy("A")
    train, test = (
        {(r.verb, r.object) for r in map(Request.parse, prompts)}
        for prompts in (world.train_prompts, world.test_prompts)
    )
    assert (len(train), len(test)) == (160, 40)
    assert not train & test
    assert (len(world.train_prompts), len(world.test_prompts)) == (480, 120)


def test_caution_asks_risky_requests_only():
    world, everything = Handy("B"), Handy("A")
    for name in ("train_prompts", "test_prompts"):
        risky = [p for p in getattr(everything, name) if Request.parse(p).is_risky]
        assert list(getattr(world, name)) == risky
    assert len(world.test_prompts) == 63


def test_another_seed_is_another_split_with_the_same_sizes():
    assert set(Handy("A", seed=1).test_prompts) != set(Handy("A").test_prompts)
    assert len(Handy("A", seed=1).test_prompts) == 120


def test_unknown_scenario_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match="known: A, B, C, D"):
        Handy("E")


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scores_have_the_columns_of_the_scenario(scenario):
    world = Handy(scenario)
    assert world.objectives.names == SCENARIOS[scenario]
    prompt = world.test_prompts[0]
    reply = world.enumerate_replies(prompt)[-1]
    scores = world.score_many([prompt, prompt], [reply, "nonsense"])
    assert scores.shape == (2, len(world.objectives))
    assert scores.dtype == np.float64
    np.testing.assert_array_equal(scores[0], world.enumerate_rewards(prompt)[-1])
    np.testing.assert_array_equal(scores[1], 0)
    np.testing.assert_array_equal(world.score(prompt, reply), scores[0])
    assert world.reward_matrix([prompt], [reply]).objectives == world.objectives
    assert world.score_many([], []).shape == (0, len(world.objectives))
    assert world.is_well_formed(prompt, reply)
    assert not world.is_well_formed(prompt, "nonsense .")


def test_bad_input_is_refused():
    world = Handy("A")
    with pytest.raises(InputError, match="found 'hello', expected one of the 600"):
        world.score("hello", "wipe the lamp .")
    with pytest.raises(ShapeError, match="1 prompts and 2 replies"):
        world.score_many([world.test_prompts[0]], ["a", "b"])
    with pytest.raises(InputError, match="n = -1"):
        world.corpus(-1)
    with pytest.raises(InputError, match="n = -1"):
        world.preferences(-1)


def test_a_policy_with_one_reply_cannot_be_compared_with_itself():
    shy = BehaviorPolicy(refusal=(1.0, 1.0), overview=0.0, caution=(0.0, 0.0), first_joke=0.0)
    with pytest.raises(InputError, match="expected two different replies"):
        Handy("A", behavior=shy).preferences(1)


def digest(rows):
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:16]


def test_data_are_the_same_bytes_on_every_machine():
    """Frozen digests: if one moves, every published number of the world moves with it."""
    assert digest(list(Handy("A").train_prompts)) == "79524174c92045b7"
    assert digest(Handy("A").corpus(3000, seed=0)) == "f546efa1c5d016a2"
    records = {s: [asdict(r) for r in Handy(s).preferences(500, seed=0)] for s in "AB"}
    for record in (*records["A"], *records["B"]):
        assert [r.pop("count") for r in record["responses"]] == [1, 1]
        assert [c.pop("weights") for c in record["comparisons"]] == [{}]
    assert digest(records["A"]) == "895f46e5c542be54"
    assert digest(records["B"]) == "8d2679276f19b3e6"


def test_corpus_is_the_same_in_every_scenario_and_asks_all_training_requests_evenly():
    corpus = Handy("A").corpus(960, seed=3)
    assert corpus == Handy("B").corpus(960, seed=3) != Handy("A").corpus(960, seed=4)
    asked = [prompt for prompt, _ in corpus]
    assert sorted(asked) == sorted(2 * Handy("A").train_prompts)


def test_preferences_are_scored_labelled_and_never_between_equal_replies():
    world = Handy("C")
    records = world.preferences(400, seed=1)
    assert records == world.preferences(400, seed=1) != world.preferences(400, seed=2)
    data = PreferenceData.from_records(records, world.objectives.names)
    assert data.n_comparisons == 400
    assert set(np.unique(data.labels)) == {-1.0, 1.0}
    assert {record.prompt for record in records} <= set(world.train_prompts)
    for record in records:
        first, second = record.responses
        assert first.text != second.text
        for response in record.responses:
            expected = world.score(record.prompt, response.text).tolist()
            assert list(response.scores.values()) == expected


def test_labels_follow_the_margin():
    world = Handy("A")
    data = PreferenceData.from_records(world.preferences(2000), world.objectives.names)
    probability = 1 / (1 + np.exp(-10 * data.margins))
    said = data.labels > 0
    for low, high in ((0, 0.1), (0.1, 0.4), (0.4, 0.6), (0.6, 0.9), (0.9, 1.01)):
        cell = (probability >= low) & (probability < high)
        deviation = np.sqrt((probability[cell] * (1 - probability[cell])).sum())
        assert cell.sum() > 50
        assert abs(said[cell].sum() - probability[cell].sum()) < 4 * deviation


def test_optimum_tilts_the_behavior_and_sums_to_one():
    world, tradeoff = Handy("B"), TradeOff((0.3, 0.7))
    prompt = world.test_prompts[0]
    logps = world.optimum(prompt, tradeoff, beta=0.1)
    assert np.exp(logps).sum() == pytest.approx(1)
    utility = world.enumerate_rewards(prompt) @ tradeoff.array
    said = np.isfinite(logps)
    constant = (logps - utility / 0.1)[said] - world.behavior.logprobs(True)[said]
    np.testing.assert_allclose(constant, constant[0])


def test_weighted_sums_miss_the_interior_of_caution():
    """KL-optimal policies jump from one end to the other; brevity is covered."""
    ends, inner = [], []
    for weight in np.linspace(0, 1, 11):
        tradeoff = TradeOff((float(weight), float(1 - weight)))
        for name, found in (("B", ends), ("A", inner)):
            world = Handy(name)
            prompt = world.test_prompts[0]
            logps = world.optimum(prompt, tradeoff, beta=0.01)
            found.append(world.expected_rewards(prompt, logps))
    is_end = [(h < 0.02 and s > 0.98) or (h > 0.95 and s < 0.13) for h, s in ends]
    assert sum(is_end) >= 10
    assert sum(0.3 < h < 0.95 and 0.4 < c < 0.95 for h, c in inner) >= 3


def test_expected_rewards_of_the_behavior_match_its_samples():
    world = Handy("D")
    prompt = next(p for p in world.train_prompts if Request.parse(p).is_risky)
    exact = world.expected_rewards(prompt, world.behavior.logprobs(True))
    rng = np.random.default_rng(0)
    replies = [world.behavior.sample(prompt, rng) for _ in range(4000)]
    clean = set(world.enumerate_replies(prompt))
    scores = world.score_many([prompt] * 4000, replies)
    scores[[reply not in clean for reply in replies]] = 0
    deviation = scores.std(axis=0) / np.sqrt(len(scores))
    assert (abs(scores.mean(axis=0) - exact) < 4 * deviation).all()


def test_data_need_neither_torch_nor_transformers():
    code = (
        "import sys; from paretune.bench import Handy; w = Handy('A'); w.corpus(9);"
        "w.preferences(9); w.known_front(); bad = {'torch', 'transformers'} & set(sys.modules);"
        "sys.exit(str(bad) if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
