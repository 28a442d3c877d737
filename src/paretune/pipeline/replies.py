"""Replies of a steered policy, rewarded and written: for training rounds and for evaluation."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt

from paretune.core.job import BASE
from paretune.core.policy import Steering
from paretune.core.record import PreferenceData, Prompt, prompt_text, with_prompt_text
from paretune.core.rewards import Normalizer
from paretune.engines.lm.encode import Encoder
from paretune.errors import ConfigError
from paretune.functional.few_shot_prompt import split_generated
from paretune.scoring.score import score_responses
from paretune.scoring.scorer import Scorer

Progress = Callable[[int, int], None]
REPLIES = "replies.jsonl"


@final
@dataclass(frozen=True)
class Drawn:
    """Replies of one policy.

    Args:
        prompt_of: ``(R,)`` number of the prompt.
        texts: R replies.
        n_tokens: tokens that were generated for them, dropped candidates included.
        seconds: CPU seconds.
    """

    prompt_of: npt.NDArray[np.int64]
    texts: list[str]
    n_tokens: int
    seconds: float


def load_steered(
    steering: Steering, policies: Mapping[str, Path], base: str, quantize: str = "none"
) -> Any:
    """The model that answers: one policy, or several merged or mixed.

    Args:
        steering: which policies.
        policies: folder of every policy of the method, by job.
        base: path or hub id of the base.
        quantize: how a frozen base is loaded.

    Raises:
        ConfigError: if the policies cannot be combined.
    """
    from paretune.engines.lm.merge import merge_policies
    from paretune.engines.lm.mix import mix_policies
    from paretune.engines.lm.models import load_base, load_policy
    from paretune.engines.lm.tradeoff_adapter import fix_tradeoff, has_tradeoff_adapter
    from paretune.engines.lm.tradeoff_embedding import tell

    folders = [None if p == BASE else policies[p] for p in steering.policies]
    if steering.kind == "merge":
        if any(f is None for f in folders):
            raise ConfigError("steering: merging with the base itself is not defined")
        experts = [f for f in folders if f is not None]
        return merge_policies(experts, steering.weights, base, quantize)
    if steering.kind == "mix":
        return mix_policies(
            folders, steering.weights, base, divergence=steering.divergence, alpha=steering.alpha,
            is_normalized=steering.is_normalized, quantize=quantize,
        )  # fmt: skip
    if folders[0] is None:
        return load_base(base, is_frozen=True, quantize=quantize)
    model = load_policy(folders[0], base, quantize=quantize)
    if has_tradeoff_adapter(model):
        fix_tradeoff(model, steering.tradeoff.weights)
    if steering.told is not None:
        tell(model, steering.told)
    return model


def draw(
    model: Any,
    encoder: Encoder,
    prompts: Sequence[Prompt],
    steering: Steering,
    decoding: Any,
    draws: int,
    rate: Callable[[npt.NDArray[np.int64], list[str]], npt.NDArray[np.float64]] | None = None,
    progress: Progress | None = None,
    bank: PreferenceData | None = None,
    seed: int = 0,
    normalizer: Normalizer | None = None,
) -> Drawn:
    """Replies to prompts, the best of several candidates where the steering asks for it.

    Args:
        model: what answers.
        encoder: of the run.
        prompts: S prompts.
        steering: tells how many candidates, and how a prompt is conditioned.
        decoding: temperature, nucleus, length, seed.
        draws: replies a prompt.
        rate: utility ``(R,)`` of candidates from their prompt numbers and texts; needed with
            more than one candidate.
        progress: called with (replies so far, all).
        bank: training records that prompts show pairs of, where the steering asks for it.
        seed: of the choice of pairs.
        normalizer: statistics of the training rewards, for a steering that conditions prompts.
    """
    from paretune.engines.lm.forward import fast_dtype
    from paretune.engines.lm.generate import generate

    started = time.process_time()
    if steering.shots is not None:
        from paretune.pipeline.shown import description_tokens, shot_encoder, shown_prompts

        assert bank is not None
        names = bank.rewards.objectives
        roomy = shot_encoder(encoder, steering.shots, positions_of(model.config), names)
        ids = shown_prompts(steering, prompts, bank, roomy, seed)
        more = description_tokens(roomy, steering.shots, names)
        decoding = replace(decoding, max_new_tokens=decoding.max_new_tokens + more)
    else:
        asked: Sequence[Prompt] = prompts
        if steering.condition is not None:
            assert normalizer is not None
            asked = [
                with_prompt_text(p, steering.condition(prompt_text(p), normalizer)) for p in prompts
            ]
        ids, _ = encoder.encode_prompts(asked)
    replies = generate(
        model, ids, int(encoder.tokenizer.eos_token_id), encoder.pad_id, decoding,
        draws=draws * steering.candidates, progress=progress,
        dtype=fast_dtype(next(model.parameters()).device),
    )  # fmt: skip
    flat = [reply for of_prompt in replies for reply in of_prompt]
    texts = encoder.decode(flat)
    if steering.shots is not None and steering.shots.description == "generate":
        texts = [split_generated(text)[1] for text in texts]
    prompt_of = np.repeat(np.arange(len(prompts)), draws * steering.candidates)
    n_tokens = sum(len(f) + 1 for f in flat)
    if steering.candidates > 1:
        assert rate is not None
        best = rate(prompt_of, texts).reshape(-1, steering.candidates).argmax(1)
        chosen = np.arange(len(best)) * steering.candidates + best
        texts, prompt_of = [texts[int(i)] for i in chosen], prompt_of[chosen]
    return Drawn(prompt_of, texts, n_tokens, time.process_time() - started)


def positions_of(config: Any) -> int | None:
    """Tokens that a model has positions for, where its config says so."""
    found = getattr(config, "max_position_embeddings", None)
    return None if found is None else int(found)


def write_replies(
    path: Path,
    drawn: Drawn,
    rewards: npt.NDArray[np.float64],
    objectives: Sequence[str],
    well_formed: Sequence[bool] | None = None,
) -> None:
    """One JSON line a reply: prompt number, text, rewards."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for row, text in enumerate(drawn.texts):
            line: dict[str, Any] = {
                "prompt": int(drawn.prompt_of[row]),
                "reply": text,
                "rewards": dict(zip(objectives, map(float, rewards[row]), strict=True)),
            }
            if well_formed is not None:
                line["well_formed"] = bool(well_formed[row])
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def read_replies(path: Path, objectives: Sequence[str]) -> dict[str, Any]:
    """Columns of a file of replies: prompt_of, texts, rewards, well_formed (or ``None``)."""
    # Not splitlines: a reply may hold U+2028 and the other line ends that only Unicode knows.
    with path.open(encoding="utf-8", newline="\n") as file:
        rows = [json.loads(line) for line in file]
    known = "well_formed" in rows[0] if rows else False
    return {
        "prompt_of": np.asarray([r["prompt"] for r in rows], dtype=np.int64),
        "texts": [r["reply"] for r in rows],
        "rewards": np.asarray([[r["rewards"][n] for n in objectives] for r in rows]),
        "well_formed": np.asarray([r["well_formed"] for r in rows]) if known else None,
    }


def score_drawn(
    drawn: Drawn, prompts: Sequence[Prompt], scorers: Mapping[str, Scorer]
) -> npt.NDArray[np.float64]:
    """``(R, M)`` rewards of replies."""
    asked = [prompts[int(n)] for n in drawn.prompt_of]
    return score_responses(asked, drawn.texts, scorers)
