"""Mixtures give the tokens of a loop that knows no cache, no batch and no shared pass."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from paretune.core.constrained import Divergence
from paretune.engines.lm.encode import Ragged
from paretune.engines.lm.generate import _REPLIES, Decoding, _sample, generate
from paretune.engines.lm.mix import mix_policies
from paretune.engines.lm.mixture import Mixture, Part
from paretune.engines.lm.models import add_adapter, load_base, load_policy, save_policy
from paretune.engines.lm.settings import LoraSettings
from paretune.errors import ConfigError, ShapeError
from paretune.functional.divergences import combine
from paretune.functional.draws import hash_keys
from paretune.functional.mixing import mix_logps

EOS, PAD = 2, 0
PROMPTS = Ragged.of([[5, 6, 7], [8], [9, 10, 11, 12, 13, 14], [15, 16]])
GREEDY = Decoding(max_new_tokens=6, temperature=0.0)
SAMPLED = Decoding(max_new_tokens=6, temperature=0.8, top_p=0.9, seed=3, rows=5)
WAYS: list[tuple[Divergence, bool]] = [
    ("jsd", True), ("alpha", True), ("jeffrey", True), ("forward_kl", False)
]  # fmt: skip


def moved(model: Any, seed: int, part: str = "", size: float = 0.3) -> Any:
    """The model with noise on the parameters named by ``part``: experts with opinions."""
    noise = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if part in name:
                drawn = torch.randn(parameter.shape, generator=noise) * size
                parameter.add_(drawn.to(parameter.dtype))
    return model.eval()


def save_adapters(lab: Any, folder: Path, name: str = "llama", size: float = 0.3) -> None:
    for i, rank in enumerate((4, 2, 3)):
        lora = LoraSettings(rank=rank, alpha=8 * rank)
        model = add_adapter(moved(lab.model(name), 9, size=size), lora, seed=i)
        save_policy(moved(model, i, "lora_B", size), lab.tokenizer(), folder / f"expert-{i}")


def save_full(lab: Any, folder: Path) -> None:
    for i in range(3):
        save_policy(moved(lab.model(), i), lab.tokenizer(), folder / f"expert-{i}")


def save_dora(lab: Any, folder: Path) -> None:
    from peft import LoraConfig, get_peft_model

    for i in range(3):
        config = LoraConfig(r=4, target_modules=["q_proj"], use_dora=True)
        model = get_peft_model(moved(lab.model(), 9), config)
        save_policy(moved(model, i, "lora_B"), lab.tokenizer(), folder / f"expert-{i}")


def save_heads(lab: Any, folder: Path) -> None:
    trunk = moved(lab.model(), 4)
    for i in range(3):
        one = moved(copy.deepcopy(trunk), i, "lm_head")
        save_policy(one, lab.tokenizer(), folder / f"expert-{i}")


def save_state_heads(lab: Any, folder: Path) -> None:
    from paretune.engines.lm.state_head import StateHead, save_head

    width = lab.model().config.hidden_size
    for i in range(3):
        head = moved(StateHead(torch.zeros(3, width), torch.zeros(width, 3)), i)
        save_head(head, str(folder / "base"), folder / f"expert-{i}")


def save_adapter_heads(kind: str) -> Callable[[Any, Path], None]:
    """One adapter on the backbone, and on the output layer one of each policy's own."""

    def save(lab: Any, folder: Path) -> None:
        from peft import LoraConfig, get_peft_model

        for i in range(3):
            own: dict[str, Any] = {"target_modules": ["q_proj", "v_proj"]}
            if kind == "full":
                own["modules_to_save"] = ["lm_head"]
            else:
                own["target_modules"].append("lm_head")
            with torch.random.fork_rng():
                torch.manual_seed(0)
                model = get_peft_model(moved(lab.model(), 9), LoraConfig(r=4, lora_alpha=8, **own))
            moved(model, 7, "_proj.lora_B")
            part = "modules_to_save" if kind == "full" else "lm_head.lora_B"
            moved(model, i, part)
            model.save_pretrained(folder / f"expert-{i}", save_embedding_layers=False)

    return save


SAVERS: dict[str, Callable[[Any, Path], None]] = {
    "adapters": save_adapters, "full": save_full, "dora": save_dora, "heads": save_heads,
    "state heads": save_state_heads, "own layers": save_adapter_heads("full"),
    "own updates": save_adapter_heads("lora"),
}  # fmt: skip


