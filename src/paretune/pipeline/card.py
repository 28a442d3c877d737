"""The model card of a run: what was trained, on what, how it was measured, how to load it."""

from __future__ import annotations

from importlib.metadata import version

import yaml

from paretune.core.results import RunResult
from paretune.pipeline.config import RunConfig
from paretune.reporting.plain import markdown, markdown_code
from paretune.reporting.table import cost_table, method_table


def model_card(config: RunConfig, result: RunResult, command: str) -> str:
    """Markdown with the front matter that model hubs read."""
    names = [m.name for m in config.methods]
    base = config.base.path
    front = {
        "library_name": "peft" if config.train.lora else "transformers",
        "tags": ["paretune", "alignment", "multi-objective", *names],
        **({"base_model": base} if base else {}),
    }
    axes = ", ".join(f"{markdown(n)} [{lo:g}, {hi:g}]" for n, lo, hi in _axes(result))
    notes = "\n".join(f"- {markdown(note)}" for note in result.notes)
    return f"""---
{yaml.safe_dump(front, sort_keys=False).strip()}
---

# {markdown(config.name)}

Policies along the Pareto front of {axes}, by {", ".join(names)}. The numbers in brackets are the
raw rewards that count as 0 and 1 below ({markdown(result.box_from)}).

![Measured fronts](7-report/front.png)

{method_table(result).markdown()}

{cost_table(result).markdown()}

{notes}

## Load a policy

```python
{_loading(config)}
```

`4-policies/<method>/<job>/` holds one policy each, in Hugging Face and PEFT file names;
`6-front/front.json` says which policy earned which rewards.

## Made by

{markdown_code(command)} with paretune {version("paretune")}; the configuration is `run.yaml`, every
resolved value and version `run.json`.
"""


def _axes(result: RunResult) -> list[tuple[str, float, float]]:
    return list(zip(result.objectives, result.low, result.high, strict=True))


def _loading(config: RunConfig) -> str:
    """Code that loads a policy of the first method that trains one."""
    plans = [
        (m, config.build_method(m).plan(len(config.objectives), config.tradeoffs_of(m)))
        for m in config.methods
    ]
    trains = [m for m, jobs in plans if jobs]
    if not trains:
        return "# no method of this run trains a policy: the base answers"
    job = next(jobs[0] for _, jobs in plans if jobs)
    if job.adapter is not None:
        even = ", ".join(f"{w:.3g}" for w in job.tradeoff.weights)
        return (
            "from pathlib import Path\n"
            "from paretune.engines.lm.models import load_policy\n"
            "from paretune.engines.lm.tradeoff_adapter import export_lora, set_tradeoff\n"
            f'model = load_policy(Path("4-policies/{trains[0].name}/{job.id}"), base)\n'
            f"set_tradeoff(model, ({even}))  # any trade-off\n"
            f'export_lora(model, ({even}), Path("lora"))  # for other servers'
        )
    is_adapter = config.train_of(trains[0]).lora is not None
    package, model = (
        ("peft", "AutoPeftModelForCausalLM")
        if is_adapter
        else ("transformers", "AutoModelForCausalLM")
    )
    return (
        f"from {package} import {model}\n"
        "from transformers import AutoTokenizer\n"
        f'folder = "4-policies/{trains[0].name}/<job>"\n'
        f"model = {model}.from_pretrained(folder)\n"
        "tokenizer = AutoTokenizer.from_pretrained(folder)"
    )
