"""Online jobs: prompts, replies and rewards are ours, the objective is TRL's, and both repeat."""

from __future__ import annotations

import builtins
import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from paretune.core.job import Offline, Replies, TrainingJob
from paretune.core.online import OnlineGoal
from paretune.core.record import PreferenceData, Record, Response
from paretune.core.rewards import Normalizer
from paretune.core.tradeoff import TradeOff
from paretune.engines.lm.checkpoints import Checkpoints
from paretune.engines.lm.encode import Encoder
from paretune.engines.lm.job_data import JobCost, JobData, OwnReplies
from paretune.engines.lm.jobs import train_jobs
from paretune.engines.lm.models import add_adapter, load_base, load_policy, save_policy
from paretune.engines.lm.online import check_online, prompt_order
from paretune.engines.lm.own_replies import Asker
from paretune.engines.lm.settings import LoraSettings, TrainSettings
from paretune.errors import ConfigError, InputError, RunError

TEMPLATE = (
    "{% for m in messages %}{{ '<user> ' if m.role == 'user' else '<bot> ' }}{{ m.content }}"
    "{{ ' ' if m.role == 'user' else ' <eos>' }}{% endfor %}"
    "{% if add_generation_prompt %}<bot> {% endif %}"
)
SETTINGS = TrainSettings(
    learning_rate=3e-3, precision="float32", weight_decay=0.0, schedule="constant"
)
GOAL = OnlineGoal((0.5, 0.5), 0.02, prompts=4, generations=3, is_standardized=False)
PLAIN = Normalizer((0.0, 0.0), (1.0, 1.0), (0.0, 0.0), (1.0, 1.0), 10)


def shares(numbers: np.ndarray, texts: Sequence[str]) -> np.ndarray:
    """Shares, of eight tokens, of the words w5..w12 and of w13..w20: they never add to over 1."""
    counts = [[sum(low <= int(w[1:]) < low + 8 for w in t.split()) for low in (5, 13)]
              for t in texts]  # fmt: skip
    return np.array(counts) / 8


class Bench:
    """A tiny base on disk, prompts of 4 words, and what a job needs of them."""

    def __init__(self, lab: Any, folder: Path, template: str | None = None, **shape: Any) -> None:
        self.lab, self.folder, self.base = lab, folder, folder / "base"
        self.tokenizer = lab.tokenizer(template)
        save_policy(lab.model(shape.pop("name", "llama"), **shape), self.tokenizer, self.base)
        self.encoder = Encoder(self.tokenizer, 64, 64)

    def data(self, n_prompts: int = 12, **more: Any) -> JobData:
        rng = np.random.default_rng(0)
        prompts = [" ".join(f"w{i}" for i in rng.integers(5, 40, n)) for n in
                   rng.integers(2, 7, n_prompts)]  # fmt: skip
        seen = Response("w5 w6", {"a": 0.0, "b": 0.0})
        data = PreferenceData.from_records([Record(p, (seen,)) for p in prompts], ("a", "b"))
        encoded = self.encoder.encode(data.prompts, data.texts, data.prompt_of)
        own = OwnReplies(self.encoder, shares, PLAIN, max_new_tokens=8)
        return JobData(data, encoded, np.full(n_prompts, np.nan), own=replace(own, **more))

    def train(
        self,
        goal: OnlineGoal = GOAL,
        steps: int = 3,
        model: Any = None,
        inputs: JobData | None = None,
        progress: Callable[[int, int, Mapping[str, float]], None] | None = None,
        checkpoints: Checkpoints | None = None,
        **settings: Any,
    ) -> tuple[Any, JobCost, list[Mapping[str, float]]]:
        """The trained model, its cost, and what was logged."""
        job = TrainingJob("job", "online", TradeOff(goal.weights), online=goal,
                          settings={"steps": steps})  # fmt: skip
        model = load_base(self.base) if model is None else model
        log: list[Mapping[str, float]] = []

        def watch(step: int, of: int, numbers: Mapping[str, float]) -> None:
            if "loss" in numbers:
                log.append(numbers)
            if progress is not None:
                progress(step, of, numbers)

        _, cost = train_jobs(
            [job], inputs or self.data(), model, 0, replace(SETTINGS, **settings), self.folder,
            watch, checkpoints,
        )  # fmt: skip
        return model, cost, log


@pytest.fixture
def bench(lab: Any, tmp_path: Path) -> Bench:
    return Bench(lab, tmp_path)


def parameters(model: Any) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for _, p in sorted(model.named_parameters())])