@pytest.fixture
def saved(lab: Any, tmp_path: Path) -> Callable[[str], list[Path]]:
    """Three experts and their base on disk; the base is the last folder."""

    def save(kind: str) -> list[Path]:
        save_policy(moved(lab.model(), 9), lab.tokenizer(), tmp_path / "base")
        SAVERS[kind](lab, tmp_path)
        return [*(tmp_path / f"expert-{i}" for i in range(3)), tmp_path / "base"]

    return save


@torch.no_grad()
def naive(
    models: Sequence[Any], mix: Callable[[torch.Tensor], torch.Tensor], decoding: Decoding,
    draws: int,
) -> list[list[list[int]]]:  # fmt: skip
    """One row at a time, one model after the other, every token from the start."""
    replies: list[list[list[int]]] = []
    for s in range(len(PROMPTS)):
        replies.append([])
        for d in range(draws):
            key = hash_keys(decoding.seed, _REPLIES, np.array([s]), np.array([d]))
            row, n = PROMPTS[s].tolist(), len(PROMPTS[s])
            for step in range(decoding.max_new_tokens):
                ids = torch.tensor([row])
                logits = torch.stack([model(input_ids=ids).logits[:, -1] for model in models])
                row.append(int(_sample(mix(logits), decoding, hash_keys(0, key, step))))
                if row[-1] == EOS:
                    break
            replies[-1].append(row[n:-1] if row[-1] == EOS else row[n:])
    return replies


def in_precision(model: Any, dtype: torch.dtype) -> Any:
    """The model in another precision; plain attention is made for single precision only."""
    if dtype == torch.float64:
        for module in model.modules():
            if hasattr(module, "set_attn_implementation"):
                module.set_attn_implementation("sdpa")
    return model.to(dtype)


def rule(weights: Sequence[float], divergence: Divergence, is_normalized: bool) -> Any:
    if divergence == "reverse_kl":
        return lambda logits: mix_logps(logits[:-1].double(), weights)
    return lambda logits: combine(
        logits[-1].double(), logits[:-1].double(), weights, divergence, exact=is_normalized
    )


def assert_same_tokens(
    folders: list[Path], weights: Sequence[float], divergence: Divergence,
    is_normalized: bool = True, dtype: torch.dtype = torch.float64,
) -> None:  # fmt: skip
    base = folders[-1]
    mixture = mix_policies(
        folders[:-1], weights, base, divergence=divergence, is_normalized=is_normalized
    )
    mixture = in_precision(mixture, dtype)
    models = [in_precision(load_policy(folder, base).eval(), dtype) for folder in folders[:-1]]
    models.append(in_precision(load_base(base).eval(), dtype))
    mix = rule(weights, divergence, is_normalized)
    for decoding, draws in ((GREEDY, 1), (SAMPLED, 2)):
        expected = naive(models, mix, decoding, draws)
        assert generate(mixture, PROMPTS, EOS, PAD, decoding, draws=draws) == expected
        seen = {tuple(reply) for replies in expected for reply in replies}
        assert len(seen) > 2, "replies that are all the same show nothing"


RARE = [pytest.param(kind, marks=pytest.mark.slow) for kind in ("dora", "own layers")]


@pytest.mark.parametrize("divergence", ["reverse_kl", "forward_kl"])
@pytest.mark.parametrize("kind", ["adapters", "full", "heads", "state heads", "own updates", *RARE])
def test_tokens_are_those_of_a_naive_loop(saved: Any, kind: str, divergence: Divergence) -> None:
    assert_same_tokens(saved(kind), (0.5, 0.2, 0.3), divergence)


@pytest.mark.slow
@pytest.mark.parametrize(("divergence", "is_normalized"), WAYS)
def test_every_divergence(saved: Any, divergence: Divergence, is_normalized: bool) -> None:
    assert_same_tokens(saved("adapters"), (0.5, 0.2, 0.3), divergence, is_normalized)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["adapters", "full", "heads"])
def test_single_precision(saved: Any, kind: str) -> None:
    assert_same_tokens(saved(kind), (0.5, 0.2, 0.3), "forward_kl", dtype=torch.float32)


