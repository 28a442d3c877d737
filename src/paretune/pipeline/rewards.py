"""Stage 2: training responses rewarded, reward models trained where asked, frozen statistics."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from paretune.core.record import PreferenceData, prompt_key
from paretune.core.rewards import Normalizer, RewardMatrix
from paretune.errors import ConfigError, DataError
from paretune.pipeline.config import RunConfig
from paretune.pipeline.config_sections import RewardConfig, TrainedReward
from paretune.pipeline.fingerprint import file_digest, model_identity
from paretune.pipeline.folder import RunFolder, Sealed
from paretune.pipeline.job_checkpoints import CHECKPOINTS, Say, checkpoints_of, silent
from paretune.pipeline.records import TEST, TRAIN, labelled, read_part
from paretune.pipeline.worlds import world_of
from paretune.safety.files import read_json, write_json
from paretune.scoring.score import from_columns, score_responses
from paretune.scoring.scorer import CallableScorer, Scorer

Role = Literal["rewards", "judges"]
Progress = Callable[[str, int, int], None]


def reward_configs(config: RunConfig, role: Role) -> dict[str, RewardConfig]:
    """Where each objective's reward comes from; judges default to the run's rewards."""
    given = config.evaluate.rewards if role == "judges" else {}
    return {
        name: given.get(name, config.rewards.get(name, RewardConfig(column=name)))
        for name in config.objectives
    }


def has_own_judges(config: RunConfig) -> bool:
    """Whether some replies are judged by rewards that no method trained on."""
    return bool(config.evaluate.rewards)


def scorers(config: RunConfig, run: RunFolder, role: Role) -> dict[str, Scorer]:
    """A scorer for each objective that can reward new texts.

    Raises:
        ConfigError: if an objective is only a column of the records, which cannot.
    """
    world = world_of(config)
    if world is not None:
        return _world_scorers(config, world)
    made: dict[str, Scorer] = {}
    for name, reward in reward_configs(config, role).items():
        if reward.column:
            raise ConfigError(
                f"rewards.{name}: found a column of the records, which cannot reward new replies; "
                f"expected a function or a model (give evaluate.rewards.{name})"
            )
        made[name] = _scorer(name, reward, _home(config, name, role, run.stage(2)))
    return made


def check_scorers(config: RunConfig) -> None:
    """Construct every scorer that does not wait for training: paths, functions, logits.

    Raises:
        InputError: naming the reward that cannot be used.
    """
    if world_of(config) is not None:
        return
    for role in _roles(config):
        for name, reward in reward_configs(config, role).items():
            if reward.function or reward.model:
                _scorer(name, reward, Path())


def function_scorers(config: RunConfig) -> dict[str, Scorer]:
    """The rewards that are plain functions, ready to use."""
    rewards = reward_configs(config, "rewards")
    return {n: _scorer(n, r, Path()) for n, r in rewards.items() if r.function}


def rewards_stage(
    config: RunConfig,
    run: RunFolder,
    base: str,
    base_identity: Any,
    above: tuple[Sealed, ...],
    progress: Progress | None = None,
    say: Say = silent,
    allowed: Collection[str] = (),
) -> Sealed:
    """Make stage 2: ``rewards.npy`` (and ``judges.npy``), normalizers, trained reward models."""
    kinds = {role: reward_configs(config, role) for role in _roles(config)}
    is_trained = any(r.trained for rewards in kinds.values() for r in rewards.values())
    stage = Sealed(
        run.stage(2),
        {
            "above": [s.identity for s in above],
            "rewards": {
                role: {name: r.model_dump() for name, r in rewards.items()}
                for role, rewards in kinds.items()
            },
            # Files and models may change under the same name; their content is what counts.
            "content": _contents(kinds),
            "base": base_identity if is_trained else None,
            "seed": config.seed,
        },
    )
    if stage.is_done():
        return stage
    with stage.writing() as (folder, facts):
        data = read_part(config, run, TRAIN)
        accuracy = _train_models(
            config, run, stage, folder, base, data, kinds, progress, say, allowed
        )
        if accuracy:
            facts["accuracy"] = accuracy
        for role in kinds:
            values = _score(config, run, folder, role, data, progress)
            matrix = RewardMatrix(config.axes, values)
            np.save(folder / f"{role}.npy", values)
            normalizer = Normalizer.fit(matrix)
            write_json(folder / f"{role}-normalizer.json", normalizer.to_json(config.axes))
            facts[f"{role}_scored"] = int(matrix.is_scored.sum())
    for trained in stage.path.parent.glob(f".{stage.path.name}.*{CHECKPOINTS}"):
        shutil.rmtree(trained, ignore_errors=True)
    return stage


def read_rewards(config: RunConfig, run: RunFolder, role: Role = "rewards") -> RewardMatrix:
    """Rewards of the training responses."""
    values = np.load(run.stage(2) / f"{role}.npy", allow_pickle=False)
    return RewardMatrix(config.axes, values)


def read_normalizer(config: RunConfig, run: RunFolder, role: Role = "rewards") -> Normalizer:
    """The frozen statistics of the training rewards (judges: of their scores of the same texts)."""
    name = role if role in _roles(config) else "rewards"
    return Normalizer.from_json(read_json(run.stage(2) / f"{name}-normalizer.json"), config.axes)


def _roles(config: RunConfig) -> tuple[Role, ...]:
    return ("rewards", "judges") if has_own_judges(config) else ("rewards",)


def _world_scorers(config: RunConfig, world: Any) -> dict[str, Scorer]:
    def column(index: int) -> Callable[..., npt.NDArray[np.float64]]:
        return lambda prompts, texts: world.score_many(prompts, texts)[:, index]

    version = f"{config.data.world}-{config.data.scenario}-1"
    return {
        name: CallableScorer(name, f"{version}-{name}", column(index))
        for index, name in enumerate(config.objectives)
    }


def _scorer(name: str, reward: RewardConfig, home: Path) -> Scorer:
    if reward.function:
        from paretune.scoring.function import FunctionScorer

        return FunctionScorer.parse(name, reward.function)
    from paretune.scoring.model import ModelScorer

    if reward.trained:
        return ModelScorer(name, str(home), max_length=reward.max_tokens)
    assert reward.model is not None
    return ModelScorer(
        name,
        reward.model,
        logit=reward.logit,
        sign=reward.sign,
        input=reward.input,
        turns=reward.turns,
        max_length=reward.max_tokens,
        revision=reward.revision,
    )


def _home(config: RunConfig, name: str, role: Role, stage: Path) -> Path:
    """Folder of a trained reward model inside stage 2."""
    own = role if name in config.evaluate.rewards or role == "rewards" else "rewards"
    return stage / "models" / f"{own}-{name}"


def _train_models(
    config: RunConfig,
    run: RunFolder,
    stage: Sealed,
    folder: Path,
    base: str,
    data: PreferenceData,
    kinds: Mapping[Role, Mapping[str, RewardConfig]],
    progress: Progress | None,
    say: Say,
    allowed: Collection[str],
) -> dict[str, float]:
    accuracy: dict[str, float] = {}
    for role, rewards in kinds.items():
        for name, reward in rewards.items():
            home = _home(config, name, role, folder)
            if reward.trained is None or home.exists():
                continue
            test = read_part(config, run, TEST)
            # One that is finished before a stop is trained again from its last checkpoint.
            own = Sealed(
                stage.path.with_name(f"{stage.path.name}.{home.name}"),
                {**stage.inputs, "model": home.name},
            )
            accuracy[home.name] = _train_model(
                config, name, reward, reward.trained, home, base, data, test, progress,
                checkpoints_of(own, reward.trained.train, allowed, say),
            )  # fmt: skip
    return accuracy


def _train_model(
    config: RunConfig,
    name: str,
    reward: RewardConfig,
    trained: TrainedReward,
    home: Path,
    base: str,
    data: PreferenceData,
    test: PreferenceData,
    progress: Progress | None,
    checkpoints: Any,
) -> float:
    from paretune.engines.lm.models import load_tokenizer
    from paretune.engines.lm.reward_models import (
        new_reward_model,
        pair_accuracy,
        train_reward_model,
    )

    tokenizer = load_tokenizer(base)
    column = config.axes.index(name)
    train_pairs = _pair_texts(config, data, column, trained.half, tokenizer, reward.max_tokens)
    test_pairs = _pair_texts(config, test, column, "all", tokenizer, reward.max_tokens)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    # Judges start from another head than rewards: they must not share their mistakes.
    seed = config.seed + 1 + int(hashlib.sha256(home.name.encode()).hexdigest()[:4], 16)
    model = new_reward_model(base, int(pad), seed)
    settings = replace(trained.train, seed=trained.train.seed + config.seed)
    train_reward_model(
        model, train_pairs, int(pad), settings, home.parent,
        lambda step, steps, _: progress and progress(f"reward model {home.name}", step, steps),
        checkpoints,
    )  # fmt: skip
    home.mkdir(parents=True)
    model.save_pretrained(home)
    tokenizer.save_pretrained(home)
    return round(pair_accuracy(model, test_pairs, int(pad)), 4)


def _pair_texts(
    config: RunConfig, data: PreferenceData, column: int, half: str, tokenizer: Any, max_tokens: int
) -> Any:
    from paretune.engines.lm.encode import Ragged
    from paretune.engines.lm.reward_models import PairTexts
    from paretune.scoring.encode import TextEncoder

    name = data.rewards.objectives.names[column]
    data = labelled(config, data, data.rewards)
    label = data.labels[:, column]
    rows = np.flatnonzero(np.nan_to_num(label) != 0)
    if half != "all":
        side = np.array([int(prompt_key(p)[-1], 16) % 2 for p in data.prompts])
        wanted = 0 if half == "first" else 1
        rows = rows[side[data.prompt_of[data.first[rows]]] == wanted]
    if not len(rows):
        raise DataError(
            f"rewards.{name}.trained: found no comparison labelled for {name!r}, expected some"
        )
    better = np.where(label[rows] > 0, data.first[rows], data.second[rows])
    worse = np.where(label[rows] > 0, data.second[rows], data.first[rows])

    encoder = TextEncoder(name, tokenizer, "prompt+response", max_tokens)

    def ids(responses: npt.NDArray[np.int64]) -> Ragged:
        prompts = [data.prompts[int(data.prompt_of[n])] for n in responses]
        rows, _ = encoder.encode(prompts, [data.texts[int(n)] for n in responses])
        return Ragged.of([row["input_ids"] for row in rows])

    return PairTexts(ids(better), ids(worse))


def _score(
    config: RunConfig,
    run: RunFolder,
    folder: Path,
    role: Role,
    data: PreferenceData,
    progress: Progress | None,
) -> npt.NDArray[np.float64]:
    prompts = [data.prompts[int(row)] for row in data.prompt_of]
    world = world_of(config)
    if world is not None:
        return score_responses(prompts, data.texts, _world_scorers(config, world))
    columns = []
    for name, reward in reward_configs(config, role).items():
        if reward.column:
            columns.append(from_columns(data, reward.column))
            continue
        scorer = _scorer(name, reward, _home(config, name, role, folder))
        cache = run.path / ".cache"
        values = score_responses(prompts, data.texts, {name: scorer}, cache, progress)
        columns.append(values[:, 0])
    return np.stack(columns, axis=1)


def _contents(kinds: Mapping[Role, Mapping[str, RewardConfig]]) -> dict[str, Any]:
    from paretune.scoring.files import model_folder

    found: dict[str, Any] = {}
    for rewards in kinds.values():
        for name, reward in rewards.items():
            if reward.function:
                file = Path(reward.function.rpartition(":")[0])
                found[str(file)] = file_digest(file)
            elif reward.model:
                folder = model_folder(name, reward.model, reward.revision)
                pinned = f"@{reward.revision}" if reward.revision else ""
                found[reward.model + pinned] = model_identity(str(folder))
    return found
