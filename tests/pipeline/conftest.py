import pytest

from paretune.pipeline.config import parse_config


@pytest.fixture
def tiny_config():
    """A run of seconds on the embedded world; keyword arguments replace top-level keys."""

    def build(**changes):
        values = {
            "name": "tiny",
            "objectives": ["helpful", "concise"],
            "data": {"world": "handy", "scenario": "A", "pairs": 48},
            "base": {
                "corpus": 256,
                "train": {"learning_rate": 4e-3, "epochs": 1, "batch_size": 32},
            },
            "tradeoffs": {"grid": 2},
            "methods": [{"method": "rewarded_soups"}],
            "train": {"learning_rate": 5e-4, "epochs": 1, "batch_size": 16},
            "generate": {"max_new_tokens": 12},
            "evaluate": {"prompts": 12, "resamples": 100, "samples": 1},
            "workers": 1,
        }
        return parse_config(values | changes)

    return build