@pytest.mark.parametrize("name", ["gpt2", pytest.param("gemma2", marks=pytest.mark.slow)])
def test_adapters_of_other_architectures(lab: Any, tmp_path: Path, name: str) -> None:
    """The layers of GPT-2 hold their matrices the other way round."""
    save_policy(moved(lab.model(name), 9, size=0.1), lab.tokenizer(), tmp_path / "base")
    save_adapters(lab, tmp_path, name, size=0.1)
    folders = [*(tmp_path / f"expert-{i}" for i in range(3)), tmp_path / "base"]
    mixture = mix_policies(folders[:-1], (0.5, 0.2, 0.3), folders[-1])
    assert [part.n_blocks for part in mixture.parts] == [3]
    assert_same_tokens(folders, (0.5, 0.2, 0.3), "reverse_kl", dtype=torch.float32)


@pytest.mark.slow
def test_models_without_a_cache(lab: Any, tmp_path: Path) -> None:
    folders = [*(tmp_path / f"expert-{i}" for i in range(3)), tmp_path / "base"]
    for i, folder in enumerate(folders):
        save_policy(moved(lab.model("mamba"), i, size=0.1), lab.tokenizer(), folder)
    assert_same_tokens(folders, (0.5, 0.2, 0.3), "reverse_kl", dtype=torch.float32)


def test_a_soft_cap_behind_the_heads_is_kept(lab: Any, tmp_path: Path) -> None:
    """Averaging such heads would be wrong: the logits are not linear in them."""
    folders = [tmp_path / f"expert-{i}" for i in range(3)] + [tmp_path / "base"]
    trunk = moved(lab.model("gemma2", tie_word_embeddings=False, final_logit_softcapping=2.0), 4)
    for i, folder in enumerate(folders):
        one = moved(copy.deepcopy(trunk), i, "lm_head", size=3.0)
        save_policy(one, lab.tokenizer(), folder)
    mixture = mix_policies(folders[:-1], (0.5, 0.2, 0.3), folders[-1])
    assert isinstance(mixture, Mixture) and [p.n_heads for p in mixture.parts] == [3]
    assert_same_tokens(folders, (0.5, 0.2, 0.3), "reverse_kl", dtype=torch.float32)


class TestPasses:
    """How many passes a mixture takes, and of how many rows."""

    @pytest.mark.parametrize(
        ("kind", "divergence", "rows"),
        [
            ("adapters", "reverse_kl", [12]), ("adapters", "jsd", [16]),
            ("full", "reverse_kl", [4, 4, 4]), ("full", "jsd", [4, 4, 4, 4]),
            ("dora", "reverse_kl", [4, 4, 4]),
            ("heads", "reverse_kl", [4]), ("heads", "jsd", [4, 4]),
            ("state heads", "reverse_kl", [4]), ("state heads", "jsd", [4]),
            ("own layers", "reverse_kl", [4]), ("own layers", "jsd", [4, 4]),
            ("own updates", "reverse_kl", [4]), ("own updates", "jsd", [4, 4]),
        ],
    )  # fmt: skip
    def test_rows_of_a_token(
        self, saved: Any, kind: str, divergence: Divergence, rows: list[int]
    ) -> None:
        *folders, base = saved(kind)
        model = mix_policies(folders, (0.5, 0.2, 0.3), base, divergence=divergence)
        seen: list[tuple[int, ...]] = []
        for module in model.modules():
            if isinstance(module, torch.nn.Embedding):
                module.register_forward_pre_hook(lambda m, args: seen.append(args[0].shape))
        generate(model, PROMPTS, EOS, PAD, Decoding(2, 0.0))
        n = len(rows)
        assert [shape[0] for shape in seen] == [*rows, *rows]
        # With a cache the second token is read alone.
        assert {shape[1] for shape in seen[n:]} == {1} < {shape[1] for shape in seen}

    def test_weight_0_is_left_out(self, saved: Any) -> None:
        *folders, base = saved("adapters")
        mixture = mix_policies(folders, (0.4, 0.0, 0.6), base)
        assert [part.n_blocks for part in mixture.parts] == [2]
        # It is not even opened.
        absent = [folders[0], base.parent / "nowhere", folders[2]]
        again = mix_policies(absent, (0.4, 0.0, 0.6), base)
        assert generate(again, PROMPTS, EOS, PAD, GREEDY) == generate(
            mixture, PROMPTS, EOS, PAD, GREEDY
        )

    @pytest.mark.parametrize("divergence", ["reverse_kl", "jsd"])
    @pytest.mark.parametrize("kind", ["adapters", "full", "state heads"])
    def test_weight_1_is_that_policy(self, saved: Any, kind: str, divergence: Divergence) -> None:
        *folders, base = saved(kind)
        alone = mix_policies(folders, (0.0, 1.0, 0.0), base, divergence=divergence)
        expected = load_policy(folders[1], base).eval()
        assert not isinstance(alone, Mixture) and not alone.training
        with torch.no_grad():
            ids = torch.tensor([[5, 6, 7]])
            assert torch.equal(alone(input_ids=ids).logits, expected(input_ids=ids).logits)

    def test_the_base_may_have_a_weight(self, saved: Any) -> None:
        *folders, base = saved("adapters")
        mixture = mix_policies([None, folders[0]], (0.4, 0.6), base)
        assert [part.n_blocks for part in mixture.parts] == [2]
        assert mixture.weights == (0.6, 0.4)
        assert not isinstance(mix_policies([None], (1.0,), base), Mixture)


