"""A measured run becomes a service: every way to steer, what is damaged, what is no run."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from paretune.cli.main import app
from paretune.core.policy import Steering
from paretune.core.tradeoff import TradeOff
from paretune.engines.lm.encode import Ragged
from paretune.engines.lm.generate import Decoding, generate
from paretune.engines.lm.row_sampling import Sampling
from paretune.errors import ConfigError, RunError
from paretune.pipeline.folder import RunFolder
from paretune.pipeline.replies import load_steered
from paretune.pipeline.run import execute
from paretune.pipeline.serve import open_service
from paretune.serving.app import Service
from paretune.serving.scheduler import Asked, Ended, Token

WHOLE = Steering("pick", ("base",), (1.0,), TradeOff((0.5, 0.5)))
LORA = {"lora": {"rank": 2, "alpha": 16}, "learning_rate": 2e-2}
METHODS = [
    {"method": "rewarded_soups", "train": LORA},
    {"method": "rewarded_soups", "label": "whole"},
    {"method": "mod_decoding", "train": LORA},
    {"method": "dpo", "train": LORA},
    {"method": "dpo", "label": "frozen", "backbone": "frozen"},
    {"method": "front_imitation", "k": 8, "steps": 20},
    {"method": "panacea", "train": {"learning_rate": 1e-2}},
    {"method": "best_of_n", "n": 2},
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from paretune.pipeline.config import parse_config

    values: dict[str, Any] = {
        "name": "tiny", "objectives": ["helpful", "concise"],
        "data": {"world": "handy", "scenario": "A", "pairs": 48},
        "base": {"corpus": 256, "train": {"learning_rate": 4e-3, "epochs": 1, "batch_size": 32}},
        "tradeoffs": {"grid": 2}, "methods": METHODS,
        "train": {"learning_rate": 5e-4, "epochs": 1, "batch_size": 16},
        "generate": {"max_new_tokens": 8},
        "evaluate": {"prompts": 6, "resamples": 100, "samples": 1}, "workers": 1,
    }  # fmt: skip
    path = tmp_path_factory.mktemp("runs") / "tiny"
    finished = execute(parse_config(values), path)
    assert finished.failed == {}
    return path


@pytest.fixture(scope="module")
def service(run: Path) -> Iterator[Service]:
    made = open_service(RunFolder(run))
    yield made
    assert made.scheduler.close(60)


def replies(service: Service, asked: list[tuple[str, TradeOff]]) -> list[list[int]]:
    """Greedy replies to one prompt, all asked for at once."""
    boxes: list[queue.SimpleQueue[Token | Ended]] = [queue.SimpleQueue() for _ in asked]
    together = []
    for (method, tradeoff), box in zip(asked, boxes, strict=True):
        answer = service.answers.answer(method, tradeoff)
        ids = service.words.ids("how do i open a jar ?", answer.steering, 8)
        together.append(
            Asked(answer.model, answer.rows, ids, Sampling(0.0), 8, box.put, mix=answer.mix)
        )
    service.scheduler.ask(together)
    found: list[list[int]] = []
    for box in boxes:
        tokens: list[int] = []
        while isinstance(event := box.get(timeout=120), Token):
            tokens.append(event.id)
        assert event.reason in ("stop", "length"), event
        found.append(tokens)
    return found


@pytest.mark.slow
def test_every_method_answers_as_it_was_measured(run: Path, service: Service) -> None:
    tradeoffs = [TradeOff((w, 1 - w)) for w in (0.0, 0.3, 0.5, 1.0)]
    names = list(service.answers.methods)
    assert names == [str(m.get("label", m["method"])) for m in METHODS[:-1]], "all but best of n"
    asked = [(name, tradeoff) for tradeoff in tradeoffs for name in names]
    found = replies(service, asked)
    base = service.answers._base
    for (name, tradeoff), tokens in zip(asked, found, strict=True):
        method = service.answers.methods[name]
        steering = method.steer(tradeoff)
        model = load_steered(steering, method.folders, base)
        ids = service.words.ids("how do i open a jar ?", steering, 8)
        (expected,) = generate(
            model, Ragged.of([ids]), int(service.words.encoder.tokenizer.eos_token_id),
            service.words.encoder.pad_id, Decoding(8, 0.0),
        )[0]  # fmt: skip
        assert tokens == expected, (name, tradeoff)
    assert len({tuple(tokens) for tokens in found}) > 5


@pytest.mark.slow
def test_a_damaged_policy_is_not_served(run: Path) -> None:
    file = run / "4-policies" / "rewarded_soups" / "expert-0" / "adapter_model.safetensors"
    content = file.read_bytes()
    broken = bytearray(content)
    broken[len(broken) // 2] ^= 1
    file.write_bytes(bytes(broken))
    try:
        with pytest.raises(RunError, match=r"adapter_model\.safetensors: found other content"):
            open_service(RunFolder(run))
    finally:
        file.write_bytes(content)


@pytest.mark.slow
def test_the_default_is_the_largest_front(service: Service, run: Path) -> None:
    reached = {m.name: m.hypervolume.value for m in service.result.methods if m.hypervolume}
    best = max(service.answers.methods, key=lambda name: reached[name])
    assert service.wishes.default == best
    with pytest.raises(ConfigError, match=r"--method: found 'other'; known: .*rewarded_soups"):
        open_service(RunFolder(run), "other")


def test_what_is_not_measured_is_not_served(
    tmp_path: Path, tiny_config: Callable[..., Any]
) -> None:
    execute(tiny_config(), tmp_path / "tiny", "data")
    with pytest.raises(ConfigError, match="expected an evaluated run"):
        open_service(RunFolder(tmp_path / "tiny"))


@pytest.mark.slow
def test_an_exported_policy_answers_like_the_served_one(run: Path, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    words = ["export", str(run), str(tmp_path / "out"), "--preference", "0.3,0.7"]
    told = CliRunner().invoke(app, [*words, "--method", "rewarded_soups"])
    assert told.exit_code == 0, told.output
    assert "README.md" in told.output
    assert (tmp_path / "out" / "front.png").stat().st_size > 1000
    service = open_service(RunFolder(run))
    (expected,) = replies(service, [("rewarded_soups", TradeOff((0.3, 0.7)))])
    assert service.scheduler.close(60)
    base = AutoModelForCausalLM.from_pretrained(service.answers._base)
    model = PeftModel.from_pretrained(base, tmp_path / "out").eval()
    assert len(AutoTokenizer.from_pretrained(tmp_path / "out")) == model.config.vocab_size
    whole = torch.tensor([list(service.words.ids("how do i open a jar ?", WHOLE, 8))])
    found = model.generate(whole, max_new_tokens=8, do_sample=False)[0, whole.shape[1] :].tolist()
    end = service.words.encoder.tokenizer.eos_token_id
    assert (found[: found.index(end)] if end in found else found) == expected


@pytest.mark.slow
def test_a_grid_is_what_vllm_is_given(run: Path, tmp_path: Path) -> None:
    words = ["export", str(run), str(tmp_path / "grid"), "--grid", "2"]
    told = CliRunner().invoke(app, [*words, "--method", "dpo"])
    assert told.exit_code == 0, told.output
    assert sorted(p.name for p in (tmp_path / "grid").iterdir()) == ["0-1", "0.5-0.5", "1-0"]
    assert f"'tiny@0.5,0.5={tmp_path / 'grid' / '0.5-0.5'}'" in told.output
    again = CliRunner().invoke(app, [*words, "--method", "dpo"])
    assert "found something there" in str(again.exception)
    both = CliRunner().invoke(app, [*words[:3], "--grid", "2", "--preference", "1,0"])
    assert "one of --preference and --grid" in str(both.exception)
    mixed = CliRunner().invoke(
        app, ["export", str(run), str(tmp_path / "m"), "--preference", "0.5,0.5",
              "--method", "mod_decoding"],
    )  # fmt: skip
    assert "paretune serve does" in str(mixed.exception)
    assert not (tmp_path / "m").exists() and not list(tmp_path.glob(".*"))
