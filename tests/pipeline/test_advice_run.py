import numpy as np
import pytest

from paretune.bench.advice import AXES, Advice
from paretune.core.record import PreferenceData
from paretune.data.reader import read_all
from paretune.data.sources import DataSource
from paretune.errors import ConfigError
from paretune.pipeline.config import parse_config
from paretune.pipeline.run import execute
from paretune.pipeline.worlds import world_of

AXES_3 = ["helpfulness", "harmlessness", "creativity"]


def config(**changes):
    values = {
        "name": "tiny",
        "objectives": AXES_3,
        "data": {"world": "advice", "pairs": 32},
        "base": {"corpus": 64},
        "tradeoffs": {"grid": 1},
        "methods": [{"method": "rewarded_soups"}, {"method": "dpo", "labels": "weighted"}],
        "train": {"learning_rate": 5e-4, "epochs": 1, "batch_size": 16},
        "generate": {"max_new_tokens": 12},
        "evaluate": {"prompts": 8, "resamples": 100, "samples": 1},
        "workers": 1,
    }
    return parse_config(values | changes)


def test_a_run_lives_in_the_world_with_its_own_objectives():
    assert world_of(config()).objectives.names == tuple(AXES_3)
    assert world_of(config(objectives=list(AXES))).objectives.names == AXES
    with pytest.raises(ConfigError, match=r"unknown objective 'helpful'.*helpfulness"):
        world_of(config(objectives=["helpful", "creativity"]))


def test_a_run_on_the_world_ends_with_a_front_and_standard_records(tmp_path):
    finished = execute(config(), tmp_path / "tiny")
    assert not finished.failed
    assert [len(method.points) for method in finished.result.methods] == [3, 3]
    assert finished.result.known == Advice(tuple(AXES_3)).known_front(config().run_tradeoffs)
    source = DataSource(str(tmp_path / "tiny" / "1-records" / "train.jsonl"), format="records")
    records = read_all([source], config().axes).records
    assert records == tuple(Advice(tuple(AXES_3)).preferences(32, 0))
    labels = PreferenceData.from_records(records, AXES_3).labels
    assert np.unique(labels).size > 3, "signed strengths, not signs alone"
