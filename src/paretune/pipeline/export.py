"""One trade-off of a run as a folder that transformers, PEFT or vLLM load without paretune."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from paretune.core.results import RunResult
from paretune.core.tradeoff import TradeOff
from paretune.errors import ConfigError, nearest
from paretune.pipeline.base import existing_base
from paretune.pipeline.export_card import Card
from paretune.pipeline.folder import RunFolder
from paretune.pipeline.replies import load_steered
from paretune.pipeline.run import load_result, stored_config
from paretune.pipeline.serve import best_method, served_methods
from paretune.reporting.figure import write_figure
from paretune.safety.files import move, read_json, write_text
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
        rank: of an adapter; 0 = a model.
    """

    folder: Path
    kind: str
    tradeoff: TradeOff
    base: str
    rank: int


def export_run(
    run: RunFolder, tradeoffs: Sequence[TradeOff], out: Path, *, method: str | None = None,
    is_merged: bool = False,
) -> list[Exported]:  # fmt: skip
    """Write the policies of some trade-offs, one folder each where there are several.

    Trade-offs that one policy answers are written once, under the one that it really answers for.

    Args:
        run: measured.
        tradeoffs: at least one.
        out: the folder, which must not exist yet.
        method: of the run; default: the one of the largest hypervolume.
        is_merged: whole models, also where a policy is an adapter.

    Raises:
        ConfigError: if the folder exists, a trade-off has another number of objectives, the method
            is unknown, no plain model answers as its policy does, or policies for several
            trade-offs are whole models and ``is_merged`` does not ask for them.
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
    methods, base = served_methods(config, run, result), _resolved(existing_base(config, run))
    served = _method(methods, method, result)
    staging = out.with_name(f".{out.name}.staging")
    shutil.rmtree(staging, ignore_errors=True)
    done = []
    try:
        for steering in {s.tradeoff: s for s in map(served.steer, tradeoffs)}.values():
            if steering.candidates > 1:
                raise ConfigError(
                    f"export: found the best of {steering.candidates} replies, expected one "
                    "policy: no single model answers like them (paretune serve does)"
                )
            folders = [served.folders[p] for p in steering.policies if p in served.folders]
            model: Any
            if len(folders) == 1 and is_tradeoff_folder(folders[0]):
                model = load_policy(folders[0], base, quantize=config.quantize)
            else:
                model = load_steered(steering, served.folders, base, config.quantize)
            inner = "" if len(tradeoffs) == 1 else steering.tradeoff.slug
            place = staging / inner
            kind = export_policy(
                model.eval(), load_tokenizer(base), base, place, is_merged=is_merged,
                weights=steering.tradeoff.weights,
            )  # fmt: skip
            if kind != "adapter" and len(tradeoffs) > 1 and not is_merged:
                raise ConfigError(
                    f"--grid: found whole models of {served.name}, expected adapters of one base; "
                    "--merge writes whole models"
                )
            card = Card(config, run, result, served.name, steering, kind, base)
            write_figure([result], place / "front.png")
            write_text(place / "README.md", card.markdown())
            done.append(Exported(out / inner, kind, steering.tradeoff, base, _rank(place)))
        move(staging, out)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    return done


def vllm_command(exported: Sequence[Exported], name: str) -> str:
    """What starts vLLM with every exported adapter, called ``NAME@0.7,0.3``.

    Example:
        >>> one = Exported(Path("/out/1-0"), "adapter", TradeOff((1, 0)), "/base", 20)
        >>> print(vllm_command([one], "run").replace(" --", "\\n--"))
        vllm serve /base
        --enable-lora
        --max-lora-rank 32
        --lora-modules '{"name": "run@1,0", "path": "/out/1-0"}'
    """
    # As JSON: vLLM takes NAME=PATH only where there is no comma.
    modules = [
        {"name": f"{name}@{_weights(one)}", "path": str(one.folder.resolve())} for one in exported
    ]
    largest = max(one.rank for one in exported)
    rank = max(8, 1 << (largest - 1).bit_length())  # vLLM knows powers of two, from 8 on
    return (
        f"vllm serve {shlex.quote(exported[0].base)} --enable-lora --max-lora-rank {rank} "
        f"--lora-modules {' '.join(shlex.quote(json.dumps(one)) for one in modules)}"
    )


def _weights(exported: Exported) -> str:
    return ",".join(f"{w:g}" for w in exported.tradeoff.weights)


def _rank(folder: Path) -> int:
    """The largest of an adapter; 0 = a model."""
    file = folder / "adapter_config.json"
    if not file.exists():
        return 0
    found = read_json(file)
    return max([found["r"], *found.get("rank_pattern", {}).values()])


def _resolved(base: str) -> str:
    """The base as it is found from any folder; a hub id is one everywhere."""
    return str(Path(base).resolve()) if Path(base).exists() else base


def _method(methods: dict[str, ServedMethod], name: str | None, result: RunResult) -> ServedMethod:
    if not methods:
        raise ConfigError(f"{result.name}: found no method with a policy to export, expected one")
    if name is not None and name not in methods:
        raise ConfigError(f"--method: found {name!r}{nearest(name, methods)}")
    return methods[name or best_method(result, methods)]
