"""The model card of one exported policy: which trade-off it is, what it was made from, and how."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, final

import yaml

from paretune.core.policy import Steering
from paretune.core.results import PointResult, RunResult
from paretune.pipeline.config import RunConfig
from paretune.pipeline.folder import RunFolder, Sealed
from paretune.pipeline.rewards import read_normalizer
from paretune.pipeline.sweep import in_words
from paretune.reporting.plain import markdown, markdown_code
from paretune.safety.files import read_json


@final
@dataclass(frozen=True)
class Card:
    """What a card tells.

    Args:
        config: of the run.
        run: its folder.
        result: what it measured.
        method: whose policy this is.
        steering: that was written, for the trade-off it really serves.
        kind: ``adapter`` or ``model``.
        base: path or hub id of the base.
    """

    config: RunConfig
    run: RunFolder
    result: RunResult
    method: str
    steering: Steering
    kind: str
    base: str

    def markdown(self) -> str:
        """Markdown with the front matter that model hubs read."""
        front = {
            "library_name": "peft" if self.kind == "adapter" else "transformers",
            "base_model": self.base,
            "tags": ["paretune", "alignment", "multi-objective", self.method],
        }
        names, weights = self.result.objectives, self.steering.tradeoff.weights
        tradeoff = ", ".join(f"{markdown(n)} {w:g}" for n, w in zip(names, weights, strict=True))
        return f"""---
{yaml.safe_dump(front, sort_keys=False).strip()}
---

# {markdown(self.result.name)}: {tradeoff}

One policy of a Pareto front: trained with {markdown_code(self.method)}, answering by
{markdown_code(in_words(self.steering))}.

![Measured fronts](front.png)

{self._measured()}

```python
{self._loading()}
```

## Made from

{self._facts()}

## Rewards

Statistics of the training rewards, by which the run normalizes them, and the raw rewards that count
as 0 and 1 in the picture ({markdown(self.result.box_from)}).

{self._rewards()}

Made with paretune.
"""

    def _measured(self) -> str:
        """Mean rewards at the trade-off, or at the nearest one that was measured."""
        method = next(m for m in self.result.methods if m.name == self.method)
        weights = self.steering.tradeoff.weights

        def far(point: PointResult) -> float:
            return math.dist(point.tradeoff, weights)

        point = min(method.points, key=far)
        where = "at this trade-off"
        if far(point) > 1e-9:
            where = f"at the nearest trade-off, {', '.join(f'{w:g}' for w in point.tradeoff)}"
        means = ", ".join(
            f"{markdown(n)} {m.value:.3g} [{m.low:.3g}, {m.high:.3g}]"
            for n, m in zip(self.result.objectives, point.means, strict=True)
        )
        return f"Measured {where}, mean rewards with 95 % intervals: {means}."

    def _loading(self) -> str:
        if self.kind != "adapter":
            return (
                "from transformers import AutoModelForCausalLM\n"
                "model = AutoModelForCausalLM.from_pretrained(FOLDER)"
            )
        return (
            "from peft import PeftModel\nfrom transformers import AutoModelForCausalLM\n"
            f"base = AutoModelForCausalLM.from_pretrained({self.base!r})\n"
            "model = PeftModel.from_pretrained(base, FOLDER)"
        )

    def _facts(self) -> str:
        records: Any = Sealed(self.run.stage(1), {}).manifest or {"facts": {}, "files": {}}
        counts = records["facts"]
        digest = records["files"].get("train.jsonl", {}).get("sha256", "unknown")
        started = read_json(self.run.path / "run.json")
        versions = ", ".join(f"{name} {found}" for name, found in started["versions"].items())
        rows = {
            "data": self._source(),
            "rows": f"{counts.get('rows_read', 0):,} read, {counts.get('used', 0):,} used",
            "training records": f"sha256 `{digest}`",
            "base": markdown_code(self.base),
            "seed": str(self.config.seed),
            "versions": markdown(versions),
            "command": markdown_code(started["command"]),
        }
        return _table(("", ""), rows.items())

    def _source(self) -> str:
        data = self.config.data
        if data.world is not None:
            return (
                f"the embedded world {data.world}, scenario {data.scenario}, {data.pairs:,} pairs"
            )
        return ", ".join(map(markdown_code, [data.path] if data.path else data.files.values()))

    def _rewards(self) -> str:
        known = read_normalizer(self.config, self.run)
        columns = (known.mean, known.std, known.low, known.high, self.result.low, self.result.high)
        rows = zip(self.result.objectives, *columns, strict=True)
        head = ("objective", "mean", "deviation", "smallest", "largest", "counts as 0", "as 1")
        return _table(head, ((markdown(name), *(f"{v:.4g}" for v in row)) for name, *row in rows))


def _table(head: Any, rows: Any) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
