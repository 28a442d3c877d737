"""One DPO step through TRL 1.16 and through paretune: same model, pairs, loss and batch size.

    python benchmarks/train_step.py --sizes tiny,30m,125m --device cpu --out table.md

Every contestant is a process of its own (an allocator or a thread setting of one must not help or
hurt another); they train in turns, one epoch at a time, so that a noisy machine hurts all alike.
On a CPU the clock is the CPU time of one thread; on a GPU it is wall time after synchronization.
The share of the FLOP limit is what the step must compute, 6 FLOPs a parameter and token (a pair's
prompt once, the head at response tokens only), over what the machine's own matrix product would
compute in the same time.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TQDM_DISABLE", "1")

import numpy as np

BETA = 0.1
_LONG = 60.0
"""Seconds of an epoch; a contestant that takes longer is measured once."""


@dataclass(frozen=True)
class Size:
    """A model and the pairs it trains on.

    Args:
        vocabulary: tokens.
        hidden: width.
        layers: transformer blocks.
        heads: attention heads.
        feed_forward: width of the feed-forward layer.
        pairs: per step.
        steps: of an epoch.
        rounds: epochs that are measured.
        prompt: shortest and longest prompt in tokens.
        response: the same of a response; ``None`` = lengths of the embedded world.
    """

    vocabulary: int
    hidden: int
    layers: int
    heads: int
    feed_forward: int
    pairs: int
    steps: int
    rounds: int
    prompt: tuple[int, int]
    response: tuple[int, int] | None

    @property
    def body(self) -> int:
        """Parameters of the blocks."""
        return self.layers * (4 * self.hidden**2 + 3 * self.hidden * self.feed_forward)


SIZES = {
    "tiny": Size(113, 96, 2, 3, 256, 32, 32, 5, (8, 12), None),
    "30m": Size(8192, 512, 8, 8, 1408, 8, 4, 3, (30, 130), (16, 118)),
    "125m": Size(32000, 768, 12, 12, 2048, 4, 4, 3, (30, 100), (20, 100)),
    "1b": Size(32000, 2048, 16, 32, 8192, 8, 8, 3, (64, 256), (64, 256)),
}
CONTESTANTS = {
    "trl-default": "TRL default (bf16, activation checkpointing, reference at every step)",
    "trl-fp32": "TRL best, fp32 (reference stored, no checkpointing)",
    "trl-bf16": "TRL best, bf16 (reference stored, no checkpointing)",
    "trl-compiled": "TRL best, fp32, `torch_compile`",
    "ours": "paretune",
    "ours-compiled": "paretune, `compile: true`",
}


def response_length(size: Size, rng: np.random.Generator) -> int:
    """Tokens of a response, its end token left out."""
    if size.response is not None:
        return int(rng.integers(*size.response))
    # The behavior policy of the embedded world: optional sentences, zero to four steps.
    steps = rng.choice(5, p=[0.12, 0.25, 0.25, 0.20, 0.18])
    optional = ((0.235, 9), (0.4 if steps else 1.0, 9), (0.3, 6), (0.25, 9), (0.2, 8), (0.1, 4))
    return int(4 * steps + sum(n for p, n in optional if rng.random() < p))


def make_pairs(size: Size, seed: int = 0) -> list[tuple[str, str, str]]:
    """An epoch of (prompt, chosen, rejected), words of the tokenizer below."""
    rng = np.random.default_rng(seed)

    def words(n: int) -> str:
        return " ".join(f"w{i}" for i in rng.integers(3, size.vocabulary, n))

    return [
        (
            words(int(rng.integers(size.prompt[0], size.prompt[1] + 1))),
            words(response_length(size, rng)),
            words(response_length(size, rng)),
        )
        for _ in range(size.pairs * size.steps)
    ]


def new_tokenizer(size: Size) -> Any:
    """One token a word."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<bos>", "<eos>", *(f"w{i}" for i in range(3, size.vocabulary))]
    inner = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="w3"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>"
    )


