"""What ``paretune check`` finds: every row read, every method's needs compared with the data."""

from __future__ import annotations

from pathlib import Path

from paretune.core.record import PreferenceData
from paretune.data.check import DataSummary, summarize
from paretune.data.counts import RowCounts
from paretune.data.reader import ReadResult
from paretune.errors import ConfigError
from paretune.pipeline.config import RunConfig
from paretune.pipeline.records import read_run
from paretune.pipeline.rewards import check_scorers, reward_configs
from paretune.pipeline.worlds import world_of


def check_run(config: RunConfig) -> tuple[DataSummary, list[str]]:
    """Read everything, train nothing.

    Returns:
        The summary of the data, and sentences about what the run will do.

    Raises:
        DataError: naming every bad row.
        ConfigError: if a method's needs cannot be met, or replies could not be judged.
    """
    world = world_of(config)
    if world is not None:
        records = tuple(world.preferences(config.data.pairs, config.seed))
        counts = RowCounts(len(records), len(records))
        result = ReadResult(records, counts, ((f"world {config.data.world}", counts),))
    else:
        result = read_run(config)
    preflight(config)
    data = PreferenceData.from_records(result.records, config.objectives)
    notes = _base_notes(config)
    notes += _needs(config, data)
    n_policies = sum(
        len(config.build_method(m).plan(len(config.objectives), config.tradeoffs_of(m)))
        for m in config.methods
    )
    n_points = sum(len(config.tradeoffs_of(m)) for m in config.methods)
    notes.append(f"the run trains {n_policies} policies and evaluates {n_points} points")
    return summarize(result, config.axes), notes


def preflight(config: RunConfig) -> None:
    """Refuse what cannot end well before anything is read, trained or written.

    Raises:
        ConfigError: if replies could not be judged, or a local base is not complete.
    """
    check_judges(config)
    _base_notes(config)
    check_scorers(config)


def check_judges(config: RunConfig) -> None:
    """Refuse a run whose replies nothing could reward, before anything is trained.

    Raises:
        ConfigError: naming every objective that is only a column.
    """
    columns = [n for n, r in reward_configs(config, "judges").items() if r.column]
    if columns and world_of(config) is None:
        raise ConfigError(
            f"rewards: {', '.join(columns)} is only a column of the records, which cannot reward "
            "new replies; expected evaluate.rewards with a function, a model, or trained: {}"
        )


def _needs(config: RunConfig, data: PreferenceData) -> list[str]:
    rewards = reward_configs(config, "rewards")
    notes = []
    is_world = world_of(config) is not None
    unscored = [
        name
        for column, name in enumerate(config.objectives)
        if rewards[name].column and data.rewards.values.size
        and _is_nan(data, column) and not is_world
    ]  # fmt: skip
    for method in config.methods:
        needs = type(config.build_method(method)).needs
        if "scores" in needs and unscored:
            raise ConfigError(
                f"methods: {method.name} needs a score of every response, and {unscored} have "
                f"gaps; expected rewards.{unscored[0]} with a function, a model, or trained: {{}}"
            )
        notes.append(f"{method.name} learns from {' and '.join(needs) or 'the responses'}")
    return notes


def _is_nan(data: PreferenceData, column: int) -> bool:
    values = data.rewards.values[:, column]
    return bool((values != values).any())


def _base_notes(config: RunConfig) -> list[str]:
    path = config.base.path
    if path is None:
        return ["the base is built and trained from nothing"]
    folder = Path(path)
    if not folder.is_dir():
        return [
            f"base {path}: not a local folder, taken as a hub id (needs the network or a cache)"
        ]
    missing = [
        what
        for what, names in {
            "config.json": ["config.json"],
            "a tokenizer": ["tokenizer.json", "tokenizer_config.json", "tokenizer.model"],
            "weights in safetensors": ["model.safetensors", "model.safetensors.index.json"],
        }.items()
        if not any((folder / name).exists() for name in names)
    ]
    if missing:
        raise ConfigError(
            f"base.path: {path} holds no {' and no '.join(missing)}, expected a model folder "
            "saved by save_pretrained, with its tokenizer"
        )
    size = sum(f.stat().st_size for f in folder.glob("*.safetensors"))
    return [f"base {path}: {size / 2**30:.2f} GiB of weights; a full fine-tune holds about 4x that"]
