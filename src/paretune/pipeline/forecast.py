"""What a run would do, without doing it: the plan as text."""

from __future__ import annotations

from pathlib import Path

from paretune.core.job import BASE, Replies, order_jobs
from paretune.pipeline.config import RunConfig
from paretune.pipeline.folder import RunFolder
from paretune.pipeline.rewards import reward_configs
from paretune.pipeline.sweep import in_words

_SHOWN = 4


def forecast(config: RunConfig, folder: Path) -> str:
    """Objectives, data, base and every method's jobs; loads no model and sends nothing.

    Data are read only where a judge labels them, to count what it would be asked.
    """
    lines = [f"run {config.name} in {folder}", f"objectives: {', '.join(config.objectives)}"]
    data = config.data
    files = ", ".join(data.files.values()) or data.path
    scenario = f", scenario {data.scenario}" if data.world == "handy" else ""
    lines.append(f"data: {files or f'world {data.world}{scenario}'}")
    if data.world is None:
        for role in ("rewards", "judges"):
            sources = reward_configs(config, role)
            told = "; ".join(
                f"{n} = {r.model_dump(exclude_defaults=True)}" for n, r in sources.items()
            )
            lines.append(f"{role}: {told}")
    if data.judge:
        from paretune.pipeline.judging import foretell
        from paretune.pipeline.records import read_parts

        parts = read_parts(config)
        told = foretell(config, RunFolder(folder), [*parts.train, *parts.test])
        lines.append(f"judge: {told}")
    base = config.base.path or ("built from nothing" if config.base.build else "the world's")
    lora = config.train.lora
    tuning = f"LoRA rank {lora.rank}, {lora.quantize} base" if lora else "full fine-tuning"
    lines.append(f"base: {base}; {tuning}")
    lines.append("methods:")
    for method in config.methods:
        lines += _method(config, method)
    return "\n".join(lines)


def _method(config: RunConfig, method: object) -> list[str]:
    from paretune.pipeline.config import MethodConfig

    assert isinstance(method, MethodConfig)
    built, tradeoffs = config.build_method(method), config.tradeoffs_of(method)
    jobs = built.plan(len(config.objectives), tradeoffs)
    settings = config.train_of(method)
    lines = [f"  {method.name}: {len(jobs)} policies for {len(tradeoffs)} trade-offs"]
    for wave in order_jobs(jobs):
        for job in wave[:_SHOWN]:
            mine = settings.with_job(job.settings)
            length = f"{mine.steps} steps" if mine.steps else f"{mine.epochs:g} epochs"
            start = "" if job.start == BASE else f", from {job.start}"
            rows = ""
            if isinstance(job.source, Replies):
                rows = f", on replies of {', '.join(job.source.of)}"
            lines.append(
                f"    {job.id}: {job.kind}, {length} of {mine.batch_size}, learning rate "
                f"{mine.learning_rate:g}{start}{rows}"
            )
        if len(wave) > _SHOWN:
            lines.append(f"    ... and {len(wave) - _SHOWN} more like these")
    middle = tradeoffs[len(tradeoffs) // 2]
    lines.append(f"    at {middle.slug}: {in_words(built.steer(middle, tradeoffs))}")
    return lines
