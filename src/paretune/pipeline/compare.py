"""A comparison: search, then every method on every seed, then what it says.

``runs/<name>/``::

    compare.yaml comparison.json comparison.html comparison.md fronts.png quality.png cost.png
    search/         an ordinary run: every setting of every method, on validation prompts
    seed-<s>/       an ordinary run of each seed: every method at its chosen setting
    bases/          bases that these runs share

Each of these runs continues where it stopped, and so does the comparison.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, final

import numpy as np
import yaml

from paretune.core.comparison_results import (
    ComparisonResult,
    MethodComparison,
    comparison_to_json,
)
from paretune.core.results import Cost, RunResult
from paretune.errors import AllFailedError, ConfigError, RunError
from paretune.evaluation.box import Box
from paretune.evaluation.comparison import YARDSTICKS, Floats, duels, over_seeds
from paretune.evaluation.measure import Yardstick, evaluate_method
from paretune.evaluation.replies import MethodReplies, PointReplies, ReplyTable
from paretune.functional.statistics import resample_prompts
from paretune.pipeline.checking import check_run
from paretune.pipeline.compare_progress import Progress, Weight, weight_left
from paretune.pipeline.config import MethodConfig, RunConfig
from paretune.pipeline.config_sections import CompareConfig
from paretune.pipeline.damage import examine, sealed_folders
from paretune.pipeline.folder import STATUS, RunFolder
from paretune.pipeline.replies import REPLIES, read_replies
from paretune.pipeline.run import Voice, execute, load_result, stored_config
from paretune.pipeline.search import SEARCH, Choice, choose, search_config, seed_config
from paretune.pipeline.settings_grid import combinations, in_words
from paretune.safety.files import read_json, write_json, write_text
from paretune.safety.lock import locked
from paretune.safety.manifest import read_manifest
from paretune.safety.stopping import stoppable

RESULT = "comparison.json"
_RESAMPLES = 2000


@final
@dataclass(frozen=True)
class Compared:
    """What a comparison gave.

    Args:
        folder: of the comparison.
        result: everything measured.
        page: for a person to read.
        failed: method to what went wrong.
    """

    folder: Path
    result: ComparisonResult
    page: Path
    failed: dict[str, str] = field(default_factory=dict)


def check_comparison(config: RunConfig) -> None:
    """Read the data and ask every job of the search and of a seed for its rows; train nothing.

    Raises:
        InputError: as ``paretune check`` would refuse the run, or if methods would be measured on
            the prompts that their settings are chosen by.
    """
    if config.evaluate.part == "validation" and search_config(config) is not None:
        raise ConfigError(
            "evaluate.part: found validation, expected test: settings are chosen on the validation "
            "prompts, so methods cannot be measured there"
        )
    for run in _forecast_runs(config):
        check_run(run)


def compare(config: RunConfig, folder: Path, voice: Voice | None = None) -> Compared:
    """Search, run every seed, measure; or go on with what is there.

    Args:
        config: of the recipe.
        folder: of the comparison, made when missing.
        voice: hears what happens; progress is of the whole comparison.

    Raises:
        ConfigError: if a folder holds results of other settings.
        BusyError: if another process is at work in the folder.
        Interrupted: on SIGTERM, SIGUSR1 or Ctrl-C; finished work is kept.
        RunError: if nothing is left to compare.
    """
    voice = voice or Voice()
    with locked(folder / ".lock"), stoppable():
        return _compare(config, folder, voice)


def plan_text(config: RunConfig, folder: Path) -> str:
    """What a comparison would do, as text; reads no data and loads no model."""
    compare = config.compare or CompareConfig()
    lines = [
        f"comparison {config.name} in {folder}",
        f"objectives: {', '.join(config.objectives)}",
        f"seeds: {', '.join(map(str, _seeds(config)))}; of the search: {compare.search_seed}",
        f"settings: at most {compare.settings} a method, chosen by {compare.criterion}",
        "methods:",
    ]
    for method in config.methods:
        tradeoffs = config.tradeoffs_of(method)
        first = seed_config(config, {m.name: Choice(_first(m)) for m in config.methods}, 0)
        built = first.build_method(next(m for m in first.methods if m.name == method.name))
        jobs, n = built.plan(len(config.objectives), tradeoffs), len(combinations(method))
        told = f"; {n} settings searched" if n > 1 else ""
        lines.append(f"  {method.name}: {len(jobs)} policies, {len(tradeoffs)} trade-offs{told}")
    return "\n".join(lines)


def load_comparison(folder: Path) -> tuple[ComparisonResult, list[RunResult]]:
    """A finished comparison and the results of its seeds.

    Raises:
        RunError: if a file is missing or damaged.
    """
    path = folder / RESULT
    try:
        result = ComparisonResult.from_json(read_json(path))
    except (KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"{path}: found {type(error).__name__} ({error}), expected what paretune wrote; "
            "paretune compare with the same recipe makes it again"
        ) from error
    return result, [load_result(RunFolder(folder / run)) for run in result.runs]


def _compare(config: RunConfig, folder: Path, voice: Voice) -> Compared:
    asked = config.model_dump(mode="json", exclude_unset=True)
    write_text(folder / "compare.yaml", yaml.safe_dump(asked, sort_keys=False, allow_unicode=True))
    searched, n_seeds = search_config(config), len(_seeds(config))
    progress = Progress(_weights(config, folder, searched), voice)
    found: RunResult | None = None
    problem = ""
    if searched is not None:
        voice.say(f"search: {len(searched.methods)} settings on validation prompts")
        try:
            found = _run(searched, folder, progress, until_eval=True)
        except AllFailedError as error:  # methods without a search may still do well
            problem = str(error)
    choices = choose(config, found, problem)
    for name, choice in choices.items():
        if choice.options is None:
            voice.say(f"{name}: {choice.failed}")
        elif choice.tried:
            voice.say(f"{name}: {in_words(choice.options)}, best of {len(choice.tried)}")
    if all(choice.options is None for choice in choices.values()):
        raise RunError(f"every setting of every method failed; see {folder / SEARCH}")
    runs = []
    for number, seed in enumerate(_seeds(config), 1):
        voice.say(f"seed {seed}: {number} of {n_seeds}")
        runs.append(_run(seed_config(config, choices, seed), folder, progress))
    voice.say("comparing")
    return _measured(config, folder, choices, runs)


def _weights(config: RunConfig, folder: Path, searched: RunConfig | None) -> dict[str, Weight]:
    """What each run still has to do; which settings are chosen hardly changes it."""
    first = {m.name: Choice(_first(m)) for m in config.methods}
    runs = [seed_config(config, first, seed) for seed in _seeds(config)]
    if searched is not None:
        runs.insert(0, searched)
    return {run.name: weight_left(run, RunFolder(folder / run.name)) for run in runs}


def _run(
    config: RunConfig, folder: Path, progress: Progress, until_eval: bool = False
) -> RunResult:
    """The result of one run of the comparison, finished earlier or now."""
    path = folder / config.name
    if _is_finished(config, RunFolder(path)):
        progress.finish(config.name)
        return load_result(RunFolder(path))
    finished = execute(
        config, path, "eval" if until_eval else "report", progress.of_run(config.name)
    )
    progress.finish(config.name)
    assert finished.result is not None
    return finished.result


def _is_finished(config: RunConfig, run: RunFolder) -> bool:
    """Whether all of a run was made of these settings, and every byte is as it was sealed."""
    try:
        return (
            read_json(run.path / STATUS)["state"] == "done"
            and run.stage(6).exists()
            and stored_config(run) == config
            and not any(found.problems for found in examine(run))
        )
    except (RunError, ConfigError, KeyError, TypeError):
        return False  # going on with it says what is wrong


def _measured(
    config: RunConfig, folder: Path, choices: Mapping[str, Choice], runs: list[RunResult]
) -> Compared:
    from paretune.reporting.comparison_page import write_comparison

    methods = [_over_seeds(config, m, choices[m.name], runs) for m in config.methods]
    kept = [m.name for m in methods if m.failed is None]
    compare, names = config.compare or CompareConfig(), [f"seed-{s}" for s in _seeds(config)]
    rng = np.random.default_rng([config.seed, 7])
    resampled = _resampled(config, folder, kept, runs, rng)
    result = ComparisonResult(
        name=config.name,
        objectives=tuple(config.objectives),
        seeds=tuple(_seeds(config)),
        runs=tuple(names),
        methods=tuple(methods),
        duels=duels(resampled, _RESAMPLES, rng),
        duels_from=f"{len(runs)} seeds and {runs[0].n_prompts} prompts resampled together, "
        f"{_RESAMPLES:,} times, the same for all methods",
        shares_of="what is attainable, computed exactly"
        if runs[0].known
        else f"the unit box ({runs[0].box_from})",
        criterion=compare.criterion,
        budget=compare.settings,
        n_prompts=runs[0].n_prompts,
        notes=tuple(dict.fromkeys(note for run in runs for note in run.notes)),
        facts=_facts(config, runs),
        seconds=_spent(folder, names),
    )
    write_json(folder / RESULT, comparison_to_json(result))
    page = write_comparison(result, runs, folder)
    failed = {m.name: m.failed for m in methods if m.failed is not None}
    return Compared(folder, result, page, failed)


def _over_seeds(
    config: RunConfig, method: MethodConfig, choice: Choice, runs: Sequence[RunResult]
) -> MethodComparison:
    if choice.options is None:
        return MethodComparison(
            method.name, method.method, len(config.tradeoffs_of(method)), choice.tried, {}, {}, {},
            choice.failed,
        )  # fmt: skip
    return over_seeds(runs, method.name, method.method, choice.options, choice.tried)


def _resampled(
    config: RunConfig,
    folder: Path,
    names: Sequence[str],
    runs: Sequence[RunResult],
    rng: np.random.Generator,
) -> dict[str, dict[str, Floats]]:
    """Method to yardstick to its number for each seed on the same resamples of the prompts."""
    n_prompts = {run.n_prompts for run in runs}
    if len(n_prompts) > 1:
        raise RunError(f"seeds: found {sorted(n_prompts)} prompts, expected the same for all seeds")
    draws = resample_prompts(n_prompts.pop(), config.evaluate.resamples, rng)
    found: dict[str, dict[str, list[Floats]]] = {n: {m: [] for m in YARDSTICKS} for n in names}
    for seed, run in zip(_seeds(config), runs, strict=True):
        yardstick = Yardstick(Box(run.low, run.high, run.box_from), draws)
        place = RunFolder(folder / f"seed-{seed}")
        for method in config.methods:
            if method.name in names:
                replies = _replies(config, place, method)
                measured = evaluate_method(replies, yardstick).resampled
                for measure in YARDSTICKS:
                    found[method.name][measure].append(measured[measure])
    return {n: {m: np.array(rows) for m, rows in made.items()} for n, made in found.items()}


def _replies(config: RunConfig, run: RunFolder, method: MethodConfig) -> MethodReplies:
    points = []
    for tradeoff in config.tradeoffs_of(method):
        path = run.stage(5) / method.name / tradeoff.slug / REPLIES
        table = ReplyTable(**read_replies(path, config.objectives))
        points.append(PointReplies(tradeoff, method.name, table))
    return MethodReplies(method.name, points, Cost(0.0, 0, 0.0, 0, 0, len(points)))


def _forecast_runs(config: RunConfig) -> list[RunConfig]:
    """The search, if there is one, and a seed, with the first of all settings."""
    searched = search_config(config)
    first = {m.name: Choice(_first(m)) for m in config.methods}
    seed = seed_config(config, first, config.seed)
    return [seed] if searched is None else [searched, seed]


def _first(method: MethodConfig) -> dict[str, Any]:
    return {name: values[0] for name, values in method.search.items()}


def _seeds(config: RunConfig) -> range:
    compare = config.compare or CompareConfig()
    return range(config.seed, config.seed + compare.seeds)


def _spent(folder: Path, names: Sequence[str]) -> dict[str, float]:
    """CPU seconds that were really spent: what methods share is counted once."""

    def seconds(run: str, number: int) -> float:
        place = RunFolder(folder / run)
        sealed = (f for f in sealed_folders(place) if f.is_relative_to(place.stage(number)))
        facts = ((read_manifest(f) or {}).get("facts", {}) for f in sealed)
        return sum(float(found.get("seconds", 0.0)) for found in facts)

    return {
        "search": seconds(SEARCH, 4) + seconds(SEARCH, 5),
        "training": sum(seconds(name, 4) for name in names),
        "replies": sum(seconds(name, 5) for name in names),
    }


def _facts(config: RunConfig, runs: Sequence[RunResult]) -> dict[str, str]:
    names = ("paretune", "torch", "transformers", "numpy")
    generate = config.generate
    return {
        "generation": f"temperature {generate.temperature:g}, top-p {generate.top_p:g}, at most "
        f"{generate.max_new_tokens} tokens, {config.evaluate.draws} replies a prompt",
        "training": f"learning rate {config.train.learning_rate:g}, "
        f"{config.train.steps or f'{config.train.epochs:g} epochs'}, "
        f"batch {config.train.batch_size}, unless a method says otherwise",
        "judges": runs[0].facts.get("judges", ""),
        "machine": f"{platform.system()} {platform.machine()}",
        **{name: version(name) for name in names},
    }
