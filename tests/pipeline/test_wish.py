"""A wish in place of methods."""

import pytest

from paretune.errors import ConfigError
from paretune.pipeline.wish import with_wish


def test_a_wish_becomes_one_constrained_policy(tiny_config):
    config = with_wish(tiny_config(), "helpful", ["concise=0.6"])
    (method,) = config.methods
    built = config.build_method(method)
    (job,) = built.plan(2, config.tradeoffs_of(method))
    assert (method.name, job.id) == ("helpful-concise-0.6", "primary-0")
    assert job.goal.thresholds == (None, 0.6)
    assert job.source.of == ("base",), "floors are meant over the reference's own replies"


def test_floors_of_rewards_and_options_of_the_file(tiny_config):
    own = {"method": "mopo", "tau": 0.2, "candidates": 4, "train": {"steps": 3},
           "thresholds": {"helpful": 0.7}}  # fmt: skip
    config = with_wish(tiny_config(methods=[own]), "concise", ["helpful=reward:0.25"])
    built = config.build_method(config.methods[0])
    assert (built.tau, built.candidates, built.thresholds) == (0.2, 4, (None, None))
    assert built.reward_floors == (0.25, None)
    assert config.train_of(config.methods[0]).steps == 3


def test_without_floors_the_others_are_free(tiny_config):
    config = with_wish(tiny_config(), "helpful")
    goal = config.build_method(config.methods[0]).plan(2, ())[0].goal
    assert config.methods[0].name == "helpful"
    assert goal.secondary == ()


def test_objectives_without_a_floor_are_free(tiny_config):
    axes = ["helpful", "concise", "humor"]
    config = with_wish(tiny_config(objectives=axes), "helpful", ["humor=0.5"])
    goal = config.build_method(config.methods[0]).plan(3, ())[0].goal
    assert goal.secondary == (2,)


def test_a_wish_is_a_run_of_its_own(tiny_config):
    assert with_wish(tiny_config(), "helpful", ["concise=0.6"]).name == "tiny-helpful-concise-0.6"


@pytest.mark.parametrize(
    ("primary", "at_least", "message"),
    [
        ("helpfull", [], "unknown objective 'helpfull'"),
        ("helpful", ["concise"], "found 'concise', expected objective=0.6"),
        ("helpful", ["concise=high"], "expected objective=0.6 or objective=reward:4.5"),
        ("helpful", ["concise=nan"], "expected objective=0.6"),
        ("helpful", ["concice=0.5"], "unknown objective 'concice'"),
        ("helpful", ["concise=0.5", "concise=reward:1"], "concise twice"),
        ("helpful", ["concise=1.5"], r"found 'concise=1\.5', expected a preference probability"),
        ("helpful", ["helpful=0.5"], "expected no floor for the primary one"),
    ],
)
def test_what_cannot_be_wished_for(tiny_config, primary, at_least, message):
    with pytest.raises(ConfigError, match=message):
        with_wish(tiny_config(), primary, at_least)
