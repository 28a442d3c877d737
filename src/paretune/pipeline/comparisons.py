"""Stage 3: comparisons, token ids and reference log-probabilities, computed once for all jobs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np

from paretune.engines.lm.encode import Encoded, Encoder, Ragged
from paretune.engines.lm.job_data import JobData
from paretune.errors import DataError
from paretune.pipeline.config import RunConfig
from paretune.pipeline.fingerprint import model_identity
from paretune.pipeline.folder import RunFolder, Sealed
from paretune.pipeline.records import TRAIN, labelled, read_part
from paretune.pipeline.rewards import read_rewards

_FILE = "comparisons.npz"


@final
@dataclass(frozen=True)
class Materials:
    """Everything a job trains on, read from the run folder.

    Args:
        job_data: records with rewards and labels, token ids, reference log-probabilities.
        encoder: turns prompts of replies into ids.
    """

    job_data: JobData
    encoder: Encoder


def new_encoder(config: RunConfig, base: str) -> Encoder:
    """The encoder of a run: the base's tokenizer and the run's limits."""
    from paretune.engines.lm.models import load_tokenizer

    train = config.train
    return Encoder(
        load_tokenizer(base),
        train.max_prompt_tokens,
        train.max_response_tokens,
        plain=config.data.plain_prompts,
    )


def comparisons_stage(
    config: RunConfig, run: RunFolder, base: str, above: tuple[Sealed, ...]
) -> Sealed:
    """Make stage 3: one file with labels, ids and reference log-probabilities."""
    train = config.train
    stage = Sealed(
        run.stage(3),
        {
            "above": [s.identity for s in above],
            "base": model_identity(base),
            "max_prompt_tokens": train.max_prompt_tokens,
            "max_response_tokens": train.max_response_tokens,
            "plain_prompts": config.data.plain_prompts,
            "quantize": config.quantize,
            "pairs_per_prompt": config.data.pairs_per_prompt,
            "graded_labels": config.data.graded_labels,
        },
    )
    if stage.is_done():
        return stage
    from paretune.engines.lm.models import load_base
    from paretune.engines.lm.reference import reference_logps

    with stage.writing() as (folder, facts):
        data = labelled(config, read_part(config, run, TRAIN), read_rewards(config, run))
        if not data.n_comparisons and any("pairs" in _needs(config, m) for m in config.methods):
            raise DataError(
                "data: found no comparison and no prompt with two differently rewarded responses, "
                "expected pairs for methods that learn from pairs"
            )
        encoder = new_encoder(config, base)
        encoded = encoder.encode(data.prompts, data.texts, data.prompt_of)
        refuse_cuts(config, encoded)
        compared = np.unique(np.concatenate([data.first, data.second]))
        model = load_base(base, is_frozen=bool(config.train.lora), quantize=config.quantize)
        logps = reference_logps(model, encoded, compared, encoder.pad_id)
        np.savez(
            folder / _FILE,
            first=data.first,
            second=data.second,
            labels=data.labels,
            ref_logps=logps,
            prompt_ids=encoded.prompts.ids,
            prompt_offsets=encoded.prompts.offsets,
            response_ids=encoded.responses.ids,
            response_offsets=encoded.responses.offsets,
        )
        facts.update(
            responses=len(data.texts),
            comparisons=data.n_comparisons,
            cut_prompts=encoded.cut_prompts,
            cut_responses=encoded.cut_responses,
        )
    return stage


def refuse_cuts(config: RunConfig, encoded: Encoded) -> None:
    """What ``data.rules.too_long: error`` says of texts that do not fit the token limits.

    Raises:
        DataError: if there are any.
    """
    if config.data.rules.too_long == "error" and (encoded.cut_prompts or encoded.cut_responses):
        raise DataError(
            f"data: found {encoded.cut_prompts} prompts over {config.train.max_prompt_tokens} and "
            f"{encoded.cut_responses} responses over {config.train.max_response_tokens} tokens, "
            "expected none (data.rules.too_long: error); give larger train.max_prompt_tokens and "
            "train.max_response_tokens, or too_long: skip to let them be cut"
        )


def read_materials(config: RunConfig, run: RunFolder, base: str) -> Materials:
    """What stage 3 made, with the records it belongs to."""
    data = read_part(config, run, TRAIN).with_rewards(read_rewards(config, run))
    with np.load(run.stage(3) / _FILE, allow_pickle=False) as file:
        data = replace(data, first=file["first"], second=file["second"], labels=file["labels"])
        encoded = Encoded(
            Ragged(file["prompt_ids"], file["prompt_offsets"]),
            Ragged(file["response_ids"], file["response_offsets"]),
            data.prompt_of,
        )
        return Materials(JobData(data, encoded, file["ref_logps"]), new_encoder(config, base))


def _needs(config: RunConfig, method: Any) -> tuple[str, ...]:
    return config.build_method(method).needs
