"""Few-shot users of language models: runs on the embedded world, one a scalarizer and seed.

OMP_NUM_THREADS=1 python benchmarks/reproduce/fspo_users.py SEEDS RUNS WORKERS
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from fspo_numbers import Floats, Gap, gap, holm, listed, signed
from fspo_world import SCALARIZERS, is_finished, measured
from pagetext import interval, table
from section import Section

from paretune.core.personalization import PersonalizationResult
from paretune.core.results import RunResult
from paretune.pipeline.config import RunConfig, parse_config
from paretune.pipeline.folder import RunFolder
from paretune.pipeline.run import load_result, stored_config

USERS_RUN: Mapping[str, Any] = {
    "objectives": ["helpful", "concise"],
    "data": {"world": "handy", "scenario": "A", "pairs": 3000, "graded_labels": True},
    "tradeoffs": {"grid": 4},
    "base": {
        "train": {
            "learning_rate": 4e-3, "epochs": 1, "batch_size": 32, "warmup_steps": 40,
            "max_response_tokens": 512,
        },
    },
    "methods": [
        {
            "method": "fspo", "users": 600, "pairs_per_user": 16, "epochs": 1, "beta": 10.0,
            "layout": "dialogue", "shots": [6, 6], "served_shots": 6, "min_gap": 0.3,
            "warm_start_steps": 800, "max_prompt_tokens": 500, "train": {"batch_size": 16},
        },
    ],
    "train": {"learning_rate": 1e-3, "epochs": 2, "batch_size": 32},
    "generate": {"max_new_tokens": 64},
    "evaluate": {"draws": 2},
}  # fmt: skip
"""A run; name and seed are added, and the scalarizer to every method."""
Found = Mapping[str, Sequence[PersonalizationResult]]
BASE = "linear"


def users_config(scalarizer: str, seed: int, workers: int = 0) -> RunConfig:
    """The configuration of one run."""
    methods = [m | SCALARIZERS[scalarizer] for m in USERS_RUN["methods"]]
    name = f"fspo-users-{scalarizer}-{seed}"
    return parse_config(
        {**USERS_RUN, "name": name, "seed": seed, "methods": methods, "workers": workers}
    )


def users_runs(seeds: int, runs: Path, *, makes: bool = False, workers: int = 0) -> Found:
    """What personalization is worth, by scalarizer, one entry a finished seed.

    Args:
        seeds: at most so many.
        runs: folder of the runs.
        makes: whether runs that are missing are made; otherwise they are left out.
        workers: processes.
    """
    found: dict[str, list[PersonalizationResult]] = {}
    for seed in range(seeds):
        for scalarizer in SCALARIZERS:
            config = users_config(scalarizer, seed, workers)
            run = RunFolder(runs / config.name)
            result = measured(config, run) if makes else _finished(config, run)
            if result is not None and result.personalization:
                found.setdefault(scalarizer, []).append(result.personalization[0])
    return {name: found[name] for name in SCALARIZERS if name in found}


def _finished(config: RunConfig, run: RunFolder) -> RunResult | None:
    """The result of a finished run that was asked the same."""
    if not is_finished(run):
        return None
    if stored_config(run).model_copy(update={"workers": config.workers}) != config:
        print(f"{run.path}: found other settings, left out", file=sys.stderr)
        return None
    return load_result(run)


def sections(found: Found) -> list[Section]:
    """One section, or none where there are no runs."""
    return [section(found)] if found else []


def section(found: Found) -> Section:
    """The report's title, on language models."""
    accuracy = [[name, str(len(each)), *_accuracies(each)] for name, each in found.items()]
    shots = sorted({n for each in found.values() for one in each for n in one.by_shots})
    columns = ["scalarizer", "seeds", "own, %", "other, %", "own less other",
               "new users, new prompts, %"]  # fmt: skip
    parts = [
        _how(found),
        table(columns, accuracy),
        "Accuracy by number of shots, in percent:",
        table(["scalarizer", *map(str, shots)], [
            [name, *(_over(each, lambda one, n=n: _at(one, n)) for n in shots)]
            for name, each in found.items()
        ]),
        _replies(found),
        _gaps_by_user(found),
    ]  # fmt: skip
    gaps = {name: gap(_own(each), _other(each)) for name, each in found.items()}
    less = {
        name: gap(_own(each)[:n], _own(found[BASE])[:n])
        for name, each in found.items()
        if name != BASE and BASE in found and (n := min(len(each), len(found[BASE])))
    }
    if less:
        kept = dict(zip(less, holm([g.chance for g in less.values()]), strict=True))
        told = ", ".join(f"{name} {signed(g, 1, kept[name])}" for name, g in less.items())
        parts.append(f"Accuracy with own shots less the weighted sum's, points: {told}.")
    works = [name for name, g in gaps.items() if is_above(g)]
    single = ", ".join(
        f"{name} {sum(map(_is_personal, each))} of {len(each)}" for name, each in found.items()
    )
    parts.append(
        f"Seeds whose own interval over users lies above 0: {single}. Made by `OMP_NUM_THREADS=1 "
        "python benchmarks/reproduce/fspo_users.py SEEDS RUNS WORKERS`, five minutes a run on one "
        "core; the page reads what is there."
    )
    told = ", ".join(f"{name} {signed(g, 1)}" for name, g in gaps.items())
    return Section(
        "Few-shot policies of language models follow the user whose pairs they are shown",
        "Title; Secs. 1 and 2",
        f"accuracy on new users, own less other shots, points: {told}",
        users_verdict(works, list(found)),
        "\n\n".join(parts),
    )


