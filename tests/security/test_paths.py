"""Names from outside become folders: none of them leads out of the place it is given."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretune.core.job import TrainingJob, group_jobs, order_jobs
from paretune.core.objective import Objectives
from paretune.core.tradeoff import TradeOff
from paretune.errors import ConfigError
from paretune.methods import load_methods
from paretune.pipeline.config import parse_config
from paretune.pipeline.folder import RunFolder

NAMES = (
    "../x", "..", ".", "", "/etc/passwd", "a/b", "a\\b", "~", "~root", "-rf", ".hidden", "a\x00b",
    "a\n", "a" * 300, "a b", "a;b", "$HOME", "`x`", "é", "\u202eabc", "a\u2028b", "CON:", "%2e%2e",
)  # fmt: skip


def config(**changes: object) -> object:
    values = {
        "name": "r", "objectives": ["wit", "tact"], "data": {"path": "rows.jsonl"},
        "methods": [{"method": "dpo"}],
    }  # fmt: skip
    return parse_config(values | changes)


@pytest.mark.parametrize("name", NAMES)
def test_no_name_of_a_run_method_or_objective_leads_elsewhere(name: str) -> None:
    with pytest.raises(ConfigError, match="name"):
        config(name=name)
    with pytest.raises(ConfigError, match=r"methods\.0\.label"):
        config(methods=[{"method": "dpo", "label": name}])
    with pytest.raises(ConfigError, match="objectives"):
        config(objectives=["wit", name])
    with pytest.raises(ConfigError, match="method"):
        config(methods=[{"method": name}])


def test_folders_that_are_taken_are_refused() -> None:
    with pytest.raises(ConfigError, match="name: found 'bases'"):
        config(name="bases")
    with pytest.raises(ConfigError, match="found the name 'reference'"):
        config(methods=[{"method": "dpo", "label": "reference"}])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("field", ["id", "group"])
def test_no_job_of_a_plan_leads_elsewhere(name: str, field: str) -> None:
    job = TrainingJob(**{"id": "a", "kind": "sft", "tradeoff": TradeOff((1.0,)), field: name})
    with pytest.raises(ConfigError, match="expected a file name"):
        order_jobs([job])


@given(st.text())
def test_what_is_taken_for_a_job_is_one_folder(name: str) -> None:
    job = TrainingJob(name, "sft", TradeOff((1.0,)))
    try:
        order_jobs([job])
    except ConfigError:
        return
    path = RunFolder(Path("/runs/r")).policy("m", name)
    assert path.parent == Path("/runs/r/4-policies/m") and "\x00" not in name
    assert len(name.encode()) <= 200


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20).filter(lambda w: sum(w) > 0))
def test_a_trade_off_is_one_folder(weights: list[float]) -> None:
    tradeoff = TradeOff(tuple(w / sum(weights) for w in weights))
    assert set(tradeoff.slug) <= set("0123456789.-")
    assert Path("/a", tradeoff.slug).resolve().parent == Path("/a")
    assert len(tradeoff.slug) < 200


@pytest.mark.parametrize("name", sorted(load_methods()))
@pytest.mark.parametrize("n_objectives", [2, 3])
def test_every_method_plans_jobs_with_names_of_files(name: str, n_objectives: int) -> None:
    tradeoffs = [TradeOff.even(n_objectives), TradeOff.only(0, n_objectives)]
    method = load_methods()[name]()
    try:
        jobs = method.plan(n_objectives, tradeoffs)
    except ConfigError:
        pytest.skip("needs settings")
    order_jobs(jobs)
    for group in group_jobs(jobs):
        folder = group[0].group or group[0].id
        assert RunFolder(Path("r")).policy(name, folder).name == folder


@given(st.text())
def test_an_objective_is_a_word(name: str) -> None:
    try:
        Objectives((name,))
    except ConfigError:
        return
    assert name.isascii() and name.isidentifier() and len(name) <= 32
