"""One trade-off of a run as a folder that transformers, PEFT or vLLM load without paretune."""

from __future__ import annotations

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
            place = staging if len(tradeoffs) == 1 else staging / tradeoff.slug
            kind = export_policy(
                model.eval(), load_tokenizer(base), base, place, is_merged=is_merged,
                weights=steering.tradeoff.weights,
            )  # fmt: skip
            card = Card(config, run, result, served.name, steering, kind, base)
            write_figure([result], place / "front.png")
            write_text(place / "README.md", card.markdown())
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
    return methods[name or best_method(result, methods)]
