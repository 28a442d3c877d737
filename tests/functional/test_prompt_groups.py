"""Groups of prompts: found where words tell, not found where they do not."""

import numpy as np
import pytest

from paretune.errors import InputError
from paretune.functional.prompt_groups import group_prompts

VERBS = ("paint", "burn", "ask")
PROMPTS = [f"How do I {verb} the {thing}?" for verb in VERBS for thing in range(30)]


def rewards_of(means: list[list[float]], noise: float) -> np.ndarray:
    """Two responses a prompt, around the means of its verb."""
    rng = np.random.default_rng(0)
    return np.repeat(np.array(means), 60, axis=0) + noise * rng.normal(size=(180, 2))


def test_prompts_are_grouped_by_the_words_that_tell():
    rewards = rewards_of([[0.5, 1.0], [0.5, 0.2], [0.1, 0.2]], noise=0.2)
    found = group_prompts(PROMPTS, rewards, np.arange(180) // 2, most=3)
    assert found.tolist() == [0] * 30 + [1] * 30 + [2] * 30
    # Fewer groups than kinds: the nearest two together.
    assert len(np.unique(group_prompts(PROMPTS, rewards, np.arange(180) // 2, most=2))) == 2


def test_noise_makes_no_groups():
    rewards = rewards_of([[0.5, 0.5]] * 3, noise=0.3)
    assert not group_prompts(PROMPTS, rewards, np.arange(180) // 2, most=4).any()


def test_few_prompts_make_groups_by_chance_rarely():
    rng, chance = np.random.default_rng(0), 0
    for _ in range(40):
        prompts = [" ".join(f"w{i}" for i in rng.zipf(1.5, 8) % 200) for _ in range(50)]
        chance += group_prompts(prompts, rng.normal(size=(100, 2)), np.arange(100) // 2, 4).any()
    # Without a test for chance about ten.
    assert chance <= 4


def test_prompts_without_responses_change_nothing_for_the_others():
    rewards = rewards_of([[0.5, 1.0], [0.5, 0.2], [0.1, 0.2]], noise=0.2)
    unanswered = [f"How do I paint the {thing}?" for thing in range(300)]
    found = group_prompts([*PROMPTS, *unanswered], rewards, np.arange(180) // 2, most=3)
    assert found[:90].tolist() == [0] * 30 + [1] * 30 + [2] * 30
    assert not found[90:].any()


def test_an_objective_that_words_do_not_tell_has_no_say():
    rewards = rewards_of([[0.5, 1.0], [0.5, 0.0], [0.5, 0.0]], noise=0.0)
    rewards[:, 0] = np.random.default_rng(1).normal(size=180) * 100
    found = group_prompts(PROMPTS, rewards, np.arange(180) // 2, most=2)
    assert found.tolist() == [0] * 30 + [1] * 60


def test_a_prompt_without_responses_goes_where_its_words_say():
    rewards = rewards_of([[0.0, 0.0], [1.0, 0.0], [1.0, 0.0]], noise=0.1)
    prompts = [*PROMPTS, "How do I paint the sky?", "How do I burn the sky?"]
    found = group_prompts(prompts, rewards, np.arange(180) // 2, most=2)
    assert found[-2:].tolist() == [0, 1]


@pytest.mark.parametrize("n", [1, 2])
def test_too_few_prompts_are_one_group(n):
    assert group_prompts(PROMPTS[:n], np.eye(n), np.arange(n), most=3).tolist() == [0] * n


def test_prompts_without_words_are_one_group():
    assert not group_prompts(["?", "!", "."], [[0.0], [1.0], [2.0]], [0, 1, 2], most=2).any()


def test_bad_input():
    with pytest.raises(InputError, match="found at most 0, expected at least 1"):
        group_prompts(PROMPTS, np.zeros((90, 2)), np.arange(90), most=0)
