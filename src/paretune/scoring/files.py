"""The folder of a reward model: found, complete, and hashed."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from paretune.errors import InputError

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_VOCABULARIES = (
    "tokenizer.json",
    "tokenizer.model",
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "sentencepiece.bpe.model",
)
_SETTINGS = (
    "config.json",
    "merges.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
)
_WEIGHTS = "*.safetensors"


def model_folder(name: str, model: str, revision: str | None = None) -> Path:
    """The complete folder of a sequence-classification model.

    Args:
        name: what messages call the reward.
        model: path of a folder, or a hub id; a hub id is looked up in the local cache first and
            fetched only where Hugging Face's own settings allow it.
        revision: commit of a hub id.

    Raises:
        InputError: if there is no such folder, or it lacks its config, its weights as
            safetensors, or its tokenizer.
    """
    folder = Path(model).expanduser()
    if not folder.is_dir():
        folder = _hub_folder(name, model, revision)
    files = sorted(f.name for f in folder.iterdir())
    found = f"found {', '.join(files) or 'no file'}"
    if "config.json" not in files:
        raise InputError(f"reward {name}: {folder} is no model: {found}, expected config.json")
    if not list(folder.glob(_WEIGHTS)):
        raise InputError(
            f"reward {name}: {folder} has no weights as safetensors: {found}, expected "
            "model.safetensors; save the model again with save_pretrained"
        )
    if not any(f in files for f in _VOCABULARIES):
        raise InputError(
            f"reward {name}: {folder} has no tokenizer: {found}, expected tokenizer.json or "
            "another vocabulary; save it there with tokenizer.save_pretrained"
        )
    return folder


def folder_hash(folder: Path) -> str:
    """sha256 over the config, the tokenizer and the weights: everything that sets the values."""
    names = {*_VOCABULARIES, *_SETTINGS}
    files = [f for f in folder.iterdir() if f.name in names or f.match(_WEIGHTS)]
    total = hashlib.sha256()
    for file in sorted(files, key=lambda f: f.name):
        with file.open("rb") as content:
            total.update(f"{file.name}\n".encode())
            total.update(hashlib.file_digest(content, "sha256").digest())
    return total.hexdigest()


def _hub_folder(name: str, model: str, revision: str | None) -> Path:
    if not _HUB_ID.fullmatch(model):
        raise InputError(
            f"reward {name}: found no folder {model!r}, expected a model folder or a hub id "
            "such as 'owner/model'"
        )
    from huggingface_hub import snapshot_download

    patterns = [*_VOCABULARIES, *_SETTINGS, _WEIGHTS, "*.safetensors.index.json"]
    try:
        return Path(snapshot_download(model, revision=revision, allow_patterns=patterns))
    except (OSError, ValueError) as error:
        reason = str(error).split("\n")[0]
        raise InputError(
            f"reward {name}: {model!r} is neither a folder nor a model in the local cache, and "
            f"the hub did not give it ({reason}); expected a path or a reachable hub id"
        ) from error