def users_verdict(works: Sequence[str], names: Sequence[str]) -> str:
    """From the scalarizers whose gap is above 0 over seeds.

    Example:
        >>> users_verdict(["linear"], ["linear", "stch"])
        'holds only if: the scalarizer is linear'
    """
    if not works:
        return "does not hold: what own pairs are worth more is not above 0 over the seeds"
    return (
        "holds" if len(works) == len(names) else "holds only if: the scalarizer is " + listed(works)
    )


def is_above(found: Gap) -> bool:
    """Whether a gap is above 0 by its interval over seeds, of which there are two or more."""
    return bool(found.mean - found.half > 0)  # half is NaN with one seed


def _is_personal(one: PersonalizationResult) -> bool:
    return one.gap is not None and one.gap.low > 0


def _own(each: Sequence[PersonalizationResult]) -> Floats:
    return np.array([100 * one.own.value for one in each])


def _other(each: Sequence[PersonalizationResult]) -> Floats:
    return np.array([100 * one.other.value if one.other else np.nan for one in each])


def _at(one: PersonalizationResult, n: int) -> float:
    return 100 * one.by_shots[n].value if n in one.by_shots else float("nan")


def _over(each: Sequence[PersonalizationResult], number: Any, digits: int = 1) -> str:
    """Over seeds; a dash where nothing was measured."""
    values = np.array([number(one) for one in each], dtype=np.float64)
    return "-" if np.isnan(values).any() else interval(values, digits)


def _accuracies(each: Sequence[PersonalizationResult]) -> list[str]:
    difference = gap(_own(each), _other(each))
    return [
        interval(_own(each), 1),
        "-" if np.isnan(_other(each)).any() else interval(_other(each), 1),
        "-" if np.isnan(difference.mean) else signed(difference, 1),
        _over(each, lambda one: 100 * one.headline.value),
    ]


def _replies(found: Found) -> str:
    """Wins, control and the worst weighted objective."""
    opponents = list(dict.fromkeys(
        win.opponent for each in found.values() for one in each for win in one.wins
    ))  # fmt: skip

    def win(one: PersonalizationResult, by: str) -> float:
        rates = [100 * w.rate.value for w in one.wins if w.opponent == by]
        return rates[0] if rates else float("nan")

    def control(one: PersonalizationResult) -> float:
        known = [c for c in one.controllability if c is not None]
        return float(np.mean(known)) if known else float("nan")

    def worst(one: PersonalizationResult) -> float:
        return one.worst_weighted.value if one.worst_weighted else float("nan")

    rows = [
        [name, *(_over(each, lambda one, by=by: win(one, by)) for by in opponents),
         _over(each, control, 2), _over(each, worst, 3)]
        for name, each in found.items()
    ]  # fmt: skip
    columns = ["scalarizer", *(f"against {by}, %" for by in opponents), "control",
               "worst weighted"]  # fmt: skip
    return (
        "Replies: how often the user likes the reply better than another policy's, a tie counting "
        "half (reference: same prompt; zero-shot: the policy without shots; described: told in "
        "words what the user wants); `control`: rank correlation of weight and reward across "
        "users, mean over objectives; `worst weighted`: one minus a user's largest weighted "
        f"shortfall.\n\n{table(columns, rows)}"
    )


def _gaps_by_user(found: Found) -> str:
    told = [
        f"{name} " + ", ".join(
            f"{100 * one.gap.value:.1f} [{100 * one.gap.low:.1f}, {100 * one.gap.high:.1f}]"
            for one in each if one.gap
        )
        for name, each in found.items()
    ]  # fmt: skip
    return f"Own less other shots, users resampled within each seed, points: {'; '.join(told)}."


def _how(found: Found) -> str:
    one = next(iter(found.values()))[0]
    data = USERS_RUN["data"]
    facts = "; ".join(f"{name}: {value}" for name, value in one.facts.items())
    return (
        f"Language models on the embedded world, scenario {data['scenario']} "
        f"({', '.join(one.objectives)}), {data['pairs']:,} comparisons; one policy serves every "
        f"user by the pairs in its prompt, asked for {one.n_users} users it never met. {facts}."
    )


if __name__ == "__main__":
    users_runs(int(sys.argv[1]), Path(sys.argv[2]), makes=True, workers=int(sys.argv[3]))