def test_temperature_is_that_of_the_mixture(saved: Any) -> None:
    """Under other divergences than the reverse KL mixing and heating do not commute."""
    *folders, base = saved("adapters")
    mixture = mix_policies(folders[:2], (0.5, 0.5), base, divergence="forward_kl")
    logits = torch.randn(3, 1, 40, generator=torch.Generator().manual_seed(0)) * 3
    mixed = combine(logits[2].double(), logits[:2].double(), (0.5, 0.5), "forward_kl")
    assert torch.equal(mixture.mix(logits), mixed)
    heated = combine((logits[2] / 2).double(), (logits[:2] / 2).double(), (0.5, 0.5), "forward_kl")
    assert (torch.softmax(mixed / 2, -1) - heated.exp()).abs().sum() / 2 > 0.01


def test_one_weight_a_policy(lab: Any) -> None:
    part = Part(lab.model())
    with pytest.raises(ShapeError, match=r"found 2 policies, expected 1"):
        Mixture([part, part], (1.0,))
    with pytest.raises(ShapeError, match=r"found 2 policies, expected 3"):
        Mixture([part, part], (0.5, 0.5), "jsd")


class TestRefusals:
    def test_weights(self, saved: Any) -> None:
        *folders, base = saved("full")
        for weights in ((0.5, 0.2, 0.2), (0.0, 0.0, 0.0)):
            with pytest.raises(ConfigError, match=r"mix: found weights .*, expected a sum of 1"):
                mix_policies(folders, weights, base)

    def test_another_base(self, lab: Any, saved: Any) -> None:
        *folders, base = saved("adapters")
        path = folders[1] / "adapter_config.json"
        config = json.loads(path.read_text())
        for folder, name in zip(folders, ("here", "there", "here"), strict=True):
            config["base_model_name_or_path"] = name
            (folder / "adapter_config.json").write_text(json.dumps(config))
        with pytest.raises(
            ConfigError,
            match=r"different bases: base there in .*expert-1, expected here as in .*expert-0",
        ):
            mix_policies(folders, (0.5, 0.2, 0.3), base)

    def test_another_vocabulary(self, lab: Any, saved: Any) -> None:
        *folders, base = saved("adapters")
        path = folders[2] / "tokenizer.json"
        facts = json.loads(path.read_text())
        facts["model"]["vocab"]["w39"] = 38
        facts["model"]["vocab"]["w38"] = 39
        path.write_text(json.dumps(facts))
        with pytest.raises(ConfigError, match=r"vocabulary of 40 tokens .*'w38'.* in .*expert-2"):
            mix_policies(folders, (0.5, 0.2, 0.3), base)
        # A policy that is left out is not asked.
        assert isinstance(mix_policies(folders, (0.5, 0.5, 0.0), base), Mixture)

    def test_another_kind_of_model(self, lab: Any, saved: Any) -> None:
        *folders, base = saved("full")
        save_policy(lab.model("gpt2"), lab.tokenizer(), folders[0])
        with pytest.raises(ConfigError, match=r"kind and size .*'gpt2'.* in .*expert-0, expected"):
            mix_policies(folders, (0.5, 0.2, 0.3), base)

    def test_adapters_and_full_models(self, lab: Any, saved: Any) -> None:
        *folders, base = saved("adapters")
        with pytest.raises(ConfigError, match=r"mix: found adapters and full models together"):
            mix_policies([folders[0], base], (0.5, 0.5), base)
