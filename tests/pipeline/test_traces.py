"""Logs of trainings as curves, worked out by hand on small logs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from paretune.core.traces import Curve
from paretune.engines.lm.constrained import LOG
from paretune.pipeline.folder import RunFolder
from paretune.pipeline.traces import MULTIPLIERS, read_traces
from paretune.safety.manifest import write_manifest

AXES = ("good", "short")


def lines(*rows: dict[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def job(name: str = "", weights: tuple[float, ...] = (1, 0), **more: Any) -> dict[str, Any]:
    source, tradeoff = {"type": "Offline"}, {"weights": weights}
    return {"id": name, "source": source, "tradeoff": tradeoff, "adapter": None, **more}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "tiny")


def training(run: RunFolder, name: str, jobs: Any, logs: dict[str, str], **facts: Any) -> Path:
    folder = run.stage(4) / name
    folder.mkdir(parents=True)
    for file, text in logs.items():
        (folder / file).write_text(text)
    write_manifest(folder, {"inputs": {"job": jobs}, "facts": facts})
    return folder


def test_a_training_is_told_quantity_by_quantity(run: RunFolder) -> None:
    log = lines(
        {"step": 2, "loss": 0.7, "accuracy/good": 0.5, "margin/good": 0.25},
        {"step": 4, "loss": 0.6, "accuracy/good": 1.0},
        {"step": 4, "validation": 0.9, "best_validation": float("nan")},
    )
    training(run, "dpo/dpo-1-0", job(), {"metrics.jsonl": log + '{"step": 6, "lo'})
    (found,) = read_traces(run, AXES)
    assert (found.method, found.policy, found.tradeoff) == ("dpo", "dpo-1-0", (1.0, 0.0))
    assert found.curves == {
        ("loss", ""): Curve((2, 4), (0.7, 0.6)),
        ("accuracy", "good"): Curve((2, 4), (0.5, 1.0)),
        ("margin", "good"): Curve((2,), (0.25,)),
        ("validation", ""): Curve((4,), (0.9,)),
    }


def test_steps_that_were_done_again_are_told_once(run: RunFolder) -> None:
    """A training that went on from step 2 without its log having been cut there."""
    steps = ((1, 5.0), (2, 4.0), (3, 3.5), (3, 3.0), (4, 2.0))
    rows = lines(*({"step": s, "loss": v} for s, v in steps))
    training(run, "sft/sft", job(), {"metrics.jsonl": rows})
    (found,) = read_traces(run, AXES)
    assert found.curves["loss", ""] == Curve((1, 2, 3, 4), (5.0, 4.0, 3.0, 2.0))


def test_jobs_of_a_group_are_told_apart_from_what_they_share(run: RunFolder) -> None:
    jobs = [job("head-0", (0, 1)), job("head-1", (1, 0))]
    log = lines({"step": 1, "loss": 1.0, "head-1/gain/good": 2.0, "0/loss/short": 3.0})
    training(run, "ham/hypervolume", jobs, {"metrics.jsonl": log})
    shared, good, short = read_traces(run, AXES)
    assert (shared.policy, shared.tradeoff) == ("hypervolume", None)
    assert set(shared.curves) == {("loss", "")}
    assert (short.policy, short.tradeoff) == ("head-0", (0.0, 1.0))
    assert short.curves == {("loss", "short"): Curve((1,), (3.0,))}
    assert good.policy == "head-1"
    assert good.curves == {("gain", "good"): Curve((1,), (2.0,))}


def test_a_policy_that_is_told_its_tradeoff_has_none_of_its_own(run: RunFolder) -> None:
    told = job(weights=(0.5, 0.5)) | {"adapter": {"type": "TradeOffEmbedding"}}
    training(run, "panacea/panacea", told, {"metrics.jsonl": lines({"step": 1, "loss": 1})})
    assert read_traces(run, AXES)[0].tradeoff is None


def test_floors_have_value_price_and_refreshes(run: RunFolder) -> None:
    assert MULTIPLIERS == LOG
    goals = [{"reward_floors": [None, None]}, {"reward_floors": [1.5, None]}]
    jobs = [job(f"primary-{i}", (1 - i, i), goal=goal) for i, goal in enumerate(goals)]
    rows = [
        {"step": s, "job": f"primary-{i}", "multipliers": [s / 10 + i], "floors": [0.5 + i],
         "values": [s * 1.0], "averages": [s / 2], "is_refreshed": s == 2}
        for s in (1, 2) for i in (0, 1)
    ]  # fmt: skip
    floors = {"primary-0": {"short": 0.5}, "primary-1": {"good": 1.5}}
    logs = {"metrics.jsonl": lines({"step": 2, "loss": 1.0}), "multipliers.jsonl": lines(*rows)}
    training(run, "mopo/heads", jobs, logs, floors=floors)
    shared, first, last = read_traces(run, AXES)
    assert shared.floors == ()
    assert [t.policy for t in (first, last)] == ["primary-0", "primary-1"]
    (short,), (good,) = first.floors, last.floors
    assert (short.objective, short.unit, good.objective, good.unit) == (
        "short", "preference", "good", "reward",
    )  # fmt: skip
    assert short.floor == Curve((1, 2), (0.5, 0.5))
    assert short.value == Curve((1, 2), (1.0, 2.0))
    assert short.average == Curve((1, 2), (0.5, 1.0))
    assert good.multiplier == Curve((1, 2), (1.1, 1.2))
    assert short.refreshes == good.refreshes == (2,)


def test_what_did_not_finish_is_told_from_beside_its_checkpoints(run: RunFolder) -> None:
    for name in ("a", "b"):
        folder = run.stage(4) / "dpo" / f".{name}.checkpoints"
        folder.mkdir(parents=True)
        (folder / "metrics.jsonl").write_text(lines({"step": 1, "loss": 1.0}))
    training(run, "dpo/b", job(), {"metrics.jsonl": lines({"step": 1, "loss": 2.0})})
    found = read_traces(run, AXES)
    assert [(t.policy, t.tradeoff, t.curves["loss", ""].values) for t in found] == [
        ("a", None, (1.0,)), ("b", (1.0, 0.0), (2.0,)),
    ]  # fmt: skip


def test_logs_that_cannot_be_read_are_left_out(run: RunFolder) -> None:
    assert read_traces(run, AXES) == ()
    good = lines({"step": 1, "loss": 1.0})
    for name, text in {"x": "[]\n", "y": lines({"loss": 1.0}), "z": good}.items():
        training(run, f"dpo/{name}", job(), {"metrics.jsonl": text})
    goal = {"reward_floors": [None, None]}
    short = lines({"step": 1, "job": "w", "floors": [], "values": 3})
    training(
        run, "mopo/w", job("w", goal=goal), {"multipliers.jsonl": short},
        floors={"w": {"good": 0.5}},
    )  # fmt: skip
    training(run, "dpo/v", [1], {"metrics.jsonl": good})
    damaged = training(run, "dpo/damaged", job(), {"metrics.jsonl": good})
    (damaged / "manifest.json").write_text("{")
    assert [t.policy for t in read_traces(run, AXES) if t.curves] == ["z"]


def test_extremes_outlive_thinning() -> None:
    values = [0.0] * 5000
    values[1234], values[4321] = 7.0, -7.0
    curve = Curve(tuple(range(5000)), tuple(values)).thinned(200)
    assert len(curve.steps) <= 200
    assert (max(curve.values), min(curve.values)) == (7.0, -7.0)
    assert (curve.steps[0], curve.steps[-1]) == (0, 4999)
    assert list(curve.steps) == sorted(set(curve.steps))
