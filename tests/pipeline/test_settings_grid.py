"""What a recipe may search, and what is refused before anything is trained."""

import pytest

from paretune.errors import ConfigError
from paretune.pipeline.config import parse_config, with_seeds
from paretune.pipeline.search import Choice, search_config, seed_config
from paretune.pipeline.settings_grid import combinations, with_options

SOUPS = {
    "method": "rewarded_soups",
    "train": {"epochs": 2},
    "tradeoffs": {"grid": 4},
    "search": {"beta": [0.1, 0.5], "train.learning_rate": [1e-4, 2e-4]},
}


def test_every_combination_in_order(tiny_config):
    (method,) = tiny_config(methods=[SOUPS]).methods
    assert combinations(method) == [
        {"beta": 0.1, "train.learning_rate": 1e-4},
        {"beta": 0.1, "train.learning_rate": 2e-4},
        {"beta": 0.5, "train.learning_rate": 1e-4},
        {"beta": 0.5, "train.learning_rate": 2e-4},
    ]
    values = with_options(method, combinations(method)[1])
    assert values == {
        "method": "rewarded_soups",
        "beta": 0.1,
        "train": {"epochs": 2, "learning_rate": 2e-4},
        "tradeoffs": {"grid": 4},
    }
    assert method.train == {"epochs": 2}  # not changed in place
    (plain,) = tiny_config().methods
    assert combinations(plain) == [{}]


def test_the_search_is_one_run_of_its_own_seed_on_a_coarse_grid(tiny_config):
    config = tiny_config(
        methods=[SOUPS, {"method": "sft", "search": {"train.steps": [3]}}],
        compare={"seeds": 2, "search_tradeoffs": 1, "search_seed": 77},
    )
    search = search_config(config)
    assert [m.name for m in search.methods] == [f"rewarded_soups-{n}" for n in (1, 2, 3, 4)]
    assert search.seed == 77 and search.evaluate.part == "validation"
    assert search.evaluate.prompts == 12 and search.compare is None
    assert [len(search.tradeoffs_of(m)) for m in search.methods] == [2, 2, 2, 2]
    rates = [search.train_of(m).learning_rate for m in search.methods]
    assert rates == [1e-4, 2e-4, 1e-4, 2e-4]
    assert [search.build_method(m).beta for m in search.methods] == [0.1, 0.1, 0.5, 0.5]
    assert search_config(tiny_config()) is None


def test_a_seed_runs_every_method_at_its_choice(tiny_config):
    config = tiny_config(methods=[SOUPS, {"method": "sft"}, {"method": "best_of_n"}])
    choices = {
        "rewarded_soups": Choice({"beta": 0.5, "train.learning_rate": 2e-4}),
        "sft": Choice({}),
        "best_of_n": Choice(None),
    }
    seed = seed_config(config, choices, 3)
    assert (seed.name, seed.seed, seed.evaluate.part) == ("seed-3", 3, "test")
    assert [m.name for m in seed.methods] == ["rewarded_soups", "sft"]
    assert seed.build_method(seed.methods[0]).beta == 0.5
    assert len(seed.tradeoffs_of(seed.methods[0])) == 5


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ({"beta": [0.1, 0.2, 0.3, 0.4, 0.5]}, r"found 5 settings, expected at most 4"),
        ({"beta": []}, "found no value"),
        ({"betta": [0.1]}, "betta"),
        ({"beta": [0.1, -1.0]}, r"with beta -1.0: .*a finite number > 0"),
        (
            {"train.learning_rat": [0.1]},
            r"learning_rat: unknown key \(did you mean 'learning_rate'",
        ),
        ({"tradeoffs": [{"grid": 2}]}, "expected options of the method"),
        ({"train.max_prompt_tokens": [8]}, "max_prompt_tokens"),
    ],
)
def test_what_cannot_be_searched_is_refused(tiny_config, method, message):
    with pytest.raises(ConfigError, match=rf"methods\.0\.search.*{message}"):
        tiny_config(methods=[{"method": "rewarded_soups", "search": method}])


def test_all_problems_are_told_at_once(tiny_config):
    with pytest.raises(ConfigError) as error:
        tiny_config(
            methods=[
                {"method": "rewarded_soups", "search": {"beta": [0.0]}},
                {"method": "sft", "search": {"train.steps": [1, 2, 3]}},
            ],
            compare={"settings": 2},
        )
    text = str(error.value)
    assert "methods.0.search" in text and "methods.1.search" in text and "at most 2" in text


def test_names_of_settings_must_be_free(tiny_config):
    methods = [
        {"method": "rewarded_soups", "search": {"beta": [0.1, 0.2]}},
        {"method": "sft", "label": "rewarded_soups-2"},
    ]
    with pytest.raises(ConfigError, match="expected another label"):
        tiny_config(methods=methods)


def test_the_search_never_sees_a_seed_that_is_measured(tiny_config):
    with pytest.raises(ConfigError, match=r"search_seed.*expected none of the seeds 0 to 4"):
        tiny_config(compare={"search_seed": 4})
    config = tiny_config(compare={"search_seed": 5})
    with pytest.raises(ConfigError, match="none of the seeds 0 to 7"):
        with_seeds(config, 8)
    assert with_seeds(config, 3).compare.seeds == 3
    assert with_seeds(config, None) is config
    with pytest.raises(ConfigError, match=r"compare\.seeds"):
        with_seeds(config, 1)
    # Without the section its defaults hold, as soon as something is searched.
    searched = [{"method": "sft", "search": {"train.steps": [1, 2]}}]
    with pytest.raises(ConfigError, match=r"expected none of the seeds 1000 to 1004"):
        tiny_config(seed=1000, methods=searched)
    assert tiny_config(seed=1000).seed == 1000
    with pytest.raises(ConfigError, match="did you mean 'seeds'"):
        parse_config({**config.model_dump(mode="json"), "compare": {"seed": 3}})
