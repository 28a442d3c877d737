"""Rows that come and go answer what they would have answered alone, each for its own trade-off."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from paretune.core.adapter import TradeOffAdapter, TradeOffEmbedding
from paretune.engines.lm.encode import Ragged
from paretune.engines.lm.generate import Decoding, generate
from paretune.engines.lm.live_batch import LiveBatch
from paretune.engines.lm.merge import merge_policies
from paretune.engines.lm.models import add_adapter, load_base, load_policy, save_policy
from paretune.engines.lm.row_policies import RowPolicies, RowSteering, RowUpdate, row_policies
from paretune.engines.lm.settings import LoraSettings
from paretune.engines.lm.state_head import StateHead, save_head
from paretune.engines.lm.tradeoff_adapter import add_tradeoff_adapter, set_tradeoff
from paretune.engines.lm.tradeoff_embedding import add_tradeoff_embedding, tell
from paretune.errors import ConfigError

EOS, PAD, LENGTH = 2, 0, 8
GREEDY = Decoding(max_new_tokens=LENGTH, temperature=0.0)
WEIGHTS = [(1.0, 0.0, 0.0), (0.2, 0.5, 0.3), (0.0, 0.0, 1.0), (0.5, 0.5, 0.0)]


def moved(model: Any, seed: int, part: str = "", size: float = 0.3) -> Any:
    noise = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if part in name:
                parameter.add_(torch.randn(parameter.shape, generator=noise) * size)
    return model.eval()


def save_base(lab: Any, folder: Path, name: str) -> str:
    save_policy(moved(lab.model(name), 9), lab.tokenizer(), folder / "base")
    return str(folder / "base")


def adapters(lab: Any, folder: Path, name: str = "llama") -> tuple[str, list[Path]]:
    base = save_base(lab, folder, name)
    for i, rank in enumerate((4, 2, 3)):
        model = add_adapter(load_base(base, is_frozen=True), LoraSettings(rank, 8.0 * rank), seed=i)
        save_policy(moved(model, i, "lora_B"), lab.tokenizer(), folder / f"expert-{i}")
    return base, [folder / f"expert-{i}" for i in range(3)]


def heads(lab: Any, folder: Path) -> tuple[str, list[Path]]:
    base = save_base(lab, folder, "llama")
    width = lab.model().config.hidden_size
    for i in range(3):
        head = moved(StateHead(torch.zeros(3, width), torch.zeros(width, 3)), i, size=1.0)
        save_head(head, base, folder / f"expert-{i}")
    return base, [folder / f"expert-{i}" for i in range(3)]


def decode(
    policies: RowPolicies, prompts: Sequence[np.ndarray], steering: Sequence[RowSteering],
    arrive: Sequence[int],
) -> list[list[int]]:  # fmt: skip
    """Greedy replies of rows that arrive at their own time and leave when they are done."""
    live = LiveBatch(policies, PAD)
    replies: list[list[int]] = [[] for _ in prompts]
    rows: list[int] = []
    logits = torch.zeros(0)
    for now in range(max(arrive) + LENGTH + 1):
        if rows:
            chosen = logits.argmax(-1)
            for row, token in zip(rows, chosen.tolist(), strict=True):
                replies[row].append(token)
            stay = [
                n for n, row in enumerate(rows)
                if replies[row][-1] != EOS and len(replies[row]) < LENGTH
            ]  # fmt: skip
            rows = [rows[n] for n in stay]
            live.keep(stay)
            chosen = chosen[stay]
            logits = live.read(chosen) if rows else torch.zeros(0)
        fresh = [n for n, when in enumerate(arrive) if when == now]
        if fresh:
            first = live.join([prompts[n] for n in fresh], [steering[n] for n in fresh])
            logits = torch.cat([logits, first]) if rows else first
            rows += fresh
        assert len(live) == len(rows)
    return [reply[: reply.index(EOS)] if EOS in reply else reply for reply in replies]


def alone(model: Any, prompt: np.ndarray) -> list[int]:
    return generate(model, Ragged.of([prompt]), EOS, PAD, GREEDY)[0][0]


def many(n: int) -> tuple[list[np.ndarray], list[int]]:
    rng = np.random.default_rng(0)
    prompts = [rng.integers(5, 40, rng.integers(1, 9)).astype(np.int32) for _ in range(n)]
    return prompts, rng.integers(0, 12, n).tolist()


@pytest.mark.parametrize("make", [adapters, heads])
def test_each_row_is_its_own_mixture(lab: Any, tmp_path: Path, make: Any) -> None:
    base, folders = make(lab, tmp_path)
    prompts, arrive = many(24)
    steering = [RowSteering(WEIGHTS[n % len(WEIGHTS)]) for n in range(len(prompts))]
    policies = row_policies(folders, base)
    assert policies is not None
    found = decode(policies, prompts, steering, arrive)
    models = [merge_policies(folders, w, base) for w in WEIGHTS]
    expected = [alone(models[n % len(WEIGHTS)], prompt) for n, prompt in enumerate(prompts)]
    assert found == expected
    others = [alone(models[(n + 1) % len(WEIGHTS)], prompt) for n, prompt in enumerate(prompts)]
    assert sum(a != b for a, b in zip(expected, others, strict=True)) > len(prompts) // 2


@pytest.mark.parametrize("name", ["gpt2", "qwen2", "gpt_neox", "bloom"])
def test_other_architectures(lab: Any, tmp_path: Path, name: str) -> None:
    base, folders = adapters(lab, tmp_path, name)
    prompts, arrive = many(9)
    steering = [RowSteering(WEIGHTS[n % len(WEIGHTS)]) for n in range(len(prompts))]
    policies = row_policies(folders, base)
    assert policies is not None
    found = decode(policies, prompts, steering, arrive)
    models = [merge_policies(folders, w, base) for w in WEIGHTS]
    assert found == [alone(models[n % len(WEIGHTS)], prompt) for n, prompt in enumerate(prompts)]


def test_rows_are_told_their_own_trade_off(lab: Any, tmp_path: Path) -> None:
    grid = ((1.0, 0.0), (0.5, 0.5), (0.0, 1.0))
    model = add_tradeoff_embedding(moved(lab.model(), 3), TradeOffEmbedding(grid, 3.0), 0)
    save_policy(model, lab.tokenizer(), tmp_path / "policy")
    prompts, arrive = many(15)
    policies = row_policies([tmp_path / "policy"], str(tmp_path))
    assert policies is not None
    steering = [RowSteering(told=n % 3) for n in range(len(prompts))]
    found = decode(policies, prompts, steering, arrive)
    expected = []
    for n, prompt in enumerate(prompts):
        tell(model, n % 3)
        expected.append(alone(model, prompt))
    assert found == expected


def test_rows_set_their_own_trade_off(lab: Any, tmp_path: Path) -> None:
    base = save_base(lab, tmp_path, "llama")
    model = load_base(base, is_frozen=True)
    model = moved(add_tradeoff_adapter(model, TradeOffAdapter(2, 4, 1)), 5, "outer", 2.0)
    save_policy(model, lab.tokenizer(), tmp_path / "policy")
    prompts, arrive = many(15)
    policies = row_policies([tmp_path / "policy"], base)
    assert policies is not None
    tradeoffs = [(n / 14, 1 - n / 14) for n in range(15)]
    found = decode(policies, prompts, [RowSteering(tradeoff=t) for t in tradeoffs], arrive)
    one = load_policy(tmp_path / "policy", base).eval()
    expected = []
    for tradeoff, prompt in zip(tradeoffs, prompts, strict=True):
        set_tradeoff(one, tradeoff)
        expected.append(alone(one, prompt))
    assert found == expected
    assert len({tuple(reply) for reply in expected}) > 5


def test_a_row_update_by_hand() -> None:
    layer = torch.nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 10.0]]))
        inner, outer = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[100.0], [1000.0]])
        update = RowUpdate(layer, inner, outer, [1, 1])
        update.weigh(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.25]]))
        found = update(torch.tensor([[1.0, 2.0]] * 3))
    # 1 + 20; plus 1 * 100; plus 2 * 2 * 1000; plus 50 and 1000.
    assert found[:, 0].tolist() == [121.0, 4021.0, 1071.0]


@pytest.mark.parametrize("name", ["mamba", "mistral_window"])
def test_a_past_that_rows_cannot_share_is_refused(lab: Any, name: str) -> None:
    class Policies:
        model = lab.model(name)

    with pytest.raises(ConfigError, match="whose rows can join others"):
        LiveBatch(Policies(), PAD)  # type: ignore[arg-type]


def test_whole_models_are_no_rows_of_one(lab: Any, tmp_path: Path) -> None:
    base = save_base(lab, tmp_path, "llama")
    for i in range(2):
        save_policy(moved(lab.model(), i), lab.tokenizer(), tmp_path / f"expert-{i}")
    assert row_policies([tmp_path / "expert-0", tmp_path / "expert-1"], base) is None


def test_who_takes_a_slot_sees_nothing_of_who_had_it(lab: Any) -> None:
    class Policies:
        model = lab.model()

        def steer(self, rows: Sequence[RowSteering]) -> None:
            pass

    prompts, _ = many(9)
    live = LiveBatch(Policies(), PAD)
    live.join(prompts[:8], [RowSteering()] * 8)
    # The third has no numbers any more: what is masked is still multiplied with.
    for layer in live._cache.layers:
        layer.keys[live._slots[2]] = layer.values[live._slots[2]] = torch.nan
    live.keep([0, 1, 3, 4, 5, 6, 7])
    assert live.read(torch.full((7,), 5)).isfinite().all(), "nor do others see who has left"
    buffers = [layer.keys.data_ptr() for layer in live._cache.layers]
    first = live.join([prompts[8]], [RowSteering()])
    assert buffers == [layer.keys.data_ptr() for layer in live._cache.layers], "nobody was moved"
    second = live.read(torch.full((8,), 5))
    alone = LiveBatch(Policies(), PAD)
    torch.testing.assert_close(first, alone.join([prompts[8]], [RowSteering()]))
    torch.testing.assert_close(second[7:], alone.read(torch.tensor([5])))


def test_slots_and_columns_of_no_use_are_closed_up(lab: Any) -> None:
    class Policies:
        model = lab.model()

        def steer(self, rows: Sequence[RowSteering]) -> None:
            pass

    rng = np.random.default_rng(1)
    live, widest, most = LiveBatch(Policies(), PAD), 0, 0
    ages: list[int] = []
    for _ in range(300):
        # Replies of at most 12 tokens, one after the other without end: never is nobody there.
        stay = [n for n, age in enumerate(ages) if age < 12 and rng.random() > 0.05]
        if ages:
            live.keep(stay)
        ages = [ages[n] for n in stay]
        if len(ages) < 6:
            live.join([rng.integers(5, 40, 4).astype(np.int32)], [RowSteering()])
            ages.append(0)
        live.read(torch.full((len(ages),), 5))
        ages = [age + 1 for age in ages]
        widest, most = max(widest, live._mask.shape[1]), max(most, live._mask.shape[0])
        assert len(live) == len(ages)
    assert widest <= (4 + 13) / 0.75 + 1 and most <= 8


def test_prompts_of_like_length_are_read_together(lab: Any, monkeypatch: Any) -> None:
    class Policies:
        model = lab.model()

        def steer(self, rows: Sequence[RowSteering]) -> None:
            self.rows = list(rows)

    policies = Policies()
    rng = np.random.default_rng(2)
    prompts = [rng.integers(5, 40, n).astype(np.int32) for n in (3, 20, 4, 19, 3, 1)]
    live, shapes = LiveBatch(policies, PAD), []
    forward = live._forward

    def watched(ids: Any, *more: Any) -> Any:
        shapes.append(tuple(ids.shape))
        return forward(ids, *more)

    monkeypatch.setattr(live, "_forward", watched)
    steering = [RowSteering(told=n) for n in range(6)]
    first = live.join(prompts, steering)
    assert shapes == [(2, 20), (3, 4), (1, 1)]
    second = live.read(torch.arange(10, 16))
    assert [policies.rows[slot] for slot in live._slots] == steering
    for n, prompt in enumerate(prompts):
        alone = LiveBatch(policies, PAD)
        torch.testing.assert_close(first[n : n + 1], alone.join([prompt], [steering[n]]))
        torch.testing.assert_close(second[n : n + 1], alone.read(torch.tensor([10 + n])))


def test_rows_that_cannot_be_read_leave_the_others_alone(lab: Any, monkeypatch: Any) -> None:
    class Policies:
        model = lab.model()

        def steer(self, rows: Sequence[RowSteering]) -> None:
            pass

    prompts, _ = many(6)
    live, expected = LiveBatch(Policies(), PAD), LiveBatch(Policies(), PAD)
    for one in (live, expected):
        one.join(prompts[:2], [RowSteering()] * 2)
    forward = live._forward

    def failing(ids: Any, *more: Any) -> Any:
        if ids.shape[1] < 3:
            raise RuntimeError("no memory")
        return forward(ids, *more)

    monkeypatch.setattr(live, "_forward", failing)
    fresh = [np.full(n, 7, dtype=np.int32) for n in (9, 2)]
    with pytest.raises(RuntimeError, match="no memory"):
        live.join(fresh, [RowSteering()] * 2)
    monkeypatch.setattr(live, "_forward", forward)
    assert len(live) == 2
    tokens = torch.tensor([5, 6])
    torch.testing.assert_close(live.read(tokens), expected.read(tokens))