def new_model(size: Size, device: str) -> Any:
    """A Llama from a config, as the library makes it: no setting of ours."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=size.vocabulary,
        hidden_size=size.hidden,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.heads,
        intermediate_size=size.feed_forward,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    return AutoModelForCausalLM.from_config(config).to(device)


class Turns:
    """Counts steps; after an epoch it reports its time and waits for the next turn.

    Args:
        steps: of a turn.
        device: ``cpu`` or ``cuda``.
    """

    def __init__(self, steps: int, device: str) -> None:
        self._steps, self._device, self._done = steps, device, 0
        self._started = 0.0

    def now(self) -> float:
        """Seconds: CPU time, or wall time once the GPU has finished its queue."""
        if self._device == "cpu":
            return time.process_time()
        import torch

        torch.cuda.synchronize()
        return time.perf_counter()

    def start(self) -> None:
        """Say that everything is built, and wait for the first turn."""
        self._wait({"ready": True})

    def step(self) -> None:
        """A step has ended."""
        self._done += 1
        if self._done % self._steps == 0:
            self._wait({"seconds": (self.now() - self._started) / self._steps})

    def _wait(self, message: dict[str, Any]) -> None:
        print("@" + json.dumps(message), flush=True)
        if not sys.stdin.readline():
            os._exit(0)
        self._started = self.now()


def train_trl(name: str, size: Size, device: str, turns: Turns, folder: str) -> None:
    """The pairs through TRL's DPOTrainer."""
    import datasets
    from transformers import TrainerCallback
    from trl import DPOConfig, DPOTrainer

    class Tick(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
            turns.start()

        def on_step_end(self, *args: Any, **kwargs: Any) -> None:
            turns.step()

    datasets.disable_progress_bars()
    # The spaces keep words apart where TRL joins prompt, response and end token.
    rows = [{"prompt": p, "chosen": f" {c} ", "rejected": f" {r} "} for p, c, r in make_pairs(size)]
    is_default = name == "trl-default"
    best = {"precompute_ref_log_probs": True, "activation_checkpointing": False}
    args = DPOConfig(
        output_dir=folder,
        per_device_train_batch_size=size.pairs,
        max_steps=size.steps * size.rounds,
        beta=BETA,
        disable_tqdm=True,
        save_strategy="no",
        use_cpu=device == "cpu",
        dataloader_pin_memory=device != "cpu",
        torch_compile=name == "trl-compiled",
        **({} if is_default else best | {"bf16": name == "trl-bf16"}),
    )
    model = new_model(size, device)
    DPOTrainer(
        model=model,
        ref_model=new_model(size, device) if is_default else None,
        args=args,
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=new_tokenizer(size),
        callbacks=[Tick()],
    ).train()


def train_ours(name: str, size: Size, device: str, turns: Turns, folder: str) -> None:
    """The pairs through paretune's engine."""
    import torch

    from paretune.core.job import TrainingJob
    from paretune.core.record import Comparison, PreferenceData, Record, Response
    from paretune.core.tradeoff import TradeOff
    from paretune.engines.lm.encode import Encoder
    from paretune.engines.lm.jobs import JobData, train_job
    from paretune.engines.lm.models import place
    from paretune.engines.lm.reference import reference_logps
    from paretune.engines.lm.settings import TrainSettings
    from paretune.functional.losses import PairBatch, dpo_loss
    from paretune.functional.pairing import order_by_objective

    records = [
        Record(p, (Response(c), Response(r)), (Comparison(0, 1, {"good": 1.0}),))
        for p, c, r in make_pairs(size)
    ]
    data = PreferenceData.from_records(records, ("good",))
    encoded = Encoder(new_tokenizer(size), 512, 512).encode(
        data.prompts, data.texts, data.prompt_of
    )
    model = place(new_model(size, device), torch.device(device))
    logps = reference_logps(model, encoded, np.arange(len(data.texts)), 0)
    has_started = False

    def loss(pairs: PairBatch) -> Any:
        # The loss is the one function of a job that is called once a step.
        nonlocal has_started
        turns.step() if has_started else turns.start()
        has_started = True
        return dpo_loss(pairs, BETA)

    job = TrainingJob(
        "expert", "pairwise", TradeOff((1.0,)), partial(order_by_objective, index=0), loss
    )
    settings = TrainSettings(
        learning_rate=1e-6,
        batch_size=size.pairs,
        steps=size.steps * size.rounds + 1,
        compile=name == "ours-compiled",
    )
    train_job(job, JobData(data, encoded, logps), model, 0, settings, Path(folder))


class Contestant:
    """A process that trains when it is its turn.

    Args:
        name: key of :data:`CONTESTANTS`.
        size: key of :data:`SIZES`, with the steps and rounds to do.
        device: ``cpu`` or ``cuda``.
        script: whose worker it is.
    """

    def __init__(self, name: str, size: Size, device: str, script: str = __file__) -> None:
        self.name = name
        command = [sys.executable, script, "--worker", name, "--device", device]
        self._process = subprocess.Popen(
            [*command, "--size", json.dumps(asdict(size))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        self._answer()

    def turn(self) -> float:
        """Train one epoch: seconds a step."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return float(self._answer()["seconds"])

    def stop(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=120)

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("@"):
                found: dict[str, Any] = json.loads(line[1:])
                return found
        raise RuntimeError(f"{self.name} ended early with code {self._process.wait()}")


def product_rate(device: str, is_half: bool) -> float:
    """FLOPs a second of the machine's own matrix product, best of a few."""
    import torch

    n = 1024 if device == "cpu" else 8192
    dtype = torch.bfloat16 if is_half else torch.float32
    a = torch.randn(n, n, device=device, dtype=dtype)
    clock = Turns(1, device)
    best = float("inf")
    for _ in range(8):
        start = clock.now()
        a @ a
        best = min(best, clock.now() - start)
    return 2 * n**3 / best


def step_flops(size: Size) -> tuple[float, float]:
    """FLOPs that a mean step needs, and its tokens with every prompt counted once."""
    pairs = make_pairs(size)
    counts = [[len(text.split()) for text in pair] for pair in pairs]
    replies = sum(c + r + 2 for _, c, r in counts) / size.steps
    tokens = replies + sum(p for p, _, _ in counts) / size.steps
    return 6 * size.body * tokens + 6 * size.hidden * size.vocabulary * replies, tokens


def measure(name: str, size: Size, device: str, contestants: list[str]) -> list[str]:
    """Lines of the table for one size."""
    import torch

    from paretune.engines.lm.forward import fast_dtype

    is_half = fast_dtype(device) is torch.bfloat16
    running: dict[str, Contestant] = {}
    seconds: dict[str, list[float]] = {c: [] for c in contestants}
    rates: list[float] = []
    for number in range(size.rounds):
        rates.append(product_rate(device, is_half))
        for c in contestants:
            if number == 0:
                running[c] = Contestant(c, size, device)
            if c in running:
                seconds[c].append(running[c].turn())
                said = f"{c}: {1e3 * seconds[c][-1]:.1f} ms/step"
                print(f"{name} round {number + 1}/{size.rounds} {said}", file=sys.stderr)
                if seconds[c][-1] * size.steps > _LONG:
                    running.pop(c).stop()
    for contestant in running.values():
        contestant.stop()
    ms = {c: 1e3 * statistics.median(s) for c, s in seconds.items()}
    flops, tokens = step_flops(size)
    default = ms.get("trl-default", float("nan"))
    best = min(ms[c] for c in ("trl-fp32", "trl-bf16") if c in ms)
    peak = max(rates)
    lines = []
    for c in contestants:
        spread = 100 * (max(seconds[c]) - min(seconds[c])) / statistics.median(seconds[c])
        spread_text = f"{spread:.0f} %" if len(seconds[c]) > 1 else "once"
        lines.append(
            f"| {name} | {CONTESTANTS[c]} | {ms[c]:.1f} | {spread_text} | {default / ms[c]:.2f} "
            f"| {best / ms[c]:.2f} | {100 * flops / (ms[c] / 1e3 * peak):.0f} % |"
        )
    lines.append(
        f"| {name} | *limit: {flops / 1e9:.1f} GFLOP a step, {tokens:.0f} tokens, at "
        f"{peak / 1e9:.0f} GFLOP/s ({'bf16' if is_half else 'fp32'})* | {1e3 * flops / peak:.1f} "
        f"| {100 * (max(rates) - min(rates)) / peak:.0f} % | "
        f"{default * peak / flops / 1e3:.2f} | {best * peak / flops / 1e3:.2f} | 100 % |"
    )
    return lines


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="", help="default: tiny,30m,125m, and 1b on a GPU")
    parser.add_argument("--steps", type=int, default=0, help="steps of an epoch; 0 = by size")
    parser.add_argument("--rounds", type=int, default=0, help="epochs measured; 0 = by size")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--only", default=",".join(CONTESTANTS), help="contestants, with commas")
    parser.add_argument("--out", type=Path, help="write the table to this file too")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--size", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.worker:
        return work(asked.worker, Size(**json.loads(asked.size)), asked.device)
    names = asked.sizes or ("tiny,30m,125m,1b" if asked.device == "cuda" else "tiny,30m,125m")
    lines = [
        "| size | | ms a step | spread | TRL default / it | TRL best / it | of the FLOP limit |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    import torch

    torch.set_num_threads(1)
    for name in names.split(","):
        fields = asdict(SIZES[name])
        fields |= {k: v for k in ("steps", "rounds") if (v := getattr(asked, k))}
        lines += measure(name, Size(**fields), asked.device, asked.only.split(","))
    from machine import machine_note

    table = "\n".join([*lines, "", machine_note(asked.device)])
    print(table)
    if asked.out:
        asked.out.write_text(table + "\n")
    return None


def work(name: str, size: Size, device: str) -> None:
    """Be one contestant."""
    import torch

    torch.set_num_threads(1)
    turns = Turns(size.steps, device)
    run: Callable[..., None] = train_ours if name.startswith("ours") else train_trl
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(BrokenPipeError):
        os.environ["HF_DATASETS_CACHE"] = folder
        run(name, size, device, turns, folder)


if __name__ == "__main__":
    main()
