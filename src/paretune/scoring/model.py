"""Rewards from a sequence-classification model of Hugging Face."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, final, get_args

import numpy as np
import numpy.typing as npt
import torch

from paretune.core.description import identity
from paretune.core.record import Prompt
from paretune.errors import ConfigError, InputError
from paretune.scoring.encode import Encoding, ModelInput, TextEncoder
from paretune.scoring.files import folder_hash, model_folder
from paretune.scoring.scorer import Scorer, checked_rewards

DType = Literal["auto", "float32", "bfloat16", "float16"]


@final
@dataclass(frozen=True)
class ModelScorer(Scorer):
    """The logit of a reward model, with a sign.

    Loads ``AutoModelForSequenceClassification`` on first use, from safetensors and without
    remote code. Padding is always on the right and masked, so that a reward does not depend on
    the batch beyond rounding (about 1e-6 in float32).

    Args:
        name: what messages call it.
        model: path of a model folder, or a hub id.
        logit: index of the logit that is the reward; may be left out where there is one logit.
        sign: 1, or -1 where the model scores what is not wanted.
        input: ``prompt+response`` a pair of texts, ``response`` alone, or ``chat`` (the chat
            template of the tokenizer).
        turns: how a conversation is written for ``prompt+response``, see ``TextEncoder``.
        max_length: longest input in tokens; ``None`` = what the model was made for. A longer
            text loses the beginning of its prompt, then of its response; ``notes`` counts them.
        batch_tokens: tokens of one padded batch, >= 1, a bound on memory and not on the result;
            ``None`` = 1024 on a CPU (larger ones leave its caches and are slower), else 16384.
        device: ``auto`` (CUDA where there is one), ``cpu``, ``cuda``, ``cuda:1``, ...
        dtype: ``auto`` is float32 on a CPU and the stored type on a GPU.
        revision: commit of a hub id.

    Raises:
        InputError: if the model cannot be found or its folder is not complete.
        ConfigError: if a setting is out of range or does not fit the model.
    """

    name: str
    model: str
    logit: int | None = None
    sign: int = 1
    input: ModelInput = "prompt+response"
    turns: Mapping[str, str] = field(default_factory=dict)
    max_length: int | None = None
    batch_tokens: int | None = None
    device: str = "auto"
    dtype: DType = "auto"
    revision: str | None = None

    def __post_init__(self) -> None:
        self._require(self.sign in (1, -1), "sign", self.sign, "1 or -1")
        self._require(self.input in get_args(ModelInput), "input", self.input, get_args(ModelInput))
        self._require(self.dtype in get_args(DType), "dtype", self.dtype, get_args(DType))
        fits = self.batch_tokens is None or self.batch_tokens >= 1
        self._require(fits, "batch_tokens", self.batch_tokens, ">= 1")
        n = int(self._config.num_labels)
        fits = n == 1 if self.logit is None else 0 <= self.logit < n
        self._require(fits, "logit", self.logit, f"0 to {n - 1} (the model has {n})")
        limit = getattr(self._config, "max_position_embeddings", None) or self.max_length or 1
        fits = self.max_length is None or 1 <= self.max_length <= limit
        self._require(fits, "max_length", self.max_length, f"1 to {limit} (what the model reads)")

    @functools.cached_property
    def identity(self) -> str:
        """Hash of the model's files and of every setting that sets the values."""
        return identity(
            {
                "files": folder_hash(self._folder),
                "logit": self.logit or 0,
                "sign": self.sign,
                "input": self.input,
                "turns": self.turns,
                "max_length": self._encoder.max_length,
                "dtype": str(self._torch_dtype),
            }
        )

    def score(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> npt.NDArray[np.float64]:
        """``(N,)`` sign times logit."""
        rows, _ = self._encoder.encode(prompts, responses)
        rewards = np.empty(len(rows), dtype=np.float64)
        tokens = self.batch_tokens or (1024 if self._torch_device.type == "cpu" else 16384)
        for batch in _buckets(rows, tokens, can_pad=self._pad is not None):
            rewards[batch] = self._logits([rows[i] for i in batch])
        return checked_rewards(self.name, self.sign * rewards, len(responses))

    def notes(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> tuple[str, ...]:
        """How many of these texts were longer than the model reads; tokenizes, runs no model."""
        _, cut = self._encoder.encode(prompts, responses)
        if not cut:
            return ()
        return (
            f"reward {self.name}: {cut} of {len(responses)} texts were longer than "
            f"{self._encoder.max_length} tokens and lost their beginning",
        )

    @functools.cached_property
    def _folder(self) -> Path:
        return model_folder(self.name, self.model, self.revision)

    @functools.cached_property
    def _config(self) -> Any:
        from transformers import AutoConfig

        try:
            return AutoConfig.from_pretrained(  # nosec B615  # a local folder
                self._folder, local_files_only=True, trust_remote_code=False
            )
        except (OSError, ValueError) as error:
            raise InputError(
                f"reward {self.name}: {self._folder}/config.json cannot be used: {error}; "
                "expected a model type that transformers knows (remote code is never run)"
            ) from error

    @functools.cached_property
    def _encoder(self) -> TextEncoder:
        from transformers import AutoTokenizer

        try:
            tokenizer = AutoTokenizer.from_pretrained(  # nosec B615  # a local folder
                self._folder, local_files_only=True, trust_remote_code=False
            )
        except (OSError, ValueError) as error:
            raise InputError(
                f"reward {self.name}: the tokenizer of {self._folder} cannot be read: {error}; "
                "expected one saved by tokenizer.save_pretrained"
            ) from error
        if self.input == "chat" and not tokenizer.chat_template:
            raise ConfigError(
                f"reward {self.name}: input is chat and the tokenizer of {self._folder} has no "
                "chat template, expected one, or input: prompt+response"
            )
        limits = (tokenizer.model_max_length, getattr(self._config, "max_position_embeddings", 0))
        # A tokenizer without a limit says 1e30.
        known = [int(limit) for limit in limits if limit and limit < 1e9]
        longest = self.max_length or min(known, default=None)
        return TextEncoder(self.name, tokenizer, self.input, longest, self.turns)

    @functools.cached_property
    def _torch_device(self) -> torch.device:
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return torch.device(self.device)

    @property
    def _torch_dtype(self) -> torch.dtype:
        if self.dtype != "auto":
            return {"float32": torch.float32, "bfloat16": torch.bfloat16}.get(
                self.dtype, torch.float16
            )
        stored: torch.dtype | None = getattr(self._config, "dtype", None)
        return torch.float32 if self._torch_device.type == "cpu" or not stored else stored

    @functools.cached_property
    def _pad(self) -> int | None:
        """Token that pads: masked in attention, and what decoders look for to find the end."""
        tokenizer = self._encoder.tokenizer
        known = (self._config.pad_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id)
        return next((token for token in known if token is not None), None)

    @functools.cached_property
    def _network(self) -> Any:
        from transformers import AutoModelForSequenceClassification

        # A missing head is our error below, with its four parts; their table would come first.
        with _quiet("transformers"):
            network, report = AutoModelForSequenceClassification.from_pretrained(  # nosec B615
                self._folder,  # local: its revision was chosen when it was fetched
                dtype=self._torch_dtype,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
        # Transformers fills missing parameters with random numbers: rewards from noise.
        missing = sorted(report["missing_keys"])
        if missing:
            raise InputError(
                f"reward {self.name}: {self._folder} is no reward model: found no parameters "
                f"{', '.join(missing[:3])}, expected a sequence-classification model"
            )
        network.config.pad_token_id = self._pad
        return network.eval().requires_grad_(False).to(self._torch_device)

    def _logits(self, rows: Sequence[Encoding]) -> npt.NDArray[np.float64]:
        inputs = {
            name: torch.from_numpy(values).to(self._torch_device)
            for name, values in _padded(rows, self._pad or 0).items()
        }
        with torch.no_grad():
            logits = self._network(**inputs).logits[:, self.logit or 0]
        return np.asarray(logits.double().cpu().numpy(), dtype=np.float64)

    def _require(self, is_true: bool, key: str, found: object, expected: object) -> None:
        if not is_true:
            raise ConfigError(f"reward {self.name}: {key} is {found!r}, expected {expected}")


def _buckets(
    rows: Sequence[Encoding], batch_tokens: int, can_pad: bool
) -> Iterator[npt.NDArray[np.int64]]:
    """Row numbers of batches, longest first, each within ``batch_tokens`` once padded."""
    lengths = np.array([len(row["input_ids"]) for row in rows], dtype=np.int64)
    order, start = np.argsort(-lengths, kind="stable"), 0
    while start < len(order):
        size = max(1, batch_tokens // int(lengths[order[start]])) if can_pad else 1
        yield order[start : start + size]
        start += size


def _padded(rows: Sequence[Encoding], pad: int) -> dict[str, npt.NDArray[np.int64]]:
    """``(B, T)`` inputs: ids padded with ``pad``, masks and types with 0, on the right."""
    longest = max(len(row["input_ids"]) for row in rows)
    padded = {}
    for name in rows[0]:
        table = np.full((len(rows), longest), pad if name == "input_ids" else 0, dtype=np.int64)
        for i, row in enumerate(rows):
            table[i, : len(row[name])] = row[name]
        padded[name] = table
    return padded


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
