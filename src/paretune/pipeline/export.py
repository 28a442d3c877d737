"""One trade-off of a run as a folder that transformers, PEFT or vLLM load without paretune."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import yaml

from paretune.core.results import RunResult
from paretune.core.tradeoff import TradeOff
from paretune.errors import ConfigError, nearest
from paretune.pipeline.base import existing_base
from paretune.pipeline.folder import RunFolder
from paretune.pipeline.replies import load_steered
from paretune.pipeline.run import load_result, stored_config
from paretune.pipeline.serve import served_methods
from paretune.pipeline.sweep import in_words
from paretune.reporting.figure import write_figure
from paretune.reporting.plain import markdown, markdown_code
from paretune.safety.files import move, write_text
from paretune.serving.answers import ServedMethod


@final
@dataclass(frozen=True)
class Exported:
    """A policy that was written.

    Args:
        folder: where.
        kind: ``adapter`` or ``model``.
        tradeoff: that it really answers for.
        base: of an adapter.
    """

    folder: Path
    kind: str
    tradeoff: TradeOff
    base: str


def export_run(
    run: RunFolder, tradeoffs: Sequence[TradeOff], out: Path, *, method: str | None = None,
    is_merged: bool = False,
) -> list[Exported]:  # fmt: skip
    """Write the policies of some trade-offs, one folder each where there are several.

    Args:
        run: measured.
        tradeoffs: at least one.
        out: the folder, which must not exist yet.
        method: of the run; default: the one of the largest hypervolume.
        is_merged: whole models, also where a policy is an adapter.

    Raises:
        ConfigError: if the folder exists, a trade-off has another number of objectives, the method
            is unknown, or no plain model answers as its policy does.
        RunError: if a policy is missing or damaged.
    """
    from paretune.engines.lm.export import export_policy
    from paretune.engines.lm.models import load_policy, load_tokenizer
    from paretune.engines.lm.tradeoff_adapter import is_tradeoff_folder

    if out.exists():
        raise ConfigError(f"{out}: found something there, expected a new folder")
    config, result = stored_config(run), load_result(run)
    for tradeoff in tradeoffs:
        if len(tradeoff) != len(result.objectives):
            raise ConfigError(
                f"--preference: found {len(tradeoff)} weights, expected one for each of "
                f"{', '.join(result.objectives)}"
            )
    methods, base = served_methods(config, run, result), existing_base(config, run)
    served = _method(methods, method, result)
    staging = out.with_name(f".{out.name}.staging")
    shutil.rmtree(staging, ignore_errors=True)
    done = []
    try:
        for tradeoff in tradeoffs:
            steering = served.steer(tradeoff)
            folders = [served.folders[p] for p in steering.policies if p in served.folders]
            model: Any
            if len(folders) == 1 and is_tradeoff_folder(folders[0]):
                model = load_policy(folders[0], base, quantize=config.quantize)
            else:
                model = load_steered(steering, served.folders, base, config.quantize)
            place = staging if len(tradeoffs) == 1 else staging / tradeoff.slug
            kind = export_policy(
                model.eval(), load_tokenizer(base), base, place, is_merged=is_merged,
                weights=steering.tradeoff.weights,
            )  # fmt: skip
            words = in_words(steering)
            _write_card(place, result, served.name, steering.tradeoff, words, kind, base)
            final_place = out if len(tradeoffs) == 1 else out / tradeoff.slug
            done.append(Exported(final_place, kind, steering.tradeoff, base))
        move(staging, out)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return done


def vllm_command(exported: Sequence[Exported], name: str) -> str:
    """What starts vLLM with every exported adapter, called ``NAME@0.7,0.3``.

    Raises:
        ConfigError: if one of them is no adapter.
    """
    if any(one.kind != "adapter" for one in exported):
        raise ConfigError("--grid: found whole models, expected adapters of one base")
    modules = " ".join(
        f"'{name}@{','.join(f'{w:g}' for w in one.tradeoff.weights)}={one.folder.resolve()}'"
        for one in exported
    )
    return f"vllm serve {exported[0].base} --enable-lora --lora-modules {modules}"


def _method(methods: dict[str, ServedMethod], name: str | None, result: RunResult) -> ServedMethod:
    if not methods:
        raise ConfigError(f"{result.name}: found no method with a policy to export, expected one")
    if name is not None and name not in methods:
        raise ConfigError(f"--method: found {name!r}{nearest(name, methods)}")
    reached = {m.name: m.hypervolume.value for m in result.methods if m.hypervolume}
    return methods[name or max(methods, key=lambda m: reached.get(m, -1.0))]


def _write_card(
    folder: Path, result: RunResult, method: str, tradeoff: TradeOff, words: str, kind: str,
    base: str,
) -> None:  # fmt: skip
    """``README.md`` and ``front.png``: what this is, and where on the front it lies."""
    write_figure([result], folder / "front.png")
    names = result.objectives
    front = {
        "library_name": "peft" if kind == "adapter" else "transformers",
        "base_model": base,
        "tags": ["paretune", "alignment", "multi-objective", method],
    }
    weights = ", ".join(
        f"{markdown(n)} {w:g}" for n, w in zip(names, tradeoff.weights, strict=True)
    )
    axes = ", ".join(
        f"{markdown(n)} [{lo:g}, {hi:g}]"
        for n, lo, hi in zip(names, result.low, result.high, strict=True)
    )
    load = (
        "from transformers import AutoModelForCausalLM\n"
        "model = AutoModelForCausalLM.from_pretrained(FOLDER)"
    )
    if kind == "adapter":
        load = (
            "from peft import PeftModel\nfrom transformers import AutoModelForCausalLM\n"
            f"base = AutoModelForCausalLM.from_pretrained({base!r})\n"
            "model = PeftModel.from_pretrained(base, FOLDER)"
        )
    write_text(
        folder / "README.md",
        f"""---
{yaml.safe_dump(front, sort_keys=False).strip()}
---

# {markdown(result.name)}: {weights}

One policy of a Pareto front: trained with {markdown_code(method)}, answering by
{markdown_code(words)}. Axes and the raw rewards that count as 0 and 1: {axes}
({markdown(result.box_from)}).

![Measured fronts](front.png)

```python
{load}
```

Made with paretune.
""",
    )
