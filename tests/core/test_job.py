from __future__ import annotations

import numpy as np
import pytest

from paretune.core.job import BASE, Pool, Replies, TrainingJob, order_jobs
from paretune.core.record import PreferenceData, Record, Response
from paretune.core.tradeoff import TradeOff
from paretune.errors import ConfigError
from paretune.functional.select import select_all


def job(name: str, start: str = BASE, of: tuple[str, ...] = ()) -> TrainingJob:
    source = {"source": Replies(of, prompts=10)} if of else {}
    return TrainingJob(name, "sft", TradeOff.even(2), select_all, start=start, **source)


def test_needs_are_named_once_in_a_fixed_order() -> None:
    assert job("c", start="a", of=("b", "a")).needs == ("b", "a")
    assert job("c").needs == ()


def test_waves() -> None:
    jobs = [job("d", of=("c", "a")), job("c", start="a"), job("a"), job("b", of=(BASE,))]
    assert [[j.id for j in wave] for wave in order_jobs(jobs)] == [["a", "b"], ["c"], ["d"]]
    assert order_jobs([]) == []


@pytest.mark.parametrize(
    ("jobs", "message"),
    [
        ([job("a"), job("a")], "unique"),
        ([job(BASE)], "unique"),
        ([job("a", start="b")], "'a' needs 'b'"),
        ([job("a", of=("c",))], "'a' needs 'c'"),
        ([job("a", start="b"), job("b", start="a")], "wait for each other"),
        ([job("a", start="a")], "wait for each other"),
    ],
)
def test_refuses_plans_that_cannot_run(jobs: list[TrainingJob], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        order_jobs(jobs)


def test_the_pool_of_a_data_set_numbers_equal_texts_alike() -> None:
    records = [
        Record("p", (Response("a", {"x": 1.0}), Response("b"))),
        Record("q", (Response("a", {"x": 0.5}),)),
    ]
    pool = Pool.of(PreferenceData.from_records(records, ("x",)))
    assert pool.text_of.tolist() == [0, 1, 0]
    assert pool.prompt_of.tolist() == [0, 0, 1]
    assert pool.rewards[[0, 2], 0].tolist() == [1.0, 0.5]
    assert np.isnan(pool.rewards[1, 0])
