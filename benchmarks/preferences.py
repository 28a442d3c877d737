"""Eleven preferences as heads on a frozen trunk, as whole models, and through TRL 1.16.

    python benchmarks/preferences.py --sizes tiny,30m --scenarios A,B --out table.md

Time: every contestant is a process of its own and they work in turns, as in ``train_step.py``,
whose models, pairs and batch sizes these are; the clock is the CPU time of one thread. Quality:
two runs of the pipeline on the embedded world, whole models and heads on the same data, base and
trade-offs. TRL is not run eleven times: its step is measured here, and multiplied.
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
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from train_step import _LONG, SIZES, Contestant, Size, Turns, make_pairs, new_model, new_tokenizer

PREFERENCES = 11
EPOCHS = 2
RANK = 32
CONTESTANTS = ("trl-default", "ours", "reference", "trunk", "heads")
WORLDS = {"A": "helpful, concise", "B": "helpful, harmless"}
METHODS = {
    "11 whole models, gentle (`beta: 0.5`, learning rate 2e-4)": {
        "beta": 0.5, "train": {"learning_rate": 2e-4},
    },
    "11 whole models, aggressive (`beta: 0.1`, learning rate 5e-4)": {
        "beta": 0.1, "train": {"learning_rate": 5e-4},
    },
    "11 heads (`backbone: frozen`, `beta: 0.5`)": {"beta": 0.5, "backbone": "frozen"},
    "11 heads, 4 epochs": {"beta": 0.5, "backbone": "frozen", "train": {"epochs": 4}},
    "11 heads, 4 epochs, `beta: 0.3`": {
        "beta": 0.3, "backbone": "frozen", "train": {"epochs": 4},
    },
    "11 heads, 4 epochs, `beta: 0.1`": {
        "beta": 0.1, "backbone": "frozen", "train": {"epochs": 4},
    },
}  # fmt: skip


def job_inputs(size: Size) -> tuple[Any, Any]:
    """The pairs of an epoch with random labels on two objectives, as data and encoded."""
    from paretune.core.record import Comparison, PreferenceData, Record, Response
    from paretune.engines.lm.encode import Encoder

    rng = np.random.default_rng(1)

    def labels() -> dict[str, float]:
        return {name: float(rng.choice([-1, 1])) for name in ("one", "other")}

    records = [
        Record(p, (Response(c), Response(r)), (Comparison(0, 1, labels()),))
        for p, c, r in make_pairs(size)
    ]
    data = PreferenceData.from_records(records, ("one", "other"))
    encoder = Encoder(new_tokenizer(size), 512, 512)
    return data, encoder.encode(data.prompts, data.texts, data.prompt_of)


def frozen_model(size: Size, device: str) -> Any:
    """The model where paretune would put it."""
    import torch

    from paretune.engines.lm.forward import set_matmul_precision
    from paretune.engines.lm.models import place

    set_matmul_precision()
    return place(new_model(size, device), torch.device(device))


def read_all(name: str, size: Size, device: str, turns: Turns, folder: str) -> None:
    """Passes over all responses: for the reference of whole models, or of a trunk for heads."""
    import torch

    from paretune.engines.lm.reference import reference_logps
    from paretune.engines.lm.trunk import read_trunk

    data, encoded = job_inputs(size)
    model, rows = frozen_model(size, device), np.arange(len(data.texts))
    turns.start()
    while True:
        if name == "reference":
            reference_logps(model, encoded, rows, 0)
        else:
            # A new object: what was read of the old one would be remembered.
            read_trunk(
                model, replace(encoded), rows, 0,
                dtype=torch.float32, memory=2e9, folder=Path(folder),
            )  # fmt: skip
        for _ in range(size.steps):
            turns.step()


def train_heads(size: Size, device: str, turns: Turns, folder: str) -> None:
    """Steps of all heads together."""
    from paretune.core.job import Head, TrainingJob
    from paretune.core.tradeoff import TradeOff
    from paretune.engines.lm.job_data import JobData
    from paretune.engines.lm.jobs import train_jobs
    from paretune.engines.lm.settings import TrainSettings
    from paretune.functional.losses import PairBatch, weighted_dpo_loss
    from paretune.functional.pairing import keep_labelled

    data, encoded = job_inputs(size)
    has_started = False

    def job(number: int) -> TrainingJob:
        weights = (number / (PREFERENCES - 1), 1 - number / (PREFERENCES - 1))

        def loss(pairs: PairBatch) -> Any:
            # The loss of the first head is called once a step.
            nonlocal has_started
            if number == 0:
                turns.step() if has_started else turns.start()
                has_started = True
            return weighted_dpo_loss(pairs, 0.5, weights)

        rows = partial(keep_labelled, weights=weights)
        return TrainingJob(
            f"head-{number}", "pairwise", TradeOff(weights), rows, loss,
            group="heads", head=Head("state", RANK),
        )  # fmt: skip

    settings = TrainSettings(
        learning_rate=1e-6, batch_size=size.pairs, steps=size.steps * size.rounds + 1
    )
    inputs = JobData(data, encoded, np.full(len(data.texts), np.nan))
    jobs = [job(n) for n in range(PREFERENCES)]
    train_jobs(jobs, inputs, frozen_model(size, device), 0, settings, Path(folder))


def work(name: str, size: Size, device: str) -> None:
    """Be one contestant."""
    import torch

    torch.set_num_threads(1)
    turns = Turns(size.steps, device)
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(BrokenPipeError):
        if name == "heads":
            train_heads(size, device, turns, folder)
        else:
            read_all(name, size, device, turns, folder)


def time_table(name: str, size: Size, device: str) -> list[str]:
    """Lines of the table of times for one size."""
    running: dict[str, Contestant] = {}
    found: dict[str, list[float]] = {c: [] for c in CONTESTANTS}
    for number in range(size.rounds):
        for c in CONTESTANTS:
            if number == 0:
                script = {"script": __file__} if c in ("reference", "trunk", "heads") else {}
                running[c] = Contestant(c, size, device, **script)
            if c in running:
                found[c].append(running[c].turn())
                said = f"{c}: {1e3 * found[c][-1]:.1f} ms/step"
                print(f"{name} round {number + 1}/{size.rounds} {said}", file=sys.stderr)
                if found[c][-1] * size.steps > _LONG:
                    running.pop(c).stop()
    for contestant in running.values():
        contestant.stop()
    ms = {c: 1e3 * statistics.median(s) for c, s in found.items()}
    one = ms["reference"] + EPOCHS * ms["ours"]
    rows = {
        f"TRL default, {PREFERENCES} runs (one step measured)": (
            "-", ms["trl-default"], PREFERENCES * EPOCHS * ms["trl-default"],
        ),
        f"paretune, {PREFERENCES} whole models": (
            f"{ms['reference']:.1f}", ms["ours"],
            ms["reference"] + PREFERENCES * EPOCHS * ms["ours"],
        ),
        "paretune, one whole model": (f"{ms['reference']:.1f}", ms["ours"], one),
        f"paretune, {PREFERENCES} heads": (
            f"{ms['trunk']:.1f}", ms["heads"], ms["trunk"] + EPOCHS * ms["heads"],
        ),
        f"paretune, {PREFERENCES} heads, {2 * EPOCHS} epochs": (
            f"{ms['trunk']:.1f}", ms["heads"], ms["trunk"] + 2 * EPOCHS * ms["heads"],
        ),
    }  # fmt: skip
    trl = PREFERENCES * EPOCHS * ms["trl-default"]
    whole = rows[f"paretune, {PREFERENCES} whole models"][2]
    return [
        f"| {name} | {text} | {read} | {step:.1f} | {total:.0f} | {total / one:.2f} "
        f"| {whole / total:.1f} | {trl / total:.1f} |"
        for text, (read, step, total) in rows.items()
    ]


def quality_table(scenario: str, pairs: int, draws: int, folder: Path) -> list[str]:
    """Lines of the table of quality for one scenario of the embedded world."""
    methods = [
        {"method": "dpo", "label": f"m{n}"} | options for n, options in enumerate(METHODS.values())
    ]
    asked = {
        "name": f"preferences-{scenario.lower()}",
        "objectives": WORLDS[scenario].split(", "),
        "data": {"world": "handy", "scenario": scenario, "pairs": pairs},
        "tradeoffs": {"grid": PREFERENCES - 1},
        "train": {"epochs": EPOCHS, "batch_size": 32},
        "evaluate": {"draws": draws},
        "workers": 1,
        "methods": methods,
    }
    file = folder / f"{asked['name']}.yaml"
    file.write_text(yaml.safe_dump(asked))
    command = [str(Path(sys.executable).with_name("paretune")), "run", str(file)]
    subprocess.run([*command, "--runs", str(folder)], check=True, stdout=sys.stderr)
    result = json.loads((folder / str(asked["name"]) / "6-front" / "front.json").read_text())
    limit = result["known"]["hypervolume"]
    by_name = {m["name"]: m for m in [result["reference"], *result["methods"]] if m}
    by_name |= {m["name"]: m for m in result["methods"]}
    lines = []
    named = [("reference", "the base"), *((f"m{n}", text) for n, text in enumerate(METHODS))]
    for name, text in named:
        found = by_name[name]
        points = [p["collapse"] for p in found["points"]]
        broken = statistics.mean(sum(p.values()) - p["malformed"] for p in points)
        malformed = statistics.mean(p["malformed"] for p in points)
        volume = found["hypervolume"]
        share = [100 * volume[k] / limit for k in ("value", "low", "high")]
        lines.append(
            f"| {scenario} | {text} | {share[0]:.0f} % [{share[1]:.0f}, {share[2]:.0f}] "
            f"| {found['utility_min']['value']:.2f} | {100 * broken:.1f} % "
            f"| {100 * malformed:.1f} % | {found['cost']['train_seconds']:.1f} |"
        )
    return lines


def main() -> None:
    """Measure and print Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="tiny,30m", help="with commas; empty = no times")
    parser.add_argument("--scenarios", default="A,B", help="with commas; empty = no quality")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--rounds", type=int, default=0, help="epochs measured; 0 = by size")
    parser.add_argument("--pairs", type=int, default=2000, help="of a scenario")
    parser.add_argument("--draws", type=int, default=8, help="replies a prompt and trade-off")
    parser.add_argument("--runs", type=Path, help="keep the runs of the scenarios here")
    parser.add_argument("--out", type=Path, help="write the tables to this file too")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--size", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.worker:
        return work(asked.worker, Size(**json.loads(asked.size)), asked.device)
    import torch
    from machine import machine_note

    torch.set_num_threads(1)
    lines: list[str] = []
    if asked.sizes:
        lines += [
            "| size | | reading, ms | a step, ms | in all, ms | of one whole model "
            "| below 11 whole models | below 11 TRL runs |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
        ]
        for name in asked.sizes.split(","):
            size = Size(**asdict(SIZES[name]) | ({"rounds": asked.rounds} if asked.rounds else {}))
            lines += time_table(name, size, asked.device)
        lines += ["", machine_note(asked.device), ""]
    if asked.scenarios:
        lines += [
            "| scenario | | hypervolume, of what is possible | E[min] | collapse | malformed "
            "| CPU s |",
            "| --- | --- | --- | --- | --- | --- | --- |",
        ]
        with tempfile.TemporaryDirectory() as temporary:
            folder = asked.runs or Path(temporary)
            folder.mkdir(parents=True, exist_ok=True)
            for scenario in asked.scenarios.split(","):
                lines += quality_table(scenario, asked.pairs, asked.draws, folder)
        lines += ["", machine_note(asked.device)]
    table = "\n".join(lines)
    print(table)
    if asked.out:
        asked.out.write_text(table + "\n")
    return None


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