@pytest.mark.parametrize(
    "goal",
    [
        GOAL,
        replace(GOAL, algorithm="grpo"),
        replace(GOAL, algorithm="grpo", aggregate="normalize_then_sum"),
    ],
)
def test_three_steps(bench: Bench, goal: OnlineGoal) -> None:
    before = parameters(load_base(bench.base))
    model, cost, log = bench.train(goal)
    assert not torch.equal(parameters(model), before)
    assert (cost.steps, cost.rows, len(log)) == (3, 36, 3)
    assert {"loss", "grad_norm", "learning_rate", "kl", "reward/a", "reward/b"} <= log[-1].keys()
    # From the reference itself, and only then, nothing has moved yet.
    assert abs(log[0]["kl"]) < 1e-6 < abs(log[-1]["kl"])
    assert sorted(p.name for p in bench.folder.iterdir()) == ["base"], "a file was left behind"


def test_repeats_by_its_seed(bench: Bench) -> None:
    one, same, other = (parameters(bench.train(steps=2, seed=seed)[0]) for seed in (0, 0, 1))
    assert torch.equal(one, same) and not torch.equal(one, other)


@pytest.mark.parametrize("template", [None, TEMPLATE])
def test_prompts_are_the_ids_of_the_encoder(
    lab: Any, tmp_path: Path, template: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trl import RLOOTrainer

    seen: list[dict[str, Any]] = []
    original = RLOOTrainer._compute_loss

    def spy(self: Any, model: Any, inputs: dict[str, Any]) -> Any:
        seen.append(inputs)
        return original(self, model, inputs)

    monkeypatch.setattr(RLOOTrainer, "_compute_loss", spy)
    bench = Bench(lab, tmp_path, template)
    inputs = bench.data()
    told: list[tuple[int, str]] = []

    def reward(numbers: np.ndarray, texts: Sequence[str]) -> np.ndarray:
        told.extend(zip(numbers.tolist(), texts, strict=True))
        return shares(numbers, texts)

    bench.train(inputs=replace(inputs, own=replace(inputs.own, reward=reward)), steps=2)
    expected = {tuple(ids.tolist()): n for n, ids in enumerate(inputs.encoded.prompts)}
    rows = [
        (expected[tuple(p[m.bool()].tolist())], bench.encoder.decode([c[k.bool()].tolist()])[0])
        for b in seen
        for p, m, c, k in zip(
            b["prompt_ids"], b["prompt_mask"], b["completion_ids"], b["completion_mask"],
            strict=True,
        )
    ]  # fmt: skip
    assert len(rows) == 24 and sorted(rows) == sorted(told), "a reply was rewarded as another's"
    steps = [{row for row, _ in rows[start : start + 12]} for start in (0, 12)]
    assert [len(numbers) for numbers in steps] == [4, 4], "a prompt twice in a step"
    if template:
        assert all(p[0] == 3 and p[-1] == 4 for p in inputs.encoded.prompts)


def test_prompts_come_in_epochs() -> None:
    order = prompt_order(7, 3, 5, seed=0).reshape(5, 3)
    assert all(len(set(step)) == 3 for step in order.tolist())
    assert len(set(order[:2].ravel().tolist())) == len(set(order[2:4].ravel().tolist())) == 6
    assert (prompt_order(7, 3, 2, seed=0) == order[:2].ravel()).all()
    assert (prompt_order(7, 3, 5, seed=1) != order.ravel()).any()


def test_a_reply_has_its_end_token_unless_it_was_cut(bench: Bench) -> None:
    inputs = bench.data()
    asker = Asker.of(GOAL, inputs, 0, torch.float32)
    model = load_base(bench.base)
    numbers = [n for n in range(12) for _ in range(3)]
    with torch.no_grad():
        # A token in two ends a reply.
        model.get_output_embeddings().weight[bench.lab.eos] += 1e-3
        model.get_output_embeddings().weight[:] *= 5
    replies = asker.replies(model, numbers, step=0)
    assert replies == asker.replies(model, numbers, step=0)
    assert replies != asker.replies(model, numbers, step=1)
    ended = [r for r in replies if r[-1] == bench.lab.eos]
    assert all(len(r) == 8 for r in replies if r not in ended)
    assert all(r.count(bench.lab.eos) <= 1 for r in replies)
    assert len({tuple(r) for r in replies[:3]}) > 1, "draws of a prompt differ"


def test_rewards_are_asked_for_once_and_standardized(bench: Bench) -> None:
    calls: list[int] = []

    def reward(numbers: np.ndarray, texts: Sequence[str]) -> np.ndarray:
        calls.append(len(texts))
        return np.arange(2 * len(texts), dtype=float).reshape(-1, 2)

    inputs = bench.data(reward=reward, normalizer=replace(PLAIN, mean=(1.0, 3.0), std=(2.0, 0.5)))
    asker = Asker.of(replace(GOAL, is_standardized=True), inputs, 0, torch.float32)
    first, second = asker.functions
    assert (first.__name__, second.__name__) == ("a", "b")
    rows = {"prompts": ["0", "0"], "completions": ["", ""], "completion_ids": [[7, 2], [8, 2]]}
    # (0, 1) and (2, 3), less the mean, over the deviation.
    assert first(**rows) == [-0.5, 0.5] and second(**rows) == [-4.0, 0.0]
    assert calls == [2]
    assert asker.raw[0].tolist() == [1.0, 2.0], "logged in their own units"


@pytest.mark.parametrize("name", ["llama", "gpt2", "mamba"])
def test_the_first_gradient_is_that_of_the_objective(lab: Any, tmp_path: Path, name: str) -> None:
    """RLOO by hand: mean over replies of (reward - mean of its siblings') grad log pi.

    Without padding here, with it there: positions must not count it.
    """
    bench = Bench(lab, tmp_path, name=name)
    inputs = bench.data()
    goal = replace(GOAL, prompts=12)
    model = load_base(bench.base)
    asker = Asker.of(goal, inputs, 0, torch.float32)
    numbers = [n for n in range(12) for _ in range(3)]
    replies = asker.replies(model, numbers, step=0)
    bodies = [r[:-1] if r[-1] == bench.lab.eos else r for r in replies]
    values = shares(np.array(numbers), bench.encoder.decode(bodies)) @ np.array(goal.weights)
    grouped = values.reshape(12, 3)
    siblings = (grouped.sum(1, keepdims=True) - grouped) / 2
    advantages = (grouped - siblings).ravel()
    loss = torch.zeros(())
    for number, reply, advantage in zip(numbers, replies, advantages, strict=True):
        prompt = inputs.encoded.prompts[number].tolist()
        ids = torch.tensor([prompt + reply])
        logps = torch.log_softmax(model(input_ids=ids).logits[0, len(prompt) - 1 : -1], -1)
        loss = loss - advantage * logps.gather(-1, torch.tensor(reply)[:, None]).sum() / 36
    loss.backward()
    expected = torch.cat([p.grad.flatten() for p in model.parameters()])
    _, _, log = bench.train(goal, steps=1, inputs=inputs)
    assert log[0]["grad_norm"] == pytest.approx(float(expected.norm()), rel=1e-4)


@pytest.mark.parametrize("algorithm", ["rloo", "grpo"])
def test_batches_of_a_step_change_nothing(bench: Bench, algorithm: Any) -> None:
    goal = replace(GOAL, algorithm=algorithm)
    whole, _, first = bench.train(goal, steps=2)
    parts, _, second = bench.train(goal, steps=2, accumulate=4)
    torch.testing.assert_close(parameters(parts), parameters(whole), atol=2e-4, rtol=0)
    assert first[0]["grad_norm"] == pytest.approx(second[0]["grad_norm"], rel=1e-4)
    with pytest.raises(ConfigError, match=r"train\.accumulate: found 5, expected a divisor of"):
        bench.train(goal, accumulate=5)


@pytest.mark.parametrize(
    ("algorithm", "is_adapted"),
    [
        ("rloo", False),
        pytest.param("rloo", True, marks=pytest.mark.slow),
        pytest.param("grpo", False, marks=pytest.mark.slow),
        pytest.param("grpo", True, marks=pytest.mark.slow),
    ],
)
def test_a_killed_job_goes_on_bit_for_bit(bench: Bench, algorithm: Any, is_adapted: bool) -> None:
    goal = replace(GOAL, algorithm=algorithm)

    def start() -> Any:
        if not is_adapted:
            return load_base(bench.base)
        return add_adapter(load_base(bench.base, is_frozen=True), LoraSettings(rank=2), 0)

    def kill(step: int, of: int, numbers: Mapping[str, float]) -> None:
        if step == 5:
            raise KeyboardInterrupt

    whole, cost, _ = bench.train(goal, steps=7, model=start())
    checkpoints = Checkpoints(bench.folder / "checkpoints", steps=3)
    with pytest.raises(KeyboardInterrupt):
        bench.train(goal, steps=7, model=start(), progress=kill, checkpoints=checkpoints)
    assert checkpoints.newest() == checkpoints.folder / "checkpoint-3"
    steps: list[int] = []
    parts, again, _ = bench.train(
        goal, steps=7, model=start(), checkpoints=checkpoints,
        progress=lambda step, of, numbers: steps.append(step),
    )  # fmt: skip
    assert steps[0] == 4
    assert torch.equal(parameters(parts), parameters(whole))
    assert again.tokens == cost.tokens


def test_adapters_train_alone_and_are_saved_alone(bench: Bench) -> None:
    frozen = parameters(load_base(bench.base))
    model = add_adapter(load_base(bench.base, is_frozen=True), LoraSettings(rank=2), 0)
    model, _, log = bench.train(model=model)
    assert list(model.peft_config) == ["default"] and abs(log[-1]["kl"]) > 1e-6
    save_policy(model, bench.tokenizer, bench.folder / "policy")
    names = {p.name for p in (bench.folder / "policy").iterdir()}
    assert "adapter_model.safetensors" in names and "ref" not in names
    with model.disable_adapter():
        base = {n: p for n, p in model.named_parameters() if "lora" not in n}
        assert torch.equal(torch.cat([p.detach().flatten() for _, p in sorted(base.items())]),
                           frozen)  # fmt: skip
    loaded = load_policy(bench.folder / "policy", bench.base, train=True)
    # A policy that goes on is its own reference.
    _, _, log = bench.train(model=loaded)
    assert abs(log[0]["kl"]) < 1e-6


def test_the_reference_is_the_start_and_not_the_base(bench: Bench) -> None:
    model, _, _ = bench.train(learning_rate=3e-2)
    save_policy(model, bench.tokenizer, bench.folder / "policy")
    _, _, log = bench.train(model=load_policy(bench.folder / "policy", bench.base, train=True))
    assert abs(log[0]["kl"]) < 1e-6


def test_a_penalty_keeps_the_policy_at_its_reference(bench: Bench) -> None:
    """With a penalty that outweighs every reward, rewards move nothing for long."""
    moved = []
    for beta in (1e-3, 1e3):
        goal = replace(GOAL, beta=beta, prompts=12)
        _, _, log = bench.train(goal, steps=10, learning_rate=1e-2)
        moved.append(abs(log[-1]["kl"]))
    assert moved[1] < moved[0] / 3


def test_divergence_stops(bench: Bench) -> None:
    with pytest.raises(RunError, match="training diverged"):
        bench.train(learning_rate=1e30, max_grad_norm=0.0)


class TestRefusals:
    def test_without_trl(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def none(name: str) -> str:
            raise importlib.metadata.PackageNotFoundError(name)

        job = TrainingJob("job", "online", TradeOff.even(2), online=GOAL)
        monkeypatch.setattr("paretune.engines.lm.online.version", none)
        with pytest.raises(ConfigError, match=r'found no trl.*pip install "paretune\[trl\]"'):
            check_online(job, 12)
        monkeypatch.setattr("paretune.engines.lm.online.version", lambda name: "1.17.0")
        with pytest.raises(ConfigError, match=r"found trl 1\.17\.0, expected 1\.16\.x"):
            check_online(job, 12)

    def test_nothing_is_imported_until_a_job_trains(self, monkeypatch: Any) -> None:
        original = builtins.__import__

        def guarded(name: str, *rest: Any) -> Any:
            assert name.partition(".")[0] != "trl"
            return original(name, *rest)

        monkeypatch.setattr(builtins, "__import__", guarded)
        check_online(TrainingJob("job", "online", TradeOff.even(2), online=GOAL), 12)

    @pytest.mark.parametrize(
        ("more", "message"),
        [
            ({"online": None}, "found no goal"),
            ({"source": Replies(("base",), 3)}, "expected a goal alone"),
            ({"group": "all"}, "expected a goal alone"),
            ({}, "found 3 training prompts, expected at least the 4 of a step"),
        ],
    )
    def test_of_jobs(self, more: dict[str, Any], message: str) -> None:
        job = TrainingJob("job", "online", TradeOff.even(2), online=GOAL, source=Offline())
        with pytest.raises(InputError, match=message):
            check_online(replace(job, **more), 3)

    def test_of_what_could_not_be_trained(self, bench: Bench) -> None:
        with pytest.raises(InputError, match="found no rewards for new text"):
            bench.train(inputs=replace(bench.data(), own=None))
        with pytest.raises(InputError, match="found a model that was never saved"):
            bench.train(model=bench.lab.model())


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["rloo", "grpo"])
def test_learns_one_of_two_rewards(lab: Any, tmp_path: Path, algorithm: Any) -> None:
    """256 prompts of 4 words, 8 new tokens, 128 replies a step, 40 steps."""
    bench = Bench(lab, tmp_path, hidden_size=48, intermediate_size=96)
    goal = OnlineGoal((1.0, 0.0), 0.02, algorithm, prompts=16, is_standardized=False)
    _, cost, log = bench.train(goal, steps=40, inputs=bench.data(256))
    assert log[0]["reward/a"] < 0.3
    assert log[-1]["reward/a"] >= 0.95 and log[-1]["reward/b"] < 0.05
    assert cost.seconds < 60
