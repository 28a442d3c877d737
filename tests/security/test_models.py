"""Models of others: no code of theirs runs, no pickle is read, a hub id is what was pinned."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from paretune.engines.lm.merge import merge_policies
from paretune.engines.lm.mix import mix_policies
from paretune.engines.lm.models import (
    add_adapter,
    load_base,
    load_policy,
    load_tokenizer,
    save_policy,
)
from paretune.engines.lm.reward_models import new_reward_model
from paretune.engines.lm.scratch import ModelSize, llama_config, train_tokenizer
from paretune.engines.lm.settings import LoraSettings
from paretune.errors import ConfigError, InputError
from paretune.pipeline.config import parse_config
from paretune.pipeline.fingerprint import model_identity
from paretune.scoring.model import ModelScorer


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny base and an adapter of it."""
    from paretune.engines.lm.models import build_model

    folder = tmp_path_factory.mktemp("models")
    tokenizer = train_tokenizer(["one two three"] * 4, 260)
    size = ModelSize(hidden=8, layers=1, heads=2, feed_forward=8, max_positions=64, vocabulary=260)
    model = build_model(llama_config(size, tokenizer), 0)
    save_policy(model, tokenizer, folder / "base")
    save_policy(add_adapter(model, LoraSettings(rank=2), 0), tokenizer, folder / "adapter")
    return folder


@pytest.fixture
def base(saved: Path, tmp_path: Path) -> Path:
    """A copy of the base, to be damaged."""
    return copied(saved / "base", tmp_path / "base")


def copied(source: Path, target: Path) -> Path:
    target.mkdir()
    for file in source.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return target


def pickled(folder: Path, old: str, new: str) -> Path:
    """Weights replaced by a pickle that leaves a file behind."""
    trap = folder.parent / "unpickled"
    (folder / old).unlink()
    (folder / new).write_bytes(pickle.dumps(Trap(trap)))
    return trap


LOADERS = {
    "base": lambda folder: load_base(folder),
    "policy": lambda folder: load_policy(folder, folder),
    "reward head": lambda folder: new_reward_model(str(folder), 0, 0),
    "reward": lambda folder: ModelScorer("r", str(folder), logit=0).score(["a"], ["b"]),
}


@pytest.mark.parametrize("loader", LOADERS)
def test_weights_that_are_a_pickle_are_never_read(base: Path, loader: str) -> None:
    trap = pickled(base, "model.safetensors", "pytorch_model.bin")
    with pytest.raises(InputError, match="safetensors"):
        LOADERS[loader](base)
    assert not trap.exists()
    # The trap works: reading it as a pickle does leave the file.
    pickle.loads((base / "pytorch_model.bin").read_bytes())
    assert trap.exists()


@pytest.mark.parametrize("name", ["adapter_model.bin", "adapter_model.pt"])
def test_adapters_that_are_a_pickle_are_never_read(saved: Path, tmp_path: Path, name: str) -> None:
    adapter = copied(saved / "adapter", tmp_path / "adapter")
    base = saved / "base"
    trap = pickled(adapter, "adapter_model.safetensors", name)
    expected = "expected adapter_model.safetensors"
    with pytest.raises(InputError, match=expected):
        load_policy(adapter, base)
    with pytest.raises(InputError, match=expected):
        merge_policies([adapter, adapter], [0.5, 0.5], base)
    with pytest.raises(InputError, match=expected):
        mix_policies([saved / "adapter", adapter], [0.5, 0.5], base)
    assert not trap.exists()


@pytest.mark.parametrize("model_type", ["llama", "mine"])
@pytest.mark.parametrize("loader", LOADERS)
def test_code_beside_a_model_never_runs(base: Path, loader: str, model_type: str) -> None:
    trap = base.parent / "ran"
    (base / "mine.py").write_text(
        f"open({str(trap)!r}, 'w')\nfrom transformers import LlamaConfig, LlamaForCausalLM\n"
        "class MyConfig(LlamaConfig):\n    model_type = 'mine'\nclass My(LlamaForCausalLM): ...\n"
    )
    config = json.loads((base / "config.json").read_text())
    config |= {
        "model_type": model_type,
        "auto_map": {
            name: f"mine.{cls}"
            for name, cls in {
                "AutoConfig": "MyConfig", "AutoModelForCausalLM": "My",
                "AutoModelForSequenceClassification": "My", "AutoTokenizer": ["My", None],
            }.items()
        },
    }  # fmt: skip
    (base / "config.json").write_text(json.dumps(config))
    try:
        LOADERS[loader](base)
    except InputError as error:
        assert model_type == "mine" or loader == "reward", error
    else:
        assert model_type == "llama"
    assert not trap.exists()


def test_a_pinned_revision_reaches_every_loader(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def refuse(name: str, *, revision: str | None = None, **options: Any) -> None:
        asked.append((name, revision, options["trust_remote_code"]))
        raise OSError("offline")

    for loader in ("AutoTokenizer", "AutoModelForCausalLM"):
        monkeypatch.setattr(f"paretune.engines.lm.models.{loader}.from_pretrained", refuse)
    monkeypatch.setattr(
        "paretune.engines.lm.reward_models.AutoModelForSequenceClassification.from_pretrained",
        refuse,
    )
    monkeypatch.setattr("transformers.AutoConfig.from_pretrained", refuse)
    pinned = "owner/name@0a1b2c3"
    for load in (load_tokenizer, load_base, lambda base: new_reward_model(base, 0, 0)):
        with pytest.raises(InputError, match="offline"):
            load(pinned)
    assert model_identity(pinned) == {"hub": pinned, "commit": None}
    assert asked == [("owner/name", "0a1b2c3", False)] * 4


def test_a_folder_with_an_at_sign_is_a_folder(saved: Path, tmp_path: Path) -> None:
    folder = copied(saved / "base", tmp_path / "a@b")
    assert load_base(folder).num_parameters() > 0
    assert load_tokenizer(str(folder)).eos_token


def config_with(base: dict[str, str]) -> Any:
    return parse_config(
        {
            "name": "r", "objectives": ["wit", "tact"], "data": {"path": "rows.jsonl"},
            "methods": [{"method": "dpo"}], "base": base,
        }
    )  # fmt: skip


def test_the_revision_of_a_base_is_part_of_its_name(saved: Path) -> None:
    assert config_with({"path": "owner/name"}).base.source == "owner/name"
    config = config_with({"path": "owner/name", "revision": "0a1b2c3"})
    assert config.base.source == "owner/name@0a1b2c3"
    for wrong in ({"revision": "main"}, {"path": str(saved / "base"), "revision": "main"}):
        with pytest.raises(ConfigError, match="found revision without a hub id"):
            config_with(wrong)
    with pytest.raises(ConfigError, match=r"base\.revision"):
        config_with({"path": "owner/name", "revision": "a@b"})


@pytest.mark.parametrize("section", ["base", "train", "generate"])
def test_no_option_turns_remote_code_on(section: str) -> None:
    values = {
        "name": "r", "objectives": ["wit", "tact"], "data": {"path": "rows.jsonl"},
        "methods": [{"method": "dpo"}], section: {"trust_remote_code": True},
    }  # fmt: skip
    with pytest.raises(ConfigError, match="trust_remote_code: unknown key"):
        parse_config(values)


def test_torch_is_one_that_reads_tensors_alone(tmp_path: Path) -> None:
    """What libraries read as ``.pt`` is refused when it holds anything else."""
    trap = tmp_path / "ran"
    torch.save({"x": Trap(trap)}, tmp_path / "x.pt")
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "x.pt")
    assert not trap.exists()
