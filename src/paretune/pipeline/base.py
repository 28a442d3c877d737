"""The base policy: taken as it is, or built and trained from nothing once and shared by runs."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from paretune.core.job import Pool, TrainingJob
from paretune.core.record import PreferenceData, Prompt, Record, Response, prompt_json
from paretune.core.tradeoff import TradeOff
from paretune.engines.lm.settings import TrainSettings
from paretune.errors import ConfigError, RunError
from paretune.pipeline.config import RunConfig
from paretune.pipeline.damage import set_aside
from paretune.pipeline.folder import RunFolder, Sealed
from paretune.pipeline.job_checkpoints import (
    METRICS,
    Say,
    checkpoints_of,
    silent,
    training_log,
)
from paretune.pipeline.records import TRAIN, held_out_prompts, read_part
from paretune.pipeline.worlds import World, world_of
from paretune.safety.ledger import append_row, read_rows
from paretune.safety.lock import locked
from paretune.safety.manifest import find_problems

if TYPE_CHECKING:
    from paretune.engines.lm.checkpoints import Checkpoints

Progress = Callable[[str, int, int], None]
Fit = Callable[[Any, PreferenceData, Any, int], None]
"""Train a model in place on rows of a kind of text."""


def base_of(
    config: RunConfig,
    run: RunFolder,
    progress: Progress | None = None,
    say: Say = silent,
    allowed: Collection[str] = (),
) -> str:
    """Path or hub id of the run's base, trained first when it is built from nothing.

    A base that was built here is read whole first; a damaged one is set aside and built again.

    Raises:
        ConfigError: if the configuration names no base.
    """
    base, world = config.base, world_of(config)
    if base.source:
        return base.source
    require_base(config)
    sealed = _sealed(config, run)
    # Runs share bases: whoever comes second waits, and finds it done.
    with locked(run.bases / f".{sealed.path.name}.lock", waiting=say):
        if sealed.path.exists():
            set_aside(sealed.path, run.bases, say)
        if not sealed.is_done():
            checkpoints = checkpoints_of(sealed, config.base.train, allowed, say)
            kept = contextlib.nullcontext() if checkpoints is None else checkpoints.kept()
            with kept, sealed.writing() as (folder, facts):
                fit = partial(
                    _fit, settings=config.base.train, seed=config.seed, folder=folder, facts=facts,
                    progress=progress, checkpoints=checkpoints,
                )  # fmt: skip
                if world is not None:
                    _train_on_world(world, config, folder, fit)
                else:
                    _train_on_texts(config, run, folder, facts, fit)
    return str(sealed.path)


def base_folder(config: RunConfig, run: RunFolder) -> Path | None:
    """Where the base lies that a run builds, beside the run; ``None`` = it is given."""
    return None if config.base.source else _sealed(config, run).path


def existing_base(config: RunConfig, run: RunFolder) -> str:
    """Path or hub id of the base of a run that is there already; nothing is trained.

    Raises:
        RunError: if a base that was built here is missing or damaged.
    """
    if config.base.source:
        return config.base.source
    sealed = _sealed(config, run)
    if problems := find_problems(sealed.path):
        raise RunError(f"{'; '.join(problems)}: run the run again to build its base again")
    return str(sealed.path)


def require_base(config: RunConfig) -> None:
    """Refuse a run without a base.

    Raises:
        ConfigError: if there is no path, nothing to build, and no world that brings its own.
    """
    if not (config.base.path or config.base.build or config.data.world):
        raise ConfigError(
            "base: found neither path nor build, expected a local folder, a hub id, or sizes to "
            "build one from nothing"
        )


def require_text(prompts: Sequence[Prompt]) -> None:
    """Refuse conversations where the base is built from nothing: it has no chat template.

    Raises:
        ConfigError: if a prompt is a list of messages.
    """
    if any(not isinstance(prompt, str) for prompt in prompts):
        raise ConfigError(
            "base.build: found prompts of messages, expected text: a base from nothing has no "
            "chat template; give base.path, or the prompts as text"
        )


def _sealed(config: RunConfig, run: RunFolder) -> Sealed:
    inputs: dict[str, Any] = {"train": config.base.train.identity(), "seed": config.seed}
    world = world_of(config)
    if world is not None:
        # Scenarios differ in rewards only: they share requests, replies and so the base.
        inputs |= {"world": config.data.world, "corpus": config.base.corpus}
        if held_out_prompts(config, world):
            inputs["held_out"] = config.evaluate.part
    else:
        records = Sealed(run.stage(1), {}).manifest or {}
        assert config.base.build is not None
        inputs |= {"build": config.base.build.model_dump(), "records": records.get("identity")}
    sealed = Sealed(run.bases / "unnamed", inputs)
    return Sealed(run.bases / sealed.identity, inputs)


def _train_on_world(world: World, config: RunConfig, folder: Path, fit: Fit) -> None:
    from paretune.engines.lm.encode import Encoder
    from paretune.engines.lm.models import build_model, save_policy

    tokenizer = world.tokenizer()
    model = build_model(world.base_config(), config.seed)
    held_out = held_out_prompts(config, world)
    rows = world.corpus(config.base.corpus, config.seed)
    corpus = [row for row in rows if row[0] not in held_out]
    records = [Record(prompt, (Response(reply),)) for prompt, reply in corpus]
    data = PreferenceData.from_records(records, ("none",))
    train = config.base.train
    encoder = Encoder(tokenizer, train.max_prompt_tokens, train.max_response_tokens)
    encoded = encoder.encode(data.prompts, data.texts, data.prompt_of)
    fit(model, data, encoded, encoder.pad_id)
    save_policy(model, tokenizer, folder)


def _train_on_texts(
    config: RunConfig, run: RunFolder, folder: Path, facts: dict[str, Any], fit: Fit
) -> None:
    from paretune.engines.lm.encode import Encoded, Ragged
    from paretune.engines.lm.models import build_model, save_policy
    from paretune.engines.lm.scratch import ModelSize, llama_config, train_tokenizer

    assert config.base.build is not None
    size = ModelSize(**config.base.build.model_dump())
    data = read_part(config, run, TRAIN)
    require_text(data.prompts)
    texts = list(_documents(data))
    tokenizer = train_tokenizer(texts, size.vocabulary)
    model = build_model(llama_config(size, tokenizer), config.seed)
    limit = min(config.base.train.max_response_tokens, size.max_positions - 1)
    rows: list[list[int]] = []
    # Marks that a text happens to hold are plain characters: they must not end a document.
    plain = tokenizer(texts, add_special_tokens=False, split_special_tokens=True)
    for ids in plain["input_ids"]:
        document = [*ids, tokenizer.eos_token_id]
        rows += [document[i : i + limit] for i in range(0, len(document), limit)]
    # Plain language modelling: a row is the begin mark and then text that is all predicted.
    encoded = Encoded(
        Ragged.of([[tokenizer.bos_token_id]]), Ragged.of(rows), np.zeros(len(rows), np.int64)
    )
    names = [Response(str(n)) for n in range(len(rows))]
    rows_data = PreferenceData.from_records([Record("", tuple(names))], ("none",))
    fit(model, rows_data, encoded, int(tokenizer.pad_token_id))
    save_policy(model, tokenizer, folder)
    facts.update(documents=len(texts), text_tokens=sum(map(len, rows)))


def _fit(
    model: Any,
    data: PreferenceData,
    encoded: Any,
    pad_id: int,
    *,
    settings: TrainSettings,
    seed: int,
    folder: Path,
    facts: dict[str, Any],
    progress: Progress | None,
    checkpoints: Checkpoints | None,
) -> None:
    from paretune.engines.lm.jobs import JobData, train_job
    from paretune.engines.lm.models import n_parameters

    job = TrainingJob("base", "sft", TradeOff((1.0,)), every_row)
    log = training_log(folder, checkpoints)
    spent = 0.0 if checkpoints is None else checkpoints.spent()

    def watch(step: int, steps: int, numbers: Any) -> None:
        append_row(log, {"step": step, **numbers}, durable=True)  # as checkpoints are
        if progress is not None:
            progress("base", step, steps)

    nothing = np.full(len(data.texts), np.nan)
    cost = train_job(
        job, JobData(data, encoded, nothing), model, pad_id, replace(settings, seed=seed),
        folder, watch, checkpoints,
    )  # fmt: skip
    rows = read_rows(log)
    facts.update(
        parameters=n_parameters(model), seconds_cpu=round(spent + cost.seconds, 2),
        steps=cost.steps, tokens=cost.tokens, first_loss=rows[0]["loss"],
        last_loss=rows[-1]["loss"],
    )  # fmt: skip
    if log.parent != folder:
        shutil.copy(log, folder / METRICS)


def every_row(pool: Pool) -> Any:
    """All rows, repeated texts too: how often a reply comes is what a base learns."""
    return np.arange(len(pool.text_of), dtype=np.int64)


def _documents(data: PreferenceData) -> Iterator[str]:
    for text, row in zip(data.texts, data.prompt_of, strict=True):
        prompt = data.prompts[int(row)]
        turns = prompt_json(prompt)
        opening = turns if isinstance(turns, str) else "\n".join(t["content"] for t in turns)
        yield opening + text
