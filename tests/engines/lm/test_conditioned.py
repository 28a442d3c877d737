"""Conditioned jobs: rows with prompts that tell what the response is like."""

import numpy as np
import pytest

from paretune.core.job import ConditionedRows, Pool, TrainingJob
from paretune.core.objective import Objectives
from paretune.core.record import Message, PreferenceData, Record, Response
from paretune.core.rewards import Normalizer
from paretune.core.tradeoff import TradeOff
from paretune.engines.lm.conditioned import conditioned
from paretune.engines.lm.encode import Encoder
from paretune.engines.lm.job_data import JobData
from paretune.errors import InputError
from paretune.functional.select import select_all

TEMPLATE = (
    "{% for m in messages %}<user> {{ m['content'] }} {% endfor %}"
    "{% if add_generation_prompt %}<bot>{% endif %}"
)


@pytest.fixture
def encoder(lab):
    return Encoder(lab.tokenizer(TEMPLATE), 64, 64)


@pytest.fixture
def inputs(encoder):
    yes, no = Response("yes", {"a": 1.0, "b": 0.0}), Response("no", {"a": 3.0, "b": 0.5})
    records = [
        Record("one", (yes, no)),
        Record((Message("user", "two"),), (Response("so", {"a": 2.0, "b": 1.0}),)),
    ]  # fmt: skip
    data = PreferenceData.from_records(records, Objectives.of("a", "b"))
    encoded = encoder.encode(data.prompts, data.texts, data.prompt_of)
    return JobData(data, encoded, np.zeros(3))


def tell(prompt, given, normalizer):
    return f"{prompt} " + " ".join(f"{v:g}" for v in given) + f" of {normalizer.high[0]:g}"


def job(rows):
    return TrainingJob("c", "sft", TradeOff.even(2), rows, condition=tell)


def test_every_row_is_told_its_own_rewards(inputs, encoder):
    plain, found = conditioned(job(select_all), inputs, encoder, normalizer(inputs))
    assert found.data.prompts == (
        "one 1 0 of 3",
        "one 3 0.5 of 3",
        (Message("user", "two 2 1 of 3"),),
    )
    assert found.data.texts == ("yes", "no", "so")
    assert plain.condition is None and plain.rows(Pool.of(found.data)).tolist() == [0, 1, 2]
    assert len(found.encoded.prompts) == 3


def test_a_rule_may_repeat_rows_and_tell_them_something_else(inputs, encoder):
    def rule(pool):
        return ConditionedRows(np.array([1, 1, 0]), np.array([[0.5], [0.7], [0.5]]))

    _, found = conditioned(job(rule), inputs, encoder, normalizer(inputs))
    assert found.data.prompts == ("one 0.5 of 3", "one 0.7 of 3")
    assert found.data.prompt_of.tolist() == [0, 1, 0]
    assert found.data.texts == ("no", "no", "yes")
    assert found.data.rewards.values.tolist() == [[3.0, 0.5], [3.0, 0.5], [1.0, 0.0]]


def test_no_row_is_an_error(inputs, encoder):
    with pytest.raises(InputError, match="job c: its rule left no row of 3 responses"):
        conditioned(job(lambda pool: np.array([], dtype=np.int64)), inputs, encoder,
                    normalizer(inputs))  # fmt: skip


def normalizer(inputs):
    return Normalizer.fit(inputs.data.rewards)
