"""Policies that are combined must come from one base: what on disk tells whether they do."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from paretune.engines.lm.tradeoff_adapter import is_tradeoff_folder
from paretune.engines.lm.tradeoff_embedding import is_embedding_folder
from paretune.errors import ConfigError

_SHAPE = ("model_type", "vocab_size", "hidden_size", "n_embd", "num_hidden_layers", "n_layer")


def require_one_base(where: str, folders: Sequence[Path], base: str | os.PathLike[str]) -> None:
    """Refuse policies that are conditioned, or known to come from different bases.

    A policy that is conditioned on the trade-off is no part of a combination: its files say what
    it is at every trade-off, not at which one it would count. Adapters name their base; of full
    models the kind, the sizes and the vocabulary are compared, of all the tokens of the
    tokenizers. A file that is not there says nothing.

    Args:
        where: what the message calls the combination.
        folders: of the policies.
        base: the base of the run: a local folder, or a hub id, of which nothing is compared.

    Raises:
        ConfigError: naming the folders that are conditioned, or the first two that differ and in
            what.
    """
    conditioned = [str(f) for f in folders if is_tradeoff_folder(f) or is_embedding_folder(f)]
    if conditioned:
        raise ConfigError(
            f"{where}: found {conditioned}, policies that are conditioned on the trade-off, "
            "expected experts: each of them answers for every trade-off by itself (steering: "
            "condition)"
        )
    is_adapter = [(f / "adapter_config.json").exists() for f in folders]
    if any(is_adapter) and not all(is_adapter):
        raise ConfigError(f"{where}: found adapters and full models together in {list(folders)}")
    _require_same(where, "base", folders, _base_name)
    local = [Path(base)] if Path(base).is_dir() else []
    _require_same(where, "kind and size", [*local, *folders], _shape)
    _require_same(where, "vocabulary", [*local, *folders], _tokens, _in_short)


def _require_same(
    where: str,
    what: str,
    folders: Sequence[Path],
    read: Callable[[Path], Any],
    show: Callable[[Any], str] = str,
) -> None:
    """Refuse folders of which one says something else than the first that says anything."""
    said = [(folder, value) for folder in folders if (value := read(folder)) is not None]
    for folder, value in said[1:]:
        first, expected = said[0]
        if value != expected:
            raise ConfigError(
                f"{where}: found policies of different bases: {what} {show(value)} in {folder}, "
                f"expected {show(expected)} as in {first}"
            )


def _base_name(folder: Path) -> Any:
    for name in ("adapter_config.json", "state_head.json"):
        if facts := _json(folder / name):
            return facts.get("base_model_name_or_path") or facts.get("base")
    return None


def _shape(folder: Path) -> Any:
    config = _json(folder / "config.json")
    return {name: config[name] for name in _SHAPE if name in config} or None


def _tokens(folder: Path) -> Any:
    """Ids of all tokens, in a form that does not depend on who wrote the file."""
    facts = _json(folder / "tokenizer.json")
    vocabulary = facts.get("model", {}).get("vocab")
    if vocabulary is None:
        return None
    if isinstance(vocabulary, list):
        vocabulary = {entry[0]: index for index, entry in enumerate(vocabulary)}
    added = {token["content"]: token["id"] for token in facts.get("added_tokens", [])}
    return {**vocabulary, **added}


def _in_short(tokens: dict[str, int]) -> str:
    last = max(tokens, key=lambda token: tokens[token])
    return f"of {len(tokens)} tokens (the last is {last!r})"


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
